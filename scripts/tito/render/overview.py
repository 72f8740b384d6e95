"""The map of the course as a picture and as text. Pure: the same map, the same bytes."""

from itertools import combinations, pairwise, permutations

from tito.overview import Edge, Overview, Place
from tito.render.badge import FONT
from tito.render.escape import xml
from tito.render.svg import LINE, PANEL, PAPER, box, paint, style, text
from tito.render.text_width import text_width
from tito.render.words import BLUE, GREY

WIDTH, EDGE_ROOM = 830, 24  # pixels: the column of a README, and its margin
NODE, HEIGHT, GAP = 140, 42, 20  # a module's box, and what is between two
ROW = 78  # from one layer to the next
LANE = 24  # room for a line that passes a layer
TOP = 96
TITLE = "The modules of TinyTorch, and what each builds on"
SWEEPS = 6

Row = tuple[str, ...]  # a layer from left to right: ids of modules, and lines that pass it


def import_words(place: Place) -> str:
    """What the source of a module really imports."""
    if place.imports is None:
        return "not here yet"
    return f"imports {' '.join(place.imports)}" if place.imports else "imports nothing"


def overview_text(overview: Overview) -> str:
    """The map for a terminal: a line a module, indented by its layer, its needs and imports."""
    places = [place for layer in overview.layers for place in layer]
    names = {p.rung.id: "  " * p.layer + f"{p.rung.id} {p.rung.module}" for p in places}
    needs = {p.rung.id: f"needs {' '.join(p.rung.needs) or 'nothing'}" for p in places}
    wide, wider = (max(map(len, column.values())) for column in (names, needs))
    lines = [
        f"{names[p.rung.id]:{wide}}  {needs[p.rung.id]:{wider}}  {import_words(p)}".rstrip()
        for p in places
    ]
    return "\n".join(lines) + "\n"


def _paths(overview: Overview) -> dict[Edge, list[str]]:
    """Each line from layer to layer: where it begins, the layers it passes, where it ends."""
    layer = {place.rung.id: place.layer for place in overview.places}
    return {
        edge: [
            edge.need,
            *(f"{edge.need}>{edge.module}@{i}" for i in range(layer[edge.need] + 1,
                                                            layer[edge.module])),
            edge.module,
        ]
        for edge in overview.edges
    }  # fmt: skip


def _rows(overview: Overview, links: set[tuple[str, str]]) -> list[Row]:
    """The layers in the order in which the fewest lines cross."""
    rows = [[place.rung.id for place in layer] for layer in overview.layers]
    for name in sorted({name for link in links for name in link if "@" in name}):
        rows[int(name.partition("@")[2])].append(name)
    best = [tuple(row) for row in rows]
    for sweep in range(SWEEPS):
        order = range(len(best)) if sweep % 2 == 0 else reversed(range(len(best)))
        for i in order:
            near = [best[j] for j in (i - 1, i + 1) if 0 <= j < len(best)]
            best[i] = min(
                permutations(sorted(best[i])),
                key=lambda row: (sum(_crossings(row, other, links) for other in near), row),
            )
    return best


def _crossings(row: Row, other: Row, links: set[tuple[str, str]]) -> float:
    """How often the lines between two layers cross, and in fractions how slanted they are."""
    here, there = ({name: (i + 0.5) / len(r) for i, name in enumerate(r)} for r in (row, other))
    lines = [
        (here[a], there[b])
        for pair in links
        for a, b in (pair, pair[::-1])
        if a in here and b in there
    ]
    crossed = sum((a - c) * (b - d) < 0 for (a, b), (c, d) in combinations(lines, 2))
    return round(crossed + sum(abs(a - b) for a, b in lines) / 100, 9)


def _middles(rows: list[Row], links: set[tuple[str, str]]) -> dict[str, float]:
    """The middle of each module and passing line: near what it is tied to, none overlapping."""
    middles: dict[str, float] = {}
    for row in rows:
        x = (WIDTH - sum(map(_wide, row)) - GAP * (len(row) - 1)) / 2
        for name in row:
            middles[name] = x + _wide(name) / 2
            x += _wide(name) + GAP
    near: dict[str, list[str]] = {name: [] for name in middles}
    for a, b in sorted(links):
        near[a].append(b)
        near[b].append(a)
    for _ in range(SWEEPS):
        for row in rows:
            wanted = [
                sum(middles[n] for n in near[name]) / len(near[name]) if near[name] else WIDTH / 2
                for name in row
            ]
            middles |= _spaced(row, wanted)
    return middles


def _spaced(row: Row, wanted: list[float]) -> dict[str, float]:
    """Places near the wanted ones: pushed apart, moved back together, inside the picture."""
    steps = [(_wide(a) + _wide(b)) / 2 + GAP for a, b in pairwise(row)]
    places = [wanted[0]]
    for step, want in zip(steps, wanted[1:], strict=True):
        places.append(max(want, places[-1] + step))
    shift = sum(wanted) / len(wanted) - sum(places) / len(places)
    left, right = EDGE_ROOM + _wide(row[0]) / 2, WIDTH - EDGE_ROOM - _wide(row[-1]) / 2
    shift = max(min(shift, right - places[-1]), left - places[0])
    places[0] = max(places[0] + shift, left)
    for i, step in enumerate(steps, 1):
        places[i] = max(places[i] + shift, places[i - 1] + step)
    places[-1] = min(places[-1], right)
    for i in range(len(steps) - 1, -1, -1):
        places[i] = min(places[i], places[i + 1] - steps[i])
    return dict(zip(row, places, strict=True))


def _wide(name: str) -> float:
    return LANE if "@" in name else NODE


def _line(edge: Edge, path: list[str], middles: dict[str, float], layer: int) -> str:
    """A line from the lower edge of a module to the upper edge of one that builds on it."""
    x, y = middles[path[0]], TOP + ROW * layer + HEIGHT
    way = f"M{x:.1f} {y:.1f}"
    for i, (a, b) in enumerate(pairwise(path), layer + 1):
        upper, bend = TOP + ROW * i, (ROW - HEIGHT) / 2
        start = TOP + ROW * (i - 1) + HEIGHT
        way += (
            f"C{middles[a]:.1f} {start + bend:.1f} {middles[b]:.1f} {upper - bend:.1f}"
            f" {middles[b]:.1f} {upper:.1f}"
        )
        if "@" in b:
            way += f"V{upper + HEIGHT:.1f}"
    colour = BLUE if edge.imported else GREY
    dashes = "" if edge.imported else ' stroke-dasharray="4 3"'
    tip = TOP + ROW * (layer + len(path) - 1)
    arrow = f"M{middles[path[-1]] - 4:.1f} {tip - 5:.1f}l4 5l4 -5"
    return (
        f'<path d="{way}"{paint(None, colour, 1.5)}{dashes}/>'
        f'<path d="{arrow}"{paint(None, colour, 1.5)}/>'
    )


def _node(place: Place, x: float) -> str:
    """A module: its number and name, and what it imports."""
    y = TOP + ROW * place.layer
    words = import_words(place)
    room = NODE - 12
    if text_width(words, 10) > room:
        words = f"imports {len(place.imports or ())} modules"
    dashes = ' stroke-dasharray="4 3"' if place.imports is None else ""
    name = f"{place.rung.id} {place.rung.module}"
    return (
        box(x - NODE / 2, y, NODE, HEIGHT, paint(PANEL, LINE) + dashes)
        + text(x, y + 18, name, size=12, bold=True, anchor="middle", room=room)
        + text(x, y + 33, words, GREY, size=10, anchor="middle", room=room)
    )


def _legend(y: float) -> str:
    """What the two kinds of lines mean, in words."""
    kinds = ((BLUE, "", "imports it"), (GREY, ' stroke-dasharray="4 3"', "comes after it"))
    drawn, x = "", float(EDGE_ROOM)
    for colour, dashes, words in kinds:
        drawn += f'<path d="M{x:.1f} {y - 4:.1f}h28"{paint(None, colour, 1.5)}{dashes}/>'
        drawn += text(x + 36, y, words, GREY, room=120)
        x += 36 + text_width(words, 11) + 24
    note = "A line that follows from two others is not drawn; the boxes list all imports."
    return drawn + text(x, y, note, GREY, room=WIDTH - EDGE_ROOM - x)


def overview_svg(overview: Overview) -> str:
    """Draw the map, 830 pixels wide."""
    paths = _paths(overview)
    links = {link for path in paths.values() for link in pairwise(path)}
    middles = _middles(_rows(overview, links), links)
    layer = {place.rung.id: place.layer for place in overview.places}
    height = TOP + ROW * len(overview.layers) - (ROW - HEIGHT) + EDGE_ROOM
    told = "; ".join(
        f"{p.rung.id} {p.rung.module} needs {' '.join(p.rung.needs) or 'nothing'}, "
        f"{import_words(p)}"
        for p in overview.places
    )
    lines = "".join(_line(e, path, middles, layer[e.need]) for e, path in paths.items())
    nodes = "".join(_node(place, middles[place.rung.id]) for place in overview.places)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}"'
        f' viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{xml(TITLE)}"'
        f' font-family="{FONT}"><title>{xml(TITLE)}</title><desc>{xml(told)}</desc>{style()}'
        + box(0.5, 0.5, WIDTH - 1, height - 1, paint(PAPER, LINE), 8)
        + text(EDGE_ROOM, 40, TITLE, size=18, bold=True, room=WIDTH - 2 * EDGE_ROOM)
        + _legend(66)
        + lines
        + nodes
        + "</svg>\n"
    )
