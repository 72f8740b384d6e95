"""Module 15 on the shipped digits: within a point of accuracy, 3.9 times smaller, whole numbers."""

import numpy as np
import pytest
from oracle import importable, load_course

from tinytorch.utils.statefile import read_state, write_state

M = load_course("15")
lent = importable(M)
Q = M.quantization


@pytest.fixture(scope="module")
def digits():
    """Images and labels of the training and the test set."""
    sets = (M.dataloader.DigitsDataset(train=train) for train in (True, False))
    return [tuple(np.asarray(part) for part in whole(data)) for data in sets]


def whole(data):
    """All samples of a dataset at once."""
    return data.take(np.arange(len(data)))


@pytest.fixture(scope="module")
def trained(digits):
    """A CNN with batch norms, trained for some seconds."""
    layers, spatial = M.layers, M.spatial
    M.tensor.manual_seed(0)
    model = layers.Sequential(
        spatial.Conv2d(1, 16, 3, padding=1, bias=False),
        spatial.BatchNorm2d(16),
        M.activations.ReLU(),
        spatial.Conv2d(16, 64, 3, padding=1, bias=False),
        spatial.BatchNorm2d(64),
        M.activations.ReLU(),
        spatial.MaxPool2d(2),
        layers.Flatten(),
        layers.Dropout(0.2),
        layers.Linear(1024, 768),
        M.activations.ReLU(),
        layers.Linear(768, 10),
    )
    loader = M.dataloader.DataLoader(*digits[0], batch_size=64, shuffle=True, seed=0)
    optimizer = M.optimizers.Adam(model.parameters(), lr=1e-3)
    M.training.Trainer(model, M.losses.CrossEntropyLoss(), optimizer).fit(
        loader, epochs=4, verbose=False
    )
    return model


@pytest.mark.parametrize("method", ["minmax", "percentile"])
def test_digits_keep_their_accuracy_in_a_quarter(method, trained, digits, tmp_path):
    """Within 1 point of test accuracy; 3.9 times smaller in memory and on disk, scales included."""
    batches = [digits[0][0][i : i + 100] for i in range(0, 500, 100)]
    small = Q.quantize_model(trained, batches, method=method)
    report = Q.quantization_report(trained, small, [digits[1]])
    assert report["accuracy"] > 0.97
    assert abs(report["points_lost"]) <= 1
    held = [sum(t.nbytes for t in m.state_dict().values()) for m in (trained, small)]
    assert held == [report["bytes"], report["quantized_bytes"]]
    assert held[0] / held[1] >= 3.9
    sizes = []
    for name, model in (("float", trained), ("int8", small)):
        with open(tmp_path / name, "xb") as file:
            write_state(file, dict(model.state_dict()))
        sizes.append((tmp_path / name).stat().st_size)
    assert sizes[0] / sizes[1] >= 3.9
    other = Q.quantize_model(trained, batches[:1])
    other.load_state_dict(read_state(tmp_path / "int8"))
    x = M.tensor.Tensor(digits[1][0])
    np.testing.assert_array_equal(other(x).numpy(), small(x).numpy())
    print(
        f"{method}: accuracy {report['accuracy']:.4f} -> {report['quantized_accuracy']:.4f}, "
        f"memory {held[0] / held[1]:.3f}, disk {sizes[0] / sizes[1]:.3f}"
    )


def test_half_the_bytes_as_fp16(trained, digits, tmp_path):
    """Stored as float16: half the file, and accuracy within half a point."""
    for name, state in (("float", trained.state_dict()), ("half", Q.fp16_state(trained))):
        with open(tmp_path / name, "xb") as file:
            write_state(file, dict(state))
    sizes = [(tmp_path / name).stat().st_size for name in ("float", "half")]
    assert 1.95 < sizes[0] / sizes[1] < 2.05
    before = M.training.evaluate_model(trained, [digits[1]])["accuracy"]
    own = trained.state_dict()
    try:
        trained.load_state_dict(read_state(tmp_path / "half"))
        assert abs(M.training.evaluate_model(trained, [digits[1]])["accuracy"] - before) <= 0.005
    finally:
        trained.load_state_dict(own)


def test_the_sums_of_a_layer_are_whole_numbers():
    """A layer's int32 sums are those of Python's own integers, the worst case included."""
    layer, seen = M.layers.Linear(2000, 3, bias=False), Q.Calibrator()
    layer.weight.data = np.where(np.arange(6000).reshape(3, 2000) % 7, 1, -1).astype(np.float32)
    seen.observe(np.array([0.0, 255.0]))
    small = Q.QuantizedLinear.from_float(layer, seen)
    x = np.full((1, 2000), 255.0, np.float32)
    sums = Q.integer_matmul(small.encode(M.tensor.Tensor(x)), small.weight.data.T)
    assert small.weight.dtype == np.int8
    wanted = [sum(127 * int(w) for w in row) for row in small.weight.tolist()]
    assert (sums.tolist(), sums.dtype) == ([wanted], np.int32)
    exact = 255 * layer.weight.data.sum(axis=1)
    np.testing.assert_allclose(small(M.tensor.Tensor(x)).numpy()[0], exact, rtol=1e-6)
