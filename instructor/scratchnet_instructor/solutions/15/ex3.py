# exercise 15/ex3
import numpy as np


def peephole_backward(dh, dc_next, i, f, g, o, c_prev, c, p_i, p_f, p_o):
    """Arrays (N, H), p_i, p_f, p_o (H,), to da_i, da_f, da_g, da_o, dc_prev, each (N, H)."""
    squashed = np.tanh(c)
    out = squashed * dh * (o - o * o)
    memory = dc_next + out * p_o + (1 - squashed * squashed) * o * dh
    write, keep = memory * g * (i - i * i), memory * c_prev * (f - f * f)
    return write, keep, memory * (1 - g * g) * i, out, memory * f + keep * p_f + write * p_i
