// A wrong backward pass beside the right one: where their numbers differ, and the first difference.

function differs(value, right, scale) {
  return Math.abs(value - right) > 1e-9 * scale || Number.isNaN(value) !== Number.isNaN(right);
}

// The largest relative difference of any term at each step and unit.
function differenceMap(pane) {
  const { run } = pane,
    value = (t, k) => differenceAt(run, t, run.order[k]).size,
    map = heatmap(pane, "difference", run.T, run.H, (t, k) => Math.min(1, Math.max(0, 1 + Math.log10(value(t, k) || 1e-12) / 12)), { low: 0, high: 1 });
  map.querySelector("b").textContent = "difference from the right gradient";
  map.querySelector(".range").textContent = "log, relative to the term";
  return map;
}

function differenceAt(run, t, j) {
  let found = { size: 0, name: null };
  for (const [name, right] of Object.entries(run.right)) {
    if (!run.has(name) || run.widthOf(name) !== run.H) continue;
    const value = run.get(name, t, j),
      r = right[t * run.H + j],
      size = Math.abs(value - r) / run.rightScale(name);
    if (differs(value, r, run.rightScale(name)) && size > found.size) found = { size, name, value, right: r };
  }
  return found;
}

function explainDifference(pane, t, j) {
  const { size, name, value, right } = differenceAt(pane.run, t, j);
  const where = `t = ${label(pane, t)}, unit ${pane.run.units[j]}`;
  return name ? [where, `${name} is ${fmt(value, 6)}, right is ${fmt(right, 6)}`, `relative difference ${size.toExponential(1)}`] : [where, "no difference"];
}

// The next step, term and unit that differ, in the order in which a backward pass computes.
function nextDifference() {
  const pane = panes.find(p => p.run.right);
  if (!pane) return;
  const { run } = pane,
    list = run.walk.backward;
  let started = false;
  for (let t = run.T - 1; t >= 0; t--)
    for (let s = 0; s < list.length; s++) {
      if (t === view.t && s === view.s) {
        started = true;
        continue;
      }
      if (!started && differenceStart === null) started = true;
      if (!started) continue;
      const j = run.order.find(k => list[s].terms.some(n => n in run.right && run.has(n) && differs(run.get(n, t, k), run.right[n][t * run.H + k], run.rightScale(n))));
      if (j === undefined) continue;
      differenceStart = t;
      go({ zoom: "cell", mode: "backward", t, s, j });
      return;
    }
  say("no further difference");
}

let differenceStart = null;
