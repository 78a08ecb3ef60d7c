"""``scratchnet play``: a page that trains networks in the browser."""

import argparse
from pathlib import Path

from scratchnet.commands.options import Commands
from scratchnet.errors import InvalidValueError
from scratchnet.view import write_play
from scratchnet.view.play import TASKS


def add(commands: Commands) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "play",
        help="write a page that trains networks in the browser, with live pictures",
        description=(
            "Write one HTML file, without server or network, that trains a network on the adding"
            " problem, a sine, counting or a text, and shows loss, gates and the river of gradients"
            " live."
        ),
    )
    parser.add_argument(
        "--task", choices=TASKS, default="adding", help="the task it opens with (default: adding)"
    )
    parser.add_argument(
        "--cells",
        nargs="+",
        default=["lstm", "rnn"],
        metavar="CELL",
        help="the one or two cells it opens with, side by side (default: lstm rnn)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="of initial weights and batches (default: 0)"
    )
    parser.add_argument(
        "--text",
        type=Path,
        metavar="FILE",
        help="a text in UTF-8 for the character model (default: a nursery rhyme)",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("play.html"), help="the page to write (default: play.html)"
    )
    parser.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> int:
    """Write the page, and print its path."""
    text = None if chosen.text is None else _text_of(chosen.text)
    cells, task, seed = chosen.cells, chosen.task, chosen.seed
    print(write_play(chosen.out, task=task, cells=cells, seed=seed, text=text))
    return 0


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidValueError(
            f"{path} is not in UTF-8 (byte {error.start}): save it in that encoding"
        ) from error
