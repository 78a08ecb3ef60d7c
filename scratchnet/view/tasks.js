// What can be learned on the page. A task draws batches {T, N, x, target, share}, time first: row t N + n is step t of sequence n.
// share: what each target counts in the mean; 0 in padding. `nothing`: the error of a network that has learned nothing.

function batchOf(task, T, N, share = null) {
  const rows = task.everyStep ? T * N : N,
    classes = task.loss === "softmax_cross_entropy",
    size = classes ? rows : rows * task.outputs;
  return { T, N, x: new Float64Array(T * N * (task.embedding ? 1 : task.inputs)), target: new Float64Array(size), share: share || new Float64Array(size).fill(1 / size) };
}

const ADDING = {
  name: "adding problem",
  about: "Read T numbers, two of them marked, and answer at the end with the sum of the two marked numbers. The gradient must reach back to both marks, over up to T − 1 steps. The held-out error is that of 64 sequences that training never sees.",
  nothing: { words: "learned nothing", about: "it always answers 1, the mean of the sum", error: () => 1 / 6 },
  learned: () => 0.01,
  loss: "mse",
  unit: "mean squared error",
  inputs: 2,
  outputs: 1,
  everyStep: false,
  start: { T: 50, units: 16, batch: 16, lr: 0.01 },

  // Numbers from U(0, 1), a mark in each half: scratchnet.data.tasks.adding.
  draw(random, T, N) {
    const batch = batchOf(ADDING, T, N);
    for (let k = 0; k < T * N; k++) batch.x[2 * k] = random.uniform();
    for (let n = 0; n < N; n++)
      for (const t of [random.integer(0, Math.floor(T / 2)), random.integer(Math.floor(T / 2), T)]) {
        batch.x[2 * (t * N + n) + 1] = 1;
        batch.target[n] += batch.x[2 * (t * N + n)];
      }
    return batch;
  },

  // The marked steps of a single sequence.
  marks: ({ T, x }) => Array.from({ length: T }, (_, t) => t).filter(t => x[2 * t + 1]),
};

const SINE = {
  name: "sine",
  about: "Read a sine of unknown frequency and phase with noise, and predict at each step the next value. The noise of the next value cannot be predicted. The held-out error is that of 64 sequences that training never sees.",
  nothing: { words: "learned nothing", about: "it always answers 0, the mean of a sine", error: (T, { noise }) => 1 / 2 + noise ** 2 },
  best: { words: "the noise", about: "that of the sine itself; only the noise of the next value is left", error: (T, { noise }) => noise ** 2 },
  learned: (T, { noise }) => 0.01 + 2 * noise ** 2,
  loss: "mse",
  unit: "mean squared error",
  inputs: 1,
  outputs: 1,
  everyStep: true,
  start: { T: 40, units: 16, batch: 16, lr: 0.01 },

  // sin(w t + phase) + noise e, with w from U(0.2, 0.6) and e from N(0, 1).
  draw(random, T, N, { noise }) {
    const batch = batchOf(SINE, T, N);
    for (let n = 0; n < N; n++) {
      const w = random.uniform(0.2, 0.6),
        phase = random.uniform(0, 2 * Math.PI);
      for (let t = 0; t <= T; t++) {
        const v = Math.sin(w * t + phase) + noise * random.normal();
        if (t < T) batch.x[t * N + n] = v;
        if (t > 0) batch.target[(t - 1) * N + n] = v;
      }
    }
    return batch;
  },
};

const COUNTING = {
  name: "counting",
  about:
    "Read a string of n letters a, then n letters b, then an end, and predict at each step the next symbol. The number of letters a cannot be predicted; from the first b on every symbol can, by a network that has counted them. There are few strings: the held-out error is that of all of them.",
  nothing: {
    words: "learned nothing",
    about: "it knows how often each symbol follows each other one",
    // of all pairs of neighbours in the strings n = 1 .. M: aa, bb M (M - 1) / 2 each, ab and b-end M each, start-a M
    error: T => {
      const M = COUNTING.most(T),
        same = (M * (M - 1)) / 2,
        sum = same ? same * Math.log((same + M) / same) + M * Math.log((same + M) / M) : 0;
      return (2 * sum) / (M * (M + 2));
    },
  },
  best: { words: "counts", about: "only n itself, one of M numbers, has to be guessed", error: T => Math.log(COUNTING.most(T)) / (COUNTING.most(T) + 2) },
  learned: T => COUNTING.best.error(T) + 0.1 * (COUNTING.nothing.error(T) - COUNTING.best.error(T)),
  loss: "softmax_cross_entropy",
  unit: "cross entropy",
  inputs: 3,
  outputs: 3,
  everyStep: true,
  symbols: ["a", "b", "|"],
  start: { T: 41, units: 8, batch: 16, lr: 0.01 },
  most: T => Math.max(1, Math.floor((T - 1) / 2)), // M, the largest n: a string has 2 n + 1 steps

  strings(T, sizes) {
    const N = sizes.length,
      total = sizes.reduce((sum, n) => sum + 2 * n + 1, 0),
      share = new Float64Array(T * N),
      batch = batchOf(COUNTING, T, N, share);
    sizes.forEach((n, k) => {
      const string = [2, ...Array(n).fill(0), ...Array(n).fill(1), 2];
      for (let t = 0; t <= 2 * n; t++) {
        batch.x[3 * (t * N + k) + string[t]] = 1;
        batch.target[t * N + k] = string[t + 1];
        share[t * N + k] = 1 / total;
      }
    });
    return batch;
  },

  draw: (random, T, N) => COUNTING.strings(T, Array.from({ length: N }, () => random.integer(1, COUNTING.most(T) + 1))),

  // All strings, the longest first.
  heldOut: T => COUNTING.strings(T, Array.from({ length: COUNTING.most(T) }, (_, k) => COUNTING.most(T) - k)),
};

// A character model of a text. Training reads windows of its first five sixths, the held-out error is that of the rest.
function textTask(text) {
  const characters = [...text],
    symbols = [...new Set(characters)].sort(),
    number = new Map(symbols.map((c, k) => [c, k])),
    tokens = characters.map(c => number.get(c)),
    cut = Math.floor((5 * tokens.length) / 6);
  const counts = new Float64Array(symbols.length).fill(1);
  for (const k of tokens.slice(0, cut)) counts[k]++;
  const total = cut + symbols.length,
    unigram = tokens.slice(cut).reduce((sum, k) => sum - Math.log(counts[k] / total), 0) / (tokens.length - cut);
  const task = {
    name: "text",
    about: `Read a text of ${tokens.length} characters, ${symbols.length} different ones, and predict at each step the next character. It trains on the first five sixths; the held-out error is that of the rest.`,
    nothing: { words: "learned nothing", about: "it knows only how frequent each character is", error: () => unigram },
    learned: () => unigram / 4,
    loss: "softmax_cross_entropy",
    unit: "cross entropy",
    inputs: symbols.length,
    outputs: symbols.length,
    embedding: 8,
    everyStep: true,
    symbols,
    longest: tokens.length - cut - 1,
    start: { T: 40, units: 32, batch: 16, lr: 0.01 },
    windows(T, starts) {
      const N = starts.length,
        batch = batchOf(task, T, N);
      for (let t = 0; t < T; t++)
        starts.forEach((start, n) => {
          batch.x[t * N + n] = tokens[start + t];
          batch.target[t * N + n] = tokens[start + t + 1];
        });
      return batch;
    },
    draw: (random, T, N) => task.windows(T, Array.from({ length: N }, () => random.integer(0, cut - T))),
    heldOut(T) {
      const places = tokens.length - cut - T,
        N = Math.min(24, places);
      return task.windows(T, Array.from({ length: N }, (_, n) => cut + Math.floor((n * (places - 1)) / Math.max(1, N - 1))));
    },
  };
  return task;
}

const TASKS = { adding: ADDING, sine: SINE, counting: COUNTING, ...(DATA.text && { text: textTask(DATA.text) }) };
const HELD_OUT = 64; // sequences
const heldOut = (task, random, T, options) => (task.heldOut ? task.heldOut(T) : task.draw(random, T, HELD_OUT, options));

// The symbols of a single sequence, which the river writes under the steps.
function symbolsOf({ symbols }, { T, x, share }) {
  const width = x.length / T;
  if (!symbols) return [];
  return Array.from({ length: T }, (_, t) => (share[t] ? symbols[width === 1 ? x[t] : x.subarray(t * width, (t + 1) * width).indexOf(1)] : ""));
}

// The first sequence of a batch alone.
function firstOf(task, { T, N, x, target, share }) {
  const width = x.length / (T * N),
    one = batchOf(task, T, 1),
    counts = one.share.length,
    total = Array.from({ length: counts }, (_, r) => share[r * N]).reduce((a, b) => a + b, 0);
  for (let t = 0; t < T; t++) one.x.set(x.subarray(t * N * width, t * N * width + width), t * width);
  for (let r = 0; r < counts; r++) {
    one.target[r] = target[r * N];
    one.share[r] = share[r * N] / total;
  }
  return one;
}
