"""Options that commands share: those of a configuration, and those that choose a series.

A configuration has one option for each field that ``training.config.option`` made, with its
default, help text and type. Ranges are checked by the configuration.
"""

import argparse
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from scratchnet import __version__
from scratchnet.data import datasets
from scratchnet.data.series import MISSING, Series, load_csv
from scratchnet.errors import InvalidValueError, MissingFileError
from scratchnet.files import write_text
from scratchnet.files.machine import describe
from scratchnet.training.config import Option, options

Config = TypeVar("Config")
Commands = argparse._SubParsersAction  # what add_subparsers returns; argparse has no public name


def add_options(parser: argparse.ArgumentParser, config: type) -> None:
    """An option --like-this for each field of the dataclass ``config``."""
    for name, known in options(config).items():
        parser.add_argument(f"--{name.replace('_', '-')}", **_arguments(known))


def config_of(config: type[Config], chosen: argparse.Namespace) -> Config:
    """The configuration that the parsed options say, not checked yet."""
    values = {name: getattr(chosen, name) for name in options(config)}
    return config(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def _arguments(known: Option) -> dict[str, Any]:
    if known.kind is bool:
        return {"action": "store_true", "default": known.default, "help": known.help}
    default, several = known.default, {}
    if known.kind is tuple:
        default, several = " ".join(known.default), {"nargs": "+", "metavar": "NAME"}
    shown = "" if default is None else f" (default: {default})"
    help_text = (known.help + shown).replace("%", "%%")
    kind = str if known.kind is tuple else known.kind
    return {"type": kind, "default": known.default, "help": help_text, **several}


def add_series(parser: argparse.ArgumentParser) -> None:
    """The options that choose a series, and say how to read it."""
    parser.add_argument(
        "--data", default="sunspots", help="sunspots (default), co2, elnino, or the path of a CSV"
    )
    parser.add_argument("--column", help="the column to forecast, where the CSV has several")
    parser.add_argument(
        "--missing", choices=MISSING, help="what to do about gaps in the CSV (default: error)"
    )
    parser.add_argument(
        "--time",
        metavar="COLUMN",
        help="the CSV's column of times; '' for none (default: by its name)",
    )
    parser.add_argument(
        "--delimiter", metavar="CHARACTER", help="field delimiter of the CSV (default: detect)"
    )


def series_of(chosen: argparse.Namespace) -> Series:
    """The series that the parsed options choose."""
    return load_series(chosen.data, chosen.column, chosen.missing, chosen.time, chosen.delimiter)


def load_series(
    data: str,
    column: str | None = None,
    missing: str | None = None,
    time: str | None = None,
    delimiter: str | None = None,
) -> Series:
    """A bundled series by name, or one column of the CSV at the path ``data``.

    Raises ValueError where the CSV has several columns and none was chosen, or has other faults,
    and where a bundled series is to be read in another way.
    """
    given = {"column": column, "missing": missing, "time": time, "delimiter": delimiter}
    if data in datasets.NAMES:
        idle = [name for name, value in given.items() if value is not None]
        if idle:
            raise InvalidValueError(
                f"{data} comes with the library: {' and '.join(idle)} can only say how to read a"
                " CSV of your own"
            )
        return datasets.load(data)
    if not os.path.exists(data):
        raise MissingFileError(
            f"{data!r}: no such file or bundled series; those are {', '.join(datasets.NAMES)}"
        )
    columns = None if column is None else [column]
    series = load_csv(
        data, columns=columns, time=time, missing=missing or "error", delimiter=delimiter
    )
    if len(series.columns) > 1:
        raise InvalidValueError(
            f"{data} has the columns {', '.join(series.columns)}: choose one as column"
        )
    return series


def introduce(series: Series) -> None:
    """Print how long the series is, from when to when, and its note."""
    print(
        f"{series.name}: {len(series.values)} values of {series.columns[0]}, {series.times[0]} to"
        f" {series.times[-1]}"
    )
    if series.note:
        print(f"  {series.note}")


def label_of(series: Series) -> str:
    """Its column and unit, for an axis."""
    return f"{series.columns[0]} [{series.unit}]" if series.unit else series.columns[0]


def write_run(path: Path, chosen: Mapping[str, Any]) -> None:
    """Write what the results depend on: the options, the seed among them, and the machine."""
    given = {name: value for name, value in chosen.items() if not callable(value)}
    about = {"scratchnet": __version__, "options": given, "machine": describe()}
    write_text(path, json.dumps(about, indent=1, default=str) + "\n")
