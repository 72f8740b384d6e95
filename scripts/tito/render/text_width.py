"""How wide a text is in Verdana, so that a picture can be laid out without a font at hand.

Source: advance widths of Verdana 5 in thousandths of the font size, as PDF files that embed it
state them and as shields' anafanafo 2.0.0 measured them (both agree on every character).
"""

import unicodedata

NORMAL = (
    *(
        352,
        394,
        459,
        818,
        636,
        1076,
        727,
        269,
        454,
        454,
        636,
        818,
        364,
        454,
        364,
        454,
    ),  # space to /
    *(636, 636, 636, 636, 636, 636, 636, 636, 636, 636, 454, 454, 818, 818, 818, 545),  # 0 to ?
    *(1000, 684, 686, 698, 771, 632, 575, 775, 751, 421, 455, 693, 557, 843, 748, 787),  # @ to O
    *(603, 787, 695, 684, 616, 732, 684, 989, 685, 615, 685, 454, 454, 454, 818, 636),  # P to _
    *(636, 601, 623, 521, 623, 596, 352, 623, 633, 274, 344, 592, 274, 973, 633, 607),  # ` to o
    *(623, 623, 427, 521, 394, 633, 592, 818, 592, 592, 525, 635, 454, 635, 818),  # p to ~
)
BOLD = (
    *(342, 402, 587, 867, 711, 1272, 862, 332, 543, 543, 711, 867, 361, 480, 361, 689),
    *(711, 711, 711, 711, 711, 711, 711, 711, 711, 711, 402, 402, 867, 867, 867, 617),
    *(964, 776, 762, 724, 830, 683, 650, 811, 837, 546, 555, 771, 637, 948, 847, 850),
    *(733, 850, 782, 710, 682, 812, 764, 1128, 764, 737, 692, 543, 689, 543, 867, 711),
    *(711, 668, 699, 588, 699, 664, 422, 699, 712, 342, 403, 671, 342, 1058, 712, 687),
    *(699, 699, 497, 593, 456, 712, 650, 979, 669, 651, 597, 711, 543, 711, 867),
)
OTHERS = {"·": 364, "…": 818, "–": 636, "²": 542, "×": 818, "‘": 269, "’": 269, "“": 459, "”": 459}
UNKNOWN = 1000  # no narrower than most characters outside the tables


def _advance(character: str, table: tuple[int, ...]) -> int:
    """The width of one character in thousandths; a letter with an accent is as wide without."""
    base = unicodedata.normalize("NFD", character)[0]
    if " " <= base <= "~":
        return table[ord(base) - 32]
    return 0 if unicodedata.combining(base) else OTHERS.get(base, UNKNOWN)


def text_width(text: str, size: float, *, bold: bool = False) -> float:
    """The width of a text in pixels at a font size in pixels."""
    table = BOLD if bold else NORMAL
    return sum(_advance(character, table) for character in text) * size / 1000


def clip(text: str, width: float, size: float, *, bold: bool = False) -> str:
    """The text itself if it fits `width` pixels, else its beginning and an ellipsis."""
    if text_width(text, size, bold=bold) <= width:
        return text
    room = width - text_width("…", size, bold=bold)
    kept = 0
    while kept < len(text) and text_width(text[: kept + 1], size, bold=bold) <= room:
        kept += 1
    return text[:kept].rstrip() + "…"
