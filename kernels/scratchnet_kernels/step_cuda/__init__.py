"""The ``step`` engine on CuPy arrays: the cell's own time loop with a fused pointwise CUDA kernel.

A file here has the name of its cell and defines ``step_forward`` and ``step_backward``, which take
exactly the arguments of the functions of that name in ``scratchnet/cells/``. Importing this package
imports Numba's CUDA part.
"""

from scratchnet_kernels.step_cuda import gru, gru_reset_before, lstm, rnn

# lstm_masked has the LSTM's own pointwise step; its masks act around it.
STEPS = {
    "rnn": rnn,
    "lstm": lstm,
    "gru": gru,
    "gru_reset_before": gru_reset_before,
    "lstm_masked": lstm,
}
