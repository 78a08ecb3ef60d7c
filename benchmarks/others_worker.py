"""A contender of ``others.py`` in its own process; requests as in ``cpu_worker.py``.

    python benchmarks/others_worker.py jax 2

Each is written as its own documentation advises, gets the same numbers, and is kept to the same
processors, by the system: not every one of them can be told a number of threads. ``iteration`` is a
whole training iteration: forward, loss, backward, clipping by the global norm, Adam; ``params`` are
the parameters that it changes, so that all of it can be compared.
"""

import os
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from cpu_worker import CLIP, LEARNING_RATE, Named, Ours, Torch, Worker, answer, version_of

from scratchnet.layers import LSTM, Linear, Sequential
from scratchnet.losses import mse
from scratchnet.training.clip import clip_global_norm
from scratchnet.training.optim import Adam

Jobs = dict[str, Callable[[], Any]]
EPS = 1e-8  # of Adam, not everybody's default
HEAD = ("head.W", "head.b")
# The order of a cell's gates; ours is "ifgo", "rzn", "h".
KERAS = {"lstm": "ifgo", "gru": "zrn", "rnn": "h"}
ONNX = {"lstm": "iofg", "gru": "zrn", "rnn": "h"}
GATES = {"lstm": "ifgo", "gru": "rzn", "rnn": "h"}


def reordered(matrix: Any, cell: str, given: str, wanted: str) -> Any:
    """The blocks of the last axis, one for each gate, in another order."""
    blocks = np.split(np.asarray(matrix), len(given), axis=-1)
    return np.concatenate([blocks[given.index(gate)] for gate in wanted], axis=-1)


class Scratchnet(Ours):
    """The ``sequence`` engine, and the fused Adam and norm."""

    def load_iteration(self, data: Named) -> Jobs:
        """An LSTM, a linear layer on its last output, and one batch."""
        options: Any = {"rng": np.random.default_rng(0), "dtype": np.float32}
        I, H = data["W_x"].shape[0], data["W_h"].shape[0]
        rec = LSTM(I, H, return_sequences=False, engine=self.engine, **options)
        model = Sequential(rec=rec, head=Linear(H, 1, **options))
        names = {"rec.W_x_l0": "W_x", "rec.W_h_l0": "W_h", "rec.b_l0": "b"}
        for name, value in model.params.items():
            value[...] = data[names.get(name, name)]
        optimizer = Adam(LEARNING_RATE, engine="step")

        def iteration() -> Named:
            model.zero_grad()
            y, cache = model.forward(data["x"], training=True)
            loss, dy = mse(y, data["target"])
            model.backward(dy, cache)
            clip_global_norm(model.grads, CLIP, engine="step")
            optimizer.step(model.params, model.grads)
            return {"loss": loss}

        return {
            "iteration": iteration,
            "params": lambda: {names.get(n, n): p for n, p in model.params.items()},
        }


class TorchEager(Torch):
    """torch.nn and its default optimiser."""

    def load_iteration(self, data: Named) -> Jobs:
        """As ``Scratchnet.load_iteration``."""
        torch, nn = self.torch, self.torch.nn
        I, H = data["W_x"].shape[0], data["W_h"].shape[0]

        class Model(nn.Module):  # type: ignore[misc,name-defined]
            def __init__(self) -> None:
                super().__init__()
                self.rec, self.head = nn.LSTM(I, H), nn.Linear(H, 1)

            def forward(self, x: Any) -> Any:
                return self.head(self.rec(x)[0][-1])

        own = Model()
        self.put(own.rec, "_l0", data)
        own.rec.bias_hh_l0.requires_grad_(False)  # one bias, as ours
        with torch.no_grad():
            own.head.weight.copy_(torch.from_numpy(data["head.W"].T.copy()))
            own.head.bias.copy_(torch.from_numpy(data["head.b"]))
        named = {"W_x": own.rec.weight_ih_l0, "W_h": own.rec.weight_hh_l0}
        named |= {"b": own.rec.bias_ih_l0, "head.W": own.head.weight, "head.b": own.head.bias}
        weights = list(named.values())
        optimizer, model = torch.optim.Adam(weights, LEARNING_RATE, eps=EPS), self.made(own)
        x, target, loss_of = (
            torch.from_numpy(data["x"]),
            torch.from_numpy(data["target"]),
            nn.MSELoss(),
        )

        def iteration() -> Named:
            optimizer.zero_grad()
            loss = loss_of(model(x), target)
            loss.backward()
            nn.utils.clip_grad_norm_(weights, CLIP)
            optimizer.step()
            return {"loss": loss.item()}

        return {
            "iteration": iteration,
            "params": lambda: {n: p.detach().numpy().T for n, p in named.items()},
        }


class TorchCompiled(TorchEager):
    """As ``torch.compile`` makes it: an nn.LSTM itself it leaves as it is."""

    def made(self, module: Any) -> Any:
        return self.torch.compile(module)


class Jax:
    """A loop by ``lax.scan``, compiled by XLA; Adam of optax."""

    def __init__(self, threads: int) -> None:
        import jax
        import optax

        self.jax, self.optax = jax, optax

    def versions(self) -> dict[str, str]:
        """What its times depend on."""
        return {name: version_of(name) for name in ("jax", "jaxlib", "optax")}

    def loop(self, cell: str) -> Callable[[Any, Any], Any]:
        """From weights and x (T, N, D) to y (T, N, H)."""
        np_, nn, lax = self.jax.numpy, self.jax.nn, self.jax.lax

        def lstm(w: Any, state: Any, a_x: Any) -> Any:
            h, c = state
            i, f, g, o = np_.split(a_x + h @ w["W_h"], 4, axis=-1)
            c = nn.sigmoid(f) * c + nn.sigmoid(i) * np_.tanh(g)
            h = nn.sigmoid(o) * np_.tanh(c)
            return (h, c), h

        def gru(w: Any, state: Any, a_x: Any) -> Any:
            (h,) = state
            r_x, z_x, n_x = np_.split(a_x, 3, axis=-1)
            r_h, z_h, n_h = np_.split(h @ w["W_h"], 3, axis=-1)
            r, z = nn.sigmoid(r_x + r_h), nn.sigmoid(z_x + z_h)
            h = (1 - z) * np_.tanh(n_x + r * (n_h + w["b_hn"])) + z * h
            return (h,), h

        def rnn(w: Any, state: Any, a_x: Any) -> Any:
            h = np_.tanh(a_x + state[0] @ w["W_h"])
            return (h,), h

        step, states = {"lstm": (lstm, 2), "gru": (gru, 1), "rnn": (rnn, 1)}[cell]

        def run(w: Any, x: Any) -> Any:
            a_x = x @ w["W_x"] + w["b"]  # of all steps together
            zeros = np_.zeros((x.shape[1], w["W_h"].shape[0]), x.dtype)
            return lax.scan(partial(step, w), (zeros,) * states, a_x)[1]

        return run

    def load(self, cell_name: str, data: Named) -> Jobs:
        """As ``Ours.load``."""
        run, jit = self.loop(cell_name), self.jax.jit
        w = {name: self.jax.numpy.asarray(a) for name, a in data.items()}
        x, dy = w.pop("x"), w.pop("dy")

        def both(w: Any, x: Any, dy: Any) -> Any:
            y, pull = self.jax.vjp(run, w, x)
            return y, *pull(dy)

        forward, training = jit(run), jit(both)

        def train() -> Named:
            y, dw, dx = self.jax.block_until_ready(training(w, x, dy))
            return {"y": y, "dx": dx} | {f"d{name}": d for name, d in dw.items()}

        return {
            "forward": lambda: {"y": self.jax.block_until_ready(forward(w, x))},
            "training": train,
        }

    def load_iteration(self, data: Named) -> Jobs:
        """As ``Scratchnet.load_iteration``, all of it one compiled function."""
        jax, optax, run = self.jax, self.optax, self.loop("lstm")
        w = {name: jax.numpy.asarray(a) for name, a in data.items()}
        x, target = w.pop("x"), w.pop("target")
        clip = optax.clip_by_global_norm(CLIP)
        optimizer = optax.chain(clip, optax.adam(LEARNING_RATE, eps=EPS))

        def loss_of(w: Any) -> Any:
            return ((run(w, x)[-1] @ w["head.W"] + w["head.b"] - target) ** 2).mean()

        def step(w: Any, state: Any) -> Any:
            loss, dw = jax.value_and_grad(loss_of)(w)
            change, state = optimizer.update(dw, state, w)
            return loss, optax.apply_updates(w, change), state

        compiled = jax.jit(step, donate_argnums=(0, 1))
        now = [w, optimizer.init(w)]

        def iteration() -> Named:
            loss, *now[:] = jax.block_until_ready(compiled(*now))
            return {"loss": loss}

        return {"iteration": iteration, "params": lambda: now[0]}


class Keras:
    """Keras 3 on JAX, its faster backend on a CPU: its layers, and ``train_on_batch``."""

    def __init__(self, threads: int) -> None:
        os.environ["KERAS_BACKEND"] = "jax"
        import jax
        import keras

        self.jax, self.keras = jax, keras

    def versions(self) -> dict[str, str]:
        """What its times depend on."""
        return {"keras": version_of("keras"), "keras_backend": "jax"}

    def layer(self, cell: str, H: int, **options: Any) -> Any:
        """Keras's own layer for a cell."""
        layers = self.keras.layers
        kinds = {"lstm": layers.LSTM, "gru": layers.GRU, "rnn": layers.SimpleRNN}
        return kinds[cell](H, **options)

    def weights(self, cell: str, data: Named) -> list[Any]:
        """Ours in Keras's order; of the GRU's two biases the second acts on n alone."""
        order = GATES[cell], KERAS[cell]
        W_x, W_h, b = (reordered(data[name], cell, *order) for name in ("W_x", "W_h", "b"))
        if cell == "gru":
            second = np.concatenate([np.zeros_like(data["b_hn"])] * 2 + [data["b_hn"]])
            b = np.stack([b, second])
        return [W_x, W_h, b]

    def load(self, cell_name: str, data: Named) -> Jobs:
        """As ``Ours.load``; Keras has the batch first."""
        jax, H = self.jax, data["W_h"].shape[0]
        x, dy = (jax.numpy.asarray(data[name].swapaxes(0, 1)) for name in ("x", "dy"))
        layer = self.layer(cell_name, H, return_sequences=True)
        layer.build(x.shape)
        layer.set_weights(self.weights(cell_name, data))
        w = [v.value for v in layer.trainable_variables]
        fixed = [v.value for v in layer.non_trainable_variables]

        def run(w: Any, x: Any) -> Any:
            return layer.stateless_call(w, fixed, x)[0]

        def both(w: Any, x: Any, dy: Any) -> Any:
            y, pull = jax.vjp(run, w, x)
            return y, *pull(dy)

        forward, training = jax.jit(run), jax.jit(both)

        def train() -> Named:
            y, (dW_x, dW_h, db), dx = jax.block_until_ready(training(w, x, dy))
            found = {"y": y.swapaxes(0, 1), "dx": dx.swapaxes(0, 1)}
            if cell_name == "gru":
                db, second = db
                found["db_hn"] = second[2 * H :]
            back = KERAS[cell_name], GATES[cell_name]
            grads = {"dW_x": dW_x, "dW_h": dW_h, "db": db}
            return found | {name: reordered(d, cell_name, *back) for name, d in grads.items()}

        return {
            "forward": lambda: {"y": jax.block_until_ready(forward(w, x)).swapaxes(0, 1)},
            "training": train,
        }

    def load_iteration(self, data: Named) -> Jobs:
        """As ``Scratchnet.load_iteration``."""
        keras = self.keras
        x, target = data["x"].swapaxes(0, 1).copy(), data["target"]
        rec = self.layer("lstm", data["W_h"].shape[0])
        model = keras.Sequential([keras.Input(x.shape[1:]), rec, keras.layers.Dense(1)])
        model.set_weights([*self.weights("lstm", data), *(data[name] for name in HEAD)])
        # Keras adds it to sqrt(v) before v's start at zero is corrected: the same, for step 1
        eps = EPS * (1 - 0.999) ** 0.5
        optimizer = keras.optimizers.Adam(LEARNING_RATE, global_clipnorm=CLIP, epsilon=eps)
        model.compile(optimizer=optimizer, loss="mse")

        def iteration() -> Named:
            return {"loss": model.train_on_batch(x, target)}

        names = ("W_x", "W_h", "b", *HEAD)
        return {"iteration": iteration, "params": lambda: dict(zip(names, model.get_weights()))}


class Onnx:
    """onnxruntime on the standard's own operators: forward alone."""

    def __init__(self, threads: int) -> None:
        import onnx
        import onnxruntime

        self.onnx, self.runtime, self.threads = onnx, onnxruntime, threads

    def versions(self) -> dict[str, str]:
        """What its times depend on."""
        return {name: version_of(name) for name in ("onnx", "onnxruntime")}

    def load(self, cell_name: str, data: Named) -> Jobs:
        """A graph of one node, whose weights are constants."""
        helper, numpy_helper = self.onnx.helper, self.onnx.numpy_helper
        H, order = data["W_h"].shape[0], (GATES[cell_name], ONNX[cell_name])
        W, R, b = (reordered(data[name], cell_name, *order) for name in ("W_x", "W_h", "b"))
        second = np.zeros_like(b)
        if cell_name == "gru":
            second[2 * H :] = data["b_hn"]
        held = {"W": W.T[None], "R": R.T[None], "B": np.concatenate([b, second])[None]}
        constants = [numpy_helper.from_array(a.copy(), name) for name, a in held.items()]
        options: dict[str, Any] = {"hidden_size": H}
        options |= {"linear_before_reset": 1} if cell_name == "gru" else {}
        node = helper.make_node(cell_name.upper(), ["X", "W", "R", "B"], ["Y"], **options)
        T, N, _ = data["x"].shape
        shapes = {"X": data["x"].shape, "Y": (T, 1, N, H)}
        ends = {
            name: helper.make_tensor_value_info(name, self.onnx.TensorProto.FLOAT, shape)
            for name, shape in shapes.items()
        }
        graph = helper.make_graph([node], "cell", [ends["X"]], [ends["Y"]], constants)
        opset = helper.make_opsetid("", 14)
        model = helper.make_model(graph, opset_imports=[opset], ir_version=8)
        settings = self.runtime.SessionOptions()
        settings.intra_op_num_threads = self.threads
        content = model.SerializeToString()
        session = self.runtime.InferenceSession(content, settings, ["CPUExecutionProvider"])

        def forward() -> Named:
            (y,) = session.run(None, {"X": data["x"]})
            return {"y": y[:, 0]}

        return {"forward": forward}


CONTENDERS: dict[str, Callable[[int], Any]] = {
    "sequence": partial(Scratchnet, "sequence"),
    "torch": TorchEager,
    "torch.compile": TorchCompiled,
    "keras": Keras,
    "jax": Jax,
    "onnxruntime": Onnx,
}
# Modules that a contender needs.
NEEDED = {
    "torch": ("torch",),
    "torch.compile": ("torch",),
    "keras": ("keras", "jax"),
    "jax": ("jax", "optax"),
    "onnxruntime": ("onnx", "onnxruntime"),
}


class OthersWorker(Worker):
    """Jobs of a cell, or of a whole iteration."""

    def load(self, data: str, cell: str | None = None, seed: int = 0) -> None:
        """Take a file's arrays: for ``cell``, or without one for the iteration."""
        self.jobs.clear()
        with np.load(data) as file:
            arrays = {name: file[name] for name in file.files}
        if cell is not None:
            self.jobs = self.peer.load(cell, arrays)
        elif hasattr(self.peer, "load_iteration"):
            self.jobs = self.peer.load_iteration(arrays)

    def check(self, what: str, out: str) -> float:
        """As ``Worker.check``; of an iteration also the parameters after the first one."""
        found = self.jobs[what]()
        if what == "iteration":
            found |= self.jobs["params"]()
        np.savez(out, **found)
        return self.time(what, 1)[0]

    def can(self, what: str) -> bool:
        """Whether it has such a job now."""
        return what in self.jobs


def main(name: str, threads: str) -> None:
    """Answer requests, as one contender."""
    if hasattr(os, "sched_setaffinity"):  # before any library counts the processors
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(threads)])
    answer(lambda: OthersWorker(CONTENDERS[name](int(threads))))


if __name__ == "__main__":
    main(*sys.argv[1:])
