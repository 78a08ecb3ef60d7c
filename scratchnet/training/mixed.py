"""Mixed precision: products and the cache of a pass in float16, weights and their updates in
float32.

    fit(model, (x, y), optimizer, ..., trainer=HalfTrainer)         model and x are float32

float16 has 11 binary digits and reaches from 6e-8 to 65504. Three things follow:

 - An update  p - lr g  is often smaller than the last digit of p and would be lost: the *master
   weights* stay float32, and each step works on a float16 copy of them.
 - Many gradients are smaller than 6e-8 and would be zero: the loss is multiplied by a *scale*
   before the backward pass, and the gradients are divided by it afterwards, in float32.
 - A gradient larger than 65504 becomes infinite: such a step is *skipped* and the scale halved;
   after ``patience`` good steps it is doubled. So the scale finds the largest value that fits by
   itself.

What has weights and products (Linear, Recurrent) runs in float16; all else, losses among it, stays
in float32, with a cast on the way in and out. On a GPU this is half the memory and the tensor
cores' speed; NumPy has no fast product for float16, so on a CPU it only shows how it works.

References
----------
Micikevicius et al. 2018, Mixed precision training.
"""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np

from scratchnet.arrays import HALF, Array, Lengths, half_precision, require_count
from scratchnet.errors import InvalidTypeError, InvalidValueError
from scratchnet.layers import Composite, Layer, Linear, Recurrent
from scratchnet.training.checks import not_finite, require_positive
from scratchnet.training.samples import Samples
from scratchnet.training.trainer import Callback, Loss, Trainer

IN_HALF = (Linear, Recurrent)


def cast(value: Any, dtype: Any) -> Any:
    """Arrays of a floating type as ``dtype``, also in tuples and lists; anything else as it is."""
    if isinstance(value, (tuple, list)):
        return type(value)(cast(part, dtype) for part in value)
    floating = np.issubdtype(getattr(value, "dtype", np.dtype(int)), np.floating)
    return value.astype(dtype) if floating else value


class Half(Layer):
    """A layer that computes in float16, between neighbours in float32: x is cast on the way in, y
    on the way out."""

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        self.inner: Any = layer.astype(HALF)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "inner":  # missing while a copy is made
            raise AttributeError(name)
        return getattr(self.inner, name)

    @property
    def recurrent(self) -> bool:
        return bool(self.inner.recurrent)

    def lengths_after(self, lengths: Lengths) -> Lengths:
        after: Lengths = self.inner.lengths_after(lengths)
        return after

    @property
    def params(self) -> dict[str, Array]:
        return dict(self.inner.params)

    @property
    def grads(self) -> dict[str, Array]:
        return dict(self.inner.grads)

    def forward(self, x: Array, training: bool = False, **arguments: Any) -> tuple[Array, Any]:
        """x float32 to y float32; the cache, and the state in it, are float16."""
        with half_precision():
            y, cache = self.inner.forward(
                cast(x, HALF), training=training, **{k: cast(v, HALF) for k, v in arguments.items()}
            )
        return y.astype(np.float32), cache

    def backward(self, dy: Array, cache: Any) -> Array:
        """dy float32 to dx float32; the weights' gradients are float16."""
        with half_precision():
            return self.inner.backward(dy.astype(HALF), cache).astype(np.float32)

    def backward_state(
        self, dy: Array, cache: Any, dstate_last: Sequence[Array] | None = None
    ) -> tuple[Array, Any]:
        """As ``backward``, with the gradients of the states."""
        with half_precision():
            dx, dstate = self.inner.backward_state(dy.astype(HALF), cache, cast(dstate_last, HALF))
        return dx.astype(np.float32), cast(dstate, np.float32)


def half(model: Layer) -> Layer:
    """A copy of the model whose Linear and recurrent layers compute in float16.

    Raises TypeError where it has no such layer, or is not float32.
    """
    for name, p in model.params.items():
        if p.dtype != np.float32:
            raise InvalidTypeError(
                f"{name} is {p.dtype} but master weights are float32: model.astype(np.float32)"
            )
    twin = _halved(copy.deepcopy(model))
    if not any(p.dtype == HALF for p in twin.params.values()):
        kinds = ", ".join(kind.__name__ for kind in IN_HALF)
        raise InvalidTypeError(
            f"{type(model).__name__} has nothing that computes in float16: expected a layer of"
            f" {kinds}"
        )
    return twin


def _halved(layer: Layer) -> Layer:
    if isinstance(layer, IN_HALF):
        return Half(layer)
    if isinstance(layer, Composite):
        layer.layers = {name: _halved(part) for name, part in layer.layers.items()}
    return layer


class HalfTrainer(Trainer):
    """A Trainer whose passes run in float16.

    The history's steps also have "scale" and "skipped"; a skipped step has an infinite grad_norm.

    Parameters
    ----------
    model, optimizer, callbacks : see ``Trainer``; the model is float32.
    scale : what the loss is multiplied by, at first.
    patience : the good steps after which the scale is doubled.
    most : the largest scale.

    Attributes
    ----------
    scale : what the loss is multiplied by now.
    skipped : how many steps were not made.
    """

    def __init__(
        self,
        model: Layer,
        optimizer: Any,
        callbacks: Sequence[Callback] = (),
        *,
        scale: float = 2.0**16,
        patience: int = 2000,
        most: float = 2.0**24,
    ) -> None:
        super().__init__(model, optimizer, callbacks)
        if not 0 < scale <= most < float("inf") or patience < 1:
            given = f"scale is {scale}, most {most} and patience {patience}"
            raise InvalidValueError(
                f"{given}: expected 0 < scale <= most and patience of at least 1"
            )
        self.twin = half(model)
        self.scale, self.patience, self.most = float(scale), patience, float(most)
        self.good, self.skipped = 0, 0

    def step(self, batch: Samples | tuple[Any, ...], loss: Loss) -> float:
        """As ``Trainer.step``, through the float16 copy. A step whose gradients are not finite is
        skipped."""
        self.prepare(batch)
        model, twin, scale = self.model, self.twin, self.scale
        with np.errstate(over="ignore", invalid="ignore"):
            for name, p in twin.params.items():
                p[...] = model.params[name]  # float32 to float16: the master weights, rounded
            for name, buffer in twin.buffers.items():
                buffer[...] = model.buffers[name]
            twin.zero_grad()
            value = self.gradients(twin, loss, scale)
            for name, grad in model.grads.items():
                # float16 to float32, and only then divided: small ones must not be lost again
                grad[...] = twin.grads[name]
                grad /= grad.dtype.type(scale)
            for name, buffer in model.buffers.items():
                buffer[...] = twin.buffers[name]
            if not_finite(self.grads) is None:
                self.update(value)
                self._grow()
            else:
                self._skip(value)
        return value

    def record(self, **more: float) -> None:
        skipped = float(np.isinf(self.row["grad_norm"]))
        super().record(scale=self.scale, skipped=skipped, **more)

    def state_dict(self) -> dict[str, Any]:
        return {"scale": self.scale, "good": self.good, "skipped": self.skipped}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.scale = float(require_positive("scale", state["scale"]))
        self.good = require_count("good", state["good"], 0)
        self.skipped = require_count("skipped", state["skipped"], 0)

    def _grow(self) -> None:
        self.good += 1
        if self.good == self.patience:
            self.scale, self.good = min(2 * self.scale, self.most), 0

    def _skip(self, value: float) -> None:
        self.row = {"loss": value, "grad_norm": float("inf"), "clip_factor": 0.0}
        self.record()
        self.scale, self.good, self.skipped = self.scale / 2, 0, self.skipped + 1
        if self.scale < 2.0**-24:
            name = next(iter(self.model.grads))
            what = "no scale is small enough for float16"
            self._diverged(what, name, self.model.grads, "gradient")
