# %% [markdown]
# # 07  The GRU, and why frameworks disagree
#
# **Goal.** You can write both forms of the GRU and the backward pass of one, and carry weights from one convention to another
# without changing a number.
#
# You need: the LSTM forward and backward (05, 06).

# %%
# %matplotlib inline
import numpy as np

import scratchnet
from scratchnet import plots
from scratchnet.cells import gru, gru_reset_before
from scratchnet_course import check
from scratchnet.elementwise import sigmoid
from scratchnet.gradcheck import check_cell
from scratchnet.layers import GRU

rng = np.random.default_rng(7)

# %% [markdown]
# ## One state, two gates, a candidate
#
# The GRU has no cell state. Its hidden state itself is what is kept and written, and one gate says both:
#
#     r = sigmoid(a_r + m_r)       reset gate:   how much of the past the candidate sees
#     z = sigmoid(a_z + m_z)       update gate:  how much of the past is kept
#     n = tanh(a_n + r m_n)        candidate:    what would be written
#     h = (1 - z) n + z h'         kept + written
#
# Two products meet in each block: a = x W_x + b comes from the input, m = h' W_h from the memory. In the n block the reset
# gate stands between them, so there the memory's part has a bias of its own: m_n = h' W_hn + b_hn.

# %%
a_r, a_z, a_n, m_r, m_z, m_n = np.array([0.2, 0.9, -0.4, 0.3, 0.5, 1.2])
h_prev = np.array(0.8)
r, z = sigmoid(a_r + m_r), sigmoid(a_z + m_z)
n = np.tanh(a_n + r * m_n)
h = (1 - z) * n + z * h_prev
np.testing.assert_allclose(
    gru.gates_forward(a_r, a_z, a_n, m_r, m_z, m_n, h_prev), (r, z, n, h), rtol=1e-12
)
print(f"r = {r:.3f}   z = {z:.3f}   n = tanh({a_n} + {r:.3f} * {m_n}) = {n:.3f}")
print(f"h = {1 - z:.3f} * {n:.3f} + {z:.3f} * {h_prev} = {h:.3f}")

# %% [markdown]
# h lies between n and h', so it never leaves -1 to 1 if it starts there. What is kept and what is written add up to one: an
# LSTM can do both fully, a GRU must choose.
#
# ## Before or after the product
#
# The paper (Cho et al. 2014) lets the candidate see the past *after* it was reset: the reset gate acts on h', and then comes
# the product. cuDNN, and with it PyTorch, takes the product first and resets its result, because then all three products of a
# step are one.
#
#     before     n = tanh(x W_xn + b_n + (r h') W_hn)
#     after      n = tanh(x W_xn + b_n + r (h' W_hn + b_hn))
#
# In the first, r says which units of the past are seen; in the second, which units of the candidate see the past. They are two
# different functions of the same weights.

# %%
T, N, D, H = 4, 2, 3, 5
x, h0 = rng.standard_normal((T, N, D)), rng.standard_normal((N, H))
W_x, W_h, b, b_hn = (rng.standard_normal(shape) / 2 for shape in gru.param_shapes(D, H).values())
after, _ = gru.forward(x, h0, W_x, W_h, b, np.zeros(H))
before, _ = gru_reset_before.forward(x, h0, W_x, W_h, b)
apart = np.abs(after - before).max()
assert apart > 0.05
print(f"the same weights and no b_hn: the two forms differ by up to {apart:.2f}")

one = (
    [v[..., :1] for v in (x, h0)],
    [rng.standard_normal(shape) for shape in gru_reset_before.param_shapes(1, 1).values()],
)
after_one, _ = gru.forward(*one[0], *one[1], np.zeros(1))
before_one, _ = gru_reset_before.forward(*one[0], *one[1])
np.testing.assert_allclose(after_one, before_one, rtol=1e-12)
print("with one unit they are equal: (r h') W is r (h' W) when W is a number")

# %% [markdown]
# A test with one unit says that the forms are the same, and a gradient check says that both are right. Only a second
# implementation with several units shows which form you have.
#
# ## One bias or two
#
# In r and z the two biases of PyTorch, one for each product, are added at once, and their sum is all that counts. In the n
# block of the second form they are not: b_hn stands inside r (...). It cannot be moved out.

# %%
both, _ = gru.forward(x, h0, W_x, W_h, b, b_hn)
moved = b.copy()
moved[2 * H :] += b_hn
merged, _ = gru.forward(x, h0, W_x, W_h, moved, np.zeros(H))
assert np.abs(both - merged).max() > 0.01
print(f"b_hn added to b_n instead: h is off by up to {np.abs(both - merged).max():.2f}")

# %% [markdown]
# ## Who has 1 - z
#
# Some write h = (1 - z) n + z h', others h = z n + (1 - z) h'. Both are the same network: the other's gate is 1 - z of ours,
# and since 1 - sigmoid(a) = sigmoid(-a), all that is needed is to turn the sign of everything that makes a_z. That is the z
# block of W_x, of W_h and of b.
#
# | | blocks | z multiplies | reset | biases |
# |---|---|---|---|---|
# | this library | r z n | the past | after | b, and b_hn in n |
# | PyTorch, cuDNN | r z n | the past | after | two in each block |
# | Keras (`reset_after=True`) | z r n | the past | after | two in each block |
# | Keras (`reset_after=False`) | z r n | the past | before | one |
# | ONNX (`linear_before_reset=0`) | z r n | the past | before | two, added |
# | Cho et al. 2014 | | the past | before | none written |
# | Chung et al. 2014 | | the candidate | before | none written |

# %%
turned_x, turned_h, turned_b = W_x.copy(), W_h.copy(), b.copy()
for array in (turned_x, turned_h, turned_b):
    array[..., H : 2 * H] *= -1


def step_other(x, h, W_x, W_h, b, b_hn):
    """A step of the other convention: z multiplies the candidate."""
    (a_r, a_z, a_n), (m_r, m_z, m_n) = (
        np.split(x @ W_x + b, 3, axis=-1),
        np.split(h @ W_h, 3, axis=-1),
    )
    r, z = sigmoid(a_r + m_r), sigmoid(a_z + m_z)
    n = np.tanh(a_n + r * (m_n + b_hn))
    return z * n + (1 - z) * h


h = h0
for t in range(T):
    h = step_other(x[t], h, turned_x, turned_h, turned_b, b_hn)
np.testing.assert_allclose(h, both[-1], rtol=1e-10)
print("the z blocks with their sign turned, in the other convention: equal after", T, "steps")

# %% [markdown]
# ## Backwards
#
# Undo h = (1 - z) n + z h' first. h' is read four times: by z h', and by the memory's part of each of the three blocks.
#
#     da_n = dh (1 - z) (1 - n^2)          dm_n = da_n r
#     da_z = dh (h' - n) z (1 - z)         da_r = da_n m_n r (1 - r)
#     dh' = dh z + (da_r | da_z | dm_n) W_h^T
#
# The first road to h' has no weights and no tanh in it: it is what f c' is in the LSTM. dW_h and db_hn are made from dm_n,
# dW_x and db from da_n; the factor r between the two is often forgotten.

# %%
dh = np.array(0.3)
r, z = sigmoid(a_r + m_r), sigmoid(a_z + m_z)
n = np.tanh(a_n + r * m_n)
da_n = dh * (1 - z) * (1 - n**2)
da_z = dh * (h_prev - n) * z * (1 - z)
da_r = da_n * m_n * r * (1 - r)
np.testing.assert_allclose(
    gru.gates_backward(dh, r, z, n, m_n, h_prev), (da_r, da_z, da_n, da_n * r, dh * z), rtol=1e-12
)
for cell in (gru, gru_reset_before):
    report = check_cell(cell)
    assert report.error < 1e-6
print(
    f"da_r = {da_r:.4f}   da_z = {da_z:.4f}   da_n = {da_n:.4f}   dm_n = {da_n * r:.4f}   straight to h' {dh * z:.4f}"
)
print("both forms pass the gradient check")

# %% [markdown]
# ## How wide the straight road is
#
# At the start z is about sigmoid(b_z). With a bias of zero, half of what travels on this road is lost at each step; what comes
# through W_h helps a little, and after 100 steps there is nothing left. A new GRU starts with a short memory. Most libraries
# have no forget bias for it, but nothing keeps you from setting b_z: it is the same bias under another name.

# %%
T, H = 100, 32
x, last = rng.standard_normal((T, 1, 4)), np.zeros((T, 1, H))
last[-1] = rng.standard_normal((1, H)) / np.sqrt(H)
traces, left = {}, []
for bias in (0, 2, 4):
    layer = GRU(4, H, rng=np.random.default_rng(0))
    layer.params["b_l0"][H : 2 * H] = bias
    made = traces[f"z bias {bias}"] = scratchnet.trace(layer, x, dy=last)
    straight = np.linalg.norm(made.run["dh_direct"]) / np.linalg.norm(made.run["dh_prev"])
    left.append(np.linalg.norm(made.run["dh"][0]) / np.linalg.norm(last))
    z = made.run["z"].mean()
    print(
        f"z bias {bias}: mean z {z:.2f}, |dh z| / |dh'| {straight:.2f}, left after 100 steps {left[-1]:.0e}"
    )
assert left[0] < 1e-10 < 1e-6 < left[1] < 1e-2 < left[2]
plots.gradient_norms(traces)

# %% [markdown]
# ## What goes wrong in practice
#
# - Weights are loaded from another framework, all shapes fit, and the outputs differ: blocks in another order, reset on the
#   other side, or 1 - z at the other term.
# - b_hn is merged with b_n. Right while both are zero, wrong after the first update.
# - dW_h is made from da in place of dm: the reset gate is missing in the n block.
# - The direct road dh z is forgotten: what is left must go through W_h, and distant losses are lost.
# - da_z = dh h' in place of dh (h' - n): z stands in both terms.
# - A GRU is called faster than an LSTM by a quarter, because it has three blocks for four. Measure it; in the first form its
#   products with h' cannot be made into one.

# %% [markdown]
# ## Exercise 07/ex1: One step of both forms
#
# The blocks stand in the order r z n, and z multiplies the past. Return the new state of the form that resets after the
# product (it has b_hn) and of the form that resets before it (it has not).

# %%
# exercise 07/ex1
import numpy as np


def both_forms(x, h_prev, W_x, W_h, b, b_hn):
    """x (N, D), h_prev (N, H), W_x (D, 3H), W_h (H, 3H), b (3H,), b_hn (H,) to h after and h before, (N, H) each."""
    # BEGIN SOLUTION
    fed = np.stack(np.hsplit(np.einsum("nd,dg->ng", x, W_x) + b, 3))
    recurrent = np.stack(np.hsplit(W_h, 3))
    reset, keep = 0.5 + 0.5 * np.tanh(
        0.5 * (fed[:2] + np.einsum("nk,bkh->bnh", h_prev, recurrent[:2]))
    )
    late = np.tanh(fed[2] + (np.einsum("nk,kh->nh", h_prev, recurrent[2]) + b_hn) * reset)
    early = np.tanh(fed[2] + np.einsum("nk,nk,kh->nh", reset, h_prev, recurrent[2]))
    return tuple(fresh + keep * (h_prev - fresh) for fresh in (late, early))
    # END SOLUTION


# %%
print(check("07/ex1", both_forms))

# %% [markdown]
# ## Exercise 07/ex2: From the other convention
#
# Weights of a network with h = z n + (1 - z) h' and with blocks in the order z r n. Return those that give the same h here,
# where h = (1 - z) n + z h' and the order is r z n. b_hn would stay as it is.

# %%
# exercise 07/ex2
import numpy as np


def from_other(W_x, W_h, b):
    """W_x (D, 3H), W_h (H, 3H), b (3H,), blocks z r n, to the same three, blocks r z n."""
    # BEGIN SOLUTION
    width = b.size // 3
    mix = np.kron(np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]), np.eye(width))
    return [array @ mix for array in (W_x, W_h, b)]
    # END SOLUTION


# %%
print(check("07/ex2", from_other))

# %% [markdown]
# ## Exercise 07/ex3: From PyTorch
#
# `torch.nn.GRU` keeps its weights as (3H, D) and (3H, H) and computes x W^T. It has a bias for each product, and resets after
# the product; its blocks are r z n, and z multiplies the past. Return W_x, W_h, b and b_hn for this library's cell.

# %%
# exercise 07/ex3
import numpy as np


def from_pytorch(weight_ih, weight_hh, bias_ih, bias_hh):
    """weight_ih (3H, D), weight_hh (3H, H), bias_ih and bias_hh (3H,) to W_x (D, 3H), W_h (H, 3H), b (3H,), b_hn (H,)."""
    # BEGIN SOLUTION
    gates = np.repeat([1.0, 1.0, 0.0], weight_hh.shape[1])
    inside = bias_hh[gates == 0]
    W_x, W_h = (np.einsum("gk->kg", array) for array in (weight_ih, weight_hh))
    return {"W_x": W_x, "W_h": W_h, "b": bias_ih + gates * bias_hh, "b_hn": inside}
    # END SOLUTION


# %%
print(check("07/ex3", from_pytorch))

# %% [markdown]
# ## Exercise 07/ex4: All steps back
#
# The backward pass of the form that resets after the product. `h` is (T+1, N, H) with the initial state at index 0, `gates`
# (T, N, 3H) in the order r z n, and `m_n` (T, N, H) is h' W_hn + b_hn of each step.

# %%
# exercise 07/ex4
import numpy as np


def gru_backward(dy, dh_last, x, h, gates, m_n, W_x, W_h):
    """Return dx (T, N, D), dh0 (N, H), dW_x (D, 3H), dW_h (H, 3H), db (3H,), db_hn (H,)."""
    # BEGIN SOLUTION
    r, z, n = np.split(gates, 3, axis=-1)
    steps, carried = [], dh_last
    for t in range(len(dy) - 1, -1, -1):
        total = carried + dy[t]
        fresh = total * (1 - z[t]) * (1 - n[t] ** 2)
        update = total * (h[t] - n[t]) * z[t] * (1 - z[t])
        reset = fresh * m_n[t] * r[t] * (1 - r[t])
        steps.append((np.hstack([reset, update, fresh]), np.hstack([reset, update, fresh * r[t]])))
        carried = total * z[t] + np.einsum("ng,hg->nh", steps[-1][1], W_h)
    of_input, of_memory = (np.stack(part[::-1]) for part in zip(*steps))
    dx, dW_x = np.einsum("tng,dg->tnd", of_input, W_x), np.einsum("tnd,tng->dg", x, of_input)
    dW_h, sums = np.einsum("tnh,tng->hg", h[:-1], of_memory), of_memory.sum((0, 1))
    return dx, carried, dW_x, dW_h, of_input.sum((0, 1)), sums[-h.shape[2] :]
    # END SOLUTION


# %%
print(check("07/ex4", gru_backward))

# %% [markdown]
# ## Sources
#
# Cho et al. 2014, Learning phrase representations using RNN encoder-decoder (arXiv:1406.1078; the reset after the product is
# in its first version). Chung, Gulcehre, Cho and Bengio 2014, Empirical evaluation of gated recurrent neural networks on
# sequence modeling. The documentation of torch.nn.GRU, of Keras' GRU layer and of the ONNX operator GRU, for their
# conventions.
