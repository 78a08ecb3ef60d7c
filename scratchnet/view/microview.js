// One micro-step: its equation, the library's lines, its terms with the numbers filled in, and the numeric gradient beside them.

function filled(run, formula, t, j) {
  return formula
    .replace(/\{(\w+)\}/g, (_, name) => {
      if (name === "j") return String(run.units[j]);
      const v = run.get(name, t, j);
      return v === undefined ? name : v < 0 ? `(${fmt(v)})` : fmt(v);
    })
    .replaceAll("*", "·")
    .replaceAll("^2", "²");
}

function numeric(pane, name, t, j) {
  const quantity = quantityOf(name),
    model = pane.trace.engine;
  if (!quantity || !model) return null;
  return Engine.numericGradient(model, pane.trace.sequence, pane.run.name, quantity, t, j);
}

function drawMicro(pane) {
  const { run, micro: box } = pane,
    list = stepsOf(run),
    t = Math.min(view.t, run.T - 1),
    j = Math.min(view.j, run.H - 1);
  box.replaceChildren();
  if (!list.length) {
    box.append(
      element(
        "p",
        {},
        run.steps.forward.length
          ? "no gradients: the trace was made without a target"
          : `the ${run.cell} cell has no micro-steps written down: its heatmaps are below`,
      ),
    );
    return;
  }
  const s = Math.min(view.s, list.length - 1),
    step = list[s];
  box.append(
    element(
      "h2",
      { "aria-live": "polite", class: "title" },
      `${view.mode} step ${s + 1} of ${list.length}: ${step.title}`,
    ),
    element(
      "ol",
      {},
      ...list.map((other, k) =>
        element(
          "li",
          {},
          element(
            "button",
            { type: "button", "aria-pressed": String(k === s), title: other.equation, onclick: () => go({ s: k }) },
            String(k + 1),
          ),
        ),
      ),
    ),
    element("div", { class: "equation" }, step.equation),
  );
  const code = element("div", { class: "code" });
  for (const [place, text] of step.code) code.append(element("span", {}, `${place}  `), text, "\n");
  box.append(code);
  for (const [result, formula] of step.terms) {
    if (!run.has(result)) continue;
    const value = run.get(result, t, j),
      made = numeric(pane, result, t, j);
    const term = element("div", { class: "term", "data-result": result, "data-value": value });
    const name = element("b", {}, `${result} = ${fmt(value, 6)}`);
    if (tint(result.replace(/^d(a_)?/, ""))) name.style.color = tint(result.replace(/^d(a_)?/, ""));
    term.append(element("div", { class: "sum" }, name, ` = ${filled(run, formula, t, j)}`));
    if (made !== null)
      term.append(
        element(
          "div",
          { class: "numeric", "data-numeric": made },
          `numeric gradient here ${fmt(made, 6)}, difference ${Math.abs(made - value).toExponential(1)}`,
        ),
      );
    const names = [...new Set([...formula.matchAll(/\{(\w+)\}/g)].map(m => m[1]))].filter(n => n !== "j");
    const shown = [result, ...names].filter(n => run.has(n)),
      shared = sharedScale(run, shown);
    for (const n of shown) term.append(strip(run, n, t, j, n.startsWith("d") ? shared : null));
    if (shared)
      term.append(
        element(
          "div",
          { class: "numeric" },
          `gradients: colours from -${fmt(shared.high, 2)} to ${fmt(shared.high, 2)}`,
        ),
      );
    box.append(term);
  }
  if (!step.terms.length) box.append(weightShare(run, t));
}

// The gradients of one sum are drawn on one scale, so that equal numbers have equal colours.
function sharedScale(run, names) {
  const gradients = names.filter(n => n.startsWith("d") && n in run.q);
  if (!gradients.length) return null;
  const high = Math.max(...gradients.map(n => run.largest(n))) || 1; // a term that is zero everywhere has no say
  return { low: -high, high };
}

// One quantity of all units at this step, as a row of coloured cells; a click selects the unit.
function strip(run, name, t, j, shared = null) {
  const canvas = element("canvas", {
    width: run.H,
    height: 1,
    role: "img",
    "aria-label": `${name} of all units at step ${t}`,
    onclick: e => go({ j: Math.floor((e.offsetX / canvas.clientWidth) * run.H) }),
  });
  const paint = canvas.getContext("2d"),
    scale = shared || scaleOf(run, name);
  for (let k = 0; k < run.H; k++) {
    paint.fillStyle = colourOf(run.get(name, t, k), scale);
    paint.fillRect(k, 0, 1, 1);
  }
  const mark = element("div", { class: "mark" });
  mark.style.left = `${(100 * j) / run.H}%`;
  mark.style.width = `${100 / run.H}%`;
  return element(
    "div",
    { class: "strip" },
    element("span", {}, name),
    element("div", { class: "field" }, canvas, mark),
    element("output", {}, fmt(run.get(name, t, j))),
  );
}

// What each weight's gradient is an outer product of: [its name, what stands on the left, what on the right].
function outerProducts(run) {
  const das = [...run.letters].map(g => `da_${g}`);
  const first = ["dW_x", "x", das];
  if (!("W_h" in run.params)) return [first];
  if (run.cell === "gru") return [first, ["dW_h", "h_prev", ["da_r", "da_z", "dm_n"]]];
  if (run.cell === "gru_reset_before") return [first, ["dW_h (r, z)", "h_prev", ["da_r", "da_z"]], ["dW_hn", "s", ["da_n"]]];
  return [first, ["dW_h", "h_prev", das]];
}

function weightShare(run, t) {
  const box = element("div", { class: "term" });
  if (run.sampled) {
    box.append(
      element(
        "p",
        {},
        `the page holds ${run.H} of ${run.allUnits} units: the size of a whole product is not known here`,
      ),
    );
    return box;
  }
  const square = names => names.reduce((sum, n) => sum + run.row(n, t).reduce((a, b) => a + b * b, 0), 0);
  for (const [weight, left, right] of outerProducts(run)) {
    const size = Math.sqrt(square([left]) * square(right)); // of an outer product: |row| |column|
    const what = `${weight}: this step adds ${left.replace("_prev", "'")}^T (${right.join(", ")}), of size ${fmt(size)}`;
    box.append(element("p", { "data-weight": weight, "data-value": size }, `${what}, from this sequence`));
  }
  const shown = new Set(
    outerProducts(run)
      .flatMap(([, left, right]) => [...right, left])
      .filter(n => n !== "x"),
  );
  for (const n of shown) box.append(strip(run, n, t, Math.min(view.j, run.H - 1)));
  return box;
}
