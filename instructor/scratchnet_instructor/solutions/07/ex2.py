# exercise 07/ex2
import numpy as np


def from_other(W_x, W_h, b):
    """W_x (D, 3H), W_h (H, 3H), b (3H,), blocks z r n, to the same three, blocks r z n."""
    width = b.size // 3
    mix = np.kron(np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]), np.eye(width))
    return [array @ mix for array in (W_x, W_h, b)]
