"""A broken tree is graded all the same: a report appears, and names the file and the mend."""

import subprocess
import sys
from contextlib import suppress

import pytest
from test_export import BROKEN, TENSOR, replace_by

from tito.cli import main
from tito.report import load_report
from tito.source import parse
from tito.strip import strip

with suppress(ImportError):  # there is none on Windows
    import resource


@pytest.fixture
def short_ladder(tree, ladder):
    """A tree with the first three rungs only, quick to grade."""
    for rung in ladder.checkpoints[3:]:
        (tree / rung.file).unlink(missing_ok=True)
        folder = tree / "modules" / rung.folder
        if folder.exists():
            folder.rename(tree.parent / rung.folder)
    return tree


def graded(tree, capsys):
    """Grade a tree as a push would; returns the report and what was printed."""
    assert main(["-C", str(tree), "grade"]) == 0
    return load_report(tree / "report.json"), capsys.readouterr().out


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_module_costs_its_own_points_only(short_ladder, kind, capsys):
    """The file is a problem of the report, its tests are in error, module 00 keeps its points."""
    replace_by(short_ladder, kind)
    report, printed = graded(short_ladder, capsys)
    assert report.by_id["00"].status == "passed"
    broken = report.by_id["01"]
    assert (broken.status, broken.points) == ("error", 0)
    assert report.next.checkpoint == "01"
    (problem,) = report.problems
    assert problem.file == TENSOR
    assert BROKEN[kind] in f"{problem.message}; {problem.mend}"
    assert problem.mend
    for text in (printed, (short_ladder / "summary.md").read_text(encoding="utf-8")):
        assert TENSOR.rpartition("/")[2] in text
    for test in broken.tests:
        assert test.failure.headline.startswith("tensor.py")
        assert " cannot be imported: " in test.failure.headline


def test_a_circular_import_is_explained(short_ladder, capsys):
    """Two modules that import each other fail with Python's own words, and only they fail."""
    path = short_ladder / TENSOR
    old = "import numpy as np\n"
    text = path.read_text(encoding="utf-8")
    assert old in text
    circular = old + "from tinytorch.core.activations import relu\n"
    path.write_text(text.replace(old, circular, 1), encoding="utf-8")
    report, _ = graded(short_ladder, capsys)
    assert report.by_id["00"].status == "passed"
    assert report.by_id["01"].points == report.by_id["02"].points == 0
    failure = report.by_id["01"].tests[0].failure
    assert "circular import" in failure.got


def test_a_stripped_module_is_not_started_and_blocks_the_next(short_ladder, capsys):
    """Stubs of module 01: its tests are not started; module 02 says which step it waits for."""
    path = short_ladder / TENSOR
    text = strip("01", parse(path.read_text(encoding="utf-8"), TENSOR))
    path.write_text(text, encoding="utf-8")
    report, _ = graded(short_ladder, capsys)
    assert report.by_id["01"].status == "not_started"
    later = report.by_id["02"]
    assert later.points == 0
    assert later.blocked_by == ("01",)
    assert "of module 01" in later.tests[0].failure.headline
    assert "tito checkpoint run 01" in later.tests[0].failure.hint


def test_windows_line_ends_and_a_byte_order_mark_score_in_full(short_ladder, capsys):
    """How a file was saved is not graded."""
    path = short_ladder / TENSOR
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    report, _ = graded(short_ladder, capsys)
    failures = [t.name for t in report.by_id["01"].tests if t.failure and t.kind != "performance"]
    assert not failures
    assert not report.problems


def test_an_unreadable_face_is_an_unusable_tree(short_ladder, capsys):
    """A hand-written file of the package is the course's: without it there is no grading."""
    (short_ladder / "tinytorch" / "nn" / "__init__.py").write_bytes(b"\xff")
    assert main(["-C", str(short_ladder), "grade"]) == 2
    error = capsys.readouterr().err
    assert "tinytorch/nn/__init__.py:1: is not UTF-8 text (byte 0xff)" in error


def test_a_broken_ladder_is_an_unusable_tree(short_ladder, capsys):
    """The message names the key."""
    path = short_ladder / "checkpoints" / "ladder.toml"
    path.write_text(path.read_text().replace("points = 6", "points = 60"), encoding="utf-8")
    assert main(["-C", str(short_ladder), "grade"]) == 2
    assert "must sum to 100" in capsys.readouterr().err


def test_a_broken_checkpoint_file_costs_only_itself(short_ladder, capsys):
    """A checkpoint that cannot be collected is in error, with the reason; the others are graded."""
    path = short_ladder / "checkpoints" / "checkpoint_01_foundation.py"
    path.write_text("def broken(:\n", encoding="utf-8")
    report, _ = graded(short_ladder, capsys)
    assert report.by_id["00"].status == "passed"
    assert report.by_id["01"].status == "error"
    assert "could not be collected" in report.by_id["01"].message


def test_what_a_failed_test_leaves_behind_fails_no_other(tree, ladder, capsys):
    """no_grad that never switches recording on again: every test of a gradient comes after it."""
    path = tree / ladder.by_id["05"].source
    text = path.read_text(encoding="utf-8")
    restore = "grad_mode.enabled = self._before.pop()"
    assert text.count(restore) == 1
    path.write_text(text.replace(restore, "self._before.pop()"), encoding="utf-8")
    assert main(["-C", str(tree), "checkpoint", "run", "05", "--seed", "1"]) == 0
    tests = load_report(tree / "report.json").by_id["05"].tests
    wrong = [test.name for test in tests if test.status != "passed"]
    assert "test_no_grad" in wrong
    assert len(wrong) < len(tests) / 5, wrong


def test_an_import_without_end_is_waited_for_once(tree, ladder, capsys):
    """It fails what imports the module, in every checkpoint, and names the line."""
    path = tree / TENSOR
    text = path.read_text(encoding="utf-8")
    begin = "\n# %%\n#| export\n"
    assert text.endswith("\n")
    path.write_text(text + begin + "rounds = 0\nwhile True:\n    rounds += 1\n", encoding="utf-8")
    toml = tree / "checkpoints" / "ladder.toml"
    with toml.open(encoding="utf-8", newline="") as file:
        rungs = file.read()
    quick = rungs.replace('id = "01"\n', 'id = "01"\ntest_seconds = 3\n')
    toml.write_text(quick, encoding="utf-8", newline="")
    assert main(["-C", str(tree), "checkpoint", "run", "01-03", "--seed", "1"]) == 0
    report = load_report(tree / "report.json")
    lines = path.read_text(encoding="utf-8").splitlines()
    for rung in ("01", "02", "03"):
        assert report.by_id[rung].points == 0
        for test in report.by_id[rung].tests:
            assert "tensor.py:" in test.failure.headline
            assert test.failure.file == TENSOR
            assert lines[test.failure.line - 1].strip() in ("while True:", "rounds += 1")
    statuses = [test.status for rung in ("01", "02", "03") for test in report.by_id[rung].tests]
    assert statuses.count("timeout") == 1


def test_a_rule_without_return_is_the_one_to_mend(short_ladder, capsys):
    """It is `apply`, which is right, that refuses what came of it; what it printed is cut short."""
    path = short_ladder / TENSOR
    text = path.read_text(encoding="utf-8")
    old = "    return np.clip(x, min, max)\n"
    assert text.count(old) == 1
    spam = '    for i in range(300):\n        print("round", i)\n    np.clip(x, min, max)\n'
    path.write_text(text.replace(old, spam), encoding="utf-8")
    report, _ = graded(short_ladder, capsys)
    failure = next(t.failure for t in report.by_id["01"].tests if t.failure)
    assert failure.headline == "clip: its rule must return an array of numbers, got None"
    assert "return" in failure.hint
    assert failure.file == TENSOR
    assert text.splitlines()[failure.line - 1].startswith("def clip(")
    first, *others = failure.output.splitlines()
    assert first.endswith(" earlier lines")
    assert others == [f"round {i}" for i in range(280, 300)]


@pytest.mark.skipif(sys.platform != "linux", reason="about limits of the kernel")
def test_a_full_disk_is_nobodys_failure(short_ladder, capsys):
    """The temporary folder takes no more: what was known before stays as it is."""
    graded(short_ladder, capsys)
    before = (short_ladder / "report.json").read_bytes()
    command = [sys.executable, "-P", "-m", "tito", "-C", str(short_ladder), "checkpoint", "run"]
    for kibibytes in (1, 4):
        size = 1024 * kibibytes

        def bound(size=size):
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

        done = subprocess.run(
            [*command, "00"], check=False, capture_output=True, text=True, preexec_fn=bound
        )
        assert done.returncode == 2
        assert "File too large; nothing was left half-written" in done.stderr
        assert (short_ladder / "report.json").read_bytes() == before
