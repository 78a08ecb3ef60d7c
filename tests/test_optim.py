"""Optimisers: PyTorch's numbers over 20 steps, in place, resumable, and refusals."""

import copy
import inspect

import numpy as np
import pytest
from scratchnet.training.optim import OPTIMIZERS, SGD, Adam, AdamW, Optimizer, RMSprop, register_optimizer

from device_array import on_device

SHAPES = {"W": (3, 4), "b": (4,), "s": ()}
STEPS = 20

# Optimiser, its options, PyTorch's class that does the same.
TORCH = {
    "sgd": (SGD, {"lr": 0.1}, "SGD"),
    "sgd-momentum": (SGD, {"lr": 0.1, "momentum": 0.9}, "SGD"),
    "sgd-nesterov": (SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True}, "SGD"),
    "sgd-wd": (SGD, {"lr": 0.1, "weight_decay": 0.3}, "SGD"),
    "sgd-nesterov-wd": (SGD, {"lr": 0.1, "momentum": 0.8, "nesterov": True, "weight_decay": 0.3}, "SGD"),
    "rmsprop": (RMSprop, {"lr": 0.03}, "RMSprop"),
    "rmsprop-alpha-eps": (RMSprop, {"lr": 0.03, "alpha": 0.8, "eps": 1e-2}, "RMSprop"),
    "rmsprop-momentum": (RMSprop, {"lr": 0.03, "momentum": 0.9}, "RMSprop"),
    "rmsprop-momentum-wd": (RMSprop, {"lr": 0.03, "momentum": 0.9, "weight_decay": 0.3}, "RMSprop"),
    "adam": (Adam, {"lr": 0.05}, "Adam"),
    "adam-betas-eps": (Adam, {"lr": 0.05, "betas": (0.7, 0.9), "eps": 1e-2}, "Adam"),
    "adam-wd": (Adam, {"lr": 0.05, "weight_decay": 0.3}, "Adam"),
    "adam-decoupled": (Adam, {"lr": 0.05, "weight_decay": 0.3, "decoupled": True}, "AdamW"),
    "adamw": (AdamW, {"lr": 0.05}, "AdamW"),
    "adamw-wd": (AdamW, {"lr": 0.05, "weight_decay": 0.3}, "AdamW"),
    "adamw-coupled": (AdamW, {"lr": 0.05, "weight_decay": 0.3, "decoupled": False}, "Adam"),
}
DECOUPLED = {
    "sgd": (SGD, "SGD", {"lr": 0.1}),
    "sgd-nesterov": (SGD, "SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    "rmsprop": (RMSprop, "RMSprop", {"lr": 0.03}),
    "rmsprop-momentum": (RMSprop, "RMSprop", {"lr": 0.03, "momentum": 0.9}),
}
PRECISION = [(np.float64, 1e-10), (np.float32, 1e-5)]
EVERY = [SGD(0.1), SGD(0.1, momentum=0.9, nesterov=True), RMSprop(0.03, momentum=0.5), Adam(0.05), AdamW(0.05)]
# An optimiser that is added to the table is tested with its defaults, without another line.
EVERY += [optimizer() for optimizer in OPTIMIZERS.values() if optimizer not in {type(o) for o in EVERY}]


def fresh(index):
    return copy.deepcopy(EVERY[index])


every = pytest.mark.parametrize(
    "index", range(len(EVERY)), ids=[type(o).__name__ + str(k) for k, o in enumerate(EVERY)]
)


def draws(dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    return {name: np.asarray(rng.standard_normal(shape), dtype) for name, shape in SHAPES.items()}


def copies(arrays):
    return {name: a.copy() for name, a in arrays.items()}


def lr_at(lr, t):
    """A learning rate that changes between the steps, in two ways."""
    return lr * (1.0 if t < 8 else 0.5 if t < 14 else 1.7)


def run_torch(kind, options, dtype, shrink=0.0):
    """Parameters after each step of ``torch.optim``; before each step they shrink by 1 - lr * shrink."""
    torch = pytest.importorskip("torch")
    params = {name: torch.nn.Parameter(torch.tensor(p)) for name, p in draws(dtype).items()}
    optimizer = getattr(torch.optim, kind)(params.values(), **options)
    lr = optimizer.param_groups[0]["lr"]
    for t in range(STEPS):
        optimizer.param_groups[0]["lr"] = lr_at(lr, t)
        for name, g in draws(dtype, seed=100 + t).items():
            params[name].grad = torch.tensor(g)
        with torch.no_grad():
            for p in params.values():
                p.mul_(1 - lr_at(lr, t) * shrink)
        optimizer.step()
        yield {name: p.detach().numpy().copy() for name, p in params.items()}


def assert_follows(optimizer, expected, dtype, tol):
    params, lr = draws(dtype), optimizer.lr
    start = copies(params)
    for t, after in enumerate(expected):
        optimizer.lr = lr_at(lr, t)
        optimizer.step(params, draws(dtype, seed=100 + t))
        for name, p in params.items():
            assert p.dtype == dtype
            np.testing.assert_allclose(p, after[name], rtol=tol, atol=tol, err_msg=f"{name} after step {t + 1}")
    assert optimizer.t == STEPS
    assert all(np.all(np.abs(params[name] - start[name]) > 1e-3) for name in SHAPES)


@pytest.mark.parametrize(("dtype", "tol"), PRECISION)
@pytest.mark.parametrize("name", TORCH)
def test_equals_torch(name, dtype, tol):
    ours, options, kind = TORCH[name]
    # the class says it there
    torch_options = {option: value for option, value in options.items() if option != "decoupled"}
    assert_follows(ours(**options), run_torch(kind, torch_options, dtype), dtype, tol)


@pytest.mark.parametrize(("dtype", "tol"), PRECISION)
@pytest.mark.parametrize("name", DECOUPLED)
def test_decoupled_decay_is_torch_without_decay_and_a_shrink(name, dtype, tol):
    ours, kind, options = DECOUPLED[name]
    optimizer = ours(**options, weight_decay=0.3, decoupled=True)
    assert_follows(optimizer, run_torch(kind, options, dtype, shrink=0.3), dtype, tol)


@pytest.mark.parametrize("ours", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_defaults_are_torchs(ours):
    torch = pytest.importorskip("torch")
    if not hasattr(torch.optim, ours.__name__):
        pytest.skip("PyTorch has no such optimiser")
    defaults = getattr(torch.optim, ours.__name__)([torch.zeros(1)], lr=0.1).defaults
    state = ours(lr=0.1).state_dict()
    betas = defaults.get("betas", (None, None))
    known = defaults | {"beta1": betas[0], "beta2": betas[1], "decoupled": ours is AdamW}
    for option in ours.OPTIONS:
        assert state[option] == known[option], option
    lr = inspect.signature(getattr(torch.optim, ours.__name__)).parameters["lr"].default
    if ours is not SGD:  # ours asks for it
        assert ours().lr == lr


def test_sgd_by_hand():
    p = np.array([1.0, 2.0])
    SGD(0.1).step({"p": p}, {"p": np.array([10.0, -10.0])})
    np.testing.assert_allclose(p, [0.0, 3.0], atol=1e-15)


def test_adams_first_step_is_lr_whatever_the_gradient():
    p = np.zeros(3)
    Adam(0.1).step({"p": p}, {"p": np.array([1e-3, -1.0, 1e5])})
    np.testing.assert_allclose(p, [-0.1, 0.1, -0.1], rtol=1e-4)


@every
def test_in_place_and_gradients_untouched(index):
    optimizer = fresh(index)
    optimizer.weight_decay = 0.1
    params, grads = draws(), draws(seed=1)
    arrays, before, start = dict(params), copies(grads), copies(params)
    for g in grads.values():
        g.flags.writeable = False
    for _ in range(3):
        optimizer.step(params, grads)
    for name in SHAPES:
        assert params[name] is arrays[name]
        assert np.all(params[name] != start[name])
        np.testing.assert_array_equal(grads[name], before[name])
        assert all(
            not np.shares_memory(s[name], a) for s in optimizer.state.values() for a in (params[name], grads[name])
        )


@every
@pytest.mark.parametrize("lr", [np.float64(0.05), np.float32(0.05), np.array(0.05)])
def test_float32_stays_float32_whatever_lr_is(index, lr):
    optimizer, plain = fresh(index), fresh(index)
    optimizer.lr, plain.lr = lr, float(lr)
    params, expected = draws(np.float32), draws(np.float32)
    for seed in range(1, 6):
        optimizer.step(params, draws(np.float32, seed=seed))
        plain.step(expected, draws(np.float32, seed=seed))
    for name, p in params.items():
        assert p.dtype == np.float32
        np.testing.assert_array_equal(p, expected[name])  # a schedule's np.float64 must not change the arithmetic
    assert all(s.dtype == np.float32 for arrays in optimizer.state.values() for s in arrays.values())


@every
def test_lr_zero_moves_nothing(index):
    optimizer = fresh(index)
    optimizer.lr = 0.0
    params = draws()
    optimizer.step(params, draws(seed=1))
    for name, p in draws().items():
        np.testing.assert_array_equal(params[name], p)


@every
def test_a_parameter_that_joins_late_starts_afresh(index):
    optimizer, alone = fresh(index), fresh(index)
    params, late = {"W": np.ones(3)}, np.full(2, 5.0)
    for t in range(6):
        optimizer.step(params, {"W": np.full(3, 0.1 * t)})
    params["late"] = late
    expected = late.copy()
    for t in range(3):
        optimizer.step(params, {"W": np.ones(3), "late": np.full(2, 1.0 + t)})
        alone.step({"late": expected}, {"late": np.full(2, 1.0 + t)})
        np.testing.assert_array_equal(late, expected)
    assert optimizer.t == 9
    assert optimizer.updates == {"W": 9, "late": 3}


@every
def test_resumed_as_if_nothing_had_happened(index):
    optimizer, params = fresh(index), draws()
    for t in range(5):
        optimizer.step(params, draws(seed=t))
    optimizer.lr *= 0.5
    state, saved = optimizer.state_dict(), copies(params)
    for t in range(5, 10):
        optimizer.step(params, draws(seed=t))

    resumed = type(optimizer)(lr=7.0)
    resumed.load_state_dict(state)
    kept = copy.deepcopy(state)
    for t in range(5, 10):
        resumed.step(saved, draws(seed=t))
    for name in SHAPES:
        np.testing.assert_array_equal(saved[name], params[name])
    assert (resumed.lr, resumed.t) == (optimizer.lr, 10)
    assert same(state, kept)  # neither the one that gave it nor the one that took it writes into it
    assert not same(state, resumed.state_dict())


@every
@pytest.mark.parametrize("there", [True, False], ids=["device to host", "host to device"])
def test_a_state_goes_to_where_the_parameters_are(index, there):
    """Trained on one side, loaded on the other: the state moves, and the numbers are those of who never moved."""
    first, second = (on_device, np.array) if there else (np.array, on_device)

    def run(place, optimizer, params, seeds):
        placed = {name: place(p) for name, p in params.items()}
        for seed in seeds:
            optimizer.step(placed, {name: place(g) for name, g in draws(seed=seed).items()})
        return {name: p.get() if hasattr(p, "get") else p for name, p in placed.items()}

    stayed, before, after = fresh(index), fresh(index), fresh(index)
    expected = run(np.array, stayed, draws(), range(1, 7))
    middle = run(first, before, draws(), range(1, 4))
    after.load_state_dict(before.state_dict())
    moved = run(second, after, middle, range(4, 7))
    for name in SHAPES:
        np.testing.assert_array_equal(moved[name], expected[name])
    assert all(type(s) is type(second(np.zeros(1))) for arrays in after.state.values() for s in arrays.values())


def test_gradients_must_be_where_the_parameters_are():
    for p, g in ((np.ones(3), on_device(np.ones(3))), (on_device(np.ones(3)), np.ones(3))):
        with pytest.raises(
            TypeError, match=r"the gradient of W is an array of \w+ but W is one of \w+: move one of them"
        ):
            SGD(0.1).step({"W": p}, {"W": g})


def same(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return np.array_equal(a, b)


@every
def test_state_dict_is_plain(index):
    optimizer = fresh(index)
    optimizer.step(draws(), draws(seed=1))

    def check(value):
        if isinstance(value, dict):
            assert all(type(key) is str for key in value)
            for v in value.values():
                check(v)
        else:
            assert type(value) in (int, float, bool, np.ndarray)

    check(optimizer.state_dict())


def test_state_dict_survives_numbers_that_became_arrays():
    """As a .npz file gives them back."""
    optimizer = SGD(1, momentum=0.9, nesterov=True)  # an lr that is an int must not round the loaded one to 0
    other = SGD(0.25, momentum=0.5)
    state = {key: value if isinstance(value, dict) else np.array(value) for key, value in other.state_dict().items()}
    optimizer.load_state_dict(state)
    assert (optimizer.lr, optimizer.momentum, optimizer.nesterov, optimizer.t) == (0.25, 0.5, False, 0)
    assert type(optimizer.lr) is float


def edited(state, *path, value=None):
    """A copy of the state with one entry replaced, or removed where the value is None."""
    state = copy.deepcopy(state)
    inner = state
    for key in path[:-1]:
        inner = inner[key]
    if value is None:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return state


@pytest.mark.parametrize(
    ("path", "value", "error", "says"),
    [
        (("beta1",), None, ValueError, "lacks \\['beta1'\\]"),
        (("v",), None, ValueError, "lacks \\['v'\\]"),
        (("momentum",), 0.9, ValueError, "has \\['momentum'\\] besides"),
        (("m", "W"), None, ValueError, "state m and updates differ: the state m lacks \\['W'\\]"),
        (("v", "U"), np.zeros(2), ValueError, "state v lacks \\[\\] and has \\['U'\\]"),
        (("updates", "b"), None, ValueError, "state m lacks \\[\\] and has \\['b'\\]"),
        (("updates", "b"), 0, ValueError, "updates of b is 0: expected 1 to 2"),
        (("updates", "b"), 3, ValueError, "updates of b is 3: expected 1 to 2"),
        (("m", "W"), 3.0, TypeError, "state m of W is a float: expected an array"),
        (("lr",), -1.0, ValueError, "lr is -1.0"),
        (("beta2",), 1.0, ValueError, "beta2 is 1.0"),
    ],
)
def test_loading_is_strict_and_changes_nothing_when_it_fails(path, value, error, says):
    optimizer, other = Adam(0.1), Adam(0.2)
    for seed in (1, 2):
        optimizer.step(draws(), draws(seed=seed))
        other.step(draws(), draws(seed=seed + 10))
    before = optimizer.state_dict()
    with pytest.raises(error, match=says):
        optimizer.load_state_dict(edited(other.state_dict(), *path, value=value))
    assert same(optimizer.state_dict(), before)
    optimizer.load_state_dict(other.state_dict())
    assert same(optimizer.state_dict(), other.state_dict())


def test_a_state_of_another_optimiser_is_refused():
    with pytest.raises(
        ValueError, match=r"the state dict and Adam differ.*lacks \['beta1', 'beta2', 'eps', 'm', 'v'\]"
    ):
        Adam().load_state_dict(SGD(0.1).state_dict())


def test_a_loaded_state_must_fit_the_parameters():
    optimizer = RMSprop()
    optimizer.step({"W": np.ones(3)}, {"W": np.ones(3)})
    other = RMSprop()
    other.load_state_dict(optimizer.state_dict())
    W = np.ones((3, 1))
    with pytest.raises(ValueError, match=r"the state v of W is \(3,\) but W is \(3, 1\)"):
        other.step({"W": W}, {"W": np.ones((3, 1))})
    with pytest.raises(TypeError, match="the state v of W is float64 but W is float32"):
        other.step({"W": np.ones(3, np.float32)}, {"W": np.ones(3, np.float32)})
    np.testing.assert_array_equal(W, 1)


@pytest.mark.parametrize(
    ("grads", "error", "says"),
    [
        ({"W": np.ones(3)}, ValueError, r"grads and params differ: grads lacks \['b'\] and has \[\]"),
        ({"W": np.ones(3), "b": np.ones(2), "c": np.ones(1)}, ValueError, r"lacks \[\] and has \['c'\] besides"),
        ({"W": np.ones(3), "b": np.ones(1)}, ValueError, r"the gradient of b is \(1,\) but b is \(2,\)"),
        ({"W": np.ones(3), "b": np.ones((2, 1))}, ValueError, r"the gradient of b is \(2, 1\) but b is \(2,\)"),
        ({"W": np.ones(3), "b": np.ones(2, np.float32)}, TypeError, "the gradient of b is float32 but b is float64"),
        ({"W": np.ones(3), "b": [1.0, 1.0]}, TypeError, r"the gradient of b is a builtins\.list"),
    ],
)
@every
def test_gradients_that_do_not_fit_change_nothing(index, grads, error, says):
    optimizer = fresh(index)
    params = {"W": np.ones(3), "b": np.ones(2)}
    with pytest.raises(error, match=says):
        optimizer.step(params, grads)
    assert all(np.all(p == 1) for p in params.values())
    assert (optimizer.t, optimizer.updates) == (0, {})


@pytest.mark.parametrize(
    ("kind", "options", "says"),
    [
        *((kind, {"lr": lr}, f"lr is {lr}") for kind in OPTIMIZERS.values() for lr in (-0.1, np.nan, np.inf)),
        *((kind, {"lr": 0.1, "weight_decay": -0.1}, "weight_decay is -0.1") for kind in OPTIMIZERS.values()),
        (SGD, {"lr": 0.1, "nesterov": True}, "nesterov is True but momentum is 0"),
        *((kind, {"lr": 0.1, "momentum": m}, f"momentum is {m}") for kind in (SGD, RMSprop) for m in (-0.1, 1.0)),
        *((RMSprop, {"alpha": a}, f"alpha is {a}") for a in (-0.1, 1.0)),
        *((kind, {"eps": e}, f"eps is {e}") for kind in (RMSprop, Adam, AdamW) for e in (0.0, -1e-8)),
        *((kind, {"betas": (b, 0.9)}, f"beta1 is {b}") for kind in (Adam, AdamW) for b in (-0.1, 1.0)),
        *((kind, {"betas": (0.9, b)}, f"beta2 is {b}") for kind in (Adam, AdamW) for b in (-0.1, 1.0)),
    ],
)
def test_options_out_of_range(kind, options, says):
    with pytest.raises(ValueError, match=says):
        kind(**options)


@pytest.mark.parametrize("kind", [RMSprop, Adam, AdamW])
def test_the_smallest_number_is_a_positive_one(kind):
    assert kind(eps=5e-324).eps == 5e-324


def test_an_optimiser_without_a_rule_says_so():
    class Bare(Optimizer):
        def __init__(self):
            super().__init__(0.1, 0.0, False)

    with pytest.raises(NotImplementedError, match="Bare has no update"):
        Bare().step({"w": np.ones(1)}, {"w": np.ones(1)})


@every
def test_an_lr_that_became_wrong_between_steps(index):
    optimizer, params = fresh(index), {"W": np.ones(3)}
    optimizer.lr = -1.0
    with pytest.raises(ValueError, match=r"lr is -1\.0: expected 0 or a positive number"):
        optimizer.step(params, {"W": np.ones(3)})
    np.testing.assert_array_equal(params["W"], 1)


def test_every_optimiser_is_in_the_table_and_here():
    assert set(OPTIMIZERS.values()) == {type(o) for o in EVERY}
    assert all(issubclass(kind, Optimizer) for kind in OPTIMIZERS.values())


def test_a_name_belongs_to_one_optimizer():
    class Mine(SGD):
        pass

    register_optimizer("sgd", SGD)  # the same again, as when a notebook's cell is run twice
    with pytest.raises(ValueError, match="there is an optimizer 'sgd' already: choose another name"):
        register_optimizer("sgd", Mine)
    assert OPTIMIZERS["sgd"] is SGD
    for wrong in (Optimizer, dict, SGD(0.1)):
        with pytest.raises(TypeError, match="expected a subclass of Optimizer with an update"):
            register_optimizer("mine", wrong)
    assert "mine" not in OPTIMIZERS


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("spoil", ["read-only", "nan", "inf", "-inf"])
def test_a_step_that_cannot_be_made_changes_nothing(name, spoil):
    """Of two parameters the second is the bad one: the first must not have moved, nor time."""
    params, grads = {"a": np.ones(3), "b": np.ones(2)}, {"a": np.ones(3), "b": np.ones(2)}
    if spoil == "read-only":
        params["b"].flags.writeable = False
        error, says = ValueError, "b is read-only, and a step changes it: copy it first"
    else:
        grads["b"][1] = float(spoil)
        error, says = (
            FloatingPointError,
            "the gradient of b holds 1 elements of 2 that are NaN or infinite; no parameter was",
        )
    optimizer = OPTIMIZERS[name](0.1)
    before = copy.deepcopy(optimizer.state_dict())
    with pytest.raises(error, match=says):
        optimizer.step(params, grads)
    assert params["a"].tolist() == [1, 1, 1]
    np.testing.assert_equal(optimizer.state_dict(), before)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_gradient_whose_square_overflows_is_refused_where_squares_are_kept(name):
    """In float32 the square of 1e20 is infinite, and a weight whose v is infinite would never move again."""
    params, grads = {"a": np.ones(2, np.float32)}, {"a": np.array([1, 1e20], np.float32)}
    optimizer = OPTIMIZERS[name](0.1)
    if "v" in optimizer.STATE:
        with pytest.raises(FloatingPointError, match=r"the gradient of a holds 1e\+20, whose square is beyond float32"):
            optimizer.step(params, grads)
        assert params["a"].tolist() == [1, 1]
    else:
        optimizer.step(params, grads)
        assert np.isfinite(params["a"]).all()
