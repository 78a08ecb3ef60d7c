# %% [markdown]
# # 08  Truncated and stateful BPTT
#
# **Goal.** You can train on sequences of any length in windows, carry the state between them, and say which terms of the
# gradient that throws away and how large they are.
#
# You need: BPTT and the per-loss gradients (03), vanishing gradients (04).

# %%
# %matplotlib inline
import numpy as np

import scratchnet
from scratchnet import plots
from scratchnet.training import bptt
from scratchnet.cells import rnn
from scratchnet.cells.sequences import window
from scratchnet.training.clip import clip_global_norm
from scratchnet_course import check
from scratchnet.layers import LSTM, RNN, Linear, Sequential
from scratchnet.losses import mse
from scratchnet.training import Adam, Clip, Freeze, fit_stream

rng = np.random.default_rng(8)

# %% [markdown]
# ## Two numbers: k1 and k2
#
# Full BPTT over a million steps keeps a million states and steps the weights once. Truncated BPTT(k1, k2) works in windows:
# every k1 steps it takes the losses of those k1 new steps, and carries them back k2 steps, no further.
#
#     k1 = k2 = T     full BPTT
#     k1 = k2 < T     chunks laid end to end
#     k1 < k2         windows that overlap; no loss is counted twice

# %%
T, k1, k2 = 12, 3, 5
cuts = bptt.windows(T, k1, k2)
print("step   ", " ".join(f"{t:>2}" for t in range(T)))
for cut in cuts:
    signs = [
        " n" if cut.new <= t < cut.stop else " -" if cut.start <= t < cut.stop else "  "
        for t in range(T)
    ]
    print("       ", " ".join(signs))
print("n: new, its loss is counted    -: passed through again")
assert sorted(t for cut in cuts for t in range(cut.new, cut.stop)) == list(range(T))
reach = [
    t - cut.start + 1 for cut in cuts for t in range(cut.new, cut.stop)
]  # steps that the loss at t goes through
assert min(reach[k2:]) == k2 - k1 + 1
assert max(reach) == k2
print(f"far from the beginning each loss goes back through {min(reach[k2:])} to {max(reach)} steps")

# %% [markdown]
# ## Which terms are thrown away
#
# The gradient of a weight is a sum over pairs: the loss at tau, and an earlier step t at which the weight was used. Cutting at
# the first state of a window ("detaching" it) drops the pairs that lie on two sides of the cut, and nothing else. What is left
# is exact. Here we take each loss by itself, through its own window, and add up.

# %%
T, N, D, H = 12, 2, 3, 4
x, h0, dy = (
    rng.standard_normal((T, N, D)),
    rng.standard_normal((N, H)),
    rng.standard_normal((T, N, H)),
)
params = [rng.standard_normal(shape) / 2 for shape in rnn.param_shapes(D, H).values()]
_, cache = rnn.forward(x, h0, *params)
kept = np.zeros((H, H))
for cut in cuts:
    for tau in range(cut.new, cut.stop):
        alone = np.zeros((cut.stop - cut.start, N, H))
        alone[tau - cut.start] = dy[tau]
        kept += rnn.backward(alone, window(rnn, cache, cut.start, cut.stop)).dW_h
truncated, whole = bptt.truncated(rnn, dy, cache, k1, k2), rnn.backward(dy, cache)
np.testing.assert_allclose(truncated.dW_h, kept, rtol=1e-10, atol=1e-12)
np.testing.assert_allclose(
    bptt.truncated(rnn, dy, cache, k1, T).dW_h, whole.dW_h, rtol=1e-10, atol=1e-12
)
lost = np.linalg.norm(whole.dW_h - truncated.dW_h) / np.linalg.norm(whole.dW_h)
cosine = (
    np.sum(whole.dW_h * truncated.dW_h)
    / np.linalg.norm(whole.dW_h)
    / np.linalg.norm(truncated.dW_h)
)
assert cosine < 0.999
print(
    f"BPTT({k1}, {k2}) is the sum of the kept pairs; it throws away a share of dW_h of {lost:.2f}; cosine {cosine:.3f}"
)

# %% [markdown]
# ## A network in which everything can be counted
#
# One linear unit, h = u h' + x + b, with dy = 1 at every step. The loss at tau adds u^(tau - t) at each step t up to tau. With
# chunks of k steps every power of k and above is lost, and of the lower ones those that cross an edge. For u = 0.5 that is
# little; for u near 1, where the network has a memory worth the name, it is nearly everything.

# %%
T = 200
for u in (0.5, 0.9, 0.99):
    shares = []
    for k1, k2 in ((10, 10), (1, 10), (10, 50)):
        full = sum(u ** (tau - t) for tau in range(T) for t in range(tau + 1))
        pairs = (
            (t, tau)
            for w in bptt.windows(T, k1, k2)
            for tau in range(w.new, w.stop)
            for t in range(w.start, tau + 1)
        )
        left = sum(u ** (tau - t) for t, tau in pairs)
        shares.append(1 - left / full)
    print(
        f"u = {u:<5} thrown away by BPTT(10, 10) {shares[0]:.3f}, BPTT(1, 10) {shares[1]:.3f}, BPTT(10, 50) {shares[2]:.3f}"
    )
    assert shares[0] > shares[1] > shares[2]
assert shares[0] > 0.9

# %% [markdown]
# ## The picture, and the share
#
# An LSTM with a large forget bias on a random walk, the loss at every step. Under the white line lies what BPTT(10, 20) cuts
# off. The title has the share of the weights' gradient that is lost: |dW - dW truncated| / |dW|.

# %%
T, H = 60, 12
walk = 0.2 * np.cumsum(rng.standard_normal((T + 1, 1, 1)), axis=0)
model = Sequential(lstm=LSTM(1, H, forget_bias=3.0, rng=rng), head=Linear(H, 1, rng=rng))
trace = scratchnet.trace(model, walk[:-1], walk[1:])
plots.per_loss_gradients(trace, k1=10, k2=20)

# %%
vanilla = Sequential(rnn=RNN(1, H, rng=rng), head=Linear(H, 1, rng=rng))
traces = {"LSTM, forget bias 3": trace, "RNN": scratchnet.trace(vanilla, walk[:-1], walk[1:])}
pairs = ((5, 5), (10, 10), (20, 20), (10, 20), (10, 40))
print(f"{'thrown away':<22}", "".join(f"{f'({k1}, {k2})':>10}" for k1, k2 in pairs))
shares = {name: [plots.thrown_away(made, *pair) for pair in pairs] for name, made in traces.items()}
for name, row in shares.items():
    print(f"{name:<22}", "".join(f"{share:>10.3f}" for share in row))
for row in shares.values():
    assert row[0] > row[1] > row[2]
    assert row[1] > row[3] > row[4]
assert all(a > b for a, b in zip(*shares.values()))
assert plots.thrown_away(trace, 1, T) < 1e-12

# %% [markdown]
# The better a cell remembers, the more does truncation throw away: in the vanilla network the far terms have vanished anyway.
#
# ## What the windows cannot reach
#
# A task with a delay: the answer at t is the input at t - 6, a coin with the faces -1 and 1. A loss reaches the input that it
# needs only through 7 steps. BPTT(4, 4) and BPTT(1, 6) never go that far: nothing tells them to keep the coin, and the error
# stays near 1. One step more, BPTT(1, 7), is enough, and so is BPTT(8, 8), in which two of eight losses go back far enough.

# %%
delay = 6
coin, unseen = (rng.choice([-1.0, 1.0], (600 + delay, 16, 1)) for _ in range(2))


def trained(k1, k2, epochs, *callbacks):
    """The error on coins that it has not seen."""
    own = np.random.default_rng(3)
    model = Sequential(rnn=RNN(1, 16, rng=own), head=Linear(16, 1, rng=own))
    fit_stream(
        model,
        (coin[delay:], coin[:-delay]),
        Adam(0.005),
        epochs=epochs,
        k1=k1,
        k2=k2,
        callbacks=[Clip(1.0), *callbacks],
        progress=False,
    )
    y, _ = model.forward(unseen[delay:])
    return np.mean((y - unseen[:-delay])[20:] ** 2)


errors = {"BPTT(4, 4)": trained(4, 4, 10), "BPTT(1, 6)": trained(1, 6, 3)}
errors |= {"BPTT(1, 7)": trained(1, 7, 3), "BPTT(8, 8)": trained(8, 8, 20)}
frozen = trained(4, 4, 10, Freeze("rnn*"))
for name, error in errors.items():
    print(f"{name}: error {error:.4f}")
print(f"BPTT(4, 4), only the layer behind the network trained: error {frozen:.4f}")
assert min(errors["BPTT(4, 4)"], errors["BPTT(1, 6)"]) > 0.7
assert max(errors["BPTT(1, 7)"], errors["BPTT(8, 8)"]) < 0.01
assert frozen < 0.5

# %% [markdown]
# The last line is worth a thought. Random recurrent weights keep an echo of the last inputs, and a linear layer can read the
# coin out of it. Training the recurrent weights with a gradient that is too short is worse than not training them: it takes
# the echo for noise, and removes it. A truncated gradient is not the whole one made shorter: it points elsewhere.
#
# ## The state goes on, the gradient does not
#
# In the runs above the state was carried from window to window, as a number. The forward pass is that of the whole sequence;
# only the gradient stops at the cut. That is what "stateful" means. Setting the state to zero at each window is another thing:
# the network then sees short sequences, and whatever happened before the window is unknown to it.

# %%
layer = RNN(2, 5, rng=rng)
x = rng.standard_normal((30, 3, 2))
y, _ = layer.forward(x)
state, pieces = None, []
for start in range(0, 30, 10):
    piece, cache = layer.forward(x[start : start + 10], state=state)
    state = layer.state_at(cache, 10)
    pieces.append(piece)
np.testing.assert_allclose(np.concatenate(pieces), y, rtol=1e-12)
fresh, _ = layer.forward(x[10:20])
assert np.abs(fresh[0] - y[10]).max() > 0.05
print(
    f"carried: the same outputs. Set to zero: off by {np.abs(fresh[0] - y[10]).max():.2f} at the window's first step"
)

# %% [markdown]
# How much that matters: hold the number at the last mark (05), where marks come every 20 steps on average and the windows have
# 10 steps. `bptt.stream` yields after each window's backward pass, so that the weights can be stepped. No gradient goes back
# more than 10 steps in either run.

# %%


def sample_and_hold(T, N):
    """x (T, N, 2), a number and a mark at each step, and the number at the last mark (T, N, 1)."""
    number, mark = rng.uniform(-1, 1, (T, N)), rng.random((T, N)) < 0.05
    mark[0] = True
    held = number.copy()
    for t in range(1, T):
        held[t] = np.where(mark[t], number[t], held[t - 1])
    return np.stack([number, mark], axis=-1), held[:, :, None]


x, target = sample_and_hold(1000, 16)
x_test, target_test = sample_and_hold(300, 64)
found = {}
for how in ("carried", "set to zero"):
    own = np.random.default_rng(1)
    model = Sequential(lstm=LSTM(2, 8, forget_bias=2.0, rng=own), head=Linear(8, 1, rng=own))
    optimizer = Adam(0.02)
    for _ in range(12):
        state = None
        for start in range(0, 1000, 10):
            window = slice(start, start + 10)
            for part in bptt.stream(model, x[window], target[window], mse, k1=10, state=state):
                clip_global_norm(model.grads, 1.0)
                optimizer.step(model.params, model.grads)
                state = part.state if how == "carried" else None
    y, _ = model.forward(x_test)
    found[how] = np.mean((y - target_test) ** 2)
print("\n".join(f"state {how:<12} error {error:.3f}" for how, error in found.items()))
print(f"who has learned nothing: {np.mean(target_test**2):.3f}")
assert found["carried"] < 0.03 < 0.05 < found["set to zero"]

# %% [markdown]
# Holding over more than 10 steps was learned from gradients over 10 steps. Truncation does not limit what a network remembers;
# it limits what it can be taught to remember. To hold for a while and to hold for long are the same habit. In the task with
# the delay there is nothing to be gained before step 7, and nothing was.
#
# ## What goes wrong in practice
#
# - k2 < k1: the losses of some steps go nowhere. The library refuses it.
# - The state is carried, and with it the graph: memory grows with each window, until it is full (PyTorch wants `.detach()`).
# - The state is carried into another sequence, because batches were shuffled. Row n of a batch must continue row n before.
# - The losses of steps that are passed through again are counted again: they weigh k2 / k1 times as much.
# - The initial state of each window is zero, and the network is tested with a state that goes on, or the other way round.
# - After a step of the weights the carried state is that of the old ones. It is a little wrong, and usually left as it is.

# %% [markdown]
# ## Exercise 08/ex1: The windows
#
# Return the windows of BPTT(k1, k2) over T steps as whole numbers: start, the first new step, and stop, which is one behind
# the last step. No window begins before step 0; the last one may hold fewer than k1 new steps, and still goes back k2 steps
# from its end.

# %%
# exercise 08/ex1
import numpy as np


def windows(T, k1, k2):
    """T, k1 <= k2 to an array (number of windows, 3): start, new, stop of each, in order."""
    # BEGIN SOLUTION
    firsts = np.arange(-(-T // k1)) * k1
    ends = np.minimum(firsts + k1, T)
    return np.column_stack([np.clip(ends - k2, 0, None), firsts, ends])
    # END SOLUTION


# %%
print(check("08/ex1", windows))

# %% [markdown]
# ## Exercise 08/ex2: The share that is thrown away
#
# One linear unit, h = u h' + x + b, for T steps, with the loss's own gradients dy (T,). Its windows begin every k steps (k1 =
# k2 = k). Return the part of db that is kept, the whole db, and |whole - kept| / |whole|.

# %%
# exercise 08/ex2
import numpy as np


def share_lost(u, dy, k):
    """u a number, dy (T,), k whole, to db kept, db whole, and the share lost, three numbers."""
    # BEGIN SOLUTION
    steps = np.arange(len(dy))
    distance = np.subtract.outer(steps, steps)
    table = np.where(distance >= 0, u ** np.abs(distance), 0.0) * dy[:, None]
    inside = np.equal.outer(steps // k, steps // k)
    total, remains = table.sum(), table[inside].sum()
    return remains, total, abs(1 - remains / total)
    # END SOLUTION


# %%
print(check("08/ex2", share_lost))

# %% [markdown]
# ## Exercise 08/ex3: A stateful run
#
# The tanh network of lesson 03 in chunks of k steps (k1 = k2 = k): the state is carried, the gradient is not. The weights stay
# as they are, so the chunks' gradients can be added. Return all states, and the sum of the chunks' dW_h. T is a multiple of k.

# %%
# exercise 08/ex3
import numpy as np


def stateful(x, dy, h0, W_x, W_h, b, k):
    """x (T, N, D), dy (T, N, H), h0 (N, H) and the weights to y (T, N, H) and dW_h (H, H)."""
    # BEGIN SOLUTION
    trail = [h0]
    for fed in np.einsum("tnd,dh->tnh", x, W_x) + b:
        trail.append(np.tanh(fed + np.einsum("nk,kh->nh", trail[-1], W_h)))
    total, arriving = np.zeros_like(W_h), np.zeros_like(h0)
    for t in reversed(range(len(x))):
        if t % k == k - 1:
            arriving = np.zeros_like(h0)  # nothing comes over the edge
        into = (arriving + dy[t]) * (1 - np.square(trail[t + 1]))
        total, arriving = (
            total + np.einsum("nk,nh->kh", trail[t], into),
            np.einsum("nh,kh->nk", into, W_h),
        )
    return np.stack(trail[1:]), total
    # END SOLUTION


# %%
print(check("08/ex3", stateful))

# %% [markdown]
# ## Exercise 08/ex4: Windows that overlap
#
# BPTT(k1, k2) through a forward pass that was made once: h (T+1, N, H) with the initial state at index 0. Return the sum over
# all windows of dW_x, dW_h and db. The windows are those of the first exercise.

# %%
# exercise 08/ex4
import numpy as np


def truncated(dy, x, h, W_h, k1, k2):
    """dy (T, N, H), x (T, N, D), h (T+1, N, H), W_h (H, H) to dW_x (D, H), dW_h (H, H), db (H,)."""
    # BEGIN SOLUTION
    T, slope = len(dy), 1 - np.square(h[1:])
    into = np.zeros_like(dy)
    for tau in range(T):
        end = min(k1 * (1 + tau // k1), T)
        back = dy[tau] * slope[tau]
        for t in range(tau, max(end - k2, 0) - 1, -1):
            into[t] += back
            back = np.einsum("nh,kh->nk", back, W_h) * slope[t - 1]
    return (
        np.einsum("tnd,tnh->dh", x, into),
        np.einsum("tnk,tnh->kh", h[:-1], into),
        into.sum((0, 1)),
    )
    # END SOLUTION


# %%
print(check("08/ex4", truncated))

# %% [markdown]
# ## Sources
#
# Williams and Peng 1990, An efficient gradient-based algorithm for on-line training of recurrent network trajectories.
# Sutskever 2013, Training recurrent neural networks, section 2.8.6, for the names k1 and k2. Cashman, Patterson, Mosca and
# Chang 2018, RNNbow, for the per-loss gradients.
