"""Which modules of `tinytorch.core` a source imports: the arrows of the course's graph."""

import ast
from pathlib import Path


def imported_modules(source: str) -> set[str]:
    """Name the modules of `tinytorch.core` that a Python source imports by `from`.

    The syntax tree knows what is an import and what a docstring only talks of.
    """
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            if node.module == "tinytorch.core":
                found.update(alias.name for alias in node.names)
            elif (node.module or "").startswith("tinytorch.core."):
                found.add(node.module.split(".")[2])
    return found


def course_graph() -> dict[str, set[str]]:
    """Read the imports of every exported module."""
    import tinytorch.core

    files = Path(tinytorch.core.__path__[0]).glob("*.py")
    return {path.stem: imported_modules(path.read_text(encoding="utf-8")) for path in files}
