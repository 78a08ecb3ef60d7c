// Training: one or two networks on the same batches, step by step, in slices that leave the browser its turn.

const PROGRAMS = DATA.programs.map(p => new Program(p));
for (const cell of Object.values(DATA.cells)) cell.program = PROGRAMS[cell.program];
const panes = []; // the networks; river.js draws a lane for each
const view = { run: 0, t: 0, zoom: "river", lecture: false };
const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)");
const SLICE = 14; // milliseconds of training before the browser has its turn
const MEASURE_EVERY = 20; // steps from one held-out error to the next
const INSPECT_EVERY = () => (reducedMotion.matches ? 2500 : 500); // milliseconds from one drawing of gates and river to the next
const DIVERGED = 1e6; // times the error of a network that has learned nothing

// single: one step was asked for. pending: the pictures are older than the weights or the settings. work: the generator that runs.
const training = { running: false, single: false, pending: false, step: 0, seconds: 0, work: null, scheduled: false };

// ---- from the settings to networks at step 0 --------------------------------------------------------------------------------

function begin() {
  const { T, seed, noise, cell, second } = chosen,
    names = second in DATA.cells && second !== cell ? [cell, second] : [cell],
    options = { noise };
  Object.assign(training, { step: 0, seconds: 0, single: false, pending: false, inspectedAt: 0, options, data: new Random(seed, 2) });
  training.heldOut = heldOut(task(), new Random(seed, 3), T, options);
  training.heldOut.purpose = "held-out";
  training.first = Object.assign(firstOf(task(), training.heldOut), { purpose: "first" });
  training.untrained = task().nothing.error(T, options);
  training.threshold = task().learned(T, options);
  panes.splice(0, panes.length, ...names.map(laneOf));
  view.t = clamp(view.t, 0, T - 1);
  training.work = refresh();
  buildPictures();
  wake();
}

function laneOf(name, k) {
  const cell = DATA.cells[name],
    network = new Network(cell, task(), chosen.units, { random: new Random(chosen.seed, 1), forgetBias: chosen.forget }),
    units = [...Array(chosen.units).keys()];
  const run = new Run({ ...cell, program: null, cell: name, T: chosen.T, D: network.D, H: chosen.units, first: 0, units, arrivesLast: !task().everyStep, arrays: {}, sizes: {} }, []);
  run.program = cell.program;
  const trace = { label: cell.title, labels: symbolsOf(task(), training.first) };
  return { trace, run, network, k, colour: colourOfLane(name, k), optimiser: new OPTIMISERS[chosen.optimiser](), losses: [], norms: [], heldOut: [], learned: null, stopped: null, answers: null, sample: "" };
}

// A kind of cell has its colour, and of two of one kind the second another.
function colourOfLane(name, k) {
  const kind = cell => (cell.startsWith("lstm") ? "lstm" : cell.startsWith("gru") ? "gru" : DATA.palette.models[cell] ? cell : "mlp"),
    own = kind(name);
  return () => DATA.palette.models[k && own === kind(chosen.cell) ? (own === "mlp" ? "rnn" : "mlp") : own][theme()];
}

// ---- training: generators that yield ----------------------------------------------------------------------------------------

function* refresh() {
  yield* measureHeldOut();
  yield* inspect();
}

function* trainStep() {
  const batch = task().draw(training.data, chosen.T, chosen.batch, training.options);
  training.step++;
  for (const lane of panes) {
    if (lane.stopped) continue;
    const { loss, norm } = yield* lane.network.train(batch, lane.optimiser, setting("lr"), setting("clip"));
    lane.losses.push(loss);
    lane.norms.push(norm);
    if (!Number.isFinite(loss) || !Number.isFinite(norm) || loss > DIVERGED * training.untrained) stop(lane, loss, norm);
  }
  if (training.single || training.step % MEASURE_EVERY === 0) yield* measureHeldOut();
  if (training.single || performance.now() - training.inspectedAt > INSPECT_EVERY()) yield* inspect();
  training.single = false;
  redraw("table", "loss", "gradient");
}

function* measureHeldOut() {
  for (const lane of panes) {
    if (lane.stopped) continue;
    const { loss, y } = yield* lane.network.pass(training.heldOut, false);
    lane.heldOut.push([training.step, loss]);
    lane.answers = y;
    if (lane.learned === null && loss < training.threshold) {
      lane.learned = { step: training.step, seconds: training.seconds };
      say(`${lane.trace.label} has learned the task at step ${training.step}.`);
    }
  }
  redraw("table", "loss");
}

// Gates, states and gradients of the first held-out sequence, and a sample of the text.
function* inspect() {
  training.inspecting = true;
  for (const lane of panes) {
    if (lane.stopped) continue;
    const { y, steps } = yield* lane.network.pass(training.first);
    lane.y = y;
    lane.run.use({ steps });
    lane.run.version = ++inspect.count;
    if (task().embedding) lane.sample = yield* sampleText(lane.network, task().symbols);
  }
  training.inspecting = false;
  training.inspectedAt = performance.now();
  redraw("answer", "gates", "river", "samples");
}
inspect.count = 0;

function* sampleText(network, symbols) {
  const lineBreak = Math.max(0, symbols.indexOf("\n")),
    written = yield* writing(network, lineBreak, 150, chosen.temperature, new Random(chosen.seed, 4 + training.step));
  return written.map(k => symbols[k]).join("");
}

function stop(lane, loss, norm) {
  const what = !Number.isFinite(loss) ? `the loss is ${loss}` : !Number.isFinite(norm) ? `the norm of the gradients is ${norm}` : `the loss is ${fmt(loss, 2)}, more than a million times the error of a network that has learned nothing`;
  const rate = `lower the learning rate (now ${SETTINGS.lr.show(setting("lr"))})`,
    limit = setting("clip") === Infinity ? "clip the gradients (now off)" : `clip the gradients at a smaller norm (now ${SETTINGS.clip.show(setting("clip"))})`;
  lane.stopped = { step: training.step };
  $("alarm").textContent += `${lane.trace.label} has diverged and stopped at step ${training.step}: ${what}. Its last steps were too long. To go on, ${rate} or ${limit}, then restart. `;
  if (panes.every(p => p.stopped)) run(false);
}

// ---- slices: work until the time is up, then let the browser draw and handle input ------------------------------------------

const channel = new MessageChannel(); // a message comes back sooner than a timeout
channel.port1.onmessage = slice;

function wake() {
  if (training.scheduled) return;
  training.scheduled = true;
  channel.port2.postMessage(null);
}

// The next generator to run: a step, or a last look after the last one.
function nextWork() {
  if (training.running || training.single) return trainStep();
  if (!training.pending) return null;
  training.pending = false;
  return refresh();
}

function slice() {
  const began = performance.now();
  training.scheduled = false;
  do {
    training.work ??= nextWork();
    if (!training.work) break;
    if (training.work.next().done) training.work = null;
  } while (performance.now() - began < SLICE);
  training.seconds += (performance.now() - began) / 1000;
  if (training.work || training.running || training.single || training.pending) wake();
}

function run(on) {
  if (on && panes.every(p => p.stopped)) return;
  training.running = on;
  $("start").textContent = on ? "pause" : "start";
  training.clock = { at: performance.now(), step: training.step };
  training.pending ||= !on;
  redraw("table");
  wake();
}

function singleStep() {
  run(false);
  training.pending = false; // the step ends with a look
  training.single = panes.some(p => !p.stopped);
  wake();
}
