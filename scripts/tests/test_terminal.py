"""tito as a person sees it: in a pseudo-terminal of 80 columns and 24 rows."""

import os
import signal
import subprocess
import sys

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
    terminal.press("n")
    terminal.wait_for("nothing was reset")
    path.unlink()
    terminal.wait_for("is missing")
    path.write_text(good, encoding="utf-8")
    terminal.wait_for("environment passed", "unit tests of step 1 pass")
    terminal.press("r")
    terminal.wait_for("bring 00_setup back to its stub?")
    terminal.press("y")
    terminal.wait_for("is the stub again; your version is in", "not written yet")
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
    begin = good.index("### BEGIN SOLUTION") + len("### BEGIN SOLUTION")
    path.write_text(good[:begin] + "\n    while True: pass" + good[begin:], encoding="utf-8")
    terminal.wait_for("running the unit tests")
    terminal.press("l")
    terminal.wait_for("l closes the list")
    terminal.press("l")
    terminal.wait_for("not done after 10 s")
    path.write_text(good, encoding="utf-8")
    terminal.wait_for("environment passed")
    assert terminal.screen.colours == 0
    terminal.press("q")
    assert terminal.leave() == 0


@pytest.mark.parametrize(
    ("how", "status"), [("key", 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_however_it_ends_the_terminal_is_as_before(graded_tree, run, how, status):
    """Ctrl-C, a kill, a lost connection."""
    terminal = run(graded_tree, "watch")
    terminal.wait_for("q quit")
    if how == "key":
        terminal.press("\x03")
    else:
        os.kill(terminal.process.pid, how)
    assert terminal.leave() == status
    assert terminal.restored


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
