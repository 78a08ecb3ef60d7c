"""Lesson 11, characters: bits, temperature, streams, and the k likeliest."""

import numpy as np

from scratchnet.arrays import Array
from scratchnet_course.exercise import Arguments, Exercise, Wrong


def bits_cases(rng: np.random.Generator) -> list[Arguments]:
    """One step, then streams; logits of which exp overflows."""
    found = []
    for T, N, K, size in ((1, 1, 3, 1.0), (4, 2, 5, 2.0), (3, 3, 4, 1.0)):
        found.append({"logits": size * rng.standard_normal((T, N, K)), "target": rng.integers(0, K, (T, N))})
    large = found[-1]["logits"] + 2000
    return [*found, {"logits": large, "target": found[-1]["target"]}]


def bits_per_character(logits: Array, target: Array) -> float:
    """Log softmax of the right ones, in bits."""
    a = logits - logits.max(axis=-1, keepdims=True)
    log_p = a - np.log(np.exp(a).sum(axis=-1, keepdims=True))
    right = np.take_along_axis(log_p, target[..., None], axis=-1)
    return -float(np.mean(right)) / float(np.log(2))


BITS = (
    Wrong("nats in place of bits", "Divide by ln 2.", ((" / float(np.log(2))", ""),)),
    Wrong("multiplied by ln 2", "A nat is more than a bit: divide by ln 2.", ((" / float(np.log(2))", " * float(np.log(2))"),)),
    Wrong("the sum in place of the mean", "Per character: the mean over steps and streams.", (("np.mean(right)", "np.sum(right)"),)),
    Wrong("the sum over steps, the mean over streams", "Per character: the mean over both.", (("np.mean(right)", "np.mean(np.sum(right, axis=0))"),)),
    Wrong("all classes are averaged", "Only the probability of the character that came.", (("np.mean(right)", "np.mean(log_p)"),)),
    Wrong("the entropy of the prediction", "What counts is the character that came, not what the model believes.", (("np.mean(right)", "np.mean(np.sum(np.exp(log_p) * log_p, axis=-1))"),)),
    Wrong("the sign is turned", "The mean of -log p, and positive.", (("-float(", "float("),)),
    Wrong("the log of the mean probability", "The mean of the logarithms: what counts is their product.", (("np.mean(right)", "np.log(np.mean(np.exp(right)))"),)),
)  # fmt: skip


def heated_cases(rng: np.random.Generator) -> list[Arguments]:
    """Cold, as it is, and hot."""
    return [{"logits": 2 * rng.standard_normal((N, K)), "temperature": t} for N, K, t in ((1, 3, 0.5), (2, 5, 0.8), (3, 4, 2.0))]


def heated(logits: Array, temperature: float) -> tuple[Array, Array]:
    """Divide, softmax, entropy."""
    z = logits / temperature
    e = np.exp(z - z.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    entropy = -(p * np.log2(p)).sum(axis=1)
    return p, entropy


HEATED = (
    Wrong("multiplied by the temperature", "Divide: a low temperature sharpens.", (("logits / temperature", "logits * temperature"),)),
    Wrong("the temperature is left out", "softmax(logits / temperature).", (("logits / temperature", "logits"),)),
    Wrong("the probabilities are divided", "The temperature belongs to the logits; a divided probability does not sum to one.", (("logits / temperature", "logits"), ("p = e / e.sum(axis=1, keepdims=True)", "p = e / e.sum(axis=1, keepdims=True) / temperature"))),
    Wrong("the softmax goes over all rows", "Each row is a choice of its own.", (("e = np.exp(z - z.max(axis=1, keepdims=True))", "e = np.exp(z - z.max())"), ("e.sum(axis=1, keepdims=True)", "e.sum()"))),
    Wrong("the softmax goes down the columns", "Along the last axis: the K characters compete.", (("e = np.exp(z - z.max(axis=1, keepdims=True))", "e = np.exp(z)"), ("e.sum(axis=1, keepdims=True)", "e.sum(axis=0)"))),
    Wrong("the entropy in nats", "In bits: log2.", (("np.log2(p)", "np.log(p)"),)),
    Wrong("the entropy's sign is turned", "-sum p log2 p is positive.", (("-(p * np.log2(p))", "(p * np.log2(p))"),)),
    Wrong("the mean of log p", "Each log p counts with its p.", (("-(p * np.log2(p)).sum(axis=1)", "-np.log2(p).mean(axis=1)"),)),
)  # fmt: skip


def cut_cases(rng: np.random.Generator) -> list[Arguments]:
    """One stream, then several: with something left over, and with nothing."""
    return [{"tokens": rng.permutation(M), "count": n} for M, n in ((5, 1), (20, 3), (13, 4), (12, 4))]


def cut(tokens: Array, count: int) -> tuple[Array, Array]:
    """Rows of the text become columns."""
    T = (len(tokens) - 1) // count
    end = T * count
    x = tokens[:end].reshape(count, T).T
    target = tokens[1 : end + 1].reshape(count, T).T
    return x, target


CUT = (
    Wrong("the target is not shifted", "The target is the next character, one step ahead.", (("tokens[1 : end + 1]", "tokens[:end]"),)),
    Wrong("the text runs across the streams", "Stream n goes on in its own column: cut the text into rows first, then turn.", (("tokens[:end].reshape(count, T).T", "tokens[:end].reshape(T, count)"), ("tokens[1 : end + 1].reshape(count, T).T", "tokens[1 : end + 1].reshape(T, count)"))),
    Wrong("batch first", "Time first: (T, count).", (("tokens[:end].reshape(count, T).T", "tokens[:end].reshape(count, T)"), ("tokens[1 : end + 1].reshape(count, T).T", "tokens[1 : end + 1].reshape(count, T)"))),
    Wrong("the target looks back", "One step ahead, not behind.", (("tokens[1 : end + 1].reshape(count, T).T", "np.roll(tokens, 1)[:end].reshape(count, T).T"),)),
    Wrong("the last target of a stream is its own first", "The last target is the first character of the next stream.", (("tokens[1 : end + 1].reshape(count, T).T", "np.roll(tokens[:end].reshape(count, T), -1, axis=1).T"),)),
    Wrong("the target is two steps ahead", "One step ahead.", (("tokens[1 : end + 1]", "np.append(tokens, tokens)[2 : end + 2]"),)),
    Wrong("the beginning is left out, not the end", "Begin with the first token; what is left over stands at the end.", (("x = tokens[:end]", "x = tokens[len(tokens) - 1 - end : -1]"), ("tokens[1 : end + 1]", "tokens[len(tokens) - end :]"))),
)  # fmt: skip


def top_cases(rng: np.random.Generator) -> list[Arguments]:
    """One row, then several; all that there are."""
    return [{"logits": 1.5 * rng.standard_normal((N, K)) - 1, "k": k} for N, K, k in ((1, 4, 2), (3, 6, 3), (2, 5, 1), (4, 5, 4))]


def top_k(logits: Array, k: int) -> Array:
    """Minus infinity for the others, then a softmax."""
    least = np.sort(logits, axis=1)[:, -k][:, None]
    z = np.where(logits >= least, logits, -np.inf)
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


TOP = (
    Wrong("the rest does not sum to one", "Divide by the sum of those that are kept.", (("e.sum(axis=1, keepdims=True)", "np.exp(logits - logits.max(axis=1, keepdims=True)).sum(axis=1, keepdims=True)"),)),
    Wrong("the others get a logit of 0", "exp(0) is 1: minus infinity makes a probability of zero.", (("-np.inf", "0.0"),)),
    Wrong("k + 1 are kept", "The k largest, counted from the end of the sorted row: index -k.", (("[:, -k][:, None]", "[:, max(-k - 1, -logits.shape[1])][:, None]"),)),
    Wrong("the k smallest are kept", "The largest logits are the likeliest.", (("[:, -k][:, None]", "[:, k - 1][:, None]"), ("logits >= least", "logits <= least"))),
    Wrong("one bound for all rows", "Each row has its own k largest.", (("np.sort(logits, axis=1)[:, -k][:, None]", "np.sort(logits, axis=1)[0, -k]"), ("z - z.max(axis=1, keepdims=True)", "z"), ("e.sum(axis=1, keepdims=True)", "np.maximum(e.sum(axis=1, keepdims=True), 1e-300)"))),
    Wrong("all k alike", "Those that are kept keep their ratio.", (("np.exp(z - z.max(axis=1, keepdims=True))", "np.exp(z * 0.0 - 0.0) * (logits >= least)"), ("-np.inf", "0.0"))),
    Wrong("nothing is left out", "All but the k largest get 0.", (("np.where(logits >= least, logits, -np.inf)", "logits"),)),
)  # fmt: skip

EXERCISES = [
    Exercise(
        id="11/ex1", title="Bits per character", function="bits_per_character", outputs=("bits",), right=bits_per_character,
        cases=bits_cases, wrongs=BITS, paragraph="Bits per character",
        hints=("log p = logit - log(sum exp(logits)).", "Take off the largest logit first.", "One bit is ln 2 nats."),
    ),
    Exercise(
        id="11/ex2", title="Temperature", function="heated", outputs=("p", "entropy"), right=heated, cases=heated_cases,
        wrongs=HEATED, paragraph="Temperature",
        hints=("Divide the logits, then the softmax along the last axis.", "Entropy: -sum p log2 p of each row."),
    ),
    Exercise(
        id="11/ex3", title="Streams", function="cut", outputs=("x", "target"), right=cut, cases=cut_cases, wrongs=CUT,
        timed=("x", "target"), backwards=False, paragraph="Streams",
        hints=("T = (M - 1) // count: the last target must exist.", "Stream n reads tokens[n * T] to tokens[n * T + T - 1]."),
    ),
    Exercise(
        id="11/ex4", title="The k likeliest", function="top_k", outputs=("p",), right=top_k, cases=top_cases, wrongs=TOP,
        paragraph="Temperature",
        hints=("Sort a row: which is the smallest logit that is kept?", "The softmax of the kept ones alone."),
    ),
]  # fmt: skip
