"""What a kernel must be sure of, and an array operation need not."""

from typing import Any

from scratchnet.errors import InvalidTypeError


def require_cache(made: type, cache: Any) -> None:
    """TypeError unless the cache is of this cell's type: a kernel reads it by the cell's gates."""
    if type(cache) is not made:
        given = type(cache)
        raise InvalidTypeError(
            f"cache is a {given.__module__}.{given.__qualname__}: expected what forward returned, a"
            f" {made.__module__}.{made.__qualname__}"
        )
