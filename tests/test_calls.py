"""Checks happen once, where a public call enters: a training step makes few Python calls besides its arithmetic."""

import numpy as np
import pytest
from scratchnet.layers import LSTM, Layer
from scratchnet.training import SGD, Adam, Batches, Clip, RMSprop, fit

from calls import count_calls

ADAM_BEFORE = 238  # calls of one step with five parameters in the first edition, of them 200 checks
FIT_BEFORE = {"plain": 158, "clipped": 365}  # and of fit around it, for each mini-batch


class Five(Layer):
    """y = x, with five parameters whose gradients are 1."""

    def __init__(self):
        super().__init__()
        for number in range(5):
            self.add_param(f"p{number}", np.ones((4, 3)))

    def forward(self, x, training=False):
        return x, None

    def backward(self, dy, cache):
        for grad in self._grads.values():
            grad += 1
        return dy


class Still:
    """An optimiser that does nothing."""

    lr, engine = 0.1, "array"

    def step(self, params, grads):
        pass


def test_the_count_is_right():
    assert count_calls(lambda: None) == 0
    assert count_calls(lambda: len(str(1))) == 0  # in C
    assert count_calls(lambda: Still().step({}, {})) == 1
    assert count_calls(lambda: sum(n for n in (1, 2))) == 3  # a generator is resumed after each value


@pytest.mark.parametrize(
    ("optimizer", "most"),
    [(Adam(1e-3, engine="array"), 40), (Adam(1e-3, engine="step"), 50), (SGD(0.1, momentum=0.9), 20), (RMSprop(), 20)],
)
def test_an_optimiser_checks_by_comparisons(optimizer, most, rng):
    params = {f"p{n}": rng.standard_normal((4, 3)) for n in range(5)}
    grads = {name: 0.1 * p for name, p in params.items()}
    optimizer.step(params, grads)
    assert count_calls(lambda: optimizer.step(params, grads)) <= most < ADAM_BEFORE / 3


@pytest.mark.parametrize("kind", FIT_BEFORE)
def test_fit_checks_once_and_not_in_every_step(kind):
    x, callbacks = np.ones((20, 3)), [Clip(1.0)] if kind == "clipped" else []

    def calls(steps):
        data = Batches(x[:steps], x[:steps], batch_size=1)
        options = {"loss": lambda y, target: (1.0, y), "callbacks": callbacks, "progress": False}
        return count_calls(lambda: fit(Five(), data, Still(), epochs=1, rng=np.random.default_rng(0), **options))

    calls(1)
    stubs = 4  # forward, backward, loss and step of this file
    assert (calls(20) - calls(10)) / 10 - stubs <= FIT_BEFORE[kind] / 3


def test_a_layer_checks_once_and_its_cell_nothing(rng):
    """An LSTM layer over three steps made 145 calls in the first edition, of them 65 checks."""
    layer, x = LSTM(3, 4, rng=rng, engine="array"), rng.standard_normal((3, 2, 3))
    assert count_calls(lambda: layer.forward(x)) <= 145 / 3


def test_a_compiled_engine_adds_few_calls(rng):
    """An LSTM layer forward and backward, whatever its T, around three calls into machine code: 383 in the first edition."""
    pytest.importorskip("numba")
    layer, x = LSTM(3, 4, rng=rng, engine="sequence"), rng.standard_normal((30, 2, 3))
    y, cache = layer.forward(x)  # compiles
    layer.backward(y, cache)
    assert count_calls(lambda: layer.backward(*layer.forward(x))) <= 383 / 2
