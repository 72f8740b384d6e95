"""The map of the course: true to the imports and the ladder, and the committed picture with it."""

import ast
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tito.ladder import Ladder, parse_ladder
from tito.overview import Edge, imported_modules, read_overview
from tito.render.overview import WIDTH, overview_svg, overview_text

PICTURE = Path("modules") / "00_setup" / "overview.svg"
DRAW = f"draw it anew: tito module graph --svg {PICTURE.as_posix()}, then look at it"
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def overview(root, ladder):
    return read_overview(root, ladder)


def test_the_committed_picture_is_that_of_this_tree(root, overview):
    committed = (root / PICTURE).read_text(encoding="utf-8")
    assert overview_svg(overview) == committed, DRAW


def test_every_import_is_within_what_the_ladder_says_is_needed(overview, ladder):
    for place in overview.places:
        extra = set(place.imports or ()) - set(ladder.transitive_needs(place.rung.id))
        assert not extra, f"{place.rung.folder} imports {sorted(extra)}"


def test_lines_and_layers_follow_from_the_ladder(overview, ladder):
    """What the lines lead to, over any number of them, is all that a module needs."""
    below: dict[str, set[str]] = {}
    for place in overview.places:
        direct = [e.need for e in overview.edges if e.module == place.rung.id]
        below[place.rung.id] = set(direct).union(*(below[need] for need in direct))
        assert below[place.rung.id] == set(ladder.transitive_needs(place.rung.id))
        for need in direct:
            assert overview.places[int(need)].layer < place.layer
    assert sum(map(len, overview.layers)) == len(ladder.checkpoints)


def test_the_table_of_module_00_is_the_ladder(root, ladder):
    tree = ast.parse((root / ladder.by_id["00"].source).read_text(encoding="utf-8"))
    (table,) = (
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "COURSE"
    )
    expected = {f"{c.id} {c.module}": " ".join(c.needs) for c in ladder.checkpoints}
    assert table == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("from tinytorch.core.tensor import Tensor", ("01",)),
        ("from tinytorch.core import tensor, layers", ("01", "03")),
        ("import tinytorch.core.autograd as engine", ("05",)),
        ("def f():\n    from tinytorch.core import losses", ("04",)),
        ("import numpy\nfrom tinytorch.utils.checks import whole", ()),
        ("from .tensor import Tensor\nfrom tinytorch.core.nothing import x", ()),
        ("'from tinytorch.core.tensor import Tensor'", ()),
    ],
)
def test_an_import_is_found_however_it_is_written(ladder, text, expected):
    assert imported_modules(ast.parse(text), ladder) == expected


def test_the_picture_is_accessible_inert_and_inside_its_frame(overview):
    picture = ET.fromstring(overview_svg(overview))
    assert picture.get("role") == "img"
    assert (picture[0].tag, picture[0].text) == (f"{SVG}title", picture.get("aria-label"))
    assert picture[1].tag == f"{SVG}desc"
    assert "05 autograd needs 01 02 03 04, imports 01" in picture[1].text
    tags = {element.tag.removeprefix(SVG) for element in picture.iter()}
    assert tags <= {"svg", "title", "desc", "style", "rect", "path", "text"}
    height = float(picture.get("height"))
    boxes = [
        tuple(float(element.get(name)) for name in ("x", "y", "width", "height"))
        for element in picture.iter(f"{SVG}rect")
    ][1:]
    for i, (x, y, wide, high) in enumerate(boxes):
        assert x >= 20
        assert x + wide <= WIDTH - 20
        assert y + high <= height - 20
        for a, b, *_ in boxes[:i]:
            assert b != y or abs(a - x) >= wide + 19, "two modules overlap"


def small(*rows: str) -> Ladder:
    """A ladder of modules called a, b, c …; each row says what one needs."""
    parts = ['[[stage]]\nname = "S"\nshort = "S"\ncapability = "c"\n']
    for i, needs in enumerate(rows):
        points = 100 if i == 0 else 0
        parts.append(
            f'[[checkpoint]]\nid = "{i:02}"\nmodule = "{chr(97 + i)}"\nname = "n{i}"\n'
            f'question = "?"\nstage = "S"\npoints = {points}\nneeds = {needs.split()!r}\n'
        )
    return parse_ladder("\n".join(parts))


def test_a_small_map(tmp_path):
    """A diamond with a shortcut: the shortcut is implied; a line passes a layer between boxes."""
    ladder = small("", "00", "00", "01", "00 02 03")
    folder = tmp_path / "modules" / "04_e"
    folder.mkdir(parents=True)
    text = "# %%\n#| default_exp core.e\n\n# %%\n#| export\nfrom tinytorch.core import d\n"
    (folder / "e.py").write_text(text)
    overview = read_overview(tmp_path, ladder)
    assert [e for e in overview.edges if e.module == "04"] == [
        Edge("02", "04", False),
        Edge("03", "04", True),
    ]
    assert [place.layer for place in overview.places] == [0, 1, 1, 2, 3]
    assert overview_text(overview) == (
        "00 a        needs nothing   not here yet\n"
        "  01 b      needs 00        not here yet\n"
        "  02 c      needs 00        not here yet\n"
        "    03 d    needs 01        not here yet\n"
        "      04 e  needs 00 02 03  imports 03\n"
    )
    assert overview_svg(overview) == overview_svg(overview)


def test_the_command_prints_and_draws(root, tmp_path, overview):
    command = [sys.executable, "-P", "-m", "tito", "-C", str(root), "module", "graph"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == overview_text(overview)
    target = tmp_path / "map.svg"
    subprocess.run([*command, "--svg", str(target)], capture_output=True, check=True)
    assert target.read_text(encoding="utf-8") == overview_svg(overview)
