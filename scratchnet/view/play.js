// The page that trains: its pictures, at most one a frame, its settings and its keys.

const PICTURES = { table: drawTable, loss: drawLoss, gradient: drawGradientNorm, answer: drawAnswer, gates: drawGates, river: drawLanes, samples: drawSamples };
const AT_MOST_EVERY = { table: 200, loss: 250, gradient: 250 }; // milliseconds from one drawing to the next
const IN_LECTURE = new Set(["loss", "gates", "river"]);
const drawnAt = {},
  waiting = new Set();

function redraw(...names) {
  const first = waiting.size === 0;
  for (const name of names.length ? names : Object.keys(PICTURES)) waiting.add(name);
  if (first) requestAnimationFrame(frame);
}

// Gates and river wait while their numbers change.
function frame(now) {
  const slow = reducedMotion.matches ? 4 : 1,
    due = [...waiting].filter(name => now - (drawnAt[name] || 0) >= slow * (AT_MOST_EVERY[name] || 0) || !training.running);
  const name = due.find(n => !training.inspecting || n in AT_MOST_EVERY);
  if (name) {
    waiting.delete(name);
    drawnAt[name] = now;
    PICTURES[name]();
  }
  if (waiting.size) requestAnimationFrame(frame);
}

function buildPictures() {
  DATA.marks = task().marks?.(training.first) ?? [];
  $("alarm").textContent = "";
  buildTable();
  buildGates();
  buildSamples();
  $("place").querySelector("input").max = chosen.T - 1;
}

const last = values => values[values.length - 1];
const caption = (id, words) => ($(id).querySelector("figcaption").textContent = words);
const widthOf = box => Math.max(240, box.clientWidth);

// ---- table and charts -----------------------------------------------------------------------------------------------------------

function buildTable() {
  $("live").querySelector("tbody").replaceChildren(
    ...panes.map(lane => {
      lane.cells = { training: element("td"), heldOut: element("td"), learned: element("td") };
      const name = element("th", { scope: "row" }, lane.trace.label),
        count = lane.network.all(lane.network.params).reduce((sum, p) => sum + p.length, 0);
      lane.paint = () => (name.style.color = lane.colour());
      lane.paint();
      return element("tr", {}, name, element("td", {}, String(count)), ...Object.values(lane.cells));
    }),
  );
}

function drawTable() {
  const { clock, running, step } = training,
    passed = (performance.now() - clock?.at) / 1000;
  if (running && passed > 1) {
    training.speed = (step - clock.step) / passed;
    if (passed > 4) training.clock = { at: performance.now(), step };
  }
  $("clock").textContent = `step ${step}${running && training.speed ? `, ${fmt(training.speed, 2)} a second` : ""}`;
  for (const { cells, losses, heldOut, stopped, learned } of panes) {
    const recent = losses.slice(-MEASURE_EVERY);
    cells.training.textContent = recent.length ? fmt(recent.reduce((a, b) => a + b, 0) / recent.length, 3) : "";
    cells.heldOut.textContent = heldOut.length ? fmt(last(heldOut)[1], 3) : "";
    cells.learned.textContent = stopped ? `stopped at step ${stopped.step}` : learned ? `at step ${learned.step}, after ${fmt(learned.seconds, 2)} s of training` : "not yet";
  }
}

const trainingAxis = () => ({ x: [0, Math.max(10, training.step)], xWords: "training step", log: true });

function drawLoss() {
  const { unit, nothing, best } = task(),
    width = widthOf($("loss"));
  caption("loss-box", view.lecture ? unit : `${unit} by training step; thick: held-out, thin: training; learned: held-out below ${fmt(training.threshold, 2)}`);
  const lines = [{ y: training.untrained, words: nothing.words }, { y: training.threshold, words: "learned" }, ...(best ? [{ y: best.error(chosen.T, training.options), words: best.words }] : [])];
  const series = panes.flatMap(lane => [
    { points: binned(lane.losses, width / 4), colour: lane.colour() },
    { points: lane.heldOut, colour: lane.colour(), thick: 3, name: lane.trace.label },
  ]);
  const label = `error by training step: ${panes.map(p => `${p.trace.label} held-out ${fmt(last(p.heldOut)?.[1], 3)}`).join(", ")} at step ${training.step}`;
  const height = view.lecture ? $("gates").clientHeight - $("loss").offsetTop + $("gates").offsetTop - 12 : 270;
  $("loss").replaceChildren(chart(width, height, { ...trainingAxis(), series, lines, label }));
}

function drawGradientNorm() {
  const width = widthOf($("gradient")),
    limit = setting("clip"),
    lines = limit === Infinity ? [] : [{ y: limit, words: `clipped to ${SETTINGS.clip.show(limit)}` }];
  const series = panes.map(lane => ({ points: binned(lane.norms, width / 4, largestOf), colour: lane.colour(), name: lane.trace.label }));
  const label = `norm of the gradients by training step: ${panes.map(p => `${p.trace.label} ${fmt(last(p.norms), 3)}`).join(", ")}`;
  $("gradient").replaceChildren(chart(width, 270, { ...trainingAxis(), series, lines, label }));
}

// What the networks answer: all held-out answers against their targets, or the first sequence step by step.
function drawAnswer() {
  const ready = panes.filter(lane => lane.y),
    plot = !task().everyStep ? answersAgainstTargets : task().loss === "mse" ? predictedCurve : probabilityOfNext,
    { words, ...plan } = plot(ready);
  caption("answer-box", words);
  $("answer").replaceChildren(chart(widthOf($("answer")), 270, { ...plan, label: words }));
}

function answersAgainstTargets(lanes) {
  const targets = [...training.heldOut.target],
    low = Math.min(...targets, 0),
    top = Math.max(...targets, 2); // a sum of two numbers below 1
  const dots = lanes.map(lane => ({ points: targets.map((v, n) => [v, lane.answers[n]]), colour: lane.colour(), dots: lane.k ? "square" : "circle", name: lane.trace.label }));
  return {
    words: "answer (up) against target (across) of the held-out sequences; right answers lie on the line",
    series: [{ points: [[low, low], [top, top]], colour: "var(--ink)" }, ...dots],
    x: [low, top],
    y: [low, top],
    xWords: "target",
    ticks: evenly(low, top).map(v => [v, fmt(v, 2)]),
  };
}

function predictedCurve(lanes) {
  const { T, target } = training.first,
    curve = values => Array.from({ length: T }, (_, t) => [t, values[t]]);
  const predicted = lanes.map(lane => ({ points: curve(lane.y), colour: lane.colour(), thick: 2, name: lane.trace.label }));
  return {
    words: "the first held-out sequence: the next value (dotted) and its prediction",
    series: [{ points: curve(target), colour: "var(--ink)", dash: "2 4", thick: 2, name: "target" }, ...predicted],
    x: [0, T - 1],
    y: [-1, 1],
    xWords: "time step t",
  };
}

function probabilityOfNext(lanes) {
  const { T, target, share } = training.first,
    { outputs: K, symbols } = task(),
    counted = Array.from({ length: T }, (_, t) => t).filter(t => share[t]);
  const probability = (lane, t) => Model.softmax(lane.y.subarray(t * K, (t + 1) * K)).p[target[t]];
  return {
    words: "the first held-out sequence: probability of the right next symbol",
    series: lanes.map(lane => ({ points: counted.map(t => [t, probability(lane, t)]), colour: lane.colour(), thick: 2, name: lane.trace.label })),
    x: [0, T - 1],
    y: [0, 1],
    xWords: "the right next symbol",
    ticks: counted.map(t => [t, visible(symbols[target[t]])]),
  };
}

function buildSamples() {
  $("samples").hidden = !task().embedding;
  $("samples").lastElementChild.replaceChildren(
    ...panes.map(lane => {
      lane.written = element("p", { class: "sample" });
      return element("div", {}, element("b", {}, lane.trace.label), lane.written);
    }),
  );
}

function drawSamples() {
  for (const lane of panes) lane.written.textContent = lane.sample;
}

function drawLanes() {
  if (panes.every(lane => lane.y)) drawRiver("click a step to mark it and to see its gates");
}

// ---- the page -------------------------------------------------------------------------------------------------------------------

// Mark a time step in all pictures. A click on the river also asks for the cells of that step: here their gates.
function go({ t = view.t, zoom }) {
  view.t = clamp(t, 0, chosen.T - 1);
  const ready = panes.filter(p => p.y);
  for (const lane of panes) markStep(lane);
  const [slider, output] = $("place").querySelectorAll("input, output");
  slider.value = view.t;
  const norms = ({ trace, run }) => `; ${trace.label} ${ribbonsOf(run).map(s => `|d${s}| ${fmt(run.norms(`d${s}`)[view.t], 2)}`).join(", ")}`;
  output.textContent = `t = ${view.t}${ready.map(norms).join("")}`;
  if (!waiting.has("river") && ready.length === panes.length && drawRiver.move) drawRiver.move();
  if (zoom === "cell") $("gates").scrollIntoView({ block: "nearest", behavior: reducedMotion.matches ? "auto" : "smooth" });
}

function setTheme(name) {
  paintPage(name);
  for (const lane of panes) lane.paint();
  redraw();
}

function setLecture(on) {
  view.lecture = on;
  document.body.classList.toggle("lecture", on);
  $("lecture").setAttribute("aria-pressed", String(on));
  scrollTo(0, 0);
  redraw();
}

function changed(live) {
  showControls();
  remember();
  if (!live) {
    run(false);
    begin();
  } else if (!training.running) {
    training.pending = true; // the clip line, a sample at this temperature
    redraw("gradient");
    wake();
  }
}

function restart(seed = chosen.seed) {
  take({ seed });
  changed(false);
}

const KEYS = {
  " ": () => run(!training.running),
  s: singleStep,
  r: () => restart(),
  n: () => restart(Math.floor(1e6 * Math.random())),
  l: () => setLecture(!view.lecture),
  t: () => setTheme(dark() ? "light" : "dark"),
  ArrowLeft: () => go({ t: view.t - 1 }),
  ArrowRight: () => go({ t: view.t + 1 }),
  "?": () => $("keys").showModal(),
};

function start() {
  recall();
  buildControls(changed);
  showControls();
  setTheme(firstTheme());
  listen(KEYS, { start: " ", one: "s", again: "r", reset: "n", lecture: "l", theme: "t", help: "?" });
  $("place").addEventListener("input", e => go({ t: +e.target.value }));
  addEventListener("resize", () => redraw());
  addEventListener("hashchange", () => {
    recall();
    changed(false);
  });
  remember();
  begin();
}

start();
window.scratchnet = { Network, Random, Model, OPTIMISERS, TASKS, SETTINGS, chosen, training, panes, view, finish, initialCell, orthogonal, shapesOf, take, restart, run, changed, data: DATA };
