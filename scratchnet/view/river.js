// The river: the unrolled network, all steps side by side, one lane for each trace. The width of a ribbon is the size of the
// gradient of a state over all units, on one logarithmic scale for all lanes; it flows from right to left, from the loss back.

const RIVER = { left: 16, half: 0.42, box: 0.62 }; // half: of a ribbon at its widest, in rows
const letters = () => (view.lecture ? Math.max(15, 0.031 * screenHeight()) : 15); // the height of a letter, in pixels

// The gradients that a lane shows: of each state, the carried one on top.
const ribbonsOf = run => [...run.states].reverse().filter(s => run.has(`d${s}`));

// The size of what arrives from the loss at each step, through the output and, at the last step, through the final state.
function lossSizes(run) {
  const sizes = Float64Array.from(run.norms("dy"));
  if (!run.arrivesLast) return sizes;
  for (const s of run.states) sizes[run.T - 1] = Math.hypot(sizes[run.T - 1], run.norms(`d${s}_next`)[run.T - 1]);
  return sizes;
}

function riverScale(lanes) {
  const all = lanes.flatMap(run => [...ribbonsOf(run).map(s => run.norms(`d${s}`)), lossSizes(run)].flatMap(v => [...v])).filter(v => Number.isFinite(v) && v > 0);
  const top = all.length ? Math.max(...all) : 1,
    decades = clamp(Math.ceil(Math.log10(top / Math.min(...all))) + 1, 3, 10) || 3;
  return { top, decades, width: v => (v > 0 && Number.isFinite(v) ? Math.max(0, 1 + Math.log10(v / top) / decades) : 0) };
}

// The measures of a drawing: x of a step, tops of the lanes, the height of a ribbon's row, and half of a ribbon at its widest. A row is
// equally high in all lanes and the key, so that widths can be compared.
function riverPlan(wide, lanes) {
  const strip = view.zoom !== "river",
    f = letters(),
    T = Math.max(...lanes.map(r => r.T)),
    right = strip ? 16 : 7.5 * f;
  const called = strip && lanes.length > 1 ? panes.map(p => p.trace.label.slice(0, 8)) : [],
    left = strip ? (2.4 + 0.6 * Math.max(0, ...called.map(c => c.length))) * f : RIVER.left,
    x = t => left + ((wide - left - right) * (t + 0.5)) / T;
  const taken = ["header", "#alarm", "#knobs", "#story", "#gates"].reduce((sum, q) => sum + (document.querySelector(q)?.offsetHeight ?? 0), 0),
    head = strip ? 6 : 2.9 * f,
    rows = lanes.map(r => Math.max(1, ribbonsOf(r).length)),
    all = rows.reduce((sum, n) => sum + n, 0),
    key = 2 * RIVER.half,
    room = (screenHeight() - taken - 40 - lanes.length * head - 4.6 * f) / (all + key);
  const row = strip ? (view.lecture ? 18 : 20) : view.lecture ? clamp(room, 30, 140) : 76,
    tops = rows.map((_, k) => k * head + row * rows.slice(0, k).reduce((sum, n) => sum + n, 0)),
    foot = strip ? 1.6 * f : 4.6 * f + key * row;
  return { strip, f, T, left, right, x, wide, head, row, tops, called, end: lanes.length * head + row * all, foot, half: RIVER.half * row, labelled: panes[0].trace.labels.length > 0 };
}

function drawRiver(click = "click a step to see its cell") {
  const box = $("river"),
    lanes = panes.map(p => p.run),
    wide = Math.max(300, box.clientWidth - 2),
    plan = riverPlan(wide, lanes),
    height = plan.end + plan.foot;
  const key = JSON.stringify([view.run, wide, height, screenHeight(), plan.strip, view.lecture, theme(), lanes.map(r => r.version || 0)]);
  if (drawRiver.key !== key) {
    drawRiver.key = key;
    const scale = riverScale(lanes);
    const root = svg("svg", { viewBox: `0 0 ${wide} ${height}`, width: wide, height, role: "group", style: `--letters:${plan.f}px`, "aria-label": `the gradient of each state at each step, on a logarithmic scale; ${click}` });
    const band = svg("rect", { class: "band", y: 0, height: height - plan.foot + 4 });
    root.append(band);
    panes.forEach((pane, k) => drawLane(root, pane, k, plan, scale));
    drawFoot(root, panes[0], plan.end, plan, scale);
    root.addEventListener("pointerdown", e => go(plan.strip ? { t: stepUnder(e, root, plan) } : { t: stepUnder(e, root, plan), zoom: "cell" }));
    root.addEventListener("pointermove", e => riverHover(e, root, plan));
    root.addEventListener("pointerleave", () => tip(null));
    box.replaceChildren(root);
    drawRiver.move = () => {
      const w = (wide - plan.left - plan.right) / plan.T;
      band.setAttribute("x", plan.x(view.t) - w / 2);
      band.setAttribute("width", Math.max(3, w));
    };
  }
  drawRiver.move();
}

function stepUnder(e, root, { wide, left, right, T }) {
  const box = root.getBoundingClientRect(),
    x = ((e.clientX - box.left) / box.width) * wide;
  return clamp(Math.floor(((x - left) / (wide - left - right)) * T), 0, T - 1);
}

function riverHover(e, root, plan) {
  const t = stepUnder(e, root, plan);
  if (plan.strip && e.buttons) {
    go({ t });
    return;
  }
  const lines = panes.flatMap(pane => {
    const { run } = pane,
      s = Math.min(t, run.T - 1);
    return [`${pane.trace.label}, step ${label(pane, s)}`, ...ribbonsOf(run).map(n => `|d${n}| = ${fmt(run.norms(`d${n}`)[s], 3)} over all units`), `from the loss ${fmt(lossSizes(run)[s], 3)}`];
  });
  tip(e, lines);
}

// A ribbon around a middle line, from step to step; where the numbers are not finite it is marked.
function ribbon(values, x, y, half, colour) {
  const group = svg("g"),
    up = [],
    down = [];
  values.forEach((v, t) => {
    if (!Number.isFinite(v)) group.append(svg("text", { x: x(t), y: y + 5, "text-anchor": "middle", class: "broken" }, "✕"));
    const w = Number.isFinite(v) ? half(v) : 0;
    up.push(`${x(t).toFixed(1)},${(y - w).toFixed(2)}`);
    down.unshift(`${x(t).toFixed(1)},${(y + w).toFixed(2)}`);
  });
  if (values.length === 1) {
    const w = half(values[0]);
    return svg("rect", { x: x(0) - 14, y: y - w, width: 28, height: 2 * w, style: `fill:${colour}` });
  }
  const shape = svg("polygon", { points: [...up, ...down].join(" "), class: "ribbon" });
  shape.style.fill = colour;
  group.prepend(shape);
  return group;
}

function drawLane(root, pane, lane, plan, scale) {
  const { run, trace } = pane,
    { x, strip, f, head, row, half: most } = plan,
    top = plan.tops[lane],
    names = ribbonsOf(run),
    T = run.T,
    middle = k => top + head + row * (k + 0.5) - (strip ? 3 : 0);
  if (!names.length) {
    root.append(svg("text", { x: RIVER.left, y: top + 1.6 * f, class: "lane" }, `${trace.label}: no gradients`));
    return;
  }
  const step = T > 1 ? x(1) - x(0) : 60;
  if (T <= 40 && !strip) for (let t = 0; t < T; t++) root.append(svg("rect", { x: x(t) - (step * RIVER.box) / 2, y: top + head + 2, width: step * RIVER.box, height: row * names.length - 4, rx: 7, class: "unrolled" }));
  names.forEach((s, k) => {
    const values = [...run.norms(`d${s}`)];
    root.append(ribbon(values, x, middle(k), v => most * scale.width(v), tint(s)));
    root.append(svg("line", { x1: x(0), x2: x(T - 1), y1: middle(k), y2: middle(k), class: "core" }));
    const name = svg("text", strip ? { x: 3, y: middle(k) + 0.35 * f, class: "tiny" } : { x: x(T - 1) + 0.9 * f, y: middle(k) + 0.35 * f, class: "state" });
    if (plan.called.length) name.append(`${plan.called[lane]} `);
    name.append(...nameSpan(`d${s}`, true, tint(s)));
    if (!strip && !k) root.append(...fadedText(values, scale, x, middle(k), f));
    if (!strip) name.append(svg("tspan", { class: "quiet" }, fmt(values[T - 1], 2)));
    root.append(name);
  });
  lossSizes(run).forEach((v, t) => {
    const w = scale.width(v),
      y = middle(names.length - 1) + most * 0.3;
    if (w) root.append(lossArrow(x(t), y, strip ? 10 : 26, Math.max(1.5, Math.min(step * 0.5, (strip ? 6 : 15) * w))));
  });
  if (strip) return;
  root.append(svg("text", { x: RIVER.left, y: top + 1.3 * f, class: "lane" }, trace.label));
  const story = survival(run, names[0]);
  if (story) {
    const fitting = story.find(words => 0.54 * f * words.length < plan.wide - 2 * RIVER.left) || story[2];
    root.append(svg("text", { x: RIVER.left, y: top + 2.5 * f, class: "say" }, fitting));
  }
}

// Where a gradient is too small for the scale, said once.
function fadedText(values, scale, x, y, f) {
  const first = values.findIndex(v => !Number.isFinite(v) || scale.width(v) > 0),
    words = `below ${fmt(scale.top * 10 ** -scale.decades, 1)}`;
  if (first < 0 || x(first) - x(0) < 0.6 * words.length * f) return [];
  return [svg("text", { x: (x(0) + x(first)) / 2, y: y - 0.4 * f, "text-anchor": "middle", class: "tick" }, words)];
}

function lossArrow(x, y, tall, thick) {
  const arrow = svg("path", { d: `M${x},${y}l${-thick},${tall * 0.5}h${thick * 0.55}v${tall * 0.5}h${thick * 0.9}v${-tall * 0.5}h${thick * 0.55}z`, class: "arriving" });
  arrow.style.fill = tint("from_loss");
  return arrow;
}

const share = v => (v >= 1e-4 ? `${fmt(100 * v, 2)} %` : fmt(v, 2));

// From the loss that is furthest ahead: what of its gradient arrives at the first step, alone or, with a loss at each step, from
// the matrix of per-loss gradients; and what each step multiplies it by.
function survival(run, s) {
  const losses = [...lossSizes(run)].map((v, t) => (v > 0 ? t : -1)).filter(t => t >= 0),
    values = run.norms(`d${s}`);
  let from = losses[losses.length - 1],
    left;
  if (losses.length === 1) left = values[0] / values[from];
  else if (losses.length && run.perLoss && !run.changed) {
    const K = run.perLoss.losses.length;
    from = run.perLoss.losses[K - 1];
    left = run.perLoss.size[K - 1] / run.perLoss.size[from * K + K - 1];
  }
  if (!from || left === undefined || Number.isNaN(left)) return null;
  const each = left ** (1 / from),
    steps = `${from} step${from > 1 ? "s" : ""} back`,
    rest = left > 1.2 ? `it is ${fmt(left, 2)} times as large` : `${share(left)} of it is left`;
  const factor = `d${s} × ${fmt(each, 3)} per step`,
    [whole, brief] = why(run, s, each);
  return [`${factor} back: ${whole}. ${steps[0].toUpperCase()}${steps.slice(1)}, ${rest}.`, `${factor}: ${brief}; ${rest}`, `${factor}, ${rest}`];
}

// What a state is multiplied by on its way to the next step, in a sentence and in a few words; and if more arrives (each: the factor per step), what adds to it.
function why(run, s, each) {
  const at = run.carry[s];
  if (at === undefined || !run.ready(at)) return ["through W_h and the slope of the activation", "W_h and the slope"];
  if (["constant", "state"].includes(run.program.ops[at][0])) return ["it is multiplied by 1", "times 1"];
  const name = run.program.names.get(at);
  // Weighted with the square of the gradient that it multiplies: a gate matters where gradient comes through it.
  let sum = 0,
    weight = 0;
  for (let t = 0; t < run.T; t++)
    run.steps.rowOf(at, t).forEach((v, j) => {
      const d = run.get(`d${s}`, t, j) ** 2;
      sum += d * v;
      weight += d;
    });
  if (!(weight > 0)) return ["", ""];
  const mean = fmt(sum / weight, 3),
    gate = name && PALETTE[name] ? `the ${PALETTE[name].name} ${name}` : written(run.program, at),
    added = each > 1.001 * (sum / weight) ? `, and ${s === run.states[0] ? "W_h" : `d${run.states[0]}`} adds to it` : "";
  return [`${gate} is ${mean} on average${added}`, `${name || written(run.program, at)} is ${mean}`];
}

function drawFoot(root, pane, top, plan, scale) {
  const { run } = pane,
    { x, f, strip, wide } = plan,
    T = run.T,
    room = T > 1 ? x(1) - x(0) : 60;
  const texts = Array.from({ length: T }, (_, t) => stepLabel(run, pane.trace, t) ?? ""),
    every = plan.labelled ? 1 : Math.max(1, Math.ceil((2.3 * f) / room));
  const size = plan.labelled ? clamp(room * 1.3, 4, 1.1 * f) : view.lecture ? f : 0.87 * f;
  const ticks = Array.from({ length: Math.ceil(T / every) }, (_, k) => k * every);
  if (ticks[ticks.length - 1] < T - 1) ticks.splice((T - 1 - ticks[ticks.length - 1]) * room < 2.3 * f ? -1 : T, 1, T - 1); // the last step has a number
  for (const t of ticks) {
    const shown = plan.labelled ? visible(texts[t]) : String(t + run.first);
    root.append(svg("text", { x: x(t), y: top + 1.1 * f, "text-anchor": "middle", class: "tick", style: `font-size:${size}px` }, shown));
  }
  const marks = DATA.marks.map(m => m - run.first).filter(t => t >= 0 && t < T),
    mark = (at, y, name = "mark") => svg("path", { d: `M${at},${y}l${-0.35 * f},${-0.6 * f}h${0.7 * f}z`, class: name });
  for (const t of marks) root.append(mark(x(t), top - 1));
  if (!strip) drawKey(root, top + 3.4 * f, wide - plan.right, plan, scale, marks.length ? mark : null);
}

// Beneath the time: which way the gradient travels, what the signs mean, and how wide a ribbon is.
function drawKey(root, y, end, { f, wide, half }, scale, mark) {
  const from = RIVER.left;
  root.append(svg("path", { d: `M${end},${y}H${from + 12}m0,-7l-13,7l13,7`, class: "travel" }));
  root.append(svg("text", { x: end, y: y - 0.5 * f, "text-anchor": "end", class: "travel" }, end - from > 48 * f ? "the gradient travels this way: from the loss, back in time" : end - from > 28 * f ? "the gradient travels back" : end - from > 22 * f ? "back in time" : ""));
  root.append(lossArrow(from + 0.7 * f, y - 1.4 * f, f, 0.5 * f), svg("text", { x: from + 1.6 * f, y: y - 0.5 * f, class: "tick" }, "from the loss"));
  if (mark) root.append(mark(from + 9.4 * f, y - 0.5 * f, "wedge"), svg("text", { x: from + 10 * f, y: y - 0.5 * f, class: "tick" }, "marked"));
  const places = Math.max(1, Math.floor((end - from) / (6 * f))),
    apart = Math.ceil(scale.decades / places),
    highest = Math.floor(Math.log10(scale.top));
  for (let k = 0, power = highest; power > Math.log10(scale.top) - scale.decades; k++, power -= apart) {
    const w = half * scale.width(10 ** power),
      at = from + k * 6 * f;
    root.append(svg("rect", { x: at, y: y + 0.8 * f + half - w, width: 1.4 * f, height: 2 * w, class: "wedge" }), svg("text", { x: at + 1.8 * f, y: y + 1.15 * f + half, class: "tick" }, fmt(10 ** power, 1)));
  }
}
