"""Time the training of a byte-pair encoding on 0.25, 0.5 and 1 MB of text: is it near-linear?

    python scripts/bench/bench_bpe.py [--runs 5] [--json FILE]

Export module 10 first: `tito export 10`. Each row doubles the text; its ratio is the growth of the
time, 2.0 for a linear method, 4.0 for a quadratic one, and the limit is 2.5. Three kinds of text:
Tiny Shakespeare as shipped, where words repeat; the same without white space, cut into pieces at
signs only; and random letters without a single break, one word of a megabyte, the worst there is.
The exponent k of time ~ size^k follows from the two ratios. The slow trainer of step 4 is timed
once on a sixteenth of the smallest text, to show what it would take.
"""

import math
import time
from itertools import pairwise
from typing import Any

from _ratio import compare, finish, start

SIZES = (250_000, 500_000, 1_000_000)
VOCABULARY = 1024
LIMIT = 2.5


def texts() -> dict[str, str]:
    """A megabyte of each kind of text, ASCII only, so that characters are bytes."""
    import numpy as np

    from tinytorch.utils.sources import tiny_shakespeare

    plain = tiny_shakespeare()
    solid = "".join(plain.split())
    letters = np.random.default_rng(0).integers(97, 105, SIZES[-1], dtype=np.uint8)
    return {
        "Tiny Shakespeare": plain,
        "without white space": solid + solid[: SIZES[-1] - len(solid)],
        "one word of random letters": letters.tobytes().decode("ascii"),
    }


def main() -> int:
    """Run the comparisons and print them."""
    options = start(__doc__)
    from tinytorch.core import tokenization as course

    def train(text: str) -> Any:
        return lambda: lambda: course.BPETokenizer().train(text, VOCABULARY)

    rows = []
    for name, text in texts().items():
        growth = [
            compare(
                f"{name}, {large / 1e6:g} against {small / 1e6:g} MB",
                train(text[:large]),
                train(text[:small]),
                runs=options.runs,
                limit=LIMIT,
            )
            for small, large in pairwise(SIZES)
        ]
        exponent = math.log(growth[0].ratio * growth[1].ratio) / math.log(SIZES[-1] / SIZES[0])
        print(f"{name}: {growth[-1].ours:.2f} s for 1 MB, time ~ size^{exponent:.2f}")
        rows += growth
    piece = texts()["Tiny Shakespeare"][: SIZES[0] // 16]
    words, merges = course.word_counts([piece]), VOCABULARY - 256
    begin = time.perf_counter()
    course.learn_merges(words, merges)
    middle = time.perf_counter()
    course.learn_merges_slowly(words, merges)
    fast, slow = middle - begin, time.perf_counter() - middle
    print(f"{len(piece):,} characters: slowly {slow:.2f} s, fast {fast * 1e3:.0f} ms")
    return finish(rows, options, sides=("longer", "shorter"), vocabulary=VOCABULARY)


if __name__ == "__main__":
    raise SystemExit(main())
