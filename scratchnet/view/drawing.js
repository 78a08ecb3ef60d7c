// The cell at one step: its drawing (layout.py) with the numbers of one unit, or the size over all units, on the wires.
//
// Every wire shows its forward value and its gradient, the one that is being computed large. Backwards the wires run from right to
// left: where the forward pass reads a value twice, two gradients are added; where it adds, a gradient is copied; where it
// multiplies, the gradient is multiplied by the other factor.

const BUS = { h: 0.5, x: 0.7 };
const DENSE = 9.5; // columns; a drawing with more gets more room beside the numbers
const NARROW = 560; // pixels; a narrower page scrolls the drawing
let grid = {}; // of the drawing under way, in pixels of the screen: letters keep their size whatever the window's
const place = (x, y) => [grid.left + x * grid.x, grid.top + y * grid.y];

function gridOf(pane, columns, rows) {
  const f = view.lecture ? letters() : 13,
    wide = Math.max(NARROW, pane.cell.clientWidth - 10),
    left = 2.4 * f, // the names of what leaves here begin at the edge, before the sums of its ways
    right = (view.lecture ? 5.4 : 6.2) * f, // room for a number such as −2.3e−142
    x = (wide - left - right) / columns,
    top = (view.lecture ? 1.5 : 2.6) * f,
    bottom = (view.lecture ? 2.4 : 3.4) * f, // for what is written below: dx, dy, where it comes from
    down = rows + 0.62;
  const room = (view.lecture ? 0.5 : 0.6) * screenHeight() - top - bottom,
    y = view.lecture ? room / down : clamp(room / down, 62, 88);
  return { f, wide, left, right, x, y, top, bottom, high: top + bottom + y * down, half: view.lecture ? 0.78 * f : f, inline: x > 11 * f, dense: x < 5.2 * f };
}

// The value of an operation at this step: of the unit, or its size over all units.
function shownValue(run, at, t, j) {
  if (at === null || at === undefined) return undefined;
  if (!view.norm) return run.value(at, t, j);
  if (!run.ready(at)) return undefined;
  return Math.sqrt(run.steps.row(at, t).reduce((s, v) => s + v * v, 0));
}

const digits = v => (v === undefined ? "" : fmt(v, view.lecture || grid.dense ? 2 : 3).replaceAll("-", "−"));

// A name in SVG, with its subscript.
function nameSpan(name, gradient, colour) {
  const [d, base, sub] = partsOf(name, gradient),
    whole = svg("tspan", {}, d + base);
  whole.style.fill = colour || "";
  if (sub) whole.append(svg("tspan", { dy: "0.25em", class: "sub" }, sub));
  return [whole, svg("tspan", sub ? { dy: "-0.19em" } : {}, " ")];
}

// Corners rounded, as one path.
function rounded(points) {
  const r = 10;
  let path = `M${points[0]}`;
  for (let k = 1; k < points.length - 1; k++) {
    const [before, corner, after] = [points[k - 1], points[k], points[k + 1]];
    const near = from => {
      const d = [from[0] - corner[0], from[1] - corner[1]],
        size = Math.hypot(...d) || 1,
        s = Math.min(r, size / 2) / size;
      return [corner[0] + d[0] * s, corner[1] + d[1] * s];
    };
    path += `L${near(before)}Q${corner} ${near(after)}`;
  }
  return `${path}L${points[points.length - 1]}`;
}

// The points where the wires of one source part.
function forksOf(ways) {
  const neighbours = new Map();
  for (const way of ways)
    for (let k = 1; k < way.length; k++) {
      const [[x1, y1], [x2, y2]] = [way[k - 1], way[k]],
        n = Math.max(1, Math.round(20 * (Math.abs(x2 - x1) + Math.abs(y2 - y1))));
      for (let i = 0; i < n; i++) {
        const [a, b] = [i, i + 1].map(m => [x1 + ((x2 - x1) * m) / n, y1 + ((y2 - y1) * m) / n].map(v => Math.round(v * 20) / 20).join());
        for (const [p, q] of [[a, b], [b, a]]) neighbours.set(p, (neighbours.get(p) || new Set()).add(q));
      }
    }
  return [...neighbours].filter(([, around]) => around.size > 2).map(([point]) => point.split(",").map(Number));
}

// All wires of a drawing: those of the layout, the buses of x and of h to the products, and the way to the loss.
function wiresOf(run) {
  const { drawing } = run.program,
    wires = drawing.wires.map(([u, v, d, way]) => ({ u, v, d, way }));
  const h = run.states[0],
    rows = drawing.taps.map(([at, sources]) => ({ at, sources, y: drawing.nodes.find(n => n[0] === at)[3] }));
  const bottom = Math.max(...drawing.nodes.map(n => n[3]), ...drawing.previous.map(p => p[3]));
  for (const { at, sources, y } of rows)
    for (const source of sources) {
      const leaf = run.program.leaves[source === "x" ? "x" : `${source}_prev`];
      const bus = source === "x" ? BUS.x : BUS.h,
        side = sources.length > 1 ? (source === "x" ? 0.1 : -0.1) : 0;
      const start = source === "x" ? [[bus, bottom + 0.62]] : startOf(drawing, leaf, bus);
      const d = source === "x" ? (run.program.backward.dx ?? null) : (run.program.backward[`d${source}_prev_through_W_h`] ?? run.program.backward[`d${source}_prev`]);
      wires.push({ u: leaf, v: at, d, way: [...start, [bus, y + side], [0.9, y + side]], bus: true });
    }
  const end = drawing.wires.find(([u, v]) => u === run.program.forward[h] && v === null);
  if (end) {
    const [, y] = end[3][0],
      fork = drawing.width - 0.55;
    wires.push({ u: end[0], v: "loss", d: run.program.leaves.dy, way: [end[3][0], [fork, y], [fork, bottom + 0.62]] });
  }
  return wires;
}

function startOf(drawing, leaf, bus) {
  const [, , x, y] = drawing.previous.find(p => p[0] === leaf) || [0, 0, 0, 0];
  return [[x, y], [bus, y]];
}

function drawCell(pane) {
  const { run } = pane,
    t = Math.min(view.t, run.T - 1),
    j = unitOf(run);
  if (!run.program) {
    pane.cell.replaceChildren(element("p", {}, `The ${run.cell} cell has no drawing: ${run.why}. Its heatmaps are below.`));
    return;
  }
  const { drawing } = run.program,
    back = view.mode === "backward";
  run.wires ??= wiresOf(run);
  const rows = Math.max(...drawing.nodes.map(n => n[3]), ...drawing.previous.map(p => p[3]));
  pane.node.classList.toggle("dense", drawing.width > DENSE);
  grid = gridOf(pane, drawing.width, rows);
  const title = `The ${run.cell} cell at step ${label(pane, t)}, ${back ? "backward" : "forward"} pass, ${view.norm ? "sizes over all units" : `unit ${run.units[j]}`}`;
  const root = svg("svg", { viewBox: `0 0 ${grid.wide} ${grid.high}`, width: grid.wide, height: grid.high, role: "img", "aria-label": title, class: back ? "back" : "fore", style: `--label:${grid.f}px` });
  const step = stepOf(run),
    results = new Set(step ? step.terms.map(n => run.program.at(n)) : []),
    used = new Set(step ? step.terms.flatMap(n => directOperands(run.program, run.program.at(n))) : []);
  for (const k of results) used.delete(k);
  const layers = { wires: svg("g"), nodes: svg("g"), labels: svg("g") };
  const owner = new Map(Object.entries(run.program.of).map(([d, q]) => [run.program.at(d), run.program.at(q)]));
  // Backwards an operation is computed at its own place only: a sum hands a copy of its gradient to its parts.
  const own = u => results.has(run.program.totals.get(u)) && (owner.get(run.program.totals.get(u)) ?? u) === u;
  const last = t === run.T - 1;
  const trunks = new Map(),
    computing = new Set(); // backwards: the readers through which the gradients of this line come
  for (const wire of run.wires) {
    const d = back ? wire.d : null;
    const branch = results.has(d) && (owner.get(d) ?? wire.u) === wire.u && d !== run.program.totals.get(wire.u);
    const lit = back ? branch || (own(wire.u) && soleReader(run, wire)) : results.has(wire.u) && wire.v !== "loss";
    const operand = !lit && (used.has(back ? d : wire.u) || used.has(wire.u) || used.has(d));
    if (back && (lit || (wire.bus && own(wire.u)))) computing.add(wire.v);
    drawWire(layers.wires, run, wire, { back, lit, operand, last, t, j });
    (trunks.get(wire.u) || trunks.set(wire.u, []).get(wire.u)).push(wire);
  }
  for (const [u, wires] of trunks) drawTrunk(layers, run, u, wires, { back, t, j, results, used, own, owner, trunks });
  for (const [at, sign, x, y] of drawing.nodes) drawNode(layers.nodes, run, { at, sign, x, y }, { back, results, computing });
  makeRoom(layers);
  root.append(layers.wires, layers.nodes, layers.labels);
  pane.cell.replaceChildren(root);
  const shown = root.querySelector(".label.on"); // on a narrow screen: scroll to what is being computed
  if (shown && pane.cell.scrollWidth > pane.cell.clientWidth)
    pane.cell.scrollLeft = Number(shown.getAttribute("x")) - pane.cell.clientWidth / 2;
}

// Move a label to the left, half a letter's height at most, where it would run into the next label of its row, or a number into the
// next node.
function makeRoom({ nodes, labels }) {
  const { f } = grid,
    at = node => [Number(node.getAttribute("x")), Number(node.getAttribute("y"))],
    ends = [...nodes.querySelectorAll("circle.node")].map(c => [Number(c.getAttribute("cx")) - Number(c.getAttribute("r")), Number(c.getAttribute("cy")) + 0.7 * f, 0.6 * f]);
  const texts = [...labels.children].filter(n => n.getAttribute("text-anchor") === "start");
  texts.sort((a, b) => at(b)[0] - at(a)[0]);
  for (const node of texts) {
    const [x, y] = at(node),
      size = node.classList.contains("small") && !view.lecture ? 0.85 * f : f,
      end = x + 0.6 * size * node.textContent.trimEnd().length,
      next = ends.filter(([left, row, near]) => left > x && Math.abs(row - y) < near).map(([left]) => left);
    const room = Math.min(Infinity, ...next) - 0.25 * f,
      moved = x - clamp(end - room, 0, 0.5 * f);
    node.setAttribute("x", moved);
    ends.push([moved, y, 0.5 * f]);
  }
}

const soleReader = (run, wire) => run.wires.filter(w => w.u === wire.u).length === 1;

// The operations that a term is computed from: through unnamed ones to the named and the leaves.
function directOperands(program, at) {
  return operands(program.ops[at]).flatMap(k => (program.names.has(k) || !operands(program.ops[k]).length ? [k] : directOperands(program, k)));
}

// What arrives over the way to the next step: at the last step there is none, and what comes is the loss of the final state.
function outside(wire, run, last) {
  if (wire.v === "loss") return "from_loss";
  if (wire.v === null) return last ? "from_loss" : "from_future";
  return null;
}

function drawWire(layer, run, wire, { back, lit, operand, last, t, j }) {
  const points = wire.way.map(([x, y]) => place(x, y)),
    way = back ? [...points].reverse() : points;
  const from = back ? outside(wire, run, last) : null,
    value = shownValue(run, back ? wire.d : wire.u, t, j);
  const nothing = back && (wire.d === null || value === 0 || (wire.v === "loss" && value === undefined));
  const path = svg("path", {
    d: rounded(way),
    class: `wire${lit ? " on" : operand ? " operand" : ""}${nothing ? " none" : ""}`,
    "data-value": value ?? "",
  });
  const name = run.program.names.get(wire.u),
    colour = from ? tint(from) : name && tint(quantityOf(name));
  if (colour && !nothing) path.style.stroke = colour;
  layer.append(path);
  if (wire.v === "loss" || wire.v === null || !wire.bus || back) layer.append(arrowHead(way, colour, lit, nothing));
  if (back && from && !nothing) outsideLabel(layer, run, wire, from, value, last);
}

function arrowHead(way, colour, lit, nothing) {
  const [[x1, y1], [x2, y2]] = way.slice(-2),
    length = Math.hypot(x2 - x1, y2 - y1) || 1,
    [ux, uy] = [(x2 - x1) / length, (y2 - y1) / length],
    size = (lit ? 0.6 : 0.42) * grid.f;
  const corners = [[x2, y2], [x2 - size * (2 * ux - uy), y2 - size * (2 * uy + ux)], [x2 - size * (2 * ux + uy), y2 - size * (2 * uy - ux)]];
  const head = svg("polygon", { points: corners.join(" "), class: nothing ? "head none" : "head" });
  if (colour && !nothing) head.style.fill = colour;
  return head;
}

// Where a gradient comes in from: this step's loss, or the step after.
function outsideLabel(layer, run, wire, from, value, last) {
  const [x, y] = place(...wire.way[wire.way.length - 1]),
    state = run.program.names.get(wire.u),
    loss = wire.v === "loss",
    line = 1.15 * grid.f;
  const add = (dy, content, attributes) => {
    const node = svg("text", { x: loss ? x : x + 5, y: y + dy, "text-anchor": loss ? "middle" : "start", ...attributes });
    node.append(...content);
    node.style.fill = tint(from);
    layer.append(node);
  };
  const name = loss ? "dy" : last ? `d${state}_last` : `d${state}_next`,
    words = loss ? `from the ${run.above}` : last ? `${run.above}` : "from t+1";
  add(loss ? line : -0.35 * line, nameSpan(name, true, tint(from)), { class: "label" });
  add(loss ? 2 * line : 0.75 * line, [digits(value)], { class: "label", "data-from": wire.v || "next", "data-value": value ?? "" });
  if (!loss || !view.lecture) add(loss ? 2.8 * line : 1.6 * line, [words], { class: "outside" });
}

// The labels of what an operation hands on: value and gradient at its start, and each branch's share where the gradients meet.
function drawTrunk(layers, run, u, wires, { back, t, j, results, used, own, owner, trunks }) {
  const { program } = run,
    { f } = grid,
    name = program.names.get(u),
    total = program.totals.get(u),
    totalName = total === undefined ? undefined : program.names.get(total),
    colour = name && tint(quantityOf(name));
  const [x, y] = wires[0].way[0],
    [px, py] = place(x, y),
    leaf = !operands(program.ops[u]).length,
    isX = u === program.leaves.x;
  drawForks(layers.nodes, wires, back, back && own(u));
  const value = isX && run.D > 1 ? undefined : shownValue(run, u, t, j),
    gradient = back && !(isX && run.D > 1) ? shownValue(run, total, t, j) : undefined;
  const left = isX ? px : leaf ? 0.3 * f : px + halfWidth(signOf(run, u)) + 0.3 * f,
    above = isX ? py + 1.15 * f : py - 0.45 * f;
  const text = (dy, parts, classes, facts = {}) => {
    const node = svg("text", { x: left, y: above + dy, class: `label${classes}`, "text-anchor": isX ? "middle" : "start", ...facts });
    node.append(...parts);
    layers.labels.append(node);
  };
  const names = (n, gradientName) => (n ? nameSpan(n, gradientName, colour) : []);
  if (isX && run.D > 1) {
    text(0, [back ? "dx" : "x", ` (${run.D})`], "");
    return;
  }
  const under = isX ? f : view.lecture ? 1.35 * f : 1.55 * f;
  const mine = results.has(u) ? " on" : used.has(u) ? " operand" : "",
    its = own(u) ? " on" : used.has(total) ? " operand" : "";
  if (!back) {
    const facts = { "data-wire": name || "", "data-value": value ?? "" };
    if (grid.inline) text(0, [...names(name, false), digits(value)], mine, facts);
    else {
      text(0, names(name, false), mine);
      if (mine || !view.lecture) text(under, [digits(value)], mine, facts);
    }
  } else if (view.lecture) {
    // few and large: what the line computes, and what it reads
    if (mine) text(0, names(name, false), mine);
    else text(0, names(totalName, true), its);
    if (mine) text(under, [digits(value)], mine, { "data-wire": name || "", "data-value": value ?? "" });
    else if (its) text(under, [digits(gradient)], its, { "data-gradient": totalName || "", "data-value": gradient ?? "" });
  } else {
    const facts = { "data-gradient": totalName || "", "data-value": gradient ?? "" };
    const wrong = totalName && !view.norm ? run.wrongAt(totalName, t, Math.min(j, run.widthOf(totalName) - 1)) : undefined,
      shown = `${digits(gradient)}${wrong === undefined ? "" : " ≠"}`,
      classes = its + (wrong === undefined ? "" : " differs");
    const from = owner.get(total) ?? u,
      copy = grid.dense && from !== u && trunks.has(from); // where a gradient is copied it is written once
    if (grid.inline) text(0, [...names(totalName, true), shown], classes, facts);
    else if (!copy) {
      text(0, names(totalName, true), classes);
      text(under, [shown], classes, facts);
    }
    const room = (digits(value).length + 1 + (name || "").length) * 0.6 * 0.85 * f < grid.x - 0.5 * f; // the gradient above names it too
    text(grid.inline ? under : under + 0.95 * f, [...(room ? names(name, false) : []), digits(value)], ` small${mine}`, { "data-wire": name || "", "data-value": value ?? "" });
  }
  if (!back || wires.length < 2) return;
  for (const wire of wires.filter(w => w.v !== null && w.v !== "loss" && w.d !== null && !w.bus)) {
    const part = shownValue(run, wire.d, t, j),
      partName = program.names.get(wire.d),
      on = results.has(wire.d) ? " on" : used.has(wire.d) ? " operand" : "";
    if (part === undefined || (view.lecture && !on)) continue;
    const [[ax, ay], [bx, by]] = wire.way.slice(-2).map(p => place(...p)),
      sideways = ay === by;
    const node = svg("text", { x: sideways ? bx - 2 * f : bx + 0.6 * f, y: sideways ? by - 0.5 * f : (ay + by) / 2 + 0.3 * f, class: `label small${on}`, "text-anchor": sideways ? "end" : "start" });
    node.append(...(partName ? nameSpan(partName, true, colour) : []), digits(part));
    node.setAttribute("data-gradient", partName || "");
    node.setAttribute("data-value", part);
    layers.labels.append(node);
  }
}

// Where the wires of one source part: dots, and backwards the sums of what comes back. The many ways of x and h to their products
// meet in one sum.
function drawForks(layer, wires, back, lit) {
  if (wires.length < 2) return;
  const dot = ([x, y]) => svg("circle", { cx: place(x, y)[0], cy: place(x, y)[1], r: 0.26 * grid.f, class: "fork" });
  const buses = wires.filter(w => w.bus),
    others = wires.filter(w => !w.bus);
  const forks = forksOf(wires.map(w => w.way));
  if (!back) {
    layer.append(...forks.map(dot));
    return;
  }
  if (buses.length) {
    layer.append(...forks.filter(([x]) => x === buses[0].way[buses[0].way.length - 2][0]).map(dot));
    const [x, y] = buses[0].way.length > 3 ? buses[0].way[1] : buses[0].way[0],
      near = buses[0].way.length > 3 || others.length ? [x, y] : [x, y - 0.32];
    layer.append(...plus(...place(...near), lit));
  }
  if (others.length > 1 || (others.length && !buses.length)) for (const fork of forksOf(others.map(w => w.way))) layer.append(...plus(...place(...fork), lit));
}

const signOf = (run, at) => (run.program.drawing.nodes.find(n => n[0] === at) || [0, ""])[1];
const halfWidth = sign => (0.5 + 0.34 * Math.max(1.6, sign.length)) * grid.f;

function plus(x, y, lit) {
  return [svg("circle", { cx: x, cy: y, r: 0.72 * grid.f, class: `node${lit ? " on" : ""}` }), svg("text", { x, y: y + 0.34 * grid.f, "text-anchor": "middle", class: "sign" }, "+")];
}

function drawNode(layer, run, { at, sign, x, y }, { back, results, computing }) {
  const [px, py] = place(x, y),
    { program } = run,
    kind = program.ops[at][0];
  const name = program.names.get(at),
    colour = name && tint(quantityOf(name));
  if (back && kind === "add" && sign === "+") {
    layer.append(svg("circle", { cx: px, cy: py, r: 0.4 * grid.f, class: "fork" })); // a sum hands its gradient to all its parts
    return;
  }
  const lit = back ? computing.has(at) : results.has(at);
  const half = halfWidth(sign),
    shape =
      sign.length === 1 && sign !== "W" && sign !== "σ"
        ? svg("circle", { cx: px, cy: py, r: 0.95 * grid.half })
        : svg("rect", { x: px - half, y: py - grid.half, width: 2 * half, height: 2 * grid.half, rx: 0.5 * grid.f });
  shape.setAttribute("class", `node${lit ? " on" : ""}`);
  if (colour && (sign === "σ" || sign === "tanh")) shape.style.stroke = colour;
  const words = svg("text", { x: px, y: py + 0.34 * grid.f, "text-anchor": "middle", class: "sign" }, sign);
  layer.append(shape, words);
  if (back && !view.lecture && kind in SLOPE_SIGNS) layer.append(svg("text", { x: px, y: py - 1.6 * grid.f, "text-anchor": "middle", class: "slope" }, SLOPE_SIGNS[kind]));
}

const SLOPE_SIGNS = { sigmoid: "× s(1−s)", tanh: "× (1−y²)", relu: "× [y>0]" };
