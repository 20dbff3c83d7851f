"""CA-MAE after Kraus et al. 2024: one encoder for all channels, a decoder for each.

Tokens say where a patch lies and not which marker it shows; all of them attend to each other.
Shapes: B crops, C channels, L = G x G positions of a crop, N = C x L tokens (channel by channel),
V visible ones, D encoder width, E decoder width, P pixels of a patch.
"""

from dataclasses import asdict, dataclass

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from workflow_scripts.common.rivals.layers import (
    Attention,
    Block,
    Mlp,
    ParallelBlock,
    sine_positions,
)


@dataclass(frozen=True)
class CamaeConfig:
    """Sizes; the defaults are a ViT-S and decoders that give 25 times VirTues at 40 markers."""

    width: int = 384
    depth: int = 12
    heads: int = 6
    drop_path: float = 0.1
    decoder_width: int = 512
    decoder_depth: int = 8
    decoder_heads: int = 16
    patch: int = 8
    input: str = "instance"  # instance | standardised

    def to_dict(self):
        """Return the sizes as a plain dict."""
        return asdict(self)


class ChannelDecoder(nn.Module):
    """The blocks that only one channel passes, and its token."""

    def __init__(self, config):
        super().__init__()
        self.token = nn.Parameter(torch.zeros(config.decoder_width))
        self.blocks = nn.Sequential(
            *(
                Block(config.decoder_width, config.decoder_heads)
                for _ in range(config.decoder_depth)
            )
        )


class Camae(nn.Module):
    """The masked autoencoder of one cohort; `channels` is the number of its decoders.

    Without any (`channels=0`) it is the encoder alone, which reads whatever panel.
    """

    def __init__(self, config, channels):
        super().__init__()
        self.config = config
        width, inner = config.width, config.decoder_width
        self.embed = nn.Conv2d(1, width, config.patch, config.patch)
        self.summary = nn.Parameter(torch.zeros(width))  # the class token
        self.blocks = nn.Sequential(
            *(
                ParallelBlock(width, config.heads, 1e-4, config.drop_path)
                for _ in range(config.depth)
            )
        )
        self.norm = nn.LayerNorm(width, eps=1e-6)
        if channels:
            self.to_decoder = nn.Linear(width, inner)
            self.hidden = nn.Parameter(torch.zeros(inner))
            self.query_norm, self.context_norm = nn.LayerNorm(inner), nn.LayerNorm(inner)
            self.cross = Attention(inner, 8, bias=False)
            self.cross_norm, self.cross_mlp = nn.LayerNorm(inner), Mlp(inner)
            self.decoders = nn.ModuleList(ChannelDecoder(config) for _ in range(channels))
            self.to_pixels = nn.Linear(inner, config.patch**2)
            nn.init.normal_(self.hidden, std=0.02)
        nn.init.normal_(self.summary, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                # Kept in scale at any width, as in masked autoencoders before it.
                nn.init.xavier_uniform_(module.weight.view(len(module.weight), -1))
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def prepared(self, images):
        """Return images [B, C, S, S] as encoder and loss see them.

        `instance`: zero mean and unit variance in each image and channel; a blank channel is 0.
        """
        if self.config.input == "standardised":
            return images
        variance, mean = torch.var_mean(images, dim=(2, 3), keepdim=True, correction=0)
        return (images - mean) * torch.rsqrt(variance + 1e-5)

    def tokens(self, images):
        """Return tokens [B, N, D] of prepared images, with their positions."""
        batch, channels, height, width = images.shape
        tokens = self.embed(images.flatten(0, 1)[:, None]).flatten(2).transpose(1, 2)
        grid = (height // self.config.patch, width // self.config.patch)
        positions = sine_positions(*grid, self.config.width).to(tokens)
        return (tokens + positions).reshape(batch, -1, self.config.width)

    def encode(self, tokens):
        """Return tokens [B, n, D] after the encoder; the summary token is taken off again."""
        summary = self.summary.to(tokens.dtype).expand(len(tokens), 1, -1)
        return self.norm(self.blocks(torch.cat([summary, tokens], dim=1)))[:, 1:]

    def features(self, images):
        """Return tokens [B, C, G, G, D] of images [B, C, S, S], nothing hidden."""
        grid = images.shape[-1] // self.config.patch
        encoded = self.encode(self.tokens(self.prepared(images)))
        return encoded.unflatten(1, (images.shape[1], grid, grid))

    def decode(self, encoded, hidden, order, channels):
        """Return pixels [B, N, P] of all tokens.

        `encoded` [B, V, D] are those of the visible tokens; `order` [B, N] lists the tokens, the
        visible ones first; `hidden` is how many follow; `channels` [C] are rows of decoders.
        """
        inner = self.config.decoder_width
        visible = self.to_decoder(encoded)
        unseen = self.hidden.to(visible.dtype).expand(len(visible), hidden, -1)
        tokens = torch.cat([visible, unseen], dim=1)
        place = order.argsort(dim=1)[..., None].expand(-1, -1, inner)
        tokens = tokens.gather(1, place).unflatten(1, (len(channels), -1))  # [B, C, L, E]
        side = round(tokens.shape[2] ** 0.5)
        own = torch.stack([self.decoders[channel].token for channel in channels])
        tokens = tokens + sine_positions(side, side, inner).to(tokens) + own[:, None].to(tokens)
        context = self.context_norm(tokens.flatten(1, 2))
        pixels = [
            # One channel's activations at a time: the decoders are nearly all of the memory.
            checkpoint(self._decode, tokens[:, i], context, channel, use_reentrant=False)
            for i, channel in enumerate(channels)
        ]
        return torch.cat(pixels, dim=1)

    def _decode(self, tokens, context, channel):
        mixed = self.cross(self.query_norm(tokens), context)  # no shortcut around it
        mixed = mixed + self.cross_mlp(self.cross_norm(mixed))
        return self.to_pixels(self.decoders[channel].blocks(mixed))

    def forward(self, images, channels, order, visible):
        """Return (pixels as reconstructed, pixels as they are) [B, N, P].

        `images` [B, C, S, S]; `order` [B, N] lists the tokens of each, and the first `visible`
        are seen; `channels` are the C rows of the decoders.
        """
        images = self.prepared(images)
        tokens = self.tokens(images)
        seen = order[:, :visible, None].expand(-1, -1, tokens.shape[-1])
        encoded = self.encode(tokens.gather(1, seen))
        hidden = order.shape[1] - visible
        return self.decode(encoded, hidden, order, channels), patches(images, self.config.patch)


def patches(images, patch):
    """Return the pixels [B, N, P] of every patch of images [B, C, S, S], channel by channel."""
    batch, channels, height, width = images.shape
    tiles = images.reshape(batch, channels, height // patch, patch, width // patch, patch)
    return tiles.transpose(3, 4).reshape(batch, -1, patch * patch)


def token_errors(predicted, pixels, fourier_weight):
    """Return the error [B, N] of every token: pixels and amplitudes of frequencies, mixed.

    (1 - w) x mean squared error + w x mean absolute error of the amplitudes of the patch's own
    Fourier transform, not normalised. Both take pixels [B, N, P].
    """
    side = round(pixels.shape[-1] ** 0.5)
    amplitudes = [
        torch.fft.fft2(x.float().unflatten(-1, (side, side))).abs() for x in (predicted, pixels)
    ]
    pixel = (predicted.float() - pixels.float()).square().mean(dim=-1)
    fourier = (amplitudes[0] - amplitudes[1]).abs().mean(dim=(-2, -1))
    return (1 - fourier_weight) * pixel + fourier_weight * fourier


def parameter_count(config, channels):
    """Return {encoder, decoder}: trained numbers of a CA-MAE of so many channels, from its sizes.

    The encoder is all that inference needs.
    """
    d, e, pixels = config.width, config.decoder_width, config.patch**2

    def linear(inputs, outputs, bias=True):
        return inputs * outputs + outputs * bias

    def mlp(width):
        return linear(width, 4 * width) + linear(4 * width, width)

    def attention(width, bias):
        return linear(width, 3 * width, bias) + linear(width, width)

    head_norms = 4 * (d // config.heads)
    block = 2 * d + attention(d, False) + head_norms + mlp(d) + 2 * d
    encoder = linear(pixels, d) + d + config.depth * block + 2 * d
    shared = linear(d, e) + e + 3 * 2 * e + attention(e, False) + mlp(e) + linear(e, pixels)
    own = e + config.decoder_depth * (4 * e + attention(e, True) + mlp(e))
    return {"encoder": encoder, "decoder": shared + channels * own if channels else 0}


def encoder_flops(config, channels, side):
    """Return the FLOPs of encoding one crop of `side` px with nothing hidden (Fig. 1e).

    2 per weight of a matrix and token, and 4 x width per pair of tokens: it grows with the square
    of the number of channels.
    """
    tokens = channels * (side // config.patch) ** 2 + 1
    weights = 12 * config.width**2
    block = 2 * weights * tokens + 4 * config.width * tokens**2
    return config.depth * block + 2 * config.patch**2 * config.width * (tokens - 1)
