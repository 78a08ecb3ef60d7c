"""Run by test_cubins.py in a new process: some CUDA kernels as a launch would get them, with a fake GPU.

    python tests/cubins_kept.py 90

The argument is the compute capability. Everything is real but the GPU: NVVM and nvJitLink make the cubin, which a real driver
would load here. Prints a line of JSON for each kernel: its cubin's hash, and how often NVVM compiled.
"""

import hashlib
import json
import sys
from types import SimpleNamespace

from numba import float32, float64
from numba.cuda import codegen, dispatcher
from scratchnet_kernels import cubins, launch, step_cuda
from scratchnet_kernels.sequence_cuda import rnn
from scratchnet_kernels.sequence_cuda.resources import Device, resources
from scratchnet_kernels.sequence_cuda.resources_tf32 import resources_tf32

H200 = Device(multiprocessors=132, shared_bytes=227 * 1024, cluster=16)

loaded, compilations = [], []


def fake_gpu(major, minor):
    """A GPU whose driver takes every cubin, and the answer to "which GPU is here?"."""
    gpu = SimpleNamespace(compute_capability=(major, minor), id=0)

    def load(cubin, setup, teardown):
        loaded.append(bytes(cubin.code))
        function = SimpleNamespace(module=SimpleNamespace(initialized=True))
        return SimpleNamespace(get_function=lambda name: function)

    context = SimpleNamespace(device=gpu, create_module_image=load)
    codegen.devices = SimpleNamespace(get_context=lambda: context)
    dispatcher.get_current_device = lambda: gpu
    compile_ir = codegen.nvvm.compile_ir

    def counted(*arguments, **options):
        compilations.append(1)
        return compile_ir(*arguments, **options)

    codegen.nvvm.compile_ir = counted


def kernels():
    """(name, a call that compiles or loads)."""
    for real in (float32, float64):
        kernel = launch.kernel(step_cuda.rnn.FORWARD["tanh"].py_func)
        yield f"step {real}", lambda kernel=kernel, real=real: kernel.compile((real[:, ::1],) * 2)
    for name, H in (("tanh", 8), ("tanh", 12), ("relu", 8)):
        made = rnn.FORWARD[name](H, resources(1, H, 1, H200).forward)
        yield f"sequence {name} {H}", lambda made=made: next(iter(made.dispatcher.overloads.values()))
    if sys.argv[1] == "90":
        for rule, H in ((resources, 300), (resources_tf32, 256)):  # with instructions of a cluster, and of tensor cores
            made = rnn.FORWARD["tanh"](H, rule(1, H, 1, H200).forward)
            yield f"{rule.__name__} {H}", lambda made=made: next(iter(made.dispatcher.overloads.values()))


def main():
    fake_gpu(*map(int, sys.argv[1]))
    for name, make in kernels():
        before = len(compilations)
        make().bind()  # as a launch does
        digest = hashlib.sha256(loaded[-1]).hexdigest()
        print(json.dumps([name, digest, len(compilations) - before]), flush=True)

    def fill(a):
        a[0] = 1

    assert not isinstance(launch.kernel(fill)._cache, cubins.Cubins), "its source, this file, is not hashed"


if __name__ == "__main__":
    main()
