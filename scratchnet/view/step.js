// A cell in JavaScript: the operations of its program, which Python made by watching the cell's own code (tracing/program.py).
// No cell is written down here.
//
// An operation is [kind, ...]: leaves ("x", "state", "parameter", "upstream", "extra", "constant"), elementwise functions of earlier
// operations, products with a parameter ("dot"), layer normalisation and sums over the units.

const clip = (a, low, high) => Math.max(low, Math.min(high, a));
const sigmoid = a => 1 / (1 + Math.exp(-a)); // exp of a large number is Infinity, and 1 / Infinity is 0
// Each elementwise function is a loop, from place k to end: a call for each number would be ten times as slow.
const LOOPS = {
  add: (o, a, b, k, end) => { for (; k < end; k++) o[k] = a[k] + b[k]; },
  subtract: (o, a, b, k, end) => { for (; k < end; k++) o[k] = a[k] - b[k]; },
  multiply: (o, a, b, k, end) => { for (; k < end; k++) o[k] = a[k] * b[k]; },
  divide: (o, a, b, k, end) => { for (; k < end; k++) o[k] = a[k] / b[k]; },
  negative: (o, a, _, k, end) => { for (; k < end; k++) o[k] = -a[k]; },
  square: (o, a, _, k, end) => { for (; k < end; k++) o[k] = a[k] * a[k]; },
  absolute: (o, a, _, k, end) => { for (; k < end; k++) o[k] = Math.abs(a[k]); },
  exp: (o, a, _, k, end) => { for (; k < end; k++) o[k] = Math.exp(a[k]); },
  log: (o, a, _, k, end) => { for (; k < end; k++) o[k] = Math.log(a[k]); },
  sqrt: (o, a, _, k, end) => { for (; k < end; k++) o[k] = Math.sqrt(a[k]); },
  tanh: (o, a, _, k, end) => { for (; k < end; k++) o[k] = Math.tanh(a[k]); },
  maximum: (o, a, b, k, end) => { for (; k < end; k++) o[k] = Math.max(a[k], b[k]); },
  minimum: (o, a, b, k, end) => { for (; k < end; k++) o[k] = Math.min(a[k], b[k]); },
  greater: (o, a, b, k, end) => { for (; k < end; k++) o[k] = a[k] > b[k] ? 1 : 0; },
  sigmoid: (o, a, _, k, end) => { for (; k < end; k++) o[k] = sigmoid(a[k]); },
  d_sigmoid: (o, s, _, k, end) => { for (; k < end; k++) o[k] = s[k] * (1 - s[k]); },
  d_tanh: (o, y, _, k, end) => { for (; k < end; k++) o[k] = 1 - y[k] * y[k]; },
  relu: (o, a, _, k, end) => { for (; k < end; k++) o[k] = Math.max(a[k], 0); },
  d_relu: (o, y, _, k, end) => { for (; k < end; k++) o[k] = y[k] > 0 ? 1 : 0; },
};
LOOPS.true_divide = LOOPS.divide;
// The same for single numbers.
const ELEMENTWISE = Object.fromEntries(
  Object.entries(LOOPS).map(([kind, loop]) => [
    kind,
    (a, b = a) => {
      const o = new Float64Array(1);
      loop(o, Float64Array.of(a), Float64Array.of(b), 0, 1);
      return o[0];
    },
  ]),
);
const EPS = 1e-5; // of layer normalisation
const ONE = { data: Float64Array.of(1), width: 1, byStep: 0, byUnit: 0 };

// The operations that an operation reads.
function operands([kind, ...args]) {
  if (kind === "dot") return args.slice(2).filter((_, k) => k % 2 === 0);
  if (kind === "normalise_forward") return args.slice(2);
  if (kind === "normalise_backward") return args.slice(1);
  return kind in ELEMENTWISE || kind === "sum" ? args : [];
}

class Program {
  constructor(data) {
    Object.assign(this, data);
    this.names = new Map(); // operation -> name; leaves too
    for (const [name, at] of [...Object.entries(data.backward), ...Object.entries(data.forward)].reverse()) this.names.set(at, name);
    for (const name of Object.keys(data.forward).reverse()) this.names.set(data.forward[name], name);
    this.leaves = {};
    data.ops.forEach(([kind, name], at) => {
      const own = { x: "x", state: `${name}_prev`, upstream: name, extra: name }[kind];
      if (own) this.leaves[own] = at;
    });
    for (const [name, at] of Object.entries(this.leaves)) this.names.set(at, name);
    this.totals = new Map(data.drawing.totals);
    this.first = this.below(data.states.map(s => data.forward[s]).concat(Object.values(data.forward)));
    const roots = [...Object.values(data.backward), ...Object.values(data.weights).flatMap(w => w.flat().filter(k => k !== null))];
    const known = new Set(this.first);
    this.firstSet = known;
    this.second = this.below(roots).filter(at => !known.has(at));
  }

  // The operations that these are computed from, themselves included, in order, without leaves.
  below(roots) {
    const found = new Set(),
      waiting = [...roots];
    while (waiting.length) {
      const at = waiting.pop();
      if (found.has(at)) continue;
      found.add(at);
      waiting.push(...operands(this.ops[at]));
    }
    return [...found].filter(at => operands(this.ops[at]).length).sort((a, b) => a - b);
  }

  // The operation of a name: of a quantity, a gradient, or a leaf such as "c_prev"; undefined for others.
  at(name) {
    return this.forward[name] ?? this.backward[name] ?? this.leaves[name];
  }
}

// The values of a program's operations at every step of one sequence.
class Steps {
  constructor(program, T, D, H, params, extras = {}) {
    Object.assign(this, { program, T, D, H, params, extras, values: [], runners: [], bump: null });
    for (const name of Object.keys(program.leaves)) this.give(program.leaves[name], new Float64Array(T * (name === "x" ? D : H)), name === "x" ? D : H);
  }

  give(at, data, width) {
    this.runners = []; // they hold on to the arrays
    this.values[at] = { data, width, byStep: width, byUnit: 1 };
  }

  // Where the values of an operation are: made when first asked for.
  place(at) {
    return (this.values[at] ??= this.make(at));
  }

  make(at) {
    const [kind, ...args] = this.program.ops[at];
    if (kind === "constant") return { data: Float64Array.of(args[0]), width: 1, byStep: 0, byUnit: 0 };
    if (kind === "parameter") {
      const data = this.params?.[args[0]]?.subarray(args[1] * this.H, (args[1] + 1) * this.H);
      return data && { data, width: this.H, byStep: 0, byUnit: 1 };
    }
    const width = this.widthOf(at);
    return { data: new Float64Array(this.T * width), width, byStep: width, byUnit: width > 1 || this.H === 1 ? 1 : 0 };
  }

  widthOf(at) {
    const [kind, ...args] = this.program.ops[at];
    if (kind === "dot") return args[1] ? this.params[args[0]].shape[0] : this.H;
    if (kind === "sum" || (kind === "normalise_forward" && args[0] === 1)) return 1;
    if (kind.startsWith("normalise")) return this.H;
    return Math.max(...args.map(k => this.place(k).width));
  }

  // Compute one operation at the steps from..to-1.
  compute(at, from, to) {
    (this.runners[at] ??= this.runner(at))(from, to);
    const { bump } = this;
    if (bump && bump.at === at && bump.t >= from && bump.t < to) {
      const out = this.values[at];
      out.data[bump.t * out.width + bump.j] += bump.eps;
    }
  }

  // A function (from, to) that computes an operation.
  runner(at) {
    const [kind, ...args] = this.program.ops[at],
      out = this.place(at);
    if (kind === "dot") return (from, to) => this.dot(out, args, from, to);
    if (kind.startsWith("normalise")) return (from, to) => this.normalise(kind, out, args, from, to);
    if (kind === "sum")
      return (from, to) => {
        for (let t = from; t < to; t++) out.data[t] = args.map(k => this.row(k, t)).reduce((s, r) => s + r.reduce((a, b) => a + b, 0), 0);
      };
    const loop = LOOPS[kind],
      { width, data } = out,
      [p, q = p] = args.map(k => this.place(k));
    return (from, to) => loop(data, this.spread(p, width, from, to), this.spread(q, width, from, to), from * width, to * width);
  }

  // The values of an operand at these steps where an operation of this width reads them: repeated if it is one vector or number.
  spread(place, width, from, to) {
    const { data, byStep, byUnit } = place;
    if (byStep === width && byUnit === 1) return data;
    const whole = place.spread?.length === this.T * width ? place.spread : (place.spread = new Float64Array(this.T * width));
    for (let t = from; t < to; t++) for (let j = 0; j < width; j++) whole[t * width + j] = data[t * byStep + j * byUnit];
    return whole;
  }

  row(at, t) {
    const { data, width, byStep, byUnit } = this.place(at);
    return Float64Array.from({ length: width }, (_, j) => data[t * byStep + j * byUnit]);
  }

  dot(out, [name, transposed, ...rest], from, to) {
    const W = this.params[name],
      [rows, columns] = W.shape,
      { H } = this;
    out.data.fill(0, from * out.width, to * out.width);
    for (let v = 0; v < rest.length; v += 2) {
      const { data, byStep, byUnit } = this.place(rest[v]),
        start = rest[v + 1] * H;
      for (let t = from; t < to; t++) {
        const own = t * byStep;
        for (let k = 0; k < rows; k++) {
          const w = k * columns + start;
          if (transposed) {
            let sum = 0;
            for (let j = 0; j < H; j++) sum += data[own + j * byUnit] * W[w + j];
            out.data[t * rows + k] += sum;
          } else {
            const a = data[own + k * byUnit];
            if (a !== 0) for (let j = 0; j < H; j++) out.data[t * H + j] += a * W[w + j];
          }
        }
      }
    }
  }

  // n = (v - mean) / sqrt(variance + EPS) over all units of several vectors, its scale 1 / sqrt(...), or the way back,
  // dv = scale (dn - mean(dn) - n mean(dn n)).
  normalise(kind, out, args, from, to) {
    const { H } = this;
    if (kind === "normalise_forward") {
      const [result, block, ...vectors] = args,
        of = vectors.map(k => this.place(k)),
        count = of.length * H;
      for (let t = from; t < to; t++) {
        let middle = 0,
          variance = 0;
        for (const { data, byStep } of of) for (let j = 0; j < H; j++) middle += data[t * byStep + j];
        middle /= count;
        for (const { data, byStep } of of) for (let j = 0; j < H; j++) variance += (data[t * byStep + j] - middle) ** 2;
        const scale = 1 / Math.sqrt(variance / count + EPS);
        if (result === 1) out.data[t] = scale;
        else for (let j = 0; j < H; j++) out.data[t * H + j] = (of[block].data[t * of[block].byStep + j] - middle) * scale;
      }
      return;
    }
    const [block, ...vectors] = args,
      half = (vectors.length - 1) / 2,
      dn = vectors.slice(0, half).map(k => this.place(k)),
      n = vectors.slice(half, -1).map(k => this.place(k)),
      { data: scales } = this.place(vectors[2 * half]),
      count = half * H;
    for (let t = from; t < to; t++) {
      let mean = 0,
        along = 0;
      for (let v = 0; v < half; v++)
        for (let j = 0; j < H; j++) {
          const d = dn[v].data[t * dn[v].byStep + j];
          mean += d;
          along += d * n[v].data[t * n[v].byStep + j];
        }
      for (let j = 0; j < H; j++) {
        const d = dn[block].data[t * dn[block].byStep + j],
          y = n[block].data[t * n[block].byStep + j];
        out.data[t * H + j] = scales[t] * (d - mean / count - y * (along / count));
      }
    }
  }

  // One sequence x (T, D) forwards. init: {h, c}, each (H). A bump {at | next, t, j, eps} moves one element of one operation, or of
  // a state as only step t+1 reads it; central differences of the loss along it are the numeric gradient.
  forward(x, init, bump = null) {
    const { program, T, H } = this,
      previous = program.states.map(s => this.values[program.leaves[`${s}_prev`]]?.data);
    this.bump = bump;
    this.values[program.leaves.x].data.set(x.subarray(0, T * this.D));
    if (bump && bump.at === program.leaves.x) this.values[bump.at].data[bump.t * this.D + bump.j] += bump.eps;
    program.states.forEach((s, k) => previous[k]?.set(init[s]));
    for (let t = 0; t < T; t++) {
      for (const at of program.first) this.compute(at, t, t + 1);
      program.states.forEach((s, k) => {
        if (!previous[k] || t + 1 === T) return;
        previous[k].set(this.place(program.forward[s]).data.subarray(t * H, (t + 1) * H), (t + 1) * H);
        if (bump && bump.next === s && bump.t === t) previous[k][(t + 1) * H + bump.j] += bump.eps;
      });
    }
    this.bump = null;
    return this.place(program.forward[program.states[0]]).data;
  }

  // Backpropagation through time, from dy (T, H) and the gradients of the final states {h, c}. Returns the weights' gradients.
  backward(dy, dLast) {
    const { program, T, H } = this,
      next = program.states.map(s => this.values[program.leaves[`d${s}_next`]].data);
    this.values[program.leaves.dy].data.set(dy.subarray(0, T * H));
    program.states.forEach((s, k) => next[k].set(dLast[s], (T - 1) * H));
    for (let t = T - 1; t >= 0; t--) {
      for (const at of program.second) this.compute(at, t, t + 1);
      if (t > 0) program.states.forEach((s, k) => next[k].set(this.rowOf(program.backward[`d${s}_prev`], t), (t - 1) * H));
    }
    const grads = {};
    for (const name of Object.keys(program.weights)) {
      grads[name] = Object.assign(new Float64Array(this.params[name].length), { shape: this.params[name].shape });
      for (let t = 0; t < T; t++) this.addWeight(name, t, grads[name]);
    }
    return grads;
  }

  // A row of a width H, of a constant too.
  rowOf(at, t) {
    const { data, byStep, byUnit } = this.place(at);
    return Float64Array.from({ length: this.H }, (_, j) => data[t * byStep + j * byUnit]);
  }

  // Add to `out` what step t adds to a weight's gradient: for each block the outer product of two vectors, or one vector.
  addWeight(name, t, out) {
    const { H } = this,
      columns = out.shape[out.shape.length - 1];
    this.program.weights[name].forEach(([left, right], block) => {
      const d = this.place(right),
        at = t * d.byStep,
        a = left === null ? ONE : this.place(left);
      for (let k = 0; k < a.width; k++) {
        const v = a.data[t * a.byStep + k * a.byUnit],
          to = k * columns + block * H;
        if (v !== 0) for (let j = 0; j < H; j++) out[to + j] += v * d.data[at + j * d.byUnit];
      }
    });
    return out;
  }
}
