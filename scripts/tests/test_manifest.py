"""The release manifest: strict to read, exact about a tree, and what grading makes of it."""

import json
import subprocess
from pathlib import Path

import pytest

from tito.cli import main
from tito.grading.grade import grade
from tito.grading.snapshot import take
from tito.ladder import load_ladder
from tito.manifest import (
    LARGEST,
    MANIFEST_FILE,
    Findings,
    ManifestError,
    check,
    dump_manifest,
    find_pristine,
    inspect,
    load_manifest,
    make_manifest,
    parse_manifest,
)
from tito.release import build, write
from tito.render.annotations import annotations
from tito.render.summary import summary

TREE = {
    "README.md": b"hello\n",
    "checkpoints/ladder.toml": b"version = 1\n",
    "modules/01_tensor/README.md": b"# 01\n",
    "modules/01_tensor/tensor.py": b"# stub\n",
    "pyproject.toml": b"[project]\n",
    "scripts/tito/grade.py": b"x = 1\n",
}
TEXT = dump_manifest(make_manifest("1.0.0", TREE))
FEEDBACK = "checkpoints/feedback.py"


def git(*arguments: str, at: Path) -> str:
    who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "core.autocrlf=false"]
    command = ["git", "-C", str(at), *who, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def lay_out(root: Path, tree: dict[str, bytes]) -> Path:
    for path, data in tree.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    return root


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A tree of a few files and its manifest."""
    return lay_out(tmp_path / "tree of Ada", {**TREE, MANIFEST_FILE: TEXT.encode()})


def test_a_manifest_tells_apart_what_a_student_may_change():
    manifest = make_manifest("1.0.0", TREE)
    assert list(manifest.modules) == ["modules/01_tensor/tensor.py"]
    assert list(manifest.others) == ["README.md", "modules/01_tensor/README.md"]
    assert set(manifest.files) == {
        "checkpoints/ladder.toml", "pyproject.toml", "scripts/tito/grade.py"
    }  # fmt: skip
    assert set(manifest.everything) == set(TREE)


def test_a_manifest_is_read_as_it_was_written():
    assert parse_manifest(TEXT) == make_manifest("1.0.0", TREE)
    assert dump_manifest(parse_manifest(TEXT)) == TEXT


def changed(**parts) -> str:
    return json.dumps({**json.loads(TEXT), **parts})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not valid JSON"),
        ("[]", "expected an object"),
        ("[" * 100_000, "not valid JSON"),
        (changed(schema_version=2), "newer tito"),
        (changed(schema_version="1"), "schema_version"),
        (changed(course_version="a b"), "is not a version"),
        (changed(file={}), "did you mean 'files'"),
        (changed(files=[]), "files: expected an object"),
        (changed(files={"../up": "0" * 64}), "not a path inside the tree"),
        (changed(files={"C:/up": "0" * 64}), "not a path inside the tree"),
        (changed(files={".GIT/hooks/x": "0" * 64}), "not a path inside the tree"),
        (changed(files={"GIT~1/config": "0" * 64}), "not a path inside the tree"),
        (changed(files={".g\u200cit/config": "0" * 64}), "not a path inside the tree"),
        (changed(files={"a\nb": "0" * 64}), "not a path inside the tree"),
        (changed(files={"a": "0"}), "not a SHA-256"),
        (changed(files={}), "changed by hand"),
        (TEXT.replace('"others"', '"modules"'), "twice"),
        (TEXT.replace(',\n "seal"', ',\n "sael"'), "unknown key"),
    ],
)
def test_a_manifest_is_read_strictly(text, words):
    with pytest.raises(ManifestError, match=words):
        parse_manifest(text)


def test_a_tree_without_a_manifest_has_none(tmp_path):
    assert load_manifest(tmp_path) is None


def test_an_untouched_tree_is_clean(small):
    (small / "modules/01_tensor/tensor.py").write_text("mine\n")
    (small / "README.md").write_text("mine\n")
    (small / "tinytorch" / "core").mkdir(parents=True)
    (small / "tinytorch" / "core" / "tensor.py").write_text("generated\n")
    (small / "scripts" / "tito" / "__pycache__").mkdir()
    (small / "scripts" / "tito" / "__pycache__" / "grade.cpython-311.pyc").write_bytes(b"x")
    assert inspect(small).findings.clean


def test_every_kind_of_change_is_found(small):
    (small / "pyproject.toml").write_text("mine\n")
    (small / "checkpoints/ladder.toml").unlink()
    (small / "checkpoints/extra.py").write_text("")
    (small / "conftest.py").write_text("")
    findings = check(small, parse_manifest(TEXT))
    assert findings.modified == ("pyproject.toml",)
    assert findings.missing == ("checkpoints/ladder.toml",)
    assert findings.unexpected == ("checkpoints/extra.py", "conftest.py")


def test_a_link_or_a_folder_in_place_of_a_file_is_a_change(small):
    target = small / "scripts/tito/grade.py"
    target.rename(small / "elsewhere.py")
    target.symlink_to(small / "elsewhere.py")
    (small / "pyproject.toml").unlink()
    (small / "pyproject.toml").mkdir()
    findings = check(small, parse_manifest(TEXT))
    assert findings.modified == ("pyproject.toml", "scripts/tito/grade.py")


def test_windows_line_ends_are_no_change(small):
    (small / "pyproject.toml").write_bytes(b"[project]\r\n")
    assert inspect(small).findings.clean


def test_a_forged_manifest_that_names_what_is_no_text_ends_no_grading(root, ladder):
    """What it calls released is read as text anyway, and found wrong when it is imported."""
    found = take(root, ladder, {"tinytorch/evil.py": b"\xff\xfe"})
    assert found.package["tinytorch.evil"].filename == "tinytorch/evil.py"


def test_a_lost_or_edited_manifest_is_named(small):
    (small / MANIFEST_FILE).write_text(TEXT.replace("1.0.0", "1.0.1"))
    assert inspect(small).findings.modified == (MANIFEST_FILE,)
    (small / MANIFEST_FILE).unlink()
    assert inspect(small).findings.missing == (MANIFEST_FILE,)


def test_a_manifest_that_is_a_link_or_a_giant_ends_no_grading(small):
    """It counts as changed, whatever stands in its place."""
    place = small / MANIFEST_FILE
    place.unlink()
    place.symlink_to("/dev/zero")
    assert inspect(small).findings == Findings(modified=(MANIFEST_FILE,))
    place.unlink()
    with open(place, "wb") as file:
        file.truncate(LARGEST + 1)
    assert inspect(small).findings == Findings(modified=(MANIFEST_FILE,))


@pytest.mark.parametrize("name", ["msvcrt.py", "nt", "usercustomize.py", "_winapi.abi3.so"])
def test_what_the_tool_would_import_from_the_root_is_named(small, name):
    """Python tries these names everywhere; in the root of the tree they would run in the tool."""
    (small / name).mkdir() if "." not in name else (small / name).write_text("", encoding="utf-8")
    assert inspect(small).findings.unexpected == (name,)


def test_the_course_itself_lacks_nothing(root):
    found = inspect(root)
    assert found.manifest is None
    assert found.findings.clean


def test_released_text_is_found_in_any_commit(small):
    wanted = make_manifest("1.0.0", TREE).files
    assert find_pristine(small, wanted) == {}, "no repository"
    git("init", "--quiet", at=small)
    git("add", "--all", at=small)
    git("commit", "--quiet", "-m", "Start", at=small)
    for text in ("first\n", "second\n"):
        (small / "pyproject.toml").write_text(text)
        git("commit", "--quiet", "--all", "-m", text, at=small)
    found = inspect(small)
    assert found.findings.modified == ("pyproject.toml",)
    assert found.pristine == {"pyproject.toml": b"[project]\n"}


# Grading


@pytest.fixture(scope="module")
def released(root) -> dict[str, bytes]:
    return build(root)


@pytest.fixture
def student(released, root, tmp_path) -> Path:
    """A student's repository in which module 00 is solved."""
    tree = tmp_path / "tree of Ada"
    write(released, tree, root)
    git("init", "--quiet", at=tree)
    git("add", "--all", at=tree)
    git("commit", "--quiet", "-m", "Start", at=tree)
    (tree / "modules/00_setup/setup.py").write_bytes(
        (root / "modules/00_setup/setup.py").read_bytes()
    )
    return tree


def result(tree: Path):
    ladder = load_ladder(tree)
    return grade(tree, ladder, [ladder.by_id["00"], ladder.by_id["01"]], seed=7)


def test_a_tampered_checkpoint_is_judged_by_its_released_text(student):
    for path in ("checkpoints/checkpoint_00_environment.py", FEEDBACK):
        (student / path).write_text("raise SystemExit('tampered')\n")
    (student / "checkpoints/checkpoint_01_foundation.py").write_text("def test_free():\n    pass\n")
    (student / "scripts/tito/grading/session.py").write_text("raise SystemExit(3)\n")
    (student / "tinytorch/machinery.py").unlink()
    report = result(student)
    assert report.by_id["00"].status == "passed"
    assert report.by_id["01"].status == "not_started"
    assert (
        report.integrity.manifest
        == json.loads((student / MANIFEST_FILE).read_text())["course_version"]
    )
    assert len(report.integrity.modified) == 4
    assert report.integrity.missing == ("tinytorch/machinery.py",)
    assert len(report.integrity.restored) == 5
    words = summary(report)
    assert "graded with the released text" in words
    assert FEEDBACK in words
    assert "history at hand" not in words
    assert any(line.startswith("::warning") and FEEDBACK in line for line in annotations(report))


def test_changed_points_do_not_count(student):
    ladder = student / "checkpoints/ladder.toml"
    text = ladder.read_text(encoding="utf-8")
    ladder.write_text(
        text.replace("points = 2\n", "points = 7\n", 1).replace("points = 8\n", "points = 3\n", 1)
    )
    assert load_ladder(student).by_id["00"].points == 7
    report = result(student)
    assert report.score.points == 2
    assert report.integrity.modified == ("checkpoints/ladder.toml",)


def test_without_its_released_text_a_changed_file_judges_and_is_named(student):
    path = student / FEEDBACK
    path.write_text(path.read_text(encoding="utf-8") + "\n# mine\n", encoding="utf-8")
    (student / ".git").rename(student.parent / "git of Ada")
    report = result(student)
    assert report.by_id["00"].status == "passed"
    assert report.integrity.modified == (FEEDBACK,)
    assert report.integrity.restored == ()
    assert "does not hold the released text" in summary(report)


def test_a_lost_manifest_is_in_the_summary(student):
    (student / MANIFEST_FILE).unlink()
    report = result(student)
    assert report.integrity.manifest is None
    assert report.integrity.missing == (MANIFEST_FILE,)
    assert "without its manifest" in summary(report)


@pytest.mark.parametrize("words", ["grade", "checkpoint run 00"])
def test_a_changed_file_is_said_where_it_is_graded(student, capsys, words):
    """Not only in the summary of a push."""
    line = ["-C", str(student), *words.split()]
    with open(student / FEEDBACK, "a", encoding="utf-8") as file:
        file.write("# mine\n")
    assert main(line) == 0
    said = capsys.readouterr().out
    assert f"integrity  changed: {FEEDBACK}; graded with the released text; see: tito" in said
    (student / ".git").rename(student.parent / "git of Ada")
    assert main(line) == 0
    assert f"changed: {FEEDBACK}; graded as they are; see: tito" in capsys.readouterr().out
