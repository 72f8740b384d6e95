"""The text of one failure, the same on the terminal, in the summary and under plain pytest."""

from collections.abc import Iterable

LABEL_WIDTH = 10


def failure_text(headline: str, parts: Iterable[tuple[str, str]]) -> str:
    """Lay out a failure: the headline alone on its line, then one labelled part a line.

    Args:
        headline: What went wrong, under 80 columns, readable on its own.
        parts: (label, text) pairs; empty texts are left out, further lines are aligned.

    Returns:
        The block without a closing newline.
    """
    lines = [headline]
    for label, text in parts:
        if not text:
            continue
        first, *rest = text.splitlines()
        lines.append(f"  {label:<{LABEL_WIDTH}}{first}")
        lines += [" " * (LABEL_WIDTH + 2) + line for line in rest]
    return "\n".join(lines)
