"""The program of a cell, watched from its own code: the same numbers, and whatever the code calls its variables."""

import inspect
import re
import types
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from scratchnet.cells import CELLS, lstm, variants
from scratchnet.tracing.evaluate import evaluate
from scratchnet.tracing.program import make_program, operands, program_of
from scratchnet.tracing.watched import CannotWatch

EVERY = {label: (cell, tuple(options.items())) for label, cell, options in variants()}


def one_step(cell, options, rng, D, H, N=3, **masks):
    """Random arguments of one step, what the cell makes of them, and the same as a program is given it."""
    x, states = rng.standard_normal((1, N, D)), {s: rng.standard_normal((N, H)) for s in cell.STATES}
    params = {name: rng.standard_normal(shape) for name, shape in cell.param_shapes(D, H).items()}
    y, cache = cell.forward(x, *states.values(), *params.values(), **dict(options), **masks)
    dy, d_next = rng.standard_normal(y.shape), {f"d{s}_next": rng.standard_normal((N, H)) for s in cell.STATES}
    grads = cell.backward(dy, cache, *d_next.values())
    extra = {name: np.broadcast_to(mask, (1, N, H))[0] for name, mask in masks.items()}
    upstream = {"dy": dy[0], **d_next}
    given = {"x": x[0], "H": H, "state": states, "parameter": params, "upstream": upstream, "extra": extra}
    return cache, grads, given


def check_program(cell, options, rng, D, H, **masks):
    program = program_of(cell, options, tuple(masks))
    cache, grads, given = one_step(cell, options, rng, D, H, **masks)
    known = {}
    value = partial(evaluate, program.ops, known=known, given=given)
    close = partial(np.testing.assert_allclose, rtol=1e-12, atol=1e-12)
    for s in cell.STATES:
        close(value(program.forward[s]), getattr(cache, s)[1])
        close(np.broadcast_to(value(program.backward[f"d{s}_prev"]), (3, H)), getattr(grads, f"d{s}0"))
    for k, letter in enumerate(cell.GATES):
        close(value(program.backward[f"da_{letter}"]), grads.da[0][:, k * H : (k + 1) * H])
    close(value(program.backward["dx"]), grads.dx[0])
    for name, parts in program.weights.items():
        blocks = []
        for left, right in parts:
            d = np.broadcast_to(value(right), (3, H))
            blocks.append(d.sum(axis=0) if left is None else value(left).T @ d)
        close(np.concatenate(blocks, axis=-1), getattr(grads, f"d{name}"))
    return program


@pytest.mark.parametrize("label", EVERY)
def test_a_program_computes_what_the_cell_computes(label, rng):
    for _ in range(3):
        check_program(*EVERY[label], rng, D=int(rng.integers(1, 5)), H=int(rng.integers(1, 6)))


def test_masks_of_the_loop_are_part_of_the_program(rng):
    masks = {"drop": 0.7, "keep_h": 0.2, "keep_c": 0.4}
    program = check_program(CELLS["lstm_masked"], (), rng, 2, 3, **masks)
    assert {"c_new", "dc_prev", "dh"} <= {*program.forward, *program.backward}


@pytest.mark.parametrize("label", EVERY)
def test_each_gradient_names_the_quantity_it_is_the_gradient_of(label, rng):
    """And its value is the numeric derivative along that quantity."""
    cell, options = EVERY[label]
    program = program_of(cell, options)
    _, _, given = one_step(cell, options, rng, 2, 3, N=1)
    assert {f"da_{letter}" for letter in cell.GATES} | {"dh"} <= program.of.keys()

    def loss(at, bump):
        known = {} if at is None else {at: evaluate(program.ops, at, {}, given) + bump}
        weighted = sum(
            evaluate(program.ops, program.forward[s], known, given) * given["upstream"][f"d{s}_next"]
            for s in cell.STATES
        )
        return np.sum(weighted + evaluate(program.ops, program.forward["h"], known, given) * given["upstream"]["dy"])

    eps = 1e-6
    for gradient, quantity in program.of.items():
        at, own = program.forward[quantity], evaluate(program.ops, program.backward[gradient], {}, given)
        for j in range(3):
            bump = eps * (np.arange(3) == j)
            numeric = (loss(at, bump) - loss(at, -bump)) / (2 * eps)
            assert own[0, j] == pytest.approx(numeric, rel=1e-6, abs=1e-8), (gradient, quantity, j)


@pytest.mark.parametrize("label", EVERY)
def test_lines_are_those_that_compute(label):
    """Of a name that is a variable of the code, the line assigns it."""
    cell, options = EVERY[label]
    program = program_of(cell, options)
    for name, at in (program.forward | program.backward).items():
        if at not in program.lines:
            assert program.ops[at] == ("constant", 0.0)
            continue
        file, number = program.lines[at]
        line = Path(file).read_text(encoding="utf-8").splitlines()[number - 1]
        assert re.search(r"[=@*+]|return", line), (name, line)
        if re.search(rf"\b{name}\b.*=", line):
            assert line.index(name) < line.index("=")


def renamed(cell, names):
    """The cell's module with local variables renamed."""
    text = inspect.getsource(cell)
    for old, new in names.items():
        text = re.sub(rf"(?<![.\"'])\b{old}\b(?!=[^=])", new, text)
    module = types.ModuleType("renamed")
    module.__file__ = "renamed.py"
    exec(compile(text, "renamed.py", "exec"), module.__dict__)
    return module


def test_a_renamed_local_variable_changes_no_term(rng):
    other = renamed(lstm, {"tanh_c": "t", "dc": "grad_of_cell", "dh": "grad_of_hidden", "dc_prev": "back", "da_i": "q"})
    assert "grad_of_cell" in inspect.getsource(lstm).replace("dc", "grad_of_cell")
    program, right = check_program(other, (), rng, 2, 3), program_of(lstm)
    assert {*program.of} - {"dt"} == {*right.of} - {"dtanh_c"}
    assert {"dc", "dh", "dc_from_h", "dc_prev", "da_i", "di"} <= program.backward.keys()


def test_a_cell_that_looks_at_its_numbers_has_no_program():
    cell = types.SimpleNamespace(**{name: getattr(lstm, name) for name in dir(lstm) if not name.startswith("__")})

    def forward(x, *rest):
        if np.any(x > 0):
            raise AssertionError("not reached")
        return lstm.forward(x, *rest)

    cell.forward = forward
    with pytest.raises(CannotWatch):
        program_of(cell)


def test_watching_leaves_no_profiler_and_no_open_door():
    import sys

    from scratchnet.arrays import PLAIN

    before = set(PLAIN)
    make_program(lstm, (), ())
    assert sys.getprofile() is None
    assert before == PLAIN


def test_operands_come_before_what_reads_them():
    for cell, options in EVERY.values():
        ops = program_of(cell, options).ops
        assert all(k < at for at, op in enumerate(ops) for k in operands(op))
