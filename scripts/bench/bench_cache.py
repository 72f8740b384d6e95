"""Time writing 256 tokens with a cache of keys and values against writing them without.

    python scripts/bench/bench_cache.py [--runs N] [--threads N] [--json FILE]

4 layers, 4 heads, 128 wide, 65 tokens, a prompt of 64, one text, random weights; block 320, which
just holds both, so that the window never slides. Needs the exported modules up to 17 (tito export
--all). Both sides must write the same text. The cached side has the limit of 0.2 times the other,
five times as fast; one token after 256 others, eight texts at once, and a block of 64, whose window
slides, are printed without one.
"""

from typing import Any

from _ratio import Ratio, Side, compare, finish, start

LAYERS, HEADS, WIDTH, BLOCK, VOCAB = 4, 4, 128, 320, 65
PROMPT, TOKENS = 64, 256
LIMIT = 0.2


def main() -> int:
    """Compare, print the table, and fail if the cache gains too little."""
    options = start(__doc__)
    import numpy as np

    from tinytorch.core.autograd import no_grad
    from tinytorch.core.memoization import CachedReader
    from tinytorch.core.tensor import manual_seed
    from tinytorch.core.transformers import GPT, GPTConfig

    manual_seed(0)
    rng = np.random.default_rng(0)
    model = GPT(GPTConfig(VOCAB, BLOCK, LAYERS, HEADS, WIDTH))
    slides = GPT(GPTConfig(VOCAB, 64, LAYERS, HEADS, WIDTH))

    def writing(model: Any, batch: int, tokens: int, use_cache: bool) -> Side:
        ids = rng.integers(0, VOCAB, (batch, PROMPT))
        return lambda: lambda: model.generate(ids, tokens, seed=0, use_cache=use_cache)

    def row(name: str, model: Any, batch: int, tokens: int, limit: float | None = None) -> Ratio:
        sides = (writing(model, batch, tokens, use_cache) for use_cache in (True, False))
        return compare(name, *sides, runs=options.runs, limit=limit)

    ids = rng.integers(0, VOCAB, (1, PROMPT))
    texts = [model.generate(ids, TOKENS, seed=0, use_cache=on).tolist() for on in (True, False)]
    if texts[0] != texts[1]:
        raise SystemExit("the texts differ with and without a cache")

    def plain(text: Any) -> None:
        with no_grad():
            model.next_logits(text)

    text, reader = rng.integers(0, VOCAB, (1, TOKENS)), CachedReader(model)
    reader.next_logits(text[:, :-1])
    rows = [
        row(f"{TOKENS} tokens", model, 1, TOKENS, LIMIT),
        compare(
            f"  token {TOKENS} alone",
            lambda: lambda: reader.next_logits(text),
            lambda: lambda: plain(text),
            runs=options.runs,
        ),
        row("  8 texts, 32 tokens", model, 8, 32),
        row("  32 tokens, block 64", slides, 1, 32),
    ]
    status = finish(rows, options, sides=("cached", "uncached"))
    first = rows[0]
    print(
        f"{TOKENS} tokens: {1 / first.ratio:.1f} times as fast with a cache "
        f"({1 / first.high:.1f} to {1 / first.low:.1f})"
    )
    return status


if __name__ == "__main__":
    raise SystemExit(main())
