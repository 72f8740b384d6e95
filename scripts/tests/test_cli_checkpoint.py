"""tito checkpoint and milestone as a person uses them: ranges, regressions, hints, profiles."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest

from tito.cli import main
from tito.files import write_atomic
from tito.grading import run
from tito.grading.score import score_ladder
from tito.grading.spending import Spent
from tito.ladder import LadderError
from tito.milestones import Found
from tito.render.lines import ASCII, UNICODE, plain_text
from tito.render.years import years
from tito.report import load_report
from tito.selection import select
from tito.unlocks import unlocks


def tito(tree, *words):
    """Run tito in a process of its own, piped."""
    command = [sys.executable, "-P", "-m", "tito", "-C", str(tree), *words]
    return subprocess.run(
        command, cwd=tree, capture_output=True, text=True, check=False, timeout=300
    )


def ids(rungs):
    """The ids of some rungs."""
    return [rung.id for rung in rungs]


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("05", "05"),
        ("5 3", "03 05"),
        ("03-06", "03 04 05 06"),
        ("3..5", "03 04 05"),
        ("3–4", "03 04"),
        ("layers-autograd", "03 04 05"),
        ("foundation 01 tensor 01_tensor", "01"),
        ("01,03 2", "01 02 03"),
        ("05-autograd", "05"),
        ("00-02 01-03", "00 01 02 03"),
    ],
)
def test_ranges_names_and_aliases(ladder, words, wanted):
    """What may stand for rungs; each comes once, in ladder order."""
    assert ids(select(ladder, words.split())) == wanted.split()


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("07-03", "a range climbs: write 03-07, not 07-03"),
        ("03-99", "no module or checkpoint called '99'; use a number 00–20"),
        ("layrs-autograd", "'layrs'; did you mean layers (03_layers)?"),
        ("layers-autograf", "'autograf'; did you mean autograd (05_autograd)?"),
        ("autograf", "did you mean autograd (05_autograd)?"),
        ("nothing-at-all", "no module or checkpoint called 'nothing-at-all'"),
        ("01-", "'01-' is half a range; name both ends: 01-20, or write 01 for one"),
        ("-1", "'-1' is half a range; name both ends: 00-01, or write 01 for one"),
        ("tensor..", "'tensor..' is half a range; name both ends: 01-20"),
        ("-", "no module or checkpoint called '-'; use a number 00–20"),
        ("-x-", "no module or checkpoint called '-x-'"),
    ],
)
def test_a_typo_gets_the_nearest_match(ladder, word, message):
    """The end of a range that is wrong is the one that is named."""
    with pytest.raises(LadderError, match=re.escape(message)):
        select(ladder, [word])


def test_unlocks_follow_the_ladder(ladder):
    """Only rungs whose needs have passed are offered, with what waits for them alone."""
    first = unlocks(ladder, [])
    assert ids(u.rung for u in first) == [c.id for c in ladder.checkpoints if not c.needs]
    assert "01" in ids(first[0].rungs)
    passed = [f"{i:02}" for i in range(7)]
    seventh = next(u for u in unlocks(ladder, passed) if u.rung.id == "07")
    assert [m.id[:2] for m in seventh.milestones] == ["01", "02"]
    assert seventh.nearest is None
    assert unlocks(ladder, ids(ladder.checkpoints)) == []
    last = next(u for u in unlocks(ladder, ids(ladder.checkpoints[:-1])))
    assert last.stages
    assert last.stages[0].capability


@pytest.fixture(scope="module")
def graded(tmp_path_factory, root, ladder):
    """A tree with modules 00 to 02, graded, in which a step of 01 is then broken."""
    tree = tmp_path_factory.mktemp("graded") / "my tree"
    for name in ("checkpoints", "tinytorch", "milestones"):
        ignore = shutil.ignore_patterns("__pycache__", "results")
        shutil.copytree(root / name, tree / name, ignore=ignore)
    for rung in ladder.checkpoints[:3]:
        shutil.copytree(root / "modules" / rung.folder, tree / "modules" / rung.folder)
    for rung in ladder.checkpoints[3:]:
        (tree / rung.file).unlink()
    done = tito(tree, "checkpoint", "run", "--all", "--report", "report.json", "--seed", "4")
    assert done.returncode == 0, done.stderr
    return tree


@pytest.fixture
def broken(graded, ladder):
    """The tree with a wrong shape in module 01, mended afterwards."""
    path = graded / ladder.by_id["01"].source
    good = path.read_text(encoding="utf-8")
    right = "return x.sum(axis=axis, keepdims=keepdims)"
    wrong = good.replace(right, "return x.sum(axis=axis)")
    assert wrong != good, "the line to break has changed; choose another one"
    path.write_text(wrong, encoding="utf-8")
    yield graded
    path.write_text(good, encoding="utf-8")


def test_completed_says_what_went_back(broken):
    """Exit 1 and the rung's name when what passed fails now; the report stays as it was."""
    before = (broken / "report.json").read_bytes()
    done = tito(broken, "checkpoint", "test", "--completed")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "passed before" in done.stdout
    assert re.search(r"regressed since the report of .*: 01", done.stdout)
    assert "next: tito checkpoint run 01 --seed " in done.stdout
    assert (broken / "report.json").read_bytes() == before


def test_a_range_that_passes_exits_zero(graded):
    """A line each, no regressions; the same for a machine."""
    done = tito(graded, "checkpoint", "test", "0-1", "--seed", "4", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    data = json.loads(done.stdout)
    assert [c["id"] for c in data["checkpoints"]] == ["00", "01"]
    assert data["regressed"] == []
    assert data["seed"] == 4
    assert all(c["passed_before"] for c in data["checkpoints"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("test", "say which: tito checkpoint test 03-07"),
        ("test 01 --completed", "say which"),
        ("test 07", "this tree has no checkpoints/checkpoint_07_training.py"),
        ("test --completed --report none.json", "no none.json yet shows what passed"),
        ("hint 01 --level 0", "say how many hints"),
        ("hint 01 --step 0", "steps count from 1"),
        ("profile 07", "this tree has no checkpoints/checkpoint_07_training.py"),
        ("profile 01 --top 0", "show at least one test"),
        ("status --report none.json", "no none.json yet; make one with: tito grade"),
    ],
)
def test_bad_usage(graded, capsys, words, message):
    """Exit 2, and what to type instead."""
    assert main(["-C", str(graded), "checkpoint", *words.split()]) == 2
    assert message in capsys.readouterr().err.replace("\n", " ")


def test_status_in_detail_names_every_test(graded, capsys):
    """A line a test, with the checkpoint above it."""
    assert main(["-C", str(graded), "checkpoint", "status", "--detailed", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert len(data["tests"]["01"]) > 20
    assert {test["status"] for test in data["tests"]["01"]} == {"passed"}
    assert main(["-C", str(graded), "checkpoint", "status", "--detailed"]) == 0
    text = capsys.readouterr().out
    assert sum(line.startswith("     ✓") for line in text.splitlines()) >= 60


HINTS = """\
[[step]]
step = 1
hints = ["the idea of it", "the place of it", "the method"]
"""


def test_hints_come_one_at_a_time(graded, capsys):
    """The first hint first, more on request, and nothing is remembered."""
    module = graded / "modules" / "01_tensor"
    write_atomic(module / "hints.toml", HINTS)
    for words, shown in (("", 1), ("--more", 2), ("--next --next", 3), ("--level 3", 3), ("", 1)):
        line = ["-C", str(graded), "checkpoint", "hint", "1", "--step", "1", *words.split()]
        assert main(line) == 0
        text = capsys.readouterr().out
        assert [h in text for h in ("idea", "place", "method")] == [i < shown for i in range(3)]
        assert ("--level" in text) == (shown < 3)
    assert main(["-C", str(graded), "checkpoint", "hint", "01", "--step", "9"]) == 2
    assert "hints.toml has no step 9; it has: 1" in capsys.readouterr().err
    assert main(["-C", str(graded), "checkpoint", "hint", "02"]) == 0
    assert "nothing fails" in capsys.readouterr().out
    (module / "hints.toml").unlink()


def test_a_hint_is_on_the_step_that_fails_first(broken, capsys):
    """By the last report: the step, the line to open, and why that one."""
    report = broken / "broken.json"
    done = tito(broken, "checkpoint", "run", "01", "--report", "broken.json")
    assert done.returncode == 0, done.stderr
    line = ["-C", str(broken), "checkpoint", "hint", "01", "--json", "--report", str(report)]
    assert main(line) == 0
    data = json.loads(capsys.readouterr().out)
    failed = next(
        test
        for test in json.loads(report.read_text(encoding="utf-8"))["checkpoints"][1]["tests"]
        if test["failure"]
    )
    assert data["step"] == failed["failure"]["step"]
    assert data["module"] == "01_tensor"


def test_profile_measures_from_the_trusted_side(graded):
    """Every test with its seconds, requests and, on Linux, the worker's own figures."""
    done = tito(graded, "checkpoint", "profile", "01", "--json")
    assert done.returncode == 0, done.stderr
    tests = [Spent(**{k: v for k, v in t.items() if k != "waiting"})
             for t in json.loads(done.stdout)["tests"]]  # fmt: skip
    assert len(tests) > 20
    assert all(test.status == "passed" and test.wall > 0 and test.requests > 0 for test in tests)
    if sys.platform == "linux":
        assert all(test.worker is not None and test.memory > 2**20 for test in tests)
        assert all(test.waiting <= test.wall for test in tests)
    shown = tito(graded, "checkpoint", "profile", "00", "--top", "2").stdout
    assert "slowest tests" in shown
    assert "these 2 of" in shown


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C is sent as a signal")
def test_an_interruption_says_what_is_known(graded, tmp_path):
    """Exit 130; the report is as it was."""
    before = (graded / "report.json").read_bytes()
    command = [sys.executable, "-P", "-m", "tito", "-C", str(graded), "checkpoint", "test", "0-2"]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    )  # fmt: skip
    while not list(tmp_path.glob("tito-grade-*")) and process.poll() is None:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode in (130, 0), said  # 0 on a machine that was done by then
    if process.returncode:
        assert "interrupted" in said
        assert "Traceback" not in said
    assert (graded / "report.json").read_bytes() == before


def test_nothing_outlives_an_interruption_at_the_very_start(monkeypatch, tmp_path):
    """Ctrl-C while the watchdog of a session starts: it waits for nobody, the session is ended."""

    class Interrupted(threading.Timer):
        def start(self):
            super().start()
            raise KeyboardInterrupt

    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    session = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    monkeypatch.setattr(threading, "Timer", Interrupted)
    job = {"rungs": ["00"], "folder": str(tmp_path)}
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run._session(job, 60, lambda message: None, lambda job: (session, contextlib.nullcontext()))
    assert time.monotonic() - began < 30
    assert session.returncode is not None
    left = [t for t in threading.enumerate() if isinstance(t, Interrupted)]
    for timer in left:
        timer.join(timeout=30)
        assert not timer.is_alive()


def test_milestone_info(graded, capsys):
    """The story, what is missing, and a nearest match."""
    assert main(["-C", str(graded), "milestone", "info", "xor"]) == 0
    text = capsys.readouterr().out
    assert "1969: XOR" in text
    assert "5 checkpoints are missing, 03 04 05 06 07" in text
    assert "one layer ≤ 75%, two layers 100%" in text
    assert "next     tito checkpoint run 03" in text
    assert main(["-C", str(graded), "milestone", "info", "tansformer"]) == 2
    assert "did you mean transformer (05_2017_transformer)?" in capsys.readouterr().err


@pytest.mark.parametrize("words", ["milestones", "examples available"])
def test_other_names_for_the_list(graded, capsys, words):
    """They print what `tito milestone list` prints."""
    assert main(["-C", str(graded), "milestone", "list"]) == 0
    text = capsys.readouterr().out
    assert main(["-C", str(graded), *words.split()]) == 0
    assert capsys.readouterr().out == text


@pytest.mark.parametrize("width", [30, 60, 80, 120])
@pytest.mark.parametrize("charset", [UNICODE, ASCII])
def test_the_years_fit_any_width(ladder, width, charset):
    """No line is wider than the terminal, and every milestone has its word."""
    found = [
        Found(m, None, m.requires if i % 2 else (), None) for i, m in enumerate(ladder.milestones)
    ]
    rows = [plain_text(row) for row in years(found, width, charset)]
    assert max(map(len, rows)) <= width
    text = "\n".join(rows)
    assert all(f"{m.year} " in text for m in ladder.milestones)
    assert text.count("unlocked") == 3
    if charset is ASCII:
        assert not set(text) & set("│·…●○")


def test_nothing_is_unlocked_in_an_empty_ladder(ladder):
    """The pure scorer and the unlocks agree on a fresh tree."""
    standing = score_ladder(ladder, {})
    assert not [m for m in standing.milestones if m.unlocked]


def test_a_run_goes_into_the_report(graded, tmp_path):
    """What was run is known afterwards; the rest, and the seed, stay; --json writes nothing."""
    tree = tmp_path / "tree"
    shutil.copytree(graded, tree)
    report = tree / "report.json"
    before = load_report(report)
    stamp = report.read_bytes()
    assert tito(tree, "checkpoint", "run", "01", "--json").returncode == 0
    assert tito(tree, "checkpoint", "run", "01", "--report", "other.json").returncode == 0
    assert report.read_bytes() == stamp
    source = tree / "modules" / "01_tensor" / "tensor.py"
    source.write_text(source.read_text(encoding="utf-8") + "\n# newer\n", encoding="utf-8")
    assert tito(tree, "checkpoint", "run", "01").returncode == 0
    after = load_report(report)
    assert after.by_id["01"].source_digest != before.by_id["01"].source_digest
    assert after.by_id["02"] == before.by_id["02"]
    assert (after.seed, after.score) == (before.seed, before.score)
    report.unlink()
    assert tito(tree, "checkpoint", "run", "00").returncode == 0
    assert load_report(report).by_id["00"].status == "passed"
