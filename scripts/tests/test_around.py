"""What stands around the code: the dev container, editor settings, forms, Dependabot, attributes.

Every file is read as its program reads it, every command that one of them names is run, and every
path that one of them names is there.
"""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tito.cli.main import COMMANDS
from tito.release import build, is_course_only, write

ROOT = Path(__file__).resolve().parents[2]
SCHEMAS = {
    ".github/dependabot.yml": "vendor.dependabot",
    ".github/ISSUE_TEMPLATE/config.yml": "vendor.github-issue-config",
    ".github/ISSUE_TEMPLATE/bug.yml": "vendor.github-issue-forms",
    ".github/ISSUE_TEMPLATE/stuck.yml": "vendor.github-issue-forms",
    ".github/ISSUE_TEMPLATE/unclear.yml": "vendor.github-issue-forms",
}
WITH_COMMENTS = sorted([*ROOT.glob(".vscode/*.json"), *ROOT.glob(".devcontainer/*.json")])
# A string as a whole, so that // inside one is no comment.
TOKEN = re.compile(r'("(?:\\.|[^"\\])*")|//[^\n]*')


def read(path: str | Path) -> Any:
    """A JSON file with comments; keys that stand twice are errors, which editors pass over."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len(dict(pairs)) == len(pairs), f"{path}: a key stands twice in {pairs}"
        return dict(pairs)

    text = (ROOT / path).read_text(encoding="utf-8")
    return json.loads(TOKEN.sub(lambda m: m[1] or "", text), object_pairs_hook=unique)


@pytest.mark.parametrize("path", WITH_COMMENTS, ids=lambda p: p.name)
def test_json_with_comments_can_be_read(path):
    assert isinstance(read(path), dict)


@pytest.mark.parametrize("path", SCHEMAS)
def test_files_of_github_fit_their_schemas(path):
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", SCHEMAS[path], path]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_every_file_of_github_is_known_here():
    forms = {path.relative_to(ROOT).as_posix() for path in (ROOT / ".github").rglob("*.yml")}
    assert {name for name in forms if "/workflows/" not in name} == set(SCHEMAS)


# The dev container


def test_the_container_is_pinned_and_makes_the_environment():
    container = read(".devcontainer/devcontainer.json")
    name, tag = container["image"].split(":")
    assert name == "python"
    version = re.match(r"(\d+)\.(\d+)-", tag)
    assert (int(version[1]), int(version[2])) >= (3, 11), tag
    python, script, option, extra = container["postCreateCommand"].split()
    assert (python, option) == ("python3", "--extra")
    assert (ROOT / script).is_file()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    packages = " ".join(project["optional-dependencies"][extra])
    assert "ipykernel" in packages, "VS Code runs no cell without it"
    assert "jupytext" in packages
    for opened in container["customizations"]["codespaces"]["openFiles"]:
        assert (ROOT / opened).is_file(), opened


def test_the_container_and_the_folder_want_the_same_extensions():
    container = read(".devcontainer/devcontainer.json")
    wanted = container["customizations"]["vscode"]["extensions"]
    assert wanted == read(".vscode/extensions.json")["recommendations"]


# The editor


def test_the_editor_uses_the_environment_that_bootstrap_makes():
    settings = read(".vscode/settings.json")
    place = settings["python.defaultInterpreterPath"]
    assert place == "${workspaceFolder}/.venv/bin/python"
    for folder in settings["python.analysis.extraPaths"]:
        assert (ROOT / folder).is_dir()


def test_what_export_writes_is_read_only_and_nothing_else(ladder):
    settings = read(".vscode/settings.json")
    core = ROOT / "tinytorch" / "core"
    assert list(settings["files.readonlyInclude"]) == ["tinytorch/core/*.py"]
    written = {f"tinytorch/core/{rung.module}.py" for rung in ladder.checkpoints}
    by_hand = {path.relative_to(ROOT).as_posix() for path in core.glob("*.py")} - written
    assert set(settings["files.readonlyExclude"]) == by_hand


def tasks() -> list[dict[str, Any]]:
    return read(".vscode/tasks.json")["tasks"]


def words(task: dict[str, Any], folder: str) -> list[str]:
    """What a task adds to the bootstrap, with a file of this folder in front."""
    script, *rest = task["args"]
    assert (ROOT / script).is_file()
    return [word.replace("${fileDirnameBasename}", folder) for word in rest]


def test_every_task_is_a_command_that_exists():
    for task in tasks():
        assert task["type"] == "shell"
        assert (task["command"], task["windows"]) == ("python3", {"command": "python"})
        first, *rest = words(task, "01_tensor")
        assert first == "--extra" or (first == "tito" and (not rest or rest[0] in COMMANDS)), task
    labels = [task["label"] for task in tasks()]
    assert len(set(labels)) == len(labels)
    kinds = [g["kind"] for task in tasks() if isinstance(g := task.get("group"), dict)]
    assert sorted(kinds) == ["build", "test"], "one default each"


@pytest.fixture(scope="module")
def student(tmp_path_factory) -> Path:
    """A released tree, in a folder with a space and an accent in its path."""
    folder = tmp_path_factory.mktemp("around") / "Kurs für Ada"
    write(build(ROOT), folder, ROOT)
    return folder


def run(arguments: list[str], tree: Path) -> subprocess.CompletedProcess[str]:
    """Run a task in a tree with this environment in place of a new one."""
    environment = os.environ | {"TITO_BOOTSTRAP_PYTHON": sys.executable, "PYTHONUTF8": "1"}
    return subprocess.run(
        [sys.executable, *arguments],
        check=False,
        cwd=tree,
        env=environment,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=300,
    )


# How each ends in a tree in which nothing has been written, and a word that it says.
ENDS = {
    "set up": (0, ""),
    "where am I": (0, "0 of 100 points"),
    "test this module": (1, "not written yet"),
    "watch": (2, "terminal"),
    "export this module": (0, "tinytorch/core/setup.py"),
    "run this module's checkpoint": (0, "00 environment"),
    "complete this module": (1, "unit tests"),
    "grade": (0, "0 of 100 points"),
}


@pytest.mark.slow
@pytest.mark.parametrize("task", tasks(), ids=lambda task: task["label"])
def test_every_task_runs_on_the_first_day(task, student):
    rest = [task["args"][0], *words(task, "00_setup")]
    done = run(rest, student)
    status, said = ENDS[task["label"]]
    assert done.returncode == status, done.stdout + done.stderr
    assert said in done.stdout + done.stderr


def test_what_can_be_debugged_is_there():
    for launch in read(".vscode/launch.json")["configurations"]:
        module, program = launch.get("module"), launch.get("program")
        assert module in (None, "pytest", "tito")
        assert program in (None, "${file}")
        assert (module is None) != (program is None)
        if module == "tito":
            assert launch["args"][0] in COMMANDS


# Forms, attributes, what goes to students


def test_commands_in_the_forms_exist():
    for path in SCHEMAS:
        for command in re.findall(r"`tito (\w+)", (ROOT / path).read_text(encoding="utf-8")):
            assert command in COMMANDS, path


def test_fields_of_a_form_have_names_of_their_own():
    for path, schema in SCHEMAS.items():
        if schema.endswith("forms"):
            form = yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))
            names = [field["id"] for field in form["body"] if "id" in field]
            assert len(set(names)) == len(names) > 2, path
            assert is_course_only(path) != path.endswith("stuck.yml")


def test_dependabot_serves_the_course_alone():
    assert is_course_only(".github/dependabot.yml")
    updates = yaml.safe_load((ROOT / ".github/dependabot.yml").read_text("utf-8"))["updates"]
    assert {update["package-ecosystem"] for update in updates} == {"github-actions", "pip"}
    for update in updates:
        for folder in update.get("directories", [update.get("directory")]):
            assert (ROOT / folder.lstrip("/")).is_dir()


def attribute(name: str, *paths: str) -> dict[str, str]:
    """What Git makes of .gitattributes for some paths."""
    command = ["git", "-C", str(ROOT), "check-attr", "-z", name, "--", *paths]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    fields = done.stdout.split("\0")
    return dict(zip(fields[0::3], fields[2::3], strict=False))


def test_git_keeps_the_same_bytes_everywhere():
    assert attribute("eol", "README.md", "scripts/bootstrap.py", "badges/level.svg") == {
        "README.md": "lf",
        "scripts/bootstrap.py": "lf",
        "badges/level.svg": "lf",
    }
    shipped = [path.relative_to(ROOT).as_posix() for path in ROOT.glob("milestones/data/*.gz")]
    assert shipped
    assert set(attribute("text", *shipped).values()) == {"unset"}


def test_what_a_program_writes_is_folded_away_and_never_mixed():
    written = ["badges/level.svg", "scripts/manifest.json", "scripts/requirements/base.txt"]
    assert set(attribute("linguist-generated", *written).values()) == {"set"}
    assert set(attribute("merge", *written).values()) == {"unset"}
    assert attribute("merge", "modules/01_tensor/tensor.py") == {
        "modules/01_tensor/tensor.py": "unspecified"
    }


def test_the_patterns_of_git_attributes_match_something():
    for line in (ROOT / ".gitattributes").read_text(encoding="utf-8").splitlines():
        pattern = line.split()[0] if line.strip() and not line.startswith("#") else ""
        if "/" in pattern and pattern != "scripts/manifest.json":  # that one is the release's
            assert any(ROOT.glob(pattern)), pattern
