"""Whole models: gradients of every one, what each promises, and text that a character model writes."""

import copy
import inspect
import pickle
import types
from itertools import pairwise

import numpy as np
import pytest
import torch
from scratchnet import trace
from scratchnet.gradcheck import GradientError, check_layer
from scratchnet.losses import mse, softmax_cross_entropy
from scratchnet.models import (
    BUILDERS,
    EncoderDecoder,
    Hybrid,
    Vocabulary,
    character_model,
    hybrid,
    probabilities,
    sample,
    seq2seq,
    stacked,
    streams,
)
from scratchnet.training import Adam, Callback, Clip, ScheduledSampling, fit, fit_stream, predict

SMALL = {
    "mlp": {"units": (4, 3), "activation": "tanh"},
    "recurrent": {"units": 3, "num_layers": 2, "bidirectional": True},
    "stacked": {"units": (4, 3), "dense": 3},
    "cnn_recurrent": {"channels": 3, "kernel": 3, "units": 3},
    "attention_pooled": {"units": 3, "attention": 2},
    "self_attentive": {"units": 3, "attention": 2},
    "text_classifier": {"features": 3, "units": 3, "attention": 2},
}


def example(name, rng, cell="lstm"):
    model = BUILDERS[name](5, 2, rng=rng, **SMALL[name], **({} if name == "mlp" else {"cell": cell}))
    for p in model.params.values():
        if p.ndim == 1:
            p += 0.1 * rng.standard_normal(p.shape)
    shape = {"mlp": (3, 5), "text_classifier": (3, 6)}.get(name, (3, 6, 5))
    return model, rng.integers(0, 5, shape) if name == "text_classifier" else rng.standard_normal(shape)


@pytest.mark.parametrize("name", BUILDERS)
def test_builders_gradients(name, rng):
    for cell in ("lstm", "gru") if name != "mlp" else ("",):
        model, x = example(name, rng, cell)
        arguments = {} if name == "mlp" else {"lengths": [6, 2, 4]}
        assert check_layer(model, x, **arguments).error <= 1e-6
        assert check_layer(model, x, training=True, **arguments).error <= 1e-6


@pytest.mark.underflows
@pytest.mark.parametrize("name", BUILDERS)
def test_builders_learn_one_batch(name, rng):
    """Eight samples are learned by heart, in float32."""
    model, x = example(name, rng)
    if "units" in SMALL[name]:
        model = BUILDERS[name](5, 2, rng=rng, **({"dropout": 0.0} if name == "stacked" else {})).astype(np.float32)
    x = np.concatenate([x, x, x])[:8].copy()
    x = rng.integers(0, 5, x.shape) if name == "text_classifier" else rng.standard_normal(x.shape).astype(np.float32)
    y = rng.integers(0, 2, 8)
    fit(model, (x, y), Adam(0.02), epochs=120, rng=rng, loss=softmax_cross_entropy, progress=False)
    assert (predict(model, x).argmax(axis=1) == y).all()


def test_stacked_is_the_guides_model(rng):
    """64, dropout, 32, dropout, dense 16, 1."""
    model = stacked(3, 1, rng=rng)
    shapes = {name: p.shape for name, p in model.params.items()}
    assert list(model.layers) == ["rec0", "dropout0", "rec1", "dropout1", "dense", "relu", "head"]
    assert (shapes["rec0.W_h_l0"], shapes["rec1.W_x_l0"], shapes["dense.W"], shapes["head.W"]) == (
        (64, 256),
        (64, 128),
        (32, 16),
        (16, 1),
    )


# ---- hybrid ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(2), ids=["concat", "attention"])
def test_hybrid_gradients_padding_and_copies(number, rng):
    _, model, x, arguments = list(Hybrid.examples(rng))[number]
    report = check_layer(model, x, **arguments)
    assert report.error <= 1e-6
    assert {"dx.0", "dx.1"} <= {row.tensor for row in report.rows}
    y, _ = model.forward(x, **arguments)
    padded = x[0].copy()
    padded[1, 1:], padded[2, 2:] = 99, -99
    np.testing.assert_array_equal(model.forward((padded, x[1]), **arguments)[0], y)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).forward(x, **arguments)[0], y)


def test_hybrid_learns_from_both_branches(rng):
    """The target is the sequence's mean and twice the static number: either branch alone leaves the other's part unexplained."""
    sequence, static = (
        rng.standard_normal((256, 6, 1)).astype(np.float32),
        rng.choice([-1.0, 1.0], (256, 1)).astype(np.float32),
    )
    y = sequence.mean(axis=1) * 2 + 2 * static
    for join in ("concat", "attention"):
        left = {}
        for what, x in {
            "both": (sequence, static),
            "no static": (sequence, static * 0),
            "no sequence": (sequence * 0, static),
        }.items():
            model = Hybrid(
                1, 1, 1, rng=np.random.default_rng(0), units=8, static_units=4, join=join, cell="gru"
            ).astype(np.float32)
            fit(model, (x, y), Adam(0.02), epochs=30, rng=np.random.default_rng(0), progress=False)
            left[what] = mse(predict(model, x), y)[0]
        assert left["both"] < 0.15, join
        assert left["no static"] > 2  # of a variance of 4; some of it is learned by heart
        assert left["no sequence"] > 0.5


def test_hybrid_equals_torch(rng):
    model = Hybrid(2, 3, 1, rng=rng, units=4, static_units=5, join="attention")
    x = rng.standard_normal((3, 6, 2)), rng.standard_normal((3, 3))
    y, cache = model.forward(x)
    dy = rng.standard_normal(y.shape)
    dsequence, dstatic = model.backward(dy, cache)
    lstm = torch.nn.LSTM(2, 4, batch_first=True, dtype=torch.float64)
    own = {name: torch.tensor(p) for name, p in model.params.items()}
    with torch.no_grad():
        lstm.weight_ih_l0.copy_(own["rec.W_x_l0"].T), lstm.weight_hh_l0.copy_(own["rec.W_h_l0"].T)
        lstm.bias_ih_l0.copy_(own["rec.b_l0"]), lstm.bias_hh_l0.zero_()
    sequence, static = (torch.tensor(part, requires_grad=True) for part in x)
    h, _ = lstm(sequence)
    s = torch.tanh(static @ own["static.W"] + own["static.b"])
    q = s @ own["query.W"] + own["query.b"]
    context = torch.nn.functional.scaled_dot_product_attention(q[:, None], h, h)[:, 0]
    z = torch.cat([context, s], dim=1) @ own["head.W"] + own["head.b"]
    z.backward(torch.tensor(dy))
    np.testing.assert_allclose(y, z.detach().numpy(), rtol=0, atol=1e-12)
    np.testing.assert_allclose(dsequence, sequence.grad.numpy(), rtol=0, atol=1e-12)
    np.testing.assert_allclose(dstatic, static.grad.numpy(), rtol=0, atol=1e-12)


# ---- encoder and decoder -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(3), ids=["forecast", "forced", "sampled"])
def test_encoder_decoder_gradients(number, rng):
    _, model, x, arguments = list(EncoderDecoder.examples(rng))[number]
    assert check_layer(model, x, **arguments).error <= 1e-6


def torch_decoder(model, x, target):
    """The same computation in torch: LSTM cells, step by step; ``target`` None feeds back."""
    own = {name: torch.tensor(p, requires_grad=True) for name, p in model.params.items()}
    x = torch.tensor(x, requires_grad=True)

    def step(u, h, c, part):
        i, f, g, o = (u @ own[f"{part}.W_x_l0"] + h @ own[f"{part}.W_h_l0"] + own[f"{part}.b_l0"]).chunk(4, dim=1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c

    h = c = torch.zeros(len(x), model.layers["encoder"].hidden_size, dtype=torch.float64)
    for t in range(x.shape[1]):
        h, c = step(x[:, t], h, c, "encoder")
    shown, y = x[:, -1][:, model.columns], []
    for t in range(model.horizon):
        h, c = step(shown, h, c, "decoder")
        y.append(h @ own["head.W"] + own["head.b"])
        shown = y[-1] if target is None else torch.tensor(target[:, t])
    return torch.stack(y, dim=1), x, own


@pytest.mark.parametrize("teacher", [0.0, 1.0])
def test_encoder_decoder_equals_torch(teacher, rng):
    model = EncoderDecoder(3, 2, 4, 5, rng=rng, teacher=teacher, columns=[2, 0])
    x, target, dy = rng.standard_normal((4, 6, 3)), rng.standard_normal((4, 5, 2)), rng.standard_normal((4, 5, 2))
    y, cache = model.forward(x, training=True, target=target)
    dx = model.backward(dy, cache)
    theirs, x_torch, own = torch_decoder(model, x, target if teacher else None)
    theirs.backward(torch.tensor(dy))
    np.testing.assert_allclose(y, theirs.detach().numpy(), rtol=0, atol=1e-12)
    np.testing.assert_allclose(dx, x_torch.grad.numpy(), rtol=0, atol=1e-12)
    for name, p in own.items():
        np.testing.assert_allclose(model.grads[name], p.grad.numpy(), rtol=0, atol=1e-11, err_msg=name)


def test_what_is_traced_of_them_is_their_layers(rng):
    model = Hybrid(2, 3, 1, rng=rng, units=4)
    with pytest.raises(TypeError, match=r"Hybrid is not recurrent: .*; it has layers\['rec'\]"):
        trace(model, (np.ones((2, 4, 2)), np.ones((2, 3))))
    sequence = rng.standard_normal((3, 5, 2))
    seen = trace(model.layers["rec"], sequence)
    _, cache = model.forward((sequence, np.ones((3, 3))))
    np.testing.assert_array_equal(seen.run.cache.h, cache.rec.cell_caches[0].h)


def test_a_forecast_sees_no_target_and_teaching_mixes(rng):
    model = EncoderDecoder(1, 1, 4, 6, rng=rng, teacher=1.0)
    x, target = rng.standard_normal((50, 5, 1)), rng.standard_normal((50, 6, 1))
    alone, _ = model.forward(x)
    np.testing.assert_array_equal(model.forward(x, target=target)[0], alone)
    forced, cache = model.forward(x, training=True, target=target)
    assert not np.allclose(forced[:, 1:], alone[:, 1:])
    np.testing.assert_array_equal(forced[:, 0], alone[:, 0])
    assert not any(step.fed.any() for step in cache.steps[:-1])
    model.teacher = 0.3
    own = np.concatenate([step.fed for step in model.forward(x, training=True, target=target)[1].steps[:-1]])
    assert own.mean() == pytest.approx(0.7, abs=0.1)
    model.teacher = 0.0
    np.testing.assert_array_equal(model.forward(x, training=True)[0], alone)


def test_scheduled_sampling_falls_to_a_half_where_it_says(rng):
    model = EncoderDecoder(1, 1, 4, 3, rng=rng, teacher=1.0)
    x = rng.standard_normal((8, 5, 1))
    shares = []

    class Shares(Callback):
        order = 1

        def on_epoch_end(self, trainer):
            shares.append(trainer.model.teacher)

    callbacks = [ScheduledSampling(half_life=6, least=0.05), Shares()]
    fit(model, (x, x[:, :3]), Adam(0.01), epochs=40, rng=rng, callbacks=callbacks, progress=False)
    assert shares[5] == pytest.approx(0.5, abs=1e-6)
    assert all(a > b or b == 0.05 for a, b in pairwise(shares))
    assert shares[-1] == 0.05


# ---- characters --------------------------------------------------------------------------------------------------------

TEXT = "the cat sat on the mat. " * 40


def test_a_character_model_learns_a_text_and_writes_it(rng):
    vocabulary = Vocabulary.of(TEXT)
    x, target = streams(vocabulary.encode(TEXT), 8)
    model = character_model(len(vocabulary), 32, rng=rng, features=8).astype(np.float32)
    history = fit_stream(
        model,
        (x, target),
        Adam(0.01),
        epochs=60,
        k1=20,
        loss=softmax_cross_entropy,
        callbacks=[Clip(1.0)],
        progress=False,
    )
    assert history.column("train_loss")[-1] < 0.2 < np.log(len(vocabulary)) / 2
    assert (
        sample(model, vocabulary, "the cat", 40, rng=rng, temperature=0)
        == " sat on the mat. the cat sat on the mat. "[:40]
    )
    warm = {sample(model, vocabulary, "the ", 30, rng=rng, temperature=3.0) for _ in range(3)}
    assert len(warm) == 3


def test_streams_go_on_where_they_ended():
    x, y = streams(np.arange(23), 3)
    assert x.shape == y.shape == (7, 3)
    np.testing.assert_array_equal(x[:, 1], np.arange(7, 14))
    np.testing.assert_array_equal(y, x + 1)


def test_probabilities_by_temperature_and_top_k(rng):
    logits = rng.standard_normal((4, 9)).astype(np.float32)
    p = probabilities(logits)
    np.testing.assert_allclose(p, torch.softmax(torch.tensor(logits, dtype=torch.float64), -1).numpy(), rtol=1e-12)
    np.testing.assert_allclose(probabilities(logits, 0.5), p**2 / (p**2).sum(-1, keepdims=True), rtol=1e-9)
    three = probabilities(logits, top_k=3)
    assert ((three > 0).sum(axis=1) == 3).all()
    np.testing.assert_allclose(three.sum(axis=1), 1)
    kept = np.sort(p, axis=1)[:, -3:]
    np.testing.assert_allclose(np.sort(three, axis=1)[:, -3:], kept / kept.sum(axis=1, keepdims=True))
    np.testing.assert_array_equal(probabilities(logits, 0).argmax(axis=1), logits.argmax(axis=1))
    assert (probabilities(logits, 0).max(axis=1) == 1).all()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda r: Hybrid(2, 3, 1, rng=r, join="sum"),
            ValueError,
            "join is 'sum': expected one of 'concat', 'attention'",
        ),
        (lambda r: Hybrid(2, 3, 1, rng=r).forward(np.ones((2, 4, 2))), TypeError, "x is a ndarray: expected a tuple"),
        (
            lambda r: Hybrid(2, 3, 1, rng=r).forward((np.ones((2, 4, 2)), np.ones((3, 3)))),
            ValueError,
            r"static is \(3, 3\) but sequence is \(2, 4, 2\)",
        ),
        (
            lambda r: fit(
                Hybrid(2, 3, 1, rng=r),
                ((np.ones((2, 4, 2)), np.ones((3, 3))), np.ones((2, 1))),
                Adam(),
                epochs=1,
                rng=r,
            ),
            ValueError,
            r"x\[1\] has 3 samples but x\[0\] has 2",
        ),
        (lambda r: EncoderDecoder(2, 1, 3, 0, rng=r), ValueError, "horizon is 0"),
        (
            lambda r: EncoderDecoder(2, 1, 3, 2, rng=r, columns=[2]),
            ValueError,
            r"columns are \[2\] for 1 outputs of 2 inputs",
        ),
        (lambda r: EncoderDecoder(2, 1, 3, 2, rng=r, teacher=2), ValueError, "teacher is 2"),
        (
            lambda r: EncoderDecoder(2, 1, 3, 2, rng=r).forward(np.ones((2, 4, 2)), training=True),
            ValueError,
            r"teacher is 1\.0 but no target was given",
        ),
        (
            lambda r: EncoderDecoder(2, 1, 3, 2, rng=r).forward(
                np.ones((2, 4, 2)), training=True, target=np.ones((2, 3, 1))
            ),
            ValueError,
            r"target is \(2, 3, 1\) but x is",
        ),
        (
            lambda r: Vocabulary.of("abc").encode("abd"),
            ValueError,
            "character 'd' at position 2 is not in the vocabulary of 3",
        ),
        (lambda r: Vocabulary.of(""), ValueError, "the text is empty"),
        (lambda r: streams(np.arange(5), 6), ValueError, "5 characters make no 6 streams: expected at least 7"),
        (lambda r: probabilities(np.zeros(3), -1), ValueError, "temperature is -1"),
        (lambda r: probabilities(np.zeros(3), 1, 0), ValueError, "top_k is 0"),
        (
            lambda r: sample(character_model(3, 4, rng=r), Vocabulary.of("abc"), "", 3, rng=r),
            ValueError,
            "the prompt is empty",
        ),
        (
            lambda r: BUILDERS["mlp"](2, 1, rng=r, activation="step"),
            ValueError,
            "activation is 'step': expected one of 'relu'",
        ),
        (lambda r: stacked(2, 1, rng=r, units=()), ValueError, "units is empty"),
        (
            lambda r: fit(
                BUILDERS["text_classifier"](9, 2, rng=r), (np.ones((3, 4)), np.zeros(3, int)), Adam(), epochs=1, rng=r
            ),
            TypeError,
            "x is float64 but the model reads tokens",
        ),
        (lambda r: ScheduledSampling(0.5), ValueError, "half_life is 0.5"),
    ],
)
def test_bad_input(call, error, message, rng):
    with pytest.raises(error, match=message):
        call(rng)


def test_models_are_what_they_say_in_both_precisions(rng):
    """A trained copy forecasts the same after a float32 round trip, to float32."""
    model = EncoderDecoder(2, 1, 4, 3, rng=rng)
    x = rng.standard_normal((5, 4, 2))
    thin = copy.deepcopy(model).astype(np.float32)
    y = thin.forward(x.astype(np.float32))[0]
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, model.forward(x)[0], atol=1e-5)


# ---- planted bugs ------------------------------------------------------------------------------------------------------

PLANTED = [
    (seq2seq, "EncoderDecoder", "what was fed back has no gradient", ("step.fed * du_next", "0 * du_next")),
    (seq2seq, "EncoderDecoder", "fed back also where the right answer was shown", ("step.fed * du_next", "du_next")),
    (
        seq2seq,
        "EncoderDecoder",
        "the last row of x is read by the encoder alone",
        ("columns] += du_next", "columns] += 0 * du_next"),
    ),
    (seq2seq, "EncoderDecoder", "the decoder's state carries no gradient", ("step.rec, dstate)", "step.rec, None)")),
    (seq2seq, "EncoderDecoder", "nothing reaches the encoder", ("cache.encoder, dstate)", "cache.encoder, None)")),
    (seq2seq, "EncoderDecoder", "the loss of one step only", ("d_out = dy[:, t] if", "d_out = dy[:, 0] if")),
    (hybrid, "Hybrid", "h is a value and no key", ("dh = d.dk + d.dv", "dh = d.dv")),
    (hybrid, "Hybrid", "h is a key and no value", ("dh = d.dk + d.dv", "dh = d.dk")),
    (hybrid, "Hybrid", "s is not the query", ("ds = ds + part", "part")),
    (
        hybrid,
        "Hybrid",
        "the joined halves are exchanged",
        ("dh, ds = dz[:, :wide], dz[:, wide:]", "dh, ds = dz[:, -wide:], dz[:, :-wide]"),
    ),
    (hybrid, "Hybrid", "the tanh is passed over", ('part["tanh"].backward(ds, cache.tanh)', "ds")),
]


@pytest.mark.parametrize(("module", "kind", "what", "edit"), PLANTED, ids=[row[2] for row in PLANTED])
def test_planted_bugs_are_caught(module, kind, what, edit):
    """The real file with one thing wrong: on one of the model's own examples the check says so."""
    text = inspect.getsource(module)
    assert text.count(edit[0]) == 1
    planted = types.ModuleType(module.__name__)
    exec(compile(text.replace(*edit), f"<{what}>", "exec"), planted.__dict__)
    caught = []
    for label, model, x, arguments in getattr(planted, kind).examples(np.random.default_rng(0)):
        try:
            check_layer(model, x, **arguments)
        except (GradientError, ValueError) as error:
            caught.append((label, str(error)))
    assert caught, what
