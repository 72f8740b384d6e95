"""The face of layers, activations and losses: `torch.nn` by other means."""

from tinytorch._face import lazy as _lazy

__getattr__, __dir__ = _lazy(
    "tinytorch.nn",
    {
        "layers": "Module Parameter Linear Dense Sequential ModuleList Flatten Dropout MLP",
        "activations": "ReLU LeakyReLU Sigmoid Tanh GELU SiLU Softmax LogSoftmax",
        "losses": "MSELoss L1Loss HuberLoss CrossEntropyLoss NLLLoss BCELoss BCEWithLogitsLoss",
        "spatial": "Conv2d Conv2D MaxPool2d AvgPool2d AdaptiveAvgPool2d GlobalAvgPool2d "
        "BatchNorm2d",
        "embeddings": "Embedding",
        "attention": "MultiHeadAttention",
        "transformers": "LayerNorm",
    },
    submodules="functional init utils",
)
