"""The page of an MLP: its numbers are the library's, its step is the optimiser's, and it is seen whole."""

import json
from importlib import resources

import numpy as np
import pytest
import scratchnet
from scratchnet.layers import LSTM, Dropout, Embedding, Linear, Sequential, Softplus
from scratchnet.losses import LOSSES
from scratchnet.models import mlp
from scratchnet.training import SGD, Adam
from scratchnet.view import layers_page, layers_to_html

from browsers import LECTURE, assert_quiet, press, resize

SIZES = [(1024, 768), (1280, 720), (1920, 1080), (390, 844), (320, 640)]
NAMES = ["sine", "three classes", "two classes", "huber"]


def made(name, rng):
    if name == "sine":
        x = rng.uniform(-3, 3, (10, 1))
        return mlp(1, 1, units=[6, 5], activation="tanh", rng=rng), x, np.sin(x), None
    x = rng.standard_normal((12, 20))
    if name == "three classes":
        return mlp(20, 3, units=[32], rng=rng), x, rng.integers(0, 3, 12), None
    if name == "two classes":
        model = mlp(20, 1, units=[4, 4], activation="sigmoid", rng=rng)
        return model, x, (rng.random((12, 1)) > 0.5).astype(float), "binary_cross_entropy"
    layers = Linear(20, 5, rng=rng), Softplus(), Dropout(0.5, rng=rng), Linear(5, 3, rng=rng)
    return Sequential(*layers), x, 3 * rng.standard_normal((12, 3)), "huber"


def pass_of(model, x, target, loss):
    """The loss, and by layer the output and its gradient; the model's gradients are those of the batch."""
    loss = LOSSES[loss or ("softmax_cross_entropy" if target.dtype.kind == "i" else "mse")]
    outputs, caches, now = [], [], x
    for layer in model.layers.values():
        now, cache = layer.forward(now)
        outputs.append(now)
        caches.append(cache)
    value, d = loss(now, target)
    model.zero_grad()
    gradients = []
    for layer, cache in zip(reversed(model.layers.values()), reversed(caches)):
        gradients.insert(0, d)
        d = layer.backward(d, cache)
    return value, outputs, gradients


def opened(driver, path, fragment=""):
    driver.get("about:blank")
    driver.get(path.as_uri() + fragment)
    return driver


def circles(driver):
    found = driver.execute_script(
        "return [...document.querySelectorAll('[data-unit]')].map(e => [e.dataset.unit, e.dataset.value])"
    )
    return {tuple(map(int, unit.split())): float(value) for unit, value in found if value}


@pytest.mark.parametrize("name", NAMES)
def test_every_unit_shows_its_value_and_its_gradient(name, browser, tmp_path, rng):
    model, x, target, loss = made(name, rng)
    value, outputs, gradients = pass_of(model, x, target, loss)
    driver = opened(browser, layers_to_html(model, x, target, tmp_path / "page.html", loss=loss, sample=3))
    assert float(driver.find_element("css selector", ".loss").get_attribute("data-value")) == pytest.approx(
        value, rel=1e-12
    )
    for n in (3, 7):
        driver.execute_script(f"go({{ mode: 'forward', n: {n} }})")
        forward = circles(driver)
        driver.execute_script("go({ mode: 'backward' })")
        backward = circles(driver)
        for k, (y, d) in enumerate(zip(outputs, gradients)):
            for j in range(min(11, y.shape[1])):
                assert forward[k, j] == pytest.approx(y[n, j], rel=1e-12, abs=1e-15)
                assert backward[k, j] == pytest.approx(d[n, j], rel=1e-10, abs=1e-15)
        assert forward[-1, 0] == x[n, 0]
    assert_quiet(driver)


@pytest.mark.parametrize("name", NAMES)
def test_the_walk_checks_every_gradient_against_differences(name, browser, tmp_path, rng):
    """Every step of both passes, by the keyboard; each layer's gradient beside its central difference."""
    model, x, target, loss = made(name, rng)
    driver = opened(browser, layers_to_html(model, x, target, tmp_path / "page.html", loss=loss))
    press(driver, "b")
    titles, checked = [], 0
    for _ in range(len(model.layers) + 3):
        titles.append(driver.find_element("css selector", ".title").text)
        for check in driver.find_elements("css selector", "[data-numeric]"):
            numeric, written = (float(check.get_attribute(f"data-{which}")) for which in ("numeric", "written"))
            assert numeric == pytest.approx(written, rel=1e-6, abs=1e-9)
            checked += 1
        assert driver.find_element("css selector", ".code").text
        press(driver, " ")
    assert titles[0] == "the loss sends its gradient"
    assert titles[-2:] == ["all gradients are there: clip", "the optimiser's step"]
    assert len(set(titles)) == len(titles)
    assert checked == len(model.layers) - 1


@pytest.mark.parametrize("rule", ["SGD", "Adam"])
def test_the_steps_that_are_taken_are_those_of_the_library(rule, browser, tmp_path, rng):
    """Three updates in the page and three in Python end with the same loss; Adam keeps its means; then all is as it was."""
    model, x, target, loss = made("sine", rng)
    driver = opened(browser, layers_to_html(model, x, target, tmp_path / "page.html", loss=loss))
    shown = lambda: float(driver.find_element("css selector", ".loss").get_attribute("data-value"))  # noqa: E731
    first = shown()
    driver.execute_script(f"setRule('{rule}'); go({{ mode: 'backward', s: 99 }})")
    optimizer = {"SGD": SGD, "Adam": Adam}[rule](lr=0.1)
    for _ in range(3):
        pass_of(model, x, target, loss)
        optimizer.step(model.params, model.grads)
        promised = float(driver.find_element("css selector", "[data-loss]").get_attribute("data-loss"))
        driver.execute_script("take()")
        assert shown() == pytest.approx(promised, rel=1e-12)
    assert shown() == pytest.approx(pass_of(model, x, target, loss)[0], rel=1e-9)
    assert shown() != first
    press(driver, "r")
    assert shown() == first


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", NAMES)
def test_it_is_seen_whole_and_axe_finds_nothing(name, theme, browser, tmp_path, rng):
    model, x, target, loss = made(name, rng)
    path = layers_to_html(model, x, target, tmp_path / "page.html", loss=loss)
    axe = resources.files(pytest.importorskip("axe_core_python")).joinpath("axe.min.js").read_text(encoding="utf-8")
    driver = opened(browser, path)
    driver.execute_script(f"setTheme('{theme}');" + axe)
    for width, height in SIZES:
        resize(driver, width, height)
        for mode in ("forward", "backward"):
            for s in range(len(model.layers) + 3):
                driver.execute_script(f"go({{ mode: '{mode}', s: {s} }})")
                wide = driver.execute_script("return document.documentElement.scrollWidth")
                assert wide <= width, (mode, s)
        found = driver.execute_async_script(
            "const done = arguments[0]; axe.run().then(r => done(r.violations.map(v => [v.id, v.nodes.slice(0, 3).map(n => n.html.slice(0, 120))])))"
        )
        assert found == []


@pytest.mark.parametrize("size", SIZES[:3], ids=str)
def test_a_lecture_is_large_and_above_the_fold(size, browser, tmp_path, rng):
    model, x, target, loss = made("sine", rng)
    driver = opened(browser, layers_to_html(model, x, target, tmp_path / "page.html", loss=loss))
    resize(driver, *size)
    for mode in ("forward", "backward"):
        for s in range(len(model.layers) + (1 if mode == "forward" else 3)):
            assert driver.execute_script(f"go({{ lecture: true, mode: '{mode}', s: {s} }});" + LECTURE) == [[], []], (
                mode,
                s,
            )


def test_firefox_computes_the_same(firefox, tmp_path, rng):
    model, x, target, loss = made("three classes", rng)
    value, _, gradients = pass_of(model, x, target, loss)
    firefox.get(layers_to_html(model, x, target, tmp_path / "page.html").as_uri())
    firefox.execute_script("go({ mode: 'backward', n: 4, s: 1 })")
    assert firefox.execute_script("return +document.querySelector('.loss').dataset.value") == pytest.approx(
        value, rel=1e-12
    )
    shown = firefox.execute_script("""return +document.querySelector('[data-unit="1 2"]').dataset.value""")
    assert shown == pytest.approx(gradients[1][4, 2], rel=1e-10, abs=1e-15)
    assert firefox.log == []


def test_bad_arguments_are_named(rng):
    model, x, target, _ = made("sine", rng)
    with pytest.raises(ValueError, match="recurrent layer has a page by trace"):
        layers_page(Sequential(LSTM(1, 2, rng=rng)), x, target)
    with pytest.raises(ValueError, match="of the kind embedding"):
        layers_page(Sequential(Embedding(3, 2, rng=rng)), x, target)
    with pytest.raises(TypeError, match="expected a layer of scratchnet"):
        layers_page("MLP", x, target)
    with pytest.raises(ValueError, match="one target for each"):
        layers_page(model, x, target[:3])
    with pytest.raises(ValueError, match="expected 0 to 9"):
        layers_page(model, x, target, sample=10)
    with pytest.raises(ValueError, match="does not know the loss 'hinge'"):
        layers_page(model, x, target, loss="hinge")
    with pytest.raises(ValueError, match=r"the page would have [\d.]+ MB"):
        layers_page(mlp(1000, 1, units=[4], rng=rng), rng.standard_normal((300, 1000)), rng.standard_normal((300, 1)))
    model.params["hidden0.W"][0] = np.nan
    with pytest.raises(ValueError, match="the loss is nan"):
        layers_page(model, x, target)


def test_the_page_holds_no_text_that_becomes_code(rng):
    model, x, target, _ = made("sine", rng)
    text = layers_page(model, x, target, title="</script><script>alert(1)</script>")
    assert "<script>alert" not in text
    assert json.loads(text.partition('id="data">')[2].partition("</script>")[0])["title"].startswith("</script>")


def test_a_trace_of_a_model_without_recurrence_says_what_shows_it(rng):
    model, x, target, _ = made("sine", rng)
    with pytest.raises(TypeError, match=r"is not recurrent: .*; scratchnet\.layers_to_html\(model, x, target, path\)"):
        scratchnet.trace(model, x, target)
    assert scratchnet.layers_to_html is layers_to_html
