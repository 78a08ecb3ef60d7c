// The text of a trace: every token, what was predicted after it, and, for the one under the pointer, how much of its loss's gradient
// reaches each earlier one.

function buildTokens(pane) {
  const { run, trace, tokens } = pane;
  tokens.hidden = !trace.labels.length || trace.sequence !== 0;
  if (tokens.hidden) return;
  const cells = Array.from({ length: run.T }, (_, t) => {
    const own = stepLabel(run, trace, t) ?? "",
      best = trace.predicted?.[run.reversed ? run.T - 1 - t : t],
      shown = best ? best.map(([token, p]) => `${visible(token)} ${(100 * p).toFixed(0)}%`).join(", ") : "";
    const node = element("button", { type: "button", class: "token", title: shown ? `step ${t + run.first}; predicted next: ${shown}` : `step ${t + run.first}`, onclick: () => go({ t }) }, element("span", { class: "own" }, visible(own) || "\u00a0"));
    if (best) node.append(element("span", { class: "guess" }, visible(best[0][0])), element("span", { class: "sure" }, `${(100 * best[0][1]).toFixed(0)}%`));
    node.addEventListener("pointerenter", () => shade(pane, t));
    node.addEventListener("focus", () => shade(pane, t));
    return node;
  });
  const row = element("div", { class: "row" }, ...cells);
  row.addEventListener("pointerleave", () => shade(pane, null));
  tokens.replaceChildren(element("h2", {}, "text"), row, element("p", { class: "reach notes" }, REACH));
  pane.cursors.push(() => cells.forEach((node, t) => (t === view.t ? node.setAttribute("aria-current", "step") : node.removeAttribute("aria-current"))));
}

const REACH = "Point at a token: the darker an earlier token, the more of the gradient of this token's loss reaches it.";

// Shade each earlier token by |da| there from the loss at step tau, on a logarithmic scale of four decades.
function shade(pane, tau) {
  const { run, tokens } = pane,
    { losses, size } = run.perLoss || { losses: [] },
    k = losses.indexOf(tau === null ? -1 : tau + run.first),
    K = losses.length,
    nodes = [...tokens.querySelectorAll(".token")];
  const most = k < 0 ? 0 : Math.max(...nodes.map((_, t) => size[t * K + k]));
  nodes.forEach((node, t) => {
    const v = k < 0 ? 0 : size[t * K + k];
    node.style.setProperty("--reach", v > 0 ? Math.max(0, 1 + Math.log10(v / most) / 4).toFixed(3) : "0");
  });
  const note = tokens.querySelector(".reach");
  if (tau === null) note.textContent = REACH;
  else if (k < 0) note.textContent = `no loss at step ${tau + run.first}`;
  else {
    const near = size[tau * K + k];
    note.textContent = `The loss at step ${tau + run.first}: |da| ${fmt(near, 3)} at its own step, ${fmt(size[k], 3)} at step ${run.first} (${share(size[k] / near)}).`;
  }
}
