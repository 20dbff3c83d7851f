"""What a training step computes and moves, part by part: counted, not measured.

    python -m benchmarks.counts

Writes the table of docs/performance.md. A part can take no less time than its operations at the
rate of the device's matrix units, nor than its bytes at the rate of a copy in its memory, so its
floor is the larger of the two.

What is counted. Operations: 2 for each multiplication and addition of a matrix product, forward and
backward. Bytes: every matrix product reads both factors and writes the result, 2 bytes a number;
attention, one kernel forward and one backward, reads queries, keys and values and writes the
result, then reads these three and the gradient and writes three; what is done for each token
between products is fused as far as one pass over memory allows, with the residual stream in 4
bytes. Caches and the second computation of scores in a backward kernel are not counted.
"""

import re
from dataclasses import dataclass

import torch

from benchmarks.tables import DOCUMENT
from virtues_core import VirTues, VirTuesConfig, independent_mask, pack

CROPS, CHANNELS, SIDE, HIDDEN, EFFECTIVE = 16, 40, 128, 0.8, 512
PLACE = re.compile(r"(<!-- counts -->\n).*?(<!-- end -->)", re.DOTALL)
HALF = 2  # bytes of a number in a product or in attention
# Bytes of the optimiser for each weight, all in 4: gradients set to zero, norm, scale; AdamW.
UPDATE = 4 + 4 + 8 + 28


@dataclass(frozen=True)
class Part:
    """A part of a step: its name, floating-point operations and bytes."""

    name: str
    flops: int
    bytes: int


def step_parts(config, batch):
    """Return the parts of forward and backward pass of a packed batch, without the optimiser."""
    width, inner = config.width, config.feedforward
    tokens, channels, positions = len(batch.position), len(batch.channels), batch.positions
    patch = config.patch**2
    layouts = {"h": batch.channel_attention, "v": batch.marker_attention}
    encoder, blocks = len(config.encoder), len(config.decoder)
    both, own = 2 * positions * channels, positions * channels  # tokens that the decoder sees
    different = tokens + channels  # those that differ in its first block

    def after_attention(rows):
        return [(rows, width, width), (rows, width, inner), (rows, inner, width)]

    decoder = [(different, width, 3 * width)]  # the first block's projection
    for _ in range(blocks - 1):
        decoder += after_attention(both)
    decoder += [(both, width, 3 * width)] * max(0, blocks - 2)  # of those in the middle
    if blocks > 1:  # the last block's
        decoder += [(own, width, width), (both, width, width), (both, width, width)]
    decoder += after_attention(own)
    lengths = {letter: layout.offsets.diff().long() for letter, layout in layouts.items()}
    pairs = {letter: int((length**2).sum()) for letter, length in lengths.items()}
    attention = {
        letter: (4 * 3 * width * pairs[letter] * count, 11 * HALF * tokens * width * count)
        for letter in "hv"
        if (count := config.encoder.count(letter))
    }
    full, last = both * 2 * positions, own * 2 * positions  # pairs of query and key
    queries, keys = both * (blocks - 1) + own, both * blocks
    return [
        Part(
            "pixels and markers to tokens",
            *products(
                [(len(batch.visible), patch, width), (channels, config.marker_width, width)], 2
            ),
        ),
        Part(
            "encoder: linear layers",
            *products(([(tokens, width, 3 * width)] + after_attention(tokens)) * encoder),
        ),
        *(
            Part(f"encoder: {name} attention", *attention[letter])
            for letter, name in (("h", "channel"), ("v", "marker"))
            if letter in attention
        ),
        Part(
            "encoder: norms, GELU, rotation, sums",
            0,
            encoder * tokens * per_token(width, inner)
            + config.encoder.count("h") * tokens * rotation(width),
        ),
        Part("decoder: linear layers", *products(decoder)),
        Part(
            "decoder: attention",
            4 * 3 * width * (full * (blocks - 1) + last),
            HALF * width * (5 * queries + 6 * keys),
        ),
        Part(
            "decoder: norms, GELU, rotation, sums, copies",
            0,
            # To copy a token and its projection to the channels, and to add up their gradients.
            ((blocks - 1) * both + own) * per_token(width, inner)
            + (queries + keys) // 2 * rotation(width)
            + 2 * (both + different) * (3 * HALF + 4) * width,
        ),
        Part("head and loss", *products([(own, width, patch)])),
    ]


def products(shapes, times=3):
    """Return operations and bytes of layers, each (rows, features in, features out).

    A layer is three products, two of them backward, or two where its input needs no gradient; all
    of them touch the same three matrices.
    """
    flops = sum(2 * times * rows * k * n for rows, k, n in shapes)
    return flops, sum(HALF * times * (rows * k + k * n + rows * n) for rows, k, n in shapes)


def per_token(width, inner):
    """Return the bytes that a block moves for each token between products, both ways."""
    forward = (4 + 2) * width  # norm: the residual stream to its half
    forward += (4 + 2 + 4 + 2) * width  # what attention gives is added; norm
    forward += 2 * HALF * inner  # GELU
    forward += (4 + 2 + 4) * width  # what the feed-forward layers give is added
    backward = (4 + 2) * width + 3 * HALF * inner  # its gradient in half, and of GELU
    backward += (4 + 2 + 4 + 4 + 2) * width  # of the second norm and sum
    backward += (4 + 2 + 4 + 4) * width  # of the first norm
    return forward + backward


def rotation(width):
    """Return the bytes of turning queries and keys of a token, both ways."""
    return 2 * 2 * 2 * HALF * width


def optimiser(parameters):
    """Return the part of a step that is done once for all its crops."""
    return Part("clipping and AdamW, once a step", 0, UPDATE * parameters)


def paper_batch(crops=CROPS, channels=CHANNELS, hidden=HIDDEN):
    """Return a packed micro-batch at paper scale; its masks hide this share of every channel."""
    generator, grid = torch.Generator().manual_seed(0), (SIDE // 8,) * 2
    masks = [independent_mask(channels, grid, (hidden, hidden), generator) for _ in range(crops)]
    images = [torch.zeros(channels, SIDE, SIDE)] * crops
    return pack(images, [torch.arange(channels)] * crops, masks)


def table():
    """Return the table of a step at paper scale, per crop, in Markdown."""
    config = VirTuesConfig()
    with torch.device("meta"):
        model = VirTues(config, torch.empty(CHANNELS, config.marker_width))
    parameters = sum(p.numel() for p in model.parameters())
    parts = [(part, CROPS) for part in step_parts(config, paper_batch())]
    parts.append((optimiser(parameters), EFFECTIVE))
    lines = ["| Part | TFLOP | GB | FLOP per byte |", "|---|--:|--:|--:|"]
    total = [0.0, 0.0]
    for part, crops in parts:
        tera, giga = part.flops / crops / 1e12, part.bytes / crops / 1e9
        total = [total[0] + tera, total[1] + giga]
        lines.append(f"| {part.name} | {tera:.4f} | {giga:.3f} | {part.flops / part.bytes:.0f} |")
    lines.append(f"| all | {total[0]:.4f} | {total[1]:.3f} | {1e3 * total[0] / total[1]:.0f} |")
    return "\n".join(lines) + "\n"


def filled(document):
    """Return the text of the document with the table in its place."""
    return PLACE.sub(lambda match: match[1] + table() + match[2], document)


def main():
    DOCUMENT.write_text(filled(DOCUMENT.read_text()))


if __name__ == "__main__":
    main()
