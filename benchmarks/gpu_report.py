"""Expected times of the GPU engines, and how the rows of ``gpu.py`` are judged and printed.

The prediction for ``sequence`` where W_h fits one multiprocessor. A block of threads owns NB =
ceil(B / multiprocessors) sequences for all T steps and keeps the recurrent weights on its
multiprocessor: 64 of a thread's H weights in registers, the rest in shared memory. For G gate
blocks (LSTM 4, GRU 3, RNN 1) a step of one direction needs, in clocks of that multiprocessor,

    multiply   NB G H^2 / 128               128 multiply-adds a clock
    states     NB G H^2 / 128               each warp reads the whole state for each gate,
                                            four floats a clock
    weights    4 G H max(0, H - 64) / 128   bytes of weights in shared memory, 128 a clock, once
                                            for all NB sequences
    latency    700, or 350 when tuned       two barriers and the gate math, with nothing else

A first version does these one after the other, a tuned one overlaps the first three: sum against
maximum. A training step is T steps in both directions, and the products over the whole sequence (x
W_x, dx, dW_x, dW_h) at 40 TFLOP/s.

Where the constants come from: clock, multiprocessors and shared memory of an H200; the two
latencies were chosen once so that the model gives 0.3-0.4 ms (tuned 0.14-0.20) at (100, 64, 64,
128) and 2.8-3.6 ms (tuned 1.2-1.6) at (1000, 32, 8, 128), which is what a count of instructions by
hand had said before anything was measured. They are there to be wrong: a row shows prediction and
measurement side by side.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

Size = tuple[int, int, int, int]  # T steps, B sequences, I inputs, H units
Row = dict[str, Any]

# Estimates by hand of a training step's milliseconds on the GPU, written down before anything was
# measured; (least, most) where it is a range.
ESTIMATES: dict[Size, dict[tuple[str, str], float | tuple[float, float]]] = {
    size: {("lstm", engine): lstm, ("gru", engine): gru, ("lstm", "torch.nn"): cudnn}
    for size, engine, lstm, gru, cudnn in (
        ((100, 64, 64, 32), "sequence", 0.11, 0.10, (0.17, 0.30)),
        ((100, 64, 64, 64), "sequence", 0.14, 0.13, (0.3, 0.5)),
        ((100, 64, 64, 128), "sequence", 0.34, 0.24, (0.9, 1.7)),
        ((100, 64, 64, 256), "sequence", (0.21, 0.26), (0.17, 0.21), (1.6, 3.0)),  # in clusters
        # clusters of 16: a GPU has room for 8 of the 16 at a time
        ((200, 64, 128, 512), "sequence", (2.2, 3.2), (1.8, 2.6), (4.0, 7.0)),
        ((1000, 32, 8, 128), "sequence", 2.35, 1.5, (5.0, 10.0)),
        ((1000, 32, 8, 64), "sequence", 0.81, 0.79, (1.6, 3.0)),
        ((50, 16, 1, 32), "sequence", 0.07, 0.07, (0.06, 0.12)),
    )
}
ESTIMATES[100, 64, 64, 256] |= {
    ("lstm", "sequence_tf32"): (0.16, 0.26),
    ("gru", "sequence_tf32"): (0.14, 0.22),
}
ESTIMATES[200, 64, 128, 512] |= {
    ("lstm", "sequence_tf32"): (0.5, 0.9),
    ("gru", "sequence_tf32"): (0.4, 0.75),
}
# (cell, B, H) -> microseconds of a time step, forward and backward
STEP_US = {("lstm", 64, 128): (1.05, 1.1)}

GATES = {"lstm": 4, "gru": 3, "rnn": 1}
IN_REGISTERS = 64  # weights of a thread
LATENCY_FIRST, LATENCY_TUNED = 700, 350  # clocks a step
POLICIES = ("fp32", "tf32")
SMALL = 128  # units, of the target against PyTorch in float32


class Machine(NamedTuple):
    """What the model knows of a GPU; the defaults are an H200's."""

    multiprocessors: int = 132
    clock_ghz: float = 1.98
    shared_kb: float = 227.0  # a block's, at most
    gemm_tflops: float = 40.0  # exact float32, at the sizes here


H200 = Machine()


def why_not(cell: str, H: int, machine: Machine) -> str | None:
    """Why one multiprocessor cannot hold the recurrent weights for H units; None where it can."""
    gates = GATES[cell]
    shared_kb = 4 * gates * H * max(0, H - IN_REGISTERS) / 1024
    if gates * H > 1024:
        return f"{gates * H} threads, and a block has 1024 at most"
    if shared_kb > machine.shared_kb:
        return (
            f"{shared_kb:.0f} KB of weights in shared memory, and a block has"
            f" {machine.shared_kb:.0f} KB"
        )
    return None


def step_clocks(cell: str, B: int, H: int, machine: Machine) -> tuple[float, float]:
    """Clocks of one step of one direction, first version and tuned: the model's terms."""
    gates, sequences = GATES[cell], -(-B // machine.multiprocessors)
    multiply = states = sequences * gates * H * H / 128
    weights = 4 * gates * H * max(0, H - IN_REGISTERS) / 128
    return (
        multiply + states + weights + LATENCY_FIRST,
        max(multiply, states, weights) + LATENCY_TUNED,
    )


def predict(cell: str, size: Size, machine: Machine = H200) -> Row:
    """Milliseconds of the sequence engine, or the reason why there is no prediction."""
    T, B, I, H = size
    if reason := why_not(cell, H, machine):
        return {"reason": reason}
    # ms for each column of the other factor
    product = 2 * T * B * GATES[cell] * H / (machine.gemm_tflops * 1e9)
    each = step_clocks(cell, B, H, machine)
    first, tuned = (T * clocks / (machine.clock_ghz * 1e6) for clocks in each)
    forward, training = product * I, product * (3 * I + H)
    return {
        "forward": {"first_ms": round(first + forward, 4), "tuned_ms": round(tuned + forward, 4)},
        "training": {
            "first_ms": round(2 * first + training, 4),
            "tuned_ms": round(2 * tuned + training, 4),
        },
    }


def estimate(cell: str, size: Size, contender: str) -> float | tuple[float, float] | None:
    """What ESTIMATES says of a training step, in milliseconds; None where it says nothing."""
    return ESTIMATES.get(size, {}).get((cell, contender))


def name_of(row: Row) -> str:
    """``lstm (100, 64, 64, 128)``."""
    return f"{row['cell']} ({row['T']}, {row['B']}, {row['I']}, {row['H']})"


def find(rows: Iterable[Row], contender: str, policy: str = "fp32") -> dict[str, Row]:
    """The contender's rows with one policy, by cell and size."""
    return {
        name_of(row): row
        for row in rows
        if (row["contender"], row["policy"]) == (contender, policy)
    }


def training_ms(row: Row | None, clock: str) -> float | None:
    """Milliseconds of a training step by the clock "gpu" or "wall"; None if not measured."""
    return float(row["training"][f"{clock}_ms"]) if row and row["status"] == "measured" else None


def targets(rows: list[Row]) -> list[str]:
    """Each target in one line: met, missed and by how much, or not measured."""
    faster = [
        _faster_than_torch(rows, "sequence", policy, f"H <= {SMALL}", lambda H: H <= SMALL)
        for policy in POLICIES
    ]
    tf32 = _faster_than_torch(rows, "sequence_tf32", "tf32", "H >= 256", lambda H: True)
    return [*faster, *_absolute(rows), _wall_close_to_gpu(rows), tf32]


def _verdict(what: str, met: int, misses: list[str], missing: list[str]) -> str:
    """One line of counts, the misses by name and number."""
    if not met and not misses:
        return f"{what}: not measured" + (f" ({len(missing)} sizes)" if missing else "")
    line = f"{what}: met at {met} of {met + len(misses)} sizes measured"
    line += f"; MISSED: {', '.join(misses)}" if misses else ""
    return line + (f"; not measured: {', '.join(missing)}" if missing else "")


def _faster_than_torch(
    rows: list[Row], engine: str, policy: str, sizes: str, counts: Callable[[int], bool]
) -> str:
    """A training step against torch.nn, where H counts, on the GPU's and the wall clock.

    Both must be faster.
    """
    ours = find(rows, engine, policy if engine == "sequence_tf32" else "fp32")
    theirs = find(rows, "torch.nn", policy)
    met, misses, missing = 0, [], []
    for name in (name for name, row in ours.items() if counts(row["H"])):
        times = [
            (training_ms(ours[name], clock), training_ms(theirs.get(name), clock))
            for clock in ("gpu", "wall")
        ]
        ratios = [mine / other for mine, other in times if mine and other]
        if not ratios:
            missing.append(name)
        elif max(ratios) < 1:
            met += 1
        else:
            misses.append(f"{name} {ratios[0]:.2f} (wall {ratios[1]:.2f}) of torch's time")
    return _verdict(f"{engine} faster than torch.nn {policy}, {sizes}", met, misses, missing)


def _absolute(rows: list[Row]) -> Iterator[str]:
    ours = find(rows, "sequence")
    for name, bound in (("lstm (100, 64, 64, 128)", 0.5), ("lstm (1000, 32, 8, 128)", 4.0)):
        what = f"sequence, training step under {bound} ms at {name}"
        took = training_ms(ours.get(name), "gpu")
        if took is None:
            yield f"{what}: not measured"
        elif took < bound:
            yield f"{what}: met, {took:.3f} ms"
        else:
            yield f"{what}: MISSED, {took:.3f} ms, {took / bound:.2f} times the bound"


def _wall_close_to_gpu(rows: list[Row]) -> str:
    """Python's own time must hide behind the GPU's."""
    met, misses, missing = 0, [], []
    for name, row in find(rows, "sequence").items():
        wall, gpu = training_ms(row, "wall"), training_ms(row, "gpu")
        if row["T"] < 100:
            continue
        if not wall or not gpu:
            missing.append(name)
        elif wall <= 1.3 * gpu:
            met += 1
        else:
            misses.append(f"{name} {wall / gpu:.2f}")
    return _verdict("sequence, wall time within 1.3 x GPU time, T >= 100", met, misses, missing)


HEADER = (
    f"{'cell':5s}{'T':>5s}{'B':>4s}{'I':>4s}{'H':>4s} "
    f" {'contender':13s}{'policy':7s}{'forward':>9s}{'wall':>9s}{'training':>10s}{'wall':>9s}"
    f"{'x torch':>9s}{'predicted':>15s}{'error':>9s}  same bits"
)


def line(row: Row, rows: list[Row]) -> str:
    """A row of the table: milliseconds on GPU and wall clock, and the ratio to torch.nn."""
    start = (
        f"{row['cell']:5s}{row['T']:5d}{row['B']:4d}{row['I']:4d}{row['H']:4d} "
        f" {row['contender']:13s}{row['policy']:7s}"
    )
    predicted = (row.get("predicted") or {}).get("training")
    expected = f"{predicted['first_ms']:.2f}-{predicted['tuned_ms']:.2f}" if predicted else ""
    took = training_ms(row, "gpu")
    if took is None:
        also = f" (predicted {expected})" if expected else ""
        return f"{start}{row['status']}: {row['reason']}{also}"
    forward, training = row["forward"], row["training"]
    times = f"{forward['gpu_ms']:9.3f}{forward['wall_ms']:9.3f}"
    times += f"{training['gpu_ms']:10.3f}{training['wall_ms']:9.3f}"
    against = [
        training_ms(find(rows, "torch.nn", policy).get(name_of(row)), "gpu") for policy in POLICIES
    ]
    fastest = min((time for time in against if time), default=None)
    faster = f"{fastest / took:9.2f}" if fastest else f"{'-':>9s}"
    return (
        f"{start}{times}{faster}{expected:>15s}{row['max_error']:9.1e} "
        f" {'yes' if row['repeatable'] else 'no'}"
    )


def table(rows: list[Row]) -> str:
    """All rows, what the columns mean, and the targets."""
    legend = (
        "ms, medians.  forward, training: on the GPU, between two events, the host ahead if it can"
        " be; wall: with the host.\nx torch: training step of the faster of the two torch.nn rows"
        " over this one's.  predicted: first version - tuned.\nerror: largest relative to float64,"
        " of the output and all gradients.  same bits: two runs agree exactly."
    )
    return "\n".join(
        [HEADER, *(line(row, rows) for row in rows), "", legend, "", "Targets", *targets(rows)]
    )
