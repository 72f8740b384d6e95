"""TinyTorch: the machine-learning framework that you build, module by module.

The names are PyTorch's: a small script needs only its import lines changed. Each is fetched from
`tinytorch.core` when it is first used, so that this package imports before anything is built.
"""

import os

# After a product, OpenBLAS's idle threads spin for some 20 ms on processors that the threads of a
# convolution want. 2**14 turns are enough. Heeded only if NumPy is loaded later than this.
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "14")

import numpy as np

from tinytorch._face import lazy as _lazy
from tinytorch.serialization import load, save

__all__ = ["load", "save"]

float16, float32, float64 = np.float16, np.float32, np.float64
uint8, int8, int32, int64, long = np.uint8, np.int8, np.int32, np.int64, np.int64
bool = np.bool_

__getattr__, __dir__ = _lazy(
    "tinytorch",
    {
        "tensor": "Tensor add sub mul div neg abs exp log sqrt pow clip where matmul sum mean var "
        "max min argmax reshape permute transpose flatten squeeze unsqueeze stack concatenate cat "
        "zeros ones full arange eye rand randn manual_seed",
        "activations": "relu sigmoid softmax log_softmax",
        "autograd": "no_grad grad gradcheck",
    },
    submodules="nn optim utils",
    tensor="tensor.Tensor",
    tanh="tensor.tanh",
    clamp="tensor.clip",
)
