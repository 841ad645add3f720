"""What kind of step each recorded operation is, seen from a propagation rule.

A torch call falls into one family, and a rule is chosen by family: ``affine`` layers have weights,
``linear`` steps are sums of their inputs times constants, ``move`` steps only carry values to other
places, ``maximum`` steps pass one of many values on, ``activation`` steps act on each number alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional

from nni_widgets.engine.tape import Op
from nni_widgets.errors import UnsupportedOperation

Family = Literal["affine", "linear", "move", "maximum", "activation", "other"]

_NAMES: dict[Family, str] = {
    "affine": """conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d linear""",
    "linear": """add sub rsub mul div true_divide truediv neg mean sum batch_norm avg_pool1d
        avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d
        interpolate upsample matmul mm addmm""",
    "move": """flatten view reshape permute transpose T mT H t unflatten squeeze unsqueeze
        contiguous clone cat concat concatenate stack hstack vstack chunk split tensor_split unbind
        getitem narrow select index_select pad dropout dropout1d dropout2d dropout3d
        alpha_dropout feature_dropout feature_alpha_dropout to float double expand expand_as
        repeat movedim swapaxes moveaxis flip roll pixel_shuffle pixel_unshuffle channel_shuffle
        where masked_fill identity positive view_as reshape_as type type_as""",
    "maximum": """max_pool1d max_pool2d max_pool3d max_pool1d_with_indices
        max_pool2d_with_indices max_pool3d_with_indices adaptive_max_pool1d adaptive_max_pool2d
        adaptive_max_pool3d adaptive_max_pool1d_with_indices adaptive_max_pool2d_with_indices
        adaptive_max_pool3d_with_indices amax max maximum""",
    "activation": """relu relu6 leaky_relu prelu rrelu elu selu celu gelu silu mish hardswish
        hardtanh hardsigmoid softplus sigmoid tanh clamp clamp_min clip threshold softsign
        _threshold logsigmoid tanhshrink softshrink hardshrink""",
}
_RESHAPES = {
    *("flatten", "view", "reshape", "squeeze", "unsqueeze", "unflatten", "view_as", "reshape_as"),
    *("contiguous", "clone", "identity"),
}
_FAMILY: dict[str, Family] = {
    name: family for family, names in _NAMES.items() for name in names.split()
}
_PRODUCTS = {"mul", "div", "true_divide", "truediv", "matmul", "mm", "addmm"}
_DIVISIONS = {"div", "true_divide", "truediv"}
_BY_ARGUMENTS = _PRODUCTS | {"interpolate", "upsample", "batch_norm"}
_DENSE = {"linear", "matmul", "mm", "addmm"}
_GROUPS = {
    "conv": ("conv",),
    "dense": ("linear", "matmul", "mm", "addmm"),
    "pool": ("avg_pool", "adaptive_avg_pool", "mean"),
    "maxpool": ("max", "adaptive_max", "amax"),
    "sum": ("add", "sub", "rsub"),
    "norm": ("batch_norm",),
    "relu": ("relu", "clamp", "threshold"),
}


def family(op: Op) -> Family:
    """The family of an operation; ``other`` where a rule must be named by the user."""
    if op.kind not in _BY_ARGUMENTS:
        found = _FAMILY.get(op.kind, "other")
        return "other" if found == "affine" and not _has_fixed_weights(op) else found
    if op.kind in {"interpolate", "upsample"}:
        return "move" if _copies(op) else "linear"
    if op.kind == "batch_norm":
        is_fixed = len(op.values) == 1 and _has_running_statistics(op)
        return "linear" if is_fixed else "other"
    given = (*op.args, *op.kwargs.values())
    factors = sum(argument is value for argument in given for value in op.values)
    if factors > 1 or (op.kind in _DIVISIONS and _factors(op)[0] is not op.values[0]):
        return "other"
    return "linear" if _product_operands(op) is None else "affine"


def _has_fixed_weights(op: Op) -> bool:
    """Whether neither the weights nor the bias of a layer were computed from x."""
    layer_input = op.args[0] if op.args else op.kwargs["input"]
    return len(op.values) == 1 and layer_input is op.values[0]


def _has_running_statistics(op: Op) -> bool:
    return (op.args[2] if len(op.args) > 2 else op.kwargs.get("running_var")) is not None


def _copies(op: Op) -> bool:
    """Whether an upsampling repeats values instead of mixing them."""
    mode = op.args[3] if len(op.args) > 3 else op.kwargs.get("mode", "nearest")
    return str(mode).startswith("nearest")


def compares(op: Op) -> bool:
    """Whether it is the maximum of two tensors, number by number; one may be a constant."""
    given = (*op.args, *op.kwargs.values())
    return op.kind in {"max", "maximum"} and sum(isinstance(one, Tensor) for one in given) == 2


def group(kind: str) -> str:
    """The word that a composite's ``:word`` selects this kind by, or an empty string."""
    for word, starts in _GROUPS.items():
        if kind.startswith(starts):
            return word
    return ""


@dataclass(eq=False, slots=True)
class Affine:
    """An affine layer ``z = W a + b``, able to use other weights in its place; here a dense one."""

    a: Tensor
    weight: Tensor
    bias: Tensor | None
    z: Tensor
    channel_dim: ClassVar[int] = -1

    def forward(
        self, weight: Tensor, bias: Tensor | None = None, a: Tensor | None = None
    ) -> Tensor:
        """The layer with other weights, on its own input or on ``a``."""
        return functional.linear(self.a if a is None else a, weight, bias)

    def transpose(self, weight: Tensor, signal: Tensor) -> Tensor:
        """``Wᵀ signal``: a signal at the output, carried to the input."""
        return signal @ weight

    def along_output(self, bias: Tensor) -> Tensor:
        """A bias, shaped to broadcast over the output."""
        return bias


@dataclass(eq=False, slots=True)
class Convolution(Affine):
    """A convolution or a transposed convolution, called as on the tape."""

    op: Op
    channel_dim: ClassVar[int] = 1

    def forward(
        self, weight: Tensor, bias: Tensor | None = None, a: Tensor | None = None
    ) -> Tensor:
        rest = {name: v for name, v in self.op.kwargs.items() if name not in _OPERANDS}
        made: Tensor = self.op.func(
            self.a if a is None else a, weight, bias, *self.op.args[3:], **rest
        )
        return made

    def transpose(self, weight: Tensor, signal: Tensor) -> Tensor:
        transposed = self.op.kind.startswith("conv_transpose")
        names = _GEOMETRY_TRANSPOSED if transposed else _GEOMETRY
        given = _arguments(self.op, names, 3)
        if given["padding"] == "same":
            return self._by_autograd(weight, signal)
        padding = 0 if given["padding"] == "valid" else given["padding"]
        axes = weight.ndim - 2
        stride, padding = _each(given["stride"], axes), _each(padding, axes)
        dilation, groups = _each(given["dilation"], axes), given["groups"]
        if not transposed and groups == 1 and _is_thin(weight, signal):
            columns = weight.flatten(1).T @ signal.flatten(2)
            sizes = self.a.shape[2:], weight.shape[2:]
            return functional.fold(columns, *sizes, dilation, padding, stride)
        extra = _each(given.get("output_padding", 0), axes)
        geometry = (stride, padding, dilation, transposed, extra, groups)
        backward = torch.ops.aten.convolution_backward
        made: Tensor = backward(signal, self.a, weight, None, *geometry, _TO_INPUT)[0]
        return made

    def along_output(self, bias: Tensor) -> Tensor:
        return bias.reshape(-1, *[1] * (self.z.ndim - 2))

    def _by_autograd(self, weight: Tensor, signal: Tensor) -> Tensor:
        """The transpose with ``padding="same"``, whose padding may be lopsided."""
        with torch.enable_grad():
            leaf = torch.zeros_like(self.a).requires_grad_()
            return torch.autograd.grad(self.forward(weight, a=leaf), leaf, signal)[0]


def _each(value: Any, axes: int) -> tuple[int, ...]:
    return (value,) * axes if isinstance(value, int) else tuple(value)


def _is_thin(weight: Tensor, signal: Tensor) -> bool:
    """Whether torch's transposed convolution, to few channels on a CPU, is the slow one."""
    few = weight.ndim == 4 and weight.shape[1] <= 3
    many = signal.shape[0] > 1 or signal.numel() > 1 << 16
    return few and many and signal.device.type == "cpu" and signal.dtype == torch.float32


_OPERANDS = ("input", "weight", "bias")
_GEOMETRY = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1}
_GEOMETRY_TRANSPOSED = {
    "stride": 1, "padding": 0, "output_padding": 0, "groups": 1, "dilation": 1
}  # fmt: skip
_WINDOWS = {"kernel_size": 1, "stride": None, "padding": 0, "dilation": 1, "ceil_mode": False}
_TO_INPUT = [True, False, False]


def affine(op: Op) -> Affine:
    """The affine view of a convolution, a transposed convolution or a dense layer."""
    if family(op) != "affine":
        raise UnsupportedOperation(
            f"LRP: no rule with weights for {op.kind} (in {op.label!r}). "
            "Name a convolution or a dense layer, or use Epsilon or Pass there."
        )
    return affine_view(op)


def affine_view(op: Op) -> Affine:
    """The same, of an operation whose family is known to be affine."""
    z = op.results[0]
    if op.kind in _DENSE:
        return Affine(*_operands(op), z)
    return Convolution(*_operands(op), z, op)


def derivative(op: Op, signal: Tensor) -> tuple[Tensor, ...]:
    """A signal at the output of an operation, carried to each of its inputs by the derivative.

    The frequent operations have short cuts; any other one is run again and differentiated.
    """
    if op.kind == "add" and _is_plain_sum(op):
        return signal, signal
    if len(op.values) > 1:
        return op.vjp(signal)
    if op.kind in _RESHAPES:
        return (signal.reshape(op.values[0].shape),)
    if op.winners is not None:
        return (to_winners(op, op.winners, signal),)
    if op.kind == "relu":
        return (torch.ops.aten.threshold_backward(signal, op.results[0], 0),)
    if op.kind == "adaptive_avg_pool2d":
        return (torch.ops.aten._adaptive_avg_pool2d_backward(signal, op.values[0]),)
    ends = bounds(op)
    if ends is not None:
        return (torch.ops.aten.hardtanh_backward(signal, op.results[0], *ends),)
    if family(op) == "affine":
        layer = affine_view(op)
        return (layer.transpose(layer.weight, signal),)
    return op.vjp(signal)


def bounds(op: Op) -> tuple[float, float] | None:
    """The ends between which a bounded ReLU has the slope 1, as its output tells."""
    if op.kind == "relu6":
        return 0.0, 6.0
    if op.kind != "hardtanh":
        return None
    given = {"min_val": -1.0, "max_val": 1.0} | op.kwargs
    given |= dict(zip(("min_val", "max_val"), op.args[1:], strict=False))
    return given["min_val"], given["max_val"]


def _is_plain_sum(op: Op) -> bool:
    shapes = {value.shape for value in (*op.values, *op.results)}
    return len(op.values) == 2 and len(shapes) == 1 and not op.kwargs


def to_winners(op: Op, winners: Tensor, signal: Tensor) -> Tensor:
    """A signal at the output of a max-pooling, each number carried to the input that won."""
    if op.kind.startswith("max_pool2d"):
        size, stride, *rest = _arguments(op, _WINDOWS, 1).values()
        backward = torch.ops.aten.max_pool2d_with_indices_backward
        moved: Tensor = backward(signal, op.values[0], size, stride or [], *rest, winners)
        return moved
    shape = op.values[0].shape
    space = int(op.kind[-2])
    given = signal.new_zeros((*shape[:-space], math.prod(shape[-space:])))
    return given.scatter_add_(-1, winners.flatten(-space), signal.flatten(-space)).reshape(shape)


def _arguments(op: Op, defaults: dict[str, Any], place: int) -> dict[str, Any]:
    """The arguments of a call from this place on, by name and in the order of ``defaults``."""
    given = zip(defaults, op.args[place:], strict=False)
    named = {name: op.kwargs[name] for name in op.kwargs if name in defaults}
    return defaults | dict(given) | named


def operand_bias(op: Op) -> Tensor | None:
    """The bias of an affine layer."""
    return _operands(op)[2]


def _operands(op: Op) -> tuple[Tensor, Tensor, Tensor | None]:
    """Input, weight ``(out, in)`` and bias of an affine layer, in whichever way it was written."""
    found = _product_operands(op)
    if found is not None:
        return found
    values = dict(zip(_OPERANDS, op.args, strict=False)) | op.kwargs
    return values["input"], values["weight"], values.get("bias")


def _product_operands(op: Op) -> tuple[Tensor, Tensor, Tensor | None] | None:
    if op.kind in {"matmul", "mm"}:
        a, weight = _factors(op)
        return (a, weight.T, None) if a is op.values[0] and weight.ndim == 2 else None
    if op.kind == "addmm" and {"beta", "alpha"}.isdisjoint(op.kwargs):
        bias, a, weight = _factors(op)
        return (a, weight.T, bias) if a is op.values[0] else None
    return None


def _factors(op: Op) -> tuple[Any, ...]:
    """What a product or quotient is made of, in the order of its plain call."""
    names = _FACTORS.get(op.kind, ("input", "other"))
    given = dict(zip(names, op.args, strict=False)) | op.kwargs
    return tuple(given[name] for name in names)


_FACTORS = {"mm": ("input", "mat2"), "addmm": ("input", "mat1", "mat2")}
