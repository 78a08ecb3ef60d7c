"""Tolerances that follow from the arithmetic, not from one machine's BLAS.

A sum of n rounded terms is off by about sqrt(n) units in the last place, in whatever order a BLAS
adds it up: the n rounding errors are independent, so their variances add. A cell's longest sums
follow one after the other: x W_x over D, h W_h over H, da W_h^T over the G pre-activations, the
weights' gradients over the T N steps of all sequences, and about eight roundings of the gate math in
each of T steps; n is the sum of all five. Results are compared
with float64, relative to the largest element of each array, where large terms may have cancelled.
"""

import numpy as np


def tolerance(dtype, *lengths_of_sums):
    """sqrt(n) units in the last place of ``dtype``, for sums of so many terms in a row."""
    return float(np.finfo(dtype).eps * np.sqrt(sum(lengths_of_sums)))


def cell_tolerance(cell, dtype, T, N, D, H):
    """``tolerance`` of a cell's forward and backward pass over T steps of N sequences."""
    return tolerance(dtype, D, H, len(cell.GATES) * H, T * N, 8 * T)
