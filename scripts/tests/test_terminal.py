"""tito as a person sees it: in a pseudo-terminal of 80 columns and 24 rows."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

if sys.platform == "win32":
    pytest.skip("pseudo-terminals are of POSIX", allow_module_level=True)

import screenshots
from terminal import Screen, Terminal

SECRET = 'raise NotImplementedError("module 00, step 1: identity")'


@pytest.fixture
def run():
    """Runs tito in a terminal of its own, which is closed at the end."""
    opened = []

    def start(tree, *words, **how):
        command = [sys.executable, "-P", "-m", "tito", "-C", str(tree), *words]
        opened.append(Terminal(command, **how))
        return opened[-1]

    yield start
    for terminal in opened:
        terminal.close()


@pytest.fixture(scope="module")
def half_way(tmp_path_factory):
    """A tree in which the modules below 06 passed, and 06 is in hand."""
    folder = tmp_path_factory.mktemp("half way")
    screenshots.build_tree(folder)
    return folder


@pytest.fixture
def graded_tree(tree, ladder):
    """The course's own module 00 alone, passed."""
    for rung in ladder.checkpoints[1:]:
        (tree / "modules" / rung.folder).rename(tree.parent / rung.folder)
    command = [sys.executable, "-P", "-m", "tito", "-C", str(tree), "grade", "--seed", "1"]
    subprocess.run(command, check=True, capture_output=True)
    return tree


BRIEF = ["31 of 100 points", "now   ◐ 06 optimizers", "next  tito checkpoint run 06"]
COMMANDS = {
    "": BRIEF,
    "status": ["reflections: 0 of 21 written", "next  tito checkpoint run 06"],
    "checkpoint timeline": ["└─ Milestones 0 of 6 reached", "next: tito checkpoint run 06"],
    "checkpoint timeline --horizontal": ["Foundation      Architecture", "2018 MLPerf"],
    "module list": ["20 capstone", "06 optimizers    6 of 12 tests"],
}


@pytest.mark.parametrize("words", COMMANDS)
@pytest.mark.parametrize("colour", [True, False], ids=["colour", "NO_COLOR"])
def test_the_commands_of_every_day(half_way, run, words, colour):
    """The end of what they print stands on the screen; no line is broken in two by the edge."""
    terminal = run(half_way, *words.split(), **({} if colour else {"NO_COLOR": "1"}))
    assert terminal.leave() == 0
    for expected in COMMANDS[words]:
        assert expected in terminal.screen.text, terminal.screen.text
    assert bool(terminal.screen.colours) == colour
    assert terminal.restored


def test_a_rung_of_the_status_is_a_line_on_60_columns(half_way, run, ladder):
    """With its points at the end of it."""
    terminal = run(half_way, "status", width=60, height=60)
    assert terminal.leave() == 0
    for c in ladder.checkpoints:
        row = next(r for r in terminal.screen.text.splitlines() if f" {c.id} {c.module} " in r)
        assert row.rstrip().endswith(f" of {c.points:>2}"), terminal.screen.text


@pytest.mark.parametrize("words", ["checkpoint run 00", "test 00", "module complete 00"])
def test_what_lasts_names_the_test_that_runs(graded_tree, run, ladder, words):
    """It does not wait for the first test to end; Ctrl-C ends it and says where it was."""
    _hang(graded_tree / ladder.by_id["00"].source)
    run(graded_tree, "export").leave()
    terminal = run(graded_tree, *words.split())
    terminal.wait_for("test_identity")
    terminal.press("\x03")
    assert terminal.leave() == 130
    assert "interrupted" in terminal.screen.text


@pytest.mark.parametrize("words", ["checkpoint timeline", "checkpoint timeline --horizontal"])
@pytest.mark.parametrize("how", [{"TERM": "linux"}, {"PYTHONIOENCODING": "ascii"}])
def test_a_poor_terminal_gets_ascii(half_way, run, words, how):
    """On 40 columns, too."""
    terminal = run(half_way, *words.split(), width=40, **how)
    assert terminal.leave() == 0
    assert terminal.screen.text.isascii()
    assert "[>] 2018 MLPerf" in terminal.screen.text


@pytest.mark.slow
def test_watch_from_save_to_screen(graded_tree, run, ladder):
    """A pass, a broken save, a failure with its hint, a deleted file, and out again."""
    rung = ladder.by_id["00"]
    path = graded_tree / rung.source
    good = path.read_text(encoding="utf-8")
    terminal = run(graded_tree, "watch", "00")
    drawn = terminal.wait_for("environment passed", "unit tests pass", "q quit")
    assert "tito watch  00 setup" in drawn
    assert terminal.screen.alternate
    path.write_text(good.replace("\nimport ", "\nimp ort ", 1), encoding="utf-8")
    terminal.wait_for("syntax error", "look at   modules/00_setup/setup.py:")
    begin = good.index("### BEGIN SOLUTION")
    wrong = good[:begin] + "### BEGIN SOLUTION\n    " + SECRET + good[begin + 18 :]
    path.write_text(wrong, encoding="utf-8")
    terminal.wait_for("not written yet", "look at", "environment: ")
    terminal.press("h")
    terminal.wait_for("hint 1 of ")
    terminal.press("l")
    terminal.wait_for("l closes the list", "20 capstone")
    terminal.press("t")
    terminal.wait_for("Foundation      Architecture")
    terminal.press("r")
    terminal.wait_for("bring 00_setup back to its stub?")
    terminal.insist("n", "nothing was reset")
    path.unlink()
    terminal.wait_for("is missing")
    path.write_text(good, encoding="utf-8")
    terminal.wait_for("environment passed", "unit tests of step 1 pass")
    terminal.press("r")
    terminal.wait_for("bring 00_setup back to its stub?")
    terminal.insist("y", "is the stub again; your version is kept")
    terminal.wait_for("cp .tito/kept/modules/00_setup/setup-1.py \\\nmodules/00_setup/setup.py\n")
    terminal.wait_for("not written yet")
    path.write_text(good, encoding="utf-8")
    terminal.wait_for("environment passed")
    terminal.resize(50, 12)
    terminal.wait_for("00 setup", "environment passed", "uit")
    terminal.press("q")
    assert terminal.leave() == 0
    assert terminal.restored
    assert "next: " in terminal.screen.text


@pytest.mark.slow
def test_a_test_that_hangs_does_not_hold_the_loop(graded_tree, run, ladder):
    """Keys work meanwhile; the test is named when its time is up; the next save is answered."""
    path = graded_tree / ladder.by_id["00"].source
    good = path.read_text(encoding="utf-8")
    terminal = run(graded_tree, "watch", "00", NO_COLOR="1")
    terminal.wait_for("environment passed")
    _hang(path)
    terminal.wait_for("running: 0 of ", " s, test_")
    terminal.press("l")
    terminal.wait_for("l closes the list")
    terminal.press("l")
    drawn = terminal.wait_for("not done in 10 s")
    place = good[: good.index("### BEGIN SOLUTION")].count("\n") + 2
    assert f"open  modules/00_setup/setup.py:{place} (step 1)" in drawn
    assert "tito test 00 -k test_" in " ".join(drawn.split())
    path.write_text(good, encoding="utf-8")
    terminal.wait_for("environment passed")
    assert terminal.screen.colours == 0
    terminal.press("q")
    assert terminal.leave() == 0


@pytest.mark.parametrize(
    ("how", "status"),
    [
        ("\x03", 130),
        ("\x1c", 131),
        (signal.SIGTERM, 143),
        (signal.SIGHUP, 129),
        (signal.SIGQUIT, 131),
    ],
)
def test_however_it_ends_the_terminal_is_as_before(graded_tree, run, how, status):
    """Ctrl-C, Ctrl-\\, a kill, a lost connection."""
    terminal = run(graded_tree, "watch")
    terminal.wait_for("q quit")
    if isinstance(how, str):
        terminal.press(how)
    else:
        os.kill(terminal.process.pid, how)
    assert terminal.leave() == status
    assert terminal.restored


def _parents():
    """Every process with its parent and the time it began, as /proc has them; no zombies."""
    found = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):
            fields = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()
            if fields[0] not in "ZX":
                found[int(name)] = int(fields[1]), fields[19]
    return found


def _below(pid):
    """The processes below one, each as (pid, the time it began)."""
    parents = _parents()
    family = {pid}
    while more := {p for p, (parent, _) in parents.items() if parent in family} - family:
        family |= more
    return {(p, parents[p][1]) for p in family - {pid}}


def _hang(path):
    """Let the first step of a module never end."""
    text = path.read_text(encoding="utf-8")
    begin = text.index("### BEGIN SOLUTION") + len("### BEGIN SOLUTION")
    path.write_text(text[:begin] + "\n    while True: pass" + text[begin:], encoding="utf-8")


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
@pytest.mark.parametrize("how", ["SIGKILL", "SIGTERM twice", "Ctrl-C thrice", "closed"])
def test_nothing_outlives_watch(tree, tmp_path, run, ladder, how):
    """While a test hangs: no process remains however watch ends, and no folder if it can help."""
    _hang(tree / ladder.by_id["00"].source)
    folder = tmp_path / "tmp"
    folder.mkdir()
    terminal = run(tree, "watch", "00", TMPDIR=str(folder))
    terminal.wait_for("0 of ", " tests", "running the checkpoint")
    soon = time.monotonic() + 30
    while len(family := _below(terminal.process.pid)) < 4:
        # the session, its fork server, the keeper, the unit tests
        assert time.monotonic() < soon, family
        time.sleep(0.02)
    if how == "closed":
        os.kill(terminal.process.pid, signal.SIGHUP)
        terminal.hang_up()
    elif how == "Ctrl-C thrice":
        terminal.press("\x03\x03\x03")
    else:
        name, _, twice = how.partition(" ")
        for _ in range(2 if twice else 1):
            os.kill(terminal.process.pid, getattr(signal, name))
    terminal.process.wait(30)
    end = time.monotonic() + 30
    left = family
    while left := {(p, began) for p, began in left if _parents().get(p, (0, ""))[1] == began}:
        assert time.monotonic() < end, f"still running: {left}"
        time.sleep(0.05)
    while how != "SIGKILL" and os.listdir(folder):
        assert time.monotonic() < end, f"left behind: {os.listdir(folder)}"
        time.sleep(0.05)


@pytest.mark.parametrize("text", ["try it\n", "\x1b[200~try\ry\x1b[201~"], ids=["typed", "pasted"])
def test_a_text_meant_for_another_window_resets_nothing(tree, run, ladder, text):
    """Neither at once, nor letter by letter."""
    path = tree / ladder.by_id["00"].source
    before = path.read_bytes()
    terminal = run(tree, "watch", "00")
    terminal.wait_for("q quit")
    terminal.press(text)
    terminal.insist("l", "l closes the list")
    terminal.insist("l", "tito watch")
    if not text.startswith("\x1b"):
        for letter in text:
            terminal.press(letter)
            terminal.read(0.02)
    terminal.insist("q", "next: ")
    assert terminal.leave() == 0
    assert path.read_bytes() == before
    assert not (tree / ".tito" / "kept").exists()


def test_a_terminal_that_draws_no_screen(tree, run):
    """It is told so, and gets no code that it cannot follow."""
    terminal = run(tree, "watch", TERM="dumb")
    assert terminal.leave() == 2
    assert "TERM is dumb" in terminal.screen.text


def test_watch_without_standard_input(tree):
    """Closed, not empty: Python has no stream for it then."""
    command = [sys.executable, "-P", "-m", "tito", "-C", str(tree), "watch"]
    done = subprocess.run(
        ["/bin/sh", "-c", 'exec "$@" <&-', "sh", *command],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert "needs a terminal" in done.stderr


def test_the_screen_itself():
    """The model of a terminal: wide characters, wrapping, scrolling, erasing."""
    screen = Screen(6, 2)
    screen.feed("abcdefg\r\n\N{WHITE HEAVY CHECK MARK}x")
    assert screen.text == "g\n\N{WHITE HEAVY CHECK MARK}x"
    screen.feed("\x1b[Hz\x1b")
    screen.feed("[K")
    assert screen.text == "z\n\N{WHITE HEAVY CHECK MARK}x"
    with pytest.raises(AssertionError, match="control character"):
        screen.feed("\a")
