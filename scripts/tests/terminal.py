"""A program in a pseudo-terminal, and the screen it has drawn: what a person would see."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from contextlib import suppress

from rich.cells import cell_len

_CODE = re.compile(
    r"\x1b\[(?P<args>[?0-9;]*)(?P<end>[A-Za-z])|\x1b\](?P<osc>.*?)(?:\x1b\\|\x07)|\x1b(?P<other>[^\[\]])",
    re.DOTALL,
)
_PARTIAL = re.compile(r"\x1b(?:\[[?0-9;]*|\][^\x07\x1b]*\x1b?)?$")


class Screen:
    """The few things a terminal does that tito makes use of; anything else is an error."""

    def __init__(self, width: int, height: int):
        self.width, self.height = width, height
        self.alternate = False
        self.cursor_shown = True
        self.brackets_pastes = False
        self.links: list[str] = []
        self.colours = 0
        self.clear()
        self._rest = ""

    def clear(self) -> None:
        """Blank everything."""
        self.cells = [[" "] * self.width for _ in range(self.height)]
        self.row = self.column = 0

    @property
    def text(self) -> str:
        """What stands on the screen."""
        return "\n".join("".join(row).rstrip() for row in self.cells)

    def feed(self, text: str) -> None:
        """Take in what a program wrote."""
        text = self._rest + text
        cut = _PARTIAL.search(text)
        self._rest = text[cut.start() :] if cut else ""
        text = text[: cut.start()] if cut else text
        at = 0
        for code in _CODE.finditer(text):
            self._write(text[at : code.start()])
            self._do(code)
            at = code.end()
        self._write(text[at:])

    def _write(self, text: str) -> None:
        for character in text:
            if character == "\n":
                self._down()
            elif character == "\r":
                self.column = 0
            elif character == "\b":
                self.column = max(0, self.column - 1)
            elif character.isprintable():
                self._put(character)
            else:
                raise AssertionError(f"a control character was written: {character!r}")

    def _put(self, character: str) -> None:
        width = cell_len(character)
        if self.column + width > self.width:
            self.column = 0
            self._down()
        self.cells[self.row][self.column] = character
        for i in range(1, width):
            self.cells[self.row][self.column + i] = ""
        self.column += width

    def _down(self) -> None:
        if self.row == self.height - 1:
            self.cells = [*self.cells[1:], [" "] * self.width]
        else:
            self.row += 1

    def _do(self, code: re.Match[str]) -> None:
        if code["osc"] is not None:
            self.links += [code["osc"]] if code["osc"].startswith("8;;f") else []
            return
        args, end = code["args"], code["end"]
        number = int(args) if args and args.isdigit() else None
        if end == "H" and not args:
            self.row = self.column = 0
        elif end == "K":
            start = 0 if number == 2 else self.column
            self.cells[self.row][start:] = [" "] * (self.width - start)
        elif end == "J":
            self.cells[self.row][self.column :] = [" "] * (self.width - self.column)
            for row in range(0 if number == 2 else self.row + 1, self.height):
                self.cells[row] = [" "] * self.width
        elif end == "A":
            self.row = max(0, self.row - (number or 1))
        elif end == "m":
            self.colours += bool(re.search(r"(?:^|;)(?:3[0-7]|38|9[0-7]|4[0-7])", args or ""))
        elif end in "hl" and args == "?1049":
            self.alternate = end == "h"
            self.clear()
        elif end in "hl" and args == "?25":
            self.cursor_shown = end == "h"
        elif end in "hl" and args == "?2004":
            self.brackets_pastes = end == "h"
        else:
            raise AssertionError(f"the screen does not know {code[0]!r}")


class Terminal:
    """A program that runs in a pseudo-terminal of so many columns and rows."""

    def __init__(self, command, *, width=80, height=24, **environment):
        self.screen = Screen(width, height)
        self.master, far = pty.openpty()
        self.before = termios.tcgetattr(far)
        fcntl.ioctl(far, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
        names = ("NO_COLOR", "COLUMNS", "LINES", "TERM_PROGRAM", "VTE_VERSION", "FORCE_COLOR")
        kept = {name: value for name, value in os.environ.items() if name not in names}
        kept |= {"TERM": "xterm-256color", "LANG": "C.UTF-8", "PYTHONUTF8": "1"}
        self.process = subprocess.Popen(
            command, stdin=far, stdout=far, stderr=far, env=kept | environment,
            preexec_fn=lambda: (os.setsid(), fcntl.ioctl(0, termios.TIOCSCTTY, 0)),  # noqa: PLW1509
        )  # fmt: skip
        self.far = far

    def resize(self, width: int, height: int) -> None:
        """Give the terminal another size."""
        self.screen = Screen(width, height)
        fcntl.ioctl(self.far, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    def press(self, keys: str) -> None:
        """Type."""
        os.write(self.master, keys.encode())

    def read(self, seconds: float = 0.1) -> None:
        """Take in what is written within a time."""
        if select.select([self.master], [], [], seconds)[0]:
            self.screen.feed(os.read(self.master, 65536).decode("utf-8", "replace"))

    def wait_for(self, *words: str, seconds: float = 60.0) -> str:
        """The screen, as soon as all these words stand on it."""
        end = time.monotonic() + seconds
        while not all(word in self.screen.text for word in words):
            missing = [word for word in words if word not in self.screen.text]
            assert time.monotonic() < end, f"{missing} never came up on:\n{self.screen.text}"
            self.read()
        return self.screen.text

    def insist(self, key: str, *words: str, seconds: float = 60.0) -> str:
        """Press a key, again every 0.3 s, until all these words stand on the screen.

        Only while the program takes keys: one that ends has given the terminal its echo back,
        and a key pressed then would be written into what it says last.
        """
        end = time.monotonic() + seconds
        due = 0.0
        while not all(word in self.screen.text for word in words):
            assert time.monotonic() < end, f"{words} never came up on:\n{self.screen.text}"
            if self.takes_keys and time.monotonic() >= due:
                self.press(key)
                due = time.monotonic() + 0.3
            self.read()
        return self.screen.text

    def leave(self, seconds: float = 30.0) -> int:
        """Wait for the end; the exit status."""
        end = time.monotonic() + seconds
        while self.process.poll() is None:
            assert time.monotonic() < end, f"it does not end:\n{self.screen.text}"
            self.read()
        while select.select([self.master], [], [], 0.1)[0]:
            self.read()
        return self.process.returncode

    @property
    def takes_keys(self) -> bool:
        """Whether a program reads keys one by one, without their echo."""
        return not termios.tcgetattr(self.far)[3] & termios.ICANON

    @property
    def restored(self) -> bool:
        """Whether the terminal is as it was before."""
        as_before = termios.tcgetattr(self.far) == self.before
        screen = self.screen
        plain = screen.cursor_shown and not screen.alternate and not screen.brackets_pastes
        return as_before and plain

    def hang_up(self) -> None:
        """Take the terminal away."""
        for file in (self.master, self.far):
            with suppress(OSError):  # it was taken away before
                os.close(file)
        self.master = self.far = -1

    def close(self) -> None:
        """End the program."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.hang_up()
