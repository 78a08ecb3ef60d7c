"""Checkpoints: what was saved comes back, and a file that is wrong in any way changes nothing."""

import pickle
import re
import zipfile

import numpy as np
import pytest
from scratchnet.files import archives
from scratchnet.layers import LSTM, RNN, Linear, Sequential
from scratchnet.training import checkpoint


def small_model(rng, dtype=np.float64):
    return Sequential(rec=LSTM(2, 3, rng=rng, dtype=dtype), head=Linear(3, 1, rng=rng, dtype=dtype))


def values(model):
    return {name: p.copy() for name, p in model.params.items()}


def assert_holds(model, expected):
    assert model.params.keys() == expected.keys()
    for name, p in model.params.items():
        np.testing.assert_array_equal(p, expected[name], err_msg=name)


@pytest.mark.parametrize("saved", [np.float32, np.float64])
@pytest.mark.parametrize("loaded", [np.float32, np.float64])
def test_into_the_models_own_arrays_in_its_own_type(rng, tmp_path, saved, loaded):
    model, other = small_model(rng, saved), small_model(rng, loaded)
    arrays = dict(other.params)
    checkpoint.save(model, tmp_path / "model.npz")
    checkpoint.load(other, str(tmp_path / "model.npz"))
    for name, p in other.params.items():
        assert p is arrays[name]
        assert p.dtype == loaded
        np.testing.assert_array_equal(p, model.params[name].astype(loaded))
    assert [path.name for path in tmp_path.iterdir()] == ["model.npz"]


def test_an_interrupted_save_leaves_the_old_checkpoint(rng, tmp_path, monkeypatch):
    path = tmp_path / "model.npz"
    model, other = small_model(rng), small_model(rng)
    checkpoint.save(model, path)

    def half(file, array, **options):
        file.write(b"half an array")
        raise KeyboardInterrupt

    monkeypatch.setattr(np.lib.format, "write_array", half)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(other, path)
    assert [p.name for p in tmp_path.iterdir()] == ["model.npz"]
    checkpoint.load(other, path)
    assert_holds(other, values(model))


# The last parameter of the model, head.b, is the one that is wrong: a load that writes while it checks has changed all others.
WRONG = {
    "shape": (np.ones(2), "head.b in .* is (2,) but the model's head.b is (1,): expected (1,)"),
    "NaN": (np.array([np.nan]), "head.b in .* holds 1 values that are NaN or infinite as float32, of 1"),
    "infinite": (np.array([-np.inf]), "head.b in .* holds 1 values that are NaN or infinite as float32, of 1"),
    "too large": (np.array([1e39]), "head.b in .* holds 1 values that are NaN or infinite as float32, of 1"),
    "complex": (np.array([1 + 1j]), "head.b in .* is complex128 but the model is float32: expected a floating type"),
    "whole": (np.array([1]), "head.b in .* is int64 but the model is float32: expected a floating type"),
    "text": (np.array(["1"]), "head.b in .* is <U1 but the model is float32: expected a floating type"),
    "missing": (None, "missing ['head.b'], not in the model []"),
}


@pytest.mark.parametrize("case", [*WRONG, "unknown"])
def test_a_file_that_does_not_fit_changes_nothing(rng, tmp_path, case):
    model = small_model(rng, np.float32)
    before, arrays = values(model), values(small_model(rng))
    wrong, sentence = WRONG.get(case, (arrays["head.b"], "missing [], not in the model ['head.c']"))
    del arrays["head.b"]
    if wrong is not None:
        arrays["head.b"] = wrong
    if case == "unknown":
        arrays["head.c"] = wrong
    np.savez(tmp_path / "model.npz", **arrays)
    with pytest.raises(ValueError, match=re.escape(sentence).replace(r"\.\*", ".*")):
        checkpoint.load(model, tmp_path / "model.npz")
    assert_holds(model, before)


class Trap:
    """What unpickling this would do: leave a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_a_checkpoint_runs_no_program(rng, tmp_path):
    model = small_model(rng)
    before, sprung = values(model), tmp_path / "sprung"
    trap = np.empty(1, object)
    trap[0] = Trap(sprung)
    np.savez(tmp_path / "model.npz", **{**before, "head.b": trap}, allow_pickle=True)
    with pytest.raises(
        ValueError, match=r"model\.npz is not a checkpoint: expected an \.npz file of plain arrays, but "
    ):
        checkpoint.load(model, tmp_path / "model.npz")
    assert not sprung.exists()
    assert_holds(model, before)


def test_files_that_are_something_else(rng, tmp_path):
    model = small_model(rng)
    before, path = values(model), tmp_path / "model.npz"
    checkpoint.save(model, path)
    whole = path.read_bytes()

    with open(tmp_path / "array.npy", "wb") as file:
        np.save(file, np.ones(3))
    (tmp_path / "text.npz").write_text("rec.W_x_l0 1.0")
    (tmp_path / "pickle.npz").write_bytes(pickle.dumps(before))
    (tmp_path / "empty.npz").write_bytes(b"")
    (tmp_path / "half.npz").write_bytes(whole[: len(whole) // 2])
    for name in ("array.npy", "text.npz", "pickle.npz", "empty.npz", "half.npz"):
        with pytest.raises(ValueError, match=rf"{name} is not a checkpoint: expected a complete \.npz file"):
            checkpoint.load(model, tmp_path / name)

    at = whole.index(before["rec.W_h_l0"].tobytes())
    (tmp_path / "flipped.npz").write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    with pytest.raises(ValueError, match=r"flipped\.npz is not a checkpoint: .* Bad CRC-32"):
        checkpoint.load(model, tmp_path / "flipped.npz")
    with zipfile.ZipFile(tmp_path / "notes.npz", "w") as archive:
        archive.writestr("notes.txt", "not an array")
    with pytest.raises(ValueError, match=r"notes\.npz is not a checkpoint: notes\.txt in it is not an array"):
        checkpoint.load(model, tmp_path / "notes.npz")
    with pytest.raises(FileNotFoundError, match=r"none\.npz"):
        checkpoint.load(model, tmp_path / "none.npz")
    assert_holds(model, before)


# What a file may say of itself, but for the facts of a checkpoint
FORGED = {
    "a list": ([1], "m.npz is not a checkpoint: its 'about' is not one of a checkpoint"),
    "no format": ({}, "m.npz is not a checkpoint: its 'about' is not one of a checkpoint"),
    "format in words": ({"format": "1"}, "m.npz is not a checkpoint: its 'about' is not one of a checkpoint"),
    "format 0": ({"format": 0}, "m.npz is not a checkpoint: its format is 0"),
    "one too new": (
        {"format": checkpoint.FORMAT + 1},
        "it is of format 2, but this version reads up to 1: update scratchnet",
    ),
    "no table": ({"format": 1, "architecture": 3}, "m.npz is damaged: its architecture is "),
    "no pairs": ({"format": 1, "architecture": [["rec"]]}, "m.npz is damaged: its architecture is "),
    "no facts": ({"format": 1, "architecture": [["rec", 5]]}, "m.npz is damaged: its architecture is "),
    "no layers": ({"format": 1, "architecture": []}, "is of a model with the layers [], but this one has [rec, head]"),
}


def test_another_architecture_is_refused_unless_any_will_do(rng, tmp_path):
    relu, tanh = RNN(2, 3, nonlinearity="relu", rng=rng), RNN(2, 3, rng=rng)
    checkpoint.save(relu, tmp_path / "m.npz")
    with pytest.raises(ValueError, match="is of another architecture"):
        checkpoint.load(tanh, tmp_path / "m.npz")
    with (
        archives.opened(tmp_path / "m.npz", "a checkpoint") as archive,
        pytest.raises(ValueError, match="is of another architecture"),
    ):
        checkpoint.fill(tanh, archive)
    checkpoint.load(tanh, tmp_path / "m.npz", any_architecture=True)
    assert_holds(tanh, values(relu))


@pytest.mark.parametrize("case", FORGED)
def test_what_a_file_says_of_itself_is_not_trusted(rng, tmp_path, case):
    about, sentence = FORGED[case]
    model = small_model(rng)
    before = values(model)
    archives.save(tmp_path / "m.npz", values(small_model(rng)), about)
    with pytest.raises(ValueError, match=re.escape(sentence)):
        checkpoint.load(model, tmp_path / "m.npz")
    assert_holds(model, before)
