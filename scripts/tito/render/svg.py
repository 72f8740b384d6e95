"""Drawing: the palette in light and dark, and the few shapes that pictures are made of.

Light colours are attributes, so a reader without style sheets sees a whole picture; dark ones
are classes, a refinement on top.
"""

from tito.render.escape import one_line, xml
from tito.render.text_width import clip, text_width
from tito.render.words import AMBER, BLUE, BRIGHT, GREEN, GREY, RED

WHITE = "#fff"  # on a coloured shape, in both
PAPER, PANEL, LINE, INK = "#ffffff", "#f6f8fa", "#d0d7de", "#1f2328"
DARK = {PAPER: "#0d1117", PANEL: "#161b22", LINE: "#30363d", INK: "#e6edf3", **BRIGHT}
CLASS = {
    PAPER: "paper",
    PANEL: "panel",
    LINE: "line",
    INK: "ink",
    GREEN: "green",
    RED: "red",
    BLUE: "blue",
    AMBER: "amber",
    GREY: "grey",
}


def style() -> str:
    """The dark colours, as classes for fills (`f-`) and strokes (`s-`)."""
    rules = "".join(
        f".tt-f-{CLASS[light]}{{fill:{dark}}}.tt-s-{CLASS[light]}{{stroke:{dark}}}"
        for light, dark in DARK.items()
    )
    return f"<style>@media (prefers-color-scheme:dark){{{rules}}}</style>"


def paint(fill: str | None = None, stroke: str | None = None, width: float = 1) -> str:
    """Attributes for a shape: colours of the palette also get their class."""
    classes = [f"tt-f-{CLASS[fill]}"] if fill in CLASS else []
    classes += [f"tt-s-{CLASS[stroke]}"] if stroke in CLASS else []
    named = f' class="{" ".join(classes)}"' if classes else ""
    edge = f' stroke="{stroke}" stroke-width="{width:g}"' if stroke else ""
    return f'{named} fill="{fill or "none"}"{edge}'


def text(
    x: float,
    y: float,
    words: str,
    colour: str = INK,
    *,
    size: float = 11,
    bold: bool = False,
    anchor: str = "start",
    room: float,
) -> str:
    """One line of text, cut to `room` pixels, its length fixed whatever font is at hand."""
    words = clip(one_line(words), room, size, bold=bold)
    if not words:
        return ""
    weight = ' font-weight="bold"' if bold else ""
    align = f' text-anchor="{anchor}"' if anchor != "start" else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size:g}"{weight}{align}{paint(colour)}'
        f' textLength="{text_width(words, size, bold=bold):.1f}">{xml(words)}</text>'
    )


def box(x: float, y: float, width: float, height: float, painted: str, radius: float = 6) -> str:
    """A rectangle with round corners."""
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
        f' rx="{radius:g}"{painted}/>'
    )


def bar(x: float, y: float, width: float, share: float, colour: str) -> str:
    """A bar that is `share` full; a beginning is always to be seen."""
    full = max(6.0, width * share) if share else 0.0
    empty = box(x, y, width, 6, paint(LINE), 3)
    return empty + (box(x, y, full, 6, paint(colour), 3) if full else "")


def tick(x: float, y: float, colour: str, scale: float = 1.0) -> str:
    """A check mark drawn as a line: no font needs to have it."""
    a, b = 3 * scale, 6 * scale
    return (
        f'<path d="M{x - a - 1:.1f} {y:.1f}l{a:.1f} {a:.1f}l{b:.1f} {-b:.1f}"'
        f'{paint(None, colour, 1.8)} stroke-linecap="round" stroke-linejoin="round"/>'
    )
