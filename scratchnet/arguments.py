"""Check a call's arguments against the function's own annotations.

A wrong argument would otherwise be found somewhere inside, in NumPy's words or not at all: True is
1, "no" is true, and a float counts steps until it reaches ``range``. An annotation already says
what is expected, so it is also the check:

    int                     a whole number, Python's or NumPy's, no boolean
    float                   a real number
    bool, str, Path         that
    Array                   NumPy's or CuPy's own array
    DTypeLike               float32 or float64
    Sequence[int], tuple[float, float], Mapping[str, Array]      what they hold, too
    Callable, Generator, a class                                 that
    a NamedTuple, such as a cache                                that, and arrays in its fields

Ranges, NaN and shapes are the function's own matter. ``Any`` checks nothing.
"""

import inspect
import os
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache, wraps
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import DTypeLike

from scratchnet.arrays import FLOATING, PLAIN, Array, is_array, require_array
from scratchnet.errors import InvalidTypeError

Function = TypeVar("Function", bound=Callable[..., Any])
Test = Callable[[Any], bool]

LONGEST = 1000  # elements of a sequence that are looked at


def checked(function: Function) -> Function:
    """The same function, which raises InvalidTypeError for an argument that does not fit.

    >>> @checked
    ... def repeat(word: str, times: int) -> str:
    ...     return word * times
    >>> repeat("la", "3")
    Traceback (most recent call last):
    scratchnet.errors.InvalidTypeError: times is '3': expected a whole number
    """

    @wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        names, tests = _tests_of(function)
        for name, value in zip(names, args):
            test = tests.get(name)
            if test is not None and not test[0](value):
                _refuse(name, value, test[1])
        for name, value in options.items():
            test = tests.get(name)
            if test is not None and not test[0](value):
                _refuse(name, value, test[1])
        return function(*args, **options)

    return cast(Function, call)


def checked_methods(made: type, *methods: str) -> None:
    """Replace methods that the class itself defines by ``checked`` ones."""
    for name in methods:
        if inspect.isfunction(own := vars(made).get(name)):
            setattr(made, name, checked(own))


def _refuse(name: str, value: Any, expected: str) -> None:
    if expected == ARRAY:
        require_array(name, value)
    for field, (test, text) in _fields_of(cast(Any, type(value))).items():
        if not test(getattr(value, field)):
            _refuse(f"{name}.{field}", getattr(value, field), text)
    if expected.startswith(GENERATOR) and not is_array(value):
        raise InvalidTypeError(f"{name} is a {type(value).__name__}: expected {GENERATOR}")
    given = f"an array {value.shape} of {value.dtype}" if is_array(value) else repr(value)
    if expected == FLOATS and value is not None:
        with suppress(TypeError):
            given = str(np.dtype(value))
    if len(given) > 80:
        given = f"{given[:60]}... (a {type(value).__name__})"
    raise InvalidTypeError(f"{name} is {given}: expected {expected}")


@cache
def _tests_of(function: Callable[..., Any]) -> tuple[tuple[str, ...], dict[str, tuple[Test, str]]]:
    """The names of the positional parameters, and the test of each parameter that has one."""
    parameters = inspect.signature(function).parameters
    try:
        hints = get_type_hints(function)
    except NameError:  # a subclass elsewhere, with names that only a type checker sees
        hints = {}
    positional = tuple(
        name
        for name, p in parameters.items()
        if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    )
    named = {n: p for n, p in parameters.items() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
    tests = {name: _test(hints[name]) for name in named if name in hints}
    return positional, {name: test for name, test in tests.items() if test is not None}


def _is_int(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _is_real(value: Any) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def _is_plain(value: Any) -> bool:
    if type(value) in PLAIN:
        return True
    return is_array(value) and not isinstance(value, np.ndarray)


def _is_iterable(value: Any) -> bool:
    return isinstance(value, Iterable) and getattr(value, "ndim", 1) > 0  # an array of one number


def _is_floating_dtype(value: Any) -> bool:
    try:
        return value is not None and np.dtype(value) in FLOATING
    except (TypeError, ValueError, SyntaxError):
        return False


ARRAY, FLOATS = "a NumPy or CuPy array", "float32 or float64"
GENERATOR = "a numpy.random.Generator, numpy.random.default_rng(seed)"
SIMPLE: dict[Any, tuple[Test, str]] = {
    int: (_is_int, "a whole number"),
    float: (_is_real, "a number"),
    bool: (lambda value: isinstance(value, (bool, np.bool_)), "True or False"),
    str: (lambda value: isinstance(value, str), "a string"),
    Array: (_is_plain, ARRAY),
    DTypeLike: (_is_floating_dtype, FLOATS),
    np.random.Generator: (lambda value: isinstance(value, np.random.Generator), GENERATOR),
    type(None): (lambda value: value is None, "None"),
    os.PathLike: (lambda value: isinstance(value, os.PathLike), "a path"),
}


def _test(hint: Any) -> tuple[Test, str] | None:
    """The test of an annotation and what it expects, in words; None where nothing can be said."""
    try:
        if hint in SIMPLE:
            return SIMPLE[hint]
    except TypeError:  # not hashable
        return None
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _any_of(inner)
    if origin in SIMPLE:
        return SIMPLE[origin]
    if origin is tuple and inner and inner[-1] is not Ellipsis:
        return _fixed(inner)
    if origin in (tuple, list, Sequence):
        return _several(inner[0])
    if origin is Iterable:
        return _is_iterable, "a sequence"
    if origin in (Mapping, dict):
        return _mapping(inner)
    if origin in (Callable, Callable) or hint is Callable:
        return callable, "a function"
    if origin is type or hint is type:
        return lambda value: isinstance(value, type), "a class"
    if hint is not Any and inspect.isclass(hint) and not getattr(hint, "_is_protocol", False):
        return _instance(hint)
    return None


def _instance(of: type) -> tuple[Test, str]:
    """Of this class; a NamedTuple may hold anything, so its arrays are looked at too."""

    def test(value: Any) -> bool:
        return isinstance(value, of) and all(
            fits(getattr(value, field)) for field, (fits, _) in _fields_of(of).items()
        )

    return test, f"a {of.__module__}.{of.__name__}"


@cache
def _fields_of(of: type) -> dict[str, tuple[Test, str]]:
    """The test of each field of a NamedTuple that is to be an array; of another class, none.

    Not of a field that is another cache: a module that is run a second time makes other classes.
    """
    if not (issubclass(of, tuple) and hasattr(of, "_fields")):
        return {}
    tests = {name: _test(hint) for name, hint in get_type_hints(of).items()}
    return {name: test for name, test in tests.items() if test and test[1].startswith(ARRAY)}


def _any_of(hints: Iterable[Any]) -> tuple[Test, str] | None:
    tests = [_test(hint) for hint in sorted(hints, key=lambda hint: hint is not Array)]
    known = [test for test in tests if test is not None]
    if len(known) < len(tests):
        return None
    return lambda value: any(test(value) for test, _ in known), " or ".join(
        text for _, text in known
    )


def _elements(value: Any) -> Iterator[Any]:
    """The first elements of a sequence."""
    return (value[i] for i in range(min(len(value), LONGEST)))


def _several(hint: Any) -> tuple[Test, str]:
    of, text = _test(hint) or (lambda value: True, "values")

    def test(value: Any) -> bool:
        if isinstance(value, np.ndarray):
            value = value[:LONGEST].tolist() if value.ndim == 1 else None
        sequence = isinstance(value, (tuple, list, range, Sequence))
        return sequence and not isinstance(value, (str, bytes)) and all(map(of, _elements(value)))

    return test, f"a sequence, each {text}"


def _fixed(hints: tuple[Any, ...]) -> tuple[Test, str]:
    each = [_test(hint) or (lambda value: True, "a value") for hint in hints]

    def test(value: Any) -> bool:
        pair = isinstance(value, (tuple, list)) and len(value) == len(each)
        return pair and all(of(v) for (of, _), v in zip(each, value))

    return test, f"({', '.join(text for _, text in each)})"


def _mapping(hints: tuple[Any, ...]) -> tuple[Test, str]:
    key, value = (_test(hint) or (lambda value: True, "values") for hint in hints)

    def test(given: Any) -> bool:
        return isinstance(given, Mapping) and all(
            key[0](k) and value[0](v) for k, v in given.items()
        )

    return test, f"a dict, each value {value[1]}"
