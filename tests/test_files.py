"""Files are written as a whole or not at all, and what is loaded is not trusted."""

import ast
import contextlib
import io
import json
import os
import re
import resource
import stat
import subprocess
import sys
import threading
import tracemalloc
import zipfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import scratchnet
from matplotlib.figure import Figure
from scratchnet import files
from scratchnet.cells import variants
from scratchnet.errors import FileWriteError, ScratchnetError
from scratchnet.files import archives
from scratchnet.files.writing import replace
from scratchnet.forecasting import Direct, EncodeDecode, load_forecaster
from scratchnet.forecasting.network import ForecastConfig
from scratchnet.layers import GRU, LSTM, RNN, BatchNorm1d, Linear, Recurrent, Sequential, Tanh
from scratchnet.training import History, checkpoint
from scratchnet.view.page import page

ROOT = Path(__file__).parent.parent


def names(folder):
    return sorted(path.name for path in folder.iterdir())


# ---- the writer -----------------------------------------------------------------------------------------------------------


def ended(path, exception):
    """Raise within ``replace``; returns the files that were there then."""
    seen = []
    with contextlib.suppress(exception), replace(path, text=True) as file:
        file.write("new")
        file.flush()
        seen += names(path.parent)
        raise exception
    return [re.sub(r"[0-9a-f]{16}", "*", name) for name in seen]


@pytest.mark.parametrize("exception", [KeyboardInterrupt, ValueError, SystemExit])
def test_what_ends_the_block_leaves_the_old_file_and_nothing_else(tmp_path, exception):
    path = tmp_path / "a.txt"
    path.write_text("old")
    assert ended(path, exception) == [".a.txt.*.tmp", "a.txt"]
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]
    ended(tmp_path / "b.txt", exception)
    assert names(tmp_path) == ["a.txt"]


def test_a_file_that_is_named_like_an_unfinished_one_is_nobodys_business(tmp_path):
    """The names that were once used, as files and as links to somebody else's file."""
    model, target = Linear(2, 1, rng=np.random.default_rng(0)), tmp_path / "somebody's.txt"
    target.write_text("theirs")
    (tmp_path / "b.unfinished.npz").write_text("mine")
    (tmp_path / "c.unfinished.npz").symlink_to(target)
    for name in ("b.npz", "c.npz"):
        checkpoint.save(model, tmp_path / name)
    assert (tmp_path / "b.unfinished.npz").read_text() == "mine"
    assert (tmp_path / "c.unfinished.npz").is_symlink()
    assert target.read_text() == "theirs"


def test_no_temporary_file_is_taken_from_another(tmp_path, monkeypatch):
    """Where the random name exists, as a file or a link, it is an error, and both stay."""
    monkeypatch.setattr("secrets.token_hex", lambda n: "0")
    theirs, mine = tmp_path / "theirs", tmp_path / "a.txt"
    theirs.write_text("theirs")
    for make in (lambda p: p.write_text("x"), lambda p: p.symlink_to(theirs)):
        planted = tmp_path / ".a.txt.0.tmp"
        make(planted)
        with pytest.raises(FileWriteError, match=r"a\.txt was not written: File exists"), replace(mine):
            raise AssertionError("never")
        assert planted.is_symlink() or planted.read_text() == "x"
        planted.unlink()
    assert theirs.read_text() == "theirs"
    assert not mine.exists()


def test_links_stay_links(tmp_path):
    folder, link, path = tmp_path / "there", tmp_path / "link.txt", tmp_path / "there" / "a.txt"
    folder.mkdir()
    link.symlink_to(Path("there", "a.txt"))
    for text in ("first", "second"):  # a link to no file yet, and to one
        files.write_text(link, text)
        assert link.is_symlink()
        assert path.read_text() == text
    assert names(folder) == ["a.txt"]
    assert names(tmp_path) == ["link.txt", "there"]
    circle = tmp_path / "circle"
    circle.symlink_to(circle)
    with pytest.raises(FileWriteError, match="circle was not written: Too many levels of symbolic links"):
        files.write_text(circle, "x")
    assert circle.is_symlink()


@pytest.mark.parametrize("name", ["a" * 255, "я" * 127, "😀" * 63, "a b'\"\n.txt", "-rf"])
def test_every_name_that_the_system_takes(tmp_path, name):
    for text in ("first", "second"):
        files.write_text(tmp_path / name, text)
        assert (tmp_path / name).read_text() == text
        assert names(tmp_path) == [name]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o755])
def test_permissions_are_kept_and_new_files_get_the_usual_ones(tmp_path, mode):
    path, new, usual = tmp_path / "a.txt", tmp_path / "new.txt", tmp_path / "usual.txt"
    path.write_text("old")
    path.chmod(mode)
    before = os.umask(0o027)
    try:
        for each in (path, new):
            files.write_text(each, "x")
        usual.write_text("x")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert stat.S_IMODE(new.stat().st_mode) == stat.S_IMODE(usual.stat().st_mode) == 0o640


def test_what_cannot_be_replaced_is_said_before_anything_is_written(tmp_path, monkeypatch):
    (tmp_path / "folder").mkdir()
    locked = tmp_path / "locked.txt"
    locked.write_text("old")
    locked.chmod(0o444)
    # root may write everything; the question is the one that is asked of the system
    monkeypatch.setattr(os, "access", lambda path, mode: bool(os.stat(path).st_mode & 0o200))
    for name, reason in (("folder", "Is a directory"), ("locked.txt", "Permission denied")):
        with pytest.raises(FileWriteError, match=f"{name} was not written: {reason}") as caught:
            files.write_text(tmp_path / name, "new")
        assert (caught.value.filename, caught.value.strerror) == (str(tmp_path / name), reason)
    with pytest.raises(FileNotFoundError, match=r"x\.txt: there is no folder .*none: make it first") as caught:
        files.write_text(tmp_path / "none" / "x.txt", "new")
    assert isinstance(caught.value, ScratchnetError)
    assert names(tmp_path) == ["folder", "locked.txt"]
    assert locked.read_text() == "old"


def test_pipes_and_devices_are_written_to_and_stay(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    files.write_text(pipe, "through")
    reader.join()
    assert read == ["through"]
    assert pipe.is_fifo()
    program = "from scratchnet.training import History; History(epochs=[{'a': 1.0}]).to_csv('/dev/stdout')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.splitlines() == ["epoch,a", "0,1.0"]


@contextmanager
def no_file_larger_than(size):
    """As on a full disk: a write beyond it fails (EFBIG in place of ENOSPC)."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def saves(tmp_path):
    """Every kind of file: how a first and a second version are written to a path of the folder."""
    rngs = [np.random.default_rng(seed) for seed in (0, 1)]
    layers = [LSTM(2, 8, rng=rng) for rng in rngs]
    traces = [scratchnet.trace(layer, np.ones((9, 3, 2)), dy=np.ones((9, 3, 8))) for layer in layers]
    forecasters = []
    for rng in rngs:
        config = ForecastConfig(epochs=1, window=3, units=8)
        forecasters.append(Direct(config, 1).fit(rng.standard_normal((40, 1))))
    figures = [Figure(), Figure()]
    figures[1].add_subplot().plot(range(9))
    histories = [History(epochs=[{"loss": rng.random()} for _ in range(300)]) for rng in rngs]
    return {
        "a.npz": [lambda p, t=t: t.save(p) for t in traces],
        "b.npz": [lambda p, m=m: checkpoint.save(m, p) for m in layers],
        "model.npz": [lambda p, f=f: f.save(p.parent) for f in forecasters],
        "history.csv": [lambda p, h=h: h.to_csv(p) for h in histories],
        "page.html": [lambda p, t=t: scratchnet.to_html(t, p) for t in traces],
        "figure.png": [lambda p, f=f: files.save_figure(f, p) for f in figures],
    }


def test_a_full_disk_leaves_the_old_file_and_names_the_new_one(tmp_path):
    for name, (first, second) in saves(tmp_path).items():
        path = tmp_path / name
        first(path)
        old = path.read_bytes()
        for room in (0, 100, len(old) // 2):
            message = rf"{name} was not written: File too large; a file that was there is unchanged"
            with pytest.raises(FileWriteError, match=message), no_file_larger_than(room):
                second(path)
            assert path.read_bytes() == old
            assert [n for n in names(tmp_path) if n.endswith(".tmp")] == []
        second(path)
        assert path.read_bytes() != old
    with pytest.raises(FileWriteError, match="/dev/full was not written: No space left on device"):
        files.write_text("/dev/full", "x")


def test_a_full_disk_is_a_sentence_on_the_command_line(tmp_path):
    program = (
        "import resource, sys; from scratchnet.commands.cli import main\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
        "sys.exit(main(['train', '--epochs', '1', '--out', sys.argv[1]]))"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 1
    said = done.stderr.splitlines()[-1]  # of the training's state, where an epoch took long enough to save it
    assert re.match(
        rf"scratchnet: {re.escape(str(tmp_path))}/(model|training)\.npz was not written: File too large", said
    )


def test_equal_contents_are_equal_bytes(tmp_path):
    for name, (first, _) in saves(tmp_path).items():
        path = tmp_path / name
        first(path)
        whole = path.read_bytes()
        path.unlink()
        first(path)
        assert path.read_bytes() == whole, name


def run_kills(folder, kind, count, seed=0):
    folder.mkdir()
    script = [sys.executable, str(ROOT / "tests" / "kill_saves.py"), kind, str(count), str(seed)]
    path = os.pathsep.join([str(ROOT), str(ROOT / "kernels")])
    environment = {**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(script, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return int(re.search(r"(\d+) (?:lost|failed)", done.stdout)[1]), done.stdout + done.stderr


KILLED = ["trace", "checkpoint", "forecaster", "training", "history", "page", "figure", "journal"]


@pytest.mark.parametrize("kind", KILLED)
def test_a_kill_at_any_moment_loses_nothing(kind, tmp_path):
    lost, said = run_kills(tmp_path / "here", kind, 6)
    assert lost == 0, said


@pytest.mark.slow
@pytest.mark.parametrize("kind", KILLED)
def test_a_thousand_kills_lose_nothing(kind, tmp_path):
    """125 of each of eight kinds."""
    lost, said = run_kills(tmp_path / "here", kind, 125, seed=1)
    assert lost == 0, said


def test_the_kills_find_a_writer_that_loses(tmp_path):
    lost, _ = run_kills(tmp_path / "here", "in place", 12)
    assert lost > 0


@pytest.mark.parametrize("loads", [150, pytest.param(3000, marks=pytest.mark.slow)])
def test_two_writers_to_one_path_fail_no_reader(loads, tmp_path):
    failed, said = run_kills(tmp_path / "here", "two writers", loads)
    assert failed == 0, said


# ---- no other writer ------------------------------------------------------------------------------------------------------

WRITES = {"write_text", "write_bytes", "savefig", "savez", "savez_compressed", "tofile", "savetxt", "dump"}
PACKAGES = [ROOT / "scratchnet", ROOT / "kernels" / "scratchnet_kernels"]


def writes_in(tree):
    """Calls that write to a file: by the name of the function, or ``open`` with a mode that writes."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        given = [*node.args, *(k.value for k in node.keywords if k.arg == "mode")]
        modes = [a.value for a in given if isinstance(a, ast.Constant) and isinstance(a.value, str)]
        opens = called == "open" and any(re.fullmatch(r"[rbt]*[wax+][rbt+]*", mode) for mode in modes)
        named = isinstance(node.func, ast.Attribute) and called in WRITES
        if (
            opens
            or (named and not ast.unparse(node.func).startswith("files."))
            or ast.unparse(node.func) in ("np.save", "os.replace", "os.rename")
        ):
            yield f"{called} in line {node.lineno}"


def test_every_file_goes_through_the_writer():
    known = {
        "files/writing.py",  # the writer
        "files/archives.py",  # members of an archive whose file the writer has opened
        "plots/style.py",  # a figure in memory
        "search.py",  # the lock on the journal, which drops half a line
    }
    found = {}
    for package in PACKAGES:
        for path in package.rglob("*.py"):
            name = path.relative_to(package).as_posix()
            calls = list(writes_in(ast.parse(path.read_text(encoding="utf-8"))))
            if calls and name not in known:
                found[name] = calls
    assert found == {}
    planted = "open(p, 'w'); p.open(mode='ab'); q.write_text('x'); np.savez(f); np.save(f, a); open(p, 'r+b')"
    assert len(list(writes_in(ast.parse(planted)))) == 6
    assert list(writes_in(ast.parse("open(p); open(p, 'rb'); replace(p, text=True)"))) == []


# ---- archives: what is loaded is not trusted ------------------------------------------------------------------------------


def npy(array=None, header=None, data=b""):
    """The bytes of a member: of an array, or with a header of our own."""
    file = io.BytesIO()
    if array is not None:
        np.lib.format.write_array(file, array)
        return file.getvalue()
    text = header.encode().ljust(118 - 1) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data


def write_zip(path, members, **options):
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, content in members:
            archive.writestr(name, content)


HUGE = "{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000000,), }"
CLAIMS = {
    "10^15 numbers": (("W.npy", npy(header=HUGE, data=b"\0" * 64)), "claims the shape .* but holds 64 bytes"),
    "10^15 texts without length": (("W.npy", npy(header=HUGE.replace("<f8", "<U0"))), "is of type <U0"),
    "fewer than none": (
        ("W.npy", npy(header=HUGE.replace("(1000000000000000,)", "(-2, -4)"), data=b"\0" * 64)),
        r"claims the shape \(-2, -4\)",
    ),
    "a longer array": (("W.npy", npy(np.ones(3)) + b"\0" * 8), "claims the shape .* but holds 32 bytes"),
    "objects": (("W.npy", npy(header=HUGE.replace("<f8", "|O"))), "is of type object"),
    "a header of 60 kB": (
        ("W.npy", b"\x93NUMPY\x02\x00" + (60_000).to_bytes(4, "little") + b" " * 60_000),
        "header of an unknown version",
    ),
    "no header": (("W.npy", b""), "expected an .npz file of plain arrays, but"),
    "a program": (("W.npy", npy(header="__import__('os').getpid()")), "expected an .npz file of plain arrays, but"),
    "deep brackets": (("W.npy", npy(header="[" * 100)), "expected an .npz file of plain arrays, but"),
    "text": (("README", b"hello"), "README in it is not an array"),
}


@pytest.mark.parametrize("case", CLAIMS)
def test_headers_are_compared_with_what_is_there(case, tmp_path):
    member, message = CLAIMS[case]
    path = tmp_path / "m.npz"
    write_zip(path, [("b.npy", npy(np.ones(1))), member])
    for load in (
        lambda: checkpoint.load(Linear(2, 1, rng=np.random.default_rng(0)), path),
        lambda: scratchnet.load_trace(path),
    ):
        with pytest.raises(ValueError, match=message) as caught:
            load()
        assert isinstance(caught.value, ScratchnetError)
        assert "m.npz is not a " in str(caught.value)


@pytest.mark.parametrize("kind", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("array", [np.ones((2, 1)), np.ones((0, 3))])
def test_the_checksum_is_compared(kind, array, tmp_path):
    """Also where the bytes fit the header: with the numbers that were written, and another sum beside them."""
    path = tmp_path / "m.npz"
    write_zip(path, [("W.npy", npy(array))], compression=kind)
    with zipfile.ZipFile(path) as file:
        crc = file.getinfo("W.npy").CRC.to_bytes(4, "little")
    whole = path.read_bytes()
    assert whole.count(crc) >= 2
    path.write_bytes(whole.replace(crc, bytes([crc[0] ^ 1]) + crc[1:]))
    with (
        pytest.raises(ValueError, match=r"m\.npz is not a file: .*Bad CRC-32"),
        archives.opened(path, "a file") as archive,
    ):
        archive["W"]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_odd_archives_are_refused(tmp_path):
    path, model = tmp_path / "m.npz", Linear(2, 1, rng=np.random.default_rng(0))
    write_zip(path, [("W.npy", npy(np.ones((2, 1)))), ("b.npy", npy(np.ones(1))), ("b.npy", npy(np.ones(1)))])
    with pytest.raises(ValueError, match="b is in it twice"):
        checkpoint.load(model, path)
    write_zip(path, [("W.npy", npy(np.ones((2, 1)))), ("b.npy", npy(np.ones(1)))], compression=zipfile.ZIP_LZMA)
    with pytest.raises(ValueError, match="W in it is compressed in an unknown way"):
        checkpoint.load(model, path)
    for about in ("[]", "1", '{"format": 0}', '{"format": "1"}', "[" * 100_000, "{"):
        archives.save(path, model.params, None)
        arrays = {"W": model.params["W"], "b": model.params["b"]}
        write_zip(path, [(f"{name}.npy", npy(array)) for name, array in {**arrays, "about": np.array(about)}.items()])
        with pytest.raises(ValueError, match=r"m\.npz is not a checkpoint"):
            checkpoint.load(model, path)
    archives.save(path, model.params, {"format": checkpoint.FORMAT + 1})
    with pytest.raises(ValueError, match="it is of format 2, but this version reads up to 1: update scratchnet"):
        checkpoint.load(model, path)
    os.remove(path)
    os.mkfifo(path)
    for load in (lambda: checkpoint.load(model, path), lambda: scratchnet.load_trace(path)):
        with pytest.raises(ValueError, match="expected a regular file"):
            load()  # a pipe would be waited for
    with pytest.raises(ValueError, match="an array is named 'about': this name is for the facts"):
        archives.save(tmp_path / "n.npz", {"about": np.ones(1)}, {})


def test_what_is_not_wanted_is_not_decompressed(tmp_path):
    """A member of 200 MB in 200 kB: of another name it is refused, beside ``only`` it is left, and memory stays small."""
    path, model = tmp_path / "m.npz", Linear(2, 1, rng=np.random.default_rng(0))
    members = [("W.npy", npy(np.ones((2, 1)))), ("b.npy", npy(np.ones(1)))]
    size = 25_000_000
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, content in members:
            archive.writestr(name, content)
        with archive.open("bomb.npy", "w", force_zip64=True) as member:
            member.write(npy(header=f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({size},), }}"))
            for _ in range(size // 250_000):
                member.write(bytes(2_000_000))
    assert path.stat().st_size < 2_000_000
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"not in the model \['bomb'\]"):
            checkpoint.load(model, path)
        checkpoint.load(model, path, only="*")
        with pytest.raises(ValueError, match="has no 'about'"):
            scratchnet.load_trace(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 * size / 100


# ---- a checkpoint knows its architecture ----------------------------------------------------------------------------------


def pairs_of_equal_shapes():
    rng = np.random.default_rng(0)
    made = {
        f"{label}{' batch first' * first}": Recurrent(
            label.split()[0], 3, 3, rng=rng, options=options, batch_first=first
        )
        for label, _, options in variants()
        for first in (False, True)
    }
    for one, layer in made.items():
        for other, twin in made.items():
            if one != other and layer.shapes == twin.shapes:
                yield pytest.param(layer, twin, id=f"{one} into {other}")


@pytest.mark.parametrize(("layer", "twin"), list(pairs_of_equal_shapes()))
def test_weights_of_another_architecture_are_refused_though_they_fit(layer, twin, tmp_path):
    checkpoint.save(layer, tmp_path / "m.npz")
    before = {name: p.copy() for name, p in twin.params.items()}
    with pytest.raises(ValueError, match=r"is of another architecture: \w+ of the model is .* any_architecture=True"):
        checkpoint.load(twin, tmp_path / "m.npz")
    np.testing.assert_equal(dict(twin.params), before)
    checkpoint.load(twin, tmp_path / "m.npz", any_architecture=True)
    np.testing.assert_equal(dict(twin.params), dict(layer.params))


def net(rng, rec=LSTM, head=Linear, **options):
    return Sequential(rec=rec(2, 3, rng=rng, batch_first=True, **options), act=Tanh(), head=head(3, 1, rng=rng))


def test_what_does_not_change_the_computation_may_differ(rng, tmp_path):
    checkpoint.save(net(rng), tmp_path / "m.npz")
    for options in ({"engine": "array"}, {"threads": 1}, {"dropout": 0.5}):
        checkpoint.load(net(rng, **options), tmp_path / "m.npz")
    checkpoint.load(net(rng, lambda *a, **k: Recurrent("lstm", *a, **k)), tmp_path / "m.npz")
    with pytest.raises(ValueError, match="return_sequences of rec is True there but False in the model"):
        checkpoint.load(net(rng, return_sequences=False), tmp_path / "m.npz")


def test_order_and_kinds_of_layers_are_compared_and_only_compares_its_own(rng, tmp_path):
    checkpoint.save(net(rng), tmp_path / "m.npz")
    one = Sequential(rec=LSTM(2, 3, rng=rng, batch_first=True), head=Linear(3, 1, rng=rng))
    with pytest.raises(
        ValueError, match=r"is of a model with the layers \[rec, act, head\], but this one has \[rec, head\]"
    ):
        checkpoint.load(one, tmp_path / "m.npz")
    checkpoint.load(one, tmp_path / "m.npz", only="rec.*")
    relu = Sequential(rec=RNN(2, 3, "relu", rng=rng), head=Linear(3, 2, rng=rng))
    tanh = Sequential(rec=RNN(2, 3, rng=rng), head=Linear(3, 1, rng=rng))
    checkpoint.save(relu, tmp_path / "r.npz")
    with pytest.raises(ValueError, match=r"options of rec is \{'nonlinearity': 'relu'\} there"):
        checkpoint.load(tanh, tmp_path / "r.npz", only="rec.*")
    swapped = Sequential(a=Linear(2, 2, rng=rng), b=Linear(2, 2, rng=rng))
    checkpoint.save(swapped, tmp_path / "s.npz")
    with pytest.raises(ValueError, match=r"with the layers \[a, b\], but this one has \[b, a\]"):
        checkpoint.load(Sequential(b=Linear(2, 2, rng=rng), a=Linear(2, 2, rng=rng)), tmp_path / "s.npz")


def test_an_older_file_has_no_architecture_and_none_is_compared(rng, tmp_path):
    model, other = net(rng), net(rng)
    np.savez(tmp_path / "old.npz", **model.params)
    checkpoint.load(other, tmp_path / "old.npz")
    np.testing.assert_equal(dict(other.params), dict(model.params))


def test_buffers_are_saved_and_loaded(rng, tmp_path):
    model, other = (Sequential(norm=BatchNorm1d(2), head=Linear(2, 1, rng=rng)) for _ in range(2))
    model.forward(rng.standard_normal((9, 2)) + 3, training=True)
    checkpoint.save(model, tmp_path / "m.npz")
    assert not np.array_equal(other.buffers["norm.running_mean"], model.buffers["norm.running_mean"])
    checkpoint.load(other, tmp_path / "m.npz")
    np.testing.assert_equal(dict(other.buffers), dict(model.buffers))


# ---- damage ---------------------------------------------------------------------------------------------------------------

WRONG = [None, True, -1, 0, 3, 1e99, 10**30, "", "x", "gru", [], ["x"], [[0, ""]], {}, {"x": 1}]


def leaves(tree, path=()):
    """The path of every value within lists and dicts, the whole first."""
    yield path
    inner = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in inner:
        yield from leaves(value, (*path, key))


def changed(tree, path, value):
    """A copy with another value there; ``...`` removes it."""
    if not path:
        return value
    copy = dict(tree) if isinstance(tree, dict) else list(tree)
    inner = changed(tree[path[0]], path[1:], value)
    if inner is ...:
        del copy[path[0]]
    else:
        copy[path[0]] = inner
    return copy


def uses(tmp_path):
    """Kinds of files: the path, how it is written, and how it is loaded and used."""
    rng = np.random.default_rng(0)
    model = Sequential(a=LSTM(2, 3, rng=rng, bidirectional=True), b=GRU(6, 2, rng=rng), head=Linear(2, 1, rng=rng))
    x = rng.standard_normal((5, 2, 2))
    trace = scratchnet.trace(model, x, np.zeros((5, 2, 1)), labels="abcde", lengths=[5, 3])
    trace.save(tmp_path / "trace.npz")
    checkpoint.save(model, tmp_path / "checkpoint.npz")
    values = rng.standard_normal((40, 1))
    for name, kind in (("direct", Direct), ("decode", EncodeDecode)):
        (tmp_path / name).mkdir()
        kind(ForecastConfig(epochs=1, window=3, units=2), 2).fit(values).save(tmp_path / name)

    def look(path):
        loaded = scratchnet.load_trace(path)
        str(loaded)
        page(loaded)

    return {
        "trace": (tmp_path / "trace.npz", look),
        "checkpoint": (tmp_path / "checkpoint.npz", lambda p: checkpoint.load(model, p)),
        "direct": (tmp_path / "direct" / "model.npz", lambda p: load_forecaster(p.parent).predict(values)),
        "decode": (tmp_path / "decode" / "model.npz", lambda p: load_forecaster(p.parent).predict(values)),
    }


KINDS = ["trace", "checkpoint", "direct", "decode"]


@pytest.mark.underflows
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of a scale of 1e99
@pytest.mark.parametrize("count", [3, pytest.param(len(WRONG), marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", KINDS)
def test_any_wrong_fact_is_refused_or_harmless(kind, count, tmp_path):
    """Every value of the JSON text replaced by others, and removed: the library's error, or all works."""
    path, use = uses(tmp_path)[kind]
    use(path)
    with archives.opened(path, "a file") as archive:
        about, arrays = archive.about, {name: archive[name] for name in archive.shapes}
    refused, rng = 0, np.random.default_rng(0)
    for place in leaves(about):
        chosen = [WRONG[k] for k in rng.permutation(len(WRONG))[:count]]
        for value in (*chosen, ...):
            if value is ... and not place:
                continue
            archives.save(path, arrays, changed(about, place, value))
            try:
                use(path)
            except ScratchnetError:
                refused += 1
            except Exception as error:
                raise AssertionError(f"{place} = {value!r}: {error!r}") from error
    assert refused > 20


@pytest.mark.parametrize("kind", KINDS)
def test_any_missing_or_other_array_is_refused_or_harmless(kind, tmp_path):
    path, use = uses(tmp_path)[kind]
    with archives.opened(path, "a file") as archive:
        about, arrays = archive.about, {name: archive[name] for name in archive.shapes}
    refused = 0
    for name, array in arrays.items():
        others = [
            array[..., None],
            array[:0],
            array.astype(complex),
            array.astype(str),
            np.zeros(()),
            array.ravel()[:1],
        ]
        for other in (None, *others):
            members = {**arrays, name: other}
            if other is None:
                del members[name]
            archives.save(path, members, about)
            try:
                use(path)
            except ScratchnetError:
                refused += 1
            except Exception as error:
                raise AssertionError(f"{name}: {np.shape(other)}: {error!r}") from error
    assert refused > 5 * len(arrays)


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_bytes_are_refused_or_harmless(kind, tmp_path):
    path, use = uses(tmp_path)[kind]
    whole, rng, refused = path.read_bytes(), np.random.default_rng(0), 0
    for turn in range(150):
        at, count = int(rng.integers(len(whole))), int(rng.integers(1, 40))
        bytes_ = rng.bytes(count) if turn % 2 else bytes(count)
        path.write_bytes(whole[:at] if turn % 5 == 0 else whole[:at] + bytes_ + whole[at + count :])
        try:
            use(path)
        except ScratchnetError:
            refused += 1
    assert refused > 100


def test_settings_beyond_the_file_make_no_network(tmp_path):
    """A forecaster that claims ten million units is refused before an array is made."""
    values = np.random.default_rng(0).standard_normal((40, 1))
    for model in ("mlp", "gru"):
        Direct(ForecastConfig(model=model, epochs=1, window=3, units=2), 2).fit(values).save(tmp_path)
        with archives.opened(tmp_path / "model.npz", "a file") as archive:
            about, arrays = archive.about, {name: archive[name] for name in archive.shapes}
        for wrong in ({"units": 10**7}, {"layers": 10**7}, {"window": 10**9} if model == "mlp" else {"units": 10**4}):
            facts = about["forecaster"] | wrong
            archives.save(tmp_path / "model.npz", arrays, about | {"forecaster": facts})
            tracemalloc.start()
            try:
                with pytest.raises(ValueError, match=r"its settings need \d+ numbers or more, but the file holds \d+"):
                    load_forecaster(tmp_path)
                assert tracemalloc.get_traced_memory()[1] < 10**6
            finally:
                tracemalloc.stop()


def test_the_facts_are_json(tmp_path):
    """So that other programs can read them."""
    checkpoint.save(Linear(2, 1, rng=np.random.default_rng(0)), tmp_path / "m.npz", {"mine": [1]})
    with np.load(tmp_path / "m.npz") as archive:
        about = json.loads(str(archive["about"]))
    assert about["mine"] == [1]
    assert about["architecture"] == [["", {"kind": "Linear"}]]
