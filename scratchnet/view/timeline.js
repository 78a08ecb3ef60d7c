// Input, output and target by step, with a cursor to drag.

const LEFT = 70,
  RIGHT = 16;

function buildTimeline(pane) {
  const { run, time, trace } = pane,
    T = run.T;
  const wide = Math.max(280, time.clientWidth - 26), // in pixels of the screen, so that its text keeps its size
    x = t => LEFT + ((wide - LEFT - RIGHT) * (t + 0.5)) / T;
  const column = (values, w, k) => Array.from({ length: T }, (_, t) => values[t * w + k]);
  const curves = [];
  if (run.has("x"))
    for (let k = 0; k < Math.min(run.D, 3); k++) curves.push([run.D === 1 ? "input" : `input ${k}`, Array.from({ length: T }, (_, t) => run.get("x", t, k)), tint("x"), ["", "3 3", "8 3"][k]]);
  if (!run.reversed)
    for (const [name, values] of Object.entries(trace.outputs)) {
      const w = values.shape[1];
      for (let k = 0; k < w; k++) curves.push([w === 1 ? name : `${name} ${k}`, column(values, w, k), tint(name === "target" ? "from_loss" : "h"), name === "target" ? "5 3" : ""]);
    }
  time.replaceChildren();
  time.hidden = !curves.length || trace.labels.length > 0;
  if (time.hidden) return;
  const drawing = svg("svg", { viewBox: `0 0 ${wide} 150`, role: "slider", "aria-label": "time step", "aria-valuemin": 0, "aria-valuemax": T - 1, tabindex: 0 });
  const all = curves.flatMap(c => c[1]).filter(Number.isFinite),
    low = Math.min(...all, Infinity),
    high = Math.max(...all, -Infinity),
    span = high - low || 1;
  let at = LEFT + 6;
  for (const [name, values, colour, dash] of curves) {
    const points = values.map((v, t) => [x(t), 108 - (80 * (v - low)) / span, v]);
    const line = svg("polyline", { points: points.filter(p => Number.isFinite(p[2])).map(p => `${p[0].toFixed(1)},${p[1].toFixed(1)}`).join(" "), class: "curve", "stroke-dasharray": dash });
    line.style.stroke = colour;
    drawing.append(line);
    for (const [px, py, v] of points)
      if (!Number.isFinite(v)) drawing.append(svg("text", { x: px, y: 20, "text-anchor": "middle", class: "broken" }, "✕"));
      else if (T === 1) drawing.append(svg("circle", { cx: px, cy: py, r: 4, style: `fill:${colour}` }));
    const words = svg("text", { x: at, y: 14 }, name);
    words.style.fill = colour;
    drawing.append(words);
    at += 9 * name.length + 18;
  }
  if (all.length) drawing.append(svg("text", { x: 4, y: 32, class: "quiet" }, fmt(high, 3)), svg("text", { x: 4, y: 112, class: "quiet" }, fmt(low, 3)));
  const every = Math.max(1, Math.ceil((T * 45) / (wide - LEFT)));
  for (let t = 0; t < T; t += every) drawing.append(svg("text", { x: x(t), y: 138, class: "quiet", "text-anchor": "middle" }, String(t + run.first)));
  const cursor = svg("line", { y1: 18, y2: 122, class: "cursor" });
  drawing.append(cursor);
  const seek = e => {
    const box = drawing.getBoundingClientRect();
    go({ t: clamp(Math.floor((((e.clientX - box.left) / box.width) * wide - LEFT) / ((wide - LEFT - RIGHT) / T)), 0, T - 1) });
  };
  drawing.addEventListener("pointerdown", e => {
    drawing.setPointerCapture(e.pointerId);
    seek(e);
  });
  drawing.addEventListener("pointermove", e => e.buttons && seek(e));
  time.append(element("h2", {}, "input, output and target"), drawing);
  pane.cursors.push(() => {
    const t = Math.min(view.t, T - 1);
    cursor.setAttribute("x1", x(t));
    cursor.setAttribute("x2", x(t));
    drawing.setAttribute("aria-valuetext", `step ${t + run.first}`);
    drawing.setAttribute("aria-valuenow", t);
  });
}
