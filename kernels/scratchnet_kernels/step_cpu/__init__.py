"""The ``step`` engine on NumPy arrays: the cell's own time loop with a compiled pointwise step.

A file here has the name of its cell and defines ``step_forward`` and ``step_backward``, which take
exactly the arguments of the functions of that name in ``scratchnet/cells/``.
"""

from scratchnet_kernels.step_cpu import gru, gru_reset_before, lstm, rnn

# lstm_masked has the LSTM's own pointwise step; its masks act around it.
STEPS = {
    "rnn": rnn,
    "lstm": lstm,
    "gru": gru,
    "gru_reset_before": gru_reset_before,
    "lstm_masked": lstm,
}
