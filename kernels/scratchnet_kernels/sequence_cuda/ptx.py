"""Instructions of the GPU for which Numba has no words, as inline PTX."""

from collections.abc import Callable
from typing import Any

from llvmlite import ir

from scratchnet_kernels.launch import Compiled


def instruction(name: str, define: Callable[..., Any]) -> Compiled:
    """A function that kernels call, of Numba's kind "intrinsic": ``define`` writes its code.

    ``name``: one for each. Numba would make one up in every process, and a kernel that is kept on
    disk (``cubins.py``), whose file is named after all that it calls, would never be found again.
    """
    from numba.cuda.extending import intrinsic

    made = intrinsic(define)
    made._set_uuid(f"scratchnet {name}")
    return made


def assemble(
    builder: Any,
    result: Any,
    taken: list[Any],
    text: str,
    constraints: str,
    arguments: list[Any],
    side_effect: bool = True,
) -> Any:
    """Put these instructions here; their result, of LLVM's type ``result``.

    ``side_effect``: they are neither moved nor removed. Always "convergent": not copied into the
    branches before them either, since the threads of a warp have to execute one and the same.
    """
    kind = ir.FunctionType(result, taken)
    call = builder.asm(kind, text, constraints, arguments, side_effect=side_effect)
    call.attributes.add("convergent")
    return call
