"""The face of the functions behind layers, activations and losses."""

from tinytorch._face import lazy as _lazy

__getattr__, __dir__ = _lazy(
    "tinytorch.nn.functional",
    {
        "activations": "relu leaky_relu sigmoid gelu silu softmax log_softmax",
        "layers": "dropout",
        "losses": "mse_loss l1_loss huber_loss nll_loss cross_entropy binary_cross_entropy "
        "binary_cross_entropy_with_logits",
        "spatial": "conv2d max_pool2d avg_pool2d adaptive_avg_pool2d",
        "embeddings": "embedding one_hot",
        "attention": "scaled_dot_product_attention",
        "transformers": "layer_norm",
    },
    tanh="tensor.tanh",
)
