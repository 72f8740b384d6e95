"""A CNN with batch norm, as one writes it for PyTorch: train, eval, state saved and loaded."""

import json
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import nn, optim

rng = np.random.default_rng(1)
images = rng.standard_normal((80, 3, 12, 12)).astype(np.float32)
labels = (images[:, 0, :6].mean(axis=(1, 2)) > images[:, 0, 6:].mean(axis=(1, 2))).astype(np.int64)


def make_model():
    return nn.Sequential(
        nn.Conv2d(3, 8, kernel_size=3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, kernel_size=3, stride=2),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 2),
    )


def start(name, value):
    if not name.endswith("weight") or len(value.shape) == 1:
        return value
    return torch.tensor(0.2 * rng.standard_normal(tuple(value.shape)).astype(np.float32))


model = make_model()
zero_bias = {k: v * 0 if k.endswith("bias") else v for k, v in model.state_dict().items()}
model.load_state_dict({k: start(k, v) for k, v in zero_bias.items()})
optimizer = optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
criterion = nn.CrossEntropyLoss()
x, y = torch.tensor(images), torch.tensor(labels)
losses = []
model.train()
for step in range(20):
    batch = slice(16 * (step % 5), 16 * (step % 5) + 16)
    optimizer.zero_grad()
    loss = criterion(model(x[batch]), y[batch])
    loss.backward()
    optimizer.step()
    losses.append(loss.item())

model.eval()
with torch.no_grad():
    before = model(x)
with tempfile.TemporaryDirectory() as folder:
    path = str(Path(folder) / "model.pt")
    torch.save(model.state_dict(), path)
    again = make_model()
    again.load_state_dict(torch.load(path))
again.eval()
with torch.no_grad():
    after = again(x)
losses += [criterion(before, y).item(), float(before.sum())]
print(json.dumps({"losses": losses, "same": bool((before == after).sum().item() == 160)}))
