"""The command line: ``scratchnet demo | gradcheck | train | forecast | plot | ...``, the same as
``python -m scratchnet``."""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from importlib.metadata import entry_points

from scratchnet import __version__
from scratchnet.commands import demo, doctor, forecast, gallery, gradcheck, play, plot, train, view
from scratchnet.commands.options import Commands
from scratchnet.errors import MissingPackageError, ScratchnetError

COMMANDS = (demo, gradcheck, train, forecast, plot, view, play, gallery, doctor)
COURSE = (
    "the course is a separate distribution: pip install './course/students', in the project's"
    " folder"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 0, 1 where the command found something wrong, or
    130 after Ctrl-C.

    The library's errors, and those of reading and writing files, are printed as a sentence; any
    other exception is a bug and keeps its traceback.
    """
    chosen = build_parser().parse_args(arguments)
    try:
        status: int = chosen.run(chosen)
    except BrokenPipeError:  # the reader of our output, such as `head`, has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("scratchnet: interrupted", file=sys.stderr)
        return 128 + signal.SIGINT
    except ScratchnetError as error:
        print(f"scratchnet: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        if error.filename is None:
            raise
        print(f"scratchnet: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    return status


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands: ours, and those of other distributions, such as the course."""
    parser = argparse.ArgumentParser(
        prog="scratchnet",
        description="Recurrent networks written out by hand: train, check, look inside.",
    )
    parser.add_argument("--version", action="version", version=f"scratchnet {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    for plugin in sorted(entry_points(group="scratchnet.commands"), key=lambda plugin: plugin.name):
        plugin.load()(commands)
    if "course" not in commands.choices:
        add_missing_course(commands)
    return parser


def add_missing_course(commands: Commands) -> None:
    """Add a ``course`` that says what to install."""
    missing = commands.add_parser("course", help="not installed", description=COURSE)
    missing.add_argument("arguments", nargs=argparse.REMAINDER)
    missing.set_defaults(run=run_missing_course)


def run_missing_course(chosen: argparse.Namespace) -> int:
    """Raises MissingPackageError: no distribution adds ``course``."""
    raise MissingPackageError(COURSE)
