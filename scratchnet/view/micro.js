// One micro-step: the equation, the same with numbers, the library's line, and the numeric gradient beside the written one.

function stepsOf(run) {
  return run.walk[view.mode];
}

// The number of a line is its place among the cell's own; what comes before them (around.js) has the numbers -1, -2.
const before = run => run.before[view.mode];

// The lines that a step of time has: those around the cell's own only where they happen.
function range(run, t) {
  const numbers = stepsOf(run).flatMap((step, k) => (step.around === undefined || happens(run, step, t) ? [k - before(run)] : []));
  return [numbers[0] ?? 0, numbers[numbers.length - 1] ?? -1];
}

// The place in the list of the micro-step that a run shows. Side by side they are paired by what they compute: another cell shows
// the line of the same term; beside c on its way to the step before, h on its way there; or the last line before it that both have.
function placeOf(run) {
  const own = stepsOf(run),
    first = stepsOf(lead()),
    at = clamp(view.s + before(lead()), 0, Math.max(0, first.length - 1));
  if (run === lead() || run.program === lead().program) return Math.min(at, Math.max(0, own.length - 1));
  if (!first.length) return 0;
  const same = (one, other) => (one.around !== undefined ? other.around === one.around : one.weights ? other.weights : other.terms.some(n => one.terms.includes(n))),
    back = step => step.terms.some(n => n.endsWith("_prev")); // to the step before, whichever state goes there
  for (let s = at; s >= 0; s--) {
    const k = own.findIndex(step => same(first[s], step));
    if (k >= 0) return k;
    if (back(first[s]) && own.some(back)) return own.findIndex(back);
  }
  return 0;
}

const stepOf = run => stepsOf(run)[placeOf(run)];

function numeric(pane, name, t, j) {
  const { run, trace } = pane,
    along = run.along(name, t);
  if (!along || !trace.engine) return null;
  return Model.numericGradient(trace.engine, trace.sequence, run.name, along.what, along.t, j);
}

// The parts of the panel are made once and filled at each step, so that nothing moves and no focus is lost.
function buildMicro(pane) {
  const parts = { title: element("h2", { class: "title" }), steps: element("ol", { "aria-label": "micro-steps" }), terms: element("div", { class: "terms" }), dials: element("div", { class: "dials" }), code: element("div", { class: "code" }) };
  if (pane.trace.engine) {
    const rule = element("select", { "aria-label": "optimiser", onchange: () => setRule(rule.value) }, ...Object.keys(OPTIMISERS).map(name => element("option", { selected: name === knobs.rule }, name)));
    parts.dials.append(dial("clip"), element("span", { class: "rule" }, dial("lr"), rule));
  }
  pane.micro.replaceChildren(parts.title, parts.steps, parts.dials, parts.terms, parts.code);
  pane.parts = parts;
}

// A line of the library: where it is, its code and its comment.
const codeLine = ([place, code, comment], before) =>
  element("div", {}, element("span", { class: "where" }, (before || "") + place), element("code", {}, code), comment ? element("span", { class: "comment" }, `# ${comment}`) : "");

function drawMicro(pane) {
  const { run, parts } = pane,
    list = stepsOf(run),
    t = Math.min(view.t, run.T - 1),
    j = unitOf(run);
  if (parts.for !== `${view.run} ${view.mode}`) {
    parts.for = `${view.run} ${view.mode}`;
    const buttons = list.map((step, k) => element("button", { type: "button", title: step.title, onclick: () => go({ s: k - before(run), ...(step.around === "clip" || step.around === "update" ? { t: 0 } : {}) }) }, nameOf(run, step, k - before(run))));
    parts.steps.replaceChildren(...buttons.map(b => element("li", {}, b)));
  }
  [...parts.steps.children].forEach((li, k) => {
    if (k === placeOf(run)) li.firstChild.setAttribute("aria-current", "step");
    else li.firstChild.removeAttribute("aria-current");
  });
  if (!list.length) {
    parts.title.textContent = run.program ? "no gradients: the trace was made without a target" : `the ${run.cell} cell has no micro-steps: ${run.why}`;
    parts.terms.replaceChildren();
    parts.code.replaceChildren();
    return;
  }
  const step = stepOf(run);
  parts.dials.hidden = step.around !== "clip" && step.around !== "update";
  parts.dials.dataset.step = step.around;
  atLast = t === run.T - 1;
  const number = placeOf(run) - before(run) + 1;
  const own = list.filter(s => s.around === undefined).length;
  parts.title.textContent = step.around === undefined ? `${number} of ${own}: ${step.title}` : step.title;
  parts.code.replaceChildren(
    ...(step.around === "update" ? DATA.lines[knobs.rule] : step.code).map(line => codeLine(line, run.custom && step.around === undefined ? "the right line, " : "")),
  );
  const terms = step.around !== undefined ? nodesAround(pane, step, t) : step.weights ? step.weights.map(name => weightTerm(run, name, t)) : seenTerms(run, step).map(name => termNode(pane, name, t, j));
  parts.terms.replaceChildren(...terms);
}

// What the button of a line is called: its number, or what it is about.
function nameOf(run, step, number) {
  if (step.around === undefined) return String(number + 1);
  if (typeof step.around === "string") return step.around;
  return isAbove(run, step) ? "head" : "input";
}

// A custom backward need not have all terms of a line: those that were not seen in it are left out.
function seenTerms(run, step) {
  const seen = step.terms.filter(name => run.has(name));
  return seen.length ? seen : step.terms.slice(-1);
}

function termNode(pane, name, t, unit) {
  const { run } = pane,
    j = Math.min(unit, run.widthOf(name) - 1), // of dx: a feature
    at = run.program.at(name),
    value = run.value(at, t, j);
  const whole = element("div", { class: "term", "data-result": name, "data-value": value ?? "" });
  whole.append(element("div", { class: "equation" }, equation(run.program, name)));
  if (value === undefined) {
    whole.append(element("div", { class: "numbers" }, "not seen in this backward pass"));
    return whole;
  }
  const wrong = run.wrongAt(name, t, j),
    sign = run.custom && holds(run, at, t, j) === false ? "≠" : "="; // a custom backward computed something else on this line
  whole.append(
    element("div", { class: "numbers" }, element("b", {}, view.lecture ? ` = ${digits(value)}` : fmt(value, 6)), element("span", { class: "filled" }, ` ${sign} ${filled(run, at, t, j)}`)),
  );
  if (wrong !== undefined) whole.append(element("div", { class: "wrong", "data-right": wrong }, `differs: the right ${text(name, isGradient(run.program, name))} is ${fmt(wrong, 6)}`));
  const made = numeric(pane, name, t, j);
  if (made !== null)
    whole.append(element("div", { class: "check", "data-numeric": made }, `numeric gradient ${fmt(made, 6)}, difference ${Math.abs(made - value).toExponential(1)}`));
  if (run.program.ops[at][0] === "dot" && !run.sampled) whole.append(productBars(run, at, t, j));
  whole.append(strips(run, [name, ...new Set(directOperands(run.program, at).map(k => run.program.names.get(k)))].filter(Boolean), t, j));
  return whole;
}

// The gradients of one sum are drawn on one scale, so that equal numbers have equal colours.
function strips(run, names, t, j) {
  const shown = names.filter(n => run.has(n) && run.widthOf(n) === run.H),
    gradients = shown.filter(n => isGradient(run.program, n));
  const high = Math.max(...gradients.map(n => run.largest(n)), 0) || 1;
  const box = element("details", { class: "strips" }, element("summary", {}, "all units"));
  box.open = view.strips;
  box.addEventListener("toggle", () => (view.strips = box.open));
  for (const n of shown) box.append(strip(run, n, t, j, gradients.includes(n) ? { low: -high, high } : scaleOf(run, n)));
  if (gradients.length) box.append(element("div", { class: "check" }, `gradients: colours from −${fmt(high, 2)} to ${fmt(high, 2)}`));
  return box;
}

// One quantity of all units at this step, as a row of coloured cells; a click selects the unit.
function strip(run, name, t, j, scale) {
  const canvas = element("canvas", {
    width: run.H,
    height: 1,
    role: "img",
    "aria-label": `${name} of all units at step ${t + run.first}`,
    onclick: e => go({ j: leadUnit(run, run.order[Math.floor((e.offsetX / canvas.clientWidth) * run.H)]) }),
  });
  fill(canvas, run.H, 1, k => run.get(name, t, run.order[k]), scale);
  const mark = element("div", { class: "mark" });
  mark.style.left = `${(100 * run.order.indexOf(j)) / run.H}%`;
  mark.style.width = `${100 / run.H}%`;
  return element("div", { class: "strip" }, element("span", {}, text(name, isGradient(run.program, name))), element("div", { class: "field" }, canvas, mark), element("output", {}, fmt(run.get(name, t, j), 3)));
}

// A product with the transposed weights, unit by unit: da, the row of the weights, and what each pair adds.
function productBars(run, at, t, j) {
  const { name, transposed, vectors, blocks } = productOf(run.program, at),
    W = run.params[name],
    [rows, columns] = W.shape;
  const left = [],
    right = [];
  vectors.forEach((v, b) => {
    const row = run.steps.row(v, t);
    row.forEach((a, k) => {
      left.push(a);
      right.push(transposed ? W[j * columns + blocks[b] * run.H + k] : W[k * columns + blocks[b] * run.H + j]);
    });
  });
  if (left.length > 256 || rows === 0) return element("p", { class: "check" }, `a sum of ${left.length} products`);
  const bars = [
    [transposed ? "da" : text(run.program.names.get(vectors[0]) || "x", false), left],
    [`${name}, ${transposed ? "row" : "column"} of unit ${run.units[j]}`, right],
    ["product", left.map((a, k) => a * right[k])],
  ].map(([what, values]) => barRow(what, values));
  return element("div", { class: "bars" }, ...bars, element("div", { class: "check" }, `sum of the ${left.length} products: ${fmt(left.reduce((s, a, k) => s + a * right[k], 0), 6)}`));
}

function barRow(what, values) {
  const most = Math.max(...values.map(Math.abs)) || 1,
    wide = 4 * values.length,
    drawing = svg("svg", { viewBox: `0 0 ${wide} 32`, preserveAspectRatio: "none", role: "img", "aria-label": `${what}, ${values.length} numbers up to ${fmt(most, 2)}` });
  values.forEach((v, k) => drawing.append(svg("rect", { x: 4 * k + 0.5, width: 3, y: v > 0 ? 16 - (15 * v) / most : 16, height: Math.max(0.3, (15 * Math.abs(v)) / most), class: v < 0 ? "negative" : "positive" })));
  return element("div", { class: "bar" }, element("span", {}, what), drawing, element("output", {}, `± ${fmt(most, 2)}`));
}

// What one step adds to a weight's gradient, the sum so far (from the last step back to this one), and the whole.
function weightTerm(run, name, t) {
  const box = element("div", { class: "term" }),
    d = `d${name}`;
  const [left] = run.program.weights[name][0];
  const parts = run.program.weights[name].map(([, r]) => run.program.names.get(r)),
    all = parts.every((p, k) => p === `da_${run.letters[k]}`);
  const blocks = run.program.weights[name].map(([, r]) => typeset(run.program, r, false)),
    listed = blocks.flatMap((block, k) => [...(k ? [math("mo", ",")] : []), block]),
    factor = all ? symbol("da", true) : blocks.length > 1 ? math("mrow", math("mo", "("), ...listed, math("mo", ")")) : blocks[0];
  const transposedLeft = left === null ? [] : [math("msup", typeset(run.program, left, false), math("mi", "T"))];
  const formula = math("math", math("mi", "d"), weightSymbol(run.program, name), math("mo", "+="), ...transposedLeft, math("mspace"), factor);
  box.append(element("div", { class: "equation" }, formula));
  if (run.wrongWeights?.includes(d)) {
    const whose = run.notImplied.includes(d) ? `it is not the sum over steps that this backward pass's own da makes: the line that computes ${d} is wrong` : "its da is wrong before";
    box.append(element("div", { class: "wrong" }, `${d} differs from the right one: ${whose}`));
  }
  if (run.sampled) {
    box.append(element("p", {}, `the page holds ${run.H} of ${run.allUnits} units: the size of a whole product is not known here`));
    return box;
  }
  const zeros = () => Object.assign(new Float64Array(run.params[name].length), { shape: run.params[name].shape });
  if (![...new Set(run.program.weights[name].flat())].every(k => k === null || run.ready(k))) return box;
  const own = run.steps.addWeight(name, t, zeros()),
    whole = zeros();
  let sum = null;
  for (let s = run.T - 1; s >= 0; s--) {
    run.steps.addWeight(name, s, whole);
    if (s === t) sum = Float64Array.from(whole);
  }
  const high = Math.max(largestOf(whole), largestOf(own)) || 1;
  box.setAttribute("data-weight", d);
  const words = view.lecture ? ["step", "so far", "whole"] : ["this step", `steps ${t + run.first} to ${run.T - 1 + run.first}`, "whole sequence"];
  [own, sum, whole].forEach((values, k) => box.append(weightMap(d, words[k], values, high, normOf(values), run.params[name].shape)));
  return box;
}

function weightMap(name, what, values, high, size, shape) {
  const [rows, columns] = shape.length > 1 ? shape : [1, shape[0]],
    canvas = element("canvas", { width: columns, height: rows, role: "img", "aria-label": `${name}, ${what}: ${rows} by ${columns}, size ${fmt(size)}` });
  fill(canvas, columns, rows, (c, r) => values[r * columns + c], { low: -high, high });
  return element("div", { class: "strip weight" }, element("span", {}, what), element("div", { class: "field" }, canvas), element("output", { "data-value": size }, view.lecture ? fmt(size, 2) : `size ${fmt(size, 3)}`));
}
