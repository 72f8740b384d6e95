"""A module and its notebook: byte for byte, and nothing is ever lost."""

import json
import os
import subprocess
import sys

import pytest

from tito.cli import main
from tito.files import FileProblem
from tito.ladder import load_ladder
from tito.notebook import Conflict, notebook_of, sync, to_notebook, to_text

jupytext = pytest.importorskip("jupytext")


@pytest.fixture
def pair(tree, ladder):
    """A tree with module 02 and its notebook, and the paths of both."""
    rung = ladder.by_id["02"]
    assert sync(tree, rung).written == "notebook"
    return tree, rung, tree / rung.source, tree / notebook_of(rung)


def edit_notebook(path, line="# from the notebook"):
    """What an editor does: a changed cell, an output, and metadata of its own."""
    data = json.loads(path.read_text(encoding="utf-8"))
    cell = next(c for c in data["cells"] if c["cell_type"] == "code" and "export" in c["source"][0])
    cell["source"].append(f"\n{line}")
    cell["metadata"] |= {"scrolled": True, "vscode": {"languageId": "python"}, "jp": 1}
    cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": ["kept\n"]}]
    data["metadata"]["kernelspec"]["display_name"] = "Python 3 (ipykernel)"
    data["metadata"]["language_info"] = {"name": "python", "version": "3.12.1"}
    path.write_text(json.dumps(data), encoding="utf-8")


def test_every_module_round_trips_byte_for_byte(root, ladder):
    found = [c for c in ladder.checkpoints if (root / c.source).is_file()]
    for rung in found:
        text = (root / rung.source).read_bytes().decode("utf-8")
        assert to_text(to_notebook(text), text) == text, rung.source


def test_an_edit_goes_the_way_it_was_made(pair):
    """Only the edited lines of the module change, whatever an editor adds; outputs stay."""
    tree, rung, module, notebook = pair
    before = module.read_text(encoding="utf-8").splitlines()
    assert sync(tree, rung).written is None
    edit_notebook(notebook)
    assert sync(tree, rung).written == "module"
    after = module.read_text(encoding="utf-8").splitlines()
    assert [line for line in after if line not in before] == ["# from the notebook"]
    assert len(after) == len(before) + 1
    module.write_text("\n".join(after) + "\n\n# %%\n# at the end\n", encoding="utf-8")
    assert sync(tree, rung).written == "notebook"
    text = notebook.read_text(encoding="utf-8")
    assert "# at the end" in text
    assert "kept" in text, "outputs of cells that did not change stay"
    assert sync(tree, rung).written is None


@pytest.mark.parametrize("take", ["module", "notebook"])
def test_a_conflict_loses_nothing(pair, take):
    tree, rung, module, notebook = pair
    edit_notebook(notebook)
    text = module.read_text(encoding="utf-8") + "\n# %%\n# from the file\n"
    module.write_text(text, encoding="utf-8")
    os.utime(notebook, (1, 1))
    states = module.read_bytes(), notebook.read_bytes()
    with pytest.raises(Conflict) as conflict:
        sync(tree, rung)
    assert conflict.value.newer == "module"
    assert (module.read_bytes(), notebook.read_bytes()) == states, "nothing was written"
    done = sync(tree, rung, take)
    kept = (tree / done.kept).read_text(encoding="utf-8")
    both = kept + module.read_text(encoding="utf-8")
    assert "# from the file" in both
    assert "# from the notebook" in both
    assert ("# from the file" in kept) == (take == "notebook")
    assert sync(tree, rung).written is None


def test_the_side_that_is_asked_for_is_taken(pair):
    """Where only the notebook changed, and where only the module did."""
    tree, rung, module, notebook = pair
    before = module.read_bytes()
    edit_notebook(notebook)
    done = sync(tree, rung, "module")
    assert (done.written, module.read_bytes()) == ("notebook", before)
    assert "# from the notebook" in (tree / done.kept).read_text(encoding="utf-8")
    assert "# from the notebook" not in notebook.read_text(encoding="utf-8")
    module.write_bytes(before + b"\n# %%\n# from the file\n")
    done = sync(tree, rung, "notebook")
    assert (done.written, module.read_bytes()) == ("module", before)
    assert "# from the file" in (tree / done.kept).read_text(encoding="utf-8")


def test_a_module_is_kept_whenever_it_is_overwritten(pair):
    tree, rung, module, notebook = pair
    before = module.read_bytes()
    edit_notebook(notebook)
    done = sync(tree, rung)
    assert done.written == "module"
    assert (tree / done.kept).read_bytes() == before


@pytest.mark.parametrize("cells", [[], ["", " \n"]])
def test_a_notebook_without_cells_takes_no_module_with_it(pair, cells):
    tree, rung, module, notebook = pair
    before = module.read_bytes()
    data = json.loads(notebook.read_text(encoding="utf-8"))
    data["cells"] = [{"cell_type": "markdown", "metadata": {}, "source": text} for text in cells]
    notebook.write_text(json.dumps(data), encoding="utf-8")
    for take in (None, "notebook"):
        with pytest.raises(FileProblem, match="has no cells, or only empty ones; delete it and"):
            sync(tree, rung, take)
    assert module.read_bytes() == before


OLD = {
    "nbformat": 3,
    "nbformat_minor": 0,
    "metadata": {"name": ""},
    "worksheets": [{"cells": [{"cell_type": "code", "input": "x", "language": "python",
                               "outputs": [], "metadata": {}}], "metadata": {}}],
}  # fmt: skip


def test_a_notebook_of_an_old_format_is_refused_in_one_line(pair):
    """In our words, without a warning of the library's before them."""
    tree, rung, _, notebook = pair
    notebook.write_text(json.dumps(OLD), encoding="utf-8")
    command = [sys.executable, "-P", "-m", "tito", "-C", str(tree), "notebook", "sync", rung.id]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("tito: modules/02_activations/activations.ipynb:1: is not a")
    assert done.stderr.count("\n") == 1


def test_the_command(tree, capsys, monkeypatch):
    """What a student reads, also without jupytext and with a broken notebook."""
    words = ["-C", str(tree), "notebook", "sync", "activations"]
    assert main(words) == 0
    assert "modules/02_activations/activations.ipynb" in capsys.readouterr().out
    notebook = tree / notebook_of(load_ladder(tree).by_id["02"])
    code = (
        '{"nbformat":4,"nbformat_minor":4,"metadata":{},"cells":[{"cell_type":"code","source":5}]}'
    )
    for text in ("{", '{"nbformat":3,"worksheets":[]}', code):
        notebook.write_text(text, encoding="utf-8")
        assert main(words) == 2
        assert "is not a notebook; delete it" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "jupytext", None)
    assert main(words) == 2
    assert "scripts/bootstrap.py --extra notebooks" in capsys.readouterr().err
