# %% [markdown]
# # 15  Your own cell
#
# **Goal.** You can take the equations of a cell from a paper, derive its backward pass, write both in one file, prove the file
# right, and use it in layers, training, traces and figures like any other cell.
#
# You need: 06 for the LSTM backward, 07 for the GRU, 02 for checks.

# %%
# %matplotlib inline
import importlib
import sys
from pathlib import Path

import numpy as np

import scratchnet
from scratchnet import plots
from scratchnet.cells import register_cell
from scratchnet_course import check
from scratchnet.engines import explain
from scratchnet.gradcheck import GradientError, check_cell, check_layer
from scratchnet.layers import Linear, Recurrent, Sequential
from scratchnet.training import Adam, Clip, fit, predict
from scratchnet.data.tasks import ADDING_BASELINE_MSE, adding

rng = np.random.default_rng(15)

# %% [markdown]
# ## The equations
#
# Our cell is the minimal gated unit (MGU) of Zhou et al. 2016: a GRU with one gate in place of two. With h' for the state of
# the step before:
#
#     f = sigmoid(x W_xf + h' W_hf + b_f)        the gate: how much of the past is replaced
#     m = f h'                                   what of the past the candidate may see
#     n = tanh(x W_xn + m W_hn + b_n)            the candidate
#     h = (1 - f) h' + f n
#
# Two blocks of weights, where a GRU has three and an LSTM four.
#
# ## Who reads what
#
# Before any derivative: for each quantity, list its readers. A gradient is a sum with one term for each of them.
#
# | quantity | is read by | its gradient is the sum of |
# |---|---|---|
# | h | the loss at t; step t+1 | dy; dh_next |
# | n | h | dh f |
# | m | n, through W_hn | da_n W_hn^T |
# | f | h, twice, as 1 - f and as f; m | dh (n - h'); dm h' |
# | h' | h; m; f, through W_hf | dh (1 - f); dm f; da_f W_hf^T |
#
# Going through the lines from the last to the first:
#
#     dh   = dy + dh_next
#     da_n = dh f (1 - n^2)
#     dm   = da_n W_hn^T
#     da_f = (dh (n - h') + dm h') f (1 - f)
#     dh'  = dh (1 - f) + dm f + da_f W_hf^T
#
# ## One unit by hand
#
# First with one unit and plain numbers, against a difference. If that is wrong there is no use in matrices.


# %%
def one_step(a_f, a_n, w_f, w_n, h_prev):
    """One unit: a_f and a_n are what x and b make; returns f, n, h."""
    f = 1 / (1 + np.exp(-(a_f + h_prev * w_f)))
    n = np.tanh(a_n + f * h_prev * w_n)
    return f, n, (1 - f) * h_prev + f * n


a_f, a_n, w_f, w_n, h_prev = np.array([0.3, -0.2, 0.7, 1.1, 0.6])
f, n, h = one_step(a_f, a_n, w_f, w_n, h_prev)
dh = 1.0
da_n = dh * f * (1 - n**2)
dm = da_n * w_n
da_f = (dh * (n - h_prev) + dm * h_prev) * f * (1 - f)
dh_prev = dh * (1 - f) + dm * f + da_f * w_f
e = 1e-6
numeric = (
    one_step(a_f, a_n, w_f, w_n, h_prev + e)[2] - one_step(a_f, a_n, w_f, w_n, h_prev - e)[2]
) / (2 * e)
print(
    f"f = {f:.4f}  n = {n:.4f}  h = {h:.4f}      dh' by hand {dh_prev:.8f}, by a difference {numeric:.8f}"
)
np.testing.assert_allclose(dh_prev, numeric, rtol=1e-8)
roads = {"(1 - f)": dh * (1 - f), "through m": dm * f, "through the gate": da_f * w_f}
print("its three roads:", ", ".join(f"{name} {value:+.4f}" for name, value in roads.items()))

# %% [markdown]
# ## The file
#
# A cell is a module with a fixed set of names, and all else in the library walks over those: `GATES`, `STATES`, `OPTIONS`,
# `param_shapes`, `Cache`, `Grads`, `forward`, `backward`. The file `scratchnet/cells/mingru.py` is a good one to copy from.
# `lengths` is for padded batches: `carry_state` and `skip_padding_gradient` are all it takes.

# %%
MGU = '''"""Minimal gated unit, Zhou et al. 2016: a GRU with one gate.  Gates in the order f n, their weights side by side."""

from typing import Any, NamedTuple

import numpy as np

from scratchnet.cells.checks import check_backward, check_forward
from scratchnet.cells.sequences import carry_state, skip_padding_gradient, zero_padding
from scratchnet.elementwise import d_sigmoid, d_tanh, sigmoid

GATES, STATES, OPTIONS = "fn", ("h",), {}


def param_shapes(D, H):
    return {"W_x": (D, 2 * H), "W_h": (H, 2 * H), "b": (2 * H,)}


class Cache(NamedTuple):
    x: Any  # (T, N, D)
    h: Any  # (T+1, N, H)  h[0] is the initial state
    gates: Any  # (T, N, 2H)  f n, after sigmoid and tanh
    W_x: Any
    W_h: Any
    lengths: Any  # (N,) or None


class Grads(NamedTuple):
    dx: Any
    dh0: Any
    dW_x: Any
    dW_h: Any
    db: Any
    da: Any  # (T, N, 2H) of both pre-activations


def forward(x, h0, W_x, W_h, b, lengths=None):
    lengths = check_forward(param_shapes, lengths, x, h0=h0, W_x=W_x, W_h=W_h, b=b)
    x = zero_padding(x, lengths)
    H = h0.shape[1]
    h = np.empty_like(x, shape=(len(x) + 1, *h0.shape))
    h[0] = h0
    gates = x @ W_x + b  # one product for all steps
    for t in range(len(x)):
        f, n = gates[t, :, :H], gates[t, :, H:]
        f[...] = sigmoid(f + h[t] @ W_h[:, :H])
        n[...] = np.tanh(n + (f * h[t]) @ W_h[:, H:])
        h[t + 1] = (1 - f) * h[t] + f * n
        if lengths is not None:
            carry_state(lengths <= t, t, h)
    return h[1:], Cache(x, h, gates, W_x, W_h, lengths)


def backward(dy, cache, dh_last=None):
    check_backward(dy, cache, dh_last=dh_last)
    x, h, gates, W_x, W_h, lengths = cache
    H = h.shape[2]
    da = np.empty_like(gates)
    dh_next = np.zeros_like(h[0]) if dh_last is None else dh_last
    for t in reversed(range(len(gates))):
        f, n = gates[t, :, :H], gates[t, :, H:]
        dh = dy[t] + dh_next  # h is read twice: by the loss, and by step t+1
        da_n = dh * f * d_tanh(n)  # undoes  f n,  n = tanh(..)
        dm = da_n @ W_h[:, H:].T  # undoes  m W_hn
        da_f = (dh * (n - h[t]) + dm * h[t]) * d_sigmoid(f)  # undoes  (1 - f) h' + f n  and  m = f h'
        dh_prev = dh * (1 - f) + dm * f + da_f @ W_h[:, :H].T  # undoes  (1 - f) h',  m = f h',  h' W_hf
        da[t, :, :H], da[t, :, H:] = da_f, da_n
        if lengths is not None:
            skip_padding_gradient(lengths <= t, da[t], (dh_prev, dh_next))
        dh_next = dh_prev
    m = gates[..., :H] * h[:-1]
    dW_f = np.einsum("tnh,tng->hg", h[:-1], da[..., :H])  # W_hf met h'
    dW_n = np.einsum("tnh,tng->hg", m, da[..., H:])  # W_hn met m
    dW_h = np.concatenate([dW_f, dW_n], axis=1)
    return Grads(da @ W_x.T, dh_next, np.tensordot(x, da, ((0, 1), (0, 1))), dW_h, da.sum(axis=(0, 1)), da)
'''
Path("mgu.py").write_text(MGU, encoding="utf-8")
sys.path.insert(0, ".")
importlib.invalidate_caches()
import mgu

mgu = importlib.reload(mgu)  # should the cell be run twice

# %% [markdown]
# ## The checks
#
# First the gradients: four steps, random states, a loss on every h and on the last state, and all of dx, dh0 and the weights
# (lesson 02 counts which bugs a weaker check lets pass). Then the same with a ragged batch.

# %%
print(check_cell(mgu))
ragged = check_cell(mgu, lengths=[4, 1, 3])
print(f"\nragged: worst error {ragged.error:.0e}")

# %% [markdown]
# Then the check is checked. We leave out one of the three roads to h', the one through m, and the report must say so: wrong
# where, and from which step on.

# %%
wrong = {}
exec(MGU.replace("dh * (1 - f) + dm * f + da_f", "dh * (1 - f) + da_f"), wrong)
try:
    check_cell(mgu, backward=wrong["backward"])
except GradientError as error:
    print(error)
else:
    raise AssertionError("the mistake was not found")

# %% [markdown]
# A gradient check cannot see a forward pass that is wrong in itself: forward and backward then agree with each other. For that
# a second implementation is needed, as different as can be: one number at a time, straight from the equations.

# %%
T, N, D, H = 5, 2, 3, 4
x, h0 = rng.standard_normal((T, N, D)), rng.standard_normal((N, H))
W_x, W_h, b = (rng.standard_normal(s) for s in mgu.param_shapes(D, H).values())
y, _ = mgu.forward(x, h0, W_x, W_h, b)
for sample in range(N):
    past = list(h0[sample])
    for t in range(T):
        a = [sum(x[t, sample, d] * W_x[d, k] for d in range(D)) + b[k] for k in range(2 * H)]
        gate = [
            1 / (1 + np.exp(-(a[k] + sum(past[j] * W_h[j, k] for j in range(H))))) for k in range(H)
        ]
        new = [
            np.tanh(a[H + k] + sum(gate[j] * past[j] * W_h[j, H + k] for j in range(H)))
            for k in range(H)
        ]
        past = [(1 - gate[k]) * past[k] + gate[k] * new[k] for k in range(H)]
        np.testing.assert_allclose(y[t, sample], past, rtol=1e-10)
print("a second implementation, number by number, agrees")

# %% [markdown]
# ## In the table
#
# One line, and layers can be made of it: stacked, both ways, ragged, with a state. Its parameters are drawn gate by gate; the
# names "W_h" and "b" tell how. Note that the bias of a gate called f starts at 1, which suits an LSTM; here f *replaces* the
# past, so we ask for -1: keep at first.

# %%
register_cell("mgu", mgu)
layer = Recurrent("mgu", 3, 4, num_layers=2, bidirectional=True, forget_bias=-1.0, rng=rng)
x = rng.standard_normal((6, 3, 3))
found = check_layer(layer, x, lengths=[6, 2, 4], state=(rng.standard_normal((4, 3, 4)),))
print(f"two layers, both directions, ragged, a state: worst error {found.error:.0e}")
print(explain(layer, x))
small = Recurrent("mgu", 3, 4, rng=rng, dtype=np.float32)
assert small.forward(x.astype(np.float32))[0].dtype == np.float32  # float32 in, float32 out

# %% [markdown]
# ## Does it learn?
#
# The adding problem (lesson 09) with 20 steps: two of twenty numbers are marked, and their sum is wanted. Who has learned
# nothing is off by 1/6 in the mean square. Four cells of 24 units, with the same training.

# %%
T = 20
x, y = adding(rng, 1200, T)
x, unseen, y_unseen = x.swapaxes(0, 1)[:1000], x.swapaxes(0, 1)[1000:], y[1000:]
curves, models = {}, {}
for cell in ("rnn", "mgu", "gru", "lstm"):
    own = np.random.default_rng(1)
    bias = {"mgu": -1.0}.get(cell, 1.0)
    rec = Recurrent(
        cell, 2, 24, batch_first=True, return_sequences=False, forget_bias=bias, rng=own
    )
    models[cell] = Sequential(rec=rec, head=Linear(24, 1, rng=own))
    history = fit(
        models[cell],
        (x, y[:1000]),
        Adam(0.01),
        epochs=25,
        rng=own,
        callbacks=[Clip(1.0)],
        progress=False,
    )
    curves[cell.upper()] = history.column("train_loss")
    error = ((predict(models[cell], unseen) - y_unseen) ** 2).mean()
    weights = sum(p.size for p in rec.params.values())
    print(f"{cell.upper():<5} {weights:>5} weights in the layer   error {error:.4f}")
    if cell == "mgu":
        assert error < ADDING_BASELINE_MSE / 3
plots.learning_curves(
    curves,
    xlabel="epoch",
    ylabel="mean squared error",
    lines={"nothing learned": ADDING_BASELINE_MSE},
)

# %% [markdown]
# ## Look into it
#
# Traces and figures need nothing more: the gates are named by `GATES`. The bars are the numbers, the marked ones coloured. At
# a marked step the gate of many units opens, and the state is rewritten; between marks it is nearly shut, and the state kept.

# %%
model = models["mgu"]
shown = scratchnet.trace(model, unseen[:1], y_unseen[:1])
marks = np.flatnonzero(unseen[0, :, 1])
f = shown.run["f"][:, 0]
at_marks, elsewhere = f[marks].max(axis=1).mean(), np.delete(f, marks, axis=0).mean()
print(
    f"most open gate at the marks {at_marks:.2f}; all gates elsewhere, on average {elsewhere:.2f}"
)
assert at_marks > 0.5 > 0.25 > elsewhere
plots.gates(
    shown,
    inputs=unseen[0, :, 0],
    marks=marks.tolist(),
    title="MGU on the adding problem; triangles: marked steps",
)

# %% [markdown]
# The weight gradients of the steps add up to the whole, and the gradient that reaches the first step is still a good part of
# that at the last.

# %%
run = shown.run
np.testing.assert_allclose(
    sum(run.weight_gradients(t)["dW_h"] for t in range(T)), run["dW_h"], rtol=1e-9, atol=1e-12
)
traces = {
    cell.upper(): scratchnet.trace(models[cell], unseen[:64], y_unseen[:64])
    for cell in ("mgu", "rnn", "gru")
}
reach = np.linalg.norm(traces["MGU"].run["dh"], axis=(1, 2))
assert reach[0] > 0.2 * reach[-1]
plots.gradient_norms(traces)

# %% [markdown]
# To put it into the library for good: the file goes to `scratchnet/cells/`, a line into the table, its terms into
# `tracing/terms.py` if each term of the backward is to be looked at by name, the mistakes one can make into
# the course's `mistakes.toml`, and a kernel where it must be fast. The tests walk over the table and take it up by themselves.
#
# ## What goes wrong in practice
#
# - The paper's equation leaves something open: is the gate applied before the product with W_hn or after? Which of f and 1 - f
#   keeps the past? Write down what you took.
# - A quantity with three readers gets two terms. Make the table of readers first.
# - f stands twice in h = (1 - f) h' + f n, and once the minus sign is lost.
# - W_hn met m, not h': its gradient is made with m.
# - The check is made at one step, or with zero states.
# - Gates are overwritten in place and the backward pass needs the old ones.
# - float32 becomes float64 on the way, by a constant or by `np.zeros` without a type.

# %% [markdown]
# ## Exercise 15/ex1: Back through one line
#
# The line is h = r c + (1 - r) s, the last of the simple recurrent unit. Given dh, return the gradients of r, c and s.

# %%
# exercise 15/ex1
import numpy as np


def line_backward(dh, r, c, s):
    """All (N, H): the gradients dr, dc, ds of h = r c + (1 - r) s."""
    # BEGIN SOLUTION
    ds = dh - r * dh
    return c * dh - s * dh, dh - ds, ds
    # END SOLUTION


# %%
print(check("15/ex1", line_backward))

# %% [markdown]
# ## Exercise 15/ex2: A step of the simple recurrent unit
#
# The whole step, with c' for c_prev; v_f and v_r are vectors (H,):
#
#     f = sigmoid(a_f + v_f c')    r = sigmoid(a_r + v_r c')    c = f c' + (1 - f) u    h = r c + (1 - r) s
#
# Given dh and dc_next, return the gradients of u, a_f, a_r, s and c'. Make the table of readers of c and of c' first.

# %%
# exercise 15/ex2
import numpy as np


def sru_backward(dh, dc_next, u, f, r, s, c_prev, c, v_f, v_r):
    """Arrays (N, H), v_f and v_r (H,), to du, da_f, da_r, ds, dc_prev, each (N, H)."""
    # BEGIN SOLUTION
    slope_f, slope_r = f - f**2, r - r**2
    a_r = slope_r * (dh * c - dh * s)
    memory = dc_next + r * dh
    a_f = slope_f * memory * (c_prev - u)
    back = memory * f + np.einsum("h,nh->nh", v_f, a_f) + np.einsum("h,nh->nh", v_r, a_r)
    return memory - f * memory, a_f, a_r, dh - r * dh, back
    # END SOLUTION


# %%
print(check("15/ex2", sru_backward))

# %% [markdown]
# ## Exercise 15/ex3: A step with peepholes
#
# The LSTM whose gates look at the cell state. The output gate looks at the *new* one, so it comes after c:
#
#     i = sigmoid(a_i + p_i c')   f = sigmoid(a_f + p_f c')   g = tanh(a_g)   c = f c' + i g   o = sigmoid(a_o + p_o c)
#     h = o tanh(c)
#
# Given dh and dc_next, return da_i, da_f, da_g, da_o and dc_prev.

# %%
# exercise 15/ex3
import numpy as np


def peephole_backward(dh, dc_next, i, f, g, o, c_prev, c, p_i, p_f, p_o):
    """Arrays (N, H), p_i, p_f, p_o (H,), to da_i, da_f, da_g, da_o, dc_prev, each (N, H)."""
    # BEGIN SOLUTION
    squashed = np.tanh(c)
    out = squashed * dh * (o - o * o)
    memory = dc_next + out * p_o + (1 - squashed * squashed) * o * dh
    write, keep = memory * g * (i - i * i), memory * c_prev * (f - f * f)
    return write, keep, memory * (1 - g * g) * i, out, memory * f + keep * p_f + write * p_i
    # END SOLUTION


# %%
print(check("15/ex3", peephole_backward))

# %% [markdown]
# ## Exercise 15/ex4: A whole cell of your own
#
# The update-gate RNN of Collins et al. 2017, all of its backward pass:
#
#     z = sigmoid(x W_xz + h' W_hz + b_z)    n = tanh(x W_xn + h' W_hn + b_n)    h = z h' + (1 - z) n
#
# `h` is (T+1, N, H) with the initial state at index 0, `gates` (T, N, 2H) are z and n side by side, and so are the blocks of
# W_x, W_h and b. No gradient arrives at the final state.

# %%
# exercise 15/ex4
import numpy as np


def ugrnn_backward(dy, x, h, gates, W_x, W_h):
    """dy (T, N, H), x (T, N, D) to dx (T, N, D), dh0 (N, H), dW_x (D, 2H), dW_h (H, 2H), db (2H,)."""
    # BEGIN SOLUTION
    z, n = np.split(gates, 2, axis=2)
    pre = [None] * len(dy)
    future = np.zeros_like(h[0])
    for t in range(len(dy))[::-1]:
        arrived = future + dy[t]
        to_gate = (h[t] - n[t]) * arrived * z[t] * (1 - z[t])
        to_candidate = arrived * (1 - z[t]) * (1 - n[t] ** 2)
        pre[t] = np.hstack([to_gate, to_candidate])
        future = z[t] * arrived + pre[t] @ W_h.T
    flat = np.concatenate(pre)
    dW_x = np.concatenate(list(x)).T @ flat
    dW_h = np.concatenate(list(h[:-1])).T @ flat
    return np.stack(pre) @ W_x.T, future, dW_x, dW_h, flat.sum(axis=0)
    # END SOLUTION


# %%
print(check("15/ex4", ugrnn_backward))

# %% [markdown]
# ## Sources
#
# Zhou, Wu, Zhang and Zhou 2016, Minimal gated unit for recurrent neural networks. Lei et al. 2018 on the simple recurrent
# unit. Gers, Schraudolph and Schmidhuber 2002 on peepholes. Collins, Sohl-Dickstein and Sussillo 2017 on the update-gate RNN.
