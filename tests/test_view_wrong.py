"""The stepper page of a wrong backward pass: it opens at the first difference, and states nothing that is false."""

import math
import re

import numpy as np
import pytest
import scratchnet
from scratchnet.cells import CELLS
from scratchnet.layers import LSTM, Recurrent
from scratchnet.tracing.difference import differences, first_difference
from scratchnet_instructor import mistakes

from browsers import press
from page_makers import walk_of

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
