# exercise 05/ex3
import numpy as np


def shut_and_open(gate):
    """gate (T, N, H), between 0 and 1, to the two shares, (H,) each: shut, open."""
    units = np.moveaxis(gate, -1, 0)
    counts = [(np.count_nonzero(unit < 0.1), np.count_nonzero(unit > 0.9)) for unit in units]
    return tuple(np.array(counts).T * (len(units) / gate.size))
