# %% [markdown]
# # 01  A network and the chain rule by hand
#
# **Goal.** You can write the backward pass of a two-layer network by reading its forward pass from the last line to the first.
#
# You need: matrix products, the derivative of a composed function.

# %%
# %matplotlib inline
import numpy as np

from scratchnet import plots
from scratchnet_course import check
from scratchnet.gradcheck import check_layer, numeric_gradient
from scratchnet.layers import Linear, Sequential, Tanh
from scratchnet.losses import mse
from scratchnet.training.optim import SGD

rng = np.random.default_rng(1)

# %% [markdown]
# ## One number first
#
# Take a single weight: y = tanh(w x), L = (y - target)^2. The chain rule multiplies the slopes on the way from L to w:
#
#     dL/dw = dL/dy  dy/da  da/dw = 2 (y - target) (1 - y^2) x          with a = w x
#
# Every slope is known once the forward pass is done. That is the whole of backpropagation; the rest is bookkeeping.

# %%
x, w, target = np.array([0.7]), np.array([1.3]), 0.2
a = w * x
y = np.tanh(a)
L = (y - target) ** 2
dy = 2 * (y - target)
da = dy * (1 - y**2)
dw = da * x
numeric = numeric_gradient(lambda: float((np.tanh(w[0] * x[0]) - target) ** 2), w)
np.testing.assert_allclose(dw, numeric, rtol=1e-8)
print(
    f"a = {a[0]:.3f}   y = {y[0]:.4f}   L = {L[0]:.4f}   dy = {dy[0]:.4f}   da = {da[0]:.4f}   dw = {dw[0]:.4f}"
)

# %% [markdown]
# ## A layer: three gradients
#
# y = x W + b, for N rows x (N, D), W (D, K), b (K,). Of dy we make three things:
#
#     dx = dy W^T           each x reached K outputs: it collects from all of them
#     dW = x^T dy           each weight was used by N rows: a sum over rows
#     db = sum of dy over rows
#
# There is one way to remember which side is transposed: the shapes leave no other.

# %%
N, D, K = 5, 3, 2
x, W, b = rng.standard_normal((N, D)), rng.standard_normal((D, K)), rng.standard_normal(K)
dy = rng.standard_normal((N, K))
dx, dW, db = dy @ W.T, x.T @ dy, dy.sum(axis=0)
for name, grad, array in (("dx", dx, x), ("dW", dW, W), ("db", db, b)):
    numeric = numeric_gradient(lambda: float(np.sum((x @ W + b) * dy)), array)
    np.testing.assert_allclose(grad, numeric, rtol=1e-7, atol=1e-9)
    print(f"{name} {grad.shape}: equal to the numeric gradient")

# %% [markdown]
# ## Two layers: the same, in reverse
#
# Forward: a = x W1 + b1, h = tanh(a), y = h W2 + b2, L = mean (y - target)^2. Read it from the last line to the first:
#
#     dy = 2 (y - target) / n
#     dW2 = h^T dy      db2 = sum dy      dh = dy W2^T
#     da = dh (1 - h^2)
#     dW1 = x^T da      db1 = sum da      dx = da W1^T
#
# Each line of the forward pass has become one line of the backward pass, and each needs what the forward pass saw: that is
# what a *cache* keeps.

# %%
model = Sequential(first=Linear(1, 8, rng=rng), tanh=Tanh(), second=Linear(8, 1, rng=rng))
x = np.linspace(-2, 2, 41)[:, None]
target = np.sin(2 * x)
y, cache = model.forward(x)
loss, dy = mse(y, target)
model.zero_grad()
model.backward(dy, cache)
W1, b1, W2, b2 = model.params.values()
h = np.tanh(x @ W1 + b1)
da = (dy @ W2.T) * (1 - h**2)
ours = {
    "first.W": x.T @ da,
    "first.b": da.sum(axis=0),
    "second.W": h.T @ dy,
    "second.b": dy.sum(axis=0),
}
for name, grad in ours.items():
    np.testing.assert_allclose(grad, model.grads[name], rtol=1e-12, atol=1e-15)
report = check_layer(model, x)
assert report.error < 1e-6
print(report)

# %% [markdown]
# ## Down the slope
#
# A step against the gradient, again and again. The curve below is the network's answer after 3000 steps.

# %%
optimizer, losses = SGD(0.1, momentum=0.9), []
for _ in range(3000):
    model.zero_grad()
    y, cache = model.forward(x)
    loss, dy = mse(y, target)
    model.backward(dy, cache)
    optimizer.step(model.params, model.grads)
    losses.append(loss)
assert losses[-1] < 0.01
print(f"loss {losses[0]:.3f} at first, {losses[-1]:.5f} at the end")
plots.forecast(
    x[:, 0],
    target[:, 0],
    {"MLP": y[:, 0]},
    xlabel="x",
    ylabel="sin 2x",
    title="Two layers, eight units",
)

# %% [markdown]
# ## The loss's own gradient
#
# The mean is over all n numbers of y, so its gradient is divided by n, once. For classes the loss is the cross-entropy of a
# softmax, and the two derivatives together are very simple: with p = softmax(y) and a one at the right class,
#
#     dy = (p - onehot) / N

# %%
y = rng.standard_normal((3, 4))
labels = np.array([2, 0, 3])
p = np.exp(y) / np.exp(y).sum(axis=1, keepdims=True)
dy = (p - np.eye(4)[labels]) / 3


def loss_of_y():
    share = np.exp(y) / np.exp(y).sum(axis=1, keepdims=True)
    return float(-np.mean(np.log(share[[0, 1, 2], labels])))


numeric = numeric_gradient(loss_of_y, y)
np.testing.assert_allclose(dy, numeric, rtol=1e-6, atol=1e-9)
print(
    "the rows of dy add up to",
    np.abs(dy.sum(axis=1)).max().round(15),
    "- what one class gains the others lose",
)

# %% [markdown]
# ## What goes wrong in practice
#
# - `dW = dy^T x`, and a shape that fits by chance because the layer is square.
# - A mean in the loss and a second division by N in the gradient, or a sum and none.
# - tanh' written with the pre-activation: 1 - a^2 in place of 1 - y^2.
# - The bias's gradient averaged over the batch where everything else is summed.
# - The activation between the layers left out on the way back: the loss still falls, slowly.

# %% [markdown]
# ## Exercise 01/ex1: One weight
#
# y = tanh(w x + b), L = (y - target)^2. Return dL/dw, dL/db and dL/dx. All are numbers.

# %%
# exercise 01/ex1
import numpy as np


def one_weight(w, b, x, target):
    """Return dw, db, dx of L = (tanh(w x + b) - target)^2, three numbers."""
    # BEGIN SOLUTION
    out = np.tanh(b + x * w)
    slope = (1 - out * out) * (out - target) * 2
    return {"dw": slope * x, "db": slope, "dx": slope * w}
    # END SOLUTION


# %%
print(check("01/ex1", one_weight))

# %% [markdown]
# ## Exercise 01/ex2: A layer backwards
#
# y = x W + b with x (N, D). Return dx, dW, db from dy (N, K).

# %%
# exercise 01/ex2
import numpy as np


def linear_backward(dy, x, W):
    """dy (N, K), x (N, D), W (D, K) to dx (N, D), dW (D, K), db (K,)."""
    # BEGIN SOLUTION
    return np.einsum("nk,dk->nd", dy, W), np.einsum("nd,nk->dk", x, dy), np.ones(len(dy)) @ dy
    # END SOLUTION


# %%
print(check("01/ex2", linear_backward))

# %% [markdown]
# ## Exercise 01/ex3: Two layers backwards
#
# h = tanh(x W1 + b1), y = h W2 + b2, and L = mean of (y - target)^2 over all N K numbers of y. Return dW1, db1, dW2, db2.

# %%
# exercise 01/ex3
import numpy as np


def mlp_backward(x, target, W1, b1, W2, b2):
    """x (N, D), target (N, K), W1 (D, H), W2 (H, K) to dW1, db1, dW2, db2, each of its parameter's shape."""
    # BEGIN SOLUTION
    hidden = np.tanh(b1 + np.einsum("nd,dh->nh", x, W1))
    error = (b2 + np.einsum("nh,hk->nk", hidden, W2) - target) / (target.size / 2)
    through = np.einsum("nk,hk->nh", error, W2) * (1 - np.square(hidden))
    return {
        "dW2": np.einsum("nh,nk->hk", hidden, error),
        "db2": error.sum(0),
        "dW1": np.einsum("nd,nh->dh", x, through),
        "db1": through.sum(0),
    }
    # END SOLUTION


# %%
print(check("01/ex3", mlp_backward))

# %% [markdown]
# ## Exercise 01/ex4: Softmax and cross-entropy
#
# y (N, K) are outputs before the softmax, labels (N,) the right classes. L is the mean over the N rows of -log p[label].
# Return L and dy. Shift y by its largest number in each row first, or the exponential overflows.

# %%
# exercise 01/ex4
import numpy as np


def softmax_loss(y, labels):
    """y (N, K), labels (N,) whole numbers, to the loss, a number, and dy (N, K)."""
    # BEGIN SOLUTION
    rows = np.arange(y.shape[0])
    raised = np.exp(y - np.max(y, axis=1)[:, None])
    share = raised / raised.sum(1)[:, None]
    value = np.log(share[rows, labels]).sum() / -len(rows)
    share[rows, labels] -= 1
    return value, share / len(rows)
    # END SOLUTION


# %%
print(check("01/ex4", softmax_loss))

# %% [markdown]
# ## Sources
#
# Rumelhart, Hinton and Williams 1986, Learning representations by back-propagating errors. Linnainmaa 1970 has the method
# without the network.
