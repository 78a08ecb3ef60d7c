"""How much memory a pass through a recurrent layer takes, before it is run.

For each layer direction, with G the columns of W_x (4H for an LSTM) and numbers counted per step
and sequence:

    kept for backward      the arrays of the cell's cache: h, c and gates, 6H for an LSTM
    while forward runs     x W_x + b as well, G; ``sequence`` makes it in the place of the gates
    while backward runs    da and dx as well, G + D, which stay until all layers have theirs

A bidirectional layer joins its outputs and adds its two dx, and ``sequence`` runs both directions
at once. Weights and what depends on them alone are not counted, so this is for T N larger than H;
nor is the sample of at most a few MB that fingerprints take of large arrays, nor what a BLAS with
several threads takes for itself: in OpenBLAS a copy of x, up to D, while x W_x is computed.
"""

from math import prod
from typing import Any, NamedTuple

from scratchnet.arguments import checked
from scratchnet.arrays import require_count
from scratchnet.cells.checks import annotated
from scratchnet.layers.recurrent import Recurrent

# What else a cell holds at the peak of forward and of backward, in H numbers a step and sequence:
# the GRU's dm, the products of da with c for vectors of weights, the terms of a normalisation (21
# before dx is allocated, 13 beside it).
MORE_FORWARD = {"lstm_norm": 4}
LATE = {"lstm_norm"}  # makes its cache, but for the states, after the first product
MORE_BACKWARD = {"gru": 3, "lstm_norm": 13, "lstm_peephole": 1, "sru": 1}
MORE_BEFORE_DX = {"lstm_norm": 21}


class PassMemory(NamedTuple):
    """Bytes beside x, y's gradient and the weights."""

    kept: int  # between forward and backward
    forward: int  # at the peak of forward
    backward: int  # at the peak of backward


@checked
def pass_memory(layer: Recurrent, T: int, N: int, engine: str = "array") -> PassMemory:
    """Bytes that one forward and backward pass over (T, N, D) takes, to 10%.

    Parameters
    ----------
    layer : its cell, sizes, directions and dtype are read; it is not run.
    T, N : steps and sequences, without ``lengths``.
    engine : "array", "step" or "sequence".

    Examples
    --------
    >>> import numpy as np
    >>> from scratchnet.layers import LSTM
    >>> layer = LSTM(8, 100, rng=np.random.default_rng(0), dtype=np.float32)
    >>> [size // 10**6 for size in pass_memory(layer, T=10**5, N=1)]
    [240, 400, 403]
    """
    steps = require_count("T", T) * require_count("N", N)
    H, both, cell = layer.hidden_size, len(layer.directions), layer.cell
    sequence = engine == "sequence"
    inputs = [layer.input_size, *[layer.output_size] * (layer.num_layers - 1)]
    kept = layer.input_size * steps if layer.batch_first else 0  # x, in the order of time
    forward = backward = 0
    for number, D in enumerate(inputs, start=1):
        given = {"x", *cell.param_shapes(D, H)}
        made: Any = cell.Cache
        shapes = annotated(made, T, N, D, H).items()
        cache = sum(prod(shape) for name, (shape, none) in shapes if name not in given and not none)
        columns = cell.param_shapes(D, H)["W_x"][1] + MORE_FORWARD.get(layer.cell_name, 0) * H
        outputs = both * H * steps
        joined = outputs if both > 1 else 0  # the outputs of both directions side by side
        reversed_x = D * steps if both > 1 else 0  # a copy, for the second direction's product
        during = both * cache + reversed_x
        if not sequence:  # which makes the pre-activations in the cache
            # NumPy counts the second cache before it is written to, the system does not
            first = cache
            if engine == "array":
                late = layer.cell_name in LATE
                first = cache + len(cell.STATES) * H * steps if late else both * cache
            during = both * cache if both == 1 else max(both * cache, first + reversed_x)
            during += columns * steps
        forward = max(forward, kept + during)
        kept += both * cache
        forward = max(forward, kept + joined)
        if layer.dropout and number < layer.num_layers:
            kept += 2 * outputs  # the mask, and the output times the mask
        elif number < layer.num_layers or layer.return_sequences:
            kept += joined
        forward = max(forward, kept)
    live = kept if layer.return_sequences else kept + both * H * steps  # dy of all steps
    for number, D in reversed([*enumerate(inputs, start=1)]):
        if layer.dropout and number < layer.num_layers and both == 1:
            live += H * steps  # dy times the mask; of two directions, it replaces the sum of dx
        live += both * cell.param_shapes(D, H)["W_x"][1] * steps
        more = MORE_BACKWARD.get(layer.cell_name, 0) * H * steps
        before_dx = MORE_BEFORE_DX.get(layer.cell_name, 0) * H * steps
        if sequence:  # all directions at once, each with a contiguous dy, and one with reversed x
            copied = both * H * steps + D * steps if both > 1 else 0
            backward = max(backward, live + both * (more + D * steps) + copied)
        backward = max(backward, live + max(before_dx, more))
        live += both * D * steps
        summed = D * steps if both > 1 else 0
        # while the second direction multiplies a copy of reversed x; after it, the sum of both dx
        backward = max(backward, live + summed + more)
        live += summed
    size = next(iter(layer.params.values())).itemsize
    return PassMemory(kept * size, forward * size, backward * size)
