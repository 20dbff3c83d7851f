"""The transformer block that encoder and decoder share: pre-norm, without dropout.

x + out(attention(norm1(x))), then x + feedforward(norm2(x)).
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from virtues_core.config import VirTuesConfig
from virtues_core.inference import Groups
from virtues_core.linear import Linear, linear
from virtues_core.rotary import rotate

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
Projected = tuple[Tensor, Tensor, Tensor]


class Attention(nn.Module):
    """The projections of multi-head attention, with one for queries, keys and values."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = Linear(width, 3 * width)
        self.out = Linear(width, width)

    def project(self, x: Tensor) -> Projected:
        """Return queries, keys and values of x [tokens, width], each split into heads."""
        return self.qkv(x).unflatten(-1, (3, self.heads, -1)).unbind(-3)

    def project_apart(self, asking: Tensor, x: Tensor) -> Projected:
        """Return queries of the tokens `asking`, but keys and values of x; shapes as above."""
        weights, biases = self.qkv.weight.chunk(3), self.qkv.bias.chunk(3)
        return tuple(
            linear(part, weight, bias).unflatten(-1, (self.heads, -1))
            for part, weight, bias in zip((asking, x, x), weights, biases, strict=True)
        )


class Block(nn.Module):
    """One transformer block (Methods, "VirTues Encoder"; pre-norm: Xiong et al. 2020).

    It takes the tokens of all sequences in one row, whose order only `attend` knows.
    """

    def __init__(self, config: VirTuesConfig):
        super().__init__()
        self.norm1 = nn.LayerNorm(config.width)
        self.attention = Attention(config.width, config.heads)
        self.norm2 = nn.LayerNorm(config.width)
        self.feedforward = nn.Sequential(
            Linear(config.width, config.feedforward),
            nn.GELU(),
            Linear(config.feedforward, config.width),
        )

    def forward(
        self,
        x: Tensor,
        attend: Attend | Groups,
        turns: Tensor | None = None,
        projected: Projected | None = None,
    ) -> Tensor:
        """Transform tokens x [tokens, width], mixed by `attend`.

        `turns` rotates queries and keys to their positions. Where queries, keys and values are
        made elsewhere, give them as `projected`; keys and values may then be of more tokens.
        Given `Groups`, the block changes x in place, some sequences at a time.
        """
        if isinstance(attend, Groups):
            return attend.run(self, x, turns)
        q, k, v = self.project(x, turns) if projected is None else projected
        return self.finish(x, attend(q, k, v).flatten(-2))

    def project(self, x: Tensor, turns: Tensor | None = None) -> Projected:
        """Return queries, keys and values of x [tokens, width], rotated if `turns` are given."""
        q, k, v = self.attention.project(self.norm1(x))
        return (q, k, v) if turns is None else (turn(q, turns), turn(k, turns), v)

    def finish(self, x: Tensor, mixed: Tensor) -> Tensor:
        """Add to x [tokens, width] what attention mixed, then the feed-forward layers."""
        x = x + self.attention.out(mixed)
        return x + self.feedforward(self.norm2(x))

    def compile_parts(self, **options) -> None:
        """Compile all but attention, which has kernels of its own; options of `torch.compile`."""
        self.project = torch.compile(self.project, **options)
        self.finish = torch.compile(self.finish, **options)


def turn(x: Tensor, turns: Tensor) -> Tensor:
    """Rotate queries or keys [tokens, heads, head_width] and return them in their type."""
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
