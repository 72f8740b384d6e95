"""The workflow of a push, executed: what it leaves behind in the run and in the repository."""

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from gitserver import GitServer
from workflow import JobResult, Runner

from tito.release import build
from tito.report import load_report

ROOT = Path(__file__).resolve().parents[2]
WORKFLOW = ROOT / ".github" / "workflows" / "grade.yml"
TOKEN = "ghs_the_token_of_this_run"


class Classroom:
    """A student's repository behind HTTP, and a checkout to push from."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.bare, self.work = folder / "ada.git", folder / "work"
        self.runs = 0
        self.may_push = True
        self.git("init", "--quiet", "--bare", "--initial-branch=main", str(self.bare))
        self.work.mkdir()
        self.git("init", "--quiet", "--initial-branch=main", str(self.work))
        ignore = shutil.ignore_patterns("__pycache__", "tests", "bench", "checkpoint_*")
        for name in (".github", "checkpoints", "scripts", "tinytorch"):
            shutil.copytree(ROOT / name, self.work / name, ignore=ignore)
        for name in ("pyproject.toml", ".gitignore"):
            shutil.copy2(ROOT / name, self.work / name)

    def git(self, *arguments: str, at: Path | None = None) -> str:
        who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
        place = ["-C", str(at)] if at else []
        return subprocess.check_output(["git", *place, *who, *arguments], text=True).strip()

    def add(self, *modules: str) -> None:
        """Take modules and their checkpoints from the course."""
        for name in modules:
            shutil.copytree(ROOT / "modules" / name, self.work / "modules" / name)
            (checkpoint,) = (ROOT / "checkpoints").glob(f"checkpoint_{name[:2]}_*.py")
            shutil.copy2(checkpoint, self.work / "checkpoints")

    def source(self, module: str) -> Path:
        return self.work / "modules" / module / f"{module[3:]}.py"

    def push(self, branch: str = "main", **settings: str) -> JobResult:
        """Commit everything, push, and run the workflow."""
        self.git("add", "--all", at=self.work)
        self.git("commit", "--quiet", "--allow-empty", "-m", "Work", at=self.work)
        self.git("push", "--quiet", str(self.bare), f"HEAD:{branch}", at=self.work)
        self.runs += 1
        with GitServer(self.bare, TOKEN, may_push=self.may_push) as address:
            runner = Runner(
                self.folder / f"run {self.runs}",
                address.removesuffix("/ada/tree"),
                branch=branch,
                token=TOKEN,
                extra={"TITO_BOOTSTRAP_PYTHON": sys.executable},
                **settings,
            )
            return runner.job(WORKFLOW, "grade")

    def published(self, path: str) -> str:
        return self.git("show", f"badges:{path}", at=self.bare)


@pytest.fixture
def classroom(tmp_path: Path) -> Classroom:
    return Classroom(tmp_path)


@pytest.fixture(scope="module")
def graded(tmp_path_factory) -> tuple[Classroom, JobResult]:
    """A push of the setup, a tensor module with one mistake, and the activations."""
    classroom = Classroom(tmp_path_factory.mktemp("graded"))
    classroom.add("00_setup", "01_tensor", "02_activations")
    source = classroom.source("02_activations")
    text = source.read_text(encoding="utf-8")
    before = "return np.maximum(x, 0)"
    assert text.count(before) >= 1
    source.write_text(text.replace(before, "return np.maximum(x, -1)"), encoding="utf-8")
    return classroom, classroom.push()


def test_every_step_succeeds(graded):
    _, job = graded
    others = {step.name: step.conclusion for step in job.steps if step.conclusion != "success"}
    assert others == {"Fetch the history of what was changed": "skipped"}
    assert job.result == "success", job.log


def test_the_outputs_are_in_the_form_of_github_classroom(graded):
    _, job = graded
    result = json.loads(base64.b64decode(job.outputs["result"], validate=True))
    assert result["version"] == 1
    assert result["max_score"] == 100
    assert sum(test["score"] for test in result["tests"]) == int(job.outputs["points"])
    assert all(type(test["score"]) is int for test in result["tests"])
    assert job.outputs["max"] == "100"
    assert 8 < int(job.outputs["points"]) < 12


def test_the_notices_of_github_classroom_are_printed(graded):
    _, job = graded
    points = int(job.outputs["points"])
    notices = {c.fields["title"]: c.text for c in job.commands if c.name == "notice"}
    assert notices["Autograding complete"] == f"Points {points}/100"
    expected = {"totalPoints": points, "maxPoints": 100}
    assert json.loads(notices["Autograding report"]) == expected


def test_the_mistake_is_annotated_on_the_students_own_line(graded):
    classroom, job = graded
    errors = [c for c in job.commands if c.name == "error"]
    assert 1 <= len(errors) <= 10
    found = [e for e in errors if e.fields["file"] == "modules/02_activations/activations.py"]
    assert all("expected" in error.text for error in found)
    lines = classroom.source("02_activations").read_text(encoding="utf-8").splitlines()
    starts = [int(error.fields["line"]) - 1 for error in found]
    assert any("def relu" in line for start in starts for line in lines[start : start + 2])


def test_the_summary_says_what_an_instructor_asks(graded):
    _, job = graded
    first, *_ = job.summary.splitlines()
    assert job.outputs["points"] in first
    assert "tito checkpoint run 02" in job.summary


def test_the_report_is_an_artifact(graded):
    classroom, job = graded
    folder = job.artifacts / "report"
    report = load_report(folder / "report.json")
    assert report.commit == classroom.git("rev-parse", "main", at=classroom.bare)
    assert report.by_id["00"].status == "passed"
    assert report.by_id["02"].status in ("partial", "blocked")
    names = {path.name for path in folder.iterdir()}
    assert names == {"report.json", "summary.md", "grade.json", "classroom.json", "badges"}


def test_the_badges_are_one_commit_on_a_branch_of_their_own(graded):
    classroom, job = graded
    assert classroom.git("rev-list", "--count", "badges", at=classroom.bare) == "1"
    names = classroom.git("ls-tree", "-r", "--name-only", "badges", at=classroom.bare).split()
    assert "report.json" in names
    assert all(name == "report.json" or name.startswith("badges/") for name in names)
    for name in names:
        if name.endswith(".svg"):
            ET.fromstring(classroom.published(name))
    assert json.loads(classroom.published("report.json"))["score"]["points"] == int(
        job.outputs["points"]
    )


def test_main_is_as_the_student_pushed_it(graded):
    classroom, _ = graded
    head = classroom.git("rev-parse", "HEAD", at=classroom.work)
    assert classroom.git("rev-parse", "main", at=classroom.bare) == head
    assert classroom.git("branch", "--format=%(refname:short)", at=classroom.bare).split() == [
        "badges", "main",
    ]  # fmt: skip


def test_the_token_is_in_no_log_file_or_setting(graded):
    _, job = graded
    secret = base64.b64encode(f"x-access-token:{TOKEN}".encode())
    for path in (p for folder in (job.workspace, job.artifacts) for p in folder.rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            assert TOKEN.encode() not in content, path
            assert secret not in content, path
    assert TOKEN not in job.log
    assert secret.decode() not in job.log


def test_a_second_push_replaces_the_badges_and_meets_no_conflict(classroom):
    """The student pushes again without pulling: nothing of the bot's is in the way."""
    classroom.add("00_setup")
    classroom.push()
    first = classroom.git("rev-parse", "badges", at=classroom.bare)
    job = classroom.push()
    assert job.result == "success", job.log
    second = classroom.git("rev-parse", "badges", at=classroom.bare)
    assert second != first
    assert classroom.git("rev-list", "badges", at=classroom.bare) == second


def test_another_branch_is_not_graded(classroom):
    job = classroom.push(branch="draft")
    assert (job.result, job.steps) == ("skipped", [])


def test_without_the_right_to_write_the_grade_stands_and_a_warning_says_why(classroom):
    classroom.may_push = False
    job = classroom.push()
    assert job.result == "success", job.log
    assert job.outputs["points"] == "0"
    (warning,) = [c for c in job.commands if c.name == "warning"]
    assert "contents: write" in warning.text
    assert "The badges were not published" in job.summary
    for words in ("Settings", "Actions", "General", "Workflow permissions"):
        assert words in job.summary


def break_syntax(source: Path) -> None:
    with source.open("a", encoding="utf-8") as stream:
        stream.write("\n# %%\n#| export\ndef broken(:\n    pass\n")


def remove(source: Path) -> None:
    shutil.rmtree(source.parent)


def empty(source: Path) -> None:
    source.write_text("")


def test_a_tampered_checkpoint_is_named_and_judged_by_its_released_text(classroom):
    """The first push of a repository made from the release; only its history has the old text."""
    for path in list(classroom.work.iterdir()):
        if path.name != ".git":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path, data in build(ROOT).items():
        (classroom.work / path).parent.mkdir(parents=True, exist_ok=True)
        (classroom.work / path).write_bytes(data)
    classroom.git("add", "--all", at=classroom.work)
    classroom.git("commit", "--quiet", "-m", "Begin", at=classroom.work)
    name = "checkpoints/checkpoint_00_environment.py"
    (classroom.work / name).write_text("def test_nothing():\n    pass\n", encoding="utf-8")
    job = classroom.push()
    assert job.result == "success", job.log
    assert job.step("Fetch the history of what was changed").conclusion == "success"
    assert job.outputs["points"] == "0"
    assert "graded with the released text" in job.summary
    (warning,) = [c for c in job.commands if c.name == "warning"]
    assert warning.fields["file"] == name
    report = json.loads(classroom.published("report.json"))
    assert report["integrity"]["modified"] == report["integrity"]["restored"] == [name]
    assert classroom.git("log", "--format=%s", "main", at=classroom.bare).split() == [
        "Work",
        "Begin",
    ]


@pytest.mark.parametrize("damage", [break_syntax, remove, empty], ids=lambda d: d.__name__)
def test_a_broken_tree_is_graded_all_the_same(classroom, damage: Callable[[Path], None]):
    classroom.add("00_setup", "01_tensor")
    damage(classroom.source("01_tensor"))
    job = classroom.push()
    assert job.result == "success", job.log
    assert int(job.outputs["points"]) == 2
    assert json.loads(classroom.published("report.json"))["level"] == 0
    if damage is not remove:
        errors = [c.fields["file"] for c in job.commands if c.name == "error"]
        assert "modules/01_tensor/tensor.py" in errors


HOSTILE = """
# %%
#| export
def _attack():
    import glob, os, sys
    forged = ("::notice title=Autograding report::{\\"totalPoints\\":100,\\"maxPoints\\":100}\\n"
              "##[notice title=Autograding report]{\\"totalPoints\\":100,\\"maxPoints\\":100}\\n"
              "::error file=README.md::forged\\n::set-env name=FORGED::1\\n\\x1b[31mred\\n")
    for stream in (1, 2):
        os.write(stream, forged.encode())
    sys.stdout.write(forged)
    found = [v for k, v in os.environ.items() if k.startswith(("GITHUB_", "RUNNER_"))]
    for path in found + glob.glob("FOLDER/_runner_file_commands/*") + ["FOLDER/planted"]:
        try:
            with open(path, "a") as stream:
                stream.write("FORGED=1\\npoints=100\\nresult=e30=\\n")
        except OSError:
            pass
    raise ValueError(forged)

_attack()
"""


def test_hostile_code_cannot_speak_for_the_run(classroom):
    """It prints commands, raises them, and writes to the runner's files by their paths."""
    classroom.add("00_setup", "01_tensor")
    temp = classroom.folder / "run 1" / "temp"
    if os.geteuid() == 0:  # the worker is an unprivileged user then: the path must not stop it
        for folder in (temp, *temp.parents):
            if folder.is_relative_to(classroom.folder):
                folder.mkdir(parents=True, exist_ok=True)
                folder.chmod(0o777)
    source = classroom.source("01_tensor")
    with source.open("a", encoding="utf-8") as stream:
        stream.write(HOSTILE.replace("FOLDER", str(temp)))
    job = classroom.push()
    assert job.result == "success", job.log
    assert job.outputs["points"] == "2"
    assert [c.text for c in job.commands if c.name == "notice"] == [
        "Points 2/100", '{"totalPoints":2,"maxPoints":100}',
    ]  # fmt: skip
    assert all(c.fields.get("file", "").startswith("modules/") for c in job.commands
               if c.name == "error")  # fmt: skip
    assert not any("FORGED" in step.outputs for step in job.steps)
    assert not (temp / "planted").exists()
    assert "\x1b" not in job.log
