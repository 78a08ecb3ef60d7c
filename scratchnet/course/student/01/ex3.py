# exercise 01/ex3
import numpy as np


def mlp_backward(x, target, W1, b1, W2, b2):
    """x (N, D), target (N, K), W1 (D, H), W2 (H, K) to dW1, db1, dW2, db2, each of its parameter's shape."""
    raise NotImplementedError("01/ex3: write this")
