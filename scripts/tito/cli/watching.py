"""The loop of tito watch: files and keys in, checks and screens out."""

import argparse
import os
import queue
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tito.cli.console import console, quote, say
from tito.cli.timeline import best_charset
from tito.files import FileProblem, read_text
from tito.hints import read as read_hints
from tito.ladder import Checkpoint, Ladder, load_ladder
from tito.progress import load_progress
from tito.recheck import CheckpointDone, Recheck, UnitsDone, changed_steps
from tito.render.lines import Line
from tito.source import ModuleSource, parse
from tito.watch import (
    Begun,
    Check,
    Event,
    Key,
    Noted,
    Quit,
    Reset,
    State,
    advance,
    to_check,
    under_way,
)
from tito.watch_screen import screen

TICK = 0.05  # seconds between two looks at the keyboard
POLL = 0.1  # seconds between two looks at the files
SETTLE = 0.02  # seconds a file must stay as it is: an editor may write it in two parts
LINKING = ("iTerm.app", "WezTerm", "ghostty", "Hyper", "Tabby")


def run(options: argparse.Namespace) -> int:
    """Watch until `q` or Ctrl-C."""
    from tito.cli.main import Usage

    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise Usage(
            "tito watch needs a terminal; without one, use: tito test NN and tito checkpoint run NN"
        )
    ladder = load_ladder(options.root)
    progress = load_progress(options.root, ladder)
    here = [rung.checkpoint for rung in progress.rungs if rung.here]
    if not here:
        raise Usage("this tree has no modules; bring them back with: git checkout HEAD -- modules")
    rung = ladder.find(options.module) if options.module else None
    if rung is not None and rung not in here:
        raise Usage(f"this tree has no modules/{rung.folder}")
    current = progress.current
    rung = rung or (current.checkpoint if current else here[-1])
    watch = Watch(options.root, ladder, State(progress, rung))
    try:
        with terminal() as keys:
            watch.loop(keys)
    finally:
        watch.close()
    step = watch.state.progress.next
    say(f"next: [bold]{step.command}[/]  {quote(step.why)}")
    return 0


class Watch:
    """The loop around the state: files and keys in, checks and screens out."""

    def __init__(self, root: Path, ladder: Ladder, state: State):
        self.root, self.ladder, self.state = root, ladder, state
        self.events: queue.Queue[UnitsDone | CheckpointDone] = queue.Queue()
        self.recheck = Recheck(root, ladder, self.events.put)
        self.files = Files(root, ladder)
        self.parsed: dict[str, ModuleSource | None] = {}
        self.tested: dict[str, ModuleSource | None] = {}
        self.charset = best_charset()
        self.drawn: tuple[Any, ...] = ()
        self.left = False

    def loop(self, keys: "Keys") -> None:
        """Go on until the student leaves."""
        self.recheck.warm()
        for rung in self.files.present():
            self._reparse(rung)
        self.begin(self.state.rung, ())
        looked = 0.0
        while not self.left:
            self.draw(keys.suspended())
            for key in keys.pressed(TICK):
                self.feed(Key(key))
            with suppress(queue.Empty):
                while True:
                    self.feed(self.events.get_nowait())
            if not self.state.waiting and not self.recheck.busy:
                self.recheck.warm()
            if time.monotonic() - looked > POLL:
                looked = time.monotonic()
                for rung in self.files.saved():
                    self.begin(rung, self._reparse(rung))

    def close(self) -> None:
        """End what is running."""
        self.recheck.close()

    def feed(self, event: Event) -> None:
        """Let an event change the state, and do what follows."""
        self.state, commands = advance(self.state, event)
        for command in commands:
            if isinstance(command, Quit):
                self.left = True
            elif isinstance(command, Check):
                self.begin(command.rung, command.steps)
            else:
                self._reset(command)

    def begin(self, rung: Checkpoint, steps: tuple[int, ...]) -> None:
        """Begin to check a module."""
        note, hints = "", {}
        try:
            hints = read_hints(self.root, rung)
        except FileProblem as problem:
            note = str(problem)
        number = self.recheck.check(rung, steps)
        progress = load_progress(self.root, self.ladder)
        self.feed(Begun(number, rung, steps, hints, progress))
        if note:
            self.feed(Noted(note))

    def _reparse(self, rung: Checkpoint) -> tuple[int, ...]:
        """The steps to check of a module: those that changed since it was last tested, and more.

        A version whose tests were overtaken, such as half a save, does not count as one.
        """
        if not under_way(self.state, rung):
            self.tested[rung.id] = self.parsed.get(rung.id)
        before = self.tested.get(rung.id)
        try:
            module = parse(read_text(self.root, rung.source), rung.source)
            module.tree  # noqa: B018 (a syntax error is reported here)
        except FileProblem:
            self.parsed[rung.id] = before  # nothing of it will be tested
            return ()
        self.parsed[rung.id] = module
        return to_check(self.state, rung, changed_steps(before, module))

    def _reset(self, command: Reset) -> None:
        """Bring a module back to its stub, and say where the student's version is."""
        from tito.selfstudy import reset

        try:
            done = reset(self.root, command.rung)
        except (FileProblem, OSError) as error:
            self.feed(Noted(str(error)))
            return
        kept = f"; your version is in {done.kept}" if done.kept else ""
        for rung in self.files.saved():  # it is checked here, with its note
            self._reparse(rung)
        self.begin(command.rung, ())
        self.feed(Noted(f"{done.file} is the stub again{kept}" if done.made else "it is the stub"))

    def draw(self, force: bool = False) -> None:
        """Write the screen if anything on it changed."""
        try:
            width, height = os.get_terminal_size(sys.stdout.fileno())
        except OSError:
            width, height = 80, 24
        width, height = width or 80, height or 24
        now = (self.state, width, height)
        if now == self.drawn and not force:
            return
        self.drawn = now
        rows = screen(self.state, width - 1, height, self.charset)
        text = "\x1b[K\r\n".join(paint(row, self.root) for row in rows)
        sys.stdout.write(f"\x1b[H{text}\x1b[K\x1b[J")
        sys.stdout.flush()


class Files:
    """Which modules were saved: by time and size, and by digest where those differ."""

    def __init__(self, root: Path, ladder: Ladder):
        self.root = root
        self.rungs = ladder.checkpoints
        self.facts = {rung.id: self._look(rung) for rung in self.rungs}
        self.digests = {rung.id: self._digest(rung) for rung in self.rungs}

    def present(self) -> list[Checkpoint]:
        """The modules there are."""
        return [rung for rung in self.rungs if self.facts[rung.id] is not None]

    def saved(self) -> Iterator[Checkpoint]:
        """The module whose content differs from before; the highest first, and one at a time."""
        for rung in reversed(self.rungs):
            facts = self._look(rung)
            if facts == self.facts[rung.id]:
                continue
            time.sleep(SETTLE)
            if self._look(rung) != facts:
                continue  # still being written: the next look sees the end of it
            self.facts[rung.id] = facts
            digest = self._digest(rung)
            if digest != self.digests[rung.id]:
                self.digests[rung.id] = digest
                yield rung
                return

    def _look(self, rung: Checkpoint) -> tuple[int, int, int] | None:
        try:
            found = os.stat(self.root / rung.source)
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _digest(self, rung: Checkpoint) -> bytes | None:
        from tito.files import sha256

        try:
            return sha256((self.root / rung.source).read_bytes()).digest()
        except OSError:
            return None


# The terminal


def links_open() -> bool:
    """Whether a link can be opened here: not over SSH, and where the terminal is known for it.

    The terminal of VS Code, and so of Codespaces, finds `path:line` by itself and jumps to it.
    """
    known = ("VTE_VERSION", "KITTY_WINDOW_ID", "WT_SESSION", "KONSOLE_VERSION")
    if os.environ.get("SSH_CONNECTION") or os.environ.get("TMUX") or os.environ.get("STY"):
        return False
    return os.environ.get("TERM_PROGRAM") in LINKING or any(map(os.environ.get, known))


def paint(row: Line, root: Path) -> str:
    """A line with the codes of its styles and links; without colours where none are wanted."""
    from rich.style import Style

    out = console()
    parts = []
    for text, style, link in row:
        drawn = text
        if style and not out.no_color and out.color_system:
            drawn = Style.parse(style).render(text, legacy_windows=False)
        elif "reverse" in style and out.color_system:
            drawn = f"\x1b[7m{text}\x1b[0m"
        if link and links_open():
            target = (root / link.partition(":")[0]).as_uri()
            drawn = f"\x1b]8;;{target}\x1b\\{drawn}\x1b]8;;\x1b\\"
        parts.append(drawn)
    return "".join(parts)


class Keys:
    """The keyboard, a key at a time, without waiting for the end of a line."""

    def __init__(self) -> None:
        self.again = False

    def suspended(self) -> bool:
        """Whether the process was stopped and has come back since the last look."""
        again, self.again = self.again, False
        return again

    def pressed(self, seconds: float) -> list[str]:
        """The keys pressed within a time."""
        if os.name == "nt":
            import msvcrt

            time.sleep(seconds)
            found = []
            while msvcrt.kbhit():  # type: ignore[attr-defined]
                found.append(msvcrt.getwch())  # type: ignore[attr-defined]
            return found
        import select

        if not select.select([sys.stdin], [], [], seconds)[0]:
            return []
        data = os.read(sys.stdin.fileno(), 64)
        if not data:  # the terminal is gone
            raise SystemExit(0)
        text = data.decode("utf-8", "replace")
        return [] if text.startswith("\x1b") else list(text)  # an arrow or a function key


@contextmanager
def terminal() -> Iterator[Keys]:
    """The alternate screen and single keys; whatever happens, all is put back."""
    keys = Keys()
    restore = _enter()

    def leave(number: int, frame: Any) -> None:
        raise SystemExit(128 + number)

    def pause(number: int, frame: Any) -> None:
        nonlocal restore
        restore()
        os.kill(os.getpid(), signal.SIGSTOP)
        restore = _enter()
        keys.again = True

    handlers = {"SIGTERM": leave, "SIGHUP": leave, "SIGTSTP": pause}
    before = {
        name: signal.signal(getattr(signal, name), handler)
        for name, handler in handlers.items()
        if hasattr(signal, name)
    }
    try:
        yield keys
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)
        restore()


def _enter() -> Any:
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
        undo.append(lambda: termios.tcsetattr(file, termios.TCSADRAIN, saved))
    sys.stdout.write("\x1b[?1049h\x1b[?25l\x1b[2J")
    sys.stdout.flush()

    def restore() -> None:
        with suppress(OSError):
            sys.stdout.write("\x1b[?25h\x1b[?1049l")
            sys.stdout.flush()
        for step in undo:
            with suppress(OSError):
                step()

    return restore
