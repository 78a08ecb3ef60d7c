"""The recurrent product, cut so that BLAS needs no copy of the weights.

For a large product BLAS first copies its right factor into its own order. Here that factor is
W_h, the same at every step, and the left one has few rows: the copy would cost as much as the
product. OpenBLAS leaves it out where the product has at most 10^6 multiply-adds. So W_h is laid out
once, before time begins, as blocks of at most 64 columns, and a slice has few enough rows. Measured
(``benchmarks/parts.py``; AVX-512, one thread, float32): 16 rows, H = 256: 222 GFLOP/s with blocks,
90 without.
"""

import numpy as np

from scratchnet.arrays import Array
from scratchnet_kernels.compiled import time_loop, vector_loop

WITHOUT_COPY = 1_000_000  # multiply-adds
WIDEST, NARROWEST = 64, 16  # columns of a block
ROWS = 16  # sequences of a slice, where G units are not too many


def rows_of_slice(G: int) -> int:
    """Number of sequences in a slice for G = gates times H, from the sizes alone.

    It does not depend on the number of threads. So a sum is always computed in the same order, and
    the results are the same for any number of threads.
    """
    rows = ROWS
    while rows > 1 and rows * G * WIDEST // 2 > WITHOUT_COPY:
        rows //= 2
    return rows


def width(columns: int, K: int, rows: int) -> int:
    """Columns of a block: the widest part of ``columns`` whose product needs no copy.

    The product is (rows, K) (K, width).
    """
    for parts in range(-(-columns // WIDEST), columns // NARROWEST + 1):
        if columns % parts == 0 and rows * K * (columns // parts) <= WITHOUT_COPY:
            return columns // parts
    return columns


def in_blocks(W: Array, w: int) -> Array:
    """W (K, columns) as (columns / w, K, w), each block contiguous."""
    K, columns = W.shape
    # a copy even of one block: W may be read-only
    return np.array(W.reshape(K, columns // w, w).transpose(1, 0, 2), order="C")


@time_loop
def multiply(left: Array, blocks: Array, out: Array) -> None:
    """left (rows, K) times every block (K, w), into out (blocks, rows, w)."""
    for b in range(len(blocks)):
        np.dot(left, blocks[b], out[b])


@vector_loop
def add_blocks(parts: Array, t: int, lengths: Array, dh: Array) -> None:
    """dh (rows, H) += parts (H / w, rows, w), except for sequences that have ended at step t."""
    blocks, rows, w = np.uintp(parts.shape[0]), np.uintp(parts.shape[1]), np.uintp(parts.shape[2])
    for n in range(rows):
        if t < lengths[n]:
            for p in range(blocks):
                for k in range(w):
                    dh[n, p * w + k] += parts[p, n, k]


def forward_blocks(W_h: Array, rows: int) -> Array:
    """The blocks of W_h (H, G) for h W_h: no block crosses the border of a gate."""
    H = W_h.shape[0]
    return in_blocks(W_h, width(H, H, rows))


def backward_blocks(W_h: Array, rows: int) -> Array:
    """The blocks of W_h^T (G, H) for da W_h^T."""
    H, G = W_h.shape
    return in_blocks(W_h.T, width(H, G, rows))
