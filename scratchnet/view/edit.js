// "What if": sliders over the river, or one number changed by hand, and everything computed again.

// Sliders of the river, and of the steps that clip and update. Those with `params` change the parameters of all lanes that the page
// can compute; the numbers of the trace stay kept.
const KNOBS = {
  forget: { label: "forget-gate bias", min: -4, max: 6, step: 0.25, start: 0, show: v => `${v >= 0 ? "+" : "−"}${Math.abs(v)}`, params: true },
  radius: { label: "spectral radius of W_h", min: 0.25, max: 2, step: 0.05, start: 1, show: v => `× ${v}`, params: true },
  clip: { label: "clip the gradient at", min: -3, max: 2, step: 0.1, start: 2, show: v => (v >= 2 ? "off" : fmt(10 ** v, 2)) },
  lr: { label: "learning rate", min: -4, max: 1, step: 0.1, start: -1, show: v => fmt(10 ** v, 2) },
};
const knobs = { ...Object.fromEntries(Object.entries(KNOBS).map(([name, k]) => [name, k.start])), rule: "SGD" };
const dials = []; // {name, input, out}: all sliders of the page

const editable = pane => pane.trace.engine && pane.trace.model.editable;

// A slider; one knob may have several, and they move together.
function dial(name) {
  const { label: words, min, max, step, show } = KNOBS[name],
    out = element("output", {}, show(knobs[name])),
    input = element("input", { type: "range", min, max, step, value: knobs[name], "data-knob": name, "aria-label": words, oninput: () => setKnob(name, +input.value) });
  dials.push({ name, input, out });
  return element("label", {}, words, input, out);
}

function setKnob(name, value) {
  knobs[name] = value;
  for (const { input, out } of dials.filter(d => d.name === name)) {
    input.value = value;
    out.textContent = KNOBS[name].show(value);
  }
  if (KNOBS[name].params) turn();
  else {
    showNorms();
    draw();
  }
}

function setRule(name) {
  knobs.rule = name;
  for (const { parts } of panes) for (const select of parts.dials.querySelectorAll("select")) select.value = name;
  draw();
}

function buildKnobs() {
  const box = $("knobs"),
    able = panes.filter(editable);
  box.hidden = !able.length;
  if (box.hidden) return;
  const names = ["forget", "radius", "clip"].filter(name => name !== "forget" || able.some(p => p.trace.engine.modules.some(m => m.program?.letters.includes("f"))));
  const reset = element("button", { type: "button" }, "as trained");
  reset.addEventListener("click", () => {
    able.forEach(restore);
    for (const name of names) setKnob(name, KNOBS[name].start);
  });
  box.replaceChildren(...names.map(dial), reset, element("output", { id: "norms" }));
  setTimeout(showNorms, 0); // a pass over the whole batch: after the page is there
}

// Apply the knobs to fresh copies of the parameters, and compute.
function turn() {
  const turned = Object.keys(KNOBS).some(name => KNOBS[name].params && knobs[name] !== KNOBS[name].start);
  for (const pane of panes.filter(editable)) {
    const { trace } = pane;
    if (!turned) {
      restore(pane);
      continue;
    }
    trace.engine = unpackModel(trace);
    for (const m of trace.engine.modules)
      for (const run of m.runs || []) {
        const f = m.program.letters.indexOf("f");
        if (f >= 0 && run.params.b) for (let j = 0; j < m.H; j++) run.params.b[f * m.H + j] += knobs.forget;
        if (run.params.W_h) run.params.W_h.forEach((w, k) => (run.params.W_h[k] = w * knobs.radius));
      }
    recompute(pane);
  }
  showNorms();
  rebuild();
}

// The norm of all gradients of the batch, and what clipping makes of it.
function showNorms() {
  const out = $("norms");
  if (!out) return;
  const words = panes.filter(editable).map(pane => {
    const norm = (pane.trace.norm ??= Model.compute(pane.trace.engine).norm),
      limit = limitOf();
    return `${pane.trace.label}: norm of all gradients ${fmt(norm, 3)}${norm > limit ? `, clipped: × ${fmt(limit / norm, 3)}` : ""}`;
  });
  out.textContent = words.join("; ");
}

// The model of a trace with arrays in place of text.
function unpackModel(trace) {
  const model = unpackDeep(trace.model);
  for (const m of model.modules) if (m.kind === "recurrent") m.program = PROGRAMS[m.program];
  return model;
}

function restore(pane) {
  const { trace } = pane;
  trace.engine = unpackModel(trace);
  trace.outputs = { ...trace.outputsAsTraced };
  trace.changedLoss = null;
  trace.norm = null;
  for (const run of pane.runs) {
    run.asTraced();
    run.version = (run.version || 0) + 1;
  }
}

function recompute(pane) {
  const { trace } = pane,
    done = Model.compute(trace.engine),
    own = done.sequences[trace.sequence];
  trace.changedLoss = done.loss;
  trace.norm = done.norm;
  for (const run of pane.runs) {
    run.use(own.runs[run.name]);
    run.version = (run.version || 0) + 1;
  }
  const shown = trace.outputs.output;
  if (shown && shown.length === own.y.length) trace.outputs.output = Object.assign(Float64Array.from(own.y), { shape: shown.shape });
  return done;
}

// One number by hand.
function buildEdit(pane) {
  const { trace, edit } = pane,
    model = trace.engine;
  edit.replaceChildren();
  edit.hidden = !editable(pane);
  if (edit.hidden) return;
  const targets = { "input x": { of: model.xs[trace.sequence], cols: model.D, rows: model.lengths[trace.sequence] } }; // padding is not read
  for (const [part, params] of Object.entries(Model.parametersOf(model)))
    for (const [name, p] of Object.entries(params)) targets[`${part} ${name}`] = { of: p, cols: p.shape[p.shape.length - 1] };
  const tensor = element("select", { "aria-label": "tensor" }, ...Object.keys(targets).map(n => element("option", {}, n)));
  const row = element("input", { type: "number", min: 0, value: 0, "aria-label": "row" }),
    col = element("input", { type: "number", min: 0, value: 0, "aria-label": "column" });
  const value = element("input", { type: "number", step: "any", class: "value", "aria-label": "new value" }),
    result = element("output", { class: "change" });
  const chosen = () => {
    const { of, cols, rows = of.length / cols } = targets[tensor.value],
      r = clamp(+row.value || 0, 0, rows - 1),
      c = clamp(+col.value || 0, 0, cols - 1);
    Object.assign(row, { value: r, max: rows - 1 });
    Object.assign(col, { value: c, max: cols - 1 });
    return { of, at: r * cols + c };
  };
  const show = () => {
    const { of, at } = chosen();
    value.value = of[at];
  };
  for (const input of [tensor, row, col]) input.addEventListener("change", show);
  const submit = e => {
    e.preventDefault();
    const { of, at } = chosen(),
      v = parseFloat(value.value);
    if (!Number.isFinite(v)) {
      result.textContent = "not a number";
      return;
    }
    of[at] = v;
    const done = recompute(pane);
    result.textContent = `loss ${fmt(trace.loss, 7)} → ${fmt(done.loss, 7)}`;
    result.setAttribute("data-value", done.loss);
    rebuild();
  };
  const undo = () => {
    restore(pane);
    buildEdit(pane);
    rebuild();
  };
  edit.append(element("form", { onsubmit: submit }, element("b", {}, "What if"), tensor, "row", row, "column", col, "is", value, element("button", {}, "compute"), element("button", { type: "button", onclick: undo }, "as it was"), result));
  show();
}
