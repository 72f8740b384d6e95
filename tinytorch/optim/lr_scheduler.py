"""The face of the learning-rate schedules."""

from tinytorch._face import lazy as _lazy

__getattr__, __dir__ = _lazy(
    "tinytorch.optim.lr_scheduler",
    {"optimizers": "LRScheduler StepLR CosineAnnealingLR LinearWarmup OneCycleLR"},
)
