"""Training that was interrupted goes on to the same bits, and signals end it after a step."""

import copy
import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from scratchnet.commands import train as train_command
from scratchnet.commands.cli import main
from scratchnet.files import archives
from scratchnet.forecasting import load_forecaster
from scratchnet.layers import GRU, LSTM, BatchNorm1d, Dropout, Linear, Sequential
from scratchnet.losses import mse
from scratchnet.training import (
    SGD,
    Adam,
    AdamW,
    Batches,
    BestWeights,
    Callback,
    Clip,
    Cosine,
    CSVLogger,
    EarlyStopping,
    GradientMonitor,
    HalfTrainer,
    ModelCheckpoint,
    Plateau,
    RMSprop,
    StepDecay,
    Trainer,
    TrainingCheckpoint,
    Warmup,
    fit,
    fit_stream,
)
from scratchnet.training.augment import gaussian_noise

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def sigint():
    """As in a terminal: a shell starts a program in the background with SIGINT ignored, and so it would stay."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class Signal(Callback):
    """Send this process a signal after some steps: what a user does with Ctrl-C, at a known moment."""

    def __init__(self, after=None, number=signal.SIGINT):
        self.after, self.number = after, number

    def on_step(self, trainer):
        if len(trainer.history.steps) == self.after:
            os.kill(os.getpid(), self.number)


OPTIMIZERS = {
    "sgd": lambda: SGD(0.02, momentum=0.9, nesterov=True),
    "rmsprop": lambda: RMSprop(0.003, momentum=0.5, weight_decay=0.01),
    "adam": lambda: Adam(0.01),
    "adamw": lambda: AdamW(0.01),
}
SCHEDULES = {
    "none": lambda o: [],
    "step": lambda o: [StepDecay(o, 2, 0.5)],
    "warm-up, cosine": lambda o: [Warmup(o, 7, 0.2, then=Cosine(o, 16, 1e-3, each="update"), each="update")],
    "plateau": lambda o: [Plateau(o, 0, 0.5, threshold=0.5)],
}


class Everything:
    """One training with dropout, augmentation, buckets and statistics that are not trained."""

    def __init__(self, optimizer="adam", schedule="none", dtype=np.float64, trainer=Trainer, rng=np.random.default_rng):
        self.rng, self.optimizer, self.trainer = rng(3), OPTIMIZERS[optimizer](), trainer
        self.schedules = SCHEDULES[schedule](self.optimizer)
        noise = np.random.default_rng(0)
        self.lengths = noise.integers(2, 7, 22)
        self.x = noise.standard_normal((22, 6, 2)).astype(dtype)
        self.y = self.x[:, :2, :1].sum(axis=1)
        self.model = Sequential(
            norm=BatchNorm1d(2, batch_first=True),
            rec=LSTM(2, 4, batch_first=True, return_sequences=False, num_layers=2, dropout=0.3, rng=self.rng),
            drop=Dropout(0.3, rng=np.random.default_rng(9)),
            head=Linear(4, 1, rng=self.rng),
        ).astype(dtype)
        self.monitor = GradientMonitor()

    def fit(self, *callbacks, epochs=5):
        data = Batches(self.x, self.y, lengths=self.lengths, batch_size=4, bucket=True, augment=gaussian_noise(0.1))
        return fit(
            self.model,
            data,
            self.optimizer,
            epochs=epochs,
            rng=self.rng,
            validation=(self.x[:9], -self.y[:9], self.lengths[:9]),
            callbacks=[*self.schedules, Clip(1.0), EarlyStopping(4), self.monitor, *callbacks],
            progress=False,
            trainer=self.trainer,
        )


def assert_same(one, other, history, whole):
    for name, array in (one.model.params | one.model.buffers).items():
        np.testing.assert_array_equal(array, (other.model.params | other.model.buffers)[name], err_msg=name)
    assert history.steps == whole.steps
    without_time = [[{k: v for k, v in row.items() if k != "seconds"} for row in h.epochs] for h in (history, whole)]
    assert without_time[0] == without_time[1]
    assert (history.best_epoch, history.stopped) == (whole.best_epoch, whole.stopped)
    mine, theirs = one.optimizer.state_dict(), other.optimizer.state_dict()
    np.testing.assert_equal(mine, theirs)
    np.testing.assert_equal(one.rng.bit_generator.state, other.rng.bit_generator.state)
    assert one.monitor.norms == other.monitor.norms


def resumed(make, path, *moments, **options):
    """Train in as many pieces as there are signals and one, each with new objects; returns the last and its history."""
    for moment in moments:
        with pytest.raises(KeyboardInterrupt, match="training was interrupted after a step"):
            make().fit(TrainingCheckpoint(path, resume=True), Signal(moment), **options)
    last = make()
    return last, last.fit(TrainingCheckpoint(path, resume=True), Signal(), **options)


def uninterrupted(make, path, **options):
    whole = make()
    return whole, whole.fit(TrainingCheckpoint(path), Signal(), **options)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_resumed_is_uninterrupted_bit_for_bit(optimizer, schedule, tmp_path):
    """Six mini-batches an epoch: ended within the first epoch, at the end of the second, within the last."""
    make = partial(Everything, optimizer, schedule)
    whole, expected = uninterrupted(make, tmp_path / "whole.npz")
    assert len(expected.steps) == 5 * 6
    assert len(set(expected.column("lr"))) > 1 or schedule == "none"
    one, history = resumed(make, tmp_path / "parts.npz", 2, 12, 29)
    assert_same(one, whole, history, expected)


@pytest.mark.underflows
def test_half_precision_and_other_generators_resume_too(tmp_path):
    halved = partial(HalfTrainer, scale=2.0**24, patience=3)
    for make in (
        partial(Everything, dtype=np.float32, trainer=halved),
        partial(Everything, rng=lambda seed: np.random.Generator(np.random.MT19937(seed))),
    ):
        whole, expected = uninterrupted(make, tmp_path / "whole.npz")
        one, history = resumed(make, tmp_path / f"{len(list(tmp_path.iterdir()))}.npz", 4)
        assert_same(one, whole, history, expected)
        if "skipped" in expected.steps[0]:
            assert 0 < expected.column("skipped").count(1.0) < len(expected.steps)


def test_more_epochs_and_a_training_that_was_over(tmp_path):
    """A finished file with more epochs goes on; one that was stopped early stays stopped."""
    make, path = Everything, tmp_path / "t.npz"
    whole, expected = uninterrupted(make, tmp_path / "w.npz", epochs=4)
    first = make()
    first.fit(TrainingCheckpoint(path, resume=True), Signal(), epochs=2)
    one = make()
    history = one.fit(TrainingCheckpoint(path, resume=True), Signal(), epochs=4)
    assert_same(one, whole, history, expected)

    class Stop(Callback):
        def on_epoch_end(self, trainer):
            trainer.stop("enough")

    one, path = make(), tmp_path / "stopped.npz"
    one.fit(Stop(), TrainingCheckpoint(path))
    other = make()
    history = other.fit(Stop(), TrainingCheckpoint(path, resume=True))
    assert (history.stopped, len(history.steps)) == ("enough", 6)


def test_a_stream_begins_its_epoch_again(tmp_path, rng):
    x = rng.standard_normal((40, 2, 1))

    def streamed(*callbacks):
        seeded = np.random.default_rng(0)
        model = Sequential(rec=GRU(1, 4, rng=seeded), head=Linear(4, 1, rng=seeded))
        history = fit_stream(model, (x, x), Adam(0.01), epochs=3, k1=7, callbacks=callbacks, progress=False)
        return model, history

    def saved(number, resume=False):
        return TrainingCheckpoint(tmp_path / number, resume)

    model, whole = streamed(saved("w.npz"), Signal())
    with pytest.raises(KeyboardInterrupt):
        streamed(saved("p.npz"), Signal(9))  # of 6 a window: in the second epoch
    other, history = streamed(saved("p.npz", resume=True), Signal())
    assert history.steps == whole.steps
    np.testing.assert_equal(dict(other.params), dict(model.params))


def test_loggers_go_on_with_the_earlier_rows(tmp_path):
    class Logged(Everything):
        def fit(self, *callbacks):
            log = CSVLogger(tmp_path / "log.csv", each="step")
            return super().fit(log, *callbacks)

    _, history = resumed(Logged, tmp_path / "t.npz", 8, 20)
    lines = (tmp_path / "log.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["step", *map(str, range(len(history.steps)))]


# ---- signals --------------------------------------------------------------------------------------------------------------


def test_the_best_weights_are_back_and_the_handlers_as_before(tmp_path):
    """After the signal: the step is whole, the file has the last weights, the model the best ones."""
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    one, kept = Everything(), {}

    class Look(Callback):
        def on_epoch_end(self, trainer):
            if trainer.history.best_epoch == trainer.epoch:
                kept.update({name: p.copy() for name, p in trainer.model.params.items()})

        def on_interrupt(self, trainer):
            kept["last"] = trainer.model.params["head.W"].copy()

    with pytest.raises(SystemExit) as caught:
        one.fit(Look(), TrainingCheckpoint(tmp_path / "t.npz"), Signal(20, signal.SIGTERM))
    assert caught.value.code == 128 + signal.SIGTERM
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    last = kept.pop("last")
    np.testing.assert_equal(dict(one.model.params), kept)
    with archives.opened(tmp_path / "t.npz", "a training checkpoint") as archive:
        np.testing.assert_array_equal(archive["model/head.W"], last)
        assert len(archive["steps/columns/loss"]) == 20
    assert not np.array_equal(last, kept["head.W"])


def test_a_handler_of_your_own_is_left_alone():
    seen = []
    signal.signal(signal.SIGTERM, lambda *arguments: seen.append(1))
    try:
        history = Everything().fit(Signal(3, signal.SIGTERM), epochs=1)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    assert seen == [1]
    assert len(history.steps) == 6


def test_a_signal_that_is_ignored_stays_ignored():
    """As in a program that a shell has started in the background."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    history = Everything().fit(Signal(3), epochs=1)
    assert len(history.steps) == 6
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN


def test_training_in_another_thread_needs_no_signals():
    found = []
    thread = threading.Thread(target=lambda: found.append(Everything().fit(epochs=1)))
    thread.start()
    thread.join()
    assert len(found[0].steps) == 6


ENDLESS = """
import sys, time
import numpy as np
from scratchnet.layers import Linear
from scratchnet.training import SGD, TrainingCheckpoint, Callback, fit
class Slow(Callback):
    def on_step(self, trainer):
        print(len(trainer.history.steps), flush=True)
        time.sleep(0.05)
    def on_gradients(self, trainer):
        if {stuck} and len(trainer.history.steps) == 2:
            print("stuck", flush=True)
            time.sleep(60)
rng = np.random.default_rng(0)
x = rng.standard_normal((40, 2))
fit(Linear(2, 1, rng=rng), (x, x[:, :1]), SGD(0.01), epochs=10**5, rng=rng, progress=False,
    callbacks=[Slow(), TrainingCheckpoint(sys.argv[1])])
"""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("stuck", [False, True])
def test_a_program_that_is_asked_to_end_ends(number, status, stuck, tmp_path):
    """After its step; or, where the step takes for ever, at the second signal."""
    path = tmp_path / "t.npz"
    command = [sys.executable, "-c", ENDLESS.format(stuck=stuck), str(path)]
    program = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with program, ExitStack() as ends:
        ends.callback(program.kill)  # where it does not end, as it should
        for line in program.stdout:
            if line.strip() == ("stuck" if stuck else "3"):
                break
        program.send_signal(number)
        if stuck:
            time.sleep(0.3)
            assert program.poll() is None
            program.send_signal(number)
        program.communicate(timeout=20)
    assert program.returncode == (-number if stuck else status)
    with archives.opened(path, "a training checkpoint") as archive:
        assert len(archive["steps/columns/loss"]) >= 2


# ---- files that do not fit ------------------------------------------------------------------------------------------------


def test_another_training_is_refused_and_nothing_is_changed(tmp_path):
    path = tmp_path / "t.npz"
    with pytest.raises(KeyboardInterrupt):
        Everything().fit(TrainingCheckpoint(path), Signal(8))
    whole = path.read_bytes()

    def other_optimizer():
        return Everything("adamw")

    def other_model():
        other = Everything()
        other.model.layers["norm"].eps = 1e-3
        return other

    def other_data():
        other = Everything()
        other.x, other.y, other.lengths = other.x[:9], other.y[:9], other.lengths[:9]
        return other

    for make, message in (
        (other_optimizer, "it is of another training: kinds were"),
        (other_model, "is of another architecture: eps of norm is 1e-05 there but 0.001 in the model"),
        (other_data, "it is of another training: each were 6 and are 3"),
        (lambda: Everything(dtype=np.float32), "in it is float64 of shape"),
    ):
        other = make()
        before = copy.deepcopy(dict(other.model.params))
        with pytest.raises(ValueError, match=message):
            other.fit(TrainingCheckpoint(path, resume=True), Signal())
        np.testing.assert_equal(dict(other.model.params), before)
    assert path.read_bytes() == whole


def test_a_damaged_file_gives_a_sentence(tmp_path):
    path = tmp_path / "t.npz"
    with pytest.raises(KeyboardInterrupt):
        Everything().fit(TrainingCheckpoint(path), Signal(8))
    whole = path.read_bytes()
    with archives.opened(path, "a training checkpoint") as archive:
        about, arrays = archive.about, {name: archive[name] for name in archive.shapes}
    about.pop("facts")  # the caller's own
    for name in about.keys() - {"teacher", "best_epoch", "stopped"}:
        for wrong in (None, -1, "text", [], {}, {"epoch": -1}):
            if wrong == about[name]:
                continue
            archives.save(path, arrays, about | {name: wrong})
            with pytest.raises(ValueError, match=r"t\.npz"):
                Everything().fit(TrainingCheckpoint(path, resume=True), Signal())
    for at in range(40, len(whole), len(whole) // 50):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        with suppress(ValueError):  # a byte that no check covers, as in a date, is not seen
            Everything().fit(TrainingCheckpoint(path, resume=True), Signal())


def test_an_optimizer_without_state_is_refused(rng, tmp_path):
    class Plain:
        lr = 0.1

        def step(self, params, grads):
            """Nothing."""

    x = rng.standard_normal((4, 2))
    with pytest.raises(ValueError, match="Plain cannot be saved: expected an optimizer with state_dict"):
        fit(
            Linear(2, 1, rng=rng),
            (x, x[:, :1]),
            Plain(),
            epochs=1,
            rng=rng,
            callbacks=[TrainingCheckpoint(tmp_path / "t.npz")],
        )


# ---- the best weights, and half precision ---------------------------------------------------------------------------------


def test_the_best_epochs_statistics_come_back_with_its_weights(rng):
    """Buffers too: the running mean of the best epoch, not of the last."""
    model = Sequential(norm=BatchNorm1d(2), head=Linear(2, 1, rng=rng))
    x = rng.standard_normal((12, 2)) + 3
    seen = []

    class Look(Callback):
        def on_epoch_end(self, trainer):
            seen.append({name: b.copy() for name, b in trainer.model.buffers.items()})

    history = fit(
        model,
        (x, x[:, :1]),
        SGD(0.05),
        epochs=6,
        rng=rng,
        validation=(x, -x[:, :1]),
        callbacks=[BestWeights(), Look()],
        progress=False,
    )
    assert history.best_epoch < 5
    np.testing.assert_equal(dict(model.buffers), seen[history.best_epoch])
    assert not np.array_equal(seen[-1]["norm.running_mean"], seen[history.best_epoch]["norm.running_mean"])


def test_good_steps_are_counted_from_the_last_skip(rng):
    """Two good ones, a skip, and two more: of three that must follow each other there were none."""
    x = rng.standard_normal((4, 2)).astype(np.float32)
    trainer = HalfTrainer(Linear(2, 1, rng=rng).astype(np.float32), SGD(0.0), scale=2.0**4, patience=3)
    scales = []
    for size in (1, 1, 1e38, 1, 1, 1):
        trainer.step((x, x[:, :1]), lambda y, t, size=size: (0.0, np.full_like(y, size)))
        scales.append(trainer.scale)
    assert scales == [16, 16, 8, 8, 8, 16]
    assert trainer.skipped == 1


# ---- the command line -----------------------------------------------------------------------------------------------------


@pytest.fixture
def signalled(monkeypatch):
    """``signalled(step, number)``: the next training of the command gets a signal after that step."""
    moment = {}

    class Signalled(TrainingCheckpoint):
        def on_step(self, trainer):
            if len(trainer.history.steps) == moment.get("step"):
                os.kill(os.getpid(), moment["number"])

    monkeypatch.setattr(train_command, "TrainingCheckpoint", Signalled)
    return lambda step=None, number=None: moment.update(step=step, number=number)


def arrays_of(path):
    with archives.opened(path, "a file") as archive:
        return archive.about, {name: archive[name] for name in archive.shapes}


def test_the_command_goes_on_to_the_same_model(tmp_path, capsys, signalled):
    table, whole, parts = tmp_path / "wave.csv", tmp_path / "whole", tmp_path / "parts of it"
    wave = np.sin(np.arange(120) / 3) + np.random.default_rng(0).normal(0, 0.1, 120)
    table.write_text("wave\n" + "".join(f"{value}\n" for value in wave))
    options = ["train", "--data", str(table), "--epochs", "6", "--window", "5", "--units", "3", "--layers", "2"]
    options += ["--dropout", "0.2"]
    assert main([*options, "--out", str(whole)]) == 0
    expected = capsys.readouterr().out
    for arguments, step, number, status in (
        ([*options, "--out", str(parts)], 5, signal.SIGINT, 130),
        (["train", "--resume", str(parts)], 9, signal.SIGTERM, 143),
    ):
        signalled(step, number)
        assert main(arguments) == status
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert f"training was ended by {number.name}; its best weights so far are in {parts / 'model.npz'}" in said
        assert said.endswith(f"Go on with:  scratchnet train --resume '{parts}'\n")
        assert {path.name for path in parts.iterdir()} == {"model.npz", "training.npz"}
        assert np.isfinite(load_forecaster(parts).predict(wave[:, None])).all()
    signalled()
    state = (parts / "training.npz").read_bytes()
    table.write_text(table.read_text() + "0.5\n")
    assert main(["train", "--resume", str(parts)]) == 1
    assert "wave.csv has changed since the training was interrupted: start again" in capsys.readouterr().err
    assert (parts / "training.npz").read_bytes() == state
    table.write_text("wave\n" + "".join(f"{value}\n" for value in wave))
    assert main(["train", "--resume", str(parts)]) == 0
    said = capsys.readouterr().out
    assert re.sub(r"[\d.]+ s\n", "", said).replace(str(parts), "OUT") == re.sub(r"[\d.]+ s\n", "", expected).replace(
        str(whole), "OUT"
    )
    assert {path.name for path in parts.iterdir()} == {"model.npz", "history.csv", "forecast.png", "run.json"}
    np.testing.assert_equal(arrays_of(parts / "model.npz"), arrays_of(whole / "model.npz"))
    assert main(["train", "--resume", str(parts)]) == 1
    assert f"no training was interrupted in {parts}" in capsys.readouterr().err


def test_ctrl_c_elsewhere_is_a_sentence(monkeypatch, capsys):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(train_command, "series_of", interrupted)
    assert main(["train"]) == 130
    assert capsys.readouterr().err == "scratchnet: interrupted\n"


def test_a_state_that_is_not_the_commands_is_refused(tmp_path, capsys):
    with pytest.raises(KeyboardInterrupt):
        Everything().fit(TrainingCheckpoint(tmp_path / "training.npz"), Signal(2))
    assert main(["train", "--resume", str(tmp_path)]) == 1
    assert "training.npz is of another program" in capsys.readouterr().err


def test_a_missing_folder_is_said_before_the_training(rng, tmp_path):
    x = rng.standard_normal((4, 2))
    for make in (TrainingCheckpoint, ModelCheckpoint, CSVLogger):
        steps = []

        class Count(Callback):
            def on_step(self, trainer, steps=steps):
                steps.append(1)

        with pytest.raises(FileNotFoundError, match=r"a\.npz: there is no folder .*none: make it first"):
            fit(
                Linear(2, 1, rng=rng),
                (x, x[:, :1]),
                SGD(0.1),
                epochs=1,
                rng=rng,
                callbacks=[make(tmp_path / "none" / "a.npz"), Count()],
            )
        assert steps == []


def test_gradients_that_are_not_numbers_are_gone_after_zero_grad(rng):
    """Written, not multiplied by 0: NaN times 0 is NaN."""
    model = Sequential(rec=GRU(1, 3, rng=rng), norm=BatchNorm1d(3), head=Linear(3, 1, rng=rng))
    trainer = Trainer(model, SGD(0.0))
    x = rng.standard_normal((4, 2, 1))
    for clear in (model.zero_grad, lambda: trainer.step((x, x), mse)):
        for grad in model.grads.values():
            grad[...] = np.nan
            grad.flat[0] = np.inf
        clear()
        for name, grad in model.grads.items():
            assert np.isfinite(grad).all(), name
