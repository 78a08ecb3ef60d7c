"""The part of each time step in a weight's gradient, from the gradients of the step alone.

A weight's gradient is a sum over steps of products: dW_h = sum_t h[t-1]^T da[t], db = sum_t da[t].
Which array is multiplied with which differs from cell to cell, so it is looked up in the right
backward pass: the formula of a weight is the first product whose sum is the cell's own gradient.
Applied to the da of a foreign backward, it says what each of *its* steps adds.

``Program.weights`` says the same of a cell that can be watched, in operations. The search needs no
program, and it finds local variables such as the dm of lstm_norm, of which a foreign backward has
its own values.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from scratchnet.arrays import Array
from scratchnet.cells.sequences import zero_padding
from scratchnet.tracing.terms import Terms

Run: TypeAlias = Any  # a RunTrace, whose module imports this one


class Product(NamedTuple):
    """The gradient of one gate's block of a weight: sum over t of factor[t]^T gradient[t]."""

    factor: str  # "x", "h_prev", a field of the cache, or "" for a bias
    gradient: str  # "da_i"


Formulas = dict[str, list[Product]]  # "dW_h" -> one product for each gate's block


def formulas(right: Run) -> Formulas:
    """The formula of each weight's gradient that is such a sum; of the others there is none."""
    factors, gradients = _factors(right), _gradients(right)
    found = {}
    for name, param in right.params.items():
        if param.ndim > 2 or param.shape[-1] % right.H:
            continue
        parts = _blocks(right.grads[f"d{name}"], right)
        products = [
            next(_fitting(part, k, param.ndim, factors, gradients), None)
            for k, part in enumerate(parts)
        ]
        whole = [product for product in products if product is not None]
        if len(whole) == len(parts):
            found[f"d{name}"] = whole
    return found


def of_step(run: Run, which: Formulas, t: int) -> Terms:
    """The part of step t of ``run`` in each weight's gradient, where the run has what it takes."""
    gradients = _gradients(run)
    factors = {name: factor[t : t + 1] for name, factor in _factors(run).items()}
    found: Terms = {}
    for name, products in which.items():
        if all(product.gradient in gradients for product in products):
            ndim = run.params[name[1:]].ndim
            parts: list[Any] = [
                _product(factors[p.factor], gradients[p.gradient][t : t + 1], k, ndim)
                for k, p in enumerate(products)
            ]
            found[name] = np.concatenate(parts, axis=-1)
    return found


def norms(run: Run, which: Formulas) -> Terms:
    """(T,) for each weight: the size of each step's part."""
    steps = [of_step(run, which, t) for t in range(run.T)]
    return {name: np.stack([np.linalg.norm(step[name]) for step in steps]) for name in steps[0]}


def _factors(run: Run) -> Terms:
    """What a gradient may be multiplied with: (T, N, K) each."""
    cache, lengths = run.cache, run.cache.lengths
    found = {"": np.ones_like(run.cache.h[1:, :, :1]), "x": cache.x}
    found |= {f"{state}_prev": getattr(cache, state)[:-1] for state in run.cell.STATES}
    found |= {state: getattr(cache, state)[1:] for state in run.cell.STATES}
    for name, value in cache._asdict().items():
        if name not in found and getattr(value, "ndim", 0) == 3 and len(value) == run.T:
            found[name] = value
    return {name: zero_padding(value, lengths) for name, value in found.items()}


def _gradients(run: Run) -> Terms:
    """da of each gate first, then the other terms."""
    made = run.backward_terms
    da = {f"da_{letter}" for letter in run.cell.GATES}
    return {name: made[name] for name in sorted(made, key=lambda name: name not in da)}


def _blocks(gradient: Array, run: Run) -> list[Array]:
    """The gate blocks of a weight's gradient; a vector (H,) is one block."""
    return [*np.split(gradient, gradient.shape[-1] // run.H, axis=-1)]


def _fitting(
    part: Array, block: int, ndim: int, factors: Terms, gradients: Terms
) -> Iterator[Product]:
    """The products whose sum over all steps is this part; that of the block's own gate first."""
    eps = float(np.finfo(part.dtype).eps)
    own = list(gradients)[block : block + 1]
    for gradient in dict.fromkeys([*own, *gradients]):
        d = gradients[gradient]
        for factor, values in factors.items():
            made = _product(values, d, block, ndim)
            if made is None or made.shape != part.shape:
                continue
            # rounding: T N products are added, each at most as large as their norms allow
            most = float(np.linalg.norm(values)) * float(np.linalg.norm(d))
            if np.linalg.norm(made - part) <= eps * (d.shape[0] * d.shape[1] + 10) * most:
                yield Product(factor, gradient)


def _product(values: Array, d: Array, block: int, ndim: int) -> Array | None:
    """Sum over steps and sequences of values^T d, or of values d for a vector; None: no fit."""
    H = d.shape[2]
    if ndim == 2:
        return values.reshape(-1, values.shape[2]).T @ d.reshape(-1, H)
    if values.shape[2] > H:  # all gates side by side
        values = values[:, :, block * H : (block + 1) * H]
    return (values * d).sum(axis=(0, 1)) if values.shape[2] in (1, H) else None
