# exercise 13/ex1
import numpy as np


def seasonal(past, horizon, season):
    """past (m,) with m >= season, to the forecast (horizon,)."""
    raise NotImplementedError("13/ex1: write this")
