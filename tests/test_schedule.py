"""Schedules: every learning rate equal to torch's, step by step, and what ``fit`` does with them."""

import numpy as np
import pytest
import torch
from scratchnet.errors import ScratchnetError
from scratchnet.layers import Linear
from scratchnet.training import SGD, Batches, Constant, Cosine, Exponential, Plateau, StepDecay, Warmup, fit, schedule
from scratchnet.training.schedule import SCHEDULES


def theirs():
    return torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)


def warmup_cosine(optimizer):
    lr = torch.optim.lr_scheduler
    parts = [lr.LinearLR(optimizer, 0.2, 1.0, 4), lr.CosineAnnealingLR(optimizer, 16, 0.01)]
    return lr.SequentialLR(optimizer, parts, milestones=[4])


PAIRS = {
    "step": (lambda o: StepDecay(o, 3, 0.5), lambda o: torch.optim.lr_scheduler.StepLR(o, 3, 0.5), 20),
    "exponential": (lambda o: Exponential(o, 0.9), lambda o: torch.optim.lr_scheduler.ExponentialLR(o, 0.9), 20),
    "cosine": (lambda o: Cosine(o, 20, 0.01), lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 20, 0.01), 20),
    "warm-up": (lambda o: Warmup(o, 4, 0.2), lambda o: torch.optim.lr_scheduler.LinearLR(o, 0.2, 1.0, 4), 20),
    "warm-up, cosine": (lambda o: Warmup(o, 4, 0.2, then=Cosine(o, 16, 0.01)), warmup_cosine, 20),
}


@pytest.mark.filterwarnings("ignore:Detected call of .lr_scheduler.step")
@pytest.mark.filterwarnings("ignore:The epoch parameter in .scheduler.step")
@pytest.mark.parametrize("name", PAIRS)
def test_every_step_equals_torch(name):
    ours, torchs, steps = PAIRS[name]
    optimizer, twin = SGD(0.3), theirs()
    mine, other = ours(optimizer), torchs(twin)
    for t in range(steps + 1):
        assert optimizer.lr == pytest.approx(twin.param_groups[0]["lr"], rel=1e-12, abs=1e-15), f"after {t} steps"
        twin.step()
        mine.step()
        other.step()


@pytest.mark.parametrize(
    ("patience", "factor", "cooldown", "least"),
    [(0, 0.5, 0, 0.0), (2, 0.1, 3, 0.0), (1, 0.3, 0, 0.02), (3, 0.9, 1, 0.0)],
)
def test_plateau_equals_torch(patience, factor, cooldown, least):
    rng = np.random.default_rng(0)
    optimizer, twin = SGD(0.3), theirs()
    mine = Plateau(optimizer, patience, factor, cooldown=cooldown, least=least)
    other = torch.optim.lr_scheduler.ReduceLROnPlateau(
        twin, patience=patience, factor=factor, cooldown=cooldown, min_lr=least
    )
    seen = set()
    for t in range(80):
        metric = float(np.exp(-t / 10) + 0.05 * rng.random())
        mine.step(metric)
        other.step(metric)
        assert optimizer.lr == pytest.approx(twin.param_groups[0]["lr"], rel=1e-12), f"after {t + 1} epochs"
        seen.add(optimizer.lr)
    assert len(seen) > 2


def test_cosine_stays_down_behind_its_end():
    optimizer = SGD(0.3)
    cosine = Cosine(optimizer, 3, 0.1)
    rates = []
    for _ in range(6):
        cosine.step()
        rates.append(optimizer.lr)
    assert rates[2:] == pytest.approx([0.1] * 4)


def test_fit_steps_the_schedule(rng):
    x = rng.standard_normal((8, 2))
    for each, expected in (
        ("epoch", [0.1, 0.1, 0.05, 0.05, 0.025, 0.025]),
        ("update", [0.1 * 0.5**t for t in range(6)]),
    ):
        model, optimizer = Linear(2, 1, rng=rng), SGD(0.1)
        history = fit(
            model,
            Batches(x, x[:, :1], batch_size=4),
            optimizer,
            epochs=3,
            rng=rng,
            callbacks=[StepDecay(optimizer, 1, 0.5, each=each)],
            progress=False,
        )
        assert history.column("lr") == pytest.approx(expected)


def test_plateau_in_fit_looks_at_the_validation_loss(rng):
    x = rng.standard_normal((8, 2))
    model, optimizer = Linear(2, 1, rng=rng), SGD(1e-12)
    fit(
        model,
        (x, x[:, :1]),
        optimizer,
        epochs=4,
        rng=rng,
        validation=(x, x[:, :1] + 1),
        callbacks=[Plateau(optimizer, 0, 0.5, threshold=0.1, least=1e-13)],
        progress=False,
    )
    assert optimizer.lr == 1e-12  # a fall of less than 1e-8 is not made
    optimizer.lr = 1e-6
    fit(
        model,
        (x, x[:, :1]),
        optimizer,
        epochs=4,
        rng=rng,
        validation=(x, x[:, :1] + 1),
        callbacks=[Plateau(optimizer, 0, 0.5, threshold=0.1)],
        progress=False,
    )
    assert optimizer.lr == pytest.approx(1e-6 / 8)


def test_a_schedule_goes_on_from_its_state():
    def run(steps, schedule, optimizer):
        for t in range(steps):
            schedule.step(1.0 if t < 3 else 0.5)
        return optimizer.lr

    for name, kind in SCHEDULES.items():
        arguments = {"step": (3,), "exponential": (0.9,), "cosine": (20,), "warmup": (9,)}.get(name, ())
        optimizer = SGD(0.3)
        whole = run(8, kind(optimizer, *arguments), optimizer)
        optimizer = SGD(0.3)
        first = kind(optimizer, *arguments)
        run(4, first, optimizer)
        lr, other = optimizer.lr, SGD(0.3)
        second = kind(other, *arguments)
        second.load_state_dict(first.state_dict())
        other.lr = lr
        for _ in range(4):
            second.step(0.5)
        assert other.lr == pytest.approx(whole), name
        with pytest.raises(ValueError, match="the state and"):
            second.load_state_dict({"t": 1})


MADE = {
    "step": lambda o: StepDecay(o, 3, 0.5),
    "exponential": lambda o: Exponential(o, 0.9),
    "cosine": lambda o: Cosine(o, 20, 0.01),
    "warm-up": lambda o: Warmup(o, 4, 0.2),
    "warm-up, cosine": lambda o: Warmup(o, 4, 0.2, then=Cosine(o, 16, 0.01)),
    "plateau": lambda o: Plateau(o, 0, 0.5, threshold=0.5),
}


@pytest.mark.parametrize("order", ["optimizer first", "schedule first", "schedule made last"])
@pytest.mark.parametrize("name", MADE)
def test_a_resumed_schedule_gives_every_lr_whatever_is_loaded_first(name, order):
    """The base is the lr of the moment in which a schedule is made, and may then be another."""

    def steps(schedule, optimizer, n):
        found = [optimizer.lr]
        for _ in range(n):
            schedule.step(1.0)
            found.append(optimizer.lr)
        return found

    for before in (1, 3, 6):
        optimizer = SGD(0.3)
        schedule = MADE[name](optimizer)
        steps(schedule, optimizer, before)
        saved = optimizer.state_dict(), schedule.state_dict()
        expected = steps(schedule, optimizer, 12)
        other = SGD(0.1)
        if order == "schedule made last":
            other.load_state_dict(saved[0])
        second = MADE[name](other)
        if order == "optimizer first":
            other.load_state_dict(saved[0])
        second.load_state_dict(saved[1])
        if order == "schedule first":
            other.load_state_dict(saved[0])
        assert steps(second, other, 12) == expected


def test_a_warm_up_made_twice_rises_to_the_lr_that_follows():
    """The first one has lowered the optimiser's lr; what follows knows where both rise to."""
    optimizer = SGD(0.3)
    then = Cosine(optimizer, 8)
    Warmup(optimizer, 2, 0.1, then=then)
    second = Warmup(optimizer, 2, 0.1, then=then)
    rates = [optimizer.lr]
    for _ in range(2):
        second.step()
        rates.append(optimizer.lr)
    assert rates == pytest.approx([0.03, 0.165, 0.3])


@pytest.mark.parametrize("name", MADE)
def test_a_state_that_is_none_changes_nothing(name):
    optimizer = SGD(0.3)
    schedule = MADE[name](optimizer)
    good = schedule.state_dict()
    for key, value in good.items():
        for wrong in ("day", None, [], float("nan"), -1.5, *(["0.1", -1] if isinstance(value, int) else [])):
            if (key, wrong) == ("best", -1.5):  # a loss may be negative
                continue
            with pytest.raises((ValueError, TypeError)) as caught:
                schedule.load_state_dict({**good, "lr": 0.05, "t": 4, key: wrong})
            assert isinstance(caught.value, ScratchnetError)
            assert schedule.state_dict() == good
            assert optimizer.lr == good["lr"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda o: StepDecay(o, 0), "every is 0: expected at least 1"),
        (lambda o: StepDecay(o, 1, 1.5), "factor is 1.5: expected more than 0 and at most 1"),
        (lambda o: Exponential(o, 0), "factor is 0: expected more than 0"),
        (lambda o: Cosine(o, 10, 0.5), "least is 0.5 but lr is 0.3: expected 0 to lr"),
        (lambda o: Warmup(o, 3, then=Plateau(o)), "then is a Plateau of another optimiser, unit, or kind"),
        (lambda o: Warmup(o, 3, then=Constant(SGD(0.1))), "then is a Constant of another optimiser"),
        (lambda o: Plateau(o, factor=1.0), "factor is 1.0: expected more than 0 and less than 1"),
        (lambda o: Plateau(o, patience=-1), "patience is -1"),
        (lambda o: Plateau(o, cooldown=-1), "cooldown is -1"),
        (lambda o: Plateau(o, threshold=float("nan")), "threshold is nan: expected a finite number"),
        (lambda o: Plateau(o, least=-0.1), "least is -0.1: expected 0 or a positive number"),
        (lambda o: Plateau(o, factor=float("nan")), "factor is nan: expected more than 0"),
        (lambda o: Cosine(o, 5, float("nan")), "least is nan: expected a finite number"),
        (lambda o: Warmup(o, 5, float("nan")), "start is nan: expected more than 0"),
        (lambda o: (setattr(o, "lr", float("inf")), Constant(o)), "lr of the optimizer is inf"),
        (lambda o: Plateau(o).step(), "metric is None: a Plateau follows a loss"),
        (lambda o: StepDecay(o, 1, each="day"), "each is 'day': expected one of 'epoch', 'update'"),
        (
            lambda o: fit(
                Linear(1, 1, rng=np.random.default_rng(0)),
                (np.ones((2, 1)), np.ones((2, 1))),
                SGD(0.1),
                epochs=1,
                rng=np.random.default_rng(0),
                callbacks=[Constant(o)],
            ),
            "the schedule belongs to another optimizer",
        ),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call(SGD(0.3))


def test_the_table_has_them_all():
    kinds = [
        v
        for v in vars(schedule).values()
        if isinstance(v, type) and issubclass(v, schedule.Schedule) and v is not schedule.Schedule
    ]
    assert set(SCHEDULES.values()) == set(kinds)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda o: Warmup(o, float("nan")), "steps is nan: expected a whole number"),
        (lambda o: Cosine(o, float("nan")), "steps is nan: expected a whole number"),
        (lambda o: Plateau(o, float("nan")), "patience is nan: expected a whole number"),
        (lambda o: Cosine(o, 5, "0"), "least is '0': expected a number"),
    ],
)
def test_options_of_another_type(call, message):
    with pytest.raises(TypeError, match=message):
        call(SGD(0.3))
