"""Every named gradient of a trace against PyTorch's autograd of the published equations, one step after the other.

The LSTM, GRU and RNN are written here a second time, from the papers and in plain torch operations, each gate and
state at each step a tensor of its own that keeps its gradient. Nothing of the library is in them but its weights.

Tolerance. Both sides compute a term by at most some K = T (D + G H + 20) roundings of numbers of the term's size: at
each step sums of D and of G H products, and about twenty elementwise operations. Errors of independent roundings add
as their root, so they stay near sqrt(K) eps of the largest number; ten times that is allowed, at most 5e-14 of it at
these sizes.
"""

import numpy as np
import pytest
import scratchnet
import torch
from scratchnet.layers import GRU, LSTM, RNN

LENGTHS = [None, "ragged"]
KINDS = {"rnn tanh": RNN, "rnn relu": lambda *a, **k: RNN(*a, nonlinearity="relu", **k), "lstm": LSTM, "gru": GRU}


class Steps:
    """The named quantities of one layer direction, in its own order of time, as tensors that keep their gradients."""

    def __init__(self):
        self.of = {}

    def keep(self, name, t, tensor):
        """The same numbers as a node of its own: its gradient is that of all that reads it from here."""
        node = tensor.clone()
        node.retain_grad()
        self.of.setdefault(name, {})[t] = node
        return node

    def gradient(self, name, t, like):
        grad = self.of[name][t].grad
        return np.zeros(like) if grad is None else grad.numpy()


def lstm_step(s, t, x, h, c, W_x, W_h, b):
    """Hochreiter and Schmidhuber 1997 with the forget gate of Gers et al. 2000."""
    H = h.shape[1]
    a = x @ W_x + h @ W_h + b
    a_i, a_f, a_g, a_o = (s.keep(f"a_{k}", t, a[:, n * H : (n + 1) * H]) for n, k in enumerate("ifgo"))
    i, f, o = (s.keep(k, t, 1 / (1 + torch.exp(-v))) for k, v in (("i", a_i), ("f", a_f), ("o", a_o)))
    g = s.keep("g", t, torch.tanh(a_g))
    c = s.keep("c", t, f * c + i * g)
    return s.keep("h", t, o * torch.tanh(c)), c


def gru_step(s, t, x, h, W_x, W_h, b, b_hn):
    """Cho et al. 2014 with the reset after the product, as cuDNN has it."""
    H = h.shape[1]
    a, m = x @ W_x + b, h @ W_h
    m_n = s.keep("m_n", t, m[:, 2 * H :] + b_hn)
    r = s.keep("r", t, torch.sigmoid(s.keep("a_r", t, a[:, :H] + m[:, :H])))
    z = s.keep("z", t, torch.sigmoid(s.keep("a_z", t, a[:, H : 2 * H] + m[:, H : 2 * H])))
    n = s.keep("n", t, torch.tanh(s.keep("a_n", t, a[:, 2 * H :] + r * m_n)))
    return (s.keep("h", t, n - z * n + z * h),)


def rnn_step(function):
    """Elman 1990."""

    def step(s, t, x, h, W_x, W_h, b):
        return (s.keep("h", t, function(s.keep("a_h", t, x @ W_x + h @ W_h + b))),)

    return step


STEP = {"rnn tanh": rnn_step(torch.tanh), "rnn relu": rnn_step(torch.relu), "lstm": lstm_step, "gru": gru_step}


def unrolled(kind, run, x, lengths):
    """One layer direction: outputs in the sequence's order of time, and what was kept.

    ``x``: list of T tensors (N, D). Each sequence runs by itself over its own length, so nothing of padding is in it.
    """
    names, T = list(run.params), len(x)
    given = {name: torch.tensor(p) for name, p in run.params.items()}
    states = [torch.tensor(run[name][0], requires_grad=True) for name in run.cell.STATES]
    kept, outputs = [], [[None] * len(lengths) for _ in range(T)]
    for n, length in enumerate(lengths):
        s, own = Steps(), [state[n : n + 1] for state in states]
        order = range(length - 1, -1, -1) if run.reversed else range(length)
        for t, place in enumerate(order):
            # the weights of each step are tensors of their own: their gradients are that step's part
            weights = [s.keep(f"W {name}", t, given[name].requires_grad_()) for name in names]
            # what the state before sends into this step only
            previous = [s.keep(f"{name}_prev", t, state) for name, state in zip(run.cell.STATES, own)]
            own = STEP[kind](s, t, s.keep("x", t, x[place][n : n + 1]), *previous, *weights)
            outputs[place][n] = own[0]
        kept.append((s, own))
    zero = torch.zeros(1, run.H, dtype=torch.float64)
    return [torch.cat([zero if o is None else o for o in row]) for row in outputs], kept


def problem(rng, kind, bidirectional, num_layers, ragged):
    T, N, D, H = (int(rng.integers(low, high)) for low, high in ((3, 9), (2, 4), (1, 4), (2, 6)))
    layer = KINDS[kind](D, H, num_layers=num_layers, bidirectional=bidirectional, rng=rng)
    for p in layer.params.values():
        p += 0.4 * rng.standard_normal(p.shape)
    lengths = [T, *rng.integers(1, T + 1, N - 1)] if ragged else None
    state = tuple(rng.standard_normal(s.shape) for s in layer.initial_state(np.zeros((T, N, D))))
    x, dy = rng.standard_normal((T, N, D)), rng.standard_normal((T, N, layer.output_size))
    return layer, x, dy, state, lengths


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("num_layers", [1, 2, 3])
@pytest.mark.parametrize("bidirectional", [False, True], ids=["one way", "both ways"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_gradient_is_autograds(kind, bidirectional, num_layers, lengths, rng):
    compared, worst = 0, 0.0
    for _ in range(3):
        layer, x, dy, state, own_lengths = problem(rng, kind, bidirectional, num_layers, lengths)
        trace = scratchnet.trace(layer, x, dy=dy, state=state, lengths=own_lengths)
        T, N, _ = x.shape
        all_lengths = [T] * N if own_lengths is None else own_lengths
        rows, everything = [torch.tensor(row, requires_grad=True) for row in x], {}
        inputs = rows
        for depth in range(num_layers):
            sides = []
            for direction in layer.directions:
                run = trace[f"l{depth}{direction}"]
                outputs, everything[run.name] = unrolled(kind, run, rows, all_lengths)
                sides.append(outputs)
            rows = [torch.cat(parts, dim=1) for parts in zip(*sides)]
        alive = np.arange(T)[:, None] < np.asarray(all_lengths)
        loss = sum((row * torch.tensor(np.where(alive[t][:, None], dy[t], 0))).sum() for t, row in enumerate(rows))
        loss.backward()
        for run in trace.runs.values():
            count, off = agree(kind, run, everything[run.name], all_lengths)
            compared, worst = compared + count, max(worst, off)
        dx = sum(in_time(run, run["dx"]) for name, run in trace.runs.items() if name.startswith("l0"))
        theirs = np.stack([row.grad.numpy() for row in inputs])
        np.testing.assert_allclose(dx, theirs, rtol=0, atol=allowed(trace["l0"]) * np.abs(theirs).max())
        compared += dx.size
    print(f"{kind}: {compared} gradients, worst {worst:.1e} of the allowed difference")
    assert compared > 1000


def in_time(run, values):
    """An array of a run in the sequence's order of time."""
    if not run.reversed:
        return values
    out = np.zeros_like(values)
    for n, length in enumerate(run.lengths):
        out[:length, n] = values[:length, n][::-1]
    return out


def allowed(run):
    """Of a term's largest number, see above."""
    D, G = run.cache.x.shape[2], run.params["W_x"].shape[1]
    return 10 * np.sqrt(run.T * (D + G + 20)) * np.finfo(np.float64).eps


def agree(kind, run, kept, lengths):
    """How many numbers of a run were compared, and the worst difference as a share of what is allowed."""
    H, D, states = run.H, run.cache.x.shape[2], run.cell.STATES
    gates = {"lstm": "ifgo", "gru": "rzn"}.get(kind, "")
    names = [*(f"a_{letter}" for letter in run.cell.GATES), *gates, *states] + ["m_n"] * (kind == "gru")
    pairs = []
    for n, (s, _) in enumerate(kept):
        for t in range(lengths[n]):
            for name in names:
                if f"d{name}" in run:
                    pairs.append((f"d{name}", run[f"d{name}"][t, n], s.gradient(name, t, (1, H))[0]))
            for state in states:
                # into step t+1 alone: the part of the gradient that comes from the future
                last = t + 1 == lengths[n]
                future = np.zeros(H) if last else s.gradient(f"{state}_prev", t + 1, (1, H))[0]
                pairs.append((f"d{state}_next", run[f"d{state}_next"][t, n], future))
                sent = s.gradient(f"{state}_prev", t, (1, H))[0]
                pairs.append((f"d{state}_prev", run[f"d{state}_prev"][t, n], sent))
            pairs.append(("dx", run["dx"][t, n], s.gradient("x", t, (1, D))[0]))
        for state in states:
            pairs.append((f"d{state}0", run[f"d{state}0"][n], s.gradient(f"{state}_prev", 0, (1, H))[0]))
    for t in range(run.T):
        for weight, ours in run.weight_gradients(t).items():
            theirs = sum(s.gradient(f"W {weight[1:]}", t, ours.shape) for (s, _), m in zip(kept, lengths) if t < m)
            pairs.append((weight, ours, theirs))
    for weight in run.params:
        theirs = sum(s.gradient(f"W {weight}", t, ()) for (s, _), m in zip(kept, lengths) for t in range(m))
        pairs.append((f"d{weight} in all", run[f"d{weight}"], theirs))
    largest = {}
    for name, _, theirs in pairs:
        largest[name] = max(largest.get(name, 1e-200), np.abs(theirs).max())
    worst = 0.0
    for name, ours, theirs in pairs:
        off = np.abs(ours - theirs).max() / (allowed(run) * largest[name])
        assert off <= 1, (run.name, name, off)
        worst = max(worst, off)
    needed = {"dh", "dh_next", "dh_prev", "dx", "dW_x", "dW_h", "db", "dh0", *(f"da_{k}" for k in run.cell.GATES)}
    needed |= {"dc", "dc_next", "dc_prev", "di", "df", "dg", "do"} if kind == "lstm" else set()
    needed |= {"dr", "dz", "dn", "dm_n", "db_hn"} if kind == "gru" else set()
    assert needed <= {name for name, _, _ in pairs}
    return sum(ours.size for _, ours, _ in pairs), worst


def test_the_comparison_finds_a_small_mistake(rng):
    """One part in 10^10 of one term of one step."""
    layer, x, dy, state, _ = problem(rng, "lstm", False, 1, False)
    run = scratchnet.trace(layer, x, dy=dy, state=state).run
    rows = [torch.tensor(row, requires_grad=True) for row in x]
    outputs, kept = unrolled("lstm", run, rows, [len(x)] * x.shape[1])
    sum((o * torch.tensor(d)).sum() for o, d in zip(outputs, dy)).backward()
    agree("lstm", run, kept, [len(x)] * x.shape[1])
    run.backward_terms["dc"][1, 0, 0] *= 1 + 1e-10
    with pytest.raises(AssertionError, match="dc"):
        agree("lstm", run, kept, [len(x)] * x.shape[1])
