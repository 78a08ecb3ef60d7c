# %% [markdown]
# # 10  Training that works
#
# **Goal.** You can say what each of the usual remedies does (initialisation, forget bias, clipping, schedules, dropout,
# normalisation), show it by a measurement of a few seconds, and tell an effect from a lucky seed.
#
# You need: 04 for vanishing and exploding, 06 for the LSTM.

# %%
# %matplotlib inline
import numpy as np

import scratchnet
from scratchnet import init, plots
from scratchnet.training.clip import CLIPS
from scratchnet_course import check
from scratchnet.gradcheck import check_layer
from scratchnet.layers import (
    LSTM,
    RNN,
    BatchNorm1d,
    Dropout,
    LayerNorm,
    Linear,
    Recurrent,
    Sequential,
    VariationalDropout,
)
from scratchnet.losses import binary_cross_entropy, mse
from scratchnet.training import SGD, Adam, Clip, Cosine, TrainingDiverged, Warmup, fit, predict
from scratchnet.plots.style import new_figure
from scratchnet.data.tasks import ADDING_BASELINE_MSE, adding

SEEDS = (1, 2, 3)

# %% [markdown]
# One small task for nearly everything: the adding problem, 600 sequences. The mean squared error of having learned nothing is
# 1/6. Everything is run with three seeds: a difference between methods counts only if it is larger than that between seeds.


# %%
def task(T, seed=0):
    """x (600, T, 2), y (600, 1)."""
    x, y = adding(np.random.default_rng(seed), 600, T)
    return x.swapaxes(0, 1).copy(), y


def network(rng, cell="lstm", units=16, forget_bias=1.0):
    """One recurrent layer whose last state is read by a linear one."""
    rec = Recurrent(
        cell, 2, units, batch_first=True, return_sequences=False, forget_bias=forget_bias, rng=rng
    )
    return Sequential(rec=rec, head=Linear(units, 1, rng=rng))


def trained(seed, T=20, epochs=15, lr=0.01, change=None, scale=1.0, **options):
    """The loss of each epoch."""
    rng, (x, y) = np.random.default_rng(seed), task(T)
    model = network(rng, **options)
    if change is not None:
        change(model.params, rng)
    return fit(
        model,
        (scale * x, y),
        Adam(lr),
        epochs=epochs,
        rng=rng,
        callbacks=[Clip(1.0)],
        progress=False,
    ).column("train_loss")


# %% [markdown]
# ## Initialisation
#
# A product over n inputs adds n terms: with weights of variance s^2, x W has n s^2 times the variance of x. To keep it, Xavier
# takes s^2 = 2 / (n + m), halfway between what keeps x W (1/n) and what keeps dy W^T (1/m). The recurrent matrix is used again
# and again, so more than its variance counts: an orthogonal one keeps the length of every vector, however often.

# %%
rng = np.random.default_rng(10)
v = rng.standard_normal(64)
v /= np.linalg.norm(v)
W = {
    "orthogonal": init.orthogonal(rng, (64, 64)),
    "xavier": init.xavier_uniform(rng, (64, 64)),
    "0.01 normal": 0.01 * rng.standard_normal((64, 64)),
    "normal": rng.standard_normal((64, 64)),
}
for name, w in W.items():
    once, often = (np.linalg.norm(v @ np.linalg.matrix_power(w, n)) for n in (1, 30))
    print(f"{name:<12} length after 1 and after 30 products: {once:8.2g} {often:8.2g}")
np.testing.assert_allclose(
    np.linalg.norm(v @ np.linalg.matrix_power(W["orthogonal"], 30)), 1, rtol=1e-10
)

# %% [markdown]
# The same in a recurrent network of 64 units over 40 steps, with a loss on the last output: how much of the gradient is left
# at each step.

# %%
x = rng.standard_normal((40, 8, 2))
norms = {}
for name, w in W.items():
    layer = RNN(2, 64, rng=np.random.default_rng(0))
    layer.params["W_h_l0"][...] = w
    layer.params["W_x_l0"] *= (
        0.1  # where the states stay small the tanh is nearly a line, and what is seen is W_h
    )
    dy = np.zeros((40, 8, 64))
    dy[-1] = 1 / np.sqrt(64 * 8)
    norms[name] = np.linalg.norm(scratchnet.trace(layer, x, dy=dy).run["dh"], axis=(1, 2))
    print(f"{name:<12} |dL/dh| at the first step {norms[name][0]:.1e}")
assert norms["orthogonal"][0] > 0.1
assert norms["0.01 normal"][0] < 1e-30
ax = plots.axes(None, 7.5, 3.6)
for (name, values), style in zip(norms.items(), ("-", "--", "-.", ":")):
    ax.semilogy(values, style, label=name, lw=2)
ax.set(
    xlabel="time step t",
    ylabel="|dL/dh|",
    ylim=(1e-20, 1e15),
    title="Gradient of the last output, four initial W_h",
)
ax.legend(frameon=False)
ax.figure

# %% [markdown]
# And what it does to training, an LSTM this time. The default is Xavier for W_x and orthogonal for W_h, gate by gate; against
# it, all weights tiny, and a W_h of standard normal numbers.


# %%
def tiny(params, rng):
    for name, p in params.items():
        if "W_" in name:
            p[...] = 0.01 * rng.standard_normal(p.shape)


def large(params, rng):
    params["rec.W_h_l0"][...] = rng.standard_normal(params["rec.W_h_l0"].shape)


last = {
    name: [trained(s, change=f)[-1] for s in SEEDS]
    for name, f in (("default", None), ("tiny", tiny), ("large", large))
}
for name, losses in last.items():
    print(f"{name:<8} loss after 15 epochs, three seeds: {', '.join(f'{v:.4f}' for v in losses)}")
assert max(last["default"]) < min(*last["tiny"], *last["large"])
assert min(last["tiny"]) > 0.9 * ADDING_BASELINE_MSE  # nothing learned

# %% [markdown]
# ## The forget bias
#
# With a bias of 0 the forget gate begins near 1/2, and of the cell state 2^-30 is left after 30 steps. With 1 it begins near
# 0.73, with 3 near 0.95. A network that must remember learns sooner if it begins by remembering.

# %%
for b in (0, 1, 3):
    f = 1 / (1 + np.exp(-b))
    print(f"bias {b}: f = {f:.2f}, after 30 steps {f**30:.1e} is left")
biases = (-2.0, 0.0, 1.0, 3.0)
curves = {
    f"bias {b:g}": np.mean([trained(s, T=30, epochs=25, forget_bias=b) for s in SEEDS], axis=0)
    for b in biases
}
print("mean loss after 25 epochs:", ", ".join(f"{name} {v[-1]:.4f}" for name, v in curves.items()))
assert curves["bias -2"][-1] > 3 * curves["bias 0"][-1]
assert curves["bias 3"][-1] < curves["bias 1"][-1] < curves["bias 0"][-1]
ax = plots.axes(None, 7.5, 3.6)
for (name, values), style in zip(curves.items(), (":", "-.", "--", "-")):
    ax.semilogy(1 + np.arange(25), values, style, lw=2, label=name)
ax.axhline(ADDING_BASELINE_MSE, color="#777777", lw=0.9)
ax.set(
    xlabel="epoch",
    ylabel="loss, mean of three seeds",
    title="Adding problem, 30 steps: the forget bias at the start",
)
ax.legend(frameon=False)
ax.figure

# %% [markdown]
# ## Clipping
#
# Three ways to limit a gradient. By its global norm it is shortened and keeps its direction; by each tensor's norm or by value
# it is turned, too.

# %%
rng = np.random.default_rng(3)
before = {"W": rng.standard_normal((4, 4)), "b": 20 * rng.standard_normal(4)}


def flat(grads):
    return np.concatenate([g.ravel() for g in grads.values()])


cosines = {}
for how, clip in CLIPS.items():
    after = {name: g.copy() for name, g in before.items()}
    clip(after, 1.0)
    a, b = flat(before), flat(after)
    cosines[how] = a @ b / (np.linalg.norm(a) * np.linalg.norm(b))
    print(
        f"{how:<7} norm {np.linalg.norm(a):.2f} -> {np.linalg.norm(b):.2f}   cosine to the gradient {cosines[how]:.4f}"
    )
assert abs(cosines["global"] - 1) < 1e-12
assert max(cosines["each"], cosines["value"]) < 0.99

# %% [markdown]
# A simple network with plain gradient descent at a learning rate of 0.1: without a limit one steep place is enough, and the
# loss is lost. (Adam divides by the size of the gradients, so it is hurt less, and helped less.)


# %%
def descent(seed, clip):
    rng, (x, y) = np.random.default_rng(seed), task(20)
    model = network(rng, "rnn", 32)
    try:
        history = fit(
            model,
            (x, y),
            SGD(0.1, momentum=0.9),
            epochs=20,
            rng=rng,
            callbacks=[] if clip is None else [Clip(clip)],
            progress=False,
        )
    except TrainingDiverged as error:
        return "diverged", str(error).splitlines()[0]
    return (
        "finite",
        f"loss {history.column('train_loss')[-1]:.4f}, largest gradient {max(history.column('grad_norm')):.0f}",
    )


for clip in (None, 0.3):
    for seed in SEEDS:
        how, said = descent(seed, clip)
        print(f"clip {clip!s:<5} seed {seed}: {said[:100]}")
        assert how == ("diverged" if clip is None else "finite")

# %% [markdown]
# Clipping kept it from disaster, and that is all it does: two of the three seeds have learned next to nothing, for the step is
# still too large.
#
# ## Schedules
#
# A large step comes far and cannot settle; a small one settles and comes nowhere. So: rise for a few epochs, while Adam's
# running means fill, then fall to zero along half a cosine. The learning rate here is ten times the usual.

# %%
jitter, errors, example = {}, {}, {}
for name in ("constant", "warm-up and cosine"):
    for seed in SEEDS:
        rng, (x, y) = np.random.default_rng(seed), task(20)
        model, optimizer = network(rng), Adam(0.1)
        schedules = [] if name == "constant" else [Warmup(optimizer, 4, then=Cosine(optimizer, 36))]
        history = fit(
            model,
            (x, y),
            optimizer,
            epochs=40,
            rng=rng,
            callbacks=[Clip(1.0), *schedules],
            progress=False,
        )
        losses = history.column("train_loss")
        x_new, y_new = task(20, seed=5)
        jitter.setdefault(name, []).append(np.std(np.log(losses[-8:])))
        errors.setdefault(name, []).append(mse(predict(model, x_new), y_new)[0])
        example[name] = losses, history.column("lr")[:: len(history.steps) // 40]
    said = ", ".join(f"{e:.5f}" for e in errors[name])
    print(
        f"{name:<19} error on new sequences {said};  spread of the last 8 losses {np.mean(jitter[name]):.0%}"
    )
assert max(jitter["warm-up and cosine"]) < 0.5 * min(jitter["constant"])
assert np.mean(errors["warm-up and cosine"]) < np.mean(errors["constant"])
figure = new_figure(8, 3.2)
left, right = figure.subplots(1, 2)
for (name, (losses, rates)), style in zip(example.items(), ("--", "-")):
    left.plot(rates, style, lw=2, label=name)
    right.semilogy(losses, style, lw=1.6, label=name)
left.set(xlabel="epoch", ylabel="learning rate")
right.set(xlabel="epoch", ylabel="loss, seed 3")
right.legend(frameon=False)
figure

# %% [markdown]
# A schedule has to fit the length of the training: one that ends in the middle of the way has only slowed it down.
#
# ## Dropout
#
# While training each number is set to zero with probability p, and the rest is multiplied by 1 / (1 - p), so that the mean
# stays and nothing has to be done when the network is used. In a sequence a new mask at every step is noise that a memory
# averages away; the same mask at all steps takes a feature away for good.

# %%
p, T = 0.5, 50
ones, rng = np.ones((T, 2000, 1)), np.random.default_rng(4)
each, _ = Dropout(p, rng=rng).forward(ones, training=True)
same, _ = VariationalDropout(p, rng=rng).forward(ones, training=True)
print(
    f"mean {each.mean():.3f} and {same.mean():.3f}; spread of the mean over {T} steps: "
    f"{each.mean(axis=0).std():.3f} with a mask a step, {same.mean(axis=0).std():.3f} with one mask"
)
np.testing.assert_allclose(each.mean(axis=0).std(), np.sqrt(p / (1 - p) / T), rtol=0.1)
np.testing.assert_allclose(same.mean(axis=0).std(), np.sqrt(p / (1 - p)), rtol=0.1)

# %% [markdown]
# A task to be learned by heart: 150 sequences of twelve features, two of which matter, and one answer in ten is wrong.

# %%
rng = np.random.default_rng(9)
x = rng.standard_normal((1150, 8, 12))
truth = (x[:, :, :2].sum(axis=(1, 2)) > 0)[:, None].astype(float)
given = np.where(rng.random(truth.shape) < 0.1, 1 - truth, truth)
surprise = {}
for p in (0.0, 0.5):
    for seed in SEEDS:
        own = np.random.default_rng(seed)
        model = Sequential(
            VariationalDropout(p, batch_first=True, rng=own),
            LSTM(12, 24, batch_first=True, return_sequences=False, rng=own),
            Linear(24, 1, rng=own),
        )
        fit(
            model,
            (x[:150], given[:150]),
            Adam(0.01),
            epochs=25,
            rng=own,
            loss=binary_cross_entropy,
            callbacks=[Clip(1.0)],
            progress=False,
        )
        old, new = (
            ((predict(model, x[part]) > 0) == answers[part]).mean()
            for part, answers in ((slice(150), given), (slice(150, None), truth))
        )
        surprise.setdefault(p, []).append(
            binary_cross_entropy(predict(model, x[150:]), truth[150:])[0]
        )
        print(
            f"dropout {p}, seed {seed}: right on the old {old:.0%}, on new {new:.0%}; cross entropy {surprise[p][-1]:.2f}"
        )
assert max(surprise[0.5]) < min(surprise[0.0]) / 1.5

# %% [markdown]
# Without dropout it knows all 150 answers, the wrong ones too, and is sure of itself where it errs. With it, about as many new
# answers are right, and it knows better how sure it may be: that is what the cross entropy says.
#
# ## Normalisation
#
# Layer normalisation brings each vector to mean 0 and variance 1 over its features, then to a learned gain and b. It sees one
# vector at a time, so training and use are the same, and the size of what comes in does not matter. Batch normalisation takes
# mean and variance over the batch: while training an answer depends on its neighbours, and in use running means stand in.

# %%
rng = np.random.default_rng(6)
rows = rng.standard_normal((5, 8))
layer_norm, batch_norm = LayerNorm(8), BatchNorm1d(8)
a, b = (layer_norm.forward(k * rows + 3)[0] for k in (1, 100))
np.testing.assert_allclose(a, b, atol=1e-4)
alone = layer_norm.forward(rows[:1])[0]
np.testing.assert_allclose(alone, layer_norm.forward(rows)[0][:1], rtol=1e-12)
full, half = (batch_norm.forward(rows[:n], training=True)[0][0] for n in (5, 3))
assert np.abs(full - half).max() > 0.1
print(
    f"layer norm: the same alone and in a batch.  batch norm: row 0 moves by {np.abs(full - half).max():.2f} with its batch"
)
print(
    f"gradient by three roads, through x, the mean and the variance: worst error {check_layer(layer_norm, rows).error:.0e}"
)

# %% [markdown]
# Inputs that nobody scaled, a hundred times too large: most of the LSTM's gates are shut or wide open from the start, where a
# sigmoid has no slope. The layer-normalised LSTM does not notice. (The better remedy is to scale the inputs, see 13; but
# inside a network nobody does.)

# %%
x, _ = task(15)
fresh = LSTM(2, 16, batch_first=True, rng=np.random.default_rng(1))
for scale in (1, 100):
    i, f, _, o = np.split(fresh.forward(scale * x)[1].cell_caches[0].gates, 4, axis=2)
    stuck = np.mean([np.minimum(gate, 1 - gate) < 0.01 for gate in (i, f, o)])
    print(f"inputs times {scale:>3}: {stuck:.0%} of the gates are within 0.01 of 0 or 1")
    assert (stuck > 0.5) == (scale == 100)
last = {}
for cell in ("lstm", "lstm_norm"):
    for scale in (1.0, 100.0):
        last[cell, scale] = [trained(s, T=15, cell=cell, scale=scale)[-1] for s in SEEDS]
        print(
            f"{cell:<10} inputs times {scale:>3g}: loss {', '.join(f'{v:.4f}' for v in last[cell, scale])}"
        )
assert min(last["lstm", 100.0]) > 2 * max(last["lstm_norm", 100.0])

# %% [markdown]
# ## What goes wrong in practice
#
# - One seed each, and the luckier one is called the better method.
# - Two things are changed at once.
# - Clipping is measured before it is switched on: look at the norms first, then choose the limit (`plots.clip_factor`).
# - Dropout stays on while predicting, or the scale 1 / (1 - p) is applied twice.
# - The schedule counts epochs where it was meant to count updates.
# - Batch normalisation with a batch of two; or its running means are not saved with the weights.
# - Adam's correction of its start is left out, and the first steps are far too large or small.
# - Everything is tuned except the learning rate.

# %% [markdown]
# ## Exercise 10/ex1: Inverted dropout
#
# u are uniform numbers in [0, 1): what has u >= p is kept. Return y for training, and dx for a gradient dy.

# %%
# exercise 10/ex1
import numpy as np


def dropout(x, dy, u, p):
    """x, dy, u of one shape, 0 <= p < 1, to y and dx of that shape."""
    # BEGIN SOLUTION
    y, dx = np.zeros_like(x), np.zeros_like(dy)
    survivors = ~(u < p)
    y[survivors] = x[survivors] / (1 - p)
    dx[survivors] = dy[survivors] / (1 - p)
    return y, dx
    # END SOLUTION


# %%
print(check("10/ex1", dropout))

# %% [markdown]
# ## Exercise 10/ex2: Warm-up and cosine
#
# Return the learning rate of each of `total` updates, t = 0, 1, ...: in the first `warm` it is base (t + 1) / warm; then half
# a cosine that is base at t = warm and would be 0 at t = total.

# %%
# exercise 10/ex2
import numpy as np


def rates(base, warm, total):
    """A number and two whole ones, 1 <= warm < total, to the learning rates (total,)."""
    # BEGIN SOLUTION
    rising = base / warm * (1 + np.arange(warm))
    angle = np.linspace(0, np.pi, total - warm, endpoint=False)
    return np.append(rising, base * np.cos(angle / 2) ** 2)
    # END SOLUTION


# %%
print(check("10/ex2", rates))

# %% [markdown]
# ## Exercise 10/ex3: One step of Adam
#
# m and v are the running means of g and of g^2 before the step; t counts the steps from 1. Return the new p, m and v.
#
#     m <- beta1 m + (1 - beta1) g     v <- beta2 v + (1 - beta2) g^2
#     p <- p - lr m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps)

# %%
# exercise 10/ex3
import numpy as np


def adam(p, g, m, v, t, lr, beta1, beta2, eps):
    """p, g, m, v of one shape, t a whole number from 1, to the new p, m, v."""
    # BEGIN SOLUTION
    m_new = m + (g - m) * (1 - beta1)
    v_new = v + (np.square(g) - v) * (1 - beta2)
    size = np.sqrt(v_new) / np.sqrt(1 - beta2**t)
    return p - (lr / (1 - beta1**t)) * m_new / (size + eps), m_new, v_new
    # END SOLUTION


# %%
print(check("10/ex3", adam))

# %% [markdown]
# ## Exercise 10/ex4: Layer normalisation backward
#
# y = gain n + b with n = (x - mean) / sqrt(var + eps), mean and variance (divided by F) over the last axis. Return dx, dgain,
# db. x reaches n by three roads: itself, the mean, and the variance.

# %%
# exercise 10/ex4
import numpy as np


def layer_norm_backward(dy, x, gain, eps):
    """dy, x (N, F) and gain (F,) to dx (N, F), dgain (F,), db (F,)."""
    # BEGIN SOLUTION
    F = x.shape[1]
    centred = x - x.mean(axis=1)[:, None]
    spread = np.sqrt(np.einsum("nf,nf->n", centred, centred)[:, None] / F + eps)
    arriving = np.einsum("nf,f->nf", dy, gain)
    d_spread = -np.einsum("nf,nf->n", arriving, centred)[:, None] / spread**2
    d_centred = arriving / spread + d_spread * centred / (F * spread)
    dx = d_centred - d_centred.sum(axis=1)[:, None] / F
    return dx, np.einsum("nf,nf->f", dy, centred / spread), dy.sum(axis=0)
    # END SOLUTION


# %%
print(check("10/ex4", layer_norm_backward))

# %% [markdown]
# ## Sources
#
# Glorot and Bengio 2010; Saxe, McClelland and Ganguli 2014 (orthogonal); Jozefowicz, Zaremba and Sutskever 2015 (forget bias).
# Pascanu, Mikolov and Bengio 2013 (clipping). Kingma and Ba 2015 (Adam); Loshchilov and Hutter 2017 (cosine). Srivastava et
# al. 2014; Gal and Ghahramani 2016 (dropout). Ioffe and Szegedy 2015; Ba, Kiros and Hinton 2016 (normalisation).
