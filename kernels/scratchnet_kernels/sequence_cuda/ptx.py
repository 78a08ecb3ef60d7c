"""Instructions of the GPU for which Numba has no words, as inline PTX."""

from collections.abc import Callable
from typing import Any

from llvmlite import ir

from scratchnet_kernels.launch import Compiled

INSTRUCTIONS: dict[str, Compiled] = {}


def instruction(name: str, define: Callable[..., Any]) -> Compiled:
    """A function that kernels call, of Numba's kind "intrinsic": ``define`` writes its code.

    ``name``: one for each. A kernel that is kept on disk is found by a hash of all that it calls
    (``cubins.py``). Numba would give it another name in each process, and none would find the
    kernel of another.
    """
    from numba.cuda.extending import _Intrinsic

    class Instruction(_Intrinsic):  # type: ignore[misc]
        def __reduce__(self) -> tuple[Any, ...]:
            return _instruction_of, (name,)

    made = INSTRUCTIONS[name] = Instruction(name, define)
    made._register()
    return made


def _instruction_of(name: str) -> Compiled:
    return INSTRUCTIONS[name]


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
