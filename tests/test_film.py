"""The cell as a figure, and the film of a walk: the numbers that they draw, the frames, and what they refuse."""

import shutil
import subprocess
import time
from itertools import pairwise

import numpy as np
import pytest
import scratchnet
from matplotlib.animation import FFMpegWriter
from matplotlib.figure import Figure
from PIL import Image
from scratchnet import plots
from scratchnet.cells import CELLS
from scratchnet.commands.cli import main
from scratchnet.errors import MissingPackageError
from scratchnet.layers import LSTM, Linear, Recurrent, Sequential
from scratchnet.plots.cell import draw_frame
from scratchnet.plots.equations import equation, filled, number, symbol
from scratchnet.plots.walk import Walk
from scratchnet.tracing.numbers import Numbers
from scratchnet.tracing.order import unit_order

from figures import faults, texts_of


def traced(kind="lstm", T=6, N=2, H=4, backward=True, **options):
    rng = np.random.default_rng(3)
    model = Sequential(rec=Recurrent(kind, 2, H, rng=rng), head=Linear(H, 1, rng=rng))
    for p in model.params.values():
        p += 0.3 * rng.standard_normal(p.shape)
    target = rng.standard_normal((T, N, 1)) if backward else None
    return scratchnet.trace(model, rng.standard_normal((T, N, 2)), target, title=kind.upper(), **options)


TRACE = traced()


def said(figure):
    return [text.get_text() for text, _ in texts_of(figure)]


def test_numbers_are_short_and_keep_their_digits():
    assert [number(v) for v in (0.01825, -2.92e-4, 0.0, -0.0, 12345.6, 1e300, float("nan"), None)] == [
        *("0.0182", "−2.9e−4", "0", "0", "12346", "1.0e300", "nan", "?")
    ]


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_every_wire_and_line_of_every_cell_has_the_traces_numbers(kind, direction):
    """Of each sequence, step and unit; and the gradients on the ways of a value add up to its own."""
    run = traced(kind).run
    for n in (0, 1):
        walk = Walk(run, direction, n, None)
        program, numbers = walk.program, walk.numbers
        assert walk.unit == unit_order(run, n)[0]
        named = program.forward if direction == "forward" else program.backward
        for t in range(run.T):
            for unit in range(run.H):
                for term, at in named.items():
                    array = run[term][1:] if term in run.cell.STATES else run[term]
                    wide = min(unit, array.shape[-1] - 1)
                    assert numbers(at, t, unit) == array[t, n, wide]
                for leaf, before in (
                    (walk.leaf("state", s), s) for s in run.cell.STATES if ("state", s) in program.ops
                ):
                    assert numbers(leaf, t, unit) == run[before][t, n, unit]
        if direction == "backward":
            check_sums(walk)


def check_sums(walk):
    """Along the layout's wires, where the drawing has all readers of a value."""
    sources = {}
    for wire in walk.wires:
        if wire.reader != "loss" and not wire.bus:
            sources.setdefault(wire.source, []).append(wire)
    states = {walk.program.forward[s] for s in walk.run.cell.STATES}
    found = 0
    for u, wires in sources.items():
        total = walk.program.totals.get(u)
        if total is None or u in states or any(w.gradient is None for w in wires) or u not in walk.signs:
            continue
        parts = [walk.numbers(w.gradient, 2, 1) for w in wires]
        assert sum(parts) == pytest.approx(walk.numbers(total, 2, 1), rel=1e-9, abs=1e-15)
        found += 1
    assert found > 0 or walk.run.cell_name == "rnn"


def test_numbers_filled_in_are_those_of_the_symbols():
    numbers, run = Numbers(TRACE.run), TRACE.run
    symbols = "".join(text for text, _ in equation(numbers, "da_f"))
    assert symbols == "$da_{f}$ = $df$ · $f$ · (1 − $f$)"
    value, df, f = (float(run[name][3, 0, 1]) for name in ("da_f", "df", "f"))
    shown = lambda v: f"({number(v)})" if v < 0 else number(v)  # noqa: E731
    expected = f"{number(value, 4)} = {shown(df)} · {shown(f)} · (1 − {shown(f)})"
    assert "".join(text for text, _ in filled(numbers, "da_f", 3, 1)) == expected
    assert value == pytest.approx(df * f * (1 - f), rel=1e-12)
    assert symbol("dc_next", last=True) == r"$dc_{\mathrm{last}}$"


@pytest.mark.parametrize("kind", ["rnn", "lstm", "gru", "lstm_peephole", "sru"])
def test_the_picture_says_step_unit_line_and_numbers(kind):
    trace = traced(kind, N=1)
    run = trace.run
    walk = Walk(run, "backward", 0, None)
    for line in walk.lines[:2]:
        figure = plots.cell(trace, 2, 3, line["terms"][-1])
        words = said(figure)
        assert f"{walk.lines.index(line) + 1} of {len(walk.lines)}: {line['title']}" in words
        assert f"{kind.upper()}, step 2 of 5, unit 3" in words
        assert line["code"][0][1] in " ".join(words)
        for term in line["terms"]:
            assert any(number(float(run[term][2, 0, 3]), 4) in text for text in words), term
        for name in (f"d{s}_next" for s in run.cell.STATES):
            shown = number(float(run[name][2, 0, 3]))
            assert shown in words or float(run[name][2, 0, 3]) == 0
    assert number(float(run["dy"][2, 0, 3])) in words


@pytest.mark.parametrize("direction", ["forward", "backward"])
@pytest.mark.parametrize("kind", ["rnn", "lstm", "gru"])
def test_every_picture_of_a_walk_can_be_read(kind, direction):
    trace = traced(kind, N=1, T=4)
    for t in (0, 3):
        for line in Walk(trace.run, direction, 0, None).lines:
            if line["terms"]:
                figure = plots.cell(trace, t, term=line["terms"][0], walk=direction)
                assert faults(figure) == [], (t, line["title"])


def test_at_the_last_step_the_gradient_is_the_losss_and_not_the_futures():
    rng = np.random.default_rng(0)
    model = Sequential(rec=LSTM(2, 4, return_sequences=False, rng=rng), head=Linear(4, 1, rng=rng))
    trace = scratchnet.trace(model, rng.standard_normal((5, 1, 2)), rng.standard_normal((1, 1)))
    last, before = (said(plots.cell(trace, t)) for t in (4, 3))
    assert r"$dh_{\mathrm{last}}$" in last
    assert r"$dh_{\mathrm{next}}$" not in last
    assert r"$dh_{\mathrm{next}}$" in before


def test_what_the_line_computes_is_lit_and_nothing_else():
    def lit(term):
        return sum(line.get_gid() == "lit" for ax in plots.cell(TRACE, 2, 1, term).axes for line in ax.lines)

    assert lit("dc") > 0
    assert lit("da_f") > 0
    weights = Walk(TRACE.run, "backward", 0, 1)
    figure = Figure(figsize=(10, 5.625))
    draw_frame(figure, weights, 2, next(line for line in weights.lines if "weights" in line))
    assert not any(line.get_gid() == "lit" for ax in figure.axes for line in ax.lines)


def test_the_line_of_the_weights_shows_the_size_of_what_this_step_adds():
    for kind in ("rnn", "lstm", "gru", "lstm_peephole"):
        run = traced(kind, N=1).run
        walk, figure = Walk(run, "backward", 0, 1), Figure(figsize=(10, 5.625))
        draw_frame(figure, walk, 2, next(line for line in walk.lines if "weights" in line))
        words = said(figure)
        for name, norms in run.step_norms.items():
            assert number(float(norms[2])) in words, (kind, name)


def test_a_cell_that_cannot_be_watched_and_arguments_that_do_not_fit(monkeypatch):
    bad = [
        ({"t": 6}, IndexError, "t is 6 but the sequence has 6 steps: expected 0 to 5"),
        ({"t": -1}, IndexError, "t is -1 but the sequence has 6 steps"),
        ({"unit": 4}, IndexError, r"unit is 4 but rec\.l0 has 4 units: expected 0 to 3"),
        ({"sample": 2}, IndexError, r"sample is 2 but rec\.l0 has 2 sequences"),
        ({"t": 1.5}, TypeError, r"t is 1\.5: expected a whole number"),
        ({"t": True}, TypeError, "t is True: expected a whole number"),
        ({"unit": "x"}, TypeError, "unit is 'x': expected a whole number"),
        ({"sample": 0.5}, TypeError, r"sample is 0\.5: expected a whole number"),
        ({"term": "dq"}, ValueError, "no line of this walk computes 'dq': it has dh, "),
        ({"walk": "sideways"}, ValueError, "walk is 'sideways': expected 'forward' or 'backward'"),
    ]
    for arguments, error, message in bad:
        with pytest.raises(error, match=message):
            plots.cell(TRACE, **arguments)
    with pytest.raises(ValueError, match="a walk backward needs gradients"):
        plots.cell(traced(backward=False))
    assert said(plots.cell(traced(backward=False), walk="forward"))
    monkeypatch.setattr("scratchnet.tracing.numbers.program_for", lambda *_: None)
    with pytest.raises(ValueError, match=r"rec\.l0 has no drawing: the code of its cell, lstm"):
        plots.cell(TRACE)


def frames_of(path):
    with Image.open(path) as film:
        return film.n_frames


# ---- the film ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_a_film_has_a_frame_for_each_line_of_each_step(direction, tmp_path):
    """In the order of the walk: the first and last frames are the pictures of the first and last lines."""
    path = plots.film(TRACE, tmp_path / "walk.gif", steps=[1, 2], walk=direction, per_second=4)
    lines = Walk(TRACE.run, direction, 0, None).lines
    with Image.open(path) as film:
        assert (film.n_frames, film.size) == (2 * len(lines), (960, 540))
        assert (film.info["duration"], film.info["loop"]) == (250, 0)
        frames = []
        for k in range(film.n_frames):
            film.seek(k)
            frames.append(np.asarray(film.convert("RGB")).astype(int))
    assert all(np.abs(a - b).max() > 60 for a, b in pairwise(frames))
    for k, t in ((0, 2 if direction == "backward" else 1), (len(lines), 1 if direction == "backward" else 2)):
        figure = plots.cell(TRACE, t, walk=direction)
        figure.set_dpi(96)
        figure.savefig(tmp_path / "one.png", dpi=96)
        with Image.open(tmp_path / "one.png") as image:
            alone = np.asarray(image.convert("RGB")).astype(int)
        assert np.mean(np.abs(frames[k] - alone)) < 4  # 128 colours


def test_a_film_of_sixty_frames_is_quick_and_small(tmp_path):
    """Under 30 s of the processor, because other tests run at the same time, and a few megabytes."""
    began = time.process_time()
    path = plots.film(TRACE, tmp_path / "walk.gif")
    assert frames_of(path) == 60
    assert time.process_time() - began < 30
    assert path.stat().st_size < 3_000_000


def test_mp4_by_ffmpeg_or_a_sentence_of_our_own(tmp_path, monkeypatch):
    if FFMpegWriter.isAvailable():
        path = plots.film(TRACE, tmp_path / "walk.mp4", steps=[2], per_second=2)
        assert path.read_bytes()[4:8] == b"ftyp"
        if shutil.which("ffprobe"):
            count = "stream=nb_read_frames"
            asked = ["ffprobe", "-v", "error", "-count_frames", "-show_entries", count, "-of", "csv=p=0", str(path)]
            done = subprocess.run(asked, capture_output=True, text=True, check=True)
            assert int(done.stdout) == len(Walk(TRACE.run, "backward", 0, None).lines)
    monkeypatch.setattr(FFMpegWriter, "isAvailable", classmethod(lambda _: False))
    with pytest.raises(MissingPackageError, match=r"needs the program ffmpeg, which is not installed"):
        plots.film(TRACE, tmp_path / "none.mp4", steps=[2])
    assert not (tmp_path / "none.mp4").exists()


def test_a_film_refuses_what_does_not_fit(tmp_path):
    for arguments, error, message in (
        ({"path": "a.avi"}, ValueError, r"path is a\.avi: expected a name that ends in \.gif or \.mp4"),
        ({"path": "none/a.gif"}, FileNotFoundError, "there is no folder none"),
        ({"steps": []}, ValueError, "steps is empty"),
        ({"steps": [5, 6]}, IndexError, "t is 6 but the sequence has 6 steps"),
        ({"steps": 3}, TypeError, r"steps is 3: expected time steps, such as range\(3\)"),
        ({"steps": ["1"]}, TypeError, "t is '1': expected a whole number"),
        ({"per_second": "2"}, ValueError, "per_second is '2': expected a number of frames above 0"),
        ({"per_second": float("inf")}, ValueError, "per_second is inf: expected a number"),
        ({"per_second": 0}, ValueError, "per_second is 0: expected a number of frames above 0"),
        ({"unit": 9}, IndexError, "unit is 9"),
    ):
        with pytest.raises(error, match=message):
            plots.film(TRACE, **({"path": tmp_path / "a.gif"} | arguments))
    assert list(tmp_path.iterdir()) == []


def test_the_command_writes_a_film(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    TRACE.save("t.npz")
    options = ["--film", "w.gif", "--walk", "forward", "--steps", "1", "2", "--unit", "3", "--run", "rec.l0"]
    assert main(["view", "t.npz", *options, "--per-second", "2"]) == 0
    assert capsys.readouterr().out == "w.gif\n"
    assert frames_of("w.gif") == 2 * len(Walk(TRACE.run, "forward", 0, None).lines)
    assert not (tmp_path / "t.html").exists()
    for arguments, message in (
        (["--film", "w.gif", "--run", "l7"], "the trace has no run 'l7': it has rec.l0"),
        (["--film", "w.gif", "--run", "rec.l0", "l7"], "a film shows one run: rec.l0 l7 are several"),
        (["--film", "w.gif", "--steps", "4", "9"], "t is 6 but the sequence has 6 steps"),
        (["--film", "w.gif", "--steps", "4", "2"], "--steps is 4 to 2: expected the first one first"),
        (["--film", "w.png"], "expected a name that ends in .gif or .mp4"),
        (["--film", "w.gif", "--out", "a.html"], "--out is of the page: leave it out of a film"),
        (["--per-second", "3"], "--per-second is of a film: give --film FILE too"),
    ):
        assert main(["view", "t.npz", *arguments]) == 1, arguments
        assert message in capsys.readouterr().err
