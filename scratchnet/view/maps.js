// Heatmaps of units by time, which loss made which gradient, and what is said of the number under the pointer.

function mapNames(run) {
  if (view.mode === "forward")
    return [...(run.letters === "h" ? [] : run.letters), ...run.states].filter(n => run.has(n));
  const gradients = run.states.map(s => `d${s}`).filter(n => run.has(n));
  return [...gradients, "dh_next", ...[...run.letters].map(g => `da_${g}`)].filter(n => run.has(n));
}

function buildMaps(pane) {
  const { run, maps } = pane;
  maps.replaceChildren();
  pane.cursors = [];
  for (const name of mapNames(run))
    maps.append(heatmap(pane, name, run.T, run.H, (t, j) => run.get(name, t, j), scaleOf(run, name)));
  if (view.mode === "backward" && run.perLoss && !run.changed) maps.append(perLossMap(pane));
}

function heatmap(pane, name, T, H, value, scale) {
  const { run } = pane,
    own = name.replace(/^d(a_)?/, "");
  const canvas = element("canvas", {
    width: T,
    height: H,
    "data-map": name,
    role: "img",
    "aria-label": `${name}, units by time`,
  });
  const paint = canvas.getContext("2d");
  for (let t = 0; t < T; t++)
    for (let j = 0; j < H; j++) {
      paint.fillStyle = colourOf(value(t, j), scale);
      paint.fillRect(t, j, 1, 1);
    }
  const column = element("div", { class: "column" }),
    row = element("div", { class: "row" });
  const place = e => ({
    t: clamp(Math.floor((e.offsetX / canvas.clientWidth) * T), 0, T - 1),
    j: clamp(Math.floor((e.offsetY / canvas.clientHeight) * H), 0, H - 1),
  });
  canvas.addEventListener("click", e => go(name === "share" ? { t: place(e).t } : place(e)));
  canvas.addEventListener("pointermove", e => tip(e, explain(pane, name, place(e))));
  canvas.addEventListener("pointerleave", () => tip(null));
  pane.cursors.push(() => {
    const t = Math.min(view.t, T - 1),
      j = Math.min(view.j, H - 1);
    column.style.left = `${(100 * t) / T}%`;
    column.style.width = `max(3px, ${100 / T}%)`;
    row.style.top = `${(100 * j) / H}%`;
    row.style.height = `max(3px, ${100 / H}%)`;
  });
  const title = element("b", {}, name);
  if (tint(own)) title.style.color = tint(own);
  const meaning = PALETTE[own] ? ` ${name.startsWith("d") ? "gradient of the " : ""}${PALETTE[own].name}` : "";
  const range = element(
    "span",
    { class: "range" },
    scale.low < 0 ? `± ${fmt(scale.high, 2)}` : `${fmt(scale.low, 2)} … ${fmt(scale.high, 2)}`,
  );
  return element(
    "div",
    { class: "map" },
    element("div", { class: "label" }, element("span", {}, title, meaning), range),
    element("div", { class: "field" }, canvas, column, row),
  );
}

// Which loss made which gradient: columns are steps t, rows the losses tau.
function perLossMap(pane) {
  const { losses, size } = pane.run.perLoss,
    K = losses.length,
    T = pane.run.T;
  let most = 0;
  for (const v of size) most = Math.max(most, v);
  const value = (t, k) => {
    const v = size[t * K + k];
    return v > 0 ? Math.max(0, 1 + Math.log10(v / most) / 6) : 0;
  };
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
      t > losses[j]
        ? "a loss moves no later step"
        : `|da| ${fmt(size[t * K + j])}, ${total ? ((100 * size[t * K + j]) / total).toFixed(1) : 0}% of that of the losses shown`,
    ];
  }
  const value = run.get(name, t, j),
    lines = [`${name}[t=${label(pane, t)}, unit ${run.units[j]}] = ${fmt(value, 6)}`];
  for (const steps of [run.steps.backward, run.steps.forward]) {
    const term = steps.flatMap(s => s.terms).find(x => x[0] === name);
    if (term) {
      lines.push(
        `= ${term[1]
          .replace(/\{(\w+)\}/g, "$1")
          .replaceAll("*", "·")
          .replaceAll("^2", "²")}`,
        `= ${filled(run, term[1], t, j)}`,
      );
      break;
    }
  }
  const made = numeric(pane, name, t, j);
  if (made !== null)
    lines.push(`numeric gradient ${fmt(made, 6)}, difference ${Math.abs(made - value).toExponential(1)}`);
  return lines;
}

function tip(event, lines = []) {
  const box = $("tip");
  box.hidden = !event;
  if (!event) return;
  box.replaceChildren(...lines.map(line => element("div", {}, line)));
  box.style.left = `${Math.min(event.clientX + 14, innerWidth - box.offsetWidth - 8)}px`;
  box.style.top = `${event.clientY + 18 + box.offsetHeight > innerHeight ? event.clientY - box.offsetHeight - 10 : event.clientY + 18}px`;
}

// The text that belongs to a run's step t: a reversed run reads the sequence from its end.
const stepLabel = (run, trace, t) => trace.labels[run.reversed ? run.T - 1 - t : t + run.first];

const label = (pane, t) => {
  const text = stepLabel(pane.run, pane.trace, t);
  return text ? `${t + pane.run.first} “${text}”` : String(t + pane.run.first);
};
