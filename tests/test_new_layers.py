"""Normalisation, embedding, convolution, pooling, attention: the numbers are PyTorch's, padding is as if it were not there.

Gradients by central differences, float32, copies and checkpoints of the same layers: ``test_layer_table.py``.
"""

import math
import warnings
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scratchnet.cells import normalise
from scratchnet.gradcheck import check_layer
from scratchnet.layers import (
    LSTM,
    AttentionPooling,
    AveragePool1d,
    BatchNorm1d,
    Conv1d,
    Embedding,
    Flatten,
    GlobalAveragePool,
    GlobalMaxPool,
    LayerNorm,
    LeakyReLU,
    Linear,
    MaxPool1d,
    SelfAttention,
    Sequential,
    VariationalDropout,
)
from scratchnet.layers.attend import attend, attend_backward, softmax
from torch.nn import functional

from device_array import on_device

TOLERANCE = {np.float64: 1e-10, np.float32: 1e-5}
DTYPES = pytest.mark.parametrize("dtype", TOLERANCE)


def tensor(array):
    return torch.from_numpy(np.array(array)).requires_grad_(True)


def randomised(layer, rng, dtype):
    """The layer in dtype, its parameters moved away from where they start."""
    for p in layer.params.values():
        p += 0.3 * rng.standard_normal(p.shape)
    return layer.astype(dtype)


def assert_equal(ours, theirs, what):
    theirs = theirs.detach().numpy() if isinstance(theirs, torch.Tensor) else theirs
    assert ours.dtype == theirs.dtype, what
    largest = min(1.0, float(np.max(np.abs(theirs))))
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=TOLERANCE[ours.dtype.type] * largest, err_msg=what)


def against_torch(layer, x, function, dtype, **arguments):
    """y, dx and every gradient of the layer against ``function(x, parameters by name)`` written with torch."""
    x = x if np.issubdtype(x.dtype, np.integer) else x.astype(dtype)
    layer.zero_grad()
    y, cache = layer.forward(x, **arguments)
    dy = (np.random.default_rng(9).standard_normal(y.shape) / math.sqrt(y.size)).astype(dtype)
    dx = layer.backward(dy, cache)
    weights = {name: tensor(p) for name, p in layer.params.items()}
    tx = torch.from_numpy(x) if dx is None else tensor(x)
    ty = function(tx, weights)
    ty.backward(torch.from_numpy(dy))
    assert_equal(y, ty, "y")
    if dx is not None:
        assert_equal(dx, tx.grad, "dx")
    for name, p in weights.items():
        assert_equal(layer.grads[name], p.grad, f"d{name}")
    return y


# ---- normalisation ---------------------------------------------------------------------------------------------------


@DTYPES
@pytest.mark.parametrize("shape", [(4,), (3, 4), (5, 2, 4)])
def test_layer_norm(shape, dtype, rng):
    layer = randomised(LayerNorm(4), rng, dtype)
    against_torch(
        layer, 1 + 2 * rng.standard_normal(shape), lambda x, p: functional.layer_norm(x, (4,), p["gain"], p["b"]), dtype
    )


@DTYPES
@pytest.mark.parametrize("batch_first", [False, True], ids=["time", "batch"])
@pytest.mark.parametrize("shape", [(6, 3), (5, 4, 3)])
def test_batch_norm(shape, batch_first, dtype, rng):
    """Three steps of training, each with its gradients and running statistics, then prediction with these."""
    layer = randomised(BatchNorm1d(3, batch_first=batch_first, momentum=0.2), rng, dtype)
    twin = torch.nn.BatchNorm1d(3, momentum=0.2, dtype=torch.from_numpy(layer.params["b"]).dtype)

    def function(x, weights):
        twin.weight.data, twin.bias.data = weights["gain"].data, weights["b"].data
        y = functional.batch_norm(
            x if x.ndim == 2 else x.permute(1, 2, 0),
            twin.running_mean,
            twin.running_var,
            weights["gain"],
            weights["b"],
            training=training,
            momentum=0.2,
        )
        return y if x.ndim == 2 else y.permute(2, 0, 1)

    for training in (True, True, True, False):
        x = 1 + 2 * rng.standard_normal(shape)
        before = {name: b.copy() for name, b in layer.buffers.items()}
        against_torch(layer, x, function, dtype, training=training)
        for name, theirs in (("running_mean", twin.running_mean), ("running_var", twin.running_var)):
            assert_equal(layer.buffers[name], theirs, name)
            assert np.array_equal(layer.buffers[name], before[name]) != training


def test_batch_norm_of_padded_sequences_is_that_of_their_rows(rng):
    """Statistics, output and gradient: as if the rows inside the sequences were all there is, whatever the padding holds."""
    lengths, inside = [4, 1, 3], np.arange(4)[:, None] < np.array([4, 1, 3])
    ragged, plain = BatchNorm1d(2), BatchNorm1d(2)
    x, dy = rng.standard_normal((4, 3, 2)), rng.standard_normal((4, 3, 2))
    want, cache = plain.forward(x[inside], training=True)
    want_dx = plain.backward(dy[inside], cache)
    x[~inside] = np.nan
    y, cache = ragged.forward(x, training=True, lengths=lengths)
    dx = ragged.backward(np.where(inside[:, :, None], dy, np.nan), cache)
    for ours, theirs in ((y, want), (dx, want_dx)):
        np.testing.assert_allclose(ours[inside], theirs, rtol=1e-12)
        assert not ours[~inside].any()
    for name, buffer in ragged.buffers.items():
        np.testing.assert_allclose(buffer, plain.buffers[name], rtol=1e-12)
    for name, grad in ragged.grads.items():
        np.testing.assert_allclose(grad, plain.grads[name], rtol=1e-12)
    predicted, _ = ragged.forward(x, lengths=lengths)
    np.testing.assert_allclose(predicted[inside], plain.forward(np.nan_to_num(x))[0][inside], rtol=1e-12)
    assert not predicted[~inside].any()


# ---- embedding -------------------------------------------------------------------------------------------------------


@DTYPES
@pytest.mark.parametrize("integer", [np.int64, np.int32, np.uint8])
def test_embedding(integer, dtype, rng):
    layer = randomised(Embedding(300, 4, rng=rng), rng, dtype)
    x = rng.integers(0, 5, (6, 7)).astype(integer)  # each token about eight times
    x[0, 0] = 255
    y = against_torch(layer, x, lambda x, p: functional.embedding(x.long(), p["W"]), dtype)
    assert y.shape == (6, 7, 4)


def test_the_token_for_padding_is_nothing_and_learns_nothing(rng):
    layer = Embedding(4, 3, rng=rng, padding=1)
    x = np.array([[1, 0], [3, 1]])
    for p in layer.params.values():
        p += 1  # an optimiser's weight decay may move its row: it stays nothing
    y, cache = layer.forward(x)
    assert not y[x == 1].any()
    layer.backward(np.ones_like(y), cache)
    np.testing.assert_array_equal(layer.grads["W"].sum(axis=1), [3, 0, 0, 3])


def test_a_model_that_begins_with_tokens(rng):
    """Gradients of every parameter through the embedding, and no dx at its end."""
    model = Sequential(
        words=Embedding(5, 3, rng=rng),
        conv=Conv1d(3, 4, 2, rng=rng, padding="valid", stride=2),
        norm=LayerNorm(4),
        pool=MaxPool1d(2, 1),
        look=SelfAttention(4, 4, rng=rng),
        sum=AttentionPooling(4, 3, rng=rng),
        head=Linear(4, 2, rng=rng),
    )
    assert model.tokens
    assert model.ragged
    x, lengths = rng.integers(0, 5, (9, 3)), [9, 4, 6]
    report = check_layer(model, x, lengths=lengths)
    assert report.error <= 1e-6
    assert [row.tensor for row in report.rows] == [f"d{name}" for name in model.params]
    y, cache = model.forward(x, lengths=lengths)
    assert model.backward(np.ones_like(y), cache) is None
    alone, _ = model.forward(x[:4, 1:2], lengths=[4])
    np.testing.assert_allclose(y[1:2], alone, rtol=1e-12)


# ---- convolution and pooling -----------------------------------------------------------------------------------------


def channels(x):
    """(T, N, D) to torch's (N, D, T), and back."""
    return x.permute(1, 2, 0)


def back(x):
    return x.permute(2, 0, 1)


def torch_conv(padding, kernel, stride, dilation):
    zeros = {"valid": 0, "same": dilation * (kernel - 1), "causal": dilation * (kernel - 1)}[padding]
    left = zeros // 2 if padding == "same" else zeros

    def function(x, weights):
        padded = functional.pad(channels(x), (left, zeros - left))
        return back(
            functional.conv1d(padded, weights["W"].permute(2, 1, 0), weights["b"], stride=stride, dilation=dilation)
        )

    return function


@DTYPES
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel", [1, 2, 3])
@pytest.mark.parametrize("padding", ["same", "causal", "valid"])
def test_conv(padding, kernel, stride, dilation, dtype, rng):
    layer = randomised(Conv1d(3, 4, kernel, rng=rng, stride=stride, dilation=dilation, padding=padding), rng, dtype)
    y = against_torch(layer, rng.standard_normal((9, 2, 3)), torch_conv(padding, kernel, stride, dilation), dtype)
    assert list(layer.lengths_after([9, 9])) == [len(y)] * 2


@pytest.mark.parametrize(("kernel", "dilation"), [(1, 1), (2, 1), (3, 1), (4, 3)])
def test_same_is_where_torch_puts_it(kernel, dilation, rng):
    """torch's own padding="same", with even kernels too."""
    layer = Conv1d(2, 3, kernel, rng=rng, dilation=dilation)
    x = rng.standard_normal((7, 2, 2))
    W, b = (torch.from_numpy(layer.params[name]) for name in ("W", "b"))
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says that an even kernel costs it a copy
        theirs = functional.conv1d(
            channels(torch.from_numpy(x)), W.permute(2, 1, 0), b, dilation=dilation, padding="same"
        )
    assert_equal(layer.forward(x)[0], back(theirs), "y")


def test_causal_means_that_no_later_step_is_seen(rng):
    x = rng.standard_normal((8, 1, 2))
    conv = Conv1d(2, 3, 3, rng=rng, dilation=2, padding="causal")
    look = SelfAttention(2, 3, rng=rng, causal=True)
    for layer in (conv, look):
        y, _ = layer.forward(x)
        for t in range(8):
            later = x.copy()
            later[t + 1 :] = rng.standard_normal((7 - t, 1, 2))
            np.testing.assert_array_equal(layer.forward(later)[0][: t + 1], y[: t + 1])
            now = x.copy()
            now[t] += 1
            assert np.any(layer.forward(now)[0][t] != y[t])


@DTYPES
@pytest.mark.parametrize("stride", [None, 1, 3])
@pytest.mark.parametrize("kernel", [1, 2, 3])
def test_pooling(kernel, stride, dtype, rng):
    """With equal numbers in a window too: torch gives the gradient to the first, and so do we."""
    x = rng.standard_normal((8, 2, 3))
    x[2] = x[3]
    maximum = MaxPool1d(kernel, stride)
    y = against_torch(maximum, x, lambda x, _: back(functional.max_pool1d(channels(x), kernel, stride)), dtype)
    mean = AveragePool1d(kernel, stride)
    against_torch(mean, x, lambda x, _: back(functional.avg_pool1d(channels(x), kernel, stride)), dtype)
    assert list(maximum.lengths_after([8])) == list(mean.lengths_after([8])) == [len(y)]


@DTYPES
def test_pooling_over_all_of_time(dtype, rng):
    x = rng.standard_normal((6, 3, 2))
    against_torch(GlobalMaxPool(), x, lambda x, _: x.max(dim=0).values, dtype)
    against_torch(GlobalAveragePool(), x, lambda x, _: x.mean(dim=0), dtype)
    against_torch(Flatten(batch_first=True), x, lambda x, _: x.flatten(1), dtype)


# ---- attention -------------------------------------------------------------------------------------------------------


def torch_scores(q, k, score, v_a=None):
    if score == "additive":
        return torch.tanh(q.unsqueeze(-2) + k.unsqueeze(-3)) @ v_a
    return q @ k.transpose(-1, -2) / (q.shape[-1] ** 0.5 if score == "scaled" else 1)


@DTYPES
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("leading", [(), (2,), (2, 3)], ids=str)
@pytest.mark.parametrize("score", ["scaled", "dot", "additive"])
def test_attend(score, leading, masked, dtype, rng):
    """More keys than queries, values wider than keys; "scaled" against torch's own function."""
    q, k, v = (rng.standard_normal((*leading, *shape)).astype(dtype) for shape in ((3, 4), (5, 4), (5, 2)))
    v_a = rng.standard_normal(4).astype(dtype) if score == "additive" else None
    mask = None
    if masked:
        mask = rng.random((*leading, 3, 5)) < 0.5
        mask[..., 0] = True
    y, cache = attend(q, k, v, score, mask, v_a)
    dy = rng.standard_normal(y.shape).astype(dtype)
    grads = attend_backward(dy, cache)
    leaves = [tensor(a) for a in (q, k, v, v_a) if a is not None]
    tmask = None if mask is None else torch.from_numpy(mask)
    if score == "scaled":
        ty = functional.scaled_dot_product_attention(*leaves, attn_mask=tmask)
    else:
        scores = torch_scores(leaves[0], leaves[1], score, *leaves[3:])
        weights = torch.softmax(scores if tmask is None else scores.masked_fill(~tmask, -math.inf), dim=-1)
        assert_equal(cache.weights, weights, "weights")
        ty = weights @ leaves[2]
    ty.backward(torch.from_numpy(dy))
    assert_equal(y, ty, "y")
    for name, ours, leaf in zip(grads._fields, grads, leaves):
        assert_equal(ours, leaf.grad, name)
    np.testing.assert_allclose(cache.weights.sum(axis=-1), 1, rtol=10 * TOLERANCE[dtype])


def test_a_query_that_may_look_nowhere_gets_zeros_and_no_gradient(rng):
    q, k, v = (rng.standard_normal((2, 3, 2)) for _ in range(3))
    mask = np.ones((2, 3, 3), bool)
    mask[1, 2] = False
    y, cache = attend(q, k, v, "scaled", mask)
    assert not y[1, 2].any()
    assert y[1, 1].all()
    grads = attend_backward(np.ones_like(y), cache)
    assert not grads.dq[1, 2].any()
    assert all(np.isfinite(g).all() for g in grads[:3])
    shifted, _ = attend(q, k, v + 1, "scaled", mask)
    np.testing.assert_allclose(shifted - y, np.broadcast_to(mask[:, :, :1], (2, 3, 2)), atol=1e-12)


@pytest.mark.underflows
def test_softmax_of_large_scores_does_not_overflow():
    for dtype in TOLERANCE:
        scores = np.array([[1e30, 1e30, -1e30], [-1e30, -1e30, -1e30]], dtype)
        want = [[0.5, 0.5, 0], [1 / 3, 1 / 3, 1 / 3]]
        np.testing.assert_allclose(softmax(scores), want, rtol=1e-6)
        np.testing.assert_array_equal(softmax(scores, np.array([False, True, True])), [[0, 1, 0], [0, 0.5, 0.5]])
        assert softmax(scores).dtype == dtype


@DTYPES
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("score", ["scaled", "dot", "additive"])
def test_self_attention(score, causal, dtype, rng):
    layer = randomised(SelfAttention(3, 4, rng=rng, score=score, causal=causal, batch_first=True), rng, dtype)
    later = torch.ones(5, 5).triu(1).bool()

    def function(x, p):
        scores = torch_scores(x @ p["W_q"], x @ p["W_k"], score, p.get("v_a"))
        return torch.softmax(scores.masked_fill(later, -math.inf) if causal else scores, dim=-1) @ (x @ p["W_v"])

    against_torch(layer, rng.standard_normal((2, 5, 3)), function, dtype)


@DTYPES
@pytest.mark.parametrize("causal", [False, True])
def test_heads_are_torchs_multihead_attention(causal, dtype, rng):
    """With a Linear behind the heads; the padding is torch's key_padding_mask."""
    model = Sequential(SelfAttention(6, 6, rng=rng, heads=3, causal=causal), Linear(6, 6, rng=rng)).astype(dtype)
    names = ("0.W_q", "0.W_k", "0.W_v")
    lengths = [5, 2]
    x = rng.standard_normal((5, 2, 6)).astype(dtype)

    def function(x, p):
        outside = torch.arange(5) >= torch.tensor(lengths)[:, None]
        y, _ = functional.multi_head_attention_forward(
            x,
            x,
            x,
            6,
            3,
            torch.cat([p[name].T for name in names]),
            None,
            None,
            None,
            False,
            0.0,
            p["1.W"].T,
            p["1.b"],
            key_padding_mask=outside,
            attn_mask=torch.ones(5, 5).triu(1).bool() if causal else None,
            need_weights=False,
        )
        # a query in the padding: ours are zero before the Linear
        return torch.where(outside.T[:, :, None], p["1.b"], y)

    against_torch(model, x, function, dtype, lengths=lengths)


@DTYPES
def test_attention_pooling(dtype, rng):
    layer = randomised(AttentionPooling(3, 4, rng=rng), rng, dtype)

    def function(x, p):
        weights = torch.softmax(torch.tanh(x @ p["W"] + p["b"]) @ p["v"], dim=0)
        return (weights[:, :, None] * x).sum(dim=0)

    against_torch(layer, rng.standard_normal((5, 2, 3)), function, dtype)


def test_attention_can_be_looked_at(rng):
    """The weights, by name: they sum to one over the sequence, and are zero in the padding and in the future."""
    x, lengths = rng.standard_normal((4, 2, 3)), [4, 2]
    _, cache = SelfAttention(3, 4, rng=rng, heads=2, causal=True).forward(x, lengths=lengths)
    assert cache.weights.shape == (2, 2, 4, 4)
    np.testing.assert_allclose(cache.weights.sum(axis=-1), 1)
    assert not np.triu(cache.weights, 1).any()
    assert not cache.weights[1, :, :, 2:].any()
    _, pooled = AttentionPooling(3, 4, rng=rng).forward(x, lengths=lengths)
    assert pooled.weights.shape == (4, 2)
    np.testing.assert_allclose(pooled.weights.sum(axis=0), 1)
    assert not pooled.weights[2:, 1].any()


# ---- what they share -------------------------------------------------------------------------------------------------


def test_variational_dropout_drops_a_feature_for_the_whole_sequence(rng):
    x = np.ones((6, 50, 40))
    for batch_first in (False, True):
        layer = VariationalDropout(0.3, rng=rng, batch_first=batch_first)
        y, _ = layer.forward(x.swapaxes(0, 1) if batch_first else x, training=True)
        y = y.swapaxes(0, 1) if batch_first else y
        assert set(np.unique(y)) == {0.0, 1 / 0.7}
        assert np.all(y == y[:1])
        assert abs(np.mean(y[0] == 0) - 0.3) < 0.05  # 2000 draws: five standard deviations
        assert len(np.unique(y[0], axis=0)) == 50  # another mask for each sequence
        assert layer.forward(x)[0] is x


def over_time(data, rng, D):
    """A layer that looks along time, drawn with its options, for D features."""
    draw, size = data.draw, st.integers(1, 3)
    batch_first = draw(st.booleans())
    kind = draw(
        st.sampled_from(
            [Conv1d, MaxPool1d, AveragePool1d, GlobalMaxPool, GlobalAveragePool, SelfAttention, AttentionPooling]
        )
    )
    if kind is Conv1d:
        padding, options = (
            draw(st.sampled_from(["same", "causal", "valid"])),
            (draw(size), draw(size), draw(size), draw(size)),
        )
        outputs, kernel, stride, dilation = options
        layer = Conv1d(
            D, outputs, kernel, rng=rng, stride=stride, dilation=dilation, padding=padding, batch_first=batch_first
        )
        return layer, layer.span if padding == "valid" else 1
    if kind in (MaxPool1d, AveragePool1d):
        kernel = draw(size)
        return kind(kernel, draw(size), batch_first=batch_first), kernel
    if kind in (GlobalMaxPool, GlobalAveragePool):
        return kind(batch_first=batch_first), 1
    if kind is AttentionPooling:
        return kind(D, draw(size), rng=rng, batch_first=batch_first), 1
    score, causal = draw(st.sampled_from(["scaled", "dot", "additive"])), draw(st.booleans())
    heads = 1 if score == "additive" else draw(size)
    return kind(D, 2 * heads, rng=rng, score=score, causal=causal, heads=heads, batch_first=batch_first), 1


@given(data=st.data())
def test_a_padded_sequence_is_as_it_is_alone(data):
    """Output, gradient and ``lengths_after`` of each sequence of a ragged batch, over all options and shapes down to 1."""
    rng = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    D, N = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3))
    layer, shortest = over_time(data, rng, D)
    T = data.draw(st.integers(shortest, shortest + 4))
    lengths = data.draw(st.lists(st.integers(shortest, T), min_size=N, max_size=N))
    turn = (lambda a: a.swapaxes(0, 1)) if layer.batch_first else (lambda a: a)
    x = rng.standard_normal((T, N, D))
    for n, length in enumerate(lengths):
        x[length:, n] = np.nan
    y, cache = layer.forward(turn(x), lengths=lengths)
    dy = rng.standard_normal(y.shape)
    layer.zero_grad()
    dx = turn(layer.backward(dy, cache))
    together = {name: g.copy() for name, g in layer.grads.items()}
    after = layer.lengths_after(lengths)
    assert layer.lengths_after(None) is None
    layer.zero_grad()
    for n, length in enumerate(lengths):
        y1, cache1 = layer.forward(turn(x[:length, n : n + 1]))
        if after is None:
            dx1 = layer.backward(dy[n : n + 1], cache1)
            np.testing.assert_allclose(y[n : n + 1], y1, rtol=1e-9, atol=1e-12)
        else:
            assert len(turn(y1)) == after[n]
            dx1 = layer.backward(turn(turn(dy)[: after[n], n : n + 1]), cache1)
            np.testing.assert_allclose(turn(y)[: after[n], n : n + 1], turn(y1), rtol=1e-9, atol=1e-12)
            assert not turn(y)[after[n] :, n].any()
        np.testing.assert_allclose(dx[:length, n : n + 1], turn(dx1), rtol=1e-9, atol=1e-12)
        assert not dx[length:, n].any()
    for name, g in layer.grads.items():
        np.testing.assert_allclose(together[name], g, rtol=1e-9, atol=1e-12, err_msg=name)


@given(data=st.data())
def test_gradients_over_shapes_down_to_one(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    D, N = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 2))
    layer, shortest = over_time(data, rng, D)
    T = data.draw(st.integers(shortest, shortest + 2))
    x = rng.standard_normal((N, T, D) if layer.batch_first else (T, N, D))
    lengths = data.draw(st.one_of(st.none(), st.lists(st.integers(shortest, T), min_size=N, max_size=N)))
    assert check_layer(layer, x, lengths=lengths).error <= 1e-6


def test_norms_of_one_feature_and_one_row(rng):
    """The smallest shapes: one feature is its own mean in LayerNorm; one row is enough for prediction in BatchNorm."""
    layer = LayerNorm(1)
    y, cache = layer.forward(rng.standard_normal((3, 1)))
    assert not y.any()
    assert not layer.backward(np.ones_like(y), cache).any()
    norm = BatchNorm1d(1)
    assert check_layer(norm, rng.standard_normal((2, 1)), training=True).error <= 1e-6
    assert norm.forward(np.ones((1, 1)))[0].shape == (1, 1)


def test_lengths_are_gone_behind_a_final_state(rng):
    """A BatchNorm behind the last hidden state is one over rows: there is no time left for lengths to count."""
    model = Sequential(rec=LSTM(2, 3, return_sequences=False, rng=rng), norm=BatchNorm1d(3), head=Linear(3, 1, rng=rng))
    assert model.lengths_after([4, 2]) is None
    assert LSTM(2, 3, rng=rng).lengths_after([4, 2]) == [4, 2]
    assert check_layer(model, rng.standard_normal((4, 3, 2)), training=True, lengths=[4, 1, 2]).error <= 1e-6


def bad_layers(rng):
    """What is called -> (the call, the error, its message)."""
    x, q = rng.standard_normal((4, 2, 3)), rng.standard_normal((2, 4, 3))
    words = Embedding(5, 2, rng=rng)
    conv, valid = Conv1d(3, 2, 3, rng=rng), Conv1d(3, 2, 3, rng=rng, dilation=2, padding="valid")
    norm, pool, look = BatchNorm1d(3), MaxPool1d(3), SelfAttention(3, 4, rng=rng)
    return {
        "one row": (
            lambda: norm.forward(x[:1, 0], training=True),
            ValueError,
            r"x is \(1, 3\), 1 row inside its lengths: training needs at least 2",
        ),
        "one row inside": (
            lambda: norm.forward(x[:, :1], training=True, lengths=[1]),
            ValueError,
            r"x is \(4, 1, 3\), 1 row inside",
        ),
        "norm features": (
            lambda: norm.forward(x[..., :2]),
            ValueError,
            r"the layer has 3 features but x is \(4, 2, 2\): expected \(N, 3\)",
        ),
        "norm rank": (lambda: norm.forward(x[0, 0]), ValueError, r"the layer has 3 features but x is \(3,\)"),
        "norm lengths": (
            lambda: norm.forward(x[0], lengths=[1, 1]),
            ValueError,
            r"lengths were given but x is \(2, 3\): only sequences",
        ),
        "norm length": (
            lambda: norm.forward(x, lengths=[4, 5]),
            ValueError,
            r"lengths\[1\] is 5 but the sequences have 4 steps",
        ),
        "norm dtype": (lambda: norm.forward(x.astype(np.float32)), TypeError, "x is float32 but gain is float64"),
        "momentum": (lambda: BatchNorm1d(3, momentum=0), ValueError, "momentum is 0: expected 0 < momentum <= 1"),
        "eps": (lambda: LayerNorm(3, eps=0), ValueError, "eps is 0: expected a small positive number"),
        "layer norm": (
            lambda: LayerNorm(4).forward(x),
            ValueError,
            r"the layer has 4 features but x is \(4, 2, 3\): expected \(..., 4\)",
        ),
        "no features": (lambda: LayerNorm(0), ValueError, "features is 0: expected at least 1"),
        "half a feature": (lambda: LayerNorm(1.5), TypeError, "features is 1.5: expected a whole number"),
        "floats as tokens": (
            lambda: words.forward(x),
            TypeError,
            "x is float64 but an embedding reads tokens: expected whole numbers",
        ),
        "a list of tokens": (lambda: words.forward([1]), TypeError, "x is a builtins.list, not a NumPy or CuPy array"),
        "large token": (
            lambda: words.forward(np.array([1, 5])),
            ValueError,
            "x holds the token 5 but the vocabulary has 5: expected 0 to 4",
        ),
        "negative token": (
            lambda: words.forward(np.array([1, -1])),
            ValueError,
            "x holds the token -1 but the vocabulary has 5: expected 0 to 4",
        ),
        "no tokens": (
            lambda: words.forward(np.zeros((0, 2), int)),
            ValueError,
            r"x is \(0, 2\): it needs at least one token",
        ),
        "padding token": (
            lambda: Embedding(5, 2, rng=rng, padding=5),
            ValueError,
            "padding is 5 but the vocabulary has 5: expected 0 to 4",
        ),
        "embedding rng": (lambda: Embedding(5, 2, rng=0), TypeError, "rng is a int"),
        "embedding second": (
            lambda: Sequential(Linear(3, 2, rng=rng), words).forward(x),
            TypeError,
            "x is float64 but an embedding",
        ),
        "conv rank": (
            lambda: conv.forward(x[0]),
            ValueError,
            r"x has 2 dimensions, shape \(2, 3\): expected \(T, N, D\), time first",
        ),
        "batch first": (
            lambda: Conv1d(3, 2, 3, rng=rng, batch_first=True).forward(x[0]),
            ValueError,
            r"expected \(N, T, D\), batch first",
        ),
        "conv features": (
            lambda: conv.forward(x[..., :2]),
            ValueError,
            r"the layer has 3 inputs but x has 2 features, shape \(4, 2, 2\)",
        ),
        "conv padding": (
            lambda: Conv1d(3, 2, 3, rng=rng, padding="full"),
            ValueError,
            "padding is 'full': expected one of 'same', 'causal', 'valid'",
        ),
        "conv stride": (lambda: Conv1d(3, 2, 3, rng=rng, stride=0), ValueError, "stride is 0: expected at least 1"),
        "empty": (lambda: conv.forward(x[:0]), ValueError, r"x is \(0, 2, 3\): it needs at least one step"),
        "short": (lambda: valid.forward(x), ValueError, "x has 4 steps but one window of the layer takes 5"),
        "short inside": (
            lambda: valid.forward(np.ones((6, 2, 3)), lengths=[6, 4]),
            ValueError,
            r"lengths\[1\] is 4 but one window of the layer takes 5 steps",
        ),
        "pool": (lambda: pool.forward(x[:2]), ValueError, "x has 2 steps but one window of the layer takes 3"),
        "pool inside": (
            lambda: pool.forward(x, lengths=[2, 4]),
            ValueError,
            r"lengths\[0\] is 2 but one window of the layer takes 3 steps",
        ),
        "pool length": (
            lambda: pool.forward(x, lengths=[4]),
            ValueError,
            r"lengths has shape \(1,\) but the batch has 2 sequences",
        ),
        "pool kernel": (lambda: AveragePool1d(0), ValueError, "kernel is 0: expected at least 1"),
        "pool dtype": (
            lambda: pool.forward(np.ones((4, 2, 3), int)),
            TypeError,
            "x is int64, but a network computes in",
        ),
        "score": (
            lambda: SelfAttention(3, 4, rng=rng, score="cosine"),
            ValueError,
            "score is 'cosine': expected one of 'scaled', 'dot', 'additive'",
        ),
        "heads": (
            lambda: SelfAttention(3, 4, rng=rng, heads=3),
            ValueError,
            "4 units and 3 heads with score 'scaled': heads must share",
        ),
        "additive heads": (
            lambda: SelfAttention(3, 4, rng=rng, heads=2, score="additive"),
            ValueError,
            "'additive' has one head",
        ),
        "attention length": (
            lambda: look.forward(x, lengths=[4, 0]),
            ValueError,
            r"lengths\[1\] is 0 but the sequences have 4 steps",
        ),
        "attend score": (lambda: attend(q, q, q, "cosine"), ValueError, "score is 'cosine'"),
        "no v_a": (lambda: attend(q, q, q, "additive"), ValueError, "score is 'additive' and v_a is missing"),
        "v_a": (lambda: attend(q, q, q, "dot", None, np.ones(3)), ValueError, "score is 'dot' and v_a is given"),
        "v_a shape": (
            lambda: attend(q, q, q, "additive", None, np.ones(2)),
            ValueError,
            r"v_a is \(2,\) but q has 3 units: expected \(3,\)",
        ),
        "q": (lambda: attend(q[0, 0], q, q), ValueError, r"q is \(3,\): expected \(..., queries, units\)"),
        "k": (
            lambda: attend(q, q[..., :2], q),
            ValueError,
            r"k is \(2, 4, 2\) but q is \(2, 4, 3\): expected \(2, 4, 3\)",
        ),
        "k batch": (
            lambda: attend(q, q[:1], q[:1]),
            ValueError,
            r"k is \(1, 4, 3\) but q is \(2, 4, 3\): expected \(2, 4, 3\)",
        ),
        "v": (
            lambda: attend(q, q, q[:, :3]),
            ValueError,
            r"v is \(2, 3, 3\) but k is \(2, 4, 3\): expected \(2, 4, 3\)",
        ),
        "attend dtype": (lambda: attend(q, q, q.astype(np.float32)), TypeError, "v is float32 but q is float64"),
        "attend dy": (
            lambda: attend_backward(q[:1], attend(q, q, q)[1]),
            ValueError,
            r"dy is \(1, 4, 3\) but the output was \(2, 4, 3\)",
        ),
        "pooling features": (
            lambda: AttentionPooling(2, 3, rng=rng).forward(x),
            ValueError,
            "the layer has 2 inputs but x has 3 features",
        ),
        "dropout rank": (lambda: VariationalDropout(0.5, rng=rng).forward(x[0]), ValueError, "x has 2 dimensions"),
        "dropout p": (lambda: VariationalDropout(1.0, rng=rng), ValueError, "dropout probability is 1.0"),
        "no heads": (lambda: SelfAttention(3, 4, rng=rng, heads=0), ValueError, "heads is 0: expected at least 1"),
        "more momentum": (
            lambda: BatchNorm1d(3, momentum=1.5),
            ValueError,
            "momentum is 1.5: expected 0 < momentum <= 1",
        ),
        "norm of a row": (lambda: LayerNorm(10**11), ValueError, r"gain \(400000000000,\) takes 3\.2e\+03 GB"),
        "norm of a batch": (lambda: BatchNorm1d(10**11), ValueError, r"gain \(400000000000,\) takes 3\.2e\+03 GB"),
        "mixed": (
            lambda: Sequential(conv, LSTM(2, 3, batch_first=True, rng=rng)),
            ValueError,
            "'1' is batch_first and '0' is not",
        ),
    }


@pytest.mark.parametrize("case", list(bad_layers(np.random.default_rng(0))))
def test_bad_input_is_answered_with_both_sides(case, rng):
    call, error, message = bad_layers(rng)[case]
    with pytest.raises(error, match=message):
        call()


def test_a_refused_batch_leaves_the_running_statistics_alone(rng):
    norm = BatchNorm1d(2)
    with pytest.raises(ValueError, match="training needs at least 2"):
        norm.forward(np.ones((1, 2)), training=True)
    np.testing.assert_array_equal(norm.buffers["running_mean"], 0)
    np.testing.assert_array_equal(norm.buffers["running_var"], 1)


@pytest.mark.underflows
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_huge_row_changes_no_other(dtype, rng):
    """Squares beyond the type are computed in units of the row: every row is normalised as it is alone, and huge ones as if small.

    A row in units of a power of two has the same digits; eps is in the units of the variance.
    """
    unit = dtype(2.0) ** (np.finfo(dtype).maxexp - 3)
    # eps is a tenth of the variance, or, with numbers above one, still seen in it
    small = (np.array([[1e-2], [1e-2], [10]]) * rng.standard_normal((3, 4))).astype(dtype)
    like = rng.uniform(-1, 1, (3, 4)).astype(dtype)
    n, scale = normalise.forward(np.concatenate([small, like * unit]))
    tolerance = 8 * np.finfo(dtype).eps
    for row, alone in enumerate([*small, *like]):
        want, want_scale = normalise.forward(alone[None], normalise.EPS if row < 3 else 0.0)
        np.testing.assert_allclose(n[row], want[0], rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(scale[row], want_scale[0] / (1 if row < 3 else unit), rtol=tolerance)


def test_the_mean_of_padded_sequences_is_that_of_each_alone(rng):
    x = rng.standard_normal((5, 3, 2))
    y, _ = GlobalAveragePool().forward(x, lengths=[5, 1, 3])
    for n, length in enumerate([5, 1, 3]):
        np.testing.assert_allclose(y[n], x[:length, n].mean(axis=0), rtol=1e-15 * length, atol=1e-15)


def test_what_a_step_reaches_by_default(rng):
    """A convolution of three steps: the step and its neighbours. Attention: every step, earlier ones too."""
    x = rng.standard_normal((7, 2, 3))
    other = x.copy()
    other[3] += 1
    for layer, reached in ((Conv1d(3, 4, 3, rng=rng), [2, 3, 4]), (SelfAttention(3, 4, rng=rng), [*range(7)])):
        changed = (layer.forward(x)[0] != layer.forward(other)[0]).any(axis=(1, 2))
        assert list(np.flatnonzero(changed)) == reached


@pytest.mark.parametrize("slope", [np.nan, np.inf, -np.inf])
def test_a_slope_is_a_finite_number(slope):
    with pytest.raises(ValueError, match=f"slope is {slope}: expected a finite number"):
        LeakyReLU(slope)


def test_defaults_of_norms_are_torchs():
    batch, layer = BatchNorm1d(2), LayerNorm(2)
    assert (batch.momentum, batch.eps) == (torch.nn.BatchNorm1d(2).momentum, torch.nn.BatchNorm1d(2).eps)
    assert layer.eps == torch.nn.LayerNorm(2).eps


def test_tokens_are_where_the_vectors_are(rng):
    with pytest.raises(TypeError, match="x is an array of device_array but W is one of numpy: move one of them"):
        Embedding(4, 2, rng=rng).forward(on_device(np.array([1, 2])))


def test_a_step_of_a_convolution_may_be_long(rng):
    conv = Conv1d(1, 1, 200, rng=rng, stride=100, dilation=100)
    assert conv.forward(np.ones((201, 1, 1)))[0].shape == (3, 1, 1)


def test_the_token_for_padding_is_nothing_whatever_its_row_holds(rng):
    layer = Embedding(4, 3, rng=rng, padding=1)
    layer.params["W"][1] = np.nan  # as a loader may leave it
    y, _ = layer.forward(np.array([1, 2]))
    np.testing.assert_array_equal(y[0], 0)


def test_the_token_for_padding_begins_at_zero(rng):
    assert not Embedding(4, 3, rng=rng, padding=1).params["W"][1].any()


def test_a_gradient_of_the_token_for_padding_is_dropped_even_if_it_is_nan(rng):
    layer = Embedding(4, 3, rng=rng, padding=1)
    y, cache = layer.forward(np.array([1, 2]))
    dy = np.ones_like(y)
    dy[0] = np.nan
    layer.backward(dy, cache)
    np.testing.assert_array_equal(layer.grads["W"].sum(axis=1), [0, 0, 3, 0])


@pytest.mark.parametrize("axes", [0, 1])
@pytest.mark.parametrize("name", ["k", "v"])
def test_keys_and_values_of_too_few_axes_are_refused(name, axes, rng):
    arrays = {each: rng.standard_normal((4, 3)) for each in "qkv"}
    arrays[name] = np.ones((3,) * axes)
    with pytest.raises(ValueError, match=rf"{name} is \({'3,' * axes}\)"):
        attend(**arrays)


@pytest.mark.parametrize("units", [1, 2])
@pytest.mark.parametrize(
    ("layer", "name"),
    [(partial(SelfAttention, score="additive"), "v_a"), (AttentionPooling, "v")],
    ids=["self", "pooling"],
)
def test_additive_scores_begin_xavier_uniform(units, layer, name):
    """A layer from ``units`` to one number: its range has the limit sqrt(6 / (units + 1)), and is used to its ends."""
    drawn = [np.abs(layer(3, units, rng=np.random.default_rng(seed)).params[name]).max() for seed in range(100)]
    limit = math.sqrt(6 / (units + 1))
    assert 0.9 * limit < max(drawn) <= limit
