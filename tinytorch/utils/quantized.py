"""The machine room of module 15: buffers of quantized layers, and layers exchanged in a tree.

`tinytorch.core.quantization` builds on these classes; what is computed is in the module.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from tinytorch.imaging import check_channels, geometry
from tinytorch.tree import Trained, join


class CodedLayer:
    """The buffers of a layer whose weights are codes, channels first.

    Attributes:
        weight, weight_scale: int8, and float32 (channels,); zero point 0.
        input_scale, input_zero_point: Of the codes of the input; float32 and int32.
        correction: int32 (channels,): input zero point times the sum of a channel's codes.
        bias: float32 (channels,), or None.
    """

    def hold(self, shape: tuple[int, ...], bias: bool) -> None:
        """Make the buffers for weights of this shape."""
        from tinytorch.core.tensor import Tensor

        arrays = {
            "weight": np.zeros(shape, np.int8),
            "weight_scale": np.ones(shape[0], np.float32),
            "input_scale": np.ones((), np.float32),
            "input_zero_point": np.zeros((), np.int32),
            "correction": np.zeros(shape[0], np.int32),
        }
        for name, array in arrays.items():
            self.register_buffer(name, Tensor(array))
        self.register_buffer("bias", Tensor(np.zeros(shape[0], np.float32)) if bias else None)


class CodedLinear(CodedLayer):
    """What a quantized linear layer is apart from its arithmetic."""

    shown = ("in_features", "out_features")

    def __init__(self, in_features: int, out_features: int, bias: bool = True):
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.hold((out_features, in_features), bias)

    @classmethod
    def from_float(cls, layer: Any, seen: Any) -> Any:
        """Quantize a Linear; the Calibrator `seen` observed its inputs."""
        sizes = layer.in_features, layer.out_features
        return cls(*sizes, layer.bias is not None).pack(layer, seen)


class CodedConv2d(CodedLayer):
    """What a quantized convolution is apart from its arithmetic; arguments as of Conv2d."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1,
                 padding: Any = 0, dilation: Any = 1, groups: int = 1,
                 bias: bool = True):  # fmt: skip
        super().__init__()
        self.geometry = geo = geometry(kernel_size, stride, padding, dilation, groups)
        check_channels(in_channels, out_channels, groups)
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size, self.stride, self.padding, self.dilation = geo[:4]
        self.hold((out_channels, in_channels // groups, *self.geometry.kernel), bias)

    @classmethod
    def from_float(cls, layer: Any, seen: Any) -> Any:
        """Quantize a Conv2d; the Calibrator `seen` observed its inputs."""
        sizes = layer.in_channels, layer.out_channels
        return cls(*sizes, *layer.geometry, layer.bias is not None).pack(layer, seen)

    def extra_repr(self) -> str:
        """Name the sizes."""
        sizes = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}"
        return f"{sizes}, stride={self.stride}, padding={self.padding}"


class Watch:
    """A float layer with a calibrator that sees what goes into it."""

    def __init__(self, layer: Any, seen: Any):
        super().__init__()
        self.layer, self.seen = layer, seen

    def forward(self, x: Any) -> Any:
        """Observe, then compute as before."""
        self.seen.observe(x)
        return self.layer(x)


class Passing:
    """What is left of a layer that was folded into the one before: it returns its input."""

    def forward(self, x: Any) -> Any:
        """Return x."""
        return x


def replace_layers(
    module: Any, kinds: tuple[type, ...], make: Callable[[Any], Any],
    done: dict[int, tuple[Any, Any]] | None = None,
) -> Any:  # fmt: skip
    """Put `make(layer)` in the place of every layer of exactly these classes.

    Returns:
        The module itself, changed, or what took its place. A layer that stands in two places is
        replaced by one new layer.
    """
    done = {} if done is None else done
    if id(module) not in done:
        if type(module) in kinds:
            done[id(module)] = module, make(module)
        else:
            done[id(module)] = module, module
            for name, child in list(module.named_children()):
                setattr(module, name, replace_layers(child, kinds, make, done))
    return done[id(module)][1]


def finished(part: Any, kinds: dict[type, Any], widest: int) -> Any:
    """Return the quantized layer of a watched one.

    The float layer if no batch came through it, or if its sums have more than `widest` products.
    """
    layer = part.layer
    if not part.seen.count or layer.weight.data[0].size > widest:
        return layer
    return kinds[type(layer)].from_float(layer, part.seen)


def fold_pairs(
    model: Any, chain: type, kinds: tuple[type, type], fold: Callable[[Any, Any], Any],
    passing: type,
) -> list[str]:  # fmt: skip
    """Put `fold(first, second)` in the place of neighbours of these classes in a chain.

    A second layer without running statistics stays: it has no fixed scale and shift.

    Returns:
        The paths of the layers folded away, where a `passing()` now stands.
    """
    paths = []
    for path, part in list(model.named_modules()):
        ordered = isinstance(part, chain) and type(part).forward is chain.forward
        for i in range(len(part) - 1 if ordered else 0):
            first, second = part[i], part[i + 1]
            if (type(first), type(second)) == kinds and second.running_var is not None:
                part[i], part[i + 1] = fold(first, second), passing()
                paths.append(join(path, part._names[i + 1]))
    return paths


def named_by_storage(model: Any, folded: list[str]) -> dict[str, list[str]]:
    """Say which layers hold codes, which were folded, and which hold floating numbers still."""
    names: dict[str, list[str]] = {"quantized": [], "folded": folded, "float": []}
    for path, part in model.named_modules():
        own = part._buffers or any(isinstance(value, Trained) for value in vars(part).values())
        if isinstance(part, CodedLayer):
            names["quantized"].append(path)
        elif own:
            names["float"].append(path)
    return names
