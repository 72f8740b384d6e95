"""The face of data sets and loaders: `torch.utils.data` by other means."""

from tinytorch._face import lazy as _lazy

__getattr__, __dir__ = _lazy(
    "tinytorch.utils.data",
    {
        "dataloader": "Dataset TensorDataset Subset random_split DataLoader default_collate "
        "DigitsDataset "
        "MNISTDataset CIFAR10Dataset"
    },
)
