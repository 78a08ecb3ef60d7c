# exercise 04/ex1
import numpy as np


def steps_to_factor(g, factor):
    """Return the smallest whole n with g^n >= factor or g^n <= 1 / factor."""
    n, left = 0, 1.0
    while 1 / factor < left < factor:
        n, left = n + 1, left * g
    return n
