"""The course's machinery: every exercise, every catalogued mistake by its name, what is contained, and what must not leak."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from scratchnet_course import check, command, lessons
from scratchnet_course.checking import check_code
from scratchnet_course.diagnose import diagnose
from scratchnet_course.exercises import EXERCISES, find
from scratchnet_instructor import making, solution
from scratchnet_instructor.references import REFERENCES

ROOT = Path(__file__).parent.parent
SOURCES = lessons.sources(ROOT / "tutorials")


def stub(exercise):
    return (command.material() / f"{exercise}.py").read_text(encoding="utf-8")


SEED = 3  # of the keys, which are not those of the package


def run_or_none(function, case):
    """What a function returns; None where it raises an exception, as the sandbox has it."""
    try:
        with np.errstate(all="ignore"):
            return function(**{k: np.copy(v) if isinstance(v, np.ndarray) else v for k, v in case.items()})
    except Exception:
        return None


def answered(name, function):
    """A diagnosis in this process, of a function that is trusted."""
    key = making.key(name, SEED)
    answers = [run_or_none(function, case.arguments) for row in key.cases for case in row]
    return diagnose(EXERCISES[name], key, answers)


# ---- every exercise ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EXERCISES)
def test_the_stub_is_empty_and_the_solution_right(name):
    """The solution is written in another style than the library's code, so this is also: style does not matter."""
    exercise = EXERCISES[name]
    assert check_code(exercise, stub(name)).status == "empty"
    for seed in (None, SEED):
        result = check_code(exercise, solution(name), seed)
        assert result.right, str(result)
        assert result.points == exercise.points


def mistakes_of():
    return [
        pytest.param(name, k, id=f"{name} {w.name}")
        for name, one in REFERENCES.items()
        for k, w in enumerate(one.catalogue)
    ]


@pytest.mark.parametrize(("name", "number"), mistakes_of())
def test_every_mistake_is_called_by_its_name(name, number):
    wrong = REFERENCES[name].catalogue[number]
    found = answered(name, REFERENCES[name].planted(wrong))
    assert not found.right
    assert found.names == (wrong.name,), str(found)
    assert wrong.why in str(found)


@pytest.mark.parametrize("name", EXERCISES)
def test_two_mistakes_at_once_are_recognised_or_localised_and_never_misnamed(name):
    reference, rng = REFERENCES[name], np.random.default_rng(0)
    pairs = list(itertools.combinations(reference.catalogue, 2))
    for first, second in [pairs[k] for k in rng.permutation(len(pairs))[:4]]:
        try:
            found = answered(name, reference.planted(first, second))
        except ValueError:
            continue  # both edit the same place
        assert not found.right
        # Where one of them hides the other, the name is that of what is seen.
        assert set(found.names) <= {first.name, second.name}, str(found)
        assert found.wrong or "shape" in str(found)


@pytest.mark.parametrize("name", EXERCISES)
def test_a_perturbed_solution_is_neither_right_nor_named(name):
    """Smooth random errors of every size from a part in ten thousand up."""
    rng = np.random.default_rng(5)
    for size in (1e-4, 1e-2, 1.0):

        def perturbed(size=size, **arguments):
            answer = REFERENCES[name].answer(arguments)
            return {
                k: np.asarray(v, float) + size * (1 + np.abs(v)) * np.sin(1 + rng.standard_normal(np.shape(v)))
                for k, v in answer.items()
            }

        found = answered(name, perturbed)
        assert not found.right
        assert found.names == (), str(found)


def test_there_are_more_than_forty_mistakes_of_many_kinds():
    names = {w.name for one in REFERENCES.values() for w in one.catalogue}
    assert len(names) >= 40


@pytest.mark.parametrize("name", EXERCISES)
def test_an_exercise_stands_in_its_lesson_and_points_into_it(name):
    exercise = EXERCISES[name]
    (source,) = [s for s in SOURCES if s.stem.startswith(exercise.lesson)]
    parts = lessons.cells(source.read_text(encoding="utf-8"))
    heads = lessons.headings(parts)
    assert exercise.paragraph in heads, exercise.paragraph
    for wrong in REFERENCES[name].catalogue:
        assert not wrong.paragraph or wrong.paragraph in heads, wrong.paragraph
    assert f"Exercise {name}: {exercise.title}" in heads
    assert [cell.exercise for cell in parts].count(name) == 1
    assert exercise.hints
    assert f"def {exercise.function}(" in stub(name)


@pytest.mark.parametrize("source", SOURCES, ids=lambda p: p.stem)
def test_a_lesson_has_its_parts(source):
    parts = lessons.cells(source.read_text(encoding="utf-8"))
    heads = lessons.headings(parts)
    assert heads[0].startswith(source.stem[:2])
    text = "".join(cell.text for cell in parts if cell.markdown)
    assert "**Goal.**" in text
    assert "What goes wrong in practice" in heads
    assert "Sources" in heads
    exercises = [cell.exercise for cell in parts if cell.exercise]
    assert source.stem[:2] == "00" or 3 <= len(exercises) <= 6
    assert exercises == [f"{source.stem[:2]}/ex{k + 1}" for k in range(len(exercises))]
    assert set(exercises) <= set(EXERCISES)


# ---- what is contained -------------------------------------------------------------------------------------------------

HEAD = "import numpy as np\ndef step_backward(dh, dc_next, i, f, g, o, c_prev, c):\n"
RIGHT = """    t = np.tanh(c)
    dc = dh * o * (1 - t**2) + dc_next
    return dc * g * i * (1 - i), dc * c_prev * f * (1 - f), dc * i * (1 - g**2), dh * t * o * (1 - o), dc * f
"""


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ("    while True: pass\n", "timeout", "stopped after 2 seconds"),
        ("    import time\n    time.sleep(60)\n", "timeout", "stopped after 2 seconds"),
        ("    return 1 / 0\n", "raised", "ZeroDivisionError"),
        ("    raise SystemExit(0)\n", "raised", "SystemExit"),
        ("    import os\n    os._exit(0)\n", "died", "terminated without output"),
        ("    return np.zeros(3)\n", "wrong", "returned a ndarray: expected 5: da_i, da_f, da_g, da_o, dc_prev"),
        ("    return dh, dh\n", "wrong", "returned 2 values: expected 5"),
        ("    return {'da_i': dh}\n", "wrong", "returned da_i but no da_f, da_g, da_o, dc_prev"),
        ("    return 'a', dh, dh, dh, dh\n", "type", "da_i is a str, not numbers"),
        ("    return None\n", "type", "returned a NoneType, not numbers: is the return missing?"),
        ("    return dh, dh, dh, dh, dh[0]\n", "wrong", "dc_prev has shape"),
        ("    return dh * np.nan, dh, dh, dh, dh\n", "wrong", "are NaN or infinite"),
        ("    open('made.txt', 'w').write('x')\n" + RIGHT, "right", "right: da_i"),
        ("    print('looking', dh.shape)\n" + RIGHT, "right", "your code printed:\n  looking (2, 3)"),
        ("    print('x' * 10**6)\n" + RIGHT, "right", "characters more"),
        (
            "    dh *= 2\n    dh /= 2\n    c[...] = 0\n" + RIGHT.replace("np.tanh(c)", "np.tanh(f * c_prev + i * g)"),
            "changed",
            "c was changed in place",
        ),
        ("    np.empty(10**12)\n", "memory", "took more memory"),
    ],
)
def test_what_student_code_does_stays_where_it_is(body, status, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    from dataclasses import replace

    exercise = replace(find("06/ex1"), seconds=2.0)
    result = check_code(exercise, HEAD + body, 7)
    assert result.status == status, str(result)
    assert said in str(result)
    assert list(tmp_path.iterdir()) == []
    assert (result.points > 0) == (status == "right")


def test_other_things_that_can_be_wrong_with_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exercise = find("06/ex1")
    missing = check_code(exercise, "def step_bakward(): pass\n", 1)
    assert (missing.status, "defines no function step_backward: it has step_bakward" in str(missing)) == (
        "missing",
        True,
    )
    broken = check_code(exercise, "def step_backward(:\n", 1)
    assert broken.status == "raised"
    assert "SyntaxError" in str(broken)
    assert "code.py" in str(broken)
    traceback = check_code(exercise, HEAD + "    return dh + undefined_name\n", 1)
    assert "in step_backward" in str(traceback)
    assert "undefined_name" in str(traceback)
    assert "child.py" not in str(traceback)
    with pytest.raises(ValueError, match="there is no exercise '06/ex9': that lesson has 06/ex1"):
        find("06/ex9")
    with pytest.raises(FileNotFoundError):
        check("06/ex1")
    with pytest.raises(TypeError, match=r"the source of .* cannot be found"):
        check("06/ex1", eval("lambda: 0"))


def test_a_file_is_checked_and_named_with_its_hash(tmp_path):
    path = tmp_path / "ex1.py"
    path.write_text(HEAD + RIGHT, encoding="utf-8")
    result = check("06/ex1", path, seed=5)
    assert result.right
    assert str(path) in str(result)
    assert len(result.sha256) == 64
    assert "seed 5" in str(result)


# ---- what is wrong, in words -------------------------------------------------------------------------------------------


def test_the_step_the_gate_and_the_pattern_are_named():
    def with_(change):
        def function(**arguments):
            answer = {k: np.array(v) for k, v in REFERENCES["06/ex2"].answer(arguments).items()}
            change(answer)
            return answer

        return str(answered("06/ex2", function))

    def from_step_one(a):
        a["dx"][:2] += 0.1 * (len(a["dx"]) > 1)  # a single step is right: it has no other to come from

    def one_gate(a):
        a["dW_h"][:, a["dW_h"].shape[1] // 4] += 1

    def halved(a):
        a["db"] *= 0.5

    def reordered(a):
        a["db"] = np.concatenate([np.split(a["db"], 4)[k] for k in (0, 1, 3, 2)])

    assert "right at t=2, wrong from t=1 back" in with_(from_step_one)
    assert "in gate f only" in with_(one_gate)
    assert "it is 0.5 times the right one everywhere" in with_(halved) or "1/2" in with_(halved)
    assert "its 4 blocks are in another order: 1 2 4 3" in with_(reordered)
    assert "all zeros" in with_(lambda a: a["dx"].fill(0))
    assert "dW_x has shape (20, 3), expected (3, 20): it is transposed" in with_(lambda a: a.update(dW_x=a["dW_x"].T))
