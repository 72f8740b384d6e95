"""Make text that came from a student's code safe to show, one function a medium.

No text may move a terminal's cursor, reorder a line, begin a workflow command in an Actions
log, or add an element, a link or a mention to Markdown or SVG. What cannot be shown is replaced
by U+FFFD, never silently dropped.
"""

import re

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
# The runner takes a line that begins with `::`, and `##[` anywhere in one, for a command.
_COMMAND = re.compile(r"^([ ]*)::|##\[", re.MULTILINE)
_TICKS = re.compile("`+")
_MARKUP = re.compile(r"([\\`*_\[\]|~$>])")
_BLOCK = re.compile(r"^([0-9]*)([.)](?= |$)|[#+\-=:])")  # what begins a heading, a list or a rule

# What stands for our own marks where the encoding has none; of one column where a table uses it.
_ASCII = dict(
    zip("✓✗◐○⊘●•·←×–—−²█░━╸═▌╭╮╰╯“”‘’", "+x~o/**-<x---2#.===|++++\"\"''", strict=True),
) | {"…": "...", "→": "->", "≤": "<=", "≥": ">=", "⠀": " "}


def visible(text: str) -> str:
    """Replace whatever is not a printable character, line ends and tabs excepted."""
    lines = text.replace("\r\n", "\n").replace("\t", "    ")
    return "".join(c if c.isprintable() or c == "\n" else REPLACEMENT for c in lines)


def plain(text: str) -> str:
    """Text for a terminal or an Actions log: visible, and no line of it is a command."""
    return _COMMAND.sub(
        lambda found: "##\\[" if found[0] == "##[" else f"{found[1]}\\::", visible(text)
    )


def stand_in(character: str) -> str:
    """What stands for a character where only ASCII can be shown, and nothing else can."""
    if character.isascii():
        return character
    if character in _ASCII:
        return _ASCII[character]
    if "─" <= character <= "╿":  # box drawing
        return "|" if character in "│┃║" else "-" if character in "─┄┈╌╴╶" else "+"
    return "*" if "⠀" <= character <= "⣿" else "?"  # a spinner's dots


def one_line(text: str) -> str:
    """Plain text with every run of white space as one space."""
    return " ".join(plain(text).split())


def xml(text: str) -> str:
    """Text for XML, in an element or in an attribute between double quotes."""
    text = visible(text).replace("\n", " ")
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;")):
        text = text.replace(character, entity)
    return text


def markdown(text: str) -> str:
    """Text inside a Markdown paragraph, heading or table cell: no markup, link or mention."""
    text = _MARKUP.sub(r"\\\1", one_line(text).replace("&", "&amp;").replace("<", "&lt;"))
    text = _BLOCK.sub(r"\1\\\2", text)
    # Links and mentions are found in bare words, whatever the escapes, so these are broken up.
    for word, joint in (("@", "@&#8288;"), ("://", "&#58;//"), ("www.", "www&#8288;.")):
        text = text.replace(word, joint)
    return text


def code(text: str) -> str:
    """A Markdown code span; not for a table cell, where no escape of `|` always holds."""
    text = one_line(text) or " "
    ticks = "`" * (max((len(run) for run in _TICKS.findall(text)), default=0) + 1)
    return f"{ticks} {text} {ticks}" if "`" in text else f"{ticks}{text}{ticks}"


def fence(text: str) -> str:
    """A fenced Markdown block, its fence longer than any run of backticks inside."""
    text = plain(text)
    ticks = "`" * max(3, max((len(run) for run in _TICKS.findall(text)), default=0) + 1)
    return f"{ticks}text\n{text}\n{ticks}"


def command_message(text: str) -> str:
    """The message of a workflow command."""
    return visible(text).replace("%", "%25").replace("\n", "%0A")


def command_property(text: str) -> str:
    """The value of a workflow command's property, such as its file or title."""
    text = command_message(text.replace("\n", " "))
    return text.replace(":", "%3A").replace(",", "%2C")
