"""What becomes of a CUDA kernel on a Hopper GPU, without one: linked as Numba links it there, disassembled, and counted.

Where NVIDIA's linker (nvJitLink) is installed, Numba hands it LLVM's intermediate form, not PTX, and the linker optimises once
more; so registers and spills are not those of the PTX.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from cuda.bindings import nvjitlink
from numba import types
from numba.cuda import compiler
from numba.cuda.cudadrv import nvvm


def compiled(made):
    """The code library of a persistent kernel for sm_90, by the calls of numba-cuda's ``_Kernel.__init__``."""
    options = {"fastmath": False, "opt": 3}
    more = dict.fromkeys(("debug", "lineinfo", "forceinline", "fastmath"), False)
    found = compiler.compile_cuda(
        made.function, types.void, made.signature.args, nvvm_options=options, cc=(9, 0), lto=True, **more
    )
    library, name = found.library, found.fndesc.llvm_func_name
    kernel = library.get_function(name)
    library._entry_name = name
    compiler.kernel_fixup(kernel, False)
    nvvm.set_launch_bounds(kernel, made.use.threads)
    return library


def linked(library):
    """The machine code for sm_90a, and what the linker says of it: registers, stack, spill stores, spill loads."""
    form = library.get_ltoir(cc=(9, 0, "a"))
    options = ["-arch=sm_90a", "-verbose", "-Xptxas=-v", "-lto"]
    handle = nvjitlink.create(len(options), options)
    try:
        nvjitlink.add_data(handle, nvjitlink.InputType.LTOIR, form, len(form), "kernel")
        nvjitlink.complete(handle)
        code = bytearray(nvjitlink.get_linked_cubin_size(handle))
        nvjitlink.get_linked_cubin(handle, code)
        said = bytearray(nvjitlink.get_info_log_size(handle))
        nvjitlink.get_info_log(handle, said)
    finally:
        nvjitlink.destroy(handle)
    said = said.decode(errors="replace")
    spills = re.findall(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", said)
    registers = re.findall(r"Used (\d+) registers", said)
    # a kernel, and the functions it calls, such as the division of very small numbers
    stack, stores, loads = (max(map(int, column)) for column in zip(*spills))
    return bytes(code), {"registers": max(map(int, registers)), "stack": stack, "stores": stores, "loads": loads}


def find_nvdisasm():
    """NVIDIA's disassembler: the wheel's, else the system's."""
    for folder in sys.path:
        for own in Path(folder).glob("nvidia/*/bin/nvdisasm"):
            return str(own)
    return shutil.which("nvdisasm")


def disassembled(code, nvdisasm):
    """The instructions in order, and the loops among them: (first, one after the last) of each branch back."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "k.cubin")
        file.write_bytes(code)
        text = subprocess.run([nvdisasm, "-c", str(file)], capture_output=True, text=True, check=True).stdout
    labels, instructions, loops = {}, [], []
    for line in map(str.strip, text.splitlines()):
        if label := re.match(r"(\.L_x_\d+):", line):
            labels[label[1]] = len(instructions)
        elif instruction := re.match(r"/\*[0-9a-f]{4,}\*/\s+(.*?)\s*;", line):
            instructions.append(instruction[1])
            target = re.search(r"\bBRA\b.*(\.L_x_\d+)", instruction[1])
            if target and labels.get(target[1], len(instructions)) < len(instructions) - 1:
                loops.append((labels[target[1]], len(instructions)))
    return instructions, loops


def of_a_step(made, instructions, loops):
    """Instructions, and products among them, that a thread of a persistent kernel executes in one time step.

    A product is a multiply-add, or a tensor core's, of 4 weights of a thread with 8 rows.  An upper bound: a thread without
    elementwise work skips that.  The time loop is the one with a barrier inside; a loop within it runs over weights in shared
    memory, so often that it has multiplied all of them.
    """
    use = made.use
    name, expected, in_loops = "FFMA", use.terms * use.rows, (use.terms - use.in_registers) * use.rows
    if use.tiles:
        name, expected, in_loops = "HMMA.1688.F32.TF32", use.weights // 4, (use.weights - use.in_registers) // 4

    def products_in(first, last):
        return sum(name in i for i in instructions[first:last])

    first, last = max(
        (loop for loop in loops if any("BAR.SYNC" in i for i in instructions[slice(*loop)])),
        key=lambda loop: loop[1] - loop[0],
    )
    count, products = last - first, products_in(first, last)
    for a, b in loops:
        if first < a and b < last and (inner := products_in(a, b)):
            # besides multiply-adds there are others in a step, but a tensor core has only these
            times, left = divmod(expected - (products - inner) if use.tiles else in_loops, inner)
            assert not left, "a loop over something else"
            count, products = count + (times - 1) * (b - a), products + (times - 1) * inner
    assert products >= expected, "some of the product is elsewhere"
    return count, products
