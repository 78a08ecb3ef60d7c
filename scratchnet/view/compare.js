// A custom backward pass compared with the right one: where their numbers differ, and the first difference.

// Whether the numbers that this backward pass has for a term are those of the equation: undefined where an operand was not seen.
function holds(run, at, t, j) {
  const value = run.value(at, t, j),
    [kind, ...args] = run.program.ops[at];
  if (!(kind in ELEMENTWISE)) return undefined;
  const made = elementwise(run, at, t, j, true);
  if (value === undefined || made === undefined || args.length === 0) return undefined;
  return Math.abs(value - made) <= 1e-9 * Math.max(Math.abs(value), Math.abs(made), Number.MIN_VALUE) || Object.is(value, made);
}

// An operation computed from the numbers of the named ones that it reads.
function elementwise(run, at, t, j, top = false) {
  const [kind, ...args] = run.program.ops[at];
  if (!top && ((run.program.names.has(at) && run.ready(at)) || !(kind in ELEMENTWISE))) return run.value(at, t, j);
  const values = args.map(k => elementwise(run, k, t, j));
  return values.includes(undefined) ? undefined : ELEMENTWISE[kind](...values);
}

// The largest relative difference of any term at a step and unit.
function differenceAt(run, t, j) {
  let found = { size: 0, name: null };
  for (const name of Object.keys(run.right)) {
    if (run.widthOf(name) !== run.H) continue;
    const right = run.wrongAt(name, t, j);
    if (right === undefined) continue;
    const value = run.get(name, t, j),
      size = Number.isFinite(value) ? Math.abs(value - right) / (Math.abs(value) + Math.abs(right)) : 1;
    if (size > found.size || !found.name) found = { size, name, value, right };
  }
  return found;
}

function differenceMap(pane) {
  const { run } = pane,
    map = heatmap(pane, "difference", run.T, run.H, (t, k) => differenceAt(run, t, run.order[k]).size, { low: 0, high: 1 });
  map.querySelector("b").textContent = "difference from the right gradient";
  map.querySelector(".range").textContent = "0 … 1, |a − b| / (|a| + |b|)";
  return map;
}

function explainDifference(pane, t, j) {
  const { size, name, value, right } = differenceAt(pane.run, t, j),
    where = `t = ${label(pane, t)}, unit ${pane.run.units[j]}`;
  return name ? [where, `${name} is ${fmt(value, 6)}, right is ${fmt(right, 6)}`, `relative difference ${fmt(size, 2)}`] : [where, "no difference"];
}

const differing = (run, step, t, k) => step.terms.some(n => k < run.widthOf(n) && run.wrongAt(n, t, k) !== undefined) || Boolean(step.weights?.some(w => run.wrongWeights.includes(`d${w}`)) && t === 0);

// Go to the next step, line and unit that differ, in the order in which a backward pass computes; after the last one, to the first.
function nextDifference() {
  const pane = panes.find(p => p.run.right);
  if (!pane) return;
  const { run } = pane,
    list = run.walk.backward,
    places = [];
  for (let t = run.T - 1; t >= 0; t--)
    list.forEach((step, s) => {
      const j = run.order.find(k => differing(run, step, t, k));
      if (j !== undefined) places.push({ t, s: s - run.before.backward, j: leadUnit(run, j) });
    });
  if (!places.length) {
    say("no difference");
    return;
  }
  const after = places.find(p => p.t < view.t || (p.t === view.t && p.s > view.s));
  go({ zoom: "cell", mode: "backward", ...(after || places[0]) });
}
