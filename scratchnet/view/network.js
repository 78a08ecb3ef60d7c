// The network that the page trains: an embedding where the inputs are symbols of a text, one recurrent layer, and a linear head, on
// a mini-batch at once. Everything that takes time is a generator that yields after each step: who runs it decides when the
// browser has its turn.

// A cell's program on N sequences of T steps. Row t N + n of every array is step t of sequence n, time first as in the library, so that
// an operation computes a step of all sequences in one loop.
class Batch extends Steps {
  constructor(program, T, N, D, H, params) {
    super(program, T * N, D, H, params);
    Object.assign(this, { length: T, N });
  }

  *forwardByStep(x) {
    const { program, length, N } = this,
      size = N * this.H;
    this.values[program.leaves.x].data.set(x);
    for (let t = 0; t < length; t++) {
      for (const at of program.first) this.compute(at, t * N, (t + 1) * N);
      if (t + 1 < length)
        for (const s of program.states) {
          const previous = this.values[program.leaves[`${s}_prev`]]; // SRU's h is read by no later step
          previous?.data.set(this.place(program.forward[s]).data.subarray(t * size, (t + 1) * size), (t + 1) * size);
        }
      yield;
    }
  }

  // From dy, the gradient of every output, or of the last step's alone if `last`. Adds into the gradients of the weights.
  *backwardByStep(dy, last, grads) {
    const { program, length, N } = this,
      size = N * this.H,
      upstream = this.values[program.leaves.dy].data;
    upstream.fill(0);
    upstream.set(dy, last ? (length - 1) * size : 0);
    for (let t = length - 1; t >= 0; t--) {
      for (const at of program.second) this.compute(at, t * N, (t + 1) * N);
      if (t > 0)
        for (const s of program.states) {
          const d = this.spread(this.place(program.backward[`d${s}_prev`]), this.H, t * N, (t + 1) * N);
          this.values[program.leaves[`d${s}_next`]].data.set(d.subarray(t * size, (t + 1) * size), (t - 1) * size);
        }
      for (const name of Object.keys(program.weights)) for (let r = t * N; r < (t + 1) * N; r++) this.addWeight(name, r, grads[name]);
      yield;
    }
  }
}

const shapesOf = (cell, D, H) => Object.fromEntries(Object.entries(cell.shapes).map(([name, axes]) => [name, axes.map(([one, d, h]) => one + d * D + h * H)]));

class Network {
  // `params`: {embed: {W}, rec: {...}, head: {W, b}}; drawn as a model of scratchnet draws them where there are none.
  constructor(cell, task, H, { random, forgetBias = 1, params } = {}) {
    Object.assign(this, { cell, task, H, batches: new Map() });
    this.D = task.embedding || task.inputs;
    this.params = params || {
      ...(task.embedding && { embed: { W: tensor([task.inputs, task.embedding], () => random.normal()) } }),
      rec: initialCell(random, shapesOf(cell, this.D, H), cell.letters, H, forgetBias),
      head: { W: xavierUniform(random, H, task.outputs), b: tensor([task.outputs]) },
    };
    this.grads = Object.fromEntries(Object.entries(this.params).map(([part, own]) => [part, Object.fromEntries(Object.entries(own).map(([n, p]) => [n, tensor(p.shape)]))]));
  }

  all(of) {
    return Object.values(of).flatMap(part => Object.values(part));
  }

  // The loss of a batch {T, N, x, target, share}, its output and its steps; the gradients too unless `backward` is false.
  // Each purpose has its own steps, which nobody else overwrites.
  *pass({ T, N, x, target, share, purpose }, backward = true) {
    const { embed, head } = this.params,
      { MODULES } = Model,
      { outputs, everyStep, loss } = this.task;
    const key = `${T} ${N} ${purpose}`;
    if (!this.batches.has(key)) this.batches.set(key, new Batch(this.cell.program, T, N, this.D, this.H, this.params.rec));
    const steps = this.batches.get(key),
      symbols = { v: x, rows: T * N, width: 1 };
    yield* steps.forwardByStep(embed ? MODULES.embedding.forward(embed, symbols).v : x);
    const h = steps.place(this.cell.program.forward[this.cell.program.states[0]]).data,
      hidden = { v: everyStep ? h : h.subarray((T - 1) * N * this.H), rows: everyStep ? T * N : N, width: this.H };
    const y = MODULES.linear.forward(head, hidden).v;
    yield;
    const { value, dy } = Model.lossOf({ loss, targets: [target], shares: [share] }, 0, y, hidden.rows, outputs);
    if (!backward) return { loss: value, y, steps };
    for (const g of this.all(this.grads)) g.fill(0);
    yield;
    const dh = MODULES.linear.backward(head, hidden, dy, this.grads.head);
    yield* steps.backwardByStep(dh, !everyStep, this.grads.rec);
    if (embed) MODULES.embedding.backward(embed, symbols, steps.place(this.cell.program.backward.dx).data, this.grads.embed);
    return { loss: value, y, steps };
  }

  // One step of training; returns the loss before it and the norm of all gradients before clipping.
  *train(batch, optimiser, lr, limit) {
    const { loss } = yield* this.pass(batch),
      grads = this.all(this.grads),
      norm = clipGlobalNorm(grads, limit);
    if (Number.isFinite(loss) && Number.isFinite(norm)) optimiser.step(this.all(this.params), grads, lr);
    return { loss, norm };
  }
}

// Write `length` symbols, each drawn from what the network says after the ones before; at temperature 0 the likeliest.
function* writing(network, symbol, length, temperature, random) {
  const { cell, params, D, H } = network,
    steps = new Batch(cell.program, length, 1, D, H, params.rec),
    x = steps.values[cell.program.leaves.x].data,
    symbols = [symbol];
  const put = t => x.set(params.embed.W.subarray(symbols[t] * D, (symbols[t] + 1) * D), t * D);
  const walk = steps.forwardByStep(x);
  for (let t = 0; t < length; t++) {
    put(t);
    walk.next();
    const h = steps.row(cell.program.forward[cell.program.states[0]], t),
      { v } = Model.MODULES.linear.forward(params.head, { v: h, rows: 1, width: H });
    const { p } = Model.softmax(v.map(a => a / (temperature || 1)));
    symbols.push(temperature ? random.choice(p) : p.indexOf(Math.max(...p)));
    yield;
  }
  return symbols.slice(1);
}

// Run a generator to its end at once.
function finish(work) {
  for (;;) {
    const { done, value } = work.next();
    if (done) return value;
  }
}
