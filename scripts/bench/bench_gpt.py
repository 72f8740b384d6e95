"""Time training steps of a small GPT against PyTorch's on the CPU.

    python scripts/bench/bench_gpt.py [--runs N] [--threads N] [--json FILE]

4 layers, 4 heads, 128 wide, block 64, batch 12, 65 tokens, tied head, gelu in its "tanh" form,
AdamW; needs the exported modules up to 13 (tito export --all). PyTorch's side is ordinary eager
code with F.scaled_dot_product_attention. Both start from the same weights and must agree on the
first loss. The whole step has the limit of 2.0 times PyTorch's; its parts are printed without one.
"""

from collections.abc import Callable
from typing import Any

from _ratio import Ratio, Side, compare, finish, import_torch, start

LAYERS, HEADS, WIDTH, BLOCK, BATCH, VOCAB = 4, 4, 128, 64, 12, 65
STEPS = 3
LIMIT = 2.0
SAME_LOSS = 1e-4


def ours() -> tuple[Any, Any]:
    """The model, and its optimizer."""
    from tinytorch.core.optimizers import AdamW
    from tinytorch.core.transformers import GPT, GPTConfig

    model = GPT(GPTConfig(VOCAB, BLOCK, LAYERS, HEADS, WIDTH))
    return model, AdamW(model.parameters(), lr=1e-3)


def theirs(torch: Any, state: dict[str, Any]) -> tuple[Any, Any]:
    """The same in PyTorch, with the same weights."""
    nn, functional = torch.nn, torch.nn.functional

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
            self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
            self.wide, self.narrow = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

        def forward(self, x: Any) -> Any:
            B, T, C = x.shape
            packed = self.qkv(self.norm1(x)).split(C, dim=2)
            q, k, v = (part.view(B, T, HEADS, C // HEADS).transpose(1, 2) for part in packed)
            heads = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.out(heads.transpose(1, 2).contiguous().view(B, T, C))
            hidden = functional.gelu(self.wide(self.norm2(x)), approximate="tanh")
            return x + self.narrow(hidden)

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens, self.positions = nn.Embedding(VOCAB, WIDTH), nn.Embedding(BLOCK, WIDTH)
            self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
            self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, VOCAB, bias=False)
            self.head.weight = self.tokens.weight

        def forward(self, ids: Any, targets: Any) -> Any:
            x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1]))
            for block in self.blocks:
                x = block(x)
            logits = self.head(self.norm(x))
            return logits, functional.cross_entropy(logits.view(-1, VOCAB), targets.view(-1))

    model = Model()
    names = {
        "token_embedding": "tokens",
        "position_embedding": "positions",
        "self_attn.in_proj_": "qkv.",
        "self_attn.out_proj": "out",
        "feed_forward.linear1": "wide",
        "feed_forward.linear2": "narrow",
    }
    renamed = {}
    for key, value in state.items():
        for old, new in names.items():
            key = key.replace(old, new)
        renamed[key] = torch.tensor(value.numpy())
    model.load_state_dict(renamed)
    return model, torch.optim.AdamW(model.parameters(), lr=1e-3)


def batch() -> tuple[Any, Any]:
    """One batch of random tokens and targets."""
    import numpy as np

    rng = np.random.default_rng(0)
    return rng.integers(0, VOCAB, (BATCH, BLOCK)), rng.integers(0, VOCAB, (BATCH, BLOCK))


def whole_step(model: Any, optimizer: Any, ids: Any, targets: Any) -> Side:
    """Clear, forward, loss, backward, step."""

    def work() -> None:
        for _ in range(STEPS):
            optimizer.zero_grad()
            model(ids, targets)[1].backward()
            optimizer.step()

    return lambda: work


def forward_only(model: Any, optimizer: Any, ids: Any, targets: Any) -> Side:
    """Forward and loss; the graph is recorded and dropped."""
    return lambda: lambda: [model(ids, targets) for _ in range(STEPS)] and None


def backward_only(model: Any, optimizer: Any, ids: Any, targets: Any) -> Side:
    """Backward from losses that are there."""

    def prepare() -> Callable[[], None]:
        losses = [model(ids, targets)[1] for _ in range(STEPS)]
        return lambda: [loss.backward() for loss in losses] and None

    return prepare


def update_only(model: Any, optimizer: Any, ids: Any, targets: Any) -> Side:
    """Nothing but the optimizer, on gradients that are there."""

    def prepare() -> Callable[[], None]:
        optimizer.zero_grad()
        model(ids, targets)[1].backward()
        return lambda: [optimizer.step() for _ in range(STEPS)] and None

    return prepare


def main() -> int:
    """Compare, print the table, and fail if the whole step is too slow."""
    options = start(__doc__)
    torch = import_torch(options.threads)
    model, optimizer = ours()
    ids, targets = batch()
    peer = (
        *theirs(torch, model.state_dict()),
        torch.from_numpy(ids),
        torch.from_numpy(targets),
    )
    mine = (model, optimizer, ids, targets)
    losses = [float(side[0](*side[2:])[1].item()) for side in (mine, peer)]
    if abs(losses[0] - losses[1]) > SAME_LOSS:
        raise SystemExit(f"the models differ: losses {losses}")

    def row(name: str, make: Callable[..., Side], limit: float | None = None) -> Ratio:
        return compare(name, make(*mine), make(*peer), runs=options.runs, limit=limit)

    rows = [row(f"{STEPS} training steps", whole_step, LIMIT)]
    rows += [row("  forward", forward_only), row("  backward", backward_only)]
    rows.append(row("  update", update_only))
    return finish(rows, options, loss=losses)


if __name__ == "__main__":
    raise SystemExit(main())
