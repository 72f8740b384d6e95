"""Which rungs a line of words means: numbers, names, ranges such as 03-07. Pure."""

import re
from collections.abc import Iterable

from tito.ladder import AnyRung, Checkpoint, Custom, Ladder, LadderError

_NUMBERS = re.compile(r"(\d+)(?:-|–|\.\.)(\d+)")


def select(ladder: Ladder, words: Iterable[str], custom: Iterable[Custom] = ()) -> list[AnyRung]:
    """The rungs that the words name, in ladder order, each once.

    Args:
        ladder: Where the names come from.
        words: `05`, `autograd`, `03-07`, `layers-autograd`, or several of them joined by commas.
        custom: The custom checkpoints, which an id such as C1 or a name may mean too.

    Raises:
        LadderError: If a word names nothing; it says what comes nearest.
    """
    chosen: set[str] = set()
    custom = tuple(custom)
    beyond = {key: c for c in custom for key in (c.name, f"custom_{c.name}")}
    beyond |= {c.id.lower(): c for c in custom}  # one that is named C1 by hand has another id
    for word in words:
        for part in filter(None, word.split(",")):
            own = beyond.get(part.strip().lower().replace("-", "_"))
            chosen |= {own.id} if own else {rung.id for rung in _part(ladder, part, beyond)}
    every = (*ladder.checkpoints, *dict.fromkeys(beyond.values()))
    return [rung for rung in every if rung.id in chosen]


def _part(ladder: Ladder, word: str, beyond: Iterable[str]) -> list[Checkpoint]:
    """The rungs of one name or range."""
    numbers = _NUMBERS.fullmatch(word.strip())
    if numbers:
        return _between(ladder, ladder.find(numbers[1]), ladder.find(numbers[2]))
    try:
        return [ladder.find(word)]
    except LadderError as error:
        for left, right in _splits(word):
            if not left.strip() or not right.strip():
                _refuse_half(ladder, word, left, right)
                continue
            ends = _known(ladder, left), _known(ladder, right)
            if None not in ends:
                return _between(ladder, *ends)  # type: ignore[arg-type]
            if ends != (None, None):  # a range with one wrong end: that end's error helps most
                ladder.find(right if ends[0] else left)
        from difflib import get_close_matches

        near = get_close_matches(word.lower(), list(beyond), n=1, cutoff=0.7)
        if near:
            fact = f"no module or checkpoint called {word!r}; did you mean {near[0]}?"
            raise LadderError(fact) from None
        raise error from None


def _refuse_half(ladder: Ladder, word: str, left: str, right: str) -> None:
    """Complain about a range that lacks one of its ends, where the other one is known."""
    end = _known(ladder, left or right)
    if end is not None:
        first, last = (end, ladder.checkpoints[-1]) if left else (ladder.checkpoints[0], end)
        whole = f"name both ends: {first.id}-{last.id}"
        raise LadderError(f"{word!r} is half a range; {whole}, or write {end.id} for one")


def _splits(word: str) -> list[tuple[str, str]]:
    """The word cut in two at each hyphen."""
    return [(word[: m.start()], word[m.end() :]) for m in re.finditer(r"-|–|\.\.", word)]


def _known(ladder: Ladder, name: str) -> Checkpoint | None:
    """The rung of an exact name, or None."""
    try:
        return ladder.find(name)
    except LadderError:
        return None


def _between(ladder: Ladder, first: Checkpoint, last: Checkpoint) -> list[Checkpoint]:
    """The rungs from one to another, both included."""
    if first.id > last.id:
        raise LadderError(f"a range climbs: write {last.id}-{first.id}, not {first.id}-{last.id}")
    return [rung for rung in ladder.checkpoints if first.id <= rung.id <= last.id]
