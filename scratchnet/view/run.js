// One run of a trace: its arrays by name, those that came with the page and those that follow from them.

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
    this.python = Object.fromEntries(Object.entries(data.arrays).map(([name, packed]) => [name, unpack(packed)]));
    if (data.params) {
      this.params = Object.fromEntries(Object.entries(data.params).map(([n, p]) => [n, unpack(p)]));
      this.dLast = Object.fromEntries(Object.entries(data.d_last).map(([n, p]) => [n.slice(1, -5), unpack(p)]));
    }
    if (data.perLoss) this.perLoss = { ...data.perLoss, size: unpack(data.perLoss.size) };
    this.backwardThere = "dy" in this.python;
    this.derive();
  }

  // Python's arrays, and what follows from them elementwise or by one product.
  derive() {
    this.scales = {};
    this.changed = false;
    this.q = { ...this.python };
    if (this.sampled || !(this.cell in Engine.GATES)) return; // of a cell that cells.js does not know all arrays came along
    const init = Object.fromEntries(this.states.map(s => [s, this.q[s].subarray(0, this.H)]));
    const made = Engine.forward(this.cell, this.options, this.params, this.q.x, init, this.T, this.D, this.H, null);
    this.q = { ...made, ...this.python };
    if (this.backwardThere) {
      const back = Engine.backward(
        this.cell,
        this.options,
        this.params,
        this.q,
        this.q.dy,
        this.dLast,
        this.T,
        this.D,
        this.H,
      );
      this.q = { ...back, ...this.q };
    }
  }

  use(result) {
    this.scales = {};
    this.changed = true; // the per-loss gradients are still those of before, and not shown
    this.q = { ...result.q, ...result.d };
  }

  isState(name) {
    return this.states.includes(name);
  }
  has(name) {
    return name.replace(/_prev$/, "") in this.q || name in this.q;
  }
  width(name) {
    return name === "x" || name === "dx" ? this.D : this.H;
  }

  get(name, t, j) {
    if (name in this.q) {
      const w = this.width(name);
      return this.q[name][(this.isState(name) ? t + 1 : t) * w + j];
    }
    const state = name.replace(/_prev$/, "");
    return this.isState(state) ? this.q[state][t * this.H + j] : undefined;
  }

  row(name, t) {
    return Float64Array.from({ length: this.width(name) }, (_, j) => this.get(name, t, j));
  }

  // The largest size of a quantity, by which its colours are scaled.
  largest(name) {
    let most = 0;
    for (const v of this.q[name]) if (Math.abs(v) > most) most = Math.abs(v);
    return most;
  }
}
