"""`tito start`, `tito module reset` and `tito module solution`, from outside."""

import contextlib
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from releases import (
    LAYERS,
    SOLVED,
    TENSOR,
    commit,
    git,
    lay_out,
    release,
    solve,
    tree,
)

from tito.cli.main import main
from tito.manifest import MANIFEST_FILE, check, load_manifest
from tito.release import build, source_files
from tito.report import load_report

ROOT = Path(__file__).resolve().parents[2]
SETUP = "modules/00_setup/setup.py"


@pytest.fixture(scope="module")
def course(tmp_path_factory) -> Path:
    """The course as a repository of two commits."""
    folder = tmp_path_factory.mktemp("course")
    commit(lay_out(folder, {"README.md": b"Before\n"}), "Begin")
    lay_out(folder, {n: (ROOT / n).read_bytes() for n in source_files(ROOT)})
    commit(folder, "The course")
    return folder


@pytest.fixture
def fork(course: Path, tmp_path: Path) -> Path:
    """A shallow clone of it, in a path with a space and an accent."""
    return clone(course, tmp_path / "my fork é")


@pytest.fixture(scope="module")
def started(course: Path, tmp_path_factory) -> Path:
    """A fork that was started; tests leave it as it is, or work on a copy."""
    root = clone(course, tmp_path_factory.mktemp("started") / "Adas fork")
    leave_generated(root)
    assert main(["-C", str(root), "start", "--yes"]) == 0
    return root


def clone(course: Path, root: Path, *words: str) -> Path:
    git("clone", "--quiet", *(words or ("--depth=1",)), f"file://{course}", str(root), at=course)
    git("config", "user.name", "Ada", at=root)
    git("config", "user.email", "ada@example.org", at=root)
    return root


def leave_generated(root: Path) -> None:
    """What an author's work leaves: exports of solutions, a report, notes."""
    (root / "tinytorch/core/tensor.py").write_text("solved = True\n", encoding="utf-8")
    (root / "report.json").write_text("{}\n", encoding="utf-8")
    (root / "notes.txt").write_text("mine\n", encoding="utf-8")


def tito(root: Path, *words: object) -> int:
    return main(["-C", str(root), *map(str, words)])


def files_of(root: Path) -> dict[str, bytes]:
    names = git("-c", "core.quotePath=false", "ls-files", at=root).split("\n")
    return {n: (root / n).read_bytes() for n in names if (root / n).is_file()}


# Start


def test_a_started_fork_is_the_students_tree(started, course):
    assert files_of(started) == build(course)
    assert check(started, load_manifest(started)).clean
    assert git("status", "--porcelain", at=started) == "?? notes.txt"
    assert not (started / "tinytorch/core/tensor.py").exists()
    assert not (started / "report.json").exists()
    assert not (started / "scripts/tests/test_selfstudy.py").exists()
    assert not (started / ".ci").exists()


def test_the_solutions_stay_in_the_history(started, course):
    before = git("rev-parse", "HEAD", at=course)
    assert git("rev-parse", "course", "HEAD~1", at=started).split() == [before, before]
    assert f"Course-commit: {before}" in git("log", "-1", "--format=%B", at=started)
    assert git("show", f"course:{TENSOR}", at=started) == git("show", f"HEAD:{TENSOR}", at=course)


def test_grading_works_and_begins_at_zero(started, tmp_path):
    root = tmp_path / "a copy"
    git("clone", "--quiet", str(started), str(root), at=tmp_path)
    assert tito(root, "grade") == 0
    report = load_report(root / "report.json")
    assert report.score.points == 0
    assert {c.status for c in report.checkpoints} <= {"not_started", "blocked"}
    assert report.integrity.modified == ()
    assert report.integrity.manifest is not None


def test_without_a_terminal_it_wants_a_yes(fork, capsys):
    head = git("rev-parse", "HEAD", at=fork)
    command = [sys.executable, "-P", "-m", "tito", "-C", str(fork), "start"]
    done = subprocess.run(
        command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )
    assert done.returncode == 2
    assert "tito start --yes" in done.stderr
    assert "stubs to fill in" in done.stdout
    assert git("rev-parse", "HEAD", at=fork) == head
    assert git("branch", "--list", "course", at=fork) == ""


@pytest.mark.parametrize(("answer", "status"), [(b"n\n", 1), (b"\n", 1), (b"\x04", 1), (b"y\n", 0)])
def test_on_a_terminal_it_asks(answer, status, fork):
    head = git("rev-parse", "HEAD", at=fork)
    outer, inner = pty.openpty()
    command = [sys.executable, "-P", "-m", "tito", "-C", str(fork), "start"]
    process = subprocess.Popen(command, stdin=inner, stdout=inner, stderr=inner)
    os.close(inner)
    said = b""
    while b"Go on?" not in said:
        said += os.read(outer, 4096)
    os.write(outer, answer)
    assert process.wait(timeout=60) == status
    os.close(outer)
    assert (git("rev-parse", "HEAD", at=fork) == head) == bool(status)


def test_uncommitted_changes_are_refused(fork, capsys):
    (fork / TENSOR).write_text("unsaved\n", encoding="utf-8")
    assert tito(fork, "start", "--yes") == 2
    assert f"not committed yet: {TENSOR}" in capsys.readouterr().err
    assert (fork / TENSOR).read_text(encoding="utf-8") == "unsaved\n"


def test_something_in_the_way_is_refused(fork, capsys):
    (fork / MANIFEST_FILE).mkdir()
    (fork / MANIFEST_FILE / "mine.txt").write_text("mine\n", encoding="utf-8")
    git("checkout", "--quiet", "-B", "work", at=fork)
    assert tito(fork, "start", "--yes") == 2
    assert MANIFEST_FILE in capsys.readouterr().err
    assert (fork / MANIFEST_FILE / "mine.txt").exists()


def test_a_branch_of_that_name_is_left_alone(course, tmp_path, capsys):
    fork = clone(course, tmp_path / "fork", "--no-single-branch")
    git("branch", "course", "HEAD~1", at=fork)
    mine = git("rev-parse", "course", at=fork)
    assert tito(fork, "start", "--yes") == 0
    assert git("rev-parse", "course", at=fork) == mine
    assert git("rev-parse", "course-2", at=fork) == git("rev-parse", "HEAD~1", at=fork)
    assert "git reset --keep course-2" in capsys.readouterr().out


def test_a_students_tree_cannot_be_started(started, capsys):
    assert tito(started, "start", "--yes") == 2
    assert "a student's tree already" in capsys.readouterr().err


def test_killed_anywhere_the_course_is_whole(fork):
    """Killed while files change: the course comes back, then starts."""
    head, before = git("rev-parse", "HEAD", at=fork), files_of(fork)
    command = [sys.executable, "-P", "-m", "tito", "-C", str(fork), "start", "--yes"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    note = fork / ".git" / "tito-swap"
    while process.poll() is None and not note.exists():
        time.sleep(0.001)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if git("rev-parse", "HEAD", at=fork) == head:
        assert tito(fork, "start") == 2
        assert files_of(fork) == before
        assert git("status", "--porcelain", at=fork) == ""
        assert tito(fork, "start", "--yes") == 0
    assert check(fork, load_manifest(fork)).clean
    assert git("status", "--porcelain", at=fork) == ""


def test_a_started_fork_takes_in_later_releases(started, course, tmp_path):
    """The course's own branch `template` and the fork have no release in common."""
    root, bare = tmp_path / "later", tmp_path / "template"
    git("clone", "--quiet", str(started), str(root), at=tmp_path)
    git("config", "user.name", "Ada", at=root)
    git("config", "user.email", "ada@example.org", at=root)
    text = (root / SETUP).read_text(encoding="utf-8")
    (root / SETUP).write_text(text + "\n# Mine.\n", encoding="utf-8")
    commit(root, "My work")
    files = {p: d for p, d in build(course).items() if p != MANIFEST_FILE}
    files["README.md"] += b"\nMore.\n"
    files[SETUP] = files[SETUP].replace(b"# # ", b"# # Later: ", 1)
    git("init", "--quiet", "--initial-branch=template", str(bare), at=tmp_path)
    commit(lay_out(bare, release(files, "1.9.0")), "Release 1.9.0")
    assert tito(root, "update", "--from", bare) == 0
    assert check(root, load_manifest(root)).clean
    merged = (root / SETUP).read_text(encoding="utf-8")
    assert "# # Later: " in merged
    assert merged.endswith("# Mine.\n")


# Solutions


def test_a_solution_waits_for_the_checkpoint(started, tmp_path, capsys):
    root = tmp_path / "work"
    git("clone", "--quiet", str(started), str(root), at=tmp_path)
    assert tito(root, "module", "solution", "00") == 1
    said = capsys.readouterr().err
    assert "checkpoint 00 has not passed yet" in said
    assert "--spoil" in said
    assert tito(root, "module", "solution", "00", "--spoil", "--step", "1") == 0
    one = capsys.readouterr().out
    assert one.startswith("step 1: ")
    assert "step 2" not in one
    solved = git("show", f"HEAD~1:{SETUP}", at=root) + "\n"
    (root / SETUP).write_text(solved, encoding="utf-8")
    assert tito(root, "module", "complete", "00") == 0
    capsys.readouterr()
    assert tito(root, "module", "solution", "setup") == 0
    assert one.partition("\n")[2].partition("\nstep")[0] in capsys.readouterr().out
    assert tito(root, "module", "solution", "00", "--diff") == 0
    assert "the same as yours" in capsys.readouterr().out


def test_a_diff_against_ones_own(started, capsys):
    assert tito(started, "module", "solution", "01", "--spoil", "--diff", "--step", "1") == 0
    said = capsys.readouterr().out
    assert "-    raise NotImplementedError" in said
    assert "--- yours" in said
    assert tito(started, "module", "solution", "01", "--spoil", "--step", "77") == 2
    assert "no solution in step 77; it has: 1, 2" in capsys.readouterr().err


def test_the_course_shows_its_own(root, capsys):
    assert tito(root, "module", "solution", "01", "--spoil", "--step", "1") == 0
    assert "step 1: " in capsys.readouterr().out


def test_a_repository_from_the_template_has_none(student, capsys):
    assert tito(student, "module", "solution", "01", "--spoil") == 1
    assert "it was made from the template" in capsys.readouterr().err


def test_a_clone_that_lacks_the_commit_says_so(started, tmp_path, capsys):
    root = tmp_path / "shallow"
    git("clone", "--quiet", "--depth=1", f"file://{started}", str(root), at=tmp_path)
    git("update-ref", "-d", "refs/remotes/origin/course", at=root)
    assert tito(root, "module", "solution", "01", "--spoil") == 1
    assert "git fetch --unshallow" in capsys.readouterr().err


# Reset


@pytest.fixture
def student(tmp_path: Path) -> Path:
    """A small repository made from the template."""
    root = lay_out(tmp_path / "Adas tree é", release(tree()))
    commit(root, "Initial commit")
    return root


def test_reset_restores_the_released_stub(student, capsys):
    solve(student, TENSOR, "add")
    mine = (student / TENSOR).read_bytes()
    assert tito(student, "module", "reset", "01") == 0
    assert (student / TENSOR).read_bytes() == tree()[TENSOR]
    kept = ".tito/kept/modules/01_tensor/tensor-1.py"
    assert (student / kept).read_bytes() == mine
    assert f"your version is in {kept}" in capsys.readouterr().out
    assert git("status", "--porcelain", at=student) == ""
    assert check(student, load_manifest(student)).clean
    assert tito(student, "module", "reset", "tensor") == 0
    assert "nothing was changed" in capsys.readouterr().out


def test_no_kept_version_is_overwritten(student):
    for number in range(3):
        solve(student, TENSOR, "add", f"    return {number}\n")
        assert tito(student, "module", "reset", "01") == 0
    folder = student / ".tito/kept/modules/01_tensor"
    texts = [(folder / f"tensor-{n}.py").read_text(encoding="utf-8") for n in (1, 2, 3)]
    assert [f"return {n}\n" in text for n, text in enumerate(texts)] == [True] * 3


def test_a_missing_module_is_restored(student):
    (student / LAYERS).unlink()
    assert tito(student, "module", "reset", "layers") == 0
    assert (student / LAYERS).read_bytes() == tree()[LAYERS]
    assert not (student / ".tito").exists()


def test_unreadable_text_is_kept_byte_for_byte(student):
    (student / TENSOR).write_bytes(b"\xff\x00\r\n")
    assert tito(student, "module", "reset", "01") == 0
    kept = student / ".tito/kept/modules/01_tensor/tensor-1.py"
    assert kept.read_bytes() == b"\xff\x00\r\n"


def test_without_history_the_own_file_is_stripped(tmp_path, capsys):
    root = lay_out(tmp_path / "unpacked", release(tree()))
    solve(root, TENSOR, "add", SOLVED)
    assert tito(root, "module", "reset", "01") == 0
    size = b"    # about 2 lines\n"  # of the solution: the student's own may have another
    assert (root / TENSOR).read_bytes() == tree()[TENSOR].replace(size, b"", 1)
    assert "outside the marks is still there" in capsys.readouterr().out


def test_without_history_or_marks_it_says_what_to_do(tmp_path, capsys):
    root = lay_out(tmp_path / "unpacked", release(tree()))
    mine = tree()[TENSOR].replace(b"    ### END SOLUTION\n", b"", 1)
    (root / TENSOR).write_bytes(mine)
    assert tito(root, "module", "reset", "01") == 2
    said = capsys.readouterr().err
    assert "tito update" in said
    assert "Traceback" not in said
    assert (root / TENSOR).read_bytes() == mine
    assert not (root / ".tito").exists()


def test_the_courses_solutions_are_not_reset(fork, capsys):
    before = (fork / TENSOR).read_bytes()
    assert tito(fork, "module", "reset", "01") == 2
    assert "is the course's own, with solutions" in capsys.readouterr().err
    assert (fork / TENSOR).read_bytes() == before
