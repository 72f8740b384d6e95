"""1986: learning by back-propagating errors. A multi-layer perceptron reads handwritten digits.

    python milestones/03_1986_mlp/mlp.py --quick     1,797 shipped digits of 8 x 8, some seconds
    python milestones/03_1986_mlp/mlp.py             MNIST, 70,000 of 28 x 28, minutes

Expected: at least 96% of unseen digits right on the shipped ones, at least 98% on MNIST.

The perceptron of 1957 had one layer because nobody knew how to blame a hidden unit for an error.
The chain rule does: module 05 hands the error backwards, layer by layer. What is newer than 1986
here is comfort: ReLU for the sigmoid, Adam for plain descent, dropout against learning by heart.

MNIST (11.6 MB) is downloaded into the user's cache the first time. The run keeps its state after
every epoch; after an interruption the same command goes on.

Sources: Rumelhart, Hinton and Williams 1986, Nature 323; LeCun et al. 1998 for MNIST.
"""

from dataclasses import dataclass

from tinytorch.core.activations import ReLU
from tinytorch.core.dataloader import DataLoader, DigitsDataset, MNISTDataset
from tinytorch.core.layers import MLP
from tinytorch.core.losses import CrossEntropyLoss
from tinytorch.core.optimizers import Adam, OneCycleLR
from tinytorch.core.tensor import manual_seed
from tinytorch.core.training import evaluate_model, train_step
from tinytorch.utils.milestone import Run


@dataclass(frozen=True)
class Settings:
    """One size of the experiment."""

    hidden: tuple[int, ...]  # units of the hidden layers
    dropout: float  # share of them that is silent in a step of training
    batch: int  # images in a step
    epochs: int
    rate: float  # highest learning rate of the cycle
    target: float  # share of unseen digits to get right


SETTINGS = {
    # Wide for 64 pixels, but it costs nothing; few images, so many epochs and small batches.
    "digits": Settings((128, 64), 0.1, 32, 40, 5e-3, 0.96),
    # Two layers of this size reach 98% without any tricks; dropout and the cycle make it safe.
    "mnist": Settings((512, 256), 0.2, 128, 15, 2e-3, 0.98),
}


def load(name: str):
    """The two halves of a data set, images flattened to rows of pixels."""
    if name == "digits":
        return DigitsDataset(flatten=True), DigitsDataset(train=False, flatten=True)
    train = MNISTDataset(download=True, flatten=True)
    return train, MNISTDataset(train=False, flatten=True)


def main() -> None:
    """Train epoch by epoch, saving after each; judge by the digits never trained on."""
    run = Run(__file__, 1986, __doc__, datasets=("mnist", "digits"))
    s = SETTINGS[run.dataset]
    train, test = load(run.dataset)
    batches = DataLoader(train, batch_size=s.batch, shuffle=True, seed=run.seed)
    unseen = DataLoader(test, batch_size=500)
    print(f"{len(train):,} digits to learn from, {len(test):,} to be judged by; {s}")

    manual_seed(run.seed)
    pixels = next(iter(unseen))[0].shape[1]
    model = MLP(pixels, list(s.hidden), 10, activation=ReLU, dropout=s.dropout)
    loss = CrossEntropyLoss()
    optimizer = Adam(model.parameters(), lr=s.rate)
    cycle = OneCycleLR(optimizer, s.rate, epochs=s.epochs, steps_per_epoch=len(batches))
    first = run.resume(model, optimizer, cycle, vars(s))

    for epoch in range(first, s.epochs):
        model.train()
        batches.set_epoch(epoch)
        progress, total = run.progress(f"epoch {epoch + 1}/{s.epochs}", len(batches)), 0.0
        for number, batch in enumerate(batches, start=1):
            total += train_step(model, loss, optimizer, [batch])
            cycle.step()
            progress.step(number, total / number)
        accuracy = evaluate_model(model, unseen)["accuracy"]
        run.note("training loss", epoch + 1, total / number)
        run.note("test accuracy", epoch + 1, accuracy)
        progress.close({"loss": total / number, "accuracy": accuracy})
        run.save(epoch + 1, model, optimizer, cycle)
        if epoch + 1 < s.epochs and run.time_is_up():
            run.stop(epoch + 1, s.epochs)

    judged = evaluate_model(model, unseen)
    run.finish("accuracy", judged["accuracy"], target=s.target, test_loss=judged["loss"])


if __name__ == "__main__":
    main()
