"""Loaders for two published collections that the user has on disk; nothing is downloaded.

load_turbofans("train_FD001.txt")  NASA's turbofan engines (C-MAPSS), 26 columns of text
load_heartbeats("mitdb/100")       a record of the MIT-BIH arrhythmia database
"""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from scratchnet.arrays import Array
from scratchnet.data.tasks import Turbofans
from scratchnet.errors import InvalidValueError, MissingFileError, MissingPackageError
from scratchnet.files import require_path

# Each class of the AAMI standard (ANSI/AAMI EC57), and the annotation letters of its beats.
AAMI = {"N": "NLRej", "S": "AaJS", "V": "VE", "F": "F", "Q": "/fQ"}
CLASSES = tuple(AAMI)


def load_turbofans(path: str | Path) -> Turbofans:
    """Read a C-MAPSS file: a row has an engine's number, its cycle, 3 settings and 21 sensors.

    Columns that never change in the file (some sensors do not) are left out.

    Raises
    ------
    FileNotFoundError
        Where there is no such file.
    ValueError
        Where the file has not 26 columns of numbers, or an engine's cycles are not 1, 2, ...

    References
    ----------
    Saxena and Goebel 2008, Turbofan Engine Degradation Simulation Data Set, NASA Prognostics Data
    Repository.
    """
    if not os.path.isfile(require_path(path)):
        raise MissingFileError(f"{path}: there is no such file")
    try:
        table = np.loadtxt(path, ndmin=2)
    except ValueError as error:
        raise InvalidValueError(
            f"{path} is not a table of numbers as C-MAPSS has them: {error}"
        ) from None
    columns = table.shape[1] if table.size else 0
    if columns != 26:
        raise InvalidValueError(f"{path} has {columns} columns: expected 26, as C-MAPSS has them")
    names = np.array(["setting1", "setting2", "setting3", *(f"sensor{k}" for k in range(1, 22))])
    measured = table[:, 2:]
    moving = np.ptp(measured, axis=0) > 0
    sensors = []
    for number in np.unique(table[:, 0]):
        rows = table[:, 0] == number
        cycles = table[rows, 1]
        if not np.array_equal(cycles, np.arange(1, len(cycles) + 1)):
            raise InvalidValueError(
                f"{path}: the cycles of engine {int(number)} are not 1, 2, 3, ... in order"
            )
        sensors.append(measured[rows][:, moving])
    return Turbofans(sensors, tuple(names[moving]))


class Heartbeats(NamedTuple):
    """Beats of one record."""

    x: Array  # (n, T, leads) float32, each beat and lead with mean 0 and standard deviation 1
    kind: Array  # (n,) int64, an index into CLASSES
    leads: tuple[str, ...]


def load_heartbeats(path: str | Path, T: int = 180, leads: int = 1) -> Heartbeats:
    """Read the annotated beats of a record with the wfdb package, in the AAMI classes N S V F Q.

    Beats whose window leaves the record are left out.

    Parameters
    ----------
    path : the record, without a file extension: "mitdb/100" reads 100.hea, 100.dat and 100.atr
    T : samples around each R
    leads : how many of the record's leads

    Raises
    ------
    ImportError, FileNotFoundError
        Where wfdb is not installed, or a file of the record is missing.
    ValueError
        Where the record has fewer leads, or no beat with T samples around it.

    References
    ----------
    Moody and Mark 2001, The impact of the MIT-BIH Arrhythmia Database.
    """
    try:
        import wfdb
    except ImportError:
        raise MissingPackageError(
            "wfdb, which reads the record, is not installed: pip install wfdb"
        ) from None
    path = require_path(path)
    for ending in (".hea", ".dat", ".atr"):
        if not os.path.isfile(f"{path}{ending}"):
            raise MissingFileError(
                f"{path}{ending} is not there: a record has a .hea, a .dat and an .atr file"
            )
    record, notes = wfdb.rdrecord(str(path)), wfdb.rdann(str(path), "atr")
    if not 1 <= leads <= record.p_signal.shape[1]:
        raise InvalidValueError(f"leads is {leads} but {path} has {record.p_signal.shape[1]}")
    trace = np.asarray(record.p_signal[:, :leads])
    kinds = {letter: CLASSES.index(name) for name, letters in AAMI.items() for letter in letters}
    beats, kind = list[Array](), list[int]()
    for at, letter in zip(notes.sample, notes.symbol):
        cut = trace[max(at - T // 2, 0) : at - T // 2 + T]
        if letter in kinds and len(cut) == T and at >= T // 2:
            spread = cut.std(axis=0)
            beats.append((cut - cut.mean(axis=0)) / np.where(spread > 0, spread, 1))
            kind.append(kinds[letter])
    if not beats:
        raise InvalidValueError(f"{path} has no annotated beat with {T} samples around it")
    x = np.stack(beats).astype(np.float32)
    return Heartbeats(x, np.array(kind, dtype=np.int64), tuple(record.sig_name[:leads]))
