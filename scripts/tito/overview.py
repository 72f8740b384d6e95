"""The module graph: what the ladder says each module needs, and what its source really imports."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tito.files import FileProblem, read_text
from tito.ladder import Checkpoint, Ladder
from tito.source import parse

CORE = ("tinytorch", "core")


@dataclass(frozen=True)
class Place:
    """A module on the map; `imports` is None where the tree has no source that can be read.

    `layer` is 0 for what needs nothing, else one more than the highest layer it needs.
    """

    rung: Checkpoint
    layer: int
    imports: tuple[str, ...] | None


@dataclass(frozen=True)
class Edge:
    """`module` needs `need` and this follows from no other need; `imported` says it really does."""

    need: str
    module: str
    imported: bool


@dataclass(frozen=True)
class Overview:
    """The whole map, modules in the order of the ladder."""

    places: tuple[Place, ...]
    edges: tuple[Edge, ...]

    @property
    def layers(self) -> tuple[tuple[Place, ...], ...]:
        """The modules by layer."""
        count = 1 + max(place.layer for place in self.places)
        return tuple(tuple(p for p in self.places if p.layer == i) for i in range(count))


def imported_modules(tree: ast.AST, ladder: Ladder) -> tuple[str, ...]:
    """The ids of the modules whose exports a source imports, wherever in it that stands."""
    ids = {rung.module: rung.id for rung in ladder.checkpoints}
    found = {ids[name] for name in _core_names(tree) if name in ids}
    return tuple(sorted(found))


def _core_names(tree: ast.AST) -> Iterator[str]:
    """The X of every `import tinytorch.core.X`, however it is written."""
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for parts in (name.split(".") for name in names):
            if tuple(parts[:2]) == CORE and len(parts) > 2:
                yield parts[2]


def read_imports(root: Path, ladder: Ladder, rung: Checkpoint) -> tuple[str, ...] | None:
    """What the exported cells of a module import; None where there is nothing to read."""
    try:
        source = parse(read_text(root, rung.source), rung.source)
        return imported_modules(source.tree, ladder)
    except FileProblem:
        return None


def read_overview(root: Path, ladder: Ladder) -> Overview:
    """Draw up the map of the tree at `root`."""
    layers: dict[str, int] = {}
    places, edges = [], []
    for rung in ladder.checkpoints:  # each after all it needs
        layers[rung.id] = max((layers[need] + 1 for need in rung.needs), default=0)
        imports = read_imports(root, ladder, rung)
        places.append(Place(rung, layers[rung.id], imports))
        implied = {far for need in rung.needs for far in ladder.transitive_needs(need)}
        direct = [need for need in rung.needs if need not in implied]
        edges += [Edge(need, rung.id, need in (imports or ())) for need in direct]
    return Overview(tuple(places), tuple(edges))
