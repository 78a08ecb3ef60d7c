// The settings: sliders and lists, what they mean, and the page's address, which contains them.

const cellNames = () => Object.entries(DATA.cells).map(([name, cell]) => [name, cell.title]);
const CLIP_OFF = 3; // the exponent of ten from which on nothing is clipped

// kind: "list" with options, "range", or "number". live: changes the training that runs; the others start again. `value` turns a
// slider's position into the setting, such as 10^v, `position` turns it back, `show` writes it; `only`: the tasks that have it.
const SETTINGS = {
  task: { label: "task", kind: "list", options: () => Object.entries(TASKS).map(([name, task]) => [name, task.name]) },
  cell: { label: "cell", kind: "list", options: cellNames },
  second: { label: "second cell", kind: "list", options: () => [["none", "none"], ...cellNames()] },
  T: { label: "steps T", kind: "range", min: 5, max: 100, step: 1 },
  noise: { label: "noise", kind: "range", min: 0, max: 0.5, step: 0.05, start: 0.1, only: ["sine"] },
  units: { label: "units", kind: "range", min: 2, max: 32, step: 1 },
  batch: { label: "batch", kind: "range", min: 1, max: 32, step: 1 },
  forget: { label: "forget-gate bias", kind: "range", min: -2, max: 6, step: 0.5, start: 1 },
  optimiser: { label: "optimiser", kind: "list", options: () => Object.keys(OPTIMISERS).map(name => [name, name]), start: "Adam" },
  seed: { label: "seed", kind: "number", min: 0, max: 2 ** 53 - 1 },
  lr: { label: "learning rate", kind: "range", min: -4, max: 1, step: 0.1, live: true, value: v => 10 ** v, position: Math.log10, show: v => fmt(v, 2) },
  clip: { label: "clip the norm at", kind: "range", min: -2, max: CLIP_OFF, step: 0.1, start: 0, live: true, value: v => (v >= CLIP_OFF ? Infinity : 10 ** v), position: v => Math.min(CLIP_OFF, Math.log10(v)), show: v => (v === Infinity ? "off" : fmt(v, 2)) },
  temperature: { label: "temperature", kind: "range", min: 0, max: 2, step: 0.1, start: 0.5, live: true, only: ["text"] },
};

const chosen = {}; // the settings as their inputs have them: for the learning rate its exponent
const setting = name => (SETTINGS[name].value || (v => v))(chosen[name]);
const task = () => TASKS[chosen.task];

// What a setting may be: a number inside its range, or one of its options; undefined otherwise.
function allowed(name, given) {
  const { kind, options, min, max } = SETTINGS[name];
  if (kind === "list") return options().some(([value]) => value === given) ? given : undefined;
  const v = parseFloat(given);
  return Number.isFinite(v) ? clamp(kind === "number" ? Math.floor(v) : v, min, max) : undefined;
}

function take(given) {
  for (const [name, value] of Object.entries(given)) if (name in SETTINGS) chosen[name] = allowed(name, value) ?? chosen[name];
  chosen.T = clamp(chosen.T, 5, mostSteps());
}

const mostSteps = () => Math.min(SETTINGS.T.max, task().longest || Infinity);

// A task's own settings: how it learns in a minute or so.
const settingsOf = name => ({ ...TASKS[name].start, lr: Math.log10(TASKS[name].start.lr) });

function buildControls(changed) {
  for (const [name, own] of Object.entries(SETTINGS)) {
    const id = `set-${name}`,
      out = element("output", { for: id }),
      input = own.kind === "list" ? element("select", { id }, ...own.options().map(([value, words]) => element("option", { value }, words))) : element("input", { id, type: own.kind, min: own.min, max: own.max, step: own.step || 1 });
    own.row = element("div", { class: "setting" }, element("label", { for: id }, own.label), input, out);
    own.refresh = () => {
      if (name === "T") input.max = mostSteps();
      input.value = chosen[name];
      out.hidden = own.kind !== "range";
      out.textContent = own.kind === "range" ? (own.show || (v => fmt(v, 3)))(setting(name)) : "";
      own.row.hidden = Boolean(own.only) && !own.only.includes(chosen.task);
      if (own.kind === "range") input.setAttribute("aria-valuetext", out.textContent);
    };
    input.addEventListener(own.kind === "range" ? "input" : "change", () => {
      take({ [name]: input.value });
      if (name === "task") take(settingsOf(chosen.task));
      changed(Boolean(own.live));
    });
    $(own.live ? "lives" : "begins").append(own.row);
  }
  $("controls").addEventListener("submit", e => e.preventDefault());
}

function showControls() {
  for (const own of Object.values(SETTINGS)) own.refresh();
  const forgets = [chosen.cell, chosen.second].some(name => DATA.cells[name]?.letters.includes("f"));
  SETTINGS.forget.row.hidden = !forgets;
  const { nothing, best, about } = task(),
    options = { noise: chosen.noise };
  const learned = `${fmt(nothing.error(chosen.T, options), 3)} is the error of a network that has learned nothing: ${nothing.about}.`,
    ideal = best ? ` ${fmt(best.error(chosen.T, options), 3)} is the lowest possible error: ${best.about}.` : "";
  $("about").textContent = `${about} ${learned}${ideal}`;
}

function remember() {
  const value = name => (typeof setting(name) === "number" && Number.isFinite(setting(name)) ? +setting(name).toPrecision(12) : setting(name));
  setAddress(`#${Object.keys(SETTINGS).map(name => `${name}=${value(name)}`).join("&")}`);
}

// The settings that the page opens with: its own, then those of the address.
function recall() {
  const asked = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
  for (const [name, { position }] of Object.entries(SETTINGS)) if (position && name in asked) asked[name] = position(Number(asked[name]));
  for (const [name, own] of Object.entries(SETTINGS)) if ("start" in own) chosen[name] = own.start;
  Object.assign(chosen, DATA.settings);
  chosen.task = allowed("task", asked.task) ?? chosen.task;
  Object.assign(chosen, settingsOf(chosen.task));
  take(asked);
}
