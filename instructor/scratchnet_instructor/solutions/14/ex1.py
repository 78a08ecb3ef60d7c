# exercise 14/ex1
import numpy as np


def moved(N, H, itemsize):
    """Whole numbers: bytes of the fused backward step, and the additional bytes of c = f c' + i g in three passes."""
    array = np.prod([N, H, itemsize])
    arriving, leaving = 2 + 4 + 2, 4 + 1
    three_passes = (2 + 1) * 3
    return (arriving + leaving) * array, (three_passes - 5) * array
