"""The climb: from the released tree at 0 to 100 points, one module a push, in ladder order.

Each push is graded by the workflow itself, with the tool of the released tree. What must be there
after it is worked out here from the ladder's file alone.
"""

import json
import subprocess
import sys
import sysconfig
import tomllib
import venv
from collections import Counter
from functools import cache
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from gitserver import GitServer
from hypothesis import given, settings
from hypothesis import strategies as st
from workflow import JobResult, Runner

from tito.export import present
from tito.grading.grade import grade
from tito.grading.score import Run, score_ladder
from tito.ladder import load_ladder
from tito.release import build, write
from tito.report import TEST_STATUSES, Outcome

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "ghs_the_token_of_this_run"
LADDER = tomllib.loads((ROOT / "checkpoints" / "ladder.toml").read_text(encoding="utf-8"))
RUNGS, STAGES = LADDER["checkpoint"], LADDER["stage"]
TIERS, MILESTONES = LADDER["tier"], LADDER["milestone"]
IDS = [rung["id"] for rung in RUNGS]
BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
SVG = "{http://www.w3.org/2000/svg}"
AGAIN = 2  # times that a run is repeated when a busy machine spoilt a timing


# What a student does


def source_of(rung: dict) -> str:
    return f"modules/{rung['id']}_{rung['module']}/{rung['module']}.py"


def bodies(text: str) -> list[str]:
    """What stands between the markers of a module's text, solution or stub."""
    return [part.split(END)[0] for part in text.split(BEGIN)[1:]]


def solve(tree: Path, rung: dict) -> None:
    """Write the solutions where the stubs stand, and touch nothing else."""
    path = tree / source_of(rung)
    text = path.read_text(encoding="utf-8")
    wanted = bodies((ROOT / source_of(rung)).read_text(encoding="utf-8"))
    head, *rest = text.split(BEGIN)
    assert len(rest) == len(wanted) > 0
    parts = [
        BEGIN + body + END + part.split(END, 1)[1] for body, part in zip(wanted, rest, strict=True)
    ]
    path.write_text(head + "".join(parts), encoding="utf-8")


class Student:
    """A repository made from the release, its remote, and an environment with its own tool."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.bare, self.work = folder / "ada.git", folder / "my tréé"
        write(build(ROOT), self.work, ROOT)
        self.git("init", "--quiet", "--bare", "--initial-branch=main", str(self.bare))
        self.git("init", "--quiet", "--initial-branch=main", str(self.work))
        self.solved = 0
        self.runs = 0
        # The packages of the tests' own interpreter, but not its tito: its .pth files are not read.
        venv.create(folder / "venv", symlinks=True)
        self.python = folder / "venv" / "bin" / "python"

    def git(self, *arguments: str, at: Path | None = None) -> str:
        who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
        place = ["-C", str(at)] if at else []
        return subprocess.check_output(["git", *place, *who, *arguments], text=True).strip()

    def install(self, tree: Path) -> None:
        """Let the environment take tito, checkpoints and tinytorch from a tree."""
        version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
        site = self.folder / "venv" / "lib" / version / "site-packages"
        paths = (sysconfig.get_path("purelib"), tree / "scripts", tree)
        (site / "tree.pth").write_text("".join(f"{path}\n" for path in paths), encoding="utf-8")

    def push(self, subject: str) -> JobResult:
        """Commit, push, and run the workflow that the push starts."""
        self.git("add", "--all", at=self.work)
        self.git("commit", "--quiet", "--allow-empty", "-m", subject, at=self.work)
        self.git("push", "--quiet", str(self.bare), "HEAD:main", at=self.work)
        self.runs += 1
        with GitServer(self.bare, TOKEN) as address:
            runner = Runner(
                self.folder / f"run {self.runs}",
                address.removesuffix("/ada/tree"),
                token=TOKEN,
                extra={"TITO_BOOTSTRAP_PYTHON": str(self.python)},
            )
            self.install(runner.workspace)
            workflow = self.work / ".github" / "workflows" / "grade.yml"
            return runner.job(workflow, "grade")

    def climb_to(self, state: int) -> "Graded":
        """Solve modules in order until `state` of them are, and push."""
        assert state >= self.solved, "the modules are not unlearnt"
        for rung in RUNGS[self.solved : state]:
            solve(self.work, rung)
        self.solved = state
        for _ in range(1 + AGAIN):
            graded = Graded(self, self.push(f"Solve {state} modules"), state)
            if not graded.spoilt:
                break
        return graded

    def published(self, path: str) -> str:
        return self.git("show", f"badges:{path}", at=self.bare)


class Graded:
    """What one push left behind: the run, and what stands on the branch `badges`."""

    def __init__(self, student: Student, job: JobResult, state: int):
        self.student, self.job, self.state = student, job, state
        assert job.result == "success", job.log
        names = student.git("ls-tree", "-r", "--name-only", "badges", at=student.bare).split()
        self.files = {name: student.published(name) for name in names}
        self.report = json.loads(self.files["report.json"])
        self.commits = student.git("rev-list", "--count", "badges", at=student.bare)

    @property
    def spoilt(self) -> bool:
        """Whether all that failed among the solved modules are timings."""
        kinds = {
            test["kind"]
            for rung in self.report["checkpoints"][: self.state]
            for test in rung["tests"]
            if test["status"] != "passed"
        }
        return kinds == {"performance"}

    @property
    def badges(self) -> set[str]:
        """The names of the badges."""
        stems = {Path(name).stem for name in self.files if name.startswith("badges/")}
        return stems - {"timeline"}

    def badge(self, name: str) -> tuple[str, str]:
        """What a badge says, read from its picture, and its colour."""
        svg = ET.fromstring(self.files[f"badges/{name}.svg"])
        shown = [node.text for node in svg.iter(f"{SVG}text")]
        words = ": ".join(shown)
        assert svg.attrib["aria-label"] == svg.find(f"{SVG}title").text == words
        told = json.loads(self.files[f"badges/{name}.json"])
        assert [told["label"], told["message"]] == shown
        assert told["color"] in {node.get("fill") for node in svg.iter(f"{SVG}rect")}
        return words, told["color"]


# What must be there afterwards, from the ladder's file alone


GREEN, BLUE, GREY = "#1a7f37", "#0969da", "#57606a"


def sums(rungs: list[dict], solved: list[str]) -> tuple[int, int, int, int]:
    """The points and the number of the solved ones among some rungs, each with the most."""
    done = [rung for rung in rungs if rung["id"] in solved]
    points, most = (sum(rung["points"] for rung in some) for some in (done, rungs))
    return points, most, len(done), len(rungs)


def percent(points: int, most: int) -> int:
    return points * 100 // most


def stages_at(state: int) -> list[tuple[dict, tuple[int, int, int, int]]]:
    members = ([r for r in RUNGS if r["stage"] == stage["name"]] for stage in STAGES)
    return [(s, sums(mine, IDS[:state])) for s, mine in zip(STAGES, members, strict=True)]


def milestone_word(state: int, milestone: dict) -> str:
    return "unlocked" if set(milestone["requires"]) <= set(IDS[:state]) else "locked"


def level_at(state: int) -> str:
    return f"level {state - 1} of {len(IDS) - 1}" if state else "no level yet"


def first_stub(tree: Path, rung: dict) -> int:
    """The line that a student writes first: of the first stub in a module."""
    lines = (tree / source_of(rung)).read_text(encoding="utf-8").split("\n")
    return next(n for n, line in enumerate(lines, 1) if "raise NotImplementedError(" in line)


def needs_of(rung_id: str) -> set[str]:
    """All that a rung builds on."""
    direct = next(rung["needs"] for rung in RUNGS if rung["id"] == rung_id)
    return set(direct).union(*(needs_of(need) for need in direct))


def first_lacking(rung_id: str, passed: set[str]) -> list[str]:
    """What to build first before a rung: what it lacks, and what lacks nothing itself."""
    return [i for i in sorted(needs_of(rung_id) - passed) if needs_of(i) <= passed]


def next_at(state: int, tree: Path) -> dict | None:
    """The next step of a state."""
    if state == len(RUNGS):
        return None
    rung = RUNGS[state]
    return {
        "checkpoint": rung["id"],
        "module": f"{rung['id']}_{rung['module']}",
        "name": rung["name"],
        "file": source_of(rung),
        "line": first_stub(tree, rung),
        "command": f"tito checkpoint run {rung['id']}",
        "why": f"not started yet: {rung['question']}",
    }


@pytest.fixture(scope="module")
def climb(tmp_path_factory):
    """The push of each state, made when it is first asked for."""
    student = Student(tmp_path_factory.mktemp("climb é"))
    return cache(student.climb_to)


STATES = range(len(RUNGS) + 1)


@pytest.mark.slow
@pytest.mark.parametrize("state", STATES)
def test_each_push_shows_what_has_been_built(climb, state):
    """Report, run, badges, timeline and summary after `state` modules."""
    graded = climb(state)
    following = next_at(state, graded.student.work)
    check_report(graded, state, following)
    check_run(graded, state)
    check_badges(graded, state)
    check_timeline(graded, state, following)
    check_summary(graded, state, following)


def check_report(graded: Graded, state: int, following: dict | None) -> None:
    report = graded.report
    assert report["commit"] == graded.student.git("rev-parse", "HEAD", at=graded.student.work)
    integrity = {key: value for key, value in report["integrity"].items() if value}
    assert list(integrity) == ["manifest"]
    assert report["problems"] == []
    for rung, found in zip(RUNGS, report["checkpoints"], strict=True):
        status = "passed" if rung["id"] in IDS[:state] else "not_started"
        points = rung["points"] if status == "passed" else 0
        told = [(t["name"], t["status"]) for t in found["tests"] if t["status"] != status]
        assert told == [], rung["id"]
        assert len(found["tests"]) > 0
        assert (found["id"], found["status"]) == (rung["id"], status)
        assert found["blocked_by"] == first_lacking(rung["id"], set(IDS[:state]))
        assert (found["points"], found["max_points"]) == (points, rung["points"])
    points, most, _, _ = sums(RUNGS, IDS[:state])
    assert report["score"] == {"points": points, "max": most}
    assert most == 100
    assert report["level"] == (state - 1 if state else None)
    for (stage, figures), found in zip(stages_at(state), report["stages"], strict=True):
        keys = ("points", "max", "passed", "total")
        assert tuple(found[key] for key in keys) == figures, stage["name"]
        assert found["complete"] == (figures[2] == figures[3])
    for milestone, found in zip(MILESTONES, report["milestones"], strict=True):
        assert found["id"] == milestone["id"]
        assert found["unlocked"] == (milestone_word(state, milestone) == "unlocked")
    assert report["next"] == following


def check_run(graded: Graded, state: int) -> None:
    """The outputs and annotations of the run, and the branches of the repository."""
    job, student = graded.job, graded.student
    skipped = [step.name for step in job.steps if step.conclusion != "success"]
    assert skipped == ["Fetch the history of what was changed"]
    points = sum(rung["points"] for rung in RUNGS[:state])
    assert (job.outputs["points"], job.outputs["max"]) == (str(points), "100")
    assert {c.name for c in job.commands} == {"notice"}
    branches = student.git("branch", "--format=%(refname:short)", at=student.bare).split()
    assert branches == ["badges", "main"]
    assert graded.commits == "1"
    head = student.git("rev-parse", "HEAD", at=student.work)
    assert student.git("rev-parse", "main", at=student.bare) == head


def check_badges(graded: Graded, state: int) -> None:
    points = sum(rung["points"] for rung in RUNGS[:state])
    top = len(IDS) - 1
    colour = GREEN if state == len(IDS) else BLUE if state else GREY
    wanted = {
        "level": (f"level: {state - 1} of {top}" if state else "level: none yet", colour),
        "score": (f"score: {points} of 100", colour),
        "checkpoint": ("checkpoint: all passed", GREEN),
    }
    if state < len(RUNGS):
        rung = RUNGS[state]
        words = f"checkpoint: {rung['id']} {rung['name']} · not started"
        wanted["checkpoint"] = (words, GREY)
    for stage, (own, most, passed, total) in stages_at(state):
        words = f"{stage['short']}: {percent(own, most)}% · {passed} of {total}"
        name = f"stage-{stage['short'].lower().replace(' ', '-')}"
        wanted[name] = (words, GREEN if passed == total else BLUE if passed else GREY)
    for number, milestone in enumerate(MILESTONES, 1):
        word = milestone_word(state, milestone)
        words = f"{milestone['year']} {milestone['title']}: {word}"
        wanted[f"milestone_{number:02}"] = (words, BLUE if word == "unlocked" else GREY)
    shown = {name: graded.badge(name) for name in graded.badges}
    assert shown == wanted


def check_timeline(graded: Graded, state: int, following: dict | None) -> None:
    """Its words for those who cannot see it, and the words that are drawn."""
    svg = ET.fromstring(graded.files["badges/timeline.svg"])
    points = sum(rung["points"] for rung in RUNGS[:state])
    title = f"TinyTorch: {points} of 100 points, {level_at(state)}"
    assert svg.attrib["aria-label"] == svg.find(f"{SVG}title").text == title
    stages = "; ".join(f"{s['short']} {percent(*n[:2])} percent" for s, n in stages_at(state))
    word = {rung["id"]: "passed" if rung["id"] in IDS[:state] else "not started" for rung in RUNGS}
    rungs = "; ".join(f"{rung['id']} {rung['module']} {word[rung['id']]}" for rung in RUNGS)
    flags = "; ".join(f"{m['year']} {m['title']} {milestone_word(state, m)}" for m in MILESTONES)
    end = "All 21 checkpoints passed."
    if following:
        end = f"Next: {following['checkpoint']} {following['name']}, {following['why']}"
    words = f"Stages: {stages}. Checkpoints: {rungs}. Milestones: {flags}. {end}"
    assert svg.find(f"{SVG}desc").text == words
    drawn = [node.text for node in svg.iter(f"{SVG}text")]
    wanted = [f"{points} of 100 points"]
    wanted.append(f"{level_at(state)} · {state} of {len(RUNGS)} checkpoints passed")
    wanted += [f"graded {graded.report['generated_at'][:10]} · {graded.report['commit'][:7]}"]
    for stage, (own, most, passed, total) in stages_at(state):
        wanted += [stage["short"], f"{percent(own, most)}%", f"{passed} of {total}"]
        if passed == total:
            wanted.append(f"{stage['short']}: “{stage['capability']}”")
    for tier in TIERS:
        mine = [rung for rung in RUNGS if tier["first"] <= rung["id"] <= tier["last"]]
        own, most, passed, total = sums(mine, IDS[:state])
        wanted += [f"{tier['name']} tier"]
        wanted += [f"{passed} of {total} passed · {own} of {most} points"]
    for rung in RUNGS:
        wanted += [rung["id"], rung["module"], word[rung["id"]]]
    wanted.append(end)
    if following:
        command = f"then: {following['command']}"
        wanted[-1] = f"Next: {following['checkpoint']} {following['name']}"
        wanted.append(f"open {following['file']}:{following['line']}, {command}")
    missing = Counter(wanted) - Counter(drawn)
    assert not missing
    told = sum("“" in text for text in drawn)
    assert told == sum(n[2] == n[3] for _, n in stages_at(state))


def check_summary(graded: Graded, state: int, following: dict | None) -> None:
    lines = graded.job.summary.split("\n")
    points = sum(rung["points"] for rung in RUNGS[:state])
    assert lines[0] == f"# {points} of 100 points · {level_at(state)}"
    left = len(RUNGS) - state
    counts = [f"{state} passed"] * bool(state) + [f"{left} not started"] * bool(left)
    assert lines[2] == f"Of {len(RUNGS)} checkpoints: {', '.join(counts)}."
    wanted = f"**Next:** All {len(RUNGS)} checkpoints passed."
    if following:
        wanted = (
            f"**Next: {following['checkpoint']} {following['name']}** · {following['why']} · open "
            f"`{following['file']}:{following['line']}`, then `{following['command']}`"
        )
    assert lines[4].replace("\\", "") == wanted
    earned = [line for line in lines if line.startswith("Complete: ")]
    complete = [stage["capability"] for stage, n in stages_at(state) if n[2] == n[3]]
    assert earned == [f"Complete: “{words}”" for words in complete]
    headings = {line for line in lines if line.startswith("## ")}
    assert headings - {"## About this run"} == {"## Stages"}
    assert "Integrity" not in graded.job.summary


# In any other order


def level_of(passed: set[str]) -> int | None:
    """The level, counted by hand."""
    count = next((i for i, rung in enumerate(IDS) if rung not in passed), len(IDS))
    return count - 1 if count else None


@pytest.mark.slow
@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_no_order_raises_the_level_past_a_gap(climb, data):
    """Whatever the checkpoints that lack something say: even if all of their tests pass."""
    names = {c["id"]: [t["name"] for t in c["tests"]] for c in climb(0).report["checkpoints"]}
    order = data.draw(st.permutations(IDS))
    solved = set(order[: data.draw(st.integers(0, len(IDS)))])
    runs, worth, passed = {}, 0, set()
    for rung in RUNGS:
        statuses = ["not_started"] * len(names[rung["id"]])
        if rung["id"] in solved:
            statuses = ["passed"] * len(statuses)
            if not needs_of(rung["id"]) <= solved and data.draw(st.booleans()):
                each = st.sampled_from(TEST_STATUSES)
                statuses = [data.draw(each) for _ in statuses]
        count = statuses.count("passed")
        worth += rung["points"] * count // len(statuses)
        passed |= {rung["id"]} if count == len(statuses) else set()
        runs[rung["id"]] = Run(
            tuple(map(Outcome, names[rung["id"]], [None] * len(statuses), statuses))
        )
    standing = score_ladder(load_ladder(ROOT), runs)
    gap = next((i for i, rung in enumerate(IDS) if rung not in solved), len(IDS))
    assert standing.level == level_of(passed)
    assert -1 if standing.level is None else standing.level < gap
    assert standing.score.points == worth
    for milestone, found in zip(MILESTONES, standing.milestones, strict=True):
        assert found.unlocked == (set(milestone["requires"]) <= passed)


EVENS_FIRST = IDS[::2] + IDS[1::2]


@pytest.mark.slow
@pytest.mark.parametrize("state", [6, 11, 15])
def test_another_order_for_real(tmp_path, state):
    """Every second module first: what lacks nothing passes, what lacks something says what."""
    tree, solved = tmp_path / "tree", EVENS_FIRST[:state]
    write(build(ROOT), tree, ROOT)
    for rung in RUNGS:
        if rung["id"] in solved:
            solve(tree, rung)
    whole = {rung for rung in solved if needs_of(rung) <= set(solved)}
    ladder = load_ladder(tree)
    for seed in range(1 + AGAIN):
        report = grade(tree, ladder, present(tree, ladder), seed=seed)
        off = [t for rung in whole for t in report.by_id[rung].tests if t.status != "passed"]
        if not off or {test.kind for test in off} != {"performance"}:
            break
    passed = {c.id for c in report.checkpoints if all(t.status == "passed" for t in c.tests)}
    assert whole <= passed <= set(solved)
    worth = 0
    for rung in RUNGS:
        found = report.by_id[rung["id"]]
        count = sum(test.status == "passed" for test in found.tests)
        worth += rung["points"] * count // len(found.tests)
        assert list(found.blocked_by) == first_lacking(rung["id"], passed)
        if rung["id"] in passed:
            assert found.status == "passed"
        elif rung["id"] in solved:
            assert found.status in ("blocked", "not_started")
            assert found.blocked_by
        else:
            assert (found.status, count) == ("not_started", 0)
    assert report.score.points == worth
    level = level_of(passed)
    assert report.level == level
    assert state > 11 or level == 0, "without 01 there is no way beyond 00"
    following = RUNGS[level + 1]
    assert (report.next.checkpoint, report.next.file) == (following["id"], source_of(following))
    if following["id"] not in solved:
        assert report.next.line == first_stub(tree, following)
