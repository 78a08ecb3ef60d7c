// The page: what is shown, where in the walk it is, and the keys that move it.
//
// The numbers come from Python; Engine (cells.js) fills in what follows from them, and computes the whole model again when a
// number is changed by hand. The files of this folder stand one behind the other in one script, in the order of page.py.

const panes = [];
const view = { run: 0, t: 0, j: 0, mode: "backward", s: 0 };
const clamp = (v, low, high) => Math.max(low, Math.min(high, v));
const lead = () => panes[0].run;

function stepsOf(run) {
  return run.steps[view.mode];
}

function go(change) {
  Object.assign(view, change);
  view.run = clamp(view.run, 0, Math.max(...panes.map(p => p.runs.length)) - 1);
  if (!panes.some(p => p.run.backwardThere)) view.mode = "forward";
  view.t = clamp(view.t, 0, Math.max(...panes.map(p => p.run.T)) - 1);
  view.j = clamp(view.j, 0, Math.max(...panes.map(p => p.run.H)) - 1);
  view.s = clamp(view.s, 0, Math.max(0, ...panes.map(p => stepsOf(p.run).length - 1)));
  draw();
  remember();
}

// The next micro-step of the walk: forwards it goes on at t+1, backwards at t-1.
function micro(by) {
  const count = Math.max(1, stepsOf(lead()).length),
    last = Math.max(...panes.map(p => p.run.T)) - 1;
  const sense = view.mode === "forward" ? 1 : -1;
  let { t, s } = view;
  s += by;
  if (s >= count || s < 0) {
    const next = t + (s < 0 ? -sense : sense);
    if (next < 0 || next > last) return false;
    s = s < 0 ? count - 1 : 0;
    t = next;
  }
  go({ t, s });
  return true;
}

function remember() {
  const { first, units } = lead();
  const unit = units[Math.min(view.j, units.length - 1)];
  const hash = `#run=${view.run}&t=${view.t + first}&unit=${unit}&walk=${view.mode}&step=${view.s}`;
  if (location.hash === hash) return;
  try {
    history.replaceState(null, "", hash);
  } catch {
    /* an iframe without an address: nothing to remember it in */
  }
}

function recall() {
  const fields = new URLSearchParams(location.hash.slice(1)),
    number = name => parseInt(fields.get(name), 10);
  const change = {};
  for (const [name, key] of [
    ["run", "run"],
    ["t", "t"],
    ["unit", "j"],
    ["step", "s"],
  ]) {
    if (Number.isFinite(number(name))) change[key] = number(name);
  }
  if (["forward", "backward"].includes(fields.get("walk"))) change.mode = fields.get("walk");
  const run = panes[0].runs[clamp(change.run || 0, 0, panes[0].runs.length - 1)];
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
  for (const pane of panes) pane.run = pane.runs[Math.min(view.run, pane.runs.length - 1)];
  const key = `${view.run} ${view.mode} ${dark()}`;
  for (const pane of panes) {
    if (key !== built) {
      buildMaps(pane);
      buildTimeline(pane);
    }
    drawHead(pane);
    drawCell(pane);
    drawMicro(pane);
    for (const move of pane.cursors) move();
  }
  built = key;
  const run = lead(),
    unit = run.units[Math.min(view.j, run.H - 1)];
  const longest = Math.max(...panes.map(p => p.run.T + p.run.first)) - 1;
  $("clock").textContent = `t = ${view.t + run.first} of ${longest}`;
  $("forward").setAttribute("aria-pressed", String(view.mode === "forward"));
  $("backward").setAttribute("aria-pressed", String(view.mode === "backward"));
  $("backward").disabled = !panes.some(p => p.run.backwardThere);
  $("run").value = String(view.run);
  $("hint").textContent =
    view.mode === "backward"
      ? `Walking back from the loss: step ${view.t + run.first}, unit ${unit}. The gradient comes from this step's loss (dy) and from the future (dh_next). Space: next line; ←: one step earlier in time.`
      : `Walking forward: step ${view.t + run.first}, unit ${unit}. Space: next line; →: one step later in time; b: go backward.`;
}

function drawHead(pane) {
  const { trace, head, run } = pane;
  head.replaceChildren(element("b", {}, trace.label));
  if (trace.loss !== null) {
    const now = trace.changedLoss ?? trace.loss;
    head.append(
      element(
        "span",
        { class: "loss", "data-value": now },
        `${trace.loss_name} ${fmt(now, 6)}${trace.changedLoss != null ? ` (was ${fmt(trace.loss, 6)})` : ""}`,
      ),
    );
  }
  head.append(
    element(
      "span",
      {},
      `${run.name}: ${run.cell}, ${run.D} inputs, ${run.H}${run.sampled ? " shown" : ""} units, sequence ${trace.sequence + 1} of ${trace.sequences}${run.reversed ? ", backwards in time: step 0 is its last" : ""}`,
    ),
  );
  if (view.t > run.T - 1) head.append(element("b", {}, `shown at its last step, t = ${run.T - 1 + run.first}`));
  for (const note of trace.notes) head.append(element("span", { class: "notes" }, note));
}

function pin() {
  for (const pane of panes) {
    const run = pane.run,
      step = stepsOf(run)[Math.min(view.s, stepsOf(run).length - 1)],
      t = Math.min(view.t, run.T - 1),
      j = Math.min(view.j, run.H - 1);
    if (!step) continue;
    const values = step.terms.filter(x => run.has(x[0])).map(x => `${x[0]} = ${fmt(run.get(x[0], t, j), 6)}`);
    $("pins").append(
      element(
        "div",
        {},
        `${panes.length > 1 ? pane.trace.label + ", " : ""}${run.name}, t=${label(pane, t)}, unit ${run.units[j]}: ${values.join(", ") || step.equation}`,
      ),
    );
  }
}

let playing = null;
function play() {
  clearInterval(playing);
  playing = playing
    ? null
    : setInterval(() => {
        if (!micro(1)) play();
      }, 700);
  $("play").setAttribute("aria-pressed", String(Boolean(playing)));
}

const time = by => go({ t: view.t + by });
function theme() {
  document.documentElement.dataset.theme = dark() ? "light" : "dark";
  rebuild();
}

const KEYS = {
  ArrowLeft: () => time(-1),
  ArrowRight: () => time(1),
  ArrowUp: () => go({ j: view.j - 1 }),
  ArrowDown: () => go({ j: view.j + 1 }),
  " ": e => micro(e.shiftKey ? -1 : 1),
  f: () => go({ mode: "forward", s: 0 }),
  b: () => go({ mode: "backward", s: 0 }),
  Home: () => go({ t: 0 }),
  End: () => go({ t: Infinity }),
  p: play,
  r: () => go({ run: (view.run + 1) % Math.max(...panes.map(p => p.runs.length)), s: 0 }),
  Enter: pin,
  Escape: () => $("pins").replaceChildren(),
  t: theme,
  "?": () => $("keys").showModal(),
};

document.addEventListener("keydown", e => {
  const field = e.target.closest("input, select, dialog, button");
  if (e.ctrlKey || e.metaKey || e.altKey || !(e.key in KEYS)) return;
  if (field && !(field.tagName === "BUTTON" && e.key !== " " && e.key !== "Enter")) return;
  e.preventDefault();
  KEYS[e.key](e);
});

function start() {
  const main = document.querySelector("main");
  main.classList.toggle("two", DATA.traces.length > 1);
  document.querySelector("h1").textContent = DATA.traces.map(t => t.label).join(" | ");
  for (const trace of DATA.traces) {
    trace.outputs = Object.fromEntries(Object.entries(trace.outputs).map(([n, p]) => [n, unpack(p)]));
    trace.outputsAsTraced = { ...trace.outputs };
    trace.engine = trace.model && unpackModel(trace.model);
    const pane = { trace, runs: trace.runs.map(r => new Run(r)), cursors: [] };
    for (const part of ["head", "cell", "micro", "time", "edit", "maps"])
      pane[part] = element("div", {
        class: {
          head: "name",
          cell: "box cell",
          micro: "box micro",
          time: "box wide time",
          edit: "box wide edit",
          maps: "box wide maps",
        }[part],
      });
    main.append(
      element(
        "section",
        { class: "pane", "aria-label": trace.label },
        pane.head,
        pane.cell,
        pane.micro,
        pane.time,
        pane.edit,
        pane.maps,
      ),
    );
    pane.run = pane.runs[0];
    panes.push(pane);
    buildEdit(pane);
  }
  const most = panes.reduce((a, b) => (b.runs.length > a.runs.length ? b : a));
  most.runs.forEach((run, k) => $("run").append(element("option", { value: k }, run.name)));
  // A click leaves the keyboard to the page: space goes on with the walk, and does not press the button again.
  for (const button of document.querySelectorAll("header button"))
    button.addEventListener("click", e => e.detail && button.blur());
  $("run").addEventListener("change", e => {
    go({ run: +e.target.value, s: 0 });
    e.target.blur();
  });
  $("forward").addEventListener("click", KEYS.f);
  $("backward").addEventListener("click", KEYS.b);
  $("earlier").addEventListener("click", KEYS.ArrowLeft);
  $("later").addEventListener("click", KEYS.ArrowRight);
  $("play").addEventListener("click", play);
  $("theme").addEventListener("click", theme);
  $("help").addEventListener("click", KEYS["?"]);
  document.documentElement.dataset.theme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  addEventListener("hashchange", () => go(recall()));
  addEventListener("resize", rebuild);
  go({ t: Infinity, ...recall() });
}

start();
window.scratchnet = { Engine, view, panes, go, micro, data: DATA };
