# %% [markdown]
# # 04  Why gradients vanish and explode
#
# **Goal.** You can compute how one step of a recurrent network stretches a gradient, say from the product of the steps
# whether it will vanish or explode, and clip a gradient without turning it.
#
# You need: the recurrent cell and BPTT (03), eigenvalues and singular values.

# %%
# %matplotlib inline
import numpy as np

import scratchnet
from scratchnet.tracing import jacobians
from scratchnet import plots
from scratchnet.training.clip import CLIPS, global_norm
from scratchnet_course import check
from scratchnet.layers import RNN, Linear, Sequential
from scratchnet.plots.cliff import descend

rng = np.random.default_rng(4)

# %% [markdown]
# ## One factor for each step
#
# With one unit, the gradient at a step is the gradient at the next one times u (1 - h^2). Leave the tanh out for a moment:
# then it is the same factor g at each step, and after n steps g^n is left. A factor a little under 1 kills the gradient, one a
# little above lets it grow, and only g = 1 does neither.

# %%
for g in (0.5, 0.9, 1.0, 1.1, 1.5):
    print(
        f"g = {g}   after 10 steps {g**10:9.2g}   after 50 {g**50:9.2g}   after 100 {g**100:9.2g}"
    )
for g in (0.9, 1.1):
    n = int(np.ceil(np.log(1000) / abs(np.log(g))))
    away = abs(np.log(g ** np.array([n - 1, n])))
    assert away[0] < np.log(1000) <= away[1]
    print(f"g = {g} has changed a gradient by a factor of 1000 after {n} steps")

# %% [markdown]
# ## The Jacobian of a step
#
# With H units the factor becomes a matrix: how unit j of the new state moves with unit k of the old one. From h = tanh(a) and
# a = ... + h' W_h,
#
#     J_t = dh_t / dh_{t-1} = diag(1 - h_t^2) W_h^T
#
# A gradient on its way back is multiplied by J_t from the right: dh_{t-1} = dh_t J_t. That is the line `da @ W_h.T`.

# %%
T, H = 8, 5
layer = RNN(2, H, rng=rng)
W_h = layer.params["W_h_l0"]
W_h[...] = rng.standard_normal((H, H)) / np.sqrt(H)
x, last = rng.standard_normal((T, 1, 2)), np.zeros((T, 1, H))
last[-1] = rng.standard_normal((1, H))
run = scratchnet.trace(layer, x, dy=last).run
h = run["h"][:, 0]  # (T + 1, H), the initial state first
J = [np.diag(1 - h[t + 1] ** 2) @ W_h.T for t in range(T)]
np.testing.assert_allclose(J, jacobians(run), rtol=1e-10, atol=1e-14)
print("the Jacobians of all", T, "steps are the library's")

# %% [markdown]
# ## Many steps: the product
#
# From the last state back to the initial one there are T factors, the last step's on the left:
#
#     dh_last / dh_0 = J_{T-1} ... J_1 J_0
#
# That is what a gradient has to pass, and it is all that it has to pass.

# %%
product = np.eye(H)
for Jt in J:
    product = Jt @ product
np.testing.assert_allclose(last[-1] @ product, run["dh0"], rtol=1e-9)
print(
    "largest singular value of each step:   ", " ".join(f"{np.linalg.norm(Jt, 2):.2f}" for Jt in J)
)
bound = np.prod([np.linalg.norm(Jt, 2) for Jt in J])
assert np.linalg.norm(product, 2) <= bound
print(f"of the product {np.linalg.norm(product, 2):.2e}; all of the above multiplied {bound:.2e}")

# %% [markdown]
# The norm of a product is at most the product of the norms. So one direction is certain: where the largest singular value of
# W_h is under 1, the gradient vanishes, since 1 - h^2 is never above 1. The other direction is not: a largest singular value
# above 1 is needed for an explosion, and it does not make one.
#
# ## The spectral radius
#
# What decides over many steps, as long as all factors are the same, is the largest absolute value of an eigenvalue, the
# spectral radius: |W^n| grows like radius^n in the end. In the beginning it may do something else. Below, three multiples of
# one random matrix. The one with radius 0.95 has a largest singular value well above 1, and its powers shrink.

# %%
H = 64
base = rng.standard_normal((H, H))
base /= np.abs(np.linalg.eigvals(base)).max()
n = np.arange(1, 101)
ax = plots.axes(None, 7.5, 3.8)
for radius, style, name in ((1.05, "-", "f"), (1.0, "-.", "h"), (0.95, "--", "i")):
    W = radius * base
    sizes = np.array([np.linalg.norm(np.linalg.matrix_power(W, k), 2) for k in n])
    rate = sizes[-1] ** (1 / n[-1])
    assert abs(rate - radius) < 0.03
    print(
        f"radius {radius:.2f}: largest singular value {sizes[0]:.2f}; over 100 steps a factor of {rate:.3f} a step"
    )
    ax.semilogy(n, sizes, style, color=plots.colour(name), label=f"radius {radius}")
assert sizes[0] > 1.5
assert sizes[-1] < 0.05
ax.set(xlabel="n", ylabel="largest singular value of W^n")
ax.legend(frameon=False)
ax.figure

# %% [markdown]
# ## With the tanh
#
# The slope 1 - h^2 is at most 1, and small where a unit is saturated. So it takes a radius above 1 to keep a gradient, and how
# far above depends on what the units do. Here W_h has radius 0.5, 1 and 2, with small inputs; the
# loss looks at the last of 60 steps. A fourth network has radius 1 and inputs forty times as large: they drive its units
# into saturation, and its gradient vanishes.

# %%
T = 60
x, last = rng.standard_normal((T, 1, 1)), np.zeros((T, 1, H))
last[-1] = rng.standard_normal((1, H)) / np.sqrt(H)
into = rng.standard_normal((1, H))


def traced(radius, size):
    """A trace of a tanh network with this spectral radius, and inputs of this size."""
    layer = RNN(1, H, rng=rng)
    layer.params["W_h_l0"][...] = radius * base
    layer.params["W_x_l0"][...] = size * into
    return scratchnet.trace(layer, x, dy=last)


traces = {f"radius {radius}": traced(radius, 0.05) for radius in (0.5, 1, 2)}
traces["radius 1, large inputs"] = traced(1, 2)
arrived = {}
for label, made in traces.items():
    arrived[label] = np.linalg.norm(made.run["dh"][0]) / np.linalg.norm(last)
    slope = np.mean(1 - made.run["h"][1:] ** 2)
    print(
        f"{label:<24} mean slope {slope:.2f}    left of the gradient at step 0: {arrived[label]:.1e}"
    )
assert arrived["radius 0.5"] < 1e-12
assert 1e-3 < arrived["radius 1"] < 100
assert arrived["radius 2"] > 100
assert arrived["radius 1, large inputs"] < 1e-6
plots.gradient_norms(traces)

# %% [markdown]
# ## Directions
#
# A product does not shrink all directions alike. Above, the singular values of each step of the network with radius 1; below,
# of the product of all steps from t to the last. After some ten steps the values are far apart: what arrives from a distant
# loss arrives along very few directions, whatever the loss wanted to say.

# %%
product = np.eye(H)
for Jt in jacobians(traces["radius 1"].run)[-20:]:
    product = Jt @ product
values = np.linalg.svd(product, compute_uv=False)
assert values[0] > 10 * values[H // 2]
print(f"over the last 20 steps: largest {values[0]:.2f}, median {values[H // 2]:.1e}")
plots.jacobians(traces["radius 1"], title="radius 1, small inputs")

# %% [markdown]
# ## The cliff
#
# A gradient may explode once in thousands of steps, and once is enough. The smallest network, one unit run for 50 steps, has
# a loss over its weight w and bias b that is flat on both sides of a wall. Gradient descent walks along the flat, meets the
# wall at a bad place, and is thrown out of the picture; with its norm clipped it takes an ordinary step and goes on.

# %%
plain, clipped = descend((5.5, -2.6), 0.5, 40), descend((5.5, -2.6), 0.5, 40, limit=0.1)
worst = plain.norms.argmax()
assert plain.norms[worst] > 1000 * np.median(plain.norms[:worst])
assert np.abs(plain.points[-1]).max() > 100
assert np.abs(clipped.points[-1]).max() < 6
print(
    f"gradient norms before the wall: about {np.median(plain.norms[:worst]):.2f}; at the wall {plain.norms[worst]:,.0f}"
)
(w, b), (w_clipped, b_clipped) = plain.points[-1], clipped.points[-1]
print(
    f"plain ends at w = {w:,.0f}, b = {b:,.0f}; clipped at w = {w_clipped:.2f}, b = {b_clipped:.2f}"
)
plots.loss_cliff()

# %% [markdown]
# ## Clipping: which keeps the direction
#
# Three ways are in use, and only one keeps the direction of the step:
#
#     global norm    every tensor times  min(1, limit / norm of all tensors together)
#     each norm      every tensor times  min(1, limit / its own norm)
#     value          every element cut off at -limit and limit
#
# The norm of all together is the root of the sum of all squares. Below, a gradient in which dW_h is large, as it is near a
# wall, and the cosine between it and what each way makes of it.

# %%
model = Sequential(rnn=RNN(2, 8, rng=rng), head=Linear(8, 1, rng=rng))
grads = {name: rng.standard_normal(p.shape) for name, p in model.params.items()}
grads["rnn.W_h_l0"] *= 30
whole = np.concatenate([g.ravel() for g in grads.values()])
for way, clip in CLIPS.items():
    after = {name: g.copy() for name, g in grads.items()}
    clip(after, 1.0)
    flat = np.concatenate([g.ravel() for g in after.values()])
    cosine = flat @ whole / np.linalg.norm(flat) / np.linalg.norm(whole)
    assert (cosine > 1 - 1e-12) == (way == "global")
    print(
        f"{way:<7} norm {global_norm(grads):.1f} -> {np.linalg.norm(flat):.2f}    cosine {cosine:.3f}"
    )

# %% [markdown]
# Clipping is for explosions. Nothing that multiplies a gradient afterwards brings back one that has vanished: the distant
# losses are only a small part of a sum, and the near ones drown them. For those the road itself has to be another, and that is
# the cell state of the LSTM (05, 06).
#
# ## What goes wrong in practice
#
# - The norm is taken of each tensor, and the step turns a little at every update.
# - Clipping scales *up*: the factor is limit / norm without the 1, and every gradient gets the same length.
# - The gradient is clipped before all of it is there: after each window, or before the gradients of a second loss were added.
# - A NaN is clipped. NaN times a factor is NaN; look for it, and do not train on.
# - The limit is guessed. Plot the norms first (`plots.clip_factor`): a limit under all of them is a learning rate in disguise.
# - The inputs are not scaled: large ones saturate the units, and their slopes take the gradient away.

# %% [markdown]
# ## Exercise 04/ex1: How many steps until a factor?
#
# Each step multiplies a gradient by g, which is positive and not 1. After how many steps has it grown or shrunk by a factor
# of at least `factor`? Return the smallest whole number of steps; factor is above 1.

# %%
# exercise 04/ex1
import numpy as np


def steps_to_factor(g, factor):
    """Return the smallest whole n with g^n >= factor or g^n <= 1 / factor."""
    # BEGIN SOLUTION
    n, left = 0, 1.0
    while 1 / factor < left < factor:
        n, left = n + 1, left * g
    return n
    # END SOLUTION


# %%
print(check("04/ex1", steps_to_factor))

# %% [markdown]
# ## Exercise 04/ex2: Set the spectral radius
#
# Return a multiple of W whose spectral radius is `radius`. Eigenvalues may be complex or negative.

# %%
# exercise 04/ex2
import numpy as np


def with_radius(W, radius):
    """W (H, H) to W times a positive number, (H, H), whose largest absolute eigenvalue is ``radius``."""
    # BEGIN SOLUTION
    modulus = max(abs(value) for value in np.linalg.eig(W)[0])
    return np.multiply(W, radius / modulus)
    # END SOLUTION


# %%
print(check("04/ex2", with_radius))

# %% [markdown]
# ## Exercise 04/ex3: From the last state to the initial one
#
# The product of the Jacobians of all steps of a tanh network. h (T, H) are the states after each step. Entry [j, k] says
# how unit j of the last state moves with unit k of the initial one.

# %%
# exercise 04/ex3
import numpy as np


def whole_way(h, W_h):
    """h (T, H), W_h (H, H) with a = ... + h' W_h, to dh_last / dh_0, (H, H)."""
    # BEGIN SOLUTION
    arriving = np.identity(h.shape[1])
    for state in h[::-1]:
        arriving = np.einsum("ij,kj->ik", arriving * (1 - state * state), W_h)
    return arriving
    # END SOLUTION


# %%
print(check("04/ex3", whole_way))

# %% [markdown]
# ## Exercise 04/ex4: Clip by the global norm
#
# Return the three gradients, clipped together so that their common norm is at most `most`, and the norm as it was before.

# %%
# exercise 04/ex4
import numpy as np


def clip_together(dW_x, dW_h, db, most):
    """dW_x (D, H), dW_h (H, H), db (H,) and a number to the three, clipped, and the norm before, a number."""
    # BEGIN SOLUTION
    everything = np.hstack([part.ravel() for part in (dW_x, dW_h, db)])
    length = np.sqrt(everything @ everything)
    shorter = most / max(length, most)
    return shorter * dW_x, shorter * dW_h, shorter * db, length
    # END SOLUTION


# %%
print(check("04/ex4", clip_together))

# %% [markdown]
# ## Sources
#
# Hochreiter 1991 and Bengio, Simard and Frasconi 1994, for the discovery. Pascanu, Mikolov and Bengio 2013, On the difficulty
# of training recurrent neural networks, for the product, the cliff and the clipping by norm. Mikolov 2012, for clipping by
# value.
