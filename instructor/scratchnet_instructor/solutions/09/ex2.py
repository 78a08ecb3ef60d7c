# exercise 09/ex2
import numpy as np


def lines(low, high, S, L, T):
    """Numbers low < high, whole S, L, T to two numbers."""
    one_number = (high**3 - low**3) / (3 * (high - low)) - ((low + high) / 2) ** 2
    guessed, steps = L, T + L + L
    return one_number + one_number, guessed / steps * np.log(S)
