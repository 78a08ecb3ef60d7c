"""Loaders for two published collections that the user has on disk; nothing is fetched.

turbofan("train_FD001.txt")                    NASA's turbofan engines (C-MAPSS), a text file of 26 columns
arrhythmia("mitdb/100")                        a record of the MIT-BIH arrhythmia database, 100.hea, 100.dat and 100.atr
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from scratchnet.arrays import Array
from scratchnet.data.tasks import Engines

# The letters of a beat's annotation, and the class of the AAMI standard (ANSI/AAMI EC57) it belongs
# to.
AAMI = {"N": "NLRej", "S": "AaJS", "V": "VE", "F": "F", "Q": "/fQ"}
CLASSES = tuple(AAMI)


def turbofan(path: str | Path) -> Engines:
    """The engines of a C-MAPSS file: a row has an engine's number, its cycle, three settings and 21
    sensors.

    Columns that never change in the file (some sensors do not) are left out. Raises
    FileNotFoundError; ValueError where the file has not 26 columns of numbers, or an engine's
    cycles are not 1, 2, ... Source: Saxena and Goebel 2008, Turbofan Engine Degradation Simulation
    Data Set, NASA Prognostics Data Repository.
    """
    try:
        table = np.loadtxt(path, ndmin=2)
    except ValueError as error:
        raise ValueError(f"{path} is no table of numbers as C-MAPSS has them: {error}") from None
    if table.size == 0 or table.shape[1] != 26:
        raise ValueError(
            f"{path} has {table.shape[1] if table.size else 0} columns: expected 26, as C-MAPSS has"
            " them"
        )
    names = np.array(["setting1", "setting2", "setting3", *(f"sensor{k}" for k in range(1, 22))])
    measured = table[:, 2:]
    moving = np.ptp(measured, axis=0) > 0
    sensors = []
    for number in np.unique(table[:, 0]):
        rows = table[:, 0] == number
        cycles = table[rows, 1]
        if not np.array_equal(cycles, np.arange(1, len(cycles) + 1)):
            raise ValueError(
                f"{path}: the cycles of engine {int(number)} are not 1, 2, 3, ... in order"
            )
        sensors.append(measured[rows][:, moving])
    return Engines(sensors, tuple(names[moving]))


class Heartbeats(NamedTuple):
    """Beats of one record."""

    x: Array  # (n, T, leads) float32, each beat and lead with mean 0 and standard deviation 1
    kind: Array  # (n,) int64, an index into CLASSES
    leads: tuple[str, ...]


def arrhythmia(path: str | Path, T: int = 180, leads: int = 1) -> Heartbeats:
    """The annotated beats of a record, ``T`` samples around each R, in the classes of AAMI: N S V F
    Q.

    ``path``: the record without an ending. Beats whose window leaves the record are left out. Read
    by the wfdb package. Raises ImportError where it is not installed, FileNotFoundError where the
    record is not there. Source: Moody and Mark 2001, The impact of the MIT-BIH Arrhythmia Database.
    """
    try:
        import wfdb
    except ImportError:
        raise ImportError(
            "wfdb, which reads the record, is not installed: pip install 'scratchnet[heart]'"
        ) from None
    path = Path(path)
    for ending in (".hea", ".dat", ".atr"):
        if not path.with_name(path.name + ending).exists():
            raise FileNotFoundError(
                f"{path}{ending} is not there: a record has a .hea, a .dat and an .atr file"
            )
    record, notes = wfdb.rdrecord(str(path)), wfdb.rdann(str(path), "atr")
    if not 1 <= leads <= record.p_signal.shape[1]:
        raise ValueError(f"leads is {leads} but {path} has {record.p_signal.shape[1]}")
    trace = np.asarray(record.p_signal[:, :leads])
    kinds = {letter: CLASSES.index(name) for name, letters in AAMI.items() for letter in letters}
    found: list[tuple[Any, int]] = []
    for at, letter in zip(notes.sample, notes.symbol):
        cut = trace[max(at - T // 2, 0) : at - T // 2 + T]
        if letter in kinds and len(cut) == T and at >= T // 2:
            spread = cut.std(axis=0)
            found.append(
                ((cut - cut.mean(axis=0)) / np.where(spread > 0, spread, 1), kinds[letter])
            )
    if not found:
        raise ValueError(f"{path} has no annotated beat with {T} samples around it")
    x = np.stack([cut for cut, _ in found]).astype(np.float32)
    return Heartbeats(
        x, np.array([kind for _, kind in found], dtype=np.int64), tuple(record.sig_name[:leads])
    )
