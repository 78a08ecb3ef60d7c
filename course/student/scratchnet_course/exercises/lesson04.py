"""Lesson 04, vanishing and exploding: factors, the spectral radius, the product of Jacobians, clipping by the global norm."""

import numpy as np

from scratchnet.arrays import Array
from scratchnet_course.exercise import Arguments, Exercise, Wrong


def factor_cases(rng: np.random.Generator) -> list[Arguments]:
    """Halving and doubling, then factors near 1 on both sides."""
    slow = [rng.uniform(0.85, 0.98), rng.uniform(1.02, 1.15), rng.uniform(0.3, 0.7), rng.uniform(1.02, 1.15)]
    known: list[Arguments] = [{"g": 0.5, "factor": 100.0}, {"g": 2.0, "factor": 100.0}]
    return known + [{"g": float(g), "factor": float(rng.uniform(50, 5000))} for g in slow]


def steps_to_factor(g: float, factor: float) -> float:
    """n |log g| >= log factor."""
    return float(np.ceil(np.log(factor) / np.abs(np.log(g))))


FACTOR = (
    Wrong("one step too few", "Whole steps: round up, not down.", (("np.ceil", "np.floor"),)),
    Wrong("one step too many", "Where it has just been reached, no further step is needed: round up, and add nothing.", (("np.abs(np.log(g))))", "np.abs(np.log(g)))) + 1"),)),
    Wrong("the sign of log g is kept", "log g is negative for g under 1; a number of steps is not.", (("np.abs(np.log(g))", "np.log(g)"),)),
    Wrong("a line in place of an exponential", "Each step takes its share of what is left, not of the beginning.", (("np.log(factor) / np.abs(np.log(g))", "factor / np.abs(1 - g)"),)),
    Wrong("logarithms of two bases", "Above and below the line the same logarithm.", (("np.log(factor)", "np.log10(factor)"),)),
)  # fmt: skip


def radius_cases(rng: np.random.Generator) -> list[Arguments]:
    """Negative eigenvalues, complex ones, then a random matrix."""
    turn = np.array([[0.0, -2.0], [0.5, 0.3]])
    negative = np.array([[-2.0, 1.0], [0.5, 0.5]])
    return [{"W": W, "radius": float(rng.uniform(0.5, 1.5))} for W in (negative, turn, rng.standard_normal((5, 5)))]


def with_radius(W: Array, radius: float) -> Array:
    """Eigenvalues are multiplied as the matrix is."""
    values = np.linalg.eigvals(W)
    largest = np.abs(values).max()
    return W * (radius / largest)


RADIUS = (
    Wrong("the largest singular value is set", "The spectral radius is of eigenvalues; singular values say what a single step can do.", (("np.abs(values).max()", "np.linalg.norm(W, 2)"),)),
    Wrong("the Frobenius norm is set", "The spectral radius is the largest absolute eigenvalue.", (("np.abs(values).max()", "np.linalg.norm(W)"),)),
    Wrong("the largest real part is taken", "Absolute values: -2 and 2i both double a vector's length at every step.", (("np.abs(values).max()", "values.real.max()"),)),
    Wrong("the real parts' absolute value is taken", "Of a complex eigenvalue it is the absolute value that counts, sqrt(re^2 + im^2).", (("np.abs(values)", "np.abs(values.real)"),)),
    Wrong("W is multiplied without dividing", "First divide by the radius that W has.", (("radius / largest", "radius"),)),
    Wrong("the largest element is set", "Elements are no eigenvalues.", (("np.abs(values).max()", "np.abs(W).max()"),)),
)  # fmt: skip


def product_cases(rng: np.random.Generator) -> list[Arguments]:
    """One unit, one step, many steps."""
    sizes = ((3, 1), (1, 3), (5, 4))
    return [{"h": rng.uniform(-0.9, 0.9, (T, H)), "W_h": rng.standard_normal((H, H)) / np.sqrt(H)} for T, H in sizes]


def whole_way(h: Array, W_h: Array) -> Array:
    """The last step's Jacobian stands on the left."""
    product = np.eye(len(W_h))
    for state in h:
        J = (1 - state**2)[:, None] * W_h.T
        product = J @ product
    return product


PRODUCT = (
    Wrong("the factors stand in the wrong order", "The initial state meets J_0 first: it stands on the right.", (("J @ product", "product @ J"),), "Many steps: the product"),
    Wrong("W_h is not transposed", "a_j = sum_k h'_k W_h[k, j]: the derivative of a_j by h'_k is W_h[k, j].", (("W_h.T", "W_h"),)),
    Wrong("the slopes stand on the wrong side", "1 - h_j^2 belongs to the new unit j: it multiplies row j.", (("(1 - state**2)[:, None]", "(1 - state**2)[None, :]"),)),
    Wrong("the slopes are left out", "h = tanh(a): each step has its 1 - h^2.", (("(1 - state**2)[:, None] * W_h.T", "W_h.T"),)),
    Wrong("the slope is 1 - h", "The derivative of tanh is 1 - h^2.", (("1 - state**2", "1 - state"),)),
    Wrong("the last step is left out", "T steps, T factors.", (("in h:", "in h[:-1]:"),), "Many steps: the product"),
    Wrong("it is transposed", "Entry [j, k] is the last state's unit j by the initial state's unit k.", (("return product", "return product.T"),), "Many steps: the product"),
)  # fmt: skip


def clip_cases(rng: np.random.Generator) -> list[Arguments]:
    """A short gradient, a long one, and one with a single large tensor."""
    found: list[Arguments] = []
    for D, H, most, large in ((1, 2, 50.0, 1.0), (2, 3, 2.0, 1.0), (3, 4, 5.0, 20.0)):
        grads = {"dW_x": rng.standard_normal((D, H)), "dW_h": large * rng.standard_normal((H, H)), "db": rng.standard_normal(H)}
        found.append({**{name: 2 * g + np.sign(g) for name, g in grads.items()}, "most": most})
    return found


def clip_together(dW_x: Array, dW_h: Array, db: Array, most: float) -> tuple[Array, Array, Array, float]:
    """One factor for all."""
    norm = float(np.sqrt(sum(np.sum(g**2) for g in (dW_x, dW_h, db))))
    factor = min(1.0, most / norm)
    return dW_x * factor, dW_h * factor, db * factor, norm


CLIP = (
    Wrong("each tensor is clipped by its own norm", "One norm and one factor for all: else the step turns.", (("return dW_x * factor, dW_h * factor, db * factor, norm", "return *(g * min(1.0, most / float(np.linalg.norm(g))) for g in (dW_x, dW_h, db)), norm"),)),
    Wrong("every element is cut off", "By value no direction is kept; the norm is of all elements together.", (("return dW_x * factor, dW_h * factor, db * factor", "return *(np.clip(g, -most, most) for g in (dW_x, dW_h, db))"),)),
    Wrong("a short gradient is made longer", "Clipping only shortens: the factor is at most 1.", (("min(1.0, most / norm)", "most / norm"),)),
    Wrong("the root is forgotten", "The norm is the root of the sum of squares.", (("float(np.sqrt(sum(np.sum(g**2) for g in (dW_x, dW_h, db))))", "float(sum(np.sum(g**2) for g in (dW_x, dW_h, db)))"),)),
    Wrong("the norms of the tensors are added", "Squares add up, norms do not.", (("np.sqrt(sum(np.sum(g**2) for g in (dW_x, dW_h, db)))", "sum(np.linalg.norm(g) for g in (dW_x, dW_h, db))"),)),
    Wrong("the largest tensor's norm is taken", "The norm of all together is the root of the sum of all squares.", (("np.sqrt(sum(np.sum(g**2) for g in (dW_x, dW_h, db)))", "max(np.linalg.norm(g) for g in (dW_x, dW_h, db))"),)),
    Wrong("the bias is left out of the norm", "All gradients together, also the small ones.", (("np.sum(g**2) for g in (dW_x, dW_h, db)", "np.sum(g**2) for g in (dW_x, dW_h)"),)),
    Wrong("the bias is not clipped", "One factor for all, or the direction changes.", (("db * factor", "db"),)),
    Wrong("the norm after clipping is returned", "The norm as it was before: the number to plot.", (("factor, norm", "factor, min(norm, most)"),)),
    Wrong("a mean in place of a sum", "The norm is the root of the sum of squares; a mean would depend on the number of weights.", (("sum(np.sum(g**2) for g in (dW_x, dW_h, db))", "np.mean(np.concatenate([g.ravel() ** 2 for g in (dW_x, dW_h, db)]))"),)),
)  # fmt: skip

KEEPS = "Clipping: which keeps the direction"
EXERCISES = [
    Exercise(
        id="04/ex1", title="How many steps until a factor?", function="steps_to_factor", outputs=("n",),
        right=steps_to_factor, cases=factor_cases, wrongs=FACTOR, paragraph="One factor for each step",
        hints=("g^n = factor is n log g = log factor.", "For g under 1, log g is negative: take its absolute value.", "Round up."),
    ),
    Exercise(
        id="04/ex2", title="Set the spectral radius", function="with_radius", outputs=("W",), right=with_radius,
        cases=radius_cases, wrongs=RADIUS, paragraph="The spectral radius",
        hints=("If W has the eigenvalue v, then 2 W has 2 v.", "np.linalg.eigvals may return complex numbers; np.abs knows them."),
    ),
    Exercise(
        id="04/ex3", title="From the last state to the initial one", function="whole_way", outputs=("J",), right=whole_way,
        cases=product_cases, wrongs=PRODUCT, paragraph="The Jacobian of a step",
        hints=(
            "One step is diag(1 - h^2) W_h^T.",
            "Start from the identity, and put each further step on the left.",
            "Or walk back: a gradient is multiplied from the right by one Jacobian after the other.",
        ),
    ),
    Exercise(
        id="04/ex4", title="Clip by the global norm", function="clip_together", outputs=("dW_x", "dW_h", "db", "norm"),
        right=clip_together, cases=clip_cases, wrongs=CLIP, paragraph=KEEPS,
        hints=("First the norm of all, then one factor.", "The factor is min(1, most / norm)."),
    ),
]  # fmt: skip
