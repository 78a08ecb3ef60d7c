"""Worksheets with every number filled in, worked by the library's own cells."""

import numpy as np
from scratchnet_course.worksheet import Sheet, SheetRow, T

from scratchnet.cells import lstm, rnn

Values = dict[str, tuple[float, ...]]


def worked(made: Sheet) -> Sheet:
    """The same sheet, filled in."""
    values = _rnn(made) if made.kind == "bptt" else _lstm(made)

    def filled(rows: tuple[SheetRow, ...]) -> tuple[SheetRow, ...]:
        return tuple(row._replace(values=values[row.name]) for row in rows)

    return made._replace(
        forward=filled(made.forward),
        backward=filled(made.backward),
        gradients=filled(made.gradients),
    )


def _steps(array: np.ndarray) -> tuple[float, ...]:
    return tuple(float(v) for v in np.asarray(array).reshape(len(array), -1)[:, 0])


def _column(values: tuple[float | None, ...]) -> np.ndarray:
    return np.array(values, dtype=np.float64).reshape(-1, 1, 1)


def _rnn(made: Sheet) -> Values:
    w, u, b, h0 = (np.array([[value]]) for _, value in made.weights)
    x, y = _column(made.given[0].values), _column(made.target)
    h, cache = rnn.forward(x, h0, w, u, b[0])
    dy = h - y
    grads = rnn.backward(dy, cache)
    dh_next = np.zeros((T, 1, 1))
    dh_next[:-1] = grads.da[1:] * u
    before = cache.h[:-1]
    each = {"dw": grads.da * x, "du": grads.da * before, "db": grads.da}
    rows = {"h'": before, "a": np.arctanh(h), "h": h, "dy": dy, "dh_next": dh_next}
    rows |= {"dh": dy + dh_next, "da": grads.da} | {f"to {name}": v for name, v in each.items()}
    sums = {name: (float(v.sum()),) for name, v in each.items()}
    return {name: _steps(v) for name, v in rows.items()} | sums


def _lstm(made: Sheet) -> Values:
    numbers = np.array([value for _, value in made.weights])
    W_x, W_h, b = numbers[None, :4], numbers[None, 4:8], numbers[8:]
    x, zero = _column(made.given[0].values), np.zeros((1, 1))
    h, cache = lstm.forward(x, zero, zero, W_x, W_h, b)
    dy = np.zeros((T, 1, 1))
    dy[-1] = h[-1] - made.target[0]
    grads = lstm.backward(dy, cache)
    i, f, g, o = (part[:, 0, 0] for part in np.split(cache.gates, 4, axis=-1))
    da = grads.da[:, 0]  # (T, 4)
    c = cache.c[1:, 0, 0]
    dh_next = np.append(da[1:] @ W_h[0], 0.0)
    dh = dy[:, 0, 0] + dh_next
    tanh_c, dc, dc_next = np.tanh(c), np.zeros(T), np.zeros(T)
    for t in reversed(range(T)):
        dc_next[t] = dc[t + 1] * f[t + 1] if t + 1 < T else 0.0
        dc[t] = dh[t] * o[t] * (1 - tanh_c[t] ** 2) + dc_next[t]
    rows = {"i": i, "f": f, "g": g, "o": o, "c": c, "h": h, "dh": dh, "dc_next": dc_next}
    rows |= {"dc": dc, "dh_next": dh_next} | {f"da_{k}": da[:, n] for n, k in enumerate("ifgo")}
    sums = np.concatenate([grads.dW_x[0], grads.dW_h[0], grads.db])
    each = {f"d{name}": (float(v),) for (name, _), v in zip(made.weights, sums)}
    return {name: _steps(v) for name, v in rows.items()} | each
