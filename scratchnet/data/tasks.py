"""Tasks and series made by known rules: what can be learned or forecast in them is known.

The adding problem: read T numbers, two of them marked, and answer with the sum of the two at the
end. No earlier step shows which numbers will be needed, so the gradient must reach back over up to
T - 1 steps.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from scratchnet.arguments import checked
from scratchnet.arrays import Array, require_count, require_memory, require_rng
from scratchnet.data.series import Series
from scratchnet.errors import InvalidTypeError, InvalidValueError

# Always answering 1, the mean of the target, has this error: Var(U1 + U2) = 1/12 + 1/12.
ADDING_BASELINE_MSE = 1 / 6


@checked
def adding(
    rng: np.random.Generator, n: int, T: int, dtype: DTypeLike = np.float64
) -> tuple[Array, Array]:
    """Draw n sequences of the adding problem, time-major: x (T, n, 2) and y (n, 1).

    x[..., 0] are numbers from U(0, 1). x[..., 1] is 1 at two steps, one in the first T // 2 and one
    in the rest, and 0 elsewhere. y is the sum of the two marked numbers.

    Raises
    ------
    ValueError, TypeError
        For T < 2, n < 1, another rng than a Generator or a dtype that is not a floating type.

    References
    ----------
    Hochreiter and Schmidhuber 1997, section 5.4, there with numbers from U(-1, 1) and the target
    scaled; numbers in (0, 1), one mark in each half and the plain sum as in Arjovsky, Shah and
    Bengio 2016, section 4.2.

    Examples
    --------
    >>> x, y = adding(np.random.default_rng(0), n=3, T=8)
    >>> bool(np.allclose((x[..., 0] * x[..., 1]).sum(axis=0), y[:, 0]))
    True
    """
    require_rng(rng)
    if not np.issubdtype(np.dtype(dtype), np.floating):
        raise InvalidTypeError(f"dtype is {np.dtype(dtype)}: expected a floating type")
    if T < 2:
        raise InvalidValueError(
            f"T is {T}: expected at least 2 steps, one for each of the two marks"
        )
    if n < 1:
        raise InvalidValueError(f"n is {n}: expected at least 1 sequence")
    require_memory("x", (2 * T, n, 2), np.float64)
    x = np.zeros((T, n, 2), dtype)
    x[:, :, 0] = rng.random((T, n))
    first, second = rng.integers(0, T // 2, size=n), rng.integers(T // 2, T, size=n)
    each = np.arange(n)
    x[first, each, 1] = x[second, each, 1] = 1
    y = x[first, each, :1] + x[second, each, :1]
    return x, y


@checked
def load_like(rng: np.random.Generator, days: int = 365, start_weekday: int = 0) -> Series:
    """An hourly series like the load of a power grid, (24 days, 3): load, temperature, holiday.

    The load has a daily shape with two peaks, lower on weekends and holidays, a part that grows as
    the temperature leaves 18 degrees (heating and cooling), and noise that lasts for hours. The
    temperature has a yearly and a daily cycle, and weather. Even with all rules known, the noise
    cannot be forecast: an AR(1) with 0.8 and innovations of 1% of the mean load. Raises ValueError
    for less than 7 days.
    """
    require_rng(rng)
    require_count("days", days, 7, most=10**6)
    require_count("start_weekday", start_weekday, 0)
    T = 24 * days
    hour, day = np.arange(T) % 24, np.arange(T) // 24
    weekday = (day + start_weekday) % 7
    weather = persistent(rng, T, 0.98, 0.35)
    yearly, daily = np.cos(2 * np.pi * (day - 20) / 365), np.cos(2 * np.pi * (hour - 3) / 24)
    temperature = 12 - 9 * yearly - 4 * daily + weather
    holidays = rng.random(days) < 0.03
    off = (weekday >= 5) | holidays[day]
    morning, evening = np.exp(-(((hour - 9) / 3.0) ** 2)), np.exp(-(((hour - 19) / 2.5) ** 2))
    shape = 60 + np.where(off, 12, 26) * morning + 22 * evening
    load = shape + 0.9 * np.maximum(15 - temperature, 0) + 1.4 * np.maximum(temperature - 21, 0)
    load = load + persistent(rng, T, 0.8, 0.01 * load.mean())
    values = np.stack([load, temperature, holidays[day].astype(np.float64)], axis=1)
    times = np.array([f"day {d:03d} {h:02d}:00" for d, h in zip(day, hour)])
    columns = ("load", "temperature", "holiday")
    return Series("load-like", times, values, columns, "MW, degrees, 0 or 1", "made up", "MIT")


@checked
def price_like(rng: np.random.Generator, days: int = 1500, drift: float = 0.0002) -> Series:
    """A daily series like a price, (days, 2): price, whose changes cannot be forecast, and volume.

    log price is a random walk with drift; the variance of a day's change follows a GARCH(1, 1), so
    that quiet and volatile days cluster, and the size of a change can be forecast a little; volume
    grows with the size of the change. Raises ValueError for less than 50 days. References:
    Bollerslev 1986.
    """
    require_rng(rng)
    require_count("days", days, 50, most=10**6)
    e, variance = rng.standard_normal(days), np.empty(days)
    change, variance[0] = np.empty(days), 1e-4
    for t in range(days):
        if t:
            variance[t] = 2e-6 + 0.08 * change[t - 1] ** 2 + 0.90 * variance[t - 1]
        change[t] = np.sqrt(variance[t]) * e[t]
    price = 100 * np.exp(np.cumsum(drift + change))
    volume = np.exp(10 + 20 * np.abs(change) + 0.3 * rng.standard_normal(days))
    times = np.array([f"day {t:04d}" for t in range(days)])
    values = np.stack([price, volume], axis=1)
    return Series("price-like", times, values, ("price", "volume"), "", "made up", "MIT")


class Turbofans(NamedTuple):
    """Machines, such as turbofan engines, that run until they fail."""

    sensors: list[Array]  # of each machine, (cycles, 6) float64
    names: tuple[str, ...] = ("temperature", "pressure", "vibration", "flow", "speed", "setting")

    @property
    def lives(self) -> Array:
        """(machines,) how many cycles each machine ran."""
        return np.array([len(rows) for rows in self.sensors])

    def windows(self, width: int, within: int, stride: int = 1) -> tuple[Array, Array, Array]:
        """Every ``width`` cycles (n, width, 6), with a label (n,) and the machine's number (n,).

        The label is 1 where the machine fails within the next ``within`` cycles. Split by machine,
        never by window: windows of one machine are nearly copies of each other. Raises ValueError
        where no machine runs as long as a window.
        """
        x, y, of = [], [], []
        for number, rows in enumerate(self.sensors):
            for end in range(width, len(rows) + 1, stride):
                x.append(rows[end - width : end])
                y.append(len(rows) - end < within)
                of.append(number)
        if not x:
            raise InvalidValueError(
                f"the longest life is {int(self.lives.max())} cycles but a window has {width}"
            )
        return np.stack(x), np.array(y, dtype=np.int64), np.array(of)


@checked
def turbofans(rng: np.random.Generator, machines: int = 60) -> Turbofans:
    """Machines whose wear grows exponentially from an unknown start until they fail at wear 1.

    Wear: w(t) = w_0 + exp(a t^b) - 1 with a, b, w_0 drawn for each machine, and noise, as in NASA's
    turbofan simulation. Only noisy sensors are seen: five respond to the wear, each with another
    curve, and all to the setting (the load of the day), which is known, so that a sensor's value
    alone says little. Raises ValueError for less than 2 machines.

    References: Saxena, Goebel, Simon and Eklund 2008, Damage propagation modeling for aircraft
    engine run-to-failure simulation.
    """
    require_rng(rng)
    require_count("machines", machines, 0, most=10**5)
    if machines < 2:
        raise InvalidValueError(
            f"machines is {machines}: expected at least 2, to learn from one and test on another"
        )
    found = []
    for _ in range(machines):
        w0, a, b = rng.uniform(0, 0.15), rng.uniform(0.0015, 0.004), rng.uniform(1.05, 1.25)
        t = np.arange(600)
        wear = w0 + np.expm1(a * t**b) + 0.01 * rng.standard_normal(600)
        life = int(np.argmax(wear >= 1)) or 600
        w, setting = wear[:life], np.clip(persistent(rng, life, 0.9, 0.3), -2, 2)
        curves = [0.8 * w**2, -0.5 * w, 0.6 * np.maximum(w - 0.3, 0), -0.4 * w**3, 0.3 * w]
        swing = [0.5, 0.3, 0.2, -0.4, 0.6]
        noise = 0.12 * rng.standard_normal((life, 5))
        rows = np.stack([c + s * setting for c, s in zip(curves, swing)], axis=1) + noise
        found.append(np.concatenate([rows, setting[:, None]], axis=1))
    return Turbofans(found)


def persistent(rng: np.random.Generator, T: int, keep: float, size: float) -> Array:
    """An AR(1) (T,): ``keep`` times the value before, plus N(0, size^2)."""
    e, out, now = size * rng.standard_normal(T), np.empty(T), 0.0
    for t in range(T):
        now = keep * now + e[t]
        out[t] = now
    return out
