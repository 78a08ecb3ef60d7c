// "What if": one number changed by hand, and everything computed again.

function unpackModel(model) {
  const deep = v =>
    v && v.data && v.shape
      ? unpack(v)
      : Array.isArray(v)
        ? v.map(deep)
        : v && typeof v === "object"
          ? Object.fromEntries(Object.entries(v).map(([k, w]) => [k, deep(w)]))
          : v;
  return deep(model);
}

function buildEdit(pane) {
  const { trace, edit } = pane,
    model = trace.engine;
  edit.replaceChildren();
  edit.hidden = !model || !model.editable;
  if (edit.hidden) return;
  const targets = {
    "input x": { of: model.xs[trace.sequence], cols: model.D, rows: model.lengths[trace.sequence] }, // padding is not read
  };
  for (const m of model.modules)
    for (const part of m.runs || [m])
      for (const [name, p] of Object.entries(part.params || {}))
        targets[`${part.name} ${name}`] = { of: p, cols: p.shape[p.shape.length - 1] };
  const tensor = element(
    "select",
    { "aria-label": "tensor" },
    ...Object.keys(targets).map(n => element("option", {}, n)),
  );
  const row = element("input", { type: "number", min: 0, value: 0, "aria-label": "row" }),
    col = element("input", { type: "number", min: 0, value: 0, "aria-label": "column" });
  const value = element("input", { type: "number", step: "any", class: "value", "aria-label": "new value" }),
    result = element("output", { class: "change" });
  const chosen = () => {
    const { of, cols, rows = of.length / cols } = targets[tensor.value],
      r = clamp(+row.value || 0, 0, rows - 1),
      c = clamp(+col.value || 0, 0, cols - 1);
    row.value = r;
    col.value = c;
    row.max = rows - 1;
    col.max = cols - 1;
    return { of, at: r * cols + c };
  };
  const show = () => {
    const { of, at } = chosen();
    value.value = of[at];
  };
  for (const input of [tensor, row, col]) input.addEventListener("change", show);
  const form = element(
    "form",
    {
      onsubmit: e => {
        e.preventDefault();
        const { of, at } = chosen(),
          v = parseFloat(value.value);
        if (!Number.isFinite(v)) {
          result.textContent = "not a number";
          return;
        }
        of[at] = v;
        recompute(pane, result);
      },
    },
    element("b", {}, "What if"),
    tensor,
    "row",
    row,
    "column",
    col,
    "is",
    value,
    element("button", {}, "compute"),
    element(
      "button",
      {
        type: "button",
        onclick: () => {
          trace.engine = unpackModel(trace.model);
          pane.runs.forEach(r => r.derive());
          trace.outputs = { ...trace.outputsAsTraced };
          trace.changedLoss = null;
          buildEdit(pane);
          rebuild();
        },
      },
      "as it was",
    ),
    result,
  );
  edit.append(form);
  show();
}

function recompute(pane, result) {
  const { trace } = pane,
    done = Engine.compute(trace.engine);
  trace.changedLoss = done.loss;
  for (const run of pane.runs) {
    run.use(done.sequences[trace.sequence].runs[run.name]);
  }
  const length = Math.max(1, done.sequences[trace.sequence].y.length);
  if (trace.outputs.output && trace.outputs.output.length === length)
    trace.outputs.output = Object.assign(done.sequences[trace.sequence].y, { shape: trace.outputs.output.shape });
  result.textContent = `loss ${fmt(trace.loss, 7)} → ${fmt(done.loss, 7)}`;
  result.setAttribute("data-value", done.loss);
  rebuild();
}
