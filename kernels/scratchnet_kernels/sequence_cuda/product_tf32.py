"""The recurrent product of a persistent kernel on tensor cores, from operands rounded to TF32.

A warp computes ``tiles`` tiles, each of 16 outputs for the 8 rows of a cluster, over the terms of
one part: D[output, row] = sum over k of W[output, k] x[row, k], by 8 terms an instruction
(``tensor_core.py``). The weights are A, and stay where they are for the whole sequence; the vectors
are B, read from shared memory.

- In which order the terms are summed is free, as long as A and B agree. A thread takes four
  neighbours out of 16 terms, for two instructions: 4 q and 4 q + 1 are k = q and q + 4 of the
  first, the next two of the second. So it reads 16 bytes at a time, of the vector as of the weights
  in shared memory.
- Eight threads together read two rows of 64 bytes. With a stride of 16 more than a multiple of 32
  numbers, those are in different banks of shared memory.
- An instruction takes about 30 cycles, and one for the same sum has to wait for the one before it.
  So where a warp has few tiles, each has two sums, which are added in the end.
- Where there are more warps than jobs, some repeat the job of another: the same numbers are written
  to the same place.
"""

from functools import cache

from numba import cuda, float32

from scratchnet.arrays import Array
from scratchnet_kernels.launch import Compiled, device_function
from scratchnet_kernels.sequence_cuda.resources import Resources
from scratchnet_kernels.sequence_cuda.resources_tf32 import piece_of
from scratchnet_kernels.sequence_cuda.tensor_core import mma, to_tf32
from scratchnet_kernels.sequence_cuda.weights import FOURS, ZERO, Product, Weights

SIXTEEN = 16  # outputs of a tile, and terms of two instructions


@cache
def product_tf32(use: Resources, weights: Weights, weights_at: int) -> Product:
    """The product for blocks that take ``use``, with shared weights from ``weights_at`` on."""
    tiles, threads, stride, terms = use.tiles, use.threads, use.stride, use.terms
    groups = use.across // (SIXTEEN * tiles)  # of outputs, one for each warp of a part
    jobs = groups * use.parts
    kept = use.in_registers // (8 * tiles)  # times 16 terms
    read = terms // SIXTEEN - kept
    piece = piece_of(tiles)
    chains = 2 if tiles <= 2 else 1
    step, second = 4 * chains, 4 * (chains - 1)  # in the sums: of a tile, of its second chain
    held, partial = 4 * tiles, 4 * tiles * chains
    first_weight, after = weights

    @device_function
    def eight(
        W_h: Array, output: int, term: int, rank: int, w: Array, at: int, next_at: int
    ) -> None:
        """Of one tile and 16 terms: this thread's A of two instructions, at w[at] and [next_at]."""
        for low in range(2):  # outputs g and g + 8
            k, unit, end = first_weight(output + 8 * low, term, rank)
            for four in range(2):
                w[at + low + 2 * four] = to_tf32(W_h[k] if k < end else ZERO)
                k, unit = after(k, unit)
            for four in range(2):
                w[next_at + low + 2 * four] = to_tf32(W_h[k] if k < end else ZERO)
                k, unit = after(k, unit)

    @device_function
    def two(w: Array, at: int, next_at: int, x: tuple[float, ...], sums: Array, n: int) -> None:
        """Both instructions; the sums are at sums[n] and, of the second chain, further on."""
        sums[n], sums[n + 1], sums[n + 2], sums[n + 3] = mma(
            w[at], w[at + 1], w[at + 2], w[at + 3],
            x[0], x[1],
            sums[n], sums[n + 1], sums[n + 2], sums[n + 3],
        )  # fmt: skip
        m = n + second
        sums[m], sums[m + 1], sums[m + 2], sums[m + 3] = mma(
            w[next_at], w[next_at + 1], w[next_at + 2], w[next_at + 3],
            x[2], x[3],
            sums[m], sums[m + 1], sums[m + 2], sums[m + 3],
        )  # fmt: skip

    def pieces(number: int) -> tuple[Compiled, Compiled]:
        """Load and multiply the weights in registers, 16 terms at a time: these, then the rest."""
        if number == kept:
            return _load_nothing, _add_nothing
        load_rest, add_rest = pieces(number + 1)

        @device_function
        def load(W_h: Array, output: int, term: int, rank: int, w: Array) -> None:
            for tile in range(tiles):
                at = 8 * (number * tiles + tile)
                eight(W_h, output + SIXTEEN * tile, term, rank, w, at, at + 4)
            load_rest(W_h, output, term + SIXTEEN, rank, w)

        @device_function
        def add(w: Array, shared: Array, base: int, sums: Array) -> None:
            k = base + SIXTEEN * number
            x = shared[k], shared[k + 1], shared[k + 2], shared[k + 3]
            for tile in range(tiles):
                at = 8 * (number * tiles + tile)
                two(w, at, at + 4, x, sums, step * tile)
            add_rest(w, shared, base, sums)

        return load, add

    load_registers, add_registers = pieces(0)

    @device_function
    def job(r: int) -> tuple[int, int, int, int]:
        """Part, first output of the warp's tiles, and the thread's g and q in the warp."""
        warp = r >> 5
        if jobs < threads // 32:
            warp %= jobs
        return warp // groups, warp % groups * tiles * SIXTEEN, r >> 2 & 7, r & 3

    @device_function
    def load(W_h: Array, rank: int, r: int, w: Array, shared: Array) -> None:
        part, first, g, q = job(r)
        output, term = first + g, part * terms + 4 * q
        load_registers(W_h, output, term, rank, w)
        for number in range(read):
            for tile in range(tiles):  # four of a thread are neighbours, then those of the next
                at = weights_at + (2 * (number * tiles + tile) * threads + r) * 4
                more = term + SIXTEEN * (kept + number)
                eight(W_h, output + SIXTEEN * tile, more, rank, shared, at, at + 4 * threads)

    @device_function
    def add(w: Array, shared: Array, base: int, r: int, sums: Array) -> None:
        part, _, g, q = job(r)
        chained = cuda.local.array(partial, float32)
        for n in range(partial):
            chained[n] = ZERO
        at = (base + g * stride + part * terms + 4 * q) & FOURS
        add_registers(w, shared, at, chained)
        for begun in range(0, read, piece):
            for more in range(piece):
                number = (begun & 1023) + more  # tells the compiler: not negative
                k = at + SIXTEEN * (kept + number)
                x = shared[k], shared[k + 1], shared[k + 2], shared[k + 3]
                for tile in range(tiles):
                    there = weights_at + (2 * (number * tiles + tile) * threads + r) * 4
                    two(shared, there, there + 4 * threads, x, chained, step * tile)
        for tile in range(tiles):
            for n in range(4):
                total = chained[step * tile + n]
                if chains == 2:
                    total += chained[step * tile + second + n]
                sums[4 * tile + n] = total

    @device_function
    def place(r: int, n: int) -> tuple[int, int, int]:
        part, first, g, q = job(r)
        return part, 2 * q + (n & 1), first + n // 4 * SIXTEEN + (n // 2 & 1) * 8 + g

    return Product(held, load, add, place, to_tf32)


@device_function
def _load_nothing(W_h: Array, output: int, term: int, rank: int, w: Array) -> None:
    pass


@device_function
def _add_nothing(w: Array, shared: Array, base: int, sums: Array) -> None:
    pass
