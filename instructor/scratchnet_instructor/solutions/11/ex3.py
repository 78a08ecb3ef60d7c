# exercise 11/ex3
import numpy as np


def cut(tokens, count):
    """tokens (M,) to x (T, count) and target (T, count), with T = (M - 1) // count."""
    T = (tokens.size - 1) // count
    x, target = np.empty((T, count), int), np.empty((T, count), int)
    for n in range(count):
        for t in range(T):
            x[t, n], target[t, n] = tokens[n * T + t], tokens[n * T + t + 1]
    return x, target
