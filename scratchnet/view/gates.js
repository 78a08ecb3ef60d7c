// Gates and states of the first held-out sequence: a heatmap of units by time for each, and beside it all units at the marked step.

function buildGates() {
  $("gates").replaceChildren(
    ...panes.map(lane => {
      const { run, trace } = lane,
        names = [...(run.letters.length > 1 ? run.letters : []), ...run.states].filter(n => run.program.at(n) !== undefined);
      lane.maps = names.map(name => gateMap(lane, name));
      const box = element("div", { class: "box" }, element("h2", {}, trace.label, element("span", {}, ": units by time, first held-out sequence")), element("div", { class: "maps" }, ...lane.maps.map(m => m.node)));
      box.style.setProperty("--columns", Math.min(3, names.length));
      box.style.setProperty("--rows", Math.ceil(names.length / 3));
      box.style.flexGrow = Math.min(3, names.length);
      return box;
    }),
  );
}

function gateMap(lane, name) {
  const { T, units: H } = chosen,
    numbered = Array.from({ length: H }, (_, j) => j).filter(j => j % Math.ceil(H / 8) === 0),
    percent = (k, of) => `${(100 * (k + 0.5)) / of}%`;
  const canvas = element("canvas", { width: T, height: H, role: "img", "data-map": name }),
    column = element("div", { class: "column" }),
    bars = svg("path"),
    range = element("span", { class: "range" }),
    title = element("b", {}, name);
  const rows = element("div", { class: "units", "aria-hidden": "true" }, ...numbered.map(j => element("span", { style: `top:${percent(j, H)}` }, String(j)))),
    times = element("div", { class: "times", "aria-hidden": "true" }, ...whole(T - 1, 5).map(t => element("span", { style: `left:${percent(t, T)}` }, String(t)))),
    step = svg("svg", { class: "at-step", viewBox: `0 0 1 ${H}`, preserveAspectRatio: "none", "aria-hidden": "true" });
  step.append(bars);
  canvas.addEventListener("pointermove", e => hoverMap(lane, name, e));
  canvas.addEventListener("pointerleave", () => tip(null));
  canvas.addEventListener("click", e => go({ t: Math.floor((e.offsetX / canvas.clientWidth) * T) }));
  const words = element("span", {}, title, element("span", { class: "words" }, ` ${PALETTE[name]?.name || ""}`)),
    node = element("div", { class: "map" }, element("div", { class: "label" }, words, range), element("div", { class: "with" }, rows, element("div", { class: "field" }, canvas, column, times), step));
  return { name, canvas, column, bars, range, title, node };
}

// Gates and states are drawn in their own range where they have one, and in one range for both networks otherwise.
function scaleOfMap(name) {
  const lanes = panes.filter(p => p.run.program.at(name) !== undefined),
    { run } = lanes.find(p => p.run.ranges[name]) || lanes[0];
  return scaleOf(run, name, () => Math.max(1e-9, ...lanes.filter(p => p.y).map(p => p.run.largest(name))));
}

function drawGates() {
  for (const lane of panes.filter(p => p.y))
    for (const map of lane.maps) {
      const { name, canvas, range, title } = map,
        scale = scaleOfMap(name);
      fill(canvas, chosen.T, chosen.units, lane.run.reader(name), scale);
      map.scale = scale;
      range.textContent = rangeText(scale);
      title.style.color = map.bars.style.fill = tint(name) || "";
      canvas.setAttribute("aria-label", `${lane.trace.label}, ${name}: ${chosen.units} units by ${chosen.T} steps, ${range.textContent}`);
    }
  go({});
}

// The marked step: its column in each map, and all units at this step as bars.
function markStep(lane) {
  for (const { name, column, bars, scale } of lane.maps) {
    column.style.left = `${(100 * view.t) / chosen.T}%`;
    column.style.width = `max(3px, ${100 / chosen.T}%)`;
    if (!scale) continue;
    const place = v => clamp((v - scale.low) / (scale.high - scale.low), 0, 1) || 0;
    bars.setAttribute("d", Array.from({ length: chosen.units }, (_, j) => `M${place(0)},${j + 0.1}H${place(lane.run.get(name, view.t, j))}v0.8H${place(0)}z`).join(""));
  }
}

function hoverMap(lane, name, e) {
  const { clientWidth, clientHeight } = e.target,
    t = clamp(Math.floor((e.offsetX / clientWidth) * chosen.T), 0, chosen.T - 1),
    j = clamp(Math.floor((e.offsetY / clientHeight) * chosen.units), 0, chosen.units - 1);
  if (lane.y) tip(e, [`${name} at t = ${label(lane, t)}, unit ${j}: ${fmt(lane.run.get(name, t, j), 4)}`]);
}
