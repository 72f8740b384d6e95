# ---
# jupyter:
#   jupytext:
#     notebook_metadata_filter: -jupytext.text_representation.jupytext_version
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Module 10: Tokenization
#
# A language model reads whole numbers. A tokenizer turns text into them, and back without loss.
#
# **You will build** `CharTokenizer`, which gives every character a number, and `BPETokenizer`, the
# byte-pair encoding behind GPT-2 and its descendants: `train`, `encode`, `decode`, special tokens,
# `save` and `load`. You will first train it the obvious way, measure that, and then train it in
# time that grows with the text and no faster.
#
# **You need** module 00 and plain Python: no tensors here. Given, in `tinytorch/utils/`: checks,
# the cutting of words (`text.py`), tables and files (`tokenizers.py`), a linked list (`linked.py`).
# **Time**: about three hours.
#
# Take the sentence `the cat` as the input of a model. As characters it is 7 numbers from a small
# alphabet; as words it is 2 numbers from a dictionary that never ends, and any word that is not in
# it is lost. The choice is a trade, and everything downstream pays for it:
#
#     sequence length T:   the cost of attention grows with T²           (module 12)
#     vocabulary size V:   the embedding table has V × width numbers     (module 11)
#
# Byte-pair encoding starts from the 256 bytes, so that no text is ever lost, and then spends the
# rest of the vocabulary on what occurs often.

# %%
#| default_exp core.tokenization

# %%
#| export
import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from itertools import pairwise

from tinytorch.utils.linked import LinkedWords, Pair
from tinytorch.utils.text import (
    distinct_marks,
    lone_surrogate,
    plain_ids,
    require_str,
    require_text,
    room_for_merges,
    split_at_marks,
    split_words,
    unknown_character,
)
from tinytorch.utils.tokenizers import CharTables, PairTables

__all__ = ["BPETokenizer", "Chain", "CharTokenizer", "count_pairs", "learn_merges"]
__all__ += ["learn_merges_slowly", "merge", "most_frequent", "split_words", "to_bytes"]
__all__ += ["word_counts"]

BYTES = 256  # the tokens that every text can be written with

# %% [markdown]
# ## Step 1: One number per character
#
# Sort the distinct characters of a text and count them off. That is the whole vocabulary:
#
#     "hello"  →  e h l o        e = 0, h = 1, l = 2, o = 3
#     encode("hello") = [1, 0, 2, 2, 3]          decode([1, 0, 2, 2, 3]) = "hello"
#
# Sorting matters: a Python `set` has no order, and the order of a set of strings even changes from
# one run to the next. A model trained with one numbering is useless with another.
#
# Two directions need two tables: a list from number to character, a dictionary from character to
# number. Both lookups take constant time, so encoding costs one step per character. A character
# that was not in the training text has no number. Say so, instead of dropping it silently.


# %%
#| export
class CharTokenizer(CharTables):
    """Give every distinct character of a training text, `CharTokenizer(text)`, a number.

    Attributes:
        chars: The characters by id, in sorted order.
        ids: The ids by character.

    `vocab_size`, `save(path)` and `load(path)` are given, in `tinytorch/utils/tokenizers.py`.
    """

    def train(self, text: str) -> "CharTokenizer":
        """Learn the alphabet of a text, replacing what was known; return self."""
        require_text(text, "train a tokenizer on")
        ### BEGIN SOLUTION
        self.chars = sorted(set(text))
        self.ids = {char: number for number, char in enumerate(self.chars)}
        return self
        ### END SOLUTION

    fit = train

    def encode(self, text: str) -> list[int]:
        """Return the id of each character.

        Raises:
            ValueError: If a character is not in the vocabulary; names it and its position.
        """
        ### BEGIN SOLUTION
        try:
            return [self.ids[char] for char in text]
        except KeyError as error:
            raise unknown_character(error.args[0], text, self.vocab_size) from None
        ### END SOLUTION

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of token ids.

        Raises:
            ValueError: If an id is not below `vocab_size`; `plain_ids` checks it.
        """
        ### BEGIN SOLUTION
        return "".join([self.chars[number] for number in plain_ids(ids, self.vocab_size)])
        ### END SOLUTION


# %%
tokenizer = CharTokenizer("hello")
print(tokenizer.ids)
print(tokenizer.encode("hello"), tokenizer.decode([1, 0, 2, 2, 3]))
try:
    tokenizer.encode("help")
except ValueError as error:
    print(error)
# Expected output:
# {'e': 0, 'h': 1, 'l': 2, 'o': 3}
# [1, 0, 2, 2, 3] hello
# cannot encode 'p' at position 3: it is not among the 4 characters of the training text; ...


# %%
#| test
from numpy.testing import assert_raises_regex


def test_characters_are_numbered_in_order():
    tokenizer = CharTokenizer("naïve 日本語 🙂")
    assert tokenizer.encode("nav ") == [3, 1, 4, 0]
    assert tokenizer.decode(tokenizer.encode("ïe🙂語")) == "ïe🙂語"
    for call, wrong in ((tokenizer.encode, "xyz"), (tokenizer.decode, [0, -1])):
        assert_raises_regex(ValueError, f"{wrong[-1]}|'x'", call, wrong)


if __name__ == "__main__":
    test_characters_are_numbered_in_order()

# %% [markdown]
# ## Step 2: Bytes, an alphabet that nobody can leave
#
# Unicode has more than 150,000 characters, and more come every year. UTF-8 writes each of them with
# one to four bytes, and a byte is a number from 0 to 255. So 256 tokens suffice for all text there
# is and will be:
#
#     "A" → 65        "é" → 195 169        "語" → 232 170 158        "🙂" → 240 159 153 130
#
# The price is length: `🙂` alone is four tokens now. Merging will win that back.
#
# One trap. A Python string may hold half of a *surrogate pair*, such as `"\ud83d"` from a text that
# was cut in the middle of a character. It has no UTF-8 form: `text.encode("utf-8")` raises a
# `UnicodeEncodeError`, which has the position as `.start`. Turn it into an error that helps.


# %%
#| export
def to_bytes(text: str) -> bytes:
    """Return the UTF-8 form of a text.

    Raises:
        ValueError: If the text holds a lone surrogate; `lone_surrogate` words it.
    """
    ### BEGIN SOLUTION
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise lone_surrogate(text[error.start], error.start) from None
    ### END SOLUTION


# %%
for text in ("A", "é", "語", "🙂"):
    print(text, list(to_bytes(text)), end="  ")
# Expected output:
# A [65]  é [195, 169]  語 [232, 170, 158]  🙂 [240, 159, 153, 130]


# %%
#| test
def test_bytes_or_an_error_that_helps():
    assert to_bytes("Aé") == b"A\xc3\xa9"
    assert_raises_regex(ValueError, "position 2.* surrogate", to_bytes, "ab\ud83d")


if __name__ == "__main__":
    test_bytes_or_an_error_that_helps()

# %% [markdown]
# ## Step 3: Count pairs, merge the most frequent
#
# Byte-pair encoding (Gage 1994, for compression; Sennrich 2016, for language) repeats one move:
# find the most frequent pair of neighbours, and write a new token in its place. On Gage's example,
# with letters for readability:
#
#     a a a b d a a a b a c        aa occurs 4 times, counting overlaps       Z = aa
#     Z a b d Z a b a c            ab and Za occur twice; ab sorts first      Y = ab
#     Z Y d Z Y a c                ZY occurs twice                            X = ZY
#     X d X a c                    every pair occurs once: stop
#
# 11 tokens became 5. Three questions decide whether two people get the same tokenizer:
#
# - *How do overlaps count?* `aaa` has the neighbours aa and aa: two. But a merge goes from left to
#   right and takes each token once: `aaa` becomes `Z a`.
# - *What if two pairs tie?* Take the smaller pair, comparing first tokens, then second ones.
# - *When to stop?* When nothing occurs twice: a token for a single place saves nothing.
#
# A text is given as words with counts: merging never crosses the end of a word (step 4 says why),
# and a word that occurs 100 times is counted once, with weight 100.


# %%
#| export
def count_pairs(words: Iterable[tuple[list[int], int]]) -> dict[Pair, int]:
    """Count every pair of neighbours in (tokens, weight) words, overlaps included."""
    ### BEGIN SOLUTION
    counts: dict[Pair, int] = defaultdict(int)
    for tokens, weight in words:
        for pair in pairwise(tokens):
            counts[pair] += weight
    return counts
    ### END SOLUTION


def most_frequent(counts: Mapping[Pair, int]) -> Pair:
    """Return the pair with the highest count; of equals the smallest pair."""
    ### BEGIN SOLUTION
    return min(counts, key=lambda pair: (-counts[pair], pair))
    ### END SOLUTION


def merge(tokens: list[int], pair: Pair, new: int) -> list[int]:
    """Write `new` wherever `pair` stands, from left to right, each token used once."""
    ### BEGIN SOLUTION
    merged, at = [], 0
    while at < len(tokens):
        if tokens[at] == pair[0] and tokens[at + 1 : at + 2] == [pair[1]]:
            merged.append(new)
            at += 2
        else:
            merged.append(tokens[at])
            at += 1
    return merged
    ### END SOLUTION


# %%
tokens = list(b"aaabdaaabac")
for new in (256, 257, 258):
    pair = most_frequent(count_pairs([(tokens, 1)]))
    tokens = merge(tokens, pair, new)
    print(f"{new} = {pair}: {tokens}")
# Expected output:
# 256 = (97, 97): [256, 97, 98, 100, 256, 97, 98, 97, 99]
# 257 = (97, 98): [256, 257, 100, 256, 257, 97, 99]
# 258 = (256, 257): [258, 100, 258, 97, 99]


# %%
#| test
def test_the_three_moves():
    counts = count_pairs([([1, 1, 1], 1), ([1, 2], 10)])
    assert dict(counts) == {(1, 1): 2, (1, 2): 10}, "overlaps and weights"
    assert most_frequent({(5, 1): 3, (2, 9): 3, (2, 8): 3, (0, 0): 2}) == (2, 8)
    for tokens, merged in (([1, 1, 1], [9, 1]), ([2, 1, 1, 1, 1], [2, 9, 9]), ([1], [1])):
        assert merge(tokens, (1, 1), 9) == merged


if __name__ == "__main__":
    test_the_three_moves()

# %% [markdown]
# ## Step 4: Words, and training the obvious way
#
# Without limits the merges of English would soon be `e t`, `s, and the `, and a vocabulary full of
# `dog.`, `dog!` and `dog?`. So the text is first cut into words, and no merge crosses a cut. The
# cut, `split_words`, is given: a regular expression in the manner of GPT-2, in which a word takes
# the space before it along. What matters is that nothing is lost: the pieces together are the text.
#
#     "The cat's 42 lives!"   →   The · ␣cat · 's · ␣42 · ␣lives · !
#
# And natural text repeats itself: Tiny Shakespeare has 1.1 million characters, but only about
# 24,000 distinct pieces. Count each once.
#
# Then put the moves of step 3 together: count, take the best, merge, and again. With N tokens of
# text and M merges every round reads the whole text twice, so the cost is about 2 · N · M steps.
# For a megabyte and 50,000 merges that is 10¹¹. The function is eight lines, obviously right, and
# too slow to use: keep it as the reference that the fast one must agree with.


# %%
#| export
def word_counts(texts: Iterable[str]) -> dict[bytes, int]:
    """Count the distinct words of some texts, each word as its bytes.

    `split_words` cuts, `to_bytes` encodes, `collections.Counter` counts.
    """
    ### BEGIN SOLUTION
    counts = Counter(word for text in texts for word in split_words(text))
    return {to_bytes(word): count for word, count in counts.items()}
    ### END SOLUTION


def learn_merges_slowly(words: Mapping[bytes, int], number: int) -> list[Pair]:
    """Return up to `number` merges, best first, by counting everything again in each round.

    Args:
        words: Words as bytes, with how often each occurs.
        number: Stop after so many merges, or earlier when no pair occurs twice.

    Returns:
        The pair that token 256 stands for, then that of token 257, and so on.

    Cost: about 2 · N · number steps for N bytes of distinct words.
    """
    ### BEGIN SOLUTION
    parts = [(list(word), weight) for word, weight in words.items()]
    merges: list[Pair] = []
    while len(merges) < number:
        counts = count_pairs(parts)
        if not counts or counts[best := most_frequent(counts)] < 2:
            break
        new = BYTES + len(merges)
        parts = [(merge(tokens, best, new), weight) for tokens, weight in parts]
        merges.append(best)
    return merges
    ### END SOLUTION


# %%
print(split_words("The cat's 42 lives!"), word_counts(["the cat the"]))
print(learn_merges_slowly({b"aaabdaaabac": 1}, 100))
print(learn_merges_slowly({b"low": 5, b"lower": 2, b"newest": 6, b"widest": 3}, 4))
# Expected output:
# ['The', ' cat', "'s", ' 42', ' lives', '!'] {b'the': 1, b' cat': 1, b' the': 1}
# [(97, 97), (97, 98), (256, 257)]
# [(101, 115), (256, 116), (108, 111), (258, 119)]


# %%
#| test
def test_words_are_counted_over_all_texts():
    assert word_counts(["go go", " go é"]) == {b"go": 1, b" go": 2, b" \xc3\xa9": 1}


def test_slow_training_stops_in_time():
    assert learn_merges_slowly({b"aaabdaaabac": 1}, 2) == [(97, 97), (97, 98)]
    assert learn_merges_slowly({b"abc": 1}, 10) == []
    assert learn_merges_slowly({b"ab": 2}, 10) == [(97, 98)]


if __name__ == "__main__":
    test_words_are_counted_over_all_texts()
    test_slow_training_stops_in_time()

# %% [markdown]
# ## Step 5: Train in time that grows with the text
#
# A merge changes the text in a few places only. So remember where every pair stands, and correct
# the counts there instead of counting again. Three structures do it:
#
# - All words lie in one **doubly linked list** (`LinkedWords`, given): `token[i]`, the positions
#   `before[i]` and `after[i]` of its neighbours, −1 at the end of a word, and `weight[i]`. Removing
#   a token is two assignments. `counts[pair]` is exact, and `note(i, weight)` counts the pair that
#   begins at i.
# - `places[pair]` lists the **positions** where a pair was seen. A position may be out of date; it
#   counts only if `token` still shows the pair there.
# - A **heap** hands out the pair with the highest count. Counts only fall, except those of pairs
#   with the newest token. So an entry may promise too much, never too little: when the top entry
#   is out of date, put it back with the true count and look again.
#
# Merge (a, b) into n at position i, where the list reads … p a b q …:
#
#     counts of (p, a) and (b, q) fall by the weight of the word
#     counts of (p, n) and (n, q) rise by it, and places of both gain an entry
#     a becomes n, b leaves the list: … p n q …
#
# Every merge shortens the list by one token, and does a constant amount of work. N tokens allow
# less than N merges, whatever the vocabulary: O(N log N) in all, the logarithm from the heap.


# %%
#| export
class Chain(LinkedWords):
    """The linked list of all distinct words, with the one move that training makes."""

    def merge(self, pair: Pair, new: int) -> set[Pair]:
        """Write `new` in every place of `pair`, and correct the counts of the pairs around it.

        Returns:
            The pairs that `new` is now part of.
        """
        ### BEGIN SOLUTION
        token, before, after = self.token, self.before, self.after
        made = set()
        for at in self.places.pop(pair):
            gone = after[at]
            if token[at] != pair[0] or gone < 0 or token[gone] != pair[1]:
                continue
            left, right, weight = before[at], after[gone], self.weight[at]
            if left >= 0:
                self.counts[token[left], pair[0]] -= weight
            if right >= 0:
                self.counts[pair[1], token[right]] -= weight
                before[right] = at
            token[at], token[gone], after[at] = new, -1, right
            if left >= 0:
                made.add(self.note(left, weight))
            if right >= 0:
                made.add(self.note(at, weight))
        del self.counts[pair]
        return made
        ### END SOLUTION


def learn_merges(words: Mapping[bytes, int], number: int) -> list[Pair]:
    """Return exactly the merges of `learn_merges_slowly`, in time O(N log N)."""
    ### BEGIN SOLUTION
    chain = Chain(words)
    heap = [(-count, pair) for pair, count in chain.counts.items()]
    heapq.heapify(heap)
    merges: list[Pair] = []
    while heap and len(merges) < number:
        promised, pair = heapq.heappop(heap)
        count = chain.counts.get(pair, 0)
        if count != -promised:
            heapq.heappush(heap, (-count, pair))
        elif count < 2:
            break
        else:
            made = chain.merge(pair, BYTES + len(merges))
            merges.append(pair)
            for fresh in made:
                heapq.heappush(heap, (-chain.counts[fresh], fresh))
    return merges
    ### END SOLUTION


# %%
chain = Chain({b"banana": 2})
print("an occurs", chain.counts[97, 110], "times, in places", chain.places[97, 110])
print("merging it makes", sorted(chain.merge((97, 110), 256)))
print("the list reads", [token for token in chain.token if token >= 0])
print("and now na occurs", chain.counts[110, 97], "times")
# Expected output:
# an occurs 4 times, in places [1, 3]
# merging it makes [(98, 256), (256, 97), (256, 256)]
# the list reads [98, 256, 256, 97]
# and now na occurs 0 times


# %%
#| test
def test_a_merge_keeps_the_counts_exact():
    for word, pair in ((b"banana", (97, 110)), (b"aaaaa", (97, 97))):
        chain = Chain({word: 3})
        chain.merge(pair, 256)
        left = [token for token in chain.token if token >= 0]
        assert left == merge(list(word), pair, 256)
        exact = count_pairs([(left, 3)])
        assert {pair: n for pair, n in chain.counts.items() if n} == dict(exact)


def test_fast_training_learns_what_slow_training_learns():
    for text in (
        "a" * 50 + " " + "ab" * 20,
        "she sells sea shells on the sea shore " * 2,
        "日本語の日本",
    ):
        words = word_counts([text])
        assert learn_merges(words, 40) == learn_merges_slowly(words, 40)


if __name__ == "__main__":
    test_a_merge_keeps_the_counts_exact()
    test_fast_training_learns_what_slow_training_learns()

# %% [markdown]
# ## Step 6: The tokenizer
#
# The merges are the model. To encode a word, start from its bytes and apply merges **in the order
# in which they were learned**: of all pairs in the word, take the one that was learned first, merge
# it everywhere, and look again until no pair is known.
#
#     merges   aa = 256, ab = 257, (256, 257) = 258
#     "aaab"   97 97 97 98  →  256 97 98  →  256 257  →  258
#
# The order matters. A greedy reader that takes the longest known token from the left may cut a
# word as it never was cut in training, and then the model sees tokens that it does not know there.
#
# Decoding is a table: token 258 stands for the bytes of 256 and 257, and so down to single bytes.
# Join the bytes of all tokens **first**, and read them as UTF-8 **then**: one character may be
# spread over several tokens, and none of these is valid text by itself. A model may also produce
# bytes that are no text at all; they are shown as `�`, unless `errors="strict"` is asked for.
#
# **Special tokens** are marks that are no text: "a document ends here", "the assistant speaks now".
# Such a mark has one id, is never cut, and never takes part in a merge; `split_at_marks` cuts the
# text around the marks. A stranger who types `<|end|>` into your chat should not be able to end
# your document: hence `allow_special=False`, with which it is seven ordinary characters.
#
#     "one<|end|>two"  →  "one", "<|end|>", "two"  →  encode · its id · encode
#
# A model without its tokenizer is worthless, so save both. The merges in their order and the
# special tokens in theirs are enough: all tables follow.


# %%
#| export
class BPETokenizer(PairTables):
    """A byte-level byte-pair encoding: any text can be written with it and read back.

    Ids 0 to 255 are the bytes, then come the merges in the order learned, then special tokens.

    Attributes:
        merges: The id of each merged pair, in the order learned.
        special_tokens: The id of each special token.
        vocab: The bytes that each id stands for.

    Given, in `tinytorch/utils/tokenizers.py`: `become(merges, special_tokens)`, which makes these
    tables; `vocab_size`; `encode_ordinary(text)`, which cuts a text where nothing is special into
    words, and calls your `encode_word` on those not met before; `save(path)` and `load(path)`.
    """

    def train(
        self, text: str, vocab_size: int = 512, special_tokens: Iterable[str] = ()
    ) -> "BPETokenizer":
        """Learn merges from a text, replacing what was known; return self.

        Args:
            text: What to learn from. Special tokens in it are boundaries, not material.
            vocab_size: Tokens to end up with: 256 bytes, the merges, the special tokens. Fewer
                if no pair of the text occurs twice any more.
            special_tokens: Marks that stand for themselves, such as "<|endoftext|>".
        """
        require_text(text, "train a tokenizer on")
        special_tokens = distinct_marks(special_tokens)
        number = room_for_merges(vocab_size, len(special_tokens))
        texts = [p for p in split_at_marks(text, special_tokens) if p not in special_tokens]
        ### BEGIN SOLUTION
        return self.become(learn_merges(word_counts(texts), number), special_tokens)
        ### END SOLUTION

    def encode_word(self, word: bytes) -> list[int]:
        """Apply the merges to one word, the first learned first.

        Cost: len(word) steps for each merge that applies.
        """
        ### BEGIN SOLUTION
        tokens = list(word)
        while len(tokens) > 1:
            pairs = set(pairwise(tokens))
            first = min(pairs, key=lambda pair: self.merges.get(pair, self.vocab_size))
            if first not in self.merges:
                break
            tokens = merge(tokens, first, self.merges[first])
        return tokens
        ### END SOLUTION

    def decode(self, ids: Iterable[int], errors: str = "replace") -> str:
        """Return the text of token ids; `plain_ids` checks that they are in the vocabulary.

        Args:
            ids: A list, an array or a Tensor of token ids.
            errors: What becomes of bytes that are no UTF-8, as in `bytes.decode`.
        """
        ### BEGIN SOLUTION
        numbers = plain_ids(ids, self.vocab_size)
        return b"".join([self.vocab[number] for number in numbers]).decode("utf-8", errors)
        ### END SOLUTION

    def encode(self, text: str, allow_special: bool = True) -> list[int]:
        """Return the token ids of a text: a special token is its id, any other part ordinary text.

        Args:
            text: Any text without lone surrogates.
            allow_special: Whether the text of a special token becomes its id. Say False for text
                from people you do not know: then it is ordinary text like any other.
        """
        to_bytes(require_str(text))  # a lone surrogate is refused with its place in the whole text
        specials = self.special_tokens if allow_special else {}
        parts = split_at_marks(text, specials)
        ### BEGIN SOLUTION
        ids: list[int] = []
        for part in parts:
            if part in specials:
                ids.append(specials[part])
            else:
                ids += self.encode_ordinary(part)
        return ids
        ### END SOLUTION


# %%
tokenizer = BPETokenizer().train("aaabdaaabac", 300, special_tokens=["<|end|>"])
print(tokenizer.merges, tokenizer.special_tokens)
print(tokenizer.encode_word(b"aaab"), tokenizer.encode_word(b"aab"))
print(tokenizer.decode([258, 240, 159, 153, 130]), tokenizer.decode([258, 240, 159]))
print(tokenizer.encode("aaabac<|end|>d"), tokenizer.decode([258, 97, 99, 259]))
# Expected output:
# {(97, 97): 256, (97, 98): 257, (256, 257): 258} {'<|end|>': 259}
# [258] [256, 98]
# aaab🙂 aaab�
# [258, 97, 99, 259, 100] aaabac<|end|>


# %%
#| test
TEXT = "the cat sat on the mat; the café's 日本語 menu 🙂, the cats sat. " * 3


def test_merges_apply_in_the_order_learned():
    tokenizer = BPETokenizer().train("aaabdaaabac", 259)
    assert (tokenizer.encode_word(b"aaab"), tokenizer.encode_word(b"aab")) == ([258], [256, 98])
    assert tokenizer.encode_word(b"xyz") == [120, 121, 122], "no pair of these was learned"


def test_any_text_round_trips():
    tokenizer = BPETokenizer().train(TEXT + "<s><s>x", 330, special_tokens=["<s>", "<s>x"])
    for text in (TEXT, "", "zebra\r\n\t", "Ω≈ç√ 👩‍👩‍👧 ﷽ \x00", "the<s>x<s> cat"):
        assert tokenizer.decode(tokenizer.encode(text), errors="strict") == text
    assert tokenizer.special_tokens["<s>x"] in tokenizer.encode("the<s>x")
    assert max(tokenizer.encode("<s>", allow_special=False)) < 328


if __name__ == "__main__":
    test_merges_apply_in_the_order_learned()
    test_any_text_round_trips()

# %% [markdown]
# ## Systems: what a vocabulary costs, and what it buys
#
# First the training time, on growing pieces of Tiny Shakespeare with 256 merges. The slow way pays
# for the whole text in each of the 256 rounds, the fast one only for what changes. Then what a
# larger vocabulary buys: each row trains on 200,000 characters and encodes 50,000 others. Halving
# the length divides the cost of attention by four; the embedding table grows in step with the
# vocabulary (counted here for a model 128 wide, in float32).

# %%
import time

from tinytorch.utils.sources import tiny_shakespeare

shakespeare = tiny_shakespeare()


def seconds(function, *arguments):
    """How long a call takes."""
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


print(" characters    slowly      fast")
for size in (8_000, 16_000, 32_000):
    words = word_counts([shakespeare[:size]])
    slow, fast = (seconds(f, words, 256) for f in (learn_merges_slowly, learn_merges))
    print(f"{size:>11,} {slow:>7.3f} s {fast:>7.3f} s")
# Expected output:
#  characters    slowly      fast
#       8,000 ... s ... s
#      16,000 ... s ... s
#      32,000 ... s ... s

# %%
train, held_out = shakespeare[:200_000], shakespeare[500_000:550_000]
print("vocabulary  bytes/token  attention  embedding")
for size in (256, 512, 1024, 2048):
    tokenizer = BPETokenizer().train(train, size)
    length = len(tokenizer.encode(held_out))
    share, table = (length / len(held_out)) ** 2, size * 128 * 4 / 1024
    print(f"{size:>10,} {len(held_out) / length:>12.2f} {share:>10.0%} {table:>6,.0f} KiB")
# Expected output:
# vocabulary  bytes/token  attention  embedding
#        256         1.00       100%    128 KiB
#        512         1.90        28%    256 KiB
#      1,024         2.30        19%    512 KiB
#      2,048         2.63        14%  1,024 KiB

# %% [markdown]
# ## Pitfalls
#
# - *Decoding token by token.* `"".join(decode([t]) for t in ids)` breaks every character that is
#   spread over two tokens. A program that streams text must hold back incomplete bytes.
# - *Taking any merge that fits.* The first one learned goes first, in the whole word, each time.
# - *Iterating over a set.* Ties broken by the order of a set give another tokenizer on each run.
# - *Counting pairs across words.* The slow trainer is then right by itself and wrong with the fast.
# - *Splitting by `text.split()`.* It drops the white space: decode cannot bring it back.
# - *Trusting special tokens in text from outside.* Say `allow_special=False`.
#
# ## What PyTorch and its neighbours do differently
#
# PyTorch has no tokenizer; `tiktoken` and Hugging Face's `tokenizers` do this job, in Rust. They
# cut with the Unicode classes `\p{L}` and `\p{N}`, which the standard library's `re` lacks; ours
# are `[^\W\d_]` and `\d`, so a fraction such as ½ counts as a letter here. GPT-2 maps bytes to
# printable characters before it stores them; we keep numbers. SentencePiece starts from
# characters instead of bytes and needs a token for the unknown; a byte-level tokenizer never does.
#
# ## Sources
#
# Gage, *A New Algorithm for Data Compression*, 1994 · Sennrich, Haddow and Birch, *Neural Machine
# Translation of Rare Words with Subword Units*, 2016, section 3.2 · Radford et al., *Language
# Models are Unsupervised Multitask Learners* (GPT-2), 2019, section 2.2 · Karpathy, *minbpe*, 2024.
#
# ## Reflect
#
# Write 150 to 300 words in `modules/10_tokenization/reflection.md`:
#
# Your tokenizer was trained on English. Encode a sentence in English and its translation into a
# language with another script, and compare the lengths. Who pays, in time and money, when a service
# charges by the token? What would you change, in the training text or in the algorithm, and what
# would that cost the English reader?
#
# ## Check yourself
#
#     tito checkpoint run 10       can I turn text into tokens and back without loss?
