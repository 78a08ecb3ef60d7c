# %% [markdown]
# # 05  The LSTM forward, gate by gate
#
# **Goal.** You can compute a step of an LSTM by hand, write its forward pass, say how long a forget gate remembers, and read
# the gates of a trained network.
#
# You need: the recurrent cell (03), why gradients vanish (04).

# %%
# %matplotlib inline
import numpy as np

import scratchnet
from scratchnet import plots
from scratchnet.cells import lstm
from scratchnet_course import check
from scratchnet.elementwise import sigmoid
from scratchnet.layers import LSTM, Linear, Sequential
from scratchnet.training import Adam, Clip, fit, predict

rng = np.random.default_rng(5)

# %% [markdown]
# ## Two states and four gates
#
# The vanilla cell writes its whole state anew at each step, through a matrix and a tanh. The LSTM has a second state, c, that
# is changed only by a product and a sum, one unit at a time. Gates, numbers between 0 and 1, say how much:
#
#     i = sigmoid(a_i)     input gate:  how much of the candidate is written
#     f = sigmoid(a_f)     forget gate: how much of the old cell state is kept
#     g = tanh(a_g)        candidate:   what would be written
#     o = sigmoid(a_o)     output gate: how much of the cell state is shown
#
#     c = f c' + i g       cell state:   kept + written
#     h = o tanh(c)        hidden state: what all others get to see

# %%
a_i, a_f, a_g, a_o = np.array([1.4, 2.2, 0.7, 0.0])
c_prev = np.array(1.5)
i, f, g, o = sigmoid(a_i), sigmoid(a_f), np.tanh(a_g), sigmoid(a_o)
kept, written = f * c_prev, i * g
c = kept + written
h = o * np.tanh(c)
np.testing.assert_allclose(
    lstm.gates_forward(a_i, a_f, a_g, a_o, c_prev), (i, f, g, o, c, h), rtol=1e-12
)
print(f"i = {i:.3f}   f = {f:.3f}   g = {g:.3f}   o = {o:.3f}")
print(
    f"kept {f:.3f} * {c_prev} = {kept:.3f}, written {i:.3f} * {g:.3f} = {written:.3f}, together c = {c:.3f}"
)
print(f"shown h = {o:.3f} * tanh({c:.3f}) = {h:.3f}")

# %% [markdown]
# c has no bounds: with f near 1 and i g always positive it counts upwards. h lies between -1 and 1, because of its tanh.
#
# ## Side by side: the blocks
#
# All four pre-activations are made in one product, from the input and from the *shown* state of the step before:
#
#     a = x W_x + h' W_h + b        side by side  a_i | a_f | a_g | a_o
#     W_x (D, 4H), W_h (H, 4H), b (4H,)
#
# The old cell state is not in it. The order of the blocks is a convention: PyTorch, cuDNN and Keras have i f g o, as here,
# ONNX has i o f g, TensorFlow's old cell i g f o. Weights that are read in another order make another network that works just
# as well, and computes something else. No gradient check sees it.

# %%
T, N, D, H = 5, 2, 3, 4
x, h0, c0 = rng.standard_normal((T, N, D)), rng.standard_normal((N, H)), rng.standard_normal((N, H))
W_x, W_h, b = (rng.standard_normal(shape) / 2 for shape in lstm.param_shapes(D, H).values())
y, cache = lstm.forward(x, h0, c0, W_x, W_h, b)
a = x[0] @ W_x + h0 @ W_h + b
blocks = [a[:, k * H : (k + 1) * H] for k in range(4)]
*_, c, h = lstm.gates_forward(*blocks, c0)
np.testing.assert_allclose(h, y[0], rtol=1e-12)
swapped = [blocks[k] for k in (0, 1, 3, 2)]
*_, other = lstm.gates_forward(*swapped, c0)
assert np.abs(other - h).max() > 0.1
print(
    f"first step: equal to the library's; with g and o exchanged h is off by up to {np.abs(other - h).max():.2f}"
)

# %% [markdown]
# ## All steps
#
# Two states are carried from step to step. `lstm.forward` in `scratchnet/cells/lstm.py` is the step above in a loop, and its
# cache keeps h, c and the gates of every step: that is all that the backward pass (06) needs.

# %%
i, f, g, o = np.split(cache.gates, 4, axis=-1)
np.testing.assert_allclose(cache.c[1:], f * cache.c[:-1] + i * g, rtol=1e-12)
np.testing.assert_allclose(cache.h[1:], o * np.tanh(cache.c[1:]), rtol=1e-12)
print("gates", cache.gates.shape, "  h and c", cache.h.shape, "with the initial state at index 0")

# %% [markdown]
# ## How long a forget gate remembers
#
# If nothing is written and f stays the same, c shrinks to f^n of itself in n steps. The time constant is the number of steps
# after which 1/e, 37%, is left:
#
#     f^n = exp(-n / tau)       tau = -1 / log f         about 1 / (1 - f) for f near 1
#
# At the start the weights are small and f is about sigmoid(b_f). With a bias of zero that is one half, and after ten steps a
# thousandth is left, of the memory and of the gradient along c. So the forget gate's bias starts at 1 or above (Gers et al.
# 2000, Jozefowicz et al. 2015); the library's layer takes `forget_bias=1.0` by default.

# %%
n = np.arange(0, 61)
ax = plots.axes(None, 7.5, 3.6)
for bias, style in ((0.0, ":"), (1.0, "-."), (2.0, "--"), (4.0, "-")):
    f = sigmoid(np.array(bias))
    tau = -1 / np.log(f)
    np.testing.assert_allclose(f**tau, np.exp(-1), rtol=1e-12)
    print(
        f"bias {bias:.0f}:  f = {f:.3f}   tau = {tau:4.1f} steps   left after 10 steps {f**10:.1e}, after 50 {f**50:.1e}"
    )
    ax.plot(n, f**n, style, color=plots.colour("f"), label=f"bias {bias:.0f}, f = {f:.2f}")
assert sigmoid(np.array(0.0)) ** 10 < 1e-3 < sigmoid(np.array(1.0)) ** 10
ax.axhline(np.exp(-1), color="#999999", lw=0.8)
ax.annotate(
    "1/e", (60, np.exp(-1)), (0, 3), textcoords="offset points", ha="right", color="#666666"
)
ax.set(xlabel="steps n", ylabel="share of c that is left", ylim=(0, 1.02))
ax.legend(frameon=False, loc="upper right", bbox_to_anchor=(1, 0.95))
ax.figure

# %% [markdown]
# ## A trained one: sample and hold
#
# A task in which it is plain what the gates should do. The input is a new random number at every step, and a mark at some
# steps. The answer is the number at the last mark: take it when there is a mark, hold it until the next. Someone who has
# learned nothing answers 0, and has an error of about 1/3, the variance of the numbers.

# %%
rng = np.random.default_rng(0)


def sample_and_hold(n, T):
    """n sequences of T steps, samples first: x (n, T, 2), number and mark, and the answer (n, T, 1)."""
    number, mark = rng.uniform(-1, 1, (n, T)), rng.random((n, T)) < 0.12
    mark[:, 0] = True
    held = number.copy()
    for t in range(1, T):
        held[:, t] = np.where(mark[:, t], number[:, t], held[:, t - 1])
    return np.stack([number, mark], axis=-1), held[:, :, None]


x, target = sample_and_hold(400, 25)
model = Sequential(
    lstm=LSTM(2, 4, batch_first=True, forget_bias=2.0, rng=rng), head=Linear(4, 1, rng=rng)
)
history = fit(
    model, (x, target), Adam(0.03), epochs=150, rng=rng, callbacks=[Clip(1.0)], progress=False
)
x, target = sample_and_hold(100, 40)
error = np.mean((predict(model, x) - target) ** 2)
assert error < 0.003 < 0.3 < np.mean(target**2)
print(
    f"mean squared error on new sequences {error:.5f}; of someone who has learned nothing {np.mean(target**2):.2f}"
)

# %% [markdown]
# Here is one sequence. Triangles point at the marks. Look for two things at the marks: a unit whose forget gate shuts, and
# whose input gate opens. Between the marks it is the other way round.

# %%
trace = scratchnet.trace(model, x)
sample = 3
plots.gates(
    trace, sample=sample, inputs=x[sample, :, 0], marks=np.flatnonzero(x[sample, :, 1]).tolist()
)

# %%
run = trace.run
marked = x[:, :, 1].T > 0  # (T, N)
at, between = (
    {letter: run[letter][where].mean(axis=0) for letter in "ifo"} for where in (marked, ~marked)
)
unit = int(
    np.argmax(between["f"] - at["f"] + at["i"] - between["i"])
)  # the one that the marks move most
for letter in "ifo":
    print(
        f"unit {unit}, {letter}:  at a mark {at[letter][unit]:.2f}, between marks {between[letter][unit]:.2f}"
    )
assert at["f"][unit] < 0.4 < 0.8 < between["f"][unit]
assert at["i"][unit] > 0.7 > 0.2 > between["i"][unit]

# %% [markdown]
# ## Saturation
#
# How much of the time is a gate shut (under 0.1), and how much wide open (over 0.9)? Each dot is one gate of one unit. At the
# lower left are gates that decide anew at each step and never decide fully; on the dotted line, those that are never in
# between.

# %%
plots.saturation(trace)

# %% [markdown]
# ## The gate is not the whole memory
#
# Test it on sequences eight times as long as those it was trained on. Its error stays small, also many steps after a mark.
# Yet no forget gate keeps enough by itself: with the average that even the best has between marks, a number would be gone in
# some tens of steps. What leaks out is put back: h shows the value, the next step's gates and candidate see it through W_h,
# and write it again. Reading one gate does not explain a network.

# %%
x_long, target_long = sample_and_hold(100, 200)
off = (predict(model, x_long) - target_long) ** 2
since = np.zeros(x_long.shape[:2], int)  # steps since the last mark
for t in range(1, 200):
    since[:, t] = np.where(x_long[:, t, 1] > 0, 0, since[:, t - 1] + 1)
late = off[since >= 20].mean()
best = between["f"].max()
assert late < 0.03
assert best**20 < 0.5
print(
    f"error 20 or more steps after a mark {late:.4f}; the best forget gate alone keeps {best:.2f}^20 = {best**20:.2f}"
)

# %% [markdown]
# ## What goes wrong in practice
#
# - The blocks of foreign weights stand in another order. Everything runs, and the numbers are wrong.
# - The forget gate's bias is 0 at first: the network does not find out that it could remember.
# - The candidate gets a sigmoid, or the output gate a tanh: the network trains, a little worse.
# - h is carried and c is not, or c is passed on as the output.
# - Two biases (PyTorch has `bias_ih` and `bias_hh`) are both set to the forget bias, and add up to twice of it.
# - A single heat map is read as an explanation. Units that do not saturate share the work with others.

# %% [markdown]
# ## Exercise 05/ex1: One step
#
# The elementwise part of a step: pre-activations and old cell state, arrays of one shape, to the new states.

# %%
# exercise 05/ex1
import numpy as np


def lstm_step(a_i, a_f, a_g, a_o, c_prev):
    """Five arrays (N, H) to c and h, (N, H) each."""
    # BEGIN SOLUTION
    open_i, open_f, open_o = (0.5 + 0.5 * np.tanh(0.5 * part) for part in (a_i, a_f, a_o))
    cell = np.tanh(a_g) * open_i + c_prev * open_f
    return {"h": np.tanh(cell) * open_o, "c": cell}
    # END SOLUTION


# %%
print(check("05/ex1", lstm_step))

# %% [markdown]
# ## Exercise 05/ex2: A bias for a memory
#
# With f = sigmoid(bias) at every step, and nothing written, a share of c is left after some steps. Return the bias for which
# after `steps` steps the share `left` is there.

# %%
# exercise 05/ex2
import numpy as np


def bias_for(steps, left):
    """steps at least 1 and left between 0 and 1 to the bias, a number, with sigmoid(bias)^steps = left."""
    # BEGIN SOLUTION
    rate = np.log(left) / steps
    return rate - np.log(-np.expm1(rate))
    # END SOLUTION


# %%
print(check("05/ex2", bias_for))

# %% [markdown]
# ## Exercise 05/ex3: Shut or open
#
# What the saturation picture shows: for each unit the share of all steps of all sequences at which its gate is under 0.1, and
# at which it is over 0.9.

# %%
# exercise 05/ex3
import numpy as np


def shut_and_open(gate):
    """gate (T, N, H), between 0 and 1, to the two shares, (H,) each: shut, open."""
    # BEGIN SOLUTION
    units = np.moveaxis(gate, -1, 0)
    counts = [(np.count_nonzero(unit < 0.1), np.count_nonzero(unit > 0.9)) for unit in units]
    return tuple(np.array(counts).T * (len(units) / gate.size))
    # END SOLUTION


# %%
print(check("05/ex3", shut_and_open))

# %% [markdown]
# ## Exercise 05/ex4: The whole forward pass
#
# All steps. The blocks stand in the order i f g o. Return the states after each step.

# %%
# exercise 05/ex4
import numpy as np


def lstm_forward(x, h0, c0, W_x, W_h, b):
    """x (T, N, D), h0 and c0 (N, H), W_x (D, 4H), W_h (H, 4H), b (4H,) to h and c, (T, N, H) each."""
    # BEGIN SOLUTION
    shown, cell, found = h0, c0, []
    joined, curve = np.vstack([W_x, W_h]), lambda v: 1 / (1 + np.exp(-v))
    for row in x:
        into = np.einsum("nk,kg->ng", np.hstack([row, shown]), joined) + b
        write, keep, fresh, show = into.reshape(len(into), 4, -1).swapaxes(0, 1)
        cell = np.tanh(fresh) * curve(write) + cell * curve(keep)
        shown = np.tanh(cell) * curve(show)
        found.append((shown, cell))
    hs, cs = zip(*found)
    return np.stack(hs), np.stack(cs)
    # END SOLUTION


# %%
print(check("05/ex4", lstm_forward))

# %% [markdown]
# ## Sources
#
# Hochreiter and Schmidhuber 1997, Long short-term memory. Gers, Schmidhuber and Cummins 2000, Learning to forget, for the
# forget gate and its bias. Jozefowicz, Zaremba and Sutskever 2015, An empirical exploration of recurrent network
# architectures. Karpathy, Johnson and Fei-Fei 2015, Visualizing and understanding recurrent networks, for the saturation
# picture.
