"""Learning rates by name, with the options that a number of epochs suggests."""

from collections.abc import Callable
from typing import Any

from scratchnet.errors import InvalidTypeError, InvalidValueError
from scratchnet.training.schedule import Cosine, Exponential, Plateau, Schedule, StepDecay, Warmup

# Those that follow the loss or have no end. The others are planned: they end with the last epoch.
UNPLANNED = ("constant", "invscaling", "adaptive", "plateau")


class InverseScaling(Schedule):
    """lr = base / (t n + 1)^power, t epochs of n samples each: scikit-learn's "invscaling"."""

    def __init__(self, optimizer: Any, samples: int, power: float) -> None:
        super().__init__(optimizer)
        self.samples, self.power = samples, float(power)

    def lr_at(self, t: int) -> float:
        return float(self.base / (t * self.samples + 1) ** self.power)


def _warmup(optimizer: Any, epochs: int) -> Schedule:
    """A tenth of the epochs upwards, the rest of them half a wave down."""
    rise = max(1, epochs // 10)
    return Warmup(optimizer, rise, then=Cosine(optimizer, max(1, epochs - rise)))


# name -> schedule of (optimizer, epochs, samples, patience, power); "adaptive" follows the rule for
# stopping, in base.py.
NAMED: dict[str, Callable[[Any, int, int, int, float], Schedule | None]] = {
    "constant": lambda optimizer, epochs, samples, patience, power: None,
    "invscaling": lambda optimizer, epochs, samples, patience, power: InverseScaling(
        optimizer, samples, power
    ),
    "adaptive": lambda optimizer, epochs, samples, patience, power: None,
    "step": lambda optimizer, epochs, samples, patience, power: StepDecay(
        optimizer, max(1, epochs // 3)
    ),
    "exponential": lambda optimizer, epochs, samples, patience, power: Exponential(
        optimizer, 0.01 ** (1 / epochs)
    ),
    "cosine": lambda optimizer, epochs, samples, patience, power: Cosine(optimizer, epochs),
    "warmup": lambda optimizer, epochs, samples, patience, power: _warmup(optimizer, epochs),
    "plateau": lambda optimizer, epochs, samples, patience, power: Plateau(
        optimizer, patience // 2
    ),
}


def schedule_for(
    name: Any, optimizer: Any, *, epochs: int, samples: int, patience: int | None, power: float
) -> Schedule | None:
    """The schedule of this name, or what a function of the optimiser makes; None where the learning
    rate stays.

    Raises ValueError for an unknown name.
    """
    if callable(name):
        made = name(optimizer)
        if not isinstance(made, Schedule):
            raise InvalidTypeError(
                f"learning_rate made a {type(made).__name__}: expected a"
                " scratchnet.training.schedule.Schedule"
            )
        return made
    if name not in NAMED:
        raise InvalidValueError(
            f"learning_rate is {name!r}: expected one of {', '.join(NAMED)}, or a function of the"
            " optimiser"
        )
    return NAMED[name](optimizer, epochs, samples, 10 if patience is None else patience, power)
