"""The words of a text as one doubly linked list of tokens, for module 10's fast training."""

from collections import defaultdict
from collections.abc import Mapping

Pair = tuple[int, int]


class LinkedWords:
    """All distinct words in one linked list, with the counts and places of their pairs.

    Args:
        words: Words as bytes, with how often each occurs.

    Attributes:
        token: The token at each position, or -1 once it was merged away.
        before, after: Positions of the neighbours in the word, or -1.
        weight: How often the word of a position occurs.
        counts: How often each pair occurs, overlaps and weights included.
        places: Where each pair was seen, from left to right; may be out of date.
    """

    def __init__(self, words: Mapping[bytes, int]):
        self.token: list[int] = []
        self.before: list[int] = []
        self.after: list[int] = []
        self.weight: list[int] = []
        self.counts: dict[Pair, int] = defaultdict(int)
        self.places: dict[Pair, list[int]] = defaultdict(list)
        for word, weight in words.items():
            first = len(self.token)
            last = first + len(word) - 1
            self.token += word
            self.weight += [weight] * len(word)
            self.before += [-1, *range(first, last)][: len(word)]
            self.after += [*range(first + 1, last + 1), -1][: len(word)]
            for at in range(first, last):
                self.note(at, weight)

    def note(self, at: int, weight: int) -> Pair:
        """Count the pair that begins at a position, and remember the place."""
        pair = self.token[at], self.token[self.after[at]]
        self.counts[pair] += weight
        self.places[pair].append(at)
        return pair
