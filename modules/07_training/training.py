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
# # Module 07: Training
#
# You put the parts together: a loop that trains any model on any data, measures it honestly, stops
# in time, and survives a power cut.
#
# - **You build** metrics (accuracy, precision, recall, F1, the confusion matrix), one training step
#   with accumulation and clipping, evaluation, early stopping, checkpoints that are safe, atomic
#   and exact, and `Trainer.fit`.
# - **You need** 01 to 06: tensors, `Module`, the losses, `no_grad`, optimizers and schedules. A
#   *dataloader* is anything that yields pairs `(inputs, targets)`, such as a list; module 08 makes
#   better ones.
# - **Time**: 5 to 7 hours. Step 6 is the long one.
#
# The loop fits on a postcard: forward, loss, backward, step. The engineering is everything around
# it that can be wrong without any error: a mean over means, a mode not switched, a gradient not
# cleared, a state not saved. Each step below takes one of these.

# %%
#| default_exp core.training

# %%
#| export
import itertools
import math
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tinytorch.core.autograd import no_grad
from tinytorch.core.layers import Module
from tinytorch.core.losses import (  # noqa: F401 (training is where they are looked for)
    BCELoss,
    BCEWithLogitsLoss,
    BinaryCrossEntropyLoss,
    CrossEntropyLoss,
    HuberLoss,
    L1Loss,
    MeanSquaredError,
    MSELoss,
    NLLLoss,
)
from tinytorch.core.optimizers import LRScheduler, Optimizer, clip_grad_norm_
from tinytorch.core.tensor import Tensor, default_generator
from tinytorch.utils import metrics as given
from tinytorch.utils.history import History, Watch, print_history
from tinytorch.utils.metrics import Metric, class_axes, decided, flat, plain
from tinytorch.utils.progress import Reporter
from tinytorch.utils.statefile import read_state, write_state

PathLike = str | os.PathLike[str]
Dataloader = Iterable[Any]  # of pairs (inputs, targets): tensors, arrays or lists

# %% [markdown]
# ## Step 1: Count what is right
#
# A loss is for the optimizer; people want to know how many answers are right. The answer of a
# classifier is the class with the highest score. Scores come as (N, C), or (N, C, …) for one answer
# per pixel, or (B, T, V) for one per token; targets have the same shape without the class axis. A
# binary classifier gives one number per example, and 0.5 divides the answers (for logits, pass
# `threshold=0`).
#
# **Averaging.** An epoch is measured in batches, and the last one is smaller. *Worked example:* 3
# of 4 right in the first batch, 0 of 1 in the second. The accuracy is $3/5 = 0.6$; the mean of the
# batches' accuracies is $(0.75 + 0)/2 = 0.375$. So a metric collects counts with `update` and
# divides once, in `compute`. `Metric`, given, has `reset`, and is called with one batch alone.


# %%
#| export
def class_labels(outputs: Any, targets: Any, threshold: float = 0.5) -> tuple[Any, Any]:
    """Return predicted and true classes as flat integer arrays of one length.

    Args:
        outputs: Scores with a class axis (the second or the last one), one number per example,
            or integer classes.
        targets: Classes; or, of the shape of the scores, one-hot rows.
        threshold: Where a single number becomes class 1.
    """
    scores, truth = plain(outputs), plain(targets)
    if (answers := decided(scores, truth, threshold)) is not None:
        return answers, flat(truth)
    fits = class_axes(scores, truth)  # the axes that may hold the classes; none for one-hot rows
    ### BEGIN SOLUTION
    if scores.shape == truth.shape:
        fits, truth = [1], truth.argmax(axis=1)
    return scores.argmax(axis=fits[0]).ravel(), flat(truth)
    ### END SOLUTION


class Accuracy(Metric):
    """The share of right answers; 0 before there were any."""

    name = "accuracy"

    def update(self, outputs: Any, targets: Any) -> None:
        """Count the right answers (`self.correct`) and all answers (`self.total`)."""
        predicted, truth = class_labels(outputs, targets, self.threshold)
        ### BEGIN SOLUTION
        self.correct += int((predicted == truth).sum())
        self.total += truth.size
        ### END SOLUTION

    def compute(self) -> float:
        """Right answers over all answers."""
        ### BEGIN SOLUTION
        return self.correct / self.total if self.total else 0.0
        ### END SOLUTION


# %%
accuracy = Accuracy()
accuracy.update(Tensor([[2.0, 1.0], [0.0, 3.0], [1.0, 0.0], [5.0, 4.0]]), np.array([0, 1, 0, 1]))
print(accuracy.compute())
accuracy.update(Tensor([[0.0, 1.0]]), np.array([0]))
print(accuracy.compute())
# Expected output:
# 0.75
# 0.6


# %%
#| test
def test_accuracy_weighs_answers_not_batches():
    accuracy = Accuracy()
    assert accuracy.compute() == 0.0
    accuracy.update(np.eye(3), np.array([0, 1, 0]))
    accuracy.update(np.eye(3)[:1], np.array([2]))
    assert accuracy.compute() == 0.5
    predicted, _ = class_labels(np.eye(5)[None, :3], np.array([[0, 1, 2]]))  # (B, T, V)
    assert predicted.tolist() == [0, 1, 2]


if __name__ == "__main__":
    test_accuracy_weighs_answers_not_batches()

# %% [markdown]
# ## Step 2: Which errors: the confusion matrix
#
# A model that always says "healthy" is right for 99 of 100 patients. Count instead in a table $M$,
# true class in the row, predicted class in the column:
#
# $$\text{precision}_c = \frac{M_{cc}}{\sum_i M_{ic}}, \qquad
# \text{recall}_c = \frac{M_{cc}}{\sum_j M_{cj}}, \qquad F_1 = \frac{2 \cdot \text{precision} \cdot
# \text{recall}}{\text{precision} + \text{recall}}$$
#
# Precision: of those I called $c$, how many were (down a column). Recall: of those that were $c$,
# how many I found (along a row). A quotient $0/0$, where nothing was called $c$, counts as 0.
#
# *Worked example:* true 1 1 1 0 0, predicted 1 1 0 1 0. $M = \begin{pmatrix}1 & 1\\ 1 &
# 2\end{pmatrix}$; for class 1, precision $2/3$ and recall $2/3$.
#
# Averages over classes, given: `"macro"`, each class alike; `"weighted"`, by how often it is true;
# `"micro"`, all decisions together; `"binary"`, class 1 only; `"auto"`, binary for two classes and
# macro for more. Classes that never occur are left out.
#
# **Counting fast:** the pair (true $t$, predicted $p$) is the number $tC + p$; `np.bincount` counts
# numbers in one pass, without a loop over the examples.


# %%
#| export
def compute_confusion_matrix(
    targets: Any, predictions: Any, num_classes: int | None = None
) -> np.ndarray:
    """Count how often each true class (row) was taken for each class (column).

    Args:
        targets: True classes, shape (N,); or a model, and then `predictions` is a dataloader.
        predictions: Predicted classes, shape (N,), or scores, shape (N, C).
        num_classes: Size of the table (int64, square); by default just large enough.
    """
    if isinstance(targets, Module):
        evaluate_model(targets, predictions, metrics=[counted := ConfusionMatrix()])
        return given.grown(counted.matrix, max(num_classes or 0, len(counted.matrix)))
    scores = plain(predictions)
    predicted, truth = class_labels(scores if scores.ndim > 1 else flat(scores), targets)
    size = given.table_size(truth, predicted, num_classes)
    ### BEGIN SOLUTION
    return np.bincount(truth * size + predicted, minlength=size * size).reshape(size, size)
    ### END SOLUTION


def class_scores(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return precision, recall and F1 of each class, 0 where a quotient would be 0/0."""
    ### BEGIN SOLUTION
    right = np.diagonal(matrix).astype(np.float64)
    called, actual = matrix.sum(axis=0), matrix.sum(axis=1)
    precision = right / np.maximum(called, 1)
    recall = right / np.maximum(actual, 1)
    return precision, recall, 2 * right / np.maximum(called + actual, 1)
    ### END SOLUTION


# %%
#| export
class ConfusionMatrix(Metric):
    """The table of true against predicted classes, growing with the classes it meets."""

    name = "confusion_matrix"

    def update(self, outputs: Any, targets: Any) -> None:
        """Add a batch to the table."""
        predicted, truth = class_labels(outputs, targets, self.threshold)
        batch = compute_confusion_matrix(truth, predicted)
        self.matrix = given.grown(self.matrix, max(len(batch), len(self.matrix)))
        self.matrix[: len(batch), : len(batch)] += batch

    def compute(self) -> Any:
        """The table so far."""
        return self.matrix.copy()


class Precision(ConfusionMatrix):
    """Of the answers "class c", the share that is right; `average` as listed above."""

    name, which = "precision", 0

    def __init__(self, average: str = "auto", threshold: float = 0.5):
        self.average = given.checked_average(average)
        super().__init__(threshold)

    def compute(self) -> float:
        """The average over the classes so far."""
        return given.averaged(class_scores(self.matrix)[self.which], self.matrix, self.average)


class Recall(Precision):
    """Of the examples of class c, the share that is found."""

    name, which = "recall", 1


class F1(Precision):
    """The harmonic mean of precision and recall."""

    name, which = "f1", 2


# %%
truth, predicted = np.array([1, 1, 1, 0, 0]), np.array([1, 1, 0, 1, 0])
print(compute_confusion_matrix(truth, predicted).tolist())
print(f"{Precision()(predicted, truth):.3f} {Recall(average='macro')(predicted, truth):.3f}")
# Expected output:
# [[1, 1], [1, 2]]
# 0.667 0.583


# %%
#| test
def test_scores_of_classes():
    precision, recall, f1 = class_scores(np.array([[2, 2, 0], [0, 0, 0], [0, 2, 4]]))
    np.testing.assert_allclose(precision, [1, 0, 1])
    np.testing.assert_allclose(recall, [0.5, 0, 2 / 3])
    np.testing.assert_allclose(f1, [2 / 3, 0, 0.8])


if __name__ == "__main__":
    test_scores_of_classes()

# %% [markdown]
# ## Step 3: One training step
#
# Clear the gradients, forward, loss, backward, (clip,) step. In this order.
#
# **Accumulation.** A batch of 256 may not fit in memory; four of 64 do, one after the other. Since
# `backward` *adds* to the gradients, call it four times, then step once. To equal the large batch,
# the sum must be a mean: weigh each loss by its share of the examples. *Worked example:* batches of
# 3 and 1, mean losses 2 and 6. The mean over four examples is $2 \cdot \frac34 + 6 \cdot \frac14 =
# 3$; adding gives 8, halving gives 4.
#
# **Cost:** the activations of one small batch instead of all; the same work. Measured at the end.


# %%
#| export
def batches(dataloader: Dataloader) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the pairs of a dataloader as tensors; refuse one that yields nothing."""
    empty = True
    for batch in dataloader:
        if not isinstance(batch, tuple | list) or len(batch) != 2:
            kind = type(batch).__name__
            raise TypeError(f"a batch must be a pair (inputs, targets), got a {kind}")
        empty = False
        x, y = batch
        if not isinstance(y, Tensor):
            whole = np.asarray(y).dtype.kind in "iub"  # class labels stay integers
            y = Tensor(np.asarray(y) if whole else y)
        yield x if isinstance(x, Tensor) else Tensor(x), y
    if empty:
        raise ValueError("the dataloader yields no batch; was a generator read twice? give a list")


def train_step(model: Module, loss: Callable[..., Tensor], optimizer: Optimizer,
               group: list[tuple[Tensor, Tensor]], max_grad_norm: float | None = None,
               metrics: Iterable[Metric] = ()) -> float:  # fmt: skip
    """Make one update from one or several batches, as if they were one.

    Args:
        model, loss, optimizer: What is trained, and how; `loss` gives the mean over a batch.
        group: Batches (inputs, targets), of whatever sizes.
        max_grad_norm: Limit of the gradient's norm, if any.
        metrics: Updated with each batch's outputs and targets.

    Returns:
        The mean loss over all examples of the group.
    """
    total = sum(len(y) for _, y in group)
    ### BEGIN SOLUTION
    optimizer.zero_grad()
    mean_loss = 0.0
    for x, y in group:
        outputs = model(x)
        value = loss(outputs, y) * (len(y) / total)
        value.backward()
        mean_loss += value.item()
        for metric in metrics:
            metric.update(outputs, y)
    if max_grad_norm is not None:
        clip_grad_norm_(model.parameters(), max_grad_norm)
    optimizer.step()
    return mean_loss
    ### END SOLUTION


# %%
from tinytorch.core.layers import Linear
from tinytorch.core.optimizers import SGD

x, y = Tensor([[1.0], [2.0], [3.0], [4.0]]), Tensor([[2.0], [4.0], [6.0], [8.0]])
for name, group in (("at once", [(x, y)]), ("in two", [(x[:3], y[:3]), (x[3:], y[3:])])):
    line = Linear(1, 1)
    line.load_state_dict({"weight": [[1.0]], "bias": [0.0]})
    first = train_step(line, MSELoss(), SGD(line.parameters(), lr=0.01), group)
    print(f"{name}: loss {first:.2f}, then weight {line.weight.item():.2f}")
# Expected output:
# at once: loss 7.50, then weight 1.15
# in two: loss 7.50, then weight 1.15


# %%
#| test
from tinytorch.core.layers import MLP, Dropout, Linear, Sequential
from tinytorch.core.optimizers import SGD, Adam, StepLR
from tinytorch.core.tensor import manual_seed


def test_small_batches_make_one_large_step():
    x, y = Tensor([[1.0], [2.0], [4.0]]), Tensor([[0.0], [1.0], [5.0]])
    weights = []
    for group in ([(x, y)], [(x[:2], y[:2]), (x[2:], y[2:])]):
        model = Linear(1, 1)
        model.load_state_dict({"weight": [[1.0]], "bias": [0.0]})
        train_step(model, MSELoss(), SGD(model.parameters(), lr=0.1), group)
        weights.append(model.weight.item())
    np.testing.assert_allclose(weights[0], weights[1], rtol=1e-5)


if __name__ == "__main__":
    test_small_batches_make_one_large_step()

# %% [markdown]
# ## Step 4: Measure without touching
#
# Evaluation must leave no trace. Three things leave one:
#
# - **The mode.** Dropout must not drop and batch norm must not learn from the test set:
#   `model.eval()`. Afterwards every module gets back the mode *it* had: someone may have frozen a
#   part in evaluation mode on purpose.
# - **The graph.** Without `no_grad()` every batch records a graph, for nothing.
# - **The mean.** As in step 1: weigh each batch's loss by its examples.


# %%
#| export
def default_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy, if the outputs are scores of classes; else NaN: nobody said which loss."""
    scores = outputs.ndim == targets.ndim + 1 and outputs.shape[1] > 1
    if scores and targets.dtype.kind in "iu":
        return CrossEntropyLoss()(outputs, targets)
    return Tensor(math.nan)


def evaluate_model(model: Module, dataloader: Dataloader,
                   loss: Callable[..., Tensor] | None = None,
                   metrics: Iterable[Metric] | None = None) -> dict[str, Any]:  # fmt: skip
    """Measure a model on data, and leave it as it was.

    Args:
        model, dataloader: What is measured, and on which pairs (inputs, targets).
        loss: Gives the mean over a batch; by default `default_loss`.
        metrics: By default accuracy.

    Returns:
        {"loss": the mean over all examples, "samples": their number, name: figure of each metric}.
    """
    loss = default_loss if loss is None else loss
    metrics = [Accuracy()] if metrics is None else list(metrics)
    for metric in metrics:
        metric.reset()
    modes = [(part, part.training) for part in model.modules()]
    ### BEGIN SOLUTION
    total, samples = 0.0, 0
    model.eval()
    try:
        with no_grad():
            for x, y in batches(dataloader):
                outputs = model(x)
                total += loss(outputs, y).item() * len(y)
                samples += len(y)
                for metric in metrics:
                    metric.update(outputs, y)
    finally:
        for part, mode in modes:
            part.training = mode
    figures = {metric.name: metric.compute() for metric in metrics}
    return {"loss": total / samples, "samples": samples, **figures}
    ### END SOLUTION


# %%
coin = Linear(2, 2)  # always sure that it is class 1
coin.load_state_dict({"weight": np.zeros((2, 2)), "bias": [0.0, 4.0]})
data = [(np.zeros((3, 2)), np.array([1, 1, 0])), (np.zeros((1, 2)), np.array([0]))]
measured = evaluate_model(coin, data)
print(f"loss {measured['loss']:.4f}, accuracy {measured['accuracy']}, of {measured['samples']}")
# Expected output:
# loss 2.0181, accuracy 0.5, of 4


# %%
#| test
def test_evaluation_leaves_no_trace():
    model = Sequential(Linear(2, 2), Dropout(0.5))
    model.train()
    list(model.children())[1].eval()
    modes = [part.training for part in model.modules()]
    evaluate_model(model, [(np.ones((4, 2)), np.array([0, 1, 0, 1]))])
    assert [part.training for part in model.modules()] == modes
    assert all(p.grad is None for p in model.parameters())


if __name__ == "__main__":
    test_evaluation_leaves_no_trace()

# %% [markdown]
# ## Step 5: Stop in time
#
# At some point the training loss goes on falling and the validation loss begins to rise: the model
# learns the training set by heart. Early stopping waits `patience` epochs for an improvement of
# more than `min_delta`, then stops, and the weights of the best epoch come back.
#
# *Worked example:* patience 2, validation losses 5, 4, 4.5, 3, 3.2, 3.1. Best after the second
# epoch; one bad; better again, the count of bad epochs returns to 0; bad, bad: stop after the
# sixth. The best weights are those of the fourth.
#
# NaN is never an improvement: a comparison with NaN is False, so write the test as "is it better",
# not as "is it not worse". The given `Watch` holds `best`, `bad_epochs`, `best_weights` and `sign`:
# -1 for a figure that should fall, 1 for one that should rise.


# %%
#| export
class EarlyStopping(Watch):
    """Stop when a figure has not improved for some epochs, and bring the best weights back."""

    def update(self, value: float, model: Module | None = None) -> bool:
        """Take the figure of one more epoch; say whether to stop.

        An improvement becomes `best`, sets `bad_epochs` to 0, and if `restore_best` the model's
        state is kept in `best_weights`.
        """
        ### BEGIN SOLUTION
        if self.sign * (value - self.best) > self.min_delta:
            self.best, self.bad_epochs = value, 0
            if model is not None and self.restore_best:
                self.best_weights = model.state_dict()
        else:
            self.bad_epochs += 1
        return self.bad_epochs >= self.patience
        ### END SOLUTION


# %%
stopping = EarlyStopping(patience=2)
for epoch, value in enumerate([5, 4, 4.5, 3, 3.2, 3.1, 2], start=1):
    if stopping.update(value):
        print(f"stop after epoch {epoch}, best {stopping.best}")
        break
# Expected output:
# stop after epoch 6, best 3


# %%
#| test
def test_patience_counts_epochs_in_a_row():
    stopping = EarlyStopping(patience=2, min_delta=0.1)
    assert [stopping.update(v) for v in (1.0, 0.95, 0.8, 0.75, math.nan)] == [False] * 4 + [True]
    assert stopping.best == 0.8


if __name__ == "__main__":
    test_patience_counts_epochs_in_a_row()

# %% [markdown]
# ## Step 6: Checkpoints: safe, atomic, exact
#
# **Exact.** To go on as if nothing had happened takes more than weights: the state of the optimizer
# and of the schedule, the epoch, and the random numbers', or dropout draws other masks. With all of
# them, a resumed run gives the *same bits* as one that was never interrupted.
#
# **Atomic.** A process killed halfway through writing leaves half a file where the good one was. So
# write to a temporary file *beside* it, force it to disk (`fsync`), then `os.replace`: the file
# system shows either the old file or the new one, never a mixture. If anything fails, the temporary
# file goes and the old one stays.
#
# **Safe.** PyTorch's classic format is a pickle, and unpickling a file can run any program its
# author liked. Ours is a zip of `checkpoint.json`, numbers, texts and the structure, and
# `arrays/0.npy` and so on, raw numbers: neither can contain code, whatever the file is called. The
# zip's checksums tell a damaged file, `checkpoint.json` a foreign one.
#
# *Worked example:* `{"epoch": 3, "weight": array}` becomes the entry `arrays/0.npy` and, in JSON,
# `[["epoch", 3], ["weight", {"array": 0}]]`: pairs, because the optimizer's dictionaries have
# numbers as keys. This packing is given, in `tinytorch/utils/statefile.py`; what goes in, and how
# the file is replaced, is yours.


# %%
#| export
def write_atomically(path: PathLike, write: Callable[[Any], None]) -> None:
    """Let `write(file)` fill a temporary file, then put it in the place of `path` in one move.

    Whatever fails, the old file stays as it was and no temporary file is left.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    ### BEGIN SOLUTION
    try:
        with open(temporary, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    ### END SOLUTION


def save_checkpoint(path: PathLike, model: Module, optimizer: Optimizer | None = None,
                    scheduler: LRScheduler | None = None, epoch: int = 0,
                    **extra: Any) -> None:  # fmt: skip
    """Save all that training needs to go on, to a file that cannot contain code.

    The content is a dictionary: "model", "optimizer", "scheduler" hold the state_dict of each
    (None for what is not given), "epoch" and "extra" what was passed (numbers, texts, arrays, lists
    and dictionaries of them), and "random" the state of `default_generator.bit_generator`.
    """
    ### BEGIN SOLUTION
    content = {
        "model": dict(model.state_dict()),
        "optimizer": optimizer.state_dict() if optimizer is not None else None,
        "scheduler": scheduler.state_dict() if scheduler is not None else None,
        "epoch": epoch,
        "random": default_generator.bit_generator.state,
        "extra": extra,
    }
    write_atomically(path, lambda file: write_state(file, content))
    ### END SOLUTION


def load_checkpoint(path: PathLike, model: Module | None = None,
                    optimizer: Optimizer | None = None, scheduler: LRScheduler | None = None,
                    restore_random: bool = True) -> dict[str, Any]:  # fmt: skip
    """Load a checkpoint into the parts given, and return its content.

    A file that is foreign or damaged, or lacks the state of a part, is a ValueError, and then
    nothing has changed.
    """
    content = read_state(path)
    parts = {"model": model, "optimizer": optimizer, "scheduler": scheduler}
    for name, part in parts.items():
        if part is not None and content.get(name) is None:
            raise ValueError(f"{os.fspath(path)} holds no {name}; save one, or load without it")
    ### BEGIN SOLUTION
    for name, part in parts.items():
        if part is not None:
            part.load_state_dict(content[name])
    if restore_random:
        default_generator.bit_generator.state = content["random"]
    return content
    ### END SOLUTION


# %%
import tempfile
import zipfile

from tinytorch.core.optimizers import Adam
from tinytorch.core.tensor import manual_seed, rand

net = Linear(3, 2)
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "best_model.pkl"
    save_checkpoint(path, net, Adam(net.parameters()), epoch=3, note="first")
    drawn = rand(2).numpy()
    content = load_checkpoint(path, net)
    print(content["epoch"], content["extra"], np.array_equal(drawn, rand(2).numpy()))
    print(zipfile.ZipFile(path).namelist())
# Expected output:
# 3 {'note': 'first'} True
# ['checkpoint.json', 'arrays/0.npy', 'arrays/1.npy']


# %%
#| test
import tempfile


def test_a_failed_save_leaves_the_old_file():
    def fail(file):
        file.write(b"half")
        raise OSError("disk full")

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.ckpt"
        path.write_bytes(b"good")
        np.testing.assert_raises(OSError, write_atomically, path, fail)
        assert path.read_bytes() == b"good"
        assert os.listdir(folder) == ["model.ckpt"]


if __name__ == "__main__":
    test_a_failed_save_leaves_the_old_file()

# %% [markdown]
# ## Step 7: The loop
#
# `Trainer.fit`, given, calls the parts in the right order. Per epoch: training mode; one
# `train_step` for each group of batches; the means of the epoch (`train_epoch`, yours); validation
# and the schedule (`run_epoch`, yours); the history; early stopping; the checkpoint; the callbacks.
#
# The checkpoint comes after everything that changes state in this epoch, so that a resumed run
# starts exactly where the next epoch would have. `save_best` writes only when the monitored figure
# is better than in all epochs before; otherwise every epoch is written. `resume_from` continues up
# to `epochs` in all.
#
# A callback is a function `callback(trainer, logs)`, called after each epoch, or an object with any
# of `on_train_begin(trainer)`, `on_step_end(trainer, loss)`, `on_epoch_end(trainer, logs)`,
# `on_train_end(trainer)`. It may set `trainer.stop_training`.


# %%
#| export
class Trainer:
    """Train a model on batches, measure it, save it.

    Args:
        model, loss: A Module; from outputs and targets to the mean loss over the batch.
        optimizer: Bound to the model's parameters here, if it has none.
        metrics: Figures to collect besides the loss.
        scheduler, schedule: A schedule of the optimizer; moved after every "epoch" or "step".
    """

    def __init__(self, model: Module, loss: Callable[..., Tensor], optimizer: Optimizer,
                 metrics: Iterable[Metric] | None = None, scheduler: LRScheduler | None = None,
                 schedule: str = "epoch"):  # fmt: skip
        if (reduction := getattr(loss, "reduction", "mean")) != "mean":
            raise ValueError(f"the loss has reduction={reduction!r}; training needs the mean")
        if schedule not in ("epoch", "step"):
            raise ValueError(f"schedule is {schedule!r}; use 'epoch' or 'step'")
        if not optimizer.bound:
            optimizer.bind(model.parameters())
        self.model, self.loss, self.optimizer = model, loss, optimizer
        self.metrics = list(metrics or [])
        self.scheduler, self.schedule = scheduler, schedule
        self.history, self.epoch, self.stop_training = History(), 0, False
        self.early_stopping: EarlyStopping | None = None

    def train_epoch(self, dataloader: Dataloader, accumulate: int = 1,
                    max_grad_norm: float | None = None,
                    after_step: Callable[[int, float], None] = lambda done, loss: None
                    ) -> dict[str, Any]:  # fmt: skip
        """Go through the data once, `accumulate` batches to a step; return the means.

        After each step `after_step(batches so far, loss)` is called.

        Returns:
            {"loss": the mean over all examples, name: figure of each metric}.
        """
        for metric in self.metrics:
            metric.reset()
        stream, done = batches(dataloader), 0
        ### BEGIN SOLUTION
        self.model.train()
        total, samples = 0.0, 0
        while group := list(itertools.islice(stream, accumulate)):
            loss = train_step(
                self.model, self.loss, self.optimizer, group, max_grad_norm, self.metrics
            )
            size = sum(len(y) for _, y in group)
            total, samples, done = total + loss * size, samples + size, done + len(group)
            if self.scheduler is not None and self.schedule == "step":
                self.scheduler.step()
            after_step(done, loss)
        return {"loss": total / samples} | {m.name: m.compute() for m in self.metrics}
        ### END SOLUTION

    def fit(self, train_dataloader: Dataloader, val_dataloader: Dataloader | None = None,
            epochs: int = 1, save_best: bool = False, checkpoint_path: PathLike | None = None,
            early_stopping: EarlyStopping | int | None = None, callbacks: Iterable[Any] = (),
            accumulate: int = 1, max_grad_norm: float | None = None, monitor: str | None = None,
            resume_from: PathLike | None = None, verbose: bool = True) -> History:  # fmt: skip
        """Train for some epochs.

        Args:
            train_dataloader, val_dataloader: Yield pairs (inputs, targets), anew each epoch.
            epochs: How many more; with `resume_from`, how many in all.
            save_best: Write the checkpoint only when `monitor` is better than ever.
            checkpoint_path: Where to write it, each epoch or the best one.
            early_stopping: An EarlyStopping, or its patience.
            callbacks: See step 7.
            accumulate, max_grad_norm: Batches to each update; limit of the gradient's norm.
            monitor: For `save_best`: by default "val_loss", or "loss" without validation data.
            resume_from: A checkpoint to go on from; the history then holds its epochs too.
            verbose: Whether to show progress.
        """
        if accumulate < 1 or epochs < 0:
            raise ValueError(f"accumulate {accumulate}, epochs {epochs}: use 1 or more, 0 or more")
        if save_best and checkpoint_path is None:
            raise ValueError("save_best needs a checkpoint_path; say where the best model goes")
        stopping = EarlyStopping(early_stopping) if type(early_stopping) is int else early_stopping
        watched = "val_loss" if val_dataloader is not None else "loss"
        self.early_stopping, self.stop_training = stopping, False
        report = Reporter(self, callbacks, verbose)
        last = epochs + (self.epoch if resume_from is None else 0)
        if resume_from is not None:
            self.load(resume_from)
        report.notify("on_train_begin")
        while self.epoch < last and not self.stop_training:
            report.begin_epoch(train_dataloader, last)
            logs = self.run_epoch(
                train_dataloader, val_dataloader, accumulate, max_grad_norm, report.after_step
            )
            self.epoch += 1
            self.history.append(logs)
            report.line.close(logs)
            if stopping is not None:
                value = self.history[stopping.monitor or watched][-1]
                self.stop_training = stopping.update(value, self.model)
            worth_it = not save_best or self.history.last_is_best(monitor or watched)
            if checkpoint_path is not None and worth_it:
                self.save(checkpoint_path)
            report.notify("on_epoch_end", logs)
        if stopping is not None:
            stopping.restore(self.model)
        report.notify("on_train_end")
        return self.history

    def run_epoch(self, train_dataloader: Dataloader, val_dataloader: Dataloader | None,
                  accumulate: int, max_grad_norm: float | None,
                  after_step: Callable[[int, float], None]) -> dict[str, Any]:  # fmt: skip
        """Train, validate, and move a schedule that goes by epochs.

        Returns:
            The figures of the epoch; those of the validation, but "samples", begin with "val_".
        """
        ### BEGIN SOLUTION
        logs = self.train_epoch(train_dataloader, accumulate, max_grad_norm, after_step)
        if val_dataloader is not None:
            measured = evaluate_model(self.model, val_dataloader, self.loss, self.metrics)
            logs |= {f"val_{k}": v for k, v in measured.items() if k != "samples"}
        if self.scheduler is not None and self.schedule == "epoch":
            self.scheduler.step()
        return logs
        ### END SOLUTION

    def evaluate(self, dataloader: Dataloader) -> dict[str, Any]:
        """Measure the model with the trainer's loss and metrics."""
        return evaluate_model(self.model, dataloader, self.loss, self.metrics)

    def save(self, path: PathLike) -> None:
        """Write a checkpoint from which `fit` can go on."""
        stopping = self.early_stopping.state_dict() if self.early_stopping is not None else None
        history = {name: list(values) for name, values in self.history.items()}
        parts = (self.model, self.optimizer, self.scheduler)
        save_checkpoint(path, *parts, self.epoch, history=history, early_stopping=stopping)

    def load(self, path: PathLike) -> None:
        """Go on from a checkpoint: model, optimizer, schedule, epoch, history, random numbers."""
        content = load_checkpoint(path, self.model, self.optimizer, self.scheduler)
        self.epoch = content["epoch"]
        self.history = History(content["extra"].get("history", {}))
        if self.early_stopping is not None and content["extra"].get("early_stopping"):
            self.early_stopping.load_state_dict(content["extra"]["early_stopping"])
            self.stop_training = self.early_stopping.bad_epochs >= self.early_stopping.patience


# %%
from tinytorch.core.layers import MLP

manual_seed(1)
corners = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=np.float32)
xor = [(corners, np.array([0, 1, 1, 0]))]
trainer = Trainer(MLP(2, 8, 2), CrossEntropyLoss(), Adam(lr=0.05), [Accuracy()])
history = trainer.fit(xor, epochs=200, verbose=False)
print(f"accuracy {history['accuracy'][-1]}, loss below 0.05: {history['loss'][-1] < 0.05}")
# Expected output:
# accuracy 1.0, loss below 0.05: True


# %%
#| test
def test_a_resumed_run_is_the_same_run():
    def make():
        manual_seed(3)
        model = Sequential(Linear(1, 8), Dropout(0.5), Linear(8, 1))
        optimizer = Adam(model.parameters(), lr=0.1)
        return Trainer(model, MSELoss(), optimizer, scheduler=StepLR(optimizer, 2))

    x = np.linspace(-1, 1, 24, dtype=np.float32)[:, None]
    data = [(x[i : i + 7], 2 * x[i : i + 7] - 1) for i in range(0, 24, 7)]
    whole = make().fit(data, epochs=4, verbose=False)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "last.ckpt"
        make().fit(data, epochs=2, checkpoint_path=path, verbose=False)
        assert make().fit(data, epochs=4, resume_from=path, verbose=False) == whole


if __name__ == "__main__":
    test_a_resumed_run_is_the_same_run()

# %% [markdown]
# ## Step 8: Look at the curve
#
# Numbers hide what a curve shows at once: a rate too high (it jumps), too low (it crawls),
# overfitting (validation turns up), a bug (it is flat). `plot_training_history` draws with
# matplotlib if it is installed, and with text if not. A *sparkline* is the smallest plot there is:
# one character per epoch, its height scaled between the least and the greatest value.
#
# *Worked example:* with eight heights 0 to 7, the values 0, 5, 10 become heights 0, 4 (3.5 rounded
# to even) and 7.


# %%
#| export
HEIGHTS = "▁▂▃▄▅▆▇█"


def sparkline(values: Iterable[float]) -> str:
    """Draw each value as one of `HEIGHTS`: a space for NaN, the lowest if all are equal."""
    ### BEGIN SOLUTION
    numbers = np.array(list(values), dtype=np.float64)
    finite = numbers[np.isfinite(numbers)]
    low = finite.min() if finite.size else 0.0
    span = (finite.max() - low if finite.size else 0.0) or 1.0
    marks = [round(7 * (v - low) / span) if math.isfinite(v) else None for v in numbers]
    return "".join(" " if mark is None else HEIGHTS[mark] for mark in marks)
    ### END SOLUTION


def plot_training_history(history: dict[str, list[Any]], path: PathLike | None = None) -> Any:
    """Draw a history, training against validation, one panel for each figure.

    Args:
        history: What `Trainer.fit` returns.
        path: Where to write the picture, if anywhere: .png, .svg or .pdf.

    Returns:
        The matplotlib figure. Without matplotlib, None, and the curves are printed as text; but an
        ImportError if a path is given.
    """
    try:
        from tinytorch.utils.plotting import draw_history
    except ImportError:
        advice = "matplotlib is missing; install the extra: pip install 'tinytorch[plots]'"
        if path is not None:
            raise ImportError(advice) from None
        print_history(history, sparkline)
        print(f"({advice})")
        return None
    return draw_history(history, path)


# %%
print(sparkline([0, 5, 10, 10, 5, 0]))
print_history({"loss": [2.0, 1.0, 0.5, 0.25], "val_loss": [2.1, 1.2, 1.0, 1.4]}, sparkline)
# Expected output:
# ▁▅██▅▁
# loss           █▄▂▁ 2 -> 0.25
# val_loss       █▂▁▄ 2.1 -> 1.4


# %%
#| test
def test_sparkline_scales_between_the_extremes():
    assert sparkline([1, 2, 3, 4, 5, 6, 7, 8]) == HEIGHTS
    assert sparkline([3.0, 3.0]) == "▁▁"
    assert sparkline([0.0, math.nan, 1.0]) == "▁ █"
    assert sparkline([]) == ""


if __name__ == "__main__":
    test_sparkline_scales_between_the_extremes()

# %% [markdown]
# ## Systems: what training holds in memory, and what a checkpoint weighs
#
# The activations of a batch live until `backward` has used them. So the peak of a step grows with
# the batch, and accumulation divides it: measured here for one update on 512 examples.


# %%
import tracemalloc

deep = MLP(64, [256, 256, 256], 10)
descent = SGD(deep.parameters(), lr=0.01)
inputs, labels = rand(512, 64), Tensor(np.arange(512) % 10)
train_step(deep, CrossEntropyLoss(), descent, [(inputs, labels)])
for parts in (1, 2, 4, 8):
    size = 512 // parts
    cuts = [slice(i, i + size) for i in range(0, 512, size)]
    group = [(inputs[cut], labels[cut]) for cut in cuts]
    tracemalloc.start()
    train_step(deep, CrossEntropyLoss(), descent, group)
    print(f"{parts} x {size}: {tracemalloc.get_traced_memory()[1] / 1e6:.1f} MB")
    tracemalloc.stop()
# Expected output:
# 1 x 512: ... MB
# 2 x 256: ... MB
# 4 x 128: ... MB
# 8 x 64: ... MB

# %% [markdown]
# The floor is what does not depend on the batch: the gradients. And on disk, the optimizer's state
# weighs as much as it does in memory: with Adam a checkpoint is three times the model.


# %%
parameter_bytes = sum(p.nbytes for p in deep.parameters())
for kind in (SGD, Adam):
    optimizer = kind(deep.parameters(), lr=0.001)
    train_step(deep, CrossEntropyLoss(), optimizer, [(inputs, labels)])
    with tempfile.TemporaryDirectory() as folder:
        save_checkpoint(path := Path(folder) / "size.ckpt", deep, optimizer)
        print(f"{kind.__name__:<4} {os.path.getsize(path) / parameter_bytes:.1f}x the parameters")
# Expected output:
# SGD  1.0x the parameters
# Adam 3.0x the parameters

# %% [markdown]
# ## Pitfalls
#
# - **`model.eval()` and never back.** Dropout is off for the rest of training; the loss even looks
#   better.
# - **`total += loss`, the tensor.** Every batch's graph stays alive until the epoch ends. Take
#   `loss.item()`.
# - **A generator as dataloader.** It is empty in the second epoch. Pass a list, or an object that
#   starts anew with every `for`.
# - **Choosing the best epoch on the test set.** Then it is a validation set, and you have no test
#   set.
# - **float64 inputs.** NumPy makes float64 by default, and every product with them is float64:
#   twice the memory, half the speed.
# - **Resuming on other batches.** Bit-exact needs the same data in the same order: shuffle with the
#   course's random numbers, or by epoch number (`set_epoch`).
#
# ## What PyTorch does differently, and why
#
# - It has no trainer: research changes the loop itself, so PyTorch leaves it to you. Lightning,
#   Accelerate and Keras offer one; ours has the shape of theirs.
# - `torch.save` writes a zip too, but with a pickle inside, since anything may be saved;
#   `weights_only=True`, the default since 2.6, refuses to run what is in it. `safetensors` is the
#   format without code, as ours is.
# - Its random state is one per device, plus one per loader worker: exact resumption takes all of
#   them, and deterministic kernels besides.
#
# ## Sources
#
# Goodfellow, Bengio and Courville 2016, sections 7.8 (early stopping) and 8.1 · Prechelt 1998,
# "Early stopping, but when?" · Powers 2011, "Evaluation: from precision, recall and F-measure …" ·
# Paszke et al. 2019, "PyTorch" · Pillai et al. 2014, "All file systems are not created equal" (what
# `rename` and `fsync` promise).
#
# ## Reflection
#
# Your training runs for three days on a machine that is switched off now and then without warning.
# Write 150–300 words in `reflection.md`: what do you save, how often, and under how many names?
# What would you lose at the worst moment? Which of the things saved could be left out if you
# accepted a run that is as good but not bit-identical, and how would you convince a colleague that
# it is as good?
#
# ## Checkpoint
#
#     tito checkpoint run 07
