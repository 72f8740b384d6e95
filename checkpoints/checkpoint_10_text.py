"""Checkpoint 10: Can I turn text into tokens and back without loss?

Passing proves that your tokenizers number what they know and refuse what they do not, that
byte-pair encoding learns exactly the merges that its definition gives, in time that grows with the
text, and that any text comes back unchanged: from its tokens, special ones, and a saved file.
"""

import re
from collections import Counter
from itertools import pairwise

import numpy as np

from checkpoints.feedback import (
    asks,
    expect_at_most,
    expect_equal,
    expect_raises,
    expect_true,
    probe,
    timed,
)
from tinytorch.core.tokenization import (
    BPETokenizer,
    Chain,
    CharTokenizer,
    count_pairs,
    learn_merges,
    learn_merges_slowly,
    merge,
    most_frequent,
    to_bytes,
    word_counts,
)

BESIDE = probe("""
import tempfile

folder = tempfile.TemporaryDirectory()

def path(name):
    return f"{folder.name}/{name}"
""")

SCRIPTS = (
    "abcdefghijklmnopqrstuvwxyz",
    "αβγδεζηθ",
    "日本語中文字",
    "🙂🚀👩‍👩‍👧🇩🇪",
    "çé½²ñ_'",
    " \n\t",
)


def pairs_of(parts):
    """Count all pairs in (tokens, weight) words, overlaps included."""
    counts = Counter()
    for tokens, weight in parts:
        for at in range(len(tokens) - 1):
            counts[tokens[at], tokens[at + 1]] += weight
    return counts


def merged(tokens, pair, new):
    """Replace a pair from left to right."""
    out = []
    for token in tokens:
        out.append(token)
        if len(out) > 1 and (out[-2], out[-1]) == pair:
            out[-2:] = [new]
    return out


def reference_merges(words, number):
    """Byte-pair encoding by its definition, from words with counts."""
    parts, merges = [(list(word), weight) for word, weight in words.items()], []
    while len(merges) < number:
        counts = pairs_of(parts)
        if not counts or max(counts.values()) < 2:
            break
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        parts = [(merged(tokens, best, 256 + len(merges)), weight) for tokens, weight in parts]
        merges.append(best)
    return merges


def reference_encode(words, merges):
    """Encode words of bytes: every merge in turn, over the whole word."""
    ids = []
    for word in words:
        tokens = list(word)
        for rank, pair in enumerate(merges):
            if len(tokens) > 1:
                tokens = merged(tokens, pair, 256 + rank)
        ids += tokens
    return ids


def babble(rng, words, vocabulary=200):
    """Text in a made-up language: some words are frequent, most are rare."""
    letters = np.array(list("aeioubcdfghlmnprst"))
    known = ["".join(rng.choice(letters, rng.integers(1, 9))) for _ in range(vocabulary)]
    ranks = np.arange(1, vocabulary + 1)
    picked = rng.choice(vocabulary, words, p=1 / ranks / (1 / ranks).sum())
    return " ".join(known[i] for i in picked)


def mixed_text(rng, length=300):
    """Characters of many scripts, in random order."""
    chars = "".join(SCRIPTS)
    return "".join(chars[i] for i in rng.integers(0, len(chars), length))


def pieces(text):
    """Cut a text as the course's pattern does, on the trusted side."""
    pattern = r"'(?:[sdmt]|ll|ve|re)| ?[^\W\d_]+| ?\d+| ?(?:[^\s\w]|_)+|\s+(?!\S)|\s+"
    return [piece.encode() for piece in re.findall(pattern, text)]


def as_pairs(merges):
    """A list of merges as tuples, whatever pairs it holds."""
    return [tuple(pair) for pair in merges]


@asks("imports", step=1, of="CharTokenizer", hint="the steps are functions that can be used alone")
def test_everything_is_there():
    """Train both tokenizers, and call the functions that they are made of."""
    expect_equal(CharTokenizer("abba").vocab_size, 2, call="CharTokenizer('abba').vocab_size")
    trained = BPETokenizer().train("abababab", 258)
    expect_equal(trained.vocab_size, 258, call="BPETokenizer().train('abababab', 258).vocab_size")
    expect_equal(dict(word_counts(["go go"])), {b"go": 1, b" go": 1}, call="word_counts(['go go'])")
    for learn in (learn_merges, learn_merges_slowly):
        expect_equal(as_pairs(learn({b"ab": 2}, 1)), [(97, 98)], call="both ways to learn merges")


@asks("functionality", step=1, of="CharTokenizer.encode", hint="a character is a str of length 1")
def test_characters_of_any_script_round_trip(rng):
    """Encode and decode a text of many scripts; its ids are ranks in sorted order."""
    text = mixed_text(rng)
    tokenizer, alphabet = CharTokenizer().train(text), sorted(set(text))
    ids = tokenizer.encode(text)
    expect_equal(ids, [alphabet.index(c) for c in text], call="CharTokenizer.encode")
    expect_equal(tokenizer.decode(np.array(ids)), text, call="CharTokenizer.decode(array)")


@asks("functionality", step=1, of="CharTokenizer.encode", hint="nothing may be dropped silently")
def test_unknown_characters_and_ids_are_refused():
    """Encode "abxc" with an alphabet of abc, and decode an id that does not exist."""
    encode, decode = CharTokenizer("abc").encode, CharTokenizer("abc").decode
    expect_raises(ValueError, encode, "abxc", call="CharTokenizer.encode", mentions=["'x'", 2])
    expect_raises(ValueError, decode, [-1], call="CharTokenizer.decode([-1])", mentions=[-1])


@asks("functionality", step=2, of="to_bytes", hint="UTF-8 has one to four bytes a character")
def test_text_becomes_bytes_and_half_characters_are_refused():
    """Encode "Aé語🙂" as bytes; refuse a lone surrogate and say where it is."""
    expected = [65, 195, 169, 232, 170, 158, 240, 159, 153, 130]
    expect_equal(list(to_bytes("Aé語🙂")), expected, call="to_bytes('Aé語🙂')")
    call = "to_bytes('ab\\ud83d')"
    expect_raises(ValueError, to_bytes, "ab\ud83d", call=call, mentions=["position 2", "surrogate"])


@asks("functionality", step=3, of="count_pairs", hint="every neighbour counts, times the weight")
def test_pairs_count_overlaps_and_weights(rng):
    """Count pairs in `aaa` (2 of them) and in random words with weights."""
    expect_equal(int(count_pairs([([5, 5, 5], 1)])[5, 5]), 2, call="count_pairs of [5, 5, 5]")
    parts = [(rng.integers(0, 3, rng.integers(0, 9)).tolist(), weight) for weight in range(1, 9)]
    expected, counts = pairs_of(parts), count_pairs(parts)
    for pair, count in expected.items():
        expect_equal(int(counts.get(pair, 0)), count, call=f"count_pairs(…)[{pair}]")


@asks("functionality", step=3, of="most_frequent", hint="count first, then the pair itself")
def test_ties_go_to_the_smaller_pair():
    """Choose among pairs of equal counts, in whatever order they come."""
    counts = {(5, 1): 3, (2, 9): 3, (2, 8): 3, (0, 0): 2, (300, 1): 3}
    for order in (list(counts), list(counts)[::-1]):
        best = most_frequent({pair: counts[pair] for pair in order})
        expect_equal(tuple(best), (2, 8), call="most_frequent")


@asks("functionality", step=3, of="merge", hint="go from left to right and use each token once")
def test_merging_goes_from_left_to_right(rng):
    """Merge (1, 1) in [1, 1, 1], and pairs in random tokens."""
    expect_equal(merge([1, 1, 1], (1, 1), 9), [9, 1], call="merge([1, 1, 1], (1, 1), 9)")
    for _ in range(20):
        tokens, pair = [int(t) for t in rng.integers(0, 2, 12)], (int(rng.integers(2)), 1)
        expect_equal(merge(tokens, pair, 7), merged(tokens, pair, 7), call=f"merge({tokens}, …)")


@asks("functionality", step=4, of="word_counts", hint="the pieces together are the text")
def test_words_are_counted_and_nothing_is_lost(rng):
    """Count the words of several texts, white space and signs included."""
    texts = ["the cat  sat.\n", mixed_text(rng), "the cat's 42 "]
    expected = Counter(piece for text in texts for piece in pieces(text))
    expect_equal(dict(word_counts(texts)), dict(expected), call="word_counts")


@asks("functionality", step=4, of="learn_merges_slowly", hint="count, take the best, merge, again")
def test_slow_training_follows_gage():
    """Learn the merges of aaabdaaabac: aa, ab, and then the two of them together."""
    for number in (100, 1):
        got = as_pairs(learn_merges_slowly({b"aaabdaaabac": 1}, number))
        call = f"learn_merges_slowly({{b'aaabdaaabac': 1}}, {number})"
        expect_equal(got, [(97, 97), (97, 98), (256, 257)][:number], call=call)


@asks("functionality", step=5, of="Chain.merge", hint="each merge changes the pairs on both sides")
def test_chain_keeps_its_counts_exact(rng):
    """Merge three pairs in a Chain and compare its counts with counting again."""
    words = {bytes(rng.integers(97, 100, n).tolist()): int(n) for n in (12, 3, 7, 20)}
    chain, parts = Chain(words), [(list(word), weight) for word, weight in words.items()]
    for new in (256, 257, 258):
        counts = pairs_of(parts)
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        made = {tuple(pair) for pair in list(chain.merge(best, new))}
        parts = [(merged(tokens, best, new), weight) for tokens, weight in parts]
        exact = pairs_of(parts)
        for pair in sorted(set(exact) | set(counts)):
            expect_equal(int(chain.counts[pair]), exact[pair], call=f"Chain.counts[{pair}]")
        missing = {pair for pair in exact if new in pair} - made
        expect_true(not missing, call="Chain.merge", expected="all new pairs", got=str(missing))


@asks("functionality", step=5, of="learn_merges", hint="a heap entry may be out of date")
def test_fast_training_learns_what_the_definition_says(rng):
    """Learn merges from random words, many of them with runs and ties, and compare."""
    for letters, longest in ((1, 40), (2, 25), (3, 12), (20, 12)):
        words = {
            bytes(rng.integers(97, 97 + letters, rng.integers(0, longest)).tolist()): int(weight)
            for weight in rng.integers(1, 4, 12)
        }
        got = as_pairs(learn_merges(words, 30))
        expect_equal(got, reference_merges(words, 30), call=f"learn_merges({words}, 30)"[:70])


@asks("functionality", step=6, of="BPETokenizer.train", hint="bytes, then merges, then specials")
def test_training_fills_the_vocabulary_that_was_asked_for(rng):
    """Train BPETokenizer and compare its merges, ids and size."""
    text = babble(rng, 300)
    tokenizer = BPETokenizer().train(text, 300)
    expected = reference_merges(Counter(pieces(text)), 44)
    got = [(tuple(pair), number) for pair, number in dict(tokenizer.merges).items()]
    expect_equal(got, [(p, 256 + i) for i, p in enumerate(expected)], call="BPETokenizer.merges")
    expect_equal(tokenizer.vocab_size, 300, call="BPETokenizer.vocab_size")


@asks("functionality", step=6, of="BPETokenizer.encode_word", hint="first learned, first applied")
def test_encoding_applies_merges_in_the_order_learned(rng):
    """Encode aaab after aa, ab, aaab were learned; abc after bc, then ab; then a longer text."""
    trained = BPETokenizer().train("aaabdaaabac", 259)
    expect_equal(trained.encode("aaab"), [258], call="BPETokenizer.encode('aaab')")
    trained = BPETokenizer().train("bc,bc,bc,ab,ab", 258)  # bc is 256, ab is 257
    expect_equal(trained.encode("abc"), [97, 256], call="BPETokenizer.encode('abc')")
    text = babble(rng, 400)
    tokenizer = BPETokenizer().train(text, 420)
    merges = reference_merges(Counter(pieces(text)), 164)
    new = babble(rng, 60) + text[:200]
    expect_equal(tokenizer.encode(new), reference_encode(pieces(new), merges), call="encode")


@asks("functionality", step=6, of="BPETokenizer.decode", hint="a token may hold half a character")
def test_any_unicode_text_round_trips(rng):
    """Encode and decode texts of all scripts, also those that training never saw."""
    emoji = BPETokenizer().train("🙂🙂🙂", 256)
    expect_equal(emoji.decode([240, 159, 153, 130]), "🙂", call="decode(the four bytes of 🙂)")
    expect_equal(emoji.decode([65, 240, 159]), "A\ufffd", call="decode(half a character)")
    tokenizer = BPETokenizer().train(mixed_text(rng, 2000), 400)
    for text in (mixed_text(rng), babble(rng, 20), "", "\x00\r\n", "\u2028 \u00a0\U0010ffff"):
        ids = np.array(tokenizer.encode(text), int)
        expect_equal(tokenizer.decode(ids), text, call="decode(encode(text))")


@asks("functionality", step=6, of="BPETokenizer.decode", hint="a negative index of a list is valid")
def test_ids_outside_the_vocabulary_are_refused():
    """Decode ids -1 and vocab_size."""
    tokenizer = BPETokenizer().train("abababab", 258)
    for wrong in (-1, 258):
        call = f"BPETokenizer.decode([97, {wrong}])"
        expect_raises(ValueError, tokenizer.decode, [97, wrong], call=call, mentions=[wrong, 258])


@asks("functionality", step=6, of="BPETokenizer.encode", hint="one id, never cut")
def test_special_tokens_are_never_cut(rng):
    """Train with two special tokens, one inside the other, and encode text that has them."""
    text = babble(rng, 100) + "<|a|><|a|><|a|>" + babble(rng, 100)
    tokenizer = BPETokenizer().train(text, 320, special_tokens=["<|a|>", "<|a|>b"])
    expect_equal(tokenizer.vocab_size, 320, call="BPETokenizer.vocab_size with two specials")
    ids = tokenizer.encode("no<|a|>b<|a|>no")
    expect_equal([i for i in ids if i >= 318], [319, 318], call="encode('no<|a|>b<|a|>no')")
    expect_equal(tokenizer.decode(ids), "no<|a|>b<|a|>no", call="decode(encode(…))")
    ordinary = tokenizer.encode("<|a|>", allow_special=False)
    expect_equal(ordinary, list(b"<|a|>"), call="encode('<|a|>', allow_special=False)")


@asks("integration", step=6, of="BPETokenizer.encode", hint="what is saved must be all that counts")
def test_a_saved_tokenizer_loads_unchanged(rng):
    """Save a tokenizer, load it, and compare special tokens and encodings."""
    text, path = babble(rng, 200), BESIDE.path("tokenizer.json")
    BPETokenizer().train(text, 300, special_tokens=["<z>", "<a>"]).save(path)
    loaded, merges = BPETokenizer.load(path), reference_merges(Counter(pieces(text)), 42)
    expected = [298, *reference_encode(pieces(text), merges), 299]
    expect_equal(loaded.encode(f"<z>{text}<a>"), expected, call="load(…).encode")


@asks("integration", step=6, of="BPETokenizer.encode", hint="frequent pairs became single tokens")
def test_a_larger_vocabulary_shortens_held_out_text(rng):
    """Encode new text of the same language with growing vocabularies; round-trip each time."""
    text = babble(rng, 2000)
    train, new = text[: len(text) // 2], text[len(text) // 2 :]
    lengths = []
    for size in (256, 300, 500):
        tokenizer = BPETokenizer().train(train, size)
        ids = tokenizer.encode(new)
        expect_equal(tokenizer.decode(ids), new, call="decode(encode(new))")
        lengths.append(len(ids))
    expect_equal(lengths[0], len(new.encode()), call="tokens with a vocabulary of 256")
    ok = lengths[2] < 0.6 * lengths[0] and lengths[2] < lengths[1] < lengths[0]
    call = "tokens by vocabulary"
    expect_true(ok, call=call, expected="ever fewer, 40% less at 500", got=lengths)


class Counted:
    """Trusted fast training: words by pair, so that a merge visits only words that hold it."""

    def __init__(self, words):
        self.parts = [(list(word), weight) for word, weight in words.items()]
        self.counts, self.homes = Counter(), {}
        for home, (tokens, weight) in enumerate(self.parts):
            self.count(home, tokens, weight)

    def count(self, home, tokens, weight):
        for pair in pairwise(tokens):
            self.counts[pair] += weight
            self.homes.setdefault(pair, set()).add(home)

    def learn(self, number):
        for new in range(256, 256 + number):
            best = min(self.counts, key=lambda pair: (-self.counts[pair], pair))
            for home in self.homes.pop(best):
                tokens, weight = self.parts[home]
                self.count(home, tokens, -weight)
                self.parts[home] = (merged(tokens, best, new), weight)
                self.count(home, *self.parts[home])


@asks("performance", step=5, of="Chain.merge", hint="visit the places of the pair, not the text")
def test_training_costs_what_changes(rng):
    """Learn 200 merges from 2,000 distinct words, against updating word by word."""
    words = dict(Counter(pieces(babble(rng, 15_000, vocabulary=2_000))))
    yours = timed(learn_merges, words, 200, repeat=2)
    reference = timed(lambda: Counted(words).learn(200), repeat=2)
    call = "learn_merges(words, 200)"
    expect_at_most(yours / reference, 1.5, call=call, what="time against word by word")


@asks("performance", step=5, of="learn_merges", hint="each merge must cost only what it changes")
def test_training_grows_with_the_text(rng):
    """Learn 100 merges from one word of 5,000 bytes and one of 40,000: at most 30 times longer."""
    short, long = (bytes(rng.integers(97, 105, n).tolist()) for n in (5_000, 40_000))
    few, many = (timed(learn_merges, {word: 1}, 100, repeat=3) for word in (short, long))
    expect_at_most(many / few, 30.0, call="learn_merges", what="growth for 8 times the bytes")


@asks("performance", step=6, of="BPETokenizer.encode_word", hint="a word met before is looked up")
def test_encoding_keeps_up_with_the_text(rng):
    """Encode 40,000 words, against splitting them and looking each up in a dictionary."""
    text = babble(rng, 40_000)
    tokenizer = BPETokenizer().train(text[:20_000], 500)
    table = {word: [1, 2, 3] for word in pieces(text)}
    yours = timed(tokenizer.encode, text, repeat=2)
    reference = timed(lambda: [i for word in pieces(text) for i in table[word]], repeat=2)
    expect_at_most(yours / reference, 5.0, call="BPETokenizer.encode", what="time against a table")
