"""What the encoder looks at: weights of marker attention, and summary tokens that ask for a crop.

Both are read with the formula of the `reference` backend from the queries and keys that every
backend attends with (Methods, "Model inspection and visualization").
Legend: B crops, C channels of a crop, S positions, (G, K) patch grid, H heads, D model width.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from virtues_core.attention import attend
from virtues_core.attention.reference import softmax_weights
from virtues_core.inference import Groups, pays
from virtues_core.model import Output, VirTues
from virtues_core.packing import Packed
from virtues_core.patches import patchify
from virtues_core.precision import widen
from virtues_core.rotary import rotary_angles, rotary_grid


def encode_with_marker_attention(model: VirTues, batch: Packed) -> tuple[Output, list[Tensor]]:
    """Encode crops with nothing hidden, and return what their markers looked at on the way.

    The weights are those of the first marker attention layer: for each crop float32 [S, H, C, C],
    from the marker of a row to that of a column. The summary token is left out and nothing is
    renormalised, so a row sums to less than 1. Raises ValueError without such a layer, or if a
    token of the batch is hidden.
    """
    if "v" not in model.config.encoder:
        raise ValueError(f"the encoder {model.config.encoder!r} has no marker attention layer.")
    if len(batch.visible) != len(batch.channels) * batch.positions:
        raise ValueError("attention between markers needs crops of which nothing is hidden.")
    block = model.encoder.blocks[model.config.encoder.index("v")]
    made = []
    # What enters the block is enough: its queries and keys are made once more, which costs 2 %.
    handle = block.register_forward_pre_hook(lambda _, x: made.extend(block.project(x[0])))
    try:
        output = model.encode(batch)
    finally:
        handle.remove()
    q, k, _ = made
    return output, [softmax_weights(*pair)[..., 1:, 1:] for pair in _by_position(q, k, batch)]


def _by_position(q: Tensor, k: Tensor, batch: Packed):
    """Yield queries and keys of each crop by position, [S, 1 + C, H, head_width]."""
    summaries = batch.crops * batch.positions
    sizes = [count * batch.positions for count in batch.counts]
    summary = [x[:summaries].unflatten(0, (batch.crops, -1)) for x in (q, k)]
    own = [x[summaries : summaries + sum(sizes)].split(sizes) for x in (q, k)]
    for crop, count in enumerate(batch.counts):
        yield tuple(
            torch.cat([s[crop][None], o[crop].unflatten(0, (count, -1))]).transpose(0, 1)
            for s, o in zip(summary, own, strict=True)
        )


class ChannelSummaries(nn.Module):
    """VirTues with a learnable summary token for each channel, the summary channel included.

    The tokens lie at the centre of the crop. In channel attention each is one more token of its
    channel; in marker attention they form a sequence of their own, since the centre lies between
    patches. They start as the channel's marker vector and as the patch summary token.
    """

    def __init__(self, model: VirTues):
        super().__init__()
        self.model = model
        encoder = model.encoder
        with torch.no_grad():
            start = widen(encoder.marker_projection(model.marker_embeddings))
            start = torch.cat([start, encoder.summary_token[None]])
        self.tokens = nn.Parameter(start)  # [markers + 1, D], the summary channel's is the last

    @property
    def map_layer(self) -> int:
        """Return the block whose attention is shown: the penultimate spatial one.

        Before the first marker attention layer all patch summary tokens are alike; where the
        penultimate spatial layer lies there, it is the last one. Raises ValueError without any.
        """
        letters = self.model.config.encoder
        spatial = [i for i, letter in enumerate(letters) if letter == "h"]
        if not spatial:
            raise ValueError(f"the encoder {letters!r} has no channel attention layer.")
        penultimate = spatial[-2:][0]
        return penultimate if "v" in letters[:penultimate] else spatial[-1]

    def forward(self, images: Tensor, channels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the summary channel's token and what it looks at.

        Takes crops [B, C, height, width] and the marker rows of their channels [B, C]; returns
        float32 [B, D] after the final norm, and the weights [B, G, K] towards the patch summary
        tokens in `map_layer`, as a mean over heads. Together with the weight towards itself they
        sum to 1.
        """
        encoder, patch = self.model.encoder, self.model.config.patch
        grid = (images.shape[2] // patch, images.shape[3] // patch)
        markers = widen(encoder.marker_projection(self.model.marker_embeddings[channels]))
        patches = patchify(images.flatten(0, 1), patch).unflatten(0, channels.shape)
        own = encoder.patch_projection(patches) + markers[:, :, None]  # [B, C, S, D]
        summary = encoder.summary_token.expand(len(images), 1, own.shape[2], -1)
        last = self.tokens[-1].expand(len(images), 1, -1)
        asking = torch.cat([last, self.tokens[channels]], dim=1)[:, :, None]
        x = torch.cat([torch.cat([summary, own], dim=1), asking], dim=2)  # [B, 1 + C, S + 1, D]
        turns = rotary_grid(*grid, self.model.config.head_width, images.device)
        turns = torch.cat([turns, self._centre(*grid, images.device)])
        x, weights = self.run_blocks(x, turns, self.map_layer)
        return encoder.norm(x[:, 0, -1]), weights[..., :-1].unflatten(-1, grid)

    def run_blocks(
        self, x: Tensor, turns: Tensor, look_at: int | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Pass tokens [B, 1 + C, T, D], the summary channel first, through all blocks.

        `turns` are the rotations of the T positions. Also returns the weights [B, T] with which the
        last token of the summary channel looks at that channel in block `look_at`.
        """
        weights, shape = None, x.shape
        grouped = pays(x, self.model.encoder.blocks[0].attention.qkv)
        x = x.clone() if grouped else x  # blocks change it in place
        letters = enumerate(self.model.config.encoder)
        for (index, letter), block in zip(letters, self.model.encoder.blocks, strict=True):
            mix = self._groups(letter, *shape[:3]) if grouped else self._mixing(letter)
            rotations = turns if letter == "h" else None
            if index == look_at:
                q, k, _ = block.project(x[:, 0], turns)
                weights = softmax_weights(q[:, -1:], k).mean(dim=1)[:, 0]
            if torch.is_grad_enabled():
                # All tokens are visible, many times those of a pretraining step.
                options = {"use_reentrant": False, "preserve_rng_state": False}
                x = checkpoint(block, x, mix, rotations, **options)
            elif grouped:
                x = block(x.flatten(0, 2), mix, rotations).view(shape)
            else:
                x = block(x, mix, rotations)
        return x, weights

    def _groups(self, letter: str, crops: int, channels: int, positions: int) -> Groups:
        """Return the sequences over positions (h) or channels (v) of as many tokens."""
        backend = self.model.config.attention
        if letter == "h":
            return Groups(None, positions, backend)
        places = torch.arange(crops * channels * positions).view(crops, channels, positions)
        return Groups(places.transpose(1, 2).flatten(), channels, backend)

    def _mixing(self, letter: str) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
        """Return attention over positions (h) or channels (v) of [B, 1 + C, T, H, head_width]."""

        def mix(q, k, v):
            if letter == "v":
                q, k, v = (x.transpose(1, 2) for x in (q, k, v))
            shape = q.shape[:2]
            out = attend(*(x.flatten(0, 1) for x in (q, k, v)), self.model.config.attention)
            out = out.unflatten(0, shape)
            return out.transpose(1, 2) if letter == "v" else out

        return mix

    def _centre(self, rows: int, cols: int, device: torch.device) -> Tensor:
        """Return the rotation of the centre of a grid, as `rotary_grid` gives them."""
        one = rotary_angles(2, self.model.config.head_width // 2, device)[1]
        angles = torch.cat([one * (rows - 1) / 2, one * (cols - 1) / 2])[None, None]
        return torch.stack([angles.cos(), angles.sin()], dim=-1)
