# exercise 14/ex2
import numpy as np


def roof(N, D, K, itemsize, peak, bandwidth):
    """Numbers to two numbers: operations per byte, operations per second."""
    traffic = itemsize * sum(np.prod(pair) for pair in ((N, D), (D, K), (N, K)))
    work = 2.0 * N * D * K
    fastest = max(work / peak, traffic / bandwidth)
    return work / traffic, work / fastest
