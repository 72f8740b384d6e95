"""2018: the same answers, smaller and faster. Profile, prune, quantise, cache, and benchmark.

    python milestones/06_2018_mlperf/mlperf.py --quick     shipped digits, under a minute
    python milestones/06_2018_mlperf/mlperf.py             MNIST, minutes

Expected: a network that reads digits becomes at least 4 times smaller and loses at most one point
of accuracy; a GPT writes 256 tokens at least 5 times as fast, and the very same ones.

MLPerf compares by rules that all share: whoever is faster must give the same answers. So each step
is judged against the model before it. Removing half of the units takes whole rows away, int8 makes
a byte of four; together they pass what either reaches alone. The cache changes no answer at all.

The training is saved after every epoch, and goes on from there; the steps after it are done again.

Sources: Reddi et al. 2020, MLPerf inference; Han, Mao and Dally 2016, Deep compression.
"""

from dataclasses import dataclass

import numpy as np

from tinytorch.core.autograd import no_grad
from tinytorch.core.benchmarking import Offline, SingleStream, compare
from tinytorch.core.compression import prune_units
from tinytorch.core.dataloader import DataLoader, DigitsDataset, MNISTDataset
from tinytorch.core.layers import MLP, Module
from tinytorch.core.losses import CrossEntropyLoss
from tinytorch.core.memoization import CachedReader, KVCache
from tinytorch.core.optimizers import Adam, OneCycleLR
from tinytorch.core.profiling import Profiler, count_flops, count_parameters
from tinytorch.core.quantization import model_nbytes, quantize_model
from tinytorch.core.tensor import Tensor, manual_seed
from tinytorch.core.training import evaluate_model, train_step
from tinytorch.core.transformers import GPT, GPTConfig
from tinytorch.threads import blas
from tinytorch.utils.milestone import Run


@dataclass(frozen=True)
class Settings:
    """One size of the experiment."""

    hidden: tuple[int, ...]  # units of the hidden layers
    batch: int  # images in a step
    epochs: int  # of training
    tuning: int  # epochs after units were removed: the others must take over their work
    rate: float  # highest learning rate
    rounds: int  # in which the GPT writes both ways


SETTINGS = {
    "digits": Settings((128, 128), 32, 16, 5, 5e-3, 3),
    "mnist": Settings((512, 256), 128, 12, 3, 2e-3, 9),
}
REMOVED = (
    0.5  # of the units of each hidden layer; weights between two such layers fall to a quarter
)
CALIBRATION = 8  # batches from which int8 learns the ranges of the activations
SMALLER, POINTS, FASTER = 4.0, 1.0, 5.0  # what must be reached

PROMPT, TOKENS = 64, 256  # to read, and to write
REFERENCE = GPTConfig(vocab_size=65, block_size=PROMPT + TOKENS, n_layer=4, n_head=4, n_embd=128)
PLACES = (64, 192, 320)  # at which the cost of one token is measured


def one_epoch(model: Module, batches: DataLoader, optimizer, cycle, progress) -> float:
    """Train for one epoch; return the mean loss."""
    model.train()
    loss, total = CrossEntropyLoss(), 0.0
    for number, batch in enumerate(batches, start=1):
        total += train_step(model, loss, optimizer, [batch])
        cycle.step()
        progress.step(number, total / number)
    return total / number


def train(run: Run, s: Settings, batches: DataLoader, unseen: DataLoader, pixels: int) -> Module:
    """Train the network that all the others are judged against."""
    model = MLP(pixels, list(s.hidden), 10)
    optimizer = Adam(model.parameters(), lr=s.rate)
    cycle = OneCycleLR(optimizer, s.rate, epochs=s.epochs, steps_per_epoch=len(batches))
    for epoch in range(run.resume(model, optimizer, cycle, vars(s)), s.epochs):
        batches.set_epoch(epoch)
        progress = run.progress(f"epoch {epoch + 1}/{s.epochs}", len(batches))
        loss = one_epoch(model, batches, optimizer, cycle, progress)
        accuracy = evaluate_model(model, unseen)["accuracy"]
        run.note("test accuracy", epoch + 1, accuracy)
        progress.close({"loss": loss, "accuracy": accuracy})
        run.save(epoch + 1, model, optimizer, cycle)
        if epoch + 1 < s.epochs and run.time_is_up():
            run.stop(epoch + 1, s.epochs)
    return model


def tune(run: Run, s: Settings, model: Module, batches: DataLoader) -> None:
    """Let what is left of a network take over the work of what is gone."""
    optimizer = Adam(model.parameters(), lr=s.rate)
    cycle = OneCycleLR(optimizer, s.rate / 2, epochs=s.tuning, steps_per_epoch=len(batches))
    for epoch in range(s.tuning):
        batches.set_epoch(s.epochs + epoch)
        progress = run.progress(f"tuning {epoch + 1}/{s.tuning}", len(batches))
        progress.close({"loss": one_epoch(model, batches, optimizer, cycle, progress)})


def profile(model: Module, x: Tensor) -> None:
    """Say where the time of a batch goes, and what the model weighs."""
    profiler = Profiler()
    with no_grad(), profiler.watch(model.eval()):
        for _ in range(20):
            model(x)
    flops = count_flops(model, x) // len(x)
    print(f"\n1. profile: {count_parameters(model):,} parameters, {flops:,} FLOPs an image")
    print(profiler.report())


def in_scenarios(models: dict[str, Module], images: np.ndarray) -> None:
    """Run each model in two scenarios of MLPerf."""
    print("\n5. benchmark            SingleStream, 90%     Offline")
    for name, model in models.items():

        def system(batch: np.ndarray, model: Module = model) -> np.ndarray:
            with no_grad():
                return model(Tensor(batch)).numpy()

        one, many = (kind.run(system, images).value for kind in (SingleStream(), Offline()))
        print(f"   {name:<20} {one * 1e6:10.0f} µs {many:14,.0f} images a second")


def faster_writing(run: Run, s: Settings) -> float:
    """Write the same tokens with and without a cache; return how many times as fast it became."""
    model, size = GPT(REFERENCE).eval(), (1, REFERENCE.block_size)
    ids = np.random.default_rng(run.seed).integers(0, REFERENCE.vocab_size, size)
    with no_grad():
        for place in PLACES:
            reader, text = CachedReader(model), ids[:, :place]
            reader.next_logits(text[:, :-1])
            ways = (lambda one=one: one.next_logits(text) for one in (model, reader))  # noqa: B023
            cost = compare(*ways, warmup=1, repeats=3)
            run.note("ms a token, uncached", place, 1e3 * cost.seconds_a)
            run.note("ms a token, cached", place, 1e3 * cost.seconds_b)
    texts = []

    def write(use_cache: bool) -> None:
        texts.append(model.generate(ids[:, :PROMPT], TOKENS, use_cache=use_cache, seed=0).tolist())

    found = compare(lambda: write(False), lambda: write(True), warmup=0, repeats=s.rounds)
    megabytes = KVCache(REFERENCE).nbytes / 1e6
    print(f"\n4. cache: {TOKENS} tokens after {PROMPT}, {found.speedup:.1f} times as fast", end=" ")
    print(f"({found.low:.1f} to {found.high:.1f}), for {megabytes:.2f} MB a text")
    if any(text != texts[0] for text in texts):
        raise SystemExit("the texts differ: nothing was gained")
    return found.speedup


def main() -> None:
    """Train; then make it smaller and faster step by step, and judge every step."""
    run = Run(__file__, 2018, __doc__, datasets=("mnist", "digits"))
    if blas.set:
        blas.set(1)  # thread for both sides, so that other programs disturb less
    s = SETTINGS[run.dataset]
    if run.dataset == "digits":
        seen, test = (DigitsDataset(train=part, flatten=True) for part in (True, False))
    else:
        seen, test = (
            MNISTDataset(train=part, download=True, flatten=True) for part in (True, False)
        )
    batches = DataLoader(seen, batch_size=s.batch, shuffle=True, seed=run.seed)
    unseen = DataLoader(test, batch_size=500)
    images = np.concatenate([x.numpy() for x, _ in unseen])

    manual_seed(run.seed)
    model = train(run, s, batches, unseen, images.shape[1])
    profile(model, Tensor(images[:256]))

    pruned = prune_units(model, REMOVED)
    tune(run, s, pruned, batches)
    typical = [batch for _, batch in zip(range(CALIBRATION), batches, strict=False)]
    models = {"as trained": model, "int8": quantize_model(model, typical), "pruned": pruned}
    models["pruned, int8"] = quantize_model(pruned, typical)
    right = {name: evaluate_model(m.eval(), unseen)["accuracy"] for name, m in models.items()}
    weight = {name: model_nbytes(m) for name, m in models.items()}
    print("\n2. prune, 3. quantise          bytes   smaller   accuracy")
    for name in models:
        times = weight["as trained"] / weight[name]
        print(f"   {name:<20} {weight[name]:12,} {times:8.2f} × {right[name]:9.2%}")
    faster = faster_writing(run, s)
    in_scenarios(models, images)
    smaller = weight["as trained"] / weight["pruned, int8"]
    lost = 100 * (right["as trained"] - right["pruned, int8"])
    print(
        f"\n{smaller:.1f} times smaller, {lost:.2f} points lost, {faster:.1f} times as fast;",
        end=" ",
    )
    print(f"wanted: at least {SMALLER:g}, at most {POINTS:g}, at least {FASTER:g}")
    kept = lost <= POINTS and faster >= FASTER
    run.finish("smaller", smaller, target=SMALLER, holds=kept, points_lost=lost, faster=faster)


if __name__ == "__main__":
    main()
