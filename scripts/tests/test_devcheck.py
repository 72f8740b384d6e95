"""`tito dev check`: the course is in order, and each kind of disorder is found where it is."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tito.cli import main
from tito.devcheck import Finding, check_files, check_runs, code_lines
from tito.ladder import load_ladder

ROOT = Path(__file__).resolve().parents[2]
SETUP = "modules/00_setup/setup.py"
TENSOR = "modules/01_tensor/tensor.py"
README = "modules/01_tensor/README.md"
CHECKPOINT = "checkpoints/checkpoint_01_foundation.py"
HINTS = "modules/01_tensor/hints.toml"
LADDER = "checkpoints/ladder.toml"


def test_the_course_is_in_order():
    """What `tito dev check --static` says of this repository."""
    assert [str(finding) for finding in check_files(ROOT)] == []


@pytest.fixture(scope="module")
def course(tmp_path_factory) -> Path:
    """A course of two modules, which each test leaves as it found it."""
    target = tmp_path_factory.mktemp("dev check") / "my côurse"
    listed = subprocess.check_output(["git", "-C", str(ROOT), "ls-files", "-z"], text=True)
    own = ("modules/00_", "modules/01_", "checkpoints/checkpoint_00_", "checkpoints/checkpoint_01_")
    for name in listed.split("\0"):
        shared = name.startswith(("checkpoints/", "tinytorch/")) and "/checkpoint_" not in name
        if name.startswith(own) or shared or name == "milestones/data/README.md":
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    text = (ROOT / LADDER).read_text(encoding="utf-8").partition('[[checkpoint]]\nid = "02"')[0]
    (target / LADDER).write_text(text.replace("points = 2\n", "points = 94\n"), encoding="utf-8")
    steps = (ROOT / TENSOR).read_text(encoding="utf-8").count("\n# ## Step ")
    rows = (f'[[step]]\nstep = {n}\nhints = [\n    "Think.",\n]\n' for n in range(1, steps + 1))
    (target / HINTS).write_text("\n".join(rows), encoding="utf-8")
    return target


@pytest.fixture
def damage(course):
    """Change a file of the copy: `damage(file, old, new)`; nothing as `old` writes a new file."""
    before: dict[Path, bytes | None] = {}

    def change(file: str, old: str, new: str) -> int:
        path = course / file
        before.setdefault(path, path.read_bytes() if path.exists() else None)
        if not old:
            path.write_text(new, encoding="utf-8")
            return 1
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new, 1), encoding="utf-8")
        return text[: text.index(old)].count("\n") + 1

    yield change
    for path, data in before.items():
        path.unlink(missing_ok=True)
        if data is not None:
            path.write_bytes(data)


def lines_of(findings: list[Finding], file: str) -> dict[int, str]:
    """What was found in one file, by line."""
    return {finding.line: finding.what for finding in findings if finding.file == file}


def first(file: str, word: str) -> str:
    """The first line of a course's file that holds a word."""
    lines = (ROOT / file).read_text(encoding="utf-8").split("\n")
    return next(line for line in lines if word in line)


HINT = re.search(r'hint="[^"]*"', (ROOT / CHECKPOINT).read_text(encoding="utf-8"))[0]
MARK = first(CHECKPOINT, '@asks("performance"')
SPOILER = next(
    line.strip()
    for line in (ROOT / TENSOR)
    .read_text(encoding="utf-8")
    .split("### BEGIN SOLUTION")[1]
    .split("\n")
    if len(line.split("#")[0].strip()) > 30
)


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        (TENSOR, "    ### BEGIN SOLUTION\n", "", "a solution ends that never began"),
        (TENSOR, "### END SOLUTION", "### END_SOLUTION", "malformed marker"),
        (TENSOR, "#| test\n", "#| tset\n", "unknown directive"),
        (TENSOR, "# ## Step 2:", "# ## Step 3:", "its steps are 1, 3, 4"),
        (SETUP, "# %%\n#| test\n", "# %%\nfrom tinytorch.core.tensor import x\n# %%\n#| test\n",
         "imports tensor, which 00 does not need"),
        (README, "# 01", "# 10", "its title does not begin with 01"),
        (README, "Can I create", "Can you create", "does not ask the ladder's question"),
        (README, "tito test 01", "tito test 02", "`tito test 02` is another module's"),
        (README, "\n1. ", "\n2. ", "steps, modules/01_tensor/tensor.py has"),
        ("modules/00_setup/README.md", "## What you need\n", "## What you need\n\nModule 01.\n",
         "says it needs 01"),
        (README, "\n## What you need", "\n[map](map.svg)\n## What you need", "nowhere: map.svg"),
        (README, "\n## What you need", f"\n    {SPOILER}\n\n## What you need", "gives away"),
        (CHECKPOINT, HINT, 'hint=" "', "has an empty hint"),
        (CHECKPOINT, MARK, MARK.replace("performance", "speed"), "of the unknown kind 'speed'"),
        (CHECKPOINT, "@asks(", "@skip(", "does not say what it asks"),
        (CHECKPOINT, "step=1", "step=99", "is about step 99, which"),
        (CHECKPOINT, 'of="', 'of="no_', "does not define"),
        (HINTS, "step = 8", "step = 77", "gives hints for step 77"),
        (HINTS, '    "Think.",\n', "", "step 1 must have 1 to 3 hints"),
        (HINTS, "step = 1", "step = 1\nword = 3", "unknown key 'word'"),
        ("modules/01_tensor/reflection.md", "\n> ", "\n", "holds an answer already"),
        ("modules/01_tensor/notes.txt", "", "to do\n", "does not belong here"),
        ("modules/21_more/more.py", "", "x = 1\n", "does not belong here"),
        ("checkpoints/checkpoint_77_old.py", "", "x = 1\n", "does not belong here"),
        ("checkpoints/conftest.py", '"""', '# course-only\n"""', "is never closed"),
        ("milestones/data/README.md", "\n", "\n# course-only\n", "malformed marker"),
        (LADDER, "points = 6", "points = 7", "must sum to 100, not 101"),
        (LADDER, 'module = "tensor"\n', 'module = "tensor"\nfree = ["test_x"]\n', "lists test_x"),
    ],
    ids=lambda value: "",
)  # fmt: skip
def test_disorder_is_found_where_it_is(course, damage, file, old, new, words):
    (course / file).parent.mkdir(exist_ok=True)
    damage(file, old, new)
    found = check_files(course)
    told = [f for f in found if words in f.what and f.file == file]
    assert told, [str(finding) for finding in found]
    assert all(finding.line >= 1 and finding.mend for finding in found)


def test_the_line_is_that_of_the_disorder(course, damage):
    at = damage(CHECKPOINT, HINT, 'hint=""')
    (finding,) = check_files(course)
    rows = (course / CHECKPOINT).read_text(encoding="utf-8").split("\n")
    assert rows[finding.line - 1].startswith("def test_")
    assert finding.line > at
    line = damage(README, "## Further reading", "See [there](nowhere.md).\n\n## Further reading")
    assert "its link leads nowhere: nowhere.md" in lines_of(check_files(course), README)[line]


@pytest.mark.parametrize("file", [TENSOR, README, CHECKPOINT, "modules/01_tensor/reflection.md"])
def test_what_is_missing_is_named(course, damage, file):
    damage(file, "", "")
    (course / file).unlink()
    assert "is missing" in lines_of(check_files(course), file)[1]


def test_a_step_without_a_test_is_named(course, damage):
    for step in ("step=2", "step=2", "step=2", "step=2", "step=2", "step=2", "step=2", "step=2"):
        if step in (course / CHECKPOINT).read_text(encoding="utf-8"):
            damage(CHECKPOINT, step, "step=1")
    wanted = "step 2 is exercised by no test of"
    assert [f for f in check_files(course) if f.what.startswith(wanted) and f.file == TENSOR]


@pytest.mark.parametrize(
    ("body", "size"),
    [
        ("    x = 1\n", 1),
        ("    # why\n\n    x = [\n        1,\n    ]\n", 3),
        ('    text = """a\n\n    # b\n    """\n', 3),
        ("    # only words\n", 0),
    ],
)
def test_size_of_a_solution(body, size):
    assert code_lines(body) == size


ALWAYS = '''

@asks("functionality", step=1, of="zeros", hint="there is nothing to be done about it")
def test_of_nothing():
    """Ask nothing."""
'''


def run(course: Path) -> list[str]:
    ladder = load_ladder(course)
    found = check_runs(course, ladder, [ladder.by_id["01"]], 5)
    assert [finding.file for finding in found] == [CHECKPOINT] * len(found)
    rows = (course / CHECKPOINT).read_text(encoding="utf-8").split("\n")
    assert all(f.line == 1 or rows[f.line - 1].startswith("def test_") for f in found)
    return [finding.what for finding in found]


def test_a_sound_checkpoint_passes_on_solutions_and_meets_stubs(course):
    assert run(course) == []


def test_a_test_that_passes_on_stubs_is_named_unless_it_is_free(course, damage):
    text = (course / CHECKPOINT).read_text(encoding="utf-8")
    damage(CHECKPOINT, "", text + ALWAYS)
    told = run(course)
    assert "is partial on stubs, not not_started" in told
    assert "test_of_nothing is passed on stubs" in told
    damage(LADDER, 'name = "foundation"\n', 'name = "foundation"\nfree = ["test_of_nothing"]\n')
    assert run(course) == []
    damage(CHECKPOINT, ALWAYS, ALWAYS + "    assert not 1\n")
    told = " ".join(run(course))
    assert "test_of_nothing is failed on stubs" in told
    assert "test_of_nothing does not pass on the solutions" in told


def test_a_checkpoint_in_error_on_stubs_is_named(course, damage):
    """A module that cannot be imported."""
    damage(TENSOR, "# %%\n#| test\n", "# %%\n#| export\nimport nowhere\n\n# %%\n#| test\n")
    told = run(course)
    assert "is error on stubs, not not_started" in told
    assert [what for what in told if "does not pass on the solutions: " in what]


def test_the_command_says_it_in_lines(course, damage, capsys):
    assert main(["-C", str(course), "dev", "check", "--static"]) == 0
    assert "in order, as far as reading shows" in capsys.readouterr().out
    damage("modules/01_tensor/notes.txt", "", "to do\n")
    assert main(["-C", str(course), "dev", "check", "01"]) == 1
    out = capsys.readouterr().out
    assert out.startswith("modules/01_tensor/notes.txt:1: does not belong here; remove it")
    assert "1 finding\n" in out
    (course / "modules/01_tensor/notes.txt").unlink()
    assert main(["-C", str(course), "dev", "check", "01"]) == 0
    assert capsys.readouterr().out.startswith("the course is in order")
