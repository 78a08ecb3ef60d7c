// A whole model in JavaScript: layers around the cells, the loss, and the numeric gradient along any element of any run.

const Model = (() => {
  const POINTWISE = {
    tanh: [Math.tanh, (x, y) => 1 - y * y],
    sigmoid: [sigmoid, (x, y) => y * (1 - y)],
    relu: [x => Math.max(x, 0), (x, y) => (y > 0 ? 1 : 0)],
    softplus: [x => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x))), x => sigmoid(x)],
    dropout: [x => x, () => 1],
  };

  // Rows of width W, each sequence backwards inside its own length.
  function reversed(v, W, length) {
    const out = Float64Array.from(v);
    for (let t = 0; t < length; t++) out.set(v.subarray((length - 1 - t) * W, (length - t) * W), t * W);
    return out;
  }

  // Each kind of module: forwards, rows of width to rows of width; backwards, with the gradients of its own weights in `grads`.
  const MODULES = {
    embedding: {
      forward({ W }, { v, rows }) {
        const width = W.shape[1],
          y = new Float64Array(rows * width);
        for (let r = 0; r < rows; r++) y.set(W.subarray(v[r] * width, (v[r] + 1) * width), r * width);
        return { v: y, rows, width };
      },
      backward({ W }, { v, rows }, d, grads) {
        const width = W.shape[1];
        for (let r = 0; r < rows; r++) for (let k = 0; k < width; k++) grads.W[v[r] * width + k] += d[r * width + k];
        return null;
      },
    },
    linear: {
      forward({ W, b }, { v, rows, width }) {
        const K = W.shape[1],
          y = new Float64Array(rows * K);
        for (let r = 0; r < rows; r++)
          for (let j = 0; j < K; j++) {
            let sum = b ? b[j] : 0;
            for (let k = 0; k < width; k++) sum += v[r * width + k] * W[k * K + j];
            y[r * K + j] = sum;
          }
        return { v: y, rows, width: K };
      },
      backward({ W, b }, { v, rows, width }, d, grads) {
        const K = W.shape[1],
          dx = new Float64Array(rows * width);
        for (let r = 0; r < rows; r++)
          for (let j = 0; j < K; j++) {
            const dj = d[r * K + j];
            if (b) grads.b[j] += dj;
            for (let k = 0; k < width; k++) {
              grads.W[k * K + j] += v[r * width + k] * dj;
              dx[r * width + k] += W[k * K + j] * dj;
            }
          }
        return dx;
      },
    },
  };
  for (const [kind, [f, slope]] of Object.entries(POINTWISE))
    MODULES[kind] = {
      forward: (_, { v, rows, width }) => ({ v: v.map(f), rows, width }),
      backward: (_, { v }, d, grads, y) => d.map((a, k) => a * slope(v[k], y[k])),
    };

  // A recurrent module on one sequence. The tape keeps the steps of each run.
  function recurrentForward(model, m, n, input, bump) {
    const { T } = model,
      length = model.lengths[n],
      { H, directions: S } = m,
      tape = [];
    let { v, width } = input,
      last = null;
    for (let layer = 0; layer < m.runs.length / S; layer++) {
      const joined = new Float64Array(T * H * S);
      last = [];
      for (let s = 0; s < S; s++) {
        const run = m.runs[layer * S + s],
          steps = new Steps(m.program, length, width, H, run.params, run.extras && run.extras[n]);
        const own = bump && bump.run === run.name && bump.n === n ? bump : null;
        const seen = run.reversed ? reversed(v, width, length) : v;
        for (const [name, data] of Object.entries(steps.extras || {})) steps.give(m.program.leaves[name], data, H);
        let y = Float64Array.from(steps.forward(seen, run.init[n], own));
        if (own && own.out) y[own.t * H + own.j] += own.eps;
        last.push(y.subarray((length - 1) * H, length * H));
        if (run.reversed) y = reversed(y, H, length);
        for (let t = 0; t < length; t++) joined.set(y.subarray(t * H, (t + 1) * H), (t * S + s) * H);
        tape.push({ run, steps, width });
      }
      v = joined;
      width = H * S;
    }
    if (m.return_sequences) return { v, rows: T, width, tape };
    v = new Float64Array(width);
    last.forEach((h, s) => v.set(h, s * H));
    return { v, rows: 1, width, tape };
  }

  function recurrentBackward(model, m, n, tape, d, grads, runs) {
    const { T } = model,
      length = model.lengths[n],
      { H, directions: S } = m;
    const dLast = tape.map(() => Object.fromEntries(m.program.states.map(s => [s, new Float64Array(H)])));
    if (!m.return_sequences) {
      for (let s = 0; s < S; s++) dLast[tape.length - S + s][m.program.states[0]].set(d.subarray(s * H, (s + 1) * H));
      d = new Float64Array(T * H * S);
    }
    for (let layer = tape.length / S - 1; layer >= 0; layer--) {
      let dx = null;
      for (let s = 0; s < S; s++) {
        const index = layer * S + s,
          { run, steps, width } = tape[index];
        let own = new Float64Array(length * H);
        for (let t = 0; t < length; t++) own.set(d.subarray((t * S + s) * H, (t * S + s + 1) * H), t * H);
        if (run.reversed) own = reversed(own, H, length);
        const made = steps.backward(own, dLast[index]);
        for (const [name, g] of Object.entries(made)) g.forEach((a, k) => (grads[run.name][name][k] += a));
        runs[run.name] = { steps, dLast: dLast[index], grads: made };
        let part = new Float64Array(T * width);
        part.set(steps.place(m.program.backward.dx).data);
        if (run.reversed) part = reversed(part, width, length);
        if (dx) part.forEach((a, k) => (dx[k] += a));
        else dx = part;
      }
      d = dx;
    }
    return d;
  }

  // One sequence through the model: its output and what the way back needs.
  function runModel(model, n, bump = null) {
    const tape = [];
    let now = { v: model.xs[n], rows: model.T, width: model.D };
    for (const m of model.modules) {
      const before = now;
      now = m.kind === "recurrent" ? recurrentForward(model, m, n, now, bump) : MODULES[m.kind].forward(m.params, now);
      tape.push({ m, before, after: now });
    }
    return { y: now.v, rows: now.rows, width: now.width, tape };
  }

  // The gradient of the output back through the model; each module's own is added into grads.
  function backModel(model, n, pass, dy, grads) {
    const runs = {},
      upstream = [];
    let d = dy;
    for (const { m, before, after } of [...pass.tape].reverse()) {
      upstream.unshift(d);
      d =
        m.kind === "recurrent"
          ? recurrentBackward(model, m, n, after.tape, d, grads, runs)
          : MODULES[m.kind].backward(m.params, before, d, grads[m.name], after.v);
      if (d === null) break;
    }
    return { runs, upstream };
  }

  // ---- losses: (value, gradient) of one sequence's share of the mean ----------------------------------------------------

  const ELEMENT = {
    mse: (y, t) => [(y - t) ** 2, 2 * (y - t)],
    mae: (y, t) => [Math.abs(y - t), Math.sign(y - t)],
    huber: (y, t) => (Math.abs(y - t) <= 1 ? [0.5 * (y - t) ** 2, y - t] : [Math.abs(y - t) - 0.5, Math.sign(y - t)]),
    binary_cross_entropy: (y, t) => [Math.max(y, 0) - y * t + Math.log1p(Math.exp(-Math.abs(y))), sigmoid(y) - t],
  };

  function softmax(logits) {
    const top = Math.max(...logits),
      exps = Array.from(logits, a => Math.exp(a - top)),
      sum = exps.reduce((a, b) => a + b, 0);
    return { p: exps.map(e => e / sum), log: Math.log(sum) + top };
  }

  function lossOf(model, n, y, rows, K) {
    const target = model.targets[n],
      share = model.shares[n], // of each target in the mean; 0 where it does not count, and may be NaN
      dy = new Float64Array(y.length);
    let value = 0;
    if (model.loss === "softmax_cross_entropy") {
      for (let r = 0; r < rows; r++) {
        if (!share[r]) continue;
        const { p, log } = softmax(y.subarray(r * K, (r + 1) * K));
        value += (log - y[r * K + target[r]]) * share[r];
        for (let k = 0; k < K; k++) dy[r * K + k] = (p[k] - (k === target[r] ? 1 : 0)) * share[r];
      }
    } else {
      const element = ELEMENT[model.loss];
      for (let k = 0; k < y.length; k++) {
        if (!share[k]) continue;
        const [e, de] = element(y[k], target[k]);
        value += e * share[k];
        dy[k] = de * share[k];
      }
    }
    return { value, dy };
  }

  function zerosOf(params) {
    return Object.fromEntries(Object.entries(params).map(([name, p]) => [name, Object.assign(new Float64Array(p.length), { shape: p.shape })]));
  }

  // All parameters by the name of their run or module.
  function parametersOf(model) {
    const found = {};
    for (const m of model.modules) for (const part of m.runs || [m]) found[part.name] = part.params || {};
    return found;
  }

  // The whole batch, or one sequence of it: loss, gradients of all parameters, and each sequence's pass.
  function compute(model, only = null) {
    const grads = Object.fromEntries(Object.entries(parametersOf(model)).map(([name, params]) => [name, zerosOf(params)]));
    let loss = 0;
    const sequences = model.xs.map((_, n) => {
      if (only !== null && n !== only) return null;
      const pass = runModel(model, n),
        { value, dy } = lossOf(model, n, pass.y, pass.rows, pass.width);
      loss += value;
      return { y: pass.y, rows: pass.rows, width: pass.width, tape: pass.tape, ...backModel(model, n, pass, dy, grads) };
    });
    const square = Object.values(grads).flatMap(g => Object.values(g)).reduce((s, g) => s + g.reduce((a, b) => a + b * b, 0), 0);
    return { loss, sequences, grads, norm: Math.sqrt(square) };
  }

  // The loss of the whole batch, without a way back.
  const lossOfBatch = model =>
    model.xs.reduce((sum, _, n) => {
      const { y, rows, width } = runModel(model, n);
      return sum + lossOf(model, n, y, rows, width).value;
    }, 0);

  // Central difference of the loss along one element of one quantity of one run: {at} an operation, {next} a state as only the
  // next step reads it, {out} the output as only what follows the layer reads it.
  function numericGradient(model, n, run, what, t, j, eps = 1e-5) {
    const at = e => {
      const pass = runModel(model, n, { run, n, ...what, t, j, eps: e });
      return lossOf(model, n, pass.y, pass.rows, pass.width).value;
    };
    return (at(eps) - at(-eps)) / (2 * eps);
  }

  return { MODULES, compute, numericGradient, parametersOf, softmax, runModel, lossOf, lossOfBatch };
})();
