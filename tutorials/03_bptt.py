# %% [markdown]
# # 03  The recurrent cell, unrolled
#
# **Goal.** You can go back through time: first with one unit and three steps by hand, then with the vector cell, and you can
# say why the gradient of a shared weight is a sum over the steps.
#
# You need: a network and the chain rule (01), checking gradients (02).

# %%
# %matplotlib inline
import numpy as np

import scratchnet
from scratchnet.tracing import per_loss_gradients
from scratchnet import plots
from scratchnet.cells import rnn
from scratchnet_course import check
from scratchnet.gradcheck import check_cell, numeric_gradient
from scratchnet.layers import RNN, Linear, Sequential

rng = np.random.default_rng(3)

# %% [markdown]
# ## One unit, three steps
#
# The smallest recurrent network has one unit and three weights: w for the input, u for its own past, b. With h' for the
# state of the step before, and a target at every step,
#
#     a = w x + u h' + b      h = tanh(a)      L = 1/2 sum_t (h_t - target_t)^2
#
# Unrolled, this is a network three layers deep in which every layer has the same weights.

# %%
w, u, b = np.array([0.7, 0.9, 0.1])
x, target = np.array([0.5, -1.0, 0.8]), np.array([0.3, 0.2, 0.6])
h = np.array(
    [0.25, 0.0, 0.0, 0.0]
)  # h[0] is the state before the first step, h[t + 1] the state after step t
for t in range(3):
    a = w * x[t] + u * h[t] + b
    h[t + 1] = np.tanh(a)
    print(
        f"t = {t}:  a = {w} * ({x[t]:.1f}) + {u} * ({h[t]:.4f}) + {b} = {a:.4f}    h = tanh(a) = {h[t + 1]:.4f}"
    )

# %% [markdown]
# ## Two gradients meet in h
#
# Each state is read twice: by the loss of its own step, and by the next step. So two gradients arrive, and they are added.
#
#     dy = h - target            what comes from the loss of this step
#     dh = dy + dh_next          and from the future: 0 at the last step
#     da = dh (1 - h^2)          undoes  h = tanh(a)
#     dh_next = da u             undoes  a = ... + u h'; this is for the step before
#
# The loop runs backwards, since a step needs what the next step has to say.

# %%
dy, da, dh_next = h[1:] - target, np.zeros(3), 0.0
for t in (2, 1, 0):
    dh = dy[t] + dh_next
    da[t] = dh * (1 - h[t + 1] ** 2)
    print(
        f"t = {t}:  dh = {dy[t]:7.4f} + ({dh_next:7.4f}) = {dh:7.4f}    da = dh * (1 - ({h[t + 1]:.4f})^2) = {da[t]:7.4f}"
    )
    dh_next = da[t] * u
dh0 = dh_next

# %% [markdown]
# ## A shared weight: the sum over its uses
#
# Give every step a weight of its own: u_0, u_1, u_2. Each then has an ordinary gradient, da_t times what it met, h_{t-1}. They
# are one weight, so that moving u moves all three, and the slopes add up:
#
#     dw = sum_t da_t x_t      du = sum_t da_t h_{t-1}      db = sum_t da_t
#
# Here are the three slopes with respect to u_0, u_1, u_2, measured by moving one at a time, and with respect to u.

# %%


def loss_of(u_each):
    """The loss with a recurrent weight for each step."""
    state, total = h[0], 0.0
    for t in range(3):
        state = np.tanh(w * x[t] + u_each[t] * state + b)
        total += 0.5 * (state - target[t]) ** 2
    return float(total)


apart, together = np.full(3, u), np.array([u])
of_each = numeric_gradient(lambda: loss_of(apart), apart)
of_shared = numeric_gradient(lambda: loss_of(np.repeat(together, 3)), together)
np.testing.assert_allclose(of_each, da * h[:-1], rtol=1e-7)
np.testing.assert_allclose(of_shared, np.sum(da * h[:-1]), rtol=1e-7)
dw, du, db = np.sum(da * x), np.sum(da * h[:-1]), np.sum(da)
print("du of each step:", ", ".join(f"{v:.4f}" for v in da * h[:-1]), f"    together {du:.4f}")
print(f"dw = {dw:.4f}    du = {du:.4f}    db = {db:.4f}    dh0 = {dh0:.4f}")

# %% [markdown]
# Do this once with a pencil. `scratchnet course worksheet bptt --student YOUR-ID` writes a sheet with numbers of your own and
# an empty place for each line above; your instructor can print the filled one. Here is the table of this lesson's numbers.

# %%
table = {
    "h = tanh(a)": h[1:],
    "dy = h - y": dy,
    "dh = dy + dh_next": da / (1 - h[1:] ** 2),
    "da = dh (1 - h^2)": da,
    "to dw: da x": da * x,
    "to du: da h_{t-1}": da * h[:-1],
}
print(f"{'':>20}", "".join(f"{f't = {t}':>10}" for t in range(3)))
for name, values in table.items():
    print(f"{name:>20}", "".join(f"{v:10.4f}" for v in values))

# %% [markdown]
# ## Which loss made which gradient
#
# The gradient at step t is made by the losses of steps t, t+1, ..., T-1. We can keep them apart. What the loss at step tau
# brings to a_t has gone through every step in between, and each multiplied it by u (1 - h^2):
#
#     G[t, tau] = dy_tau (1 - h_tau^2)  times  u (1 - h_s^2)  for each s from t to tau-1
#     G[t, tau] = 0  where tau < t: no loss moves a later step
#
# A row adds up to da_t: nothing is lost and nothing is counted twice.

# %%
slope = 1 - h[1:] ** 2
G = np.zeros((3, 3))
for tau in range(3):
    for t in range(tau + 1):
        G[t, tau] = dy[tau] * slope[tau] * np.prod(u * slope[t:tau])
np.testing.assert_allclose(G.sum(axis=1), da, rtol=1e-12)
print("         loss 0   loss 1   loss 2       da")
for t in range(3):
    print(f"t = {t}", "".join(f"{v:9.4f}" for v in G[t]), f"{da[t]:9.4f}")

# %% [markdown]
# ## The vector cell
#
# H units, D inputs, N sequences at once. The letters become arrays, and nothing else changes:
#
#     a = x W_x + h' W_h + b      h = tanh(a)
#     x (N, D), h (N, H), W_x (D, H), W_h (H, H), b (H,)
#
# W_h connects every unit with every unit. The loop over t cannot be avoided; the products of all the x with W_x do not
# wait for anything, and the library does them at once.

# %%
T, N, D, H = 6, 2, 3, 4
x, h0, dy = (
    rng.standard_normal((T, N, D)),
    rng.standard_normal((N, H)),
    rng.standard_normal((T, N, H)),
)
W_x, W_h, b = (rng.standard_normal(shape) / 2 for shape in rnn.param_shapes(D, H).values())
h = np.zeros((T + 1, N, H))
h[0] = h0
for t in range(T):
    h[t + 1] = np.tanh(x[t] @ W_x + h[t] @ W_h + b)
y, cache = rnn.forward(x, h0, W_x, W_h, b)
np.testing.assert_allclose(h[1:], y, rtol=1e-12)
print("h from our loop is the library's, to twelve digits:", h[1:].shape)

# %% [markdown]
# ## Backwards through the vector cell
#
# The same four lines. Where u stood on the way back there is now W_h^T: unit k of h' went into all H sums by row k of W_h, and
# it collects from all of them. Where the scalar weights collected da x and da h', there are products that also sum over the
# N sequences.
#
#     dh = dy + dh_next      da = dh (1 - h^2)      dh_next = da W_h^T
#     dW_x = sum_t x_t^T da_t      dW_h = sum_t h_{t-1}^T da_t
#     db = sum_t sum_n da_t        dx = da W_x^T

# %%
dh_next, dx = np.zeros((N, H)), np.zeros_like(x)
dW_x, dW_h, db = np.zeros_like(W_x), np.zeros_like(W_h), np.zeros_like(b)
for t in reversed(range(T)):
    dh = dy[t] + dh_next
    da = dh * (1 - h[t + 1] ** 2)
    dW_x += x[t].T @ da
    dW_h += h[t].T @ da  # h[t] is the state before step t
    db += da.sum(axis=0)
    dx[t] = da @ W_x.T
    dh_next = da @ W_h.T
theirs = rnn.backward(dy, cache)
for name, grad in {"dx": dx, "dh0": dh_next, "dW_x": dW_x, "dW_h": dW_h, "db": db}.items():
    np.testing.assert_allclose(grad, getattr(theirs, name), rtol=1e-10, atol=1e-12)
report = check_cell(rnn)
assert report.error < 1e-6
print(report)

# %% [markdown]
# `scratchnet/cells/rnn.py` is this loop, with the sums over time taken behind it in one product.
#
# ## The picture
#
# The size of G in a network with sixteen units that was not trained yet: each column is the loss of one step on its way back
# to the beginning. The diagonal is the loss of the step itself. Read along a row to see whom a step listens to.

# %%
T, H = 30, 16
model = Sequential(rnn=RNN(2, H, rng=rng), head=Linear(H, 1, rng=rng))
x, target = rng.standard_normal((T, 1, 2)), rng.standard_normal((T, 1, 1))
trace = scratchnet.trace(model, x, target)
size = per_loss_gradients(trace.run).size
own, late = np.median(np.diag(size)), np.median(np.diag(size, 20))
assert size.shape == (T, T)
assert np.all(np.tril(size, -1) == 0)
assert late < own / 5
print(f"|da| from a step's own loss {own:.1e}, from the loss 20 steps later {late:.1e} (medians)")
plots.per_loss_gradients(trace, title="An untrained RNN, a loss at every step")

# %% [markdown]
# The columns fade on their way down. Why they do, and when they grow instead, is lesson 04.
#
# ## What goes wrong in practice
#
# - dh_next is forgotten: everything is right at the last step and wrong before. A test with one step does not notice.
# - dW_h is made with h_t, the state after the step. The weight met the state before.
# - The gradient of a weight is assigned in the loop, with `=` in place of `+=`: only step 0 is left.
# - W_h is square, so a forgotten transpose raises no error.
# - tanh' from the pre-activation: 1 - h^2 wants the output.
# - Memory: all T states are kept for the way back. Lesson 08 is about not going back all the way.

# %% [markdown]
# ## Exercise 03/ex1: One unit by hand
#
# The scalar network above, for any number of steps, with L = 1/2 sum (h - target)^2. x and target are (T,), the rest are
# numbers; h0 is the state before the first step. Return dw, du, db and dh0. It is the arithmetic of the worksheet.

# %%
# exercise 03/ex1
import numpy as np


def scalar_bptt(w, u, b, h0, x, target):
    """x and target (T,), the others numbers, to dw, du, db, dh0, four numbers."""
    # BEGIN SOLUTION
    states = [h0]
    for number in x:
        states.append(np.tanh(u * states[-1] + b + number * w))
    slopes, arriving = {"dw": 0.0, "du": 0.0, "db": 0.0}, 0.0
    for number, aim, after, before in zip(x[::-1], target[::-1], states[:0:-1], states[-2::-1]):
        back = (arriving + after - aim) * (1 - after * after)
        slopes["dw"] += back * number
        slopes["du"] += back * before
        slopes["db"] += back
        arriving = u * back
    return {**slopes, "dh0": arriving}
    # END SOLUTION


# %%
print(check("03/ex1", scalar_bptt))

# %% [markdown]
# ## Exercise 03/ex2: The forward pass
#
# The vector cell with tanh. Return the states after each step.

# %%
# exercise 03/ex2
import numpy as np


def rnn_forward(x, h0, W_x, W_h, b):
    """x (T, N, D), h0 (N, H), W_x (D, H), W_h (H, H), b (H,) to y (T, N, H)."""
    # BEGIN SOLUTION
    found, state = [], h0
    for fed in np.einsum("tnd,dh->tnh", x, W_x):
        state = np.tanh(b + fed + np.einsum("nk,kh->nh", state, W_h))
        found.append(state)
    return np.stack(found, axis=0)
    # END SOLUTION


# %%
print(check("03/ex2", rnn_forward))

# %% [markdown]
# ## Exercise 03/ex3: All steps back
#
# The backward pass of the vector cell. `h` is (T+1, N, H) with the initial state at index 0; `dh_last` is a gradient that
# arrives at the final state from somewhere else, besides dy. Return dx, dh0, dW_x, dW_h, db, as a tuple or by name.

# %%
# exercise 03/ex3
import numpy as np


def rnn_backward(dy, dh_last, x, h, W_x, W_h):
    """dy (T, N, H), dh_last (N, H) to dx (T, N, D), dh0 (N, H), dW_x (D, H), dW_h (H, H), db (H,)."""
    # BEGIN SOLUTION
    steps, carried = [], dh_last
    for own, after in zip(dy[::-1], h[:0:-1]):
        steps.insert(0, (own + carried) * (1 - np.square(after)))
        carried = np.einsum("nk,hk->nh", steps[0], W_h)
    into = np.stack(steps)
    return {
        "dh0": carried,
        "dx": np.einsum("tnh,dh->tnd", into, W_x),
        "db": np.einsum("tnh->h", into),
        "dW_x": np.tensordot(x, into, ((0, 1), (0, 1))),
        "dW_h": np.tensordot(h[:-1], into, ((0, 1), (0, 1))),
    }
    # END SOLUTION


# %%
print(check("03/ex3", rnn_backward))

# %% [markdown]
# ## Exercise 03/ex4: Which loss made which gradient
#
# The matrix G (T, T) of the scalar network: row t, column tau. Given are u, the states after each step h (T,), and the loss's
# own gradients dy (T,).

# %%
# exercise 03/ex4
import numpy as np


def per_loss_gradients(u, h, dy):
    """u a number, h and dy (T,), to G (T, T): the part of da[t] that came from the loss at step tau."""
    # BEGIN SOLUTION
    column, flat = np.diag(dy), 1 - h * h
    for t in range(len(h) - 2, -1, -1):
        column[t] += u * flat[t + 1] * column[t + 1]
    return column * flat[:, None]
    # END SOLUTION


# %%
print(check("03/ex4", per_loss_gradients))

# %% [markdown]
# ## Sources
#
# Elman 1990, Finding structure in time. Werbos 1990, Backpropagation through time: what it does and how to do it. Cashman,
# Patterson, Mosca and Chang 2018, RNNbow, for the per-loss gradients.
