# exercise 10/ex3
import numpy as np


def adam(p, g, m, v, t, lr, beta1, beta2, eps):
    """p, g, m, v of one shape, t a whole number from 1, to the new p, m, v."""
    m_new = m + (g - m) * (1 - beta1)
    v_new = v + (np.square(g) - v) * (1 - beta2)
    size = np.sqrt(v_new) / np.sqrt(1 - beta2**t)
    return p - (lr / (1 - beta1**t)) * m_new / (size + eps), m_new, v_new
