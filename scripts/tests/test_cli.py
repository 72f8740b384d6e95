"""tito as a person and a machine use it: help, exit status, JSON, pipes, kills."""

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tito.cli import main
from tito.cli.test import run_units
from tito.report import load_report
from tito.source import parse
from tito.strip import strip


def tito(tree, *words, **options):
    """Run tito in a process of its own, piped, and return what it printed."""
    command = [sys.executable, "-P", "-m", "tito", "-C", str(tree), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


@pytest.fixture
def small_tree(tree, ladder):
    """A tree with modules 00 and 01 only: quick to grade."""
    for rung in ladder.checkpoints[2:]:
        (tree / rung.source).unlink(missing_ok=True)
        if (tree / "modules" / rung.folder).exists():
            (tree / "modules" / rung.folder).rename(tree.parent / rung.folder)
        (tree / rung.file).unlink(missing_ok=True)
    return tree


COMMANDS = [
    "status",
    "system doctor",
    "system info",
    "notebook open",
    "notebook sync",
    "completion",
]
COMMANDS += ["module start", "module test", "module complete", "module view"]
COMMANDS += ["", "grade", "export", "checkpoint", "checkpoint run", "checkpoint status"]
COMMANDS += ["report", "report render", "report show", "module", "module list", "test"]
COMMANDS += ["milestone", "milestone list", "milestone run"]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_teaches(command, capsys):
    """Every command explains itself and exits 0."""
    with pytest.raises(SystemExit) as left:
        main([*command.split(), "--help"])
    assert left.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith("usage: tito")
    assert len(text.split()) > 20


def test_grade_writes_everything_and_exits_zero(small_tree):
    """Whatever the score, grading that completed is a success."""
    done = tito(small_tree, "grade", "--seed", "5")
    assert done.returncode == 0, done.stderr
    assert "8 of 100 points, level 01" in done.stdout
    assert "\x1b" not in done.stdout
    report = load_report(small_tree / "report.json")
    assert report.score.points == 8
    assert report.level == 1
    assert report.seed == 5
    for name in ("badges/level.svg", "badges/score.json", "badges/timeline.svg", "summary.md"):
        assert (small_tree / name).stat().st_size > 50, name


def test_gates(small_tree):
    """--require and --fail-under exit 1 when missed and say what was reached."""
    assert tito(small_tree, "grade", "--require", "01", "--fail-under", "8").returncode == 0
    missed = tito(small_tree, "grade", "--require", "02", "--fail-under", "60")
    assert missed.returncode == 1
    assert "level 02 is required, reached: 01" in missed.stdout
    assert "60 points are required, reached: 8" in missed.stdout


def test_json_is_the_report(small_tree):
    """A machine reads the same report from standard output."""
    done = tito(small_tree, "checkpoint", "run", "01", "--json")
    assert done.returncode == 0
    data = json.loads(done.stdout)
    assert data["schema_version"] == 1
    passed = next(c for c in data["checkpoints"] if c["id"] == "01")
    assert passed["points"] == 6
    rows = json.loads(tito(small_tree, "module", "list", "--json").stdout)
    assert [row["id"] for row in rows if row["source"]] == ["00", "01"]
    exports = json.loads(tito(small_tree, "export", "--json").stdout)
    assert [row["exported"] for row in exports] == [True, True]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("checkpoint run", "say which: tito checkpoint run 05"),
        ("staus", "tito: there is no command 'staus'; did you mean: tito status"),
        ("-x", "tito: there is no option -x; there are: --help, --version, --root"),
        ("module strat 01", "tito module has no action 'strat'; did you mean: tito module start"),
        ("module list --jsn", "tito module list has no option --jsn; did you mean: --json"),
        ("module", "say which: tito module list|start"),
        ("module complete tensr", "did you mean tensor (01_tensor)?"),
        ("checkpoint new -x", "tito checkpoint new has no option -x; there are: --help"),
        ("module start --jsn", "tito module start has no option --jsn"),
        ("notebook sync --tak module", "required: NN"),
        ("module start -1", "called '-1'; use a number 00–20 or a name from: tito module list"),
        ("module start 05", "this tree has no modules/05_autograd"),
        ("test integration", "tito test integration 05"),
        ("completion tcsh", "shell cannot be 'tcsh'; did you mean: zsh"),
        ("checkpoint run 77", "no module or checkpoint called '77'"),
        ("checkpoint run autograf", "did you mean autograd (05_autograd)?"),
        ("checkpoint status", "no report.json yet; make one with: tito grade"),
        ("test", "say which module: tito test 01"),
        ("export 00 --all", "say which: tito export 01, or all of them: tito export --all"),
        ("report render", "make one with: tito grade"),
    ],
)
def test_bad_usage_exits_two_and_says_what_to_do(small_tree, words, message):
    """The message names the value and the mend; nothing is a traceback."""
    done = tito(small_tree, *words.split())
    assert done.returncode == 2, done.stdout + done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "home"),
    [
        ("complete 01", "module complete"),
        ("reset 01", "module reset"),
        ("list", "module list"),
        ("-C . view 01 --path", "module view"),
        ("hint 01", "checkpoint hint"),
        ("run 01", "checkpoint run"),
        ("info 01", "milestone info"),
        ("doctor", "system doctor"),
    ],
)
def test_an_action_without_its_command_names_it(words, home, capsys):
    """The first command that has an action of that name is its home."""
    assert main(words.split()) == 2
    assert f"did you mean: tito {home}" in capsys.readouterr().err


def test_outside_a_tree(tmp_path):
    """tito says what it looked for and where."""
    command = [sys.executable, "-P", "-m", "tito", "module", "list"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "no TinyTorch tree at" in done.stderr


def test_status_is_the_last_report(small_tree):
    """Progress is the report, not a counter kept by hand."""
    tito(small_tree, "grade")
    done = tito(small_tree, "checkpoint", "status")
    assert done.returncode == 0
    assert "8 of 100 points, level 01" in done.stdout
    status = json.loads(tito(small_tree, "checkpoint", "status", "--json").stdout)
    assert status["checkpoints"]["01"] == "passed"
    assert status["level"] == 1


def wrong_matmul(tree):
    """Break one function of module 01, and let it print."""
    path = tree / "modules" / "01_tensor" / "tensor.py"
    text = path.read_text(encoding="utf-8")
    changed = text.replace("return a @ b", "print('shapes', a.shape)\n    return a * b")
    assert changed != text
    path.write_text(changed, encoding="utf-8")


def test_a_failing_unit_test_is_shown_in_named_parts(small_tree):
    """`tito test` lists every test, then the first failure: the line, the way, what was printed."""
    wrong_matmul(small_tree)
    done = tito(small_tree, "test", "01")
    assert done.returncode == 1
    assert "✗ step 5  arithmetic clip and matmul" in done.stdout
    assert "✓ step 6  reductions along axes" in done.stdout
    assert "7 of 8 passed" in done.stdout
    assert re.search(r"look at   modules/01_tensor/tensor.py:\d+ \(step", done.stdout)
    assert re.search(r"through   modules/01_tensor/tensor.py:\d+ in test_arithmetic", done.stdout)
    assert "printed   shapes (2, 3)" in done.stdout


def test_an_error_that_apply_explains_is_found_where_it_was_made(small_tree):
    """The clearer message is raised by `apply` of step 4; the line to open is the rule's own."""
    path = small_tree / "modules" / "01_tensor" / "tensor.py"
    text = path.read_text(encoding="utf-8")
    wrong = text.replace("x.sum(axis=axis, keepdims", "x.sum(axis=99, keepdims")
    path.write_text(wrong, encoding="utf-8")
    line = next(n for n, row in enumerate(wrong.splitlines(), 1) if "x.sum(axis=99" in row)
    for words in ("test 01 -k reductions", "module complete 01 --skip-test"):
        done = tito(small_tree, *words.split())
        assert f"look at   modules/01_tensor/tensor.py:{line} (step 6)" in done.stdout


def test_a_choice_of_unit_tests(small_tree):
    """-k chooses, -x stops, and what nothing matches is said."""
    wrong_matmul(small_tree)
    assert "0 of 1 passed" in tito(small_tree, "test", "01", "-k", "matmul").stdout
    stopped = tito(small_tree, "test", "01", "-x")
    assert "4 of 5 passed" in stopped.stdout, stopped.stdout
    none = tito(small_tree, "test", "01", "-k", "nothing_like_it")
    assert none.returncode == 1
    assert "no unit test of 01_tensor matches 'nothing_like_it'" in none.stdout
    everywhere = tito(small_tree, "test", "--all", "-k", "matmul")
    assert everywhere.returncode == 1
    assert "no unit test of 00_setup matches" in everywhere.stdout


def test_the_unit_tests_of_all_modules_are_a_line_each(small_tree):
    """A module that cannot be read, or is not written yet, does not hide the others."""
    wrong_matmul(small_tree)
    (small_tree / "modules" / "00_setup" / "setup.py").write_text("# %%\ndef (\n", encoding="utf-8")
    done = tito(small_tree, "test", "--all")
    assert done.returncode == 1
    assert "! 00 setup         modules/00_setup/setup.py:" in done.stdout
    assert "✗ 01 tensor        7/8 passed" in done.stdout
    assert "0 of 2 modules passed; next: tito test 00" in done.stdout


def test_a_module_that_was_not_begun_did_not_fail(tree, ladder, capsys):
    """A test may pass on stubs all the same; nor is a module wrong that was only begun."""
    rung = ladder.by_id["11"]
    path = tree / rung.source
    solved = path.read_text(encoding="utf-8")
    stubs = strip("11", parse(solved, rung.source))
    head = solved.index("### BEGIN SOLUTION"), stubs.index("### BEGIN SOLUTION")
    tail = solved.index("### END SOLUTION"), stubs.index("### END SOLUTION")
    begun = stubs[: head[1]] + solved[head[0] : tail[0]] + stubs[tail[1] :]
    wrong = begun.replace("### BEGIN SOLUTION", "return None\n    ### BEGIN SOLUTION", 1)
    options = argparse.Namespace(root=tree, k=None, x=False, verbose=False, pytest=False)
    said = []
    for text in (stubs, begun, wrong):
        path.write_text(text, encoding="utf-8")
        assert run_units(options, ladder, [ladder.by_id["00"], rung]) == 1
        said.append(capsys.readouterr().out)
    assert "○ 11 embeddings    not written yet\n\n" in said[0]
    assert re.search(r"○ 11 embeddings    2/9 passed, 7 not written yet, ", said[1])
    assert "not written yet (step 2 of module 11)" in said[1]
    assert re.search(r"✗ 11 embeddings    1/9 passed, 7 not written yet, ", said[2])


def test_pytest_s_own_output_is_to_be_had(small_tree, capfd):
    """With --pytest: its diffs and tracebacks, of the student's own file and line."""
    wrong_matmul(small_tree)
    assert main(["-C", str(small_tree), "test", "01", "--pytest"]) == 1
    printed = capfd.readouterr().out
    assert "modules/01_tensor/tensor.py:" in printed
    assert "= FAILURES =" in printed


def test_what_a_unit_test_prints_is_cut(small_tree):
    """A print in a loop shows its end, and does not hide the failure."""
    path = small_tree / "modules" / "01_tensor" / "tensor.py"
    text = path.read_text(encoding="utf-8")
    noisy = "for i in range(200_000):\n        print('line', i)\n    return a * b"
    path.write_text(text.replace("return a @ b", noisy), encoding="utf-8")
    done = tito(small_tree, "test", "01", "-k", "matmul")
    assert "line 199999" in done.stdout
    assert "line 199900" not in done.stdout
    assert "cannot matmul shapes" in done.stdout


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c_names_the_test_that_ran(small_tree):
    """A loop that never ends is found by stopping it."""
    path = small_tree / "modules" / "01_tensor" / "tensor.py"
    text = path.read_text(encoding="utf-8")
    begun = small_tree.parent / "begun"
    endless = f"open({str(begun)!r}, 'w').close()\n    while True: pass\n    return a @ b"
    path.write_text(text.replace("return a @ b", endless), encoding="utf-8")
    command = [sys.executable, "-P", "-m", "tito", "-C", str(small_tree), "test", "01"]
    with subprocess.Popen(
        command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    ) as process:
        while not begun.exists() and process.poll() is None:
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "interrupted in 01, test_arithmetic_clip_and_matmul; nothing was written" in errors


def test_a_file_that_cannot_be_used_reaches_the_report(small_tree):
    """A syntax error costs its checkpoint, is a problem of the report, and names the line."""
    path = small_tree / "modules" / "01_tensor" / "tensor.py"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("def matmul(a, b):", "def matmul(a, b:"), encoding="utf-8")
    done = tito(small_tree, "grade")
    assert done.returncode == 0, done.stderr
    report = load_report(small_tree / "report.json")
    assert report.by_id["00"].status == "passed"
    assert report.by_id["01"].status == "error"
    assert report.by_id["01"].points == 0
    (problem,) = report.problems
    assert problem.file == "modules/01_tensor/tensor.py"
    assert "syntax error" in problem.message
    assert f"{problem.file}:{problem.line}" in done.stdout


def test_an_empty_tree_is_graded_too(small_tree):
    """Nothing under modules/ is zero points and a clear next step, not a crash."""
    for folder in ("00_setup", "01_tensor"):
        (small_tree / "modules" / folder).rename(small_tree.parent / folder)
    done = tito(small_tree, "grade")
    assert done.returncode == 0, done.stderr
    report = load_report(small_tree / "report.json")
    assert report.score.points == 0
    assert report.level is None


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is of POSIX")
def test_a_kill_at_any_moment_leaves_the_last_good_state(small_tree):
    """Report, badges and exports are each either the old or the new one, and readable."""
    assert tito(small_tree, "grade").returncode == 0
    chance = random.Random(3)
    for _ in range(6):
        command = [sys.executable, "-P", "-m", "tito", "-C", str(small_tree), "grade"]
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        time.sleep(chance.uniform(0.05, 2.5))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert load_report(small_tree / "report.json").score.points == 8
        for file in (small_tree / "badges").glob("*.svg"):
            assert file.read_text(encoding="utf-8").rstrip().endswith("</svg>")
        for file in (small_tree / "tinytorch" / "core").glob("*.py"):
            compile(file.read_text(encoding="utf-8"), str(file), "exec")
    assert tito(small_tree, "grade").returncode == 0


# Where a student is


def wrong(tree, find="return a @ b", put="return a * b"):
    """Make a mistake in module 01."""
    path = tree / "modules" / "01_tensor" / "tensor.py"
    text = path.read_text(encoding="utf-8")
    assert find in text
    path.write_text(text.replace(find, put), encoding="utf-8")


def test_tito_alone_names_one_command(small_tree):
    """Before and after grading, with older results and with a damaged report."""
    assert "next  tito grade" in tito(small_tree).stdout
    tito(small_tree, "grade")
    told = tito(small_tree).stdout
    assert "8 of 100 points, level 01" in told
    assert "next  git push" in told
    wrong(small_tree)
    told = tito(small_tree).stdout
    assert "next  tito module complete 01" in told
    assert "older than your sources" in told
    status = json.loads(tito(small_tree, "status", "--json").stdout)
    assert status["report"]["changed"] == ["01"]
    assert status["next"]["command"] == "tito module complete 01"
    (small_tree / "report.json").write_text("{", encoding="utf-8")
    done = tito(small_tree)
    assert done.returncode == 0
    assert "the report cannot be used: report.json" in done.stdout


def test_completing_a_module(small_tree):
    """Four steps; the result is in the report, and what it unlocked is said."""
    done = tito(small_tree, "module", "complete", "tensor")
    assert done.returncode == 0, done.stdout + done.stderr
    for text in ("1 unit tests", "2 export", "3 checkpoint", "4 unlocked", "I can create and"):
        assert text in done.stdout
    assert "write modules/01_tensor/reflection.md" in done.stdout
    report = load_report(small_tree / "report.json")
    assert report.level == 1, "module 00, on which it builds, was run as well"
    wrong(small_tree)
    failed = tito(small_tree, "module", "complete", "01")
    assert failed.returncode == 1
    assert "expected  matmul(Tensor(a), b).tolist() == (a @ b).tolist()" in failed.stdout
    assert "then: tito test 01 -k test_arithmetic_clip_and_matmul" in failed.stdout
    assert load_report(small_tree / "report.json") == report, "nothing new was graded"
    failed = tito(small_tree, "module", "complete", "01", "--skip-test")
    assert failed.returncode == 1
    assert "then: tito checkpoint run 01" in failed.stdout
    assert load_report(small_tree / "report.json").by_id["01"].status == "partial"


def test_a_module_on_a_broken_one(small_tree):
    """The failure names the file that has to be mended first."""
    (small_tree / "modules" / "00_setup" / "setup.py").write_text("# %%\ndef (\n", encoding="utf-8")
    done = tito(small_tree, "module", "complete", "00")
    assert done.returncode == 1
    assert "modules/00_setup/setup.py" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_the_integration_tests_of_a_checkpoint(small_tree):
    done = tito(small_tree, "test", "integration", "01")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "integration tests passed" in done.stdout


def test_the_doctor_says_what_to_mend(small_tree):
    """Exit 1 only when something must be mended; the mend is a command."""
    done = tito(small_tree, "system", "doctor", "--json")
    found = {check["name"]: check for check in json.loads(done.stdout)}
    assert found["Python"]["state"] == found["tree"]["state"] == "ok"
    assert all(check["mend"] for check in found.values() if check["state"] == "bad")
    (small_tree / "report.json").write_text("[]", encoding="utf-8")
    done = tito(small_tree, "system", "doctor")
    assert done.returncode == 1
    assert "make a new one: tito grade" in done.stdout


@pytest.mark.parametrize(
    "words", ["", "status", "module list", "module start 01", "milestone list"]
)
def test_a_plain_terminal_gets_plain_characters(small_tree, words):
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "NO_COLOR": "1"}
    done = tito(small_tree, *words.split(), env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii()
    assert "?" not in done.stdout.replace("Can I", "").split("\n")[1]


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
@pytest.mark.parametrize("words", ["", "status", "module list", "module start 01"])
def test_nothing_is_wider_than_the_terminal(small_tree, words):
    """Drawn on 80 columns, no line is broken by the terminal itself."""
    import fcntl
    import pty
    import re
    import struct
    import termios

    pid, descriptor = pty.fork()
    if pid == 0:
        command = [sys.executable, "-P", "-m", "tito", "-C", str(small_tree), *words.split()]
        os.execve(sys.executable, command, os.environ | {"TERM": "xterm-256color"})
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    drawn = b""
    while True:
        try:
            data = os.read(descriptor, 1 << 16)
        except OSError:
            break
        if not data:
            break
        drawn += data
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", drawn.decode("utf-8"))
    assert max(len(line.rstrip()) for line in text.split("\r\n")) <= 80
    assert len(text.split()) > 20


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT is of POSIX")
def test_an_interrupted_completion_says_what_was_kept(small_tree):
    command = [
        sys.executable,
        "-P",
        "-m",
        "tito",
        "-C",
        str(small_tree),
        "module",
        "complete",
        "01",
    ]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    assert process.stdout.readline().startswith("01 tensor"), "it has begun"
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in errors
    assert "Traceback" not in errors
    assert tito(small_tree).returncode == 0


# What shells complete. In zsh the completion system is not at hand outside a line editor, so the
# functions of it that the script calls say here what they were given.
ZSH = """
compdef() {{ }}
compset() {{ }}
compadd() {{ shift; print -l -- "$@" }}
_files() {{ print FILES }}
{script}
words=({typed} "{part}"); CURRENT=$#words
_tito
"""
BASH = """
{script}
COMP_WORDS=({typed} "{part}"); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _tito
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
FISH = """
{script}
complete -C "{typed} {part}"
"""


def completed(folder, shell, typed, part):
    """What a shell, reading the printed script, offers for the last word of a line."""
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"no {shell} here")
    command = [sys.executable, "-P", "-m", "tito", "completion", shell]
    made = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    harness = {"bash": BASH, "zsh": ZSH, "fish": FISH}[shell]
    text = harness.format(script=made.stdout, typed=typed, part=part)
    bare = {"bash": ["--norc"], "zsh": ["-f"], "fish": ["--no-config"]}[shell]
    run = [program, *bare, "-c", text]
    environment = os.environ | {"HOME": str(folder)}
    done = subprocess.run(
        run, cwd=folder, capture_output=True, text=True, check=False, env=environment
    )
    assert done.stderr == ""
    return [line.split("\t")[0] for line in done.stdout.splitlines() if line]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.parametrize(
    ("typed", "part", "offered", "never"),
    [
        ("tito", "mo", "module", ""),
        ("tito module", "sta", "start", ""),
        ("tito checkpoint run", "autog", "autograd", ""),
        ("tito checkpoint hint", "", "05_autograd", "module"),
        ("tito test integration", "", "05", ""),
        ("tito notebook sync --take", "", "notebook", "05"),
        ("tito notebook sync 05 --take", "", "module", "05"),
        ("tito checkpoint run --start", "", "spawn", "05"),
        ("tito checkpoint run 05 --start", "", "fork", "05"),
        ("tito checkpoint new rows --needs", "05", "05_autograd", ""),
        ("tito milestone run", "", "03_1986_mlp", "05"),
        ("tito milestone plan --only", "", "03_1986_mlp", "05"),
        ("tito checkpoint run 05", "--se", "--seed", ""),
        ("tito -C .", "gra", "grade", ""),
        ("tito -C '.'", "", "status", "module start"),
        ("tito --root . checkpoint hint", "", "05_autograd", "module"),
        ("tito -C . checkpoint run 05 --start", "", "fork", "05"),
    ],
)
def test_shells_complete(tmp_path, shell, typed, part, offered, never):
    """The printed script, read by the shell itself, from a folder that is no tree."""
    found = completed(tmp_path, shell, typed, part)
    assert offered in found
    assert never not in found


@pytest.mark.parametrize(
    ("shell", "typed", "part", "offered"),
    [
        ("bash", "tito checkpoint run --start =", "sp", ["spawn"]),
        ("bash", "tito checkpoint run --start", "=", ["fork", "spawn"]),
        ("bash", "tito --root = . checkpoint run --start =", "f", ["fork"]),
        ("zsh", "tito checkpoint run", "--start=", ["fork", "spawn"]),
        ("zsh", "tito --root=. checkpoint run", "--start=", ["fork", "spawn"]),
        ("fish", "tito checkpoint run", "--start=sp", ["--start=spawn"]),
        ("fish", "tito --root=. checkpoint run 05", "--start=", ["--start=fork", "--start=spawn"]),
    ],
)
def test_shells_complete_a_value_behind_an_equals_sign(tmp_path, shell, typed, part, offered):
    """bash takes the sign for a word of its own; zsh and fish complete the whole word."""
    assert sorted(completed(tmp_path, shell, typed, part)) == offered


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.parametrize(
    "typed",
    ["tito grade --report", "tito report render --out", "tito -C", "tito checkpoint run 5"],
)
def test_shells_offer_files_where_one_is_wanted(tmp_path, shell, typed):
    """bash does so of itself where no word is offered."""
    (tmp_path / "here.json").write_text("", encoding="utf-8")
    found = completed(tmp_path, shell, typed, "")
    files = {"bash": [], "zsh": ["FILES"], "fish": ["here.json"]}[shell]
    assert (found == files) == ("--" in typed or "-C" in typed)


# Where a path is that a user types


def from_the_module(tree, *words):
    """Run tito while standing in the folder of module 01."""
    command = [sys.executable, "-P", "-m", "tito", *words]
    here = tree / "modules" / "01_tensor"
    return subprocess.run(command, cwd=here, capture_output=True, text=True, check=False)


def test_a_typed_path_is_from_where_its_user_stands(small_tree):
    """Reports and folders, written and read; what is not typed is the tree's."""
    here = small_tree / "modules" / "01_tensor"
    done = from_the_module(small_tree, "grade", "--report", "here.json")
    assert done.returncode == 0, done.stderr
    assert load_report(here / "here.json").score.points == 8
    assert (small_tree / "summary.md").is_file()
    assert not (small_tree / "here.json").exists()
    assert f"written: here.json; summary.md, grade.json and badges/ in {small_tree}" in done.stdout
    done = from_the_module(small_tree, "checkpoint", "run", "00", "--report", "../one.json")
    assert load_report(small_tree / "modules" / "one.json").by_id["00"].status == "passed"
    assert from_the_module(small_tree, "checkpoint", "status", "--report", "here.json").stdout
    done = from_the_module(small_tree, "report", "render", "--report", "here.json", "--out", "sub")
    assert done.returncode == 0, done.stderr
    assert (here / "sub" / "badges" / "level.svg").is_file()
    assert "files under sub" in done.stdout
    missing = from_the_module(small_tree, "report", "show")
    assert "no report.json yet; make one with: tito grade" in missing.stderr
    (here / "here.json").rename(small_tree / "report.json")
    rendered = from_the_module(small_tree, "report", "render")
    assert f"files under {small_tree}" in rendered.stdout
    drawn = from_the_module(small_tree, "module", "graph", "--svg", "map.svg")
    assert (here / "map.svg").is_file(), drawn.stderr


@pytest.mark.parametrize("command", ["grade", "checkpoint run 00", "status", "milestone list"])
def test_a_report_that_can_be_no_file_is_refused_at_once(small_tree, command):
    """A directory, and a path through a file."""
    (small_tree / "file").write_text("", encoding="utf-8")
    before = sorted(small_tree.parent.iterdir())
    for path, mend in ((".", "name a file, such as report.json"), ("file/x.json", "name one")):
        line = [sys.executable, "-P", "-m", "tito", *command.split(), "--report", path]
        done = subprocess.run(line, cwd=small_tree, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (2, "")
        assert f"--report: {path!r}" in done.stderr
        assert mend in done.stderr
    assert sorted(small_tree.parent.iterdir()) == before
    assert not (small_tree / "tinytorch" / "core" / "tensor.py").exists(), "nothing was run"
