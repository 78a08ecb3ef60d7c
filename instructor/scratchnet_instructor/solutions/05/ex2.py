# exercise 05/ex2
import numpy as np


def bias_for(steps, left):
    """steps at least 1 and left between 0 and 1 to the bias, a number, with sigmoid(bias)^steps = left."""
    rate = np.log(left) / steps
    return rate - np.log(-np.expm1(rate))
