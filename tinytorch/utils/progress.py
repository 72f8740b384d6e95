"""One line for each epoch; on a terminal, a bar that fills while the epoch runs."""

import sys
import time
from collections.abc import Iterable
from typing import Any

WIDTH = 24  # of the bar, in characters
INTERVAL = 0.1  # seconds between two drawings


class Progress:
    """Show how far an epoch is.

    Args:
        title: What the line begins with, such as "epoch 3/10".
        total: How many batches there will be; 0 if nobody knows.
        verbose: Whether to show anything.
    """

    def __init__(self, title: str, total: int, verbose: bool = True):
        self.title, self.total = title, total
        self.verbose, self.live = verbose, verbose and sys.stdout.isatty()
        self.begin = self.shown = time.monotonic()
        self.length = 0

    def step(self, done: int, loss: float) -> None:
        """Redraw the bar, but not too often; does nothing where there is no terminal."""
        if self.live and (now := time.monotonic()) - self.shown > INTERVAL:
            self.shown = now
            share = min(1.0, done / self.total) if self.total else 0.0
            bar = f"[{'=' * round(WIDTH * share):<{WIDTH}}] " if self.total else ""
            self.draw(f"{self.title} {bar}{done} batches, loss {loss:.4f}")

    def close(self, figures: dict[str, Any]) -> None:
        """Replace the bar by the figures of the epoch and the seconds it took."""
        if self.verbose:
            shown = [f"{name} {v:.4f}" for name, v in figures.items() if isinstance(v, float)]
            seconds = f"{time.monotonic() - self.begin:.1f} s"
            self.draw("  ".join([self.title, *shown, seconds]))
            print(flush=True)

    def draw(self, line: str) -> None:
        """Write over what the line showed before; no control characters without a terminal."""
        start, self.length, before = "\r" if self.live else "", len(line), self.length
        print(start + line.ljust(before), end="", flush=True)


class Reporter:
    """Tell of a training run: a line for each epoch, and calls to those who listen.

    Args:
        trainer: Passed on to the callbacks; its `epoch` counts the epochs done.
        callbacks: Functions (trainer, logs), called after each epoch, or objects with any of
            on_train_begin, on_step_end, on_epoch_end, on_train_end.
        verbose: Whether to show progress.
    """

    def __init__(self, trainer: Any, callbacks: Iterable[Any], verbose: bool):
        self.trainer, self.callbacks, self.verbose = trainer, list(callbacks), verbose

    def notify(self, event: str, *details: Any) -> None:
        """Call each callback that listens to an event."""
        for callback in self.callbacks:
            if hasattr(callback, event):
                getattr(callback, event)(self.trainer, *details)
            elif event == "on_epoch_end" and callable(callback):
                callback(self.trainer, *details)

    def begin_epoch(self, dataloader: Any, last: int) -> None:
        """Open the line of an epoch; a dataloader that shuffles by epoch number is told it."""
        if hasattr(dataloader, "set_epoch"):
            dataloader.set_epoch(self.trainer.epoch)
        total = len(dataloader) if hasattr(dataloader, "__len__") else 0
        self.line = Progress(f"epoch {self.trainer.epoch + 1}/{last}", total, self.verbose)

    def after_step(self, done: int, loss: float) -> None:
        """Show how far the epoch is, and tell the callbacks."""
        self.line.step(done, loss)
        self.notify("on_step_end", loss)
