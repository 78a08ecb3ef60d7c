"""How this package compiles a loop for the CPU: one decorator, so that the choices stand in one place."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

F = TypeVar("F", bound=Callable[..., Any])


def compiled(loop: F) -> F:
    """Compile ``loop`` with Numba when it is first called, once for each combination of argument types.

    No ``fastmath``: it reorders sums and forgets NaN, and the array engine would no longer be an oracle.
    ``error_model="numpy"``: 1 / 0 is inf, as in an array, and no test for it stands in the loop.
    No ``cache=True``: Numba asks only whether the *loop's* file has changed.  The math it calls stands in the cell's file;
    whoever edited that would go on running the old machine code, and nothing would say so.  A second per process is cheaper.

    With NUMBA_DISABLE_JIT=1 in the environment the loop stays the Python function it is, and a debugger can enter it.
    """
    return cast(F, njit(error_model="numpy")(loop))
