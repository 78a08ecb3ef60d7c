"""Jacobians of single steps, and the gradients of single losses.

A single backward pass gives neither. Both are backward passes over a batch built for the purpose,
since BPTT is linear in the upstream gradients.
"""

from typing import Any, NamedTuple

import numpy as np

from scratchnet.arguments import checked
from scratchnet.arrays import Array, is_array, require_count, to_host
from scratchnet.errors import InvalidValueError
from scratchnet.tracing.run import RunTrace
from scratchnet.tracing.terms import CellCache

CHUNK = 2**24  # elements of the gate array of one batch: about 130 MB in float64


@checked
def jacobians(run: RunTrace, sample: int = 0) -> Array:
    """The Jacobian of each step of one sequence, (T, S, S): d state_t / d state_{t-1}.

    S is H times the number of states: the LSTM's blocks are [[dh/dh', dh/dc'], [dc/dh', dc/dc']].
    Entry [t, j, k] is the derivative of unit j of state t with respect to unit k of state t-1.
    """
    run.require_sample(sample)
    cell, H, steps = run.cell, run.H, int(run.lengths[sample])
    S = H * len(cell.STATES)
    out = np.empty_like(run.cache.h, shape=(steps, S, S))
    width = max(1, CHUNK // (S * H * len(cell.GATES)))
    for start in range(0, steps, width):
        stop = min(start + width, steps)
        # A batch of one-step sequences: each step of the chunk S times, with the upstream gradient
        # of another unit each time.
        cache = _each_step_alone(run, sample, start, stop, S)
        unit = np.tile(np.eye(S, dtype=out.dtype, like=out), (stop - start, 1))
        d_last = [unit[:, k * H : (k + 1) * H] for k in range(len(cell.STATES))]
        grads = cell.backward(np.zeros_like(cache.h[1:]), cache, *d_last)
        rows = np.concatenate([getattr(grads, f"d{name}0") for name in cell.STATES], axis=1)
        out[start:stop] = rows.reshape(stop - start, S, S)
    return out


def _each_step_alone(run: RunTrace, sample: int, start: int, stop: int, copies: int) -> CellCache:
    """The cache of one-step sequences, one for each step of a chunk, ``copies`` times each.

    T = 1 and N = (stop - start) * copies.
    """
    changed: dict[str, Any] = {"lengths": None}
    for name, value in run.cache._asdict().items():
        if name in run.params or not is_array(value) or name == "lengths":
            continue
        if name in run.cell.STATES:
            pair = np.stack([value[start:stop, sample], value[start + 1 : stop + 1, sample]])
        else:
            pair = value[None, start:stop, sample]
        changed[name] = np.repeat(pair, copies, axis=1)
    return run.cache._replace(**changed)


class SingularValues(NamedTuple):
    """Singular values, largest first, of each step's Jacobian and of products of them."""

    of_steps: Array  # (T, S)
    of_products: Array  # (T, S): how a change of the state before step t moves the final state


def singular_values(jacobian: Array) -> SingularValues:
    """Singular values of the Jacobians (T, S, S) that ``jacobians`` returns.

    Products underflow after some hundred steps; each is scaled while it is built and scaled back at
    the end, so that a value of 1e-300 is still a number.
    """
    T, S, _ = jacobian.shape
    products = np.empty_like(jacobian, shape=(T, S))
    product, log_scale = np.eye(S, dtype=jacobian.dtype, like=jacobian), 0.0
    for t in reversed(range(T)):
        product = product @ jacobian[t]
        size = float(np.max(np.abs(product)))
        if size > 0:
            product, log_scale = product / size, log_scale + np.log(size)
        products[t] = np.linalg.svd(product, compute_uv=False) * np.exp(log_scale)
    return SingularValues(np.linalg.svd(jacobian, compute_uv=False), products)


class PerLossGradients(NamedTuple):
    """Which loss made which gradient.

    ``size[t, k]`` is |da| at step t from the loss at step ``losses[k]``.
    """

    losses: Array  # (K,) steps tau
    size: Array  # (T, K); zero above the diagonal: a loss moves no later step


@checked
def per_loss_gradients(run: RunTrace, sample: int = 0, most: int = 100) -> PerLossGradients:
    """The gradient of each loss of one sequence, in one batched backward pass.

    Entry k of the batch has the loss at step tau_k alone. BPTT is linear in dy, so these gradients
    add up to the whole. Steps without a loss are left out; of more than ``most`` losses, K are
    taken, spread evenly. An upstream gradient of the final state counts as the last step's loss.
    """
    run.require_sample(sample)
    require_count("most", most)
    if run.dy is None:
        raise InvalidValueError(
            f"{run.name} has no per-loss gradients: the trace was made without a target"
        )
    T, H, states = int(run.lengths[sample]), run.H, run.cell.STATES
    dy = run.dy[:T, sample]
    last = [run.d_last[f"d{name}_last"][sample] for name in states]
    own = to_host(np.abs(dy).sum(axis=1))
    own[-1] += sum(float(np.abs(d).sum()) for d in last)
    lossy = np.flatnonzero(own)
    if len(lossy) > most:
        lossy = lossy[np.unique(np.linspace(0, len(lossy) - 1, most).round().astype(int))]
    size = np.zeros_like(dy, shape=(T, len(lossy)))
    width = max(1, CHUNK // (T * H * len(run.cell.GATES)))
    for start in range(0, len(lossy), width):
        taus = lossy[start : start + width]
        cache = _repeated(run, sample, T, len(taus))
        each = np.zeros_like(dy, shape=(T, len(taus), H))
        at = np.asarray(taus, like=dy)
        each[at, np.arange(len(taus), like=dy)] = dy[at]
        ending = (at == T - 1)[:, None]
        grads = run.cell.backward(each, cache, *(ending * d for d in last))
        size[:, start : start + len(taus)] = np.sqrt(np.sum(grads.da * grads.da, axis=2))
    return PerLossGradients(lossy, size)


def _repeated(run: RunTrace, sample: int, T: int, copies: int) -> CellCache:
    """The cache of a batch of ``copies`` equal sequences."""
    changed: dict[str, Any] = {"lengths": None}
    for name, value in run.cache._asdict().items():
        if name in run.params or not is_array(value) or name == "lengths":
            continue
        steps = T + 1 if name in run.cell.STATES else T
        one = value[:steps, sample : sample + 1]
        changed[name] = np.broadcast_to(one, (steps, copies, value.shape[2]))
    return run.cache._replace(**changed)
