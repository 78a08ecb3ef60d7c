// What lies between a run and the loss, as micro-steps of their own: the layers of the head and the loss, forwards and backwards.
// Only of the last recurrent layer, and of a model that the page can compute.

const LOSSES = {
  mse: ["(y − target)²", "2 (y − target)"],
  mae: ["|y − target|", "sign(y − target)"],
  huber: ["½ (y − target)² or |y − target| − ½", "y − target, at most 1"],
  binary_cross_entropy: ["log(1 + eʸ) − y · target", "σ(y) − target"],
  softmax_cross_entropy: ["−log softmax(y) of the target", "softmax(y) − 1 at the target"],
};

// The modules behind the recurrent layer that a run belongs to; null where it is not the last one, or where nothing can be computed.
function headOf(pane) {
  const { trace, run } = pane,
    modules = trace.engine?.modules;
  if (!modules || run.above !== "loss" || run.reversed) return null;
  const own = modules.findIndex(m => m.runs?.some(r => r.name === run.name));
  const layer = modules[own];
  if (own < 0 || layer.runs[layer.runs.length - layer.directions].name !== run.name) return null;
  return { own, modules, directions: layer.directions };
}

// The micro-steps of the head: {title, code, terms: [], head: place}; place is the number of a module, or "loss".
function headSteps(pane, mode) {
  const head = headOf(pane);
  if (!head) return [];
  const found = [];
  for (let k = head.own + 1; k < head.modules.length; k++) found.push({ title: mode === "forward" ? `the ${head.modules[k].kind} layer ${head.modules[k].name}` : `back through the ${head.modules[k].kind} layer ${head.modules[k].name}`, code: [], terms: [], head: k });
  found.push({ title: mode === "forward" ? "the loss" : "the loss sends its gradient", code: [], terms: [], head: "loss" });
  return mode === "forward" ? found : found.reverse();
}

// The model's own pass over the sequence shown, computed once for each state of the model.
function passOf(pane) {
  const { trace } = pane;
  if (trace.passOf !== trace.engine || trace.passVersion !== pane.run.version) {
    trace.pass = Model.compute(trace.engine, trace.sequence).sequences[trace.sequence];
    trace.passOf = trace.engine;
    trace.passVersion = pane.run.version;
  }
  return trace.pass;
}

const list = values => `(${Array.from(values, v => fmt(v, 4)).join(", ")})`;
const few = values => (values.length > 6 ? `${list(values.slice(0, 6)).slice(0, -1)}, … ${values.length} in all)` : list(values));

function line(equation, numbers, data = {}) {
  return element("div", { class: "term", ...data }, element("div", { class: "equation" }, equation), element("div", { class: "numbers" }, numbers));
}

function headNodes(pane, step, t) {
  const pass = passOf(pane),
    { trace } = pane,
    row = pass.rows === 1 ? 0 : t;
  if (pass.rows === 1 && t !== pane.run.T - 1) return [element("p", { class: "numbers" }, "the model reads the last step only: nothing happens here")];
  const cut = (values, width) => values.subarray(row * width, (row + 1) * width);
  if (step.head === "loss") {
    const { loss } = trace.engine,
      y = cut(pass.y, pass.width),
      whole = trace.engine.targets[trace.sequence],
      target = loss === "softmax_cross_entropy" ? [whole[row]] : whole.slice(row * pass.width, (row + 1) * pass.width),
      share = trace.engine.shares[trace.sequence][loss === "softmax_cross_entropy" ? row : row * pass.width];
    const dy = cut(pass.upstream[pass.upstream.length - 1], pass.width);
    if (view.mode === "forward") return [line(`loss = ${LOSSES[loss][0]}, times ${fmt(share, 4)}`, `y = ${few(y)}, target ${few(target)}; in all, over every step and sequence, ${trace.loss_name} ${fmt(trace.changedLoss ?? trace.loss, 6)}`)];
    return [line(`dy = (${LOSSES[loss][1]}) · ${fmt(share, 4)}`, `${few(dy)} of y = ${few(y)}, target ${few(target)}`, { "data-head": "loss", "data-value": dy[0] })];
  }
  const { m, before, after } = pass.tape[step.head],
    x = cut(before.v, before.width),
    y = cut(after.v, after.width),
    d = cut(pass.upstream[step.head], after.width),
    below = cut(pass.upstream[step.head - 1], before.width);
  if (view.mode === "forward") return [line(m.kind === "linear" ? "y = h W + b" : `y = ${m.kind}(h)`, `${few(y)} of h = ${few(x)}`)];
  return [line(m.kind === "linear" ? "dh = dy Wᵀ" : `dh = dy · ${m.kind}′`, `${few(below)} of dy = ${few(d)}`, { "data-head": m.name, "data-value": below[0] })];
}
