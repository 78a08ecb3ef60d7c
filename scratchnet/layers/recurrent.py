"""Recurrent layers: a cell stacked in depth, in one direction of time or both, with its parameters.

The mathematics is in the cell's file; here is only the wiring. A *layer direction* is one
application of a cell: layer l, forwards or backwards in time. The directions of a layer read the
same input, and their outputs are concatenated in the last axis.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from scratchnet import init
from scratchnet.arrays import (
    Array,
    Checked,
    Lengths,
    as_lengths,
    require_count,
    require_same_dtype,
    require_shape,
)
from scratchnet.cells import CELLS, Cell, variants
from scratchnet.cells.engine import Engine
from scratchnet.cells.sequences import reverse, zero_padding
from scratchnet.engines import Patience, check_engine, choose
from scratchnet.errors import InvalidValueError
from scratchnet.layers.dropout import check_probability, keep_mask
from scratchnet.layers.layer import Example, Layer

# One array (num_layers * directions, N, H) for each of the cell's states: (h,) or (h, c).
State = tuple[Array, ...]


class RecurrentCache(NamedTuple):
    """One forward pass of a recurrent layer."""

    cell_caches: list[Any]  # the cell's Cache of each layer direction, in the order of them
    engines: list[Engine]  # what ran each layer, and will run it backwards
    masks: list[Array | None]  # dropout after each layer
    lengths: Array | None  # (N,)
    state_last: State  # final states; for the reverse direction, the state at t = 0


class DirectionBackward(NamedTuple):
    """The backward pass of one layer direction, in its own direction of time."""

    dy: Array  # (T, N, H), upstream gradient of its outputs
    d_last: State  # (N, H) each, upstream gradients of its final states
    grads: Any  # the cell's Grads


class Recurrent(Layer):
    """A stack of ``num_layers`` cells over x (T, N, D), or (N, T, D) if ``batch_first``.

    Parameters of layer l have the cell's names with ``_l0``, and ``_l0_reverse`` for the reverse
    direction. W_x starts Xavier-uniform and W_h orthogonal, gate by gate; vectors start at zero,
    except a forget gate's bias and the gains of a normalisation (``gain_...``), which start at one.

    Parameters
    ----------
    cell : a name in ``scratchnet.cells.CELLS``
    input_size, hidden_size : D and H
    rng : draws the initial weights and the dropout masks
    num_layers : cells on top of each other
    bidirectional : also run each layer backwards in time; outputs are then (T, N, 2H)
    dropout : probability of dropout between layers, while training
    batch_first : x and y are (N, T, ...); states never are, as in PyTorch
    return_sequences : False returns the last layer's final h only, (N, directions * H); for the
        reverse direction that is the state at t = 0
    forget_bias : initial bias of a forget gate
    engine : what runs the cell, see ``scratchnet.engines``
    threads : maximum number of CPU threads of engine "sequence" (None: all available)
    dtype : float64 or float32
    options : the cell's options, such as {"nonlinearity": "relu"}

    Raises
    ------
    ValueError
        For a size below 1, a probability outside [0, 1), an unknown cell, engine or option.
    """

    recurrent = True  # forward also takes ``state`` and ``lengths``

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
        for name, size in (("input_size", input_size), ("hidden_size", hidden_size)):
            require_count(name, size)
        require_count("num_layers", num_layers, most=1000)
        if threads is not None and threads < 1:
            raise InvalidValueError(f"threads is {threads}: expected at least 1, or None for all")
        if cell not in CELLS:
            raise InvalidValueError(
                f"there is no cell {cell!r}: expected one of {', '.join(CELLS)}"
            )
        self.cell_name = cell
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.bidirectional, self.batch_first = bidirectional, batch_first
        self.return_sequences = return_sequences
        self.dropout, self.rng, self.engine = check_probability(dropout), rng, check_engine(engine)
        self.threads = threads
        self.options = _check_options(cell, self.cell.OPTIONS, options or {})
        self.directions = ("", "_reverse") if bidirectional else ("",)
        self.output_size = hidden_size * len(self.directions)
        for name, shape in self.shapes.items():
            own = name.partition("_l")[0]
            self.add_param(name, self._initial(own, shape, forget_bias, dtype))

    @classmethod
    def examples(cls, rng: np.random.Generator) -> Iterator[Example]:
        """Every cell with each of its options: stacked, both ways, padded, an initial state."""
        for label, cell, options in variants():
            name = label.split()[0]
            layer = Recurrent(
                name, 2, 3, num_layers=2, bidirectional=True, rng=rng, options=options
            )
            for b in layer.params.values():  # relu on zero biases and states would be at the kink
                b += 0.1 * rng.standard_normal(b.shape)
            state = tuple(rng.standard_normal((4, 3, 3)) for _ in cell.STATES)
            x = rng.standard_normal((4, 3, 2))
            yield Example(label, layer, x, {"state": state, "lengths": [4, 1, 2]})

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
        """The cell's module; looked up by name, so that a layer can be copied and pickled."""
        return CELLS[self.cell_name]

    def lengths_after(self, lengths: Any) -> Any:
        """The same, and None where only the final state is returned: there is no time axis."""
        return lengths if self.return_sequences else None

    @property
    def layer_directions(self) -> list[tuple[int, str]]:
        """(layer, "" or "_reverse"), in PyTorch's order, also that of the state's first axis."""
        return [(k, direction) for k in range(self.num_layers) for direction in self.directions]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each parameter by its name."""
        found = {}
        for layer, direction in self.layer_directions:
            inputs = self.input_size if layer == 0 else self.output_size
            for name, shape in self.cell.param_shapes(inputs, self.hidden_size).items():
                found[f"{name}_l{layer}{direction}"] = shape
        return found

    def direction_params(self, layer: int, direction: str) -> dict[str, Array]:
        """The parameters of one layer direction by the cell's names, in the cell's order."""
        names = self.cell.param_shapes(1, 1)
        return {name: self._params[f"{name}_l{layer}{direction}"] for name in names}

    def initial_state(self, x: Array) -> State:
        """Zeros for a batch x, one (num_layers * directions, N, H) array for each state."""
        count = self.num_layers * len(self.directions)
        shape = (count, x.shape[not self.batch_first], self.hidden_size)
        states = len(CELLS[self.cell_name].STATES)
        return tuple(np.zeros((states, *shape), x.dtype, like=x))

    def _check(
        self, x: Array, state: Sequence[Array] | None, lengths: Lengths
    ) -> tuple[State, Array | None]:
        """Check all that a forward pass reads; return initial states and lengths as arrays."""
        require_same_dtype({**self._params, "x": x})
        if x.ndim != 3:
            order = "(N, T, D), batch first" if self.batch_first else "(T, N, D), time first"
            raise InvalidValueError(
                f"x has {x.ndim} dimensions, shape {tuple(x.shape)}: expected {order}"
            )
        if x.shape[2] != self.input_size:
            raise InvalidValueError(
                f"the layer has input_size {self.input_size} but x has {x.shape[2]} features, shape"
                f" {x.shape}"
            )
        if 0 in x.shape:
            raise InvalidValueError(
                f"x is {tuple(x.shape)}: it needs at least one step and one sequence"
            )
        for name, grad in self._grads.items():  # a gradient has the shape that was registered
            if self._params[name].shape != grad.shape:
                require_shape(name, self._params[name], grad.shape, "the layer was built with that")
        if lengths is not None:
            N, T = x.shape[not self.batch_first], x.shape[self.batch_first]
            lengths = as_lengths(lengths, T, N, like=x)
        zeros = self.initial_state(x)
        if state is None:
            return zeros, lengths
        self._check_state(state, zeros, "state")
        return tuple(state), lengths

    def _check_state(self, state: Sequence[Array], like: State, what: str) -> None:
        names = self.cell.STATES
        if not isinstance(state, (tuple, list)) or len(state) != len(names):
            several = isinstance(state, (tuple, list))
            given = f"{len(state)} arrays" if several else type(state).__name__
            expected = f"a tuple ({', '.join(names)}), {len(names)} in all"
            raise InvalidValueError(f"{what} is {given}: expected {expected}")
        made = f"{self.num_layers} layers, {len(self.directions)} directions and this batch make"
        for name, s, zeros in zip(names, state, like):
            require_same_dtype({"x": zeros, f"{what} {name}": s})
            because = f"{made} {zeros.shape}, never batch first"
            require_shape(f"{what} {name}", s, zeros.shape, because)

    def forward(
        self,
        x: Array,
        training: bool = False,
        state: Sequence[Array] | None = None,
        lengths: Lengths = None,
    ) -> tuple[Array, RecurrentCache]:
        """Run the layer; return y (T, N, directions * H) and the cache.

        Parameters
        ----------
        x : (T, N, D), or (N, T, D) if ``batch_first``
        training : switches dropout on
        state : initial states, (num_layers * directions, N, H) each; zeros if None. The cache's
            ``state_last`` can start the next call
        lengths : (N,), lengths of the sequences in a padded batch: y is zero in the padding, and
            nothing in the padding changes y or a gradient

        Raises
        ------
        ValueError, TypeError
            Where x, state or lengths do not fit the layer, with both sides.
        """
        state, lengths = self._check(x, state, lengths)
        if self.batch_first:
            x = x.swapaxes(0, 1).copy()  # in the order of time, for the products over all steps
        cell, caches = CELLS[self.cell_name], list[Any]()
        engines, masks = [], list[Array | None]()
        names, count = cell.param_shapes(1, 1), self.num_layers * len(self.directions)
        shape = (count, x.shape[1], self.hidden_size)
        state_last = tuple([np.empty(shape, x.dtype, like=x) for _ in state])
        for layer in range(self.num_layers):
            engine = self.engine
            if engine == "auto":
                shape_of = self.hidden_size, len(cell.GATES)
                engine = Patience.engine(self.cell_name, engine, x, *shape_of)
            engines.append(choose(self.cell_name, x, self.hidden_size, engine, self.threads))
            calls = []
            for number, direction in enumerate(self.directions, start=len(caches)):
                x_run = reverse(x, lengths) if direction else x
                params = [self._params[f"{name}_l{layer}{direction}"] for name in names]
                calls.append([x_run, *[s[number] for s in state], *params])
            outputs = []
            found = self._run_layer(engines[-1], calls, Checked(lengths), training)
            for direction, (y, cache) in zip(self.directions, found):
                outputs.append(reverse(y, lengths) if direction else y)
                for last, name in zip(state_last, cell.STATES):
                    last[len(caches)] = getattr(cache, name)[-1]
                caches.append(cache)
            y = outputs[0] if len(outputs) == 1 else np.concatenate(outputs, axis=2)
            if lengths is not None:
                y = zero_padding(y, lengths)
            mask = None
            if training and self.dropout and layer < self.num_layers - 1:
                mask = self._dropout_mask(y)
                y = y * mask
            masks.append(mask)
            x = y
        if not self.return_sequences:
            y = np.concatenate([*state_last[0][-len(self.directions) :]], axis=1)
        elif self.batch_first:
            y = y.swapaxes(0, 1)
        return y, RecurrentCache(caches, engines, masks, lengths, state_last)

    def _run_layer(
        self, engine: Engine, calls: list[Any], lengths: Checked, training: bool
    ) -> list[Any]:
        """(y, cache) of each direction of one layer; layers with noise in the loop override it."""
        return engine.forward(calls, **self.options, lengths=lengths)

    def _dropout_mask(self, y: Array) -> Array:
        """What y (T, N, outputs) of a layer is multiplied with before the next, while training."""
        return keep_mask(self.rng, self.dropout, y)

    def backward(self, dy: Array, cache: RecurrentCache) -> Array:
        """dy, shaped as y, to dx, shaped as x; adds the parameters' gradients into ``grads``."""
        return self.backward_state(dy, cache)[0]

    def backward_state(
        self, dy: Array, cache: RecurrentCache, dstate_last: Sequence[Array] | None = None
    ) -> tuple[Array, State]:
        """``backward`` that also takes and returns gradients of the final and initial states."""
        results = self.backward_directions(dy, cache, dstate_last)
        for (layer, direction), result in zip(self.layer_directions, results):
            for name in self.cell.param_shapes(1, 1):
                self.grads[f"{name}_l{layer}{direction}"] += getattr(result.grads, f"d{name}")
        initial = [f"d{name}0" for name in self.cell.STATES]
        dstate = tuple(np.stack([getattr(r.grads, name) for r in results]) for name in initial)
        dx = self._input_gradient(results[: len(self.directions)], cache.lengths)
        return dx.swapaxes(0, 1) if self.batch_first else dx, dstate

    def _check_cache(self, cache: RecurrentCache) -> None:
        """ValueError unless these layer directions, with weights of these shapes, made it."""

        def fits(run: tuple[int, str], one: Any) -> bool:
            for name, p in self.direction_params(*run).items():
                if getattr(getattr(one, name, p), "shape", None) != p.shape:
                    return False
            return True

        runs = self.layer_directions
        whole = len(cache.engines) == self.num_layers <= len(cache.masks)
        if (
            not whole
            or len(cache.cell_caches) != len(runs)
            or not all(map(fits, runs, cache.cell_caches))
        ):
            raise InvalidValueError(
                f"the cache is not of this layer, {self.cell_name.upper()}({self.input_size},"
                f" {self.hidden_size}) x {self.num_layers} in {len(self.directions)} directions:"
                " expected what its forward returned"
            )

    def backward_directions(
        self, dy: Array, cache: RecurrentCache, dstate_last: Sequence[Array] | None = None
    ) -> list[DirectionBackward]:
        """The backward pass of each layer direction; adds nothing to ``grads``."""
        self._check_cache(cache)
        dy_layer = self._sequence_gradient(dy, cache)  # first: it checks dy
        d_last = self._upstream_of_state(dy, cache, dstate_last)
        H, results = self.hidden_size, list[DirectionBackward]()
        for layer in reversed(range(self.num_layers)):
            if cache.masks[layer] is not None:
                dy_layer = dy_layer * cache.masks[layer]
            calls = []
            for k, direction in enumerate(self.directions):
                number = layer * len(self.directions) + k
                dy_run = dy_layer[:, :, k * H : (k + 1) * H]
                dy_run = reverse(dy_run, cache.lengths) if direction else dy_run
                calls.append([dy_run, cache.cell_caches[number], *[d[number] for d in d_last]])
            grads = cache.engines[layer].backward(calls)
            both = [
                DirectionBackward(dy_run, tuple(d), found)
                for (dy_run, _, *d), found in zip(calls, grads)
            ]
            results = both + results
            dy_layer = self._input_gradient(both, cache.lengths)
        return results

    def _input_gradient(self, both: list[DirectionBackward], lengths: Array | None) -> Array:
        """dx of one layer: its directions read the same x, so their gradients add up."""
        dx = both[0].grads.dx
        return dx if len(both) == 1 else dx + reverse(both[1].grads.dx, lengths)

    def _sequence_gradient(self, dy: Array, cache: RecurrentCache) -> Array:
        """dy as (T, N, outputs), time first; zeros where the layer returns its final state only."""
        require_same_dtype({"y": cache.cell_caches[0].h, "dy": dy})
        T, N, _ = cache.cell_caches[0].x.shape
        if not self.return_sequences:
            because = f"the forward pass made one output of {N} sequences"
            require_shape("dy", dy, (N, self.output_size), because)
            return np.zeros_like(dy, shape=(T, N, self.output_size))
        shape = (N, T, self.output_size) if self.batch_first else (T, N, self.output_size)
        made = f"the forward pass made {T} steps of {N} sequences and {self.output_size} outputs"
        require_shape("dy", dy, shape, made)
        return dy.swapaxes(0, 1) if self.batch_first else dy

    def _upstream_of_state(
        self, dy: Array, cache: RecurrentCache, dstate_last: Sequence[Array] | None
    ) -> list[Array]:
        """Gradients of the final states: the caller's, and dy where the final h was the output."""
        if dstate_last is None:
            d_last = [np.zeros_like(s) for s in cache.state_last]
        else:
            self._check_state(dstate_last, cache.state_last, "dstate_last")
            d_last = [d.copy() for d in dstate_last]
        if not self.return_sequences:
            H, count = self.hidden_size, len(self.directions)
            for k in range(count):  # concatenated in the output: the last layer's directions
                d_last[0][k - count] += dy[:, k * H : (k + 1) * H]
        return d_last

    def state_at(self, cache: RecurrentCache, t: int) -> State:
        """The state after t steps, as the next call takes it; t = 0 is the initial state.

        Raises ValueError for a bidirectional layer: at step t its reverse direction has seen the
        steps from t on, not those before.
        """
        if self.bidirectional:
            raise InvalidValueError(
                "a bidirectional layer has no state at a step: its reverse direction starts at the"
                " last one"
            )
        caches, names = cache.cell_caches, self.cell.STATES
        return tuple(np.stack([getattr(c, name)[t] for c in caches]) for name in names)


def _check_options(
    cell: str, known: Mapping[str, tuple[str, ...]], options: Mapping[str, str]
) -> dict[str, str]:
    for name, value in options.items():
        if name not in known:
            raise InvalidValueError(
                f"the {cell} cell has no option {name!r}: it has {', '.join(known) or 'none'}"
            )
        if value not in known[name]:
            expected = ", ".join(map(repr, known[name]))
            raise InvalidValueError(f"{name} is {value!r}: expected one of {expected}")
    return dict(options)


class RNN(Recurrent):
    """The vanilla recurrent layer, tanh or relu. Other arguments: ``Recurrent``."""

    def __init__(
        self, input_size: int, hidden_size: int, nonlinearity: str = "tanh", **kwargs: Any
    ) -> None:
        options = {"nonlinearity": nonlinearity}
        super().__init__("rnn", input_size, hidden_size, options=options, **kwargs)


class LSTM(Recurrent):
    """The LSTM layer; its state is (h, c). Other arguments: ``Recurrent``."""

    def __init__(self, input_size: int, hidden_size: int, **kwargs: Any) -> None:
        super().__init__("lstm", input_size, hidden_size, **kwargs)


class GRU(Recurrent):
    """The GRU layer in PyTorch's form; ``reset_after=False`` takes the paper's.

    Other arguments: ``Recurrent``.
    """

    def __init__(
        self, input_size: int, hidden_size: int, reset_after: bool = True, **kwargs: Any
    ) -> None:
        cell = "gru" if reset_after else "gru_reset_before"
        super().__init__(cell, input_size, hidden_size, **kwargs)
