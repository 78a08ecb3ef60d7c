// What surrounds the lines of a run's own cell, as micro-steps: the other layers of the model, the loss, and when every gradient is
// there, clipping and the optimiser's step. Of a model that the page can compute.
//
// A step here is {title, code, terms: [], around}; around is the number of a layer, "loss", "clip" or "update".

// The loss of one number, and its gradient; what both are multiplied by, a target's share in the mean, is added below.
const LOSSES = {
  mse: ["( y − target )^2", "2 ( y − target )"],
  mae: ["| y − target |", "sign ( y − target )"],
  huber: ["½ r^2 if | r | ≤ 1 , else | r | − ½ , with r = y − target ,", "max ( −1 , min ( 1 , y − target ) )"],
  binary_cross_entropy: ["( log ( 1 + e^y ) − y · target )", "( σ ( y ) − target )"],
  softmax_cross_entropy: ["− log p_target", "( p − onehot )"],
};
const SLOPES = { tanh: "(1 − y²)", sigmoid: "y (1 − y)", relu: "[y > 0]", softplus: "σ(h)", dropout: "1" };

// The layers around a run: those before it, up to the recurrent layer below, and those between it and the loss.
function layersAround(pane) {
  const { trace, run } = pane,
    modules = trace.engine?.modules,
    own = modules ? modules.findIndex(m => m.runs?.some(r => r.name === run.name)) : -1;
  if (own < 0 || run.reversed) return { below: [], above: [], first: false, last: false };
  const { runs, directions } = modules[own],
    recurrent = (from, by) => {
      const found = [];
      for (let k = from; modules[k]; k += by) {
        if (modules[k].kind === "recurrent") return { found, end: false };
        found.push(k);
      }
      return { found, end: true };
    };
  const down = recurrent(own - 1, -1),
    up = recurrent(own + 1, 1),
    lowest = runs[0].name === run.name,
    highest = runs[runs.length - directions].name === run.name;
  return { below: lowest ? down.found.reverse() : [], above: highest && up.end ? up.found : [], first: lowest && down.end, last: highest && up.end };
}

// The micro-steps before and after the cell's own lines, in the order of the walk.
function stepsAround(pane, mode) {
  const { trace, run } = pane,
    { below, above, first, last } = run.around,
    back = mode === "backward";
  const layer = k => {
    const { kind, name } = trace.engine.modules[k];
    return { title: `${back ? "back through " : ""}the ${kind} layer ${name}`, code: DATA.lines[`${kind} ${mode}`] || [], terms: [], around: k };
  };
  const loss = last ? [{ title: back ? "the loss sends its gradient" : "the loss", code: DATA.lines[`${trace.engine.loss} ${mode}`], terms: [], around: "loss" }] : [];
  if (!back) return { pre: below.map(layer), post: [...above.map(layer), ...loss] };
  const update = [
    { title: "all gradients are there: clip", code: DATA.lines.clip, terms: [], around: "clip" },
    { title: "the optimiser's step", code: DATA.lines.SGD, terms: [], around: "update" },
  ];
  return { pre: [...loss, ...above.map(layer).reverse()], post: [...below.map(layer).reverse(), ...(first && !run.custom ? update : [])] };
}

const isAbove = (run, { around }) => around === "loss" || run.around.above.includes(around);

// True where a step happens at a time step: the layers above and the loss where there is a loss, the update at the walk's end.
function happens(run, step, t) {
  if (step.around === "clip" || step.around === "update") return t === 0;
  return !isAbove(run, step) || run.lossAt(t) || (t === run.T - 1 && run.arrivesLast);
}

// The model's own pass over the sequence shown, computed once for each state of the model: {tape, upstream, y, ..., grads}.
function passOf(pane) {
  const { trace } = pane;
  if (trace.passOf !== trace.engine || trace.passVersion !== pane.run.version) {
    const { sequences, grads } = Model.compute(trace.engine, trace.sequence);
    trace.pass = { ...sequences[trace.sequence], grads };
    trace.passOf = trace.engine;
    trace.passVersion = pane.run.version;
  }
  return trace.pass;
}

const list = values => `(${Array.from(values, v => fmt(v, 4)).join(", ")})`;
const few = values => (values.length > 6 ? `${list(values.slice(0, 6)).slice(0, -1)}, … ${values.length} in all)` : list(values));
const rowOf = ({ v, width }, row) => v.subarray(row * width, (row + 1) * width);

// An equation given as text, its tokens apart: "dh = dy · W^T" becomes MathML; in dh, d is a gradient's.
function formula(words) {
  const OPERATOR = /^[=+−·×÷≤←(){},[\]>√Σ/|]+$/,
    isLetter = token => /^[\wα-ω½.^]+$/.test(token);
  const atom = token => {
    if (OPERATOR.test(token) || token === "+=") return math("mo", token);
    const [base, sub] = token.split("_");
    const letter = /^d[a-zA-Z]$/.test(base) ? math("mrow", math("mi", "d"), math("mi", base.slice(1))) : math(/^[−\d.½]/.test(base) ? "mn" : "mi", base);
    return sub ? math("msub", letter, math("mtext", sub)) : letter;
  };
  const piece = token => {
    const [base, power] = token.split("^");
    return power ? math("msup", atom(base), math("mi", power)) : atom(base);
  };
  return math("math", ...words.split(" ").flatMap((token, k, all) => (k && isLetter(token) && isLetter(all[k - 1]) ? [thinSpace(), piece(token)] : [piece(token)])));
}

function line(words, numbers, data = {}, ...more) {
  return element("div", { class: "term", ...data }, element("div", { class: "equation" }, formula(words)), element("div", { class: "numbers" }, numbers), ...more);
}

// One layer at one row of the pass: forwards what it computes; backwards what its weights get and what it hands down. Of a product
// one unit is taken apart: the given one, or the one with the largest gradient.
function layerTerms(pass, k, row, back, { input = "h", unit = null } = {}) {
  const { m, before, after } = pass.tape[k],
    W = m.params?.W,
    y = rowOf(after, row),
    dy = pass.upstream[k] ? rowOf({ v: pass.upstream[k], width: after.width }, row) : y.map(() => 0),
    strongest = v => v.reduce((best, a, j) => (Math.abs(a) > Math.abs(v[best]) ? j : best), 0);
  if (m.kind === "embedding") {
    const token = before.v[row];
    if (!back) return [line("y = W_token", `row ${token} of W: ${few(y)}`)];
    return [line("dW_token += dy", `row ${token} of dW: ${few(dy)}`, { "data-layer": m.name, "data-value": dy[0] })];
  }
  const x = rowOf(before, row);
  if (m.kind !== "linear") {
    if (!back) return [line(`y = ${m.kind} ( ${input} )`, `${few(y)} of ${input} = ${few(x)}`)];
    const dx = rowOf({ v: pass.upstream[k - 1] || before.v.map(() => 0), width: before.width }, row);
    return [line(`d${input} = dy · ${SLOPES[m.kind].replace(/[()]/g, " $& ").replace("²", "^2").trim()}`, `${few(dx)} of dy = ${few(dy)}`, { "data-layer": m.name, "data-value": dx[0] })];
  }
  const columns = after.width,
    j = unit ?? strongest(dy);
  if (!back) {
    const column = x.map((_, i) => W[i * columns + j]);
    return [line(`y = ${input} W + b`, few(y), { "data-layer": m.name, "data-value": y[j] }, sumBars(input, x, `W, column ${j}`, column, m.params.b[j], `y of unit ${j}`))];
  }
  const own = Object.assign(new Float64Array(W.length), { shape: W.shape });
  x.forEach((a, i) => dy.forEach((d, c) => (own[i * columns + c] = a * d)));
  const whole = pass.grads[m.name].W,
    high = Math.max(largestOf(whole), largestOf(own)) || 1;
  const map = (words, values) => weightMap("dW", words, values, high, normOf(values), W.shape),
    rows = pass.rows > 1 ? [map(view.lecture ? "step" : "this step", own), map(view.lecture ? "whole" : "whole sequence", whole)] : [map("dW", own)];
  const found = [line(`dW += ${input}^T dy`, "", { "data-weight": "dW", "data-layer": m.name, "data-value": normOf(own) }, ...rows), line("db += dy", few(dy))];
  const below = pass.upstream[k - 1];
  if (!below) return found;
  const dx = rowOf({ v: below, width: before.width }, row),
    i = unit ?? strongest(dx),
    weights = dy.map((_, c) => W[i * columns + c]);
  return [...found, line(`d${input} = dy W^T`, few(dx), { "data-layer": m.name, "data-value": dx[i] }, sumBars("dy", dy, `W, row ${i}`, weights, 0, `d${input} of unit ${i}`))];
}

// A sum of products taken apart: two rows of numbers, their products, and the sum.
function sumBars(leftName, left, rightName, right, bias, result) {
  const products = Array.from(left, (a, k) => a * right[k]),
    sum = products.reduce((a, b) => a + b, 0);
  if (left.length < 4) return element("div", { class: "check" }, `${result}: ${products.map((_, k) => `${fmt(left[k])} · ${fmt(right[k])}`).join(" + ")}${bias ? ` + ${fmt(bias)}` : ""} = ${fmt(sum + bias, 6)}`);
  if (left.length > 256) return element("p", { class: "check" }, `a sum of ${left.length} products`);
  const plusBias = bias ? ` + b ${fmt(bias, 4)}` : "";
  return element("div", { class: "bars" }, barRow(leftName, Array.from(left)), barRow(rightName, Array.from(right)), barRow("product", products), element("div", { class: "check" }, `${result}: sum of the ${left.length} products${plusBias} = ${fmt(sum + bias, 6)}`));
}

// The loss at one row, forwards its value, backwards the gradient of the output.
function lossTerms(engine, n, pass, row, back, total) {
  const { loss } = engine,
    classes = loss === "softmax_cross_entropy",
    { width } = pass,
    y = rowOf({ v: pass.y, width }, row),
    whole = engine.targets[n],
    target = classes ? [whole[row]] : whole.slice(row * width, (row + 1) * width),
    shares = classes ? [engine.shares[n][row]] : engine.shares[n].subarray(row * width, (row + 1) * width),
    share = shares.every(s => s === shares[0]) ? fmt(shares[0], 4) : "share", // masks and weights may differ from target to target
    dy = rowOf({ v: pass.upstream[pass.upstream.length - 1], width }, row),
    given = classes ? `p = softmax(y) = ${few(Model.softmax(y).p)}, target ${target[0]}` : `y = ${few(y)}, target ${few(target)}`;
  if (!back) return [line(`loss = ${LOSSES[loss][0]} · ${share}`, `${given}; in all ${total}`)];
  return [line(`dy = ${LOSSES[loss][1]} · ${share}`, `${few(dy)} of ${given}`, { "data-layer": "loss", "data-value": dy[0] })];
}

// ---- after the walk: clipping and the optimiser's step --------------------------------------------------------------------------

// The gradients of the whole batch, computed once for each state of the model.
function gradientsOf(trace, version) {
  if (trace.gradsOf !== trace.engine || trace.gradsVersion !== version) {
    trace.grads = Model.compute(trace.engine);
    trace.gradsOf = trace.engine;
    trace.gradsVersion = version;
  }
  return trace.grads;
}

// The parameters of the model and their gradients, one behind the other: [name, parameter, gradient].
function parameterList(engine, grads) {
  return Object.entries(Model.parametersOf(engine)).flatMap(([part, params]) => Object.entries(params).map(([name, p]) => [`${part} ${name}`, p, grads[part][name]]));
}

const limitOf = () => (knobs.clip >= KNOBS.clip.max ? Infinity : 10 ** knobs.clip);

function clipTerms(trace, version) {
  const { grads, norm } = gradientsOf(trace, version),
    limit = limitOf(),
    parts = parameterList(trace.engine, grads).map(([name, , g]) => [name, normOf(g)]),
    factor = Math.min(1, limit / (norm + 1e-6)); // PyTorch's 1e-6, as in clipGlobalNorm
  const most = Math.max(...parts.map(([, size]) => size)) || 1;
  const bars = parts.map(([name, size]) => normBar(name, size, factor, most));
  const clipped = limit === Infinity ? "clipping is off: move the slider to see it" : factor < 1 ? `above ${fmt(limit, 3)}: every gradient is multiplied by ${fmt(factor, 4)}; the direction stays` : `not above ${fmt(limit, 3)}: nothing is changed`;
  return [
    line("norm = √ ( Σ g^2 )", `${fmt(norm, 6)}, of all gradients of the batch together`, { "data-norm": norm }, element("div", { class: "bars" }, ...bars)),
    line("g ← g · limit / norm", clipped, { "data-factor": factor }),
  ];
}

// The norm of one gradient, and in it what clipping leaves.
function normBar(name, size, factor, most) {
  const drawing = svg("svg", { viewBox: "0 0 100 16", preserveAspectRatio: "none", role: "img", "aria-label": `norm of the gradient of ${name}: ${fmt(size, 3)}` });
  drawing.append(svg("rect", { x: 0, y: 6, height: 4, width: (100 * size) / most, class: "negative" }), svg("rect", { x: 0, y: 4, height: 8, width: (100 * size * factor) / most, class: "positive" }));
  return element("div", { class: "bar short" }, element("span", {}, name), drawing, element("output", {}, fmt(size * factor, 3)));
}

// One step of an optimiser, shown and not taken.
function updateTerms(trace, version, optimiser = new OPTIMISERS[knobs.rule]()) {
  const { loss, grads } = gradientsOf(trace, version),
    all = parameterList(trace.engine, grads),
    lr = 10 ** knobs.lr,
    clipped = all.map(([, , g]) => Float64Array.from(g)),
    kept = all.map(([, p]) => Float64Array.from(p));
  clipGlobalNorm(clipped, limitOf());
  Object.assign(new OPTIMISERS[knobs.rule](), structuredClone({ ...optimiser })).step(all.map(([, p]) => p), clipped, lr);
  const after = all.map(([, p]) => Float64Array.from(p)),
    value = Model.lossOfBatch(trace.engine);
  all.forEach(([, p], k) => p.set(kept[k]));
  const shown = all.reduce((best, [, , g], k) => (g.shape.length > 1 && normOf(g) > normOf(all[best][2]) ? k : best), 0),
    [name, p] = all[shown],
    step = after[shown].map((a, i) => a - kept[shown][i]),
    at = step.reduce((best, a, i) => (Math.abs(a) > Math.abs(step[best]) ? i : best), 0),
    high = largestOf(kept[shown]) || 1;
  const [r, c] = [Math.floor(at / p.shape[p.shape.length - 1]), at % p.shape[p.shape.length - 1]];
  const rule = knobs.rule === "SGD" ? ["p ← p − lr g"] : ["m ← 0.9 m + 0.1 g , m̂ = m / ( 1 − 0.9^t )", "v ← 0.999 v + 0.001 g^2 , v̂ = v / ( 1 − 0.999^t )", "p ← p − lr m̂ / ( √ v̂ + ε )"];
  const show = v => fmt(v, view.lecture ? 3 : 6),
    given = view.lecture ? "" : `, with g = ${fmt(clipped[shown][at], 4)} and lr = ${fmt(lr, 3)}`,
    numbers = `${name}[${r}, ${c}]: ${show(kept[shown][at])} ${step[at] < 0 ? "−" : "+"} ${show(Math.abs(step[at]))} = ${show(after[shown][at])}${given}`;
  return [
    ...rule.slice(0, -1).map(words => line(words, "")),
    line(rule[rule.length - 1], numbers, { "data-update": name, "data-value": after[shown][at] }, weightMap(name, "before", kept[shown], high, normOf(kept[shown]), p.shape), weightMap(name, "the step", step, largestOf(step) || 1, normOf(step), p.shape), weightMap(name, "after", after[shown], high, normOf(after[shown]), p.shape)),
    element("div", { class: "term", "data-loss": value }, element("div", { class: "numbers" }, `loss of the batch: ${fmt(loss, 6)} before, ${fmt(value, 6)} after this step`)),
  ];
}

// ---- in the stepper ----------------------------------------------------------------------------------------------------------

function nodesAround(pane, step, t) {
  const { trace, run } = pane;
  if (step.around === "clip") return clipTerms(trace, run.version);
  if (step.around === "update") return updateTerms(trace, run.version);
  const pass = passOf(pane),
    back = view.mode === "backward",
    above = isAbove(run, step);
  if (above && pass.rows === 1 && t !== run.T - 1) return [element("p", { class: "numbers" }, "the model reads the last step only: nothing happens here")];
  const row = above && pass.rows === 1 ? 0 : t;
  if (step.around !== "loss") return layerTerms(pass, step.around, row, back);
  return lossTerms(trace.engine, trace.sequence, pass, row, back, `over every step and sequence, ${trace.loss_name} ${fmt(trace.changedLoss ?? trace.loss, 6)}`);
}
