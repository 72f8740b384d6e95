"""Custom checkpoints: made, run in isolation, reported, and never in the ladder's way."""

import contextlib
import io
import json
import os
import re
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from rich.console import Console
from rich.text import Text

from tito.cli import console, main
from tito.cli.running import Follow
from tito.custom import OWN_FILE, clean_name, create, customs, is_course, parse_own, read_own
from tito.files import FileProblem
from tito.grading import run
from tito.grading.score import Run, score_ladder
from tito.isolation import landlock
from tito.ladder import LADDER_FILE, Custom, LadderError, parse_ladder
from tito.manifest import check, make_manifest
from tito.report import Outcome, load_report
from tito.selection import select


def tito(tree, *words, **variables):
    """Run tito in a process of its own, piped."""
    command = [sys.executable, "-P", "-m", "tito", "-C", str(tree), *words]
    return subprocess.run(
        command, cwd=tree, capture_output=True, text=True, check=False, timeout=300,
        env=os.environ | variables,
    )  # fmt: skip


@pytest.fixture
def small(tree, ladder):
    """A student's tree with checkpoints 00 and 01 only."""
    for rung in ladder.checkpoints[2:]:
        (tree / rung.file).unlink()
    return tree


def entry(**keys):
    """The table of a checkpoint of one's own."""
    keys = {"name": "mine", "question": "Can I?", "needs": ["01"], **keys}
    return "[[custom]]\n" + "".join(f"{k} = {json.dumps(v)}\n" for k, v in keys.items())


def test_a_new_one_runs_at_once(small, ladder):
    """The scaffold passes as it is, isolated, and is reported beside the untouched 21."""
    made = tito(small, "checkpoint", "new", "Row sums", "--points", "3", "--question", 'Is "1" é?')
    assert made.returncode == 0, made.stderr
    (own,) = read_own(small, ladder)
    assert (own.id, own.name, own.question, own.points) == ("C1", "row_sums", 'Is "1" é?', 3)
    done = tito(small, "grade", "--seed", "2")
    assert done.returncode == 0, done.stderr
    report = load_report(small / "report.json")
    (result,) = report.custom
    assert (result.status, result.points, result.max_points) == ("passed", 3, 3)
    assert result.own
    assert not result.counts
    assert (report.score.points, report.score.max, report.level) == (8, 100, 1)
    assert len(report.checkpoints) == 21
    assert "row\\_sums, the student’s own" in (small / "summary.md").read_text(encoding="utf-8")
    assert "Beyond the ladder" in (small / "badges/timeline.svg").read_text(encoding="utf-8")
    assert "row_sums" not in (small / "grade.json").read_text(encoding="utf-8")
    assert "row_sums" in tito(small, "checkpoint", "status").stdout
    assert "row_sums" in tito(small, "checkpoint", "timeline").stdout


def test_a_wrong_framework_fails_it_with_the_usual_words(small, ladder):
    """A failure names the module's place and the custom checkpoint's own command."""
    create(small, ladder, "rows", "Can I?", ("01",), 0)
    path = small / ladder.by_id["01"].source
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("return x.mean(", "return x.sum("), encoding="utf-8")
    place = r"look at +modules/01_tensor/tensor.py:\d+ \(step \d+\), then: tito checkpoint run C1"
    shown = tito(small, "checkpoint", "run", "C1")
    assert shown.returncode == 0, shown.stderr
    assert re.search(r"C1 rows: (failed|partial)", shown.stdout)
    assert re.search(place, shown.stdout)
    assert tito(small, "checkpoint", "test", "rows").returncode == 1
    stub = 'raise NotImplementedError("module 01, step 6: mean")'
    path.write_text(re.sub(r"return x\.mean\(.*", stub, text), encoding="utf-8")
    shown = tito(small, "checkpoint", "run", "C1")
    assert "C1 rows: not started" in shown.stdout, shown.stdout + shown.stderr
    assert re.search(place, shown.stdout)


def test_a_students_own_code_cannot_judge_the_ladder(small, ladder):
    """It runs after the ladder, in a session of its own; what it breaks there is its own result."""
    create(small, ladder, "vandal", "Can I?", ("01",), 0)
    (small / "checkpoints/custom_vandal.py").write_text(
        "import os, sys\nfor name, module in list(sys.modules.items()):\n"
        "    if name.startswith('tito.grading.session') or name == '__main__':\n"
        "        module.judge = None\nos._exit(0)\n",
        encoding="utf-8",
    )
    tito(small, "grade", "--seed", "2")
    report = load_report(small / "report.json")
    assert (report.score.points, report.level) == (8, 1)
    assert report.custom[0].status == "error"
    assert "session" in report.custom[0].message


def test_a_students_own_code_leaves_nothing_behind(small, ladder):
    """It cannot write into the tree or wait for the next step, and nobody waits for it."""
    create(small, ladder, "vandal", "Can I?", ("01",), 0)
    (small / "checkpoints/custom_vandal.py").write_text(
        "import os, time\n"
        f"SPOILT = {str(small / 'spoilt')!r}\n"
        "try:\n    open(SPOILT, 'w').close()\nexcept OSError:\n    pass\n"
        "if os.fork() == 0:\n    os.setsid()\n    time.sleep(25)\n    os._exit(0)\n",
        encoding="utf-8",
    )
    scratch = small.parent / "scratch"
    scratch.mkdir()
    scratch.chmod(0o777)
    began = time.monotonic()
    done = tito(small, "checkpoint", "run", "C1", TMPDIR=str(scratch))
    assert time.monotonic() - began < 20
    assert done.returncode == 0, done.stderr
    with contextlib.suppress(OSError):
        landlock.version()
        assert not (small / "spoilt").exists()


FORGED = {
    "too many tests": (
        "json.dump({'tests': [{'nodeid': 'f.py::t', 'outcome': 'passed'}] * 300}, raw)",
        "its session gave no usable result",
    ),
    "too large to be read": (
        "raw.truncate(100 << 30)",
        "more than 67,108,864 bytes",
    ),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_raw_report_is_its_own_loss(small, ladder, name):
    """What the own session writes is read strictly, and within bounds."""
    forged, message = FORGED[name]
    create(small, ladder, "forger", "Can I?", ("01",), 0)
    (small / "checkpoints/custom_forger.py").write_text(
        f"import json, os\nwith open('raw.json', 'w') as raw:\n    {forged}\nos._exit(0)\n",
        encoding="utf-8",
    )
    done = tito(small, "grade", "--seed", "2")
    assert done.returncode == 0, done.stderr
    report = load_report(small / "report.json")
    assert (report.score.points, report.custom[0].status) == (8, "error")
    assert message in report.custom[0].message


MESSAGE = {"rung": "C1", "test": "test_one", "status": "running", "tests": 2}


def told(tmp_path, line):
    """What is passed on of a line that a session prints."""
    script = f"import sys; sys.stdout.buffer.write({line!r}); sys.stdout.flush()"
    session = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    messages = []
    job = {"rungs": ["C1"], "folder": str(tmp_path)}
    run._session(job, 60, messages.append, lambda job: (session, io.BytesIO()))
    return messages


@pytest.mark.parametrize(
    "line",
    [
        *(
            json.dumps(MESSAGE | wrong).encode()
            for wrong in (
                {"rung": "01"},
                {"rung": ["C1"]},
                {"test": None},
                {"test": 1},
                {"status": 7},
                {"status": "s" * 5000},
                {"tests": "\x1b]0;PWNED\x07"},
                {"tests": "[red]2[/]"},
                {"tests": True},
                {"tests": None},
                {"tests": -1},
                {"tests": 10**4000},
                {"tests": 2.5},
            )
        ),
        b"[]",
        b'"C1"',
        b"{}",
        b"\xff",
        b"no message",
        b"[" * 100_000,
        b'{"tests": ' + b"1" * 5000 + b"}",
    ],
    ids=lambda line: repr(line[:60]),
)
def test_a_message_of_another_shape_is_none(tmp_path, line):
    """A session of a student's own checkpoints may print anything."""
    with pytest.raises(ValueError, match="it printed what is no message"):
        told(tmp_path, line + b"\n")


def test_a_message_is_passed_on_as_agreed(tmp_path):
    """An earlier release says less, a later one perhaps more; a long name is cut."""
    assert told(tmp_path, json.dumps(MESSAGE).encode() + b"\n") == [MESSAGE]
    early = {key: MESSAGE[key] for key in ("rung", "test", "status")}
    assert told(tmp_path, json.dumps(early | {"rung": ""}).encode() + b"\n") == [
        early | {"rung": ""}
    ]
    late = MESSAGE | {"news": "\x1b]0;PWNED\x07", "test": "t" * 5000}
    (message,) = told(tmp_path, json.dumps(late).encode() + b"\n")
    assert message == MESSAGE | {"test": "t" * 119 + "…"}


def test_a_forged_message_is_its_own_loss(small, ladder):
    """It ends the session that printed it; the ladder's result stays, the report says why."""
    create(small, ladder, "forger", "Can I?", ("01",), 0)
    forged = json.dumps(MESSAGE | {"tests": "\x1b]0;PWNED\x07"}) + "\n"
    (small / "checkpoints/custom_forger.py").write_text(
        "import os\n"
        f"for file in range(1, 20):\n    try:\n        os.write(file, {forged.encode()!r})\n"
        "    except OSError:\n        pass\n"
        "os._exit(0)\n",
        encoding="utf-8",
    )
    done = tito(small, "grade", "--seed", "2")
    assert done.returncode == 0, done.stderr
    assert "PWNED" not in done.stdout + done.stderr
    report = load_report(small / "report.json")
    assert (report.score.points, report.custom[0].status) == (8, "error")
    assert "it printed what is no message" in report.custom[0].message


def test_the_line_that_follows_a_run_shows_no_markup_or_control(ladder, monkeypatch):
    """Whatever a message has in it."""
    monkeypatch.setattr(console, "_console", Console(file=sys.stdout, force_terminal=True))
    rung = Custom("C1", "mine", "Can I?", ("01",), own=True)
    follow = Follow(ladder, [rung], quiet=False)
    shown = []
    monkeypatch.setattr(follow.status, "update", shown.append)
    follow(MESSAGE | {"tests": "\x1b]0;PWNED\x07[red]", "test": "a\nb[bold]\x1b[2J"})
    (line,) = shown
    text = Text.from_markup(line)
    assert not text.spans
    assert text.plain == "C1 mine · 0 of \ufffd]0;PWNED\ufffd[red] tests · a b[bold]\ufffd[2J"


@pytest.mark.parametrize(
    "text",
    [
        "x = " + "[" * 20_000,
        "custom = 1" + "0" * 6000,
        entry(needs=[["01"]]),
        entry(question="q" * 500),
        "".join(entry(name=f"mine{i}") for i in range(101)),
    ],
    ids=["deep", "digits", "nested", "long", "many"],
)
def test_hostile_entries_cost_only_the_own_ones(ladder, text):
    """No text of custom.toml ends a grading: each is a problem that the report can name."""
    with pytest.raises(FileProblem):
        parse_own(text, ladder)


def test_a_broken_entry_costs_only_the_own_ones(small):
    """The ladder is graded; the report names the file and the mend."""
    (small / OWN_FILE).write_text(entry(nedes=["01"]), encoding="utf-8")
    done = tito(small, "grade", "--seed", "2")
    assert done.returncode == 0, done.stderr
    assert "unknown key 'nedes'; did you mean needs?" in done.stdout
    report = load_report(small / "report.json")
    assert report.score.points == 8
    assert [problem.file for problem in report.problems] == [OWN_FILE]
    assert tito(small, "checkpoint", "run", "C1").returncode == 2


@pytest.mark.parametrize(
    ("keys", "line", "key"),
    [
        ({"neds": ["01"]}, 11, "unknown key 'neds'"),
        ({"points": 1.5}, 11, "points must be"),
        ({"needs": ["77"]}, 10, "needs '77'"),
        ({"question": "q" * 500}, 9, "the question is over"),
        ({"name": "mine"}, 8, "the name is taken"),
    ],
)
def test_a_wrong_entry_is_named_with_its_line(root, keys, line, key):
    """Among others, in the file of a student whose course has one too."""
    text = (root / LADDER_FILE).read_text(encoding="utf-8") + entry(name="course")
    others = "# mine\n" + entry() + "\n"
    with pytest.raises(FileProblem) as caught:
        parse_own(others + entry(**{"name": "row_sums"} | keys), parse_ladder(text))
    assert caught.value.line == line
    assert f"custom {keys.get('name', 'row_sums')!r}" in caught.value.message
    assert key in caught.value.message


def test_a_wrong_entry_is_a_note_of_the_status(small, ladder, capsys):
    """What it named before is not shown as if it still stood."""
    create(small, ladder, "row_sums", "Can I?", ("01",), 0)
    assert main(["-C", str(small), "checkpoint", "run", "row_sums"]) == 0
    for words in ([], ["status"]):
        assert main(["-C", str(small), *words]) == 0
        assert "your own checkpoints cannot" not in capsys.readouterr().out
    path = small / OWN_FILE
    path.write_text(path.read_text(encoding="utf-8").replace("needs", "neds"), encoding="utf-8")
    for words in ([], ["status"]):
        assert main(["-C", str(small), *words]) == 0
        said = " ".join(capsys.readouterr().out.split())
        assert "checkpoints/custom.toml:8: custom 'row_sums': unknown key 'neds'" in said
        assert "row_sums: passed" not in said


ONE_TEST = '''
from checkpoints.feedback import asks, expect
from tinytorch.core.tensor import Tensor


@asks("functionality", module="01", step=1, of="Tensor", hint="what is its first number?")
def test_one():
    """Make a tensor of one number."""
    expect(Tensor([1]), [1], call="Tensor([1])")
'''


def test_a_broken_entry_is_in_nobody_elses_way(small):
    """What a push does, and what names the ladder's rungs, goes on; the line is the entry's."""
    (small / OWN_FILE).write_text("# a comment\n" * 104 + entry() + "points =\n", encoding="utf-8")
    own = tito(small, "checkpoint", "run", "C1")
    assert own.returncode == 2
    assert "checkpoints/custom.toml:109: " in own.stderr
    one = tito(small, "checkpoint", "run", "00")
    assert (one.returncode, one.stderr) == (0, "")
    done = tito(small, "checkpoint", "run", "--all", "--report", str(small / "report.json"))
    assert done.returncode == 0, done.stderr
    assert "checkpoints/custom.toml:109: " in done.stdout
    report = load_report(small / "report.json")
    assert [(p.file, p.line) for p in report.problems] == [(OWN_FILE, 109)]
    assert tito(small, "checkpoint", "test", "00", "--json").returncode == 0
    with open(small / LADDER_FILE, "a", encoding="utf-8") as file:
        file.write(entry(name="course"))
    (small / "checkpoints/custom_course.py").write_text(ONE_TEST, encoding="utf-8")
    of_the_course = tito(small, "checkpoint", "run", "C1")
    assert of_the_course.returncode == 0, of_the_course.stderr
    assert "C1 course: passed" in of_the_course.stdout


def test_a_new_one_that_cannot_be_is_no_fault_of_the_file(small, ladder, capsys):
    """An empty option, or one too many: the message names what is wrong, not the sound file."""
    create(small, ladder, "first", "Can I?", ("01",), 0)
    before = (small / OWN_FILE).read_bytes()
    line = ["-C", str(small), "checkpoint", "new", "more"]
    assert main([*line, "--needs", ""]) == 2
    assert "tito: --needs names no rung; name those it builds on" in capsys.readouterr().err
    assert (small / OWN_FILE).read_bytes() == before
    many = "".join(entry(name=f"mine{i}") for i in range(20))
    (small / OWN_FILE).write_text(many, encoding="utf-8")
    assert main(line) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "custom.toml has 20 checkpoints already, as many as there may be; remove one" in said
    assert "mend it" not in said


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"name": "No Good"}, "a name is 2 to 40 of a-z"),
        ({"needs": []}, "needs is empty"),
        ({"needs": ["77"]}, "no such rung"),
        ({"needs": "01"}, "needs is empty"),
        ({"points": 1.5}, "points must be a whole number"),
        ({"points": -1}, "points must be a whole number"),
        ({"counts": True}, "only the course's ladder can make a checkpoint count"),
        ({"question": " "}, "the question is empty"),
        ({"id": "C9"}, "id is not given"),
        ({"seconds": 0}, "seconds must be a number"),
        ({"own": False}, "own is not given"),
    ],
)
def test_own_entries_are_strict(ladder, keys, message):
    """Each wrong entry has its message."""
    with pytest.raises(FileProblem, match=re.escape(message)):
        parse_own(entry(**keys), ladder)


def test_names_that_are_taken_are_refused(ladder):
    """A rung's name, a number, and another custom checkpoint's name."""
    other = Custom("C1", "mine", "Can I?", ("01",))
    assert clean_name(ladder, (), " My-own  check ") == "my_own_check"
    for wanted, message in (
        ("tensor", "is rung 01 of the ladder"),
        ("05", "cannot be the name"),
        ("Mine", "already"),
        ("c1", "C1, C2 … are the ids of custom checkpoints; choose a word"),
        ("../x", "cannot be the name"),
    ):
        with pytest.raises(LadderError, match=message):
            clean_name(ladder, (other,), wanted)
    with pytest.raises(FileProblem, match="give each its own"):
        parse_own(entry() + entry(), ladder)


def test_an_id_means_its_checkpoint_whatever_the_others_are_called(ladder):
    """A name that looks like an id, written by hand, does not take the id away."""
    custom = parse_own(entry(name="rows") + entry(name="c1"), ladder)
    assert [c.name for c in select(ladder, ["C1"], custom)] == ["rows"]
    assert [c.name for c in select(ladder, ["C2"], custom)] == ["c1"]
    assert [c.name for c in select(ladder, ["custom_c1"], custom)] == ["c1"]


def test_nothing_is_left_behind_when_it_cannot_be_made(small, ladder):
    """Both files or neither; what stands in the way is not touched."""
    path = small / "checkpoints/custom_mine.py"
    path.write_text("mine\n", encoding="utf-8")
    with pytest.raises(FileProblem, match="is there already"):
        create(small, ladder, "mine", "Can I?", ("01",), 0)
    assert path.read_text(encoding="utf-8") == "mine\n"
    assert not (small / OWN_FILE).exists()
    path.unlink()
    (small / OWN_FILE).mkdir()
    with pytest.raises((FileProblem, OSError)):
        create(small, ladder, "mine", "Can I?", ("01",), 0)
    assert not path.exists()


def test_comments_and_earlier_entries_stay(small, ladder):
    """A new entry is appended; what a person wrote is kept byte for byte."""
    create(small, ladder, "first", "Can I?", ("01",), 0)
    text = (small / OWN_FILE).read_text(encoding="utf-8") + "# a note of my own\n"
    (small / OWN_FILE).write_text(text, encoding="utf-8")
    create(small, ladder, "second", "Can I, too?", ("01", "02"), 2)
    assert (small / OWN_FILE).read_text(encoding="utf-8").startswith(text.rstrip())
    assert [c.id for c in customs(small, ladder)] == ["C1", "C2"]
    assert select(ladder, ["c2", "01"], customs(small, ladder))[1].name == "second"


def test_in_the_course_it_goes_into_the_ladder(small, root, capsys):
    """There the ladder is the author's; its file is the one list."""
    assert not is_course(small)
    (small / "scripts/tito").mkdir(parents=True)
    (small / "scripts/tito/release.py").write_text("", encoding="utf-8")
    assert is_course(small)
    assert main(["-C", str(small), "checkpoint", "new", "extra"]) == 0
    assert "git add checkpoints/custom_extra.py" in capsys.readouterr().out
    ladder = parse_ladder((small / LADDER_FILE).read_text(encoding="utf-8"))
    assert [(c.id, c.name, c.own) for c in ladder.custom] == [("C1", "extra", False)]
    assert (
        (small / LADDER_FILE)
        .read_text(encoding="utf-8")
        .startswith((root / LADDER_FILE).read_text(encoding="utf-8").rstrip())
    )
    assert not (small / OWN_FILE).exists()


def test_it_counts_only_when_the_ladder_says_so(root):
    """Points of a counting one are part of the 100, so another rung must give them up."""
    text = (root / LADDER_FILE).read_text(encoding="utf-8")
    counting = entry(points=4, counts=True)
    with pytest.raises(LadderError, match=r"must sum to 100, with what counts .*\(mine\), not 104"):
        parse_ladder(f"{text}\n{counting}")
    ladder = parse_ladder(f"{text}\n{entry(points=4)}")
    assert ladder.points == 100
    lighter = replace(
        ladder,
        checkpoints=tuple(
            replace(c, points=c.points - 4) if c.id == "01" else c for c in ladder.checkpoints
        ),
        custom=tuple(replace(c, counts=True) for c in ladder.custom),
    )
    assert lighter.points == 100
    run = Run((Outcome("test_a", "functionality", "passed"),))
    for passed in (True, False):
        standing = score_ladder(lighter, {"C1": run} if passed else {})
        assert (standing.score.points, standing.score.max) == (4 if passed else 0, 100)
        assert standing.level is None
    beside = score_ladder(ladder, {"C1": run})
    assert (beside.score.points, beside.custom[0].points) == (0, 4)


def test_prerequisites_are_named(ladder):
    """A custom checkpoint that fails says which rungs to mend first."""
    own = Custom("C1", "mine", "Can I?", ("05",), own=True)
    failed = Run((Outcome("test_a", "functionality", "failed"),))
    (result,) = score_ladder(ladder, {"C1": failed}, custom=(own,)).custom
    assert result.status == "blocked"
    assert result.blocked_by == ("00",)


def test_the_manifest_does_not_complain_of_own_ones(small):
    """They are the student's; anything else in that folder is still reported."""
    tree = {
        path.relative_to(small).as_posix(): path.read_bytes()
        for path in small.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    manifest = make_manifest("1.0.0", {**tree, "checkpoints/custom_course.py": b"x"})
    (small / "checkpoints/custom_course.py").write_text("y", encoding="utf-8")
    (small / "checkpoints/custom_mine.py").write_text("", encoding="utf-8")
    (small / OWN_FILE).write_text(entry(), encoding="utf-8")
    (small / "checkpoints/customs.py").write_text("", encoding="utf-8")
    found = check(small, manifest)
    assert found.unexpected == ("checkpoints/customs.py",)
    assert found.modified == ("checkpoints/custom_course.py",), "the course's own are protected"


def test_a_missing_file_is_said(small, ladder):
    """An entry without its file is an error with the file's name, not a crash."""
    (small / OWN_FILE).write_text(entry(), encoding="utf-8")
    tito(small, "checkpoint", "run", "--all", "--report", "report.json")
    (result,) = load_report(small / "report.json").custom
    assert (result.status, result.message) == (
        "error",
        "there is no file checkpoints/custom_mine.py",
    )
