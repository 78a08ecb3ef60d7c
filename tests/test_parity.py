"""The numbers are PyTorch's: forward and every gradient, for every layer, option, direction, length and state.

The tolerance is absolute, 1e-10 in float64 and 1e-5 in float32, and every gradient's largest element is of order one, which is
checked: what arrives from above is divided by the number of outputs, as a mean over them would do.  Undivided, these gradients
reach 25 (tanh), 90 (relu), 30 (LSTM), 12 (GRU).  float64 is within 3e-13 of PyTorch even then, and float32 within 5e-6 for LSTM
and GRU; for the RNN it is 2e-5 away, a few units in its sixth digit, and 1e-5 holds only relative to the largest element.
"""

import numpy as np
import pytest
import torch
from scratchnet.layers import ACTIVATIONS, GRU, LSTM, RNN, Dropout, Linear, Sequential
from scratchnet.losses import mse, softmax_cross_entropy
from scratchnet.training.clip import clip_global_norm
from scratchnet.training.optim import Adam, AdamW
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

TOLERANCE = {np.float64: 1e-10, np.float32: 1e-5}
KINDS = {"rnn tanh": (RNN, {}), "rnn relu": (RNN, {"nonlinearity": "relu"}), "lstm": (LSTM, {}), "gru": (GRU, {})}
TORCH = {RNN: torch.nn.RNN, LSTM: torch.nn.LSTM, GRU: torch.nn.GRU}


def tensor(array):
    return torch.from_numpy(np.array(array)).requires_grad_(True)


def torch_twin(layer, options=None):
    """A torch.nn layer with the same weights.

    torch has two biases where one is enough: ours is put into the first.  Only the GRU's n block really has a second one,
    b_hn.
    """
    twin = TORCH[type(layer)](
        layer.input_size,
        layer.hidden_size,
        layer.num_layers,
        bidirectional=layer.bidirectional,
        batch_first=layer.batch_first,
        dtype=torch.from_numpy(layer.params["W_x_l0"]).dtype,
        **(options or {}),
    )
    H = layer.hidden_size
    with torch.no_grad():
        for depth, direction in layer.layer_directions:
            end = f"l{depth}{direction}"
            getattr(twin, f"weight_ih_{end}").copy_(torch.from_numpy(layer.params[f"W_x_{end}"].T.copy()))
            getattr(twin, f"weight_hh_{end}").copy_(torch.from_numpy(layer.params[f"W_h_{end}"].T.copy()))
            getattr(twin, f"bias_ih_{end}").copy_(torch.from_numpy(layer.params[f"b_{end}"].copy()))
            getattr(twin, f"bias_hh_{end}").zero_()
            if f"b_hn_{end}" in layer.params:
                getattr(twin, f"bias_hh_{end}")[2 * H :] = torch.from_numpy(layer.params[f"b_hn_{end}"].copy())
    return twin


def twin_values(layer, twin, read=lambda p: p.detach()):
    """What ``read`` takes from each of the twin's parameters, under our names."""
    values, H = {}, layer.hidden_size
    for depth, direction in layer.layer_directions:
        end = f"l{depth}{direction}"
        values[f"W_x_{end}"] = read(getattr(twin, f"weight_ih_{end}")).numpy().T
        values[f"W_h_{end}"] = read(getattr(twin, f"weight_hh_{end}")).numpy().T
        values[f"b_{end}"] = read(getattr(twin, f"bias_ih_{end}")).numpy()
        if f"b_hn_{end}" in layer.params:
            values[f"b_hn_{end}"] = read(getattr(twin, f"bias_hh_{end}")).numpy()[2 * H :]
    return values


def twin_grads(layer, twin):
    """The twin's gradients under our names."""
    return twin_values(layer, twin, lambda p: p.grad)


def assert_close(ours, theirs, dtype, what):
    """Within the tolerance absolutely; where all elements are under 1, within the tolerance of the largest of them."""
    theirs = theirs.detach().numpy() if isinstance(theirs, torch.Tensor) else theirs
    assert ours.dtype == theirs.dtype
    largest = min(1.0, float(np.max(np.abs(theirs))))
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=TOLERANCE[dtype] * largest, err_msg=what)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("with_state", [False, True], ids=["zeros", "state"])
@pytest.mark.parametrize("batch_first", [False, True], ids=["time", "batch"])
@pytest.mark.parametrize("lengths", [None, [7, 3, 1, 5]], ids=["full", "ragged"])
@pytest.mark.parametrize("bidirectional", [False, True], ids=["one", "both"])
@pytest.mark.parametrize("num_layers", [1, 2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_recurrent_layer(kind, num_layers, bidirectional, lengths, batch_first, with_state, dtype):
    rng = np.random.default_rng(0)
    make, options = KINDS[kind]
    T, N, D, H = 7, 4, 3, 5
    layer = make(
        D,
        H,
        num_layers=num_layers,
        bidirectional=bidirectional,
        batch_first=batch_first,
        dtype=dtype,
        rng=rng,
        **options,
    )
    # Away from zero biases and orthogonal weights, which could hide an exchange; less for relu, whose outputs have no ceiling.
    spread = 0.1 if options else 0.3
    for p in layer.params.values():
        p += (spread * rng.standard_normal(p.shape)).astype(dtype)
    twin = torch_twin(layer, options)
    x = rng.standard_normal((N, T, D) if batch_first else (T, N, D)).astype(dtype)
    state = [rng.standard_normal(s.shape).astype(dtype) for s in layer.initial_state(x)] if with_state else None

    y, cache = layer.forward(x, state=state, lengths=lengths)
    outputs = T * N if lengths is None else sum(lengths)
    dy, *d_last = ((rng.standard_normal(a.shape) / outputs).astype(dtype) for a in (y, *cache.state_last))
    dx, dstate = layer.backward_state(dy, cache, d_last)

    tx = tensor(x)
    tstate = None if state is None else [tensor(s) for s in state]
    given = tstate if tstate is None or len(tstate) > 1 else tstate[0]
    given = tuple(given) if isinstance(given, list) else given
    if lengths is None:
        ty, tlast = twin(tx, given)
    else:
        packed = pack_padded_sequence(tx, torch.tensor(lengths), batch_first=batch_first, enforce_sorted=False)
        ty, tlast = twin(packed, given)
        ty, _ = pad_packed_sequence(ty, batch_first=batch_first)
    tlast = tlast if isinstance(tlast, tuple) else (tlast,)
    torch.autograd.backward([ty, *tlast], [torch.from_numpy(g) for g in (dy, *d_last)])

    assert_close(y, ty, dtype, "y")
    for name, ours, theirs in zip(layer.cell.STATES, cache.state_last, tlast):
        assert_close(ours, theirs, dtype, f"final {name}")
    assert_close(dx, tx.grad, dtype, "dx")
    for name, ours, theirs in zip(layer.cell.STATES, dstate, tstate or []):
        assert_close(ours, theirs.grad, dtype, f"d{name}0")
    for name, theirs in twin_grads(layer, twin).items():
        assert_close(layer.grads[name], theirs, dtype, f"d{name}")
    assert 0.1 < max(float(np.max(np.abs(g))) for g in layer.grads.values()) < 10, (
        "gradients of order one, as the tolerance says"
    )


def test_long_sequence():
    """Errors do not build up: 300 steps, gradients up to 900, still within 1e-10 absolutely."""
    rng = np.random.default_rng(1)
    for make in (RNN, LSTM, GRU):
        layer = make(3, 16, rng=rng)
        twin = torch_twin(layer)
        x = rng.standard_normal((300, 2, 3))
        y, cache = layer.forward(x)
        dx = layer.backward(np.ones_like(y), cache)
        tx = tensor(x)
        ty, _ = twin(tx)
        ty.sum().backward()
        assert_close(y, ty, np.float64, "y")
        assert_close(dx, tx.grad, np.float64, "dx")
        for name, theirs in twin_grads(layer, twin).items():
            assert_close(layer.grads[name], theirs, np.float64, f"d{name}")


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name, dtype):
    theirs = {
        "relu": torch.relu,
        "leaky_relu": torch.nn.functional.leaky_relu,
        "tanh": torch.tanh,
        "sigmoid": torch.sigmoid,
        "gelu": lambda x: torch.nn.functional.gelu(x, approximate="tanh"),
        "softplus": torch.nn.functional.softplus,
    }[name]
    x = np.linspace(-8, 8, 101, dtype=dtype)
    x[50] = 0
    layer = ACTIVATIONS[name]()
    y, cache = layer.forward(x)
    tx = tensor(x)
    ty = theirs(tx)
    ty.sum().backward()
    assert_close(y, ty, dtype, "y")
    assert_close(layer.backward(np.ones_like(y), cache), tx.grad, dtype, "dx")


def model_pair(make, rng, outputs, dtype=np.float64):
    """recurrent(2 -> 6, two layers) -> last state -> tanh head, ours and torch's, with the same weights."""
    ours = Sequential(
        rec=make(2, 6, num_layers=2, batch_first=True, return_sequences=False, rng=rng, dtype=dtype),
        head=Linear(6, outputs, rng=rng, dtype=dtype),
    )
    twin = torch_twin(ours.layers["rec"])
    head = torch.nn.Linear(6, outputs, dtype=next(twin.parameters()).dtype)
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(ours.params["head.W"].T.copy()))
        head.bias.copy_(torch.from_numpy(ours.params["head.b"].copy()))
    # the second bias is ours only in the GRU's n block: elsewhere it stays zero, as we have none to train
    for name, p in twin.named_parameters():
        if name.startswith("bias_hh"):
            keep = torch.zeros_like(p)
            if make is GRU:
                keep[12:] = 1
            p.register_hook(lambda grad, keep=keep: grad * keep)
    return ours, twin, head


@pytest.mark.parametrize("make", [RNN, LSTM, GRU])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_ten_training_steps_of_a_whole_model(make, dtype):
    """With clipping and AdamW, after every step: loss and gradient norm within the tolerance relatively, parameters absolutely."""
    rng = np.random.default_rng(0)
    ours, twin, head = model_pair(make, rng, 1, dtype)
    x = rng.standard_normal((20, 9, 2)).astype(dtype)
    target = x.sum(axis=(1, 2))[:, None]
    optimizer = AdamW(1e-2, weight_decay=0.01)
    parameters = [*twin.parameters(), *head.parameters()]
    theirs = torch.optim.AdamW(parameters, lr=1e-2, weight_decay=0.01)
    before = {name: p.copy() for name, p in ours.params.items()}
    for step in range(10):
        ours.zero_grad()
        y, cache = ours.forward(x, training=True)
        loss, dy = mse(y, target)
        ours.backward(dy, cache)
        norm = clip_global_norm(ours.grads, 0.5)
        optimizer.step(ours.params, ours.grads)

        theirs.zero_grad()
        out, _ = twin(torch.from_numpy(x))
        tloss = torch.nn.functional.mse_loss(head(out[:, -1]), torch.from_numpy(target))
        tloss.backward()
        tnorm = torch.nn.utils.clip_grad_norm_(parameters, 0.5)
        theirs.step()

        tolerance = TOLERANCE[dtype]
        assert loss == pytest.approx(tloss.item(), abs=0, rel=tolerance), step
        assert norm == pytest.approx(tnorm.item(), abs=0, rel=tolerance), step
        assert norm > 0.5, "the gradients are clipped"
        weights = {f"rec.{name}": p for name, p in twin_values(ours.layers["rec"], twin).items()}
        weights |= {"head.W": head.weight.detach().numpy().T, "head.b": head.bias.detach().numpy()}
        assert weights.keys() == ours.params.keys()
        for name, p in weights.items():
            np.testing.assert_allclose(
                ours.params[name], p, rtol=0, atol=tolerance, err_msg=f"{name} after step {step + 1}"
            )
    assert all(np.max(np.abs(p - before[name])) > 0.01 for name, p in ours.params.items())


def test_classifier_with_padding():
    """Bidirectional, ragged, many-to-one: the final states of both directions, into a softmax."""
    rng = np.random.default_rng(3)
    model = Sequential(rec=LSTM(3, 4, bidirectional=True, return_sequences=False, rng=rng), head=Linear(8, 3, rng=rng))
    x, lengths, labels = rng.standard_normal((6, 5, 3)), [6, 2, 4, 1, 5], np.array([0, 2, 1, 1, 0])
    logits, cache = model.forward(x, lengths=lengths)
    loss, dlogits = softmax_cross_entropy(logits, labels)
    dx = model.backward(dlogits, cache)

    twin, tx = torch_twin(model.layers["rec"]), tensor(x)
    _, (h, _) = twin(pack_padded_sequence(tx, torch.tensor(lengths), enforce_sorted=False))
    W, b = tensor(model.params["head.W"]), tensor(model.params["head.b"])
    tloss = torch.nn.functional.cross_entropy(torch.cat([h[0], h[1]], dim=1) @ W + b, torch.from_numpy(labels))
    tloss.backward()
    assert loss == pytest.approx(tloss.item(), abs=1e-12)
    assert_close(dx, tx.grad, np.float64, "dx")
    assert_close(model.grads["head.W"], W.grad, np.float64, "dW")
    for name, theirs in twin_grads(model.layers["rec"], twin).items():
        assert_close(model.grads[f"rec.{name}"], theirs, np.float64, f"d{name}")


def test_dropout_between_layers_as_torch_places_it():
    """With our masks put into torch by hand: behind every layer but the last, on the outputs of both directions."""
    rng = np.random.default_rng(4)
    layer = LSTM(2, 3, num_layers=2, bidirectional=True, dropout=0.4, rng=rng)
    x = rng.standard_normal((5, 2, 2))
    y, cache = layer.forward(x, training=True)
    assert cache.masks[1] is None
    first = LSTM(2, 3, bidirectional=True, rng=rng)
    second = LSTM(6, 3, bidirectional=True, rng=rng)
    for name in first.params:
        first.params[name][...] = layer.params[name]
        second.params[name][...] = layer.params[name.replace("l0", "l1")]
    middle, _ = torch_twin(first)(torch.from_numpy(x))
    top, _ = torch_twin(second)(middle * torch.from_numpy(cache.masks[0]))
    assert_close(y, top, np.float64, "y")
    assert set(np.unique(cache.masks[0])) == {0.0, 1 / 0.6}


def test_mlp_training_trace():
    """An MLP with dropout off, ten steps of Adam."""
    rng = np.random.default_rng(5)
    ours = Sequential(
        a=Linear(3, 8, rng=rng), act=ACTIVATIONS["gelu"](), drop=Dropout(0.5, rng=rng), b=Linear(8, 1, rng=rng)
    )
    weights = {name: tensor(p) for name, p in ours.params.items()}
    x = rng.standard_normal((16, 3))
    target = np.sin(x).sum(axis=1, keepdims=True)
    optimizer, theirs = Adam(0.01), torch.optim.Adam(weights.values(), lr=0.01)
    for _ in range(10):
        ours.zero_grad()
        y, cache = ours.forward(x)
        loss, dy = mse(y, target)
        ours.backward(dy, cache)
        optimizer.step(ours.params, ours.grads)
        theirs.zero_grad()
        hidden = torch.nn.functional.gelu(torch.from_numpy(x) @ weights["a.W"] + weights["a.b"], approximate="tanh")
        tloss = torch.mean((hidden @ weights["b.W"] + weights["b.b"] - torch.from_numpy(target)) ** 2)
        tloss.backward()
        theirs.step()
        assert loss == pytest.approx(tloss.item(), abs=0, rel=1e-10)
    for name, p in ours.params.items():
        assert_close(p, weights[name], np.float64, name)
