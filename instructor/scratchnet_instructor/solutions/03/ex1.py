# exercise 03/ex1
import numpy as np


def scalar_bptt(w, u, b, h0, x, target):
    """x and target (T,), the others numbers, to dw, du, db, dh0, four numbers."""
    states = [h0]
    for number in x:
        states.append(np.tanh(u * states[-1] + b + number * w))
    slopes, arriving = {"dw": 0.0, "du": 0.0, "db": 0.0}, 0.0
    for number, aim, after, before in zip(x[::-1], target[::-1], states[:0:-1], states[-2::-1]):
        back = (arriving + after - aim) * (1 - after * after)
        slopes["dw"] += back * number
        slopes["du"] += back * before
        slopes["db"] += back
        arriving = u * back
    return {**slopes, "dh0": arriving}
