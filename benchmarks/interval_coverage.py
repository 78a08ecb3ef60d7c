"""How much of the truth 90% intervals hold, on AR(1) noise, where the true interval is known.

    python benchmarks/interval_coverage.py --seeds 30

x_t = 0.8 x_{t-1} + e_t. A network is fitted to the first rows, and measured from every origin of
2,000 others; one line for each kind of interval, over all seeds. "true" has the process itself:
what a perfect network would cover on these rows.
"""

import argparse

import numpy as np

from scratchnet.arrays import Array
from scratchnet.forecasting import Direct, ForecastConfig, coverage, dropout_interval

PHI, HORIZON, ASKED, TEST = 0.8, 3, 0.9, 2000
LEVELS = ((1 - ASKED) / 2, 0.5, (1 + ASKED) / 2)
NORMAL = 1.6448536269514722  # 95% of a standard normal lie below


def series(seed: int, rows: int) -> Array:
    """AR(1) noise (rows, 1), started in its own distribution."""
    rng = np.random.default_rng(seed)
    x = np.empty(rows)
    x[0] = rng.standard_normal() / np.sqrt(1 - PHI**2)
    for t, e in enumerate(rng.standard_normal(rows - 1), 1):
        x[t] = PHI * x[t - 1] + e
    return x[:, None]


def measured(seed: int, rows: int) -> dict[str, tuple[float, float]]:
    """Coverage and mean width of each kind of interval."""
    values = series(seed, rows + TEST)
    past, at = values[:rows], np.arange(rows, rows + TEST - HORIZON + 1)
    truth = values[at[:, None] + np.arange(HORIZON)]
    config = ForecastConfig(window=12, units=16, epochs=60, patience=8, seed=seed)
    network = Direct(config, HORIZON, levels=LEVELS).fit(past)
    calibrated = network.predict(values, at)
    network.margin = np.zeros_like(network.margin)
    raw = network.predict(values, at)
    dropping = Direct(config.replace(dropout=0.2), HORIZON).fit(past)
    steps = np.arange(1, HORIZON + 1)
    middle = values[at - 1] * PHI**steps
    half = NORMAL * np.sqrt(np.cumsum(PHI ** (2 * (steps - 1))))
    found = {
        "true": (middle - half, middle + half),
        "quantiles": (raw[..., 0, 0], raw[..., 0, 2]),
        "quantiles, calibrated": (calibrated[..., 0, 0], calibrated[..., 0, 2]),
        "dropout": tuple(
            end[..., 0] for end in dropout_interval(dropping, values, at, noise=False)[::2]
        ),
        "dropout, calibrated": tuple(
            end[..., 0] for end in dropout_interval(dropping, values, at)[::2]
        ),
    }
    inside = {
        name: coverage(low[..., None], high[..., None], truth, ASKED)
        for name, (low, high) in found.items()
    }
    return {name: (each.inside, each.width) for name, each in inside.items()}


def main() -> None:
    """Print the mean coverage over the seeds, its standard error, the extremes, and the width."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=30, help="how many")
    parser.add_argument("--rows", type=int, nargs="+", default=[600], help="to fit a network to")
    chosen = parser.parse_args()
    for rows in chosen.rows:
        runs = [measured(seed, rows) for seed in range(chosen.seeds)]
        print(f"{rows} rows, {chosen.seeds} seeds, asked {ASKED:.0%}")
        for name in runs[0]:
            inside, width = np.array([run[name] for run in runs]).T
            error = inside.std(ddof=1) / np.sqrt(len(inside))
            print(
                f"  {name:<24}{inside.mean():6.1%} +- {error:.1%}   {inside.min():6.1%} to"
                f" {inside.max():6.1%}   width {width.mean():.2f}"
            )


if __name__ == "__main__":
    main()
