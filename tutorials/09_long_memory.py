# %% [markdown]
# # 09  Long memory: adding, copying, counting
#
# **Goal.** You can test what a network remembers, on tasks where you know the error of having learned nothing, and read off
# its gates how it does it.
#
# You need: 04 for vanishing gradients, 05 to 07 for the LSTM and the GRU.

# %%
# %matplotlib inline
from collections import Counter

import numpy as np

import scratchnet
from scratchnet import plots
from scratchnet_course import check
from scratchnet.layers import LSTM, Linear, Recurrent, Sequential
from scratchnet.losses import mse, softmax_cross_entropy
from scratchnet.training import Adam, Batches, Clip, fit, predict
from scratchnet.data.tasks import ADDING_BASELINE_MSE, adding

rng = np.random.default_rng(9)

# %% [markdown]
# ## A line to beat
#
# A loss of 0.16 says nothing by itself. So first: what does an answer cost that needs no memory at all? Such a line can be
# worked out, or counted. A network that sits on it has learned nothing, however nicely its loss fell to it.
#
# ## Adding
#
# T numbers from U(0, 1), two of them marked, one in each half; wanted is their sum. Without a memory the best answer is the
# mean, 1, and its squared error is the variance of the sum of two uniform numbers, 1/12 + 1/12.

# %%
T = 60
x, y = adding(rng, 1000, T)
print(
    "one sequence: numbers",
    x[:5, 0, 0].round(2),
    "...  marks at",
    np.flatnonzero(x[:, 0, 1]),
    " target",
    y[0].round(3),
)
measured = mse(np.ones((100_000, 1)), adding(rng, 100_000, 2)[1])[0]
print(f"answering 1 always: {measured:.4f} measured, {ADDING_BASELINE_MSE:.4f} worked out")
np.testing.assert_allclose(measured, ADDING_BASELINE_MSE, rtol=0.02)

# %% [markdown]
# Three cells of 24 units, 20 epochs, 60 steps. The simple network's gradient has to pass up to 59 products with W_h and as
# many tanh; that of the gated ones has a straight road. (The LSTM's forget bias starts at 3: lesson 10 says why.)

# %%
samples, unseen, answers = x.swapaxes(0, 1).copy(), *adding(rng, 500, T)
unseen = unseen.swapaxes(0, 1).copy()
curves, models, error = {}, {}, {}
for cell in ("rnn", "lstm", "gru"):
    own = np.random.default_rng(1)
    rec = Recurrent(cell, 2, 24, batch_first=True, return_sequences=False, forget_bias=3.0, rng=own)
    models[cell] = Sequential(rec=rec, head=Linear(24, 1, rng=own))
    history = fit(
        models[cell],
        (samples, y),
        Adam(0.01),
        epochs=20,
        rng=own,
        callbacks=[Clip(1.0)],
        progress=False,
    )
    curves[cell.upper()] = history.column("train_loss")
    error[cell] = mse(predict(models[cell], unseen), answers)[0]
    print(
        f"{cell.upper():<4} error on new sequences {error[cell]:.4f}, share of the line {error[cell] / measured:.2f}"
    )
assert error["rnn"] > 0.9 * ADDING_BASELINE_MSE
assert max(error["lstm"], error["gru"]) < 0.2 * ADDING_BASELINE_MSE
plots.learning_curves(
    curves,
    xlabel="epoch",
    ylabel="mean squared error",
    lines={"nothing learned: 1/6": ADDING_BASELINE_MSE},
    title="Adding problem, 60 steps",
)

# %% [markdown]
# The simple network sits on the line. This is one seed; with another, or at 20 steps, it can get away from it. Whoever reports
# such a race reports several seeds.
#
# ## Reading the gates
#
# What did the LSTM do? It must write at the marks and keep in between. Below, one sequence: the marked numbers stand out in
# colour, units are sorted, and each panel has its fixed range.

# %%
trace = scratchnet.trace(models["lstm"], unseen[:1], answers[:1])
marks = np.flatnonzero(unseen[0, :, 1])
i, f = trace.run["i"][:, 0], trace.run["f"][:, 0]
busiest = np.argmax(i[marks].mean(axis=0) - np.delete(i, marks, axis=0).mean(axis=0))
print(
    f"input gate of unit {busiest}: {i[marks, busiest].mean():.2f} at the marks, "
    f"{np.delete(i, marks, axis=0)[:, busiest].mean():.2f} elsewhere"
)
assert i[marks, busiest].mean() > 2 * np.delete(i, marks, axis=0)[:, busiest].mean()
plots.gates(
    trace,
    inputs=unseen[0, :, 0],
    marks=marks.tolist(),
    title="LSTM, adding problem; triangles: the marked steps",
)

# %% [markdown]
# ## Time constants
#
# Of what stands in the cell state at a step, f is left after the next, f f after two. With a constant f that is f^n, or
# exp(-n / tau) with
#
#     tau = -1 / log f
#
# f = 0.5 forgets in 1.4 steps, 0.9 in 9.5, 0.99 in 99.5: it is the last decimals that count. Gates that change in time are
# averaged as logarithms, since what is left is their product.

# %%
for gate in (0.5, 0.9, 0.99):
    print(f"f = {gate}: tau = {-1 / np.log(gate):.1f} steps")
tau = -1 / np.log(f).mean(axis=0)
left = np.exp(np.log(f).sum(axis=0))
np.testing.assert_allclose(left, np.exp(-T / tau), rtol=1e-9)
print(f"the LSTM's 24 units: shortest tau {tau.min():.1f} steps, longest {tau.max():.0f}")
assert tau.max() > T / 2

# %% [markdown]
# ## Copying
#
# L symbols of S kinds, then T - 1 blanks, then a mark, then L steps in which the symbols must be said again; everywhere else
# the answer is "blank". Without a memory one says "blank" for T + L steps, which is right, and then guesses L times among S:
#
#     cross entropy per step = L ln S / (T + 2 L)
#
# With S = 8 and L = 10 that is 10 ln 8 / (T + 20), the line of the papers. Here L = 3 and T = 12, so that it takes seconds.

# %%
BLANK, S, L, T = 0, 8, 3, 12


def copying(rng, n):
    """Whole numbers x, y (T + 2L, n): 0 the blank, 1 to S the symbols, S + 1 the mark."""
    x, y = np.full((2, T + 2 * L, n), BLANK)
    x[:L] = y[-L:] = rng.integers(1, S + 1, (L, n))
    x[T + L - 1] = S + 1
    return x, y


line = L * np.log(S) / (T + 2 * L)
tokens, wanted = copying(rng, 1200)
print("x", *tokens[:, 0], "\ny", *wanted[:, 0])
guess = np.full((*wanted.shape, S + 1), -30.0)
guess[: T + L, :, BLANK] = 0  # sure of the blank
guess[T + L :, :, 1:] = 0  # S symbols alike
measured = softmax_cross_entropy(guess, wanted)[0]
print(f"without a memory: {measured:.4f} measured, {line:.4f} worked out")
np.testing.assert_allclose(measured, line, rtol=1e-6)
onehot, steps_first = np.eye(S + 2)[tokens.T], wanted.T.copy()
curves = {}
for cell in ("rnn", "lstm", "gru"):
    own = np.random.default_rng(2)
    model = Sequential(
        Recurrent(cell, S + 2, 40, batch_first=True, forget_bias=3.0, rng=own),
        Linear(40, S + 1, rng=own),
    )
    history = fit(
        model,
        (onehot, steps_first),
        Adam(0.01),
        epochs=30,
        rng=own,
        loss=softmax_cross_entropy,
        callbacks=[Clip(1.0)],
        progress=False,
    )
    curves[cell.upper()] = history.column("train_loss")
    print(
        f"{cell.upper():<4} {curves[cell.upper()][-1]:.4f}, share of the line {curves[cell.upper()][-1] / line:.2f}"
    )
assert min(curves["LSTM"][-1], curves["GRU"][-1]) < 0.5 * line
lines = {"without a memory": line}
plots.learning_curves(
    curves,
    xlabel="epoch",
    ylabel="cross entropy",
    lines=lines,
    title="Copying 3 symbols over 12 steps",
)

# %% [markdown]
# All three come to the line within a few epochs: saying "blank" is easy. Only what lies below it is memory.
#
# ## Counting
#
# Strings of n letters a, then n letters b, then an end. A network reads them letter by letter and says which comes next. How
# many a will come cannot be known; but from the first b on everything is certain, if the a were counted. Who sees only the
# letter before must guess at each b whether it was the last. Both lines can be counted, on the strings n = 1 to 10:


# %%
def strings(sizes):
    """One-hot x (N, T, 3), next symbols y (N, T) and lengths (N,): 0 is a, 1 is b, 2 stands at both ends."""
    T = 2 * max(sizes) + 1
    x, y = np.zeros((len(sizes), T, 3)), np.zeros((len(sizes), T), int)
    for k, n in enumerate(sizes):
        string = [2] + [0] * n + [1] * n + [2]
        x[k, np.arange(2 * n + 1), string[:-1]] = 1
        y[k, : 2 * n + 1] = string[1:]
    return x, y, np.array([2 * n + 1 for n in sizes])


sizes = range(1, 11)
x, y, lengths = strings(sizes)
pairs = Counter((int(x[k, t].argmax()), int(y[k, t])) for k in range(10) for t in range(lengths[k]))
seen = Counter()
for (before, _), count in pairs.items():
    seen[before] += count
total = sum(pairs.values())
one_letter = (
    -sum(count * np.log(count / seen[before]) for (before, _), count in pairs.items()) / total
)
best = 10 * np.log(10) / total  # n is one of ten, and nothing else is open
print(f"cross entropy of who sees one letter {one_letter:.3f}, of who counts {best:.3f}")
own = np.random.default_rng(0)
model = Sequential(
    rec=LSTM(3, 4, batch_first=True, forget_bias=2.0, rng=own), head=Linear(4, 3, rng=own)
)
history = fit(
    model,
    Batches(x, y, lengths=lengths, batch_size=5),
    Adam(0.02),
    epochs=400,
    rng=own,
    loss=softmax_cross_entropy,
    callbacks=[Clip(1.0)],
    progress=False,
)
reached = history.column("train_loss")[-1]
print(f"an LSTM of 4 units: {reached:.3f}")
assert best < reached < best + 0.1 * (one_letter - best)

# %% [markdown]
# Has it counted, or learned ten strings by heart? Strings that it never saw tell. And the cell state shows how: one number
# that goes up by the same step for each a, and down for each b.

# %%
longest = 60
x_long, y_long, long = strings(range(1, longest + 1))
said = predict(model, x_long, lengths=long).argmax(axis=2)
right = [
    bool((said[n - 1, n + 1 : 2 * n + 1] == y_long[n - 1, n + 1 : 2 * n + 1]).all())
    for n in range(1, longest + 1)
]
until = right.index(False) if False in right else longest
print(
    f"learned from n = 1 to 10; everything behind the first b is right up to n = {until}, of {longest} that were tried"
)
assert until > 12
n = 12
c = model.forward(strings([n])[0])[1].caches[0].cell_caches[0].c[1:, 0]  # (2n + 1, 4)
ax = plots.axes(None, 8, 3.6)
for unit, (style, mark) in enumerate(zip(("-", "--", "-.", ":"), "os^D")):
    ax.plot(c[:, unit], style, marker=mark, ms=4, label=f"unit {unit}")
ax.set_xticks(range(2 * n + 1), ["start"] + ["a"] * n + ["b"] * n)
ax.set(
    ylabel="cell state c",
    title=f"Counting: {n} letters a, {n} letters b, longer than any it learned from",
)
ax.axvline(n + 0.5, color="#777777", lw=0.9)
ax.legend(frameon=False)
steps = np.diff(c, axis=0)
counter = np.argmin(steps[2:n].std(axis=0) / np.abs(steps[2:n].mean(axis=0)))
up, down = steps[2:n, counter].mean(), steps[n + 2 :, counter].mean()
print(
    f"unit {counter} goes {up:+.2f} with each a, give or take {steps[2:n, counter].std():.2f}, and {down:+.2f} with each b"
)
assert up * down < 0
ax.figure

# %% [markdown]
# Sooner or later it loses count: the forget gate is nearly one, never one, so the counter drifts. How far it gets is another
# number with every seed.
#
# ## What goes wrong in practice
#
# - The loss is reported without the line of having learned nothing.
# - The share of right answers hides it: in copying, who always says "blank" is right in (T + L) / (T + 2 L) of the steps.
# - One seed, and a race of cells is decided.
# - The training stops on the plateau: all the curves above have one.
# - The forget bias starts at 0 and the task is longer than a few steps.
# - A table of results for T = 10, and a conclusion for T = 1000.

# %% [markdown]
# ## Exercise 09/ex1: The adding problem's target
#
# x (T, N, 2) holds numbers, and marks of 0 or 1 beside them. Return the sum of the marked numbers of each sequence.

# %%
# exercise 09/ex1
import numpy as np


def target(x):
    """x (T, N, 2) to y (N, 1)."""
    # BEGIN SOLUTION
    sums = [sum(number for number, mark in column if mark == 1) for column in np.moveaxis(x, 1, 0)]
    return np.array(sums)[:, None]
    # END SOLUTION


# %%
print(check("09/ex1", target))

# %% [markdown]
# ## Exercise 09/ex2: The lines of having learned nothing
#
# Return two numbers: the mean squared error of the best constant answer to the adding problem, where the numbers come from
# U(low, high); and the cross entropy per step of copying S kinds of symbols, L of them, over T, without a memory.

# %%
# exercise 09/ex2
import numpy as np


def lines(low, high, S, L, T):
    """Numbers low < high, whole S, L, T to two numbers."""
    # BEGIN SOLUTION
    one_number = (high**3 - low**3) / (3 * (high - low)) - ((low + high) / 2) ** 2
    guessed, steps = L, T + L + L
    return one_number + one_number, guessed / steps * np.log(S)
    # END SOLUTION


# %%
print(check("09/ex2", lines))

# %% [markdown]
# ## Exercise 09/ex3: What is left, and for how long
#
# f (T, N, H) are the forget gates of a run. Return what share of a cell state written at step s (at its end) is left after the
# last step, for every s; and each unit's time constant, -1 over the mean of log f over steps and sequences.

# %%
# exercise 09/ex3
import numpy as np


def memory(f):
    """f (T, N, H) to left (T, N, H), which is 1 at the last step, and tau (H,)."""
    # BEGIN SOLUTION
    left = np.ones_like(f)
    for s in range(len(f) - 2, -1, -1):
        left[s] = left[s + 1] * f[s + 1]
    steps = f.shape[0] * f.shape[1]
    return left, steps / -np.einsum("tnh->h", np.log(f))
    # END SOLUTION


# %%
print(check("09/ex3", memory))

# %% [markdown]
# ## Exercise 09/ex4: Who sees one symbol
#
# x and y (M,) are whole numbers 0 to K - 1: a symbol, and the one that followed. Return the mean cross entropy, in nats, of
# predicting y from x alone with the probabilities counted in these very pairs.

# %%
# exercise 09/ex4
import numpy as np


def one_symbol(x, y, K):
    """x, y (M,) whole numbers below K, to one number."""
    # BEGIN SOLUTION
    table = np.zeros((K, K))
    np.add.at(table, (x, y), 1)
    p = table / np.maximum(table.sum(axis=1), 1)[:, None]
    return float(np.mean(-np.log(p[x, y])))
    # END SOLUTION


# %%
print(check("09/ex4", one_symbol))

# %% [markdown]
# ## Sources
#
# Hochreiter and Schmidhuber 1997 for adding; Arjovsky, Shah and Bengio 2016 for the form of adding and copying used here, and
# the lines; Gers and Schmidhuber 2001 for counting with LSTM; Jozefowicz, Zaremba and Sutskever 2015 on the forget bias.
