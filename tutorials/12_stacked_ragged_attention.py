# %% [markdown]
# # 12  Stacked, both ways, ragged; and attention
#
# **Goal.** You can put sequences of different length into one batch without the padding changing a single number, run them
# through several layers in both directions, and let a network choose the steps that it looks at.
#
# You need: 03 for the cell, 05 or 07 for its gates.

# %%
# %matplotlib inline
import numpy as np

from scratchnet import plots
from scratchnet.cells.sequences import reverse
from scratchnet_course import check
from scratchnet.gradcheck import check_layer
from scratchnet.layers import GRU, LSTM, AttentionPooling, Linear, SelfAttention, Sequential
from scratchnet.layers.attend import attend, softmax
from scratchnet.losses import mse
from scratchnet.training import Adam, Clip, fit, predict
from scratchnet.plots.style import heatmap, new_figure

rng = np.random.default_rng(12)

# %% [markdown]
# ## Lengths
#
# Three sequences of 8, 5 and 3 steps make one array (8, 3, 2): the shorter ones are padded. Past its length a sequence is
# *held*: its state keeps its last value, and the output is zero.
#
#     h[t] = step(x[t], h[t-1])   where t < length,   else   h[t-1]
#
# Two things must then hold. Each sequence gives the numbers it would give alone. And whatever stands in the padding, no
# output and no gradient changes: here we put NaN into it, which would spread to all that touches it.

# %%
T, N, D, H = 8, 3, 2, 4
lengths = np.array([8, 5, 3])
inside = np.arange(T)[:, None] < lengths  # (T, N), True where a step is real
x = np.where(inside[:, :, None], rng.standard_normal((T, N, D)), 0)
layer = LSTM(D, H, rng=rng)
y, cache = layer.forward(x, lengths=lengths)
for n, length in enumerate(lengths):
    alone, own = layer.forward(x[:length, n : n + 1])
    np.testing.assert_allclose(y[:length, n], alone[:, 0], rtol=1e-12)
    np.testing.assert_allclose(cache.state_last[0][0, n], own.state_last[0][0, 0], rtol=1e-12)

dy = rng.standard_normal(y.shape)
dx = layer.backward(dy, cache)
before = {name: grad.copy() for name, grad in layer.grads.items()}
spoiled, spoiled_dy = x.copy(), dy.copy()
spoiled[~inside] = spoiled_dy[~inside] = np.nan
layer.zero_grad()
y2, cache2 = layer.forward(spoiled, lengths=lengths)
dx2 = layer.backward(spoiled_dy, cache2)
np.testing.assert_array_equal(y2, y)
np.testing.assert_array_equal(dx2, dx)
assert (y[~inside] == 0).all()
assert (dx[~inside] == 0).all()
for name, grad in layer.grads.items():
    np.testing.assert_array_equal(grad, before[name])
print(
    f"{int((~inside).sum())} of {inside.size} steps are padding; full of NaN they change no output and no gradient"
)

# %% [markdown]
# ## Reversing inside the length
#
# The other direction reads each sequence from its own last step. `x[::-1]` would begin with the padding.

# %%
one = np.array([1.0, 2, 3, 0, 0]).reshape(5, 1, 1)
print("x[::-1]            ", one[::-1].ravel())
print("reverse(x, [3])    ", reverse(one, np.array([3])).ravel())
np.testing.assert_array_equal(reverse(one, np.array([3])).ravel(), [3, 2, 1, 0, 0])
np.testing.assert_array_equal(
    reverse(reverse(x, lengths), lengths), x
)  # turning twice is doing nothing

# %% [markdown]
# ## Two directions are two layers side by side
#
# A bidirectional layer runs one cell forwards, another over the reversed input, turns the second output around, and puts both
# next to each other. A stack gives that to the next layer, which then has 2 H inputs. Nothing else is in it, so we can build
# it from two plain layers with the same weights:

# %%
both = LSTM(D, H, bidirectional=True, rng=rng)
y, cache = both.forward(x, lengths=lengths)
parts = []
for direction in ("", "_reverse"):
    single = LSTM(D, H, rng=rng)
    for name in single.params:
        single.params[name][...] = both.params[name + direction]
    if direction:
        parts.append(reverse(single.forward(reverse(x, lengths), lengths=lengths)[0], lengths))
    else:
        parts.append(single.forward(x, lengths=lengths)[0])
np.testing.assert_allclose(y, np.concatenate(parts, axis=2), rtol=1e-12)

deep = LSTM(D, H, num_layers=2, bidirectional=True, rng=rng)
y, cache = deep.forward(x, lengths=lengths)
print(
    f"y {y.shape}: both directions side by side.  state {cache.state_last[0].shape}: 2 layers times 2 directions"
)
assert y.shape == (T, N, 2 * H)
assert cache.state_last[0].shape == (4, N, H)
print(
    "gradients, ragged, two layers, both ways: worst error",
    f"{check_layer(deep, x, lengths=[8, 5, 3]).error:.0e}",
)

# %% [markdown]
# ## Which steps an output has seen
#
# Move one input step and watch which outputs move. Forwards, an output depends on the steps up to its own; both ways, on all
# of its sequence; never on the padding. That is why a bidirectional network cannot forecast: it has read the answer.


# %%
def seen(layer, n):
    """(T, T): whether output t of sequence n moves when its input step s does."""
    base, moved = layer.forward(x, lengths=lengths)[0], np.zeros((T, T))
    for s in range(T):
        other = x.copy()
        other[s, n] += 0.1
        moved[:, s] = np.abs(layer.forward(other, lengths=lengths)[0] - base)[:, n].max(axis=1) > 0
    return moved


forwards, two_ways = seen(layer, 1), seen(both, 1)
np.testing.assert_array_equal(forwards[:5, :5], np.tril(np.ones((5, 5))))
assert two_ways[:5, :5].all()
assert not two_ways[5:].any()
assert not two_ways[:, 5:].any()
figure = new_figure(7, 3.4)
for ax, values, title in zip(
    figure.subplots(1, 2, sharey=True), (forwards, two_ways), ("forwards only", "both directions")
):
    heatmap(ax, values, 0, 1, "gate").colorbar.remove()
    ax.axhline(4.5, color="#333333", lw=1)
    ax.axvline(4.5, color="#333333", lw=1)
    ax.set(title=title, xlabel="input step", xticks=range(T), yticks=range(T))
figure.axes[0].set_ylabel("output step")
figure.suptitle(
    "Dark: the output depends on that input.  A sequence of 5 steps, 3 of padding", fontsize=10
)
figure

# %% [markdown]
# ## The loss has a mask
#
# The mean is over what is there. With n kept elements, and m = 1 where an element counts:
#
#     L = 1/n sum m (y - target)^2        dL/dy = 2 m (y - target) / n
#
# Dividing by all elements, padding included, makes the loss of a short batch look small, and its gradient too.

# %%
y, target = rng.standard_normal((T, N, 1)), rng.standard_normal((T, N, 1))
loss, dy = mse(y, target, mask=inside)
by_hand = ((y - target)[inside] ** 2).sum() / inside.sum()
np.testing.assert_allclose(loss, by_hand, rtol=1e-12)
assert (dy[~inside] == 0).all()
careless = (((y - target) * inside[:, :, None]) ** 2).mean()
print(f"over the {inside.sum()} real steps {loss:.3f}, over all {inside.size} {careless:.3f}")
np.testing.assert_allclose(careless / loss, inside.sum() / inside.size, rtol=1e-12)

# %% [markdown]
# ## Attention: softmax over the keys
#
# A query is compared with each key; the softmax makes weights of it that sum to one; the answer is the mean of the values
# with these weights. What may not be looked at gets a score of minus infinity *before* the softmax, so its weight is zero and
# the others still sum to one.
#
#     scores[j] = q . k[j] / sqrt(U)     weights = softmax(scores)     y = sum_j weights[j] v[j]

# %%
q, k, v = rng.standard_normal((1, 3)), rng.standard_normal((4, 3)), rng.standard_normal((4, 2))
allowed = np.array([[True, True, False, True]])
answer, looked = attend(q, k, v, mask=allowed)
raised = np.exp(k @ q[0] / np.sqrt(3)) * allowed[0]
np.testing.assert_allclose(looked.weights[0], raised / raised.sum(), rtol=1e-12)
np.testing.assert_allclose(answer[0], (raised / raised.sum()) @ v, rtol=1e-12)
print("weights", looked.weights[0].round(3), " sum", f"{looked.weights.sum():.3f}")
assert looked.weights[0, 2] == 0

# %% [markdown]
# ## Softmax backward
#
# Raising one score takes from all other weights. So what counts is how much more a weight is wanted than the weights are on
# average, and the gradients of the scores sum to zero: adding the same number to all scores changes nothing.
#
#     dscores[j] = weights[j] (dweights[j] - sum_k weights[k] dweights[k])

# %%
scores, wanted = rng.standard_normal(5), rng.standard_normal(5)
w = softmax(scores)
dscores = w * (wanted - (w * wanted).sum())
e = 1e-5 * np.eye(5)
numeric = [(softmax(scores + d) - softmax(scores - d)) @ wanted / 2e-5 for d in e]
np.testing.assert_allclose(dscores, numeric, atol=1e-9)
assert abs(dscores.sum()) < 1e-15
print("dscores", dscores.round(4), " sum to zero")
attention = SelfAttention(D, 4, heads=2, causal=True, rng=rng)
print(
    "self-attention, causal, ragged, two heads: worst error",
    f"{check_layer(attention, x, lengths=[8, 5, 3]).error:.0e}",
)
pooling = AttentionPooling(D, 4, rng=rng)
print(
    "attention pooling, ragged: worst error",
    f"{check_layer(pooling, x, lengths=[8, 5, 3]).error:.0e}",
)

# %% [markdown]
# ## Attention, learned
#
# A task that asks for a choice: sequences of 4 to 16 numbers, one of them marked, and the answer is the marked number. A GRU
# in both directions, then attention pooling: y is the mean over the steps, with learned weights. Nobody tells the network
# where to look. Who has learned nothing answers with the mean; that line is the variance of the numbers, 1/3.

# %%
longest, count = 16, 600
many = rng.integers(4, longest + 1, count)
real = np.arange(longest) < many[:, None]  # samples first here
marked = rng.integers(0, many)
data = np.zeros((count, longest, 2))
data[:, :, 0] = rng.uniform(-1, 1, (count, longest)) * real
data[np.arange(count), marked, 1] = 1
answers = data[np.arange(count), marked, :1]
model = Sequential(
    gru=GRU(2, 8, bidirectional=True, batch_first=True, rng=rng),
    pool=AttentionPooling(16, 8, batch_first=True, rng=rng),
    head=Linear(16, 1, rng=rng),
)
fit(
    model,
    (data[:500], answers[:500], many[:500]),
    Adam(0.01),
    epochs=25,
    rng=rng,
    callbacks=[Clip(1.0)],
    progress=False,
)
error, nothing = mse(predict(model, data[500:], lengths=many[500:]), answers[500:])[0], 1 / 3
_, cache = model.forward(data[500:], lengths=many[500:])
weights = cache.caches[1].weights.T  # (samples, T)
np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-12)
assert (weights[~real[500:]] == 0).all()
there = weights[np.arange(100), marked[500:]]
print(
    f"error {error:.4f}, who learned nothing {nothing:.4f};  weight at the marked step: median {np.median(there):.2f}"
)
assert error < 0.03
assert np.median(there) > 0.7
rows = np.argsort(many[500:520])
shown = np.where(real[500:520], weights[:20], np.nan)[rows]
ax = plots.axes(None, 7.5, 4.2)
heatmap(ax, shown, 0, 1, "gate")
ax.set_facecolor("#dddddd")
ax.plot(marked[500:520][rows], np.arange(20), "o", mfc="none", mec=plots.colour("f"), ms=9, mew=1.6)
ax.set(
    xlabel="step",
    ylabel="sequence, by length",
    yticks=[],
    title="Attention weights; ring: the marked step; grey: padding",
)
ax.figure

# %% [markdown]
# ## What goes wrong in practice
#
# - The final output of a ragged batch is taken as `y[-1]`: of the short sequences that is padding. Take the state.
# - The reversed direction begins in the padding, since the whole array was turned around.
# - The mask comes after the softmax: the weights no longer sum to one.
# - Minus infinity everywhere in a row makes NaN; a query that may look nowhere needs a rule of its own (here: zeros).
# - The loss is averaged over the padding, and a batch of short sequences hardly counts.
# - `batch_first` turns x and y around, never the state.
# - A bidirectional network is tested on forecasting, and is splendid: it read the future.

# %% [markdown]
# ## Exercise 12/ex1: Reverse within the lengths
#
# Turn each sequence around inside its own length; what stands in the padding stays where it is.

# %%
# exercise 12/ex1
import numpy as np


def turn_around(x, lengths):
    """x (T, N, D) and whole numbers lengths (N,), 1 to T, to an array as x."""
    # BEGIN SOLUTION
    turned = x.copy()
    for n, end in enumerate(lengths):
        turned[:end, n] = x[:end, n][::-1]
    return turned
    # END SOLUTION


# %%
print(check("12/ex1", turn_around))

# %% [markdown]
# ## Exercise 12/ex2: A masked loss
#
# Return the mean squared error over the real steps alone, and its gradient with respect to y, which is zero in the padding.

# %%
# exercise 12/ex2
import numpy as np


def masked_mse(y, target, lengths):
    """y, target (T, N, K) and lengths (N,) to the loss, a number, and dy (T, N, K)."""
    # BEGIN SOLUTION
    T, N, K = y.shape
    counts = np.zeros((T, N, 1))
    for n, end in enumerate(lengths):
        counts[:end, n] = 1
    kept = K * counts.sum()
    off = counts * (y - target)
    return float(np.einsum("tnk,tnk->", off, off) / kept), 2 / kept * off
    # END SOLUTION


# %%
print(check("12/ex2", masked_mse))

# %% [markdown]
# ## Exercise 12/ex3: Attention pooling
#
# The forward pass: a = tanh(x W + b), the scores a . v, their softmax over the real steps of each sequence, and the mean of
# the steps with these weights. Return y and the weights.

# %%
# exercise 12/ex3
import numpy as np


def pool(x, lengths, W, b, v):
    """x (T, N, D), lengths (N,), W (D, U), b and v (U,) to y (N, D) and weights (T, N), zero in the padding."""
    # BEGIN SOLUTION
    y, weights = np.zeros(x.shape[1:]), np.zeros(x.shape[:2])
    for n, end in enumerate(lengths):
        score = np.tanh(x[:end, n] @ W + b) @ v
        share = np.exp(score - score.max())
        weights[:end, n] = share / share.sum()
        y[n] = weights[:end, n] @ x[:end, n]
    return y, weights
    # END SOLUTION


# %%
print(check("12/ex3", pool))

# %% [markdown]
# ## Exercise 12/ex4: Back through the weights
#
# Given dy, the gradient of y = sum_t weights[t] x[t], return the gradient of the scores and that of x along this road alone
# (the scores taken as given).

# %%
# exercise 12/ex4
import numpy as np


def pool_backward(dy, weights, x):
    """dy (N, D), weights (T, N), x (T, N, D) to dscores (T, N) and dx (T, N, D)."""
    # BEGIN SOLUTION
    pulled = np.einsum("nd,tnd->tn", dy, x)
    mean_pull = np.einsum("tn,tn->n", weights, pulled)
    return weights * pulled - weights * mean_pull, np.einsum("tn,nd->tnd", weights, dy)
    # END SOLUTION


# %%
print(check("12/ex4", pool_backward))

# %% [markdown]
# ## Sources
#
# Schuster and Paliwal 1997, Bidirectional recurrent neural networks. Bahdanau, Cho and Bengio 2015 and Luong, Pham and Manning
# 2015 on attention; Vaswani et al. 2017 for the division by sqrt(U); Yang et al. 2016 for attention pooling.
