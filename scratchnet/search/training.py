"""The usual objective: build a model from the parameters, train it, and return its best validation
loss."""

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np

from scratchnet.arrays import Array
from scratchnet.layers import Layer
from scratchnet.losses import mse
from scratchnet.search.study import Trial
from scratchnet.training import TrainConfig, TrainingDiverged, fit
from scratchnet.training.checks import recurrent_layers
from scratchnet.training.config import options
from scratchnet.training.samples import Inputs, parts
from scratchnet.training.trainer import Loss


@dataclass(frozen=True)
class Training(TrainConfig):
    """Trains what ``build(params, rng)`` returns; ``train`` and ``validation`` are (x, y), samples
    first.

    Parameters named as a field of ``TrainConfig`` ("lr", "batch_size", "clip", ...) replace that
    option where the space has them; ``build`` gets all parameters. A trial that diverges is counted
    as pruned.
    """

    build: Callable[[dict[str, Any], np.random.Generator], Layer]
    train: tuple[Inputs, Array]
    validation: tuple[Inputs, Array]
    _: KW_ONLY
    loss: Loss = mse
    epochs: int = 30

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
        model = self.build(params, rng).astype(parts(self.train[0])[0].dtype)
        for _, layer in recurrent_layers(model):
            layer.threads = threads
        config = self.replace(
            **{name: params[name] for name in options(Training) if name in params}
        )
        try:
            history = fit(
                model,
                config.batches(*self.train),
                config.optimizer(),
                epochs=config.epochs,
                rng=rng,
                loss=self.loss,
                validation=self.validation,
                callbacks=[*config.callbacks(), *([] if trial is None else [trial])],
                progress=False,
            )
        except TrainingDiverged:
            if trial is None:
                raise
            trial.give_up()
            raise
        return model, min(history.column("val_loss"))
