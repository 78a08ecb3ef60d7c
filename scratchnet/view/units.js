// The drawing of an MLP: a column of units for the input and for each layer, and between them the weights. Forwards a unit is filled
// by its value, backwards by its gradient; a line is as wide as its weight is large, dashed where the weight is negative.

const MOST_UNITS = 12; // of a column

// The columns from left to right: the input and what each layer makes of it, {k, kind, name, values, gradients, shown}.
function columnsOf(pass) {
  const { tape, upstream } = pass;
  const columns = [{ k: -1, kind: "input", name: "x", values: tape[0].before.v, gradients: null }];
  tape.forEach(({ m, after }, k) => columns.push({ k, kind: m.kind, name: m.name, values: after.v, gradients: upstream[k] }));
  for (const column of columns) {
    const units = Array.from(column.values, (_, j) => j);
    column.shown = units.length > MOST_UNITS ? units.slice(0, MOST_UNITS - 1) : units;
    column.hidden = units.length - column.shown.length;
  }
  return columns;
}

function drawNetwork(box, pass, { step, unit, back, pick }) {
  const columns = columnsOf(pass),
    f = view.lecture ? Math.max(15, 0.031 * screenHeight()) : 13,
    wide = Math.max(NARROWEST, box.clientWidth - 10),
    tallest = Math.max(...columns.map(c => c.shown.length + (c.hidden ? 1 : 0))),
    high = view.lecture ? 0.5 * screenHeight() : clamp(38 * tallest + 60, 420, 540),
    gap = (high - 3.4 * f) / tallest,
    radius = Math.min(0.34 * gap, 1.1 * f);
  const x = c => 3.2 * f + ((wide - 9 * f) * c) / Math.max(1, columns.length - 1),
    y = (column, i) => 2.6 * f + gap * (i + 0.5 + (tallest - column.shown.length - (column.hidden ? 1 : 0)) / 2);
  const words = step ? step.title : "the network";
  const root = svg("svg", { viewBox: `0 0 ${wide} ${high}`, width: wide, height: high, role: "group", "aria-label": `the network at row ${view.n}: ${words}`, style: `--label:${f}px` });
  const layers = { edges: svg("g"), units: svg("g"), words: svg("g") };
  columns.forEach((column, c) => {
    if (c) drawEdges(layers.edges, columns[c - 1], column, { c, x, y, step, unit, back, pass });
    const next = columns[c + 1],
      room = gap > 1.9 * f && (!next || x(c + 1) - x(c) > 2 * radius + 5.6 * f); // a number fits between two columns
    const scale = largestOf(back && column.gradients ? column.gradients : column.values) || 1;
    column.shown.forEach((j, i) => drawUnit(layers, { column, j, x: x(c), y: y(column, i), radius, f, scale, back, on: isLit(step, column, j, unit, back), pick, room }));
    if (column.hidden) layers.words.append(svg("text", { x: x(c), y: y(column, column.shown.length) + 0.4 * f, "text-anchor": "middle", class: "outside" }, `+ ${column.hidden} more`));
    const on = step?.around === column.k && column.k >= 0;
    layers.words.append(svg("text", { x: x(c), y: 1.2 * f, "text-anchor": "middle", class: `layer${on ? " on" : ""}` }, column.kind === "input" ? "x" : column.kind));
  });
  root.append(layers.edges, layers.units, layers.words);
  box.replaceChildren(root);
}

const NARROWEST = 420; // pixels

// The column of the unit that a step computes: forwards the output of its layer, backwards the input.
const columnOf = (step, back) => (typeof step?.around === "number" ? step.around - (back ? 1 : 0) : null);
const isLit = (step, column, j, unit, back) => column.k === columnOf(step, back) && j === unit;

function drawEdges(layer, from, to, { c, x, y, step, unit, back, pass }) {
  const { m } = pass.tape[to.k],
    here = step?.around === to.k,
    linear = m.kind === "linear",
    most = linear ? largestOf(m.params.W) || 1 : 1;
  from.shown.forEach((i, a) =>
    to.shown.forEach((j, b) => {
      if (!linear && i !== j) return;
      const w = linear ? m.params.W[i * to.values.length + j] : 1,
        on = here && (back ? i === unit : j === unit);
      layer.append(svg("path", { d: `M${x(c - 1)} ${y(from, a)}L${x(c)} ${y(to, b)}`, class: `edge ${w < 0 ? "negative" : "positive"}${on ? " on" : ""}`, "stroke-width": linear ? 0.4 + (3.6 * Math.abs(w)) / most : 1.2 }));
    }),
  );
}

function drawUnit({ units, words }, { column, j, x, y, radius, f, scale, back, on, pick, room }) {
  const own = back ? column.gradients?.[j] : column.values[j],
    shown = own === undefined ? "" : fmt(own, view.lecture ? 2 : 3).replaceAll("-", "−");
  const circle = svg("circle", { cx: x, cy: y, r: radius, class: `unit${on ? " on" : ""}`, "data-unit": `${column.k} ${j}`, "data-value": own ?? "" });
  circle.style.fill = own === undefined ? "var(--page)" : `rgb(${shadeOf(own, { low: -scale, high: scale })})`;
  circle.addEventListener("click", () => pick(column.k, j));
  units.append(circle);
  if (room || on) words.append(svg("text", { x: x + radius + 0.3 * f, y: y + 0.35 * f, class: "label value" }, shown));
}
