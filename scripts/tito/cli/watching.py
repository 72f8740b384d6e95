"""The loop of tito watch: files and keys in, checks and screens out."""

import argparse
import os
import queue
import stat
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from signal import SIGINT
from typing import Any

from tito.cli.console import console, quote, say
from tito.cli.parser import Usage
from tito.cli.terminal import Terminal, at_hand
from tito.cli.timeline import best_charset
from tito.files import FileProblem, read_text
from tito.hints import read as read_hints
from tito.ladder import Checkpoint, Ladder, load_ladder
from tito.progress import REPORT, load_progress
from tito.recheck import CheckpointDone, Recheck, Running, UnitsDone, changed_steps
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
    Ticked,
    advance,
    to_check,
    under_way,
)
from tito.watch_screen import screen

POLL = 0.04  # seconds between two looks at the files
REFLECT = 0.5  # seconds after which a question can be answered: nobody reads it sooner
SETTLE = 0.01  # seconds a file must stay as it is: an editor may write it in two parts
LINKING = ("iTerm.app", "WezTerm", "ghostty", "Hyper", "Tabby")


def run(options: argparse.Namespace) -> int:
    """Watch until `q` or Ctrl-C."""
    if needed := at_hand():
        raise Usage(
            f"tito watch {needed}; without one, use: tito test NN and tito checkpoint run NN"
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
    with Terminal() as terminal:
        watch = Watch(options.root, ladder, State(progress, rung), terminal.wake)
        try:
            with terminal.shown():
                watch.loop(terminal)
        finally:
            watch.close()
    if terminal.leaving == SIGINT:
        raise KeyboardInterrupt
    if terminal.leaving:
        return 128 + terminal.leaving
    step = watch.state.progress.next
    say(f"next: [bold]{step.command}[/]  {quote(step.why)}")
    return 0


class Watch:
    """The loop around the state: files and keys in, checks and screens out.

    `wake` ends the loop's wait for keys; `unchecked` are the modules saved since their last check.
    """

    def __init__(
        self, root: Path, ladder: Ladder, state: State, wake: Callable[[], None] = lambda: None
    ):
        self.root, self.ladder, self.state, self.wake = root, ladder, state, wake
        self.events: queue.Queue[UnitsDone | CheckpointDone | Running] = queue.Queue()
        self.recheck = Recheck(root, ladder, self._told, self.events.put)
        self.files = Files(root, ladder)
        self.parsed: dict[str, ModuleSource | None] = {}
        self.tested: dict[str, ModuleSource | None] = {}
        self.charset = best_charset()
        self.drawn: tuple[Any, ...] = ()
        self.left = False
        self.unchecked: set[str] = set()
        self.began = self.asked = 0.0

    def _told(self, answer: UnitsDone | CheckpointDone) -> None:
        """Have the loop look at an answer at once; from any thread."""
        self.events.put(answer)
        self.wake()

    def loop(self, terminal: Terminal) -> None:
        """Go on until the student leaves."""
        self.recheck.warm()
        for rung in self.files.present():
            self._reparse(rung)
        self.begin(self.state.rung, ())
        while not self.left and not terminal.leaving:
            self.draw(terminal.suspended())
            self.press(terminal.pressed(POLL))
            self.hear()
            if not self.state.waiting and not self.recheck.busy:
                self.recheck.warm()
            self.look()

    def close(self) -> None:
        """End what is running."""
        self.recheck.close()

    def press(self, keys: list[str]) -> None:
        """Do what keys ask for that came together.

        A question is answered only by a key that comes alone, and not at once: not by a text that
        was meant for another window.
        """
        for key in keys:
            asking = self.state.view == "reset"
            if asking and (len(keys) > 1 or time.monotonic() - self.asked < REFLECT):
                continue
            self.feed(Key(key))
            if self.state.view == "reset" and not asking:
                self.asked = time.monotonic()

    def hear(self) -> None:
        """Take in what the check under way has told, and how long it has taken."""
        with suppress(queue.Empty):
            while True:
                event = self.events.get_nowait()
                if isinstance(event, CheckpointDone) and event.check == self.state.check:
                    self.unchecked -= set() if event.trouble else {self.state.rung.id}
                self.feed(event)
        seconds = int(time.monotonic() - self.began)
        if self.state.waiting and seconds != self.state.seconds:
            self.feed(Ticked(seconds))

    def look(self) -> None:
        """Check a module that was saved: the one in hand, else the lowest."""
        saved = self.files.saved()
        self.unchecked |= {rung.id for rung in saved}
        if saved:
            rung = self.state.rung if self.state.rung in saved else saved[0]
            self.begin(rung, self._reparse(rung))  # only what is checked counts as understood

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
        known = self.state.progress.report
        number = self.recheck.check(rung, steps, known)
        self.began = time.monotonic()
        self.unchecked.add(rung.id)
        try:
            hints = read_hints(self.root, rung)
        except FileProblem as problem:
            note = str(problem)
        progress = load_progress(self.root, self.ladder, known or REPORT)
        also = tuple(sorted(self.unchecked - {rung.id}))
        self.feed(Begun(number, rung, steps, hints, progress, also))
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
        from tito.aside import bring_back
        from tito.selfstudy import reset

        try:
            done = reset(self.root, command.rung)
        except (FileProblem, OSError) as error:
            self.feed(Noted(str(error)))
            return
        self.unchecked |= {rung.id for rung in self.files.saved()}
        self._reparse(command.rung)
        self.begin(command.rung, ())  # here, with its note
        told = f"{done.file} is the stub again" if done.made else "it is the stub"
        if done.kept:
            command = bring_back(done.kept, done.file)
            if os.name == "posix":  # in two rows, for a narrow window
                command = " \\\n".join(command.rsplit(" ", 1))
            told += f"; your version is kept, back with:\n{command}"
        self.feed(Noted(told))

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
        with suppress(OSError):  # the terminal is gone, as its keyboard will say
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

    def saved(self) -> list[Checkpoint]:
        """The modules whose content differs from before, in the ladder's order."""
        facts = {rung: self._look(rung) for rung in self.rungs}
        touched = [rung for rung in self.rungs if facts[rung] != self.facts[rung.id]]
        if not touched:
            return []
        time.sleep(SETTLE)
        # One that is still being written is left: the next look sees the end of it.
        return [rung for rung in touched if self._look(rung) == facts[rung] and self._differs(rung)]

    def _differs(self, rung: Checkpoint) -> bool:
        """Whether a module that was touched has another content now."""
        self.facts[rung.id] = self._look(rung)
        before, self.digests[rung.id] = self.digests[rung.id], self._digest(rung)
        return self.digests[rung.id] != before

    def _look(self, rung: Checkpoint) -> tuple[int, ...] | None:
        try:
            found = os.stat(self.root / rung.source)
        except OSError:
            return None
        # What sets the time of a change back cannot set back that of its own doing.
        return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino, found.st_mode

    def _digest(self, rung: Checkpoint) -> bytes | None:
        from tito.files import sha256

        path = self.root / rung.source
        try:
            if not stat.S_ISREG(os.stat(path).st_mode):  # a pipe would wait for its writer
                return b""
            return sha256(path.read_bytes()).digest()
        except OSError:
            return None


# Lines


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
