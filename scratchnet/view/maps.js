// Heatmaps of units by time, which loss made which gradient, and what is said of the number under the pointer.

function mapNames(run) {
  const names = n => run.has(n);
  if (view.mode === "forward") return [...(run.letters.length > 1 ? run.letters : []), ...run.states].filter(names);
  const gradients = run.states.map(s => `d${s}`).filter(names);
  return [...gradients, ...run.states.map(s => `d${s}_next`), ...[...run.letters].map(g => `da_${g}`)].filter(names);
}

function buildMaps(pane) {
  const { run, maps } = pane;
  maps.replaceChildren();
  pane.cursors = [];
  for (const name of mapNames(run)) {
    const value = run.reader(name);
    maps.append(heatmap(pane, name, run.T, run.H, (t, k) => value(t, run.order[k]), scaleOf(run, name, () => sharedLargest(name))));
  }
  if (view.mode === "backward" && run.right) maps.append(differenceMap(pane));
  if (view.mode === "backward" && run.perLoss && !run.changed) maps.append(perLossMap(pane));
}

// Side by side, a quantity has one colour range in all panes.
const sharedLargest = name => Math.max(...panes.map(p => (p.run.has(name) ? p.run.largest(name) : 0)));

function heatmap(pane, name, T, H, value, scale) {
  const { run } = pane;
  const canvas = element("canvas", { width: T, height: H, "data-map": name, role: "application", tabindex: 0, "aria-label": `${name}, units by time: arrow keys move` });
  fill(canvas, T, H, value, scale);
  const column = element("div", { class: "column" }),
    row = element("div", { class: "row" });
  const spot = e => ({ t: clamp(Math.floor((e.offsetX / canvas.clientWidth) * T), 0, T - 1), k: clamp(Math.floor((e.offsetY / canvas.clientHeight) * H), 0, H - 1) });
  const unit = ({ t, k }) => ({ t, j: name === "share" ? k : (run.order[k] ?? k) });
  const visit = p => go(name === "share" ? { t: p.t } : { t: p.t, j: leadUnit(run, p.j) });
  canvas.addEventListener("click", e => visit(unit(spot(e))));
  canvas.addEventListener("pointermove", e => tip(e, explain(pane, name, unit(spot(e)))));
  canvas.addEventListener("pointerleave", () => tip(null));
  canvas.addEventListener("keydown", e => {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[e.key];
    if (!moves) return;
    e.preventDefault();
    e.stopPropagation();
    const k = clamp(run.order.indexOf(unitOf(run)) + moves[1], 0, H - 1);
    visit({ t: clamp(view.t + moves[0], 0, T - 1), j: run.order[k] ?? k });
    say(explain(pane, name, { t: Math.min(view.t, T - 1), j: unitOf(run) }).slice(0, 2).join(", "));
  });
  pane.cursors.push(() => {
    const t = Math.min(view.t, T - 1),
      k = run.order.indexOf(unitOf(run));
    column.style.left = `${(100 * t) / T}%`;
    column.style.width = `max(3px, ${100 / T}%)`;
    row.style.top = `${(100 * k) / H}%`;
    row.style.height = `max(3px, ${100 / H}%)`;
  });
  const own = quantityOf(name),
    title = element("b", {}, text(name, isGradientName(run, name)));
  if (tint(own)) title.style.color = tint(own);
  const meaning = PALETTE[own] && !own.startsWith("from") ? ` ${isGradientName(run, name) ? "gradient of the " : ""}${PALETTE[own].name}` : "";
  const range = element("span", { class: "range" }, rangeText(scale));
  const units = element("div", { class: "units", "aria-hidden": "true" }, ...unitNumbers(run, H, name));
  return element("div", { class: "map" }, element("div", { class: "label" }, element("span", {}, title, meaning), range), element("div", { class: "with" }, units, element("div", { class: "field" }, canvas, column, row)));
}

const isGradientName = (run, name) => (run.program ? isGradient(run.program, name) : /^d(?!rop)/.test(name));

// The numbers of the units beside the rows, as many as fit.
function unitNumbers(run, H, name) {
  if (name === "share") return [];
  const every = Math.ceil(H / 8);
  return run.order.map((j, k) => element("span", { style: `top:${(100 * (k + 0.5)) / H}%` }, k % every ? "" : String(run.units[j]))).filter(n => n.textContent);
}

// The share of each loss in each gradient: columns are steps t, rows the losses tau.
function perLossMap(pane) {
  const { losses, size } = pane.run.perLoss,
    K = losses.length,
    T = pane.run.T,
    most = size.reduce((a, b) => Math.max(a, b), 0);
  const value = (t, k) => (size[t * K + k] > 0 ? Math.max(0, 1 + Math.log10(size[t * K + k] / most) / 6) : 0);
  const map = heatmap(pane, "share", T, K, value, { low: 0, high: 1 });
  map.querySelector("b").textContent = "|da|";
  const of = pane.run.perLoss.of > K ? `, ${K} of ${pane.run.perLoss.of} losses` : "";
  map.querySelector("b").after(` at step t (across) from the loss at step τ (down${of})`);
  map.querySelector(".range").textContent = `log, ${fmt(most * 1e-6, 2)} … ${fmt(most, 2)}`;
  map.querySelector(".row").remove();
  return map;
}

function explain(pane, name, { t, j }) {
  const { run } = pane;
  if (name === "share") {
    const { losses, size } = run.perLoss,
      K = losses.length;
    let total = 0;
    for (let k = 0; k < K; k++) total += size[t * K + k];
    return [
      `step ${label(pane, t)}, loss at step ${losses[j]}`,
      t > losses[j] ? "no gradient: the loss depends on earlier steps only" : `|da| ${fmt(size[t * K + j])}, ${total ? ((100 * size[t * K + j]) / total).toFixed(1) : 0}% of the sum over the losses shown`,
    ];
  }
  if (name === "difference") return explainDifference(pane, t, j);
  atLast = t === run.T - 1;
  const value = run.get(name, t, j),
    lines = [`${text(name, isGradientName(run, name))} at t = ${label(pane, t)}, unit ${run.units[j]}: ${fmt(value, 6)}`],
    at = run.program?.at(name);
  if (at !== undefined && run.program.ops[at].length > 2) lines.push(`= ${written(run.program, at)}`, `= ${filled(run, at, t, j)}`);
  const made = numeric(pane, name, t, j);
  if (made !== null) lines.push(`numeric gradient ${fmt(made, 6)}, difference ${Math.abs(made - value).toExponential(1)}`);
  return lines;
}

function tip(event, lines = []) {
  const box = $("tip");
  box.hidden = !event;
  if (!event) return;
  box.replaceChildren(...lines.map(line => element("div", {}, line)));
  box.style.left = `${Math.max(4, Math.min(event.clientX + 14, innerWidth - box.offsetWidth - 8))}px`;
  box.style.top = `${event.clientY + 18 + box.offsetHeight > innerHeight ? event.clientY - box.offsetHeight - 10 : event.clientY + 18}px`;
}

// The text that belongs to a run's step t: a reversed run reads the sequence from its end.
const stepLabel = (run, trace, t) => trace.labels[run.reversed ? run.T - 1 - t : t + run.first];

const label = (pane, t) => {
  const own = stepLabel(pane.run, pane.trace, t);
  return own ? `${t + pane.run.first} “${own}”` : String(t + pane.run.first);
};
