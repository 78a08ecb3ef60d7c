"""One time step of a cell, watched while it computes: each operation of its own code, on one unit.

``watch(cell)`` runs the cell's forward and backward over one step with arrays of expressions in
place of numbers. Each operation on them makes an ``Expression`` that remembers its operands and the
line of the cell's file that computed it. So equations, drawings and the page's arithmetic are the
cell's code and nothing that was written a second time; they exist for a custom cell too.

``program.py`` makes of these expressions, one for each unit, operations on the vectors of a step.
"""

import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import CodeType, FrameType, ModuleType
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from scratchnet.arrays import PLAIN, Array
from scratchnet.cells import CELLS, Cell, normalise
from scratchnet.elementwise import ELEMENTWISE

Line: TypeAlias = tuple[str, int]  # a file and the number of a line in it
H, D = 2, 3  # units and inputs while watching: different, so that W_h and its transpose are too


class Expression:
    """One number of the step: an operation and its operands, other expressions."""

    __slots__ = ("args", "line", "number", "op")

    def __init__(self, op: str, args: tuple[Any, ...], line: Line | None, number: int) -> None:
        self.op, self.args, self.line, self.number = op, args, line, number

    def __repr__(self) -> str:
        inner = ", ".join(map(repr, self.args))
        return f"{self.op}({inner})"


class CannotWatch(TypeError):
    """An operation of the cell that no expression represents."""


class Watcher:
    """The expressions made so far, each once, and the names that the cell's code gives them."""

    def __init__(self, cell: Cell) -> None:
        self.known: dict[tuple[Any, ...], Expression] = {}
        self.names: dict[str, Any] = {}  # local variable (N, H) -> its first unit
        self.files = {*_files(cell)}
        primitives = [f for f in ELEMENTWISE if f.__module__ == "scratchnet.elementwise"]
        primitives += [normalise.forward, normalise.backward]
        self.primitives: dict[CodeType, Callable[..., Any]] = {f.__code__: f for f in primitives}
        self.sums: dict[Expression, Line | None] = {}  # a sum of one: where it was asked for
        self.inside: list[tuple[FrameType, list[Watched]]] = []  # calls of primitives

    def make(self, op: str, *args: Any) -> Expression:
        """The expression of an operation; the same one where it was made before."""
        key = (op, *(id(a) if isinstance(a, Expression) else a for a in args))
        if key not in self.known:
            self.known[key] = Expression(op, args, self.line(), len(self.known))
        return self.known[key]

    def array(self, op: str, *name: Any, shape: tuple[int, ...]) -> "Watched":
        """An array of leaves: op(*name, index)."""
        made = _watched(np.empty(shape, object), self)
        for index in np.ndindex(shape):
            made[index] = self.make(op, *name, index)
        return made

    def line(self) -> Line | None:
        """The file and line of the cell's code that computes now."""
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            if frame.f_code.co_filename in self.files:
                return frame.f_code.co_filename, frame.f_lineno
            frame = frame.f_back
        return None

    def profile(self, frame: FrameType, event: str, result: Any) -> None:
        """Called by the interpreter when a function is entered or left."""
        code = frame.f_code
        if event == "call" and code in self.primitives and not self.inside:
            given = [v for v in frame.f_locals.values() if isinstance(v, Watched)]
            self.inside.append((frame, given))
        elif event == "return":
            if self.inside and self.inside[-1][0] is frame:
                _, given = self.inside.pop()
                self._called(self.primitives[code], given, result)
            elif code.co_filename in self.files:
                for name, value in frame.f_locals.items():
                    if isinstance(value, Watched) and value.shape in ((1, H), (H,)):
                        # of two functions with the same name the outer one's, which ends later
                        self.names[name] = value.reshape(-1).tolist()[0]

    def _called(self, function: Callable[..., Any], given: list["Watched"], result: Any) -> None:
        """Put the call of a primitive in the place of what it computed."""
        module, name = function.__module__.rpartition(".")[2], function.__name__
        for number, part in enumerate(result if isinstance(result, tuple) else (result,)):
            if module == "elementwise":
                arrays = np.broadcast_arrays(*given)
                for index in np.ndindex(part.shape):
                    part[index] = self.make(name, *(a[index] for a in arrays))
            else:  # of whole vectors
                vectors = [self.make("vector", *a.reshape(-1).tolist()) for a in given]
                flat = part.reshape(-1)
                for k in range(flat.size):
                    flat[k] = self.make(f"{module}_{name}", number, k, *vectors)


class Watched(np.ndarray):
    """An array of expressions that takes the place of an array of float64."""

    watcher: Watcher | None = None

    def __array_finalize__(self, of: Any) -> None:
        self.watcher = getattr(of, "watcher", None)

    @property
    def dtype(self) -> Any:
        """float64: what a cell's checks ask for."""
        return np.dtype(np.float64)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        out = options.pop("out", (None,))[0]
        watcher: Any = next(a.watcher for a in inputs if isinstance(a, Watched))
        operands = [_expressions(a, watcher) for a in inputs]
        if method == "reduce" and ufunc is np.add:
            made = _sums(watcher, operands[0], **options)
        elif method == "__call__" and ufunc is np.matmul:
            made = _products(watcher, *operands)
        elif method == "__call__":
            elementwise: Any = partial(watcher.make, ufunc.__name__)
            made = np.asarray(np.frompyfunc(elementwise, ufunc.nin, 1)(*operands), object)
        elif method == "reduce" and watcher.inside:
            return np.True_  # a primitive looks whether its numbers are finite
        else:
            raise CannotWatch(f"np.{ufunc.__name__}.{method}")
        if out is not None:
            np.ndarray.__setitem__(out, ..., made)
            return out
        return _watched(made, watcher)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if func in (np.empty, np.empty_like, np.zeros_like, np.ones_like):
            shape = kwargs.get("shape", args[0])
            shape = np.shape(shape) if isinstance(shape, np.ndarray) else shape
            made = np.full(shape, 1.0 if func is np.ones_like else 0.0, object)
        else:
            made = super().__array_function__(func, types, args, kwargs)
        return _watched(made, self.watcher) if isinstance(made, np.ndarray) else made


def _watched(plain: Array, watcher: Any) -> Watched:
    made = plain.view(Watched)
    made.watcher = watcher
    return made


def _expressions(a: Any, watcher: Watcher) -> Array:
    """The operand of an operation as a plain array of expressions; numbers as constants."""
    plain = np.asarray(a).astype(object) if not isinstance(a, Watched) else a.view(np.ndarray)
    constant = np.frompyfunc(
        lambda v: v if isinstance(v, Expression) else watcher.make("constant", float(v)), 1, 1
    )
    return np.asarray(constant(plain), object)


def _products(watcher: Watcher, a: Array, b: Array) -> Array:
    """a @ b: each entry is one expression of a row and a column."""
    made = np.empty((*a.shape[:-1], b.shape[-1]), object)
    for index in np.ndindex(made.shape):
        made[index] = watcher.make("dot", *a[index[:-1]], *b[..., index[-1]])
    return made


def _sums(watcher: Watcher, a: Array, axis: Any = None, keepdims: bool = False, **_: Any) -> Array:
    """Sums over axes; over the one step and the one sequence there is nothing to add."""
    axes = range(a.ndim) if axis is None else np.atleast_1d(axis) % a.ndim
    made = np.empty([1 if k in axes else n for k, n in enumerate(a.shape)], object)
    for index in np.ndindex(made.shape):
        terms = a[tuple(slice(None) if k in axes else i for k, i in enumerate(index))].reshape(-1)
        if len(terms) == 1:
            made[index] = terms[0]
            watcher.sums[terms[0]] = watcher.line()
        else:
            made[index] = watcher.make("sum", *terms)
    return made if keepdims else made.squeeze(tuple(axes))


class Watching(NamedTuple):
    """What a cell's one step computed."""

    cache: Any  # of Watched arrays, T = N = 1
    grads: Any
    forward_names: dict[str, Any]  # local variable -> its expression of unit 0
    backward_names: dict[str, Any]
    sums: dict[Expression, Line | None]  # what is summed over the one step -> the line of the sum


def watch(cell: Cell, extra: tuple[str, ...] = (), **options: str) -> Watching:
    """Run one step of the cell, forwards and backwards, with expressions in place of numbers.

    ``extra``: further arrays that forward takes and the cache keeps, such as masks. Raises
    CannotWatch, or whatever the cell raises, where its code asks for a number.
    """
    watcher = Watcher(cell)
    states = [watcher.array("state", name, shape=(1, H)) for name in cell.STATES]
    params = [
        watcher.array("parameter", name, shape=shape)
        for name, shape in cell.param_shapes(D, H).items()
    ]
    masks = {name: watcher.array("extra", name, shape=()) for name in extra}
    x = watcher.array("x", shape=(1, 1, D))
    with _watching(watcher):
        _, cache = cell.forward(x, *states, *params, **options, **masks)
        forward_names, watcher.names = watcher.names, {}
        dy = watcher.array("upstream", "dy", shape=(1, 1, H))
        d_last = [watcher.array("upstream", f"d{s}_next", shape=(1, H)) for s in cell.STATES]
        grads = cell.backward(dy, cache, *d_last)
    return Watching(cache, grads, forward_names, watcher.names, watcher.sums)


@contextmanager
def _watching(watcher: Watcher) -> Iterator[None]:
    before = sys.getprofile()
    PLAIN.add(Watched)
    try:
        sys.setprofile(watcher.profile)
        yield
    finally:
        sys.setprofile(before)
        PLAIN.discard(Watched)


def _files(cell: Cell) -> Iterator[str]:
    """The files whose lines are the cell's: its own, and of the cells that it is built on."""
    modules = [m for m in vars(cell).values() if isinstance(m, ModuleType)]
    for built_on in (m for m in modules if m in CELLS.values()):
        yield str(built_on.__file__)
    for function in (cell.forward, cell.backward):
        yield inspect.unwrap(function).__code__.co_filename
