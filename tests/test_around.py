"""What surrounds a cell on its page: other layers, the loss, clipping and the optimiser's step, against Python's own."""

import json
from linecache import getline

import numpy as np
import pytest
import scratchnet
from scratchnet.cells import CELLS
from scratchnet.layers import GRU, LSTM, RNN, Embedding, Linear, Recurrent, Sequential, Tanh
from scratchnet.losses import LOSSES
from scratchnet.tracing.terms import program_for
from scratchnet.training import SGD, Adam
from scratchnet.training.clip import clip_global_norm, global_norm
from scratchnet.view.around import QUOTED, quoted
from scratchnet.view.data import LAYERS
from scratchnet.view.data import LOSSES as LOSSES_OF_THE_PAGE


def test_every_part_that_the_page_computes_has_its_lines():
    parts = [*(kind for kind in LAYERS if kind != "recurrent"), *LOSSES_OF_THE_PAGE]
    assert {f"{part} {way}" for part in parts for way in ("forward", "backward")} <= set(QUOTED)
    for lines in quoted().values():
        assert lines
        for place, code, _ in lines:
            file, _, number = place.partition(":")
            assert file.startswith("scratchnet/")
            assert code in getline(str(scratchnet.__path__[0]).removesuffix("scratchnet") + file, int(number))


def page_of(model, x, target, loss, browser, folder, fragment, **options):
    path = scratchnet.to_html(scratchnet.trace(model, x, target, loss), folder / "page.html", **options)
    browser.get("about:blank")
    browser.get(path.as_uri() + fragment)
    return browser


def go_to(driver, around):
    driver.execute_script(
        "const s = lead().walk[view.mode].findIndex(step => step.around === arguments[0]);"
        "go({ zoom: 'cell', s: s - before(lead()) })",
        around,
    )


def value(driver, selector, name):
    return float(driver.find_element("css selector", selector).get_attribute(name))


def text_model(rng):
    return Sequential(embed=Embedding(5, 3, rng=rng), rec=LSTM(3, 4, rng=rng), act=Tanh(), head=Linear(4, 5, rng=rng))


def a_batch(rng):
    return rng.integers(0, 5, (6, 2)), rng.integers(0, 5, (6, 2))


def gradients(model, x, target, loss):
    model.zero_grad()
    y, cache = model.forward(x)
    value, dy = LOSSES[loss](y, target)
    model.backward(dy, cache)
    return value, {name: g.copy() for name, g in model.grads.items()}


@pytest.mark.parametrize("rule", ["SGD", "Adam"])
@pytest.mark.parametrize("limit", [-1.0, None])
def test_clipping_and_the_step_are_those_of_the_library(rule, limit, browser, tmp_path, rng):
    """The norm, the factor, one weight after the step, and the loss of the batch after it."""
    model, (x, target) = text_model(rng), a_batch(rng)
    _, grads = gradients(model, x, target, "softmax_cross_entropy")
    driver = page_of(model, x, target, "softmax_cross_entropy", browser, tmp_path, "#zoom=cell&t=0")
    driver.execute_script(
        "setRule(arguments[0]); if (arguments[1] !== null) setKnob('clip', arguments[1])", rule, limit
    )
    go_to(driver, "clip")
    norm = global_norm(grads)
    assert value(driver, "[data-norm]", "data-norm") == pytest.approx(norm, rel=1e-12)
    top = np.inf if limit is None else 10.0**limit
    clipped = {name: g.copy() for name, g in grads.items()}
    if limit is not None:
        clip_global_norm(clipped, top)
    assert value(driver, "[data-factor]", "data-factor") == pytest.approx(global_norm(clipped) / norm, rel=1e-12)
    go_to(driver, "update")
    shown = driver.find_element("css selector", "[data-update]")
    if limit is not None:
        clip_global_norm(grads, top)
    before = {name: p.copy() for name, p in model.params.items()}
    {"SGD": SGD, "Adam": Adam}[rule](lr=0.1).step(model.params, grads)
    part, name = shown.get_attribute("data-update").split(" ")
    layer, _, of_layer = part.partition(".")
    key = f"{layer}.{name}_{of_layer}" if of_layer else f"{layer}.{name}"
    row, column = json.loads(
        f"[{shown.find_element('css selector', '.numbers').text.partition('[')[2].partition(']')[0]}]"
    )
    assert value(driver, "[data-update]", "data-value") == pytest.approx(model.params[key][row, column], rel=1e-9)
    assert model.params[key][row, column] != before[key][row, column]
    after, _ = gradients(model, x, target, "softmax_cross_entropy")
    assert value(driver, "[data-loss]", "data-loss") == pytest.approx(after, rel=1e-9)
    code = driver.find_element("css selector", ".micro .code").text
    assert ("p -= lr" in code) if rule == "SGD" else ("m = k.beta1" in code)
    assert value(driver, ".loss", "data-value") == pytest.approx(gradients_loss(before, model, x, target), rel=1e-12)


def gradients_loss(params, model, x, target):
    for name, p in params.items():
        model.params[name][...] = p
    return gradients(model, x, target, "softmax_cross_entropy")[0]


def test_every_layer_before_and_after_the_cell_is_a_step(browser, tmp_path, rng):
    """From the loss through head and activation to the cell, through the cell to the embedding, and to the update at step 0 only."""
    model, (x, target) = text_model(rng), a_batch(rng)
    driver = page_of(model, x, target, "softmax_cross_entropy", browser, tmp_path, "#zoom=cell&t=1&step=-3")
    titles = walk(driver, lambda: driver.execute_script("return view.t") == 1)
    assert titles[:3] == [
        "the loss sends its gradient",
        "back through the linear layer head",
        "back through the tanh layer act",
    ]
    assert titles[-1] == "back through the embedding layer embed"
    titles = walk(driver, lambda: True)
    assert titles[-3:] == [
        "back through the embedding layer embed",
        "all gradients are there: clip",
        "the optimiser's step",
    ]
    driver.execute_script("go({ mode: 'forward', t: 0, s: -1 })")
    titles = walk(driver, lambda: driver.execute_script("return view.t") == 0)
    assert titles[0] == "the embedding layer embed"
    assert titles[-3:] == ["the tanh layer act", "the linear layer head", "the loss"]


def walk(driver, inside):
    """The titles of the lines from here on, while `inside` holds and there is a next line."""
    found = []
    while inside():
        found.append(driver.find_element("css selector", ".title").text)
        if not driver.execute_script("return micro(1)"):
            break
    return found


def test_a_layers_numbers_are_the_librarys(browser, tmp_path, rng):
    model = Sequential(rec=GRU(2, 4, rng=rng), head=Linear(4, 3, rng=rng))
    x, target = rng.standard_normal((5, 2, 2)), rng.standard_normal((5, 2, 3))
    trace = scratchnet.trace(model, x, target)
    y, _ = model.forward(x)
    dy, h = LOSSES["mse"](y, target)[1][3, 0], trace.run["h"][4, 0]
    driver = page_of(model, x, target, None, browser, tmp_path, "#zoom=cell&t=3&step=-1")
    (dW, dh) = (
        float(e.get_attribute("data-value")) for e in driver.find_elements("css selector", "[data-layer][data-value]")
    )
    assert dW == pytest.approx(np.linalg.norm(np.outer(h, dy)), rel=1e-12)
    below = model.layers["head"].params["W"] @ dy
    assert dh == pytest.approx(below[np.abs(below).argmax()], rel=1e-12)
    driver.execute_script("go({ mode: 'forward' })")
    go_to(driver, 1)
    assert value(driver, "[data-layer]", "data-value") == pytest.approx(y[3, 0, np.abs(dy).argmax()], rel=1e-12)


def test_a_stack_and_a_custom_backward_update_where_their_gradients_are_whole(browser, tmp_path, rng):
    """Only the lowest layer ends with the update; the gradients of a custom backward are not the page's."""
    model = Sequential(
        a=RNN(2, 3, rng=rng), mid=Linear(3, 2, rng=rng), b=LSTM(2, 3, rng=rng), head=Linear(3, 1, rng=rng)
    )
    x, target = rng.standard_normal((4, 1, 2)), rng.standard_normal((4, 1, 1))
    driver = page_of(model, x, target, None, browser, tmp_path, "#zoom=cell&run=1&t=0")
    around = "return panes[0].runs.map(r => r.walk.backward.map(s => s.around).filter(a => a !== undefined))"
    assert driver.execute_script(around) == [["clip", "update"], ["loss", 3, 1]]
    model = Sequential(rec=GRU(2, 3, rng=rng), head=Linear(3, 1, rng=rng))
    trace = scratchnet.trace(model, x, target, backward=lambda *given, **named: CELLS["gru"].backward(*given, **named))
    browser.get(scratchnet.to_html(trace, tmp_path / "own.html").as_uri())
    assert driver.execute_script(around) == [["loss", 1]]


@pytest.mark.parametrize("kind", ["lstm", "gru", "lstm_peephole", "sru", "lstm_norm"])
def test_a_weights_line_is_the_line_of_its_gradient(kind, rng):
    run = scratchnet.trace(Recurrent(kind, 2, 3, rng=rng), rng.standard_normal((2, 1, 2)), dy=np.ones((2, 1, 3))).run
    lines = program_for(run.cell, run.cache).weight_lines
    assert set(lines) == set(run.params)
    for name, (file, number) in lines.items():
        assert f"d{name}" in getline(file, number)


def test_the_story_of_two_traces_follows_the_one_that_carries(browser, tmp_path, rng):
    """RNN above LSTM: the stops about c are the LSTM's, and clipping and the update are their own steps."""
    x, target = rng.standard_normal((5, 2, 2)), rng.standard_normal((5, 2, 1))
    rnn, lstm = (
        scratchnet.trace(Sequential(rec=of(2, 3, rng=rng), head=Linear(3, 1, rng=rng)), x, target) for of in (RNN, LSTM)
    )
    path = scratchnet.to_html(rnn, tmp_path / "page.html", compare=lstm, names=("RNN", "LSTM"))
    browser.get("about:blank")
    browser.get(path.as_uri())
    browser.execute_script("tell(0)")
    seen = {}
    for _ in range(12):
        if browser.execute_script("return view.story") is None:
            break
        title = browser.find_element("id", "stop-title").text
        seen[title] = browser.execute_script("return panes.map(p => p.parts.title.textContent)")
        browser.execute_script("tell(view.story + 1)")
    assert seen["Two gradients meet in c"][1].endswith("two gradients meet in c")
    assert seen["Times f"] == ["3 of 5: to the step before, through W", "7 of 10: to the step before, straight along c"]
    assert seen["Clip"] == ["all gradients are there: clip"] * 2
    assert seen["The optimiser's step"] == ["the optimiser's step"] * 2


def test_a_finger_across_the_story_turns_the_page(browser, tmp_path, rng):
    model = Sequential(rec=GRU(2, 3, rng=rng), head=Linear(3, 1, rng=rng))
    driver = page_of(model, rng.standard_normal((4, 1, 2)), rng.standard_normal((4, 1, 1)), None, browser, tmp_path, "")
    driver.execute_script("tell(0)")
    swipe = """
      const touch = x => new Touch({ identifier: 1, target: $("story"), clientX: x, clientY: 5 });
      for (const [name, x] of [["touchstart", arguments[0]], ["touchend", arguments[1]]])
        $("story").dispatchEvent(new TouchEvent(name, { changedTouches: [touch(x)] }));
      return view.story"""
    assert driver.execute_script(swipe, 300, 100) == 1
    assert driver.execute_script(swipe, 100, 300) == 0
    assert driver.execute_script(swipe, 100, 110) == 0
