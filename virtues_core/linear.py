"""Linear layers on the CPU by oneDNN, which PyTorch brings along beside MKL.

PyTorch multiplies float32 matrices with MKL, which leaves unused from a tenth to half of what
processors of other makers than its own can do. oneDNN does not ask who made the processor.
"""

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

# What PyTorch's own compiler calls for a linear layer; None in a build without oneDNN.
_product = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
_pack = getattr(torch.ops.mkldnn, "_reorder_linear_weight", None)
if not torch.backends.mkldnn.is_available() or _pack is None:
    _product = None
# Multiplications below which oneDNN does not pay: it makes a kernel for every new shape, in 1-2 ms.
LEAST = 2**28


class Linear(nn.Linear):
    """A linear layer with the weights, and but for rounding the numbers, of PyTorch's."""

    def forward(self, x: Tensor) -> Tensor:
        """Return [..., out] for x [..., in]."""
        return linear(x, self.weight, self.bias)


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return x @ weight.T + bias, [..., out], of x [..., in] and weight [out, in]."""
    if not by_onednn(x, weight):
        return nn.functional.linear(x, weight, bias)
    return _Linear.apply(x.flatten(0, -2), weight, bias).unflatten(0, x.shape[:-1])


def by_onednn(x: Tensor, weight: Tensor) -> bool:
    """Return whether oneDNN multiplies x [..., in] and weight [out, in], and faster."""
    return (
        _product is not None
        and not torch.compiler.is_compiling()  # a compiler makes its own choice
        and x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and x.numel() * len(weight) >= LEAST
        and not torch.is_autocast_enabled("cpu")
    )


class PackedLinear:
    """A linear layer without gradients whose weight is in the order of oneDNN; float32 on the CPU.

    Packing costs as much as multiplying some ten rows.
    """

    def __init__(self, weight: Tensor, bias: Tensor, rows: int):
        """Pack weight [out, in] for products with about so many rows."""
        self.weight, self.bias = _pack(weight.detach(), rows), bias.detach()

    def __call__(self, x: Tensor, gelu: bool = False, add: Tensor | None = None) -> Tensor:
        """Return [..., out] of x [..., in], passed through GELU or with `add` [..., out] added."""
        if add is not None:
            return _product.binary(x, add, self.weight, self.bias, "add")
        attribute, algorithm = ("gelu", "none") if gelu else ("none", "")
        return _product(x, self.weight, self.bias, attribute, [], algorithm)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias):  # [M, in], [out, in], [out] -> [M, out]
        ctx.save_for_backward(x, weight)
        return _multiply(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        x, weight = ctx.saved_tensors
        of_x, of_weight, of_bias = ctx.needs_input_grad
        return (
            _multiply(gradient, weight.t()) if of_x else None,
            _multiply(gradient.t(), x.t()) if of_weight else None,
            gradient.sum(0) if of_bias else None,
        )


def _multiply(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return _product(x, weight, bias, "none", [], "")
