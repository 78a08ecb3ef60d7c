"""Callbacks that show or write how training goes: a progress bar, a CSV file, TensorBoard."""

import csv
from pathlib import Path
from typing import Any, TextIO

from scratchnet.arrays import require_one_of
from scratchnet.errors import MissingPackageError, UnavailableError
from scratchnet.files import require_path, start_lines
from scratchnet.training.trainer import Callback, Trainer

EACH = ("epoch", "step")


class ProgressBar(Callback):
    """A bar with loss, gradient norm and the time left, where standard error is a terminal, or in a
    notebook.

    ``fit`` and ``fit_stream`` add one unless ``progress=False``.

    Parameters
    ----------
    unit : what is counted.
    """

    def __init__(self, unit: str = "step") -> None:
        self.unit = unit
        self.bar: Any = None
        self.shown = 0  # steps

    def on_train_begin(self, trainer: Trainer) -> None:
        import tqdm.auto
        import tqdm.notebook

        notebook = issubclass(tqdm.auto.tqdm, tqdm.notebook.tqdm_notebook)
        # None: no bar unless the output is a terminal, which a notebook's is not
        disable = False if notebook else None
        self.shown = 0
        self.bar = tqdm.auto.tqdm(total=trainer.total, disable=disable, unit=self.unit, leave=False)

    def on_step(self, trainer: Trainer) -> None:
        row = trainer.history.steps[-1]
        self.bar.set_postfix(
            loss=f"{row['loss']:.3g}", grad=f"{row['grad_norm']:.2g}", refresh=False
        )
        # not by 1: training may have been resumed
        self.bar.update(len(trainer.history.steps) - self.shown)
        self.shown = len(trainer.history.steps)

    def on_train_end(self, trainer: Trainer) -> None:
        if self.bar is not None:
            self.bar.close()


class CSVLogger(Callback):
    """Write a line for each epoch, or each step, as soon as it is over.

    Parameters
    ----------
    path : the file, replaced in each training; with the earlier rows where one is resumed.
    each : "epoch" or "step".
    """

    def __init__(self, path: str | Path, each: str = "epoch") -> None:
        require_one_of("each", each, EACH)
        self.path, self.each = require_path(path), each
        self.file: TextIO | None = None

    def on_train_begin(self, trainer: Trainer) -> None:
        self.file = start_lines(self.path)
        self.writer: Any = None

    def on_step(self, trainer: Trainer) -> None:
        if self.each == "step":
            self._write(trainer.history.steps)

    def on_epoch_end(self, trainer: Trainer) -> None:
        if self.each == "epoch":
            self._write(trainer.history.epochs)

    def on_train_end(self, trainer: Trainer) -> None:
        if self.file is not None:
            self.file.close()

    def _write(self, rows: list[dict[str, float]]) -> None:
        if self.file is None:
            raise UnavailableError("this CSVLogger has no open file: training has not begun")
        if self.writer is None:
            names = [self.each, *rows[-1]]
            self.writer = csv.DictWriter(self.file, names, extrasaction="ignore")
            self.writer.writeheader()
            # where training was resumed, there are rows of before
            self.writer.writerows({self.each: n, **row} for n, row in enumerate(rows[:-1]))
        self.writer.writerow({self.each: len(rows) - 1, **rows[-1]})
        self.file.flush()


class TensorBoardLogger(Callback):
    """Write every number of the history for TensorBoard: "step/loss", "epoch/val_loss".

    Parameters
    ----------
    folder : where the event file is written; ``tensorboard --logdir`` reads it.

    Raises ImportError, when training begins, where tensorboardX is not installed.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = require_path(folder)
        self.writer: Any = None

    def on_train_begin(self, trainer: Trainer) -> None:
        try:
            from tensorboardX import SummaryWriter
        except ImportError:
            raise MissingPackageError(
                "TensorBoardLogger needs tensorboardX: pip install tensorboardX"
            ) from None
        self.writer = SummaryWriter(str(self.folder))

    def on_step(self, trainer: Trainer) -> None:
        self._write("step", trainer.history.steps)

    def on_epoch_end(self, trainer: Trainer) -> None:
        self._write("epoch", trainer.history.epochs)

    def on_train_end(self, trainer: Trainer) -> None:
        if self.writer is not None:
            self.writer.close()

    def _write(self, each: str, rows: list[dict[str, float]]) -> None:
        for name, value in rows[-1].items():
            self.writer.add_scalar(f"{each}/{name}", value, len(rows) - 1)
