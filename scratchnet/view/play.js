// The page that trains: one or two networks on the same batches, step by step, in slices that leave the browser its turn.

const PROGRAMS = DATA.programs.map(p => new Program(p));
for (const cell of Object.values(DATA.cells)) cell.program = PROGRAMS[cell.program];
const panes = []; // the networks; river.js draws a lane for each
const view = { run: 0, t: 0, zoom: "river", lecture: false };
const quiet = matchMedia("(prefers-reduced-motion: reduce)");
const SLICE = 14; // milliseconds of training before the browser has its turn
const MEASURE = 20; // steps from one held-out error to the next
const LOOK = () => (quiet.matches ? 2500 : 500); // milliseconds from one look inside to the next
const DIVERGED = 1e6; // times the error of having learned nothing

const training = { running: false, once: false, step: 0, seconds: 0, work: null, awake: false };

// ---- from the settings to networks at step 0 --------------------------------------------------------------------------------

function begin() {
  const { T, seed, noise } = chosen,
    own = task();
  panes.length = 0;
  const cells = [chosen.cell, ...(chosen.beside in DATA.cells && chosen.beside !== chosen.cell ? [chosen.beside] : [])];
  Object.assign(training, { step: 0, seconds: 0, once: false, settle: false, looked: 0, options: { noise }, data: new Random(seed, 2) });
  training.held = heldOut(own, new Random(seed, 3), T, training.options);
  training.held.purpose = "held-out";
  training.first = Object.assign(firstOf(own, training.held), { purpose: "look" });
  DATA.marks = own.marks ? own.marks(training.first) : [];
  training.nothing = own.nothing.error(T, training.options);
  training.learned = own.learned(T, training.options);
  cells.forEach((name, k) => panes.push(laneOf(name, k, own)));
  view.t = clamp(view.t, 0, T - 1);
  training.work = opening();
  $("alarm").textContent = "";
  buildTable();
  buildGates();
  buildSamples();
  $("place").querySelector("input").max = T - 1;
  wake();
}

function laneOf(name, k, own) {
  const cell = DATA.cells[name],
    network = new Network(cell, own, chosen.units, { random: new Random(chosen.seed, 1), forgetBias: chosen.forget });
  const run = new Run(
    { ...cell, program: null, cell: name, T: chosen.T, D: network.D, H: chosen.units, first: 0, units: [...Array(chosen.units).keys()], arrivesLast: !own.everyStep, arrays: {}, sizes: {} },
    [],
  );
  run.program = cell.program;
  const trace = { label: cell.title, labels: symbolsOf(own) };
  return { trace, run, network, cell, k, colour: colourOfLane(name, k), optimiser: new OPTIMISERS[chosen.optimiser](), losses: [], norms: [], held: [], learned: null, stopped: null, answers: null, sample: "" };
}

// The symbols of the first held-out sequence, which the river writes under the steps.
function symbolsOf(own) {
  const { T, x, share } = training.first,
    width = x.length / T;
  if (!own.symbols) return [];
  return Array.from({ length: T }, (_, t) => (share[t] ? own.symbols[width === 1 ? x[t] : x.subarray(t * width, (t + 1) * width).indexOf(1)] : ""));
}

// A kind of cell has its colour, and of two of one kind the second another.
function colourOfLane(name, k) {
  const kind = cell => (cell.startsWith("lstm") ? "lstm" : cell.startsWith("gru") ? "gru" : DATA.palette.models[cell] ? cell : "mlp"),
    own = kind(name);
  return () => DATA.palette.models[k && own === kind(chosen.cell) ? (own === "mlp" ? "rnn" : "mlp") : own][theme()];
}

// ---- training: generators that yield ----------------------------------------------------------------------------------------

function* opening() {
  yield* measure();
  yield* look();
}

function* oneStep() {
  const { data, options } = training,
    batch = task().draw(data, chosen.T, chosen.batch, options);
  training.step++;
  for (const lane of panes) {
    if (lane.stopped) continue;
    const { loss, norm } = yield* lane.network.train(batch, lane.optimiser, setting("lr"), setting("clip"));
    lane.losses.push(loss);
    lane.norms.push(norm);
    if (!Number.isFinite(loss) || !Number.isFinite(norm) || loss > DIVERGED * training.nothing) stop(lane, loss, norm);
  }
  if (training.once || training.step % MEASURE === 0) yield* measure();
  if (training.once || performance.now() - training.looked > LOOK()) yield* look();
  training.once = false;
  stale("table", "loss", "gradient");
}

// The held-out error of each network.
function* measure() {
  for (const lane of panes) {
    if (lane.stopped) continue;
    const { loss, y } = yield* lane.network.pass(training.held, false);
    lane.held.push([training.step, loss]);
    lane.answers = y;
    if (lane.learned === null && loss < training.learned) {
      lane.learned = { step: training.step, seconds: training.seconds };
      announce(`${lane.trace.label} has learned the task at step ${training.step}.`);
    }
  }
  stale("table", "loss");
}

// Gates, states and gradients of the first held-out sequence, and a sample of the text.
function* look() {
  training.looking = true;
  for (const lane of panes) {
    if (lane.stopped) continue;
    const { y, steps } = yield* lane.network.pass(training.first);
    lane.y = y;
    lane.run.use({ steps });
    lane.run.version = ++look.count;
    if (task().embedding) {
      const { symbols } = task(),
        start = Math.max(0, symbols.indexOf("\n"));
      const made = yield* writing(lane.network, start, 150, chosen.temperature, new Random(chosen.seed, 4 + training.step));
      lane.sample = made.map(k => symbols[k]).join("");
    }
  }
  training.looking = false;
  training.looked = performance.now();
  stale("answer", "gates", "river", "samples");
}
look.count = 0;

function stop(lane, loss, norm) {
  const what = !Number.isFinite(loss) ? `the loss is ${loss}` : !Number.isFinite(norm) ? `the norm of the gradients is ${norm}` : `the loss is ${fmt(loss, 2)}, a million times that of having learned nothing`;
  const rate = `lower the learning rate (now ${SETTINGS.lr.show(setting("lr"))})`,
    limit = setting("clip") === Infinity ? "clip the gradients (now off)" : `clip the gradients at less (now ${SETTINGS.clip.show(setting("clip"))})`;
  lane.stopped = { step: training.step };
  $("alarm").textContent += `${lane.trace.label} has diverged and stopped at step ${training.step}: ${what}. Its last steps were too long. To go on, ${rate} or ${limit}, then restart. `;
  if (panes.every(p => p.stopped)) run(false);
}

// Slices: work until the time is up, then let the browser draw and hear the user. A message comes back sooner than a timeout.
const channel = new MessageChannel();
channel.port1.onmessage = slice;

function wake() {
  if (training.awake) return;
  training.awake = true;
  channel.port2.postMessage(null);
}

// What is to be done: a step, or a last look after the last one.
function next() {
  if (training.running || training.once) return oneStep();
  if (!training.settle) return null;
  training.settle = false;
  return opening();
}

function slice() {
  const began = performance.now();
  training.awake = false;
  do {
    training.work ??= next();
    if (!training.work) break;
    if (training.work.next().done) training.work = null;
  } while (performance.now() - began < SLICE);
  training.seconds += (performance.now() - began) / 1000;
  if (training.work || training.running || training.once || training.settle) wake();
}

function run(on) {
  if (on && panes.every(p => p.stopped)) return;
  training.running = on;
  $("start").textContent = on ? "pause" : "start";
  $("start").setAttribute("aria-pressed", String(on));
  training.clock = { at: performance.now(), step: training.step };
  training.settle ||= !on;
  stale("table");
  wake();
}

function oneMore() {
  run(false);
  training.settle = false; // the step ends with a look
  training.once = panes.some(p => !p.stopped);
  wake();
}

// ---- drawing: one picture a frame ---------------------------------------------------------------------------------------------

const PICTURES = { table: drawTable, loss: drawLoss, gradient: drawGradient, answer: drawAnswer, gates: drawGates, river: drawLanes, samples: drawSamples };
const EVERY = { table: 200, loss: 250, gradient: 250 }; // milliseconds from one drawing to the next
const drawn = {},
  waiting = new Set();

function stale(...names) {
  const first = waiting.size === 0;
  for (const name of names) waiting.add(name);
  if (first) requestAnimationFrame(frame);
}

function frame(now) {
  const slow = quiet.matches ? 4 : 1,
    due = [...waiting].filter(name => now - (drawn[name] || 0) >= slow * (EVERY[name] || 0) || !training.running);
  const name = due.find(n => !training.looking || n in EVERY);
  if (name) {
    waiting.delete(name);
    drawn[name] = now;
    PICTURES[name]();
  }
  if (waiting.size) requestAnimationFrame(frame);
}

const wideOf = box => Math.max(240, box.clientWidth);

function drawTable() {
  const { clock, running, step } = training,
    passed = (performance.now() - clock?.at) / 1000;
  if (running && passed > 1) {
    training.speed = (step - clock.step) / passed;
    if (passed > 4) training.clock = { at: performance.now(), step };
  }
  $("clock").textContent = `step ${step}${running && training.speed ? `, ${fmt(training.speed, 2)} a second` : ""}`;
  for (const lane of panes) {
    const recent = lane.losses.slice(-MEASURE),
      [training_, held, verdict] = lane.cells;
    training_.textContent = recent.length ? fmt(recent.reduce((a, b) => a + b, 0) / recent.length, 3) : "";
    held.textContent = lane.held.length ? fmt(lane.held[lane.held.length - 1][1], 3) : "";
    verdict.textContent = lane.stopped ? `stopped at step ${lane.stopped.step}` : lane.learned ? `at step ${lane.learned.step}, after ${fmt(lane.learned.seconds, 2)} s of training` : "not yet";
  }
}

function buildTable() {
  $("live").querySelector("tbody").replaceChildren(
    ...panes.map(lane => {
      lane.cells = [element("td"), element("td"), element("td")];
      const name = element("th", { scope: "row" }, lane.trace.label),
        count = lane.network.all(lane.network.params).reduce((sum, p) => sum + p.length, 0);
      lane.paint = () => (name.style.color = lane.colour());
      lane.paint();
      return element("tr", {}, name, element("td", {}, String(count)), ...lane.cells);
    }),
  );
}

function drawLoss() {
  const box = $("loss"),
    own = task(),
    wide = wideOf(box),
    last = Math.max(10, training.step);
  $("loss-box").querySelector("figcaption").textContent = `${own.unit} by training step; thick: held-out, thin: training; learned: held-out below ${fmt(training.learned, 2)}`;
  const lines = [{ y: training.nothing, words: own.nothing.words }, { y: training.learned, words: "learned" }, ...(own.best ? [{ y: own.best.error(chosen.T, training.options), words: own.best.words }] : [])];
  const series = panes.flatMap(lane => [
    { points: binned(lane.losses, wide / 4), colour: lane.colour() },
    { points: lane.held, colour: lane.colour(), thick: 3, name: lane.trace.label },
  ]);
  const label = `error by training step: ${panes.map(p => `${p.trace.label} held-out ${fmt(p.held[p.held.length - 1]?.[1], 3)}`).join(", ")} at step ${training.step}`;
  box.replaceChildren(chart(wide, 270, { series, lines, log: true, x: [0, last], xWords: "training step", label }));
}

function drawGradient() {
  const box = $("gradient"),
    wide = wideOf(box),
    limit = setting("clip");
  const series = panes.map(lane => ({ points: binned(lane.norms, wide / 4, largestOf), colour: lane.colour(), name: lane.trace.label }));
  const lines = limit === Infinity ? [] : [{ y: limit, words: `clipped to ${SETTINGS.clip.show(limit)}` }];
  box.replaceChildren(chart(wide, 230, { series, lines, log: true, x: [0, Math.max(10, training.step)], xWords: "training step", label: `norm of the gradients by training step: ${panes.map(p => `${p.trace.label} ${fmt(p.norms[p.norms.length - 1], 3)}`).join(", ")}` }));
}

// What the networks answer: all held-out answers against their targets, or the first sequence step by step.
function drawAnswer() {
  const box = $("answer"),
    own = task(),
    { T, target, share } = training.first,
    ready = panes.filter(lane => lane.y);
  const say = words => ($("answer-box").querySelector("figcaption").textContent = words);
  let plan;
  if (!own.everyStep) {
    say("answer (up) against target (across) of the held-out sequences; right answers lie on the line");
    const ends = [...training.held.target],
      low = Math.min(...ends, 0),
      top = Math.max(...ends, 2); // a sum of two numbers below 1
    const dots = ready.map(lane => ({ points: ends.map((v, n) => [v, lane.answers[n]]), colour: lane.colour(), dots: lane.k ? "square" : "circle", name: lane.trace.label }));
    plan = { series: [{ points: [[low, low], [top, top]], colour: "var(--ink)" }, ...dots], x: [low, top], y: [low, top], xWords: "target", ticks: evenly(low, top).map(v => [v, fmt(v, 2)]) };
  } else if (own.loss === "mse") {
    say("the first held-out sequence: the next value, and what is predicted");
    const curve = values => Array.from({ length: T }, (_, t) => [t, values[t]]);
    plan = { series: [{ points: curve(target), colour: "var(--ink)", dash: "2 4", thick: 2, name: "target" }, ...ready.map(lane => ({ points: curve(lane.y), colour: lane.colour(), thick: 2, name: lane.trace.label }))], x: [0, T - 1], y: [-1, 1], xWords: "time step t" };
  } else {
    say("the first held-out sequence: probability of the right next symbol");
    const K = own.outputs,
      counted = Array.from({ length: T }, (_, t) => t).filter(t => share[t]);
    const series = ready.map(lane => ({ points: counted.map(t => [t, Model.softmax(lane.y.subarray(t * K, (t + 1) * K)).p[target[t]]]), colour: lane.colour(), thick: 2, name: lane.trace.label }));
    const room = Math.max(1, Math.ceil((T * 9) / (wideOf(box) - 190))),
      ticks = counted.filter(t => t % room === 0).map(t => [t, visible(own.symbols[target[t]])]);
    plan = { series, x: [0, T - 1], y: [0, 1], xWords: "the right next symbol", ticks };
  }
  box.replaceChildren(chart(wideOf(box), 270, { ...plan, label: $("answer-box").querySelector("figcaption").textContent }));
}

const visible = symbol => ({ "\n": "↵", "\t": "→", " ": "␣" })[symbol] || symbol;

function buildSamples() {
  $("samples").hidden = !task().embedding;
  $("samples").lastElementChild.replaceChildren(
    ...panes.map(lane => {
      const name = element("b", {}, lane.trace.label);
      lane.written = element("p", { class: "sample" });
      return element("div", {}, name, lane.written);
    }),
  );
}

function drawSamples() {
  for (const lane of panes) lane.written.textContent = lane.sample;
}

// ---- inside: river and gates ---------------------------------------------------------------------------------------------------

function drawLanes() {
  if (!panes.every(lane => lane.y)) return;
  drawRiver();
  $("river").firstElementChild.setAttribute("aria-label", "the gradient of each state at each step, on a logarithmic scale; click to mark a step");
}

function buildGates() {
  const T = chosen.T,
    H = chosen.units,
    every = Math.ceil(H / 8);
  $("gates").replaceChildren(
    ...panes.map(lane => {
      const { run } = lane,
        names = [...(run.letters.length > 1 ? run.letters : []), ...run.states].filter(n => run.program.at(n) !== undefined);
      lane.maps = names.map(name => {
        const canvas = element("canvas", { width: T, height: H, role: "img", "data-map": name }),
          column = element("div", { class: "column" }),
          range = element("span", { class: "range" }),
          title = element("b", {}, name);
        const units = Array.from({ length: H }, (_, j) => j).filter(j => j % every === 0),
          rows = element("div", { class: "units", "aria-hidden": "true" }, ...units.map(j => element("span", { style: `top:${(100 * (j + 0.5)) / H}%` }, String(j))));
        const times = element("div", { class: "times", "aria-hidden": "true" }, ...whole(T - 1, 5).map(t => element("span", { style: `left:${(100 * (t + 0.5)) / T}%` }, String(t))));
        canvas.addEventListener("pointermove", e => hover(lane, name, e));
        canvas.addEventListener("pointerleave", () => tip(null));
        canvas.addEventListener("click", e => go({ t: Math.floor((e.offsetX / canvas.clientWidth) * T) }));
        const node = element("div", { class: "map" }, element("div", { class: "label" }, element("span", {}, title, ` ${PALETTE[name]?.name || ""}`), range), element("div", { class: "with" }, rows, element("div", { class: "field" }, canvas, column, times)));
        return { name, canvas, column, range, title, node };
      });
      return element("div", { class: "box" }, element("h2", {}, `${lane.trace.label}: units by time, first held-out sequence`), element("div", { class: "maps" }, ...lane.maps.map(m => m.node)));
    }),
  );
}

function scaleOfMap(name) {
  const { ranges } = panes.find(p => p.run.ranges[name])?.run || { ranges: {} };
  if (ranges[name]) return { low: ranges[name][0], high: ranges[name][1] };
  const most = Math.max(1e-9, ...panes.filter(p => p.run.program.at(name) !== undefined).map(p => p.run.largest(name)));
  return { low: -most, high: most };
}

function drawGates() {
  for (const lane of panes.filter(p => p.y))
    for (const { name, canvas, range, title } of lane.maps) {
      const scale = scaleOfMap(name);
      fill(canvas, chosen.T, chosen.units, (t, j) => lane.run.get(name, t, j), scale);
      range.textContent = scale.low < 0 ? `± ${fmt(scale.high, 2)}` : `${fmt(scale.low, 2)} … ${fmt(scale.high, 2)}`;
      title.style.color = tint(name) || "";
      canvas.setAttribute("aria-label", `${lane.trace.label}, ${name}: ${chosen.units} units by ${chosen.T} steps, ${range.textContent}`);
    }
  go({});
}

function hover(lane, name, e) {
  const { clientWidth: wide, clientHeight: high } = e.target,
    t = clamp(Math.floor((e.offsetX / wide) * chosen.T), 0, chosen.T - 1),
    j = clamp(Math.floor((e.offsetY / high) * chosen.units), 0, chosen.units - 1);
  if (lane.y) tip(e, [`${name} at t = ${label(lane, t)}, unit ${j}: ${fmt(lane.run.get(name, t, j), 4)}`]);
}

// Mark a time step in all pictures.
function go({ t = view.t }) {
  const T = chosen.T;
  view.t = clamp(t, 0, T - 1);
  for (const lane of panes)
    for (const { column } of lane.maps) {
      column.style.left = `${(100 * view.t) / T}%`;
      column.style.width = `max(3px, ${100 / T}%)`;
    }
  const input = $("place").querySelector("input"),
    ready = panes.filter(p => p.y);
  input.value = view.t;
  $("place").querySelector("output").textContent = `t = ${view.t}${ready.map(p => `; ${p.trace.label} ${ribbonsOf(p.run).map(s => `|d${s}| ${fmt(p.run.norms(`d${s}`)[view.t], 2)}`).join(", ")}`).join("")}`;
  if (!waiting.has("river") && ready.length === panes.length && drawRiver.move) drawRiver.move();
}

// ---- the page -------------------------------------------------------------------------------------------------------------------

// One live region, kept: screen readers do not hear an element that is replaced.
function announce(words) {
  $("say").textContent = words;
}

function setTheme(name) {
  paintPage(name);
  for (const lane of panes) lane.paint();
  redraw();
}

const redraw = () => stale(...Object.keys(PICTURES));

function changed(name, live) {
  showControls();
  remember();
  if (!live) {
    run(false);
    begin();
  } else if (!training.running) {
    training.settle = true; // the clip line, a sample at this temperature
    stale("gradient");
    wake();
  }
}

function restart(seed = chosen.seed) {
  take({ seed });
  changed("seed", false);
}

const newSeed = () => restart(Math.floor(1e6 * Math.random()));

const KEYS = {
  " ": () => run(!training.running),
  s: oneMore,
  r: () => restart(),
  n: newSeed,
  t: () => setTheme(dark() ? "light" : "dark"),
  ArrowLeft: () => go({ t: view.t - 1 }),
  ArrowRight: () => go({ t: view.t + 1 }),
  "?": () => $("keys").showModal(),
};

document.addEventListener("keydown", e => {
  if ($("keys").open || e.ctrlKey || e.metaKey || e.altKey || !(e.key in KEYS)) return;
  const field = e.target.closest("input, select, button, textarea");
  // a slider has its own arrow keys, a button its space
  if (field && !(field.type === "range" && !e.key.startsWith("Arrow")) && !(field.tagName === "BUTTON" && e.key !== " ")) return;
  e.preventDefault();
  KEYS[e.key]();
});

function start() {
  recall();
  buildControls(changed);
  showControls();
  setTheme(store("theme") || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"));
  const clicks = { start: " ", one: "s", again: "r", reset: "n", theme: "t", help: "?" };
  for (const [id, key] of Object.entries(clicks)) $(id).addEventListener("click", () => KEYS[key]());
  $("place").addEventListener("input", e => go({ t: +e.target.value }));
  addEventListener("resize", redraw);
  addEventListener("hashchange", () => {
    recall();
    changed("address", false);
  });
  remember();
  begin();
}

start();
window.scratchnet = { Network, Random, Model, OPTIMISERS, TASKS, SETTINGS, chosen, training, panes, view, finish, initialCell, orthogonal, shapesOf, take, restart, run, changed, data: DATA };
