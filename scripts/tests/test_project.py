"""What holds the project together: locks, pins, one version, and documents that tell the truth."""

import argparse
import importlib.metadata
import os
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import tito
from tito.cli.main import COMMANDS, build_parser

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))

# Commits of actions that were checked against their tags, and no others.
PINS = {
    "actions/cache": ("55cc8345863c7cc4c66a329aec7e433d2d1c52a9", "v6.1.0"),
    "actions/checkout": ("3d3c42e5aac5ba805825da76410c181273ba90b1", "v7.0.1"),
    "actions/configure-pages": ("983d7736d9b0ae728b81ab479565c72886d7745b", "v5.0.0"),
    "actions/deploy-pages": ("cd2ce8fcbc39b97be8ca5fce6e763baed58fa128", "v5"),
    "actions/download-artifact": ("3e5f45b2cfb9172054b4087a40e8e0b5a5461e7c", "v8.0.1"),
    "actions/github-script": ("3a2844b7e9c422d3c10d287c895573f7108da1b3", "v9.0.0"),
    "actions/setup-python": ("5fda3b95a4ea91299a34e894583c3862153e4b97", "v7.0.0"),
    "actions/upload-artifact": ("043fb46d1a93c77aae656e7c1c64a875d1fc6a0a", "v7.0.1"),
    "actions/upload-pages-artifact": ("7b1f4a764d45c48632c6b24a0339c27f5614fb0b", "v4.0.0"),
    "astral-sh/setup-uv": ("20cfd1bf945f4377ade1205e4dbc17946fc9a30d", "v10.0.1"),
}


def tracked() -> list[Path]:
    """The files of the tree: what Git tracks, or every file where there is no repository."""
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True, check=False
    )
    names = [n for n in listed.stdout.split("\0") if n]
    if not names:
        return [p for p in ROOT.rglob("*") if p.is_file() and ".venv" not in p.parts]
    return [ROOT / n for n in names if (ROOT / n).is_file()]


def texts() -> Iterator[tuple[str, str]]:
    """The tracked text files, as (path, content)."""
    for path in tracked():
        content = path.read_bytes()
        if b"\0" not in content:
            yield path.relative_to(ROOT).as_posix(), content.decode("utf-8")


# The locked requirements


def locked(layer: str) -> list[tuple[Requirement, list[str]]]:
    """The pinned requirements of a lock with their hashes."""
    text = (ROOT / "scripts" / "requirements" / f"{layer}.txt").read_text(encoding="utf-8")
    rows = [r for r in text.replace("\\\n", " ").splitlines() if r and not r.startswith("#")]
    return [(Requirement(r.partition("--hash")[0]), re.findall(r"--hash=(\S+)", r)) for r in rows]


def environments() -> Iterator[dict[str, str]]:
    """The marker environments that the locks are for."""
    systems = {
        "linux": ("Linux", "posix"),
        "darwin": ("Darwin", "posix"),
        "win32": ("Windows", "nt"),
    }
    for minor in (11, 12, 13, 14):
        for platform, (system, kind) in systems.items():
            yield {
                **{key: str(value) for key, value in default_environment().items()},
                "implementation_name": "cpython",
                "platform_python_implementation": "CPython",
                "os_name": kind,
                "platform_system": system,
                "python_full_version": f"3.{minor}.0",
                "python_version": f"3.{minor}",
                "sys_platform": platform,
            }


def wanted(layer: str) -> list[Requirement]:
    """What a lock must satisfy: the project's own requirements and the build backend."""
    extras = PROJECT["project"]["optional-dependencies"]
    rows = PROJECT["project"]["dependencies"] + PROJECT["dependency-groups"]["build"]
    rows += PROJECT["build-system"]["requires"]
    todo = list(extras.get(layer, []))
    while todo:
        row = Requirement(todo.pop())
        if row.name == PROJECT["project"]["name"]:
            todo += [inner for extra in sorted(row.extras) for inner in extras[extra]]
        else:
            rows = [*rows, str(row)]
    return [Requirement(row) for row in rows]


def versions(layer: str, environment: dict[str, str]) -> dict[str, str]:
    """Name to version of what a lock installs in an environment; never two versions of one."""
    chosen: dict[str, str] = {}
    for row, _ in locked(layer):
        if row.marker is None or row.marker.evaluate(environment):
            name = canonicalize_name(row.name)
            assert name not in chosen, f"{name} is locked twice for {environment['sys_platform']}"
            (pin,) = row.specifier
            assert pin.operator == "=="
            chosen[name] = pin.version
    return chosen


@pytest.mark.parametrize("layer", ["base", "dev", "plots"])
def test_the_lock_satisfies_the_project_everywhere(layer):
    for environment in environments():
        pins = versions(layer, environment)
        for row in wanted(layer):
            if row.marker is None or row.marker.evaluate(environment):
                name = canonicalize_name(row.name)
                assert name in pins, f"{row} is not locked; run scripts/requirements/lock.py"
                assert row.specifier.contains(pins[name]), f"{row}, but {pins[name]} is locked"


@pytest.mark.parametrize("layer", ["base", "dev", "plots"])
def test_the_lock_is_closed_here(layer):
    """Whatever a locked package needs on this machine is locked too, in a version that fits."""
    environment = {key: str(value) for key, value in default_environment().items()}
    pins = versions(layer, environment)
    for name, version in pins.items():
        try:
            package = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        if package.version != version:
            continue
        for text in package.requires or []:
            row = Requirement(text)
            if row.marker is None or row.marker.evaluate(environment | {"extra": ""}):
                need = canonicalize_name(row.name)
                assert need in pins, f"{name} needs {row}, which is not locked"
                assert row.specifier.contains(pins[need], prereleases=True), f"{name} needs {row}"


def test_the_base_is_part_of_the_development_lock():
    for environment in environments():
        base, plots, dev = (versions(n, environment).items() for n in ("base", "plots", "dev"))
        assert base <= plots <= dev


@pytest.mark.parametrize("layer", ["base", "dev", "plots"])
def test_every_locked_package_has_hashes_and_no_address(layer):
    for row, hashes in locked(layer):
        assert hashes, f"{row} has no hash"
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", h) for h in hashes)
        assert row.url is None


def test_the_base_is_small():
    """A push installs no plotting, no GitHub client and no development tool."""
    names = {canonicalize_name(row.name) for row, _ in locked("base")}
    assert not names & {"matplotlib", "pygithub", "ruff", "hypothesis", "jupytext", "torch"}
    assert len(names) <= 20


def test_the_version_is_kept_in_one_place():
    assert "version" in PROJECT["project"]["dynamic"]
    assert (ROOT / PROJECT["tool"]["hatch"]["version"]["path"]).samefile(tito.__file__)
    assert re.fullmatch(r"\d+\.\d+\.\d+", tito.__version__)


# The workflows


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.name)
def test_every_action_is_pinned_to_a_checked_commit(path):
    for line in path.read_text(encoding="utf-8").splitlines():
        if match := re.match(r"\s*(?:- )?uses:\s*(.*)", line):
            action, commit, version = re.fullmatch(r"(\S+)@(\S+) # (\S+)", match[1]).groups()
            owner, name, *_inside = action.split("/")
            assert PINS[f"{owner}/{name}"] == (commit, version), line


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.name)
def test_every_workflow_asks_for_little(path):
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert workflow["permissions"] == {}
    assert workflow["concurrency"]["group"]
    assert "pull_request_target" not in str(workflow[True])
    for job in workflow["jobs"].values():
        assert 0 < job["timeout-minutes"] <= 60
        assert "permissions" in job
        for step in job["steps"]:
            if str(step.get("uses", "")).startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False
            # An expression inside a script is code that somebody else may write.
            assert "${{" not in step.get("run", "")


def test_the_token_of_the_grade_is_in_one_step_only():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "grade.yml").read_text("utf-8"))
    assert list(workflow["jobs"]) == ["grade"]
    *steps, last = workflow["jobs"]["grade"]["steps"]
    assert last["env"] == {"GITHUB_TOKEN": "${{ github.token }}"}
    assert "token" not in str(steps).lower().replace("x-access-token", "")
    assert "secrets." not in str(workflow)


def test_ci_run_is_a_program_that_bash_can_read():
    path = ROOT / ".ci" / "run"
    assert os.access(path, os.X_OK)
    subprocess.run(["bash", "-n", str(path)], check=True)
    assert "set -euo pipefail" in path.read_text(encoding="utf-8")


# The tree


def test_nothing_generated_is_committed_but_the_badges(ladder):
    names = {path.relative_to(ROOT).as_posix() for path in tracked()}
    assert not names & {f"tinytorch/core/{rung.module}.py" for rung in ladder.checkpoints}
    assert not names & {"report.json", "summary.md", "grade.json", "classroom.json"}


def test_texts_are_plain_and_end_with_a_line_end():
    for name, text in texts():
        assert "\r" not in text, name
        assert not text.startswith("\N{ZERO WIDTH NO-BREAK SPACE}"), name
        assert not text or text.endswith("\n"), name


def test_the_tree_names_no_machine_and_no_package_host():
    hosts = [
        "pypi" + ".org",
        "python" + "hosted.org",
        "download." + "pytorch.org",
        "conda" + ".org",
    ]
    machine = re.compile(r"(?<![\w.])/(?:work|root|farm)/")
    for name, text in texts():
        assert not machine.search(text), name
        assert not any(host in text for host in hosts), name


# The documents


def documents() -> list[str]:
    """Markdown files, module sources and workflows: wherever a reader is told a command."""
    names = [path.relative_to(ROOT).as_posix() for path in tracked()]
    modules = re.compile(r"modules/\d\d_\w+/\w+\.py|.*\.md|\.github/workflows/.*")
    return sorted(n for n in names if modules.fullmatch(n) and not n.startswith("scripts/tests/"))


def actions_of(command: str) -> set[str] | None:
    """The actions of a command such as `report`, or None when it has none."""
    parser = build_parser(command)
    (commands,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    inner = commands.choices[command]._actions
    found = [a for a in inner if isinstance(a, argparse._SubParsersAction)]
    return set(found[0].choices) if found else None


COMMAND = re.compile(r"(?:`|^ +|bootstrap\.py )tito ([a-z]+)(?: ([a-z]+)\b)?", re.MULTILINE)


@pytest.mark.parametrize("name", documents())
def test_every_command_in_a_document_exists(name):
    for command, action in COMMAND.findall((ROOT / name).read_text(encoding="utf-8")):
        assert command in COMMANDS, f"{name}: there is no `tito {command}`"
        known = actions_of(command)
        assert known is None or action in known or not action, f"{name}: tito {command} {action}"


@pytest.mark.parametrize("name", [n for n in documents() if n.endswith(".md")])
def test_every_link_in_a_document_leads_somewhere(name):
    text = re.sub(r"```.*?```", "", (ROOT / name).read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r"(?:src|href)=\"([^\"]+)\"", text)
    # From the root, ../.. is the repository's address on the web, not a folder.
    elsewhere = r"https?:|mailto:|#" + ("" if "/" in name else r"|\.\./\.\./")
    for target in targets:
        if not re.match(elsewhere, target):
            path = (ROOT / name).parent / target.partition("#")[0]
            assert path.exists(), f"{name}: {target}"
