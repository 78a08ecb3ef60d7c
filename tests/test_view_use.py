"""The stepper page in a browser: keys, pointer, address, river, and pages of one or two traces of any size."""

import time

import numpy as np
import pytest
import scratchnet
from scratchnet.layers import LSTM, RNN, Linear, Sequential
from scratchnet.tracing.order import unit_order

from browsers import press
from page_makers import shown, small_trace, walk_of


def test_inside_a_notebooks_iframe_it_works_too(browser, rng, tmp_path):
    """Sandboxed, without an address."""
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
    assert tops[0] == tops[2]  # both panes begin at the same height
    assert tops[1] == tops[3]
    ranges = [e.text for e in driver.find_elements("css selector", ".map .range")]
    assert (
        ranges[0] == driver.find_elements("css selector", ".pane")[1].find_element("css selector", ".map .range").text
    )


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
