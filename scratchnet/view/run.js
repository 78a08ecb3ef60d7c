// One run of a trace: its quantities by name, those that came with the page and those that its program computes from them.

class Run {
  constructor(data, programs) {
    Object.assign(this, data);
    this.program = data.program === null ? null : programs[data.program];
    this.python = Object.fromEntries(Object.entries(data.arrays).map(([name, packed]) => [name, unpack(packed)]));
    this.params = data.params && Object.fromEntries(Object.entries(data.params).map(([n, p]) => [n, unpack(p)]));
    if (data.perLoss) this.perLoss = { ...data.perLoss, size: unpack(data.perLoss.size) };
    this.right = data.right && Object.fromEntries(Object.entries(data.right).map(([name, packed]) => [name, unpack(packed)]));
    this.backwardThere = "dy" in this.python;
    this.sizes = Object.fromEntries(Object.entries(data.sizes).map(([name, packed]) => [name, unpack(packed)]));
    const walk = this.program?.walk || { forward: [], backward: [] };
    this.walk = this.backwardThere ? walk : { ...walk, backward: [] };
    this.asTraced();
  }

  // The right number of a custom backward's term, where it differs; undefined where it does not.
  wrongAt(name, t, j) {
    const right = this.right?.[name]?.[t * this.widthOf(name) + j],
      own = right === undefined ? undefined : this.get(name, t, j);
    return right === undefined || Object.is(right, own) || right === own ? undefined : right;
  }

  // True where this step's output has a gradient of its own.
  lossAt(t) {
    return this.norms("dy")[t] > 0;
  }

  // Python's own numbers.
  asTraced() {
    this.changed = false;
    this.known = new Map();
    this.scales = {};
    if (!this.program) return;
    this.steps = new Steps(this.program, this.T, this.D, this.H, this.params);
    for (const [name, data] of Object.entries(this.python)) {
      if (this.states.includes(name)) {
        this.keep(`${name}_prev`, data.subarray(0, this.T * this.H), this.H);
        this.keep(name, data.subarray(this.H), this.H);
      } else this.keep(name, data, this.widthOf(name));
    }
  }

  keep(name, data, width) {
    const at = this.program.at(name);
    if (at === undefined) return;
    this.steps.give(at, data, width);
    this.known.set(at, true);
  }

  // What the page computed after a number was changed.
  use({ steps }) {
    this.scales = {};
    this.changed = true;
    this.steps = steps;
    this.known = new Map(this.program.ops.map((_, at) => [at, true]));
  }

  widthOf(name) {
    return name === "x" || name === "dx" ? this.D : this.H;
  }

  // Make sure that the values of an operation are there; false where they cannot be: the page lacks weights, or a foreign backward
  // pass did not show them.
  ready(at) {
    if (this.known.has(at)) return this.known.get(at);
    const op = this.program.ops[at],
      reads = operands(op);
    let can = op[0] in { constant: 1, parameter: 1 } ? Boolean(this.steps.place(at)) : reads.length > 0;
    if (op[0] === "dot") can &&= Boolean(this.params);
    if (this.custom && !this.program.firstSet.has(at) && this.program.names.has(at)) can = false; // it was not seen
    this.known.set(at, can && reads.every(k => this.ready(k)));
    if (this.known.get(at) && reads.length) this.steps.compute(at, 0, this.T);
    return this.known.get(at);
  }

  // The value of an operation for one unit at one step; undefined where it is not known.
  value(at, t, j) {
    if (at === undefined || at === null || !this.ready(at)) return undefined;
    const { data, byStep, byUnit } = this.steps.place(at);
    return data[t * byStep + j * byUnit];
  }

  has(name) {
    return this.program ? this.program.at(name) !== undefined && this.ready(this.program.at(name)) : name.replace(/_prev$/, "") in this.python;
  }

  get(name, t, j) {
    if (this.program) return this.value(this.program.at(name), t, j);
    const state = name.replace(/_prev$/, ""),
      data = this.python[state];
    if (!data) return undefined;
    return data[(this.states.includes(name) ? t + 1 : t) * this.widthOf(name) + j];
  }

  // A function (t, j) that reads one quantity quickly.
  reader(name) {
    const at = this.program?.at(name);
    if (at === undefined || !this.ready(at)) return (t, j) => this.get(name, t, j);
    const { data, byStep, byUnit } = this.steps.place(at);
    return (t, j) => data[t * byStep + j * byUnit];
  }

  row(name, t) {
    const read = this.reader(name);
    return Float64Array.from({ length: this.widthOf(name) }, (_, j) => read(t, j));
  }

  // The largest size of a quantity, by which its colours are scaled.
  largest(name) {
    return (this.scales[name] ??= this.computeLargest(name));
  }

  computeLargest(name) {
    const read = this.reader(name),
      width = this.widthOf(name);
    let most = 0;
    for (let t = 0; t < this.T; t++)
      for (let j = 0; j < width; j++) {
        const v = Math.abs(read(t, j));
        if (v > most && v < Infinity) most = v;
      }
    return most;
  }

  // The size of a gradient or a state over all units at each step. Python sent it where the page lacks units.
  norms(name) {
    if (!this.changed && this.sizes[name]) return this.sizes[name];
    return Float64Array.from({ length: this.T }, (_, t) => Math.sqrt(this.row(name, t).reduce((s, v) => s + v * v, 0)));
  }

  // What the numeric gradient of a name is taken along: an operation, or a state as only the next step reads it.
  along(name, t) {
    const of = this.program?.of[name];
    if (of) return { what: { at: this.program.at(of) }, t };
    if (name === "dy") return { what: { out: true }, t };
    if (name === "dx") return { what: { at: this.program.leaves.x }, t };
    const [, state, when] = /^d(\w+)_(next|prev)$/.exec(name) || [];
    if (!this.program?.states.includes(state)) return null;
    if (when === "next") return t + 1 < this.T ? { what: { next: state }, t } : null;
    return t > 0 ? { what: { next: state }, t: t - 1 } : null;
  }
}
