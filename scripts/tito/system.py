"""What this machine and its environment offer: a check a fact, each with its mend."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tito import __version__
from tito.custom import customs
from tito.files import FileProblem
from tito.ladder import LadderError, load_ladder
from tito.report import Report, ReportError, load_report

OLDEST = (3, 11)
LOCK = Path("scripts") / "requirements" / "base.txt"
_PINNED = re.compile(
    r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^ ;\\]+)\s*(?:;\s*(?P<when>[^\\]+))?"
)


def bootstrap(system: str = os.name) -> str:
    """The command that makes or mends the environment.

    Installers for Windows give no `python3`: what answers to that name there opens the Store.
    """
    return f"{'python' if system == 'nt' else 'python3'} scripts/bootstrap.py"


BOOTSTRAP = bootstrap()


@dataclass(frozen=True)
class Check:
    """One fact: `ok`, worth knowing (`warn`), or to be mended before going on (`bad`)."""

    name: str
    state: Literal["ok", "warn", "bad"]
    fact: str
    mend: str = ""


@dataclass(frozen=True)
class Terminal:
    """What the command line knows of the terminal it writes to."""

    attached: bool
    encoding: str
    width: int
    colour: bool


def check_all(root: Path, terminal: Terminal) -> Iterator[Check]:
    """Every check in order, each made when it is asked for; none raises."""
    checks: dict[str, Callable[[], Check]] = {
        "Python": check_python,
        "environment": lambda: check_environment(root),
        "packages": lambda: check_locked(root),
        "NumPy": check_numpy,
        "tree": lambda: check_tree(root),
        "writable": lambda: check_writable(root),
        "report": lambda: check_report(root),
        "git": lambda: check_git(root),
        "Actions": lambda: check_actions(root),
        "data": check_data,
        "terminal": lambda: check_terminal(terminal),
        "isolation": check_isolation,
    }
    for name, check in checks.items():
        try:
            yield check()
        except LadderError as error:
            mend = "bring it back: git checkout HEAD -- checkpoints/ladder.toml"
            yield Check(name, "bad", str(error), mend)
        except Exception as error:  # a check that fails is a finding, not a crash
            yield Check(name, "warn", f"could not be checked: {error}")


def check_python() -> Check:
    """The interpreter is recent enough."""
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        mend = f"install Python {oldest} or newer, then: {BOOTSTRAP} tito system doctor"
        return Check("Python", "bad", f"{found} is too old", mend)
    return Check("Python", "ok", f"{found}, {sys.implementation.name}, {sys.platform}")


def check_environment(root: Path) -> Check:
    """tito runs in the project's own environment."""
    own = root / ".venv"
    if sys.prefix == sys.base_prefix:
        mend = f"use the project's own: {BOOTSTRAP} tito system doctor"
        return Check("environment", "warn", "no virtual environment is active", mend)
    if Path(sys.prefix).resolve() == own.resolve():
        return Check("environment", "ok", "the project's own .venv")
    return Check("environment", "ok", f"a virtual environment at {sys.prefix}")


def locked(root: Path) -> dict[str, str]:
    """The locked version of each base package for this Python and platform."""
    from packaging.markers import Marker

    versions = {}
    for line in (root / LOCK).read_text(encoding="utf-8").splitlines():
        found = _PINNED.match(line)
        if found and (not found["when"] or Marker(found["when"].strip()).evaluate()):
            versions[found["name"]] = found["version"]
    return versions


def check_locked(root: Path) -> Check:
    """The packages are those of the lock."""
    from importlib.metadata import PackageNotFoundError, version

    if not (root / LOCK).is_file():
        return Check("packages", "warn", f"this tree has no {LOCK.as_posix()}")
    missing, other = [], []
    wanted = locked(root)
    for name, pinned in wanted.items():
        try:
            found = version(name)
        except PackageNotFoundError:
            missing.append(name)
            continue
        if found != pinned:
            other.append(f"{name} {found}, locked {pinned}")
    # What builds the project is needed only while it is installed.
    missing = [name for name in missing if name not in ("hatchling", "editables")]
    mend = f"bring the environment up to date: {BOOTSTRAP}"
    if missing:
        return Check("packages", "bad", f"missing: {', '.join(missing)}", mend)
    if other:
        return Check("packages", "warn", "; ".join(other), mend)
    return Check("packages", "ok", f"{len(wanted)} at their locked versions")


def check_numpy() -> Check:
    """NumPy imports, and with which BLAS on how many cores."""
    try:
        import numpy as np
    except Exception as error:
        return Check("NumPy", "bad", f"cannot be imported: {error}", f"install it: {BOOTSTRAP}")
    threads = os.environ.get("OPENBLAS_NUM_THREADS") or os.environ.get("OMP_NUM_THREADS")
    limit = f", BLAS held to {threads} threads" if threads else ""
    return Check("NumPy", "ok", f"{np.__version__}, {blas_of(np)}, {os.cpu_count()} cores{limit}")


def blas_of(np: Any) -> str:
    """The name and version of NumPy's BLAS."""
    build = np.show_config(mode="dicts").get("Build Dependencies", {})
    blas = build.get("blas", {})
    return f"{blas.get('name', 'unknown BLAS')} {blas.get('version', '')}".strip()


def check_tree(root: Path) -> Check:
    """The tree has its ladder, its modules, and whatever else was committed."""
    ladder = load_ladder(root)
    rungs = ladder.checkpoints
    here = [rung for rung in rungs if (root / rung.source).is_file()]
    broken = [r for r in rungs if (root / "modules" / r.folder).is_dir() and r not in here]
    if not here:
        mend = "bring them back: git checkout HEAD -- modules"
        return Check("tree", "bad", "there are no modules", mend)
    if broken:
        mend = f"bring it back: git checkout HEAD -- {broken[0].source}"
        return Check("tree", "bad", f"{broken[0].source} is missing", mend)
    if gone := _gone(root):
        more = f" and {len(gone) - 1} more files are missing" if len(gone) > 1 else " is missing"
        folders = sorted({"/".join(name.split("/")[:-1]) for name in gone})
        mend = f"bring it back: git checkout HEAD -- {' '.join(folders[:3])}"
        return Check("tree", "bad", gone[0] + more, mend)
    try:
        customs(root, ladder)
    except FileProblem as problem:
        return Check("tree", "bad", f"{problem.file}: {problem.message}", problem.mend)
    return Check("tree", "ok", f"{len(here)} of {len(rungs)} modules are here")


def _gone(root: Path) -> list[str]:
    """The files that the last commit has and the tree no longer has."""
    if shutil.which("git") is None:
        return []
    rooms = ("modules", "checkpoints", "tinytorch", "milestones", "scripts")
    told = _git(root, "-c", "core.quotePath=false", "ls-files", "--deleted", "--", *rooms)
    return (told or "").splitlines()


def check_writable(root: Path) -> Check:
    """Reports and exports can be written."""
    for folder in (root, root / "tinytorch" / "core", root / "modules"):
        if not folder.is_dir():
            continue
        try:
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            mend = f"make it yours: chmod -R u+w {folder}"
            return Check("writable", "bad", f"{folder}: {error.strerror}", mend)
    free = shutil.disk_usage(root).free
    if free < 200 << 20:
        return Check("writable", "warn", f"{free >> 20} MB are free", "make room on this disk")
    return Check("writable", "ok", f"yes, {free >> 30} GB free")


def check_report(root: Path) -> Check:
    """The last report can be read."""
    if not (root / "report.json").exists():
        return Check("report", "ok", "none yet; tito grade makes one")
    try:
        report: Report = load_report(root / "report.json")
    except ReportError as error:
        return Check("report", "bad", f"report.json: {error.fact}", "make a new one: tito grade")
    return Check("report", "ok", f"{report.score.points} points, graded {report.generated_at}")


def _git(root: Path, *words: str) -> str | None:
    """What git says, or None where it fails."""
    command = ["git", "-C", str(root), *words]
    done = subprocess.run(
        command, capture_output=True, encoding="utf-8", errors="replace", check=False, timeout=20
    )
    return done.stdout.strip() if done.returncode == 0 else None


def check_git(root: Path) -> Check:
    """There is a repository to push."""
    if shutil.which("git") is None:
        mend = "install git: https://git-scm.com/downloads"
        return Check("git", "bad", "git is not installed", mend)
    if _git(root, "rev-parse", "--git-dir") is None:
        return Check("git", "warn", "this tree is no repository: nothing can be pushed", "git init")
    branch = _git(root, "rev-parse", "--abbrev-ref", "HEAD") or "no commit yet"
    changes = len((_git(root, "status", "--porcelain") or "").splitlines())
    state = f"branch {branch}, " + (f"{changes} files to commit" if changes else "all committed")
    if not _git(root, "remote"):
        mend = "add your repository: git remote add origin URL"
        return Check("git", "warn", f"{state}, no remote: a push has nowhere to go", mend)
    if not _git(root, "config", "user.email"):
        return Check("git", "warn", f"{state}, no author", "git config --global user.email YOU@…")
    return Check("git", "ok", state)


def check_actions(root: Path) -> Check:
    """A push will be graded."""
    if os.environ.get("GITHUB_ACTIONS") == "true":
        return Check("Actions", "ok", "this is a run of GitHub Actions")
    if not (root / ".github" / "workflows" / "grade.yml").is_file():
        mend = "bring it back: git checkout HEAD -- .github/workflows/grade.yml"
        return Check("Actions", "warn", "no grade.yml: a push is not graded", mend)
    return Check(
        "Actions", "ok", "grade.yml grades a push once Actions are enabled in its settings"
    )


def check_data() -> Check:
    """Data sets have a place to go."""
    chosen = os.environ.get("TINYTORCH_DATA")
    if not chosen:
        return Check("data", "ok", "TINYTORCH_DATA is not set: the user's cache folder is used")
    folder = Path(chosen).expanduser()
    nearest = next((p for p in (folder, *folder.parents) if p.exists()), folder)
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        mend = "set TINYTORCH_DATA to a folder you can write to, or unset it"
        return Check("data", "bad", f"TINYTORCH_DATA={chosen} cannot be written", mend)
    return Check("data", "ok", f"TINYTORCH_DATA={chosen}")


def check_terminal(terminal: Terminal) -> Check:
    """What is drawn can be seen."""
    if not terminal.attached:
        return Check("terminal", "ok", "none: this is piped, so plain text without colour")
    colour = "colour" if terminal.colour else "no colour"
    fact = f"{terminal.encoding}, {terminal.width} columns, {colour}"
    if not terminal.encoding.lower().startswith("utf"):
        mend = "marks are shown as plain characters; for the others: export PYTHONIOENCODING=utf-8"
        return Check("terminal", "warn", fact, mend)
    if terminal.width < 80:
        return Check("terminal", "warn", fact, "widen the window to 80 columns for the tables")
    return Check("terminal", "ok", fact)


def check_isolation() -> Check:
    """Which layers keep the code under test apart here: a worker is started to find out."""
    from tito import isolation

    server = isolation.Server({"tinytorch": isolation.Source("ready = True\n", "doctor.py")})
    try:
        server.start()
        isolation.install(server)
        server.fresh(20)
        server.begin_test(20)
        ready = isolation.fetch(__import__("tinytorch").ready)
        server.end_test()
        layers = server.isolation["layers"]
    finally:
        isolation.uninstall()
        server.close()
    inactive = [layer["name"] for layer in layers if not layer["active"]]
    if ready is not True:
        return Check("isolation", "warn", "a worker did not answer", "see: tito checkpoint run 00")
    if inactive:
        mend = "grading goes on with the rest; tito report show says why"
        fact = f"{len(layers) - len(inactive)} of {len(layers)} layers, without: "
        return Check("isolation", "warn", fact + ", ".join(inactive), mend)
    return Check("isolation", "ok", f"all {len(layers)} layers hold")


def versions(root: Path) -> dict[str, str]:
    """The versions a bug report needs, read off the names of what is installed."""
    import rich

    folders = (name for name in os.listdir(Path(rich.__file__).parents[1]) if "-" in name)
    parts = (name.removesuffix(".dist-info").rsplit("-", 1) for name in folders)
    installed = {part[0].lower(): part[1] for part in parts if len(part) == 2}
    found = {"tito": __version__, "Python": ".".join(map(str, sys.version_info[:3]))}
    for name in ("numpy", "rich", "pytest", "pytest-json-report", "jupytext", "matplotlib"):
        found[name] = installed.get(name.replace("-", "_"), "not installed")
    kernel = os.uname() if hasattr(os, "uname") else None
    found["platform"] = (
        f"{kernel.sysname} {kernel.release} {kernel.machine}" if kernel else "Windows"
    )
    found["cores"] = str(os.cpu_count() or 1)
    found["environment"] = sys.prefix
    found["tree"] = str(root)
    return found
