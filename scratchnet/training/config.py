"""The options of training, written once: type, default, help text and range of each.

The command line (``commands.options``), the forecasters' settings, the estimators and the search
take their options from the fields of ``TrainConfig`` or of a subclass:

    @dataclass(frozen=True, kw_only=True)
    class Settings(TrainConfig):
        units: int = option(32, "hidden units", least=1)
        epochs: int = 200                       # another default; help text and range stay

A new field is a new option everywhere.
"""

import types
from collections.abc import Collection, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from typing import Any, NamedTuple, Self, Union, get_args, get_origin, get_type_hints

import numpy as np

from scratchnet.errors import InvalidTypeError, InvalidValueError
from scratchnet.training.callbacks import Clip, EarlyStopping
from scratchnet.training.optim import AdamW
from scratchnet.training.samples import Batches
from scratchnet.training.trainer import Callback


class Option(NamedTuple):
    """What is known of one field."""

    name: str
    kind: type  # int, float, str, bool, or tuple of str
    default: Any
    help: str
    optional: bool  # None is a value, too
    least: float | None  # the smallest value
    above: float | None  # what the value must be more than
    below: float | None  # what the value must be less than
    choices: Collection[str] | None

    def check(self, value: Any, name: str) -> None:
        """TypeError or ValueError, with this name, where the value is of another kind or out of
        range."""
        if value is None and self.optional:
            return
        if self.kind is tuple:
            if not value:
                raise InvalidValueError(f"{name} is empty: expected one or more")
            for part in value:
                self._check_choice(part, name)
        elif self.kind is int and (
            isinstance(value, bool) or not isinstance(value, (int, np.integer))
        ):
            raise InvalidTypeError(f"{name} is {value!r}: expected a whole number")
        elif self.kind is float and not isinstance(value, (int, float, np.number)):
            raise InvalidTypeError(f"{name} is {value!r}: expected a number")
        elif self.kind in (int, float):
            self._check_range(value, name)
        elif self.kind is str:
            self._check_choice(value, name)

    def _check_choice(self, value: str, name: str) -> None:
        if self.choices is not None and value not in self.choices:
            raise InvalidValueError(
                f"{name} is {value!r}: expected one of {', '.join(self.choices)}"
            )

    def _check_range(self, value: float, name: str) -> None:
        least, above = self.least, self.above
        below = np.inf if self.below is None else self.below
        if (least is None or value >= least) and (above is None or value > above) and value < below:
            return
        if self.below is not None:
            from_ = f"at least {least}" if above is None else f"more than {above}"
            expected = f"{from_} and less than {below}"
        elif self.kind is int:
            expected = f"at least {least}"
        else:
            expected = "0 or a positive number" if above is None else "a positive number"
        raise InvalidValueError(f"{name} is {value}: expected {expected}")


def option(
    default: Any,
    help: str,
    *,
    least: float | None = None,
    above: float | None = None,
    below: float | None = None,
    choices: Collection[str] | None = None,
) -> Any:
    """A dataclass field with what the command line and the checks need to know of it."""
    known = {"help": help, "least": least, "above": above, "below": below, "choices": choices}
    return field(default=default, metadata=known)


def options(config: type) -> dict[str, Option]:
    """The options of a dataclass by name: its fields that were made with ``option``, here or in a
    base class."""
    hints, found = get_type_hints(config), {}
    for each in fields(config):
        known: Mapping[str, Any] = each.metadata
        for base in config.__mro__:
            # a subclass that only writes another default keeps what is known of the field
            inherited = getattr(base, "__dataclass_fields__", {}).get(each.name)
            if not known and inherited is not None:
                known = inherited.metadata
        if known:
            kind, optional = _kind(hints[each.name])
            default = None if each.default is MISSING else each.default
            found[each.name] = Option(each.name, kind, default, optional=optional, **known)
    return found


def _kind(hint: Any) -> tuple[type, bool]:
    """int | None -> (int, True); tuple[str, ...] -> (tuple, False)."""
    if get_origin(hint) in (types.UnionType, Union):
        (kind,) = [part for part in get_args(hint) if part is not type(None)]
        return kind, True
    return get_origin(hint) or hint, False


class Config:
    """What dataclasses of options share."""

    def check(self, names: Mapping[str, str] = types.MappingProxyType({})) -> Self:
        """Itself; ValueError or TypeError, with the field's name (or another one in ``names``), for
        a value out of range."""
        for name, known in options(type(self)).items():
            known.check(getattr(self, name), names.get(name, name))
        return self

    def replace(self, **changes: Any) -> Self:
        """A copy with other values."""
        return replace(self, **changes)  # type: ignore[type-var]

    def asdict(self) -> dict[str, Any]:
        """Name -> value."""
        return asdict(self)  # type: ignore[call-overload]


@dataclass(frozen=True, kw_only=True)
class TrainConfig(Config):
    """How a network is trained.

    Examples
    --------
    >>> TrainConfig(lr=0.01).lr
    0.01
    >>> TrainConfig(epochs=0).check()
    Traceback (most recent call last):
        ...
    scratchnet.errors.InvalidValueError: epochs is 0: expected at least 1
    """

    epochs: int = option(100, "how often to go through the data, at most", least=1)
    batch_size: int = option(32, "samples in a mini-batch", least=1)
    lr: float = option(0.005, "learning rate", least=0)
    weight_decay: float = option(0.01, "decoupled weight decay", least=0)
    clip: float | None = option(1.0, "limit of the global gradient norm", above=0)
    patience: int | None = option(None, "epochs without a better one before stopping", least=1)

    def batches(self, x: Any, y: Any, **others: Any) -> Batches:
        """The data in mini-batches of this size."""
        return Batches(x, y, batch_size=self.batch_size, **others)

    def optimizer(self) -> AdamW:
        """AdamW with this learning rate and weight decay."""
        return AdamW(self.lr, weight_decay=self.weight_decay)

    def callbacks(self) -> list[Callback]:
        """Clipping and early stopping, where a limit and a patience are set."""
        found: list[Callback] = [] if self.clip is None else [Clip(self.clip)]
        return found if self.patience is None else [*found, EarlyStopping(self.patience)]
