"""The tensor core: a warp multiplies two small matrices with one instruction.

``mma.sync.m16n8k8``: D = A B + C, with A (16, 8) and B (8, 8) in TF32, C and D (16, 8) in float32.
No thread has a whole matrix. Thread 4 g + q of the warp (g < 8, q < 4) has

    A   a0 = A[g, q]    a1 = A[g + 8, q]    a2 = A[g, q + 4]    a3 = A[g + 8, q + 4]
    B   b0 = B[q, g]    b1 = B[q + 4, g]
    C   c0 = C[g, 2 q]  c1 = C[g, 2 q + 1]  c2 = C[g + 8, 2 q]  c3 = C[g + 8, 2 q + 1]

and gets back its four of D. All threads of the warp execute the instruction together.

TF32 has float32's 8 bits of exponent and 10 of its 23 bits of mantissa. ``to_tf32`` rounds to
nearest, which is off by 2^-11 of a number at most; the instruction itself would just not read the
other 13 bits.

The simulator has no warps: there each thread leaves its numbers in an array, waits for the others,
and reads what it needs.

References: PTX ISA, sections "mma" (m16n8k8, .tf32) and "cvt" (.rna).
"""

from typing import Any

import numpy as np
from numba import cuda, types

from scratchnet.arrays import Array
from scratchnet_kernels.launch import SIMULATED, Compiled, device_function

WARP = 32
THREADS = 16 * 1024  # of a cluster, at most
LOW = 13  # bits of float32's mantissa that TF32 does not have


def rounded(x: Array) -> Array:
    """Round float32 numbers to TF32: to nearest, halves away from zero, as ``cvt.rna`` does."""
    bits = np.asarray(x, np.float32).view(np.uint32)
    up = (bits + np.uint32(1 << (LOW - 1))) & np.uint32(0xFFFFFFFF << LOW & 0xFFFFFFFF)
    return np.where(np.isfinite(x), up, bits).view(np.float32)


def _truncated(x: Array) -> Array:
    """What the instruction reads of a number."""
    bits = x.view(np.uint32) & np.uint32(0xFFFFFFFF << LOW & 0xFFFFFFFF)
    return bits.view(np.float32)


def _simulated() -> tuple[Compiled, Compiled]:
    # Each thread's numbers, and which of two places they are in: one thread may begin with the next
    # product while another still reads those of this one.
    a, b = np.zeros((2, THREADS, 4), np.float32), np.zeros((2, THREADS, 2), np.float32)
    places = np.zeros(THREADS, int)

    def to_tf32(x: Any) -> Any:
        return rounded(x)[()]

    def mma(a0: Any, a1: Any, a2: Any, a3: Any, b0: Any, b1: Any, *c: Any) -> tuple[Any, ...]:
        me = cuda.threadIdx.x
        first, g, q = me - me % WARP, me % WARP // 4, me % 4
        place = places[me] = 1 - places[me]
        a[place, me], b[place, me] = (a0, a1, a2, a3), (b0, b1)
        cuda.syncthreads()
        own_a = _truncated(a[place, first : first + WARP]).reshape(8, 4, 4)[g]  # threads 4 g + k
        all_b = _truncated(b[place, first : first + WARP]).reshape(8, 4, 2)
        d = [np.float32(number) for number in c]
        for n in range(4):
            column = all_b[2 * q + n % 2]
            for half in (0, 1):
                for k in range(4):
                    d[n] += own_a[k, n // 2 + 2 * half] * column[k, half]
        return tuple(d)

    return device_function(to_tf32), device_function(mma)


def _instructions() -> tuple[Compiled, Compiled]:
    from llvmlite import ir
    from numba.cuda.typing import signature

    from scratchnet_kernels.sequence_cuda.ptx import assemble, instruction

    i32, f32 = ir.IntType(32), ir.FloatType()
    four = types.UniTuple(types.float32, 4)

    def to_tf32(context: Any, x: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            text = "cvt.rna.tf32.f32 $0, $1;"
            bits = assemble(builder, i32, [f32], text, "=r,f", arguments, side_effect=False)
            return builder.bitcast(bits, f32)

        return signature(types.float32, types.float32), generate

    def mma(
        context: Any,
        a0: Any, a1: Any, a2: Any, a3: Any,
        b0: Any, b1: Any,
        c0: Any, c1: Any, c2: Any, c3: Any,
    ) -> Any:  # fmt: skip
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            read = [builder.bitcast(number, i32) for number in arguments[:6]] + list(arguments[6:])
            text = (
                "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32"
                " {$0,$1,$2,$3}, {$4,$5,$6,$7}, {$8,$9}, {$10,$11,$12,$13};"
            )
            where = ",".join(["=f"] * 4 + ["r"] * 6 + ["f"] * 4)
            taken, given = [i32] * 6 + [f32] * 4, ir.LiteralStructType([f32] * 4)
            d = assemble(builder, given, taken, text, where, read, side_effect=False)
            numbers = [builder.extract_value(d, n) for n in range(4)]
            return context.make_tuple(builder, signature.return_type, numbers)

        return signature(four, *[types.float32] * 10), generate

    return instruction("to_tf32", to_tf32), instruction("mma", mma)


# to_tf32(x): x rounded. mma(a0, a1, a2, a3, b0, b1, c0, c1, c2, c3): this thread's four of D.
to_tf32, mma = _simulated() if SIMULATED else _instructions()
