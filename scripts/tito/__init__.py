"""tito: the tool that exports, checks, grades and renders a TinyTorch tree."""

__version__ = "1.0.0"
