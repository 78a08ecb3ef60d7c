// The page of an MLP: a walk through its layers for one row of the batch, forwards, backwards, and to the optimiser's step, which
// can be taken.

const view = { n: DATA.sample, mode: "forward", s: 0, unit: null, lecture: false };
const net = { engine: unpackDeep(DATA.engine), version: 0, optimiser: null, rule: null };
const box = document.querySelector(".cell");
const pane = { trace: net, micro: document.querySelector(".micro") };
const panes = [pane];
const stepsBy = mode => {
  const { modules, loss } = net.engine,
    layer = (m, k) => ({ title: `${mode === "backward" ? "back through " : ""}the ${m.kind} layer ${m.name}`, code: DATA.lines[`${m.kind} ${mode}`], around: k }),
    lossStep = { title: mode === "backward" ? "the loss sends its gradient" : "the loss", code: DATA.lines[`${loss} ${mode}`], around: "loss" };
  if (mode === "forward") return [...modules.map(layer), lossStep];
  return [lossStep, ...modules.map(layer).reverse(), { title: "all gradients are there: clip", code: DATA.lines.clip, around: "clip" }, { title: "the optimiser's step", code: [], around: "update" }];
};
const WALKS = { forward: stepsBy("forward"), backward: stepsBy("backward") };
const stepNow = () => WALKS[view.mode][view.s];

// The pass of a row and the loss of every row, computed once for each state of the parameters.
const known = { version: -1, rows: new Map() };
function passOfRow(n) {
  if (known.version !== net.version) Object.assign(known, { version: net.version, rows: new Map(), losses: null });
  if (!known.rows.has(n)) {
    const { sequences, grads } = Model.compute(net.engine, n);
    known.rows.set(n, { ...sequences[n], grads });
  }
  return known.rows.get(n);
}

// The mean loss of a row's own targets: its share of the whole, times the number of rows.
function lossesOfRows() {
  passOfRow(view.n);
  known.losses ??= net.engine.xs.map((_, n) => {
    const { y, rows, width } = Model.runModel(net.engine, n);
    return Model.lossOf(net.engine, n, y, rows, width).value * net.engine.xs.length;
  });
  return known.losses;
}

const mean = values => values.reduce((a, b) => a + b, 0) / values.length;

function go(change) {
  const before = columnOf(stepNow(), view.mode === "backward");
  Object.assign(view, change);
  view.n = clamp(view.n, 0, net.engine.xs.length - 1);
  view.s = clamp(view.s, 0, WALKS[view.mode].length - 1);
  if (columnOf(stepNow(), view.mode === "backward") !== before && !("unit" in change)) view.unit = null;
  draw();
  setAddress(`#row=${view.n}&walk=${view.mode}&step=${view.s}${view.unit === null ? "" : `&unit=${view.unit}`}`);
}

// The values of the column that a step computes a unit of.
function unitsOf(step, pass) {
  const k = columnOf(step, view.mode === "backward");
  if (k === null) return null;
  if (view.mode === "forward") return pass.tape[k].after.v;
  return k < 0 ? null : pass.upstream[k];
}

function draw() {
  const step = stepNow(),
    back = view.mode === "backward",
    pass = passOfRow(view.n),
    values = unitsOf(step, pass);
  const strongest = values?.reduce((best, a, j) => (Math.abs(a) > Math.abs(values[best]) ? j : best), 0),
    unit = values ? clamp(view.unit ?? strongest, 0, values.length - 1) : null;
  document.body.classList.toggle("lecture", view.lecture);
  drawNetwork(box, pass, { step, unit, back, pick });
  drawPanel(step, pass, back, unit);
  drawRows();
  const losses = lossesOfRows(),
    now = mean(losses);
  $("clock").textContent = `row ${view.n} of ${losses.length - 1}`;
  const head = document.querySelector(".loss");
  head.textContent = `${net.engine.loss} ${fmt(now, 6)}${net.version ? ` (was ${fmt(DATA.loss, 6)})` : ""}, of this row ${fmt(losses[view.n], 4)}`;
  head.dataset.value = now;
  for (const mode of ["forward", "backward"]) $(mode).setAttribute("aria-pressed", String(view.mode === mode));
  $("lecture").setAttribute("aria-pressed", String(view.lecture));
  $("hint").textContent = back ? "Circles are filled by the gradient of each unit; a line is a weight. Space: the next step; ←, →: another row." : "Circles are filled by the value of each unit; a line is a weight, dashed where it is negative. Space: the next step; b: backward.";
  say(`row ${view.n}, ${step.title}${unit === null ? "" : `, unit ${unit}`}`);
}

function pick(k, j) {
  const back = view.mode === "backward",
    s = WALKS[view.mode].findIndex(step => columnOf(step, back) === k);
  if (s >= 0) go({ s, unit: j });
}

function drawPanel(step, pass, back, unit) {
  const { parts } = pane,
    buttons = WALKS[view.mode];
  if (parts.mode !== view.mode) {
    parts.mode = view.mode;
    parts.steps.replaceChildren(...buttons.map((s, k) => element("li", {}, element("button", { type: "button", title: s.title, onclick: () => go({ s: k }) }, typeof s.around === "number" ? net.engine.modules[s.around].name : s.around))));
  }
  [...parts.steps.children].forEach((li, k) => (k === view.s ? li.firstChild.setAttribute("aria-current", "step") : li.firstChild.removeAttribute("aria-current")));
  parts.title.textContent = step.title;
  parts.dials.hidden = step.around !== "clip" && step.around !== "update";
  parts.dials.dataset.step = step.around;
  const code = step.around === "update" ? DATA.lines[knobs.rule] : step.code;
  parts.code.replaceChildren(...code.map(line => codeLine(line)));
  parts.terms.replaceChildren(...nodes(step, pass, back, unit));
}

function nodes(step, pass, back, unit) {
  if (step.around === "clip") return clipTerms(net, net.version);
  if (step.around === "update") return updateTerms(net, net.version, optimiser());
  if (step.around === "loss") return lossTerms(net.engine, view.n, pass, 0, back, `over every row, ${fmt(mean(lossesOfRows()), 6)}`);
  const found = layerTerms(pass, step.around, 0, back, { input: step.around ? "h" : "x", unit });
  if (back && unit !== null) found.push(numericCheck(step.around, unit, pass.upstream[step.around - 1][unit]));
  return found;
}

// Central difference of this row's loss along one input of a layer.
function numericCheck(k, unit, written) {
  const { engine } = net,
    pass = passOfRow(view.n),
    at = e => {
      let now = { ...pass.tape[k].before, v: Float64Array.from(pass.tape[k].before.v) };
      now.v[unit] += e;
      for (const m of engine.modules.slice(k)) now = Model.MODULES[m.kind].forward(m.params, now);
      return Model.lossOf(engine, view.n, now.v, now.rows, now.width).value;
    },
    made = (at(1e-5) - at(-1e-5)) / 2e-5;
  return element("div", { class: "check", "data-numeric": made, "data-written": written }, `unit ${unit}: ${fmt(written, 6)}, numeric gradient ${fmt(made, 6)}, difference ${Math.abs(made - written).toExponential(1)}`);
}

// Bars of the losses of all rows; a click goes to a row.
function drawRows() {
  const losses = lossesOfRows(),
    most = Math.max(...losses) || 1,
    w = 1000 / losses.length;
  const root = svg("svg", { viewBox: "0 0 1000 70", height: 70, preserveAspectRatio: "none", role: "img", "aria-label": `loss of each of ${losses.length} rows, up to ${fmt(most, 3)}` });
  losses.forEach((loss, n) => root.append(svg("rect", { x: n * w + 0.1 * w, width: 0.8 * w, y: 68 - (64 * loss) / most, height: 2 + (64 * loss) / most, class: `bar${n === view.n ? " on" : ""}` })));
  root.addEventListener("click", e => {
    const { left, width } = root.getBoundingClientRect();
    go({ n: Math.floor(((e.clientX - left) / width) * losses.length) });
  });
  $("rows").replaceChildren(root);
}

// ---- the optimiser's step, taken --------------------------------------------------------------------------------------------------

function optimiser() {
  if (net.rule !== knobs.rule) Object.assign(net, { rule: knobs.rule, optimiser: new OPTIMISERS[knobs.rule]() });
  return net.optimiser;
}

function take() {
  const all = parameterList(net.engine, gradientsOf(net, net.version).grads),
    clipped = all.map(([, , g]) => Float64Array.from(g));
  clipGlobalNorm(clipped, limitOf());
  optimiser().step(all.map(([, p]) => p), clipped, 10 ** knobs.lr);
  net.version++;
  go({});
}

function asGiven() {
  Object.assign(net, { engine: unpackDeep(DATA.engine), version: 0, rule: null });
  known.version = -1;
  go({});
}

const walkUnits = by => {
  const values = unitsOf(stepNow(), passOfRow(view.n));
  if (!values) return;
  const strongest = values.reduce((best, a, j) => (Math.abs(a) > Math.abs(values[best]) ? j : best), 0);
  go({ unit: clamp((view.unit ?? strongest) + by, 0, values.length - 1) });
};

const KEYS = {
  ArrowLeft: () => go({ n: view.n - 1 }),
  ArrowRight: () => go({ n: view.n + 1 }),
  ArrowUp: () => walkUnits(-1),
  ArrowDown: () => walkUnits(1),
  " ": e => go({ s: view.s + (e.shiftKey ? -1 : 1) }),
  f: () => go({ mode: "forward", s: 0 }),
  b: () => go({ mode: "backward", s: 0 }),
  Enter: take,
  r: asGiven,
  l: () => go({ lecture: !view.lecture }),
  t: () => setTheme(dark() ? "light" : "dark"),
  "?": () => $("keys").open || $("keys").showModal(),
};

function setTheme(name) {
  paintPage(name);
  draw();
}

function start() {
  document.querySelector("h1").textContent = DATA.title;
  document.querySelector(".name b").textContent = net.engine.modules.map(m => (m.params?.W ? `${m.kind} ${m.params.W.shape.join(" × ")}` : m.kind)).join(", ");
  buildMicro(pane);
  pane.parts.dials.append(element("button", { type: "button", onclick: take }, "take the step"), element("button", { type: "button", onclick: asGiven }, "as it was"));
  listen(KEYS, { forward: "f", backward: "b", earlier: "ArrowLeft", later: "ArrowRight", lecture: "l", theme: "t", help: "?", "line-on": " " });
  $("line-back").addEventListener("click", () => go({ s: view.s - 1 }));
  addEventListener("resize", draw);
  const fields = new URLSearchParams(location.hash.slice(1)),
    number = name => parseInt(fields.get(name), 10);
  if (fields.get("walk") === "backward") view.mode = "backward";
  for (const [name, key] of [["row", "n"], ["step", "s"], ["unit", "unit"]]) if (Number.isFinite(number(name))) view[key] = number(name);
  paintPage(firstTheme());
  go({ unit: view.unit });
}

start();
