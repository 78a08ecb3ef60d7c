"""How much of one multiprocessor a persistent kernel takes, by a rule short enough to argue with.

A block owns a few sequences for all of time, so the recurrent matrix W_h has to be where the block
is. Thread r of G H (G gates, H units) needs the H weights of one column: the first ``in_registers``
stay in its registers, the others in shared memory.

    registers   65536 for a block's threads, 255 for one at most; about 64 of them for the rest
    unrolling   a register has no address, so the loop over them must be unrolled, and the compiler
                does that for a limited number of multiply-adds: in_registers * rows <= 128
    rows        one sequence a block while there are multiprocessors left, since a block's time
                per step grows with it; then two, which share every weight in shared memory

What the compiler made of it for sm_90 (numba-cuda 0.30, NVVM and ptxas 13.0): registers a thread,
forward / backward, all with 0 bytes of stack and 0 spills. ``python tests/sequence_compiled.py``
prints it. Times on a GPU: not measured.

  H                          32         64         96        128        144        160        256
  LSTM  in_registers         32         64         96         64         48    does not fit
        registers         64/64    110/116    144/148    114/122      96/96
        shared KB             1          2          3        132        221
  GRU   in_registers         32         64         96        104         80         72  does not fit
        registers         70/62      96/94    136/144    148/155    128/126    121/127
        shared KB             1          2          2         39        111        169
  RNN   in_registers         32         64         96        128        128        128        128
        registers         62/64      92/96    126/128    164/168    162/168    160/166    166/168
        shared KB             0          1          1          1         10         21        130
"""

from typing import NamedTuple

from scratchnet.errors import InvalidValueError

REGISTERS = 65536  # of a multiprocessor, on every GPU since 2014
MOST_A_THREAD = 255
ELSEWHERE = 64  # registers a thread needs besides its weights
UNROLLED = 128
THREADS = 1024  # the most a block may have
RESIDENT = 512  # threads of these kernels that fit one multiprocessor together, about


class Device(NamedTuple):
    """What the rule needs to know of a GPU."""

    multiprocessors: int
    shared_bytes: int  # the most that one block may have, where it asks


class Resources(NamedTuple):
    """What one launch takes."""

    threads: int
    rows: int  # sequences of a block
    in_registers: int  # weights of a thread, of its H, that are in registers
    shared_bytes: int


def resources(gates: int, H: int, N: int, device: Device) -> Resources:
    """The rule, for a cell with so many gates of H units, and N sequences, all runs together.

    Raises ValueError where W_h does not fit one multiprocessor, with the numbers of both.
    """
    threads = gates * H
    if threads > THREADS:
        raise InvalidValueError(
            f"{gates} gates of H = {H} units are {threads} threads, but a block has at most"
            f" {THREADS}"
        )
    at_once = device.multiprocessors * max(1, RESIDENT // threads)  # blocks
    for rows in (2, 1) if gates > 1 and at_once < N else (1,):
        free = min(MOST_A_THREAD, REGISTERS // threads // 8 * 8) - ELSEWHERE
        in_registers = min(H, free // 4 * 4, UNROLLED // rows)
        needed = 4 * (2 * rows * threads + (H - in_registers) * threads)
        if needed <= device.shared_bytes:
            return Resources(threads, rows, in_registers, needed)
    raise InvalidValueError(
        f"W_h (H, {gates} H) with H = {H} does not fit one multiprocessor: besides"
        f" {in_registers * threads * 4 // 1024} KB in registers it needs {needed // 1024} KB of"
        f" shared memory, and there are {device.shared_bytes // 1024}"
    )


def largest(gates: int, device: Device) -> int:
    """The largest H that fits."""

    def fits(H: int) -> bool:
        try:
            resources(gates, H, 1, device)
        except ValueError:
            return False
        return True

    return max((H for H in range(1, THREADS // gates + 1) if fits(H)), default=0)
