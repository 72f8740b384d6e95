"""Given parts of module 07: the history of a run, its best epoch, its curves as text."""

import math
import sys
from collections.abc import Callable
from typing import Any


def higher_is_better(monitor: str) -> bool:
    """Whether a figure is one of those that should rise, by its name."""
    return monitor.endswith(("accuracy", "precision", "recall", "f1"))


class History(dict[str, list[Any]]):
    """Each figure's values, epoch by epoch: history["val_loss"][3]."""

    def append(self, logs: dict[str, Any]) -> None:
        """Add an epoch."""
        for name, value in logs.items():
            self.setdefault(name, []).append(value)

    @property
    def epochs(self) -> int:
        """How many epochs there are."""
        return max(map(len, self.values()), default=0)

    def last_is_best(self, monitor: str) -> bool:
        """Whether the last epoch is better than all before."""
        sign = 1.0 if higher_is_better(monitor) else -1.0
        *earlier, last = (sign * value for value in self[monitor])
        return not math.isnan(last) and all(last > value for value in earlier if value == value)

    def __missing__(self, name: str) -> list[Any]:
        if name.startswith("train_") and name[6:] in self:
            return self[name[6:]]
        raise KeyError(f"no {name!r} in the history; it has {', '.join(self) or 'nothing yet'}")


def history_as_text(history: dict[str, list[Any]], sparkline: Callable[[list[Any]], str]) -> str:
    """Return one line for each figure: name, sparkline, first and last value."""
    lines = []
    for name, values in history.items():
        if values and isinstance(values[0], int | float):
            lines.append(f"{name:<14} {sparkline(values)} {values[0]:.4g} -> {values[-1]:.4g}")
    return "\n".join(lines)


def print_history(history: dict[str, list[Any]], sparkline: Callable[[list[Any]], str]) -> None:
    """Print the curves as text, in whatever characters the terminal has."""
    encoding = sys.stdout.encoding or "utf-8"
    print(history_as_text(history, sparkline).encode(encoding, "replace").decode(encoding))


class Watch:
    """Remember the best value of a figure, the weights it came with, and the bad epochs since.

    Args:
        patience: Epochs in a row without improvement after which to stop, at least 1.
        min_delta: What an improvement must exceed.
        monitor: The figure; by default "val_loss", or "loss" without validation data.
        mode: "min", "max", or "auto" by the figure's name.
        restore_best: Whether the best weights return when training ends.
    """

    def __init__(self, patience: int = 5, min_delta: float = 0.0, monitor: str | None = None,
                 mode: str = "auto", restore_best: bool = True):  # fmt: skip
        if patience < 1 or mode not in ("auto", "min", "max"):
            raise ValueError(f"patience {patience}, mode {mode!r}: use 1 or more; auto, min or max")
        rising = mode == "max" or (mode == "auto" and higher_is_better(monitor or "loss"))
        self.patience, self.min_delta, self.monitor = patience, min_delta, monitor
        self.sign = 1.0 if rising else -1.0
        self.restore_best = restore_best
        self.best, self.bad_epochs, self.best_weights = -math.inf * self.sign, 0, None

    def restore(self, model: Any) -> None:
        """Give the model the best weights, if they were kept."""
        if self.best_weights is not None:
            model.load_state_dict(self.best_weights)

    def state_dict(self) -> dict[str, Any]:
        """Return what must travel with a checkpoint."""
        names = ("best", "bad_epochs", "best_weights")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Go on from a saved state."""
        self.best, self.bad_epochs = saved["best"], saved["bad_epochs"]
        self.best_weights = saved["best_weights"]
