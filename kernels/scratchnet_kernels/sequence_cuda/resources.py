"""How much of its multiprocessors a persistent kernel takes, by a rule short enough to argue with.

A block owns a few sequences for all of time, so the recurrent matrix W_h has to be where the block
is: in registers and shared memory. Where it does not fit one multiprocessor, the blocks of a
cluster share the sequences, and each has the columns of W_h of U of the H units.

Forward, a step computes for each of a block's G U columns a (G gates) a sum over all units of h';
backward, for each of all units a sum over the block's G U columns of da. Either way that is some
outputs, each with a sum of some terms. Thread r computes one *part* of one output's sum, and has
the weights of its terms.

    registers   65536 for the threads of a block, rounded up to 128, and 255 for one at most. Of
                those, 64 to 92 are not weights: addresses, sums, what is read ahead
    threads     a block on its own has one for each column of W_h; those of a cluster 512, and 256
                from four sequences on, whose sums keep a thread busy without waiting
    blocks      the fewest that fit
    rows        one sequence while there are multiprocessors left, since a step's time grows with
                it; then two, and in a cluster up to eight, which share every weight that is read
    padding     units and terms come in multiples of 4, and weights in shared memory of 16, so that
                it can be read 16 bytes at a time

What the compiler made of it, for an H200 as Numba links there (sm_90a; numba-cuda 0.30, NVVM,
nvJitLink and ptxas 13.0), forward/backward, with the fewest rows of a block and the most: 0 bytes
of stack and 0 spills. The last column are instructions of a time step for each multiply-add of a
thread. ``python tests/sequence_compiled.py table`` prints it. Times on a GPU: not measured.

          H  blocks rows   threads   weights  in regs     regs    shared KB  instr/weight
  LSTM   32       1    1   128/128     32/32    32/32    78/70          0/1       7.6/5.9
  LSTM   32       1    2   128/128     32/32    32/32    78/80          1/3       4.4/3.5
  LSTM   64       1    1   256/256     64/64    64/64  120/128          1/3       4.3/3.5
  LSTM   64       1    2   256/256     64/64    64/64  128/127          3/6       2.8/2.3
  LSTM  128       1    1   512/512   128/128    64/64  126/128      131/134       3.7/3.1
  LSTM  128       1    2   512/512   128/128    32/32    97/96      198/204       2.6/2.3
  LSTM  256       4    1   512/512   128/128    32/32    80/97      196/197       4.4/3.6
  LSTM  256       4    4   256/256   256/256  160/160  242/246      108/108       1.7/1.6
  LSTM  512      16    2   512/512   128/128    32/32    99/98      204/201       3.2/2.5
  LSTM  512      16    4   256/512   256/128   160/32  248/100      116/210       1.8/2.1
  GRU    32       1    1     96/96     32/32    32/32    80/70          0/1       6.1/5.3
  GRU    32       1    2     96/96     32/32    32/32    79/72          1/2       3.7/3.2
  GRU    64       1    1   192/192     64/64    64/64  118/132          1/2       3.7/3.3
  GRU    64       1    2   192/192     64/64    64/64  128/130          2/4       2.4/2.2
  GRU   128       1    1   384/384   128/128    96/96  166/168        50/52       2.6/2.3
  GRU   128       1    2   384/384   128/128    80/80  128/129        77/81       2.2/2.0
  GRU   256       4    1   384/512    128/96    64/32   126/81       99/132       3.6/3.8
  GRU   256       4    2   384/512    128/96    64/32   128/96      103/137       2.5/2.6
  GRU   512      16    2   480/512    104/96    24/32    83/96      161/136       3.2/2.7
  GRU   512      16    4   192/512    256/96   160/32   246/98       91/145       1.7/2.2
  RNN    32       1    1     32/32     32/32    32/32    70/64          0/0       3.4/3.5
  RNN    64       1    1     64/64     64/64    64/64   94/111          0/0       2.4/2.6
  RNN   128       1    1   128/128   128/128  128/128  166/164          1/1       1.8/1.9
  RNN   256       1    1   256/256   256/256  176/176  237/239        83/83       2.0/2.0
  RNN   512       4    1   512/512   128/128    32/32    64/73      198/196       3.5/3.1
  RNN   512       4    2   512/512   128/128    32/32    64/79      204/201       2.4/2.2
"""

from functools import lru_cache
from typing import NamedTuple

from scratchnet.errors import InvalidValueError

REGISTERS = 65536  # of a multiprocessor, on every GPU since 2014
MOST_A_THREAD = 255
THREADS = 1024  # the most a block may have
RESIDENT = 512  # threads of these kernels that fit one multiprocessor together, about
CLUSTERS = (1, 2, 4, 8, 16)  # blocks
LARGEST = 512  # units; of more, no kernel has been compiled


class Device(NamedTuple):
    """What the rule needs to know of a GPU."""

    multiprocessors: int
    shared_bytes: int  # the most that one block may have, where it asks
    cluster: int = 1  # the most blocks of a cluster; 1 where the GPU has no clusters


class Resources(NamedTuple):
    """What one launch takes."""

    blocks: int  # of a cluster; 1 is a block on its own
    units: int  # of a block: U
    rows: int  # sequences of a cluster
    parts: int  # of an output's sum
    threads: int
    in_registers: int  # weights of a thread that are in registers; the others in shared memory
    stride: int  # in shared memory, from the vector (h, da) of one row to that of the next
    across: int  # from the sums of one row to those of the next
    terms: int  # of a part
    shared_bytes: int
    tiles: int = 0  # of 16 outputs, for a warp on tensor cores; 0 for products in float32

    @property
    def weights(self) -> int:
        """Of a thread; the 32 of a warp share those of its tiles."""
        return self.terms * 16 * self.tiles // 32 or self.terms


class Plan(NamedTuple):
    """What the two launches of a training step take."""

    forward: Resources
    backward: Resources


@lru_cache(maxsize=1024)
def resources(gates: int, H: int, N: int, device: Device) -> Plan:
    """The rule, for a cell with so many gates of H units, and N sequences, all runs together.

    Raises ValueError where W_h does not fit, with the numbers of both.
    """
    plan = _first_that_fits(gates, H, N, device)
    if plan is None:
        raise InvalidValueError(_why_not(gates, H, device))
    return plan


def _first_that_fits(gates: int, H: int, N: int, device: Device) -> Plan | None:
    for blocks in CLUSTERS:
        if blocks == 1 or (blocks <= device.cluster and H <= LARGEST):
            for rows in _rows(gates, H, N, blocks, device):
                plan = divide(gates, H, blocks, rows)
                if all(fits(use, device) for use in plan):
                    return plan
    return None


def divide(
    gates: int,
    H: int,
    blocks: int,
    rows: int,
    most: int = MOST_A_THREAD,
    threads: int | None = None,
) -> Plan:
    """The plan for a cluster of so many blocks and sequences, whether it fits or not.

    ``most``: weights that may be in a thread's registers. ``threads``: of a block, about.
    """
    units = up(-(-H // blocks), 4)
    columns, all_units = gates * units, blocks * units
    wanted = threads or (columns if blocks == 1 else 512 if rows <= 2 else 256)
    # registers of a thread that are not weights: where all weights are in registers, and where not
    roomy = 92 if blocks > 1 else 84 if gates > 1 else 64
    tight = 64 if blocks == rows == 1 else roomy

    def one_way(outputs: int, inputs: int, vectors: int, numbers: int) -> Resources:
        parts = max(1, wanted // outputs)
        terms = up(-(-inputs // parts), 4)
        threads = parts * outputs
        registers = min(MOST_A_THREAD, REGISTERS // up(threads, 128) // 8 * 8)
        in_shared = 0
        if terms > min(registers - roomy, most):
            in_shared = min(terms, max(32, up(terms - min(registers - tight, most), 16)))
        stride, in_registers = parts * terms, terms - in_shared
        floats = rows * (vectors * stride + numbers * threads) + in_shared * threads
        split = blocks, units, rows, parts, threads, in_registers, stride, outputs, terms
        return Resources(*split, 4 * floats)

    # In shared memory, for each sequence: forward two h (one is read, one is written) and a number
    # of each thread; backward da and two numbers of each thread.
    return Plan(one_way(columns, all_units, 2, 1), one_way(all_units, columns, 1, 2))


def fits(use: Resources, device: Device) -> bool:
    """Whether a multiprocessor has what a block takes, and the block a thread for each state."""
    return (
        use.rows * use.units <= use.threads <= THREADS
        and use.in_registers > 0
        and use.shared_bytes <= device.shared_bytes
    )


def largest(gates: int, device: Device) -> int:
    """The largest H that fits, as all smaller ones do."""
    H = 0
    while _first_that_fits(gates, H + 1, 1, device):
        H += 1
    return H


def _rows(gates: int, H: int, N: int, blocks: int, device: Device) -> list[int]:
    """How many sequences a cluster may have: what keeps all of them running at once, then fewer."""
    at_once = max(1, device.multiprocessors // blocks)
    if blocks == 1:
        at_once *= max(1, RESIDENT // (gates * up(H, 4)))
    rows, most = 1, 8 if blocks > 1 else 2 if gates > 1 else 1
    while rows < most and rows * at_once < N:
        rows *= 2
    return [r for r in (8, 4, 2, 1) if r <= rows]


def _why_not(gates: int, H: int, device: Device) -> str:
    use = divide(gates, H, 1, 1).forward
    several = f"a cluster of {device.cluster}" if device.cluster > 1 else "one multiprocessor"
    refused = f"W_h (H, {gates} H) with H = {H} does not fit {several}"
    if device.cluster > 1:
        return f"{refused}: the largest H is {largest(gates, device)}"
    if use.threads > THREADS:
        return f"{refused}: {use.threads} threads, but a block has at most {THREADS}"
    in_registers = max(0, use.in_registers) * use.threads * 4 // 1024
    return (
        f"{refused}: besides {in_registers} KB in registers it needs"
        f" {use.shared_bytes // 1024} KB of shared memory, and there are"
        f" {device.shared_bytes // 1024}"
    )


def up(n: int, to: int) -> int:
    """The next multiple."""
    return -(-n // to) * to
