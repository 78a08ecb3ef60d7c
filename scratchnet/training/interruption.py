"""Ctrl-C and SIGTERM while training: the step is finished, what was learned is kept."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

# The signals that ask a program to end, and what Python does with them unless told otherwise.
USUAL: dict[signal.Signals, Any] = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
}


@contextmanager
def noticed(note: Callable[[signal.Signals], None]) -> Iterator[None]:
    """While inside, the first SIGINT or SIGTERM is given to ``note``; a second one acts as usual,
    at once.

    Only in the main thread, where Python allows it, and only for signals that nobody else handles;
    on exit everything is as before.
    """
    taken = [number for number, usual in USUAL.items() if signal.getsignal(number) == usual]
    if threading.current_thread() is not threading.main_thread():
        taken = []

    def give_back() -> None:
        for number in taken:
            signal.signal(number, USUAL[number])

    def first(number: int, _: FrameType | None) -> None:
        give_back()
        note(signal.Signals(number))

    for number in taken:
        signal.signal(number, first)
    try:
        yield
    finally:
        give_back()


def exception_of(number: signal.Signals) -> BaseException:
    """What Python raises for it by itself: KeyboardInterrupt for SIGINT; for SIGTERM SystemExit,
    with the exit status of a program that the signal has ended."""
    if number == signal.SIGINT:
        return KeyboardInterrupt("training was interrupted after a step")
    return SystemExit(128 + number)
