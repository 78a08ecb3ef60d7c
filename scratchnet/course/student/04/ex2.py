# exercise 04/ex2
import numpy as np


def with_radius(W, radius):
    """W (H, H) to W times a positive number, (H, H), whose largest absolute eigenvalue is ``radius``."""
    raise NotImplementedError("04/ex2: write this")
