"""The face of the language model."""

from tinytorch._face import lazy as _lazy

__getattr__, __dir__ = _lazy(
    "tinytorch.tinygpt",
    {
        "tokenization": "CharTokenizer BPETokenizer",
        "attention": "SelfAttention MultiHeadAttention causal_mask scaled_dot_product_attention",
        "transformers": "GPT GPTConfig TinyGPT TransformerBlock FeedForward LayerNorm",
    },
)
