"""Penalties: a regularisation term on selected parameters, added to the loss, and its gradient.

    L2(strength)    strength / 2  sum of w^2     gradient  strength w
    L1(strength)    strength      sum of |w|     gradient  strength sign(w)

L2 pulls in proportion, and no weight becomes 0; L1 pulls all alike, and small weights stop at 0.

Each is a callback of ``fit``: callbacks=[L2(1e-4)]. By default biases and gains (vectors) are free,
as usual: a bias only moves what a unit sees, and pulling it to 0 helps nobody. The L2 of all
parameters through plain SGD is the same as ``SGD(weight_decay=strength)``; through Adam it is not
(optim.py).
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from scratchnet.arguments import checked
from scratchnet.arrays import Array, require_same_dtype, require_shape
from scratchnet.errors import InvalidValueError
from scratchnet.training.parameter_patterns import names_like
from scratchnet.training.trainer import Callback, Trainer


class Penalty(Callback):
    """A regularisation term on the matrices, or on parameters chosen by name.

    Its value is "penalty" in the history's steps, and its gradient is added before clipping.

    Parameters
    ----------
    strength : at least 0; ValueError otherwise.
    only : patterns of names, "lstm.W_*"; one that fits no parameter raises ValueError.
    """

    order: ClassVar[int] = -1

    def __init__(self, strength: float, only: str | Sequence[str] | None = None) -> None:
        if not 0 <= strength < float("inf"):
            raise InvalidValueError(f"strength is {strength}: expected 0 or a positive number")
        self.strength, self.only = strength, only

    def of(self, w: Array) -> tuple[float, Array]:
        """The term of one parameter and its gradient."""
        raise NotImplementedError(f"{type(self).__name__} has no term")

    def chosen(self, params: Mapping[str, Array]) -> list[str]:
        """The names of the parameters that are penalised."""
        if self.only is None:
            return [name for name, p in params.items() if p.ndim > 1]
        return names_like(params, self.only)

    @checked
    def __call__(self, params: Mapping[str, Array], grads: Mapping[str, Array]) -> float:
        """Add the gradient of the penalty into ``grads``; returns the penalty."""
        total = 0.0
        for name in self.chosen(params):
            require_same_dtype({name: params[name], f"the gradient of {name}": grads[name]})
            require_shape(f"the gradient of {name}", grads[name], params[name].shape, name)
            value, d = self.of(params[name])
            grads[name][...] += d
            total += value
        return total

    def on_gradients(self, trainer: Trainer) -> None:
        value = self(trainer.params, trainer.grads)
        trainer.row["penalty"] = trainer.row.get("penalty", 0.0) + value


class L2(Penalty):
    """strength / 2  sum of w^2."""

    def of(self, w: Array) -> tuple[float, Array]:
        return self.strength / 2 * float(np.sum(w * w)), self.strength * w


class L1(Penalty):
    """strength  sum of |w|; at w = 0 its gradient is 0, one of its subgradients."""

    def of(self, w: Array) -> tuple[float, Array]:
        return self.strength * float(np.sum(np.abs(w))), self.strength * np.sign(w)
