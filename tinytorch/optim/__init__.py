"""The face of the optimizers: `torch.optim` by other means."""

from tinytorch._face import lazy as _lazy

__getattr__, __dir__ = _lazy(
    "tinytorch.optim", {"optimizers": "Optimizer SGD Adam AdamW RMSprop"}, submodules="lr_scheduler"
)
