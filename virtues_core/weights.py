"""Weights as safetensors, in the layout of this package or in the one the authors publish."""

import json
import os
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from virtues_core import published
from virtues_core.model import VirTues

LAYOUTS = ("ours", "published")


def save_weights(model: VirTues, path: str | Path, layout: str = "ours") -> None:
    """Write the weights to a safetensors file, in our layout or as the authors publish theirs.

    The file appears complete or not at all. Marker embeddings are not part of it.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"layout must be one of {', '.join(LAYOUTS)}, not {layout!r}.")
    state = model.state_dict()
    if layout == "published":
        state = published.to_published(state, model.config) | published.rotary_tables(model.config)
    state = {key: tensor.cpu().contiguous() for key, tensor in state.items()}
    unfinished = f"{path}.unfinished"
    save_file(state, unfinished, metadata={"config": json.dumps(model.config.to_dict())})
    os.replace(unfinished, path)


def load_weights(model: VirTues, path: str | Path) -> VirTues:
    """Read weights of either layout into the model and return it.

    Raises ValueError with one sentence on what is wrong: a file of another format, or keys that
    are missing, unexpected or of other shape.
    """
    try:
        found = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is not a complete safetensors file: {error}.") from error
    try:
        model.load_state_dict(_our_layout(found, model))
    except ValueError as error:
        raise ValueError(f"{path} does not fit the model: {error}.") from error
    return model


def _our_layout(found: dict, model: VirTues) -> dict:
    expected = model.state_dict()
    if not published.is_published(found):
        _check(found, expected)
        return found
    found = published.without_groups(found)
    found = published.without_rotary_tables(found, model.config)
    _check(found, published.to_published(expected, model.config))
    return published.from_published(found, list(expected), model.config)


def _check(found: dict, expected: dict) -> None:
    differences = {
        "missing": [key for key in expected if key not in found],
        "unexpected": [key for key in found if key not in expected],
        "of other shape": [
            f"{key} ({list(found[key].shape)} in the file, {list(tensor.shape)} in the model)"
            for key, tensor in expected.items()
            if key in found and found[key].shape != tensor.shape
        ],
    }
    listed = "; ".join(f"{kind}: {_some(keys)}" for kind, keys in differences.items() if keys)
    if listed:
        raise ValueError(listed)


def _some(keys: list[str], shown: int = 4) -> str:
    rest = f" and {len(keys) - shown} more" if len(keys) > shown else ""
    return ", ".join(keys[:shown]) + rest
