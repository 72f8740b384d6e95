"""tito when things are wrong: a tree with holes, a report that cannot be used, a signal."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tito.cli import main
from tito.files import write_atomic
from tito.manifest import MANIFEST_FILE
from tito.report import load_report

GIT = ["git", "-c", "user.name=s", "-c", "user.email=s@example.org"]


@pytest.fixture
def small(tree, ladder):
    """A tree with modules 00 to 02."""
    for rung in ladder.checkpoints[3:]:
        (tree / "modules" / rung.folder).rename(tree.parent / rung.folder)
        (tree / rung.file).unlink()
    return tree


@pytest.fixture
def say(capsys):
    """A function that runs tito in this process; returns its exit status and all it printed."""

    def run(tree: Path, words: str) -> tuple[int, str]:
        status = main(["-C", str(tree), *words.split()])
        captured = capsys.readouterr()
        return status, " ".join((captured.out + captured.err).split())

    return run


def change(tree: Path, file: str, old: str, new: str) -> None:
    path = tree / file
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


# What is typed


@pytest.mark.parametrize(
    "words", ["grade", "checkpoint run 00", "checkpoint test 00", "module complete 00"]
)
def test_a_seed_that_is_none_is_refused_before_anything_runs(small, say, words):
    for seed in ("-1", "9007199254740992", "five"):
        status, said = say(small, f"{words} --seed {seed}")
        assert status == 2
        assert f"a seed is a whole number from 0 on, not '{seed}'" in said


def test_a_wrong_command_is_held_against_all_commands(small, say):
    assert "did you mean: tito module" in say(small, "modul test 01")[1]
    (small / "test").mkdir()
    status = main(["-C", str(small / "test" / ".."), "status"])
    assert status == 0


HELP = "|grade|status|checkpoint run|checkpoint new|checkpoint test|checkpoint profile|test|watch"
HELP += "|checkpoint hint|module complete|module graph|update|notebook sync|completion|release"
HELP += "|milestone plan|report publish|start|dev check"


@pytest.mark.parametrize("words", HELP.split("|"))
def test_help_fits_eighty_columns(words, capsys, monkeypatch):
    from tito.cli.parser import Help

    monkeypatch.setenv("COLUMNS", "80")
    Help.columns.cache_clear()
    with pytest.raises(SystemExit):
        main([*words.split(), "--help"])
    Help.columns.cache_clear()
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


# A tree with holes


def test_a_module_that_is_gone_is_brought_back_first(small, say):
    """It passed, so the tree had it: nothing is all right until it is back."""
    say(small, "grade")
    (small / "modules" / "01_tensor").rename(small.parent / "gone")
    status, said = say(small, "status")
    assert status == 0
    assert "next git checkout HEAD -- modules/01_tensor" in said
    assert "modules/01_tensor/tensor.py is gone" in said


def test_a_module_that_was_emptied_is_not_written(small, say):
    """No stub is left in it, and no step either: whoever reads it says how to bring it back."""
    file = "modules/01_tensor/tensor.py"
    say(small, "grade")
    (small / file).write_text("\n", encoding="utf-8")
    for words in ("test 01", "module start 01", "module list"):
        said = say(small, words)[1]
        assert f"{file}:1: is empty; bring it back with: git checkout HEAD -- {file}" in said, words
    said = say(small, "")[1]
    assert "01 tensor: Can I" in said
    assert "its file is empty" in said
    assert f"next git checkout HEAD -- {file} {file} is empty; this brings it back" in said


def test_without_any_module_nothing_is_all_right(small, say):
    say(small, "grade")
    (small / "modules").rename(small.parent / "gone")
    assert "next git checkout HEAD -- modules " in say(small, "")[1]
    status, said = say(small, "test --all")
    assert (status, "no module folder under modules/" in said) == (2, True)
    status, said = say(small, "grade")
    assert "problem there is no module folder under modules/; bring them back with" in said
    assert status == 0, "a report was written"


def test_the_doctor_finds_what_git_has_and_the_tree_has_not(small, say):
    """A file of the course or a module: anything that was committed."""
    subprocess.run([*GIT, "init", "-q"], cwd=small, check=True)
    subprocess.run([*GIT, "add", "-A"], cwd=small, check=True)
    subprocess.run([*GIT, "commit", "-qm", "all"], cwd=small, check=True)
    assert "✓ tree" in say(small, "system doctor")[1]
    (small / "tinytorch" / "nn" / "functional.py").unlink()
    (small / "modules" / "02_activations" / "README.md").unlink()
    status, said = say(small, "system doctor")
    assert status == 1
    assert "✗ tree modules/02_activations/README.md and 1 more files are missing" in said
    assert "git checkout HEAD -- modules/02_activations tinytorch/nn" in said


def test_the_doctor_cannot_overlook_a_broken_ladder(small, say):
    with open(small / "checkpoints" / "ladder.toml", "a", encoding="utf-8") as file:
        file.write("x=\n")
    status, said = say(small, "system doctor")
    assert status == 1
    assert "✗ tree checkpoints/ladder.toml: not valid TOML" in said
    assert "git checkout HEAD -- checkpoints/ladder.toml" in said


def test_a_module_that_was_reset_is_begun_anew(small, say):
    """Its last result says passed; its steps are to be written all the same."""
    say(small, "grade")
    say(small, "module reset 01")
    said = say(small, "")[1]
    assert "next tito module start 01" in said
    assert "open modules/01_tensor/tensor.py:" in said


# A report that cannot be used


def test_a_damaged_report_is_named_by_whoever_reads_or_replaces_it(small, say):
    say(small, "grade")
    (small / "report.json").write_text('{"schema_version": 1', encoding="utf-8")
    for words in ("checkpoint timeline", "checkpoint hint 01", "status", "checkpoint unlock"):
        assert "the report cannot be used: report.json" in say(small, words)[1], words
    said = say(small, "checkpoint run 00")[1]
    assert "report.json cannot be used" in said
    assert "it is begun anew with this run alone; tito grade makes a whole one" in said
    assert load_report(small / "report.json").by_id["00"].status == "passed"


def test_a_report_of_a_newer_tito_asks_for_an_update(small, say):
    """What a release made can take in a newer one; whoever replaces the report says so."""
    say(small, "checkpoint run 00")
    report = small / "report.json"
    newer = report.read_text(encoding="utf-8").replace('_version": 1', '_version": 2', 1)
    report.write_text(newer, encoding="utf-8")
    (small / MANIFEST_FILE).parent.mkdir(parents=True, exist_ok=True)
    (small / MANIFEST_FILE).write_text("{}", encoding="utf-8")
    said = say(small, "")[1]
    assert "next tito update" in said
    assert "written by a newer tito: schema version 2, this one reads 1" in said
    assert "bring this tree's scripts up to date with: tito update" in said
    (small / MANIFEST_FILE).unlink()
    assert "next tito update" not in say(small, "")[1]
    said = say(small, "module complete 00")[1]
    assert "report.json cannot be used (written by a newer tito" in said
    assert "it is begun anew with this run alone; tito grade makes a whole one" in said


def test_what_could_not_be_written_is_named_after_the_verdict(small, say):
    """The target and not the temporary file beside it; and what ran is shown all the same."""
    (small / "report.json").mkdir()
    status, said = say(small, "checkpoint run 00")
    assert status == 2
    assert "✓ 00 environment: passed" in said
    assert "report.json: is a directory; rename it, or remove it" in said
    assert ".tmp" not in said


def test_a_directory_in_the_report_s_place_is_called_one(small, say):
    """No grading mends it: whoever reads the report says what does."""
    (small / "report.json").mkdir()
    for words in ("", "status", "grade", "report show", "checkpoint status", "checkpoint run 00"):
        said = say(small, words)[1]
        assert "is a directory" in said, words
        assert "rename it, or remove it" in said, words
        assert "no report.json yet" not in said, words
        assert "begun anew" not in said, words


def test_an_error_of_writing_names_its_target(tmp_path, monkeypatch):
    def refuse(*paths):
        raise OSError(28, "No space left on device", *paths)

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="No space left") as caught:
        write_atomic(tmp_path / "report.json", "text")
    assert caught.value.filename == str(tmp_path / "report.json")
    assert not list(tmp_path.iterdir())


# A failure and its place


def test_the_step_is_that_of_the_line_to_open(small, say):
    """One test calls every function: the step is the one whose function was wrong."""
    wrong = "return np.maximum(x, 0).reshape(-1)"
    change(small, "modules/02_activations/activations.py", "return np.maximum(x, 0)", wrong)
    say(small, "export")
    say(small, "checkpoint run 02")
    failures = [t.failure for t in load_report(small / "report.json").by_id["02"].tests]
    from tito.source import parse

    path = small / "modules" / "02_activations" / "activations.py"
    module = parse(path.read_text(encoding="utf-8"), "activations.py")
    placed = [f for f in failures if f and f.line and "02_activations" in (f.file or "")]
    assert placed
    for failure in placed:
        assert module.step_of(failure.line) in (failure.step, None), failure.headline


def test_a_hint_for_a_module_that_cannot_be_read_is_how_to_mend_it(small, say):
    change(small, "modules/02_activations/activations.py", "def relu(x", "def relu((x")
    say(small, "grade")
    said = say(small, "checkpoint hint 02")[1]
    assert re.search(r"activations.py:\d+ cannot be imported: syntax error", said)
    assert "hint 1 every test of this module waits until it can be imported" in said
    (small / "modules" / "02_activations" / "activations.py").write_bytes(b"\xff")
    status, said = say(small, "checkpoint hint 02")
    assert status == 2
    assert "modules/02_activations/activations.py:1: is not UTF-8 text" in said


# Unit tests

TENSOR = "modules/01_tensor/tensor.py"
MATMUL = "test_arithmetic_clip_and_matmul"


def units_of(tree, ladder, *arguments, seconds=30.0, tell=lambda name: None, module="01"):
    """Run the unit tests of a module."""
    from tito.unittests import check_unit_tests, following

    rung, runner = ladder.by_id[module], following(tell, seconds=seconds)
    return check_unit_tests(tree, ladder, rung, arguments, runner=runner)


def breaking(tree, code):
    """Let matmul of module 01 do something first."""
    wrong = f"{code}\n    return a @ b"
    change(tree, "modules/01_tensor/tensor.py", "return a @ b", wrong)


def test_a_unit_test_that_never_ends_is_ended(small, ladder):
    """It is named, with the line that ran and what may be the cause."""
    breaking(small, "while True: pass")
    names: list[str] = []
    units = units_of(small, ladder, "-k", "matmul", seconds=8, tell=names.append)
    assert names == [MATMUL]
    assert not units.ok
    failure = units.failures[0]
    assert failure.headline == f"{MATMUL}: not done in 8 s"
    assert failure.hint == "does a loop never end? what changes from one round to the next?"
    text = (small / "modules/01_tensor/tensor.py").read_text(encoding="utf-8").splitlines()
    assert text[failure.line - 1].strip() == "while True: pass"
    assert failure.step == 5
    assert failure.command == f"tito test 01 -k {MATMUL}"


def test_an_import_that_never_ends_names_its_line(small, ladder):
    path = "modules/01_tensor/tensor.py"
    change(small, path, "@primitive\ndef matmul", "while True: pass\n\n\n@primitive\ndef matmul")
    failure = units_of(small, ladder, seconds=5).failures[0]
    assert "importing the module: not done in 5 s" in failure.headline
    text = (small / path).read_text(encoding="utf-8").splitlines()
    assert text[failure.line - 1] == "while True: pass"


IMPORTS = "import math\nfrom collections"


@pytest.mark.parametrize(
    ("old", "new", "fact"),
    [
        ('Op("add"', 'Opp("add"', "NameError: name 'Opp' is not defined"),
        (IMPORTS, "import maths\nfrom collections", "ModuleNotFoundError: No module named 'maths'"),
        (f"def {MATMUL}():", f"def {MATMUL}(:", "syntax error: invalid syntax"),
    ],
)
def test_a_module_that_cannot_be_imported_names_the_line(small, ladder, old, new, fact):
    """In the headline and in the place to open, from a later module too."""
    change(small, TENSOR, old, new)
    rows = (small / TENSOR).read_text(encoding="utf-8").splitlines()
    line = next(n for n, row in enumerate(rows, 1) if new.partition("\n")[0] in row)
    headline = f"tensor.py:{line} cannot be imported: {fact}"
    own = units_of(small, ladder).failures[0]
    assert (own.headline, own.file, own.line) == (headline, TENSOR, line)
    assert own.step == (None if new.startswith("import") else 5)
    if MATMUL in new:  # a unit test is no part of what the later module imports
        return
    later = units_of(small, ladder, module="02").failures[0]
    assert (later.headline, later.file, later.line) == (headline, TENSOR, line)
    assert later.hint == "an earlier module comes first: tito test 01"


def test_what_a_module_says_at_import_is_told_in_full(small, ladder):
    """The call that went wrong is the line to open, and not the earlier module that refused it."""
    path = "modules/02_activations/activations.py"
    refused = "Tensor([1.0], dtype='no such type, and a name that is too long for a headline')"
    change(small, path, "import normal_cdf\n", f"import normal_cdf\n\n{refused}\n")
    failure = units_of(small, ladder, module="02").failures[0]
    rows = (small / path).read_text(encoding="utf-8").splitlines()
    assert (failure.file, rows[failure.line - 1]) == (path, refused)
    assert failure.headline.endswith("…")
    assert "too long for a headline" in failure.got


DIFFERENCE = "- a == c\n?      ^\n+ a == b\n?      ^"
LONG = "[10.25, 20.25, 30.25, 40.25]"


@pytest.mark.parametrize(
    ("code", "expected", "got"),
    [
        ("assert [len('ab')] == [4]", "[len('ab')] == [4]", "[2]\n  At index 0 diff: 2 != 4"),
        ("assert len('ab') < 2", "len('ab') < 2", "2"),
        ("assert len('ab') in (1, 3), 'one or three'", "len('ab') in (1, 3)", "2"),
        ("x = None; assert x is not None", "x is not None", "None"),
        (
            f"x = {LONG}; y = x[:2]; assert x == y",
            "x == y\nwhere y is [10.25, 20.25]",
            f"{LONG}\n  Left contains 2 more items, first extra item: 30.25",
        ),
        # What cannot be told apart, and a left side that is no value of the code.
        ("x = 'a == b'; assert x == 'a == c'", "x == 'a == c'", DIFFERENCE),
        ("assert 3 == len('ab')", "3 == len('ab')", ""),
        ("x = 1; assert x + 1 == 3", "x + 1 == 3", ""),
        ("assert len is print", "len is print", ""),
    ],
)
def test_what_was_got_is_the_left_side_of_an_assertion(small, ladder, code, expected, got):
    old = f"def {MATMUL}():"
    change(small, TENSOR, old, f"{old}\n    {code}")
    failure = units_of(small, ladder, "-k", "matmul").failures[0]
    assert (failure.expected, failure.got) == (expected, got)


KEYBOARD = "input() waits for a keyboard, and there is none here: give the value in the code"


def test_a_question_at_import_has_nobody_to_answer_it(small, ladder):
    change(
        small, TENSOR, "import numpy as np\n", "import numpy as np\nname = input('your name? ')\n"
    )
    failure = units_of(small, ladder).failures[0]
    rows = (small / TENSOR).read_text(encoding="utf-8").splitlines()
    assert rows[failure.line - 1] == "name = input('your name? ')"
    assert failure.headline == f"tensor.py:{failure.line} cannot be imported: input() was called"
    assert (failure.hint, failure.got) == (KEYBOARD, "")


def test_a_question_in_a_unit_test_has_nobody_to_answer_it(small, ladder):
    breaking(small, "input('go on? ')")
    failure = units_of(small, ladder, "-k", "matmul").failures[0]
    assert failure.headline == f"{MATMUL}: input() was called"
    assert (failure.hint, failure.got, failure.step) == (KEYBOARD, "", 5)


@pytest.mark.parametrize("code", ["while True: pass", "__import__('os')._exit(0)"])
def test_one_test_that_does_not_end_costs_no_other_its_result(small, ladder, code):
    """What passed before it is said, and where it was."""
    breaking(small, code)
    units = units_of(small, ladder, seconds=8)
    assert (units.passed, units.ran, units.ok) == (4, False, False)
    assert [test.status for test in units.tests] == ["passed"] * 4 + ["failed"]
    assert units.failures[0].headline.startswith(f"{MATMUL}: ")
    assert units.failures[0].hint.startswith("does ")


def test_completing_a_module_counts_its_unit_tests_as_they_were(small, say):
    """Some had passed before the one that ended all of them."""
    breaking(small, "__import__('os')._exit(0)")
    count = "4 of 5 passed, and the rest did not run"
    assert (
        f"1 unit tests ✗ {count} {MATMUL}: the process ended" in say(small, "module complete 01")[1]
    )
    assert count in say(small, "test 01")[1]


def test_the_headline_of_a_unit_test_that_did_not_end_fits(root, ladder, tmp_path):
    """For every name in the course, with nothing left out."""
    from tito.source import parse
    from tito.unit_outcomes import Places, Stopped, stopped

    for rung in ladder.checkpoints:
        module = parse((root / rung.source).read_text(encoding="utf-8"), rung.source)
        places = Places(ladder, rung, tmp_path, module)
        for name in places.tests:
            for late, fact in ((True, "not done in 30 s"), (False, "the process ended")):
                failure = stopped(Stopped(name, 30.0, late=late), places)
                assert failure.headline == f"{name}: {fact}"


@pytest.mark.skipif(os.name != "posix", reason="process groups are of POSIX")
def test_what_a_unit_test_has_started_ends_with_it(small, ladder, tmp_path):
    """A child holds the output open, and would run on."""
    pid = tmp_path / "pid"
    child = "import os, time; open({!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    start = (
        f"__import__('subprocess').Popen([{sys.executable!r}, '-c', {child.format(str(pid))!r}])"
    )
    breaking(small, f"{start}; __import__('time').sleep(3)")
    begin = time.monotonic()
    assert units_of(small, ladder, "-k", "matmul").passed == 1
    assert time.monotonic() - begin < 60
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            os.kill(int(pid.read_text()), 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail("the child runs on")


def test_a_save_in_the_middle_of_a_run_spoils_nothing(small, ladder):
    """The words and places are those of the text that ran."""
    breaking(small, "assert False, 'as it was'")

    def save(name):
        (small / "modules/01_tensor/tensor.py").write_text("# %%\ndef (\n", encoding="utf-8")

    units = units_of(small, ladder, "-k", "matmul", tell=save)
    assert units.failures[0].headline == f"{MATMUL}: as it was"
    assert units.failures[0].step == 5


def test_a_skipped_unit_test_is_neither(small, ladder):
    path = "modules/01_tensor/tensor.py"
    skip = f"def {MATMUL}():\n    import pytest; pytest.skip('not here')"
    change(small, path, f"def {MATMUL}():", skip)
    units = units_of(small, ladder)
    assert units.ok
    assert MATMUL not in [test.name for test in units.tests]


def test_options_that_do_not_go_together_are_refused(small, say):
    status, said = say(small, "test integration 01 -x")
    assert (status, "-x and --pytest are for unit tests" in said) == (2, True)


# Signals


@pytest.mark.skipif(os.name != "posix", reason="signals are of POSIX")
@pytest.mark.parametrize(("number", "status"), [("SIGTERM", 143), ("SIGHUP", 129), ("SIGINT", 130)])
def test_asked_to_end_it_tidies_up_and_says_what_is_as_it_was(small, tmp_path, number, status):
    """Nothing is left in the temporary folder, and no worker runs on."""
    rooms = tmp_path / "rooms"
    rooms.mkdir()
    loop = "while True: pass\n    return a @ b"
    change(small, "modules/01_tensor/tensor.py", "return a @ b", loop)
    command = [sys.executable, "-P", "-m", "tito", "-C", str(small), "grade"]
    environment = os.environ | {"TMPDIR": str(rooms)}
    with subprocess.Popen(
        command, env=environment, text=True, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
    ) as process:
        while not any(rooms.glob("tito-*")) and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(getattr(signal, number))
        _, errors = process.communicate(timeout=60)
    assert process.returncode == status, errors
    assert "report.json and badges/ are as they were" in " ".join(errors.split())
    deadline = time.monotonic() + 20
    while list(rooms.glob("tito-*")) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not list(rooms.glob("tito-*"))
