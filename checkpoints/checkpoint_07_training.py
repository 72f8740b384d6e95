"""Passing proves that a network is trained, measured, stopped, saved and resumed without a mistake.

The oracle is a loop in plain NumPy that fits a line by hand: every weight, every mean and every
count is compared with it. Batches are of unequal size throughout, since that is where means go
wrong. Files are written to the working directory, which is a temporary one.
"""

import contextlib
import math

import numpy as np
import pytest

from checkpoints.feedback import (
    asks,
    expect,
    expect_at_most,
    expect_equal,
    expect_raises,
    expect_true,
    probe,
    timed,
)
from tinytorch.core.layers import MLP, Linear
from tinytorch.core.optimizers import SGD, Adam, StepLR
from tinytorch.core.tensor import Tensor, manual_seed, rand
from tinytorch.core.training import (
    F1,
    Accuracy,
    ConfusionMatrix,
    CrossEntropyLoss,
    EarlyStopping,
    MSELoss,
    Precision,
    Recall,
    Trainer,
    compute_confusion_matrix,
    evaluate_model,
    load_checkpoint,
    save_checkpoint,
    sparkline,
    train_step,
)

BESIDE = probe('''
import contextlib
import io
import os
import sys

import numpy as np

from tinytorch.core.layers import Linear, Module, Parameter, Sequential
from tinytorch.core.tensor import Tensor, grad_mode
from tinytorch.core.training import plot_training_history, save_checkpoint, write_atomically


class Spy(Module):
    """A line whose output is doubled in training mode; it notes how it was called."""

    def __init__(self, weight):
        self.weight = Parameter(np.asarray(weight, dtype=np.float32))
        self.calls = []

    def forward(self, x):
        self.calls.append((self.training, grad_mode.enabled, len(x)))
        out = x @ self.weight.T
        return out * 2 if self.training else out


def partly_frozen():
    """Two layers in training mode, the second put into evaluation mode on purpose."""
    model = Sequential(Linear(2, 2), Linear(2, 2))
    model.train()
    list(model.children())[1].eval()
    return model


def modes(model):
    """The mode of each part."""
    return [part.training for part in model.modules()]


def gradients(model):
    """How many parameters hold a gradient."""
    return sum(p.grad is not None for p in model.parameters())


class Notes:
    """A callback that writes down what it hears, and asks to stop after some epochs."""

    def __init__(self, stop_after):
        self.heard, self.stop_after = [], stop_after

    def on_epoch_end(self, trainer, logs):
        self.heard.append([trainer.epoch, sorted(logs), trainer.optimizer.param_groups[0]["lr"]])
        trainer.stop_training = len(self.heard) >= self.stop_after


def one_shot(pairs):
    """A generator: it can be read once."""
    return (pair for pair in pairs)


def write(path, data):
    """Put bytes into a file."""
    with open(path, "wb") as file:
        file.write(data)


def read(path):
    """Get the bytes of a file."""
    with open(path, "rb") as file:
        return file.read()


def files(start):
    """The files whose name contains a text, hidden ones too."""
    return sorted(name for name in os.listdir() if start in name)


def broken_write(path):
    """Fail in the middle of an atomic write; say which error came out."""

    def half(file):
        file.write(b"half of it")
        raise OSError("disk full")

    try:
        write_atomically(path, half)
    except OSError:
        return "OSError"
    return "no error"


def save_on_a_full_disk(path, model):
    """Save while files may not grow beyond 4096 bytes; say which error came out."""
    try:
        import resource
    except ImportError:
        return "OSError"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        save_checkpoint(path, model)
    except OSError:
        return "OSError"
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    return "no error"


def plot_without_matplotlib(history, path):
    """What plotting prints, or the error, where matplotlib cannot be imported."""
    hidden = ("matplotlib", "tinytorch.utils.plotting")
    kept = {name: module for name, module in sys.modules.items() if name.startswith(hidden)}
    for name in kept:
        del sys.modules[name]
    sys.modules["matplotlib"] = sys.modules["matplotlib.figure"] = None
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            plot_training_history(history, path)
    except ImportError as error:
        return f"ImportError: {error}"
    finally:
        del sys.modules["matplotlib"], sys.modules["matplotlib.figure"]
        sys.modules.update(kept)
    return printed.getvalue()


def bare_loop(model, loss, optimizer, pairs):
    """The least that a training epoch can be."""
    for x, y in pairs:
        optimizer.zero_grad()
        loss(model(Tensor(x)), Tensor(y)).backward()
        optimizer.step()
''')


@pytest.fixture(autouse=True)
def folder_of_its_own(tmp_path):
    """Under plain pytest, relative paths lead to a temporary folder too."""
    with contextlib.chdir(tmp_path):
        yield


def line_data(rng, sizes=(5, 5, 2)):
    """Batches of a noisy plane, of the given sizes."""
    pairs = []
    for n in sizes:
        x = rng.uniform(-1, 1, (n, 2)).astype(np.float32)
        y = x @ np.array([[2.0], [-1.0]], dtype=np.float32)
        pairs.append((x, y + rng.normal(0, 0.1, (n, 1)).astype(np.float32)))
    return pairs


def line_model(weight):
    """A Linear without bias and with the given weight."""
    model = Linear(2, 1, bias=False)
    model.load_state_dict({"weight": np.array(weight, dtype=np.float32)})
    return model


def fit_by_hand(pairs, weight, *, epochs=1, lr=0.1, momentum=0.0, accumulate=1, clip=None):
    """Fit y = x w by gradient descent; return the weight and each epoch's mean squared error."""
    w, velocity, losses = np.array(weight, dtype=np.float64), None, []
    for epoch in range(epochs):
        rate = lr[epoch] if isinstance(lr, list) else lr
        total = samples = 0
        for i in range(0, len(pairs), accumulate):
            x = np.concatenate([x for x, _ in pairs[i : i + accumulate]]).astype(np.float64)
            y = np.concatenate([y for _, y in pairs[i : i + accumulate]])
            error = x @ w.T - y
            gradient = 2 * error.T @ x / len(x)
            norm = float(np.sqrt((gradient**2).sum()))
            if clip is not None and norm > clip:
                gradient = gradient * clip / norm
            velocity = gradient if velocity is None else momentum * velocity + gradient
            w = w - rate * velocity
            total, samples = total + float((error**2).sum()), samples + len(x)
        losses.append(total / samples)
    return w, losses


def scores_by_hand(truth, predicted, classes):
    """Table, precision, recall and F1 of each class, counted one example at a time."""
    table = np.zeros((classes, classes), dtype=np.int64)
    for t, p in zip(truth, predicted, strict=True):
        table[t, p] += 1
    precision, recall, f1 = [], [], []
    for c in range(classes):
        hits, called, actual = table[c, c], table[:, c].sum(), table[c].sum()
        precision.append(hits / called if called else 0.0)
        recall.append(hits / actual if actual else 0.0)
        both = precision[-1] + recall[-1]
        f1.append(2 * precision[-1] * recall[-1] / both if both else 0.0)
    return table, precision, recall, f1


@asks("imports", step=1, of="Accuracy", hint="each metric gives one figure for one batch")
def test_every_metric_answers():
    """Give each metric true classes 1 1 1 0 0 and predictions 1 1 0 1 1; call a loss."""
    truth, predicted = np.array([1, 1, 1, 0, 0]), np.array([1, 1, 0, 1, 1])
    expect(Accuracy()(predicted, truth), 0.4, call="Accuracy()(predicted, truth)")
    expect(Precision()(predicted, truth), 0.5, call="Precision()(predicted, truth)")
    expect(Recall()(predicted, truth), 2 / 3, call="Recall()(predicted, truth)")
    expect(F1()(predicted, truth), 4 / 7, call="F1()(predicted, truth)")
    table = ConfusionMatrix()(predicted, truth)
    expect(table, [[0, 2], [1, 2]], call="ConfusionMatrix()(predicted, truth)")
    loss = CrossEntropyLoss()(Tensor([[0.0, 0.0]]), np.array([0]))
    expect(loss, math.log(2), call="training.CrossEntropyLoss of an even guess")


@asks("imports", step=7, of="Trainer.fit", hint="fit returns a history that can be drawn")
def test_the_trainer_answers(rng):
    """Fit one epoch and draw a sparkline of the history."""
    history = Trainer(Linear(2, 1), MSELoss(), SGD(lr=0.1)).fit(line_data(rng), verbose=False)
    expect_equal(len(sparkline(history["loss"])), 1, call="the sparkline of one epoch")


@asks("functionality", step=1, of="class_labels", hint="the best score along the class axis")
def test_accuracy_finds_the_classes(rng):
    """Scores (N, C), (N, C, T) and (B, T, V), one-hot targets, and single probabilities."""
    for shape, axis in (((7, 4), 1), ((3, 5, 6), 1), ((3, 6, 5), 2)):
        scores = rng.standard_normal(shape).astype(np.float32)
        truth = rng.integers(0, shape[axis], shape[:axis] + shape[axis + 1 :])
        wanted = float((scores.argmax(axis=axis) == truth).mean())
        call = f"Accuracy()(scores {shape}, targets {truth.shape})"
        expect(Accuracy()(Tensor(scores), truth), wanted, call=call)
    one_hot = np.eye(3, dtype=np.float32)[[0, 2, 1, 1]]
    scores = np.eye(3, dtype=np.float32)[[0, 2, 2, 1]]
    expect(Accuracy()(scores, one_hot), 0.75, call="Accuracy()(scores, one-hot targets)")
    single, truth = np.array([[0.9], [0.2], [0.6]]), np.array([[1.0], [0.0], [0.0]])
    expect(Accuracy()(single, truth), 2 / 3, call="Accuracy()(probabilities, 0 or 1)")


@asks("functionality", step=1, of="Accuracy.compute", hint="every answer has the same weight")
def test_accuracy_of_unequal_batches():
    """Three of four right, then none of one: 3 of 5."""
    accuracy = Accuracy()
    expect(accuracy.compute(), 0.0, call="Accuracy().compute() before any batch")
    accuracy.update(np.array([0, 1, 2, 0]), np.array([0, 1, 2, 1]))
    accuracy.update(np.array([2]), np.array([0]))
    expect(accuracy.compute(), 0.6, call="Accuracy.compute() after 3 of 4, then 0 of 1")
    accuracy.reset()
    expect(accuracy.compute(), 0.0, call="Accuracy.compute() after reset()")


@asks("functionality", step=2, of="compute_confusion_matrix", hint="which of the two is the row?")
def test_confusion_matrix_counts(rng):
    """A hand-made table, a larger one counted slowly, and one collected over batches."""
    table = compute_confusion_matrix([0, 0, 2], [1, 0, 2], 4)
    wanted = [[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    expect(table, wanted, call="compute_confusion_matrix([0, 0, 2], [1, 0, 2], 4)")
    truth, predicted = rng.integers(0, 5, 200), rng.integers(0, 5, 200)
    wanted = scores_by_hand(truth, predicted, 5)[0]
    expect(compute_confusion_matrix(truth, predicted), wanted, call="compute_confusion_matrix")
    collected = ConfusionMatrix()
    collected.update(predicted[:7], truth[:7])
    collected.update(predicted[7:], truth[7:])
    expect(collected.compute(), wanted, call="ConfusionMatrix over two batches")


@asks("functionality", step=2, of="class_scores", hint="one sums a column, the other a row")
def test_precision_recall_and_f1(rng):
    """Random answers over four classes, collected in two batches, each average."""
    truth, predicted = rng.integers(0, 4, 60), rng.integers(0, 4, 60)
    truth[:20] = predicted[:20] = 1
    _, *scores = scores_by_hand(truth, predicted, 4)
    support = np.bincount(truth, minlength=4)
    for kind, name, each in zip(
        (Precision, Recall, F1), ("Precision", "Recall", "F1"), scores, strict=True
    ):
        for average, wanted in (
            ("macro", np.mean(each)),
            ("weighted", np.average(each, weights=support)),
            ("micro", np.mean(truth == predicted)),
        ):
            metric = kind(average=average)
            metric.update(predicted[:50], truth[:50])
            metric.update(predicted[50:], truth[50:])
            expect(metric.compute(), wanted, call=f"{name}(average={average!r})")


@asks("functionality", step=2, of="class_scores", hint="decide what 0/0 is before dividing")
def test_a_class_that_is_never_predicted_scores_zero():
    """True 0 0 1, predicted 0 0 0: precision, recall and F1 of class 1 are 0."""
    truth, predicted = np.array([0, 0, 1]), np.array([0, 0, 0])
    for kind, name in ((Precision, "Precision"), (Recall, "Recall"), (F1, "F1")):
        got = kind(average="binary")(predicted, truth)
        expect(got, 0.0, call=f"{name} of a class that was never predicted")


@asks(
    "functionality",
    step=3,
    of="train_step",
    hint="what do the gradients hold before the forward pass?",
)
def test_one_training_step(rng):
    """A step with old gradients lying around, compared with the same step by hand."""
    pairs = line_data(rng, sizes=(6,))
    (x, y), model = pairs[0], line_model([[1.0, 1.0]])
    (model(Tensor(x)) * 100).sum().backward()
    loss = train_step(model, MSELoss(), SGD(model.parameters(), lr=0.1), [(Tensor(x), Tensor(y))])
    weight, losses = fit_by_hand(pairs, [[1.0, 1.0]])
    expect(loss, losses[0], call="the loss that train_step returns", rtol=1e-4)
    expect(model.weight, weight, call="the weight after train_step", rtol=1e-4)


@asks("functionality", step=3, of="train_step", hint="batches may differ in size")
def test_accumulation_equals_one_large_batch(rng):
    """Batches of 6 and 2 in one step, clipped and not, against one batch of 8."""
    pairs = line_data(rng, sizes=(6, 2))
    for clip in (None, 0.5):
        model = line_model([[-1.0, 1.0]])
        optimizer, group = (
            SGD(model.parameters(), lr=0.1),
            [(Tensor(x), Tensor(y)) for x, y in pairs],
        )
        loss = train_step(model, MSELoss(), optimizer, group, clip)
        weight, losses = fit_by_hand(pairs, [[-1.0, 1.0]], accumulate=2, clip=clip)
        expect(loss, losses[0], call="the loss of batches of 6 and 2", rtol=1e-4)
        call = f"the weight after batches of 6 and 2, max_grad_norm={clip}"
        expect(model.weight, weight, call=call, rtol=1e-4)


@asks("functionality", step=4, of="evaluate_model", hint="batches may differ in size")
def test_evaluation_averages_over_examples(rng):
    """The loss over batches of 5, 5 and 2, and the accuracy of batches of 4 and 1."""
    pairs = line_data(rng)
    measured = evaluate_model(line_model([[0.5, 0.5]]), pairs, MSELoss(), [])
    _, losses = fit_by_hand(pairs, [[0.5, 0.5]], lr=0.0)
    expect(measured["loss"], losses[0], call="evaluate_model(...)['loss']", rtol=1e-4)
    expect_equal(measured["samples"], 12, call="evaluate_model(...)['samples']")
    model = Linear(2, 2)
    model.load_state_dict({"weight": np.eye(2, dtype=np.float32), "bias": np.zeros(2)})
    x = np.eye(2, dtype=np.float32)
    data = [(x[[0, 1, 0, 1]], np.array([0, 1, 0, 0])), (x[[1]], np.array([0]))]
    measured = evaluate_model(model, data)
    expect(measured["accuracy"], 0.6, call="evaluate_model(model, data)['accuracy']")
    wanted = (3 * math.log(1 + math.exp(-1)) + 2 * math.log(1 + math.e)) / 5
    expect(measured["loss"], wanted, call="evaluate_model(model, data)['loss']")


@asks("functionality", step=4, of="evaluate_model", hint="mode, graph, weights: check all three")
def test_evaluation_leaves_no_trace(rng):
    """Evaluate a model that doubles its output in training mode; look at it afterwards."""
    pairs, spy = line_data(rng), BESIDE.Spy([[1.0, -1.0]])
    spy.train()
    loss = evaluate_model(spy, pairs, MSELoss(), [])["loss"]
    wanted = fit_by_hand(pairs, [[1.0, -1.0]], lr=0.0)[1][0]
    expect(loss, wanted, call="the loss, if the model is in evaluation mode", rtol=1e-4)
    expect_equal(spy.calls, [(False, False, n) for n in (5, 5, 2)], call="(training, graph, size)")
    expect(spy.weight, [[1.0, -1.0]], call="the weight after evaluate_model")
    expect_equal(BESIDE.gradients(spy), 0, call="parameters with a gradient afterwards")
    expect_equal(spy.training, True, call="model.training after evaluate_model")


@asks("functionality", step=4, of="evaluate_model", hint="each part gets back the mode it had")
def test_evaluation_restores_every_mode():
    """A model with one part in evaluation mode, also when a batch is of the wrong shape."""
    model, labels = BESIDE.partly_frozen(), np.array([0, 1])
    evaluate_model(model, [(np.zeros((2, 2), dtype=np.float32), labels)])
    expect_equal(BESIDE.modes(model), [True, True, False], call="the modes after evaluate_model")
    wrong = [(np.zeros((2, 3), dtype=np.float32), labels)]
    expect_raises(ValueError, evaluate_model, model, wrong, call="evaluate_model on 3 features")
    expect_equal(BESIDE.modes(model), [True, True, False], call="the modes after an error")


@asks("functionality", step=5, of="EarlyStopping.update", hint="count bad epochs in a row")
def test_patience_is_exact():
    """Feed the losses of the worked example, NaN, small gains, and rising accuracies."""
    for options, values, wanted in (
        ({"patience": 2}, [5, 4, 4.5, 3, 3.2, 3.1], [False] * 5 + [True]),
        ({"patience": 1}, [1.0, 1.0], [False, True]),
        ({"patience": 2}, [math.nan, 2.0, math.nan, 1.0], [False] * 4),
        ({"patience": 2}, [1.0, math.nan, math.nan], [False, False, True]),
        ({"patience": 2, "min_delta": 0.5}, [3.0, 2.8, 2.4, 2.0, 1.95], [False] * 4 + [True]),
        ({"patience": 1, "monitor": "val_accuracy"}, [0.2, 0.3, 0.3], [False, False, True]),
        (
            {"patience": 1, "monitor": "reward", "mode": "max"},
            [0.2, 0.3, 0.1],
            [False, False, True],
        ),
    ):
        stopping = EarlyStopping(**options)
        got = [stopping.update(value) for value in values]
        said = ", ".join(f"{key}={value}" for key, value in options.items())
        expect_equal(got, wanted, call=f"EarlyStopping({said}) on {values}")


@asks("functionality", step=5, of="EarlyStopping.update", hint="keep the state when it improves")
def test_the_best_weights_come_back():
    """Worsen a model after its best epoch; restore() brings the best weights."""
    model, stopping = line_model([[1.0, 2.0]]), EarlyStopping(patience=2)
    stopping.update(0.5, model)
    model.load_state_dict({"weight": np.array([[7.0, 7.0]], dtype=np.float32)})
    stopping.update(0.9, model)
    stopping.restore(model)
    expect(model.weight, [[1.0, 2.0]], call="the weight after restore()")


@asks("functionality", step=6, of="load_checkpoint", hint="every part that has a state must travel")
def test_a_resumed_run_is_exact(rng):
    """Two epochs, save, load into new objects, two more: momentum and schedule included."""
    pairs, options = line_data(rng), {"lr": 0.1, "momentum": 0.9}

    def trainer(weight):
        model = line_model(weight)
        optimizer = SGD(model.parameters(), **options)
        return Trainer(model, MSELoss(), optimizer, scheduler=StepLR(optimizer, 3, gamma=0.5))

    first, second = trainer([[1.0, 1.0]]), trainer([[9.0, 9.0]])
    first.fit(pairs, epochs=2, checkpoint_path="resume.ckpt", verbose=False)
    history = second.fit(pairs, epochs=4, resume_from="resume.ckpt", verbose=False)
    rates = [0.1, 0.1, 0.1, 0.05]
    weight, losses = fit_by_hand(pairs, [[1.0, 1.0]], epochs=4, lr=rates, momentum=0.9)
    expect(history["loss"], losses, call="the history over the resume", rtol=1e-4)
    expect(second.model.weight, weight, call="the weight after 2 + 2 epochs", rtol=1e-4)
    expect_equal(second.epoch, 4, call="trainer.epoch after the resumed run")


@asks("functionality", step=6, of="save_checkpoint", hint="random numbers have a state as well")
def test_random_numbers_continue():
    """Seed with 7, draw 3, save, draw 5 more, load, and draw 5 again."""
    model = line_model([[1.0, 1.0]])
    manual_seed(7)
    rand(3)
    save_checkpoint("random.ckpt", model)
    rand(5)
    load_checkpoint("random.ckpt")
    stream = np.random.Generator(np.random.PCG64(7))
    stream.random(3, np.float32)
    wanted = stream.random(5, np.float32)
    expect(rand(5), wanted, call="rand(5) after load_checkpoint", rtol=0, atol=0)


@asks("functionality", step=6, of="save_checkpoint", hint="the content is listed in the docstring")
def test_a_checkpoint_keeps_what_it_is_given(rng):
    """Save float32 and float64 weights with an epoch and a note under the name .pkl; load them."""
    weight = rng.standard_normal((1, 2))
    model = line_model(weight)
    save_checkpoint("best_model.pkl", model, epoch=3, note={"lr": [0.1, 0.2], 7: (1, None)})
    other = line_model([[0.0, 0.0]])
    content = load_checkpoint("best_model.pkl", other)
    expect(other.weight, weight.astype(np.float32), call="the loaded weight", rtol=0, atol=0)
    expect_equal(content["epoch"], 3, call="load_checkpoint(...)['epoch']")
    kept = {"note": {"lr": [0.1, 0.2], 7: (1, None)}}
    expect_equal(content["extra"], kept, call="load_checkpoint(...)['extra']")
    start = BESIDE.read("best_model.pkl")[:4]
    expect_equal(start, b"PK\x03\x04", call="the first bytes of best_model.pkl, a zip")


@asks("functionality", step=6, of="load_checkpoint", hint="first check, then change")
def test_foreign_and_damaged_files_are_refused(rng):
    """A pickle, half a checkpoint, one with a flipped byte, one without optimizer, and none."""
    model = line_model([[1.0, 2.0]])
    save_checkpoint("whole.ckpt", model)
    data = BESIDE.read("whole.ckpt")
    expect_true(
        len(data) > 300, call="save_checkpoint", expected="a file", got=f"{len(data)} bytes"
    )
    at = data.index(np.array([1.0, 2.0], dtype=np.float32).tobytes())
    damaged = data[:at] + b"\xff" + data[at + 1 :]
    for name, content in (("pickle", b"\x80\x04N."), ("half", data[:300]), ("flipped", damaged)):
        BESIDE.write("bad.ckpt", content)
        other = line_model([[5.0, 5.0]])
        call = f"load_checkpoint of a file that is {name}"
        expect_raises(
            ValueError, load_checkpoint, "bad.ckpt", other, call=call, mentions=["bad.ckpt"]
        )
        expect(other.weight, [[5.0, 5.0]], call=f"the weight after a {name} file was refused")
    optimizer = SGD(other.parameters(), lr=0.1)
    call = "load_checkpoint into an optimizer that was not saved"
    expect_raises(ValueError, load_checkpoint, "whole.ckpt", other, optimizer, call=call)
    expect(other.weight, [[5.0, 5.0]], call="the weight after the optimizer was missing")
    expect_raises(FileNotFoundError, load_checkpoint, "no.ckpt", call="load_checkpoint('no.ckpt')")


@asks("functionality", step=6, of="write_atomically", hint="a file beside it, then one move")
def test_a_failed_save_leaves_the_old_file():
    """Fail in the middle of a write, then on a full disk: the old checkpoint stays whole."""
    model = line_model([[1.0, 2.0]])
    save_checkpoint("keep.ckpt", model)
    before = BESIDE.read("keep.ckpt")
    failed = BESIDE.broken_write("keep.ckpt")
    expect_equal(failed, "OSError", call="write_atomically, when writing fails")
    large = Linear(100, 100)
    failed = BESIDE.save_on_a_full_disk("keep.ckpt", large)
    expect_equal(failed, "OSError", call="save_checkpoint on a full disk")
    same = BESIDE.read("keep.ckpt") == before
    expect_true(same, call="a failed save", expected="the old file, unchanged", got="another file")
    expect_equal(BESIDE.files("keep.ckpt"), ["keep.ckpt"], call="the files after a failed save")


@asks("functionality", step=7, of="Trainer.train_epoch", hint="train mode, all batches, one mean")
def test_fit_equals_the_loop_by_hand(rng):
    """Three epochs over batches of 5, 5 and 2 with momentum: weight and every mean loss."""
    pairs, model = line_data(rng), line_model([[1.0, 1.0]])
    trainer = Trainer(model, MSELoss(), SGD(lr=0.1, momentum=0.9))
    history = trainer.fit(pairs, epochs=3, verbose=False)
    weight, losses = fit_by_hand(pairs, [[1.0, 1.0]], epochs=3, momentum=0.9)
    expect(history["loss"], losses, call="history['loss']", rtol=1e-4)
    expect(model.weight, weight, call="the weight after three epochs", rtol=1e-4)


@asks("functionality", step=7, of="Trainer.train_epoch", hint="the last group may be a smaller one")
def test_fit_accumulates_and_clips(rng):
    """Batches of 4, 2 and 3, two to a step, with the norm limited to 0.5."""
    pairs, model = line_data(rng, sizes=(4, 2, 3)), line_model([[-1.0, 2.0]])
    trainer = Trainer(model, MSELoss(), SGD(lr=0.1))
    history = trainer.fit(pairs, epochs=2, accumulate=2, max_grad_norm=0.5, verbose=False)
    weight, losses = fit_by_hand(pairs, [[-1.0, 2.0]], epochs=2, accumulate=2, clip=0.5)
    expect(history["loss"], losses, call="history['loss'] with accumulate=2", rtol=1e-4)
    expect(model.weight, weight, call="the weight with accumulate=2", rtol=1e-4)


@asks("functionality", step=7, of="Trainer.run_epoch", hint="which mode for which data?")
def test_fit_switches_modes_and_validates(rng):
    """Two epochs with validation of a model that notes the mode it is called in."""
    pairs, extra, spy = line_data(rng), line_data(rng, sizes=(4, 1)), BESIDE.Spy([[1.0, 1.0]])
    spy.eval()
    trainer = Trainer(spy, MSELoss(), SGD(lr=0.0), [Accuracy()])
    history = trainer.fit(pairs, extra, epochs=2, verbose=False)
    one = [(True, True, 5), (True, True, 5), (True, True, 2), (False, False, 4), (False, False, 1)]
    expect_equal(spy.calls, one * 2, call="(training, graph, size) of each call of the model")
    wanted = fit_by_hand(extra, [[1.0, 1.0]], lr=0.0)[1]
    expect(history["val_loss"], wanted * 2, call="history['val_loss']", rtol=1e-4)
    names = ["accuracy", "loss", "val_accuracy", "val_loss"]
    expect_equal(sorted(history.keys()), names, call="the figures in the history")


@asks("functionality", step=7, of="Trainer.run_epoch", hint="the schedule moves after the training")
def test_fit_moves_the_schedule(rng):
    """StepLR by epochs and by steps: the weight shows which rate was used when."""
    pairs = line_data(rng)
    for schedule, step_size, rates in (("epoch", 1, [0.1, 0.05]), ("step", 3, [0.1, 0.05])):
        model = line_model([[1.0, 1.0]])
        optimizer = SGD(model.parameters(), lr=0.1)
        scheduler = StepLR(optimizer, step_size, gamma=0.5)
        trainer = Trainer(model, MSELoss(), optimizer, None, scheduler, schedule)
        trainer.fit(pairs, epochs=2, verbose=False)
        weight, _ = fit_by_hand(pairs, [[1.0, 1.0]], epochs=2, lr=rates)
        expect(model.weight, weight, call=f"two epochs with schedule={schedule!r}", rtol=1e-4)
        expect(scheduler.get_last_lr(), [0.025], call=f"the rate after them, schedule={schedule!r}")


@asks("functionality", step=7, of="Trainer.fit", hint="the best epoch is not always the last")
def test_the_best_epoch_is_saved_and_training_stops():
    """A rate so high that every step makes the error -7 times as large: the first epoch is best."""
    x = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]], dtype=np.float32)
    pairs, start = [(x, x @ np.array([[2.0], [-1.0]], dtype=np.float32))] * 2, [[2.1, -1.1]]
    trainer = Trainer(line_model(start), MSELoss(), SGD(lr=4.0))
    saving = {"save_best": True, "checkpoint_path": "best_model.pkl"}
    history = trainer.fit(pairs, pairs, epochs=9, early_stopping=2, verbose=False, **saving)
    wanted, _ = fit_by_hand(pairs, start, lr=4.0)
    expect_equal(len(history["loss"]), 3, call="epochs with early_stopping=2")
    best = line_model([[0.0, 0.0]])
    load_checkpoint("best_model.pkl", best)
    expect(best.weight, wanted, call="the weight in best_model.pkl", rtol=1e-4)
    expect(trainer.model.weight, wanted, call="the weight after early stopping", rtol=1e-4)


@asks("functionality", step=7, of="Trainer.fit", hint="callbacks hear the end of each epoch")
def test_callbacks_listen_and_stop(rng):
    """A callback that notes epoch, figures and rate, and stops training after two epochs."""
    notes, pairs = BESIDE.Notes(2), line_data(rng)
    trainer = Trainer(line_model([[1.0, 1.0]]), MSELoss(), SGD(lr=0.1))
    trainer.fit(pairs, pairs, epochs=5, callbacks=[notes], verbose=False)
    figures = ["loss", "val_loss"]
    wanted = [[1, figures, 0.1], [2, figures, 0.1]]
    expect_equal(notes.heard, wanted, call="what the callback heard")


@asks("functionality", step=3, of="batches", hint="a generator can be read only once")
def test_data_that_runs_out_is_refused(rng):
    """A generator over two epochs, an empty list, and batches without targets."""
    trainer = Trainer(line_model([[1.0, 1.0]]), MSELoss(), SGD(lr=0.1))
    once = BESIDE.one_shot(line_data(rng))
    call = "fit on a generator, two epochs"
    expect_raises(ValueError, trainer.fit, once, epochs=2, verbose=False, call=call)
    expect_raises(ValueError, trainer.fit, [], verbose=False, call="fit on an empty list")
    bare = [np.zeros((3, 2), dtype=np.float32)]
    expect_raises(TypeError, trainer.fit, bare, verbose=False, call="fit on inputs without targets")


@asks("functionality", step=8, of="sparkline", hint="scale between the least and the greatest")
def test_sparkline_scales_its_values():
    """Sparklines of a ramp, of equal values, with NaN, and of nothing."""
    expect_equal(sparkline([1, 2, 3, 4, 5, 6, 7, 8]), "▁▂▃▄▅▆▇█", call="sparkline(1 … 8)")
    expect_equal(sparkline([0.5, 0.5]), "▁▁", call="sparkline([0.5, 0.5])")
    expect_equal(sparkline([1.0, math.nan, 0.0]), "█ ▁", call="sparkline([1, nan, 0])")
    expect_equal(sparkline([]), "", call="sparkline([])")


@asks("integration", step=8, of="plot_training_history", hint="a missing extra is said by name")
def test_curves_need_no_matplotlib(rng):
    """Train with ever smaller steps, then plot without matplotlib: as text, and to a file."""
    trainer = Trainer(line_model([[9.0, 9.0]]), MSELoss(), SGD(lr=0.3))
    history = trainer.fit(line_data(rng), epochs=2, verbose=False)
    text = BESIDE.plot_without_matplotlib(history, None)
    drawn = text.startswith("loss") and "█▁" in text and "plots" in text
    expected = "a falling curve, and the name of the extra 'plots'"
    expect_true(drawn, call="plot_training_history(history)", expected=expected, got=text)
    error = BESIDE.plot_without_matplotlib(history, "curve.png")
    named = error.startswith("ImportError") and "plots" in error
    expected = "an ImportError that names the extra 'plots'"
    expect_true(named, call="plot_training_history(history, path)", expected=expected, got=error)


@asks("integration", step=7, of="Trainer.fit", hint="each part was tested alone: check the order")
def test_a_network_learns_xor():
    """Train an MLP with Adam on the four corners until it answers all of them."""
    manual_seed(3)
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=np.float32)
    data = [(x, np.array([0, 1, 1, 0]))]
    model = MLP(2, 16, 2)
    trainer = Trainer(model, CrossEntropyLoss(), Adam(lr=0.05), [Accuracy()])
    trainer.fit(data, epochs=150, verbose=False)
    answers = model(Tensor(x)).numpy().argmax(axis=1)
    expect(answers, [0, 1, 1, 0], call="the trained network on the four corners")
    table = compute_confusion_matrix(model, data)
    expect(table, [[2, 0], [0, 2]], call="compute_confusion_matrix(model, data)")


@asks("performance", step=6, of="save_checkpoint", hint="raw numbers, each of them once")
def test_a_checkpoint_weighs_what_it_holds():
    """The file of a model with Adam's state is three times the parameters, and little more."""
    model = Linear(300, 100)
    optimizer = Adam(model.parameters())
    batch = (Tensor(np.ones((4, 300), dtype=np.float32)), Tensor(np.zeros((4, 100))))
    train_step(model, MSELoss(), optimizer, [batch])
    save_checkpoint("weight.ckpt", model, optimizer)
    ratio = len(BESIDE.read("weight.ckpt")) / (4 * 100 * 301)
    expect_at_most(ratio, 3.2, call="save_checkpoint", what="size over that of the parameters")
    expect_true(ratio > 2.9, call="save_checkpoint", expected="both of Adam's averages", got=ratio)


@asks("performance", step=7, of="Trainer.train_epoch", hint="the loop does only what it must")
def test_the_trainer_costs_little(rng):
    """An epoch of 60 small batches by Trainer.fit against the barest loop."""
    x, y = rng.random((32, 64)).astype(np.float32), rng.random((32, 10)).astype(np.float32)
    pairs, model = [(x, y)] * 60, MLP(64, 64, 10)
    trainer = Trainer(model, MSELoss(), SGD(lr=0.01))
    bare = timed(BESIDE.bare_loop, model, MSELoss(), trainer.optimizer, pairs, repeat=5)
    full = timed(trainer.fit, pairs, verbose=False, repeat=5)
    expect_at_most(full / bare, 2.5, call="Trainer.fit, 60 batches", what="time over a bare loop")


@asks("performance", step=2, of="compute_confusion_matrix", hint="count all pairs at once")
def test_counting_is_one_pass(rng):
    """A confusion matrix of 500,000 answers against NumPy's own counting."""
    truth, predicted = rng.integers(0, 10, (2, 500_000))
    ours = timed(compute_confusion_matrix, Tensor(truth), Tensor(predicted), repeat=5)
    ratio = ours / timed(np.bincount, truth * 10 + predicted, repeat=5)
    expect_at_most(ratio, 20, call="compute_confusion_matrix", what="time over np.bincount")
