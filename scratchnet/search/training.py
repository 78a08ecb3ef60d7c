"""The usual objective: make a model of the parameters, train it, and answer with its best
validation loss."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from scratchnet.arrays import Array
from scratchnet.layers import Layer
from scratchnet.losses import mse
from scratchnet.search.study import Trial
from scratchnet.training.checks import Inputs, TrainingDiverged, parts, recurrent_layers
from scratchnet.training.loop import Loss, fit
from scratchnet.training.optim import AdamW


@dataclass(frozen=True)
class Training:
    """``build(params, rng)`` makes a model; ``train`` and ``validation`` are (x, y), samples first.

    Of the parameters "lr", "batch_size", "weight_decay" and "clip" are used here where the space
    has them, in place of what stands below; the others are for ``build`` alone, which is given all
    of them. A trial that diverges is counted as pruned.
    """

    build: Callable[[dict[str, Any], np.random.Generator], Layer]
    train: tuple[Inputs, Array]
    validation: tuple[Inputs, Array]
    epochs: int = 30
    loss: Loss = mse
    lr: float = 0.005
    batch_size: int = 32
    weight_decay: float = 0.01
    clip: float | None = 1.0
    patience: int | None = None

    def __call__(self, params: dict[str, Any], trial: Trial) -> float:
        """The best validation loss of a model with these parameters."""
        return self.run(params, trial.rng, trial.threads, trial)[1]

    def run(
        self,
        params: dict[str, Any],
        rng: np.random.Generator,
        threads: int | None = None,
        trial: Trial | None = None,
    ) -> tuple[Layer, float]:
        """The trained model and its validation loss; also outside of a search, with the parameters
        that it found."""
        x, y = self.train
        model = self.build(params, rng).astype(parts(x)[0].dtype)
        for _, layer in recurrent_layers(model):
            layer.threads = threads
        chosen = {
            name: params.get(name, getattr(self, name))
            for name in ("lr", "batch_size", "weight_decay", "clip")
        }
        optimizer = AdamW(chosen["lr"], weight_decay=chosen["weight_decay"])
        try:
            history = fit(
                model,
                x,
                y,
                optimizer,
                epochs=self.epochs,
                rng=rng,
                loss=self.loss,
                batch_size=chosen["batch_size"],
                clip=chosen["clip"],
                validation=self.validation,
                patience=self.patience,
                progress=False,
                after_epoch=None if trial is None else trial.after_epoch,
            )
        except TrainingDiverged:
            if trial is None:
                raise
            trial.give_up()
            raise
        return model, min(history.column("val_loss"))
