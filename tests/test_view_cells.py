"""The stepper page in a browser: each line of the walk shows the trace's numbers, for every cell, and for head and loss."""

import json
import math
import re
import types

import numpy as np
import pytest
import scratchnet
from scratchnet.cells import CELLS, lstm, register_cell
from scratchnet.layers import GRU, LSTM, Linear, Recurrent, Sequential, Tanh
from scratchnet.losses import LOSSES
from scratchnet.tracing.order import unit_order
from scratchnet.tracing.terms import program_for
from scratchnet.view.story import the_walk

from browsers import press
from page_makers import RECURRENT, ROOT, shown, small_trace, walk_of


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
    source = (ROOT / "scratchnet" / "cells" / "lstm_coupled.py").read_text(encoding="utf-8")
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
    _, dy = LOSSES[loss](y, target)
    titles, values = [], []
    for _ in range(3):
        titles.append(driver.find_element("css selector", ".title").text)
        values.append(
            float(driver.find_elements("css selector", "[data-layer][data-value]")[-1].get_attribute("data-value"))
        )
        press(driver, " ")
    assert titles == [
        "the loss sends its gradient",
        "back through the linear layer head",
        "back through the tanh layer act",
    ]
    head = model.layers["head"].params["W"]
    below = dy[2, 0] @ head.T
    expected = [dy[2, 0, 0], below[np.argmax(np.abs(below))], trace.run["dy"][2, 0, 0]]
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


CARRIED_BY = {
    "rnn": None,
    "lstm": "f",
    "gru": "z",
    "gru_reset_before": "z",
    "lstm_peephole": "f",
    "lstm_coupled": "1 - i",
    "lstm_no_forget": "1",
    "lstm_norm": "f",
    "lstm_masked": "f",
    "sru": "f",
    "mingru": "1 - z",
}


@pytest.mark.parametrize("kind", CELLS)
def test_the_story_names_what_the_carried_state_is_multiplied_by(kind, rng):
    """By its gate, by the rest of a gate, by nothing, or the gradient goes through W_h; and the product is that of the gates."""
    model = Sequential(rec=Recurrent(kind, 2, 20, rng=rng), head=Linear(20, 1, rng=rng))
    run = scratchnet.trace(model, rng.standard_normal((30, 1, 2)), rng.standard_normal((30, 1, 1))).run
    titles = {stop.title: stop for stop in the_walk(run, program_for(run.cell, run.cache))}
    factor = CARRIED_BY[kind]
    if factor is None:
        assert "Through W_h, again and again" in titles
    elif factor == "1":
        assert f"Straight along {run.cell.STATES[-1]}" in titles
    else:
        stop = titles[f"Times {factor}, again and again"]
        values = run[factor[-1]][1 : stop.t + 2, 0, stop.unit]
        product = np.prod(1 - values if factor.startswith("1") else values)
        assert f"multiply to {product:.2g}:" in stop.say
