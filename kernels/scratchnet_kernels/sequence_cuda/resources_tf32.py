"""What the persistent kernels take of a GPU where their product is on tensor cores (TF32).

As in ``resources.py``, with other shapes. An instruction multiplies for 8 rows, so a cluster always
has 8; in a smaller batch the others are zero. A warp has ``tiles`` tiles of 16 outputs, and the
terms of one part.

    threads     8 warps, or as many as there are states of 8 rows in a block, if those are more
    blocks      the fewest with which all weights are in registers, if the GPU has multiprocessors
                for all clusters at once; else the fewest that fit
    parts       so that a warp has the fewest instructions in a step
    padding     units so that all of them are a multiple of 16; terms in multiples of 16

What the compiler made of it, as in ``resources.py``, by the same command: 0 bytes of stack and 0
spills. ``mma`` is the instruction of the tensor core; one multiplies 4 weights of a thread with all
8 rows. Times on a GPU: not measured.

          H  blocks rows   threads   weights  in regs     regs    shared KB  instr/mma
  LSTM  256       8    8   256/256   128/128  128/128  187/213        21/20   12.3/10.2
  LSTM  256       4    8   512/512   128/128    32/32    92/92      217/216   13.3/11.5
  LSTM  320      16    8   224/256   120/120  120/120  198/250        39/43   14.7/16.1
  LSTM  320       8    8   320/320   160/160    64/64  126/163      146/145   11.0/10.4
  LSTM  384      16    8   256/256   144/144  144/144  216/242        37/27   11.7/10.3
  LSTM  384       8    8   384/384   192/192    64/64  126/162      223/222    10.0/9.5
  LSTM  512      16    8   256/256   256/256  160/160  232/244      133/132     9.1/6.9
  GRU   256       8    8   256/256     96/96    96/96  155/167        29/19   12.3/12.2
  GRU   256       4    8   512/512     96/96    24/32    92/92      185/150   12.9/11.0
  GRU   320      16    8   256/256     80/80    80/80  143/174        25/42   16.8/22.6
  GRU   320       8    8   320/320   128/128    64/64  158/160      121/104    10.8/9.7
  GRU   384      16    8   256/256   120/120  120/120  197/224        46/26   12.7/11.4
  GRU   384       8    8   384/384   144/144    72/48  154/125      151/172    9.2/11.0
  GRU   512      16    8   256/256   192/192  144/160  226/250        93/67     8.2/7.7
  RNN   256       4    8   512/512     32/32    32/32    76/84        25/18   21.9/20.1
  RNN   320       8    8   320/320     56/48    56/48   96/122        25/21   13.6/19.2
  RNN   320       4    8   640/640     40/40      8/8    54/62      111/102   17.9/17.7
  RNN   384       8    8   384/384     48/48    48/48   91/122        31/25   15.6/17.7
  RNN   512      16    8   256/256     64/64    64/64  126/128        37/33   13.8/16.7
"""

from functools import lru_cache

from scratchnet.errors import InvalidValueError
from scratchnet_kernels.sequence_cuda.resources import (
    CLUSTERS,
    LARGEST,
    MOST_A_THREAD,
    REGISTERS,
    Device,
    Plan,
    Resources,
    fits,
    up,
)

SMALLEST = 256  # units; below, W_h in float32 needs few multiprocessors
ROWS = 8  # of an instruction
WARPS = 8
ROOMY = 78  # registers of a thread that are neither weights nor sums


@lru_cache(maxsize=1024)
def resources_tf32(gates: int, H: int, N: int, device: Device) -> Plan:
    """The rule, for a cell with so many gates of H units, and N sequences, all runs together.

    Raises ValueError for another H, or where W_h does not fit.
    """
    if not SMALLEST <= H <= LARGEST:
        raise InvalidValueError(
            f"H is {H}, and the kernels for TF32 are for H from {SMALLEST} to {LARGEST}"
        )
    plans = [divide_tf32(gates, H, blocks) for blocks in CLUSTERS if blocks <= device.cluster]
    plans = [plan for plan in plans if all(fits(use, device) for use in plan)]
    if not plans:
        raise InvalidValueError(
            f"W_h (H, {gates} H) with H = {H} needs a cluster of more than {device.cluster} blocks"
        )
    clusters = -(-N // ROWS)
    for plan in plans:
        at_once = clusters * plan.forward.blocks <= device.multiprocessors
        if at_once and all(use.in_registers == use.weights for use in plan):
            return plan
    return plans[0]


def divide_tf32(
    gates: int, H: int, blocks: int, most: int = MOST_A_THREAD, warps: int | None = None
) -> Plan:
    """The plan for a cluster of so many blocks, whether it fits or not.

    ``most``: weights that may be in a thread's registers. ``warps``: among which the product is
    divided.
    """
    units = up(-(-H // blocks), max(4, 16 // blocks))
    columns, all_units = gates * units, blocks * units
    least = -(-ROWS * units // 32)  # warps: a thread for each state
    working = warps or max(WARPS, least)

    def one_way(outputs: int, inputs: int, vectors: int, numbers: int, apart: int) -> Resources:
        tiles, parts, terms = _jobs(up(outputs, 16) // 16, up(inputs, 16) // 16, working)
        across, stride = up(outputs, 16) + apart, up(parts * terms + 16, 32) - 16
        threads = 32 * max(up(outputs, 16) // 16 // tiles * parts, least)
        weights, sums = terms * tiles // 2, 4 * tiles * (2 if tiles <= 2 else 1)
        registers = min(MOST_A_THREAD, REGISTERS // up(threads, 128) // 8 * 8) - ROOMY - sums
        in_shared = 0
        if weights > min(registers, most):
            in_shared = up(weights - min(registers, most), 8 * tiles * piece_of(tiles))
        in_registers = weights - in_shared
        floats = ROWS * (vectors * stride + numbers * parts * across) + in_shared * threads
        split = blocks, units, ROWS, parts, threads, in_registers, stride, across, terms
        return Resources(*split, 4 * floats, tiles)

    # Forward, threads of a warp write the sums of different rows: 4 apart, in different banks.
    return Plan(one_way(columns, all_units, 2, 1, 4), one_way(all_units, columns, 1, 2, 0))


def piece_of(tiles: int) -> int:
    """How often 16 terms of weights in shared memory are multiplied in one turn of the loop."""
    return max(1, 4 // tiles)


def _jobs(tiles: int, sixteens: int, warps: int) -> tuple[int, int, int]:
    """Tiles of a warp, parts and terms, for so many tiles of outputs and times 16 terms."""
    found = []
    for tall in range(1, tiles + 1):
        if tiles % tall == 0 and tiles // tall <= warps:
            parts = min(warps // (tiles // tall), sixteens)
            each = -(-sixteens // parts)
            parts = -(-sixteens // each)  # none is without terms
            # its sums cost a tile about as much as 16 terms do: they are stored, or sent
            found.append((tall * (each + 1), parts, tall, each))
    _, parts, tall, each = min(found)
    return tall, parts, 16 * each
