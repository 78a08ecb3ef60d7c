"""The trace of any torch module: every recurrent part of it in this library's numbers, which are PyTorch's."""

import copy
import itertools

import numpy as np
import pytest
import scratchnet
import torch
from scratchnet.cells import lstm
from scratchnet.convert.torch import chain_from_torch, from_torch
from scratchnet.convert.torch_pass import record_pass
from scratchnet.tracing import first_difference
from torch import nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

DOUBLE = torch.float64


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


class Net(nn.Module):
    """Embedding or features, a recurrent layer, and one of four heads."""

    def __init__(self, kind="LSTM", head="all", embedding=False, packed=False, bias=True, **options):
        super().__init__()
        self.embedding = nn.Embedding(9, 3) if embedding else nn.Sequential(nn.LayerNorm(3), nn.Tanh())
        self.recurrent = getattr(nn, kind)(3, 4, bias=bias, **options)
        width = 8 if options.get("bidirectional") else 4
        self.norm, self.drop = nn.LayerNorm(width), nn.Dropout(0.5)
        self.query, self.head_of, self.packed = nn.Linear(width, 1), head, packed
        self.head, self.batch_first = nn.Linear(width, 2), options.get("batch_first", False)

    def forward(self, x, lengths=None):
        x = self.embedding(x)
        if self.packed:
            x = pack_padded_sequence(x, lengths, batch_first=self.batch_first, enforce_sorted=self.packed == "sorted")
        y, state = self.recurrent(x)
        if self.packed:
            y, _ = pad_packed_sequence(y, batch_first=self.batch_first)
        h = state[0] if isinstance(state, tuple) else state
        y = self.drop(self.norm(y))
        if self.head_of == "last":
            directions = 2 if self.recurrent.bidirectional else 1
            return self.head(torch.cat([*h[-directions:]], dim=1))
        time = 1 if self.batch_first else 0
        if self.head_of == "mean":
            return self.head(y.mean(dim=time))
        if self.head_of == "attention":
            return self.head((y * self.query(y).softmax(dim=time)).sum(dim=time))
        return self.head(y)


class Own(nn.Module):
    """A module with the given parts and forward."""

    def __init__(self, forward, **parts):
        super().__init__()
        self.own = forward
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, *given):
        return self.own(self, *given)


def agrees(trace, module, arguments, loss, dtype=DOUBLE):
    """The module's output, loss and weight gradients by PyTorch alone are those of the trace; how many were compared."""
    other = copy.deepcopy(module).eval()
    other.zero_grad()
    y = other(*arguments)
    value = loss(y)
    value.backward()
    near = {"rtol": 1e-9, "atol": 1e-11} if dtype == DOUBLE else {"rtol": 2e-3, "atol": 1e-5}
    np.testing.assert_allclose(trace.y, y.detach().numpy(), **near)
    assert trace.loss == pytest.approx(value.item(), rel=1e-9 if dtype == DOUBLE else 1e-4)
    compared = 0
    for name, part in other.named_modules():
        if not isinstance(part, (nn.RNNBase, nn.RNNCellBase)):
            continue
        prefix = f"{name}." if name else ""
        ends = ["l0"]
        if isinstance(part, nn.RNNBase):
            sides = ("", "_reverse") if part.bidirectional else ("",)
            ends = [f"l{k}{side}" for k in range(part.num_layers) for side in sides]
        for end in ends:
            # one run, or one for each call
            runs = [
                r for n, r in trace.runs.items() if n == prefix + end or (n.startswith(f"{name}[") and n.endswith(end))
            ]
            assert runs, (prefix + end, list(trace.runs))
            suffix = "" if isinstance(part, nn.RNNCellBase) else f"_{end}"
            pairs = {"dW_x": ("weight_ih", True), "dW_h": ("weight_hh", True), "db": ("bias_ih", False)}
            for ours, (theirs, turned) in pairs.items():
                weight = getattr(part, f"{theirs}{suffix}", None)
                if weight is None:
                    continue  # bias=False
                grad = np.zeros(weight.shape) if weight.grad is None else weight.grad.numpy()
                np.testing.assert_allclose(sum(run[ours] for run in runs), grad.T if turned else grad, **near)
                compared += grad.size
            for run in runs:
                compared += gates_agree(run, part, suffix, near)
    return compared


def gates_agree(run, part, suffix, near):
    """Gates and states of each step, from the equations in PyTorch's documentation and its weights."""
    x, h = run["x"], run["h"]
    ih, hh = (getattr(part, f"weight_{k}{suffix}").detach().numpy() for k in ("ih", "hh"))
    b_i, b_h = (
        (getattr(part, f"bias_{k}{suffix}").detach().numpy() for k in ("ih", "hh")) if part.bias else (np.zeros(1),) * 2
    )
    alive = np.arange(run.T)[:, None, None] < run.lengths[:, None]
    from_x, from_h = x @ ih.T + b_i, h[:-1] @ hh.T + b_h
    blocks = len(run.cell.GATES)
    a, m = (np.split(v, blocks, axis=2) for v in (from_x, from_h))
    if run.cell_name == "lstm":
        i, f, o = (sigmoid(a[k] + m[k]) for k in (0, 1, 3))
        expected = {"i": i, "f": f, "g": np.tanh(a[2] + m[2]), "o": o}
        c = f * run["c"][:-1] + i * expected["g"]
        states = {"h": o * np.tanh(c), "c": c}
    elif run.cell_name == "gru":
        r, z = sigmoid(a[0] + m[0]), sigmoid(a[1] + m[1])
        expected = {"r": r, "z": z, "n": np.tanh(a[2] + r * m[2])}
        states = {"h": (1 - z) * expected["n"] + z * h[:-1]}
    else:
        both = a[0] + m[0]
        expected = {"a_h": both}
        states = {"h": np.tanh(both) if part.nonlinearity == "tanh" else np.maximum(both, 0)}
    for name, value in expected.items():
        np.testing.assert_allclose(np.where(alive, run[name], 0), np.where(alive, value, 0), **near)
    for name, value in states.items():
        np.testing.assert_allclose(np.where(alive, run[name][1:], 0), np.where(alive, value, 0), **near)
    return (len(expected) + len(states)) * run["dy"].size


KINDS = [("RNN", {}), ("RNN", {"nonlinearity": "relu"}), ("LSTM", {}), ("GRU", {})]
SHAPES = [
    {"head": "all", "embedding": True},
    {"head": "last", "num_layers": 2, "dropout": 0.5},
    {"head": "mean", "bidirectional": True, "batch_first": True},
    {"head": "attention", "num_layers": 2, "bidirectional": True, "embedding": True},
    {"head": "all", "bias": False, "batch_first": True},
    {"head": "last", "packed": "unsorted", "bidirectional": True, "num_layers": 2},
    {"head": "all", "packed": "unsorted", "embedding": True, "batch_first": True},
    {"head": "attention", "packed": "sorted", "bidirectional": True},
    {"head": "all", "dtype": torch.float32, "bidirectional": True},
]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: " ".join(f"{k}={v}" for k, v in s.items()))
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: " ".join([kind[0], *kind[1].values()]))
def test_modules_with_a_recurrent_layer(kind, shape):
    options = {**shape, **kind[1]}
    dtype = options.pop("dtype", DOUBLE)
    module = Net(kind[0], **options).to(dtype)
    first, T, N = options.get("batch_first"), 6, 4
    size = (N, T) if first else (T, N)
    x = torch.randint(0, 9, size) if options.get("embedding") else torch.randn(*size, 3, dtype=dtype)
    lengths = {"unsorted": [2, 6, 1, 4], "sorted": [6, 4, 4, 1]}.get(options.get("packed"))
    arguments = (x,) if lengths is None else (x, torch.tensor(lengths))
    target = torch.randn_like(module.eval()(*arguments))
    module.train()
    if lengths is not None:
        trace = scratchnet.trace(module, arguments, target, functional.mse_loss)
        assert trace.loss_name == "mse_loss"
        np.testing.assert_array_equal(trace.run.lengths, lengths)
    else:
        trace = scratchnet.trace(module, x, target)
        assert trace.loss_name == "mse"
    assert agrees(trace, module, arguments, lambda y: functional.mse_loss(y, target), dtype) > 200
    assert module.training
    assert all(p.grad is None for p in module.parameters())
    for run in trace.runs.values():
        assert run["da"].any()
    dx = trace.runs["recurrent.l0"]["dx"]
    assert np.isfinite(dx).all()


def test_dx_is_the_gradient_at_the_recurrent_part():
    """Of the embedding's output, which PyTorch keeps on demand."""
    module, kept = Net("GRU", embedding=True, bidirectional=True).double(), []
    x, target = torch.randint(0, 9, (6, 2)), torch.randn(6, 2, 2, dtype=DOUBLE)
    trace = scratchnet.trace(module, x, target)
    module.eval()
    handle = module.embedding.register_forward_hook(lambda m, given, out: kept.append(out) or out.retain_grad())
    functional.mse_loss(module(x), target).backward()
    handle.remove()
    dx = trace["recurrent.l0"]["dx"] + trace["recurrent.l0_reverse"]["dx"][::-1]
    np.testing.assert_allclose(dx, kept[0].grad.numpy(), rtol=1e-10, atol=1e-13)


# ---- cells in loops --------------------------------------------------------------------------------


def state_of(kind, N=3, H=4, dtype=DOUBLE):
    zeros = torch.zeros(N, H, dtype=dtype)
    return (zeros, zeros.clone()) if kind == "LSTMCell" else zeros


def hidden(state):
    return state[0] if isinstance(state, tuple) else state


def last_state(m, x):
    state = state_of(type(m.cell).__name__)
    for step in x:
        state = m.cell(step, state)
    return m.head(hidden(state))


def every_state(m, x):
    state, out = None, []
    for step in x:
        state = m.cell(step, state)
        out.append(hidden(state))
    return m.head(torch.stack(out))


def two_directions(m, x):
    forward, backward, back = None, None, []
    out = []
    for t in range(len(x)):
        forward = m.cell(x[t], forward)
        backward = m.other(x[len(x) - 1 - t], backward)
        out.append(hidden(forward)), back.append(hidden(backward))
    return m.head(torch.stack(out) + torch.stack(back[::-1]))


def one_on_the_other(m, x):
    lower = upper = None
    out = []
    for step in x:
        lower = m.cell(step, lower)
        upper = m.upper(hidden(lower), upper)
        out.append(hidden(upper))
    return m.head(torch.stack(out))


def states_in_one_tensor(m, x):
    """The states are kept in a stack, as a copy: the tensor is another at every step."""
    kept = torch.stack([*state_of("LSTMCell")]) if type(m.cell).__name__ == "LSTMCell" else state_of("x")[None]
    for step in x:
        state = m.cell(step, tuple(kept) if len(kept) == 2 else kept[0])
        kept = torch.stack(state) if isinstance(state, tuple) else state[None]
    return m.head(kept[0])


def fed_back(m, x):
    """Free running: the output is the next input."""
    state, step, out = None, x[0], []
    for _ in range(len(x)):
        state = m.cell(step, state)
        step = torch.tanh(m.back(hidden(state)))
        out.append(m.head(hidden(state)))
    return torch.stack(out)


def cut(m, x):
    """Truncated backpropagation: two runs."""
    state = None
    for t, step in enumerate(x):
        if t == 3:
            state = tuple(s.detach() for s in state) if isinstance(state, tuple) else state.detach()
        state = m.cell(step, state)
    return m.head(hidden(state))


LOOPS = [last_state, every_state, two_directions, one_on_the_other, states_in_one_tensor, fed_back, cut]


@pytest.mark.parametrize("loop", LOOPS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("kind", ["RNNCell", "LSTMCell", "GRUCell"])
def test_cells_that_a_loop_calls(kind, loop):
    make = getattr(nn, kind)
    parts = {"cell": make(3, 4), "head": nn.Linear(4, 2)}
    parts |= {"other": make(3, 4)} if loop is two_directions else {}
    parts |= {"upper": make(4, 4)} if loop is one_on_the_other else {}
    parts |= {"back": nn.Linear(4, 3)} if loop is fed_back else {}
    module = Own(loop, **parts).double()
    x = torch.randn(6, 3, 3, dtype=DOUBLE)
    target = torch.randn_like(module(x))
    trace = scratchnet.trace(module, x, target)
    expected = {"two_directions": ["cell.l0", "other.l0"], "one_on_the_other": ["cell.l0", "upper.l0"]}
    expected |= {"cut": ["cell[0].l0", "cell[1].l0"]}
    assert list(trace.runs) == expected.get(loop.__name__, ["cell.l0"])
    assert [run.T for run in trace.runs.values()] == ([3, 3] if loop is cut else [6] * len(trace.runs))
    assert agrees(trace, module, (x,), lambda y: functional.mse_loss(y, target)) > 150
    if loop in (last_state, states_in_one_tensor):  # the loss reads the last state only, exactly
        assert not trace.run["dy"][:-1].any()
        assert trace.run["dy"][-1].any()
    if loop is cut:
        assert not trace["cell[0].l0"]["da"].any()
        np.testing.assert_allclose(trace["cell[1].l0"]["h"][0], trace["cell[0].l0"]["h"][-1], rtol=1e-12)


def test_a_loss_on_inner_cell_states_has_no_counterpart():
    def forward(m, x):
        state, sums = None, 0
        for step in x:
            state = m.cell(step, state)
            sums = sums + state[1]
        return sums

    module = Own(forward, cell=nn.LSTMCell(3, 4)).double()
    x = torch.randn(5, 2, 3, dtype=DOUBLE)
    with pytest.raises(ValueError, match="the loss reads the cell state of cell after step 0: a layer of this library"):
        scratchnet.trace(module, x, dy=torch.ones(2, 4, dtype=DOUBLE))
    assert scratchnet.trace(module, x).run["c"].shape == (6, 2, 4)  # the forward side is there
    last = Own(lambda m, x: m.rnn(x)[1][1][0], rnn=nn.LSTM(3, 4)).double()
    trace = scratchnet.trace(last, x, dy=torch.ones(2, 4, dtype=DOUBLE))
    np.testing.assert_array_equal(trace.run["dc_last"], np.ones((2, 4)))
    assert not trace.run["dy"].any()


# ---- several parts, and the ways to hand over an input ----------------------------------------------


def test_an_encoder_and_a_decoder():
    """The decoder begins with the encoder's states: the gradient arrives there alone."""

    def forward(m, x, shifted):
        _, state = m.encoder(x)
        y, _ = m.decoder(shifted, state)
        return m.head(y)

    module = Own(forward, encoder=nn.LSTM(3, 4, 2), decoder=nn.LSTM(2, 4, 2), head=nn.Linear(4, 2)).double()
    given = torch.randn(6, 3, 3, dtype=DOUBLE), torch.randn(5, 3, 2, dtype=DOUBLE)
    target = torch.randn(5, 3, 2, dtype=DOUBLE)
    trace = scratchnet.trace(module, given, target)
    assert list(trace.runs) == ["encoder.l0", "encoder.l1", "decoder.l0", "decoder.l1"]
    assert agrees(trace, module, given, lambda y: functional.mse_loss(y, target)) > 1000
    assert not trace["encoder.l1"]["dy"].any()
    for state in "hc":
        for layer in ("l0", "l1"):
            sent, arrived = trace[f"decoder.{layer}"][f"d{state}0"], trace[f"encoder.{layer}"][f"d{state}_last"]
            np.testing.assert_allclose(arrived, sent, rtol=1e-10, atol=1e-14)
    assert trace.modules[0]["kind"] == "torch Own"
    assert "the page cannot compute layers of the kind torch Own" in trace._repr_html_()


def test_one_layer_that_is_called_twice_is_two_runs():
    def forward(m, a, b):
        return m.head(m.rnn(a)[0][-1] - m.rnn(b)[0][-1])

    module = Own(forward, rnn=nn.GRU(3, 4), head=nn.Linear(4, 2)).double()
    given = torch.randn(6, 3, 3, dtype=DOUBLE), torch.randn(4, 3, 3, dtype=DOUBLE)
    target = torch.randn(3, 2, dtype=DOUBLE)
    trace = scratchnet.trace(module, given, target)
    assert [(name, run.T) for name, run in trace.runs.items()] == [("rnn[0].l0", 6), ("rnn[1].l0", 4)]
    assert agrees(trace, module, given, lambda y: functional.mse_loss(y, target)) > 200


def test_a_bare_layer_on_packed_or_single_sequences():
    module = nn.LSTM(3, 4, bidirectional=True, dtype=DOUBLE)
    x, lengths = torch.randn(6, 3, 3, dtype=DOUBLE), [2, 6, 4]
    packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
    dy = torch.randn(6, 3, 8, dtype=DOUBLE)
    one, other = scratchnet.trace(module, packed, dy=dy), scratchnet.trace(module, x, dy=dy, lengths=lengths)
    assert list(one.runs) == list(other.runs) == ["l0", "l0_reverse"]
    for name, run in one.runs.items():
        for term in run:
            np.testing.assert_allclose(run[term], other[name][term], rtol=1e-9, atol=1e-12, err_msg=term)
    for first in (False, True):
        gru = nn.GRU(3, 4, batch_first=first, dtype=DOUBLE)
        alone = scratchnet.trace(gru, x[:, 0], dy=dy[:, 0, :4])
        assert alone.run["h"].shape == (7, 1, 4)
        assert alone.y.shape == (6, 4)
        loss = Own(lambda m, x: m.rnn(x)[0], rnn=gru)
        assert scratchnet.trace(loss, x[:, 0], dy[:, 0, :4]).run["da"].any()


def test_a_state_that_is_given():
    module = Own(lambda m, x, h: m.rnn(hx=h, input=x)[0], rnn=nn.GRU(3, 4, 2)).double()
    given = torch.randn(6, 3, 3, dtype=DOUBLE), torch.randn(2, 3, 4, dtype=DOUBLE)
    target = torch.randn(6, 3, 4, dtype=DOUBLE)
    trace = scratchnet.trace(module, given, target)
    np.testing.assert_array_equal(trace["rnn.l1"]["h"][0], given[1][1].numpy())
    assert agrees(trace, module, given, lambda y: functional.mse_loss(y, target)) > 500


# ---- losses, and what is left as it was --------------------------------------------------------------


def test_losses_of_both_libraries():
    module = Net("LSTM", embedding=True).double()
    x, target = torch.randint(0, 9, (6, 2)), torch.randint(0, 2, (6, 2))
    by_default = scratchnet.trace(module, x, target)
    assert by_default.loss_name == "softmax_cross_entropy"
    for loss in (
        lambda y, t: functional.cross_entropy(y.reshape(-1, 2), t.reshape(-1)),
        scratchnet_loss("softmax_cross_entropy"),
        "softmax_cross_entropy",
    ):
        trace = scratchnet.trace(module, x, target, loss)
        assert trace.loss == pytest.approx(by_default.loss, rel=1e-12)
        np.testing.assert_allclose(trace.run["da"], by_default.run["da"], rtol=1e-9, atol=1e-14)
    masked = scratchnet.trace(module, x, target, mask=np.eye(6, 2, dtype=bool))
    assert not masked.run["dy"][2:].any()
    bare = nn.GRU(3, 4, dtype=DOUBLE)
    features, wanted = torch.randn(5, 2, 3, dtype=DOUBLE), torch.randn(5, 2, 4, dtype=DOUBLE)
    one, other = scratchnet.trace(bare, features, wanted, nn.MSELoss()), scratchnet.trace(bare, features, wanted)
    assert (one.loss_name, one.loss) == ("MSELoss", pytest.approx(other.loss, rel=1e-12))
    np.testing.assert_allclose(one.run["dW_h"], other.run["dW_h"], rtol=1e-9)


def scratchnet_loss(name):
    from scratchnet.losses import LOSSES

    return LOSSES[name]


def test_the_module_is_left_as_it_was():
    module = Net("LSTM", num_layers=2, dropout=0.5, embedding=True).double()
    module.norm.eval()  # a part in another mode than the module
    module.head.weight.requires_grad_(False)
    for p in module.parameters():
        p.grad = torch.full_like(p, 7.0)
    x, target = torch.randint(0, 9, (6, 2)), torch.randn(6, 2, 2, dtype=DOUBLE)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    hooks = [len(part._forward_hooks) + len(part._forward_pre_hooks) for part in module.modules()]
    random = torch.get_rng_state()
    scratchnet.trace(module, x, target)
    with torch.no_grad():
        scratchnet.trace(module, x, target)
    assert torch.equal(torch.get_rng_state(), random)
    assert module.training
    assert not module.norm.training
    assert module.recurrent.training
    assert [p.requires_grad for p in module.head.parameters()] == [False, True]
    assert all((p.grad == 7).all() for p in module.parameters())
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert hooks == [len(part._forward_hooks) + len(part._forward_pre_hooks) for part in module.modules()]

    def broken(m, x):
        m.rnn(x)
        raise RuntimeError("the module's own")

    other = Own(broken, rnn=nn.LSTM(3, 4).double())
    with pytest.raises(RuntimeError, match="the module's own"):
        scratchnet.trace(other, torch.randn(4, 2, 3, dtype=DOUBLE))
    assert other.training
    assert not other.rnn._forward_hooks
    assert not other.rnn._forward_pre_hooks


def test_frozen_weights_and_unused_parts():
    module = Own(
        lambda m, x: m.head(m.used(x)[0]), used=nn.GRU(3, 4), unused=nn.GRU(3, 4), head=nn.Linear(4, 2)
    ).double()
    for p in module.used.parameters():
        p.requires_grad_(False)
    x, target = torch.randn(5, 2, 3, dtype=DOUBLE), torch.randn(5, 2, 2, dtype=DOUBLE)
    trace = scratchnet.trace(module, x, target)
    assert list(trace.runs) == ["used.l0"]
    thawed = copy.deepcopy(module)
    for p in thawed.used.parameters():
        p.requires_grad_(True)
    functional.mse_loss(thawed(x), target).backward()
    np.testing.assert_allclose(trace.run["dW_h"], thawed.used.weight_hh_l0.grad.numpy().T, rtol=1e-9, atol=1e-13)


# ---- models that this library can also compute -------------------------------------------------------


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize("batch_first", [False, True])
def test_a_plain_chain_is_this_librarys_model(kind, last, batch_first):
    def forward(m, x):
        y, _ = m.recurrent(m.embedding(x))
        return m.head(m.drop(y[:, -1] if batch_first else y[-1]) if last else m.drop(y))

    parts = {"embedding": nn.Embedding(9, 3), "recurrent": getattr(nn, kind)(3, 4, 2, batch_first=batch_first)}
    module = Own(forward, **parts, drop=nn.Dropout(0.3), head=nn.Linear(4, 5)).double()
    x = torch.randint(0, 9, (2, 6) if batch_first else (6, 2))
    target = torch.randint(0, 5, (2,) if last else tuple(x.shape))
    trace = scratchnet.trace(module, x, target)
    assert [m["kind"] for m in trace.modules] == ["embedding", "recurrent", "linear"]
    assert trace.modules[1]["return_sequences"] is not last
    assert list(trace.runs) == ["recurrent.l0", "recurrent.l1"]

    def loss(y):
        return functional.cross_entropy(y.reshape(-1, 5), target.reshape(-1))

    assert agrees(trace, module, (x,), loss) > 200


def test_what_is_no_plain_chain_has_no_layers():
    features, tokens = torch.randn(5, 2, 3, dtype=DOUBLE), torch.randint(0, 9, (5, 2))
    residual = Own(lambda m, x: x + m.rnn(x)[0], rnn=nn.GRU(3, 3)).double()
    first = Own(lambda m, x: m.rnn(x)[0][0], rnn=nn.GRU(3, 4)).double()
    for module, x in ((residual, features), (first, features), (Net(embedding=True, head="mean").double(), tokens)):
        y = module.eval()(x).detach().numpy()
        assert chain_from_torch(module, x.numpy(), y) is None
        trace = scratchnet.trace(module, x, dy=np.ones_like(y))
        assert [m["kind"].partition(" ")[0] for m in trace.modules] == ["torch"]
    nested = nn.Sequential(
        nn.Sequential(nn.Embedding(9, 3), nn.LayerNorm(3)), Own(lambda m, x: m.rnn(x)[0], rnn=nn.GRU(3, 4))
    )
    trace = scratchnet.trace(nested.double(), tokens)
    assert [m["name"] for m in trace.modules] == ["embedding0", "layernorm1", "rnn"]


def test_it_is_saved_and_shown(tmp_path):
    for module in (
        Net("LSTM", "attention", embedding=True, bidirectional=True),
        Net("GRU", embedding=True, head="last"),
    ):
        x = torch.randint(0, 9, (6, 2))
        trace = scratchnet.trace(module.double(), x, torch.randn_like(module(x)))
        trace.save(tmp_path / "t.npz")
        again = scratchnet.load_trace(tmp_path / "t.npz")
        assert str(again) == str(trace)
        assert list(again.runs) == list(trace.runs)
        np.testing.assert_array_equal(again.run["da"], trace.run["da"])
        assert len(trace._repr_html_()) > 10_000


def test_a_foreign_backward_in_a_torch_module():
    module = Net("LSTM", "attention", num_layers=2).double()
    x, target = torch.randn(6, 2, 3, dtype=DOUBLE), torch.randn(2, 2, dtype=DOUBLE)
    trace = scratchnet.trace(module, x, target, backward=lambda dy, cache, *d: lstm.backward(2 * dy, cache, *d))
    first = first_difference(trace.run, known=lambda cell: ())
    assert (first.term, first.t) == ("dh", 5)
    np.testing.assert_array_equal(trace.run.right["dy"], trace.run["dy"])


# ---- what is refused ---------------------------------------------------------------------------------


class Scaled(nn.LSTM):
    """An LSTM that is none."""

    def forward(self, x, hx=None):
        y, state = super().forward(x, hx)
        return 2 * y, state


def test_what_cannot_be_traced():
    x = torch.randn(5, 2, 3, dtype=DOUBLE)
    projected = Own(lambda m, x: m.rnn(x)[0], rnn=nn.LSTM(3, 4, proj_size=2)).double()
    half = Own(lambda m, x: m.rnn(x.bfloat16())[0].double(), rnn=nn.GRU(3, 4).bfloat16())
    never = Own(lambda m, x: m.head(x), rnn=nn.LSTM(3, 4), head=nn.Linear(3, 1)).double()
    scaled = Own(lambda m, x: m.rnn(x)[0], rnn=Scaled(3, 4)).double()
    words = Own(lambda m, x: "words", rnn=nn.GRU(3, 4)).double()
    whole = Own(lambda m, x: m.rnn(x)[0].argmax(), rnn=nn.GRU(3, 4)).double()
    right = Own(lambda m, x: m.rnn(x)[0], rnn=nn.GRU(3, 4)).double()
    dy = np.ones((5, 2, 4))
    for error, message, call in [
        (
            TypeError,
            "linear.Linear has no recurrent part: expected a torch.nn.RNN",
            lambda: scratchnet.trace(nn.Linear(3, 1), x),
        ),
        (
            ValueError,
            r"the forward of Own calls none of its recurrent parts: rnn \(LSTM\)",
            lambda: scratchnet.trace(never, x),
        ),
        (ValueError, "proj_size=2: a projected state has no counterpart", lambda: scratchnet.trace(projected, x)),
        (TypeError, "BFloat16|bfloat16", lambda: scratchnet.trace(half, x)),
        (ValueError, "y of rnn is off by .* from PyTorch's", lambda: scratchnet.trace(scaled, x)),
        (TypeError, "the module returned a str", lambda: scratchnet.trace(words, x)),
        (ValueError, "the module's output has no gradient", lambda: scratchnet.trace(whole, x, dy=np.ones(()))),
        (
            TypeError,
            "the loss returned a float: expected one number, as a tensor",
            lambda: scratchnet.trace(right, x, dy, lambda y, t: 1.0),
        ),
        (
            ValueError,
            "state and lengths were given, but this module takes its own",
            lambda: scratchnet.trace(right, x, lengths=[5, 2]),
        ),
        (ValueError, "there are 3 labels but x has 5 steps", lambda: scratchnet.trace(right, x, labels="abc")),
        (ValueError, "both a target and dy were given", lambda: scratchnet.trace(right, x, dy, dy=dy)),
        (
            TypeError,
            "x is a builtins.str",
            lambda: scratchnet.trace(Own(lambda m, x: m.rnn(torch.zeros(2, 1, 3))[0], rnn=nn.GRU(3, 4)), "x"),
        ),
    ]:
        with pytest.raises(error, match=message):
            call()


def test_every_check_against_pytorch_can_fail(monkeypatch):
    """A wrong weight here is found in the output, a wrong gradient in the gradients."""
    from scratchnet.convert import torch_pass

    module = Own(lambda m, x: m.rnn(x)[0], rnn=nn.GRU(3, 4)).double()
    x, target = torch.randn(5, 2, 3, dtype=DOUBLE), torch.randn(5, 2, 4, dtype=DOUBLE)

    def off(part):
        layer = from_torch(part)
        layer.params["W_h_l0"][0, 0] *= 1 + 1e-9
        return layer

    with monkeypatch.context() as changed:
        changed.setattr(torch_pass, "from_torch", off)
        with pytest.raises(ValueError, match="y of rnn is off"):
            record_pass(module, x)
    right = torch_pass.gradients_for_torch
    for name in ("weight_hh_l0", "bias_hh_l0"):

        def wrong(layer, name=name):
            grads = right(layer)
            return grads | {name: grads[name] * (1 + 1e-9)}

        with monkeypatch.context() as changed:
            changed.setattr(torch_pass, "gradients_for_torch", wrong)
            with pytest.raises(ValueError, match=f"the gradient of {name} of rnn is off"):
                scratchnet.trace(module, x, target)


def test_cells_are_converted():
    for kind, bias in itertools.product(["RNNCell", "LSTMCell", "GRUCell"], [True, False]):
        cell = getattr(nn, kind)(3, 4, bias=bias, dtype=DOUBLE)
        x = torch.randn(1, 2, 3, dtype=DOUBLE)
        theirs = cell(x[0])
        ours = from_torch(cell).forward(x.numpy())[0][0]
        np.testing.assert_allclose(ours, hidden(theirs).detach().numpy(), rtol=1e-12)
