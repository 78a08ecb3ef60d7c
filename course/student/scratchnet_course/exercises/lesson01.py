"""Lesson 01, the multilayer perceptron: one weight, one layer, two layers, and the softmax's loss."""

import numpy as np

from scratchnet.arrays import Array
from scratchnet.elementwise import d_tanh
from scratchnet_course.exercise import Arguments, Exercise, Wrong


def weight_cases(rng: np.random.Generator) -> list[Arguments]:
    """Four times four numbers."""
    return [{name: float(rng.uniform(0.3, 1.5)) * float(rng.choice([-1, 1])) for name in ("w", "b", "x", "target")} for _ in range(4)]


def one_weight(w: float, b: float, x: float, target: float) -> tuple[float, float, float]:
    """The chain rule along one road."""
    y = np.tanh(w * x + b)
    dy = 2 * (y - target)
    da = dy * (1 - y**2)
    dw, db, dx = da * x, da, da * w
    return dw, db, dx


ONE_WEIGHT = (
    Wrong("tanh' is left out", "y = tanh(a): from y to a goes 1 - y^2.", (("dy * (1 - y**2)", "dy"),)),
    Wrong("tanh' is taken of the pre-activation", "1 - y^2 is in terms of the output y, not of a.", (("1 - y**2", "1 - (w * x + b) ** 2"),)),
    Wrong("tanh' is written as 1 - y", "The derivative of tanh in terms of its output is 1 - y^2.", (("1 - y**2", "1 - y"),)),
    Wrong("the 2 of the square is missing", "L = (y - target)^2 has the slope 2 (y - target).", (("2 * (y - target)", "(y - target)"),)),
    Wrong("the sign of the error is turned", "L rises with y where y is above the target.", (("(y - target)", "(target - y)"),)),
    Wrong("dw and dx are exchanged", "a = w x: what reaches w is da times x.", (("da * x, da, da * w", "da * w, da, da * x"),)),
)  # fmt: skip


def linear_cases(rng: np.random.Generator) -> list[Arguments]:
    """One row, then rectangles, then a square, where a transpose still fits."""
    sizes = ((1, 1, 1), (4, 3, 2), (3, 3, 3))
    return [
        {"dy": rng.standard_normal((N, K)), "x": rng.standard_normal((N, D)), "W": rng.standard_normal((D, K))}
        for N, D, K in sizes
    ]  # fmt: skip


def linear_backward(dy: Array, x: Array, W: Array) -> tuple[Array, Array, Array]:
    """Undoes y = x W + b."""
    dx = dy @ W.T
    dW = x.T @ dy
    db = dy.sum(axis=0)
    return dx, dW, db


LINEAR = (
    Wrong("db is averaged over the rows", "The loss's own mean is in dy already: rows are summed.", (("dy.sum(axis=0)", "dy.mean(axis=0)"),)),
    Wrong("dW is averaged over the rows", "The loss's own mean is in dy already: rows are summed.", (("x.T @ dy", "x.T @ dy / len(x)"),)),
    Wrong("dW is made with the first row alone", "Every row used the weight: the sum runs over all.", (("x.T @ dy", "x[:1].T @ dy[:1]"),)),
    Wrong("the sign is turned", "The gradient points uphill; it is the step that goes the other way.", (("x.T @ dy", "-x.T @ dy"),)),
)  # fmt: skip


def mlp_cases(rng: np.random.Generator) -> list[Arguments]:
    """One row and one unit, then more."""
    found = []
    for N, D, H, K in ((1, 1, 1, 1), (5, 3, 4, 2)):
        weights = {"W1": (D, H), "b1": (H,), "W2": (H, K), "b2": (K,)}
        numbers = {name: rng.standard_normal(shape) for name, shape in weights.items()}
        found.append({"x": rng.standard_normal((N, D)), "target": rng.standard_normal((N, K)), **numbers})
    return found


def mlp_backward(x: Array, target: Array, W1: Array, b1: Array, W2: Array, b2: Array) -> dict[str, Array]:
    """Two layers, undone from the last line to the first."""
    h = np.tanh(x @ W1 + b1)
    y = h @ W2 + b2
    dy = 2 * (y - target) / y.size
    dh = dy @ W2.T
    da = dh * d_tanh(h)
    return {"dW1": x.T @ da, "db1": da.sum(axis=0), "dW2": h.T @ dy, "db2": dy.sum(axis=0)}


MLP = (
    Wrong("the activation is not undone", "h = tanh(a): on the way back stands 1 - h^2.", (("dh * d_tanh(h)", "dh"),), "Two layers: the same, in reverse"),
    Wrong("the mean is over the rows only", "The mean of L runs over all N K numbers.", (("/ y.size", "/ len(y)"),), "The loss's own gradient"),
    Wrong("the mean is forgotten", "L is a mean: its gradient is divided by the count, once.", (("(y - target) / y.size", "(y - target)"),), "The loss's own gradient"),
    Wrong("divided by the count twice", "The division belongs to the loss, and only once.", (("x.T @ da", "x.T @ da / y.size"),), "The loss's own gradient"),
    Wrong("the slope is taken before the tanh", "1 - h^2 is in terms of the output h.", (("d_tanh(h)", "d_tanh(x @ W1 + b1)"),), "Two layers: the same, in reverse"),
    Wrong("the sign of the error is turned", "L rises with y where y is above the target.", (("(y - target)", "(target - y)"),), "The loss's own gradient"),
    Wrong("the 2 of the square is missing", "(y - target)^2 has the slope 2 (y - target).", (("2 * (y - target)", "(y - target)"),), "The loss's own gradient"),
    Wrong("dW2 is made with the pre-activation", "W2 met h, behind the tanh.", (("h.T @ dy", "(x @ W1 + b1).T @ dy"),), "A layer: three gradients"),
)  # fmt: skip


def softmax_cases(rng: np.random.Generator) -> list[Arguments]:
    """Two classes, several, and outputs so large that a bare exponential overflows."""
    found: list[Arguments] = []
    for N, K, shift in ((1, 2, 0.0), (4, 3, 0.0), (3, 5, 1000.0)):
        y = 2 * rng.standard_normal((N, K)) + shift * np.resize([1, -1], (N, 1))  # exp(1000) is infinite, exp(-1000) is zero
        found.append({"y": y, "labels": rng.integers(0, K, N).astype(np.int64)})
    return found


def softmax_loss(y: Array, labels: Array) -> tuple[float, Array]:
    """Cross-entropy of a softmax, and its gradient."""
    rows = np.arange(len(y))
    shifted = y - y.max(axis=1, keepdims=True)
    p = np.exp(shifted) / np.exp(shifted).sum(axis=1, keepdims=True)
    loss = -np.mean(np.log(p[rows, labels]))
    d = p.copy()
    d[rows, labels] -= 1
    return loss, d / len(y)


SOFTMAX = (
    Wrong("the one at the right class is forgotten", "dy = p - onehot: what one class gains the others lose.", (("    d[rows, labels] -= 1\n", ""),)),
    Wrong("the mean is in the loss and not in the gradient", "L is a mean over rows, and so is its gradient.", (("d / len(y)", "d"),)),
    Wrong("divided by the number of classes", "The mean runs over rows.", (("d / len(y)", "d / y.size"),)),
    Wrong("the sign is turned", "The loss falls as the right output rises: there the gradient is p - 1, negative.", (("return loss, d", "return loss, -d"),)),
    Wrong("the loss is a sum", "L is the mean over the rows.", (("-np.mean(", "-np.sum("),)),
    Wrong("loss and gradient are sums", "L is the mean over the rows, and so is its gradient.", (("-np.mean(", "-np.sum("), ("d / len(y)", "d"))),
)  # fmt: skip

EXERCISES = [
    Exercise(
        id="01/ex1", title="One weight", function="one_weight", outputs=("dw", "db", "dx"), right=one_weight,
        cases=weight_cases, wrongs=ONE_WEIGHT, paragraph="One number first",
        hints=("Name the steps: a = w x + b, y = tanh(a), L.", "Go back: dy, then da = dy (1 - y^2), then the three."),
    ),
    Exercise(
        id="01/ex2", title="A layer backwards", function="linear_backward", outputs=("dx", "dW", "db"), right=linear_backward,
        cases=linear_cases, wrongs=LINEAR, paragraph="A layer: three gradients",
        hints=("dW has W's shape: which product of x and dy has it?", "Each row adds x^T dy: a product with x transposed."),
    ),
    Exercise(
        id="01/ex3", title="Two layers backwards", function="mlp_backward", outputs=("dW1", "db1", "dW2", "db2"),
        right=mlp_backward, cases=mlp_cases, wrongs=MLP, paragraph="Two layers: the same, in reverse",
        hints=("Compute the forward pass first; you need h and y.", "dy = 2 (y - target) / (N K).", "da = dh (1 - h^2)."),
    ),
    Exercise(
        id="01/ex4", title="Softmax and cross-entropy", function="softmax_loss", outputs=("loss", "dy"), right=softmax_loss,
        cases=softmax_cases, wrongs=SOFTMAX, paragraph="The loss's own gradient",
        hints=("Shift by the largest number first: softmax does not notice.", "dy is p with one taken off at the label, over N."),
    ),
]  # fmt: skip
