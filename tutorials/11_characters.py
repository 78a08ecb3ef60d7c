# %% [markdown]
# # 11  A character model, and what its cells listen to
#
# **Goal.** You can train a network that writes text, say in bits how good it is and against what, and look into a cell to see
# what it keeps.
#
# You need: 08 for stateful BPTT, 06 for the LSTM.

# %%
# %matplotlib inline
from collections import Counter, defaultdict
from pydoc_data.topics import topics

import numpy as np

from scratchnet import plots
from scratchnet_course import check
from scratchnet.losses import softmax_cross_entropy
from scratchnet.models import Vocabulary, character_model, sample, streams
from scratchnet.training import Adam, Clip, Cosine, fit_stream

rng = np.random.default_rng(11)

# %% [markdown]
# ## The text
#
# Python brings a text along: its own language reference, as `help()` shows it. We learn from 60,000 characters and keep the
# next 4,000 back. (Versions of Python differ in it, and so will your numbers, a little.)

# %%
text = "\n".join(topics[name] for name in sorted(topics)).encode("ascii", "ignore").decode()
past, held = text[:60_000], text[60_000:64_000]
vocabulary = Vocabulary.of(past + held)
K = len(vocabulary)
print(f"{K} different characters; the text begins: {past[:60]!r}")
assert vocabulary.decode(vocabulary.encode("def f(x):")) == "def f(x):"

# %% [markdown]
# ## Streams
#
# Training is stateful: the state at the end of a window is where the next one starts. So that a batch has 32 sequences, the
# text is cut into 32 long streams that run side by side; stream n goes on in its own row from window to window. The target is
# the same text, one character ahead.

# %%
x, target = streams(vocabulary.encode(past), 32)
print(f"x {x.shape}: {x.shape[0]} steps of 32 streams")
for n in (0, 1):
    print(
        f"stream {n} reads {vocabulary.decode(x[:24, n])!r} and should say {vocabulary.decode(target[:24, n])!r}"
    )
np.testing.assert_array_equal(x[1:], target[:-1])
np.testing.assert_array_equal(x[:, 1], vocabulary.encode(past)[x.shape[0] : 2 * x.shape[0]])

# %% [markdown]
# ## Bits per character
#
# The loss is the mean of -ln p, where p is what the model gave to the character that came. Divided by ln 2 that is in bits: so
# many yes-or-no questions are left for each character. Lines to compare with: all K alike; how often each character comes; how
# often it comes after the last one, or the last two or four (each mixed with the shorter ones, so that nothing is impossible).


# %%
def counts(past, order, trust=3.0):
    """Bits per character of a text by counts of ``order`` characters."""
    tables = [defaultdict(Counter) for _ in range(order)]
    for n, table in enumerate(tables):
        for t in range(n, len(past)):
            table[past[t - n : t]][past[t]] += 1

    def bits(text):
        total = 0.0
        for t in range(order, len(text)):
            p = 1 / K
            for n, table in enumerate(tables):
                found = table.get(text[t - n : t], Counter())
                p = (found[text[t]] + trust * p) / (found.total() + trust)
            total -= np.log2(p)
        return total / (len(text) - order)

    return bits


lines = {"all alike": np.log2(K)}
for name, order in (("one character", 1), ("pairs", 2), ("threes", 3), ("fives", 5)):
    lines[name] = counts(past, order)(past[-order:] + held)
print(", ".join(f"{name} {bits:.2f}" for name, bits in lines.items()))
assert lines["all alike"] > lines["one character"] > lines["pairs"] > lines["threes"]

# %% [markdown]
# ## Training
#
# An embedding, an LSTM of 96 units, and an output for each character; windows of 40 steps, fourteen times through the text.


# %%
def bits_of(model, reset=None):
    """Bits per character of the held-back text, behind 200 to warm up; the state is forgotten every ``reset`` characters."""
    tokens = vocabulary.encode(past[-200:] + held)
    outputs = []
    every = reset or len(tokens)
    for start in range(0, len(tokens) - 1, every):
        outputs.append(model.forward(tokens[start : min(start + every, len(tokens) - 1), None])[0])
    return softmax_cross_entropy(np.concatenate(outputs)[199:], tokens[200:, None])[0] / np.log(2)


model = character_model(K, 96, features=24, rng=rng).astype(np.float32)
untrained = bits_of(model)
optimizer = Adam(0.01)
history = fit_stream(
    model,
    (x, target),
    optimizer,
    epochs=14,
    k1=40,
    loss=softmax_cross_entropy,
    callbacks=[Clip(1.0), Cosine(optimizer, 14)],
    progress=False,
)
reached = bits_of(model)
print(f"before {untrained:.2f}, after {reached:.2f} bits per character on the held-back text")
assert abs(untrained - lines["all alike"]) < 0.2  # knows nothing: all characters alike
assert reached < lines["threes"]
assert history.column("train_loss")[-1] / np.log(2) < reached - 0.2  # it knows its own text better
shown = {name: bits for name, bits in lines.items() if name != "all alike"}
plots.learning_curves(
    {"LSTM, text it learns from": np.array(history.column("loss")) / np.log(2)},
    smooth=20,
    lines=shown,
    ylabel="bits per character",
    xlabel="window",
    title="Dotted: counting, on the validation text",
)

# %% [markdown]
# An honest look at the lines: with so little text, a table of fives is about as good as this network. The recipe
# `tutorials/recipes/characters.py` takes more text and more time. And look at the gap: on the text that it learns from the
# network is far below, since it begins to know it by heart.
#
# Does it use what lies far back? Let it forget its state every few characters, and see what that costs:

# %%
cost = {reset: bits_of(model, reset) for reset in (1, 5, 20, 100)}
print(
    ", ".join(f"every {reset}: {bits:.2f}" for reset, bits in cost.items()),
    f"; never: {reached:.2f}",
)
assert cost[1] > cost[5] > cost[20] > reached

# %% [markdown]
# ## Temperature
#
# To write, draw a character from the model's probabilities, feed it back, and go on. Dividing the logits by a temperature
# first sharpens (below 1) or flattens (above 1) the choice; at 0 the likeliest alone is left.
#
#     p = softmax(logits / temperature)
#
# `top_k` draws only among the k likeliest: the long tail of unlikely characters, together, is not so unlikely.

# %%
for temperature, top_k in ((0.3, None), (0.8, None), (0.8, 5), (1.2, None)):
    written = sample(
        model,
        vocabulary,
        "The ",
        160,
        rng=np.random.default_rng(1),
        temperature=temperature,
        top_k=top_k,
    )
    print(f"temperature {temperature}, top_k {top_k}:\n  The {written!r}\n")

# %% [markdown]
# ## What a cell listens to
#
# For each of the 96 cells we have a curve over the text, tanh(c). Here is a list of things one could keep track of while
# reading; for each of them the cell that goes with it most closely, by correlation. It is the best of 96: some correlation
# would be found by chance, so the same is done with the properties moved by 1000 characters.

# %%
tokens = vocabulary.encode(past[-200:] + held)
_, cache = model.forward(tokens[:-1, None])
read = (past[-200:] + held)[200:-1]
c = np.tanh(cache.caches[1].cell_caches[0].c[201:, 0])  # (steps, 96), after each character
place, depth, quote = np.zeros(len(read)), np.zeros(len(read)), np.zeros(len(read))
for t, letter in enumerate(read):
    place[t] = 0 if letter == "\n" else place[t - 1] + 1
    quote[t] = (quote[t - 1] + (letter == '"')) % 2
    depth[t] = min(max(depth[t - 1] + (letter == "(") - (letter == ")"), 0), 1)
properties = {
    "place in the line": place,
    "inside brackets": depth,
    "inside quotation marks": quote,
    "a space": np.array([letter == " " for letter in read], float),
    "a capital letter": np.array([letter.isupper() for letter in read], float),
}


def correlations(values):
    """Of a property with each cell, (96,)."""
    z = (c - c.mean(axis=0)) / (c.std(axis=0) + 1e-9)
    return (values - values.mean()) @ z / (len(values) * values.std() + 1e-9)


best = {}
for name, values in properties.items():
    r, chance = correlations(values), np.abs(correlations(np.roll(values, 1000))).max()
    unit = int(np.abs(r).argmax())
    best[name] = unit, r[unit]
    print(
        f"{name:<24} cell {unit:>2}, correlation {r[unit]:+.2f}   (moved text, best of 96: {chance:.2f})"
    )
assert max(abs(r) for _, r in best.values()) > 0.4
unit, r = best["inside quotation marks"]
start = max(
    (t for t in range(len(read) - 900) if read[t - 1] == "\n"),
    key=lambda t: read[t : t + 900].count('"'),
)
plots.text(
    c[start : start + 900, unit],
    read[start : start + 900],
    columns=80,
    title=f"tanh(c) of cell {unit}, the one closest to 'inside quotation marks' (correlation {r:+.2f})",
)

# %% [markdown]
# Such pictures are easily over-read. Most cells have no meaning that a person could name; the famous ones were searched for.
#
# ## What goes wrong in practice
#
# - The target is not shifted: the model learns to copy its input, and the loss is splendid.
# - Streams are cut so that a row does not go on where it ended: the carried state belongs to another place in the text.
# - Bits and nats are mixed, or a loss per window is compared with one per character.
# - The vocabulary is made from the learning part alone, and the first new character ends the test.
# - Quality is judged by samples at a flattering temperature.
# - A "quotation cell" is shown without the number of cells that were looked through.

# %% [markdown]
# ## Exercise 11/ex1: Bits per character
#
# Return the mean over all steps and streams of -log2 p(target), where p is the softmax of the logits. Large logits must not
# overflow.

# %%
# exercise 11/ex1
import numpy as np


def bits_per_character(logits, target):
    """logits (T, N, K), target (T, N) whole numbers below K, to one number."""
    # BEGIN SOLUTION
    highest = logits.max(-1)
    normaliser = highest + np.log(np.exp(logits - highest[..., None]).sum(-1))
    scores = np.einsum("tnk,tnk->tn", logits, np.eye(logits.shape[-1])[target])
    return float(np.average(normaliser - scores) / np.log(2))
    # END SOLUTION


# %%
print(check("11/ex1", bits_per_character))

# %% [markdown]
# ## Exercise 11/ex2: Temperature
#
# Return the probabilities softmax(logits / temperature), and the entropy of each row in bits.

# %%
# exercise 11/ex2
import numpy as np


def heated(logits, temperature):
    """logits (N, K), temperature > 0, to probabilities (N, K) and entropies (N,)."""
    # BEGIN SOLUTION
    rows = []
    for row in logits:
        weights = np.exp((row - row.max()) / temperature)
        rows.append(weights / weights.sum())
    p = np.array(rows)
    return p, np.array([-(q * np.log2(q)).sum() for q in p])
    # END SOLUTION


# %%
print(check("11/ex2", heated))

# %% [markdown]
# ## Exercise 11/ex3: Streams
#
# Cut tokens (M,) into `count` streams that run side by side, as long as possible, and their targets one step ahead. What is
# left over is dropped; every target must exist.

# %%
# exercise 11/ex3
import numpy as np


def cut(tokens, count):
    """tokens (M,) to x (T, count) and target (T, count), with T = (M - 1) // count."""
    # BEGIN SOLUTION
    T = (tokens.size - 1) // count
    x, target = np.empty((T, count), int), np.empty((T, count), int)
    for n in range(count):
        for t in range(T):
            x[t, n], target[t, n] = tokens[n * T + t], tokens[n * T + t + 1]
    return x, target
    # END SOLUTION


# %%
print(check("11/ex3", cut))

# %% [markdown]
# ## Exercise 11/ex4: The k likeliest
#
# Return the probabilities when only the k largest logits of each row may be drawn: the others get 0, and the rest sums to 1.
# No two logits of a row are equal.

# %%
# exercise 11/ex4
import numpy as np


def top_k(logits, k):
    """logits (N, K) and 1 <= k <= K, to probabilities (N, K)."""
    # BEGIN SOLUTION
    p = np.zeros(logits.shape)
    for n, row in enumerate(logits):
        chosen = np.argpartition(row, -k)[-k:]
        weights = np.exp(row[chosen] - row.max())
        p[n, chosen] = weights / weights.sum()
    return p
    # END SOLUTION


# %%
print(check("11/ex4", top_k))

# %% [markdown]
# ## Sources
#
# Graves 2013, Generating sequences with recurrent neural networks. Karpathy, Johnson and Fei-Fei 2015, Visualizing and
# understanding recurrent networks. Shannon 1951, Prediction and entropy of printed English.
