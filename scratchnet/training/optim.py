"""Optimisers: from gradients to the next parameters.

    optimizer = Adam(lr=1e-3)
    optimizer.step(params, grads)

``params`` and ``grads`` are dicts with the same keys; the arrays in ``params`` change in place.
In the equations p is a parameter, g its gradient, lr the learning rate; every rule is element by
element, any shape.

Weight decay pulls every parameter towards 0, in one of two ways. Coupled (L2): g + wd p takes the
gradient's place and goes through the rule, momentum and all. Decoupled: p shrinks by the factor
1 - lr wd apart from the rule. For plain SGD the two are the same; for Adam they are not, because
Adam divides the coupled term by the size of the gradient and so decays most what moves least.

Numbers equal those of ``torch.optim``.

A rule applied to arrays passes over memory once for each of its operations. Adam's engine "step"
does all of them in one pass, in a Numba loop or, for CuPy arrays, in one CUDA launch for all
parameters together; ``kernels/README.md`` has the times. Both call ``scratchnet.adam``, and their
numbers are the same to the last bit. The engine is not part of the state: a ``state_dict`` is the
same whichever it was.

References
----------
Loshchilov and Hutter 2019, Decoupled Weight Decay Regularization.
"""

import copy
import math
from collections.abc import Collection, Mapping
from typing import Any, ClassVar

import numpy as np

from scratchnet.adam import adam_rule, decay_rates, decayed, rates
from scratchnet.arguments import checked, checked_methods
from scratchnet.arrays import (
    FLOATING,
    Array,
    is_array,
    require_array,
    require_named,
    require_same_dtype,
    require_shape,
    to_device,
)
from scratchnet.engines import UPDATE_ENGINES, updates
from scratchnet.errors import InvalidTypeError, InvalidValueError, NotFiniteError

# option -> smallest value, bound that it stays under, and the same in words
Range = tuple[float, float, str]
AT_LEAST_0: Range = (0, math.inf, "0 or a positive number")
POSITIVE: Range = (math.ulp(0.0), math.inf, "a positive number")
# What a gradient must stay below; the first where a rule keeps its square, v.
ROOT = {dtype: math.sqrt(np.finfo(dtype).max) for dtype in FLOATING}
INFINITY = dict.fromkeys(FLOATING, math.inf)
BELOW_1: Range = (0, 1, "at least 0 and less than 1")


class Optimizer:
    """What all optimisers share: the checks, weight decay, and the state of each parameter by its
    name.

    Attributes
    ----------
    lr : the learning rate, a plain attribute that may be changed between steps.
    t : the steps so far; ``updates[name]`` are those of one parameter, which may join late or miss
        some.
    state : ``state[quantity][name]`` is an array like that parameter.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        checked_methods(cls, "__init__", "load_state_dict")

    OPTIONS: ClassVar[dict[str, type]] = {"lr": float, "weight_decay": float, "decoupled": bool}
    RANGES: ClassVar[dict[str, Range]] = {"lr": AT_LEAST_0, "weight_decay": AT_LEAST_0}
    STATE: ClassVar[tuple[str, ...]] = ()

    def __init__(self, lr: float, weight_decay: float, decoupled: bool) -> None:
        self.lr = lr
        self.weight_decay = weight_decay
        self.decoupled = decoupled
        self.t = 0
        self.updates: dict[str, int] = {}
        self.state: dict[str, dict[str, Array]] = {quantity: {} for quantity in self.STATE}

    def update(self, p: Array, g: Array, t: int, state: dict[str, Array]) -> None:
        """The rule: change p and its state in place, never g. t is 1 at a parameter's first
        update."""
        raise NotImplementedError(f"{type(self).__name__} has no update")

    def step(self, params: Mapping[str, Array], grads: Mapping[str, Array]) -> None:
        """One step: changes every array in ``params`` in place; ``grads`` stays as it is.

        Raises ValueError or TypeError, before anything is changed, where keys, shapes or dtypes
        differ or an array is read-only; FloatingPointError where the step would write NaN or
        infinity. On a device that is not looked for, since it would wait for the device.
        """
        self.check_options()
        self.check_arrays(params, grads)
        bounds = ROOT if "v" in self.STATE else INFINITY
        for name, g in grads.items():
            if type(g) is np.ndarray and g.size:
                bound, flat = bounds[g.dtype], g.reshape(-1)
                if not (np.maximum.reduce(flat) < bound and np.minimum.reduce(flat) > -bound):
                    self._check_finite(name, g)
        counts: dict[str, int] = {}
        state: dict[str, dict[str, Array]] = {quantity: {} for quantity in self.state}
        for name, p in params.items():
            counts[name] = self.updates.get(name, 0) + 1
            for quantity, known in self.state.items():
                s = known.get(name)
                # Zeros for a new parameter; moved to p where it was loaded from elsewhere.
                if s is None:
                    s = np.zeros_like(p)
                state[quantity][name] = s if type(s) is type(p) else to_device(s, p)
        self.update_all(params, grads, counts, state)
        self.t += 1
        self.updates.update(counts)
        for quantity, arrays in state.items():
            self.state[quantity].update(arrays)

    def update_all(
        self,
        params: Mapping[str, Array],
        grads: Mapping[str, Array],
        counts: Mapping[str, int],
        state: dict[str, dict[str, Array]],
    ) -> None:
        """Weight decay and the rule, for one parameter after the other; ``counts`` are the t of
        ``update``."""
        shrink, decay = decay_rates(float(self.lr), float(self.weight_decay), self.decoupled)
        for name, p in params.items():
            g = grads[name]
            if self.weight_decay:
                p[...], g = decayed(p, g, shrink, decay)
            own = {}
            for quantity, arrays in state.items():
                own[quantity] = arrays[name]
            self.update(p, g, counts[name], own)

    def check_options(self) -> None:
        """ValueError for an option out of range, with the range."""
        for name, (least, bound, expected) in self.RANGES.items():
            if not least <= getattr(self, name) < bound:
                raise InvalidValueError(f"{name} is {getattr(self, name)}: expected {expected}")

    def check_arrays(self, params: Mapping[str, Array], grads: Mapping[str, Array]) -> None:
        """ValueError or TypeError unless each parameter has its gradient, and its state, in its
        shape and dtype.

        A gradient must be where its parameter is, host or device; a state may come from elsewhere,
        as a loaded one does. What fits is passed by comparisons alone, since this is done in every
        step; what does not is explained by ``_explain``.
        """
        for what, arrays in (("params", params), ("grads", grads)):
            require_named(what, arrays)
        same_keys("grads", grads, "params", params)
        for name, p in params.items():
            kind, g = type(p), grads[name]
            if kind is not np.ndarray:
                require_array(name, p)
            elif not p.flags.writeable:
                raise InvalidValueError(
                    f"{name} is read-only, and a step changes it: copy it first"
                )
            shape, dtype = p.shape, p.dtype
            fits = type(g) is kind and g.shape == shape and g.dtype == dtype
            for known in self.state.values():
                s = known.get(name, g)
                fits = fits and type(s) is kind and s.shape == shape and s.dtype == dtype
            if not (fits and dtype in FLOATING):
                self._explain(name, p, g)

    def _check_finite(self, name: str, g: Array) -> None:
        """FloatingPointError for a gradient that would spoil its parameter or its state."""
        bad = int(np.sum(~np.isfinite(g)))
        if bad:
            raise NotFiniteError(
                f"the gradient of {name} holds {bad} elements of {g.size} that are NaN or infinite;"
                " no parameter was changed"
            )
        raise NotFiniteError(
            f"the gradient of {name} holds {float(np.max(np.abs(g))):.2g}, whose square is beyond"
            f" {g.dtype}, and {type(self).__name__} keeps squares; no parameter was changed: clip"
            " the gradient"
        )

    def _explain(self, name: str, p: Array, g: Array) -> None:
        """The error where one parameter, its gradient and its state do not fit, if they do not."""
        mates = {f"the gradient of {name}": g}
        for quantity, known in self.state.items():
            if name in known:
                mates[f"the state {quantity} of {name}"] = to_device(known[name], p)
        require_same_dtype({name: p, **mates})
        for what, mate in mates.items():
            require_shape(what, mate, p.shape, f"{name} is {tuple(p.shape)}")

    def _options(self) -> dict[str, Any]:
        """The options by name, as Python's own numbers."""
        return {option: kind(getattr(self, option)) for option, kind in self.OPTIONS.items()}

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to go on as if nothing had happened: options, counters, copies of the
        state, in plain dicts."""
        state = {
            quantity: {name: s.copy() for name, s in arrays.items()}
            for quantity, arrays in self.state.items()
        }
        return {**self._options(), "t": self.t, "updates": dict(self.updates), **state}

    @checked
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load copies of what ``state_dict`` gave; options too, ``lr`` among them.

        Raises ValueError or TypeError, and changes nothing, if a key is missing, unknown, or a
        value out of range.
        """
        expected = (*self.OPTIONS, "t", "updates", *self.STATE)
        same_keys("the state dict", state, type(self).__name__, expected)
        require_named("updates", state["updates"])
        for quantity in self.STATE:
            require_named(quantity, state[quantity])
            same_keys(f"the state {quantity}", state[quantity], "updates", state["updates"])
            for name, s in state[quantity].items():
                if not is_array(s):
                    raise InvalidTypeError(
                        f"the state {quantity} of {name} is a {type(s).__name__}: expected an array"
                    )
        loaded = copy.copy(self)
        for option, kind in self.OPTIONS.items():
            setattr(loaded, option, _converted(option, state[option], kind))
        loaded.check_options()
        loaded.t = _converted("t", state["t"], int)
        loaded.updates = {
            name: _converted(f"updates of {name}", n, int) for name, n in state["updates"].items()
        }
        for name, n in loaded.updates.items():
            if not 1 <= n <= loaded.t:
                raise InvalidValueError(
                    f"updates of {name} is {n}: expected 1 to {loaded.t}, the number of steps t"
                )
        loaded.state = {
            quantity: {name: s.copy() for name, s in state[quantity].items()}
            for quantity in self.STATE
        }
        vars(self).update(vars(loaded))


def _converted(name: str, value: Any, kind: type) -> Any:
    """A number from a file, where it may have become an array; else InvalidTypeError."""
    try:
        return kind(value)
    except (TypeError, ValueError, OverflowError):
        raise InvalidTypeError(f"{name} is {value!r:.80}: expected a {kind.__name__}") from None


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum (Polyak 1964) or Nesterov's (Sutskever et al.
    2013).

        u <- momentum u + g                 the velocity; without momentum it is the gradient
        p <- p - lr u
        p <- p - lr (g + momentum u)        with nesterov: one step of momentum ahead

    lr is outside the velocity, as in PyTorch: a new lr acts at once, on what was gathered before,
    too. (The papers have it inside; with a constant lr it is the same.)

    Parameters
    ----------
    lr, weight_decay : from 0 up; ValueError for an option out of range, here and below.
    momentum : from 0 to less than 1.
    nesterov : look ahead along the momentum, which must not be 0.
    decoupled : how the weight decays; see the module.
    """

    OPTIONS: ClassVar[dict[str, type]] = {**Optimizer.OPTIONS, "momentum": float, "nesterov": bool}
    RANGES: ClassVar[dict[str, Range]] = {**Optimizer.RANGES, "momentum": BELOW_1}
    STATE: ClassVar[tuple[str, ...]] = ("u",)

    def __init__(
        self,
        lr: float,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        decoupled: bool = False,
    ) -> None:
        super().__init__(lr, weight_decay, decoupled)
        self.momentum = momentum
        self.nesterov = nesterov
        self.check_options()

    def check_options(self) -> None:
        super().check_options()
        if self.nesterov and self.momentum == 0:
            raise InvalidValueError(
                "nesterov is True but momentum is 0: it looks ahead along the momentum and needs"
                " some"
            )

    def update(self, p: Array, g: Array, t: int, state: dict[str, Array]) -> None:
        lr, momentum = float(self.lr), float(self.momentum)
        u = state["u"]
        u *= momentum
        u += g  # u <- momentum u + g
        ahead = g + momentum * u if self.nesterov else u
        p -= lr * ahead  # p <- p - lr u


class RMSprop(Optimizer):
    """Divide the gradient by the root of a running mean of its square, so that every parameter
    moves at a similar pace.

        v <- alpha v + (1 - alpha) g^2      running mean of the square
        u <- momentum u + g / (sqrt(v) + eps)
        p <- p - lr u

    Parameters
    ----------
    lr, weight_decay : from 0 up.
    alpha, momentum : from 0 to less than 1; the momentum comes after the division, as in PyTorch.
    eps : above 0.
    decoupled : how the weight decays; see the module.

    References
    ----------
    Tieleman and Hinton 2012, lecture 6.5.
    """

    OPTIONS: ClassVar[dict[str, type]] = {
        **Optimizer.OPTIONS,
        "alpha": float,
        "eps": float,
        "momentum": float,
    }
    RANGES: ClassVar[dict[str, Range]] = {
        **Optimizer.RANGES,
        "alpha": BELOW_1,
        "eps": POSITIVE,
        "momentum": BELOW_1,
    }
    STATE: ClassVar[tuple[str, ...]] = ("v", "u")

    def __init__(
        self,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        decoupled: bool = False,
    ) -> None:
        super().__init__(lr, weight_decay, decoupled)
        self.alpha = alpha
        self.eps = eps
        self.momentum = momentum
        self.check_options()

    def update(self, p: Array, g: Array, t: int, state: dict[str, Array]) -> None:
        lr, alpha, eps, momentum = (
            float(self.lr),
            float(self.alpha),
            float(self.eps),
            float(self.momentum),
        )
        v, u = state["v"], state["u"]
        v *= alpha
        v += (1 - alpha) * g * g  # v <- alpha v + (1 - alpha) g^2
        u *= momentum
        u += g / (np.sqrt(v) + eps)  # u <- momentum u + g / (sqrt(v) + eps)
        p -= lr * u  # p <- p - lr u


class Adam(Optimizer):
    """Momentum and RMSprop together, both corrected for their start at zero.

        m <- beta1 m + (1 - beta1) g        running mean of the gradient
        v <- beta2 v + (1 - beta2) g^2      running mean of its square
        p <- p - lr  m / (1 - beta1^t)  /  (sqrt(v / (1 - beta2^t)) + eps)

    t counts this parameter's updates from 1: after t of them the weights in m add up to 1 - beta1^t
    only.

    Parameters
    ----------
    lr, weight_decay : from 0 up.
    betas : (beta1, beta2), each from 0 to less than 1.
    eps : above 0.
    decoupled : how the weight decays; see the module.
    engine : "array", the rule applied to whole arrays; "step", the same in one pass, for which
        Numba must be installed; "auto", "step" on a CPU after about a second of work, where Numba
        is installed, else "array".

    References
    ----------
    Kingma and Ba 2015, Adam, algorithm 1.

    Examples
    --------
    >>> params, grads = {"w": np.array([1.0, 2.0])}, {"w": np.array([5.0, -0.1])}
    >>> Adam(lr=0.1).step(params, grads)
    >>> params["w"].round(6)
    array([0.9, 2.1])
    """

    OPTIONS: ClassVar[dict[str, type]] = {
        **Optimizer.OPTIONS,
        "beta1": float,
        "beta2": float,
        "eps": float,
    }
    RANGES: ClassVar[dict[str, Range]] = {
        **Optimizer.RANGES,
        "beta1": BELOW_1,
        "beta2": BELOW_1,
        "eps": POSITIVE,
    }
    STATE: ClassVar[tuple[str, ...]] = ("m", "v")

    def __init__(
        self,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decoupled: bool = False,
        engine: str = "auto",
    ) -> None:
        super().__init__(lr, weight_decay, decoupled)
        self.beta1, self.beta2 = betas
        self.eps = eps
        self.engine = engine
        self.check_options()

    def check_options(self) -> None:
        super().check_options()
        if self.engine not in UPDATE_ENGINES:
            raise InvalidValueError(
                f"engine is {self.engine}: expected one of {', '.join(UPDATE_ENGINES)}"
            )

    def update_all(
        self,
        params: Mapping[str, Array],
        grads: Mapping[str, Array],
        counts: Mapping[str, int],
        state: dict[str, dict[str, Array]],
    ) -> None:
        kernels = updates(params, self.engine, passes=12)
        if kernels is None:
            super().update_all(params, grads, counts, state)
            return
        kernels.adam(params, grads, state["m"], state["v"], counts, **self._options())

    def update(self, p: Array, g: Array, t: int, state: dict[str, Array]) -> None:
        m, v = state["m"], state["v"]
        k = rates(p.dtype, t, **self._options())
        p[...], m[...], v[...] = adam_rule(p, g, m, v, k)


class AdamW(Adam):
    """Adam with decoupled weight decay, by default 0.01: p <- (1 - lr weight_decay) p, then Adam's
    rule. Parameters: see ``Adam``.

    References
    ----------
    Loshchilov and Hutter 2019, algorithm 2.
    """

    def __init__(
        self,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        decoupled: bool = True,
        engine: str = "auto",
    ) -> None:
        super().__init__(lr, betas, eps, weight_decay, decoupled, engine)


OPTIMIZERS: dict[str, type[Optimizer]] = {
    "sgd": SGD,
    "rmsprop": RMSprop,
    "adam": Adam,
    "adamw": AdamW,
}


def register_optimizer(name: str, optimizer: type[Optimizer]) -> None:
    """Add an optimiser of your own to ``OPTIMIZERS``: estimators and commands take it by its name.

    Raises InvalidTypeError unless it is a subclass of ``Optimizer`` with an ``update``, and
    InvalidValueError where the name is taken by another one.
    """
    own = isinstance(optimizer, type) and issubclass(optimizer, Optimizer)
    if not own or optimizer.update is Optimizer.update:
        raise InvalidTypeError(
            f"optimizer {name!r} is {optimizer!r}: expected a subclass of Optimizer with an update"
        )
    if OPTIMIZERS.setdefault(name, optimizer) is not optimizer:
        raise InvalidValueError(f"there is an optimizer {name!r} already: choose another name")


def same_keys(what: str, given: Collection[str], other: str, expected: Collection[str]) -> None:
    """ValueError, with the keys that are too few and too many, unless both have the same."""
    if set(given) != set(expected):
        missing, unknown = sorted(set(expected) - set(given)), sorted(set(given) - set(expected))
        raise InvalidValueError(
            f"{what} and {other} differ: {what} lacks {missing} and has {unknown} besides"
        )
