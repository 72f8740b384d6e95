"""2017: attention is all you need. A character GPT reads Shakespeare and writes on.

    python milestones/05_2017_transformer/transformer.py --quick     under a minute
    python milestones/05_2017_transformer/transformer.py             2,000 steps, see README.md

Expected: a loss on unseen text of at most 2.40 nats a character when quick, 1.88 in full (log 65 =
4.17 is knowing nothing), and a printed sample; in full one with words, lines and speakers.

The task is only ever "which character comes next?". The first nine tenths of the text are to learn
from, the last tenth is never seen in training and judges. The full run keeps its state; after an
interruption the same command goes on. The figure of 1.88 is that of nanoGPT for this size.

Sources: Vaswani et al. 2017, Attention is all you need; Radford et al. 2019 (GPT-2); Karpathy 2022,
nanoGPT, "train_shakespeare_char" on a CPU.
"""

from dataclasses import dataclass

import numpy as np

from tinytorch.core.autograd import no_grad
from tinytorch.core.optimizers import AdamW, LRScheduler, clip_grad_norm_
from tinytorch.core.tensor import manual_seed
from tinytorch.core.tokenization import CharTokenizer
from tinytorch.core.transformers import GPT, GPTConfig
from tinytorch.utils.milestone import Run
from tinytorch.utils.sources import tiny_shakespeare


@dataclass(frozen=True)
class Settings:
    """One size of the experiment."""

    layers: int
    heads: int
    width: int  # features of a character
    block: int  # characters the model sees at once
    batch: int  # windows in a step
    steps: int
    rate: float  # highest learning rate
    target: float  # nats a character, on unseen text


FULL = Settings(4, 4, 128, 64, 12, 2000, 2e-3, 1.88)  # nanoGPT's sizes for a CPU, twice its rate
QUICK = Settings(2, 4, 64, 32, 16, 300, 4e-3, 2.40)  # small models bear, and need, larger steps

WARM_UP = 100  # steps of a rising rate: Adam's averages are worth nothing at first
LAST_RATE = 0.1  # of the highest, at the end of half a cosine
BETAS = (0.9, 0.99)  # batches are small and gradients noisy, but 2,000 steps are few: not 0.999
WEIGHT_DECAY = 0.1  # on matrices only: norms and biases have nothing to forget
MAX_NORM = 1.0  # of the gradient: an unlucky batch may not throw the model off
SAVE_EVERY = 100  # steps: what an interruption may cost
LOOK_EVERY = 16  # every 16th window of the unseen text on the way; all of them at the end
PROMPT, SAMPLE, TEMPERATURE = "\n", 400, 0.8  # a little bolder than always the likeliest


class WarmUpThenCosine(LRScheduler):
    """Rise to the rate in `warm_up` steps, then fall to a share of it by half a cosine."""

    def __init__(self, optimizer, warm_up: int, steps: int, last: float):
        self.warm_up, self.steps, self.last = warm_up, steps, last
        super().__init__(optimizer)

    def lr_at(self, base: float, t: int) -> float:
        """The rate of step t."""
        if t < self.warm_up:
            return base * (t + 1) / self.warm_up
        share = (t - self.warm_up) / max(1, self.steps - self.warm_up)
        return base * (self.last + (1 - self.last) * (1 + np.cos(np.pi * min(1.0, share))) / 2)


def windows(text: np.ndarray, starts: np.ndarray, block: int) -> tuple[np.ndarray, np.ndarray]:
    """The windows that begin at `starts` (B,), and the same one character on: both (B, T)."""
    places = starts[:, None] + np.arange(block)
    return text[places], text[places + 1]


def unseen_loss(model: GPT, text: np.ndarray, every: int = 1) -> float:
    """The mean loss over windows that cover the text without overlap, or every n-th of them."""
    block = model.config.block_size
    starts = np.arange(0, len(text) - block, block)[::every]
    total = 0.0
    model.eval()
    with no_grad():
        for part in np.array_split(starts, max(1, len(starts) // 64)):
            _, loss = model(*windows(text, part, block))
            total += loss.item() * len(part)
    model.train()
    return total / len(starts)


def make_optimizer(model: GPT, rate: float) -> AdamW:
    """AdamW with two groups: matrices decay, vectors do not."""
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": WEIGHT_DECAY},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return AdamW(groups, lr=rate, betas=BETAS)


def main() -> None:
    """Train, saving on the way; measure on all of the unseen text; write a sample."""
    run = Run(__file__, 2017, __doc__)
    s = QUICK if run.quick else FULL
    text = tiny_shakespeare()
    tokenizer = CharTokenizer(text)
    ids = np.array(tokenizer.encode(text))
    cut = len(ids) * 9 // 10
    seen, unseen = ids[:cut], ids[cut:]

    manual_seed(run.seed)
    model = GPT(GPTConfig(tokenizer.vocab_size, s.block, s.layers, s.heads, s.width))
    optimizer = make_optimizer(model, s.rate)
    schedule = WarmUpThenCosine(optimizer, WARM_UP, s.steps, LAST_RATE)
    print(f"{sum(p.size for p in model.parameters()):,} parameters, {s}")
    first = run.resume(model, optimizer, schedule, vars(s))

    for begin in range(first, s.steps, SAVE_EVERY):
        end = min(begin + SAVE_EVERY, s.steps)
        progress, losses = run.progress(f"step {end}/{s.steps}", end - begin), []
        for step in range(begin, end):
            rng = np.random.default_rng((run.seed, step))  # so that a resumed run draws the same
            starts = rng.integers(0, len(seen) - s.block, s.batch)
            _, loss = model(*windows(seen, starts, s.block))
            optimizer.zero_grad()
            loss.backward()
            clip_grad_norm_(model.parameters(), MAX_NORM)
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
            progress.step(step + 1 - begin, losses[-1])
        on_unseen = unseen_loss(model, unseen, LOOK_EVERY)
        run.note("training loss", end, float(np.mean(losses)))
        run.note("validation loss", end, on_unseen)
        progress.close({"loss": float(np.mean(losses)), "validation": on_unseen})
        run.save(end, model, optimizer, schedule)
        if end < s.steps and run.time_is_up():
            run.stop(end, s.steps)

    model.eval()
    prompt = [tokenizer.encode(PROMPT)]
    written = model.generate(prompt, SAMPLE, temperature=TEMPERATURE, seed=run.seed)
    run.sample(tokenizer.decode(written.tolist()[0]).strip())
    run.finish(
        "loss",
        unseen_loss(model, unseen),
        target=s.target,
        better="lower",
        training_loss=float(np.mean(losses)) if first < s.steps else float("nan"),
    )


if __name__ == "__main__":
    main()
