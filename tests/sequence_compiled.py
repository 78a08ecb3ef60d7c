"""Run by test_cuda.py in a process of its own: every persistent kernel compiled to PTX, without a GPU, and assembled.

    PYTHONPATH=.:kernels:tests python tests/sequence_compiled.py

Prints a line of JSON for each kernel, size and architecture: what it takes of a multiprocessor, by the rule and by ptxas.
"""

import json
import sys

from numba import cuda
from scratchnet_kernels.sequence_cuda import gru, lstm, rnn
from scratchnet_kernels.sequence_cuda.resources import Device, resources

from cuda_compiled import ARCHITECTURES, assembled, find_ptxas

H200 = Device(multiprocessors=132, shared_bytes=227 * 1024)
SIZES = (20, 32, 33, 64, 96, 100, 128, 144, 160, 256, 300)  # H; for each cell those that fit
BATCHES = (16, 1000)  # one sequence a block, and two


def kernels():
    """(name, gates, factory) of every persistent kernel."""
    yield "lstm forward", 4, lstm.forward_kernel
    yield "lstm backward", 4, lstm.backward_kernel
    yield "gru forward", 3, gru.forward_kernel
    yield "gru backward", 3, gru.backward_kernel
    for name in rnn.FORWARD:
        yield f"rnn {name} forward", 1, rnn.FORWARD[name]
        yield f"rnn {name} backward", 1, rnn.BACKWARD[name]


def main():
    ptxas = find_ptxas()
    for name, gates, factory in kernels():
        done = set()
        for H in SIZES:
            for N in BATCHES:
                try:
                    use = resources(gates, H, N, H200)
                except ValueError:
                    continue
                if (H, use) in done:
                    continue
                done.add((H, use))
                made = factory(H, use)
                for cc in ARCHITECTURES if H in (20, 64, 128) else ARCHITECTURES[-1:]:
                    ptx, _ = cuda.compile_ptx(made.function, made.signature.args, cc=cc, launch_bounds=use.threads)
                    row = {"kernel": name, "H": H, **use._asdict(), "cc": cc, "f64": ".f64" in ptx}
                    row["wide_reads"] = ptx.count("ld.shared.v4")
                    print(json.dumps(row | (assembled(ptx, cc, ptxas, name) if ptxas else {})), flush=True)


if __name__ == "__main__":
    sys.exit(main())
