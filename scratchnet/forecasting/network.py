"""Three ways for a network to forecast many steps.

    Direct          one answer with all steps side by side: no error is fed back, steps know nothing of each other
    Recursive       one step, fed back as if it had been measured, again and again: one small network for any horizon,
                    and its errors pile up
    EncodeDecode    an encoder reads the window, a decoder writes the steps: trained on its own future

Each is trained on the first rows of what it is given and stopped by the last 15%; scaled by the
former alone. With ``anchored`` the network sees and answers the distance from the last row of the
window: for series that drift out of the range they had, such as CO2, where every future value is
new.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from scratchnet.arrays import Array
from scratchnet.data import Standardizer, Windows, sliding_windows
from scratchnet.errors import InvalidValueError, UnavailableError
from scratchnet.forecasting.forecaster import Forecaster, check_values
from scratchnet.forecasting.settings import NetworkSettings
from scratchnet.layers import Dropout, Layer, Linear, Recurrent, Sequential
from scratchnet.losses import mse, quantile
from scratchnet.models.seq2seq import EncoderDecoder
from scratchnet.training import Callback, History, ScheduledSampling, fit, predict
from scratchnet.training.config import option


@dataclass(frozen=True, kw_only=True)
class Settings(NetworkSettings):
    """The options that the three share."""

    cell: str = option("gru", "rnn, lstm, gru, ...")
    dropout: float = option(
        0.0,
        "of the recurrent layers' outputs while training; with dropout intervals also while"
        " forecasting",
        least=0,
        below=1,
    )
    anchored: bool = option(False, "forecast changes from the last row, for series that drift")
    validation: float = option(
        0.15, "share of the rows, the last ones, that decide when to stop", above=0, below=1
    )


class Network(Forecaster):
    """What the three have in common: windows, scaling, training, in float32.

    Once it is fitted, ``model``, ``history`` and ``errors`` (m, horizon, K) are there: those of the
    forecasts from every origin of the validation rows, truth minus forecast. (They are a little too
    small, since those rows said when to stop.) ``dropping``: dropout stays on while it forecasts;
    see ``intervals``. Raises ValueError where the series is too short for the window and the
    horizon, or a column is constant.
    """

    def __init__(
        self, settings: Settings, horizon: int, targets: Sequence[int] | None = None
    ) -> None:
        super().__init__(horizon, targets)
        self.settings = settings.check()
        self.scaler = Standardizer()
        self.model: Any = None
        self.history: History | None = None
        self.errors: Array = np.zeros((0, horizon, 1))
        self.dropping = False

    @property
    def needs(self) -> int:
        return self.settings.window

    @property
    def steps(self) -> int:
        """The steps of one answer of the network."""
        return self.horizon

    def build(self, D: int, K: int, rng: np.random.Generator) -> Layer:
        """The network, for windows (n, window, D) and K target columns."""
        raise NotImplementedError(f"{type(self).__name__} has no network")

    def fit(self, values: Array) -> Self:
        """Train on values (T, D): the first 85% of the rows, by default, and stop by the rest."""
        chosen = self.settings
        # the validation rows have an origin at least
        held = max(self.horizon, round(len(values) * chosen.validation))
        least = chosen.window + self.steps + held
        check_values(
            values,
            max(least, chosen.window + 2 * self.steps),
            f"{type(self).__name__} with window {chosen.window}",
        )
        cut = len(values) - held
        self.scaler.fit(self._changes(values[:cut]) if chosen.anchored else values[:cut])
        rng = np.random.default_rng(chosen.seed)
        K = values.shape[1] if self.targets is None else len(self.targets)
        self.model = self.build(values.shape[1], K, rng).astype(np.float32)
        past, validation = (
            self._pairs(values, part) for part in (slice(0, cut), slice(cut, len(values)))
        )
        self.history = fit(
            self.model,
            chosen.batches(*past),
            chosen.optimizer(),
            epochs=chosen.epochs,
            rng=rng,
            loss=self.loss,
            validation=validation,
            callbacks=self.callbacks(),
            progress=False,
        )
        self.trained()
        at = np.arange(cut, len(values) - self.horizon + 1)
        truth = self.chosen(values[at[:, None] + np.arange(self.horizon)])
        self.errors = truth - self.middle(self.predict(values, at))
        return self

    def trained(self) -> None:
        """What is to be done when training is over."""

    def middle(self, forecast: Array) -> Array:
        """One number of each step, where a forecast has several."""
        return forecast

    def run(self, z: Array) -> Array:
        """Scaled windows through the network, in float32."""
        if self.model is None:
            raise UnavailableError(
                f"this {type(self).__name__} has not been fitted: call fit(values[train]) first"
            )
        y: Array = (
            self.model.forward(z, training=True)[0] if self.dropping else predict(self.model, z)
        )
        return y

    def loss(self, y: Array, target: Array, mask: Array | None = None) -> tuple[float, Array]:
        """The mean squared error, of scaled values."""
        return mse(y, target, mask)

    def callbacks(self) -> list[Callback]:
        """The callbacks of its training."""
        return self.settings.callbacks()

    def _changes(self, values: Array) -> Array:
        """How far rows lie from the last row of a window before them: what an anchored network
        sees, for the scale."""
        lag = max(1, min(self.settings.window, self.steps, len(values) - 1))
        return values[lag:] - values[:-lag]

    def scaled(self, x: Array) -> Array:
        """Windows (n, window, D) as the network sees them."""
        return self.scaler.transform(x - x[:, -1:] if self.settings.anchored else x).astype(
            np.float32
        )

    def unscaled(self, z: Array, x: Array) -> Array:
        """The network's answers (n, steps, K), scaled, behind windows x, in the series' unit."""
        offset, scale = self.chosen(self.scaler.offset), self.chosen(self.scaler.scale)
        y = z.astype(np.float64) * scale + offset
        return y + self.chosen(x[:, -1:]) if self.settings.anchored else y

    def _pairs(self, values: Array, part: slice) -> tuple[Array, Array]:
        found: Windows = sliding_windows(
            values, self.settings.window, self.steps, targets=self.targets, part=part
        )
        y = found.y.reshape(len(found.x), self.steps, -1)
        if self.settings.anchored:
            y = y - self.chosen(found.x[:, -1:])
        z = (y - self.chosen(self.scaler.offset)) / self.chosen(self.scaler.scale)
        return self.scaled(found.x), self.shaped(z.astype(np.float32))

    def shaped(self, z: Array) -> Array:
        """Targets (n, steps, K) as the network answers them."""
        return z.reshape(len(z), -1)

    def answers(self, x: Array) -> Array:
        """Windows x in the series' unit to the network's own answers, (n, steps, K), in that
        unit."""
        return self.unscaled(self.run(self.scaled(x)).reshape(len(x), self.steps, -1), x)

    def forecast(self, x: Array, values: Array, at: Any) -> Array:
        return self.answers(x)

    def _recurrent(self, D: int, outputs: int, rng: np.random.Generator) -> Sequential:
        chosen = self.settings
        between = chosen.dropout if chosen.layers > 1 else 0.0
        rec = Recurrent(
            chosen.cell,
            D,
            chosen.units,
            num_layers=chosen.layers,
            dropout=between,
            batch_first=True,
            return_sequences=False,
            rng=rng,
        )
        return Sequential(
            rec=rec,
            dropout=Dropout(chosen.dropout, rng=rng),
            head=Linear(chosen.units, outputs, rng=rng),
        )


class Direct(Network):
    """All steps at once. With ``levels`` (0.05, 0.5, 0.95), quantiles of each: forecasts are then
    (n, horizon, K, Q)."""

    def __init__(
        self,
        settings: Settings,
        horizon: int,
        targets: Sequence[int] | None = None,
        levels: Sequence[float] | None = None,
    ) -> None:
        super().__init__(settings, horizon, targets)
        self.levels = None if levels is None else tuple(levels)
        self._pinball = None if levels is None else quantile(levels)

    def build(self, D: int, K: int, rng: np.random.Generator) -> Layer:
        return self._recurrent(D, self.horizon * K * len(self.levels or (1,)), rng)

    def loss(self, y: Array, target: Array, mask: Array | None = None) -> tuple[float, Array]:
        return mse(y, target, mask) if self._pinball is None else self._pinball(y, target, mask)

    def answers(self, x: Array) -> Array:
        if self.levels is None:
            return super().answers(x)
        z = self.run(self.scaled(x)).reshape(len(x), self.horizon, -1, len(self.levels))
        z = np.sort(z, axis=-1)  # quantiles learned apart may cross; in order they are never worse
        return np.stack([self.unscaled(z[..., q], x) for q in range(len(self.levels))], axis=-1)

    def middle(self, forecast: Array) -> Array:
        return forecast if self.levels is None else forecast[..., len(self.levels) // 2]


class Recursive(Network):
    """One step, fed back. It must forecast every column, since it needs them all for the next
    step."""

    @property
    def steps(self) -> int:
        return 1

    def build(self, D: int, K: int, rng: np.random.Generator) -> Layer:
        if D != K:
            raise InvalidValueError(
                f"Recursive has {K} targets of {D} columns but feeds back all: give it all, or take"
                " Direct"
            )
        return self._recurrent(D, K, rng)

    def forecast(self, x: Array, values: Array, at: Any) -> Array:
        rows = []
        for _ in range(self.horizon):
            step = self.answers(x)
            rows.append(step[:, 0])
            back = step if self.targets is None else step[:, :, np.argsort(self.targets)]
            x = np.concatenate([x[:, 1:], back], axis=1)
        return np.stack(rows, axis=1)


class EncodeDecode(Network):
    """An encoder-decoder. ``half_life``: the epoch at which teacher forcing has fallen to one half;
    None never teaches."""

    def __init__(
        self,
        settings: Settings,
        horizon: int,
        targets: Sequence[int] | None = None,
        half_life: float | None = 10.0,
    ) -> None:
        super().__init__(settings, horizon, targets)
        self.half_life = half_life

    def build(self, D: int, K: int, rng: np.random.Generator) -> Layer:
        chosen = self.settings
        columns = list(range(D)) if self.targets is None else self.targets
        return EncoderDecoder(
            D,
            K,
            chosen.units,
            self.horizon,
            rng=rng,
            cell=chosen.cell,
            num_layers=chosen.layers,
            columns=columns,
            dropout=chosen.dropout if chosen.layers > 1 else 0.0,
            teacher=0.0 if self.half_life is None else 1.0,
        )

    def callbacks(self) -> list[Callback]:
        fall = [] if self.half_life is None else [ScheduledSampling(self.half_life)]
        return [*super().callbacks(), *fall]

    def trained(self) -> None:
        self.model.teacher = 0.0  # from here on nobody knows the right answers

    def shaped(self, z: Array) -> Array:
        return z


STRATEGIES: dict[str, type[Network]] = {
    "direct": Direct,
    "recursive": Recursive,
    "encoder-decoder": EncodeDecode,
}
