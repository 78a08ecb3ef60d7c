// Random numbers that a seed fixes, so that a run can be repeated, and the initial weights that are drawn with them.

// The generator sfc32 (Doty-Humphrey 2010): four words of 32 bits; it passes the usual tests of randomness.
class Random {
  // Each stream of a seed is a generator by itself: a cell with more weights leaves the batches as they are.
  constructor(seed, stream = 0) {
    this.state = Uint32Array.of(seed, seed / 2 ** 32, stream, 1);
    for (let k = 0; k < 16; k++) this.word(); // neighbouring seeds part
  }

  word() {
    const s = this.state,
      made = (s[0] + s[1] + s[3]++) >>> 0;
    s[0] = s[1] ^ (s[1] >>> 9);
    s[1] = s[2] + (s[2] << 3);
    s[2] = ((s[2] << 21) | (s[2] >>> 11)) + made;
    return made;
  }

  // U(low, high), with 53 bits.
  uniform(low = 0, high = 1) {
    return low + ((high - low) * ((this.word() >>> 5) * 2 ** 26 + (this.word() >>> 6))) / 2 ** 53;
  }

  // A whole number from low to high - 1.
  integer(low, high) {
    return low + Math.floor(this.uniform() * (high - low));
  }

  // N(0, 1), by Box and Muller 1958.
  normal() {
    return Math.sqrt(-2 * Math.log(1 - this.uniform())) * Math.cos(2 * Math.PI * this.uniform());
  }

  // One of 0 .. n-1 with the probabilities p.
  choice(p) {
    let left = this.uniform();
    for (let k = 0; k < p.length; k++) if ((left -= p[k]) < 0) return k;
    return p.length - 1;
  }
}

function tensor(shape, value = () => 0) {
  const size = shape.reduce((a, b) => a * b, 1);
  return Object.assign(Float64Array.from({ length: size }, value), { shape });
}

// U(-a, a) with a = sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio 2010).
function xavierUniform(random, rows, columns) {
  const a = Math.sqrt(6 / (rows + columns));
  return tensor([rows, columns], () => random.uniform(-a, a));
}

// A square matrix with orthonormal rows: normal numbers, each row freed of its part along the rows above (Gram and Schmidt), which
// is the QR decomposition with a positive diagonal. Twice, so that rounding leaves them orthogonal.
function orthogonal(random, n) {
  const W = tensor([n, n], () => random.normal()),
    row = k => W.subarray(k * n, (k + 1) * n),
    dot = (u, v) => u.reduce((sum, a, k) => sum + a * v[k], 0);
  for (let i = 0; i < n; i++)
    for (let pass = 0; pass < 2; pass++) {
      for (let k = 0; k < i; k++) {
        const along = dot(row(i), row(k));
        row(k).forEach((a, j) => (W[i * n + j] -= along * a));
      }
      const size = Math.sqrt(dot(row(i), row(i)));
      row(i).forEach((a, j) => (W[i * n + j] = a / size));
    }
  return W;
}

// The weights that a layer of scratchnet starts with: W_h orthogonal and other matrices Xavier-uniform, gate by gate; vectors zero,
// except gains, which are one, and the forget gate's bias.
function initialCell(random, shapes, letters, H, forgetBias) {
  const params = {};
  for (const [name, shape] of Object.entries(shapes)) {
    params[name] = tensor(shape, () => (name.startsWith("gain_") ? 1 : 0));
    if (shape.length === 2)
      for (let gate = 0; gate < letters.length; gate++) {
        const block = name === "W_h" ? orthogonal(random, H) : xavierUniform(random, shape[0], H);
        for (let k = 0; k < shape[0]; k++) params[name].set(block.subarray(k * H, (k + 1) * H), k * shape[1] + gate * H);
      }
    const f = letters.indexOf("f");
    if (name === "b" && f >= 0) params.b.fill(forgetBias, f * H, (f + 1) * H);
  }
  return params;
}
