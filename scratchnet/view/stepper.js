// The page: what is shown, where in the walk it is, and the keys that move it.
//
// The numbers come from Python; a run's program fills in what follows from them, and Model computes everything again when a
// number is changed. The files of this folder are one script, in the order of page.py.

const PROGRAMS = DATA.programs.map(p => new Program(p));
const panes = [];
const view = { run: 0, t: 0, j: 0, mode: "backward", s: 0, zoom: "river", norm: false, lecture: false, strips: true, speed: 1, play: "line", story: null, pane: DATA.lead };
const leadPane = () => panes[DATA.lead]; // whose lines the walk follows: those of the others are paired with them
const lead = () => leadPane().run;

// The unit that a run shows. Side by side the units are paired by their place in the order of the rows: the unit that carries most of
// one network's gradient is shown with the unit that carries most of the other's.
function unitOf(run) {
  const first = lead();
  return run === first ? Math.min(view.j, run.H - 1) : run.order[Math.min(first.order.indexOf(view.j), run.H - 1)];
}

// The lead's unit for a unit of a run, as after a click in another pane.
const leadUnit = (run, j) => (run === lead() ? j : lead().order[Math.min(run.order.indexOf(j), lead().H - 1)]);

function go(change) {
  const { run } = view;
  Object.assign(view, change);
  view.run = clamp(view.run, 0, Math.max(...panes.map(p => p.runs.length)) - 1);
  if (!panes.some(p => p.runs[Math.min(view.run, p.runs.length - 1)].backwardThere)) view.mode = "forward";
  for (const pane of panes) pane.run = pane.runs[Math.min(view.run, pane.runs.length - 1)];
  if (view.run !== run && !("j" in change)) view.j = lead().order[0];
  view.t = clamp(view.t, 0, Math.max(...panes.map(p => p.run.T)) - 1);
  view.j = clamp(view.j, 0, lead().H - 1);
  view.s = clamp(view.s, -before(lead()), Math.max(0, stepsOf(lead()).length - 1 - before(lead())));
  draw();
  remember();
}

// The next micro-step of the walk: forwards it goes on at t+1, backwards at t-1.
function micro(by) {
  const run = lead(),
    sense = view.mode === "forward" ? 1 : -1;
  let { t, s } = view;
  s += by;
  const [least, most] = range(run, t);
  if (s > most || s < least) {
    t += s < least ? -sense : sense;
    if (t < 0 || t > Math.max(...panes.map(p => p.run.T)) - 1) return false;
    s = range(run, t)[s < least ? 1 : 0];
  }
  go({ t, s, zoom: "cell" });
  return true;
}

// The unit above or below, in the order of the rows.
function unit(by) {
  const { order } = lead();
  go({ j: order[clamp(order.indexOf(view.j) + by, 0, order.length - 1)] });
}

function remember() {
  const { first, units } = lead(),
    own = units[Math.min(view.j, units.length - 1)];
  setAddress(`#zoom=${view.zoom}&run=${view.run}&t=${view.t + first}&unit=${own}&walk=${view.mode}&step=${view.s}`);
}

function recall() {
  const fields = new URLSearchParams(location.hash.slice(1)),
    number = name => parseInt(fields.get(name), 10),
    change = {};
  for (const [name, key] of [["run", "run"], ["t", "t"], ["unit", "j"], ["step", "s"]]) if (Number.isFinite(number(name))) change[key] = number(name);
  if (["forward", "backward"].includes(fields.get("walk"))) change.mode = fields.get("walk");
  if (["river", "cell"].includes(fields.get("zoom"))) change.zoom = fields.get("zoom");
  else if ("s" in change || "t" in change) change.zoom = "cell";
  const run = leadPane().runs[clamp(change.run || 0, 0, leadPane().runs.length - 1)];
  if ("t" in change) change.t -= run.first; // the address names the trace's own steps and units, not those of the page
  if ("j" in change) change.j = Math.max(0, run.units.indexOf(change.j));
  return change;
}

let built = "";

function rebuild() {
  built = "";
  draw();
}

function draw() {
  const key = `${view.run} ${view.mode} ${theme()} ${view.lecture}`; // a lecture hides charts, which have no width then
  document.body.dataset.zoom = view.zoom;
  document.body.classList.toggle("lecture", view.lecture);
  document.body.classList.toggle("telling", view.story !== null);
  panes.forEach((pane, k) => pane.node.classList.toggle("shown", k === view.pane));
  drawStory();
  for (const pane of panes) {
    if (key !== built) {
      buildMaps(pane);
      buildTokens(pane);
      buildTimeline(pane);
      drawHead(pane);
    }
    if (view.zoom === "cell" && pane.node.offsetParent !== null) {
      drawCell(pane);
      drawMicro(pane);
    }
    for (const move of pane.cursors) move();
  }
  built = key;
  drawRiver();
  drawControls();
  tellParent();
}

function drawControls() {
  const run = lead(),
    longest = Math.max(...panes.map(p => p.run.T + p.run.first)) - 1;
  $("clock").textContent = `t = ${view.t + run.first} of ${longest}`;
  $("of-unit").textContent = view.zoom === "river" ? "" : view.norm ? "all units" : `unit ${run.units[Math.min(view.j, run.H - 1)]}`;
  for (const mode of ["forward", "backward"]) $(mode).setAttribute("aria-pressed", String(view.mode === mode));
  for (const zoom of ["river", "cell"]) $(`to-${zoom}`).setAttribute("aria-pressed", String(view.zoom === zoom));
  $("norm").setAttribute("aria-pressed", String(view.norm));
  $("lecture").setAttribute("aria-pressed", String(view.lecture));
  $("other").textContent = panes[view.pane].trace.label;
  $("backward").disabled = !panes.some(p => p.run.backwardThere);
  $("run").value = String(view.run);
  const own = run.units[Math.min(view.j, run.H - 1)],
    step = stepOf(run);
  const [said, keys] = hint(run, own);
  $("hint").replaceChildren(`${said} `, element("span", { class: "keys" }, keys)); // keys are not printed
  if (view.zoom === "cell" && step) say(`t = ${view.t + run.first}, unit ${own}, ${step.title}`);
}

// What is shown, and the keys that go on from here.
function hint(run, own) {
  const t = view.t + run.first;
  if (view.zoom === "river") return ["The width of a ribbon is the size of a gradient, on a logarithmic scale.", "Click a step to see its cell; space: next line."];
  if (view.mode === "forward") return [`Forward pass, step ${t}, unit ${own}.`, "Space: next line; →: one step later; b: backward."];
  const keys = "Space: next line; ←: one step earlier.";
  if (view.t === run.T - 1)
    return [`Backward pass, step ${t}, the last one, unit ${own}: there is no future, the gradient comes from the ${run.above}${run.arrivesLast ? " through the final state" : " (dy)"}.`, keys];
  const future = run.states.map(s => `d${s}_next`).join(" and ");
  return [`Backward pass, step ${t}, unit ${own}. The gradient comes from ${run.lossAt(view.t) ? `this step's ${run.above} (dy) and ` : ""}the future (${future}).`, keys];
}

function drawHead(pane) {
  const { trace, head, run } = pane;
  head.replaceChildren(element("b", {}, trace.label));
  if (trace.loss !== null) {
    const now = trace.changedLoss ?? trace.loss;
    head.append(element("span", { class: "loss", "data-value": now }, `${trace.loss_name} ${fmt(now, 6)}${trace.changedLoss != null ? ` (was ${fmt(trace.loss, 6)})` : ""}`));
  }
  head.append(element("span", {}, `${run.name}: ${run.cell}, ${run.D} inputs, ${run.H}${run.sampled ? " shown" : ""} units, sequence ${trace.sequence + 1} of ${trace.sequences}${run.reversed ? ", backwards in time: step 0 is its last" : ""}`));
  for (const note of trace.notes) head.append(element("span", { class: "notes" }, note));
}

function pin() {
  for (const pane of panes) {
    const { run } = pane,
      step = stepOf(run),
      t = Math.min(view.t, run.T - 1),
      j = unitOf(run);
    if (!step) continue;
    const values = step.terms.filter(n => run.has(n)).map(n => `${n} = ${fmt(run.get(n, t, j), 6)}`);
    const gone = element("button", { type: "button", "aria-label": "remove this pin" }, "×");
    const node = element("div", {}, `${panes.length > 1 ? `${pane.trace.label}, ` : ""}${run.name}, t=${label(pane, t)}, unit ${run.units[j]}: ${values.join(", ") || step.title} `, gone);
    gone.addEventListener("click", () => node.remove());
    $("pins").append(node);
  }
}

let playing = null;

function play() {
  clearInterval(playing);
  const advance = () => (view.play === "line" && view.zoom === "cell" ? micro(1) : stepInTime());
  playing = playing
    ? null
    : setInterval(() => {
        if (!advance()) play();
      }, 900 / view.speed);
  $("play").setAttribute("aria-pressed", String(Boolean(playing)));
}

function stepInTime() {
  const before = view.t;
  go({ t: view.t + (view.mode === "forward" ? 1 : -1) });
  return view.t !== before;
}

function setTheme(name) {
  paintPage(name);
  if (panes.length) rebuild();
}

const time = by => go({ t: view.t + by });
const dialog = () => {
  if (!$("keys").open) $("keys").showModal();
};

const KEYS = {
  ArrowLeft: () => (view.story !== null ? tell(view.story - 1) : time(-1)),
  ArrowRight: () => (view.story !== null ? tell(view.story + 1) : time(1)),
  ArrowUp: () => unit(-1),
  ArrowDown: () => unit(1),
  " ": e => (view.story !== null ? tell(view.story + (e.shiftKey ? -1 : 1)) : micro(e.shiftKey ? -1 : 1)),
  f: () => go({ mode: "forward", s: 0 }),
  b: () => go({ mode: "backward", s: 0 }),
  o: () => go({ zoom: view.zoom === "river" ? "cell" : "river" }),
  u: () => go({ norm: !view.norm }),
  l: () => go({ lecture: !view.lecture }),
  s: () => tell(view.story === null ? 0 : null),
  n: () => nextDifference(),
  c: () => go({ pane: (view.pane + 1) % panes.length }),
  e: save,
  Home: () => go({ t: 0 }),
  End: () => go({ t: Infinity }),
  p: play,
  r: () => go({ run: (view.run + 1) % Math.max(...panes.map(p => p.runs.length)), s: 0 }),
  Enter: pin,
  Escape: () => (view.story !== null ? tell(null) : $("pins").replaceChildren()),
  t: () => setTheme(dark() ? "light" : "dark"),
  "?": dialog,
};

const CLASSES = { head: "name", cell: "box cell", micro: "box micro", tokens: "box wide tokens", time: "box wide time", edit: "box wide edit", maps: "box wide maps" };

function buildPane(trace) {
  trace.outputs = Object.fromEntries(Object.entries(trace.outputs).map(([n, p]) => [n, unpack(p)]));
  trace.outputsAsTraced = { ...trace.outputs };
  trace.engine = trace.model && unpackModel(trace);
  const pane = { trace, runs: trace.runs.map(r => new Run(r, PROGRAMS)), cursors: [] };
  for (const [part, names] of Object.entries(CLASSES)) pane[part] = element("div", { class: names });
  pane.cell.tabIndex = 0;
  pane.cell.setAttribute("role", "region");
  pane.cell.setAttribute("aria-label", `${trace.label}: drawing of the cell`);
  const parts = Object.keys(CLASSES).map(part => pane[part]);
  pane.node = element("section", { class: "pane", "aria-label": trace.label }, ...parts);
  document.querySelector("main").append(pane.node);
  [pane.run] = pane.runs;
  panes.push(pane);
  for (pane.run of pane.runs) {
    pane.run.around = layersAround(pane);
    pane.run.before = {};
    for (const [mode, own] of Object.entries(pane.run.walk)) {
      const { pre, post } = own.length ? stepsAround(pane, mode) : { pre: [], post: [] };
      pane.run.walk = { ...pane.run.walk, [mode]: [...pre, ...own, ...post] };
      pane.run.before[mode] = pre.length;
    }
  }
  [pane.run] = pane.runs;
  buildMicro(pane);
  buildEdit(pane);
}

// Where the page opens: at the first difference of a custom backward, else at the last step and with the unit that carries most of
// the gradient to the first one.
function opening() {
  const run = panes.map(p => p.run).find(r => r.firstDifference),
    place = run?.firstDifference;
  if (!place) return { t: Infinity, j: lead().order[0] };
  const s = run.walk.backward.findIndex(step => step.terms.includes(place.term));
  return { zoom: "cell", t: place.t, j: leadUnit(run, Math.max(0, run.units.indexOf(place.unit))), s: Math.max(0, s - run.before.backward) };
}

function start() {
  setTheme(firstTheme());
  const main = document.querySelector("main");
  main.classList.toggle("two", DATA.traces.length > 1);
  main.style.setProperty("--panes", DATA.traces.length);
  document.querySelector("h1").textContent = DATA.traces.map(t => t.label).join(" | ");
  DATA.traces.forEach(buildPane);
  const most = panes.reduce((a, b) => (b.runs.length > a.runs.length ? b : a));
  most.runs.forEach((run, k) => $("run").append(element("option", { value: k }, run.name)));
  $("run").parentElement.hidden = most.runs.length < 2;
  $("run").addEventListener("change", e => go({ run: +e.target.value, s: 0 }));
  listen(KEYS, { forward: "f", backward: "b", earlier: "ArrowLeft", later: "ArrowRight", play: "p", theme: "t", help: "?", norm: "u", lecture: "l", tell: "s", save: "e", other: "c" });
  $("to-river").addEventListener("click", () => go({ zoom: "river" }));
  $("to-cell").addEventListener("click", () => go({ zoom: "cell" }));
  $("line-back").addEventListener("click", () => micro(-1));
  $("line-on").addEventListener("click", () => micro(1));
  $("speed").addEventListener("change", e => {
    view.speed = +e.target.value;
    if (playing) {
      play();
      play();
    }
  });
  $("by").addEventListener("change", e => (view.play = e.target.value));
  addEventListener("hashchange", () => go(recall()));
  addEventListener("resize", rebuild);
  $("other").hidden = panes.length < 2;
  buildKnobs();
  const embed = embedded();
  document.body.classList.toggle("embed", embed !== null);
  go({ ...opening(), ...recall(), ...(embed && { zoom: embed }) });
}

start();
window.scratchnet = { Model, PROGRAMS, view, panes, go, micro, tell, data: DATA };
