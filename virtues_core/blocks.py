"""The transformer block that encoder and decoder share: pre-norm, without dropout.

x + out(attention(norm1(x))), then x + feedforward(norm2(x)).
"""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn.functional import linear

from virtues_core.config import VirTuesConfig
from virtues_core.rotary import rotate

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]


class Attention(nn.Module):
    """Multi-head attention with one projection for queries, keys and values."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.width, self.heads = width, heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(
        self, x: Tensor, attend: Attend, turns: Tensor | None = None, queries: int | None = None
    ) -> Tensor:
        """Mix tokens x [..., tokens, width] with `attend`.

        With `queries`, only the last that many tokens ask and come back.
        """
        if queries is None:
            q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).unbind(-3)
        else:
            weight, bias = self.qkv.weight, self.qkv.bias
            q = linear(x[..., -queries:, :], weight[: self.width], bias[: self.width])
            q = q.unflatten(-1, (self.heads, -1))
            kv = linear(x, weight[self.width :], bias[self.width :])
            k, v = kv.unflatten(-1, (2, self.heads, -1)).unbind(-3)
        if turns is not None:
            # The rotation is in float32, also under autocast, but a kernel wants one type.
            q = rotate(q, turns[-q.shape[-3] :]).to(v.dtype)
            k = rotate(k, turns).to(v.dtype)
        return self.out(attend(q, k, v).flatten(-2))


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

    def forward(
        self, x: Tensor, attend: Attend, turns: Tensor | None = None, queries: int | None = None
    ) -> Tensor:
        """Transform tokens x [..., tokens, width].

        With `queries`, the other tokens before the last `queries` serve as keys and values only
        and are left out of the result, [..., queries, width].
        """
        mixed = self.attention(self.norm1(x), attend, turns, queries)
        x = (x if queries is None else x[..., -queries:, :]) + mixed
        return x + self.feedforward(self.norm2(x))


def initialise(module: nn.Module) -> None:
    """Draw linear weights of `module` from Xavier's normal distribution and set biases to 0."""
    for name, layer in module.named_modules():
        if isinstance(layer, nn.Linear):
            # The projection of queries, keys and values is three layers in one.
            for weight in layer.weight.chunk(3 if name.endswith("qkv") else 1):
                nn.init.xavier_normal_(weight)
            nn.init.zeros_(layer.bias)
