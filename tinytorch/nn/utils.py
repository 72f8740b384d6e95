"""The face of the helpers that work on all parameters at once."""

from tinytorch._face import lazy as _lazy

__getattr__, __dir__ = _lazy("tinytorch.nn.utils", {"optimizers": "clip_grad_norm_"})
