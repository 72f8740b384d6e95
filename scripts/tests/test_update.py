"""`tito update`, from outside: real repositories, made from the template or forked from it."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from releases import (
    FEEDBACK,
    LAYERS,
    SOLVED,
    TENSOR,
    changed,
    commit,
    git,
    lay_out,
    module,
    release,
    solve,
    step,
    tree,
)

from tito.cli.main import main
from tito.files import read_text
from tito.ladder import load_ladder
from tito.manifest import MANIFEST_FILE, check, load_manifest
from tito.source import parse
from tito.strip import strip
from tito.threeway import has_marks, merge_module

ROOT = Path(__file__).resolve().parents[2]


class Template:
    """A bare template repository with releases, and the folder of the last one."""

    def __init__(self, folder: Path):
        self.folder, self.bare = folder, folder / "the template.git"
        self.out = folder / "releasé"
        self.out.mkdir()
        self.publish(tree(), "1.0.0")
        git("clone", "--quiet", "--bare", str(self.out), str(self.bare), at=folder)

    def publish(self, files: dict[str, bytes], version: str = "1.1.0") -> None:
        """Make the next release, and push it to the branch `template`."""
        lay_out(self.out, release(files, version))
        commit(self.out, f"Release {version}")
        if self.bare.exists():
            git("push", "--quiet", str(self.bare), "HEAD:template", "HEAD:main", at=self.out)

    def plain(self) -> Path:
        """The last release as a folder without a repository."""
        files = {
            p.relative_to(self.out).as_posix(): p.read_bytes()
            for p in self.out.rglob("*")
            if p.is_file() and ".git" not in p.parts
        }
        return lay_out(self.folder / "plain", files)


@pytest.fixture
def template(tmp_path: Path) -> Template:
    return Template(tmp_path)


@pytest.fixture
def student(template: Template) -> Path:
    """A repository made with GitHub's button: the files, in one commit of its own."""
    root = lay_out(template.folder / "Adas tree é", release(tree()))
    commit(root, "Initial commit")
    return root


def update(root: Path, *words: object, status: int = 0) -> None:
    assert main(["-C", str(root), "update", *map(str, words)]) == status


def text(root: Path, path: str) -> str:
    return (root / path).read_text(encoding="utf-8")


def newer() -> dict[str, bytes]:
    """A second release: a step of each module says more, files come, change and go."""
    files = changed(tree(), TENSOR, "# What sum is for", "# What the sum is for")
    files = changed(files, TENSOR, 'step 2: mul")', 'step 2: mul") ')
    files = changed(files, LAYERS, "about 4 lines", "about 5 lines")
    files = changed(files, FEEDBACK, "1", "2")
    files = {**files, "checkpoints/new.py": b"z = 1\n"}
    del files["scripts/tito/gone.py"]
    return files


def is_whole(root: Path, version: str = "1.1.0") -> None:
    manifest = load_manifest(root)
    assert manifest.course_version == version
    assert check(root, manifest).clean
    assert git("status", "--porcelain", at=root) == ""


def test_an_untouched_tree_becomes_the_release(template, student, capsys):
    template.publish(newer())
    update(student, "--from", template.bare)
    is_whole(student)
    for path, data in release(newer(), "1.1.0").items():
        assert (student / path).read_bytes() == data, path
    assert not (student / "scripts/tito/gone.py").exists()
    said = capsys.readouterr().out
    assert "release 1.1.0, from template of" in said
    assert "added       checkpoints/new.py" in said
    assert "removed     scripts/tito/gone.py" in said
    assert "2 modules that you have not begun" in said
    update(student, "--from", template.bare)
    assert "up to date: this tree has release 1.1.0" in capsys.readouterr().out


def test_it_is_one_commit_that_can_be_taken_back(template, student):
    before = git("rev-parse", "HEAD", at=student)
    template.publish(newer())
    update(student, "--from", template.bare)
    parents = git("log", "-1", "--format=%P", at=student).split()
    assert parents == [before, git("rev-parse", "template", at=template.bare)]
    assert git("log", "-1", "--format=%an", at=student) == "Ada"
    git("reset", "--quiet", "--keep", "HEAD~1", at=student)
    is_whole(student, "1.0.0")


@pytest.mark.parametrize("kind", ["template", "fork", "folder"])
def test_what_the_student_wrote_stays(kind, template, student, capsys):
    """With and without a common history, and without any network."""
    root = student
    if kind == "fork":
        root = template.folder / "fork"
        git("clone", "--quiet", str(template.bare), str(root), at=template.folder)
        git("config", "user.name", "Ada", at=root)
        git("config", "user.email", "ada@example.org", at=root)
    solve(root, TENSOR, "add")
    solve(root, TENSOR, "mul", SOLVED * 3)
    solve(root, LAYERS, "linear")
    reflection = "# Reflection: tensor\n\n> Why?\n\nBecause.\n"
    (root / "modules/01_tensor/reflection.md").write_text(reflection, encoding="utf-8")
    (root / "notes.md").write_text("mine\n", encoding="utf-8")
    commit(root, "My work")
    files = changed(newer(), "modules/01_tensor/reflection.md", "Why?", "Why so?")
    template.publish(files)
    update(root, "--from", template.plain() if kind == "folder" else template.bare)
    is_whole(root)
    tensor = text(root, TENSOR)
    assert tensor.count(SOLVED) == 4
    assert "# What the sum is for" in tensor
    assert SOLVED in text(root, LAYERS)
    assert text(root, "modules/01_tensor/reflection.md") == reflection
    assert text(root, "notes.md") == "mine\n"
    said = capsys.readouterr().out
    assert f"merged      {TENSOR}; your solutions stay; the release changed step 3" in said


def test_a_promised_size_is_no_conflict(template, student):
    """A stub that says another number of lines stands where a solution is: the solution stays."""
    solve(student, LAYERS, "linear")
    commit(student, "My work")
    template.publish(changed(tree(), LAYERS, "about 4 lines", "about 9 lines"))
    update(student, "--from", template.bare)
    assert SOLVED in text(student, LAYERS)
    assert "about 9" not in text(student, LAYERS)


def test_a_changed_file_of_the_course_is_replaced_and_kept_aside(template, student, capsys):
    (student / FEEDBACK).write_text("FACT = 'mine'\n", encoding="utf-8")
    (student / "scripts/tito/gone.py").write_text("y = 'mine'\n", encoding="utf-8")
    commit(student, "Look how clever")
    template.publish(newer())
    update(student, "--from", template.bare)
    is_whole(student)
    assert text(student, ".tito/kept/checkpoints/feedback-1.py") == "FACT = 'mine'\n"
    assert text(student, ".tito/kept/scripts/tito/gone-1.py") == "y = 'mine'\n"
    assert "your version is in .tito/kept/checkpoints/feedback-1.py" in capsys.readouterr().out


def test_the_same_release_mends_what_was_changed(template, student):
    """What a grade says of a changed file: bring it back with tito update."""
    (student / FEEDBACK).write_text("FACT = 'mine'\n", encoding="utf-8")
    (student / "pyproject.toml").unlink()
    (student / TENSOR).unlink()
    commit(student, "Break things")
    update(student, "--from", template.bare)
    is_whole(student, "1.0.0")
    assert (student / TENSOR).read_bytes() == tree()[TENSOR]


def conflicting(template: Template, root: Path) -> None:
    """Both change the same line of prose; the student has also solved the step."""
    solve(root, TENSOR, "mul")
    mine = text(root, TENSOR).replace("# What mul is for", "# What I think mul is for")
    (root / TENSOR).write_text(mine, encoding="utf-8")
    commit(root, "My work")
    template.publish(changed(newer(), TENSOR, "# What mul is for", "# What a product is for"))


def test_a_conflict_is_explained_and_nothing_is_lost(template, student, capsys):
    conflicting(template, student)
    mine = text(student, TENSOR)
    update(student, "--from", template.bare, status=1)
    assert text(student, TENSOR) == mine
    is_whole(student)
    said = capsys.readouterr().out
    assert f"not merged  {TENSOR}" in said
    assert "It is as you left it." in said
    assert "step 2:" in said
    assert "yours     # What I think mul is for" in said
    assert "now       # What a product is for" in said
    assert "tito update --merge 01" in said
    update(student, "--merge", "01")
    merged = text(student, TENSOR)
    assert has_marks(merged)
    assert merged.count(SOLVED) == 1
    assert "# What the sum is for" in merged
    assert text(student, ".tito/kept/modules/01_tensor/tensor-1.py") == mine
    said = capsys.readouterr().out
    assert f"{TENSOR}:" in said
    assert "1 place to settle" in said
    assert main(["-C", str(student), "update", "--merge", "01"]) == 2
    assert "nothing waiting to be merged" in capsys.readouterr().err


def test_after_a_conflict_the_next_release_merges(template, student):
    conflicting(template, student)
    update(student, "--from", template.bare, status=1)
    files = changed(newer(), TENSOR, "# What mul is for", "# What a product is for")
    template.publish(changed(files, TENSOR, "# What add is for", "# What addition is for"), "1.2.0")
    update(student, "--from", template.bare)
    is_whole(student, "1.2.0")
    merged = text(student, TENSOR)
    assert "# What addition is for" in merged
    assert "# What I think mul is for" in merged
    assert SOLVED in merged


def test_a_step_that_the_release_drops_is_a_conflict_when_it_was_written(template, student, capsys):
    solve(student, TENSOR, "mul")
    commit(student, "My work")
    mine = text(student, TENSOR)
    shorter = module("tensor", step(1, "add", 2), step(2, "sum", 2))
    template.publish({**tree(), TENSOR: shorter.encode()})
    update(student, "--from", template.bare, status=1)
    assert text(student, TENSOR) == mine
    assert "the release no longer has mul, which you have written" in capsys.readouterr().out


def test_broken_marks_are_merged_line_by_line(template, student):
    solve(student, TENSOR, "add")
    text_now = text(student, TENSOR).replace("    ### END SOLUTION\n", "", 1)
    (student / TENSOR).write_text(text_now, encoding="utf-8")
    commit(student, "Lose a mark")
    template.publish(newer())
    update(student, "--from", template.bare, status=1)
    assert text(student, TENSOR) == text_now


def renamed(files: dict[str, bytes]) -> dict[str, bytes]:
    """Module 01 has another name, and module 03 another number."""
    files = {p.replace("01_tensor/tensor", "01_array/array"): d for p, d in files.items()}
    files = {p.replace("01_tensor", "01_array"): d for p, d in files.items()}
    return {p.replace("03_layers", "04_layers"): d for p, d in files.items()}


def test_a_renamed_module_takes_the_work_along(template, student, capsys):
    solve(student, TENSOR, "add")
    answer = "# Reflection: tensor\n\n> Why?\n\nBecause.\n"
    (student / "modules/01_tensor/reflection.md").write_text(answer, encoding="utf-8")
    (student / "modules/01_tensor/sketch.txt").write_text("mine\n", encoding="utf-8")
    commit(student, "My work")
    template.publish(renamed(newer()))
    update(student, "--from", template.bare)
    is_whole(student)
    array = text(student, "modules/01_array/array.py")
    assert SOLVED in array
    assert "# What the sum is for" in array
    assert text(student, "modules/01_array/reflection.md") == answer
    assert (student / "modules/01_tensor/sketch.txt").exists()
    assert not (student / TENSOR).exists()
    assert not (student / LAYERS).exists()
    assert (student / "modules/04_layers/layers.py").exists()
    assert f"merged      modules/01_array/array.py, from {TENSOR}" in capsys.readouterr().out


def test_a_deleted_module_comes_back_as_a_stub(template, student, capsys):
    (student / TENSOR).unlink()
    (student / "README.md").unlink()
    commit(student, "Away with it")
    template.publish(newer())
    update(student, "--from", template.bare)
    assert (student / TENSOR).read_bytes() == newer()[TENSOR]
    assert not (student / "README.md").exists()
    assert "was deleted, and is here again as a stub" in capsys.readouterr().out


def test_own_words_in_the_readme_stay(template, student, capsys):
    readme = text(student, "README.md").replace("# The course", "# Adas course")
    (student / "README.md").write_text(readme, encoding="utf-8")
    (student / "modules/01_tensor/README.md").write_text("all mine\n", encoding="utf-8")
    commit(student, "Mine")
    files = changed(newer(), "README.md", "Three.", "Three and more.")
    template.publish(changed(files, "modules/01_tensor/README.md", "Tensor", "Tensors"))
    update(student, "--from", template.bare)
    assert text(student, "README.md").startswith("# Adas course\n\nOne.")
    assert "Three and more." in text(student, "README.md")
    assert text(student, "modules/01_tensor/README.md") == "all mine\n"
    assert "kept yours  modules/01_tensor/README.md" in capsys.readouterr().out


def test_a_dry_run_changes_nothing(template, student, capsys):
    template.publish(newer())
    (student / TENSOR).write_text("unsaved\n", encoding="utf-8")
    before = git("rev-parse", "HEAD", at=student)
    update(student, "--from", template.bare, "--dry-run")
    said = capsys.readouterr().out
    assert "nothing was changed; do it with: tito update" in said
    assert f"before that, commit your work: {TENSOR}" in said
    assert git("rev-parse", "HEAD", at=student) == before
    assert text(student, TENSOR) == "unsaved\n"
    assert text(student, FEEDBACK) == "FACT = 1\n"


@pytest.mark.parametrize("rung", load_ladder(ROOT).checkpoints, ids=lambda rung: rung.folder)
def test_every_real_module_keeps_a_whole_solution(rung):
    """Solved in full; the next release says other sizes, and more in every step."""
    solved = read_text(ROOT, rung.source)
    source = parse(solved, rung.source)
    stub = strip(rung.id, source)
    later = re.sub(r"# about (\d+) line", r"# about 1\1 line", stub)
    later = re.sub(r"(?m)^(# ## Step .*)$", r"\1\n#\n# One more line.", later)
    merged = merge_module(rung.source, stub, solved, later, "1.1.0")
    assert merged.clean, merged.why or merged.conflicts
    assert merged.text == re.sub(r"(?m)^(# ## Step .*)$", r"\1\n#\n# One more line.", solved)
    assert merge_module(rung.source, stub, solved, stub, "1.1.0").text == solved
    assert merge_module(rung.source, stub, stub, later, "1.1.0").text == later


# What is remembered


def test_the_source_is_found(template, student, capsys):
    template.publish(newer())
    update(student, status=2)
    assert "tito update --from https://" in capsys.readouterr().err
    git("remote", "add", "template", str(template.bare), at=student)
    update(student)
    is_whole(student)


def test_the_commit_says_where_it_came_from(template, student):
    """Another clone of the student's repository, on another machine, knows it too."""
    template.publish(newer())
    address = f"file://{template.bare}".replace(" ", "%20")
    update(student, "--from", address)
    assert f"Course-from: {address} template" in git("log", "-1", "--format=%B", at=student)
    template.publish(tree(), "1.2.0")
    update(student)
    is_whole(student, "1.2.0")


def test_a_secret_in_an_address_is_not_written_down():
    from tito.upstream import plain_address

    assert plain_address("https://ada:ghp_x@github.com/o/r") == "https://github.com/o/r"
    assert plain_address("git@github.com:o/r.git") == "git@github.com:o/r.git"


def test_a_stub_stays_within_reach(template, student):
    """After an update that merged, a module can be reset to the new release's stub."""
    solve(student, TENSOR, "add")
    commit(student, "My work")
    template.publish(newer())
    update(student, "--from", template.plain())
    assert main(["-C", str(student), "module", "reset", "01"]) == 0
    assert (student / TENSOR).read_bytes() == newer()[TENSOR]


# What is refused


def refused(capsys, root: Path, *words: object) -> str:
    head, index = git("rev-parse", "HEAD", at=root), git("ls-files", "-s", at=root)
    update(root, *words, status=2)
    assert git("rev-parse", "HEAD", at=root) == head
    assert git("ls-files", "-s", at=root) == index
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return said


def test_a_dirty_tree_is_refused_by_name(template, student, capsys):
    template.publish(newer())
    (student / TENSOR).write_text("unsaved\n", encoding="utf-8")
    (student / "badges/level.svg").write_text("<svg>7</svg>\n", encoding="utf-8")
    said = refused(capsys, student, "--from", template.bare)
    assert f"not committed yet: {TENSOR}; save your work first" in said
    git("checkout", "--", TENSOR, at=student)
    update(student, "--from", template.bare)
    assert text(student, "badges/level.svg") == "<svg>7</svg>\n"


def test_an_older_release_is_refused(template, student, capsys):
    template.publish(newer())
    old = lay_out(template.folder / "old", release(tree()))
    update(student, "--from", template.bare)
    capsys.readouterr()
    assert "has release 1.0.0, and this tree already has 1.1.0" in refused(
        capsys, student, "--from", old
    )


def test_a_release_gone_past_is_refused_whatever_its_version(template, student, capsys):
    template.publish(newer(), "1.0.0")
    old = lay_out(template.folder / "old", release(tree()))
    update(student, "--from", template.bare)
    assert "gone past the release" in refused(capsys, student, "--from", old)


def test_something_in_the_way_is_refused(template, student, capsys):
    template.publish(newer())
    (student / "checkpoints/new.py").write_text("mine\n", encoding="utf-8")
    assert "the release brings checkpoints/new.py" in refused(
        capsys, student, "--from", template.bare
    )
    assert text(student, "checkpoints/new.py") == "mine\n"


def test_no_repository_no_commit_no_name(template, student, capsys, tmp_path, monkeypatch):
    bare = lay_out(tmp_path / "unpacked", release(tree()))
    update(bare, "--from", template.bare, status=2)
    assert "is not a Git repository" in capsys.readouterr().err
    git("init", "--quiet", at=bare)
    update(bare, "--from", template.bare, status=2)
    assert "nothing is committed yet" in capsys.readouterr().err
    inside = lay_out(student / "inside", release(tree()))
    update(inside, "--from", template.bare, status=2)
    assert "lies inside another Git repository" in capsys.readouterr().err
    git("config", "user.useConfigOnly", "true", at=student)
    git("config", "--unset", "user.email", at=student)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.delenv("EMAIL", raising=False)
    assert "git does not know who you are" in refused(capsys, student, "--from", template.bare)


def test_a_merge_under_way_is_refused(template, student, capsys):
    (student / ".git/MERGE_HEAD").write_text(git("rev-parse", "HEAD", at=student) + "\n")
    assert "a merge is under way here" in refused(capsys, student, "--from", template.bare)


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("nowhere", "no release can be fetched from"),
        ("empty", "no release can be fetched from"),
        ("torn", "is not whole: checkpoints/feedback.py differs from its manifest"),
        ("edited", "cannot be used: was changed by hand"),
    ],
)
def test_a_bad_source_is_named(place, words, template, student, capsys, tmp_path):
    folder = tmp_path / place
    if place == "empty":
        folder.mkdir()
    if place in ("torn", "edited"):
        lay_out(folder, release(newer(), "1.1.0"))
    if place == "torn":
        (folder / FEEDBACK).write_text("FACT = 3\n", encoding="utf-8")
    if place == "edited":
        (folder / MANIFEST_FILE).write_text(text(folder, MANIFEST_FILE).replace("1.1.0", "1.1.1"))
    assert words in refused(capsys, student, "--from", folder)


def test_a_branch_without_a_release_is_named(template, student, capsys, tmp_path):
    course = lay_out(tmp_path / "course", {"README.md": b"hello\n"})
    commit(course, "Course")
    said = refused(capsys, student, "--from", course)
    assert "the branch main of" in said
    assert "holds no release" in said
    said = refused(capsys, student, "--from", course, "--branch", "tempalte")
    assert "has no branch 'tempalte'; it has: main" in said


@pytest.mark.parametrize("damage", ["lost", "edited"])
def test_a_lost_manifest_is_found_in_the_history(damage, template, student, capsys):
    if damage == "lost":
        (student / MANIFEST_FILE).unlink()
    else:
        old = text(student, MANIFEST_FILE)
        (student / MANIFEST_FILE).write_text(old.replace("1.0.0", "9.0.0"), encoding="utf-8")
    solve(student, TENSOR, "add")
    commit(student, "Lose it")
    template.publish(newer())
    update(student, "--from", template.bare)
    is_whole(student)
    assert SOLVED in text(student, TENSOR)
    assert "the last good one of the history serves" in capsys.readouterr().out


def test_without_any_manifest_nothing_is_guessed(template, capsys, tmp_path):
    root = lay_out(tmp_path / "bare", tree())
    commit(root, "Begin")
    said = refused(capsys, root, "--from", template.bare)
    assert "no earlier commit has a usable one" in said


def test_the_course_itself_is_refused(root, capsys):
    update(root, "--dry-run", status=2)
    assert "this is the course itself" in capsys.readouterr().err


# Other systems, other clones


def test_windows_line_ends_stay_and_are_no_change(template, student):
    """A tree committed from an unpacked archive on Windows, without .gitattributes."""
    files = {p: d for p, d in release(tree()).items() if p != ".gitattributes"}
    windows = {p: d.replace(b"\n", b"\r\n") for p, d in files.items()}
    root = lay_out(template.folder / "windows", windows)
    git("init", "--quiet", "--initial-branch=main", at=root)
    git("config", "core.autocrlf", "false", at=root)
    commit_as_it_is(root, "Initial commit")
    mine = (root / TENSOR).read_bytes().replace(
        b"    ### BEGIN SOLUTION\r\n    # about 2 lines\r\n",
        b"    ### BEGIN SOLUTION\r\n    return x + y\r\n", 1,
    )  # fmt: skip
    (root / TENSOR).write_bytes(mine)
    commit_as_it_is(root, "My work")
    template.publish(changed(tree(), FEEDBACK, "1", "2"))
    update(root, "--from", template.bare)
    assert (root / TENSOR).read_bytes() == mine
    assert check(root, load_manifest(root)).clean


def commit_as_it_is(root: Path, subject: str) -> None:
    for name, value in (("user.name", "Ada"), ("user.email", "ada@example.org")):
        git("config", name, value, at=root)
    git("add", "--all", at=root)
    git("commit", "--quiet", "-m", subject, at=root)


def test_a_checkout_with_windows_line_ends(template, student):
    """Git writes CRLF, the history has LF: the merge is that of the history."""
    git("config", "core.autocrlf", "true", at=student)
    (student / ".gitattributes").unlink()
    commit(student, "No attributes")
    for path in git("ls-files", at=student).split("\n"):
        (student / path).unlink()
    git("checkout", "--", ".", at=student)
    assert b"\r\n" in (student / TENSOR).read_bytes()
    template.publish(newer())
    update(student, "--from", template.bare)
    assert git("status", "--porcelain", at=student) == ""
    assert (student / TENSOR).read_bytes().replace(b"\r\n", b"\n") == newer()[TENSOR]


def test_a_shallow_clone_fetches_the_stubs_it_lacks(template, student):
    solve(student, TENSOR, "add")
    commit(student, "My work")
    shallow = template.folder / "shallow"
    git("clone", "--quiet", "--depth=1", f"file://{student}", str(shallow), at=template.folder)
    git("config", "user.name", "Ada", at=shallow)
    git("config", "user.email", "ada@example.org", at=shallow)
    template.publish(newer())
    update(shallow, "--from", template.bare)
    assert SOLVED in text(shallow, TENSOR)
    assert "# What the sum is for" in text(shallow, TENSOR)
    git("push", "--quiet", "origin", "HEAD:next", at=shallow)


# Ended half-way


def snapshot(root: Path) -> dict[str, bytes]:
    """Every tracked or untracked file, Git's own and what it ignores left out."""
    names = git("ls-files", "--cached", "--others", "--exclude-standard", at=root).split("\n")
    return {name: (root / name).read_bytes() for name in names if (root / name).exists()}


def test_killed_anywhere_it_ends_whole(template, student):
    """Killed at many moments: the last commit stays, and the next run ends at the release."""
    many = {f"checkpoints/part_{n:03}.py": b"p = 1\n" * 2000 for n in range(150)}
    template.publish({**newer(), **many})
    solve(student, TENSOR, "add")
    before = commit(student, "My work")
    files = snapshot(student)
    command = [sys.executable, "-P", "-m", "tito", "-C", str(student), "update"]
    command += ["--from", str(template.bare)]
    start = time.perf_counter()
    update(student, "--from", template.bare, "--dry-run")
    spent = time.perf_counter() - start
    chance = random.Random(7)
    for _ in range(8):
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        time.sleep(chance.uniform(spent, spent * 3 + 0.6))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if git("rev-parse", "HEAD", at=student) != before:
            break
        assert main(["-C", str(student), "update", "--from", str(student / "nowhere")]) == 2
        assert snapshot(student) == files
    update(student, "--from", template.bare)
    is_whole(student)
    assert SOLVED in text(student, TENSOR)


def half_done(student: Path, template: Template) -> Path:
    """An update that was ended after it wrote some of its files."""
    from tito.repository import Repository
    from tito.update import make_plan

    class Ended(Exception):
        """In place of a kill."""

    repository = Repository(student)
    plan = make_plan(repository, str(template.bare), None)
    run = Repository.git

    def torn(self, *words, **more):
        if words[0] == "read-tree" and "-u" in words:
            (self.root / "checkpoints/new.py").write_bytes(b"z =")
            (self.root / FEEDBACK).write_bytes(plan.contents[FEEDBACK])
            (self.root / "scripts/tito/gone.py").unlink()
            os._exit(9)
        return run(self, *words, **more)

    Repository.git = torn  # type: ignore[method-assign]
    child = os.fork()
    if child == 0:
        from tito.update import apply_plan

        apply_plan(repository, plan)
        os._exit(0)
    Repository.git = run  # type: ignore[method-assign]
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    return student


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_half_written_files_are_brought_back(template, student, capsys):
    template.publish(newer())
    files = snapshot(student)
    half_done(student, template)
    assert snapshot(student) != files
    update(student, "--from", template.bare, "--dry-run", status=2)
    assert "an update was interrupted here" in capsys.readouterr().err
    update(student, "--from", student / "nowhere", status=2)
    assert snapshot(student) == files
    assert "the files are back as they were" in capsys.readouterr().out
    update(student, "--from", template.bare)
    is_whole(student)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_what_was_edited_since_is_not_overwritten(template, student, capsys):
    template.publish(newer())
    half_done(student, template)
    (student / FEEDBACK).write_text("an edit\n", encoding="utf-8")
    update(student, "--from", template.bare, status=2)
    assert f"{FEEDBACK} was edited since" in capsys.readouterr().err
    assert text(student, FEEDBACK) == "an edit\n"
    git("checkout", "HEAD", "--", FEEDBACK, at=student)
    update(student, "--from", template.bare)
    is_whole(student)


def test_a_failing_write_leaves_all_as_it_was(template, student, capsys, monkeypatch):
    """As where a folder cannot be written: Git complains half-way."""
    from tito.repository import Repository, RepositoryError

    template.publish(newer())
    files, run = snapshot(student), Repository.git

    def full(self, *words, **more):
        if words[0] == "read-tree" and "-u" in words:
            (self.root / FEEDBACK).write_bytes(b"FACT = 2\n")
            raise RepositoryError("git read-tree: unable to create file: Permission denied")
        return run(self, *words, **more)

    monkeypatch.setattr(Repository, "git", full)
    said = refused(capsys, student, "--from", template.bare)
    assert "Permission denied; the tree is as it was before" in said
    monkeypatch.undo()
    assert not (student / ".git/tito-swap").exists()
    assert snapshot(student) == files
    update(student, "--from", template.bare)
