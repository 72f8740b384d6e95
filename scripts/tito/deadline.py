"""A limit of time that can be put off."""

import threading
from collections.abc import Callable


class Deadline:
    """Does something when so many seconds have passed since it was last put off."""

    def __init__(self, seconds: float, act: Callable[[], object]):
        self.seconds, self.act, self.over = seconds, act, False
        self._timer: threading.Timer | None = None

    def put_off(self) -> None:
        """Begin to count, or begin anew."""
        self.cancel()
        self._timer = threading.Timer(self.seconds, self._end)
        self._timer.daemon = True  # Ctrl-C may come while it starts
        self._timer.start()

    def cancel(self) -> None:
        """Count no longer."""
        if self._timer is not None:
            self._timer.cancel()

    def _end(self) -> None:
        self.over = True
        self.act()
