"""The face of networks: layers put together, under the course documents' older path."""

from tinytorch._face import lazy as _lazy

__getattr__, __dir__ = _lazy(
    "tinytorch.core.networks", {"layers": "Sequential Module MLP create_mlp Flatten Dropout"}
)
