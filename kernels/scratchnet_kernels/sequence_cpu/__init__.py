"""The ``sequence`` engine on NumPy arrays: a thread takes a slice of the batch through all of time.

Rows of a batch are independent, so threads never wait for each other at a step, and a slice's
states stay in the cache of one core. Each file has the name of its cell, with a vector loop for a
step's elementwise math (the cell's own functions) and a loop over time. ``slices.py`` cuts the
batch and owns the threads, ``blocks.py`` lays the recurrent weights out for BLAS, ``vector.py`` has
the tanh, ``split.py`` the products outside the time loop.
"""

from scratchnet_kernels.sequence_cpu import gru, gru_reset_before, lstm, rnn

LOOPS = {
    "rnn": rnn.LOOPS,
    "lstm": lstm.LOOPS,
    "gru": gru.LOOPS,
    "gru_reset_before": gru_reset_before.LOOPS,
}
