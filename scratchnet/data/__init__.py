"""Series and batches: read a CSV file, split by time, scale by the training part, cut windows.

Three rules hold in this package. A series is never shuffled before it is split, or the test set
would lie between training rows. A scaler learns from the training rows alone. A window's targets
come after its last input row, always.

    series = load_csv("mine.csv", columns=["flow"])
    train, test = split_at(series.times, "1920")  # slices: up to and including 1920, and the rest
    scaler = Standardizer().fit(series.values[train])
    z = scaler.transform(series.values)
    x, y, at = sliding_windows(z, width=9, part=test)  # targets in the test rows only
"""

from scratchnet.data.batches import buckets, minibatches
from scratchnet.data.scale import MinMaxScaler, Scaler, Standardizer
from scratchnet.data.series import Series, load_csv
from scratchnet.data.split import chronological_split, split_at
from scratchnet.data.windows import Windows, require_series, sliding_windows

__all__ = [
    "MinMaxScaler",
    "Scaler",
    "Series",
    "Standardizer",
    "Windows",
    "buckets",
    "chronological_split",
    "load_csv",
    "minibatches",
    "require_series",
    "sliding_windows",
    "split_at",
]
