"""Choosing parameters by name, with the patterns of file names: "lstm.*", "*.W_x_l0"."""

from collections.abc import Collection, Sequence
from fnmatch import fnmatchcase

from scratchnet.arguments import checked
from scratchnet.errors import InvalidValueError


@checked
def names_like(names: Collection[str], patterns: str | Sequence[str]) -> list[str]:
    """The names that one of the patterns fits, in the order of ``names``.

    Raises ValueError for a pattern that fits none, which is a typing error.

    Examples
    --------
    >>> names_like(["lstm.W_x_l0", "lstm.b_l0", "head.W"], "lstm.*")
    ['lstm.W_x_l0', 'lstm.b_l0']
    """
    wanted = [patterns] if isinstance(patterns, str) else list(patterns)
    for pattern in wanted:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise InvalidValueError(
                f"{pattern!r} fits no parameter: there are {', '.join(names) or 'none'}"
            )
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in wanted)]
