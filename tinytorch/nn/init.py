"""The face of the initialisers."""

from tinytorch._face import lazy as _lazy

__getattr__, __dir__ = _lazy(
    "tinytorch.nn.init",
    {
        "layers": "uniform_ normal_ constant_ calculate_gain xavier_uniform_ xavier_normal_ "
        "kaiming_uniform_ kaiming_normal_",
    },
)
