"""One pass of a torch module, with what reached each recurrent part in it.

The module's own forward runs once, and what each ``torch.nn.RNN``, LSTM or GRU is given and returns
is noted; then PyTorch's gradients of it. A ``torch.nn.RNNCell``, LSTMCell or GRUCell that a loop
calls is one part whose steps are the calls. Each part is then run as the layer of this library with
the same weights, on the same input, state and upstream gradients. Its results must be PyTorch's.

The module is as it was afterwards: parameters, their ``grad``, training mode, hooks, and the state
of PyTorch's random numbers.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from scratchnet.arrays import Array
from scratchnet.convert.torch import (
    from_torch,
    gradients_for_torch,
    kind_of,
    to_numpy,
    torch_weights,
)
from scratchnet.errors import InvalidTypeError, InvalidValueError
from scratchnet.layers import Recurrent

Tensor: TypeAlias = Any  # a torch tensor
Module: TypeAlias = Any  # a torch module

# output -> loss, if it is known, and its gradient
Measure: TypeAlias = Callable[[Array], tuple[float | None, Array]]

# How much further than rounding two libraries may be apart: their sigmoids and tanhs are off by
# several digits each, and their sums are in another order.
ROUNDINGS = 1000


class Part(NamedTuple):
    """One call of a recurrent layer, or one loop of a cell, in this library's terms."""

    name: str  # in the module: "encoder.lstm"; of several calls "encoder.lstm[1]"
    layer: Recurrent
    x: Array  # what ``layer.forward`` takes
    state: tuple[Array, ...] | None
    lengths: Array | None
    dy: Array | None  # upstream gradient of its output; None without a backward pass
    dstate_last: tuple[Array, ...] | None


class ModulePass(NamedTuple):
    """What one pass of a module computed."""

    x: Array
    y: Array
    loss: float | None
    dy: Array | None  # upstream gradient of y
    parts: list[Part]


def record_pass(
    module: Module,
    x: Any,
    measure: Measure | None = None,
    loss: Callable[[Tensor], Tensor] | None = None,
) -> ModulePass:
    """Run ``module`` on x, and backward where there is a loss.

    Parameters
    ----------
    module : any ``torch.nn.Module`` with recurrent parts; it runs in evaluation mode
    x : what its forward takes; a tuple for several arguments
    measure : output -> (loss, its gradient), on NumPy arrays
    loss : in its place, output -> loss, on torch tensors

    Raises
    ------
    TypeError, ValueError
        Where there is no recurrent part, where none is called, where one has no counterpart here,
        and where its numbers here are not PyTorch's.
    """
    import torch

    named = [(name, part) for name, part in module.named_modules() if kind_of(part)]
    if not named:
        what = f"{type(module).__module__}.{type(module).__name__}"
        raise InvalidTypeError(
            f"{what} has no recurrent part: expected a torch.nn.RNN, LSTM or GRU, or one of their"
            " cells, in it"
        )
    arguments = x if isinstance(x, tuple) and not hasattr(x, "batch_sizes") else (x,)
    recorders: list[_Layer | _Cell] = [
        _Cell(name, part) if kind_of(part).endswith("Cell") else _Layer(name, part)
        for name, part in named
    ]
    with _as_it_was(module), ExitStack() as hooks, torch.enable_grad():
        for recorder in recorders:
            hooks.enter_context(recorder)
        output = module(*[for_torch(argument) for argument in arguments])
        y = _first_tensor(output)
        calls = [call for recorder in recorders for call in recorder.calls]
        if not calls:
            inside = ", ".join(f"{name} ({kind_of(part)})" for name, part in named)
            raise InvalidValueError(
                f"the forward of {type(module).__name__} calls none of its recurrent parts:"
                f" {inside}"
            )
        value, dy, grads = _backward(y, recorders, measure, loss)
    parts = []
    for recorder in recorders:
        own = recorder.parts(grads.made)
        _check(recorder, own, grads)
        parts += own
    first = arguments[0]
    packed = hasattr(first, "batch_sizes")
    kept = _unpacked(to_numpy(first.data), first) if packed else to_numpy(first)
    if not isinstance(kept, np.ndarray):
        raise InvalidTypeError(
            f"x is a {type(first).__module__}.{type(first).__name__}, not an array or a torch"
            " tensor"
        )
    return ModulePass(kept.copy(), to_numpy(y).copy(), value, dy, [part.own for part in parts])


@contextmanager
def _as_it_was(module: Module) -> Iterator[None]:
    """Evaluation mode inside; afterwards each part's own mode, and the random numbers."""
    import torch

    modes = [(part, part.training) for part in module.modules()]
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices):
        module.eval()
        try:
            yield
        finally:
            for part, mode in modes:
                part.training = mode


class _Call:
    """One call of a recurrent part: its tensors, and the gradients that reach them."""

    def __init__(self) -> None:
        self.x: Tensor = None
        self.packed: Any = None  # the PackedSequence that x came in
        self.states: tuple[Tensor, ...] | None = None
        self.y: Tensor = None
        self.last: tuple[Tensor, ...] = ()
        self.raw: tuple[Tensor, ...] = ()  # a cell's own outputs, which its next call reads
        self.grads: dict[str, Tensor] = {}
        self.copied = False  # a cell's state is a copy of its last output


class _Numbers(NamedTuple):
    """A part and what PyTorch computed in it."""

    own: Part
    y: Array
    last: tuple[Array, ...]
    dx: Array | None


class _Recorder:
    """Hooks on a recurrent part of the module while inside the context."""

    def __init__(self, name: str, module: Module) -> None:
        self.name, self.module, self.calls = name, module, list[_Call]()
        self.weights: dict[str, Tensor] = torch_weights(module)

    def __enter__(self) -> None:
        self._handles = [
            self.module.register_forward_pre_hook(self.before, with_kwargs=True),
            self.module.register_forward_hook(self.after, with_kwargs=True),
        ]

    def __exit__(self, *error: object) -> None:
        for handle in self._handles:
            handle.remove()

    def before(self, module: Module, given: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Called with the arguments of the part; returns those that it gets."""
        raise NotImplementedError

    def after(self, module: Module, given: Any, options: Any, output: Any) -> Any:
        """Called with what the part returns; returns what the module gets."""
        raise NotImplementedError

    def parts(self, backward: bool) -> list["_Numbers"]:
        """What was recorded, with the upstream gradients of a ``backward`` pass."""
        raise NotImplementedError

    def _named(self, count: int, number: int) -> str:
        return self.name if count == 1 else f"{self.name}[{number}]"


class _Layer(_Recorder):
    """Of a ``torch.nn.RNN``, LSTM or GRU: each call is a part."""

    def before(self, module: Module, given: tuple[Any, ...], options: dict[str, Any]) -> Any:
        call, (x, states) = _Call(), _arguments(given, options)
        if hasattr(x, "batch_sizes"):
            call.x, call.packed = _tracked(x.data, call, "x"), x
            x = type(x)(call.x, x.batch_sizes, x.sorted_indices, x.unsorted_indices)
        else:
            x = call.x = _tracked(x, call, "x")
        if states is not None:
            call.states = tuple(states) if isinstance(states, (tuple, list)) else (states,)
        self.calls.append(call)
        return (x, states), {}

    def after(self, module: Module, given: Any, options: Any, output: Any) -> Any:
        call, (y, last) = self.calls[-1], output
        call.y = y.data if call.packed is not None else y
        call.last = last if isinstance(last, tuple) else (last,)
        _watch(call.y, call, "y")
        for number, state in enumerate(call.last):
            _watch(state, call, f"last {number}")

    def parts(self, backward: bool) -> list[_Numbers]:
        """Every call as a part."""
        return [
            self._part(call, self._named(len(self.calls), number), backward)
            for number, call in enumerate(self.calls)
        ]

    def _part(self, call: _Call, name: str, backward: bool) -> _Numbers:
        layer = from_torch(self.module)
        alone = call.packed is None and call.x.ndim == 2  # one sequence without a batch
        lengths = None if call.packed is None else _lengths(call.packed)

        def sequence(tensor: Tensor) -> Array:
            """x, y or a gradient of it as the layer has it."""
            if call.packed is not None:
                whole = _unpacked(to_numpy(tensor), call.packed)
                return whole.swapaxes(0, 1).copy() if layer.batch_first else whole
            values: Array = to_numpy(tensor).copy()
            return np.expand_dims(values, 0 if layer.batch_first else 1) if alone else values

        def states(tensors: Sequence[Tensor]) -> tuple[Array, ...]:
            values = (to_numpy(tensor).copy() for tensor in tensors)
            return tuple(v[:, None] if alone else v for v in values)

        zero = [_zeros(call.y), *map(_zeros, call.last)]
        names = ["y", *(f"last {number}" for number in range(len(call.last)))]
        d = [call.grads.get(name, z) for name, z in zip(names, zero)]
        own = Part(
            name,
            layer,
            sequence(call.x),
            None if call.states is None else states(call.states),
            lengths,
            sequence(d[0]) if backward else None,
            states(d[1:]) if backward else None,
        )
        dx = call.grads.get("x")
        found = None if dx is None else sequence(dx)
        return _Numbers(own, sequence(call.y), states(call.last), found)


class _Cell(_Recorder):
    """Of a cell: calls that read the states which the call before returned are one sequence."""

    def __init__(self, name: str, module: Module) -> None:
        super().__init__(name, module)
        self.chains: list[list[_Call]] = []

    def before(self, module: Module, given: tuple[Any, ...], options: dict[str, Any]) -> Any:
        call, (x, states) = _Call(), _arguments(given, options)
        call.x = _tracked(x, call, "x")
        self.calls.append(call)
        if states is None:
            self.chains.append([call])
            return (call.x, None), {}
        several = isinstance(states, (tuple, list))
        call.states = tuple(states) if several else (states,)
        for chain in reversed(self.chains):
            last = chain[-1]
            if all(one is other for one, other in zip(call.states, last.last)):
                # the cell's own tensor: what reaches the one that the loop has is then only the
                # gradient from outside of the loop
                chain.append(call)
                own = last.raw
                return (call.x, own if several else own[0]), {}
            if all(_follows(one, other) for one, other in zip(call.states, last.last)):
                chain.append(call)
                call.copied = True
                break
        else:
            self.chains.append([call])
        tracked = tuple(_tracked(s, call, f"state {k}") for k, s in enumerate(call.states))
        return (call.x, tracked if several else tracked[0]), {}

    def after(self, module: Module, given: Any, options: Any, output: Any) -> Any:
        call = self.calls[-1]
        call.raw = output if isinstance(output, tuple) else (output,)
        call.last = tuple(state.view_as(state) for state in call.raw)
        for number, state in enumerate(call.last):
            _watch(state, call, f"last {number}")
        return call.last if isinstance(output, tuple) else call.last[0]

    def parts(self, backward: bool) -> list[_Numbers]:
        """Every sequence of calls as a part."""
        return [
            self._part(chain, self._named(len(self.chains), number), backward)
            for number, chain in enumerate(self.chains)
        ]

    def _part(self, chain: list[_Call], name: str, backward: bool) -> _Numbers:
        layer = from_torch(self.module)
        first, end = chain[0], chain[-1]

        def steps(tensors: Sequence[Tensor]) -> Array:
            values = np.stack([to_numpy(tensor) for tensor in tensors])
            return values if values.ndim == 3 else values[:, None]

        def outside(number: int) -> Array:
            """The gradients of state ``number`` that do not come from the next call."""
            found: list[Any] = [
                call.grads.get(f"last {number}", _zeros(call.last[number])) for call in chain
            ]
            for t, after in enumerate(chain[1:]):
                if after.copied:
                    inside = after.grads.get(f"state {number}", 0)
                    rest = found[t] - inside
                    # where both are the same, only the rounding of the difference is left
                    eps = 8 * np.finfo(layer.params["b_l0"].dtype).eps
                    found[t] = rest * (abs(rest) > eps * abs(found[t]))
            return steps(found)

        state = None if first.states is None else tuple(steps([s]) for s in first.states)
        dy = dstate = None
        if backward:
            dy, *others = (outside(number) for number in range(len(end.last)))
            for values in others:
                read = np.flatnonzero(values[:-1].any(axis=(1, 2)))
                if len(read):
                    raise InvalidValueError(
                        f"the loss reads the cell state of {name} after step {read[0]}: a layer of"
                        " this library gives the last one only"
                    )
            dstate = (np.zeros_like(dy[-1:]), *(values[-1:] for values in others))
        x, y = steps([call.x for call in chain]), steps([call.last[0] for call in chain])
        last = tuple(steps([s]) for s in end.last)
        dx = None
        if backward:
            dx = steps([call.grads.get("x", _zeros(call.x)) for call in chain])
        return _Numbers(Part(name, layer, x, state, None, dy, dstate), y, last, dx)


def _arguments(given: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, Any]:
    """Input and initial state of a recurrent part, however they were handed over."""
    both = dict(zip(("input", "hx"), given)) | options
    return both["input"], both.get("hx")


def _tracked(tensor: Tensor, call: _Call, name: str) -> Tensor:
    """The same numbers in another tensor, whose gradient is what this one call sends back."""
    whole = tensor if tensor.requires_grad else tensor.detach().requires_grad_()
    alias = whole.view_as(whole)
    _watch(alias, call, name)
    return alias


def _watch(tensor: Tensor, call: _Call, name: str) -> None:
    """Note the tensor's gradient when it is computed."""
    if tensor.requires_grad:
        tensor.register_hook(lambda grad: call.grads.__setitem__(name, grad.detach().clone()))


def _follows(one: Tensor, other: Tensor) -> bool:
    """True where one is a copy of the other that its gradient passes."""
    import torch

    alike = one.shape == other.shape and one.requires_grad == other.requires_grad
    return bool(alike and torch.equal(one, other))


def _zeros(tensor: Tensor) -> Tensor:
    return tensor.detach() * 0


class _Grads(NamedTuple):
    """PyTorch's gradients of the weights: id of the weight -> tensor."""

    made: bool
    of_weights: dict[int, Tensor]


def _backward(
    y: Tensor,
    recorders: Sequence[_Recorder],
    measure: Measure | None,
    loss: Callable[[Tensor], Tensor] | None,
) -> tuple[float | None, Array | None, _Grads]:
    """The loss, the gradient of y, and those of the weights; the hooks note the others."""
    import torch

    if measure is None and loss is None:
        return None, None, _Grads(False, {})
    if not y.requires_grad:
        raise InvalidValueError(
            "the module's output has no gradient: expected floating numbers that depend on its"
            " recurrent parts"
        )
    value: float | None = None
    if loss is not None:
        whole = loss(y)
        if not isinstance(whole, torch.Tensor) or whole.numel() != 1:
            raise InvalidTypeError(
                f"the loss returned a {type(whole).__name__}: expected one number, as a tensor of"
                " torch; of this library's losses give the name"
            )
        value = float(whole.detach())
        (upstream,) = torch.autograd.grad(whole, [y], retain_graph=True)
    elif measure is not None:
        value, d = measure(to_numpy(y))
        upstream = torch.as_tensor(np.ascontiguousarray(d), dtype=y.dtype, device=y.device)
    inputs = [call.x for recorder in recorders for call in recorder.calls]
    weights = [w for recorder in recorders for w in recorder.weights.values() if w.requires_grad]
    # grad, and not backward: the weights' own .grad stays as it is
    found = torch.autograd.grad([y], inputs + weights, [upstream], allow_unused=True)
    made = zip(weights, found[len(inputs) :])
    return (
        value,
        to_numpy(upstream).copy(),
        _Grads(True, {id(weight): grad for weight, grad in made if grad is not None}),
    )


# ---- checked against PyTorch ---------------------------------------------------------------------


class _Replay(NamedTuple):
    """This library's numbers of one part."""

    results: dict[str, Array]  # y, final states, dx
    of_weights: dict[str, Array]  # by PyTorch's names, in its layout


def _replay(part: Part, rng: np.random.Generator | None = None) -> _Replay:
    """Run the layer forward and backward; with ``rng`` on numbers that are off by a last digit."""
    layer = deepcopy(part.layer)

    def moved(a: Any) -> Any:
        if rng is None or a is None:
            return a
        digit = np.finfo(a.dtype).eps * rng.choice([-1, 1], a.shape)
        return (a + a * digit).astype(a.dtype)

    for p in layer.params.values():
        p[...] = moved(p)
    state = None if part.state is None else tuple(moved(s) for s in part.state)
    y, cache = layer.forward(moved(part.x), state=state, lengths=part.lengths)
    results = {"y": y}
    results |= dict(zip(("h_n", "c_n"), cache.state_last))
    if part.dy is None or part.dstate_last is None:
        return _Replay(results, {})
    upstream = [moved(d) for d in part.dstate_last]
    results["dx"], _ = layer.backward_state(moved(part.dy), cache, upstream)
    return _Replay(results, gradients_for_torch(layer))


def _check(recorder: _Recorder, parts: Sequence[_Numbers], grads: _Grads) -> None:
    """ValueError unless the results and gradients of the layers here are PyTorch's."""
    rng, totals = np.random.default_rng(0), list[dict[str, Array]]()
    for part in parts:
        runs = [_replay(part.own), *(_replay(part.own, rng) for _ in range(2))]
        theirs = {"y": part.y, **dict(zip(("h_n", "c_n"), part.last))}
        if part.dx is not None:
            theirs["dx"] = part.dx
        for name, value in theirs.items():
            _require_same(name, value, [run.results[name] for run in runs], part.own.name)
        for k, run in enumerate(runs):
            totals += [{}] * (k == len(totals))
            totals[k] = {n: d + totals[k].get(n, 0) for n, d in run.of_weights.items()}
    for name, weight in recorder.weights.items():
        theirs_of = grads.of_weights.get(id(weight))
        if theirs_of is not None:
            ours = [total[name] for total in totals]
            _require_same(f"the gradient of {name}", to_numpy(theirs_of), ours, recorder.name)


def _require_same(what: str, theirs: Array, ours: Sequence[Array], part: str) -> None:
    """ValueError unless theirs equals the first of ours up to rounding, which the others show."""
    own, *others = ours
    with np.errstate(all="ignore"):
        rounding = max([float(np.abs(other - own).max(initial=0)) for other in others])
        size = float(np.abs(own).max(initial=0))
        off = float(np.abs(theirs - own).max(initial=0))
    if np.isnan(off) and np.array_equal(np.isfinite(theirs), np.isfinite(own)):
        return  # a pass that has diverged here and there
    allowed = ROUNDINGS * max(rounding, float(np.finfo(own.dtype).eps) * size)
    if not off <= allowed:
        raise InvalidValueError(
            f"{what} of {part or 'the module'} is off by {off:.1e} from PyTorch's, of size"
            f" {size:.1e}: the module computes something else than its weights say"
        )


# ---- arguments and results -----------------------------------------------------------------------


def for_torch(argument: Any) -> Any:
    """A NumPy array as a tensor; anything else as it is."""
    import torch

    return torch.from_numpy(argument) if isinstance(argument, np.ndarray) else argument


def _first_tensor(output: Any) -> Tensor:
    """The output of a module: a tensor, or the first one of a tuple or dict; padded if packed."""
    import torch

    if hasattr(output, "batch_sizes"):
        return torch.nn.utils.rnn.pad_packed_sequence(output)[0]
    if isinstance(output, torch.Tensor):
        return output
    inside = [*output.values()] if isinstance(output, Mapping) else output
    if isinstance(inside, (tuple, list)) and inside:
        return _first_tensor(inside[0])
    raise InvalidTypeError(
        f"the module returned a {type(output).__name__}: expected a tensor, or a tuple or dict that"
        " begins with one"
    )


def _lengths(packed: Any) -> Array:
    """(N,), lengths of packed sequences in the caller's order."""
    sizes: Array = to_numpy(packed.batch_sizes)
    own = (sizes[:, None] > np.arange(sizes[0])).sum(axis=0)
    lengths = np.empty_like(own)
    lengths[_order(packed)] = own
    return lengths


def _unpacked(data: Array, packed: Any) -> Array:
    """Packed rows as (T, N, K) in the caller's order, zero in the padding."""
    sizes, order = to_numpy(packed.batch_sizes), _order(packed)
    out = np.zeros((len(sizes), sizes[0], *data.shape[1:]), data.dtype)
    start = 0
    for t, count in enumerate(sizes):
        out[t, order[:count]] = data[start : start + count]
        start += count
    return out


def _order(packed: Any) -> Array:
    """The caller's place of each sequence in the packed order, longest first."""
    indices = packed.sorted_indices
    return np.arange(int(packed.batch_sizes[0])) if indices is None else to_numpy(indices)
