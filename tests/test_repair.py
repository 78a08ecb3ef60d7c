"""A small change that makes every number right says where a mistake is: on mistakes of every kind, and on programs that go astray when
they are changed."""

import ast
import contextlib
import time

import numpy as np
import pytest
from scratchnet_course import changes, edits, forms, keys, reached, repair, sandbox, substitute, wall
from scratchnet_course.checking import check_code
from scratchnet_course.exercises import find
from scratchnet_course.repair import Found
from scratchnet_instructor import solution

from strangers import score

BACKWARD = """
import numpy as np


def step_backward(dh, dc_next, i, f, g, o, c_prev, c):
    tanh_c = np.tanh(c)
    dc = dh * o * (1 - tanh_c**2) + dc_next
    da_i = dc * g * i * (1 - i)
    da_f = dc * c_prev * f * (1 - f)
    da_g = dc * i * (1 - g**2)
    da_o = dh * tanh_c * o * (1 - o)
    return da_i, da_f, da_g, da_o, dc * f
"""


def changed(*changes):
    code = BACKWARD
    for right, wrong in changes:
        assert code.count(right) == 1, right
        code = code.replace(right, wrong)
    return code


def places(code, name="06/ex1"):
    exercise = find(name)
    cases = [case for row in keys.of(exercise).cases for case in row]
    found = sandbox.repair(code, exercise.function, cases, exercise.tolerance)
    return [{(place.line, place.wrong) for place in one} for one in found]


@pytest.mark.parametrize(
    ("right", "wrong", "line", "said"),
    [
        (" + dc_next", "", 7, forms.TERM),
        (" + dc_next", " - dc_next", 7, forms.SIGN),
        ("c_prev * f * (1 - f)", "c * f * (1 - f)", 9, forms.VARIABLE),
        ("c_prev * f * (1 - f)", "c_prev * (1 - f)", 9, forms.FACTOR),
        ("dc * i * (1 - g**2)", "dc * i * (1 - g**2) * o", 10, forms.MUCH),
        ("(1 - g**2)", "(1 - g)", 10, "a square is missing"),
        ("np.tanh(c)", "np.tan(c)", 6, forms.FUNCTION),
        ("np.tanh(c)", "1 / (1 + np.exp(-c))", 6, forms.FUNCTION),
        ("np.tanh(c)", "c / (1 + abs(c))", 6, ""),
        ("da_f, da_g,", "da_g, da_f,", 12, forms.ORDER),
        ("dc * f\n", "dc * f + dc_next\n", 12, forms.MUCH),
        ("dh * tanh_c", "dh / tanh_c", 11, forms.OPERATOR),
    ],
)
def test_one_mistake_is_pinned(right, wrong, line, said):
    found = places(changed((right, wrong)))
    if not said:
        assert found == [{(line, "")}]  # no one change makes a tanh of it; the right value does
    else:
        assert {(line, said)} in found


def test_two_mistakes_are_pinned_each_in_its_line():
    code = changed(("c_prev * f * (1 - f)", "c_prev * f"), ("dh * tanh_c", "dh * c"))
    (pair,) = places(code)
    assert {line for line, _ in pair} == {9, 11}
    result = check_code(find("06/ex1"), code)
    assert str(result).splitlines()[1].startswith("wrong in 2 places: ")
    assert "changed there, every number is right" in str(result)


LOOP = """
import numpy as np


def rnn_forward(x, h0, W_x, W_h, b):
    {}
    h = [h0]
    for t in range(len(x)):
        {}
        h.append(np.tanh(a))
    return np.stack(h[1:])
"""


@pytest.mark.parametrize(
    ("first", "second", "line", "said"),
    [
        ("T = len(x)", "a = x[t] @ W_x + h[0] @ W_h + b", 9, forms.INDEX),
        ("T = len(x)", "a = x[t] @ W_x + h[-1] @ W_h.T + b", 9, forms.TRANSPOSED),
        ("T = len(x)", "a = x[t] @ W_x + h[-1] @ W_h * b", 9, forms.OPERATOR),
        ("x = x[::-1]", "a = x[t] @ W_x + h[-1] @ W_h + b", 6, ""),
    ],
)
def test_a_mistake_in_a_loop_is_pinned(first, second, line, said):
    found = places(LOOP.format(first, second), "03/ex2")
    assert found, "nothing was found"
    assert any(one == line and (wrong == said or not said) for places_ in found for one, wrong in places_)


def test_what_is_found_makes_the_answer_right():
    """The change itself, made in the text: whatever is said was true."""
    code = changed(("dh * tanh_c", "dh / tanh_c"))
    exercise = find("06/ex1")
    cases = [case for row in keys.of(exercise).cases for case in row]
    found = sandbox.repair(code, exercise.function, cases, exercise.tolerance)
    for (place,) in found:
        lines = code.splitlines()
        lines[place.line - 1] = lines[place.line - 1].replace(place.old, f"({place.new})", 1)
        assert check_code(exercise, "\n".join(lines)).right, place


def expression(text: str) -> bool:
    """Not the bounds of a slice, not a statement: what brackets may be put around."""
    try:
        ast.parse(text, mode="eval")
    except SyntaxError:
        return False
    return True


@pytest.mark.slow
def test_what_is_said_of_strangers_answers_is_true():
    """The change that was found, made in the text of the file: then the checker says that it is right."""
    wrong = [row for row in score.answers() if row["truth"] == "wrong" and row["count"] == 1][::16]
    made = 0
    for row in wrong:
        exercise = find(row["exercise"])
        cases = [case for one in keys.of(exercise).cases for case in one]
        found = sandbox.repair(row["code"], exercise.function, cases, exercise.tolerance)
        for places in found[:1]:
            lines = row["code"].splitlines()
            if len(places) > 1 or places[0].fixes or places[0].places > 1:
                continue
            (place,) = places
            if lines[place.line - 1].count(place.old) == 1 and place.new and "\n" not in place.new:
                new = f"({place.new})" if expression(place.new) else place.new
                lines[place.line - 1] = lines[place.line - 1].replace(place.old, new)
                assert check_code(exercise, "\n".join(lines)).right, (row["exercise"], row["name"], place)
                made += 1
    assert made > 8


def test_two_places_are_certain_where_one_makes_an_output_right_by_itself():
    """What is wrong is said of that one alone: the other may do it in another way."""
    places = (Found(9, forms.MUCH, "dc * g", "dc", 1), Found(11, forms.SIGN, "a + b", "a - b", 0, alone=True))
    said = changes.said(find("06/ex1"), (places,))
    assert said.names == ('line 9, "dc * g": another expression belongs there', 'line 11, "a + b": the sign is wrong')
    assert said.lines[0] == f"wrong in 2 places: {'; '.join(said.names)}"
    assert "alone" not in said.lines[1]


def test_two_places_that_help_only_together_are_not_certain():
    """Two changes make much right by chance."""
    places = (Found(9, forms.MUCH, "dc * g", "dc", 0), Found(11, forms.SIGN, "a + b", "a - b", 0))
    said = changes.said(find("06/ex1"), (places,))
    assert said.names == ()
    assert said.lines[0].startswith('look at these places: line 9, "dc * g": another expression belongs there; line 11')
    assert "may be right" in said.lines[1]


def test_an_unlikely_change_is_not_certain():
    code = (
        "import numpy as np\n\ndef centred(x):\n    total = 0.0\n    result = np.zeros(x.shape)\n"
        "    for k in range(x.shape[1]):\n        total = total + x[:, k].sum()\n"
        "        result[:, k] = np.exp(x[:, k]) * 0 + x[:, k] - np.cos(total)\n    return result\n"
    )
    result = check_code(find("00/ex1"), code)
    assert result.names == ()  # to centre the result sets every mistake right
    assert "look at line" in str(result)


def test_two_changes_of_one_line_are_one_place():
    places = (Found(9, forms.MUCH, "dc = dc + a", "dc = a", 1), Found(9, forms.DIVISOR, "dc + a", "dc / a", 1))
    said = changes.said(find("06/ex1"), (places,))
    assert said.names == ('line 9, "dc = dc + a": another expression belongs there',)


def test_of_lines_that_may_be_meant_each_is_said():
    first = Found(9, "the mean is not subtracted", "x.copy()", "x.copy() - x.copy().mean(0)", 1)
    more = first._replace(old="x", new="x - x.mean(0)"), Found(11, forms.VARIABLE, "centred", "x", 2)
    said = changes.said(find("00/ex1"), ((first,), *((one,) for one in more)))
    assert said.names == (
        'line 9, "x.copy()": the mean is not subtracted; or line 11, "centred": another variable belongs there',
    )
    assert "in one of these places alone" in said.lines[1]


class Counted:
    """Right is what the argument is."""

    count = 3

    def far(self, function, case):
        return [repair.Far(float(function(4 + case) != 4 + case), 1.0)]

    def reached(self, function, case):
        return frozenset(), frozenset()

    def computed(self, case):
        return frozenset()

    def values(self, case):
        return {}


def test_a_change_that_never_ends_is_stopped():
    code = "def gates(n):\n    k = 0\n    while k < n:\n        k += 1\n    return k - 1\n"
    space = {}
    exec(compile(code, repair.FILE, "exec"), space)
    program = repair.Program(code, "gates", space, edits)
    started = time.monotonic()
    found = repair.repair(program, Counted())
    assert any(one.line == 5 for (one,) in found)
    assert time.monotonic() - started < repair.MOST_SECONDS + 2


@pytest.mark.parametrize(
    "line",
    [
        "raise SystemExit",
        "import os; os._exit(0)",
        "print('x' * 10**6)",
        "import sys; sys.settrace(None)",
        "import signal; signal.signal(signal.SIGALRM, signal.SIG_DFL)",
    ],
)
def test_a_program_that_does_odd_things_is_still_judged(line):
    code = changed(
        ("tanh_c = np.tanh(c)", f"tanh_c = np.tanh(c)\n    if dh.shape[0] > 99:\n        {line}"), (" + dc_next", "")
    )
    result = check_code(find("06/ex1"), code)
    assert result.status == "wrong"
    assert result.line


def test_an_exception_is_pinned_too():
    code = LOOP.format("W_h = W_h[0]", "a = x[t] @ W_x + h[-1] @ W_h + b")
    result = check_code(find("03/ex2"), code)
    assert result.status in ("raised", "wrong")
    code = LOOP.format("T = len(x)", "a = x[t + 1] @ W_x + h[-1] @ W_h + b")
    result = check_code(find("03/ex2"), code)
    assert result.status == "raised"
    assert 'line 9, "t + 1": another index belongs there' in str(result)


def test_only_what_every_student_has_goes_to_the_students_program(monkeypatch):
    """A grader's fresh seeds are secret until the end: changes are judged by the arguments that are in the package."""
    exercise = find("06/ex1")
    known = [case for row in keys.of(exercise).cases for case in row]
    given = []

    def noted(code, function, cases, tolerance, **more):
        given.append(cases)
        return ()

    monkeypatch.setattr(sandbox, "repair", noted)
    assert not check_code(exercise, changed((" + dc_next", "")), seed=7).right
    (cases,) = given
    for case, other in zip(known, cases, strict=True):
        assert all(np.array_equal(other.arguments[k], v) for k, v in case.arguments.items())
        assert other.right.keys() == case.right.keys()


# an LSTM step with mistakes in two lines: the outputs stay wrong until both are set right
TWO = [
    ((" + dc_next", ""), ("np.tanh(c)", "1 / (1 + np.exp(-c))"), {6, 7}),
    (("dh * o", "dh * f"), ("dc * f\n", "dc * i\n"), {7, 12}),
    (("dh * o", "dc_next * o"), ("(1 - g**2)", "(1 - g)"), {7, 10}),
]


@pytest.mark.parametrize(("one", "other", "lines"), TWO)
def test_two_mistakes_are_pinned_where_the_first_one_hides_the_second(one, other, lines):
    (found,) = places(changed(one, other))
    assert {line for line, _ in found} == lines


def test_of_two_changes_neither_is_shown():
    """The text of a place is that of the student's program, not what was put there."""
    code = changed(("c_prev * f * (1 - f)", "c * f * (1 - f)"), ("dh * tanh_c", "dh * c"))
    result = check_code(find("06/ex1"), code)
    assert set(result.names) == {
        f'line 9, "c" of "dc * c": {forms.VARIABLE}',
        'line 11, "c" of "dh * c": a function is missing',
    }
    assert "dc * c_prev" not in str(result)
    assert "dh * tanh_c" not in str(result)


def test_what_is_reached_is_told_by_value():
    """Also in a loop, in a part of an array, and before an exception."""
    code = "def f(x):\n    a = [0, 0]\n    for k in range(2):\n        a[k] = x[k] * 2\n    b = a[0] + a[1]\n    return b / None\n"
    space = {}
    exec(compile(code, repair.FILE, "exec"), space)
    look = reached.Reached(ast.parse(code), repair.FILE)
    table = [2.5, 5.0, 7.5]

    def matches(value):
        return [k for k, row in enumerate(table) if value == row]

    assert look(lambda: space["f"]([1.25, 2.5]), matches, own=3) == ({0, 1, 2}, {4, 5})
    assert look(lambda: space["f"]([1.25, 2.5]), matches, own=2) == ({0, 1, 2}, {4})
    assert look(lambda: space["f"]([1.25, 9.0]), matches, own=3) == ({0}, set())


@pytest.mark.skipif(not wall.find(), reason="there is no wall here")
def test_it_works_behind_a_wall():
    assert {(7, forms.TERM)} in places(changed((" + dc_next", "")))


@pytest.mark.parametrize("name", ["00/ex1", "03/ex3", "06/ex2", "07/ex1", "11/ex2", "14/ex3"])
def test_a_right_answer_is_not_changed(name):
    assert places(solution(name), name) == []


@pytest.mark.filterwarnings("ignore::SyntaxWarning")  # "1[0]", which nobody would write
def test_every_change_is_a_program():
    """Each one compiles, and the next one finds the program as it was."""
    code = solution("06/ex2")
    tree = ast.parse(code)
    space = {}
    exec(compile(code, repair.FILE, "exec"), space)
    function = find("06/ex2").function
    program = repair.Program(code, function, space, edits)
    tried = 0
    for edit in edits.edits(program.tree, {})[::23]:
        try:
            with program.changed(edit):
                tried += 1
        except NameError:  # a default that is not there
            continue
    assert tried > 300
    assert ast.dump(program.tree) == ast.dump(tree)


def test_a_mistake_that_quotes_the_right_answer_is_no_claim_about_the_students():
    """The student's stride is written otherwise: the numbers are the mistake's, and the words are the reference's."""
    rows = [r for r in score.answers() if (r["exercise"], r["name"]) == ("14/ex3", "b-w3")]
    said = str(check_code(find("14/ex3"), rows[0]["code"]))
    assert "your numbers are those of this mistake: elements goes to n - 1 in arange(" in said
    assert "\nmistake:" not in said


@pytest.mark.parametrize("said", [[[]], [[[3, "x", "y", "z", 1, [99, -1, "a"]]]], [], [[["a"]]], [[[1, 2]]]])
def test_what_a_program_says_of_changes_is_not_trusted(said):
    """The student's code runs in the process that reports them."""
    try:
        found = sandbox._read_repairs({"repairs": said}, outputs=2)
    except (ValueError, TypeError):  # then nothing was found
        return
    assert changes.said(find("06/ex1"), found).found == ()


@pytest.mark.parametrize(
    ("wrong", "right", "said"),
    [
        ("a[:, :H]", "a[:, H:2 * H]", forms.INDEX),  # of a gate's block the next one
        ("a[:, H:2 * H]", "a[:, 2 * H:3 * H]", forms.INDEX),
        ("a[:, 2 * H:3 * H]", "a[:, H:2 * H]", forms.INDEX),
        ("a.reshape(2, 3, 4)", "a.reshape(2, 4, 3).transpose(0, 2, 1)", forms.AXES),
        ("np.reshape(a, (3, 8))", "np.reshape(a, (8, 3)).T", forms.AXES),
        ("np.maximum(a, b)", "np.maximum(abs(a), abs(b))", forms.ABSOLUTE + ", in both"),
        ("a * b.sum(1)", "a * b.sum(1)[:, None]", "an axis is missing"),
        ("np.argsort(a[:, 0])", "np.argsort(np.argsort(a[:, 0]))", "it has positions, not ranks"),
        ("np.linalg.norm(a, 2)", "np.linalg.norm(a)", forms.MUCH),
        ("a.sum() / H / H", "a.sum() / H", forms.MUCH),
        ("a - H", "a - 0.3 * H", forms.FACTOR),
    ],
)
def test_what_may_stand_in_the_place_of_an_expression(wrong, right, said):
    space = {"np": np}
    square = np.random.default_rng(5).standard_normal((3, 8))
    values = {"a": square, "b": square[::-1] - 1, "H": 2, "k": 0.3}
    wanted = eval(right, space, dict(values))
    program = repair.Program(f"def f(a, b, H, k):\n    return {wrong}\n", "f", space, edits)
    words = set()
    for edit in edits.edits(program.tree, {}):
        with program.changed(edit) as code, program.loaded(code) as function, contextlib.suppress(Exception):
            given = function(**values)
            if np.shape(given) == np.shape(wanted) and np.allclose(given, wanted, 1e-12, 1e-12):
                words.add(edit.wrong)
    assert said in words


def test_a_thought_that_no_change_mends_is_pinned_by_the_right_value():
    """One number for all in place of one for each element: what belongs there makes all right, and what comes before is right."""
    code = (
        "import numpy as np\n\ndef relative_error(ours, numeric, floor):\n    off = np.abs(ours - numeric)\n"
        "    largest = max(np.max(np.abs(ours)), np.max(np.abs(numeric)), floor)\n    return off / largest\n"
    )
    said = str(check_code(find("02/ex2"), code)).splitlines()
    assert said[1] == 'line 5, "largest": with what belongs there (the model answer\'s size) every number is right'
    assert said[2] == "  so nothing after it is wrong, and what is assigned before it the model answer has, too"


def test_the_right_values_go_into_a_loop_in_either_order():
    x = [np.arange(3.0) + t for t in range(4)]
    assert [len(order) for order in substitute.orders(x)] == [4, 4, 0, 0]
    assert [len(order) for order in substitute.orders(x[:1])] == [
        1,
        1,
        3,
        3,
    ]  # one step: backwards is the second here, too
    np.testing.assert_array_equal(substitute.orders(x)[1], x[::-1])
    (whole,) = (np.arange(6.0).reshape(3, 2),)
    assert [np.shape(order) for order in substitute.orders([whole])] == [(1, 3, 2), (1, 3, 2), (3, 2), (3, 2)]
    feed = substitute.Feed()
    feed.start([whole, np.array(7.0), whole])
    np.testing.assert_array_equal(feed(np.zeros((2, 3))), whole.T)
    assert feed(1.0) == 7.0
    np.testing.assert_array_equal(feed(2.0), whole)  # one number where an array belongs
    with pytest.raises(ValueError, match="no value is left"):
        feed(np.zeros(2))


def test_no_right_value_mends_what_is_wrong_in_two_ways_apart():
    code = changed(("c_prev * f * (1 - f)", "c_prev"), ("dh * tanh_c * o * (1 - o)", "dh"))
    exercise = find("06/ex1")
    cases = [case for row in keys.of(exercise).cases for case in row]
    found = sandbox.repair(code, exercise.function, cases, exercise.tolerance)
    assert not any(place.instead for places in found for place in places)


def test_the_right_value_is_found_in_a_loop_that_goes_backwards():
    """Also where the simplest wrong case has one step, which has no order."""
    right = "memory + total * o[t] * (1 - shown**2)"
    code = solution("06/ex2").replace(right, "memory + np.cos(total) * np.exp(-o[t]) * np.sin(shown)")
    exercise = find("06/ex2")
    cases = [case for row in keys.of(exercise).cases for case in row]
    ((place,),) = sandbox.repair(code, exercise.function, cases, exercise.tolerance)
    assert place.old == "into_c"
    assert place.instead == "dc"


def test_a_right_value_is_no_change():
    """Under a known name no place is said for it."""
    assert changes.pointer(((Found(5, "", "scale", "", 0, instead="size"),),)) == ""
