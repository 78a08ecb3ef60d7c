"""The ``sequence`` engine on NumPy arrays: a thread takes some sequences through all of time.

Rows of a batch are independent, so threads do not wait for each other at a step; where there are
few rows and many units, a thread takes some units, and they do. Each file has the name of its cell:
a step's elementwise math (the cell's own functions), and the loops over time. ``vector.py`` and
``vector_math.py`` compile that math for many units at once, ``product.py`` has the products,
``part_products.py`` those of one thread, ``team.py`` and ``work.py`` cut the work for threads,
``engine.py`` puts it together.
"""

from scratchnet_kernels.sequence_cpu import (
    gru,
    gru_reset_before,
    lstm,
    rnn,
    vector_math,  # noqa: F401  teaches Numba tanh and exp of vectors
)

PASSES = {"rnn": rnn, "lstm": lstm, "gru": gru, "gru_reset_before": gru_reset_before}
