"""An MLP classifier, as one writes it for PyTorch: DataLoader, Adam, twenty steps."""

import json

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

rng = np.random.default_rng(0)
images = rng.standard_normal((320, 20)).astype(np.float32)
labels = (images[:, :4].sum(axis=1) > 0).astype(np.int64) + 2 * (images[:, 4] > 0)


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(20, 32)
        self.second = nn.Linear(32, 32)
        self.last = nn.Linear(32, 4)

    def forward(self, x):
        x = F.relu(self.first(x))
        x = torch.tanh(self.second(x))
        return self.last(x)


model = Classifier()
start = {k: torch.tensor(0.2 * rng.standard_normal(tuple(v.shape)).astype(np.float32))
         for k, v in model.state_dict().items()}  # fmt: skip
model.load_state_dict(start)
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
loader = DataLoader(
    TensorDataset(torch.tensor(images), torch.tensor(labels)), batch_size=32, shuffle=False
)
losses = []
for _ in range(2):
    for x, y in loader:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
with torch.no_grad():
    right = (model(torch.tensor(images)).argmax(dim=1) == torch.tensor(labels)).sum().item()
print(json.dumps({"losses": losses, "right": right}))
