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
from scratchnet_kernels.sequence_cpu import awake, part_products, passes, product, team, threads, work

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


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    """A machine that nobody else uses, as far as the threads know."""
    monkeypatch.setattr(threads, "STOLEN", float("inf"))
    monkeypatch.setattr(threads, "crew", threads.Crew())


def together(*tasks):
    """Run tasks in a thread each; all in this one if it is alone."""

    def part(k, count):
        for task in tasks if count == 1 else [tasks[k]]:
            task()

    threads.run(len(tasks), part, list)


@pytest.mark.parametrize("by_units", [False, True])
@pytest.mark.parametrize(("N", "H"), [(1, 48), (3, 100), (70, 33), (2, 5)])
@cells
def test_the_same_bits_for_any_number_of_threads(name, options, N, H, by_units):
    """Fewer threads than sequences, than vectors of units, as many, more; and more columns than vectors."""
    call, arriving, lengths = problem(name, "float32", 4, N, 40, H, ragged=True)
    results = []
    with any_work_is_worth_a_thread(by_units):
        for count in (1, 2, 3, 20, None):
            results.append(run(*pair(name, call[0], H, "sequence", count), call, arriving, lengths, options))
    for result in results[1:]:
        assert_identical(result, results[0])


@cells
def test_units_shared_by_threads_are_those_of_array(name, options):
    """Each thread packs its own columns, which begin in the middle of a gate."""
    call, arriving, lengths = problem(name, "float64", 6, 5, 9, 52, ragged=True)
    want = run(CELLS[name].forward, CELLS[name].backward, call, arriving, lengths, options)
    with any_work_is_worth_a_thread(by_units=True):
        got = run(*pair(name, call[0], 52, "sequence", 3), call, arriving, lengths, options)
    assert_close(got, want, 1e-13)


def test_the_same_bits_with_the_constants_as_they_are():
    call, arriving, _ = problem("lstm", "float32", 30, 60, 100, 128)
    results = [run(*pair("lstm", call[0], 128, "sequence", n), call, arriving, None, {}) for n in (1, 2, 3)]
    assert_identical(results[1], results[0])
    assert_identical(results[2], results[0])


@pytest.mark.parametrize("count", [1, 2, 3, 7])
@pytest.mark.parametrize(("n", "multiple"), [(1, 1), (70, 1), (100, 16), (0, 1), (5, 16)])
def test_parts_cover_the_range_once(count, n, multiple):
    parts = [team.share(n, multiple, k, count) for k in range(count)]
    assert [i for first, last in parts for i in range(first, last)] == list(range(n))
    assert all(first % multiple == 0 or first == n for first, _ in parts)


@pytest.mark.parametrize("by_units", [False, True])
@pytest.mark.parametrize("count", [1, 2, 3, 7])
@pytest.mark.parametrize(("gates", "H", "D"), [(1, 5, 3), (4, 40, 70), (3, 100, 9)])
def test_a_product_whose_parts_are_packed_by_threads(by_units, count, gates, H, D):
    """Together they are the whole product, and every number of it is computed by one thread."""
    rng = np.random.default_rng(gates)
    left, W = rng.standard_normal((4, D)), rng.standard_normal((D, gates * H))
    back, turned = rng.standard_normal((4, gates * H)), rng.standard_normal((H, gates * H))
    both = team.new_team(count, by_units)
    parts = [team.part_of(4, H, product.lanes(W.dtype), both, k, count) for k in range(count)]
    packed, packed_turned = product.room(W, gates), product.room_transposed(turned)
    for part in parts:
        part_products.pack_part(W, packed, H, part)
        part_products.pack_transposed_part(turned, packed_turned, part)
    out, times = np.zeros((4, gates * H)), np.zeros((4, gates * H))
    found, times_found = np.zeros((4, H)), np.zeros((4, H))
    for part in parts:
        rows, alone = slice(part.first_row, part.last_row), [np.zeros_like(a) for a in (out, found)]
        part_products.multiply_part(left[rows], packed, alone[0][rows], H, part, 0)
        part_products.multiply_part(back[rows], packed_turned, alone[1][rows], H, part, 0)
        out, times = out + alone[0], times + (alone[0] != 0)
        found, times_found = found + alone[1], times_found + (alone[1] != 0)
    np.testing.assert_allclose(out, left @ W, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found, back @ turned.T, rtol=0, atol=1e-12)
    assert (times == 1).all()
    assert (times_found == 1).all()


def test_few_sequences_and_a_large_matrix_are_shared_by_units():
    weights = 4 * 350 * 350
    assert work.by_units(3, weights, 2)
    assert work.by_units(1, weights // 8, 2)
    assert not work.by_units(100, weights, 2)
    assert not work.by_units(3, 4 * 30 * 30, 2)


def test_two_directions_of_one_sequence_are_two_threads_work():
    """A row cannot be cut; the second direction begins with the second thread."""
    done = [[], []]

    def loop(number, its_team, k, count):
        if k == 0:
            done[here].append(number)

    works = [work.Work(loop, (n,), 1.0) for n in (0, 1)]
    for here in (0, 1):
        work.part(works, [team.new_team(2, False)] * 2, here, 2)
    assert done == [[0], [1]]


# ---- meetings -----------------------------------------------------------------------------------------------------------


def members(both, count):
    return [team.part_of(8, 64, 16, both, k, count) for k in range(count)]


def test_threads_that_meet_wait_for_the_last():
    count, steps = 3, 200
    both, log = team.new_team(count, True), np.zeros((count, steps), np.int64)
    parts = members(both, count)

    def member(part):
        for step in range(steps):
            log[part.k, step] = 1
            assert team.meet(both, part)
            assert log[:, step].all()  # all have been here

    together(*(lambda part=part: member(part) for part in parts))
    assert log.all()


def test_nobody_waits_for_a_thread_that_has_given_up():
    both = team.new_team(2, True)
    part = members(both, 2)[0]
    giving = threading.Timer(0.2, team.give_up, [[both]])
    giving.start()
    started = time.perf_counter()
    assert not team.meet(both, part)
    assert 0.1 < time.perf_counter() - started < 20
    giving.join()


@pytest.mark.parametrize("which", [0, 1])
def test_an_exception_in_one_thread_frees_the_other(which):
    """Its partner would wait for it for ever."""
    both = team.new_team(2, True)
    parts, met = members(both, 2), []

    def part(k, count):
        assert count == 2
        if k == which:
            raise ArithmeticError("of a part")
        met.append(team.meet(both, parts[k]))

    with pytest.raises(ArithmeticError, match="of a part"):
        threads.run(2, part, partial(team.give_up, [both]))
    assert met == [False]


@pytest.mark.parametrize("meetings", [0, 1, 2])
@cells
def test_a_loop_ends_when_another_thread_has_given_up(name, options, meetings, monkeypatch):
    """Before the first meeting, when all is packed, or before one of a step."""
    call, arriving, _ = problem(name, "float32", 5, 2, 3, 40)
    forward, backward = pair(name, call[0], 40, "sequence", 2)
    _, cache = forward(*call, **options)
    alone = work.part

    def abandoned(step, teams, k, count):
        if k == 1:
            for its_team in teams:
                awake.signal(its_team, 2 * team.LINE, meetings)
            time.sleep(0.02)
            team.give_up(teams)
        else:
            alone(step, teams, k, count)

    with any_work_is_worth_a_thread(by_units=True):
        monkeypatch.setattr(work, "part", abandoned)
        forward(*call, **options)
        backward(arriving[0], cache, *arriving[1:])


def test_who_finds_a_processor_busy_works_alone_for_a_while(monkeypatch):
    """A thread that stood still: another program has its processor. With the same numbers, see above."""
    monkeypatch.setattr(threads, "STOLEN", 500e-6)
    monkeypatch.setattr(threads, "ALONE", 0.2)
    if not threads.EXACT_CLOCK:
        pytest.skip("the clock of a thread is too coarse here")
    for stands_still in (0, 1):
        monkeypatch.setattr(threads, "crew", threads.Crew())
        counts = []

        def part(k, count, still=None, counts=counts):
            counts.append(count)
            if k == still:
                time.sleep(0.01)

        threads.run(2, partial(part, still=stands_still), list)
        assert threads.crew.alone == 2 * 0.2  # the next time, for longer
        for _ in range(3):
            threads.run(2, part, list)
        assert counts == [2, 2, 1, 1, 1]
        time.sleep(0.25)
        threads.run(2, part, list)
        assert threads.crew.alone == 0.2  # all is well again
        threads.run(2, partial(part, still=stands_still), list)
        threads.run(2, part, list)
        assert counts[5:] == [2, 2, 2, 2, 1]


def test_a_thread_that_computes_all_the_time_is_not_taken_for_one_that_stands_still(monkeypatch):
    monkeypatch.setattr(threads, "STOLEN", 500e-6)
    numbers = np.ones(300_000)
    quick = [threads.stolen(lambda: numbers.sum()) for _ in range(9)]
    assert quick.count(True) < 5


def test_tasks_run_side_by_side():
    meet, seen = threading.Barrier(2), set()  # passes only if two tasks are there at once

    def task():
        meet.wait(20)
        seen.add(threading.get_ident())

    together(task, task)
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
threads.STOLEN = 1e9
meet, seen = threading.Barrier(2), []
def part(k, count):
    meet.wait(20)
    seen.append(threading.get_ident())
for _ in range(3):
    threads.run(2, part, list)
print(len(seen), len(set(seen)))
"""
    assert python(code, NUMBA_DISABLE_JIT="1") == ("6 2\n", "")


@pytest.mark.parametrize(("allowed", "cost", "most"), [(1, 1e12, 1), (2, 1e12, 2), (None, 1, 1)])
def test_no_more_threads_than_allowed_and_worth_it(allowed, cost, most):
    seen = set()
    one = work.Work(lambda *_: seen.add(threading.get_ident()), (), cost)
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
            together(*tasks)
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
            together(lambda: None, slow)
        assert done == [True]
    finally:
        signal.signal(signal.SIGALRM, before)
    test_tasks_run_side_by_side()


def test_who_finds_the_workers_taken_works_alone():
    inside, leave, seen = threading.Event(), threading.Event(), set()

    def hold():
        inside.set()
        leave.wait(20)

    other = threading.Thread(target=lambda: together(hold, lambda: None))
    other.start()
    assert inside.wait(20)
    together(*[lambda: seen.add(threading.get_ident())] * 3)
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
threads.STOLEN = 1e9
threading.Thread(target=lambda: threads.run(2, lambda k, count: hold() if k == 0 else None, list)).start()
inside.wait(60)
child = os.fork()
if child == 0:
    try:
        again, cache = layer.forward(x)
        layer.backward(np.ones_like(again), cache)
        meet = threading.Barrier(2)  # the child starts new workers
        threads.run(2, lambda k, count: meet.wait(20), list)
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


@pytest.mark.parametrize(("said", "most"), [("max 100000", 64), ("250000 100000", 2), ("10000 100000", 1), ("", 64)])
def test_a_container_that_is_given_less_than_its_processors(said, most, monkeypatch, tmp_path):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(64), raising=False)
    monkeypatch.setattr(threads, "QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(threads, "given", threads.given.__wrapped__)  # without the answer that is kept
    assert threads.available() == 64
    threads.QUOTA.write_text(said, encoding="ascii")
    assert threads.available() == most
