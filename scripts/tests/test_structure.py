"""The rooms of the tool: who may import whom, and what a command for machines does without."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "scripts" / "tito"


def imports() -> dict[str, set[str]]:
    """By module of the tool, those of the tool that it imports, wherever in its text."""
    files = {path: path.relative_to(TOOL.parent).with_suffix("") for path in TOOL.rglob("*.py")}
    names = {path: ".".join(name.parts).removesuffix(".__init__") for path, name in files.items()}
    known = set(names.values())
    found: dict[str, set[str]] = {}
    for path, name in names.items():
        wanted: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                wanted |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                parts = {f"{node.module}.{alias.name}" for alias in node.names}
                wanted |= parts & known or {node.module}
        found[name] = {w for w in wanted & known if w != name}
    return found


def test_imports_run_in_no_circle():
    """A room can be read, tested and moved without the rooms that use it."""
    graph = {name: {w for w in wanted if w != "tito"} for name, wanted in imports().items()}
    graph["tito.__main__"] = set()
    assert list(TopologicalSorter(graph).static_order())


def test_nothing_imports_the_command_line():
    """Only `cli` prints and exits; what it uses can be used without it."""
    for name, wanted in imports().items():
        if not name.startswith("tito.cli") and name != "tito.__main__":
            assert not any(w.startswith("tito.cli") for w in wanted), name


def test_rendering_reads_no_file_and_no_clock():
    """A report goes in, a string comes out."""
    forbidden = {"os", "time", "datetime", "pathlib", "subprocess", "random"}
    for path in sorted((TOOL / "render").glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
        names |= {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module}
        assert not names & forbidden, path.name


@pytest.mark.parametrize(
    "words", ["--help", "checkpoint --help", "completion bash", "status --json"]
)
def test_what_is_not_for_people_starts_without_rich(words, tmp_path):
    """Rich's console is half of a start: help, completion and JSON have no use for it."""
    code = (
        "import sys; from tito.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "print('rich.console' in sys.modules, file=sys.stderr)"
    )
    command = [sys.executable, "-P", "-c", code, "-C", str(ROOT), *words.split()]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.stderr.strip() == "False", done.stderr


def test_text_in_colons_stays_text(monkeypatch):
    """What a student's code says is shown as it is: `:bug:` is no picture of one."""
    from rich.console import Console

    from tito.cli import console

    screen = Console(width=40, force_terminal=True, color_system=None, record=True, emoji=False)
    monkeypatch.setattr(console, "console", lambda: screen)
    console.row("got", console.quote("[bold]:bug: " + "word " * 12), indent=6)
    shown = screen.export_text()
    assert ":bug:" in shown
    assert "[bold]" in shown
    assert max(map(len, shown.splitlines())) <= 40
