"""Run by test_cuda.py in a process of its own: every persistent kernel of a cell compiled, assembled, linked and counted.

    PYTHONPATH=.:kernels:tests python tests/sequence_compiled.py lstm      lines of JSON
    PYTHONPATH=.:kernels:tests python tests/sequence_compiled.py table     the tables in resources.py, of all cells

A line for each kernel, size and architecture, without a GPU: what it takes of a multiprocessor by the rule, what the assembler
made of it, and for sm_90a also what the linker did ("linked"), with the instructions of a time step.
"""

import json
import sys

from numba import cuda
from scratchnet_kernels.sequence_cuda import gru, lstm, rnn
from scratchnet_kernels.sequence_cuda.resources import Device, resources

from cuda_compiled import ARCHITECTURES, assembled, find_ptxas
from cuda_machine_code import compiled, disassembled, find_nvdisasm, linked, of_a_step

H200 = Device(multiprocessors=132, shared_bytes=227 * 1024, cluster=16)
SIZES = (20, 32, 33, 64, 96, 100, 128, 144, 146, 168, 171, 200, 256, 300, 312, 313, 384, 401, 512)  # H
BATCHES = (16, 1000)  # the fewest rows of a block, and the most
KERNELS = {
    "lstm": (4, {"forward": lstm.forward_kernel, "backward": lstm.backward_kernel}),
    "gru": (3, {"forward": gru.forward_kernel, "backward": gru.backward_kernel}),
    "rnn tanh": (1, {"forward": rnn.FORWARD["tanh"], "backward": rnn.BACKWARD["tanh"]}),
    "rnn relu": (1, {"forward": rnn.FORWARD["relu"], "backward": rnn.BACKWARD["relu"]}),
}


def rows(cell, sizes=SIZES, architectures=ARCHITECTURES[:-1]):
    """A dictionary for each kernel of a cell, size, way to be compiled and architecture."""
    ptxas, nvdisasm = find_ptxas(), find_nvdisasm()
    gates, ways = KERNELS[cell]
    seen = set()
    for H in sizes:
        for plan in (resources(gates, H, N, H200) for N in BATCHES):
            for way, make in ways.items():
                use = getattr(plan, way)
                if (H, way, use) in seen:
                    continue
                seen.add((H, way, use))
                made = make(H, use)
                row = {"kernel": f"{cell} {way}", "H": H, **use._asdict()}
                for cc in architectures if H in (20, 64, 128) else ():
                    ptx, _ = cuda.compile_ptx(made.function, made.signature.args, cc=cc, launch_bounds=use.threads)
                    yield row | said(ptx, cc) | (assembled(ptx, cc, ptxas, cell) if ptxas else {})
                library = compiled(made)
                ptx = library.get_asm_str(cc=(9, 0))
                yield row | said(ptx, (9, 0)) | (assembled(ptx, (9, 0), ptxas, cell) if ptxas else {})
                code, taken = linked(library)
                if nvdisasm:
                    taken["instructions"], taken["multiply_adds"] = of_a_step(made, *disassembled(code, nvdisasm))
                yield row | {"linked": True} | said(ptx, (9, 0)) | taken


def said(ptx, cc):
    """What stands in the PTX."""
    barriers = [ptx.count(f"barrier.cluster.{half}") for half in ("arrive", "wait")]
    return {"cc": cc, "f64": ".f64" in ptx, "wide_reads": ptx.count("ld.shared.v4"), "cluster_barriers": barriers}


def table():
    """For resources.py, of sm_90a as Numba links it there: with the fewest rows of a block and the most, forward/backward."""
    print(f"{'':6}{'H':>3}  blocks rows   threads   weights  in regs     regs    shared KB  instr/weight")
    for cell in ("lstm", "gru", "rnn tanh"):
        found = [row for row in rows(cell, (32, 64, 128, 256, 512), ()) if "linked" in row]
        for both in zip(found[::2], found[1::2]):
            assert not any(row[name] for row in both for name in ("stack", "stores", "loads"))
            pairs = [
                "/".join(str(row[key]) for row in both) for key in ("threads", "terms", "in_registers", "registers")
            ]
            pairs.append("/".join(str(row["shared_bytes"] // 1024) for row in both))
            pairs.append("/".join(f"{row['instructions'] / row['terms'] / row['rows']:.1f}" for row in both))
            one = both[0]
            print(
                f"{cell[:4].strip().upper():4}  {one['H']:3}{one['blocks']:8}{one['rows']:5}"
                + "".join(f"{pair:>{width}}" for pair, width in zip(pairs, (10, 10, 9, 9, 13, 14))),
                flush=True,
            )


def main():
    if sys.argv[1] == "table":
        table()
        return
    for row in rows(sys.argv[1]):
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    sys.exit(main())
