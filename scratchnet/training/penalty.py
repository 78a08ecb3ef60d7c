"""Penalties: a price on large weights, added to the loss, and its gradient, added to the weights'
gradients.

    L2(strength)    strength / 2  sum of w^2        gradient  strength w:        pulls in proportion, no weight becomes 0
    L1(strength)    strength      sum of |w|        gradient  strength sign(w):  pulls all alike, small weights stop at 0

By default biases and gains (vectors) are free, as usual: a bias only moves what a unit sees, and
pulling it to 0 helps nobody. The L2 of all parameters through plain SGD is the same as
``SGD(weight_decay=strength)``; through Adam it is not (optim.py).
"""

from collections.abc import Mapping, Sequence

import numpy as np

from scratchnet.arrays import Array
from scratchnet.training.parameter_patterns import names_like


class Penalty:
    """A price on parameters, chosen by name (``only="lstm.W_*"``), else all matrices.

    ``strength`` is at least 0; ValueError otherwise, and where a pattern fits no parameter.
    """

    def __init__(self, strength: float, only: str | Sequence[str] | None = None) -> None:
        if not 0 <= strength < float("inf"):
            raise ValueError(f"strength is {strength}: expected 0 or a positive number")
        self.strength, self.only = strength, only

    def of(self, w: Array) -> tuple[float, Array]:
        """The price of one parameter and its gradient."""
        raise NotImplementedError(f"{type(self).__name__} has no price")

    def chosen(self, params: Mapping[str, Array]) -> list[str]:
        """The names of the parameters that are priced."""
        if self.only is None:
            return [name for name, p in params.items() if p.ndim > 1]
        return names_like(params, self.only)

    def __call__(self, params: Mapping[str, Array], grads: Mapping[str, Array]) -> float:
        """Add the gradient of the price into ``grads``; returns the price."""
        total = 0.0
        for name in self.chosen(params):
            value, d = self.of(params[name])
            grads[name][...] += d
            total += value
        return total


class L2(Penalty):
    """strength / 2  sum of w^2."""

    def of(self, w: Array) -> tuple[float, Array]:
        return self.strength / 2 * float(np.sum(w * w)), self.strength * w


class L1(Penalty):
    """strength  sum of |w|; at w = 0 its gradient is 0, one of its subgradients."""

    def of(self, w: Array) -> tuple[float, Array]:
        return self.strength * float(np.sum(np.abs(w))), self.strength * np.sign(w)
