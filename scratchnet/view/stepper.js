// The page: draws a trace, walks it. The numbers come from Python; Engine (cells.js) fills in what follows from them, and
// computes the whole model again when a number is changed by hand.

(() => {
  "use strict";
  const DATA = JSON.parse(document.getElementById("data").textContent);
  const PALETTE = DATA.palette;
  const $ = id => document.getElementById(id);

  // ---- small tools -------------------------------------------------------------------------------------------------

  function unpack({ shape, data, type }) {
    const bytes = Uint8Array.from(atob(data), c => c.charCodeAt(0));
    const values = type === "f8" ? new Float64Array(bytes.buffer) : Float64Array.from(new Float32Array(bytes.buffer));
    values.shape = shape;
    return values;
  }

  // All text reaches the page through textContent: a label is never markup.
  function element(tag, attributes = {}, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else if (value !== false && value !== null) node.setAttribute(name, value === true ? "" : value);
    }
    node.append(...children.map(c => (c instanceof Node ? c : document.createTextNode(c))));
    return node;
  }

  function svg(tag, attributes = {}, text = null) {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    if (text !== null) node.textContent = text;
    return node;
  }

  function fmt(v, digits = 4) {
    if (v === undefined || v === null) return "";
    if (!Number.isFinite(v)) return String(v);
    const size = Math.abs(v);
    if (size !== 0 && (size < 1e-3 || size >= 1e5)) return v.toExponential(digits - 2);
    return Number(v.toPrecision(digits)).toString();
  }

  const dark = () => document.documentElement.dataset.theme === "dark";
  const tint = name => (PALETTE[name] ? PALETTE[name][dark() ? "dark" : "light"] : null);

  // ---- arrays of one run ---------------------------------------------------------------------------------------------

  // d + a quantity is its gradient, so the numeric gradient of "dc" is along "c". "dh_prev" is the step before's "dh_next".
  function quantityOf(name) {
    if (name === "dh_prev" || name === "dc_prev") return null;
    if (/^d(h|c)_next$/.test(name) || /^d(a_)?[a-z]$/.test(name) || /^d(m_n|s)$/.test(name)) return name.slice(1);
    return null;
  }

  class Run {
    constructor(data) {
      Object.assign(this, data);
      this.states = Engine.STATES[this.cell] || Object.keys(this.arrays).filter(n => ["h", "c"].includes(n));
      this.letters = Engine.GATES[this.cell] || "";
      this.python = Object.fromEntries(Object.entries(data.arrays).map(([name, packed]) => [name, unpack(packed)]));
      if (data.params) {
        this.params = Object.fromEntries(Object.entries(data.params).map(([n, p]) => [n, unpack(p)]));
        this.dLast = Object.fromEntries(Object.entries(data.d_last).map(([n, p]) => [n.slice(1, -5), unpack(p)]));
      }
      if (data.itemised) this.itemised = { losses: data.itemised.losses, size: unpack(data.itemised.size) };
      this.backwardThere = "dy" in this.python;
      this.derive();
    }

    // Python's arrays, and what follows from them elementwise or by one product.
    derive() {
      this.q = { ...this.python };
      if (this.sampled) return;
      const init = Object.fromEntries(this.states.map(s => [s, this.q[s].subarray(0, this.H)]));
      const made = Engine.forward(this.cell, this.options, this.params, this.q.x, init, this.T, this.D, this.H, null);
      this.q = { ...made, ...this.python };
      if (this.backwardThere) {
        const back = Engine.backward(this.cell, this.options, this.params, this.q, this.q.dy, this.dLast, this.T, this.D, this.H);
        this.q = { ...back, ...this.q };
      }
    }

    use(result) { this.q = { ...result.q, ...result.d }; }

    isState(name) { return this.states.includes(name); }
    has(name) { return name.replace(/_prev$/, "") in this.q || name in this.q; }
    width(name) { return name === "x" || name === "dx" ? this.D : this.H; }

    get(name, t, j) {
      if (name in this.q) {
        const w = this.width(name);
        return this.q[name][(this.isState(name) ? t + 1 : t) * w + j];
      }
      const state = name.replace(/_prev$/, "");
      return this.isState(state) ? this.q[state][t * this.H + j] : undefined;
    }

    row(name, t) { return Float64Array.from({ length: this.width(name) }, (_, j) => this.get(name, t, j)); }

    // The largest size of a quantity, by which its colours are scaled.
    largest(name) {
      let most = 0;
      for (const v of this.q[name]) if (Math.abs(v) > most) most = Math.abs(v);
      return most || 1;
    }
  }

  // ---- state, shared by all panes ------------------------------------------------------------------------------------

  const panes = [];
  const view = { run: 0, t: 0, j: 0, mode: "backward", s: 0 };
  const clamp = (v, low, high) => Math.max(low, Math.min(high, v));
  const lead = () => panes[0].run;

  function stepsOf(run) { return run.steps[view.mode]; }

  function go(change) {
    Object.assign(view, change);
    view.run = clamp(view.run, 0, panes[0].runs.length - 1);
    if (!lead().backwardThere) view.mode = "forward";
    view.t = clamp(view.t, 0, Math.max(...panes.map(p => p.run.T)) - 1);
    view.j = clamp(view.j, 0, Math.max(...panes.map(p => p.run.H)) - 1);
    view.s = clamp(view.s, 0, Math.max(0, ...panes.map(p => stepsOf(p.run).length - 1)));
    draw();
    remember();
  }

  // The next micro-step of the walk: forwards it goes on at t+1, backwards at t-1.
  function micro(by) {
    const count = Math.max(1, stepsOf(lead()).length), last = Math.max(...panes.map(p => p.run.T)) - 1;
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
    const hash = `#run=${view.run}&t=${view.t}&unit=${view.j}&walk=${view.mode}&step=${view.s}`;
    if (location.hash === hash) return;
    try { history.replaceState(null, "", hash); } catch { /* an iframe without an address: nothing to remember it in */ }
  }

  function recall() {
    const fields = new URLSearchParams(location.hash.slice(1)), number = name => parseInt(fields.get(name), 10);
    const change = {};
    for (const [name, key] of [["run", "run"], ["t", "t"], ["unit", "j"], ["step", "s"]]) {
      if (Number.isFinite(number(name))) change[key] = number(name);
    }
    if (["forward", "backward"].includes(fields.get("walk"))) change.mode = fields.get("walk");
    return change;
  }

  // ---- the cell, drawn as its equations ----------------------------------------------------------------------------------

  // A wire: forward quantity, its gradient, corner points, where its number stands. A node: place, sign, and what it makes.
  const DIAGRAMS = {
    rnn: {
      box: [720, 330],
      nodes: [[230, 160, "+", "a_h"], [370, 160, "tanh", "h"]],
      wires: [
        ["h_prev", "dh_prev", [[30, 80], [230, 80], [230, 145]], [40, 70]],
        ["x", "dx", [[30, 240], [230, 240], [230, 175]], [40, 260]],
        ["a_h", "da_h", [[246, 160], [340, 160]], [250, 148]],
        ["h", "dh", [[400, 160], [520, 160]], [408, 148]],
        ["h", "dh_next", [[520, 160], [700, 160]], [575, 148]],
        ["h", "dy", [[520, 160], [520, 290]], [530, 250]],
      ],
      notes: [[30, 100, "h' W_h"], [30, 222, "x W_x + b"], [575, 182, "to step t+1"], [530, 272, "output, and its loss"]],
    },
    lstm: {
      box: [720, 430],
      nodes: [
        [180, 60, "×", "kept"], [400, 60, "+", "c"], [340, 190, "×", "written"], [560, 130, "tanh", "tanh_c"], [560, 220, "×", "h"],
        [180, 300, "f", "f"], [280, 300, "i", "i"], [400, 300, "g", "g"], [490, 300, "o", "o"],
      ],
      wires: [
        ["c_prev", "dc_prev", [[20, 60], [165, 60]], [24, 48]],
        ["kept", "dc", [[195, 60], [385, 60]], [230, 48]],
        ["c", "dc", [[415, 60], [560, 60]], [425, 48]],
        ["c", "dc_next", [[560, 60], [705, 60]], [580, 48]],
        ["c", "dc_from_h", [[560, 60], [560, 115]], [412, 98]],
        ["tanh_c", null, [[560, 145], [560, 205]], [570, 180]],
        ["f", "df", [[180, 283], [180, 75]], [72, 170]],
        ["i", "di", [[280, 283], [280, 190], [325, 190]], [208, 250]],
        ["g", "dg", [[400, 283], [400, 190], [355, 190]], [350, 232]],
        ["written", "dc", [[340, 175], [340, 125], [400, 125], [400, 75]], [222, 130]],
        ["o", "do", [[490, 283], [490, 220], [545, 220]], [440, 205]],
        ["a_f", "da_f", [[180, 385], [180, 317]], [112, 350]],
        ["a_i", "da_i", [[280, 385], [280, 317]], [222, 366]],
        ["a_g", "da_g", [[400, 385], [400, 317]], [332, 350]],
        ["a_o", "da_o", [[490, 385], [490, 317]], [432, 366]],
        ["h_prev", "dh_prev", [[20, 385], [490, 385]], [20, 376]],
        ["h", "dh", [[560, 235], [560, 340]], [570, 300]],
        ["h", "dh_next", [[560, 340], [705, 340]], [588, 330]],
        ["h", "dy", [[560, 340], [560, 420]], [570, 405]],
      ],
      notes: [[20, 405, "h' W_h + x W_x + b"], [590, 360, "to step t+1"], [590, 80, "to step t+1"], [570, 385, "output, loss"]],
    },
    gru: {
      box: [720, 430],
      nodes: [
        [400, 60, "×", "kept"], [540, 60, "+", "h"], [540, 160, "×", "new"], [300, 160, "tanh", "n"], [300, 240, "+", "a_n"],
        [150, 240, "×", "rm"], [90, 330, "r", "r"], [210, 330, "m", "m_n"], [460, 330, "z", "z"],
      ],
      wires: [
        ["h_prev", "dh_direct", [[20, 60], [385, 60]], [24, 48]],
        ["kept", "dh", [[415, 60], [525, 60]], [420, 48]],
        ["h", "dh", [[555, 60], [620, 60]], [552, 36]],
        ["h", "dh_next", [[620, 60], [705, 60]], [596, 86]],
        ["h", "dy", [[620, 60], [620, 150]], [628, 140]],
        ["new", "dh", [[540, 145], [540, 75]], [548, 112]],
        ["n", "dn", [[330, 160], [525, 160]], [420, 180]],
        ["a_n", "da_n", [[300, 225], [300, 178]], [196, 204]],
        ["r", "dr", [[90, 313], [90, 240], [135, 240]], [16, 230]],
        ["m_n", "dm_n", [[210, 313], [210, 278], [150, 278], [150, 255]], [112, 298]],
        [null, "da_n", [[165, 240], [285, 240]], [0, 0]],
        ["z", "dz", [[460, 313], [460, 260], [400, 260], [400, 75]], [404, 250]],
        [null, null, [[460, 260], [540, 260], [540, 175]], [0, 0]],
        ["a_r", "da_r", [[90, 400], [90, 347]], [20, 378]],
        [null, null, [[210, 400], [210, 347]], [0, 0]],
        [null, "da_n", [[300, 400], [300, 255]], [0, 0]],
        ["a_z", "da_z", [[460, 400], [460, 347]], [468, 378]],
        ["h_prev", "dh_through", [[20, 400], [460, 400]], [240, 420]],
      ],
      notes: [[16, 420, "h' W_h, x W_x, b"], [545, 240, "1 - z"], [650, 105, "step t+1"], [628, 165, "loss"], [310, 385, "x W_xn + b_n"]],
    },
  };
  DIAGRAMS.gru_before = {
    ...DIAGRAMS.gru,
    nodes: DIAGRAMS.gru.nodes.map(n => (n[2] === "m" ? [n[0], n[1], "h'", "h_prev"] : n[3] === "rm" ? [n[0], n[1], "×", "s"] : n)),
    wires: DIAGRAMS.gru.wires.map(w => (w[0] === "m_n" ? [null, "dh_reset", w[2], w[3]] : w[0] === null && w[2][0][0] === 165 ? ["s", "ds", w[2], [196, 232]] : w)),
    notes: [...DIAGRAMS.gru.notes, [230, 258, "W_hn"]],
  };

  function drawCell(pane) {
    const { run } = pane, diagram = DIAGRAMS[run.cell];
    pane.cell.replaceChildren();
    if (!diagram) { pane.cell.append(element("p", {}, `no drawing of the ${run.cell} cell yet: its heatmaps are below`)); return; }
    const back = view.mode === "backward", t = Math.min(view.t, run.T - 1), j = Math.min(view.j, run.H - 1);
    const step = stepsOf(run)[view.s], results = new Set(step ? step.terms.map(x => x[0]) : []);
    const operands = new Set(step ? step.terms.flatMap(x => [...x[1].matchAll(/\{(\w+)\}/g)].map(m => m[1])) : []);
    const drawing = svg("svg", { viewBox: `0 0 ${diagram.box[0]} ${diagram.box[1]}`, role: "img", "aria-label": `the ${run.cell} cell at step ${t}` });
    drawing.append(svg("defs"));
    for (const [x, y, text] of diagram.notes) drawing.append(svg("text", { x, y, class: "quiet" }, text));
    const labels = [];
    for (const [q, d, points, [x, y]] of diagram.wires) {
      const name = back ? d : q, value = name && run.has(name) && run.width(name) === run.H ? run.get(name, t, j) : undefined;
      const lit = name && results.has(name), needed = [q, d].some(n => n && operands.has(n));
      const way = back ? [...points].reverse() : points;
      const wire = svg("polyline", { points: way.map(p => p.join(",")).join(" "), class: "wire" + (lit ? " on" : needed ? " operand" : "") });
      const source = d === "dy" ? "from_loss" : d && d.endsWith("_next") ? "from_future" : null;
      if (!lit) {
        if (back && source) wire.style.stroke = tint(source);
        else if (needed || (!back && q && PALETTE[q])) wire.style.stroke = tint((q || "").replace(/^a_|_prev$/g, "")) || "";
      }
      drawing.append(wire, arrow(way, lit, wire.style.stroke));
      if (!name || (!x && !y)) continue;
      const shown = name === "x" || name === "dx" ? (run.D === 1 ? run.get(name, t, 0) : undefined) : value;
      const label = svg("text", { x, y, class: "value" + (lit ? " on" : shown === undefined ? " off" : ""), "data-wire": name }, shown === undefined ? name : `${name} ${fmt(shown, 3)}`);
      if (shown !== undefined) label.setAttribute("data-value", shown);
      if (back && source) label.style.fill = tint(source);
      labels.push(label);
    }
    for (const [x, y, sign, makes] of diagram.nodes) {
      const on = results.has(back ? "d" + makes : makes) || (back && results.has("da_" + makes)), wide = sign.length > 1 || /[a-z]/.test(sign);
      const shape = wide && sign.length > 2 ? svg("rect", { x: x - 30, y: y - 16, width: 60, height: 32, rx: 8 }) : wide ? svg("rect", { x: x - 20, y: y - 17, width: 40, height: 34, rx: 8 }) : svg("circle", { cx: x, cy: y, r: 15 });
      shape.setAttribute("class", "node" + (on ? " on" : ""));
      if (PALETTE[sign] && !on) shape.style.stroke = tint(sign);
      const text = svg("text", { x, y: y + 5, "text-anchor": "middle" }, run.cell === "rnn" && sign === "tanh" ? run.options.nonlinearity || sign : sign);
      if (PALETTE[sign]) { text.style.fill = tint(sign); text.style.fontWeight = "700"; }
      drawing.append(shape, text);
    }
    drawing.append(...labels);
    pane.cell.append(drawing);
    const lit = labels.find(l => l.classList.contains("on")); // on a narrow screen: scroll to what is being computed
    if (lit && pane.cell.scrollWidth > pane.cell.clientWidth) pane.cell.scrollLeft = (lit.getAttribute("x") / diagram.box[0]) * pane.cell.scrollWidth - pane.cell.clientWidth / 2;
  }

  function arrow(way, lit, colour) {
    const [x1, y1] = way[way.length - 2], [x2, y2] = way[way.length - 1], size = lit ? 9 : 6;
    const length = Math.hypot(x2 - x1, y2 - y1) || 1, ux = (x2 - x1) / length, uy = (y2 - y1) / length;
    const points = [[x2, y2], [x2 - size * (2 * ux - uy * 0.9), y2 - size * (2 * uy + ux * 0.9)], [x2 - size * (2 * ux + uy * 0.9), y2 - size * (2 * uy - ux * 0.9)]];
    const head = svg("polygon", { points: points.map(p => p.join(",")).join(" ") });
    head.style.fill = lit ? "var(--accent)" : colour || "var(--wire)";
    return head;
  }

  // ---- the micro-step --------------------------------------------------------------------------------------------------

  function filled(run, formula, t, j) {
    return formula.replace(/\{(\w+)\}/g, (_, name) => {
      if (name === "j") return String(run.units[j]);
      const v = run.get(name, t, j);
      return v === undefined ? name : v < 0 ? `(${fmt(v)})` : fmt(v);
    }).replaceAll("*", "·").replaceAll("^2", "²");
  }

  function numeric(pane, name, t, j) {
    const quantity = quantityOf(name), model = pane.trace.engine;
    if (!quantity || !model) return null;
    return Engine.numericGradient(model, pane.trace.sequence, pane.run.name, quantity, t, j);
  }

  function drawMicro(pane) {
    const { run, micro: box } = pane, list = stepsOf(run), t = Math.min(view.t, run.T - 1), j = Math.min(view.j, run.H - 1);
    box.replaceChildren();
    if (!list.length) { box.append(element("p", {}, run.backwardThere ? `the ${run.cell} cell has no micro-steps written down` : "no gradients: the trace was made without a target")); return; }
    const s = Math.min(view.s, list.length - 1), step = list[s];
    box.append(
      element("h2", { "aria-live": "polite", class: "title" }, `${view.mode} step ${s + 1} of ${list.length}: ${step.title}`),
      element("ol", {}, ...list.map((other, k) => element("li", {}, element("button", { type: "button", "aria-pressed": String(k === s), title: other.equation, onclick: () => go({ s: k }) }, String(k + 1))))),
      element("div", { class: "equation" }, step.equation),
    );
    const code = element("div", { class: "code" });
    for (const [line, text] of step.code) code.append(element("span", {}, `${run.steps.file}:${line}  `), text, "\n");
    box.append(code);
    for (const [result, formula] of step.terms) {
      if (!run.has(result)) continue;
      const value = run.get(result, t, j), made = numeric(pane, result, t, j);
      const term = element("div", { class: "term", "data-result": result, "data-value": value });
      const name = element("b", {}, `${result} = ${fmt(value, 6)}`);
      if (tint(result.replace(/^d(a_)?/, ""))) name.style.color = tint(result.replace(/^d(a_)?/, ""));
      term.append(element("div", { class: "sum" }, name, ` = ${filled(run, formula, t, j)}`));
      if (made !== null) term.append(element("div", { class: "numeric", "data-numeric": made }, `numeric gradient here ${fmt(made, 6)}, difference ${Math.abs(made - value).toExponential(1)}`));
      const names = [...new Set([...formula.matchAll(/\{(\w+)\}/g)].map(m => m[1]))].filter(n => n !== "j");
      for (const n of [result, ...names]) if (run.has(n)) term.append(strip(run, n, t, j));
      box.append(term);
    }
    if (!step.terms.length) box.append(weightShare(run, t));
  }

  // One quantity of all units at this step, as a row of coloured cells; a click selects the unit.
  function strip(run, name, t, j) {
    const canvas = element("canvas", { width: run.H, height: 1, onclick: e => go({ j: Math.floor((e.offsetX / canvas.clientWidth) * run.H) }) });
    const paint = canvas.getContext("2d"), scale = scaleOf(run, name);
    for (let k = 0; k < run.H; k++) {
      paint.fillStyle = colourOf(run.get(name, t, k), scale);
      paint.fillRect(k, 0, 1, 1);
    }
    const mark = element("div", { class: "mark" });
    mark.style.left = `${(100 * j) / run.H}%`;
    mark.style.width = `${100 / run.H}%`;
    return element("div", { class: "strip" }, element("span", {}, name), element("div", { class: "field" }, canvas, mark), element("output", {}, fmt(run.get(name, t, j))));
  }

  function weightShare(run, t) {
    const G = run.letters.length * run.H, gates = [...run.letters], norm = (rows, cols) => Math.sqrt(rows * cols);
    const square = v => v.reduce((a, b) => a + b * b, 0);
    const at = s => { // |outer product| = |row| |column|
      const da = gates.reduce((sum, g) => sum + square(run.row(`da_${g}`, s)), 0);
      return { x: norm(square(run.row("x", s)), da), h: norm(square(run.row("h_prev", s)), da) };
    };
    const now = at(t), box = element("div", { class: "term" });
    if (run.letters === "rzn") return element("p", {}, `this step adds an outer product of x and da to dW_x (${run.D} × ${G}), of size ${fmt(now.x)}; the sum over all steps is the gradient`);
    box.append(element("p", { "data-share": now.h }, `this step adds x^T da of size ${fmt(now.x)} to dW_x (${run.D} × ${G}), and h'^T da of size ${fmt(now.h)} to dW_h (${run.H} × ${G}), from this sequence`));
    for (const g of gates) box.append(strip(run, `da_${g}`, t, Math.min(view.j, run.H - 1)));
    box.append(strip(run, "h_prev", t, Math.min(view.j, run.H - 1)));
    return box;
  }

  // ---- colours ---------------------------------------------------------------------------------------------------------

  // A sigmoid's gate lies in 0..1, a tanh in -1..1: fixed. A gradient is scaled by its own largest, and the scale is printed.
  function scaleOf(run, name) {
    const own = name.replace(/_prev$/, "");
    if ("iforz".includes(own) && own.length === 1) return { low: 0, high: 1 };
    if (["g", "n", "h", "tanh_c"].includes(own) && !(run.options.nonlinearity === "relu")) return { low: -1, high: 1 };
    run.scales ??= {};
    run.scales[own] ??= run.largest(own);
    return { low: -run.scales[own], high: run.scales[own] };
  }

  const VIRIDIS = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];
  const SIGNED = [[33, 102, 172], [146, 197, 222], [247, 247, 247], [244, 165, 130], [178, 24, 43]];
  const SIGNED_DARK = [[90, 170, 255], [40, 80, 130], [24, 26, 32], [135, 60, 40], [255, 120, 90]];

  function colourOf(v, { low, high }) {
    if (!Number.isFinite(v)) return "#ff00ff";
    const stops = low < 0 ? (dark() ? SIGNED_DARK : SIGNED) : VIRIDIS;
    const u = clamp((v - low) / (high - low), 0, 1) * (stops.length - 1), k = Math.min(Math.floor(u), stops.length - 2), w = u - k;
    return `rgb(${stops[k].map((c, i) => Math.round(c + w * (stops[k + 1][i] - c))).join(",")})`;
  }

  // ---- heatmaps --------------------------------------------------------------------------------------------------------

  function mapNames(run) {
    if (view.mode === "forward") return [...(run.letters === "h" ? [] : run.letters), ...run.states].filter(n => run.has(n));
    const gradients = run.states.map(s => `d${s}`).filter(n => run.has(n));
    return [...gradients, "dh_next", ...[...run.letters].map(g => `da_${g}`)].filter(n => run.has(n));
  }

  function buildMaps(pane) {
    const { run, maps } = pane;
    maps.replaceChildren();
    pane.cursors = [];
    for (const name of mapNames(run)) maps.append(heatmap(pane, name, run.T, run.H, (t, j) => run.get(name, t, j), scaleOf(run, name)));
    if (view.mode === "backward" && run.itemised) maps.append(itemisedMap(pane));
  }

  function heatmap(pane, name, T, H, value, scale) {
    const { run } = pane, own = name.replace(/^d(a_)?/, "");
    const canvas = element("canvas", { width: T, height: H, "data-map": name });
    const paint = canvas.getContext("2d");
    for (let t = 0; t < T; t++) for (let j = 0; j < H; j++) { paint.fillStyle = colourOf(value(t, j), scale); paint.fillRect(t, j, 1, 1); }
    const column = element("div", { class: "column" }), row = element("div", { class: "row" });
    const place = e => ({ t: clamp(Math.floor((e.offsetX / canvas.clientWidth) * T), 0, T - 1), j: clamp(Math.floor((e.offsetY / canvas.clientHeight) * H), 0, H - 1) });
    canvas.addEventListener("click", e => go(place(e)));
    canvas.addEventListener("pointermove", e => tip(e, explain(pane, name, place(e))));
    canvas.addEventListener("pointerleave", () => tip(null));
    pane.cursors.push(() => {
      const t = Math.min(view.t, T - 1), j = Math.min(view.j, H - 1);
      column.style.left = `${(100 * t) / T}%`; column.style.width = `max(3px, ${100 / T}%)`;
      row.style.top = `${(100 * j) / H}%`; row.style.height = `max(3px, ${100 / H}%)`;
    });
    const title = element("b", {}, name);
    if (tint(own)) title.style.color = tint(own);
    const meaning = PALETTE[own] ? ` ${name.startsWith("d") ? "gradient of the " : ""}${PALETTE[own].name}` : "";
    const range = element("span", { class: "range" }, scale.low < 0 ? `± ${fmt(scale.high, 2)}` : `${fmt(scale.low, 2)} … ${fmt(scale.high, 2)}`);
    return element("div", { class: "map" }, element("div", { class: "label" }, element("span", {}, title, meaning), range), element("div", { class: "field" }, canvas, column, row));
  }

  // Which loss made which gradient: columns are steps t, rows the losses tau.
  function itemisedMap(pane) {
    const { losses, size } = pane.run.itemised, K = losses.length, T = pane.run.T;
    let most = 0;
    for (const v of size) most = Math.max(most, v);
    const value = (t, k) => { const v = size[t * K + k]; return v > 0 ? Math.max(0, 1 + Math.log10(v / most) / 6) : 0; };
    const map = heatmap(pane, "share", T, K, value, { low: 0, high: 1 });
    map.querySelector("b").textContent = "|da|";
    map.querySelector("b").after(" at step t (across) from the loss at step τ (down)");
    map.querySelector(".range").textContent = `log, ${fmt(most * 1e-6, 2)} … ${fmt(most, 2)}`;
    map.querySelector(".row").remove();
    return map;
  }

  function explain(pane, name, { t, j }) {
    const { run } = pane;
    if (name === "share") {
      const { losses, size } = run.itemised, K = losses.length;
      let total = 0;
      for (let k = 0; k < K; k++) total += size[t * K + k];
      return [`step ${label(pane, t)}, loss at step ${losses[j]}`, `|da| ${fmt(size[t * K + j])}, ${total ? ((100 * size[t * K + j]) / total).toFixed(1) : 0}% of all losses'`];
    }
    const value = run.get(name, t, j), lines = [`${name}[t=${label(pane, t)}, unit ${run.units[j]}] = ${fmt(value, 6)}`];
    for (const steps of [run.steps.backward, run.steps.forward]) {
      const term = steps.flatMap(s => s.terms).find(x => x[0] === name);
      if (term) { lines.push(`= ${term[1].replace(/\{(\w+)\}/g, "$1").replaceAll("*", "·").replaceAll("^2", "²")}`, `= ${filled(run, term[1], t, j)}`); break; }
    }
    const made = numeric(pane, name, t, j);
    if (made !== null) lines.push(`numeric gradient ${fmt(made, 6)}, difference ${Math.abs(made - value).toExponential(1)}`);
    return lines;
  }

  function tip(event, lines = []) {
    const box = $("tip");
    box.hidden = !event;
    if (!event) return;
    box.replaceChildren(...lines.map(line => element("div", {}, line)));
    box.style.left = `${Math.min(event.clientX + 14, innerWidth - box.offsetWidth - 8)}px`;
    box.style.top = `${event.clientY + 18 + box.offsetHeight > innerHeight ? event.clientY - box.offsetHeight - 10 : event.clientY + 18}px`;
  }

  const label = (pane, t) => { const text = pane.trace.labels[t + pane.run.first]; return text && !pane.run.reversed ? `${t + pane.run.first} “${text}”` : String(t + pane.run.first); };

  // ---- the time line -----------------------------------------------------------------------------------------------------

  const LEFT = 70, RIGHT = 16;

  function buildTimeline(pane) {
    const { run, time, trace } = pane, T = run.T;
    time.replaceChildren();
    const WIDE = Math.max(340, time.clientWidth - 26); // in pixels of the screen, so that its text keeps its size
    const x = t => LEFT + ((WIDE - LEFT - RIGHT) * (t + 0.5)) / T;
    const drawing = svg("svg", { viewBox: `0 0 ${WIDE} 250`, role: "slider", "aria-label": "time step", "aria-valuemin": 0, "aria-valuemax": T - 1, tabindex: 0 });
    const curve = (values, y, colour, dash = "") => {
      const line = svg("polyline", { points: values.map((v, t) => (Number.isFinite(v) ? `${x(t).toFixed(1)},${y(v).toFixed(1)}` : "")).filter(Boolean).join(" "), class: "curve", "stroke-dasharray": dash });
      line.style.stroke = colour;
      drawing.append(line);
    };
    const legend = (entries, y) => {
      let at = LEFT + 6;
      for (const [text, colour] of entries) {
        const node = svg("text", { x: at, y }, text); node.style.fill = colour; drawing.append(node);
        at += 8 * text.length + 16;
      }
    };
    // input, output and target
    const column = (values, w, k) => Array.from({ length: T }, (_, t) => values[t * w + k]);
    const curves = [];
    for (let k = 0; k < Math.min(run.D, 3); k++) curves.push([run.D === 1 ? "input" : `input ${k}`, column(run.q.x, run.D, k), tint("x"), ["", "3 3", "8 3"][k]]);
    if (!run.reversed) for (const [name, values] of Object.entries(trace.outputs)) {
      const w = values.shape[1];
      for (let k = 0; k < w; k++) curves.push([w === 1 ? name : `${name} ${k}`, column(values, w, k), tint(name === "target" ? "from_loss" : "h"), name === "target" ? "5 3" : ""]);
    }
    if (curves.length) {
      const all = curves.flatMap(c => c[1]).filter(Number.isFinite), low = Math.min(...all), high = Math.max(...all), span = high - low || 1;
      for (const [, values, colour, dash] of curves) curve(values, v => 92 - (70 * (v - low)) / span, colour, dash);
      legend(curves.map(c => [c[0], c[2]]), 12);
      drawing.append(svg("text", { x: 4, y: 28, class: "quiet" }, fmt(high, 3)), svg("text", { x: 4, y: 94, class: "quiet" }, fmt(low, 3)));
    }
    // |dh| and |dc| (or, forwards, |h| and |c|) by step, log axis
    const back = view.mode === "backward", names = run.states.map(s => (back ? `d${s}` : s)).filter(n => run.has(n));
    const sizes = names.map(n => Array.from({ length: T }, (_, t) => Math.sqrt(run.row(n, t).reduce((a, b) => a + b * b, 0))));
    const positive = sizes.flat().filter(v => v > 0);
    if (positive.length) {
      const high = Math.ceil(Math.log10(Math.max(...positive))), low = Math.min(high - 1, Math.max(high - 16, Math.floor(Math.log10(Math.min(...positive)))));
      const y = v => 215 - (95 * (Math.log10(v) - low)) / (high - low);
      for (const tick of [low, high]) drawing.append(svg("text", { x: 4, y: y(10 ** tick) + 4, class: "quiet" }, `1e${tick}`), svg("line", { x1: LEFT, x2: WIDE - RIGHT, y1: y(10 ** tick), y2: y(10 ** tick), class: "axis" }));
      sizes.forEach((values, k) => curve(values.map(v => (v > 10 ** low * 0.99 ? v : NaN)), y, tint(names[k].replace(/^d/, "")), k ? "6 3" : ""));
      legend(names.map(n => [`|${n}| by step`, tint(n.replace(/^d/, ""))]), 114);
    }
    const every = Math.max(1, Math.ceil((T * 45) / (WIDE - LEFT)));
    for (let t = 0; t < T; t += every) drawing.append(svg("text", { x: x(t), y: 240, class: "quiet", "text-anchor": "middle" }, (run.reversed ? "" : trace.labels[t + run.first]) || String(t + run.first)));
    const cursor = svg("line", { y1: 16, y2: 226, class: "cursor" });
    drawing.append(cursor);
    const seek = e => { const box = drawing.getBoundingClientRect(); go({ t: clamp(Math.floor((((e.clientX - box.left) / box.width) * WIDE - LEFT) / ((WIDE - LEFT - RIGHT) / T)), 0, T - 1) }); };
    drawing.addEventListener("pointerdown", e => { drawing.setPointerCapture(e.pointerId); seek(e); });
    drawing.addEventListener("pointermove", e => { if (e.buttons) seek(e); });
    time.append(drawing);
    pane.cursors.push(() => { const t = Math.min(view.t, T - 1); cursor.setAttribute("x1", x(t)); cursor.setAttribute("x2", x(t)); drawing.setAttribute("aria-valuenow", t); });
  }

  // ---- changing a number by hand -----------------------------------------------------------------------------------------

  function unpackModel(model) {
    const deep = v => (v && v.data && v.shape ? unpack(v) : Array.isArray(v) ? v.map(deep) : v && typeof v === "object" ? Object.fromEntries(Object.entries(v).map(([k, w]) => [k, deep(w)])) : v);
    return deep(model);
  }

  function buildEdit(pane) {
    const { trace, edit } = pane, model = trace.engine;
    edit.replaceChildren();
    edit.hidden = !model || !model.editable;
    if (edit.hidden) return;
    const targets = { "input x": { of: model.xs[trace.sequence], cols: model.D } };
    for (const m of model.modules) for (const part of m.runs || [m]) for (const [name, p] of Object.entries(part.params || {})) targets[`${part.name} ${name}`] = { of: p, cols: p.shape[p.shape.length - 1] };
    const tensor = element("select", { "aria-label": "tensor" }, ...Object.keys(targets).map(n => element("option", {}, n)));
    const row = element("input", { type: "number", min: 0, value: 0, "aria-label": "row" }), col = element("input", { type: "number", min: 0, value: 0, "aria-label": "column" });
    const value = element("input", { type: "number", step: "any", class: "value", "aria-label": "new value" }), result = element("output", { class: "change" });
    const chosen = () => { const { of, cols } = targets[tensor.value], rows = of.length / cols, r = clamp(+row.value || 0, 0, rows - 1), c = clamp(+col.value || 0, 0, cols - 1); row.value = r; col.value = c; row.max = rows - 1; col.max = cols - 1; return { of, at: r * cols + c }; };
    const show = () => { const { of, at } = chosen(); value.value = of[at]; };
    for (const input of [tensor, row, col]) input.addEventListener("change", show);
    const form = element("form", { onsubmit: e => { e.preventDefault(); const { of, at } = chosen(), v = parseFloat(value.value); if (!Number.isFinite(v)) { result.textContent = "not a number"; return; } of[at] = v; recompute(pane, result); } },
      element("b", {}, "What if"), tensor, "row", row, "column", col, "is", value, element("button", {}, "compute"),
      element("button", { type: "button", onclick: () => { trace.engine = unpackModel(trace.model); pane.changed = false; pane.runs.forEach(r => r.derive()); trace.changedLoss = null; buildEdit(pane); rebuild(); } }, "as it was"), result);
    edit.append(form);
    show();
  }

  function recompute(pane, result) {
    const { trace } = pane, done = Engine.compute(trace.engine);
    trace.changedLoss = done.loss;
    for (const run of pane.runs) { run.use(done.sequences[trace.sequence].runs[run.name]); run.scales = {}; }
    const length = Math.max(1, done.sequences[trace.sequence].y.length);
    if (trace.outputs.output && trace.outputs.output.length === length) trace.outputs.output = Object.assign(done.sequences[trace.sequence].y, { shape: trace.outputs.output.shape });
    result.textContent = `loss ${fmt(trace.loss, 7)} → ${fmt(done.loss, 7)}`;
    result.setAttribute("data-value", done.loss);
    rebuild();
  }

  // ---- drawing everything --------------------------------------------------------------------------------------------------

  let built = "";

  function rebuild() { built = ""; draw(); }

  function draw() {
    for (const pane of panes) pane.run = pane.runs[Math.min(view.run, pane.runs.length - 1)];
    const key = `${view.run} ${view.mode} ${dark()}`;
    for (const pane of panes) {
      if (key !== built) { buildMaps(pane); buildTimeline(pane); }
      drawHead(pane); drawCell(pane); drawMicro(pane);
      for (const move of pane.cursors) move();
    }
    built = key;
    const run = lead(), unit = run.units[Math.min(view.j, run.H - 1)];
    $("clock").textContent = `t = ${view.t + run.first} of ${run.T + run.first - 1}`;
    $("forward").setAttribute("aria-pressed", String(view.mode === "forward"));
    $("backward").setAttribute("aria-pressed", String(view.mode === "backward"));
    $("backward").disabled = !run.backwardThere;
    $("run").value = String(view.run);
    $("hint").textContent = view.mode === "backward"
      ? `Walking back from the loss: step ${view.t + run.first}, unit ${unit}. The gradient comes from this step's loss (dy) and from the future (dh_next). Space: next line; ←: one step earlier in time.`
      : `Walking forward: step ${view.t + run.first}, unit ${unit}. Space: next line; →: one step later in time; b: go backward.`;
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
      const run = pane.run, step = stepsOf(run)[Math.min(view.s, stepsOf(run).length - 1)], t = Math.min(view.t, run.T - 1), j = Math.min(view.j, run.H - 1);
      if (!step) continue;
      const values = step.terms.filter(x => run.has(x[0])).map(x => `${x[0]} = ${fmt(run.get(x[0], t, j), 6)}`);
      $("pins").append(element("div", {}, `${panes.length > 1 ? pane.trace.label + ", " : ""}${run.name}, t=${label(pane, t)}, unit ${run.units[j]}: ${values.join(", ") || step.equation}`));
    }
  }

  let playing = null;
  function play() {
    clearInterval(playing);
    playing = playing ? null : setInterval(() => { if (!micro(1)) play(); }, 700);
    $("play").setAttribute("aria-pressed", String(Boolean(playing)));
  }

  const time = by => go({ t: view.t + by });
  function theme() { document.documentElement.dataset.theme = dark() ? "light" : "dark"; rebuild(); }

  const KEYS = {
    ArrowLeft: () => time(-1), ArrowRight: () => time(1), ArrowUp: () => go({ j: view.j - 1 }), ArrowDown: () => go({ j: view.j + 1 }),
    " ": e => micro(e.shiftKey ? -1 : 1), f: () => go({ mode: "forward", s: 0 }), b: () => go({ mode: "backward", s: 0 }),
    Home: () => go({ t: 0 }), End: () => go({ t: Infinity }), p: play, r: () => go({ run: (view.run + 1) % panes[0].runs.length, s: 0 }),
    Enter: pin, Escape: () => $("pins").replaceChildren(), t: theme, "?": () => $("keys").showModal(),
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
      trace.engine = trace.model && unpackModel(trace.model);
      const pane = { trace, runs: trace.runs.map(r => new Run(r)), cursors: [] };
      for (const part of ["head", "cell", "micro", "time", "edit", "maps"]) pane[part] = element("div", { class: { head: "name", cell: "box cell", micro: "box micro", time: "box wide time", edit: "box wide edit", maps: "box wide maps" }[part] });
      main.append(element("section", { class: "pane", "aria-label": trace.label }, pane.head, pane.cell, pane.micro, pane.time, pane.edit, pane.maps));
      pane.run = pane.runs[0];
      panes.push(pane);
      buildEdit(pane);
    }
    panes[0].runs.forEach((run, k) => $("run").append(element("option", { value: k }, run.name)));
    $("run").addEventListener("change", e => { go({ run: +e.target.value, s: 0 }); e.target.blur(); });
    $("forward").addEventListener("click", KEYS.f); $("backward").addEventListener("click", KEYS.b);
    $("earlier").addEventListener("click", KEYS.ArrowLeft); $("later").addEventListener("click", KEYS.ArrowRight);
    $("play").addEventListener("click", play); $("theme").addEventListener("click", theme); $("help").addEventListener("click", KEYS["?"]);
    document.documentElement.dataset.theme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
    addEventListener("hashchange", () => go(recall()));
    addEventListener("resize", rebuild);
    go({ t: Infinity, ...recall() });
  }

  start();
  window.scratchnet = { Engine, view, panes, go, micro, data: DATA };
})();
