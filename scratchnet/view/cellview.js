// The cell at one step, drawn with the numbers of one unit on its wires.

function drawCell(pane) {
  const { run } = pane,
    diagram = DIAGRAMS[run.cell];
  pane.cell.replaceChildren();
  if (!diagram) {
    pane.cell.append(element("p", {}, `no drawing of the ${run.cell} cell yet: its heatmaps are below`));
    return;
  }
  const back = view.mode === "backward",
    t = Math.min(view.t, run.T - 1),
    j = Math.min(view.j, run.H - 1);
  const step = stepsOf(run)[view.s],
    results = new Set(step ? step.terms.map(x => x[0]) : []);
  const operands = new Set(step ? step.terms.flatMap(x => [...x[1].matchAll(/\{(\w+)\}/g)].map(m => m[1])) : []);
  const drawing = svg("svg", {
    viewBox: `0 0 ${diagram.box[0]} ${diagram.box[1]}`,
    role: "img",
    "aria-label": `the ${run.cell} cell at step ${t}`,
  });
  drawing.append(svg("defs"));
  for (const [x, y, text] of diagram.notes) drawing.append(svg("text", { x, y, class: "quiet" }, text));
  const labels = [];
  for (const [q, d, points, [x, y]] of diagram.wires) {
    const name = back ? d : q,
      value = name && run.has(name) && run.width(name) === run.H ? run.get(name, t, j) : undefined;
    const lit = name && results.has(name),
      needed = [q, d].some(n => n && operands.has(n));
    const way = back ? [...points].reverse() : points;
    const wire = svg("polyline", {
      points: way.map(p => p.join(",")).join(" "),
      class: "wire" + (lit ? " on" : needed ? " operand" : ""),
    });
    const source = d === "dy" ? "from_loss" : d && d.endsWith("_next") ? "from_future" : null;
    if (!lit) {
      if (back && source) wire.style.stroke = tint(source);
      else if (needed || (!back && q && PALETTE[q]))
        wire.style.stroke = tint((q || "").replace(/^a_|_prev$/g, "")) || "";
    }
    drawing.append(wire, arrow(way, lit, wire.style.stroke));
    if (!name || (!x && !y)) continue;
    const shown = name === "x" || name === "dx" ? (run.D === 1 ? run.get(name, t, 0) : undefined) : value;
    const label = svg(
      "text",
      { x, y, class: "value" + (lit ? " on" : shown === undefined ? " off" : ""), "data-wire": name },
      shown === undefined ? name : `${name} ${fmt(shown, 3)}`,
    );
    if (shown !== undefined) label.setAttribute("data-value", shown);
    if (back && source) label.style.fill = tint(source);
    labels.push(label);
  }
  for (const [x, y, sign, makes] of diagram.nodes) {
    const on = results.has(back ? "d" + makes : makes) || (back && results.has("da_" + makes)),
      wide = sign.length > 1 || /[a-z]/.test(sign);
    const shape =
      wide && sign.length > 2
        ? svg("rect", { x: x - 30, y: y - 16, width: 60, height: 32, rx: 8 })
        : wide
          ? svg("rect", { x: x - 20, y: y - 17, width: 40, height: 34, rx: 8 })
          : svg("circle", { cx: x, cy: y, r: 15 });
    shape.setAttribute("class", "node" + (on ? " on" : ""));
    if (PALETTE[sign] && !on) shape.style.stroke = tint(sign);
    const text = svg(
      "text",
      { x, y: y + 5, "text-anchor": "middle" },
      run.cell === "rnn" && sign === "tanh" ? run.options.nonlinearity || sign : sign,
    );
    if (PALETTE[sign]) {
      text.style.fill = tint(sign);
      text.style.fontWeight = "700";
    }
    drawing.append(shape, text);
  }
  drawing.append(...labels);
  pane.cell.append(drawing);
  const lit = labels.find(l => l.classList.contains("on")); // on a narrow screen: scroll to what is being computed
  if (lit && pane.cell.scrollWidth > pane.cell.clientWidth)
    pane.cell.scrollLeft = (lit.getAttribute("x") / diagram.box[0]) * pane.cell.scrollWidth - pane.cell.clientWidth / 2;
}

function arrow(way, lit, colour) {
  const [x1, y1] = way[way.length - 2],
    [x2, y2] = way[way.length - 1],
    size = lit ? 9 : 6;
  const length = Math.hypot(x2 - x1, y2 - y1) || 1,
    ux = (x2 - x1) / length,
    uy = (y2 - y1) / length;
  const points = [
    [x2, y2],
    [x2 - size * (2 * ux - uy * 0.9), y2 - size * (2 * uy + ux * 0.9)],
    [x2 - size * (2 * ux + uy * 0.9), y2 - size * (2 * uy - ux * 0.9)],
  ];
  const head = svg("polygon", { points: points.map(p => p.join(",")).join(" ") });
  head.style.fill = lit ? "var(--accent)" : colour || "var(--wire)";
  return head;
}
