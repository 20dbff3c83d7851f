"""The transformer block that encoder and decoder share: pre-norm, without dropout.

x + out(attention(norm1(x))), then x + feedforward(norm2(x)).
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from virtues_core.config import VirTuesConfig
from virtues_core.rotary import rotate

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]


class Attention(nn.Module):
    """The projections of multi-head attention, with one for queries, keys and values."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.width, self.heads = width, heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def project(self, x: Tensor, queries: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values of x [..., tokens, width], each of its width.

        With `queries`, only the last that many tokens ask.
        """
        if queries is None:
            return self.qkv(x).chunk(3, dim=-1)
        weight, bias = self.qkv.weight, self.qkv.bias
        q = linear(x[..., -queries:, :], weight[: self.width], bias[: self.width])
        return q, *linear(x, weight[self.width :], bias[self.width :]).chunk(2, dim=-1)


class Block(nn.Module):
    """One transformer block (Methods, "VirTues Encoder"; pre-norm: Xiong et al. 2020)."""

    def __init__(self, config: VirTuesConfig):
        super().__init__()
        self.norm1 = nn.LayerNorm(config.width)
        self.attention = Attention(config.width, config.heads)
        self.norm2 = nn.LayerNorm(config.width)
        self.feedforward = nn.Sequential(
            nn.Linear(config.width, config.feedforward),
            nn.GELU(),
            nn.Linear(config.feedforward, config.width),
        )
        self.turn = turn

    def forward(
        self,
        x: Tensor,
        attend: Attend,
        turns: Tensor | None = None,
        queries: int | None = None,
        qkv: tuple[Tensor, Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Transform tokens x [..., tokens, width], mixed by `attend`.

        `turns` rotates queries and keys to their positions. With `queries`, the other tokens
        before the last `queries` serve as keys and values only and are left out of the result,
        [..., queries, width]. `qkv` is what `project` returns, where it is known already.
        """
        q, k, v = self.project(x, queries) if qkv is None else qkv
        q, k, v = (part.unflatten(-1, (self.attention.heads, -1)) for part in (q, k, v))
        if turns is not None:
            q, k = self.turn(q, turns[-q.shape[-3] :]), self.turn(k, turns)
        x = x if queries is None else x[..., -queries:, :]
        return self.finish(x, attend(q, k, v).flatten(-2))

    def project(self, x: Tensor, queries: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values of x [..., tokens, width], not yet rotated."""
        return self.attention.project(self.norm1(x), queries)

    def finish(self, x: Tensor, mixed: Tensor) -> Tensor:
        """Add to x [..., tokens, width] what attention mixed, then the feed-forward layers."""
        x = x + self.attention.out(mixed)
        return x + self.feedforward(self.norm2(x))

    def compile_parts(self, **options) -> None:
        """Compile all but attention, which has kernels of its own; options of `torch.compile`."""
        self.project = torch.compile(self.project, **options)
        self.turn = torch.compile(self.turn, **options)
        self.finish = torch.compile(self.finish, **options)


def turn(x: Tensor, turns: Tensor) -> Tensor:
    """Rotate queries or keys [..., tokens, heads, head_width] and return them in their type."""
    # The rotation is in float32, also under autocast, but a kernel wants one type.
    return rotate(x, turns).to(x.dtype)


def initialise(module: nn.Module) -> None:
    """Draw linear weights of `module` from Xavier's normal distribution and set biases to 0."""
    for name, layer in module.named_modules():
        if isinstance(layer, nn.Linear):
            # The projection of queries, keys and values is three layers in one.
            for weight in layer.weight.chunk(3 if name.endswith("qkv") else 1):
                nn.init.xavier_normal_(weight)
            nn.init.zeros_(layer.bias)
