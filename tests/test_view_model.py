"""The stepper page in a browser: what it computes again after a change is what Python computes."""

import numpy as np
import pytest
import scratchnet
from scratchnet.cells import CELLS
from scratchnet.layers import GRU, LSTM, RNN, Dropout, Embedding, Linear, Recurrent, ReLU, Sequential, Tanh

from browsers import press
from page_makers import shown

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
