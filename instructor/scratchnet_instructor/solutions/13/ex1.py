# exercise 13/ex1
import numpy as np


def seasonal(past, horizon, season):
    """past (m,) with m >= season, to the forecast (horizon,)."""
    extended = list(past)
    for _ in range(horizon):
        extended.append(extended[-season])
    return np.array(extended[len(past):])
