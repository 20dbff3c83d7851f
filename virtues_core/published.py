"""The authors' layout of weights, to and from ours.

Theirs differs in names, in having queries, keys and values as three layers, in the order of
query and key features within a head (see `rotary.py`), and in holding rotary tables. Runs of
equal blocks may be grouped into one entry with `layers`.
"""

import re

import torch
from torch import Tensor

from virtues_core.config import VirTuesConfig
from virtues_core.rotary import rotary_angles

_NAMES = {
    "summary_token": ("patch_summary_token",),
    "masked_token": ("masked_token",),
    "patch_projection": ("patch_encoder",),
    "marker_projection": ("prior_embedding_encoder",),
    "norm": ("layer_norm",),
    "head": ("multiplex_decoder_mlp.0",),
    "norm1": ("layernorm1",),
    "norm2": ("layernorm2",),
    "attention.qkv": tuple(f"multi_head_attention.W_{x}" for x in "qkv"),
    "attention.out": ("multi_head_attention.W_o",),
    "feedforward.0": ("feedforward.0",),
    "feedforward.2": ("feedforward.3",),
}
_OUR_KEY = re.compile(r"(encoder|decoder)\.(?:blocks\.(\d+)\.)?(.+?)(\.weight|\.bias)?")
_THEIR_BLOCK = re.compile(r"(encoder|decoder)\.\1\.(\d+)\.encoder_layer\.(?:layers\.(\d+)\.)?(.+)")
_TABLE = re.compile(r".*multi_head_attention\.pos_emb\.rope1d\.(sin|cos)")
_TABLE_LENGTH = 1200  # positions in the authors' rotary tables


def is_published(keys) -> bool:
    """Tell whether keys of a file are in the authors' layout."""
    return any(_THEIR_BLOCK.fullmatch(key) for key in keys)


def published_names(key: str) -> list[str]:
    """Return the authors' names for one of our keys: three for queries, keys and values."""
    part, block, layer, suffix = _OUR_KEY.fullmatch(key).groups()
    prefix = f"{part}." if block is None else f"{part}.{part}.{block}.encoder_layer."
    return [f"{prefix}{name}{suffix or ''}" for name in _NAMES[layer]]


def to_published(tensors: dict[str, Tensor], config: VirTuesConfig) -> dict[str, Tensor]:
    """Convert tensors under our parameter names, weights or their gradients, to the authors'."""
    converted = {}
    for key, tensor in tensors.items():
        names = published_names(key)
        for name, part in zip(names, tensor.chunk(len(names)), strict=True):
            if _is_rotated(name):  # (heads, row | column, pairs, parts) -> (..., parts, pairs)
                part = part.unflatten(0, (config.heads, 2, -1, 2)).transpose(2, 3).flatten(0, 3)
            converted[name] = part
    return converted


def from_published(
    tensors: dict[str, Tensor], keys: list[str], config: VirTuesConfig
) -> dict[str, Tensor]:
    """Convert tensors of the authors' layout to ours, for the given keys of ours."""
    converted = {}
    for key in keys:
        parts = []
        for name in published_names(key):
            part = tensors[name]
            if _is_rotated(name):  # (heads, row | column, parts, pairs) -> (..., pairs, parts)
                part = part.unflatten(0, (config.heads, 2, 2, -1)).transpose(2, 3).flatten(0, 3)
            parts.append(part)
        converted[key] = torch.cat(parts)
    return converted


def _is_rotated(name: str) -> bool:
    return ".W_q." in name or ".W_k." in name


def without_groups(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Number the blocks of a published file one by one, in place of groups of `layers`."""
    matches = {key: _THEIR_BLOCK.fullmatch(key) for key in tensors}
    numbers = {}
    for part in ("encoder", "decoder"):
        blocks = {(part, *_number(m)) for m in matches.values() if m and m[1] == part}
        numbers |= {block: i for i, block in enumerate(sorted(blocks))}
    return {
        f"{m[1]}.{m[1]}.{numbers[m[1], *_number(m)]}.encoder_layer.{m[4]}" if m else key: tensors[
            key
        ]
        for key, m in matches.items()
    }


def _number(match: re.Match) -> tuple[int, int]:
    return int(match[2]), int(match[3] or 0)


def rotary_tables(config: VirTuesConfig) -> dict[str, Tensor]:
    """Return the tables that a published file holds for all blocks but marker attention."""
    tables = {}
    for part, letters in (("encoder", config.encoder), ("decoder", config.decoder)):
        for i, letter in enumerate(letters):
            name = f"{part}.{part}.{i}.encoder_layer.multi_head_attention.pos_emb.rope1d."
            for function in ("sin", "cos") if letter != "v" else ():
                tables[name + function] = _rotary_table(config, function, _TABLE_LENGTH)
    return tables


def without_rotary_tables(tensors: dict[str, Tensor], config: VirTuesConfig) -> dict[str, Tensor]:
    """Leave out the rotary tables; raises ValueError when their numbers are not ours."""
    for key, table in tensors.items():
        if match := _TABLE.fullmatch(key):
            ours = _rotary_table(config, match[1], len(table))
            if table.shape != ours.shape or not torch.allclose(table.float(), ours, atol=1e-3):
                raise ValueError(f"it was made with other rotary positions, as {key} shows")
    return {key: tensor for key, tensor in tensors.items() if not _TABLE.fullmatch(key)}


def _rotary_table(config: VirTuesConfig, function: str, length: int) -> Tensor:
    angles = rotary_angles(length, config.head_width // 2)
    return getattr(torch.cat([angles, angles], dim=1), function)()
