"""A film of a walk: one picture for each line of the cell's code, step by step through time."""

import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from matplotlib.animation import FFMpegWriter
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from scratchnet.errors import InvalidTypeError, InvalidValueError, MissingPackageError
from scratchnet.files import replace, require_folder
from scratchnet.plots.cell import HEIGHT, draw_frame
from scratchnet.plots.source import run_of, title_of
from scratchnet.plots.style import new_figure, style
from scratchnet.plots.walk import Direction, Walk

DPI = 96  # a frame has 960 x 540 pixels
KINDS = (".gif", ".mp4")


def film(
    source: Any,
    path: str | Path,
    *,
    steps: Sequence[int] | None = None,
    unit: int | None = None,
    walk: Direction = "backward",
    sample: int = 0,
    per_second: float = 1.0,
    title: str = "",
) -> Path:
    """Write the walk through a cell as an animated GIF, or as an MP4, and return its path.

    Each frame is the picture that ``cell`` draws. Backward the film begins at the last of the steps
    and goes back in time.

    Parameters
    ----------
    source : a trace, or one of its runs
    path : a name that ends in .gif or .mp4; for MP4 the program ffmpeg must be installed
    steps : the time steps to walk through, in any order; by default all
    unit, walk, sample, title : as in ``cell``
    per_second : frames a second

    Raises
    ------
    ValueError
        For another ending, no steps, or as in ``cell``.
    IndexError
        Where there is no such step, unit or sequence.
    ImportError
        For MP4 where ffmpeg is not installed.
    """
    path = Path(path)
    if path.suffix.lower() not in KINDS:
        raise InvalidValueError(
            f"path is {path}: expected a name that ends in {' or '.join(KINDS)}"
        )
    if not isinstance(per_second, (int, float)) or not 0 < per_second < float("inf"):
        raise InvalidValueError(
            f"per_second is {per_second!r}: expected a number of frames above 0"
        )
    require_folder(path)
    ready = Walk(run_of(source), walk, sample, unit)
    wanted = range(ready.T) if steps is None else steps
    if not isinstance(wanted, Iterable):
        raise InvalidTypeError(f"steps is {steps!r}: expected time steps, such as range(3)")
    chosen = sorted({ready.require_step(t) for t in wanted}, reverse=ready.back)
    if not chosen:
        raise InvalidValueError("steps is empty: expected at least one time step")
    frames = _frames(ready, chosen, title_of(source, title))
    write = _write_gif if path.suffix.lower() == ".gif" else _write_mp4
    write(frames, path, per_second)
    return path


def _frames(walk: Walk, chosen: Sequence[int], title: str) -> Iterator[Figure]:
    """One figure, drawn again for each line of each step."""
    figure = new_figure(height=HEIGHT)
    figure.set_layout_engine("none")
    for t in chosen:
        for line in walk.lines:
            with style("slide"):
                draw_frame(figure, walk, t, line, title)
            yield figure


def _write_gif(frames: Iterator[Figure], path: Path, per_second: float) -> None:
    """All frames have the colours of the first one, so that only what changes is stored."""
    from PIL import Image

    images: list[Any] = []
    for figure in frames:
        figure.set_dpi(DPI)
        canvas: Any = FigureCanvasAgg(figure)
        pixels, (width, high) = canvas.print_to_buffer()
        image = Image.frombytes("RGBA", (width, high), pixels).convert("RGB")
        look = {"colors": 128} if not images else {"palette": images[0]}
        images.append(image.quantize(**look, dither=Image.Dither.NONE))
    with replace(path) as file:
        first, *others = images
        first.save(
            file,
            format="GIF",
            save_all=True,
            append_images=others,
            duration=round(1000 / per_second),
            loop=0,
        )


def _write_mp4(frames: Iterator[Figure], path: Path, per_second: float) -> None:
    if not FFMpegWriter.isAvailable():
        raise MissingPackageError(
            f"{path} needs the program ffmpeg, which is not installed: install it (Debian: apt"
            " install ffmpeg), or choose a name that ends in .gif"
        )
    # yuv420p is what every player shows
    fps: Any = per_second  # it takes fractions too
    writer = FFMpegWriter(fps=fps, extra_args=["-pix_fmt", "yuv420p"])
    with TemporaryDirectory() as folder:
        whole = Path(folder) / "film.mp4"
        for number, figure in enumerate(frames):
            if number == 0:
                writer.setup(figure, str(whole), dpi=DPI)
            writer.grab_frame()
        writer.finish()
        with open(whole, "rb") as made, replace(path) as file:
            shutil.copyfileobj(made, file)
