"""TrainConfig: an option is written once, and is then on the command line, in estimators and in the search."""

import argparse
import doctest
import importlib
from dataclasses import dataclass, fields

import numpy as np
import pytest
from scratchnet.commands.options import add_options, config_of
from scratchnet.forecasting.many_steps import BacktestConfig
from scratchnet.forecasting.network import ForecastConfig
from scratchnet.forecasting.one_step import OneStepConfig
from scratchnet.training import Clip, EarlyStopping, TrainConfig
from scratchnet.training.config import option, options


@dataclass(frozen=True, kw_only=True)
class More(TrainConfig):
    """One field more than training has, and another default."""

    momentum: float = option(0.9, "share of the last step, in %", least=0, below=1)
    epochs: int = 7


def parsed(config, *words):
    parser = argparse.ArgumentParser(prog="x")
    add_options(parser, config)
    return config_of(config, parser.parse_args(words)), parser.format_help()


def test_a_new_field_is_a_new_option_without_another_line():
    config, text = parsed(More)
    assert config == More()
    assert "--momentum MOMENTUM" in text
    assert "share of the last step, in % (default: 0.9)" in " ".join(text.split())
    config, _ = parsed(More, "--momentum", "0.5", "--batch-size", "8", "--clip", "2")
    assert config == More(momentum=0.5, batch_size=8, clip=2.0)
    assert type(config.clip) is float
    with pytest.raises(ValueError, match=r"^momentum is 1\.5: expected at least 0 and less than 1$"):
        parsed(More, "--momentum", "1.5")[0].check()


def test_a_subclass_may_change_a_default_and_keeps_help_and_range():
    assert options(More)["epochs"].help == options(TrainConfig)["epochs"].help
    assert "at most (default: 7)" in " ".join(parsed(More)[1].split())
    with pytest.raises(ValueError, match=r"^epochs is 0: expected at least 1$"):
        More(epochs=0).check()


@pytest.mark.parametrize("config", [OneStepConfig, ForecastConfig, BacktestConfig])
def test_the_commands_have_every_option_of_theirs(config):
    made, text = parsed(config)
    assert made == config().check()
    for name, known in options(config).items():
        assert f"--{name.replace('_', '-')}" in text
        assert " ".join(known.help.split()[:3]) in " ".join(text.split())
    assert set(options(config)) == {each.name for each in fields(config)}


def test_strategies_are_words():
    assert parsed(BacktestConfig)[0].strategies == ("direct", "recursive", "encoder-decoder")
    chosen = parsed(BacktestConfig, "--strategy", "direct", "recursive", "--ensemble", "--season", "12")[0].check()
    assert (chosen.strategies, chosen.ensemble, chosen.season) == (("direct", "recursive"), True, 12)
    with pytest.raises(ValueError, match=r"^strategy is empty: expected one or more"):
        BacktestConfig(strategy=()).check()


def test_estimators_have_every_field_under_scikit_learns_name():
    base = pytest.importorskip("scratchnet.estimators.base")
    from scratchnet.estimators import LSTMRegressor

    names = [base.sklearn_name(each.name) for each in fields(TrainConfig)]
    assert names == ["max_iter", "batch_size", "learning_rate_init", "alpha", "clip", "n_iter_no_change"]
    assert set(names) <= LSTMRegressor().get_params().keys()
    config = LSTMRegressor(max_iter=3, learning_rate_init=0.1, n_iter_no_change=4, alpha=0.5)._config(1000)
    assert config == TrainConfig(epochs=3, lr=0.1, patience=4, weight_decay=0.5)
    with pytest.raises(ValueError, match=r"^max_iter is 0: expected at least 1"):
        LSTMRegressor(max_iter=0)._config(10)


def test_what_a_config_makes():
    config = TrainConfig(lr=0.1, weight_decay=0.2, clip=None, batch_size=3)
    assert config.callbacks() == []
    clip, stop = config.replace(clip=2.0, patience=5).callbacks()
    assert isinstance(clip, Clip)
    assert isinstance(stop, EarlyStopping)
    assert (clip.limit, stop.patience) == (2.0, 5)
    assert (config.optimizer().lr, config.optimizer().weight_decay) == (0.1, 0.2)
    assert config.batches(np.ones((4, 1)), np.ones((4, 1))).batch_size == 3
    assert config.asdict()["lr"] == 0.1


@pytest.mark.parametrize(
    ("wrong", "error", "says"),
    [
        ({"epochs": 2.5}, TypeError, "epochs is 2.5: expected a whole number"),
        ({"epochs": True}, TypeError, "epochs is True: expected a whole number"),
        ({"batch_size": 0}, ValueError, "batch_size is 0: expected at least 1"),
        ({"lr": "fast"}, TypeError, "lr is 'fast': expected a number"),
        ({"lr": float("nan")}, ValueError, "lr is nan: expected 0 or a positive number"),
        ({"clip": 0.0}, ValueError, "clip is 0.0: expected a positive number"),
        ({"clip": float("inf")}, ValueError, "clip is inf: expected a positive number"),
        ({"patience": 0}, ValueError, "patience is 0: expected at least 1"),
    ],
)
def test_checks_name_the_field(wrong, error, says):
    with pytest.raises(error, match=f"^{says}$"):
        TrainConfig(**wrong).check()
    assert TrainConfig(clip=None, patience=None).check()


@pytest.mark.parametrize(
    "module",
    [
        "losses",
        "training.clip",
        "training.config",
        "training.loop",
        "training.optim",
        "training.parameter_patterns",
        "training.samples",
    ],
)
def test_examples_of_docstrings_run(module):
    done = doctest.testmod(importlib.import_module(f"scratchnet.{module}"))
    assert done.attempted
    assert not done.failed
