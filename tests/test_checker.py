"""What the checker sees and says: inside a student's loop, of several mistakes at once, of right answers in every style; and that
no small change of a right answer passes."""

import ast
import json
import linecache
import random
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
from scratchnet.commands.cli import main
from scratchnet_course import diagnose, inside, keys, moments, probe, sandbox, sources
from scratchnet_course.checking import check, check_code
from scratchnet_course.exercises import EXERCISES, find
from scratchnet_instructor import making, mutants, solution
from scratchnet_instructor.references import REFERENCES

from strangers import score

HERE = Path(__file__).parent
EQUIVALENT = tomllib.loads((HERE / "equivalent_mutants.toml").read_text(encoding="utf-8"))["row"]
SEEDS = (101, 102)


# ---- every line of every exercise matters ------------------------------------------------------------------------------


def explained(exercise, name):
    return any(
        exercise in row.get("exercises", [exercise]) and any(re.fullmatch(pattern, name) for pattern in row["names"])
        for row in EQUIVALENT
    )


@pytest.mark.parametrize("name", EXERCISES)
def test_a_changed_answer_is_wrong_or_known_to_be_right(name):
    """Every mutant of the right answer, by its numbers; those in float32 are found by another way, below."""
    made = making.made(REFERENCES[name], SEEDS)
    right = [one for one in made.equivalent if "float32" not in one]
    assert [one for one in right if not explained(name, one)] == []


def test_there_are_thousands_of_them():
    assert sum(making.made(one, SEEDS).mutants for one in REFERENCES.values()) > 10_000


@pytest.mark.slow
@pytest.mark.parametrize("name", EXERCISES)
def test_what_is_known_to_be_right_is_right_for_other_seeds(name):
    others = making.made(REFERENCES[name], (103, 104)).equivalent
    assert making.made(REFERENCES[name], SEEDS).equivalent == others


def test_a_mutant_says_what_it_is():
    tree = mutants.tree_of(REFERENCES["06/ex1"].right)
    space = {**making.HELPERS, **REFERENCES["06/ex1"].right.__globals__}
    cases = REFERENCES["06/ex1"].cases(np.random.default_rng(0))
    outputs = REFERENCES["06/ex1"].outputs
    found = {one.name: one for one in mutants.mutants(tree, outputs, mutants.scopes_of(tree, space, cases))}
    for name, wrong in {
        "da_f lacks the factor f (1 - f)": "dc * c_prev",
        "da_f takes c in place of c_prev": "dc * c * d_sigmoid(f)",
        "dc lacks the term dc_next": "dh * o * d_tanh(tanh_c)",
        "dc has the wrong sign at the term dc_next": "dh * o * d_tanh(tanh_c) - dc_next",
        "da_g has 1 - g in place of the derivative 1 - g^2": "dc * i * (1 - g)",
    }.items():
        assert found[name].wrong == wrong
    assert "da_i and da_o are exchanged" in found


# ---- inside the loop ---------------------------------------------------------------------------------------------------

# Not one name of the lesson's: time along the second axis of the batch-first arrays that it makes, gates in one array, i f g o
STRANGE = """
import numpy as np

def lstm_backward(dy, dh_last, dc_last, x, h, c, gates, W_x, W_h):
    steps, batch, width = dy.shape
    everything = np.zeros((batch, steps, 4 * width))
    from_later, memory = dh_last.copy(), dc_last.copy()
    for k in range(steps - 1, -1, -1):
        ii, ff, gg, oo = (gates[k][:, n * width : (n + 1) * width] for n in range(4))
        squashed = np.tanh(c[k + 1])
        from_later = from_later + dy[k]
        memory = memory + from_later * oo * (1 - squashed**2)
        everything[:, k] = np.hstack(
            [memory * gg * ii * (1 - ii), memory * c[k] * ff * (1 - ff), memory * ii * (1 - gg**2), from_later * squashed * oo * (1 - oo)]
        )
        from_later = everything[:, k] @ W_h.T
        memory = memory * ff
    flat = everything.reshape(-1, 4 * width)
    inputs, before = x.transpose(1, 0, 2).reshape(-1, x.shape[2]), h[:-1].transpose(1, 0, 2).reshape(-1, width)
    return (everything @ W_x.T).transpose(1, 0, 2), from_later, memory, inputs.T @ flat, before.T @ flat, flat.sum(0)
"""


def strange(*changes):
    code = STRANGE
    for right, wrong in changes:
        assert code.count(right) == 1, right
        code = code.replace(right, wrong)
    return check_code(find("06/ex2"), code)


def line_of(text):
    return next(k for k, line in enumerate(STRANGE.splitlines(), start=1) if text in line)


def test_a_right_answer_in_other_names_is_right():
    assert strange().right


@pytest.mark.parametrize(
    ("change", "name", "line"),
    [
        (("memory * c[k] * ff * (1 - ff)", "memory * c[k] * ff"), "da_f has f in place of the derivative f (1 - f)", "np.hstack"),
        (("memory * c[k] * ff", "memory * c[k + 1] * ff"), "da_f takes c_t in place of c_{t-1}", "np.hstack"),
        (("memory = memory * ff", "memory = memory * ii"), "dc_prev goes through i in place of f", "memory = memory * ff"),
        (("from_later = from_later + dy[k]", "from_later = dy[k]"), "dh_next is not added", ""),
        (("h[:-1].transpose", "h[1:].transpose"), "dW_h takes the state after the step, not the one before it", ""),
    ],
)  # fmt: skip
def test_a_mistake_is_named_and_its_line_is_found(change, name, line):
    found = strange(change)
    assert not found.right
    assert found.names, str(found)
    catalogue = {row.name for row in REFERENCES["06/ex2"].catalogue}
    assert found.names == (name,) or (name not in catalogue and found.names), str(found)
    if line:
        assert abs(found.line - line_of(line)) <= 1, str(found)


def test_two_mistakes_in_one_loop_are_both_seen():
    """One in a gate's line, one in the carry: the second does not hide the first."""
    found = strange(("memory * gg * ii * (1 - ii)", "memory * gg"), ("memory = memory * ff", "memory = memory"))
    assert not found.right
    assert abs(found.line - line_of("np.hstack")) <= 1
    assert "first seen in line" in str(found)
    assert "memory * gg\n  da_i: " in str(found)
    assert "dc0: it has dc at t=0 in place of dc_next" in str(found)


def test_the_simplest_wrong_case_is_shown():
    """The gradient at the final state shows only where there is one; simpler cases are said to be right."""
    found = strange(("dh_last.copy(), dc_last.copy()", "0 * dh_last, dc_last.copy()"))
    assert found.case == len(keys.of(find("06/ex2")).cases[0])
    assert "(simpler) are right" in str(found)
    everywhere = strange(("flat.sum(0)", "flat.mean(0)"))
    assert everywhere.case == 1
    assert "(simpler)" not in str(everywhere)


def test_the_numbers_have_enough_digits_and_no_path_of_a_temporary_folder():
    found = strange(("flat.sum(0)", "flat.sum(0) * (1 + 1e-5)"))
    (line,) = [line for line in found.lines if line.startswith("  db:")]
    given, right = re.findall(r"is (\S+), right is (\S+)", line)[0]
    assert given != right
    assert "/tmp" not in str(found)


# ---- what is recorded --------------------------------------------------------------------------------------------------

PROGRAM = '''
from __future__ import annotations
import numpy as np
from dataclasses import dataclass

SIZE: int = 3

@dataclass
class Made:
    """A class of a student's."""
    total: float = 2 * 1.5

    def __init__(self, x):
        super().__init__()
        self.total = x.sum()

def gen(x):
    for v in x:
        yield v * 2

def f(x, *, k: int = 1 + 1):
    """Text {not} to be touched."""
    a, (b, *c) = 1, (2, 3, 4)
    y = np.zeros((SIZE,))
    for t, v in enumerate(gen(x)):
        y[t] = v + (x[t - 1] if t else 0)
    y[1:] *= 2
    match k:
        case 2 if (z := y.sum()) > 0:
            y -= z
        case np.pi:
            pass
    del c[0]
    words = f"{y.sum():.{k}f} {b!r}"
    try:
        assert a == 1, words[0]
        lam = (lambda q: q @ q)(y)
    finally:
        y = y.T
    return y, Made(y).total, lam, [p**2 for p in x if p > 1], words
'''


def test_a_probed_program_computes_what_the_program_computes():
    x = np.array([1.0, 2.0, 3.0])
    plain, watched = {}, {}
    exec(compile(PROGRAM, "p", "exec"), plain)
    program, places = probe.probed(PROGRAM, "p")
    record = probe.Record(places, "f")
    watched[probe.PROBE] = record
    exec(program, watched)
    first, second = plain["f"](x), watched["f"](x)
    np.testing.assert_equal(first, second)
    texts = [(places[number].text, value.tolist()) for number, value in record.events]
    assert ("v * 2", 4.0) in texts
    assert ("y[t] = v + (x[t - 1] if t else 0)", 2.0) in texts
    assert all(PROGRAM.splitlines()[place.line - 1].strip() for place in places)


def test_a_place_in_a_helper_is_told_by_the_line_that_calls_it():
    code = "def half(a):\n    return a / 2\n\ndef f(x):\n    y = half(x)\n    return sum(half(v) for v in [x, y])\n"
    program, places = probe.probed(code, "p")
    record = probe.Record(places, "f")
    space = {probe.PROBE: record}
    exec(program, space)
    space["f"](8.0)
    halves = [(places[k].called, float(value)) for k, value in record.events if places[k].target == "return"]
    assert halves == [(5, 4.0), (6, 4.0), (6, 2.0), (0, 6.0)]


def test_what_is_recorded_is_bounded():
    code = "import numpy as np\n\ndef f():\n    x = np.ones(4000)\n    for k in range(10**4):\n        x = x + 1\n    return 10**400\n"
    program, places = probe.probed(code, "p")
    record = probe.Record(places, "f")
    space = {probe.PROBE: record}
    exec(program, space)
    space["f"]()
    assert len(record.events) <= probe.MOST_EVENTS
    assert record.size <= probe.MOST_SIZE + probe.MOST_NUMBERS


def test_watching_a_program_that_does_odd_things_gives_nothing():
    case = keys.of(find("00/ex1")).cases[0][0].arguments
    for code in (
        "def centred(x):\n    raise SystemExit\n",
        "import os\ndef centred(x):\n    os._exit(0)\n",
        "def centred(x):\n    while True: pass\n",
        "centred = 3\n",
        "def centred(x):\n    __probe__ = None\n    return x + 1\n",
        "(" * 500,
    ):
        found = sandbox.watch(code, "centred", [case], 2.0)
        assert isinstance(found, sandbox.Watched)


# ---- right answers, in every style -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("03/ex2", "import numpy as np\ndef rnn_forward(x, h0, W_x, W_h, b):\n    ys, h = [], h0\n    for one in x:\n        h = np.tanh(one @ W_x + h @ W_h + b)\n        ys.append(h)\n    return ys\n"),
        ("00/ex1", "def centred(x):\n    return (x - x.mean(0)).tolist()\n"),
        ("00/ex1", "def centred(x):\n    return {'anything': x - x.mean(0)}\n"),
        ("01/ex1", "from dataclasses import dataclass\nimport math\n@dataclass\nclass Slopes:\n    dx: float\n    db: float\n    dw: float\ndef one_weight(w, b, x, target):\n    y = math.tanh(w * x + b)\n    da = 2 * (y - target) * (1 - y * y)\n    return Slopes(da * w, da, da * x)\n"),
        ("01/ex4", "import numpy as np\ndef softmax_loss(y, labels):\n    e = np.exp(y - y.max(1, keepdims=True))\n    p = e / e.sum(1, keepdims=True)\n    n = np.arange(len(y))\n    loss = -np.log(p[n, labels] + 1e-12).mean()\n    p[n, labels] -= 1\n    return loss, p / len(y)\n"),
    ],
)  # fmt: skip
def test_other_styles_are_right(name, code):
    result = check_code(find(name), code)
    assert result.right, str(result)


@pytest.mark.parametrize("name", ["01/ex2", "03/ex2", "05/ex1", "06/ex1", "10/ex4", "12/ex4"])
def test_float32_is_found_where_float64_is_asked(name):
    exercise = find(name)
    code = solution(name).replace(f"def {exercise.function}(", "def _own(")
    code += (
        f"\n\ndef {exercise.function}(*args, **named):\n"
        "    narrow = lambda v: v.astype(np.float32) if getattr(v, 'dtype', None) == np.float64 else v\n"
        "    made = _own(*map(narrow, args), **{k: narrow(v) for k, v in named.items()})\n"
        "    if isinstance(made, dict):\n        return {k: np.asarray(v, float) for k, v in made.items()}\n"
        "    return tuple(np.asarray(v, float) for v in made) if isinstance(made, tuple) else np.asarray(made, float)\n"
    )
    result = check_code(exercise, code)
    assert result.status == "wrong"
    assert result.names == ("computed in float32",), str(result)


# ---- helpers, constants and other files --------------------------------------------------------------------------------


def test_a_file_may_import_those_beside_it(tmp_path):
    """Also theirs, in a wall or without one; Python's own modules and the library come first."""
    (tmp_path / "ex1.py").write_text("import slopes\ndef of_gate(s):\n    return slopes.sigmoid(s)\n", encoding="utf-8")
    (tmp_path / "slopes.py").write_text("def sigmoid(s):\n    return s * (1 - s)\n", encoding="utf-8")
    (tmp_path / "numpy.py").write_text("raise SystemExit\n", encoding="utf-8")
    (tmp_path / "random.py").write_text("raise SystemExit\n", encoding="utf-8")
    (tmp_path / "unused.py").write_text("raise SystemExit\n", encoding="utf-8")
    code = solution("06/ex1").replace(
        "import numpy as np", "import random\nimport numpy as np\nfrom ex1 import of_gate", 1
    )
    assert code.count("o * (1 - o)") == 1
    code = code.replace("o * (1 - o)", "of_gate(o)")
    (tmp_path / "ex1_again.py").write_text(code, encoding="utf-8")
    found = sources.beside(tmp_path / "ex1_again.py", code)
    assert found.keys() == {"ex1", "slopes"}
    result = check("06/ex1", tmp_path / "ex1_again.py")
    assert result.right, str(result)
    (tmp_path / "slopes.py").write_text("def sigmoid(s):\n    return 1 / 0\n", encoding="utf-8")
    result = check("06/ex1", tmp_path / "ex1_again.py")
    assert result.status == "raised"
    assert "numpy" not in sources.beside(tmp_path / "ex1_again.py", code)


NOTEBOOK = [
    "import numpy as np\nimport math as m\nfrom dataclasses import dataclass\nfrom collections import namedtuple\nONE, SCALE = 1, np.array([1.0])\nNAMES = {'a': [1, 2]}",
    "@dataclass\nclass Gate:\n    value: object\n    weight: float = 1.0\n\n    def slope(self):\n        return half(self.value) * SCALE * self.weight",
    "def half(s):\n    return s * (ONE - s)",
    "def step_backward(dh, dc_next, i, f, g, o, c_prev, c):\n    t = np.tanh(c)\n    dc = dh * o * (ONE - t**2) + dc_next\n    def through(v):\n        return Gate(v).slope()\n    return dc * g * through(i), dc * c_prev * through(f), dc * i * (1 - g**2), dh * t * through(o) * m.cos(0), dc * f",
]


def test_a_notebooks_function_brings_constants_classes_and_imports_of_other_cells():
    space = {"__name__": "__main__"}
    for number, code in enumerate(NOTEBOOK):
        name = f"<cell {number}>"
        linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)
        exec(compile(code, name, "exec"), space)
    result = check("06/ex1", space["step_backward"])
    assert result.right, str(result)


def test_renamed_arguments_are_told_the_stubs():
    code = "def step_backward(grad_h, grad_c, i, f, g, o, c_prev, c):\n    return grad_h\n"
    assert "keep the names of the stub: step_backward(dh, dc_next, i, f, g, o, c_prev, c)" in str(
        check_code(find("06/ex1"), code)
    )
    other = "def step_backward(*, dh, dc_next, i, f, g, o, c_prev, c, rate):\n    return dh\n"
    assert "keep the names of the stub" in str(check_code(find("06/ex1"), other))
    inner = "def step_backward(**a):\n    return (lambda x: x)(y=1)\n"
    assert "keep the names of the stub" not in str(check_code(find("06/ex1"), inner))


# ---- on the command line -----------------------------------------------------------------------------------------------


def test_verdicts_as_json_for_other_programs(tmp_path, capsys):
    files = []
    for number, code in enumerate(
        [solution("06/ex1"), solution("06/ex1").replace("into_c = dc_next + o", "into_c = o")]
    ):
        files.append(tmp_path / f"any name {number}.py")
        files[-1].write_text(code, encoding="utf-8")
    assert main(["course", "check", "--json", "--exercise", "06/ex1", *map(str, files)]) == 1
    right, wrong = map(json.loads, capsys.readouterr().out.splitlines())
    assert (right["verdict"], right["points"], right["exercise"]) == ("right", 10, "06/ex1")
    assert wrong["names"] == ["dc_next is not added"]
    assert (wrong["case"], wrong["file"]) == (1, str(files[1]))
    assert "dc_prev" in wrong["outputs"]
    assert wrong["line"] > 0
    assert wrong["seconds"] > 0


def test_a_case_is_shown_as_python(capsys):
    assert main(["course", "show", "06/ex2", "--case", "1", "--answer"]) == 0
    space = {}
    exec(capsys.readouterr().out, space)
    case = keys.of(find("06/ex2")).cases[0][0]
    for name, value in {**case.arguments, **case.right}.items():
        np.testing.assert_allclose(space[name], value, atol=1e-7)
    assert main(["course", "show", "06/ex2", "--case", "9"]) == 1
    assert "--case is 9, but 06/ex2 has the cases 1 to 3" in capsys.readouterr().err


# ---- answers of strangers ----------------------------------------------------------------------------------------------

STRANGERS = list(score.answers())


@pytest.mark.parametrize(
    "row", [pytest.param(r, id=f"{r['exercise']} {r['what'][:40]}") for r in STRANGERS if r["truth"] == "right"]
)
def test_a_right_answer_of_a_stranger_is_right(row):
    result = check_code(find(row["exercise"]), row["code"])
    assert result.right, str(result)


@pytest.mark.slow
def test_no_wrong_answer_of_a_stranger_is_right_and_nine_of_ten_are_named_or_found():
    """Every eighth one: all of them take most of an hour (tests/strangers/score.py)."""
    wrong = [score.checked(row) for row in [row for row in STRANGERS if row["truth"] == "wrong"][::8]]
    assert len(wrong) > 150
    words = [row["said"] for row in wrong]
    assert [row["what"] for row in wrong if row["said"] == "ACCEPTED"] == []
    assert words.count("outputs only") < 0.1 * len(words)
    certain = [word for word in words if word in ("known mistake", "one change", "two changes")]
    assert len(certain) > 0.65 * len(words)


def test_infinite_numbers_are_like_nothing():
    assert inside.likeness(np.array([np.inf, 1.0]), np.array([0.0, 1.0])) == 0
    assert inside.likeness(np.zeros(2), np.ones(2)) == 0
    table = np.array([moments.moments(np.arange(3.0))])
    assert list(moments.matches(np.arange(3.0)[::-1], table)) == [0]
    for strange in ([np.inf, 0, 0], [1e200, 1, 2], [np.nan, 1, 2]):  # the cube of 1e200 is infinite
        assert not len(moments.matches(np.array(strange), table))


SPOILED = (
    "({}) * np.nan",
    "({}) * np.inf",
    "np.asarray({})[..., :0]",
    "[{}]",
    "np.asarray({}).astype(object)",
    "({}) * 1j",
)


@pytest.mark.parametrize("name", EXERCISES)
def test_whatever_a_line_computes_there_is_a_verdict(name):
    """The right answer with an assigned value not a number, infinite, empty, of objects or complex, three of them for each."""
    chance = random.Random(name)
    for spoil in chance.sample(SPOILED, 3):
        tree = ast.parse(solution(name))
        places = [
            node for node in ast.walk(tree) if isinstance(node, (ast.Assign, ast.AugAssign, ast.Return)) and node.value
        ]
        node = chance.choice(places)
        node.value = ast.parse(spoil.format(ast.unparse(node.value)), mode="eval").body
        result = check_code(find(name), "import numpy as np\n" + ast.unparse(tree))
        assert result.lines, (spoil, str(result))
        assert result.status in ("right", "wrong", "raised", "type"), (spoil, str(result))


def test_a_wrong_value_in_a_helper_is_told_with_the_line_that_calls_it():
    code = (
        "import numpy as np\n\ndef mean(a):\n    return a.mean(axis=-1)[:, None]\n\n"
        "def layer_norm_backward(dy, x, gain, eps):\n    d = x - mean(x)\n    std = np.sqrt(mean(d * d) + eps)\n    n = d / std\n"
        "    dx = gain * (dy - mean(dy) - n * mean(dy * n)) / std\n    return dx, (dy * n).sum(0), dy.sum(0)\n"
    )
    (case, *_), *_ = keys.of(find("10/ex4")).cases
    seen = sandbox.watch(code, "layer_norm_backward", [case.arguments], 5.0)
    means = [place for place in seen.places if place.target == "return" and place.called]
    assert {diagnose.called(place, seen.places) for place in means} == {
        f"line 4 (called in line {line})" for line in (7, 8, 10)
    }
    assert "line 10, " in str(check_code(find("10/ex4"), code)).splitlines()[1]


def test_a_wrong_value_that_is_changed_once_more_is_told_with_both_lines():
    code = (
        "import numpy as np\n\ndef softmax_loss(y, labels):\n    p = np.exp(y - y.max(1, keepdims=True))\n    p /= p.sum(1, keepdims=True)\n"
        "    loss = -np.log(p[np.arange(len(p)), labels]).mean()\n    dy = p / len(p)\n    dy[:, labels] -= 1 / len(p)\n    return loss, dy\n"
    )
    said = str(check_code(find("01/ex4"), code))
    assert "first seen in line 7: dy = p / len(p)\n  or in line 8, which changes dy" in said
    assert "unlike" not in said  # the loss is put together in its own way, and right


def test_lines_of_a_function_are_those_that_its_writer_sees(tmp_path, monkeypatch):
    """In a notebook each cell counts its own; a helper is told by its name."""
    code = "import numpy as np\n\n\nHALF = 0.5\n\n\ndef slope(g):\n    return 1 - g * g\n\n\n" + solution(
        "06/ex1"
    ).replace("c_prev * f * (1 - f)", "c * f * (1 - f)").replace("1 - g**2", "slope(g)")
    (tmp_path / "my_cells.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    mine = __import__("my_cells")
    result = check("06/ex1", mine.step_backward)
    wrong = next(k for k, line in enumerate(code.splitlines(), 1) if "c * f * (1 - f)" in line)
    assert f"line {wrong}" in str(result)
    program = sources.with_names(mine.step_backward)
    assert program.line(program.code.splitlines().index("    return 1 - g * g") + 1) == "line 8 in slope"
