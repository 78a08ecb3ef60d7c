"""Run by test_cuda.py in a process of its own: every persistent kernel of a cell compiled, assembled, linked and counted.

    PYTHONPATH=.:kernels:tests python tests/sequence_compiled.py lstm      lines of JSON
    PYTHONPATH=.:kernels:tests python tests/sequence_compiled.py "lstm in tf32"
    PYTHONPATH=.:kernels:tests python tests/sequence_compiled.py table     the tables in resources.py and resources_tf32.py

A line for each kernel, size and architecture, without a GPU: what it takes of a multiprocessor by the rule, what the assembler
made of it, and for sm_90a also what the linker did ("linked"), with the instructions of a time step.
"""

import json
import sys

from numba import cuda
from scratchnet_kernels.sequence_cuda import gru, lstm, rnn
from scratchnet_kernels.sequence_cuda.resources import Device, resources
from scratchnet_kernels.sequence_cuda.resources_tf32 import resources_tf32

from cuda_compiled import ARCHITECTURES, assembled, find_ptxas
from cuda_machine_code import compiled, disassembled, find_nvdisasm, linked, of_a_step

H200 = Device(multiprocessors=132, shared_bytes=227 * 1024, cluster=16)
SIZES = (20, 32, 33, 64, 96, 100, 128, 144, 146, 168, 171, 200, 256, 300, 312, 313, 384, 401, 512)  # H
SIZES_TF32 = (256, 300, 320, 384, 401, 512)
BATCHES = (16, 1000)  # the fewest rows of a block, and the most; for TF32, the most blocks and the fewest
PER = {resources: "weight", resources_tf32: "mma"}
KERNELS = {
    "lstm": (4, {"forward": lstm.forward_kernel, "backward": lstm.backward_kernel}),
    "gru": (3, {"forward": gru.forward_kernel, "backward": gru.backward_kernel}),
    "rnn tanh": (1, {"forward": rnn.FORWARD["tanh"], "backward": rnn.BACKWARD["tanh"]}),
    "rnn relu": (1, {"forward": rnn.FORWARD["relu"], "backward": rnn.BACKWARD["relu"]}),
}


def rows(cell, sizes=SIZES, architectures=ARCHITECTURES[:-1], rule=resources):
    """A dictionary for each kernel of a cell, size, way to be compiled and architecture."""
    ptxas, nvdisasm = find_ptxas(), find_nvdisasm()
    gates, ways = KERNELS[cell]
    seen = set()
    for H in sizes:
        for plan in (rule(gates, H, N, H200) for N in BATCHES):
            for way, make in ways.items():
                use = getattr(plan, way)
                if (H, way, use) in seen:
                    continue
                seen.add((H, way, use))
                made = make(H, use)
                row = {"kernel": f"{cell} {way}", "H": H, "weights": use.weights, **use._asdict()}
                for cc in architectures if H in (20, 64, 128) else ():
                    ptx, _ = cuda.compile_ptx(made.function, made.signature.args, cc=cc, launch_bounds=use.threads)
                    yield row | said(ptx, cc) | (assembled(ptx, cc, ptxas, cell) if ptxas else {})
                library = compiled(made)
                ptx = library.get_asm_str(cc=(9, 0))
                yield row | said(ptx, (9, 0)) | (assembled(ptx, (9, 0), ptxas, cell) if ptxas else {})
                code, taken = linked(library)
                if nvdisasm:
                    taken["instructions"], taken["products"] = of_a_step(made, *disassembled(code, nvdisasm))
                yield row | {"linked": True} | said(ptx, (9, 0)) | taken


def said(ptx, cc):
    """What stands in the PTX."""
    barriers = [ptx.count(f"barrier.cluster.{half}") for half in ("arrive", "wait")]
    found = {"cc": cc, "f64": ".f64" in ptx, "cluster_barriers": barriers, "wide_reads": ptx.count("ld.shared.v4")}
    return found | {"mma": ptx.count("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32")}


def products(row):
    """Of a thread in a time step: multiply-adds, or instructions of the tensor core."""
    return row["weights"] // 4 if row["tiles"] else row["weights"] * row["rows"]


def table(sizes=(32, 64, 128, 256, 512), rule=resources):
    """For resources.py, of sm_90a as Numba links it there: with the fewest rows of a block and the most, forward/backward."""
    print(f"{'':6}{'H':>3}  blocks rows   threads   weights  in regs     regs    shared KB  instr/{PER[rule]}")
    for cell in ("lstm", "gru", "rnn tanh"):
        found = [row for row in rows(cell, sizes, (), rule) if "linked" in row]
        for both in zip(found[::2], found[1::2]):
            assert not any(row[name] for row in both for name in ("stack", "stores", "loads"))
            pairs = [
                "/".join(str(row[key]) for row in both) for key in ("threads", "weights", "in_registers", "registers")
            ]
            pairs.append("/".join(str(row["shared_bytes"] // 1024) for row in both))
            pairs.append("/".join(f"{row['instructions'] / products(row):.1f}" for row in both))
            one = both[0]
            print(
                f"{cell[:4].strip().upper():4}  {one['H']:3}{one['blocks']:8}{one['rows']:5}"
                + "".join(f"{pair:>{width}}" for pair, width in zip(pairs, (10, 10, 9, 9, 13, 14))),
                flush=True,
            )


def main():
    if sys.argv[1] == "table":
        table()
        table(SIZES_TF32, resources_tf32)
        return
    cell, _, tf32 = sys.argv[1].partition(" in ")
    for row in rows(cell, SIZES_TF32, (), resources_tf32) if tf32 else rows(cell):
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    sys.exit(main())
