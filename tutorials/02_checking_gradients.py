# %% [markdown]
# # 02  Checking gradients
#
# **Goal.** You can check any backward pass against finite differences, you know how large the step must be and why float32
# cannot do it, and you know which check catches which bug.
#
# You need: 01.

# %%
# %matplotlib inline
import numpy as np

from scratchnet import plots
from scratchnet.cells import lstm
from scratchnet_course import check
from scratchnet_course.hunt import planted
from scratchnet.gradcheck import GradientError, check_cell, check_directional

rng = np.random.default_rng(2)

# %% [markdown]
# ## Two differences
#
# The slope of L at w, measured from one side or from both:
#
#     one-sided   (L(w + e) - L(w)) / e             error about  e L'' / 2
#     central     (L(w + e) - L(w - e)) / (2 e)     error about  e^2 L''' / 6
#
# Halving e halves the first error and quarters the second. The central one costs as much and is worth far more.

# %%
w, true = 0.8, 1 - np.tanh(0.8) ** 2  # L = tanh(w)
for e in (1e-1, 1e-2, 1e-3):
    one = (np.tanh(w + e) - np.tanh(w)) / e
    central = (np.tanh(w + e) - np.tanh(w - e)) / (2 * e)
    print(
        f"e = {e:.0e}   one-sided off by {abs(one - true):.1e}   central off by {abs(central - true):.1e}"
    )
assert abs(central - true) < 1e-6 < abs(one - true)

# %% [markdown]
# ## How large is the step
#
# A small e makes the formula exact and the subtraction inexact: L(w + e) and L(w - e) agree in nearly all their digits, and
# what is left of the difference is rounding. float64 has 16 digits, float32 has 7. The curve has a best place in between.

# %%
steps = 10.0 ** -np.arange(1, 13)


def errors(dtype):
    at = dtype(w)
    found = []
    for e in steps:
        e = dtype(e)
        slope = (np.tanh(at + e) - np.tanh(at - e)) / (2 * e)
        found.append(max(abs(float(slope) - true) / true, 1e-17))
    return np.array(found)


wide, thin = errors(np.float64), errors(np.float32)
best = steps[wide.argmin()]
assert 1e-7 < best < 1e-4
assert wide.min() < 1e-9
assert thin.min() > 1e-6  # the best that float32 can do
assert thin[steps < 1e-7].min() > 0.5  # and soon nothing is left
print(
    f"float64: best step {best:.0e}, error {wide.min():.0e}.  float32: never better than {thin.min():.0e}"
)
ax = plots.axes(None, 7, 3.6)
ax.loglog(steps, wide, "-o", color=plots.colour("h"), label="float64")
ax.loglog(steps, thin, "--s", color=plots.colour("f"), label="float32")
ax.set(xlabel="step e", ylabel="relative error of the slope")
ax.legend(frameon=False)
ax.figure

# %% [markdown]
# `gradcheck` takes e = 1e-5 in float64, and refuses float32 with a sentence instead of an alarm.
#
# ## The relative error
#
# Two gradients of 1e-8 may differ by 1e-9 and be wrong; two of 1e8 may differ by 1 and be right. So the difference is divided
# by the larger of the two. Where both are nearly zero the quotient means nothing: there a floor takes their place.
#
#     error = |ours - numeric| / max(|ours|, |numeric|, floor)

# %%
print(check_cell(lstm))

# %% [markdown]
# ## Which check catches which bug
#
# Here are the LSTM's catalogued mistakes against five designs of a test, counted now. The weakest design is the one that most
# people write: one step, zero states, the weights' gradients only.

# %%
wrong_cells = planted("lstm")


def caught(wrong_cell, T, states, inputs, every_step):
    """Whether a check of this design sees that the planted backward is wrong."""
    N, D, H = 3, 2, 4
    own = np.random.default_rng(0)
    x, h0, c0 = (
        own.standard_normal((T, N, D)),
        *(states * own.standard_normal((N, H)) for _ in range(2)),
    )
    params = [own.standard_normal(s) / 2 for s in lstm.param_shapes(D, H).values()]
    w = own.standard_normal((T, N, H))
    w[: T - 1] *= every_step
    last = [inputs * own.standard_normal((N, H)) for _ in range(2)]
    _, cache = lstm.forward(x, h0, c0, *params)
    right, wrong = lstm.backward(w, cache, *last), wrong_cell.backward(w, cache, *last)
    names = ["dW_x", "dW_h", "db", *(["dx", "dh0", "dc0"] if inputs else [])]
    return any(
        np.abs(getattr(right, n) - getattr(wrong, n)).max() > 1e-6 * np.abs(getattr(right, n)).max()
        for n in names
    )


designs = {
    "T=1, zero states, weights only": (1, 0, 0, 0),
    "T=1, random states, weights only": (1, 1, 0, 0),
    "T=1, random states, inputs and final states too": (1, 1, 1, 0),
    "T=4, the same, loss on the last step only": (4, 1, 1, 0),
    "T=4, the same, loss on every step": (4, 1, 1, 1),
}
counts = {
    name: sum(caught(one, *design) for one in wrong_cells) for name, design in designs.items()
}
for name, count in counts.items():
    print(f"{name:<50} {count:>3} of {len(wrong_cells)}")
assert list(counts.values()) == sorted(counts.values())
assert min(counts.values()) < 0.7 * len(wrong_cells)
assert max(counts.values()) == len(wrong_cells)

# %% [markdown]
# What a gradient check can never see: a forward pass that is wrong in the same way. Gate blocks in another order, a reset gate
# before or behind the product: forward and backward agree with each other. Only a second implementation shows it.
#
# ## Large tensors: along a direction
#
# Going through a million weights one by one takes two million forward passes. Along one random direction v it takes two:
# the slope must be the product of the gradient and v. A wrong element shows in every direction; which one it is, is not said.

# %%
W, x = rng.standard_normal((40, 30)), rng.standard_normal((5, 40))
y = np.tanh(x @ W)
dW = x.T @ (1 - y**2)
report = check_directional(lambda: float(np.tanh(x @ W).sum()), {"W": W}, {"W": dW}, rng=rng)
dW[7, 3] *= 1.01
try:
    check_directional(lambda: float(np.tanh(x @ W).sum()), {"W": W}, {"W": dW}, rng=rng)
except GradientError as error:
    print(
        f"right: {report.error:.0e};  one element of {W.size} off by a hundredth: {error.report.error:.0e}"
    )

# %% [markdown]
# ## What goes wrong in practice
#
# - The check runs in float32, fails, and the tolerance is widened until it passes everything.
# - The loss is a sum of the outputs: all weights of one are the same, and whole classes of bugs cancel. Use random weights.
# - Dropout draws another mask at each call. Seed it again before each.
# - A relu at exactly zero: the difference straddles the kink.
# - The check is never itself checked. Plant a bug and see that it is found.

# %% [markdown]
# ## Exercise 02/ex1: Central differences
#
# f takes an array (n,) and the checker's f is f(w) = sum of coefficients[k] * tanh(w[k]). Return its numeric gradient at w by
# central differences with step e.

# %%
# exercise 02/ex1
import numpy as np


def numeric(w, coefficients, e):
    """The numeric gradient (n,) of sum_k coefficients[k] tanh(w[k]) at w (n,), with step e to both sides."""

    # BEGIN SOLUTION
    def f(v):
        return float(coefficients @ np.tanh(v))

    slopes = []
    for unit in np.eye(len(w)):
        slopes.append((f(w + e * unit) - f(w - e * unit)) / (e + e))
    return np.array(slopes)
    # END SOLUTION


# %%
print(check("02/ex1", numeric))

# %% [markdown]
# ## Exercise 02/ex2: The relative error
#
# Return |ours - numeric| / max(|ours|, |numeric|, floor), element by element.

# %%
# exercise 02/ex2
import numpy as np


def relative_error(ours, numeric, floor):
    """ours and numeric of one shape, floor a positive number, to the relative error of each element."""
    # BEGIN SOLUTION
    sizes = np.stack([np.abs(ours), np.abs(numeric), np.full(ours.shape, floor)])
    return np.abs(numeric - ours) / sizes.max(0)
    # END SOLUTION


# %%
print(check("02/ex2", relative_error))

# %% [markdown]
# ## Exercise 02/ex3: Along a direction
#
# L(W) = sum of tanh(x W). Return the slope of L at W along the direction V, by central differences with step e, and the same
# from the gradient you work out by hand.

# %%
# exercise 02/ex3
import numpy as np


def along(x, W, V, e):
    """x (N, D), W and V (D, K): the slope along V by central differences, and by the gradient: two numbers."""
    # BEGIN SOLUTION
    up, down = (np.tanh(x @ (W + s * V)).sum() for s in (e, -e))
    slope_of_tanh = 1 - np.tanh(x @ W) ** 2
    return (up - down) / (2 * e), float((slope_of_tanh * (x @ V)).sum())
    # END SOLUTION


# %%
print(check("02/ex3", along))

# %% [markdown]
# To go on: write a whole gradient test, a function `gradient_test(forward, backward)`, and let
# `scratchnet course test FILE.py` count how many planted bugs it catches.
#
# ## Sources
#
# Press et al., Numerical Recipes, on differences. CS231n's notes on gradient checks. The chainer project, for the check along
# a random direction.
