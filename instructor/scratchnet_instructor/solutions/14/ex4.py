# exercise 14/ex4
import numpy as np


def times(reads, inputs, outputs, n, itemsize, launch, bandwidth):
    """reads (K,) whole numbers, the rest numbers, to the seconds of K launches and of the fused one."""
    per_array = n * itemsize / bandwidth
    apart = 0.0
    for count in reads:
        apart += launch + per_array * (count + 1)
    return apart, launch + per_array * (inputs + outputs)
