"""The stepper page as a file: what is written into it, for which cell, and what it says that it cannot do."""

import re
import time
from itertools import pairwise

import numpy as np
import pytest
import scratchnet
from scratchnet.cells import CELLS, variants
from scratchnet.commands.cli import main
from scratchnet.layers import ACTIVATIONS, GRU, LSTM, Linear, Sequential
from scratchnet.tracing import per_loss_gradients
from scratchnet.tracing.order import unit_order
from scratchnet.tracing.program import program_of
from scratchnet.view import Stop, page
from scratchnet.view.layout import Graph, drawing, place
from scratchnet.view.walk import steps

from page_makers import RECURRENT, ROOT, data_of, small_trace, unpack, walk_of

EVERY = {label: (cell, tuple(options.items())) for label, cell, options in variants()}


@pytest.mark.parametrize("label", EVERY)
def test_micro_steps_quote_lines_that_are_there(label):
    cell, options = EVERY[label]
    walk = steps(program_of(cell, options), cell)
    assert walk["forward"]
    assert walk["backward"][0]["terms"] == ["dh"]
    for step in walk["forward"] + walk["backward"]:
        assert step["title"]
        assert step["code"]
        for place_, code, comment in step["code"]:
            file, _, number = place_.partition(":")
            line = (ROOT / file).read_text(encoding="utf-8").splitlines()[int(number) - 1]
            assert code in line
            assert comment in line


def test_the_lstms_backward_walk_is_the_lines_of_its_file():
    walk = steps(program_of(CELLS["lstm"]), CELLS["lstm"])["backward"]
    assert [step["terms"][-1] if step["terms"] else "weights" for step in walk] == [
        *("dh", "dc", "da_o", "da_i", "da_f", "da_g", "dc_prev", "dh_prev", "weights", "dx")
    ]
    assert [step["title"] for step in walk][:3] == [
        "two gradients meet in h",
        "two gradients meet in c",
        "back through the output gate",
    ]


@pytest.mark.parametrize("label", EVERY)
def test_every_cell_has_a_drawing_without_collisions(label):
    """Each operation has a place of its own, wires end at what they join, and no wire runs through another's node."""
    cell, options = EVERY[label]
    program = program_of(cell, options)
    made, graph = drawing(program, cell.STATES), Graph(program, cell.STATES)
    spots = {at: (x, y) for at, _, x, y in made["nodes"]} | {at: (x, y) for at, _, x, y in made["previous"]}
    assert len(set(spots.values())) == len(spots)
    drawn = {(u, v) for u, v, _, _ in made["wires"]}
    assert drawn == {(u, v) for v, inputs in graph.inputs.items() for u in inputs} | {
        (at, None) for at in graph.finals.values()
    }
    for u, v, gradient, way in made["wires"]:
        assert way[0] == spots[u]
        assert way[-1] == (spots[v] if v is not None else (made["width"], spots[u][1]))
        assert gradient is not None
        for (x1, y1), (x2, y2) in pairwise(way):
            assert x1 == x2 or y1 == y2
            for at, (x, y) in spots.items():
                inside = min(x1, x2) <= x <= max(x1, x2) and min(y1, y2) <= y <= max(y1, y2)
                assert not inside or at in (u, v), (u, v, at)
    carried = [path for path in graph.carry if path]
    for path in carried[:1]:
        assert len({spots[at][1] for at in path}) == 1  # the carry path is straight


def test_drawing_is_quick():
    for cell, options in EVERY.values():
        program = program_of(cell, options)
        started = time.process_time()
        place(Graph(program, cell.STATES))
        assert time.process_time() - started < 3


def test_a_page_is_one_file_that_fetches_nothing(rng):
    text = page(small_trace(rng))
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)[1]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    assert not re.search(r"https?://(?!www\.w3\.org/(2000/svg|1998/Math/MathML))", text)
    assert not re.search(r"@import|src=|@@", text)


def test_its_arrays_are_the_traces(rng):
    trace = small_trace(rng, "gru", num_layers=2, bidirectional=True, N=3)
    data = data_of(page(trace, sample=2))["traces"][0]
    assert [run["name"] for run in data["runs"]] == list(trace.runs)
    for packed, run in zip(data["runs"], trace.runs.values()):
        for name, array in packed["arrays"].items():
            np.testing.assert_array_equal(unpack(array), run[name][:, 2])
    assert data["model"]["editable"]


def test_size_and_what_is_left_out(rng):
    """T=100, H=64 in full within two million bytes; more is sampled, and said."""
    model = Sequential(rec=LSTM(8, 64, rng=rng), head=Linear(64, 1, rng=rng))
    text = page(scratchnet.trace(model, rng.standard_normal((100, 1, 8)), rng.standard_normal((100, 1, 1))))
    assert len(text.encode()) <= 2_000_000
    (run,) = data_of(text)["traces"][0]["runs"]
    assert run["H"] == 64
    assert not run["sampled"]
    assert run["arrays"]["h"]["type"] == "f8"
    model = Sequential(rec=LSTM(8, 128, rng=rng), head=Linear(128, 1, rng=rng))
    trace = scratchnet.trace(model, rng.standard_normal((600, 1, 8)), rng.standard_normal((600, 1, 1)))
    text = page(trace)
    assert len(text.encode()) <= 2_000_000
    data = data_of(text)["traces"][0]
    (run,) = data["runs"]
    assert run["sampled"]
    assert any(f"{run['H']} of 128 units are shown" in note for note in data["notes"])
    assert any("no editing and no numeric gradients" in note for note in data["notes"])
    np.testing.assert_allclose(unpack(run["arrays"]["dc"]), trace.run["dc"][:, 0][:, run["units"]], rtol=1e-6)


def test_a_very_long_trace_shows_its_end(rng):
    layer = GRU(1, 16, rng=rng, dtype=np.float32)
    data = data_of(page(scratchnet.trace(layer, np.ones((20_000, 1, 1), np.float32))))["traces"][0]
    (run,) = data["runs"]
    assert run["first"] + run["T"] == 20_000
    assert any("steps are shown" in note for note in data["notes"])


def test_a_cut_page_cuts_the_outputs_with_the_runs(rng):
    """What the time line draws at a step is that step's output, also where early steps are left out."""
    model = Sequential(rec=LSTM(1, 4, rng=rng), head=Linear(4, 1, rng=rng))
    target = np.arange(9000.0)[:, None, None]
    text = page(scratchnet.trace(model, np.ones((9000, 1, 1)), target))
    assert len(text.encode()) <= 2_000_000
    data = data_of(text)["traces"][0]
    (run,) = data["runs"]
    assert 0 < run["first"] == 9000 - run["T"]
    np.testing.assert_array_equal(unpack(data["outputs"]["target"])[:, 0], target[run["first"] :, 0, 0])


def test_labels_are_those_of_the_first_sequence(rng):
    trace = small_trace(rng, N=2, labels="abcdef")
    assert data_of(page(trace))["traces"][0]["labels"] == list("abcdef")
    assert data_of(page(trace, sample=1))["traces"][0]["labels"] == []


def test_per_loss_gradients_are_those_of_the_sequence_shown(rng):
    trace = small_trace(rng, N=3, H=3)
    for n in range(3):
        (run,) = data_of(page(trace, sample=n))["traces"][0]["runs"]
        assert run["perLoss"]["losses"] == list(range(6))
        assert run["perLoss"]["of"] == 6
        np.testing.assert_allclose(unpack(run["perLoss"]["size"]), per_loss_gradients(trace.run, n).size, rtol=1e-6)


def test_outputs_of_batch_first_models(rng):
    model = Sequential(rec=LSTM(2, 3, batch_first=True, rng=rng), head=Linear(3, 1, rng=rng))
    trace = scratchnet.trace(model, rng.standard_normal((3, 5, 2)), rng.standard_normal((3, 5, 1)))
    outputs = data_of(page(trace, sample=1))["traces"][0]["outputs"]
    np.testing.assert_array_equal(unpack(outputs["output"]), trace.y[1])


def test_the_steps_are_those_of_the_option(rng):
    data = data_of(page(small_trace(rng, "rnn relu")))
    kinds = {op[0] for op in data["programs"][0]["ops"]}
    assert {"relu", "d_relu"} <= kinds
    assert not {"tanh", "d_tanh"} & kinds


def test_the_page_opens_on_the_unit_that_carries_the_gradient(rng):
    """Rows are ordered as in the figures, and of a large layer those units are kept."""
    trace = small_trace(rng, H=12)
    (run,) = data_of(page(trace))["traces"][0]["runs"]
    assert [run["units"][k] for k in run["order"]] == list(unit_order(trace.run, 0))
    wide = scratchnet.trace(LSTM(8, 256, rng=rng), rng.standard_normal((400, 1, 8)), rng.standard_normal((400, 1, 256)))
    (run,) = data_of(page(wide))["traces"][0]["runs"]
    assert run["sampled"]
    assert [run["units"][k] for k in run["order"]] == list(unit_order(wide.run, 0))[: run["H"]]


def test_a_story_of_the_trace_and_one_of_ones_own(rng):
    for kind in RECURRENT:
        trace = small_trace(rng, kind)
        stops = data_of(page(trace))["traces"][0]["story"]
        assert 8 <= len(stops) <= 10, kind
        walk = walk_of(trace.run)
        for stop in stops:
            assert "step" not in stop or 0 <= stop["step"] < len(walk)
            assert len(stop["say"]) < 240
    own = [Stop("Here", "Look at this.", t=2, term="dc", unit=1), Stop("There", "And at that.", zoom="river")]
    trace = small_trace(rng)
    first, second = data_of(page(trace, story=own))["traces"][0]["story"]
    assert "dc" in walk_of(trace.run)[first["step"]]["terms"]
    assert (first["t"], first["unit"], second["zoom"]) == (2, 1, "river")
    assert data_of(page(trace, story=False))["traces"][0]["story"] == []
    with pytest.raises(IndexError, match=r"the stop 'Late' is at t=9 but rec\.l0 has 6 steps: expected 0 to 5"):
        page(trace, story=[Stop("Late", "", t=9)])
    with pytest.raises(IndexError, match="no micro-step of the cell computes 'dq'"):
        page(trace, story=[Stop("None", "", term="dq")])
    with pytest.raises(TypeError, match="a stop of the story is a str: expected Stop"):
        page(trace, story=["here"])


@pytest.mark.parametrize(
    ("odd", "where"),
    [(np.nan, "the input holds nan at step 3 of sequence 1"), (np.inf, "the input holds inf at step 3")],
)
def test_a_nan_is_named_and_nothing_is_computed_with_another_number(odd, where, rng):
    model = Sequential(rec=LSTM(2, 3, rng=rng), head=Linear(3, 1, rng=rng))
    x = rng.standard_normal((5, 2, 2))
    x[3, 1, 0] = odd
    with np.errstate(all="ignore"):
        trace = scratchnet.trace(model, x, rng.standard_normal((5, 2, 1)))
    data = data_of(page(trace))["traces"][0]
    assert data["model"] is None
    assert any(where in note for note in data["notes"])


def test_labels_cannot_end_the_data(rng):
    evil = [
        "</script><script>document.title='hacked'</script>",
        "<img src=x onerror=alert(1)>",
        "@@SCRIPT@@",
        "@@DATA@@",
        "c",
        "&amp;",
    ]
    text = page(small_trace(rng, labels=evil), names=["</title><script>1</script> @@STYLE@@"])
    assert text.count("</script>") == 2  # the page's own: the data's and the script's
    assert "<img" not in text
    assert data_of(text)["traces"][0]["labels"] == evil


def test_bad_arguments(rng):
    trace = small_trace(rng, N=2)
    with pytest.raises(IndexError, match=r"sample is 2 but rec\.l0 has 2 sequences: expected 0 to 1"):
        page(trace, sample=2)
    with pytest.raises(ValueError, match="there are 1 names but 2 traces"):
        page(trace, compare=trace, names=["a"])
    with pytest.raises(KeyError, match="the trace has no run 'top'"):
        page(trace, runs=["top"])


@pytest.mark.parametrize("others", [[], ["gru"], ["gru", "sru"]])
def test_the_command_compares_any_number_of_traces(others, rng, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    kinds = ["lstm", *others]
    for kind in kinds:
        small_trace(rng, kind).save(f"{kind}.npz")
    compare = ["--compare", *(f"{kind}.npz" for kind in others)] if others else []
    assert main(["view", "lstm.npz", *compare, "--names", *kinds]) == 0
    assert capsys.readouterr().out == "lstm.html\n"
    data = data_of((tmp_path / "lstm.html").read_text(encoding="utf-8"))
    assert [(t["label"], t["runs"][0]["cell"]) for t in data["traces"]] == [(kind, kind) for kind in kinds]
    assert main(["view", "lstm.npz", *compare, "--names", "a", "b", "c", "d"]) == 1
    assert f"there are 4 names but {len(kinds)} traces" in capsys.readouterr().err


def test_what_the_page_cannot_compute_it_says(rng):
    model = Sequential(rec=LSTM(2, 4, rng=rng), act=ACTIVATIONS["gelu"](), head=Linear(4, 1, rng=rng))
    x, target = rng.standard_normal((4, 1, 2)), rng.standard_normal((4, 1, 1))
    for trace, note in [
        (scratchnet.trace(model, x, target), "cannot compute layers of the kind gelu"),
        (
            scratchnet.trace(LSTM(2, 4, rng=rng), x),
            "made without a target and a loss: no editing and no numeric gradients",
        ),
        (
            scratchnet.trace(LSTM(2, 1, rng=rng), x, target, lambda y, t: (0.0, y - t)),
            "does not know the loss <lambda>",
        ),
    ]:
        data = data_of(page(trace))["traces"][0]
        assert data["model"] is None
        assert any(note in n for n in data["notes"])
