# %% [markdown]
# # 06  The LSTM backward, term by term
#
# **Goal.** You can write the backward pass of an LSTM from its equations, say where each term comes from, and find a missing
# one by what it does to the numbers.
#
# You need: the LSTM forward (05), the recurrent cell and BPTT (03), checking gradients (02).

# %%
# %matplotlib inline
import inspect
from types import ModuleType

import numpy as np

import scratchnet
from scratchnet import plots
from scratchnet.cells import lstm
from scratchnet_course import check
from scratchnet.gradcheck import GradientError, check_cell
from scratchnet.layers import LSTM, Linear, Sequential

rng = np.random.default_rng(0)

# %% [markdown]
# ## The forward pass, line by line
#
# One step, with h' and c' for the state before it:
#
#     i = sigmoid(a_i)    f = sigmoid(a_f)    g = tanh(a_g)    o = sigmoid(a_o)
#     c = f c' + i g
#     h = o tanh(c)
#
# Going backwards we undo these lines from the last to the first. For each line we ask one question: *who else reads what this
# line reads?* Where there are two readers, two gradients meet, and they are added.

# %%
i, f, o = np.array(
    [0.8, 0.9, 0.5]
)  # float64 numbers: a bare 0.8 would follow the library's float32 constants
g, c_prev = np.array([0.6, 1.5])
c = f * c_prev + i * g
h = o * np.tanh(c)
print(f"c = {f} * {c_prev} + {i} * {g} = {c:.3f}      h = {o} * tanh({c:.3f}) = {h:.4f}")

# %% [markdown]
# ## Two sources meet in h
#
# h of this step is read twice: by this step's loss, whose gradient is `dy`, and by step t+1, whose gradient is `dh_next`.
#
#     dh = dy + dh_next
#
# Forgetting the second is the commonest mistake of all. A test with one step cannot see it: there is no step t+1.

# %%
dy, dh_next, dc_next = np.array([0.2, -0.1, 0.3])
dh = dy + dh_next
print(f"dh = {dy} + {dh_next} = {dh:.2f}")

# %% [markdown]
# ## Two sources meet in c
#
# c is read twice as well: by `h = o tanh(c)` of this step, and by `f c'` of the next.
#
#     dc = dh o (1 - tanh(c)^2) + dc_next
#
# The second term has no weight matrix in it and no tanh: it is the road on which a gradient travels far.

# %%
tanh_c = np.tanh(c)
dc = dh * o * (1 - tanh_c**2) + dc_next
print(f"dc = {dh:.2f} * {o} * (1 - {tanh_c:.3f}^2) + {dc_next} = {dc:.4f}")

# %% [markdown]
# ## To the gates, and through them
#
# `c = f c' + i g` has four readers' worth of gradient to hand out, and `h = o tanh(c)` one more:
#
#     di = dc g      df = dc c'      dg = dc i      do = dh tanh(c)      dc_prev = dc f
#
# Each gate then goes through its sigmoid or tanh, in terms of its *output*: s (1 - s), and 1 - g^2.

# %%
da_i, da_f = dc * g * i * (1 - i), dc * c_prev * f * (1 - f)
da_g, da_o = dc * i * (1 - g**2), dh * tanh_c * o * (1 - o)
ours = lstm.gates_backward(dh, dc_next, i, f, g, o, c_prev, c)
np.testing.assert_allclose(ours, (da_i, da_f, da_g, da_o, dc * f), rtol=1e-12)
print("by hand and by the library:", ", ".join(f"{v:.5f}" for v in ours))

# %% [markdown]
# `gates_backward` in `scratchnet/cells/lstm.py` is these lines, and `backward` in the same file is the loop around them. Read
# both now; you will write them below.
#
# ## The weights: a sum over time
#
# W_x met x, W_h met the *previous* hidden state, and both at every step: their gradients are sums over all steps.
#
#     dW_x = sum_t x[t]^T da[t]      dW_h = sum_t h[t-1]^T da[t]      db = sum_t da[t]

# %%
T, N, D, H = 30, 2, 3, 8
model = Sequential(lstm=LSTM(D, H, rng=rng), head=Linear(H, 1, rng=rng))
x, target = rng.standard_normal((T, N, D)), rng.standard_normal((T, N, 1))
run = scratchnet.trace(model, x, target).run
each = [run.weight_gradients(t)["dW_h"] for t in range(T)]
np.testing.assert_allclose(sum(each), run["dW_h"], rtol=1e-10)
first, last = (np.linalg.norm(d) for d in (each[0], each[-1]))
print(f"dW_h is the sum of {T} steps; step 0 alone adds {first:.3f}, step {T - 1} {last:.3f}")
plots.weight_gradients(run)

# %% [markdown]
# ## Which road is how wide
#
# `|dL/dh|` and `|dL/dc|` at each step, on a log axis. A forget gate near 1 keeps dc level; dh must pass through W_h each time.

# %%
plots.gradient_norms({"LSTM": scratchnet.trace(model, x, target)})

# %% [markdown]
# ## Step through it
#
# The stepper shows the same pass with the numbers on the wires. Open the page, press the space bar, and watch the two arrows
# into dh and into dc.

# %%
page = scratchnet.to_html(scratchnet.trace(model, x[:6], target[:6]), "lesson06.html")
print(f"open {page} in a browser")

# %% [markdown]
# ## A missing term, and what it does
#
# Here is the library's own cell with one term left out: the gradient of the cell state that comes from step t+1. Look at the
# report as if you did not know: which gradients are wrong, and from which step on?

# %%
source = inspect.getsource(lstm)
term = "dc = dh * o * d_tanh(tanh_c) + dc_next"
assert source.count(term) == 1
wrong_cell = ModuleType("wrong_cell")
exec(source.replace(term, "dc = dh * o * d_tanh(tanh_c)"), wrong_cell.__dict__)
try:
    check_cell(lstm, backward=wrong_cell.backward)
except GradientError as error:
    print(error)

# %% [markdown]
# ## What goes wrong in practice
#
# - The tests have one step, zero states, and look at weights only: most missing terms are then multiplied by zero.
# - dc_next is overwritten instead of added, or loses its f.
# - c_t and c_{t-1} are confused: the forget gate met the *old* cell state.
# - Gate blocks stand in another order than in the weights: a gradient check cannot see that, a second implementation can.
# - dW_h is made with h_t: the weight met h_{t-1}.

# %% [markdown]
# ## Exercise 06/ex1: One step back
#
# Write the elementwise part of one step: from dh and dc_next to the gradients of the four pre-activations and of c_prev. All
# arguments are arrays of one shape, (N, H).

# %%
# exercise 06/ex1
import numpy as np


def step_backward(dh, dc_next, i, f, g, o, c_prev, c):
    """Return da_i, da_f, da_g, da_o, dc_prev, each of the arguments' shape."""
    # BEGIN SOLUTION
    shown = np.tanh(c)
    into_c = dc_next + o * dh * (1 - shown**2)
    return (
        into_c * g * i * (1 - i),
        into_c * c_prev * f * (1 - f),
        into_c * i * (1 - g**2),
        shown * dh * o * (1 - o),
        into_c * f,
    )
    # END SOLUTION


# %%
print(check("06/ex1", step_backward))

# %% [markdown]
# ## Exercise 06/ex2: All steps back
#
# The whole backward pass. `h` and `c` are (T+1, N, H) with the initial state at index 0, `gates` (T, N, 4H) in the order
# i f g o; `dh_last` and `dc_last` arrive at the final states. Return dx, dh0, dc0, dW_x, dW_h, db, as a tuple or by name.

# %%
# exercise 06/ex2
import numpy as np


def lstm_backward(dy, dh_last, dc_last, x, h, c, gates, W_x, W_h):
    """Return dx (T, N, D), dh0 and dc0 (N, H), dW_x (D, 4H), dW_h (H, 4H), db (4H,)."""
    # BEGIN SOLUTION
    i, f, g, o = np.split(gates, 4, axis=-1)
    da = np.zeros_like(gates)
    from_future, memory = dh_last, dc_last
    for t in range(len(dy) - 1, -1, -1):
        total = dy[t] + from_future
        shown = np.tanh(c[t + 1])
        into_c = memory + total * o[t] * (1 - shown**2)
        parts = (
            into_c * g[t] * i[t] * (1 - i[t]),
            into_c * c[t] * f[t] * (1 - f[t]),
            into_c * i[t] * (1 - g[t] ** 2),
            total * shown * o[t] * (1 - o[t]),
        )
        da[t] = np.concatenate(parts, axis=-1)
        from_future, memory = da[t] @ W_h.T, into_c * f[t]
    dW_x = np.einsum("tnd,tng->dg", x, da)
    dW_h = np.einsum("tnh,tng->hg", h[:-1], da)
    return {
        "dx": da @ W_x.T,
        "dh0": from_future,
        "dc0": memory,
        "dW_x": dW_x,
        "dW_h": dW_h,
        "db": da.sum(axis=(0, 1)),
    }
    # END SOLUTION


# %%
print(check("06/ex2", lstm_backward))

# %% [markdown]
# ## Exercise 06/ex3: How far does the cell state carry?
#
# With all gates constant in time, and nothing coming through h, dc shrinks by f at each step. After how many steps is less
# than a share `left` of the gradient there? Return the smallest whole number of steps, for f between 0 and 1.

# %%
# exercise 06/ex3
import numpy as np


def steps_until(f, left):
    """Return the smallest whole n with f^n < left, for 0 < f < 1 and 0 < left < 1."""
    # BEGIN SOLUTION
    n = int(np.floor(np.log(left) / np.log(f)))
    while f**n >= left:
        n += 1
    return n
    # END SOLUTION


# %%
print(check("06/ex3", steps_until))

# %% [markdown]
# ## Sources
#
# Hochreiter and Schmidhuber 1997, Long short-term memory. Gers, Schmidhuber and Cummins 2000, Learning to forget. Greff et al.
# 2017, LSTM: a search space odyssey, for the backward equations written out.
