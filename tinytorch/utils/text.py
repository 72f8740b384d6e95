"""What surrounds a tokenizer: checks whose errors help, and files that are whole or not there."""

import json
import os
import re
import tempfile
from collections.abc import Iterable, Mapping
from operator import index
from pathlib import Path
from typing import Any

WORD = re.compile(
    r"'(?:[sdmt]|ll|ve|re)"  # English contractions: 's, 'll
    r"| ?[^\W\d_]+"  # letters of any script, with the space before them
    r"| ?\d+"  # digits
    r"| ?(?:[^\s\w]|_)+"  # punctuation, signs, emoji
    r"|\s+(?!\S)|\s+"  # white space, but its last space belongs to the next word
)


def split_words(text: str) -> list[str]:
    """Cut a text into pieces that no merge may cross; together they are the text."""
    return WORD.findall(text)


def require_str(text: Any) -> str:
    """Return what is to be encoded if it is a str, or refuse it."""
    if not isinstance(text, str):
        raise TypeError(f"cannot encode {type(text).__name__}; give a str")
    return text


def require_text(text: Any, purpose: str) -> str:
    """Return the text, or refuse what is none.

    Args:
        text: What should be a str with at least one character.
        purpose: What it is for, such as "train a tokenizer on", for the message.

    Raises:
        TypeError: If it is not a str.
        ValueError: If it is empty.
    """
    if not isinstance(text, str):
        raise TypeError(f"cannot {purpose} {type(text).__name__}; give a str")
    if not text:
        raise ValueError(f"cannot {purpose} an empty text; give at least one character")
    return text


def unknown_character(char: str, text: str, known: int) -> ValueError:
    """The error for a character that is not in a vocabulary of `known` characters."""
    return ValueError(
        f"cannot encode {char!r} at position {text.index(char)}: it is not among the {known}"
        " characters of the training text; train on a text that has it, or use BPETokenizer"
    )


def lone_surrogate(char: str, position: int) -> ValueError:
    """The error for half of a surrogate pair, given the half and its place in the text."""
    return ValueError(
        f"cannot encode {char!r} at position {position}: a lone surrogate is no character; drop it"
        " with text.encode('utf-8', 'ignore').decode('utf-8')"
    )


def plain_ids(ids: Any, vocab_size: int) -> list[int]:
    """Return token ids as a list of ints, whatever sequence they come in: list, array, Tensor.

    Raises:
        TypeError: If one is not a whole number.
        ValueError: If one is outside the vocabulary.
    """
    found = []
    values = ids.tolist() if hasattr(ids, "tolist") else ids
    if not isinstance(values, Iterable):
        raise TypeError(f"cannot decode {values!r}: token ids come in a sequence; give [{values}]")
    for position, value in enumerate(values):
        try:
            number = index(value)
        except TypeError:
            raise TypeError(
                f"cannot decode {value!r} at position {position}: token ids are whole numbers"
                " in one sequence"
            ) from None
        if not 0 <= number < vocab_size:
            raise ValueError(
                f"cannot decode token id {number} at position {position}: the vocabulary has"
                f" {vocab_size} tokens; use ids from 0 to {vocab_size - 1}"
            )
        found.append(number)
    return found


def room_for_merges(vocab_size: int, special: int) -> int:
    """Return how many merges a vocabulary has room for, after 256 bytes and the special tokens.

    Raises:
        ValueError: If it is too small even for these.
    """
    if not isinstance(vocab_size, int) or vocab_size < 256 + special:
        marks = f" and {special} special tokens" if special else ""
        raise ValueError(
            f"vocab_size {vocab_size!r} will not do: the 256 bytes{marks} need a whole number of at"
            f" least {256 + special}"
        )
    return vocab_size - 256 - special


def distinct_marks(tokens: Iterable[str]) -> tuple[str, ...]:
    """Return special tokens as a tuple: texts, none empty, none twice."""
    if isinstance(tokens, str):
        raise TypeError(f"special tokens must be a list of str, not the str {tokens!r}")
    tokens = tuple(tokens)
    for token in tokens:
        require_text(token, "make a special token of")
        if tokens.count(token) > 1:
            raise ValueError(f"special token {token!r} is given twice; give each once")
    return tokens


def split_at_marks(text: str, marks: Iterable[str]) -> list[str]:
    """Cut a text before and after each special token, preferring longer ones; keep all parts."""
    longest_first = sorted(marks, key=len, reverse=True)
    if not longest_first:
        return [text]
    return re.split("(" + "|".join(map(re.escape, longest_first)) + ")", text)


def write_json(path: str | os.PathLike, record: Mapping[str, Any]) -> None:
    """Write a record as JSON text: the file is replaced whole or not at all."""
    target = Path(path)
    handle, partial = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(record, file)
        os.replace(partial, target)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise


def read_json(path: str | os.PathLike, kind: str) -> dict[str, Any]:
    """Read a record that `write_json` wrote.

    Raises:
        ValueError: If the file is not JSON, or is not of this format, version 1.
    """
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not a JSON file: {error}") from None
    if not isinstance(record, dict) or record.get("format") != kind or record.get("version") != 1:
        raise ValueError(f"{path} is no tokenizer of the format {kind}, version 1")
    return record
