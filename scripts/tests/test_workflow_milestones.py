"""The workflow of the milestones, executed: plan, runs, records on the branch `badges`."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import yaml
from gitserver import GitServer
from workflow import JobResult, Runner, run_workflow

from tito.cli.milestone import MARGIN
from tito.files import write_atomic
from tito.ladder import load_ladder
from tito.milestone_run import GRACE, run_script
from tito.milestones import find, make_plan, parse_record
from tito.publish import publish
from tito.published import better, publication, published_records
from tito.render import render_all
from tito.render.milestone import milestone_page
from tito.report import Report, parse_report

ROOT = Path(__file__).resolve().parents[2]
WORKFLOW = ROOT / ".github" / "workflows" / "milestones.yml"
SAMPLES = ROOT / "scripts" / "tests" / "golden"
TOKEN = "ghs_the_token_of_this_run"
QUICK = {"event": "workflow_dispatch", "inputs": {"quick": True}}


def sample(name: str) -> Report:
    """A report in which everything has passed, or not much."""
    return parse_report((SAMPLES / name / "sample.json").read_text(encoding="utf-8"))


class Repository:
    """A student's repository with some modules and milestones, its caches and its artifacts."""

    def __init__(self, folder: Path, *milestones: str, modules: int = 7):
        self.folder, self.runs, self.may_push = folder, 0, True
        self.bare, self.work = folder / "server" / "ada" / "tree", folder / "work"
        self.git("init", "--quiet", "--bare", "--initial-branch=main", str(self.bare))
        self.work.mkdir()
        self.git("init", "--quiet", "--initial-branch=main", str(self.work))
        ignore = shutil.ignore_patterns("__pycache__", "tests", "bench", "checkpoint_*", "results")
        for name in ("checkpoints", "scripts", "tinytorch"):
            shutil.copytree(ROOT / name, self.work / name, ignore=ignore)
        for rung in load_ladder(ROOT).checkpoints:
            (self.work / "tinytorch" / "core" / f"{rung.module}.py").unlink(missing_ok=True)
            if int(rung.id) <= modules:
                source = ROOT / "modules" / rung.folder
                shutil.copytree(source, self.work / "modules" / rung.folder, ignore=ignore)
        for name in (*milestones, "data"):
            (source,) = (ROOT / "milestones").glob(f"{name}*")
            shutil.copytree(source, self.work / "milestones" / source.name, ignore=ignore)
        for name in ("pyproject.toml", ".gitignore"):
            shutil.copy2(ROOT / name, self.work / name)

    def git(self, *arguments: str, at: Path | None = None) -> str:
        who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
        place = ["-C", str(at)] if at else []
        return subprocess.check_output(["git", *place, *who, *arguments], text=True).strip()

    def edit(self, path: str, before: str, after: str) -> None:
        text = (self.work / path).read_text(encoding="utf-8")
        assert before in text
        (self.work / path).write_text(text.replace(before, after), encoding="utf-8")

    def commit(self) -> None:
        """Push the tree as it is."""
        self.git("add", "--all", at=self.work)
        self.git("commit", "--quiet", "--allow-empty", "-m", "Work", at=self.work)
        self.git("push", "--quiet", str(self.bare), "HEAD:main", at=self.work)

    def grade(self, report: Report) -> None:
        """Let the branch `badges` be as a push with this report would leave it."""
        texts = {n: t for n, t in render_all(report).items() if n.startswith("badges/")}
        files = {"report.json": json.dumps(report.to_json()), **texts}
        publish(
            {name: text.encode() for name, text in files.items()},
            remote=str(self.bare), branch="badges", subject="Badges", environment={},
        )  # fmt: skip

    def run(self, **settings) -> dict[str, list[JobResult]]:
        """Push, and run the workflow on machines of its own."""
        self.commit()
        self.runs += 1
        count = 0

        def machine(**contexts) -> Runner:
            nonlocal count
            count += 1
            return Runner(
                self.folder / f"run {self.runs}" / str(count),
                address.removesuffix("/ada/tree"),
                token=TOKEN,
                extra={"TITO_BOOTSTRAP_PYTHON": sys.executable},
                shared=self.folder / "shared",
                run_id=40 + self.runs,
                **contexts,
                **settings,
            )

        shutil.rmtree(self.folder / "shared" / "artifacts", ignore_errors=True)
        with GitServer(self.bare, TOKEN, may_push=self.may_push) as address:
            return run_workflow(WORKFLOW, machine)

    def published(self, path: str) -> str:
        return self.git("show", f"badges:{path}", at=self.bare)

    def names(self) -> set[str]:
        return set(self.git("ls-tree", "-r", "--name-only", "badges", at=self.bare).split())


def test_the_token_is_in_the_step_that_publishes_and_no_other():
    """And every job but the last may only read."""
    jobs = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))["jobs"]
    steps = [step for job in jobs.values() for step in job["steps"]]
    assert [s["name"] for s in steps if "token" in str(s).lower()] == ["Publish the milestones"]
    assert steps[-1]["env"] == {"GITHUB_TOKEN": "${{ github.token }}"}
    rights = {name: job["permissions"]["contents"] for name, job in jobs.items()}
    assert rights == {"plan": "read", "run": "read", "publish": "write"}
    assert "secrets" not in str(jobs)


def test_a_job_leaves_time_to_save_what_a_run_has_reached(ladder):
    jobs = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))["jobs"]
    assert GRACE < MARGIN
    for milestone in ladder.milestones:
        assert milestone.must
        assert milestone.minutes + MARGIN < jobs["run"]["timeout-minutes"]


def planned(jobs: dict[str, list[JobResult]]) -> list[str]:
    """The numbers of the milestones in the matrix."""
    matrix = json.loads(jobs["plan"][0].outputs["matrix"])
    return [row["id"][:2] for row in matrix["include"]]


def results(jobs: dict[str, list[JobResult]]) -> dict[str, str]:
    return {name: ", ".join(sorted({j.result for j in rows})) for name, rows in jobs.items()}


def logs(jobs: dict[str, list[JobResult]]) -> str:
    return "".join(job.log for rows in jobs.values() for job in rows)


@pytest.fixture(scope="module")
def ran(tmp_path_factory) -> tuple[Repository, dict[str, list[JobResult]]]:
    """Quick runs of two milestones, everything being unlocked."""
    repository = Repository(tmp_path_factory.mktemp("ran"), "01", "02")
    repository.commit()
    repository.grade(sample("passed"))
    jobs = repository.run(**QUICK)
    shutil.copytree(repository.folder / "shared" / "artifacts", repository.folder / "kept")
    return repository, jobs


@pytest.fixture(scope="module")
def text(ran) -> str:
    """A good record, as JSON."""
    return (ran[0].folder / "kept/milestone-01_1957_perceptron/record.json").read_text()


def test_the_unlocked_milestones_run_and_all_jobs_succeed(ran):
    _, jobs = ran
    assert planned(jobs) == ["01", "02"]
    assert results(jobs) == dict.fromkeys(("plan", "run", "publish"), "success"), logs(jobs)
    assert "not in this tree" in jobs["plan"][0].summary


def test_each_leaves_a_record_a_curve_and_a_log(ran, ladder):
    repository, jobs = ran
    for number in ("01", "02"):
        (folder,) = (repository.folder / "kept").glob(f"milestone-{number}*")
        files = {path.name: path for path in folder.iterdir()}
        assert {"record.json", "quick.json", "quick.svg", "log.txt"} <= set(files)
        record = parse_record(files["record.json"].read_text(), find(ladder, number))
        assert record.passed
        ET.fromstring(files["quick.svg"].read_text())
        assert "RESULT" in files["log.txt"].read_text()
    first = jobs["run"][0].summary
    assert "## 1957 Perceptron: the quick run reached its figure" in first
    assert "Must reach: 100% on separable data" in first
    assert "mistakes by cards shown" in first


def test_flag_badge_and_record_are_on_the_branch_and_main_is_untouched(ran):
    repository, jobs = ran
    assert repository.git("rev-list", "--count", "badges", at=repository.bare) == "1"
    assert "milestones/01_1957_perceptron.json" in repository.names()
    assert "quick, reached" in repository.published("badges/milestone_01.svg")
    assert json.loads(repository.published("badges/milestone_02.json"))["message"]
    assert "1957 Perceptron quick, reached" in repository.published("badges/timeline.svg")
    report = parse_report(repository.published("report.json"))
    assert [m.result is not None for m in report.milestones[:3]] == [True, True, False]
    head = repository.git("rev-parse", "HEAD", at=repository.work)
    assert repository.git("rev-parse", "main", at=repository.bare) == head
    assert "| 1957 Perceptron | reached, quick |" in jobs["publish"][0].summary


def test_the_token_is_in_no_log_file_or_artifact(ran):
    repository, jobs = ran
    assert TOKEN not in logs(jobs)
    for path in repository.folder.rglob("*"):
        if path.is_file() and "run " in str(path.relative_to(repository.folder)):
            assert TOKEN.encode() not in path.read_bytes(), path


def test_nothing_changed_ends_after_the_plan(ran):
    """Prose, tests and blank lines are no change; code is."""
    repository, _ = ran
    begin = time.monotonic()
    jobs = repository.run(**QUICK)
    assert time.monotonic() - begin < 20
    assert results(jobs) == {"plan": "success", "run": "skipped", "publish": "skipped"}
    assert planned(jobs) == []
    assert "nothing has changed" in jobs["plan"][0].summary
    path = "modules/01_tensor/tensor.py"
    repository.edit(path, "# %% [markdown]\n", "# %% [markdown]\n# Welcome.\n#\n")
    repository.commit()
    assert planned_here(repository) == []
    repository.edit(path, "import numpy as np\n", "import numpy as np\n\nCHANGED = True\n")
    assert planned_here(repository) == ["01", "02"]


def planned_here(repository: Repository) -> list[str]:
    """What the plan of the tree as it lies there would take, for quick runs."""
    ladder = load_ladder(repository.work)
    names = [n for n in repository.names() if n.startswith("milestones/")]
    files = {name: repository.published(name).encode() for name in names}
    records = published_records(files, ladder)
    plan = make_plan(repository.work, ladder, sample("passed"), records, quick=True)
    return [p.milestone.id[:2] for p in plan if p.wanted]


def test_a_quick_result_does_not_stand_for_a_full_one(ran):
    repository, _ = ran
    ladder = load_ladder(repository.work)
    record = parse_record(
        repository.published("milestones/02_1969_xor.json"), find(ladder, "02")
    )  # fmt: skip
    plan = make_plan(repository.work, ladder, sample("passed"), {record.id: record})
    why = {p.milestone.id[:2]: (p.wanted, p.why) for p in plan}
    assert why["02"][0]
    assert why["01"] == (True, "not recorded yet")


def test_a_push_keeps_the_records_and_its_report_shows_them(ran, tmp_path):
    repository, _ = ran
    write_atomic(tmp_path / "report.json", json.dumps(sample("partway").to_json()))
    for name, text in render_all(sample("partway")).items():
        write_atomic(tmp_path / name, text)
    shutil.copytree(ROOT / "checkpoints", tmp_path / "checkpoints")
    before = repository.published("milestones/01_1957_perceptron.json")
    command = [sys.executable, "-P", "-m", "tito", "-C", str(tmp_path), "report", "publish"]
    subprocess.run([*command, "--remote", str(repository.bare)], check=True)
    assert repository.published("milestones/01_1957_perceptron.json") == before
    report = parse_report(repository.published("report.json"))
    assert report.score == sample("partway").score
    assert report.milestones[0].result.passed
    assert "quick, reached" in repository.published("badges/milestone_01.svg")
    repository.grade(sample("passed"))


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """One milestone, and a report in which everything has passed."""
    repository = Repository(tmp_path, "01")
    repository.commit()
    repository.grade(sample("passed"))
    return repository


def test_a_locked_milestone_is_not_in_the_matrix(repository):
    repository.grade(sample("partway"))
    jobs = repository.run(**QUICK)
    assert results(jobs) == {"plan": "success", "run": "skipped", "publish": "skipped"}
    assert planned(jobs) == []
    assert "locked, still requires 0" in jobs["plan"][0].summary


def test_before_the_first_push_there_is_nothing_to_run(tmp_path):
    jobs = Repository(tmp_path, "01").run(event="schedule")
    assert results(jobs)["plan"] == "success", logs(jobs)
    assert planned(jobs) == []
    assert "no report yet" in jobs["plan"][0].summary


def test_a_variable_makes_scheduled_runs_quick_or_ends_them(repository):
    jobs = repository.run(event="schedule", configuration={"MILESTONES": "off"})
    assert set(results(jobs).values()) == {"skipped"}
    jobs = repository.run(event="schedule", configuration={"MILESTONES": "quick"})
    assert results(jobs) == dict.fromkeys(("plan", "run", "publish"), "success"), logs(jobs)
    assert "quick run · seed 0" in jobs["run"][0].log
    report = parse_report(repository.published("report.json"))
    assert report.milestones[0].result.quick


def test_one_milestone_can_be_asked_for(repository):
    jobs = repository.run(event="workflow_dispatch", inputs={"milestone": "02", "quick": True})
    assert planned(jobs) == []
    jobs = repository.run(event="workflow_dispatch", inputs={"milestone": "nonsense"})
    assert results(jobs)["plan"] == "failure"
    assert "no milestone called 'nonsense'" in logs(jobs)


@pytest.mark.slow
def test_a_run_that_was_cut_off_goes_on_the_next_time(tmp_path):
    repository = Repository(tmp_path, "03", modules=8)
    repository.commit()
    repository.grade(sample("passed"))
    clock = "tinytorch/utils/milestone.py"
    repository.edit(clock, "else 60 * self.minutes", "else 0.0001 * self.minutes")
    jobs = repository.run(**QUICK)
    assert results(jobs) == dict.fromkeys(("plan", "run", "publish"), "success"), logs(jobs)
    assert "stopped in time" in jobs["run"][0].summary
    assert "milestones/03_1986_mlp.json" not in repository.names()
    repository.edit(clock, "else 0.0001 * self.minutes", "else 60 * self.minutes")
    jobs = repository.run(**QUICK)
    assert "going on from step 1" in jobs["run"][0].log
    assert "## 1986 Back-propagation: the quick run reached" in jobs["run"][0].summary
    assert "milestones/03_1986_mlp.json" in repository.names()
    assert planned(repository.run(**QUICK)) == []
    again = {"event": "workflow_dispatch", "inputs": {"quick": True, "fresh": True}}
    assert planned(repository.run(**again)) == ["03"]


FORGED = """
import json, os, sys
from pathlib import Path
out = Path(sys.argv[sys.argv.index("--out") + 1])
record = json.loads(open(__file__.replace("perceptron.py", "forged.json")).read())
record["code"] = os.environ["TINYTORCH_MILESTONE_CODE"]
target = out / "record.json"
CHANGE
target.write_text(json.dumps(record))
for name, value in os.environ.items():
    assert not name.startswith(("GITHUB_", "RUNNER_", "ACTIONS_")), name
print("::error::forged")
print("RESULT 01_1957_perceptron accuracy 1.0 target 1 PASS", flush=True)
"""


@pytest.mark.parametrize(
    "change",
    [
        'record["value"] = 0.5',
        'record["code"] = "f" * 64',
        'target.symlink_to("/etc/hostname"); target = out / "other.json"',
    ],
)
def test_a_hostile_record_is_left_out(repository, text, change):
    """What the code says is data: it is refused, and what was published stays as it was."""
    folder = repository.work / "milestones" / "01_1957_perceptron"
    (folder / "forged.json").write_text(text)
    (folder / "perceptron.py").write_text(FORGED.replace("CHANGE", change))
    before = repository.published("report.json")
    jobs = repository.run(**QUICK)
    assert "forged" in logs(jobs)
    assert not [c for c in jobs["run"][0].commands if c.name == "error"]
    assert not [n for n in repository.names() if n.startswith("milestones/")]
    assert parse_report(repository.published("report.json")) == parse_report(before)
    (warning,) = [c for c in jobs["publish"][0].commands if c.name == "warning"]
    assert "01_1957_perceptron was left out" in warning.fields["title"]


def test_a_run_that_breaks_fails_its_job_and_spoils_nothing(repository):
    script = repository.work / "milestones" / "01_1957_perceptron" / "perceptron.py"
    script.write_text("raise ValueError('no')\n")
    jobs = repository.run(**QUICK)
    assert results(jobs) == {"plan": "success", "run": "failure", "publish": "success"}
    assert "ended without a result" in jobs["run"][0].summary
    assert "report.json" in repository.names()


def test_without_the_right_to_write_the_job_says_so(repository):
    repository.may_push = False
    jobs = repository.run(**QUICK)
    assert results(jobs) == {"plan": "success", "run": "success", "publish": "failure"}
    (warning,) = [c for c in jobs["publish"][0].commands if c.name == "warning"]
    assert "contents: write" in warning.text


def test_a_central_repository_runs_another_one_and_does_not_write_to_it(repository, tmp_path):
    repository.commit()
    central = tmp_path / "server" / "school" / "central"
    repository.git("init", "--quiet", "--bare", "--initial-branch=main", str(central))
    empty = tmp_path / "empty"
    empty.mkdir()
    repository.git("init", "--quiet", "--initial-branch=main", str(empty))
    repository.git("commit", "--quiet", "--allow-empty", "-m", "Start", at=empty)
    repository.git("push", "--quiet", str(central), "HEAD:main", at=empty)
    before = repository.git("rev-parse", "badges", at=repository.bare)
    numbers = iter(range(9))
    jobs = run_workflow(
        WORKFLOW,
        lambda **contexts: Runner(
            tmp_path / "central run" / str(next(numbers)),
            f"file://{tmp_path / 'server'}",
            repository="school/central",
            event="workflow_call",
            inputs={"repository": "ada/tree", "quick": True},
            extra={"TITO_BOOTSTRAP_PYTHON": sys.executable},
            shared=tmp_path / "shared",
            **contexts,
        ),
    )
    assert results(jobs) == {"plan": "success", "run": "success", "publish": "skipped"}, logs(jobs)
    assert (tmp_path / "shared/artifacts/milestone-01_1957_perceptron/record.json").is_file()
    assert repository.git("rev-parse", "badges", at=repository.bare) == before


def test_a_script_that_does_not_stop_is_stopped(tmp_path, ladder):
    """With all that it has started."""
    folder = tmp_path / "milestones" / "01_1957_perceptron"
    folder.mkdir(parents=True)
    (folder / "slow.py").write_text(
        "import subprocess, sys, time\nprint('begun', flush=True)\n"
        "subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
    )
    begin = time.monotonic()
    ended = run_script(tmp_path, find(ladder, "01"), [], lambda line: None, minutes=0.02)
    assert ended.status == "stopped"
    assert time.monotonic() - begin < 20


def test_a_quick_run_does_not_hide_a_full_one_of_the_same_code(text, ladder):
    quick = parse_record(text, find(ladder, "01"))
    full = parse_record(json.dumps({**json.loads(text), "quick": False}), find(ladder, "01"))
    other = parse_record(json.dumps({**json.loads(text), "code": "f" * 64}), find(ladder, "01"))
    assert better(full, quick) is full
    assert better(quick, full) is full
    assert better(full, other) is other
    assert better(None, quick) is quick
    files = publication(sample("passed"), {full.id: full})
    assert published_records(files, ladder) == {full.id: full}
    assert b">reached<" in files["badges/milestone_01.svg"]


def test_a_hostile_text_stays_text_in_the_summary(ladder, text):
    record = json.loads(text)
    record["figure"] = record["dataset"] = "<img src=x> | [a](b)\n# x"
    record["curves"][0]["name"] = "```\n# out"
    milestone = find(ladder, "01")
    page = milestone_page(
        milestone, "passed", parse_record(json.dumps(record), milestone), "```\n::error::x\n", ""
    )  # fmt: skip
    assert "<img" not in page
    assert "\n# " not in page.replace("````text\n```\n# out", "")
    assert "\n::error" not in page
