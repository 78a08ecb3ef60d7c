# exercise 11/ex4
import numpy as np


def top_k(logits, k):
    """logits (N, K) and 1 <= k <= K, to probabilities (N, K)."""
    raise NotImplementedError("11/ex4: write this")
