"""What an engine is: ``scratchnet.engines`` chooses one, and the kernels package brings others."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import starmap
from typing import Any, NamedTuple, Protocol

from scratchnet.arrays import Array


class Engine(Protocol):
    """Runs one cell over sequences, for several layer directions at once: both of a layer, say.

    A call is what the cell's own function takes, so one direction is a list of one call.
    """

    @property
    def name(self) -> str:
        """One of ``scratchnet.engines.ENGINES``."""

    @property
    def why(self) -> str:
        """What it computes with."""

    def forward(self, calls: Sequence[Sequence[Array]], **options: Any) -> list[tuple[Array, Any]]:
        """(y, cache) for each tuple of the positional arguments of the cell's forward."""

    def backward(self, calls: Sequence[Sequence[Any]]) -> list[Any]:
        """The gradients for each (dy, cache, upstream gradients of the final states)."""


class CellEngine(NamedTuple):
    """An ``Engine`` that calls a forward and a backward function, one layer direction at a time."""

    name: str
    why: str
    forward_one: Callable[..., tuple[Array, Any]]  # with the signatures of the cell's own
    backward_one: Callable[..., Any]

    def forward(self, calls: Sequence[Sequence[Array]], **options: Any) -> list[tuple[Array, Any]]:
        """See ``Engine``."""
        return list(starmap(partial(self.forward_one, **options), calls))

    def backward(self, calls: Sequence[Sequence[Any]]) -> list[Any]:
        """See ``Engine``."""
        return list(starmap(self.backward_one, calls))
