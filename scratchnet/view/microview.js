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
        run.backwardThere
          ? `the ${run.cell} cell has no micro-steps written down`
          : "no gradients: the trace was made without a target",
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
  for (const [line, text] of step.code) code.append(element("span", {}, `${run.steps.file}:${line}  `), text, "\n");
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
    for (const n of [result, ...names]) if (run.has(n)) term.append(strip(run, n, t, j));
    box.append(term);
  }
  if (!step.terms.length) box.append(weightShare(run, t));
}

// One quantity of all units at this step, as a row of coloured cells; a click selects the unit.
function strip(run, name, t, j) {
  const canvas = element("canvas", {
    width: run.H,
    height: 1,
    onclick: e => go({ j: Math.floor((e.offsetX / canvas.clientWidth) * run.H) }),
  });
  const paint = canvas.getContext("2d"),
    scale = scaleOf(run, name);
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

function weightShare(run, t) {
  const G = run.letters.length * run.H,
    gates = [...run.letters],
    norm = (rows, cols) => Math.sqrt(rows * cols);
  const square = v => v.reduce((a, b) => a + b * b, 0);
  const at = s => {
    // |outer product| = |row| |column|
    const da = gates.reduce((sum, g) => sum + square(run.row(`da_${g}`, s)), 0);
    return { x: norm(square(run.row("x", s)), da), h: norm(square(run.row("h_prev", s)), da) };
  };
  const now = at(t),
    box = element("div", { class: "term" });
  if (run.letters === "rzn")
    return element(
      "p",
      {},
      `this step adds an outer product of x and da to dW_x (${run.D} × ${G}), of size ${fmt(now.x)}; the sum over all steps is the gradient`,
    );
  box.append(
    element(
      "p",
      { "data-share": now.h },
      `this step adds x^T da of size ${fmt(now.x)} to dW_x (${run.D} × ${G}), and h'^T da of size ${fmt(now.h)} to dW_h (${run.H} × ${G}), from this sequence`,
    ),
  );
  for (const g of gates) box.append(strip(run, `da_${g}`, t, Math.min(view.j, run.H - 1)));
  box.append(strip(run, "h_prev", t, Math.min(view.j, run.H - 1)));
  return box;
}
