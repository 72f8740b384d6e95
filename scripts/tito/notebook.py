"""Keep a module and its notebook the same: the percent file is the source, the notebook a view.

The notebook carries the digest of the module's text when the two were last the same. With it, a
sync knows which side changed since; if both did, neither is touched.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tito.files import FileProblem, read_text, text_digest, write_atomic
from tito.ladder import Checkpoint

KEY = "tito_source_digest"
LIMIT = 1 << 24  # bytes; outputs with pictures may be large
FORMAT = "py:percent"
KEPT = (".tito", "notebook")
# What jupytext notes of a cell so that the text comes back byte for byte; editors add other keys.
CELL_KEYS = (
    "cell_marker",
    "lines_to_end_of_cell_marker",
    "lines_to_next_cell",
    "region_name",
    "tags",
    "title",
)

Side = Literal["module", "notebook"]


class MissingExtra(Exception):
    """jupytext is not installed."""


class Conflict(Exception):
    """Both sides changed since they were the same; `newer` was saved last."""

    def __init__(self, newer: Side):
        super().__init__(f"both changed since they were the same; the {newer} was saved last")
        self.newer = newer


@dataclass(frozen=True)
class Synced:
    """What a sync did: which side was written, if any, and where a version was kept aside."""

    notebook: str
    written: Side | None
    kept: str = ""


def notebook_of(rung: Checkpoint) -> str:
    """The notebook's file from the root of the tree."""
    return rung.source.removesuffix(".py") + ".ipynb"


def _jupytext() -> Any:
    try:
        import jupytext
    except ImportError:
        raise MissingExtra from None
    return jupytext


def to_notebook(text: str, before: Any = None) -> Any:
    """Make a notebook of a module's text, with the outputs that `before` has for the same cells."""
    made = _jupytext().reads(text, fmt=FORMAT)
    if before is not None:
        from jupytext.combine import combine_inputs_with_outputs

        made = combine_inputs_with_outputs(made, before, fmt=FORMAT)
    made.metadata[KEY] = text_digest(text)
    return made


def to_text(notebook: Any, module: str) -> str:
    """Make a module's text of a notebook; its header stays that of `module`, the text it has."""
    import copy

    jupytext = _jupytext()
    notebook = copy.deepcopy(notebook)
    notebook.metadata = jupytext.reads(module, fmt=FORMAT).metadata
    for cell in notebook.cells:
        cell.metadata = {k: v for k, v in cell.metadata.items() if k in CELL_KEYS}
    return jupytext.writes(notebook, fmt=FORMAT)


def read_notebook(root: Path, rung: Checkpoint) -> Any:
    """Read the notebook of a module, or None where there is none.

    Raises:
        FileProblem: If it is not a notebook, or an empty one: a module would be lost to it.
    """
    file = notebook_of(rung)
    if not (root / file).exists():
        return None
    text = read_text(root, file, LIMIT)
    mend = f"delete it and make it anew: tito notebook sync {rung.id}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of an old format: our own words are enough
            notebook = _jupytext().reads(text, fmt="ipynb")
        if not all(isinstance(cell.source, str) for cell in notebook.cells):
            raise ValueError("a cell without text")
        notebook.metadata.get(KEY)  # one of an old format has none
    except MissingExtra:
        raise
    except Exception:
        raise FileProblem(file, "is not a notebook", mend) from None
    if not any(cell.source.strip() for cell in notebook.cells):
        raise FileProblem(file, "has no cells, or only empty ones", mend)
    return notebook


def _keep(root: Path, rung: Checkpoint, text: str) -> str:
    """Keep a version aside as a module's text; returns its file."""
    name = f"{rung.folder}-{text_digest(text)[:8]}.py"
    write_atomic(root.joinpath(*KEPT, name), text)
    return "/".join((*KEPT, name))


def sync(root: Path, rung: Checkpoint, take: Side | None = None) -> Synced:
    """Bring the older side up to the newer one.

    Args:
        root: The tree.
        rung: The module.
        take: The side to go on with, whichever changed; by default the one that did.

    What is overwritten is kept aside: a module always, a notebook if it was changed.

    Raises:
        Conflict: If both changed and `take` does not say which is wanted; nothing is written.
        FileProblem: If either cannot be read.
        MissingExtra: If jupytext is not installed.
    """
    jupytext, file = _jupytext(), notebook_of(rung)
    module = read_text(root, rung.source)
    notebook = read_notebook(root, rung)
    if notebook is None:
        _write(root / file, to_notebook(module))
        return Synced(file, "notebook")
    base, edited = notebook.metadata.get(KEY), to_text(notebook, module)
    if edited == module:
        if base != text_digest(module):
            _write(root / file, to_notebook(module, notebook))
        return Synced(file, None)
    ours, theirs = text_digest(module) != base, text_digest(edited) != base
    if take is None and ours and theirs:
        later = (root / file).stat().st_mtime > (root / rung.source).stat().st_mtime
        raise Conflict("notebook" if later else "module")
    if (take or ("notebook" if theirs else "module")) == "module":
        kept = _keep(root, rung, edited) if theirs else ""
        _write(root / file, to_notebook(module, notebook))
        return Synced(file, "notebook", kept)
    kept = _keep(root, rung, module)
    write_atomic(root / rung.source, edited)
    notebook.metadata[KEY] = text_digest(edited)
    write_atomic(root / file, jupytext.writes(notebook, fmt="ipynb"))
    return Synced(file, "module", kept)


def _write(path: Path, notebook: Any) -> None:
    write_atomic(path, _jupytext().writes(notebook, fmt="ipynb"))
