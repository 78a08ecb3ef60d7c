// The cells once more, in JavaScript, so that the page can answer "what if" without a server: one sequence, one cell.
// The same names and the same order as scratchnet/cells/*.py; tests hold every array against what Python computed.
//
// Arrays are Float64Array, row after row: a per-step quantity is (T, H), a state (T+1, H) with the initial state in row 0.
// A bump {run, n, name, t, j, eps} moves one element of one quantity on its way forward; central differences of the loss
// along it are the numeric gradient. "h_next" is h as step t+1 reads it, "h" as both it and the loss do.

const Cells = (() => {
  "use strict";

  const sigmoid = a => 1 / (1 + Math.exp(-a));  // exp of a large number is Infinity, and 1 / Infinity is 0
  const GATES = { rnn: "h", lstm: "ifgo", gru: "rzn", gru_reset_before: "rzn" };
  const STATES = { rnn: ["h"], lstm: ["h", "c"], gru: ["h"], gru_reset_before: ["h"] };
  const FORWARD = {
    rnn: ["a_h"],
    lstm: ["a_i", "a_f", "a_g", "a_o", "i", "f", "g", "o", "kept", "written", "tanh_c"],
    gru: ["a_r", "a_z", "a_n", "r", "z", "n", "m_n", "new", "kept"],
    gru_reset_before: ["a_r", "a_z", "a_n", "r", "z", "n", "s", "new", "kept"],
  };
  const BACKWARD = {
    rnn: ["dh", "da_h", "dh_prev"],
    lstm: ["dh", "do", "dc_from_h", "dc", "di", "df", "dg", "da_i", "da_f", "da_g", "da_o", "dc_prev", "dh_prev"],
    gru: ["dh", "dn", "dz", "da_n", "dr", "dm_n", "da_r", "da_z", "dh_direct", "dh_through", "dh_prev"],
    gru_reset_before: [
      "dh",
      "dn",
      "dz",
      "da_n",
      "ds",
      "dr",
      "da_r",
      "da_z",
      "dh_direct",
      "dh_reset",
      "dh_through",
      "dh_prev",
    ],
  };
  const zeros = n => new Float64Array(n);

  // out[j] = sum_k v[vo + k] M[k, from + j]        (rows of M are `width` long)
  function vecMat(v, vo, K, M, width, from, J, out) {
    out.fill(0);
    for (let k = 0; k < K; k++) {
      const a = v[vo + k];
      if (a !== 0) for (let j = 0; j < J; j++) out[j] += a * M[k * width + from + j];
    }
    return out;
  }

  // out[k] = sum_j v[j] M[k, from + j]: the transposed product, on the way back
  function vecMatT(v, J, M, width, from, K, out) {
    for (let k = 0; k < K; k++) {
      let sum = 0;
      for (let j = 0; j < J; j++) sum += v[j] * M[k * width + from + j];
      out[k] = sum;
    }
    return out;
  }

  // One sequence x (T, D) through one cell. init: {h, c}, each (H).
  function forward(cell, options, p, x, init, T, D, H, bump) {
    const gates = GATES[cell],
      G = gates.length * H,
      q = { x };
    for (const name of STATES[cell]) {
      q[name] = zeros((T + 1) * H);
      q[name].set(init[name]);
    }
    for (const name of FORWARD[cell]) q[name] = zeros(T * H);
    const nudge = (name, t, j) => (bump && bump.name === name && bump.t === t && bump.j === j ? bump.eps : 0);
    const carried = {}; // a state as the next step reads it
    for (const name of STATES[cell]) carried[name] = Float64Array.from(init[name]);
    const ax = zeros(G),
      ah = zeros(G);
    const set = (name, t, j, value) => (q[name][t * H + j] = value + nudge(name, t, j));
    for (let t = 0; t < T; t++) {
      const xt = x.slice(t * D, (t + 1) * D);
      if (bump && bump.name === "x" && bump.t === t) xt[bump.j] += bump.eps;
      vecMat(xt, 0, D, p.W_x, G, 0, G, ax);
      for (let j = 0; j < G; j++) ax[j] += p.b[j];
      vecMat(carried.h, 0, H, p.W_h, G, 0, G, ah);
      const hPrev = Float64Array.from(carried.h),
        at = (t + 1) * H;
      if (cell === "rnn") {
        for (let j = 0; j < H; j++) {
          const a = set("a_h", t, j, ax[j] + ah[j]);
          q.h[at + j] = (options.nonlinearity === "relu" ? Math.max(a, 0) : Math.tanh(a)) + nudge("h", t, j);
        }
      } else if (cell === "lstm") {
        for (let j = 0; j < H; j++) {
          const i = set("i", t, j, sigmoid(set("a_i", t, j, ax[j] + ah[j])));
          const f = set("f", t, j, sigmoid(set("a_f", t, j, ax[H + j] + ah[H + j])));
          const g = set("g", t, j, Math.tanh(set("a_g", t, j, ax[2 * H + j] + ah[2 * H + j])));
          const o = set("o", t, j, sigmoid(set("a_o", t, j, ax[3 * H + j] + ah[3 * H + j])));
          const c = set("kept", t, j, f * carried.c[j]) + set("written", t, j, i * g) + nudge("c", t, j);
          q.c[at + j] = c;
          q.h[at + j] = o * set("tanh_c", t, j, Math.tanh(c)) + nudge("h", t, j);
        }
      } else {
        for (let j = 0; j < H; j++) {
          set("r", t, j, sigmoid(set("a_r", t, j, ax[j] + ah[j])));
          set("z", t, j, sigmoid(set("a_z", t, j, ax[H + j] + ah[H + j])));
        }
        const an = zeros(H);
        if (cell === "gru") {
          for (let j = 0; j < H; j++) an[j] = q.r[t * H + j] * set("m_n", t, j, ah[2 * H + j] + p.b_hn[j]);
        } else {
          for (let j = 0; j < H; j++) set("s", t, j, q.r[t * H + j] * hPrev[j]);
          vecMat(q.s, t * H, H, p.W_h, G, 2 * H, H, an);
        }
        for (let j = 0; j < H; j++) {
          const z = q.z[t * H + j],
            n = set("n", t, j, Math.tanh(set("a_n", t, j, ax[2 * H + j] + an[j])));
          q.h[at + j] = set("new", t, j, (1 - z) * n) + set("kept", t, j, z * hPrev[j]) + nudge("h", t, j);
        }
      }
      for (const name of STATES[cell])
        for (let j = 0; j < H; j++) carried[name][j] = q[name][at + j] + nudge(name + "_next", t, j);
    }
    return q;
  }

  // Backpropagation through time: dy (T, H), dLast {h, c} (H each). Returns every gradient term, and the weights' gradients.
  function backward(cell, options, p, q, dy, dLast, T, D, H) {
    const gates = GATES[cell],
      G = gates.length * H,
      d = { dy };
    for (const name of BACKWARD[cell]) d[name] = zeros(T * H);
    for (const name of STATES[cell]) d["d" + name + "_next"] = zeros(T * H);
    d.dx = zeros(T * D);
    for (const name of Object.keys(p)) d["d" + name] = zeros(p[name].length);
    const next = {};
    for (const name of STATES[cell]) next[name] = Float64Array.from(dLast[name]);
    const da = zeros(G),
      dm = zeros(G),
      back = zeros(H),
      dxt = zeros(D);
    for (let t = T - 1; t >= 0; t--) {
      const at = t * H,
        own = (t + 1) * H;
      for (const name of STATES[cell]) d["d" + name + "_next"].set(next[name], at);
      for (let j = 0; j < H; j++) d.dh[at + j] = dy[at + j] + next.h[j];
      if (cell === "rnn") {
        for (let j = 0; j < H; j++) {
          const h = q.h[own + j];
          da[j] = d.dh[at + j] * (options.nonlinearity === "relu" ? (h > 0 ? 1 : 0) : 1 - h * h);
          d.da_h[at + j] = da[j];
        }
        d.dh_prev.set(vecMatT(da, G, p.W_h, G, 0, H, back), at);
        dm.set(da);
      } else if (cell === "lstm") {
        for (let j = 0; j < H; j++) {
          const k = at + j,
            i = q.i[k],
            f = q.f[k],
            g = q.g[k],
            o = q.o[k],
            th = Math.tanh(q.c[own + j]);
          d.do[k] = d.dh[k] * th;
          d.dc_from_h[k] = d.dh[k] * o * (1 - th * th);
          const dc = (d.dc[k] = d.dc_from_h[k] + next.c[j]);
          d.di[k] = dc * g;
          d.df[k] = dc * q.c[at + j];
          d.dg[k] = dc * i;
          d.da_i[k] = da[j] = d.di[k] * i * (1 - i);
          d.da_f[k] = da[H + j] = d.df[k] * f * (1 - f);
          d.da_g[k] = da[2 * H + j] = d.dg[k] * (1 - g * g);
          d.da_o[k] = da[3 * H + j] = d.do[k] * o * (1 - o);
          next.c[j] = d.dc_prev[k] = dc * f;
        }
        d.dh_prev.set(vecMatT(da, G, p.W_h, G, 0, H, back), at);
        dm.set(da);
      } else {
        const ds = zeros(H);
        for (let j = 0; j < H; j++) {
          const k = at + j,
            z = q.z[k],
            n = q.n[k],
            dh = d.dh[k],
            hPrev = q.h[at + j];
          d.dn[k] = dh * (1 - z);
          d.dz[k] = dh * (hPrev - n);
          d.da_n[k] = da[2 * H + j] = d.dn[k] * (1 - n * n);
          d.da_z[k] = da[H + j] = dm[H + j] = d.dz[k] * z * (1 - z);
          d.dh_direct[k] = dh * z;
        }
        if (cell === "gru_reset_before") {
          vecMatT(da.subarray(2 * H), H, p.W_h, G, 2 * H, H, ds);
          d.ds.set(ds, at);
        }
        for (let j = 0; j < H; j++) {
          const k = at + j,
            r = q.r[k];
          if (cell === "gru") {
            d.dr[k] = d.da_n[k] * q.m_n[k];
            d.dm_n[k] = dm[2 * H + j] = d.da_n[k] * r;
          } else {
            d.dr[k] = ds[j] * q.h[at + j];
            d.dh_reset[k] = ds[j] * r;
            dm[2 * H + j] = 0; // the n block goes through s, not through the product with h'
          }
          d.da_r[k] = da[j] = dm[j] = d.dr[k] * r * (1 - r);
        }
        vecMatT(dm, G, p.W_h, G, 0, H, back);
        for (let j = 0; j < H; j++) {
          const k = at + j;
          d.dh_through[k] = back[j];
          d.dh_prev[k] = d.dh_direct[k] + back[j] + (cell === "gru_reset_before" ? d.dh_reset[k] : 0);
        }
      }
      for (let k = 0; k < D; k++) for (let j = 0; j < G; j++) d.dW_x[k * G + j] += q.x[t * D + k] * da[j];
      for (let k = 0; k < H; k++) {
        for (let j = 0; j < G; j++) d.dW_h[k * G + j] += q.h[at + k] * dm[j];
        if (cell === "gru_reset_before") for (let j = 2 * H; j < G; j++) d.dW_h[k * G + j] += q.s[at + k] * da[j];
      }
      for (let j = 0; j < G; j++) d.db[j] += da[j];
      if (d.db_hn) for (let j = 0; j < H; j++) d.db_hn[j] += dm[2 * H + j];
      d.dx.set(vecMatT(da, G, p.W_x, G, 0, D, dxt), t * D);
      next.h.set(d.dh_prev.subarray(at, at + H));
    }
    for (const name of STATES[cell]) d["d" + name + "0"] = next[name];
    return d;
  }

  return { GATES, STATES, sigmoid, zeros, vecMat, vecMatT, forward, backward };
})();
