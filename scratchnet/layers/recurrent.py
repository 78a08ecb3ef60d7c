"""Recurrent layers: a cell stacked in depth and run in one or both directions, with the parameters
it needs.

The cell's file holds the mathematics; here is only the wiring. One *run* is a cell applied once:
layer l, forwards or backwards in time. Runs of one layer read the same input, and their outputs
stand side by side in the last axis.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from operator import add
from typing import Any, NamedTuple

import numpy as np

from scratchnet import init
from scratchnet.arrays import (
    Array,
    Lengths,
    as_lengths,
    require_floating,
    require_rng,
    require_same_dtype,
    require_shape,
)
from scratchnet.cells import CELLS, Cell, variants
from scratchnet.cells.padding import reverse, without_padding
from scratchnet.engines import Choice, check_engine, choose
from scratchnet.layers.dropout import check_probability, keep_mask
from scratchnet.layers.layer import Example, Layer

# one array (num_layers * directions, N, H) for each of the cell's states: (h,) or (h, c)
State = tuple[Array, ...]


class RecurrentCache(NamedTuple):
    """One forward pass of a recurrent layer."""

    runs: list[Any]  # the cell's own Cache of each run, in the order of Recurrent.runs
    engines: list[Choice]  # what ran each layer, and will run it backwards
    masks: list[Array | None]  # dropout behind each layer but the last
    lengths: Array | None  # (N,)
    state_last: State  # where each run ended; of a reversed run this is its state at the first step


class RunBackward(NamedTuple):
    """The backward pass of one run, in the run's own direction of time."""

    dy: Array  # (T, N, H) what arrived at its outputs
    d_last: State  # (N, H) what arrived at each of its final states
    grads: Any  # the cell's Grads


class Recurrent(Layer):
    """A stack of ``num_layers`` cells, forwards or in both directions, over x (T, N, D), or (N, T,
    D) if ``batch_first``.

    Parameters of layer l are named as the cell names them, with ``_l0``, and ``_l0_reverse`` for
    the other direction. W_x starts Xavier-uniform and W_h orthogonal, gate by gate; vectors at
    zero, but a forget gate's bias at ``forget_bias`` and the gains of a normalisation
    (``gain_...``) at one. ``dropout`` acts between layers, while training, and draws from ``rng``,
    as the initial weights do. With ``return_sequences=False`` the output is the last layer's final
    h only, (N, directions * H), of a reversed run that at the first step, as a many-to-one model
    needs it. ``batch_first`` turns x and y around and never the state, as in PyTorch. ``engine``:
    what runs the cell, see ``scratchnet.engines``; ``threads``: the most that engine ``sequence``
    may use of the processor's, all that the process may if None. ``dtype``: float64 or float32.
    ``options``: the cell's own.

    Raises ValueError for a size below 1, a probability outside [0, 1), an unknown cell, engine or
    option.
    """

    def __init__(
        self,
        cell: str,
        input_size: int,
        hidden_size: int,
        *,
        rng: np.random.Generator,
        num_layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        batch_first: bool = False,
        return_sequences: bool = True,
        forget_bias: float = 1.0,
        engine: str = "auto",
        threads: int | None = None,
        dtype: Any = np.float64,
        options: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        for what, count in {
            "input_size": input_size,
            "hidden_size": hidden_size,
            "num_layers": num_layers,
        }.items():
            if count < 1:
                raise ValueError(f"{what} is {count}: expected at least 1")
        require_rng(rng)
        if cell not in CELLS:
            raise ValueError(f"there is no cell {cell!r}: expected one of {', '.join(CELLS)}")
        self.cell_name = cell
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.bidirectional, self.batch_first, self.return_sequences = (
            bidirectional,
            batch_first,
            return_sequences,
        )
        self.dropout, self.rng, self.engine = check_probability(dropout), rng, check_engine(engine)
        if threads is not None and threads < 1:
            raise ValueError(f"threads is {threads}: expected at least 1, or None for all")
        self.threads = threads
        self.options = dict(options or {})
        for name, value in self.options.items():
            if name not in self.cell.OPTIONS:
                raise ValueError(
                    f"the {cell} cell has no option {name!r}: it has"
                    f" {', '.join(self.cell.OPTIONS) or 'none'}"
                )
            if value not in self.cell.OPTIONS[name]:
                raise ValueError(
                    f"{name} is {value!r}: expected one of"
                    f" {', '.join(map(repr, self.cell.OPTIONS[name]))}"
                )
        self.directions = ("", "_reverse") if bidirectional else ("",)
        self.output_size = hidden_size * len(self.directions)
        for layer, direction in self.runs:
            inputs = input_size if layer == 0 else self.output_size
            for name, shape in self.cell.param_shapes(inputs, hidden_size).items():
                self.add_param(
                    f"{name}_l{layer}{direction}", self._initial(name, shape, forget_bias, dtype)
                )

    @classmethod
    def examples(cls, rng: np.random.Generator) -> Iterator[Example]:
        """Every cell with each of its options: stacked, both ways, a ragged batch, an initial
        state."""
        for label, cell, options in variants():
            name = label.split()[0]
            layer = Recurrent(
                name, 2, 3, num_layers=2, bidirectional=True, rng=rng, options=options
            )
            for b in layer.params.values():
                # relu on zero biases and a state at zero would sit on the kink
                b += 0.1 * rng.standard_normal(b.shape)
            state = tuple(rng.standard_normal((4, 3, 3)) for _ in cell.STATES)
            yield Example(
                label, layer, rng.standard_normal((4, 3, 2)), {"state": state, "lengths": [4, 1, 2]}
            )

    def _initial(self, name: str, shape: tuple[int, ...], forget_bias: float, dtype: Any) -> Array:
        gates = self.cell.GATES
        if len(shape) == 2:
            how = init.orthogonal if name == "W_h" else init.xavier_uniform
            return init.per_gate(how, self.rng, shape, gates, dtype=dtype)
        if name.startswith("gain_"):
            return np.ones(shape, dtype)
        b = np.zeros(shape, dtype)
        return init.set_forget_bias(b, gates, forget_bias) if name == "b" and "f" in gates else b

    @property
    def cell(self) -> Cell:
        """The cell's module; looked up, not held, so that a layer can be copied and pickled."""
        return CELLS[self.cell_name]

    @property
    def recurrent(self) -> bool:
        """True: forward also takes ``state`` and ``lengths``."""
        return True

    def lengths_after(self, lengths: Any) -> Any:
        """The same, and None where only the final state is returned: time is gone."""
        return lengths if self.return_sequences else None

    @property
    def runs(self) -> list[tuple[int, str]]:
        """(layer, "" or "_reverse") of each run, in PyTorch's order, which is also that of the
        state's first axis."""
        return [
            (layer, direction) for layer in range(self.num_layers) for direction in self.directions
        ]

    def run_params(self, layer: int, direction: str) -> dict[str, Array]:
        """The parameters of one run under the cell's own names, in the order in which the cell
        takes them."""
        names = self.cell.param_shapes(1, 1)
        return {name: self.params[f"{name}_l{layer}{direction}"] for name in names}

    def initial_state(self, x: Array) -> State:
        """Zeros for a batch x, one (num_layers * directions, N, H) array for each state of the
        cell."""
        N = x.shape[0] if self.batch_first else x.shape[1]
        return tuple(
            np.zeros_like(x, shape=(len(self.runs), N, self.hidden_size)) for _ in self.cell.STATES
        )

    def _check(
        self, x: Array, state: Sequence[Array] | None, lengths: Any
    ) -> tuple[State, Array | None]:
        self.check_input(x)
        if x.ndim != 3:
            order = "(N, T, D), batch first" if self.batch_first else "(T, N, D), time first"
            raise ValueError(f"x has {x.ndim} dimensions, shape {tuple(x.shape)}: expected {order}")
        if x.shape[2] != self.input_size:
            raise ValueError(
                f"the layer has input_size {self.input_size} but x has {x.shape[2]} features, shape"
                f" {x.shape}"
            )
        if 0 in x.shape:
            raise ValueError(f"x is {tuple(x.shape)}: it needs at least one step and one sequence")
        zeros = self.initial_state(x)
        N, T = (x.shape[0], x.shape[1]) if self.batch_first else (x.shape[1], x.shape[0])
        if state is None:
            return zeros, as_lengths(lengths, T, N, like=x)
        self._check_state(state, zeros, "state")
        return tuple(state), as_lengths(lengths, T, N, like=x)

    def _check_state(self, state: Sequence[Array], like: State, what: str) -> None:
        names = self.cell.STATES
        if not isinstance(state, (tuple, list)) or len(state) != len(names):
            given = (
                f"{len(state)} arrays" if isinstance(state, (tuple, list)) else type(state).__name__
            )
            raise ValueError(
                f"{what} is {given}: expected a tuple ({', '.join(names)}), {len(names)} in all"
            )
        for name, s, zeros in zip(names, state, like):
            because = (
                f"{self.num_layers} layers, {len(self.directions)} directions and this batch make"
            )
            require_same_dtype({"x": zeros, f"{what} {name}": s})
            require_shape(
                f"{what} {name}", s, zeros.shape, f"{because} {zeros.shape}, never batch first"
            )

    def forward(
        self,
        x: Array,
        training: bool = False,
        state: Sequence[Array] | None = None,
        lengths: Any = None,
    ) -> tuple[Array, RecurrentCache]:
        """x (T, N, D) to y (T, N, directions * H) and the cache, whose ``state_last`` can start the
        next call.

        ``state``: initial states, one (num_layers * directions, N, H) array for each state of the
        cell; zeros if None. ``lengths`` (N,): y is zero in the padding, and nothing in the padding
        changes y or a gradient.
        """
        state, lengths = self._check(x, state, lengths)
        checked = None if lengths is None else Lengths(lengths)
        if self.batch_first:
            x = x.swapaxes(0, 1).copy()  # in the order of time, for the products over all steps
        caches: list[Any] = []
        engines, masks, last = [], [], []
        for layer in range(self.num_layers):
            engines.append(choose(self.cell, x, self.hidden_size, self.engine, self.threads))
            calls = []
            for run, direction in enumerate(self.directions, start=len(caches)):
                x_run = reverse(x, lengths) if direction else x
                calls.append(
                    (x_run, *(s[run] for s in state), *self.run_params(layer, direction).values())
                )
            outputs = []
            for direction, (y, cache) in zip(
                self.directions, self._run_layer(engines[-1], calls, checked, training)
            ):
                outputs.append(reverse(y, lengths) if direction else y)
                caches.append(cache)
                last.append([getattr(cache, name)[-1] for name in self.cell.STATES])
            y = outputs[0] if len(outputs) == 1 else np.concatenate(outputs, axis=2)
            y = without_padding(y, lengths)
            mask = None
            if training and self.dropout and layer < self.num_layers - 1:
                mask = self._dropout_mask(y)
                y = y * mask
            masks.append(mask)
            x = y
        state_last = tuple(np.stack(arrays) for arrays in zip(*last))
        if not self.return_sequences:
            y = np.concatenate([h[0] for h in last[-len(self.directions) :]], axis=1)
        elif self.batch_first:
            y = y.swapaxes(0, 1)
        return y, RecurrentCache(caches, engines, masks, lengths, state_last)

    def _run_layer(
        self, engine: Choice, calls: list[Any], lengths: Lengths | None, training: bool
    ) -> list[Any]:
        """The runs of one layer, (y, cache) each; a layer with noise inside its loop gives it to
        them here."""
        return engine.forwards(calls, **self.options, lengths=lengths)

    def _dropout_mask(self, y: Array) -> Array:
        """What y (T, N, outputs) of a layer is multiplied with on its way to the next, while
        training."""
        return keep_mask(self.rng, self.dropout, y)

    def backward(self, dy: Array, cache: RecurrentCache) -> Array:
        """dy, shaped as y, to dx, shaped as x; adds the parameters' gradients into ``grads``."""
        return self.backward_state(dy, cache)[0]

    def backward_state(
        self, dy: Array, cache: RecurrentCache, dstate_last: Sequence[Array] | None = None
    ) -> tuple[Array, State]:
        """As ``backward``, with the gradient that arrives at ``cache.state_last``, and returning
        that of the initial state."""
        results = self.backward_runs(dy, cache, dstate_last)
        for (layer, direction), run in zip(self.runs, results):
            for name in self.cell.param_shapes(1, 1):
                self.grads[f"{name}_l{layer}{direction}"] += getattr(run.grads, f"d{name}")
        dstate = tuple(
            np.stack([getattr(run.grads, f"d{name}0") for run in results])
            for name in self.cell.STATES
        )
        dx = self._input_gradient(results[: len(self.directions)], cache.lengths)
        return dx.swapaxes(0, 1) if self.batch_first else dx, dstate

    def backward_runs(
        self, dy: Array, cache: RecurrentCache, dstate_last: Sequence[Array] | None = None
    ) -> list[RunBackward]:
        """The backward pass of every run, in the order of ``runs``, with what arrived at each; adds
        nothing to ``grads``."""
        dy_layer = self._sequence_gradient(dy, cache)  # first: it checks dy
        d_last = self._arriving(dy, cache, dstate_last)
        results: list[RunBackward] = []
        for layer in reversed(range(self.num_layers)):
            if cache.masks[layer] is not None:
                dy_layer = dy_layer * cache.masks[layer]
            calls = []
            for number, direction in enumerate(self.directions):
                run = layer * len(self.directions) + number
                dy_run = dy_layer[:, :, number * self.hidden_size : (number + 1) * self.hidden_size]
                dy_run = reverse(dy_run, cache.lengths) if direction else dy_run
                calls.append((dy_run, cache.runs[run], *(d[run] for d in d_last)))
            grads = cache.engines[layer].backwards(calls)
            both = [
                RunBackward(dy_run, tuple(d), found) for (dy_run, _, *d), found in zip(calls, grads)
            ]
            results = both + results
            dy_layer = self._input_gradient(both, cache.lengths)
        return results

    def _input_gradient(self, both: list[RunBackward], lengths: Array | None) -> Array:
        """dx of one layer: its runs read the same x, so their gradients add up, each turned back to
        forward time."""
        pairs = zip(self.directions, both)
        return reduce(
            add,
            (
                reverse(run.grads.dx, lengths) if direction else run.grads.dx
                for direction, run in pairs
            ),
        )

    def _sequence_gradient(self, dy: Array, cache: RecurrentCache) -> Array:
        """dy as (T, N, outputs), time first; zeros where the layer returns its final state only."""
        require_floating("dy", dy)
        require_same_dtype({"y": cache.runs[0].h, "dy": dy})
        T, N, _ = cache.runs[0].x.shape
        if not self.return_sequences:
            require_shape(
                "dy",
                dy,
                (N, self.output_size),
                f"the forward pass made one output of {N} sequences",
            )
            return np.zeros_like(dy, shape=(T, N, self.output_size))
        shape = (N, T, self.output_size) if self.batch_first else (T, N, self.output_size)
        require_shape(
            "dy",
            dy,
            shape,
            f"the forward pass made {T} steps of {N} sequences and {self.output_size} outputs",
        )
        return dy.swapaxes(0, 1) if self.batch_first else dy

    def _arriving(
        self, dy: Array, cache: RecurrentCache, dstate_last: Sequence[Array] | None
    ) -> list[Array]:
        """What arrives at the final states: the caller's gradient, and dy itself where the final h
        was the output."""
        if dstate_last is not None:
            self._check_state(dstate_last, cache.state_last, "dstate_last")
        given = (
            map(np.zeros_like, cache.state_last)
            if dstate_last is None
            else (d.copy() for d in dstate_last)
        )
        d_last = list(given)
        if not self.return_sequences:
            H, top = self.hidden_size, len(self.runs) - len(self.directions)
            # side by side in the output, the last layer's runs
            for number in range(len(self.directions)):
                d_last[0][top + number] += dy[:, number * H : (number + 1) * H]
        return d_last

    def state_at(self, cache: RecurrentCache, t: int) -> State:
        """The state after t steps of a forward pass, as the next call takes it; t = 0 is the
        initial state.

        Raises ValueError for a bidirectional layer: its reversed runs have not seen the steps
        before t, but those after.
        """
        if self.bidirectional:
            raise ValueError(
                "a bidirectional layer has no state at a step: its reversed runs come from the"
                " other end"
            )
        return tuple(
            np.stack([getattr(run, name)[t] for run in cache.runs]) for name in self.cell.STATES
        )


class RNN(Recurrent):
    """The vanilla recurrent layer, ``nonlinearity`` "tanh" or "relu"; see ``Recurrent`` for all
    other arguments."""

    def __init__(
        self, input_size: int, hidden_size: int, nonlinearity: str = "tanh", **kwargs: Any
    ) -> None:
        super().__init__(
            "rnn", input_size, hidden_size, options={"nonlinearity": nonlinearity}, **kwargs
        )


class LSTM(Recurrent):
    """The LSTM layer; its state is (h, c).  See ``Recurrent`` for all other arguments."""

    def __init__(self, input_size: int, hidden_size: int, **kwargs: Any) -> None:
        super().__init__("lstm", input_size, hidden_size, **kwargs)


class GRU(Recurrent):
    """The GRU layer, by default in PyTorch's form; ``reset_after=False`` takes the paper's.

    See ``Recurrent`` for all other arguments.
    """

    def __init__(
        self, input_size: int, hidden_size: int, reset_after: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(
            "gru" if reset_after else "gru_reset_before", input_size, hidden_size, **kwargs
        )
