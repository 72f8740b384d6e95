"""The student's tree: what is in it, what must not be, and where it is written."""

import ast
import gzip
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tito import release
from tito.cli.main import main
from tito.files import FileProblem
from tito.ladder import parse_ladder
from tito.manifest import MANIFEST_FILE, digest, is_module, parse_manifest
from tito.release import (
    ReleaseError,
    build,
    is_course_only,
    leaks,
    refuse_leaks,
    select_parts,
    source_files,
    write,
)
from tito.source import BEGIN, END, parse

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def tree() -> dict[str, bytes]:
    return build(ROOT)


@pytest.fixture(scope="module")
def student(tree, tmp_path_factory) -> Path:
    """The released tree in a folder with a space and an accent in its path."""
    folder = tmp_path_factory.mktemp("release") / "Kurs für Ada"
    write(tree, folder, ROOT)
    return folder


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".git" not in path.relative_to(folder).parts
    }


def git(*arguments: str, at: Path) -> str:
    who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    command = ["git", "-C", str(at), *who, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


# What must not be in it


def test_no_line_of_a_solution_can_be_read(tree):
    assert leaks(ROOT, tree) == []


LINE = "gradient[flat[starts]] = np.add.reduceat(rows, starts, axis=0)"


@pytest.mark.parametrize(
    ("path", "data"),
    [
        ("README.md", f"Write `{LINE}` there.\n".encode()),
        ("a.py", f'"""A docstring.\n\n    {LINE}\n"""\n'.encode()),
        ("a.py", f"#   {LINE.replace(' ', '  ')}\n".encode()),
        ("a.py", f"def broken(:\n    {LINE}\n".encode()),
        ("a.ipynb", json.dumps({"source": [f"    {LINE}\n"]}).encode()),
        ("badges/a.svg", f"<svg><title>{LINE}</title></svg>\n".encode()),
        ("a.txt.gz", gzip.compress(LINE.encode(), mtime=0)),
        ("a.pyc", b"\0\xff" + LINE.encode() + b"\0"),
    ],
)
def test_a_line_of_a_solution_is_found_wherever_it_is(path, data):
    (leak,) = leaks(ROOT, {path: data})
    assert leak.file == path
    assert leak.solution.startswith("modules/11_embeddings/embeddings.py:")


def test_a_copied_body_is_found_in_code():
    source = parse((ROOT / "modules/11_embeddings/embeddings.py").read_text("utf-8"), "m.py")
    region = next(
        r for r in source.regions if any(LINE in x for x in source.lines[r.begin : r.end])
    )
    body = "\n".join(source.lines[region.begin : region.end - 1])
    assert leaks(ROOT, {"a.py": f"def f():\n{body}\n".encode()})
    assert leaks(ROOT, {"a.py": b"def f(optimizer):\n    optimizer.zero_grad()\n"}) == []
    with pytest.raises(ReleaseError, match="solutions would leak"):
        refuse_leaks(ROOT, {"a.py": f"def f():\n{body}\n".encode()})


def test_every_solution_is_a_stub_that_names_its_step(tree):
    for path, data in tree.items():
        if not is_module(path):
            continue
        text = data.decode()
        module = parse(text, path)
        course = parse((ROOT / path).read_text(encoding="utf-8"), path)
        assert [r.name for r in module.regions] == [r.name for r in course.regions]
        for region in module.regions:
            size, raises = (line.strip() for line in module.lines[region.begin : region.end - 1])
            assert re.fullmatch(r"# about \d+ lines?", size)
            assert raises.startswith(f'raise NotImplementedError("module {path[8:10]}')
            assert region.name in raises


def test_what_only_the_course_needs_is_not_there(tree):
    assert not [path for path in tree if is_course_only(path) and not path.startswith("badges/")]
    names = " ".join(tree)
    for word in ("mutants", "bench/", "course.yml", "release.yml", "dependabot", ".ci/", "dev.txt"):
        assert word not in names
    for path, data in tree.items():
        if b"\0" not in data:
            assert "course-only" not in data.decode(), path
            assert "student-only" not in data.decode(), path


def test_every_listed_course_only_file_exists_or_has_a_place():
    """A name that leads nowhere would hide that its file was renamed, and is released."""
    later = {
        ".github/dependabot.yml",
        "scripts/tito/classroom/",
        "scripts/tito/cli/classroom.py",
    }
    for name in release.COURSE_ONLY:
        assert name in later or (ROOT / name).exists(), name


# What must be in it


def test_the_manifest_names_every_file(tree):
    manifest = parse_manifest(tree[MANIFEST_FILE].decode())
    assert manifest.everything == {p: digest(d) for p, d in tree.items() if p != MANIFEST_FILE}
    assert set(manifest.modules) == {path for path in tree if is_module(path)}
    assert {"pyproject.toml", "checkpoints/ladder.toml"} <= set(manifest.files)
    assert "README.md" in manifest.others


def test_the_badges_stand_at_zero(tree):
    ladder = parse_ladder(tree["checkpoints/ladder.toml"].decode())
    assert json.loads(tree["badges/score.json"])["message"] == f"0 of {ladder.points}"
    assert json.loads(tree["badges/level.json"])["message"] == "none yet"
    assert "not started" in json.loads(tree["badges/checkpoint.json"])["message"]
    for path, data in tree.items():
        if path.endswith(".svg"):
            ET.fromstring(data)
            assert b"2000-01" not in data, "no date: it was never graded"


def test_the_readme_shows_the_branch_of_badges(tree):
    text = tree["README.md"].decode()
    assert "](../../raw/badges/badges/level.svg)" in text
    assert "](badges/" not in text
    assert "<!--" not in text
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"https?:|#|\.\./\.\./", target):
            assert target.partition("#")[0] in tree, target


def test_every_command_of_the_student_loads(student):
    """In a process that knows the released tree only."""
    code = (
        "import importlib, pkgutil, sys\n"
        "sys.path[:0] = sys.argv[1:]\n"
        "import tito, checkpoints.feedback\n"
        "assert tito.__file__.startswith(sys.argv[1]), tito.__file__\n"
        "names = [m.name for m in pkgutil.walk_packages(tito.__path__, 'tito.')]\n"
        "for name in names:\n"
        "    if not name.endswith('__main__'): importlib.import_module(name)\n"
        "from tito.cli.main import COMMANDS, build_parser\n"
        "for command in COMMANDS: build_parser(command)\n"
        "assert 'release' not in COMMANDS\n"
        "print(*COMMANDS)\n"
    )
    finder = "sys.meta_path[:] = [f for f in sys.meta_path if 'editable' not in repr(f).lower()]\n"
    run = [
        sys.executable,
        "-B",
        "-c",
        "import sys\n" + finder + code,
        str(student / "scripts"),
        str(student),
    ]
    done = subprocess.run(run, capture_output=True, text=True, check=False, cwd=student)
    assert done.returncode == 0, done.stderr
    commands = set(done.stdout.split())
    assert {"grade", "export", "checkpoint", "report", "test", "module", "milestone"} <= commands
    text = (student / "README.md").read_text(encoding="utf-8")
    for command in re.findall(r"(?:`|^ +|bootstrap\.py )tito ([a-z]+)", text, re.MULTILINE):
        assert command in commands, f"the student's README says tito {command}"


def test_the_students_own_tests_run(student):
    """The second command of the README: nothing is begun, so only the tree itself is judged."""
    run = [sys.executable, "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "released"]
    done = subprocess.run(run, capture_output=True, text=True, check=False, cwd=student)
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout


def test_python_files_parse(tree):
    parsed = {path: ast.parse(data, path) for path, data in tree.items() if path.endswith(".py")}
    empty = [path for path, module in parsed.items() if not module.body]
    assert len(parsed) > 100
    assert not empty


# The same bytes, from wherever


def test_the_same_source_gives_the_same_bytes(tmp_path):
    """From a clone without history, from an unpacked archive, under a strict umask."""
    course = tmp_path / "mein Kürs"
    for name in source_files(ROOT):
        (course / name).parent.mkdir(parents=True, exist_ok=True)
        (course / name).write_bytes((ROOT / name).read_bytes())
    (course / "report.json").write_text("{}")
    whole = build(course)  # of an unpacked archive: without a repository
    git("init", "--quiet", "--initial-branch=main", at=course)
    git("add", "--all", at=course)
    git("commit", "--quiet", "-m", "One", at=course)
    git("commit", "--quiet", "--allow-empty", "-m", "Two", at=course)
    clone = tmp_path / "flach"
    subprocess.run(
        ["git", "clone", "--quiet", "--depth=1", f"file://{course}", str(clone)], check=True
    )
    (clone / "notes.txt").write_text("not tracked")
    before = os.umask(0o077)
    try:
        assert main(["-C", str(clone), "release", "--out", str(tmp_path / "out")]) == 0
    finally:
        os.umask(before)
    assert files_of(tmp_path / "out") == whole


def test_a_checkpoint_that_would_not_be_released_is_refused(tmp_path, capsys):
    """A ladder that names a file which Git does not track, or which is not there at all."""
    course, out = tmp_path / "course", tmp_path / "out"
    for name in source_files(ROOT):
        (course / name).parent.mkdir(parents=True, exist_ok=True)
        (course / name).write_bytes((ROOT / name).read_bytes())
    git("init", "--quiet", at=course)
    git("add", "--all", at=course)
    assert main(["-C", str(course), "checkpoint", "new", "row_sums"]) == 0
    line = ["-C", str(course), "release", "--out", str(out)]
    file, mend = "checkpoints/custom_row_sums.py", "git add checkpoints/custom_row_sums.py"
    assert main(line) == 1
    assert f"{file} is not tracked, so it would not be released; {mend}" in said(capsys)
    assert main(["-C", str(course), "dev", "check", "--static"]) == 1
    assert f"{file}:1: is not tracked, so it would not be released; {mend}" in said(capsys)
    git("add", file, at=course)
    assert main(line) == 0
    assert (out / file).is_file()
    (course / file).unlink()
    assert main(line) == 1
    assert f"names row_sums, but {file} is missing; write it, or take row_sums out" in said(capsys)
    assert main(["-C", str(course), "dev", "check", "--static"]) == 1
    assert f"{file}:1: is missing; write it" in said(capsys)


def said(capsys) -> str:
    """All that was printed, on one line."""
    return " ".join("".join(capsys.readouterr()).split())


def test_a_student_tree_makes_no_release(student, capsys):
    with pytest.raises(ReleaseError, match="student's tree"):
        build(student)


# Where it is written


SMALL = {"a/b.txt": b"one\n", "README.md": b"hello\n"}


def small(files: dict[str, bytes] = SMALL) -> dict[str, bytes]:
    return {
        **files,
        MANIFEST_FILE: release.dump_manifest(release.make_manifest("1.0", files)).encode(),
    }


def test_a_later_release_replaces_an_earlier_one(tmp_path):
    out = tmp_path / "out"
    write(small(), out, ROOT)
    later = small({"c.txt": b"two\n"})
    write(later, out, ROOT)
    assert files_of(out) == later
    assert list(tmp_path.iterdir()) == [out], "nothing is left beside it"


def test_other_things_in_the_folder_stay(tmp_path):
    out = tmp_path / "out"
    write(small(), out, ROOT)
    git("init", "--quiet", at=out)
    (out / "a" / "mine.txt").write_text("mine")
    later = small({"README.md": b"later\n", "a/c.txt": b"two\n"})
    write(later, out, ROOT)
    assert files_of(out) == {**later, "a/mine.txt": b"mine"}
    assert (out / ".git").is_dir()


@pytest.mark.parametrize("name", ["README.md", "notes.txt"])
def test_a_folder_that_is_no_release_is_refused(tmp_path, name):
    out = tmp_path / "out"
    out.mkdir()
    (out / name).write_text("mine")
    with pytest.raises(ReleaseError, match=name):
        write(small(), out, ROOT)
    assert files_of(out) == {name: b"mine"}


def test_a_release_that_somebody_works_in_is_refused(tmp_path):
    out = tmp_path / "out"
    write(small(), out, ROOT)
    (out / "README.md").write_text("mine")
    with pytest.raises(ReleaseError, match=r"would overwrite README\.md"):
        write(small({"c.txt": b"two\n"}), out, ROOT)
    assert (out / "README.md").read_text() == "mine"
    (out / "README.md").write_bytes(SMALL["README.md"])
    (out / "c.txt").write_text("mine")
    with pytest.raises(ReleaseError, match=r"would overwrite c\.txt"):
        write(small({"c.txt": b"two\n"}), out, ROOT)
    (out / MANIFEST_FILE).write_text("{}")
    with pytest.raises(ReleaseError, match="nothing was overwritten"):
        write(small(), out, ROOT)


def test_the_course_itself_is_never_written_to(tmp_path):
    for out in (ROOT, ROOT.parent, ROOT / "build"):
        with pytest.raises(ReleaseError, match="beside it"):
            write(small(), out, ROOT)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ReleaseError, match="is a file"):
        write(small(), tmp_path / "file", ROOT)


def test_a_place_that_cannot_be_written_is_a_clear_error(tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    assert main(["-C", str(ROOT), "release", "--out", str(tmp_path / "file" / "out")]) == 2
    assert "file" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "mine"


KILLED = """
import sys
from pathlib import Path
from tito import release
tree = {f"f{i}": b"new" for i in range(20_000)}
print("ready", flush=True)
release.write(tree, Path(sys.argv[1]), Path(sys.argv[2]))
"""


def test_a_run_that_is_killed_leaves_the_last_good_state(tmp_path):
    out, old = tmp_path / "out", small()
    write(old, out, ROOT)
    run = [sys.executable, "-c", KILLED, str(out), str(ROOT)]
    with subprocess.Popen(run, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        beside = tmp_path / ".out.release-new"
        while not beside.exists():
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
    assert files_of(out) == old
    write(small({"c.txt": b"two\n"}), out, ROOT)
    assert list(tmp_path.iterdir()) == [out]


def test_a_run_killed_between_its_renames_is_undone_by_the_next(tmp_path):
    out = tmp_path / "out"
    write(small(), out, ROOT)
    out.rename(tmp_path / ".out.release-old")
    write(small(), out, ROOT)
    assert files_of(out) == small()
    assert list(tmp_path.iterdir()) == [out]


# Parts of files


def test_parts_are_selected():
    text = "a\n\n<!-- course-only -->\nb\n<!-- /course-only -->\n\n"
    text += "<!-- student-only\nc\nstudent-only -->\nd\n"
    assert select_parts(text, "x.md") == "a\n\nc\nd\n"
    assert select_parts("a\n# course-only\nb\n# /course-only\nc\n", "x.toml") == "a\nc\n"
    assert select_parts(
        "x = 1\n\n\n# course-only\ndef f():\n    pass\n\n\n# /course-only\ny = 2\n", "x.py"
    ) == ("x = 1\n\n\ny = 2\n")
    assert select_parts("the course-only parts\n", "x.md") == "the course-only parts\n"


@pytest.mark.parametrize(
    ("text", "path", "line", "words"),
    [
        ("# course-only\n", "x.py", 1, "never closed"),
        ("a\n# /course-only\n", "x.py", 2, "never began"),
        ("# course-only\n\n# course-only\n", "x.yml", 3, "begins inside"),
        ("#course-only\n", "x.toml", 1, "malformed"),
        ("<!-- Course only -->\n", "x.md", 1, "malformed"),
        ("<!-- course-only -->\n<!-- student-only\n", "x.md", 2, "begins inside"),
        ("<!-- course-only -->\nstudent-only -->\n", "x.md", 2, "never began"),
    ],
)
def test_unbalanced_markers_are_errors(text, path, line, words):
    with pytest.raises(FileProblem, match=words) as caught:
        select_parts(text, path)
    assert (caught.value.file, caught.value.line) == (path, line)


def test_a_solution_without_its_end_stops_the_release(tmp_path):
    assert BEGIN != END
    course = tmp_path / "course"
    for name in ("checkpoints/ladder.toml", "modules/00_setup/setup.py"):
        (course / name).parent.mkdir(parents=True, exist_ok=True)
        (course / name).write_bytes((ROOT / name).read_bytes())
    path = course / "modules/00_setup/setup.py"
    path.write_text(path.read_text("utf-8").replace(f"    {END}\n", "", 1), encoding="utf-8")
    with pytest.raises(FileProblem, match=r"modules/00_setup/setup\.py:\d+"):
        build(course)


def test_an_emptied_folder_goes_with_its_last_file(tmp_path):
    out = tmp_path / "out"
    write(small(), out, ROOT)
    (out / "mine.txt").write_text("mine")
    (out / "a" / "b.txt").unlink()
    (out / "a").rmdir()
    write(small({"d/e.txt": b"two\n"}), out, ROOT)
    write(small({"README.md": b"hello\n"}), out, ROOT)
    assert not (out / "d").exists()
    assert (out / "mine.txt").read_text() == "mine"
