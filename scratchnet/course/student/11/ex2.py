# exercise 11/ex2
import numpy as np


def heated(logits, temperature):
    """logits (N, K), temperature > 0, to probabilities (N, K) and entropies (N,)."""
    raise NotImplementedError("11/ex2: write this")
