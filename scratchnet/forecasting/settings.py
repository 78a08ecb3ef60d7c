"""The options that every forecasting network has."""

from dataclasses import dataclass

from scratchnet.training.config import TrainConfig, option


@dataclass(frozen=True, kw_only=True)
class NetworkSettings(TrainConfig):
    """Size, input and training of a network that forecasts a series."""

    window: int = option(24, "rows of input", least=1)
    units: int = option(32, "hidden units", least=1)
    layers: int = option(1, "hidden or recurrent layers", least=1)
    patience: int = 10
    seed: int = option(0, "of the initial weights and the shuffling", least=0)
