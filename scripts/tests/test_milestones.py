"""Milestones: discovery, the gate, strict records, quick runs, and going on after a stop."""

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
from tito.crash import explain
from tito.grading.score import Run, score_ladder
from tito.ladder import LadderError, parse_ladder
from tito.milestone_run import judge
from tito.milestones import (
    RECORD_LIMIT,
    find,
    parse_record,
    read_record,
    recorded_runs,
    script_of,
)

RECORD = {
    "schema_version": 1,
    "id": "03_1986_mlp",
    "year": 1986,
    "dataset": "digits",
    "quick": True,
    "passed": True,
    "summary": "accuracy 0.9700, at least 0.96 wanted",
    "figure": "accuracy",
    "value": 0.97,
    "target": 0.96,
    "better": "higher",
    "figures": [{"name": "test_loss", "value": 0.1}],
    "seconds": 6.5,
    "seed": 0,
    "finished_at": "2026-11-20T12:00:00Z",
    "code": "0" * 64,
    "versions": {"python": "3.11.9", "numpy": "2.1.0", "platform": "Linux"},
    "curves": [{"name": "test accuracy", "steps": [1, 2], "values": [0.5, 0.97]}],
}


def tito(tree, *words):
    """Run tito on a tree, piped."""
    command = [sys.executable, "-P", "-m", "tito", "-C", str(tree), *words]
    return subprocess.run(
        command, cwd=tree, capture_output=True, text=True, check=False, timeout=300
    )


@pytest.fixture
def mlp(ladder):
    """The milestone of 1986."""
    return find(ladder, "03")


@pytest.fixture
def course(tree, root):
    """A tree with its milestones, and nothing that earlier runs left."""
    leave_out = shutil.ignore_patterns("results", "__pycache__")
    shutil.copytree(root / "milestones", tree / "milestones", ignore=leave_out)
    return tree


@pytest.mark.parametrize("name", ["03", "3", "1986", "03_1986_mlp", "Back-propagation", "mlp"])
def test_a_milestone_has_many_names(ladder, name):
    """Number, id, year and title all find it."""
    assert find(ladder, name).id == "03_1986_mlp"


def test_an_unknown_milestone_is_refused(ladder):
    """The message lists those there are."""
    with pytest.raises(LadderError, match="no milestone called '99'; use one of 01_1957"):
        find(ladder, "99")


def test_every_milestone_here_has_one_script_and_a_readme(root, ladder):
    """All are there, each with its command in its docstring."""
    for milestone in ladder.milestones:
        script = script_of(root, milestone)
        text = script.read_text(encoding="utf-8")
        assert f"python {script.relative_to(root).as_posix()} --quick" in text
        assert len(text.splitlines()) <= 200
        assert (script.parent / "README.md").is_file()


@pytest.mark.parametrize("minutes", ["0", "51", '"30"', "2.5", "true"])
def test_the_minutes_of_a_milestone_fit_a_job(root, minutes):
    text = (root / "checkpoints" / "ladder.toml").read_text(encoding="utf-8")
    with pytest.raises(LadderError, match="06_2018_mlperf: minutes must be a whole number from 1"):
        parse_ladder(text.replace("minutes = 20\n", f"minutes = {minutes}\n"))


@pytest.mark.parametrize(
    ("name", "targets"),
    [("03", ("0.96", "0.98")), ("04", ("0.98", "0.99", "0.75")), ("05", ("1.88",))],
)
def test_the_ladder_states_the_figures_of_the_scripts(root, ladder, name, targets):
    milestone = find(ladder, name)
    script = script_of(root, milestone).read_text(encoding="utf-8")
    for target in targets:
        assert re.search(rf"Settings\(.*, {target}\)", script)
        shown = target if float(target) > 1 else f"{100 * float(target):.0f}%"
        assert shown in milestone.must


@pytest.mark.parametrize(
    ("line", "status", "expected"),
    [
        ("RESULT 03_1986_mlp accuracy 0.9721 target 0.96 PASS", 0, "passed"),
        ("RESULT 03_1986_mlp accuracy 0.9 target 0.96 FAIL", 1, "missed"),
        ("RESULT 03_1986_mlp accuracy nan target 0.96 FAIL", 1, "missed"),
        ("STOPPED 03_1986_mlp 3 of 15", 3, "stopped"),
        ("RESULT 03_1986_mlp accuracy 0.9721 target 0.96 PASS", 1, "broken"),
        ("RESULT 04_1998_cnn accuracy 0.9921 target 0.96 PASS", 0, "broken"),
        ("RESULT 03_1986_mlp accuracy 0.9721 target 0.96 PASS!", 0, "broken"),
        ("ValueError: no", 1, "broken"),
        ("", -9, "broken"),
    ],
)
def test_the_closing_line_and_the_status_must_agree(mlp, line, status, expected):
    """Neither alone is believed."""
    assert judge(mlp, line, status).status == expected


def test_a_record_is_read_and_becomes_a_flag(tmp_path, ladder, mlp):
    """Its figures go into the report."""
    place = tmp_path / "milestones" / mlp.id / "results" / "record.json"
    place.parent.mkdir(parents=True)
    assert read_record(tmp_path, mlp) is None
    place.write_text(json.dumps(RECORD))
    assert read_record(tmp_path, mlp).to_json()["value"] == 0.97
    runs = recorded_runs(tmp_path, ladder)
    standing = score_ladder(ladder, {"00": Run()}, runs)
    shown = {m.id: m.result for m in standing.milestones}
    assert (shown[mlp.id].passed, shown[mlp.id].quick) == (True, True)
    assert shown["04_1998_cnn"] is None
    place.write_text(" " * RECORD_LIMIT + json.dumps(RECORD))
    assert recorded_runs(tmp_path, ladder) == {}
    with pytest.raises(ValueError, match="more than"):
        read_record(tmp_path, mlp)


@pytest.mark.parametrize(
    "change",
    [
        {"id": "04_1998_cnn"},
        {"year": 1987},
        {"value": 0.5},
        {"value": None},
        {"value": float("nan")},
        {"seconds": -1},
        {"passed": 1},
        {"points": 100},
        {"curves": [{"name": "x", "steps": [0] * 401, "values": []}]},
        {"code": "short"},
    ],
)
def test_a_record_that_is_not_as_it_should_be_is_refused(mlp, change):
    """Among them one that says passed and whose figure does not."""
    with pytest.raises(ValueError, match=r"."):
        parse_record(json.dumps({**RECORD, **change}), mlp)


def test_links_and_broken_texts_count_as_no_record(tmp_path, ladder, mlp):
    """What a student pushed is data: no link is followed, no text ends the grading."""
    place = tmp_path / "milestones" / mlp.id / "results" / "record.json"
    place.parent.mkdir(parents=True)
    for text in ("", "[" * 100_000, "\x00", "null"):
        place.write_text(text)
        assert recorded_runs(tmp_path, ladder) == {}
    place.unlink()
    (tmp_path / "real.json").write_text(json.dumps(RECORD))
    place.symlink_to(tmp_path / "real.json")
    assert recorded_runs(tmp_path, ladder) == {}


def test_the_gate_names_what_is_missing(course):
    """Without a report nothing is unlocked; --force runs it, and the record is listed."""
    locked = tito(course, "milestone", "run", "01", "--quick")
    assert locked.returncode == 2
    assert "make one with: tito grade" in locked.stderr
    done = tito(course, "milestone", "run", "01", "--quick", "--force")
    assert done.returncode == 0, done.stdout + done.stderr
    last = done.stdout.rstrip().splitlines()[-1]
    assert re.fullmatch(r"RESULT 01_1957_perceptron accuracy 1\.0000 target 1 PASS", last)
    rows = json.loads(tito(course, "milestone", "list", "--json").stdout)
    assert rows[0]["record"]["passed"] is True
    assert rows[0]["missing"] is None
    assert rows[1]["record"] is None
    assert "01_1957_perceptron" in tito(course, "milestone", "list").stdout


def test_a_locked_milestone_names_its_rungs(course, ladder):
    """The report decides, and the first missing rung is the next step."""
    tito(course, "checkpoint", "run", "00", "--report", "report.json")
    done = tito(course, "milestone", "run", "02")
    assert done.returncode == 1
    assert "02_1969_xor still requires: 01 foundation, 02 intelligence" in done.stdout
    assert "next: tito module complete 01" in done.stdout


@pytest.mark.parametrize("words", [["list", "--json"], ["plan"], ["run", "01"]])
def test_a_report_that_cannot_be_used_is_named(course, words):
    """In a sentence, with exit status 2."""
    (course / "report.json").write_text("{}")
    done = tito(course, "milestone", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert "report.json: " in done.stderr
    assert "Traceback" not in done.stderr


def test_the_milestones_are_listed_without_the_report(course):
    """What was run does not stand in it; what is still to pass does, and that is said."""
    (course / "report.json").write_text("{}")
    done = tito(course, "milestone", "list")
    assert done.returncode == 0
    assert "report.json: " in done.stderr
    assert "03_1986_mlp" in done.stdout
    assert "the report cannot be read" in done.stdout
    assert "no report yet" not in done.stdout


SCRIPT = """
import sys, time
from pathlib import Path
print("begun with", *sys.argv[1:], flush=True)
out = Path(__file__).parent / "results"
{then}
"""


def replace_script(course, then):
    """Put a script of few lines in the place of a milestone's own."""
    path = course / "milestones" / "01_1957_perceptron" / "perceptron.py"
    path.write_text(SCRIPT.format(then=then), encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "passed_on"),
    [
        ("01 --quick -- --seed 3", "--quick --seed 3"),
        ("--quick 01 -- --seed 3 -- --fresh", "--quick --seed 3 -- --fresh"),
        ("01 --", ""),
        ("01 --minutes 0.5", "--minutes 0.5"),
    ],
)
def test_what_follows_two_hyphens_goes_to_the_script(course, words, passed_on):
    replace_script(course, "print('RESULT 01_1957_perceptron accuracy 1.0 target 1 PASS')")
    done = tito(course, "milestone", "run", "--force", *words.split())
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[0] == f"begun with {passed_on}".rstrip()


def test_a_script_that_says_how_it_is_used_is_not_broken(course):
    replace_script(course, "print('usage: perceptron.py [--seed N]')")
    done = tito(course, "milestone", "run", "--force", "01", "--", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "begun with --help\nusage: perceptron.py [--seed N]\n"
    assert tito(course, "milestone", "run", "--force", "01").returncode == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "required: NN; see"),
        ("-- --seed 3", "required: NN; see"),
        ("01 --quik -- --seed 3", "has no option --quik; did you mean: --quick"),
        ("01 --minutes -3", "argument --minutes: '-3' is no number of minutes above 0"),
        ("01 --minutes nan", "'nan' is no number of minutes above 0"),
        ("01 --minutes inf", "'inf' is no number of minutes above 0"),
        ("01 --minutes 0", "'0' is no number of minutes above 0"),
        ("01 -- --out there", "--out is for tito, which reads the results there"),
    ],
)
def test_a_run_that_cannot_be_meant_is_refused(course, words, message):
    done = tito(course, "milestone", "run", "--force", *words.split())
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr


def test_the_usage_of_a_run_names_every_option(capsys):
    """It is written by hand, for the two hyphens."""
    with pytest.raises(SystemExit):
        main(["milestone", "run", "--help"])
    usage, _, rest = capsys.readouterr().out.partition("\n\n")
    assert usage.endswith("[-- ARGUMENTS]")
    options = set(re.findall(r"^ +(--[a-z-]+)", rest, re.MULTILINE))
    assert {o for o in options if o not in usage} == set()
    assert len(options) >= 7


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT is of POSIX")
@pytest.mark.parametrize("quick_fingers", [False, True])
@pytest.mark.parametrize(
    ("saves", "options", "told"),
    [
        (False, "", "interrupted before this run saved its state; the same command starts it"),
        (True, "", "01_1957_perceptron/results/full.ckpt: the same command goes on from there"),
        (True, "--fresh", "the same command without --fresh goes on from there"),
    ],
)
def test_ctrl_c_says_how_a_run_goes_on(course, saves, options, told, quick_fingers):
    """Whether its state was saved, also where Ctrl-C is pressed twice."""
    save = "out.mkdir()\n(out / 'full.ckpt').write_text('')\n"
    replace_script(course, f"{save if saves else ''}print('now', flush=True)\ntime.sleep(60)")
    words = ["milestone", "run", "01", "--force", *options.split()]
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "tito", *words], cwd=course, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, bufsize=1,
    ) as process:  # fmt: skip
        while process.stdout.readline() not in ("now\n", ""):
            pass
        process.send_signal(signal.SIGINT)
        if quick_fingers:
            time.sleep(0.02)
            process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert told in errors
    assert "Traceback" not in errors


def export_as(tree, ladder, name, old, new):
    """Change a line of a module; returns its number."""
    path = tree / ladder.find(name).source
    text = path.read_text(encoding="utf-8")
    assert old in text, "the line to break has changed; choose another one"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    return text[: text.index(old)].count("\n") + 1 + new.rstrip().count("\n")


def test_a_stub_that_a_milestone_meets_is_named(course, ladder):
    """What is not written yet, the line to open, and no traceback."""
    stub = 'raise NotImplementedError("module 01, step 5: matmul")'
    line = export_as(course, ladder, "01", "return a @ b", stub)
    done = tito(course, "milestone", "run", "02", "--quick", "--force")
    assert done.returncode == 1
    assert "matmul: not written yet (step 5 of module 01)\n" in done.stdout
    place = f"look at   modules/01_tensor/tensor.py:{line} (step 5), then: tito test 01"
    assert place in done.stdout
    assert "broken  no result: the script ended with status 1" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert "tinytorch/core" not in done.stdout


def test_an_exception_in_a_module_ends_with_its_line(course, ladder, tmp_path):
    """The way there, through the student's own lines and the script's; the log has it all."""
    wrong = "a.shape[7]\n    return a @ b"
    line = export_as(course, ladder, "01", "return a @ b", wrong) - 1
    out = tmp_path / "out"
    done = tito(course, "milestone", "run", "02", "--quick", "--force", "--out", str(out))
    assert done.returncode == 1
    shown = " ".join(done.stdout.split())
    assert "raised IndexError: tuple index out of range" in shown
    assert f"look at modules/01_tensor/tensor.py:{line} (step 5), then: tito test 01" in shown
    assert re.search(r"through milestones/02_1969_xor/xor.py:\d+ in |modules/\S+:\d+ in ", shown)
    assert f"modules/01_tensor/tensor.py:{line} in matmul" in shown
    assert "tinytorch/core" not in done.stdout
    assert "Traceback (most recent call last):" in (out / "log.txt").read_text(encoding="utf-8")


def test_a_module_that_cannot_be_exported_is_to_be_mended_first(course, ladder):
    """The import fails; the line is that of the syntax error."""
    line = export_as(course, ladder, "03", "class Linear(", "class Linear((")
    done = tito(course, "milestone", "run", "02", "--quick", "--force")
    assert done.returncode == 1
    assert "No module named 'tinytorch.core.layers'" in done.stdout
    assert "look at   modules/03_layers/layers.py, then: tito test 03" in done.stdout
    assert f"mend first  modules/03_layers/layers.py:{line}" in done.stdout
    assert "Traceback" not in done.stdout


def test_a_traceback_of_the_scripts_own_is_shown_as_it_is(course):
    """No module has a part in it."""
    replace_script(course, "raise ValueError('of the script')")
    done = tito(course, "milestone", "run", "01", "--force")
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert lines[1] == "Traceback (most recent call last):"
    assert "ValueError: of the script" in lines


def test_what_a_script_prints_after_a_traceback_is_not_lost(course):
    then = """import traceback
try:
    1 / 0
except ZeroDivisionError:
    traceback.print_exc(file=sys.stdout)
print("RESULT 01_1957_perceptron accuracy 1.0 target 1 PASS")"""
    replace_script(course, then)
    done = tito(course, "milestone", "run", "01", "--force")
    assert done.returncode == 0
    assert "ZeroDivisionError: division by zero" in done.stdout
    assert done.stdout.rstrip().endswith("PASS")


CAUGHT = """import traceback
try:
    1 / 0
except ZeroDivisionError:
    traceback.print_exc()
{then}
time.sleep(60)"""


def interrupted_run(course, printed):
    """What a run prints up to a line, and what after a Ctrl-C at that time."""
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "tito", "milestone", "run", "01", "--force"], cwd=course,
        text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    ) as process:  # fmt: skip
        watchdog = threading.Timer(30, process.kill)
        watchdog.start()
        before = ""
        while not before.endswith(printed) and (line := process.stdout.readline()):
            before += line
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        after, errors = process.communicate(timeout=30)
        watchdog.cancel()
    assert process.returncode == 130
    assert "interrupted" in errors
    return before, after


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT is of POSIX")
@pytest.mark.parametrize(
    "goes_on",
    ["print('epoch 1', flush=True)", "for i in range(30): print(f'  epoch {i}', flush=True)"],
)
def test_a_script_that_goes_on_after_a_traceback_is_followed(course, goes_on):
    """What it prints is shown while it runs, with all that came before."""
    replace_script(course, CAUGHT.format(then=goes_on))
    before, _ = interrupted_run(course, "epoch 1\n")
    assert "\nTraceback (most recent call last):\n" in before
    assert "\nZeroDivisionError: division by zero\n" in before


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT is of POSIX")
def test_ctrl_c_loses_nothing_of_what_was_printed(course):
    """What is held back as the last words of a script, which it may be, is shown then."""
    replace_script(course, CAUGHT.format(then=""))
    _, after = interrupted_run(course, "begun with\n")
    assert after.startswith("Traceback (most recent call last):\n")
    assert after.endswith("\nZeroDivisionError: division by zero\n")


def test_a_message_of_several_lines_is_explained_still(course, ladder):
    """It cannot be told from a script that goes on, so the traceback is shown as well."""
    wrong = "raise IndexError('first\\nsecond')"
    line = export_as(course, ladder, "01", "return a @ b", wrong)
    done = tito(course, "milestone", "run", "02", "--quick", "--force")
    assert done.returncode == 1
    assert "matmul: raised IndexError: first\n" in done.stdout
    assert f"look at   modules/01_tensor/tensor.py:{line} (step 5)" in done.stdout
    assert done.stdout.count("\nsecond\n") == 1


@pytest.mark.parametrize(
    ("then", "status"),
    [("for epoch in range(30): print('epoch', epoch)\nraise SystemExit(1)", 1),
     ("print('epoch 29', flush=True)\nimport os\nos._exit(5)", 5),
     ("print('epoch 29')", 0)],
)  # fmt: skip
def test_a_traceback_that_ended_no_run_explains_nothing(course, ladder, then, status):
    """The script went on after it: what ended it is something else."""
    export_as(course, ladder, "01", "return a @ b", "raise ValueError('caught')")
    head = """import traceback
from tinytorch import Tensor
try:
    Tensor([[1.0]]) @ Tensor([[1.0]])
except ValueError:
    traceback.print_exc()
"""
    replace_script(course, head + then)
    done = tito(course, "milestone", "run", "01", "--force")
    assert done.returncode == 1
    assert "raised" not in done.stdout
    assert done.stdout.count(": caught\n") == 1
    last = f"broken  no result: the script ended with status {status}\n"
    assert done.stdout.endswith(f"epoch 29\n{last}")


CHAINED = """\
Traceback (most recent call last):
  File "{root}/tinytorch/core/tensor.py", line 12, in add
    raise ValueError("cannot add: " +
    ^^^^^^^^^^^^^^^^
ValueError: cannot add shapes (2, 3) and (4,)
  and a second line

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "{root}/milestones/01_1957_perceptron/perceptron.py", line 9, in <module>
  File "/usr/lib/python3/site-packages/numpy/core.py", line 3, in other
RuntimeError: the script gave up"""


def test_the_cause_is_found_behind_another_exception(course, ladder):
    """Of chained tracebacks the last that goes through a module counts."""
    failure = explain(CHAINED.format(root=course).split("\n"), course, ladder)
    assert failure.headline == "add: raised ValueError: cannot add shapes (2, 3) and (4,)"
    assert (failure.file, failure.line) == ("modules/01_tensor/tensor.py", 12)
    assert failure.got == "  and a second line"
    assert explain(CHAINED.format(root="/elsewhere").split("\n"), course, ladder) is None


@pytest.mark.parametrize("number", ["0", "99999999", "9" * 5000])
def test_a_line_number_that_cannot_be_is_no_place(course, ladder, number):
    """Whoever prints a traceback may print any; of the others the last one counts."""
    wrong = CHAINED.replace("line 12", f"line {number}").format(root=course)
    assert explain(wrong.split("\n"), course, ladder) is None
    sound = f'  File "{course}/tinytorch/core/tensor.py", line 7, in mul\n'
    head, file, rest = wrong.partition('  File "')
    failure = explain(f"{head}{sound}{file}{rest}".split("\n"), course, ladder)
    assert (failure.file, failure.line) == ("modules/01_tensor/tensor.py", 7)


def test_without_a_traceback_there_is_nothing_to_explain(course, ladder):
    for lines in ([], ["RESULT of nothing"], ["  + Exception Group Traceback (most recent call)"]):
        assert explain(lines, course, ladder) is None


@pytest.mark.parametrize(
    ("then", "status", "shown"),
    [
        ("import os\nprint('last words', flush=True)\nos._exit(5)", 5, "last words"),
        ("print('RESULT 01_1957_perceptron accuracy')", 0, "RESULT 01_1957_perceptron accuracy"),
        ("def (", 1, "SyntaxError: "),
        ("raise ExceptionGroup('two', [ValueError('a'), KeyError('b')])", 1, "ValueError: a"),
    ],
    ids=["exit", "result", "syntax", "group"],
)
def test_a_run_that_ends_without_a_traceback_is_broken(course, then, status, shown):
    replace_script(course, then)
    done = tito(course, "milestone", "run", "01", "--force")
    assert (done.returncode, done.stderr) == (1, "")
    assert shown in done.stdout
    last = done.stdout.splitlines()[-1]
    assert last == f"broken  no result: the script ended with status {status}"


def script_run(course, name, *words, **options):
    """Run a milestone's script on the exported tree."""
    script = next((course / "milestones").glob(f"{name}_*/*.py"))
    return subprocess.run(
        [sys.executable, "-P", str(script), *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "PYTHONPATH": str(course)},
        **options,
    )


def closing(done):
    """The last line of a run."""
    return done.stdout.rstrip().splitlines()[-1]


def test_a_stopped_and_a_killed_run_go_on_to_the_same_result(course, tmp_path):
    """The figures after two interruptions are those of a run without any."""
    assert tito(course, "export").returncode == 0
    whole = script_run(course, "03", "--quick", "--out", str(tmp_path / "whole"))
    assert whole.returncode == 0, whole.stdout + whole.stderr
    out = tmp_path / "parts"
    words = ["--quick", "--out", str(out)]
    first = script_run(course, "03", *words, "--minutes", "0.0001")
    assert (first.returncode, closing(first)) == (3, "STOPPED 03_1986_mlp 1 of 40")
    assert not (out / "record.json").exists()
    script = course / "milestones" / "03_1986_mlp" / "mlp.py"
    environment = {**os.environ, "PYTHONPATH": str(course)}
    state, before = out / "quick-digits.ckpt", (out / "quick-digits.ckpt").read_bytes()
    killed = subprocess.Popen(
        [sys.executable, "-P", str(script), *words], env=environment, stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while killed.poll() is None and state.read_bytes() == before and time.monotonic() < deadline:
        time.sleep(0.01)
    killed.send_signal(signal.SIGTERM)
    killed.wait()
    last = script_run(course, "03", *words)
    assert "going on from step" in last.stdout
    assert closing(last) == closing(whole)
    curves = [
        json.loads((p / "record.json").read_text())["curves"] for p in (tmp_path / "whole", out)
    ]
    assert curves[0] == curves[1]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["02", "04", "05", "06"])
def test_quick_runs_reach_their_targets(course, name):
    """The figures of the ladder on the shipped data."""
    assert tito(course, "export").returncode == 0
    done = script_run(course, name, "--quick")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert closing(done).endswith(" PASS")
