// From gradients to the next parameters. p is a parameter, g its gradient, lr the learning rate; every rule is element by element.
// The numbers are those of scratchnet.training.

// p <- p - lr g
class SGD {
  step(params, grads, lr) {
    params.forEach((p, k) => {
      const g = grads[k];
      for (let j = 0; j < p.length; j++) p[j] -= lr * g[j];
    });
  }
}

// Adam (Kingma and Ba 2015), at update t = 1, 2, ...
//
//     m <- beta1 m + (1 - beta1) g           the mean of the gradient
//     v <- beta2 v + (1 - beta2) g^2         the mean of its square
//     p <- p - lr m_hat / (sqrt(v_hat) + eps)
//
// with m_hat = m / (1 - beta1^t) and v_hat = v / (1 - beta2^t): both means started at 0 and are too small by just these factors.
class Adam {
  constructor() {
    Object.assign(this, { t: 0, m: null, v: null, beta1: 0.9, beta2: 0.999, eps: 1e-8 });
  }

  step(params, grads, lr) {
    const { beta1, beta2, eps } = this;
    this.m ??= params.map(p => new Float64Array(p.length));
    this.v ??= params.map(p => new Float64Array(p.length));
    this.t++;
    const start1 = 1 - beta1 ** this.t,
      start2 = 1 - beta2 ** this.t;
    params.forEach((p, k) => {
      const g = grads[k],
        m = this.m[k],
        v = this.v[k];
      for (let j = 0; j < p.length; j++) {
        m[j] = beta1 * m[j] + (1 - beta1) * g[j];
        v[j] = beta2 * v[j] + (1 - beta2) * g[j] * g[j];
        p[j] -= (lr * (m[j] / start1)) / (Math.sqrt(v[j] / start2) + eps);
      }
    });
  }
}

const OPTIMISERS = { Adam, SGD };

// Scale all gradients by one factor, min(1, limit / norm); returns the norm of all together before (Pascanu, Mikolov and Bengio 2013).
function clipGlobalNorm(grads, limit) {
  let square = 0;
  for (const g of grads) for (let j = 0; j < g.length; j++) square += g[j] * g[j];
  const norm = Math.sqrt(square),
    factor = limit / (norm + 1e-6); // PyTorch's 1e-6: what was clipped ends a little under the limit
  if (factor < 1) for (const g of grads) for (let j = 0; j < g.length; j++) g[j] *= factor;
  return norm;
}
