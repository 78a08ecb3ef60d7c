"""Run by test_fused_update.py in a process of its own, with NUMBA_ENABLE_CUDASIM=1: Adam's kernel and the norm's, thread by thread.

    NUMBA_ENABLE_CUDASIM=1 PYTHONPATH=.:kernels:tests python tests/update_simulated.py

Prints a line for each case: its name, the type, the largest error against the array engine (for norms against exact sums), and
how many launches it took.  Blocks and chunks are made small here, since a simulated thread costs a tenth of a millisecond: so
small arrays fill several blocks and one block in part, and some threads have two elements.
"""

import math
import re
import sys
import warnings

import numpy as np
import pytest
from scratchnet_kernels import launch

launch.BLOCK = (4, 2)  # before the kernels are imported, which take their size from it

from scratchnet.training import clip, optim  # noqa: E402
from scratchnet_kernels import update_cuda  # noqa: E402
from scratchnet_kernels.update_cuda import norm, table, update  # noqa: E402

table.CHUNK = 12
SHAPES = {"W": (7, 5), "b": (5,), "s": (), "none": (0, 4), "chunk": (12,), "one more": (13,)}
OPTIONS = {
    "adam": {},
    "coupled": {"weight_decay": 0.3},
    "decoupled": {"weight_decay": 0.3, "decoupled": True},
    "betas": {"betas": (0.7, 0.9), "eps": 1e-2},
}
launches = []


def counted(launch):
    def launch_and_count(*arguments):
        launches.append(arguments[0])
        launch(*arguments)

    return launch_and_count


def draws(dtype, seed, names=SHAPES):
    rng = np.random.default_rng(seed)
    return {name: np.asarray(rng.standard_normal(SHAPES[name]), dtype) for name in names}


def largest(ours, oracle):
    return max(
        float(np.max(np.abs(ours[name] - a) / max(1, np.max(np.abs(a))))) for name, a in oracle.items() if a.size
    )


def report(case, dtype, error):
    print(case, np.dtype(dtype).name, error, len(launches), sep="|")
    launches.clear()


def updates():
    """Four steps; in the last, a parameter joins that has made none of the others, and needs a launch of its own."""
    for case, options in OPTIONS.items():
        for dtype in (np.float32, np.float64):
            names = [name for name in SHAPES if name != "b"]
            runs = {}
            for engine in ("array", "step"):
                optimizer, params = optim.Adam(0.05, **options, engine=engine), draws(dtype, 0, names)
                for t in range(4):
                    if t == 3:
                        params |= draws(dtype, 0, ["b"])
                    grads = draws(dtype, t + 1, params)
                    before = {name: g.copy() for name, g in grads.items()}
                    optimizer.step(params, grads)
                    assert all(np.array_equal(g, before[name]) for name, g in grads.items()), "a gradient was changed"
                state = {f"{q} {name}": a for q, arrays in optimizer.state.items() for name, a in arrays.items()}
                runs[engine] = params | state
            assert all(a.dtype == dtype for a in runs["step"].values())
            report(case, dtype, largest(runs["step"], runs["array"]))


def norms():
    """Of ordinary size against exact sums; of sizes whose squares overflow or vanish against the array engine."""
    for dtype, sizes in ((np.float32, (1, 1e30, 1e-30)), (np.float64, (1, 1e200, 1e-200))):
        for size in sizes:
            grads = {name: np.asarray(g * dtype(size)) for name, g in draws(dtype, 0).items()}
            ours = clip.norms_of(grads, "step")
            launched = launches.copy()
            assert ours == clip.norms_of(grads, "step"), "not the same bits again"
            exact = {
                n: size * math.sqrt(math.fsum(float(x) ** 2 for x in (g.astype(float) / size).flat))
                for n, g in grads.items()
            }
            assert list(ours) == list(SHAPES)
            launches[:] = launched
            report(f"norm of {size:g}", dtype, max(abs(ours[n] - e) / (e or 1) for n, e in exact.items()))
    both = {
        "a": np.array([3, 4], np.float32),
        "b": np.array([1.0, np.nan]),
        "c": np.array([np.inf]),
        "d": np.array([5.0, 12.0]),
    }
    assert str(clip.norms_of(both, "step")) == "{'a': 5.0, 'b': nan, 'c': inf, 'd': 13.0}"
    report("norm of two types", np.float64, 0)
    many = {"g": np.array([4096, 1], np.float32)}
    assert clip.global_norm(many, "step") == math.sqrt(4096**2 + 1)


def refusals():
    """Before the launch, with a sentence, and nothing has changed; nor is there a launch for nothing."""
    f, d = np.ones((2, 4), np.float32), np.ones((2, 4))
    cases = [
        ({"W": f}, {"W": d}, TypeError, "the gradient of W is float64 but W is float32: expected one type"),
        ({"W": d[:, ::2]}, {"W": d[:, ::2]}, ValueError, "W (2, 2) is not contiguous"),
        ({"W": d}, {"W": d[0]}, ValueError, "the gradient of W is (4,) but W is (2, 4)"),
    ]
    launches.clear()
    none = {"none": np.zeros((0, 4))}
    update.adam(none, none, none, none, {"none": 1}, **dict.fromkeys(optim.Adam.OPTIONS, 0.5))
    assert norm.squares(none) == {"none": 0.0}
    for params, grads, error, message in cases:
        m, v = ({name: np.zeros(p.shape, p.dtype) for name, p in params.items()} for _ in range(2))
        with pytest.raises(error, match=re.escape(message)):
            update.adam(params, grads, m, v, {"W": 1}, lr=0.1)
    with pytest.raises(ValueError, match=r"2 \(4, 2\) is not contiguous"):
        norm.squares({1: d, 2: d.T})
    assert not launches
    assert np.all(f == 1)
    assert np.all(d == 1)


def main():
    warnings.simplefilter("ignore", RuntimeWarning)  # the simulator is Python: a square that overflows warns there
    update.launch, norm.launch = counted(update.launch), counted(norm.launch)
    chosen = lambda arrays, engine, passes: update_cuda if engine == "step" else None  # noqa: E731
    optim.updates = clip.updates = chosen  # for NumPy arrays, which the simulator takes for those of a GPU
    updates()
    norms()
    refusals()


if __name__ == "__main__":
    sys.exit(main())
