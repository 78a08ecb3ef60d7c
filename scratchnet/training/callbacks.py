"""The gradient-norm monitor: how large each parameter's gradient is, step by step, and what that
says.

    monitor = GradientMonitor()
    fit(..., watch=monitor)
    print(monitor.report())

A gradient that vanishes or explodes shows here epochs before it shows in the loss.
"""

from typing import Any

import numpy as np

from scratchnet.training.clip import each_norm

VANISHED = 1e-7  # of the weight itself: a step of lr 1e-3 then moves it in its tenth digit
EXPLODED = 100.0  # times its own median


class GradientMonitor:
    """A watcher for ``fit``: ``norms[name]`` has the gradient's norm of each step, before clipping;
    ``sizes`` the weight's."""

    def __init__(self) -> None:
        self.norms: dict[str, list[float]] = {}
        self.sizes: dict[str, list[float]] = {}

    def __call__(self, event: str, trainer: Any) -> None:
        """Called by the trainer; looks at gradients before they are clipped."""
        if event != "gradients":
            return
        for table, arrays in (
            (self.norms, trainer.model.grads),
            (self.sizes, trainer.model.params),
        ):
            for name, norm in each_norm(arrays).items():
                table.setdefault(name, []).append(norm)

    def vanished(self) -> list[str]:
        """Parameters whose gradient, in the median over the steps, is under a ten-millionth of
        their own size."""
        small = {name: float(np.median(norms)) for name, norms in self.norms.items()}
        return [
            name
            for name, norm in small.items()
            if norm < VANISHED * max(float(np.median(self.sizes[name])), VANISHED)
        ]

    def exploded(self) -> list[tuple[str, int]]:
        """(parameter, step) of each gradient that was more than a hundred times its own median."""
        found = []
        for name, norms in self.norms.items():
            limit = EXPLODED * float(np.median(norms))
            found += [(name, step) for step, norm in enumerate(norms) if norm > limit > 0]
        return found

    def report(self) -> str:
        """A table: of each parameter the smallest, median and largest norm, and a word where
        something is wrong.

        Raises ValueError where nothing was watched.
        """
        if not self.norms:
            raise ValueError("the monitor has seen no step: give it to fit as watch=")
        vanished, exploded = self.vanished(), [name for name, _ in self.exploded()]
        width = max(map(len, self.norms))
        lines = [f"{'gradient of':<{width}}{'smallest':>12}{'median':>12}{'largest':>12}"]
        for name, norms in self.norms.items():
            numbers = "".join(
                f"{v:>12.2e}" for v in (min(norms), float(np.median(norms)), max(norms))
            )
            word = (
                "  vanished"
                if name in vanished
                else f"  exploded {exploded.count(name)} times"
                if name in exploded
                else ""
            )
            lines.append(f"{name:<{width}}{numbers}{word}")
        return "\n".join(lines)
