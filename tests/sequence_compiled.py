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
    """For resources.py: sm_90a, linked; forward/backward, with one row and with the most rows."""
    print(
        f"{'':10}{'H':>4}{'blocks':>7}{'rows':>6}{'threads':>10}{'weights':>10}{'in regs':>10}{'regs':>10}{'KB':>9}{'per weight':>12}"
    )
    for cell in ("lstm", "gru", "rnn tanh"):
        found = [row for row in rows(cell, (32, 64, 96, 128, 144, 168, 200, 256, 312, 384, 512), ()) if "linked" in row]
        for forward, backward in zip(found[::2], found[1::2]):
            assert forward["stack"] == forward["stores"] == backward["stack"] == backward["stores"] == 0
            pairs = [f"{forward[key]}/{backward[key]}" for key in ("threads", "terms", "in_registers", "registers")]
            kilobytes = "/".join(str(row["shared_bytes"] // 1024) for row in (forward, backward))
            share = "/".join(f"{row['instructions'] / row['terms'] / row['rows']:.1f}" for row in (forward, backward))
            print(
                f"{cell.upper():10}{forward['H']:4}{forward['blocks']:7}{forward['rows']:6}"
                + "".join(f"{pair:>10}" for pair in pairs)
                + f"{kilobytes:>9}{share:>12}",
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
