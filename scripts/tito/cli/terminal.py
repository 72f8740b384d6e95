"""The terminal of `tito watch`: keys in, signals noted, and everything put back at the end."""

import codecs
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, Self

LEAVING = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT")
ESCAPE = "\x1b"
UNFINISHED = 0.3  # seconds an escape sequence may take to arrive whole: over SSH it comes in parts
WAITING = 0.02  # seconds between two looks at the keyboard, where it cannot wake us
SHOW = "\x1b[?1049h\x1b[?25l\x1b[?2004h\x1b[2J"  # another screen, no cursor, pastes in brackets
LEAVE = "\x1b[?2004l\x1b[?25h\x1b[?1049l"

_SEQUENCE = re.compile(r"\x1b+(?:\[([0-?]*)[ -/]*([@-~])|O.|[^\[O\x1b])", re.DOTALL)
_BEGUN = re.compile(r"\x1b+(?:\[[0-?]*[ -/]*|O)?$")
_PASTED = "\x1b[201~"


def at_hand() -> str:
    """Why there is no terminal to draw on; "" if there is one."""
    for stream in (sys.stdin, sys.stdout):
        try:
            if stream is None or not stream.isatty():  # None: closed before Python began
                return "needs a terminal"
        except ValueError:
            return "needs a terminal"
    if os.environ.get("TERM") == "dumb":
        return "needs a terminal that can draw a screen, and TERM is dumb"
    return ""


class Typed:
    """Tells keys from the rest that a terminal sends: escape sequences, and pasted text.

    A sequence may arrive in parts; what was begun is carried to the next part.
    """

    def __init__(self) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._rest, self._since = "", 0.0
        self._pasting = False

    def keys(self, data: bytes, now: float) -> list[str]:
        """The keys among what has come, if anything has, by a time in seconds."""
        found: list[str] = []
        if self._rest and not self._pasting and now - self._since > UNFINISHED:
            found, self._rest = ([ESCAPE] if self._rest == ESCAPE else []), ""
        if not data:
            return found
        text, self._rest, self._since = self._rest + self._decode(data), "", now
        while text:
            if self._pasting:
                text = self._after_paste(text)
                continue
            code = _SEQUENCE.search(text)
            plain, text = (text[: code.start()], text[code.end() :]) if code else (text, "")
            if code is None and (begun := _BEGUN.search(plain)):
                plain, self._rest = plain[: begun.start()], begun[0]
            found += plain
            self._pasting = code is not None and code[1] == "200" and code[2] == "~"
        return found

    def _after_paste(self, text: str) -> str:
        """What follows the end of a paste; before it has come, only what may be its beginning."""
        _, end, after = text.partition(_PASTED)
        if end:
            self._pasting = False
            return after
        self._rest = text[-len(_PASTED) + 1 :]
        return ""


class Terminal:
    """Keys and signals, for as long as the `with` lasts; no signal interrupts what is under way.

    `leaving` is the first signal that asked to end. Until the `with` is over a second one changes
    nothing, so that whoever has processes to end can end them.
    """

    def __init__(self) -> None:
        self.leaving = 0
        self._typed = Typed()
        self._stopped = False
        self._before: dict[str, Any] = {}
        self._restore: Callable[[], None] = lambda: None
        self._woken, self._wake = os.pipe()
        for file in (self._woken, self._wake):
            if os.name == "posix":
                os.set_blocking(file, False)

    def __enter__(self) -> Self:
        handlers = dict.fromkeys(LEAVING, self._leave) | {"SIGTSTP": self._stop}
        for name, handler in handlers.items():
            if hasattr(signal, name):
                self._before[name] = signal.signal(getattr(signal, name), handler)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for name, handler in self._before.items():
            signal.signal(getattr(signal, name), handler)
        woken, wake = self._woken, self._wake
        self._woken = self._wake = -1  # a number that is closed may be another file's at once
        os.close(wake)
        os.close(woken)

    def _leave(self, number: int, frame: Any) -> None:
        self.leaving = self.leaving or number
        self.wake()

    def _stop(self, number: int, frame: Any) -> None:
        self._stopped = True
        self.wake()

    def wake(self) -> None:
        """Let whoever waits for keys look at what else has happened; from any thread."""
        if os.name == "posix":
            with suppress(OSError):  # full: it is about to wake; closed: nobody waits any more
                os.write(self._wake, b"\0")

    @contextmanager
    def shown(self) -> Iterator[None]:
        """The alternate screen and single keys; whatever happens, all is put back."""
        self._restore = _enter()
        try:
            yield
        finally:
            self._restore()

    def suspended(self) -> bool:
        """Stop here if Ctrl-Z was pressed; whether the process was stopped and has come back."""
        if not self._stopped:
            return False
        self._restore()
        self._stopped = False
        os.kill(os.getpid(), signal.SIGSTOP)
        self._restore = _enter()
        return True

    def pressed(self, seconds: float) -> list[str]:
        """The keys that came together, waiting so long for the first, or until woken."""
        if os.name == "nt":
            return _pressed_on_windows(seconds)
        import select

        ready, _, _ = select.select([sys.stdin, self._woken], [], [], seconds)
        if self._woken in ready:
            os.read(self._woken, 4096)
        data = b""
        if sys.stdin in ready:
            with suppress(OSError):
                data = os.read(sys.stdin.fileno(), 4096)
            if not data:  # the terminal is gone
                self.leaving = self.leaving or signal.SIGHUP
        return self._typed.keys(data, time.monotonic())


def _pressed_on_windows(seconds: float) -> list[str]:
    """The keys pressed within a time."""
    import msvcrt

    end, found = time.monotonic() + seconds, []
    while not found and time.monotonic() < end:
        time.sleep(WAITING)
        while msvcrt.kbhit():  # type: ignore[attr-defined]
            key = msvcrt.getwch()  # type: ignore[attr-defined]
            if key in "\0\xe0":  # an arrow or a function key: a second code says which
                msvcrt.getwch()  # type: ignore[attr-defined]
            else:
                found.append(key)
    return found


def _enter() -> Callable[[], None]:
    """Switch to the alternate screen; returns what switches back."""
    undo = []
    if os.name == "nt":
        os.system("")  # turns on escape codes in the console
    else:
        import termios
        import tty

        file = sys.stdin.fileno()
        saved = termios.tcgetattr(file)
        tty.setcbreak(file)

        def cooked() -> None:
            with suppress(termios.error):  # the terminal is gone
                termios.tcsetattr(file, termios.TCSADRAIN, saved)

        undo.append(cooked)
    _write(SHOW)

    def restore() -> None:
        _write(LEAVE)
        for step in undo:
            step()

    return restore


def _write(codes: str) -> None:
    with suppress(OSError):  # the terminal is gone
        sys.stdout.write(codes)
        sys.stdout.flush()
