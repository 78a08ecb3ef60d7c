"""Heartbeats from a published model: a point on a circle passes five bumps, the waves P Q R S T.

    x' = alpha x - omega y,   y' = alpha y + omega x        alpha = 1 - sqrt(x^2 + y^2)
    z' = - sum over waves of  a_i d_i exp(-d_i^2 / (2 b_i^2))  -  (z - z_0)
    d_i = (theta - theta_i) mod 2 pi

theta = atan2(y, x) is the phase in the beat, omega = 2 pi / (time of this beat), z the voltage and
z_0 a slow oscillation with the breath; alpha pulls (x, y) to the unit circle. The times between
beats vary with the two rhythms of a real heart: 0.1 Hz (Mayer waves) and 0.25 Hz (breath).

Kinds of beats. The paper's table is the normal one. The others are ours, made of the same bumps:

    normal           Table I of the paper
    ventricular      no P wave, a wide and tall QRS, T inverted
    blocked          a late second R bump, as in a bundle branch block
    ischaemic        T inverted and the part after S lowered

They resemble the conditions they are named after, and are for learning to classify, not for
medicine.

References: McSharry, Clifford, Tarassenko and Smith 2003, A dynamical model for generating
synthetic electrocardiogram signals, IEEE Transactions on Biomedical Engineering 50(3).
"""

from typing import NamedTuple

import numpy as np

from scratchnet.arrays import Array, require_rng
from scratchnet.errors import InvalidValueError

# (angle in degrees, height a, width b in radians) of each bump.
WAVES: dict[str, tuple[tuple[float, float, float], ...]] = {
    "normal": (
        (-70, 1.2, 0.25),
        (-15, -5.0, 0.1),
        (0, 30.0, 0.1),
        (15, -7.5, 0.1),
        (100, 0.75, 0.4),
    ),
    "ventricular": ((-25, -4.0, 0.15), (0, 6.5, 0.25), (30, -3.5, 0.25), (100, -1.0, 0.45)),
    "blocked": (
        (-70, 1.2, 0.25),
        (-15, -5.0, 0.1),
        (0, 24.0, 0.1),
        (14, -7.0, 0.08),
        (28, 14.0, 0.12),
        (105, 0.6, 0.4),
    ),
    "ischaemic": (
        (-70, 1.2, 0.25),
        (-15, -5.0, 0.1),
        (0, 28.0, 0.1),
        (15, -8.0, 0.12),
        (45, -1.0, 0.35),
        (100, -0.9, 0.4),
    ),
}
KINDS = tuple(WAVES)
LOW, HIGH = 0.1, 0.25  # Hz: the two rhythms of the times between beats
SPREAD = 0.01  # Hz: their width
BREATH = 0.005  # of z_0, as in the authors' program, before the scaling
MILLIVOLTS = 25.0  # z times this is about what an ECG shows: an R wave of a little more than 1 mV
RATIO = 0.5  # power of the low one over that of the high one


class Beats(NamedTuple):
    """Heartbeats cut out of one signal each."""

    x: Array  # (n, T, 1) float32, each beat with mean 0 and standard deviation 1
    kind: Array  # (n,) int64, an index into KINDS


def intervals(
    rng: np.random.Generator, beats: int, mean: float = 1.0, spread: float = 0.05
) -> Array:
    """Times between beats (beats,), in seconds, with the power spectrum of the paper's equation 2.

    The spectrum has Gaussian humps at 0.1 and 0.25 Hz; the amplitudes are its square roots, and the
    phases are random.
    """
    size = 1 << max(6, (2 * beats - 1).bit_length())
    f = np.fft.rfftfreq(size, d=mean)
    low, high = (np.exp(-((f - rhythm) ** 2) / (2 * SPREAD**2)) for rhythm in (LOW, HIGH))
    power = RATIO * low + high
    phases = np.exp(2j * np.pi * rng.random(len(f)))
    series = np.fft.irfft(np.sqrt(power) * phases, size)[:beats]
    return np.asarray(mean + spread * (series - series.mean()) / (series.std() or 1.0))


def signal(
    rng: np.random.Generator,
    kinds: Array,
    rate: int = 128,
    mean: float = 1.0,
    spread: float = 0.05,
    noise: float = 0.03,
) -> tuple[Array, Array]:
    """One ECG: the voltage (T,) in mV, and the sample of each beat's R (beats,).

    Parameters
    ----------
    kinds : (beats,), indices into KINDS, in order
    rate : samples a second, and so the steps of the Runge-Kutta method of fourth order
    mean, spread : of the seconds between beats
    noise : standard deviation of white noise, mV

    Raises
    ------
    ValueError
        For a kind that does not exist, a rate under 32, or beats that would overlap.
    """
    require_rng(rng)
    kinds = np.asarray(kinds)
    if kinds.ndim != 1 or not kinds.size or not np.isin(kinds, range(len(KINDS))).all():
        given = sorted(set(kinds.ravel().tolist()))
        raise InvalidValueError(
            f"kinds of shape {kinds.shape} hold {given}: expected one for each beat, 0 to"
            f" {len(KINDS) - 1}"
        )
    if rate < 32 or not mean > 4 * spread >= 0:
        raise InvalidValueError(
            f"rate is {rate}, mean {mean}, spread {spread}: expected a rate of at least 32 and mean"
            " > 4 spread"
        )
    times = intervals(rng, len(kinds), mean, spread)
    ends = np.cumsum(times)
    waves = [np.array(WAVES[KINDS[kind]]) for kind in kinds]
    vary = np.array([0, 0.1, 0.05])  # no two beats are the same
    waves = [w * (1 + vary * rng.standard_normal(w.shape)) for w in waves]
    breath = 2 * np.pi * rng.random()

    def push(t: Array) -> Array:
        """z' + z at times t: the bumps and the breath; on the unit circle theta is known."""
        beat = np.minimum(np.searchsorted(ends, t, side="right"), len(kinds) - 1)
        theta = 2 * np.pi * (t - ends[beat] + times[beat]) / times[beat] - np.pi
        f = BREATH * np.sin(2 * np.pi * HIGH * t + breath)
        for number in range(max(map(len, waves))):
            wave = [w[number] if number < len(w) else (0.0, 0.0, 1.0) for w in waves]
            angle, height, width = np.array(wave)[beat].T
            d = (theta - np.deg2rad(angle) + np.pi) % (2 * np.pi) - np.pi
            f = f - height * d * np.exp(-(d**2) / (2 * width**2))
        return f

    t, h = np.arange(int(ends[-1] * rate)) / rate, 1 / rate
    now, half, then = (push(t + share * h).tolist() for share in (0.0, 0.5, 1.0))
    z, out = 0.0, np.empty(len(t))
    for k in range(len(t)):
        k1 = now[k] - z
        k2 = half[k] - (z + h / 2 * k1)
        k3 = half[k] - (z + h / 2 * k2)
        k4 = then[k] - (z + h * k3)
        z += h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        out[k] = z
    peaks = np.minimum(np.rint((ends - times / 2) * rate).astype(np.int64), len(t) - 1)
    return MILLIVOLTS * out + noise * rng.standard_normal(len(t)), peaks


def beats(
    rng: np.random.Generator, n: int, T: int = 96, rate: int = 128, noise: float = 0.05
) -> Beats:
    """n heartbeats (n, T, 1), equally many of each kind, cut around their R from many hearts.

    Each is the middle one of three beats with a random pace, and the cut is a few samples off the
    R. Raises ValueError for n < 1 or T < 8.

    >>> beats(np.random.default_rng(0), 8).x.shape
    (8, 96, 1)
    """
    if n < 1 or T < 8:
        raise InvalidValueError(
            f"n is {n} and T {T}: expected at least 1 beat of at least 8 samples"
        )
    kind = rng.permutation(np.arange(n) % len(KINDS))
    x = np.empty((n, T, 1), np.float32)
    for row, k in enumerate(kind):
        pace = rng.uniform(0.7, 1.2)
        trace, peaks = signal(rng, np.array([0, k, 0]), rate, pace, 0.03 * pace, noise)
        start = int(peaks[1]) - T // 2 + int(rng.integers(-3, 4))
        cut = trace[np.clip(np.arange(start, start + T), 0, len(trace) - 1)]
        x[row, :, 0] = (cut - cut.mean()) / cut.std()
    return Beats(x, kind.astype(np.int64))
