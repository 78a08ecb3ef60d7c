"""Adam's update and the norms in one pass: to the bit the array rule on a CPU, exact sums, the same bits again, and refusals."""

import copy
import math
import re
from importlib.util import find_spec

import numba
import numpy as np
import pytest
from scratchnet import engines
from scratchnet.engines import Patience
from scratchnet.training.clip import CLIPS, each_norm, global_norm, norms_of
from scratchnet.training.optim import Adam, AdamW
from scratchnet_kernels import update_cpu
from scratchnet_kernels.compiled import compiled
from scratchnet_kernels.update_cpu import LANES

from calls import python
from device_array import on_device
from test_cuda import run

SHAPES = {"W": (17, 40), "b": (5,), "s": (), "none": (0, 4)}
STEPS = 300
OPTIMIZERS = {
    "adam": (Adam, {}),
    "coupled": (Adam, {"weight_decay": 0.3}),
    "decoupled": (Adam, {"weight_decay": 0.3, "decoupled": True}),
    "betas": (Adam, {"betas": (0.7, 0.9), "eps": 1e-2}),
    "adamw": (AdamW, {}),
}
every = pytest.mark.parametrize("name", OPTIMIZERS)
needs_compiler = pytest.mark.skipif(
    bool(numba.config.DISABLE_JIT), reason="NUMBA_DISABLE_JIT is set: nothing is compiled"
)
dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def draws(dtype, seed=0, shapes=SHAPES):
    rng = np.random.default_rng(seed)
    return {name: np.asarray(rng.standard_normal(shape), dtype) for name, shape in shapes.items()}


def copies(arrays):
    return {name: a.copy() for name, a in arrays.items()}


def everything(params, optimizer):
    return params | {f"{q} {name}": a for q, arrays in optimizer.state.items() for name, a in arrays.items()}


def trained(name, engine, dtype, steps=STEPS, place=np.asarray, shapes=SHAPES):
    """Parameters and state after so many steps; lr changes on the way, and b joins after ten of them."""
    kind, options = OPTIMIZERS[name]
    optimizer = kind(0.05, **options, engine=engine)
    params = {name: place(p) for name, p in draws(dtype, 0, shapes).items()}
    late = {"b": params.pop("b")}
    for t in range(steps):
        optimizer.lr = 0.05 * (1.0 if t < 100 else 0.3 if t < 200 else 0.1)
        params |= late if t == 10 else {}
        grads = draws(dtype, t + 1, shapes)
        for g in grads.values():
            g.flags.writeable = False  # not a single one may be changed
        optimizer.step(params, {name: place(grads[name]) for name in params})
    assert optimizer.updates["W"] - optimizer.updates["b"] == 10
    return everything(params, optimizer)


@dtypes
@every
def test_equals_the_array_rule_to_the_bit(name, dtype):
    """A compiled loop without fastmath does the same operations in the same order, each rounded as IEEE 754 says."""
    array, step = (trained(name, engine, dtype) for engine in ("array", "step"))
    assert array.keys() == step.keys()
    for key, a in array.items():
        assert step[key].dtype == dtype
        np.testing.assert_array_equal(step[key], a, err_msg=key)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 2e-6)])
@every
def test_equals_torch(name, dtype, tolerance):
    torch = pytest.importorskip("torch")
    kind, options = OPTIMIZERS[name]
    params, optimizer = draws(dtype), kind(0.05, **options, engine="step")
    theirs = {key: torch.nn.Parameter(torch.tensor(p)) for key, p in params.items()}
    decoupled = options.get("decoupled", kind is AdamW)
    options = {option: value for option, value in options.items() if option != "decoupled"}
    other = getattr(torch.optim, "AdamW" if decoupled else "Adam")(theirs.values(), lr=0.05, **options)
    for t in range(STEPS):
        grads = draws(dtype, t + 1)
        for key, p in theirs.items():
            p.grad = torch.tensor(grads[key])
        optimizer.step(params, grads)
        other.step()
    for key, p in params.items():
        expected = theirs[key].detach().numpy()
        np.testing.assert_allclose(p, expected, rtol=tolerance, atol=tolerance, err_msg=key)


def test_a_state_goes_from_one_engine_to_the_other():
    """A state dict knows of no engine, and who loads one stays with his own."""
    runs = {}
    for first, second in (("array", "array"), ("array", "step"), ("step", "array")):
        params, optimizer = draws(np.float32), Adam(0.05, engine=first)
        for t in range(3):
            optimizer.step(params, draws(np.float32, t + 1))
        assert "engine" not in optimizer.state_dict()
        resumed = Adam(engine=second)
        resumed.load_state_dict(optimizer.state_dict())
        assert resumed.engine == second
        for t in range(3, 6):
            resumed.step(params, draws(np.float32, t + 1))
        assert (resumed.t, resumed.updates["W"]) == (6, 6)
        runs[first, second] = everything(params, resumed)
    oracle = runs.pop(("array", "array"))
    for arrays in runs.values():
        for key, a in oracle.items():
            np.testing.assert_array_equal(arrays[key], a, err_msg=key)


def test_a_parameter_that_is_not_finite_stays_alone():
    """Without weight decay the rule does not read p into the means: 0 times infinity would be NaN there for good."""
    p = {"p": np.array([np.inf, 1.0])}
    optimizer = Adam(0.1, engine="step")
    optimizer.step(p, {"p": np.ones(2)})
    assert p["p"][0] == np.inf
    assert np.isfinite(optimizer.state["m"]["p"]).all()


@needs_compiler
def test_float32_is_computed_in_float32():
    """No double in the machine code, but where it takes the numbers of a step from Python; one would be found."""
    numbers = update_cpu.rates(np.dtype(np.float32), 1, 0.1, 0.9, 0.999, 1e-8, 0.1, False)
    for k, wide in ((numbers, False), (numbers._replace(lr=0.1), True)):
        types = (*[numba.typeof(np.ones(2, np.float32))] * 4, numba.typeof(k))
        loop = compiled(update_cpu.adam_loop.__wrapped__)
        loop.compile(types)
        functions = loop.inspect_llvm(types).split("\ndefine ")[1:]
        own = [f for f in functions if "_ZN7cpython" not in f.partition("(")[0]]
        assert own
        assert bool(re.search(r"\bdouble\b", "".join(own))) == wide


def exact(g):
    """The norm from the exact sum of the squares, each rounded once."""
    return math.sqrt(math.fsum(float(x) ** 2 for x in np.asarray(g).flat))


@dtypes
@pytest.mark.parametrize("n", [0, 1, 2, LANES - 1, LANES, LANES + 1, 2 * LANES + 7, 10_000])
def test_norms_are_exact(n, dtype, rng):
    """Every element counts once, whatever does not come out even; float32 is added in more than float32."""
    g = rng.standard_normal(n).astype(dtype)
    (norm,) = norms_of({"g": g}, "step").values()
    assert type(norm) is float
    assert norm == pytest.approx(exact(g), rel=1e-15 * 8)
    assert norm == pytest.approx(norms_of({"g": g}, "array")["g"], rel=1e-6 if dtype == np.float32 else 1e-14)
    for j in (0, n // 2, n - 1) if n else ():
        alone = np.zeros(n, dtype)
        alone[j] = 3
        assert norms_of({"g": alone}, "step") == {"g": 3.0}, j


@pytest.mark.parametrize(
    ("dtype", "size"),
    [(np.float32, 1e30), (np.float32, 3e38), (np.float32, 1e-30), (np.float64, 1e200), (np.float64, 1e-200)],
)
def test_squares_that_overflow_or_vanish(dtype, size):
    grads = {"g": np.full((100, 10), size, dtype), "ordinary": np.ones(4, dtype)}
    norms = norms_of(grads, "step")
    assert norms["g"] == pytest.approx(float(dtype(size)) * 1000**0.5, rel=1e-14)
    assert list(norms.items())[1] == ("ordinary", 2.0)


def test_both_types_and_what_is_not_finite():
    mixed = {
        1: np.array([3, 4], np.float32),
        2: np.array([1.0, np.nan]),
        3: np.array([np.inf], np.float32),
        4: np.zeros(0),
    }
    norms = norms_of(mixed, "step")
    assert list(norms) == [1, 2, 3, 4]
    assert (norms[1], norms[3], norms[4]) == (5.0, math.inf, 0.0)
    assert math.isnan(norms[2])
    with pytest.raises(FloatingPointError, match="the gradient of b has norm nan: 1 of its 2 elements are not finite"):
        each_norm({"a": mixed[1], "b": mixed[2]}, "step")


@pytest.mark.parametrize("name", CLIPS)
def test_clipping_by_either_engine(name):
    grads = {engine: draws(np.float64) for engine in ("array", "step")}
    norms = {engine: CLIPS[name](g, 0.5, engine=engine) for engine, g in grads.items()}
    assert norms["step"] == pytest.approx(norms["array"], rel=1e-14)
    for key, g in grads["array"].items():
        np.testing.assert_allclose(grads["step"][key], g, rtol=1e-14)
    assert name != "global" or global_norm(grads["step"], "step") <= 0.5


def test_the_norm_is_the_same_again(rng):
    g = rng.standard_normal(100_001).astype(np.float32)
    first = global_norm({"g": g}, "step")
    assert all(global_norm({"g": g.copy()}, "step") == first for _ in range(5))


def misaligned(a):
    """The same numbers, two bytes beside where their type begins."""
    memory = np.zeros(a.nbytes + 2, np.uint8)[2:]
    found = memory.view(a.dtype).reshape(a.shape)
    found[...] = a
    assert not found.flags.aligned
    return found


ORDERS = {
    "strided": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    "Fortran's": np.asfortranarray,
    "backwards": lambda a: a[::-1].copy()[::-1],
    "misaligned": misaligned,
}


@dtypes
@pytest.mark.parametrize("of_gradient", ORDERS)
@pytest.mark.parametrize("order", ORDERS)
def test_any_order_in_memory(order, of_gradient, dtype):
    """Parameters, means and gradients that the loop cannot take as they are, are copied, and the result is written back."""
    runs = []
    for engine in ("array", "step"):
        own = ORDERS[order](draws(dtype)["W"])
        p, optimizer = {"W": own}, AdamW(0.1, engine=engine)
        for t in range(3):
            optimizer.step(p, {"W": ORDERS[of_gradient](draws(dtype, t + 1)["W"])})
            optimizer.state["m"]["W"] = ORDERS[order](optimizer.state["m"]["W"])
        assert p["W"] is own
        runs.append(everything(p, optimizer))
    for key, a in runs[0].items():
        np.testing.assert_array_equal(runs[1][key], a, err_msg=key)
    g = draws(dtype)["W"]
    assert norms_of({"g": ORDERS[order](g)}, "step") == norms_of({"g": g}, "step")


def test_arrays_on_a_device_are_refused_and_nothing_changes():
    params, optimizer = {"W": on_device(np.ones((2, 4)))}, AdamW(0.1, engine="step")
    with pytest.raises(RuntimeError, match="kernels for NumPy and CuPy arrays, not for those of device_array"):
        optimizer.step(params, {"W": on_device(np.ones((2, 4)))})
    assert np.all(params["W"].get() == 1)
    assert (optimizer.t, optimizer.updates, optimizer.state) == (0, {}, {"m": {}, "v": {}})
    optimizer.engine = "array"  # which can
    optimizer.step(params, {"W": on_device(np.ones((2, 4)))})
    assert optimizer.updates == {"W": 1}


def test_auto_begins_with_arrays_and_goes_on_with_kernels(monkeypatch):
    """After a fixed amount of work, to the same bits; and it refuses nothing that arrays can do."""
    monkeypatch.setattr(Patience, "enough", 1.0)
    params = {"W": np.ones((1000, 100))}
    seen = []
    for done in (0.0, 0.5, 1.0 - 1e-9, 1.0):
        monkeypatch.setattr(Patience, "done", done)
        seen.append(engines.updates(params, "auto", 12))
    assert seen == [None, None, None, update_cpu]
    assert engines.updates(params, "array", 12) is None
    assert engines.updates({"W": np.ones(3, np.float16)}, "auto", 12) is None
    assert engines.updates({"W": on_device(np.ones(3))}, "auto", 12) is None
    monkeypatch.setattr(Patience, "done", 0.0)
    work = []
    for rows in (1, 1000):
        engines.updates({"W": np.ones((rows, 100))}, "auto", 12)
        work.append(Patience.done)
    assert work[1] > 50 * work[0] > 0
    monkeypatch.setattr(engines, "kernels", lambda: None)
    monkeypatch.setattr(Patience, "done", 1.0)
    assert engines.updates(params, "auto", 12) is None


def test_kernels_called_by_hand_refuse():
    one, float32 = {"W": np.ones(3)}, {"W": np.ones(3, np.float32)}
    read_only = np.ones(3)
    read_only.flags.writeable = False
    cases = [
        (
            (one, float32, copy.deepcopy(one), copy.deepcopy(one)),
            TypeError,
            "the gradient of W is float32 but W is float64",
        ),
        (
            (one, {"W": on_device(np.ones(3))}, one, one),
            TypeError,
            "the gradient of W is an array of device_array, but a loop on the CPU",
        ),
        (({"W": np.ones(3, np.float16)},) * 4, TypeError, "W is float16"),
        (
            (one, {"W": np.ones(4)}, one, one),
            ValueError,
            r"the gradient of W is \(4,\) but W is \(3,\): expected \(3,\)",
        ),
        ((one, one, {"W": np.ones(2)}, one), ValueError, r"m of W is \(2,\)"),
        ((one, one, one, {"W": np.ones(2)}), ValueError, r"v of W is \(2,\)"),
        (({"W": read_only}, one, one, one), ValueError, "W is read-only, but it is what an optimiser changes"),
    ]
    for arrays, error, says in cases:
        with pytest.raises(error, match=says):
            update_cpu.adam(*arrays, {"W": 1}, **{k: v for k, v in Adam().state_dict().items() if k in Adam.OPTIONS})
    with pytest.raises(TypeError, match="b is int64"):
        update_cpu.squares({"a": np.ones(3), "b": np.ones(3, np.int64)})


def test_engines_by_name(monkeypatch):
    one = {"W": np.ones(3)}
    for make in (Adam, AdamW):
        assert make().engine == "auto"
        with pytest.raises(ValueError, match="engine is sequence: expected one of auto, array, step"):
            make(engine="sequence")
    optimizer = Adam()
    optimizer.engine = "fast"
    with pytest.raises(ValueError, match="engine is fast: expected"):
        optimizer.step(one, one)
    for clip in (global_norm, norms_of, *(lambda g, engine, c=clip: c(g, 1.0, engine) for clip in CLIPS.values())):
        with pytest.raises(ValueError, match="engine is 'fast': expected one of auto, array, step"):
            clip(one, "fast")
    assert engines.updates(one, "array", 1) is engines.updates({}, "step", 1) is None
    assert engines.updates(one, "step", 1) is engines.updates(one, "auto", 1) is update_cpu
    Adam(engine="step").step({}, {})
    monkeypatch.setattr(engines, "kernels", lambda: None)
    for call in (lambda: Adam(engine="step").step(one, copies(one)), lambda: global_norm(one, "step")):
        with pytest.raises(RuntimeError, match=r"engine 'step' needs Numba.*pip install numba"):
            call()
    assert np.all(one["W"] == 1)
    Adam().step(one, copies(one))


def test_numba_is_imported_only_when_asked_for():
    code = """
import sys
import numpy as np
from scratchnet.training.clip import global_norm
from scratchnet.training.optim import Adam
for engine in ("auto", "array", "step"):
    Adam(engine=engine).step({"W": np.ones(3)}, {"W": np.ones(3)})
    global_norm({"W": np.ones(3)}, engine)
    print(engine, "numba" in sys.modules, "numba.cuda" in sys.modules)
"""
    lines = python(code).splitlines()
    assert lines[:2] == ["auto False False", "array False False"]
    assert lines[2].startswith("step True")


def test_a_debugger_can_enter_the_loops():
    code = """
import numpy as np
from scratchnet.training.clip import global_norm
from scratchnet.training.optim import Adam
runs = []
for engine in ("array", "step"):
    p = {"W": np.linspace(-1, 1, 7, dtype=np.float32)}
    optimizer = Adam(0.1, weight_decay=0.1, engine=engine)
    for t in range(3):
        optimizer.step(p, {"W": np.linspace(1, t, 7, dtype=np.float32)})
    runs.append((p["W"], global_norm(p, engine)))
np.testing.assert_allclose(runs[0][0], runs[1][0], rtol=1e-6)
assert abs(runs[0][1] / runs[1][1] - 1) < 1e-6
from scratchnet_kernels import update_cpu
print(type(update_cpu.adam_loop).__name__)
"""
    assert python(code, NUMBA_DISABLE_JIT="1").split() == ["function"]


@pytest.mark.skipif(find_spec("numba_cuda") is None, reason="needs numba-cuda: pip install numba-cuda")
def test_kernels_in_the_simulator():
    """The same update, exact norms, refusals before a launch; a launch for all parameters of one age, one for all norms."""
    done = run("update_simulated.py", NUMBA_ENABLE_CUDASIM="1")
    assert done.returncode == 0, done.stderr
    rows = [line.split("|") for line in done.stdout.splitlines()]
    assert [row[0] for row in rows[::2]] == [
        "adam",
        "coupled",
        "decoupled",
        "betas",
        "norm of 1",
        "norm of 1e-30",
        "norm of 1e+200",
        "norm of two types",
    ]
    for case, dtype, error, launches in rows:
        tolerance = 1e-15 if case.startswith("norm") else 1e-6 if dtype == "float32" else 1e-12
        assert float(error) <= tolerance, (case, dtype)
        assert int(launches) == (2 if "two types" in case else 1 if case.startswith("norm") else 5), (case, dtype)


@pytest.mark.skipif(find_spec("numba_cuda") is None, reason="needs numba-cuda: pip install numba-cuda")
def test_the_kernels_for_a_gpu_refuse_numpy():
    code = """
import numpy as np
from scratchnet_kernels import update_cuda
one = {"W": np.ones(3)}
for call in (lambda: update_cuda.adam(one, one, one, one, {"W": 1}), lambda: update_cuda.squares(one)):
    try:
        call()
    except TypeError as error:
        print(error)
"""
    assert python(code).splitlines() == ["W is an array of numpy, but a CUDA kernel takes those of cupy"] * 2


@pytest.mark.gpu
@dtypes
@every
def test_the_update_on_the_gpu(name, dtype):
    """Against the array rule on the host: a GPU fuses a multiplication and an addition into one rounding, so not to the bit."""
    cupy = pytest.importorskip("cupy")
    shapes = SHAPES | {"chunk": (4096,), "one more": (4097,), "many": (70, 300)}
    host = trained(name, "array", dtype, shapes=shapes)
    device = trained(name, "step", dtype, place=cupy.asarray, shapes=shapes)
    assert host.keys() == device.keys()
    for key, a in host.items():
        assert device[key].dtype == dtype
        if a.size:
            scale = max(1.0, float(np.max(np.abs(a))))
            tolerance = scale * (1e-6 if dtype == np.float32 else 1e-12)
            np.testing.assert_allclose(device[key].get(), a, rtol=0, atol=tolerance, err_msg=key)


@pytest.mark.gpu
@dtypes
@pytest.mark.parametrize("n", [1, 255, 256, 257, 4095, 4096, 4097, 1_000_003])
def test_the_norm_on_the_gpu(n, dtype, rng):
    cupy = pytest.importorskip("cupy")
    host = {
        "g": rng.standard_normal(n).astype(dtype),
        "none": np.zeros((0, 3), dtype),
        "large": np.full(5, 1e30, dtype),
    }
    device = {name: cupy.asarray(g) for name, g in host.items()}
    norms = norms_of(device, "step")
    assert list(norms) == list(host)
    assert norms["g"] == pytest.approx(exact(host["g"]), rel=1e-13)
    assert norms["none"] == 0
    assert norms["large"] == pytest.approx(5**0.5 * 1e30, rel=1e-6)
    for _ in range(5):
        assert norms_of({name: g.copy() for name, g in device.items()}, "step") == norms, "the same bits again"
    device["g"][-1] = cupy.nan
    with pytest.raises(FloatingPointError, match=f"the gradient of g has norm nan: 1 of its {n} elements"):
        each_norm(device, "step")
