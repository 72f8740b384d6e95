"""A decoder-only transformer, as one writes it for PyTorch."""

import json

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

B, T, C, H, V = 4, 16, 32, 4, 24
rng = np.random.default_rng(2)
text = rng.integers(0, V, (20, B, T + 1))
text[:, :, 1::2] = (text[:, :, :-1:2] * 5 + 3) % V  # every second token follows from the one before


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(C, 3 * C)
        self.project = nn.Linear(C, C)

    def forward(self, x):
        qkv = self.qkv(x).view(B, T, 3, H, C // H)  # (B, T, 3, H, C / H)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (B, H, T, C / H)
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.project(out.transpose(1, 2).reshape(B, T, C))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(C), nn.LayerNorm(C)
        self.attention = Attention()
        self.mlp = nn.Sequential(nn.Linear(C, 4 * C), nn.GELU(), nn.Linear(4 * C, C))

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.tokens = nn.Embedding(V, C)
        self.places = nn.Embedding(T, C)
        self.blocks = nn.ModuleList([Block(), Block()])
        self.norm = nn.LayerNorm(C)
        self.head = nn.Linear(C, V, bias=False)

    def forward(self, ids):
        x = self.tokens(ids) + self.places(torch.arange(T))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


model = Decoder()
model.load_state_dict({k: v if "norm" in k else
                       torch.tensor(0.1 * rng.standard_normal(tuple(v.shape)).astype(np.float32))
                       for k, v in model.state_dict().items()})  # fmt: skip
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.1)
losses = []
for batch in text:
    ids = torch.tensor(batch)
    logits = model(ids[:, :-1])
    loss = F.cross_entropy(logits.reshape(-1, V), ids[:, 1:].reshape(-1))
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    losses.append(loss.item())
print(json.dumps({"losses": losses}))
