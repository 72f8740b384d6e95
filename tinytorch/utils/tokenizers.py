"""The given part of the tokenizers of module 10: their tables, and the files they are kept in."""

import os
from collections.abc import Iterable

from tinytorch.utils.linked import Pair
from tinytorch.utils.text import distinct_marks, lone_surrogate, read_json, split_words, write_json

BYTES = 256  # the tokens that every text can be written with


class CharTables:
    """The tables of a CharTokenizer; the subclass fills them, in `train`.

    Args:
        text: Trained on at once, if given.
    """

    def __init__(self, text: str | None = None):
        self.chars: list[str] = []
        self.ids: dict[str, int] = {}
        if text is not None:
            self.train(text)

    vocab_size = property(lambda self: len(self.chars), doc="Number of distinct characters.")

    def save(self, path: str | os.PathLike) -> None:
        """Write the vocabulary to a JSON file."""
        write_json(path, {"format": "tinytorch-char", "version": 1, "chars": self.chars})

    @classmethod
    def load(cls, path: str | os.PathLike) -> "CharTables":
        """Read a vocabulary that `save` wrote.

        Raises:
            ValueError: If the file holds something else.
        """
        chars = read_json(path, "tinytorch-char").get("chars")
        if not isinstance(chars, list) or [c for c in chars if type(c) is not str or len(c) != 1]:
            raise ValueError(f"{path} has no list of single characters under 'chars'")
        if len(set(chars)) != len(chars):
            raise ValueError(f"{path} gives one character two ids; its list has doubles")
        tokenizer = cls()
        tokenizer.chars = chars
        tokenizer.ids = {char: number for number, char in enumerate(chars)}
        return tokenizer


class PairTables:
    """The tables of a BPETokenizer; the subclass encodes a word, in `encode_word`."""

    def __init__(self) -> None:
        self.become([], ())

    vocab_size = property(lambda self: len(self.vocab), doc="Number of ids in use.")

    def become(self, merges: Iterable[Pair], special_tokens: Iterable[str]) -> "PairTables":
        """Take on these merges and special tokens; the tables follow from them. Return self."""
        self.merges = {pair: BYTES + rank for rank, pair in enumerate(merges)}
        self.vocab = [bytes([number]) for number in range(BYTES)]
        for left, right in self.merges:
            self.vocab.append(self.vocab[left] + self.vocab[right])
        self.special_tokens: dict[str, int] = {}
        for token in special_tokens:
            self.special_tokens[token] = len(self.vocab)
            self.vocab.append(token.encode("utf-8"))
        self._cache: dict[str, list[int]] = {}
        return self

    def encode_ordinary(self, text: str) -> list[int]:
        """Encode a text in which nothing is special; words met before are looked up."""
        ids: list[int] = []
        for word in split_words(text):
            known = self._cache.get(word)
            if known is None:
                known = self.encode_word(_utf8(word))
                if len(self._cache) < 1 << 16 and len(word) < 64:
                    self._cache[word] = known
            ids += known
        return ids

    def save(self, path: str | os.PathLike) -> None:
        """Write the merges in the order learned, and the special tokens, to a JSON file."""
        record = {"format": "tinytorch-bpe", "version": 1}
        record["merges"] = [list(pair) for pair in self.merges]
        write_json(path, record | {"special_tokens": list(self.special_tokens)})

    @classmethod
    def load(cls, path: str | os.PathLike) -> "PairTables":
        """Read a tokenizer that `save` wrote; merge i may only join ids below 256 + i.

        Raises:
            ValueError: If the file holds something else.
        """
        record, merges = read_json(path, "tinytorch-bpe"), []
        for rank, pair in enumerate(record.get("merges", ())):
            two = isinstance(pair, list) and len(pair) == 2
            if not two or not all(type(n) is int and 0 <= n < BYTES + rank for n in pair):
                raise ValueError(
                    f"{path} has {pair!r} as merge {rank}; it must join two ids below"
                    f" {BYTES + rank}"
                )
            merges.append((pair[0], pair[1]))
        return cls().become(merges, distinct_marks(record.get("special_tokens", ())))


def _utf8(word: str) -> bytes:
    """The bytes of a word, or the refusal of half a character."""
    try:
        return word.encode("utf-8")
    except UnicodeEncodeError as error:
        raise lone_surrogate(word[error.start], error.start) from None
