// A whole model in JavaScript: layers around the cells, the loss, and the numeric gradient of any element of any run.

const Engine = (() => {
  const { GATES, STATES, sigmoid, zeros, vecMat, vecMatT, forward, backward } = Cells;

  // ---- layers ------------------------------------------------------------------------------------------------------

  const POINTWISE = {
    tanh: [Math.tanh, (x, y) => 1 - y * y],
    sigmoid: [sigmoid, (x, y) => y * (1 - y)],
    relu: [x => Math.max(x, 0), (x, y) => (y > 0 ? 1 : 0)],
    softplus: [x => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x))), x => sigmoid(x)],
    dropout: [x => x, () => 1],
  };

  function turned(v, T, W, length) {
    // each sequence backwards inside its own length
    const out = Float64Array.from(v);
    for (let t = 0; t < length; t++) out.set(v.subarray((length - 1 - t) * W, (length - t) * W), t * W);
    return out;
  }

  // One sequence through the model. Returns the output rows (R, K) flat, and what backward needs.
  function runModel(model, n, bump) {
    const length = model.lengths[n],
      T = model.T;
    let v = model.xs[n],
      rows = T,
      width = model.D;
    const tape = [];
    for (const m of model.modules) {
      if (m.kind === "recurrent") {
        const H = m.H,
          depth = m.runs.length / m.directions,
          caches = [];
        let last = null;
        for (let layer = 0; layer < depth; layer++) {
          const outs = [];
          for (let s = 0; s < m.directions; s++) {
            const index = layer * m.directions + s,
              run = m.runs[index];
            const seen = run.reversed ? turned(v, T, width, length) : v;
            const hit = bump && bump.run === run.name && bump.n === n ? bump : null;
            const q = forward(
              m.cell,
              m.options,
              run.params,
              seen.slice(0, length * width),
              run.init[n],
              length,
              width,
              H,
              hit,
            );
            const y = zeros(T * H);
            y.set(q.h.subarray(H, (length + 1) * H));
            outs.push(run.reversed ? turned(y, T, H, length) : y);
            caches.push({ q, D: width });
          }
          const joined = zeros(T * H * outs.length);
          outs.forEach((y, s) => {
            for (let t = 0; t < length; t++) joined.set(y.subarray(t * H, (t + 1) * H), (t * outs.length + s) * H);
          });
          v = joined;
          width = H * outs.length;
          last = caches.slice(-m.directions);
        }
        if (!m.return_sequences) {
          v = zeros(width);
          rows = 1;
          last.forEach((c, s) => v.set(c.q.h.subarray(length * H, (length + 1) * H), s * H));
        }
        tape.push({ m, caches, length });
      } else if (m.kind === "linear") {
        const K = m.params.b.length,
          y = zeros(rows * K),
          one = zeros(K);
        for (let r = 0; r < rows; r++) {
          vecMat(v, r * width, width, m.params.W, K, 0, K, one);
          for (let k = 0; k < K; k++) y[r * K + k] = one[k] + m.params.b[k];
        }
        tape.push({ m, x: v, rows, width });
        v = y;
        width = K;
      } else {
        const y = v.map(POINTWISE[m.kind][0]);
        tape.push({ m, x: v, y });
        v = y;
      }
    }
    return { y: v, rows, width, tape };
  }

  // dy of one sequence's output back through the model: the gradients of each run by name, and of each layer's weights.
  function backModel(model, pass, dy) {
    const runs = {},
      T = model.T;
    let d = dy;
    for (const { m, ...kept } of [...pass.tape].reverse()) {
      if (m.kind === "recurrent") {
        const H = m.H,
          S = m.directions,
          depth = m.runs.length / S,
          { caches, length } = kept;
        const dLast = caches.map(() => Object.fromEntries(STATES[m.cell].map(name => [name, zeros(H)])));
        if (!m.return_sequences) {
          for (let s = 0; s < S; s++) dLast[(depth - 1) * S + s].h.set(d.subarray(s * H, (s + 1) * H));
          d = zeros(T * H * S);
        }
        for (let layer = depth - 1; layer >= 0; layer--) {
          let dx = null;
          for (let s = 0; s < S; s++) {
            const index = layer * S + s,
              run = m.runs[index],
              { q, D } = caches[index];
            let own = zeros(T * H);
            for (let t = 0; t < length; t++) own.set(d.subarray((t * S + s) * H, (t * S + s + 1) * H), t * H);
            if (run.reversed) own = turned(own, T, H, length);
            const back = backward(
              m.cell,
              m.options,
              run.params,
              q,
              own.slice(0, length * H),
              dLast[index],
              length,
              D,
              H,
            );
            runs[run.name] = { q, d: back, dLast: dLast[index] };
            let part = zeros(T * D);
            part.set(back.dx);
            if (run.reversed) part = turned(part, T, D, length);
            dx = dx ? dx.map((a, k) => a + part[k]) : part;
          }
          d = dx;
        }
      } else if (m.kind === "linear") {
        const K = m.params.b.length,
          { rows, width } = kept,
          dx = zeros(rows * width);
        for (let r = 0; r < rows; r++)
          dx.set(vecMatT(d.subarray(r * K, (r + 1) * K), K, m.params.W, K, 0, width, zeros(width)), r * width);
        d = dx;
      } else {
        const slope = POINTWISE[m.kind][1];
        d = d.map((a, k) => a * slope(kept.x[k], kept.y[k]));
      }
    }
    return runs;
  }

  // ---- losses: (value, dy) of one sequence's share, of a mean by `shares` -----------------------------------------------

  const ELEMENT = {
    mse: (y, t) => [(y - t) ** 2, 2 * (y - t)],
    mae: (y, t) => [Math.abs(y - t), Math.sign(y - t)],
    huber: (y, t) => (Math.abs(y - t) <= 1 ? [0.5 * (y - t) ** 2, y - t] : [Math.abs(y - t) - 0.5, Math.sign(y - t)]),
    binary_cross_entropy: (y, t) => [Math.max(y, 0) - y * t + Math.log1p(Math.exp(-Math.abs(y))), sigmoid(y) - t],
  };

  function lossOf(model, n, y, rows, K) {
    const target = model.targets[n],
      share = model.shares[n], // of each target in the mean; 0 where it does not count, and may be NaN
      dy = zeros(y.length);
    let value = 0;
    if (model.loss === "softmax_cross_entropy") {
      for (let r = 0; r < rows; r++) {
        if (!share[r]) continue;
        const logits = y.subarray(r * K, (r + 1) * K),
          top = Math.max(...logits);
        const exps = logits.map(a => Math.exp(a - top)),
          sum = exps.reduce((a, b) => a + b, 0);
        value += (Math.log(sum) + top - logits[target[r]]) * share[r];
        for (let k = 0; k < K; k++) dy[r * K + k] = (exps[k] / sum - (k === target[r] ? 1 : 0)) * share[r];
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

  // The whole batch: the loss, and for each sequence its output and every array of every run.
  function compute(model) {
    let loss = 0;
    const sequences = model.xs.map((_, n) => {
      const pass = runModel(model, n, null),
        { value, dy } = lossOf(model, n, pass.y, pass.rows, pass.width);
      loss += value;
      return { y: pass.y, runs: backModel(model, pass, dy) };
    });
    return { loss, sequences };
  }

  function lossWith(model, n, bump) {
    const pass = runModel(model, n, bump);
    return lossOf(model, n, pass.y, pass.rows, pass.width).value;
  }

  // Central difference of the loss along one element of one quantity of one run. t is the run's own step.
  function numericGradient(model, n, run, name, t, j, eps = 1e-5) {
    const at = e => lossWith(model, n, { run, n, name, t, j, eps: e });
    return (at(eps) - at(-eps)) / (2 * eps);
  }

  return { GATES, STATES, forward, backward, compute, numericGradient };
})();
