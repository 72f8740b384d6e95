"""The script that the course promises: a CNN on CIFAR-10, from data to evaluation."""

from tinytorch.core.activations import ReLU
from tinytorch.core.dataloader import CIFAR10Dataset, DataLoader
from tinytorch.core.layers import Dense
from tinytorch.core.networks import Sequential
from tinytorch.core.optimizers import Adam
from tinytorch.core.spatial import Conv2D
from tinytorch.core.tensor import Tensor
from tinytorch.core.training import (
    Accuracy,
    CrossEntropyLoss,
    Trainer,
    evaluate_model,
    plot_training_history,
)

dataset = CIFAR10Dataset(download=True, flatten=False)
train_loader = DataLoader(dataset.train_data, dataset.train_labels, batch_size=32)
test_loader = DataLoader(dataset.test_data, dataset.test_labels, batch_size=32)

model = Sequential(
    [
        Conv2D(3, 32, kernel_size=3),
        ReLU(),
        Conv2D(32, 64, kernel_size=3),
        ReLU(),
        Dense(64 * 28 * 28, 128),
        ReLU(),
        Dense(128, 10),
    ]
)
assert model(Tensor(dataset.test_data[:2])).shape == (2, 10)

trainer = Trainer(model, CrossEntropyLoss(), Adam(lr=0.001), [Accuracy()])
history = trainer.fit(
    train_loader,
    val_dataloader=test_loader,
    epochs=2,
    save_best=True,
    checkpoint_path="best_model.pkl",
)
results = evaluate_model(model, test_loader)
print(f"accuracy: {results['accuracy']:.4f}")
plot_training_history(history)
