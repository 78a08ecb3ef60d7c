"""The stepper page: what stands in it, and what it does in a browser."""

import base64
import json
import math
import re
import time
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import scratchnet
from scratchnet.cells import CELLS, variants
from scratchnet.commands.cli import main
from scratchnet.layers import GRU, LSTM, RNN, Dropout, Embedding, Linear, Recurrent, ReLU, Sequential, Tanh
from scratchnet.tracing import per_loss_gradients
from scratchnet.tracing.difference import differences, first_difference
from scratchnet.tracing.order import unit_order
from scratchnet.tracing.program import program_of
from scratchnet.tracing.terms import program_for
from scratchnet.view import Stop, page
from scratchnet.view.layout import Graph, drawing, place
from scratchnet.view.walk import steps
from scratchnet_course import mistakes

from conftest import RECURRENT as LAYERS

RECURRENT = LAYERS | {name: partial(Recurrent, name) for name in CELLS if name not in ("rnn", "lstm", "gru")}
ROOT = Path(__file__).parent.parent


def small_trace(rng, kind="lstm", T=6, N=1, H=4, labels=(), **options):
    rec = RECURRENT[kind](2, H, rng=rng, **options)
    model = Sequential(rec=rec, head=Linear(rec.output_size, 1, rng=rng))
    for p in model.params.values():
        p += 0.3 * rng.standard_normal(p.shape)
    return scratchnet.trace(model, rng.standard_normal((T, N, 2)), rng.standard_normal((T, N, 1)), labels=labels)


def data_of(text):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)[1])


def unpack(packed):
    return np.frombuffer(base64.b64decode(packed["data"]), packed["type"]).reshape(packed["shape"])


# ---- what stands in the page ---------------------------------------------------------------------------------------------


EVERY = {label: (cell, tuple(options.items())) for label, cell, options in variants()}


def walk_of(run, direction="backward"):
    return steps(program_for(run.cell, run.cache), run.cell)[direction]


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
    model = Sequential(rec=LSTM(2, 4, rng=rng), act=scratchnet_layer("gelu"), head=Linear(4, 1, rng=rng))
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


def scratchnet_layer(name):
    from scratchnet.layers import ACTIVATIONS

    return ACTIVATIONS[name]()


def test_in_a_notebook_it_is_an_iframe_of_its_own(rng):
    trace = small_trace(rng)
    text = trace._repr_html_()
    assert ' srcdoc="&lt;!DOCTYPE html&gt;' in text
    assert ' sandbox="allow-scripts" ' in text
    assert re.findall("allow-[a-z-]+", text) == ["allow-scripts"]


# ---- in a browser --------------------------------------------------------------------------------------------------------


@pytest.fixture
def opened(browser, tmp_path):
    """Writes a trace's page, opens it from disk, and checks afterwards that nothing was complained of or fetched."""

    def open_page(trace, fragment="", **options):
        path = scratchnet.to_html(trace, tmp_path / "page.html", **options)
        browser.get("about:blank")
        browser.get(path.as_uri() + fragment)
        return browser

    yield open_page
    assert browser.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    requests = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert [url for url in requests if not url.startswith(("file:", "about:", "data:"))] == []


def press(driver, *keys):
    """Type keys at the page itself."""
    from selenium.webdriver.common.action_chains import ActionChains

    ActionChains(driver).send_keys(*keys).perform()


def shown(driver, result):
    """The full-precision value of a term of the micro-step on display."""
    return float(driver.find_element("css selector", f'.term[data-result="{result}"]').get_attribute("data-value"))


@pytest.mark.parametrize("kind", RECURRENT)
def test_walking_backwards_by_keyboard_shows_the_traces_numbers(kind, opened, rng):
    """From the last step to t=0, every micro-step of every step, each term compared."""
    trace = small_trace(rng, kind, T=4)
    driver, run = opened(trace, "#zoom=cell"), trace.run
    walk, unit = walk_of(run), int(unit_order(run, 0)[1])
    press(driver, "\ue015")  # arrow down: the second unit in the order of the rows
    for t in reversed(range(4)):
        if t < 3:  # through the loss and the head, which were there at the start too
            assert driver.find_element("css selector", ".title").text == "the loss sends its gradient"
            press(driver, " ", " ")
        for number, step in enumerate(walk):
            assert driver.find_element("id", "clock").text == f"t = {t} of 3"
            assert driver.find_element("css selector", ".title").text.startswith(f"{number + 1} of {len(walk)}")
            for result in step["terms"]:
                if result == "dx":
                    continue  # of the features, not of the units
                assert shown(driver, result) == pytest.approx(run[result][t, 0, unit], rel=1e-12, abs=1e-16), (
                    t,
                    result,
                )
            press(driver, " ")
    assert driver.find_element("id", "clock").text == "t = 0 of 3"  # the walk ends there


@pytest.mark.parametrize("kind", RECURRENT)
def test_the_wires_carry_the_traces_numbers(kind, opened, rng):
    """Forwards every named value, backwards every gradient beside its value; and where gradients meet, they add up."""
    trace = small_trace(rng, kind, T=4)
    driver, run = opened(trace, "#zoom=cell&t=1&walk=forward"), trace.run
    unit = int(unit_order(run, 0)[0])

    def labels(attribute):
        driver.execute_script(f"scratchnet.go({{ j: {unit} }})")
        found = driver.execute_script(
            f"return [...document.querySelectorAll('.cell [{attribute}]')].map(e => [e.getAttribute('{attribute}'), e.getAttribute('data-value')])"
        )
        return {name: float(value) for name, value in found if name and value}

    def ours(name):
        if name.endswith("_prev") and name[:-5] in run.cell.STATES:
            return run[name[:-5]][1, 0, unit]
        return run[name][2 if name in run.cell.STATES else 1, 0, unit]

    forward = labels("data-wire")
    assert {*run.cell.STATES, *(g for g in run.cell.GATES if g in run)} <= forward.keys()
    for name, value in forward.items():
        if name != "x":
            assert value == pytest.approx(ours(name), rel=1e-12, abs=1e-16), name
    driver.execute_script("scratchnet.go({ mode: 'backward' })")
    backward = labels("data-gradient")
    assert {"dh", *(f"d{s}_prev" for s in run.cell.STATES if s != "h" or run.cell_name != "sru")} <= backward.keys()
    for name, value in backward.items():
        if name != "dx":
            assert value == pytest.approx(ours(name), rel=1e-12, abs=1e-16), name
    assert labels("data-wire").keys() >= {*run.cell.STATES}  # and the values stay beside them
    sums = driver.execute_script("""
        const { run } = scratchnet.panes[0], { program } = run, found = [];
        for (const u of new Set(run.wires.map(w => w.u))) {
            const wires = run.wires.filter(w => w.u === u && !w.bus), total = program.totals.get(u);
            if (run.wires.some(w => w.u === u && w.bus) || total === undefined) continue;
            const parts = wires.map(w => run.value(w.d, 1, scratchnet.view.j));
            found.push([run.value(total, 1, scratchnet.view.j), parts.reduce((a, b) => a + b, 0)]);
        }
        return found;""")
    assert len(sums) >= 2
    for total, parts in sums:
        assert total == pytest.approx(parts, rel=1e-9, abs=1e-14)


@pytest.mark.parametrize("kind", RECURRENT)
def test_formulas_with_the_numbers_filled_in_are_the_values(kind, opened, rng):
    """Each formula is evaluated as the page writes it, to the digits that it shows, for two steps and all units."""
    trace = small_trace(rng, kind)
    driver, run = opened(trace), trace.run
    found = driver.execute_script("""
        const { run } = scratchnet.panes[0], { program } = run, out = [];
        for (const name of [...Object.keys(program.forward), ...Object.keys(program.backward)]) {
            const at = program.at(name);
            if (name === 'dx' || program.ops[at][0] === 'dot' || program.ops[at][0].startsWith('normalise')) continue;
            for (const t of [1, 4]) for (let j = 0; j < run.H; j++) out.push([name, run.value(at, t, j), filled(run, at, t, j)]);
        }
        return out;""")
    assert len(found) >= 8 * run.H
    # not of layer normalisation: a unit of it depends on all
    found = [row for row in found if "LN" not in row[2]]
    sigma = {"σ": lambda a: 1 / (1 + math.exp(-a)), "tanh": math.tanh, "relu": lambda a: max(a, 0.0)}
    for name, value, formula in found:
        text = formula.replace("·", "*").replace("−", "-").replace("²", "**2")
        text = re.sub(r"\[(.*?) > 0\]", r"(\1 > 0)", text)
        assert eval(text, dict(sigma)) == pytest.approx(value, rel=0.02, abs=2e-3), (name, formula)


def test_equations_are_typeset_in_the_wires_colours(opened, rng):
    driver = opened(small_trace(rng, "lstm"), "#zoom=cell&t=2&walk=backward&step=6")
    equation = driver.find_element("css selector", '.term[data-result="dc_prev"] math')
    assert equation.text.replace("\n", "").replace(" ", "").startswith("dc")
    colours = driver.execute_script(
        "return [...document.querySelectorAll('.term math [data-symbol]')].map(e => [e.dataset.symbol, e.style.color])"
    )
    palette = json.loads((ROOT / "scratchnet" / "palette.json").read_text(encoding="utf-8"))["quantities"]

    def rgb(text):
        return f"rgb({', '.join(str(int(text[k : k + 2], 16)) for k in (1, 3, 5))})"

    assert dict(colours) == {
        "dc_prev": rgb(palette["c"]["light"]),
        "dc": rgb(palette["c"]["light"]),
        "f": rgb(palette["f"]["light"]),
    }


def test_a_cell_of_ones_own_has_its_page(opened, rng):
    """Drawing, walk, equations and numeric gradients, without a line of JavaScript."""
    from scratchnet.cells import CELLS, register_cell

    source = (ROOT / "scratchnet" / "cells" / "lstm_coupled.py").read_text(encoding="utf-8")
    import types

    cell = types.ModuleType("my_cell")
    exec(
        compile(source.replace("tanh_c", "squashed"), str(ROOT / "scratchnet" / "cells" / "lstm_coupled.py"), "exec"),
        cell.__dict__,
    )
    register_cell("my_cell", cell)
    try:
        model = Sequential(rec=Recurrent("my_cell", 2, 3, rng=rng), head=Linear(3, 1, rng=rng))
        trace = scratchnet.trace(model, rng.standard_normal((4, 1, 2)), rng.standard_normal((4, 1, 1)))
        driver = opened(trace, "#zoom=cell&t=2&step=1")
        assert shown(driver, "dc") == pytest.approx(trace.run["dc"][2, 0, int(unit_order(trace.run, 0)[0])], rel=1e-12)
        assert driver.find_elements("css selector", ".cell svg .node")
        assert driver.find_elements("css selector", "[data-numeric]")
    finally:
        del CELLS["my_cell"]


def test_a_cell_that_cannot_be_watched_has_its_numbers(opened, rng):
    import types

    from scratchnet.cells import CELLS, lstm, register_cell

    cell = types.SimpleNamespace(**{name: getattr(lstm, name) for name in dir(lstm) if not name.startswith("__")})

    def forward(x, h0, c0, W_x, W_h, b, lengths=None):
        assert float(np.abs(x).max()) < 1e6
        return lstm.forward(x, h0, c0, W_x, W_h, b, lengths)

    cell.forward = forward
    register_cell("opaque", cell)
    try:
        trace = scratchnet.trace(
            Recurrent("opaque", 2, 4, rng=rng), rng.standard_normal((5, 1, 2)), rng.standard_normal((5, 1, 4))
        )
        driver = opened(trace, "#zoom=cell&t=2")
        text = driver.find_element("tag name", "body").text
        assert "The opaque cell has no drawing" in text
        assert "the page cannot compute the opaque cell" in text
        numbers = driver.execute_script("return ['f', 'da_f'].map(n => scratchnet.panes[0].run.get(n, 2, 1));")
        assert numbers == pytest.approx([trace.run[n][2, 0, 1] for n in ("f", "da_f")])
    finally:
        del CELLS["opaque"]


@pytest.mark.parametrize("kind", RECURRENT)
def test_numeric_gradients_beside_ours(kind, opened, rng):
    trace = small_trace(rng, kind, T=4)
    driver = opened(trace, "#zoom=cell&t=2&walk=backward&step=0")
    numeric = float(
        driver.find_element("css selector", '.term[data-result="dh"] [data-numeric]').get_attribute("data-numeric")
    )
    assert numeric == pytest.approx(shown(driver, "dh"), abs=1e-8)
    made = driver.execute_script("""
        const { Model, panes } = scratchnet, { run, trace } = panes[0], worst = {};
        for (const name of [...Object.keys(run.program.of), ...run.states.flatMap(s => [`d${s}_next`, `d${s}_prev`]), 'dy', 'dx'])
            for (let t = 0; t < run.T; t++) for (let j = 0; j < run.widthOf(name); j++) {
                const along = run.along(name, t);
                if (!along) continue;
                const value = run.value(run.program.at(name), t, j), found = Model.numericGradient(trace.engine, 0, run.name, along.what, along.t, j);
                worst[name] = Math.max(worst[name] || 0, Math.abs(found - value));
            }
        return worst;""")
    assert {"dh", "dy", "dx", "dh_next"} <= made.keys()
    assert {name: off for name, off in made.items() if not off < 1e-7} == {}


MODELS = {
    "stacked, both directions, ragged": lambda rng: (
        Sequential(rec=LSTM(2, 3, num_layers=2, bidirectional=True, rng=rng), head=Linear(6, 1, rng=rng)),
        (5, 3, 2),
        (5, 3, 1),
        {"lengths": [5, 2, 4]},
        "mse",
    ),
    "gru, final state, tanh": lambda rng: (
        Sequential(
            rec=GRU(2, 3, return_sequences=False, bidirectional=True, rng=rng),
            act=Tanh(),
            drop=Dropout(0.5, rng=rng),
            head=Linear(6, 2, rng=rng),
        ),
        (5, 3, 2),
        (3, 2),
        {"lengths": [5, 2, 4]},
        "mae",
    ),
    "gru before, batch first": lambda rng: (
        Sequential(rec=GRU(2, 3, reset_after=False, batch_first=True, rng=rng), act=ReLU(), head=Linear(3, 2, rng=rng)),
        (3, 5, 2),
        (3, 5, 2),
        {},
        "huber",
    ),
    "rnn relu, two layers of them": lambda rng: (
        Sequential(a=RNN(2, 3, nonlinearity="relu", rng=rng), b=LSTM(3, 2, rng=rng), head=Linear(2, 1, rng=rng)),
        (5, 2, 2),
        (5, 2, 1),
        {},
        "binary_cross_entropy",
    ),
    "weighted, ragged, batch first": lambda rng: (
        Sequential(rec=GRU(2, 3, batch_first=True, rng=rng), head=Linear(3, 2, rng=rng)),
        (3, 5, 2),
        (3, 5, 2),
        {"lengths": [5, 2, 4], "weights": np.array([1.0, 3.0, 0.5])},
        "mse",
    ),
    "classes of each step, ragged, masked": lambda rng: (
        Sequential(rec=RNN(2, 3, rng=rng), head=Linear(3, 4, rng=rng)),
        (5, 2, 2),
        "classes",
        {"lengths": [5, 3], "mask": np.arange(10).reshape(5, 2) % 3 > 0},
        "softmax_cross_entropy",
    ),
    "classes of each step": lambda rng: (
        Sequential(rec=RNN(2, 3, rng=rng), head=Linear(3, 4, rng=rng)),
        (5, 2, 2),
        "classes",
        {"state": "random"},
        "softmax_cross_entropy",
    ),
    **{
        f"every cell: {name}": lambda rng, name=name: (
            Sequential(
                rec=Recurrent(name, 2, 3, num_layers=2, bidirectional=True, rng=rng), head=Linear(6, 1, rng=rng)
            ),
            (5, 3, 2),
            (5, 3, 1),
            {"lengths": [5, 2, 4]},
            "mse",
        )
        for name in CELLS
    },
    "text": lambda rng: (
        Sequential(embed=Embedding(4, 3, rng=rng), rec=LSTM(3, 4, rng=rng), head=Linear(4, 4, rng=rng)),
        "classes",
        "classes",
        {},
        "softmax_cross_entropy",
    ),
    "a bare layer": lambda rng: (LSTM(2, 3, rng=rng), (5, 2, 2), (5, 2, 3), {}, "mse"),
}


@pytest.mark.parametrize("name", MODELS)
def test_javascript_computes_what_python_computed(name, opened, rng):
    """Loss, every forward and backward array of every run and sequence, and the weights' gradients."""
    model, x_shape, target_shape, arguments, loss = MODELS[name](rng)
    for p in model.params.values():
        p += 0.3 * rng.standard_normal(p.shape)
    x = rng.integers(0, 4, (5, 2)) if x_shape == "classes" else rng.standard_normal(x_shape)
    target = rng.integers(0, 4, (5, 2)) if target_shape == "classes" else np.abs(rng.standard_normal(target_shape)) % 1
    if arguments.get("state"):
        arguments = {"state": [tuple(rng.standard_normal(s.shape) for s in model.layers["rec"].initial_state(x))]}
    trace = scratchnet.trace(model, x, target, loss, **arguments)
    driver = opened(trace)
    made = driver.execute_script("""
        const { Model, panes } = scratchnet, { engine } = panes[0].trace, done = Model.compute(engine);
        const named = ({ steps }) => Object.fromEntries(["forward", "backward", "leaves"].flatMap(part => Object.entries(steps.program[part]).map(
            ([name, at]) => [name, Array.from({ length: steps.T }, (_, t) => Array.from(steps.row(at, t)))])));
        const plain = grads => Object.fromEntries(Object.entries(grads).map(([k, g]) => [k, Object.fromEntries(Object.entries(g).map(([n, v]) => [n, Array.from(v)]))]));
        return { loss: done.loss, grads: plain(done.grads), sequences: done.sequences.map(s => Object.fromEntries(Object.entries(s.runs).map(([k, r]) => [k, named(r)]))) };""")
    assert made["loss"] == pytest.approx(trace.loss, rel=1e-12)
    compared = set()
    for n, runs in enumerate(made["sequences"]):
        for run_name, arrays in runs.items():
            run = trace.runs[run_name]
            length = run.lengths[n]
            for key, values in arrays.items():
                if key.endswith("_prev") and key[:-5] in run.cell.STATES:
                    ours = run[key[:-5]][:length, n]
                else:
                    ours = run[key][:, n][key in run.cell.STATES :][:length]
                values = np.broadcast_to(values, ours.shape)  # SRU's dh_prev is one zero
                np.testing.assert_allclose(values, ours, rtol=1e-10, atol=1e-13, err_msg=f"{run_name} {key}")
                compared.add(key)
    assert {"h", "dh", "dh_prev", "dx", "dy", "x", "h_prev", "dh_next"} <= compared
    for run_name, run in trace.runs.items():
        for key in run.params:
            ours = run[f"d{key}"]
            np.testing.assert_allclose(
                np.reshape(made["grads"][run_name][key], ours.shape), ours, rtol=1e-10, atol=1e-13
            )


def test_changing_a_weight_by_hand_changes_the_loss_to_pythons(opened, rng):
    rec = GRU(2, 4, rng=rng)
    model = Sequential(rec=rec, head=Linear(4, 1, rng=rng))
    x, target = rng.standard_normal((5, 2, 2)), rng.standard_normal((5, 2, 1))
    driver = opened(scratchnet.trace(model, x, target), "#zoom=cell&unit=0")

    def change(tensor, row, column, value):
        form = driver.find_element("css selector", ".edit form")
        driver.execute_script(
            "const [tensor, row, col, value] = arguments[0].querySelectorAll('select, input');"
            "tensor.value = arguments[1]; row.value = arguments[2]; col.value = arguments[3]; tensor.dispatchEvent(new Event('change'));"
            "value.value = arguments[4]; arguments[0].requestSubmit();",
            form,
            tensor,
            row,
            column,
            value,
        )
        return float(driver.find_element("css selector", ".edit output").get_attribute("data-value"))

    rec.params["W_h_l0"][2, 7] = 1.5
    changed = scratchnet.trace(model, x, target)
    assert change("rec.l0 W_h", 2, 7, 1.5) == pytest.approx(changed.loss, rel=1e-12)
    assert float(driver.find_element("css selector", ".loss").get_attribute("data-value")) == pytest.approx(
        changed.loss, rel=1e-12
    )
    press(driver, "\ue00c")  # escape, and the keyboard is the page's again
    driver.execute_script("document.activeElement.blur()")
    assert shown(driver, "dh") == pytest.approx(changed.run["dh"][4, 0, 0], rel=1e-10)
    x[3, 0, 1] = -2
    assert change("input x", 3, 1, -2) == pytest.approx(scratchnet.trace(model, x, target).loss, rel=1e-12)
    driver.find_element("xpath", "//button[text()='as it was']").click()
    assert driver.find_element("css selector", ".loss").text.startswith("mse ")
    assert "was" not in driver.find_element("css selector", ".loss").text


def test_inside_a_notebooks_iframe_it_works_too(browser, rng, tmp_path):
    """Sandboxed, without an address of its own."""
    trace = small_trace(rng)
    path = tmp_path / "notebook.html"
    path.write_text(f"<!DOCTYPE html><body>{trace._repr_html_()}</body>", encoding="utf-8")
    browser.get(path.as_uri())
    browser.switch_to.frame(0)
    browser.find_element("id", "to-cell").click()
    browser.find_element("id", "earlier").click()
    assert browser.find_element("id", "clock").text == "t = 4 of 5"
    unit = int(unit_order(trace.run, 0)[0])
    assert shown(browser, "dh") == pytest.approx(trace.run["dh"][4, 0, unit], rel=1e-12)
    browser.switch_to.default_content()
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
    browser.get_log("performance")


def test_editing_another_sequence_of_the_batch_and_taking_it_back(opened, rng):
    """The second sequence of three; what is drawn from the old numbers goes, and comes back."""
    model = Sequential(rec=GRU(2, 4, rng=rng), head=Linear(4, 1, rng=rng))
    x, target = rng.standard_normal((5, 3, 2)), rng.standard_normal((5, 3, 1))
    driver = opened(scratchnet.trace(model, x, target), "#zoom=cell&unit=0", sample=1)
    before = driver.execute_script("return Array.from(scratchnet.panes[0].trace.outputs.output)")
    assert driver.find_elements("css selector", 'canvas[data-map="share"]')
    driver.execute_script(
        "const form = document.querySelector('.edit form'), [tensor, row, col, value] = form.querySelectorAll('select, input');"
        "row.value = 2; col.value = 1; tensor.dispatchEvent(new Event('change')); value.value = 3; form.requestSubmit();"
    )
    x[2, 1, 1] = 3
    changed = scratchnet.trace(model, x, target)
    assert float(driver.find_element("css selector", ".loss").get_attribute("data-value")) == pytest.approx(
        changed.loss, rel=1e-12
    )
    assert shown(driver, "dh") == pytest.approx(changed.run["dh"][4, 1, 0], rel=1e-10)
    edited = driver.execute_script("return Array.from(scratchnet.panes[0].trace.outputs.output)")
    np.testing.assert_allclose(edited, changed.y[:, 1, 0], rtol=1e-10)
    assert not driver.find_elements("css selector", 'canvas[data-map="share"]')
    driver.find_element("xpath", "//button[text()='as it was']").click()
    assert driver.execute_script("return Array.from(scratchnet.panes[0].trace.outputs.output)") == before
    assert driver.find_elements("css selector", 'canvas[data-map="share"]')


@pytest.mark.parametrize("kind", ["lstm", "gru", "gru before", "lstm_peephole", "sru", "lstm_norm"])
def test_the_weights_step_shows_share_sum_and_whole(kind, opened, rng):
    trace = small_trace(rng, kind)
    run = trace.run
    number = next(k for k, step in enumerate(walk_of(run)) if "weights" in step)
    driver = opened(trace, f"#zoom=cell&t=3&step={number}")
    shares = [run.weight_gradients(t) for t in range(run.T)]
    found = driver.find_elements("css selector", "[data-weight]")
    assert [e.get_attribute("data-weight") for e in found] == [f"d{name}" for name in run.params]
    for box in found:
        name = box.get_attribute("data-weight")
        sizes = [float(e.get_attribute("data-value")) for e in box.find_elements("css selector", "output")]
        expected = [shares[3][name], sum(share[name] for share in shares[3:]), run.grads[name]]
        assert sizes == pytest.approx([np.linalg.norm(d) for d in expected], rel=1e-9)


def test_what_arrives_at_the_last_step_is_the_losss_and_not_the_futures(opened, rng):
    """The loss reads the last state only: no dy, a red dh_last, and no word of a future."""
    model = Sequential(rec=LSTM(2, 4, return_sequences=False, rng=rng), head=Linear(4, 1, rng=rng))
    trace = scratchnet.trace(model, rng.standard_normal((5, 1, 2)), rng.standard_normal((1, 1)))
    assert not trace.run["dy"].any()
    driver = opened(trace, "#zoom=cell&t=4&step=0")
    palette = json.loads((ROOT / "scratchnet" / "palette.json").read_text(encoding="utf-8"))["quantities"]
    text = driver.find_element("css selector", ".cell").text + driver.find_element("css selector", ".terms").text
    assert "last" in text
    assert "next" not in text
    assert "there is no future" in driver.find_element("id", "hint").text
    (number,) = driver.find_elements("css selector", '.cell [data-from="next"]')
    unit = int(unit_order(trace.run, 0)[0])
    assert float(number.get_attribute("data-value")) == pytest.approx(trace.run["dh_last"][0, unit], rel=1e-12)
    red = palette["from_loss"]["light"]
    assert (
        number.get_attribute("style").replace(" ", "")
        == f"fill:rgb({','.join(str(int(red[k : k + 2], 16)) for k in (1, 3, 5))});"
    )
    press(driver, "\ue012")  # one step earlier: now there is one
    assert "next" in driver.find_element("css selector", ".cell").text
    assert "future" in driver.find_element("id", "hint").text
    assert driver.find_elements("css selector", '.cell [data-from="loss"]') == []  # no dy there


def test_the_colours_of_a_sum_share_one_scale(opened, rng):
    driver = opened(small_trace(rng, "lstm"), "#zoom=cell&t=3&step=0")
    note = driver.find_element("css selector", ".strips .check").text
    high = driver.execute_script(
        "const { run } = scratchnet.panes[0]; return Math.max(...['dh', 'dy', 'dh_next'].map(n => run.largest(n)))"
    )
    assert f"{high:.2g}" in note or f"{high:.1g}" in note


def test_space_walks_on_after_a_click_on_a_button_and_focus_stays(opened, rng):
    driver = opened(small_trace(rng), "#zoom=cell")
    button = driver.find_element("xpath", "//*[@class='box micro']//li/button[text()='3']")
    button.click()
    assert driver.switch_to.active_element == button
    assert driver.execute_script("return scratchnet.view.s") == 2
    assert (
        driver.find_element("xpath", "//*[@class='box micro']//li/button[text()='3']") == button
    )  # the same as before
    live = driver.find_element("id", "say")
    press(driver, "b", "\ue012")
    assert driver.find_element("id", "say") == live
    assert "two gradients meet in h" in live.get_attribute("textContent")


def test_traces_of_different_length_and_depth(opened, rng):
    short, deep = small_trace(rng, T=3), small_trace(rng, T=6, num_layers=2, bidirectional=True)
    driver = opened(short, compare=deep, names=["short", "deep"])
    assert driver.find_element("id", "clock").text == "t = 5 of 5"
    options = [o.get_attribute("textContent") for o in driver.find_elements("css selector", "#run option")]
    assert options == ["rec.l0", "rec.l0_reverse", "rec.l1", "rec.l1_reverse"]
    press(driver, "r", "r", "r")
    assert "rec.l1_reverse" in driver.find_elements("css selector", ".name")[1].text


def test_a_click_on_the_per_loss_map_moves_in_time_only(opened, rng):
    driver = opened(small_trace(rng), "#t=5&unit=1")
    driver.find_element("css selector", 'canvas[data-map="share"]').click()
    assert driver.execute_script("const { run } = scratchnet.panes[0]; return run.units[scratchnet.view.j]") == 1
    assert driver.execute_script("return scratchnet.view.t") in (2, 3)  # the middle of six


def test_evil_labels_are_only_text(opened, rng):
    evil = [
        "</script><script>document.title='hacked'</script>",
        "<img src=x onerror=document.title='hacked'>",
        "a",
        "b",
        "c",
        "d",
    ]
    driver = opened(small_trace(rng, labels=evil), "#t=0", names=["<b>bold</b>"])
    press(driver, "\ue007")  # enter: pin
    assert "hacked" not in driver.title
    assert "</script>" in driver.find_element("id", "pins").text
    assert driver.find_element("tag name", "h1").text == "<b>bold</b>"
    assert driver.find_elements("css selector", "main img, h1 b") == []


def test_the_address_reopens_the_same_step(opened, rng):
    trace = small_trace(rng, "lstm", num_layers=2)
    driver = opened(trace)
    # next run, two steps earlier, next unit, two micro-steps
    press(driver, "o", "r", "\ue012", "\ue012", "\ue015", " ")
    fragment = driver.execute_script("return location.hash")
    unit = int(unit_order(trace["rec.l1"], 0)[1])
    assert fragment == f"#zoom=cell&run=1&t=3&unit={unit}&walk=backward&step=1"
    value = shown(driver, "dc")
    driver = opened(trace, fragment)
    assert driver.find_element("id", "clock").text == "t = 3 of 5"
    assert shown(driver, "dc") == value == pytest.approx(trace["rec.l1"]["dc"][3, 0, unit], rel=1e-12)


def test_keys_and_pointer(opened, rng):
    from selenium.webdriver.common.action_chains import ActionChains

    trace = small_trace(rng, "lstm")
    driver = opened(trace, "#zoom=cell")
    press(driver, "f", "\ue011")  # forward, Home
    assert driver.find_element("id", "clock").text == "t = 0 of 5"
    assert driver.find_element("css selector", ".title").text == "1 of 4: pre-activations"
    press(driver, *(6 * " "))  # through the four, the head and the loss, and on at the next step
    assert driver.find_element("id", "clock").text == "t = 1 of 5"
    press(driver, "\ue010", "b")  # End, backward
    assert driver.find_element("id", "clock").text == "t = 5 of 5"
    heat = driver.find_element("css selector", 'canvas[data-map="dc"]')
    driver.execute_script("arguments[0].scrollIntoView({ block: 'center' })", heat)
    box, unit = heat.size, int(unit_order(trace.run, 0)[1])
    hover = ActionChains(driver).move_to_element_with_offset(
        heat, -box["width"] // 2 + int(box["width"] * 2.5 / 6), -box["height"] // 2 + int(box["height"] * 1.5 / 4)
    )
    hover.perform()
    tip = driver.find_element("id", "tip").text
    assert f"dc at t = 2, unit {unit}: " in tip
    assert "= dc_from_h + dc_next" in tip
    assert "numeric gradient" in tip
    hover.click().perform()
    assert driver.find_element("id", "clock").text == "t = 2 of 5"
    press(driver, "\ue007")
    assert f"t=2, unit {unit}: dh = " in driver.find_element("id", "pins").text
    press(driver, "?")
    assert driver.find_element("id", "keys").is_displayed()
    press(driver, "\ue012", " ")  # neither reaches the page behind the dialog
    assert driver.execute_script("return [scratchnet.view.t, scratchnet.view.s]") == [2, 0]
    press(driver, "\ue00c")  # Escape closes the dialog and leaves the pins
    assert not driver.find_element("id", "keys").is_displayed()
    assert "dh = " in driver.find_element("id", "pins").text
    driver.execute_script("document.activeElement.blur()")
    time.sleep(0.2)
    press(driver, "\ue00c")  # another Escape
    assert driver.find_element("id", "pins").text == ""
    theme = driver.execute_script("return document.documentElement.dataset.theme")
    press(driver, "t")
    assert driver.execute_script("return document.documentElement.dataset.theme") != theme


def test_the_river_is_what_the_page_opens_with_and_a_click_goes_into_the_cell(opened, rng):
    from selenium.webdriver.common.action_chains import ActionChains

    a, b = small_trace(rng, "rnn tanh"), small_trace(rng, "lstm")
    driver = opened(a, compare=b, names=["RNN", "LSTM"])
    assert driver.execute_script("return scratchnet.view.zoom") == "river"
    assert [e.text for e in driver.find_elements("css selector", "#river .lane")] == ["RNN", "LSTM"]
    assert "the gradient travels this way" in driver.find_element("id", "river").text
    river = driver.find_element("css selector", "#river svg")
    heights = driver.execute_script("""
        const half = p => p.getAttribute("points").split(" ").map(q => +q.split(",")[1]);
        return [...document.querySelectorAll("#river .ribbon")].map(p => { const y = half(p), n = y.length / 2;
            return Array.from({ length: n }, (_, t) => y[2 * n - 1 - t] - y[t]); });""")
    sizes = [np.linalg.norm(run[name][:, 0], axis=1) for run, name in ((a.run, "dh"), (b.run, "dc"), (b.run, "dh"))]
    assert [len(height) for height in heights] == [6, 6, 6]
    # on one scale: width is linear in the logarithm
    flat_h, flat_s = np.concatenate(heights[1:]), np.log10(np.concatenate(sizes[1:]))
    slope, offset = np.polyfit(flat_s, flat_h, 1)
    np.testing.assert_allclose(flat_h, slope * flat_s + offset, atol=0.05)
    ActionChains(driver).move_to_element(river).click().perform()
    assert driver.execute_script("return scratchnet.view.zoom") == "cell"
    assert driver.execute_script("return scratchnet.view.t") in (2, 3)
    press(driver, "o")
    assert driver.execute_script("return scratchnet.view.zoom") == "river"


def test_sliders_recompute_what_python_computes(opened, rng):
    model = Sequential(rec=LSTM(2, 4, rng=rng), head=Linear(4, 1, rng=rng))
    x, target = rng.standard_normal((6, 2, 2)), rng.standard_normal((6, 2, 1))
    driver = opened(scratchnet.trace(model, x, target))
    driver.execute_script("""for (const [name, value] of [["forget", 1.5], ["radius", 0.5], ["clip", -1]]) {
        const input = document.querySelector(`[data-knob=${name}]`); input.value = value; input.dispatchEvent(new Event("input")); }""")
    model.layers["rec"].params["b_l0"][4:8] += 1.5
    model.layers["rec"].params["W_h_l0"] *= 0.5
    changed = scratchnet.trace(model, x, target)
    loss = driver.find_element("css selector", ".loss")
    assert float(loss.get_attribute("data-value")) == pytest.approx(changed.loss, rel=1e-12)
    norms = driver.execute_script("return Array.from(scratchnet.panes[0].run.norms('dc'))")
    np.testing.assert_allclose(norms, np.linalg.norm(changed.run["dc"][:, 0], axis=1), rtol=1e-9)
    words = driver.find_element("id", "norms").text
    model.zero_grad()
    y, cache = model.forward(x)
    model.backward(2 * (y - target) / target.size, cache)
    norm = np.sqrt(sum(float(np.sum(g**2)) for g in model.grads.values()))
    assert f"{norm:.3g}" in words
    assert f"clipped: × {0.1 / norm:.3g}" in words
    driver.find_element("xpath", "//button[text()='as trained']").click()
    assert "was" not in driver.find_element("css selector", ".loss").text


def test_two_traces_side_by_side(opened, rng):
    """An LSTM and an RNN, stepped together; their lines are paired by what they compute."""
    a, b = small_trace(rng, "lstm"), small_trace(rng, "rnn tanh")
    driver = opened(a, "#zoom=cell", compare=b, names=["LSTM", "RNN"])
    press(driver, "\ue012")
    unit = int(unit_order(a.run, 0)[0])
    terms = driver.find_elements("css selector", '.term[data-result="dh"]')
    assert [float(t.get_attribute("data-value")) for t in terms] == pytest.approx(
        [a.run["dh"][4, 0, unit], b.run["dh"][4, 0, int(unit_order(b.run, 0)[0])]], rel=1e-12
    )
    assert [e.text for e in driver.find_elements("css selector", ".name b")] == ["LSTM", "RNN"]
    walk = [step["terms"] for step in walk_of(a.run)]
    for term in ("dh_prev", "weights"):
        number = next(k for k, terms in enumerate(walk) if term in terms or (term == "weights" and not terms))
        driver.execute_script(f"scratchnet.go({{ s: {number} }})")
        titles = [e.text for e in driver.find_elements("css selector", ".title")]
        assert titles[0].partition(": ")[2] == titles[1].partition(": ")[2]
    tops = driver.execute_script(
        "return [...document.querySelectorAll('.pane > .micro, .pane > .cell')].map(e => e.getBoundingClientRect().top)"
    )
    assert tops[0] == tops[2]  # the panes stand level
    assert tops[1] == tops[3]
    ranges = [e.text for e in driver.find_elements("css selector", ".map .range")]
    assert (
        ranges[0] == driver.find_elements("css selector", ".pane")[1].find_element("css selector", ".map .range").text
    )


CELL_MISTAKES = [
    m
    for m in mistakes.load()
    if m.cell in ("rnn", "lstm", "gru", "gru_reset_before") and m.first_wrong and not m.at_final
]


@pytest.mark.parametrize("mistake", CELL_MISTAKES, ids=[m.id for m in CELL_MISTAKES])
def test_the_page_of_a_wrong_backward_opens_where_it_first_differs(mistake, opened, rng):
    """With the first difference marked, the right number beside it, and no false equation."""
    layer = Recurrent(mistake.cell, 2, 4, rng=rng, options=mistake.options)
    for p in layer.params.values():
        p += 0.3 * rng.standard_normal(p.shape)
    x, dy = rng.standard_normal((6, 3, 2)), rng.standard_normal((6, 3, 4))
    planted = mistakes.plant(mistake)
    with np.errstate(all="ignore"):
        trace = scratchnet.trace(layer, x, dy=dy, backward=planted.backward)
        first = first_difference(trace.run)
    driver = opened(trace, "" if first.t is not None else "#zoom=cell", sample=first.sample or 0)
    assert f"first differs: {first.term}" in driver.find_element("css selector", ".name").text
    assert mistake.name in driver.find_element("css selector", ".name").text
    assert not driver.find_element("css selector", ".edit").is_displayed()
    if first.t is None:
        walk = walk_of(trace.run)
        place_ = next((k for k, s in enumerate(walk) if first.term.removeprefix("d") in s.get("weights", ())), None)
        if place_ is not None:
            driver.execute_script(f"scratchnet.go({{ t: 0, s: {place_}, mode: 'backward' }})")
            wrong = driver.find_element("css selector", f'[data-weight="{first.term}"] .wrong').text
            assert f"the line that computes {first.term} is wrong" in wrong
        return
    units = driver.execute_script(
        "const { run } = scratchnet.panes[0]; return [scratchnet.view.t, run.units[scratchnet.view.j]]"
    )
    if first.term == "dx" or first.term.endswith("_next"):
        assert units[0] == first.t
        return
    assert units == [first.t, first.unit]
    term = driver.find_element("css selector", f'.term[data-result="{first.term}"]')
    assert float(term.get_attribute("data-value")) == pytest.approx(first.value, rel=1e-12, nan_ok=True)
    wrong = term.find_element("css selector", ".wrong")
    assert float(wrong.get_attribute("data-right")) == pytest.approx(first.right, rel=1e-12)
    for box in driver.find_elements("css selector", ".term"):  # "=" only where it is true
        numbers = (
            box.find_element("css selector", ".numbers").text.replace("−", "-").replace("·", "*").replace("²", "**2")
        )
        left, sign, right = re.match(r"(\S+) ([=≠]) (.*)", numbers).groups()
        if "?" in right or "[" in right or sign == "≠":
            continue
        value = float(left)
        assert eval(right, {"tanh": math.tanh}) == pytest.approx(value, rel=0.02, abs=2e-3), numbers


def test_the_key_n_goes_to_the_next_difference(opened, rng):
    layer = LSTM(2, 4, rng=rng)
    planted = mistakes.plant(next(m for m in mistakes.load() if m.id == "lstm-dc-next-forgotten"))
    x, dy = rng.standard_normal((6, 1, 2)), rng.standard_normal((6, 1, 4))
    right, wrong = (scratchnet.trace(layer, x, dy=dy, backward=b) for b in (None, planted.backward))
    driver = opened(right, compare=wrong, names=["right", "wrong"])
    terms = [step["terms"] for step in walk_of(right.run)]

    def here():
        return driver.execute_script("return [scratchnet.view.t, scratchnet.view.s]")

    assert here() == [4, next(k for k, names in enumerate(terms) if "dc" in names)]
    off = differences(wrong.run)
    expected = [
        [t, s]
        for t in reversed(range(6))
        for s, names in enumerate(terms)
        if any(n in off and off[n][t].any() for n in names)
    ]
    for place_ in expected[1:6]:
        press(driver, "n")
        assert here() == place_
    (heat,) = driver.find_elements("css selector", 'canvas[data-map="difference"]')
    assert heat.is_displayed()


def test_a_backward_that_shows_nothing_shows_no_number_of_the_right_one(opened, rng):
    layer = LSTM(2, 3, rng=rng)
    x, dy = rng.standard_normal((5, 1, 2)), rng.standard_normal((5, 1, 3))

    def opaque(*given):
        return CELLS["lstm"].backward(*given)  # another file's code is not observed

    trace = scratchnet.trace(layer, x, dy=dy, backward=opaque)
    driver = opened(trace, "#zoom=cell&t=2&step=0")
    if "dh" not in trace.run:
        assert "not seen in this backward pass" in driver.find_element("css selector", ".terms").text
        assert driver.execute_script("return scratchnet.panes[0].run.get('dh', 2, 0)") is None
    assert "no difference from the right gradients" in driver.find_element("css selector", ".name").text


def test_without_a_target_the_page_walks_forward(opened, rng):
    driver = opened(scratchnet.trace(LSTM(2, 3, rng=rng), rng.standard_normal((4, 1, 2))), "#zoom=cell")
    assert driver.find_element("css selector", ".title").text == "1 of 4: pre-activations"
    assert not driver.find_element("id", "backward").is_enabled()
    assert "no gradients" in driver.find_element("css selector", ".notes + .notes").text


def test_a_large_page_opens_quickly(opened, rng):
    model = Sequential(rec=LSTM(8, 64, rng=rng), head=Linear(64, 1, rng=rng))
    trace = scratchnet.trace(model, rng.standard_normal((100, 1, 8)), rng.standard_normal((100, 1, 1)))
    started = time.perf_counter()
    driver = opened(trace, "#zoom=cell&unit=3&t=98")
    assert shown(driver, "dh") == pytest.approx(trace.run["dh"][98, 0, 3], rel=1e-12)
    assert time.perf_counter() - started < 20


@pytest.mark.parametrize("width", [420, 900, 1400])
def test_nothing_runs_out_of_the_window(width, opened, rng):
    driver = opened(small_trace(rng, "gru"))
    driver.set_window_size(width, 900)
    try:
        assert driver.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    finally:
        driver.set_window_size(1400, 1200)


@pytest.mark.parametrize("loss", ["mse", "mae", "huber", "binary_cross_entropy", "softmax_cross_entropy"])
def test_head_and_loss_are_steps_of_the_walk(loss, opened, rng):
    """Back from the loss: its gradient, through each layer of the head, to the dy of the cell."""
    model = Sequential(rec=GRU(2, 4, rng=rng), act=Tanh(), head=Linear(4, 3, rng=rng))
    x = rng.standard_normal((5, 2, 2))
    target = (
        rng.integers(0, 3, (5, 2)) if loss == "softmax_cross_entropy" else np.abs(rng.standard_normal((5, 2, 3))) % 1
    )
    trace = scratchnet.trace(model, x, target, loss)
    driver = opened(trace, "#zoom=cell&t=2&step=-3")
    y, _ = model.forward(x)
    _, dy = scratchnet_losses()[loss](y, target)
    titles, values = [], []
    for _ in range(3):
        titles.append(driver.find_element("css selector", ".title").text)
        values.append(float(driver.find_element("css selector", "[data-head]").get_attribute("data-value")))
        press(driver, " ")
    assert titles == [
        "the loss sends its gradient",
        "back through the linear layer head",
        "back through the tanh layer act",
    ]
    head = model.layers["head"].params["W"]
    below = dy[2, 0] @ head.T
    expected = [dy[2, 0, 0], below[0], trace.run["dy"][2, 0, 0]]
    assert values == pytest.approx(expected, rel=1e-10)
    assert driver.find_element("css selector", ".title").text.startswith("1 of ")
    press(driver, "f")
    for _ in range(len(walk_of(trace.run, "forward"))):
        press(driver, " ")
    assert driver.find_element("css selector", ".title").text == "the tanh layer act"


def test_a_final_states_loss_is_a_step_at_the_last_step_only(opened, rng):
    model = Sequential(rec=LSTM(2, 4, return_sequences=False, rng=rng), head=Linear(4, 1, rng=rng))
    driver = opened(
        scratchnet.trace(model, rng.standard_normal((4, 1, 2)), rng.standard_normal((1, 1))), "#zoom=cell&t=3&step=-2"
    )
    assert driver.find_element("css selector", ".title").text == "the loss sends its gradient"
    walk = 10
    for _ in range(2 + walk):
        press(driver, " ")
    assert driver.find_element("id", "clock").text == "t = 2 of 3"
    assert driver.find_element("css selector", ".title").text.startswith("1 of 10")


def scratchnet_losses():
    from scratchnet.losses import LOSSES

    return LOSSES


def test_what_is_not_finite_is_marked_and_the_rest_is_drawn(opened, rng):
    """An exploding RNN: where the first infinity is, crosses in place of a ribbon, no numeric gradient, no error in the console."""
    model = Sequential(rec=RNN(2, 4, nonlinearity="relu", rng=rng), head=Linear(4, 1, rng=rng))
    model.layers["rec"].params["W_h_l0"][...] = 1e40 * np.abs(rng.standard_normal((4, 4)))
    with np.errstate(all="ignore"):
        trace = scratchnet.trace(model, np.abs(rng.standard_normal((12, 1, 2))), rng.standard_normal((12, 1, 1)))
        driver = opened(trace)
    assert "h is inf at step 8" in driver.find_element("css selector", ".name").text
    assert len(driver.find_elements("css selector", "#river .broken")) == 12
    assert driver.find_elements("css selector", ".time .curve")
    assert driver.find_elements("css selector", ".time .broken")
    press(driver, "o")
    assert driver.find_elements("css selector", ".term")
    assert driver.find_elements("css selector", "[data-numeric]") == []
