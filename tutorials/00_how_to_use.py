# %% [markdown]
# # 00  How to use this course
#
# **Goal.** You have everything installed, you know what a lesson is, how an exercise is checked, and what to do when the
# checker says that something is wrong.
#
# You need: Python 3.11 or newer, and in the project's folder `pip install . ./course/students`. No GPU, no account, no network.
# `scratchnet doctor` says what is installed, what works on your machine, and what to install for the rest.

# %%
# %matplotlib inline
import numpy as np

import scratchnet
from scratchnet import plots
from scratchnet_course import check
from scratchnet.layers import LSTM, Linear, Sequential
from scratchnet.losses import mse
from scratchnet.training import Adam, fit

print(f"scratchnet {scratchnet.__version__}, NumPy {np.__version__}")

# %% [markdown]
# ## What a lesson is
#
# A lesson is a script and a notebook with the same cells. Open it in an editor that knows `# %%` cells (VS Code, PyCharm,
# Spyder), or the notebook in Jupyter. Every lesson has the same parts: an equation, the lines of code that are the equation,
# a check that the two agree, a picture, what goes wrong in practice, and exercises from easy to hard.
#
#     scratchnet course                    what you have done, and what comes next
#     scratchnet course list               the lessons and their exercises
#     scratchnet course start 06           copies lesson 06 and its exercises into this folder
#     scratchnet course check 06/ex2.py    checks what you wrote
#     scratchnet course watch 06/ex2.py    checks it each time you save
#     scratchnet course hint 06/ex2        a hint, each time a little more
#
# ## Shapes, letters and signs
#
# Time comes first: a batch of sequences is `(T, N, D)`, T steps, N sequences, D features. Weights are written so that code
# reads `x @ W_x`. The gradient of `q` is called `dq`, and it has q's shape. h' is the state of the step before.

# %%
T, N, D, H = 20, 4, 1, 8
rng = np.random.default_rng(0)
x = np.sin(0.3 * np.arange(T + 1)[:, None, None] + rng.uniform(0, 6, (1, N, D)))
model = Sequential(lstm=LSTM(D, H, rng=rng), head=Linear(H, D, rng=rng))
y, cache = model.forward(x[:-1])
loss, dy = mse(y, x[1:])
dx = model.backward(dy, cache)
assert y.shape == dy.shape == (T, N, D)
assert dx.shape == x[:-1].shape
for name, grad in model.grads.items():
    assert grad.shape == model.params[name].shape
    print(f"d{name:<12} {grad.shape}")

# %% [markdown]
# ## The four lines of learning
#
# Forward, loss, backward, step: everything in this course happens between these four lines.

# %%
model = Sequential(lstm=LSTM(D, H, batch_first=True, rng=rng), head=Linear(H, D, rng=rng))
batch = x.swapaxes(0, 1)  # fit takes samples first, (N, T, D)
history = fit(model, (batch[:, :-1], batch[:, 1:]), Adam(0.02), epochs=60, rng=rng, progress=False)
losses = history.column("train_loss")
assert losses[-1] < 0.1 * losses[0]
print(f"loss {losses[0]:.3f} before, {losses[-1]:.4f} after {len(losses)} epochs")
plots.training_curves(history, title="A wave, one step ahead")

# %% [markdown]
# ## How an exercise is checked
#
# Your function is run in a separate process, on several cases from simple to general, with a time limit. The checker compares
# what you return with the right numbers, and every value that your function computes on its way, whatever your variables are
# called. Try it on the three exercises below; they are only there to get used to it.
#
# When the checker says NOT YET:
#
# 1. Read the first lines. If they name the mistake, go to the lesson's paragraph that they point to. If they name a place in your
#    program, `line 9, "dh_next": ...`, then one change there makes every number right: find out which, and why.
# 2. Read "first seen in line ...": the value of that line is wrong, and the mistake is there or in a line before it.
#    "First unlike the model answer in line ..." is where your program begins to compute something else: that is the mistake, or
#    another right way.
# 3. Look at the simplest case that is wrong, and compute it by hand. `scratchnet course show 06/ex2 --case 1` prints its
#    arguments.
# 4. Ask for a hint. The solution is with your instructor.

# %% [markdown]
# ## What goes wrong in practice
#
# - The file is saved in another folder than the one that is checked. The answer names the file that was read.
# - A function changes its argument: `x -= x.mean()` writes into the caller's array. Work on a copy.
# - A function prints its answer and returns nothing.
# - Broadcasting: `(N,)` and `(N, 1)` subtract to `(N, N)` without a word. Compare shapes first.

# %% [markdown]
# ## Exercise 00/ex1: Centre each feature
#
# Return x with the mean of each feature over all rows taken off. x is (N, D).

# %%
# exercise 00/ex1
import numpy as np


def centred(x):
    """x (N, D) to (N, D), every column with mean 0; x itself stays as it is."""
    # BEGIN SOLUTION
    ones = np.full(len(x), 1 / len(x))
    return x - ones @ x
    # END SOLUTION


# %%
print(check("00/ex1", centred))

# %% [markdown]
# ## Exercise 00/ex2: Every step of every sequence
#
# A weight W (D, K) is applied at every step of every sequence: y[t, n] = x[t, n] W. Return y.

# %%
# exercise 00/ex2
import numpy as np


def each_step(x, W):
    """x (T, N, D) and W (D, K) to y (T, N, K)."""
    # BEGIN SOLUTION
    return np.einsum("tnd,dk->tnk", x, W)
    # END SOLUTION


# %%
print(check("00/ex2", each_step))

# %% [markdown]
# ## Exercise 00/ex3: The state before
#
# h (T+1, N, H) holds the states of a pass, with the initial one at index 0. Return two arrays (T, N, H): at each step the
# state before it, and the state after it.

# %%
# exercise 00/ex3
import numpy as np


def before_and_after(h):
    """h (T+1, N, H) to the states before and after each step, (T, N, H) each."""
    # BEGIN SOLUTION
    T = h.shape[0] - 1
    return np.stack([h[t] for t in range(T)]), np.stack([h[t + 1] for t in range(T)])
    # END SOLUTION


# %%
print(check("00/ex3", before_and_after))

# %% [markdown]
# ## Sources
#
# The order of the lessons is that of the derivations: Rumelhart, Hinton and Williams 1986 (backpropagation), Werbos 1990
# (through time), Hochreiter and Schmidhuber 1997 (the LSTM), Cho et al. 2014 (the GRU).
