"""1998: an eye that slides. LeNet reads digits, a modern small network tells photographs apart.

    python milestones/04_1998_cnn/cnn.py --quick                 shipped digits, under a minute
    python milestones/04_1998_cnn/cnn.py                         MNIST with LeNet
    python milestones/04_1998_cnn/cnn.py --dataset cifar10       photographs; see --minutes

Expected, on unseen images: at least 98% of the shipped digits, 99% of MNIST, 75% of CIFAR-10.

A fully connected layer must learn a stroke anew at every place it may appear. A convolution learns
it once and slides it over the image; pooling then forgets exactly where it was. LeNet-5 has two
such pairs and three linear layers. Fifteen years later networks grew deeper, with 3 x 3 filters,
batch normalisation, and one average instead of the wide linear layers: the network for CIFAR-10.

Data are downloaded into the user's cache the first time (MNIST 11.6 MB, CIFAR-10 170 MB). The run
keeps its state after every epoch; after an interruption the same command goes on.

Sources: LeCun, Bottou, Bengio and Haffner 1998; Ioffe and Szegedy 2015; Lin, Chen and Yan 2014 for
the global average; Simonyan and Zisserman 2015 for stacked 3 x 3 filters.
"""

from dataclasses import dataclass

from tinytorch.core.activations import ReLU
from tinytorch.core.dataloader import (
    CIFAR10Dataset,
    Compose,
    DataLoader,
    DigitsDataset,
    MNISTDataset,
    Normalize,
    RandomCrop,
    RandomHorizontalFlip,
)
from tinytorch.core.layers import Flatten, Linear, Module, Sequential
from tinytorch.core.losses import CrossEntropyLoss
from tinytorch.core.optimizers import AdamW, OneCycleLR
from tinytorch.core.spatial import BatchNorm2d, Conv2d, GlobalAvgPool2d, MaxPool2d
from tinytorch.core.tensor import manual_seed
from tinytorch.core.training import evaluate_model, train_step
from tinytorch.utils.milestone import Run


@dataclass(frozen=True)
class Settings:
    """One size of the experiment."""

    batch: int  # images in a step
    epochs: int
    rate: float  # highest learning rate of the cycle
    decay: float  # of the weights, at every step times the rate
    target: float  # share of unseen images to get right


SETTINGS = {
    # 45 steps an epoch, on 8 x 8 pixels: epochs are cheap, and 98% needs no more of them.
    "digits": Settings(32, 15, 5e-3, 1e-2, 0.98),
    # LeNet was trained for 20 passes; with Adam and the cycle, twelve do.
    "mnist": Settings(64, 12, 3e-3, 1e-2, 0.99),
    # Three epochs come near 75%; the slow end of the cycle brings another ten points.
    "cifar10": Settings(128, 8, 5e-3, 5e-2, 0.75),
}
WIDTH = 32  # channels of the first block for CIFAR-10; each block doubles them
MNIST_SCALE = (0.1307, 0.3081)  # mean and deviation of the pixels in 0..1
DIGITS_SCALE = (0.3053, 0.3761)  # the same for the shipped digits


def lenet(pixels: int) -> Sequential:
    """LeNet-5 for images (1, 28, 28), and its little sister for (1, 8, 8)."""
    if pixels == 28:
        eye = [Conv2d(1, 6, 5, padding=2), ReLU(), MaxPool2d(2)]  # (N, 6, 14, 14)
        eye += [Conv2d(6, 16, 5), ReLU(), MaxPool2d(2)]  # (N, 16, 5, 5)
        wide, narrow = 16 * 5 * 5, (120, 84)
    else:
        eye = [Conv2d(1, 16, 3, padding=1), ReLU(), MaxPool2d(2)]  # (N, 16, 4, 4)
        eye += [Conv2d(16, 32, 3, padding=1), ReLU(), MaxPool2d(2)]  # (N, 32, 2, 2)
        wide, narrow = 32 * 2 * 2, (64,)
    sizes = (wide, *narrow)
    head = [part for a, b in zip(sizes, narrow, strict=False) for part in (Linear(a, b), ReLU())]
    return Sequential(*eye, Flatten(), *head, Linear(sizes[-1], 10))


def block(channels: int, filters: int) -> list[Module]:
    """Two normalised 3 x 3 convolutions, then half the height and width."""
    parts: list[Module] = []
    for inputs in (channels, filters):
        # No bias: the normalisation takes any constant away again.
        parts += [Conv2d(inputs, filters, 3, padding=1, bias=False), BatchNorm2d(filters), ReLU()]
    return [*parts, MaxPool2d(2)]


def modern(width: int) -> Sequential:
    """Three blocks (3, 32, 32) -> (w, 16, 16) -> (2w, 8, 8) -> (4w, 4, 4), an average, a line."""
    eye = [*block(3, width), *block(width, 2 * width), *block(2 * width, 4 * width)]
    return Sequential(*eye, GlobalAvgPool2d(), Flatten(), Linear(4 * width, 10))


def load(name: str, seed: int):
    """The two halves of a data set; larger images to learn from vary each time."""
    if name == "digits":  # eight pixels leave no room to shift: strokes would fall off the edge
        scale = Normalize(*DIGITS_SCALE)
        return DigitsDataset(transform=scale), DigitsDataset(train=False, transform=scale)
    if name == "mnist":
        scale = Normalize(*MNIST_SCALE)
        varied = Compose([RandomCrop(28, padding=2, seed=seed), scale])
        train = MNISTDataset(download=True, transform=varied)
        return train, MNISTDataset(train=False, transform=scale)
    scale = Normalize(CIFAR10Dataset.mean, CIFAR10Dataset.std)
    flip = RandomHorizontalFlip(seed=seed)  # a mirrored ship is a ship; a mirrored 2 is no digit
    varied = Compose([RandomCrop(32, padding=4, seed=seed), flip, scale])
    train = CIFAR10Dataset(download=True, transform=varied)
    return train, CIFAR10Dataset(train=False, transform=scale)


def main() -> None:
    """Train epoch by epoch, saving after each; judge by the images never trained on."""
    run = Run(__file__, 1998, __doc__, datasets=("mnist", "cifar10", "digits"))
    s = SETTINGS[run.dataset]
    train, test = load(run.dataset, run.seed)
    batches = DataLoader(train, batch_size=s.batch, shuffle=True, seed=run.seed)
    unseen = DataLoader(test, batch_size=250)

    manual_seed(run.seed)
    pixels = next(iter(unseen))[0].shape[-1]
    model = modern(WIDTH) if run.dataset == "cifar10" else lenet(pixels)
    size = sum(p.size for p in model.parameters())
    print(f"{len(train):,} images to learn from, {len(test):,} to be judged by")
    print(f"{size:,} parameters, {s}")
    loss = CrossEntropyLoss()
    optimizer = AdamW(model.parameters(), lr=s.rate, weight_decay=s.decay)
    cycle = OneCycleLR(optimizer, s.rate, epochs=s.epochs, steps_per_epoch=len(batches))
    first = run.resume(model, optimizer, cycle, {**vars(s), "parameters": size})

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
