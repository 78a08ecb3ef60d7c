"""Counting Python calls: what a step costs besides its arithmetic, the same on every machine."""

import sys


def count_calls(function):
    """How many Python functions are called, resumed generators among them, while function() runs; calls into C count nothing."""
    count = 0

    def profile(frame, event, argument):
        nonlocal count
        count += event == "call"

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        function()
    finally:
        sys.setprofile(before)
    return count - 1  # function itself
