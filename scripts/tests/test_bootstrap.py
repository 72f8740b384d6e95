"""The bootstrap: what it decides, on stand-ins for installers; and once the real thing."""

import ast
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "bootstrap.py"
# By its path: the folder of scripts is on nobody's import path.
_SPEC = importlib.util.spec_from_file_location("bootstrap", SCRIPT)
bootstrap = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(bootstrap)


class Machine:
    """A small tree with stand-ins for venv, pip and uv, and a list of what was run."""

    def __init__(self, root: Path):
        self.root = root
        self.venv = root / ".venv"
        self.python = self.venv / "bin" / "python"
        self.ran: list[str] = []
        self.broken: set[str] = set()  # words of commands that fail
        self.offline = ""  # what the installer says of the network
        requirements = root / "scripts" / "requirements"
        requirements.mkdir(parents=True)
        (root / "pyproject.toml").write_text("[project]\n")
        for layer in ("base", "dev"):
            (requirements / f"{layer}.txt").write_text(f"{layer}==1\n")

    def ok(self, shell, command: list[str], folder: str | None = None) -> bool:
        line = " ".join(command).replace(str(self.root), "TREE")
        self.ran.append(line)
        if any(word in line for word in self.broken):
            return False
        if self.offline and "-r" in command:
            shell.log.write(self.offline.encode())
            return False
        if "venv" in command:
            self.python.parent.mkdir(parents=True, exist_ok=True)
            self.python.touch()
            (self.venv / "pyvenv.cfg").touch()
        return True

    def bring(self, *arguments: str) -> tuple[int, list[str]]:
        """Run the bootstrap without a command; return its status and what it ran meanwhile."""
        self.ran.clear()
        return bootstrap.main(list(arguments)), list(self.ran)

    def stamp(self) -> list[str]:
        return (self.venv / "bootstrap.stamp").read_text().splitlines()


@pytest.fixture
def machine(tmp_path, monkeypatch) -> Machine:
    machine = Machine(tmp_path)
    monkeypatch.setattr(bootstrap, "ROOT", str(tmp_path))
    monkeypatch.setattr(bootstrap, "WINDOWS", False)

    def ok(shell, command, folder=None):
        return machine.ok(shell, command, folder)

    monkeypatch.setattr(bootstrap.Shell, "ok", ok)
    monkeypatch.delenv("TITO_BOOTSTRAP_PYTHON", raising=False)
    return machine


def made(ran: list[str]) -> bool:
    return any(" -m venv " in line for line in ran)


def installed(ran: list[str]) -> list[str]:
    return [line.rpartition("/")[2] for line in ran if " -r " in line]


def test_a_missing_environment_is_made_from_the_base(machine):
    status, ran = machine.bring()
    assert status == 0
    assert made(ran)
    assert installed(ran) == ["base.txt"]
    assert any("--no-build-isolation --no-deps -e ." in line for line in ran)
    assert all("--require-hashes" in line for line in ran if " -r " in line)


def test_nothing_is_run_when_all_is_as_wanted(machine, monkeypatch):
    """And the command becomes this process, the environment's programs first on its path."""
    machine.bring()
    became: list = []
    monkeypatch.setattr(bootstrap.os, "execvpe", lambda *given: became.extend(given))
    assert machine.bring("tito", "grade")[1] == []
    program, command, environment = became
    assert (program, command) == ("tito", ["tito", "grade"])
    assert environment["PATH"].startswith(str(machine.venv / "bin") + os.pathsep)
    assert environment["VIRTUAL_ENV"] == str(machine.venv)


def test_the_development_environment_serves_tito_too(machine):
    machine.bring("--dev")
    assert machine.bring() == (0, [])


def test_the_base_is_extended_in_place(machine):
    machine.bring()
    status, ran = machine.bring("--dev")
    assert (status, made(ran), installed(ran)) == (0, False, ["dev.txt"])


def test_a_changed_lock_is_installed_over(machine):
    machine.bring()
    (machine.root / "scripts" / "requirements" / "base.txt").write_text("base==2\n")
    status, ran = machine.bring()
    assert (status, made(ran), installed(ran)) == (0, False, ["base.txt"])


def test_a_changed_project_is_only_installed_itself(machine):
    machine.bring()
    (machine.root / "pyproject.toml").write_text("[project]\nname = 'other'\n")
    status, ran = machine.bring()
    assert (status, made(ran), installed(ran)) == (0, False, [])
    assert any(" -e ." in line for line in ran)


def test_an_extra_is_remembered(machine):
    status, ran = machine.bring("--extra", "plots")
    assert status == 0
    assert ran[-2].endswith("--no-build-isolation -e .[plots]")
    assert machine.bring("--extra", "plots") == (0, [])
    machine.bring("--dev")
    assert machine.bring("--extra", "plots") == (0, [])


def test_an_extra_with_a_lock_is_installed_from_it(machine):
    lock = machine.root / "scripts" / "requirements" / "plots.txt"
    lock.write_text("plots==1\n")
    status, ran = machine.bring("--extra", "plots")
    assert (status, installed(ran)) == (0, ["base.txt", "plots.txt"])
    assert not any(".[plots]" in line for line in ran)
    assert machine.bring("--extra", "plots") == (0, [])
    lock.write_text("plots==2\n")
    assert installed(machine.bring("--extra", "plots")[1]) == ["plots.txt"]


@pytest.mark.parametrize("damage", ["killed", "other python", "moved", "no interpreter"])
def test_what_cannot_be_mended_is_made_anew(machine, damage):
    machine.bring()
    stamp = machine.venv / "bootstrap.stamp"
    (machine.venv / "left over").touch()
    if damage == "killed":
        stamp.write_text("making\n")
    elif damage == "other python":
        stamp.write_text(stamp.read_text().replace("cpython-3", "cpython-2"))
    elif damage == "moved":
        stamp.write_text(stamp.read_text().replace("root ", "root /before"))
    else:
        machine.python.unlink()
    status, ran = machine.bring()
    assert status == 0
    assert made(ran)
    assert not (machine.venv / "left over").exists()
    assert not list((machine.root / ".tito").glob("trash-*"))
    assert machine.bring() == (0, [])


@pytest.mark.parametrize("moment", [" -m venv ", " -r ", " -e .", " -c import"])
def test_a_kill_at_any_moment_is_noticed(machine, moment, monkeypatch):
    """The process ends in the middle of a step: the next bootstrap starts again."""

    def killed(shell, command, folder=None):
        if moment in " ".join(command) + " ":
            raise SystemExit(137)
        return machine.ok(shell, command, folder)

    with monkeypatch.context() as patch:
        patch.setattr(bootstrap.Shell, "ok", killed)
        with pytest.raises(SystemExit):
            bootstrap.main([])
    status, ran = machine.bring()
    assert status == 0
    assert made(ran)


def test_an_upgrade_that_finds_no_network_leaves_what_worked(machine, capsys):
    machine.bring()
    machine.offline = "Failed to establish a new connection"
    assert machine.bring("--dev")[0] == 2
    assert "the network or its proxy does not answer" in capsys.readouterr().err
    assert machine.bring() == (0, [])


@pytest.mark.parametrize(
    "words",
    [
        "Failed to resolve 'host.example' ([Errno 8] nodename nor servname provided, or not known)",
        "NameResolutionError(\"HTTPSConnection(host='host.example', port=443)\")",
        "Failed to resolve 'host.example' ([Errno 11001] getaddrinfo failed)",
    ],
)
def test_a_first_run_without_a_network_says_so(machine, capsys, words):
    machine.offline = words
    assert machine.bring()[0] == 2
    assert "the first run needs the network" in capsys.readouterr().err
    assert machine.stamp() == ["making"]


def test_an_old_python_on_windows_is_told_of_its_launcher(monkeypatch):
    monkeypatch.setattr(bootstrap, "WINDOWS", True)
    monkeypatch.setattr(sys, "version_info", (3, 9, 1))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(bootstrap.Problem, match=r"then run: py scripts/bootstrap.py tito$"):
        bootstrap.check_version(["tito"])


def test_without_ensurepip_the_pip_of_the_system_is_used(machine):
    machine.broken = {"-m venv TREE", "TREE/.venv/bin/python -P -m pip"}
    status, ran = machine.bring()
    assert status == 0
    assert any("-m venv --without-pip" in line for line in ran)
    assert any("-m pip --python TREE/.venv/bin/python install" in line for line in ran)


def test_without_any_pip_uv_is_used(machine, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name, **kw: "/opt/uv" if name == "uv" else None)
    machine.broken = {"-m venv", "-m pip"}
    status, ran = machine.bring()
    assert status == 0
    assert any(line.startswith("/opt/uv venv --quiet") for line in ran)
    assert any(line.startswith("/opt/uv pip install --quiet --python") for line in ran)


@pytest.mark.parametrize("broken", [{"-m venv"}, {"-m pip"}])
def test_without_any_of_them_the_mend_is_named(machine, monkeypatch, capsys, broken):
    monkeypatch.setattr(shutil, "which", lambda name, **kw: None)
    machine.broken = broken
    assert machine.bring()[0] == 2
    assert "sudo apt install python3-venv" in capsys.readouterr().err


def test_an_environment_of_somebody_else_is_used_and_never_deleted(machine):
    machine.python.parent.mkdir(parents=True)
    machine.python.touch()
    (machine.venv / "theirs").touch()
    machine.broken = {" -e ."}
    assert machine.bring()[0] == 2
    machine.broken = set()
    status, ran = machine.bring()
    assert (status, made(ran), installed(ran)) == (0, False, ["base.txt"])
    assert machine.bring() == (0, [])
    assert machine.bring("--dev")[0] == 0
    assert (machine.venv / "theirs").exists()


def test_an_unusable_environment_of_somebody_else_is_not_touched(machine, capsys):
    machine.venv.mkdir()
    (machine.venv / "theirs").touch()
    machine.broken = {"sys.version_info"}
    assert machine.bring()[0] == 2
    assert "move it away" in capsys.readouterr().err
    assert (machine.venv / "theirs").exists()


def test_a_missing_lock_is_named(machine, capsys):
    (machine.root / "scripts" / "requirements" / "base.txt").unlink()
    assert machine.bring()[0] == 2
    assert "git checkout -- scripts/requirements/base.txt" in capsys.readouterr().err


def test_an_installation_that_fails_shows_the_end_of_the_log(machine, capsys):
    machine.broken = {" -e ."}
    assert machine.bring()[0] == 2
    said = capsys.readouterr().err
    assert "an installation failed" in said
    assert "bootstrap.log" in said


@pytest.mark.parametrize(
    ("line", "parsed"),
    [
        ("", (False, [], [])),
        ("tito grade --dev", (False, [], ["tito", "grade", "--dev"])),
        ("python -c pass", (False, [], ["python", "-c", "pass"])),
        ("pytest -x", (True, [], ["pytest", "-x"])),
        ("--dev tito", (True, [], ["tito"])),
        ("--extra plots --extra oracle tito", (False, ["plots", "oracle"], ["tito"])),
        ("--help", (None, [], [])),
    ],
)
def test_options_stand_before_the_command(line, parsed):
    assert bootstrap.parse(line.split()) == parsed


def test_an_unknown_option_is_refused(capsys):
    assert bootstrap.main(["--quick"]) == 2
    assert "unknown option --quick" in capsys.readouterr().err


def test_help_goes_to_standard_output(capsys):
    assert bootstrap.main(["--help"]) == 0
    assert "scripts/bootstrap.py tito grade" in capsys.readouterr().out


def test_an_old_python_is_told_so_with_a_newer_one_if_there_is(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bootstrap.sys, "version_info", (3, 9, 18))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert bootstrap.main(["tito", "grade"]) == 2
    assert "needs Python 3.11 or newer, and this is Python 3.9" in capsys.readouterr().err
    (tmp_path / "python3.12").touch(0o755)
    bootstrap.main(["tito", "grade"])
    assert "try: python3.12 scripts/bootstrap.py tito grade" in capsys.readouterr().err


def test_the_file_parses_on_old_pythons():
    """Python 2.7 must get as far as the message: no syntax that came later."""
    source = SCRIPT.read_text(encoding="ascii")
    tree = ast.parse(source)
    late = (
        ast.JoinedStr, ast.AnnAssign, ast.NamedExpr, ast.Nonlocal, ast.AsyncFunctionDef,
        ast.Await, ast.Match, ast.YieldFrom, ast.TryStar, ast.MatMult,
    )  # fmt: skip
    for node in ast.walk(tree):
        assert not isinstance(node, late), ast.unparse(node)
        if isinstance(node, ast.Raise):
            assert node.cause is None, ast.unparse(node)
        if isinstance(node, ast.FunctionDef):
            assert not node.returns
            assert not node.args.kwonlyargs
            assert not any(a.annotation for a in node.args.args)
        if isinstance(node, ast.List | ast.Tuple | ast.Dict):
            children = node.elts if not isinstance(node, ast.Dict) else node.keys
            assert not any(c is None or isinstance(c, ast.Starred) for c in children)
        if isinstance(node, ast.Call):
            stars = [isinstance(a, ast.Starred) for a in node.args]
            assert not any(stars[:-1]), ast.unparse(node)
            assert not (isinstance(node.func, ast.Name) and node.func.id == "print")


def test_a_child_on_windows_keeps_its_exit_status():
    command = [sys.executable, "-c", "import os, sys; sys.exit(int(os.environ['PYTHONUTF8']) + 4)"]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONUTF8"}
    assert bootstrap.run_on_windows(command, environment) == 5


def run(*arguments: str, script: Path = SCRIPT, **changes: str) -> subprocess.CompletedProcess[str]:
    """Run the bootstrap as a user does."""
    environment = {k: v for k, v in os.environ.items() if k != "TITO_BOOTSTRAP_PYTHON"}
    return subprocess.run(
        [sys._base_executable, str(script), *arguments],
        capture_output=True, text=True, env=environment | changes, check=False,
    )  # fmt: skip


def test_a_given_interpreter_is_used_as_it_is(tmp_path):
    code = "import sys, tito; print(tito.__file__); sys.exit(7)"
    done = run("python", "-c", code, TITO_BOOTSTRAP_PYTHON=sys.executable)
    assert done.returncode == 7
    assert Path(done.stdout.strip()) == ROOT / "scripts" / "tito" / "__init__.py"
    assert done.stderr == ""
    missing = run("tito", TITO_BOOTSTRAP_PYTHON=str(tmp_path / "python"))
    assert (missing.returncode, missing.stderr.count("names no file")) == (2, 1)


def test_a_command_that_does_not_exist_is_named():
    done = run("no-such-command", TITO_BOOTSTRAP_PYTHON=sys.executable)
    assert done.returncode == 2
    assert "cannot run no-such-command" in done.stderr


@pytest.fixture
def clone(tmp_path) -> Path:
    """A copy of what an installation needs, at a path with a space and letters beyond ASCII."""
    target = tmp_path / "mein Kürs ñ"
    for name in ("scripts", "tinytorch", "checkpoints"):
        ignore = shutil.ignore_patterns("__pycache__", "tests", "bench")
        shutil.copytree(ROOT / name, target / name, ignore=ignore)
    shutil.copy2(ROOT / "pyproject.toml", target)
    return target


@pytest.mark.slow
def test_the_real_thing(clone):
    """Killed half-way, then three at once, then nothing left to do."""
    script = clone / "scripts" / "bootstrap.py"
    command = [sys._base_executable, str(script), "tito", "--version"]
    environment = {k: v for k, v in os.environ.items() if k != "TITO_BOOTSTRAP_PYTHON"}
    options = {
        "env": environment,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
    }
    first = subprocess.Popen(command, **options)
    deadline = time.monotonic() + 60
    while not (clone / ".venv" / "pyvenv.cfg").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert (clone / ".venv" / "bootstrap.stamp").read_text() == "making\n"

    together = [subprocess.Popen(command, **options) for _ in range(3)]
    said = [process.communicate(timeout=300) for process in together]
    assert [process.returncode for process in together] == [0, 0, 0], said
    assert {out for out, _ in said} == {"tito 1.0.0\n"}
    assert sum("making .venv" in err for _, err in said) == 1
    assert any("waiting for another" in err for _, err in said)

    again = run("tito", "--version", script=script)
    assert (again.returncode, again.stdout, again.stderr) == (0, "tito 1.0.0\n", "")
    assert run("python", "-c", "raise SystemExit(7)", script=script).returncode == 7
    where = run("python", "-c", "import tito; print(tito.__file__)", script=script).stdout
    assert Path(where.strip()) == clone / "scripts" / "tito" / "__init__.py"

    # What lies beside the modules never runs in the grader's own process.
    for name in ("sitecustomize", "usercustomize", "numpy", "rich", "json", "pytest"):
        for folder in (clone, clone / "scripts", clone / "modules"):
            folder.mkdir(exist_ok=True)
            (folder / f"{name}.py").write_text("import os\nos._exit(9)\n")
    assert run("tito", "--version", script=script).returncode == 0
    assert run("python", "-I", "-c", "import tito, numpy", script=script).returncode == 0


@pytest.mark.slow
def test_a_real_first_run_without_a_network(clone):
    done = run(
        "tito", script=clone / "scripts" / "bootstrap.py",
        PIP_CONFIG_FILE=os.devnull, PIP_FIND_LINKS="", PIP_INDEX_URL="http://127.0.0.1:9/none",
        PIP_NO_CACHE_DIR="1", PIP_RETRIES="1",
    )  # fmt: skip
    assert done.returncode == 2
    assert "the network or its proxy does not answer" in done.stderr
