"""Threads of the ``sequence`` engine on the CPU: the same bits for any number, exceptions, interrupts, forks, many callers."""

import os
import signal
import threading
import time
from functools import partial

import numpy as np
import pytest
from scratchnet import engines
from scratchnet.cells import CELLS
from scratchnet.layers import LSTM
from scratchnet_kernels.sequence_cpu import awake, passes, threads, work

from calls import pair
from sequence_problems import (
    LAYERS,
    any_work_is_worth_a_thread,
    assert_close,
    assert_identical,
    cells,
    problem,
    python,
    run,
)


@pytest.mark.parametrize("N", [1, 3, 70])
@cells
def test_the_same_bits_for_any_number_of_threads(name, options, N):
    """Fewer threads than sequences, as many, more; and more columns than vectors."""
    call, arriving, lengths = problem(name, "float32", 4, N, 40, 48, ragged=True)
    results = []
    with any_work_is_worth_a_thread():
        for count in (1, 2, 3, 50, None):
            results.append(run(*pair(name, call[0], 48, "sequence", count), call, arriving, lengths, options))
    for result in results[1:]:
        assert_identical(result, results[0])


def test_the_same_bits_with_the_constants_as_they_are():
    call, arriving, _ = problem("lstm", "float32", 30, 60, 100, 128)
    results = [run(*pair("lstm", call[0], 128, "sequence", n), call, arriving, None, {}) for n in (1, 2, 3)]
    assert_identical(results[1], results[0])
    assert_identical(results[2], results[0])


@pytest.mark.parametrize("count", [1, 2, 3, 7])
@pytest.mark.parametrize(
    ("first", "last", "multiple", "most"), [(0, 1, 1, 9), (0, 70, 1, 16), (32, 100, 16, 100), (3, 3, 1, 5)]
)
def test_parts_cover_the_range_once(count, first, last, multiple, most):
    seen = []
    for k in range(count):
        works = [
            work.Work(lambda *part: seen.append(part), (number,), first, last, multiple, most, 1.0) for number in (0, 1)
        ]
        work.part(works, k, count)
    for number in (0, 1):
        parts = sorted((begin, end) for n, begin, end in seen if n == number)
        assert [n for begin, end in parts for n in range(begin, end)] == list(range(first, last))
        assert all(0 < end - begin <= most for begin, end in parts)
        assert all((begin - first) % multiple == 0 for begin, _ in parts)


def test_two_directions_of_one_sequence_are_two_threads_work():
    """A row cannot be cut; the second direction begins with the second thread."""
    done = [[], []]
    for k, numbers in enumerate(done):
        works = [work.Work(lambda number, *_, to: to.append(number), (n,), 0, 1, 1, 16, 1.0) for n in (0, 1)]
        works = [one._replace(loop=partial(one.loop, to=numbers)) for one in works]
        work.part(works, k, 2)
    assert sorted(done) == [[0], [1]]


def test_tasks_run_side_by_side():
    meet, seen = threading.Barrier(2), set()  # passes only if two tasks are there at once

    def task():
        meet.wait(20)
        seen.add(threading.get_ident())

    threads.run([task, task])
    assert len(seen) == 2
    assert threading.get_ident() in seen


def test_a_thread_waits_awake_for_a_while():
    flags = np.zeros(3, np.int64)
    assert not awake.wait_awake(flags, 0, 1, 100, 0)  # and gives up
    assert flags.tolist() == [1, 0, 0]
    late = threading.Timer(0.05, lambda: awake.signal(flags, 1, 1))
    late.start()
    started = time.perf_counter()
    assert awake.wait_awake(flags, 2, 1, 10**9, 100)
    assert 0.01 < time.perf_counter() - started < 20
    assert flags.tolist() == [1, 1, 1]
    late.join()
    assert min(threads.looks()) > 1
    assert threads.looks()[0] > 5 * threads.looks()[1]


def test_workers_that_have_fallen_asleep_are_woken():
    for _ in range(20):
        time.sleep(4 * threads.AWAKE)
        test_tasks_run_side_by_side()


def test_workers_do_not_stay_awake():
    """A process that computes nothing takes no processor time, however many workers it has."""
    test_tasks_run_side_by_side()
    time.sleep(10 * threads.AWAKE)
    before = time.process_time()
    time.sleep(0.5)
    assert time.process_time() - before < 0.1


def test_threads_run_without_compiled_code():
    code = """
import threading
from scratchnet_kernels.sequence_cpu import threads
meet, seen = threading.Barrier(2), []
def task():
    meet.wait(20)
    seen.append(threading.get_ident())
for _ in range(3):
    threads.run([task, task])
print(len(seen), len(set(seen)))
"""
    assert python(code, NUMBA_DISABLE_JIT="1") == ("6 2\n", "")


@pytest.mark.parametrize(("allowed", "cost", "most"), [(1, 1e12, 1), (2, 1e12, 2), (None, 1, 1)])
def test_no_more_threads_than_allowed_and_worth_it(allowed, cost, most):
    seen = set()
    one = work.Work(lambda *_: seen.add(threading.get_ident()), (), 0, 20, 1, 1, cost)
    work.run([one], allowed)
    assert len(seen) <= most
    assert threading.get_ident() in seen


def test_an_exception_in_a_worker_reaches_the_caller_when_all_have_ended():
    done = []
    meet = threading.Barrier(2)

    def fail():
        meet.wait(20)
        raise ArithmeticError("of a task")

    def slow():
        meet.wait(20)
        threading.Event().wait(0.05)
        done.append(True)

    for tasks in ([fail, slow], [slow, fail]):
        done.clear()
        with pytest.raises(ArithmeticError, match="of a task"):
            threads.run(tasks)
        assert done == [True]
    test_tasks_run_side_by_side()


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timer on this system")
def test_an_interrupt_waits_for_the_worker():
    """Ctrl-C while the caller waits: the worker still writes into the caller's arrays, so the caller waits on."""
    done = []

    def slow():
        time.sleep(0.3)
        done.append(True)

    def handler(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(KeyboardInterrupt):
            threads.run([lambda: None, slow])
        assert done == [True]
    finally:
        signal.signal(signal.SIGALRM, before)
    test_tasks_run_side_by_side()


def test_who_finds_the_workers_taken_works_alone():
    inside, leave, seen = threading.Event(), threading.Event(), set()

    def hold():
        inside.set()
        leave.wait(20)

    other = threading.Thread(target=lambda: threads.run([hold, lambda: None]))
    other.start()
    assert inside.wait(20)
    threads.run([lambda: seen.add(threading.get_ident())] * 3)
    assert seen == {threading.get_ident()}
    leave.set()
    other.join()


def test_callers_in_many_threads_get_their_own_numbers():
    problems = [problem("lstm", "float64", 4, 33, 6, 40, seed=seed) for seed in range(6)]
    wanted = [run(CELLS["lstm"].forward, CELLS["lstm"].backward, *p, {}) for p in problems]
    failures = []

    def check(index):
        try:
            for _ in range(4):
                call, arriving, lengths = problems[index]
                assert_close(
                    run(*pair("lstm", call[0], 40, "sequence", 2), call, arriving, lengths, {}), wanted[index], 1e-12
                )
        except BaseException as error:
            failures.append(error)

    with any_work_is_worth_a_thread():
        callers = [threading.Thread(target=check, args=(index,)) for index in range(6)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
    assert failures == []


@pytest.mark.parametrize("count", [0, -1])
def test_no_threads_is_refused_wherever_it_is_given(count):
    sentence = f"threads is {count}: expected at least 1"
    for layer in LAYERS.values():
        with pytest.raises(ValueError, match=sentence):
            layer(2, 3, rng=np.random.default_rng(0), threads=count)
    for engine in engines.ENGINES:
        with pytest.raises(ValueError, match=sentence):
            engines.choose("gru", np.zeros((2, 3, 2)), 4, engine, count)


FORK = """
import os, threading, time
import numpy as np
from scratchnet.layers import LSTM
from scratchnet_kernels.sequence_cpu import threads, work
work.WORTH_A_THREAD = 1
layer = LSTM(3, 20, rng=np.random.default_rng(0), engine="sequence", threads=2)
x = np.random.default_rng(1).standard_normal((5, 40, 3))
y, cache = layer.forward(x)
inside, leave = threading.Event(), threading.Event()
def hold():
    inside.set()
    leave.wait(60)
threading.Thread(target=lambda: threads.run([hold, lambda: None])).start()
inside.wait(60)
child = os.fork()
if child == 0:
    try:
        again, cache = layer.forward(x)
        layer.backward(np.ones_like(again), cache)
        meet = threading.Barrier(2)  # the child starts new workers
        threads.run([lambda: meet.wait(20)] * 2)
        os._exit(0 if np.array_equal(y, again) else 3)
    finally:
        os._exit(4)
for _ in range(600):
    done, status = os.waitpid(child, os.WNOHANG)
    if done:
        break
    time.sleep(0.05)
else:
    os.kill(child, 9)
    status = "the child hangs"
leave.set()
print(status)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_can_run_it():
    """The parent's workers are not there any more, nor is the thread that had taken them."""
    assert python(FORK, PYTHONWARNINGS="ignore")[0] == "0\n"


SPAWN = """
import multiprocessing
import numpy as np
from scratchnet.layers import LSTM

def forward(seed):
    layer = LSTM(3, 20, rng=np.random.default_rng(seed), engine="sequence", threads=2)
    return layer.forward(np.ones((5, 40, 3)))[0]

if __name__ == "__main__":
    here = [forward(seed) for seed in (0, 1)]
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        there = pool.map(forward, (0, 1))
    print(all(np.array_equal(a, b) for a, b in zip(here, there)))
"""


def test_spawned_processes_compute_the_same(tmp_path):
    script = tmp_path / "spawn.py"
    script.write_text(SPAWN, encoding="utf-8")
    assert python(f"import runpy; runpy.run_path({str(script)!r}, run_name='__main__')")[0] == "True\n"


def test_what_a_loop_is_given_cannot_be_written():
    whole = np.arange(6.0).reshape(2, 3)
    misaligned = np.frombuffer(b"x" + whole.tobytes(), np.uint8)[1:].view(np.float64)
    for array in (whole, whole.T, whole[:, 1:], whole[::-1], misaligned):
        given = passes.contiguous(array)
        assert (given.flags.c_contiguous, given.flags.aligned, given.flags.writeable) == (True, True, False)
        np.testing.assert_array_equal(given, array)
    assert np.shares_memory(passes.contiguous(whole), whole)
    assert whole.flags.writeable


def test_misaligned_and_reversed_arrays_give_the_same(rng):
    layer = LSTM(3, 5, rng=np.random.default_rng(0), engine="sequence", dtype=np.float32)
    x = rng.standard_normal((4, 2, 3)).astype(np.float32)
    want, _ = layer.forward(x)
    misaligned = np.frombuffer(b"x" + x.tobytes(), np.uint8)[1:].view(np.float32).reshape(x.shape)
    for same in (misaligned, x[::-1].copy()[::-1], np.asfortranarray(x)):
        np.testing.assert_array_equal(layer.forward(same)[0], want)


def test_processors_are_counted_where_affinity_is_not_known(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    for counted, expected in ((5, 5), (None, 1)):
        monkeypatch.setattr(os, "cpu_count", lambda counted=counted: counted)
        assert threads.available() == expected
