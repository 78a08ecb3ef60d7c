// Input, output and target, and the size of states or gradients, by step; a cursor to drag.

const LEFT = 70,
  RIGHT = 16;

function buildTimeline(pane) {
  const { run, time, trace } = pane,
    T = run.T;
  time.replaceChildren();
  const WIDE = Math.max(340, time.clientWidth - 26); // in pixels of the screen, so that its text keeps its size
  const x = t => LEFT + ((WIDE - LEFT - RIGHT) * (t + 0.5)) / T;
  const drawing = svg("svg", {
    viewBox: `0 0 ${WIDE} 250`,
    role: "slider",
    "aria-label": "time step",
    "aria-valuemin": 0,
    "aria-valuemax": T - 1,
    tabindex: 0,
  });
  const curve = (values, y, colour, dash = "") => {
    const line = svg("polyline", {
      points: values
        .map((v, t) => (Number.isFinite(v) ? `${x(t).toFixed(1)},${y(v).toFixed(1)}` : ""))
        .filter(Boolean)
        .join(" "),
      class: "curve",
      "stroke-dasharray": dash,
    });
    line.style.stroke = colour;
    drawing.append(line);
  };
  const legend = (entries, y) => {
    let at = LEFT + 6;
    for (const [text, colour] of entries) {
      const node = svg("text", { x: at, y }, text);
      node.style.fill = colour;
      drawing.append(node);
      at += 8 * text.length + 16;
    }
  };
  // input, output and target
  const column = (values, w, k) => Array.from({ length: T }, (_, t) => values[t * w + k]);
  const curves = [];
  for (let k = 0; k < Math.min(run.D, 3); k++)
    curves.push([run.D === 1 ? "input" : `input ${k}`, column(run.q.x, run.D, k), tint("x"), ["", "3 3", "8 3"][k]]);
  if (!run.reversed)
    for (const [name, values] of Object.entries(trace.outputs)) {
      const w = values.shape[1];
      for (let k = 0; k < w; k++)
        curves.push([
          w === 1 ? name : `${name} ${k}`,
          column(values, w, k),
          tint(name === "target" ? "from_loss" : "h"),
          name === "target" ? "5 3" : "",
        ]);
    }
  if (curves.length) {
    const all = curves.flatMap(c => c[1]).filter(Number.isFinite),
      low = Math.min(...all),
      high = Math.max(...all),
      span = high - low || 1;
    for (const [, values, colour, dash] of curves) curve(values, v => 92 - (70 * (v - low)) / span, colour, dash);
    legend(
      curves.map(c => [c[0], c[2]]),
      12,
    );
    drawing.append(
      svg("text", { x: 4, y: 28, class: "quiet" }, fmt(high, 3)),
      svg("text", { x: 4, y: 94, class: "quiet" }, fmt(low, 3)),
    );
  }
  // |dh| and |dc| (or, forwards, |h| and |c|) by step, log axis
  const back = view.mode === "backward",
    names = run.states.map(s => (back ? `d${s}` : s)).filter(n => run.has(n));
  const sizes = names.map(n =>
    Array.from({ length: T }, (_, t) => Math.sqrt(run.row(n, t).reduce((a, b) => a + b * b, 0))),
  );
  const positive = sizes.flat().filter(v => v > 0);
  if (positive.length) {
    const high = Math.ceil(Math.log10(Math.max(...positive))),
      low = Math.min(high - 1, Math.max(high - 16, Math.floor(Math.log10(Math.min(...positive)))));
    const y = v => 215 - (95 * (Math.log10(v) - low)) / (high - low);
    for (const tick of [low, high])
      drawing.append(
        svg("text", { x: 4, y: y(10 ** tick) + 4, class: "quiet" }, `1e${tick}`),
        svg("line", { x1: LEFT, x2: WIDE - RIGHT, y1: y(10 ** tick), y2: y(10 ** tick), class: "axis" }),
      );
    sizes.forEach((values, k) =>
      curve(
        values.map(v => (v > 10 ** low * 0.99 ? v : NaN)),
        y,
        tint(names[k].replace(/^d/, "")),
        k ? "6 3" : "",
      ),
    );
    legend(
      names.map(n => [`|${n}| by step`, tint(n.replace(/^d/, ""))]),
      114,
    );
  }
  const every = Math.max(1, Math.ceil((T * 45) / (WIDE - LEFT)));
  for (let t = 0; t < T; t += every)
    drawing.append(
      svg(
        "text",
        { x: x(t), y: 240, class: "quiet", "text-anchor": "middle" },
        stepLabel(run, trace, t) || String(t + run.first),
      ),
    );
  const cursor = svg("line", { y1: 16, y2: 226, class: "cursor" });
  drawing.append(cursor);
  const seek = e => {
    const box = drawing.getBoundingClientRect();
    go({
      t: clamp(
        Math.floor((((e.clientX - box.left) / box.width) * WIDE - LEFT) / ((WIDE - LEFT - RIGHT) / T)),
        0,
        T - 1,
      ),
    });
  };
  drawing.addEventListener("pointerdown", e => {
    drawing.setPointerCapture(e.pointerId);
    seek(e);
  });
  drawing.addEventListener("pointermove", e => {
    if (e.buttons) seek(e);
  });
  time.append(drawing);
  pane.cursors.push(() => {
    const t = Math.min(view.t, T - 1);
    cursor.setAttribute("x1", x(t));
    cursor.setAttribute("x2", x(t));
    drawing.setAttribute("aria-valuetext", `step ${t + run.first}`);
    drawing.setAttribute("aria-valuenow", t);
  });
}
