"""How much a training computes, from the shapes of its micro-batches alone."""

from workflow_scripts.common.training.watch import Work


def work_of(config):
    """Return a function that gives the Work of a packed micro-batch, forward and backward.

    Tokens are all image tokens, hidden ones included. FLOPs are those of the matrix products of
    the model as published, so a faster way to the same numbers raises the share of a device's
    peak: 2 per weight and token, 4 x width per token and key, and twice as much backward.
    """
    weights = 4 * config.width**2 + 2 * config.width * config.feedforward  # of a block

    def work(packed):
        image_tokens = len(packed.channels) * packed.positions
        own = {"h": packed.channel_attention, "v": packed.marker_attention}
        encoder = sum(
            2 * weights * len(packed.position) + 4 * config.width * _pairs(own[letter])
            for letter in config.encoder
        )
        # Each channel's image tokens and as many summary tokens attend to each other.
        pairs = 4 * image_tokens * packed.positions
        decoder = len(config.decoder) * (2 * weights * 2 * image_tokens + 4 * config.width * pairs)
        return Work(packed.crops, image_tokens, 3.0 * (encoder + decoder))

    return work


def _pairs(layout):
    lengths = layout.offsets.diff().double()
    return float(lengths.square().sum())
