"""Waiting awake: a thread looks at a flag again and again, for a moment, before it sleeps.

To wake a sleeping thread takes the system 50 to 100 microseconds, as long as a pass of a small
model. A thread that is awake sees a flag at once. It must not hold the GIL meanwhile, so the
waiting is compiled.

Numba takes memory as it likes, and would read a flag once before the loop. So a flag is read and
written by *atomic* instructions, which the compiler neither moves nor removes.
"""

import os
import platform
import time
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload

from scratchnet.arrays import Array
from scratchnet_kernels.compiled import kept

PAUSE = "llvm.x86.sse2.pause"
POSIX = os.name == "posix"
X86 = platform.machine().lower() in ("x86_64", "amd64", "i386", "i686")


def peek(flags: Array, k: int) -> int:
    """flags[k] as it is now, another thread may have changed it; and what it wrote before."""
    return int(flags[k])


def signal(flags: Array, k: int, value: int) -> None:
    """flags[k] = value, for other threads to see, after all that was written before."""
    flags[k] = value


def breathe() -> None:
    """Let the other thread of this processor core work for some cycles."""


def give_way() -> None:
    """Let another thread have this processor, if one waits for it."""
    time.sleep(0)


@overload(peek, jit_options={"forceinline": True}, strict=False)  # type: ignore[untyped-decorator]
def _compiled_peek(flags: Any, k: Any) -> Any:
    return lambda flags, k: _peek(flags, k)


@overload(signal, jit_options={"forceinline": True}, strict=False)  # type: ignore[untyped-decorator]
def _compiled_signal(flags: Any, k: Any, value: Any) -> Any:
    return lambda flags, k, value: _signal(flags, k, value)


@overload(breathe, jit_options={"forceinline": True}, strict=False)  # type: ignore[untyped-decorator]
def _compiled_breathe() -> Any:
    return lambda: _breathe()


@overload(give_way, jit_options={"forceinline": True}, strict=False)  # type: ignore[untyped-decorator]
def _compiled_give_way() -> Any:
    return lambda: _give_way()


@intrinsic  # type: ignore[untyped-decorator]
def _peek(typing: Any, flags: Any, k: Any) -> Any:
    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.load_atomic(_place(context, builder, flags, *args), "acquire", 8)

    return types.int64(flags, types.intp), generate


@intrinsic  # type: ignore[untyped-decorator]
def _signal(typing: Any, flags: Any, k: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        builder.store_atomic(args[2], _place(context, builder, flags, *args[:2]), "release", 8)
        return context.get_dummy_value()

    return types.void(flags, types.intp, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def _breathe(typing: Any) -> Any:
    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if X86:
            kind = ir.FunctionType(ir.VoidType(), [])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, PAUSE), [])
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic  # type: ignore[untyped-decorator]
def _give_way(typing: Any) -> Any:
    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if POSIX:  # elsewhere it goes on looking
            kind = ir.FunctionType(ir.IntType(32), [])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, "sched_yield"), [])
        return context.get_dummy_value()

    return types.void(), generate


def _place(context: Any, builder: Any, kind: Any, flags: Any, k: Any) -> Any:
    parts = context.make_array(kind)(context, builder, flags)
    return cgutils.get_item_pointer(context, builder, kind, parts, [k])


@kept
def wait_awake(flags: Array, say: int, k: int, looks: int, more: int) -> bool:
    """Set flags[say] to 1, then look at flags[k] until it is 1, at most so many times.

    Whether it was, and then goes on for as long as ``more`` looks.
    """
    signal(flags, say, 1)
    for _ in range(looks):
        if peek(flags, k) == 1:
            for _ in range(more):
                breathe()
            return True
        breathe()
    return False
