"""ESM-2, from a checkpoint or seeded, and the mean of its last layer over a sequence."""

import argparse
import pickle
import re

import torch
from esm.model.esm2 import ESM2

from workflow_scripts.common.errors import InputError

# Published checkpoints keep the names of the training code's modules.
PREFIX = re.compile(r"^encoder\.(sentence_encoder\.)?")
# These predict contacts, from a file of their own; no embedding depends on them.
CONTACT_HEAD = {"contact_head.regression.weight", "contact_head.regression.bias"}


def load_esm2(path):
    """Return the ESM-2 of a checkpoint in the published format, with its own layers and width.

    Only tensors, plain containers and the checkpoint's `argparse.Namespace` are unpickled.
    """
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else "it ends too early"
        raise InputError(
            f"{path}: not loaded as an ESM-2 checkpoint ({reason}); expected tensors and an "
            "argparse.Namespace alone; download the file again from its publisher"
        ) from None
    try:
        settings = checkpoint["cfg"]["model"]
        model = ESM2(
            num_layers=settings.encoder_layers,
            embed_dim=settings.encoder_embed_dim,
            attention_heads=settings.encoder_attention_heads,
            token_dropout=settings.token_dropout,
        )
        state = {PREFIX.sub("", name): tensor for name, tensor in checkpoint["model"].items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: no ESM-2 settings ({error}); expected cfg.model with encoder_layers, "
            "encoder_embed_dim, encoder_attention_heads and token_dropout; give an esm2_*.pt"
        ) from None
    expected = model.state_dict()
    missing = sorted(set(expected) - set(state) - CONTACT_HEAD)
    unknown = sorted(set(state) - set(expected))
    misshapen = [k for k in state if k in expected and state[k].shape != expected[k].shape]
    for problem, names in (("misses", missing), ("adds", unknown), ("misshapes", misshapen)):
        if names:
            raise InputError(
                f"{path}: {problem} {len(names)} tensors, first {names[0]}; expected those of an "
                f"ESM-2 with {model.num_layers} layers of width {model.embed_dim}; "
                "download the file again from its publisher"
            )
    model.load_state_dict(state, strict=False)
    return model.eval()


def seeded_esm2(layers, width, heads, seed):
    """Return an untrained ESM-2 that depends on its sizes and `seed` alone."""
    if width % heads or width // heads % 2:
        raise InputError(
            f"markers.esm2: width {width} with {heads} heads; expected an even width per head; "
            "change one of them"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ESM2(num_layers=layers, embed_dim=width, attention_heads=heads).eval()


@torch.inference_mode()
def embed_sequence(model, sequence):
    """Return the mean [width] float32 over the residues of `sequence` in the last layer.

    A sequence goes alone: nothing is padded, and memory is bounded by the longest (heads x
    residues^2 attention weights). The tokens for beginning and end are computed with it, and
    left out of the mean. A letter that ESM-2 does not know is its unknown token.
    """
    alphabet = model.alphabet
    residues = [alphabet.get_idx(letter) for letter in sequence]
    tokens = torch.tensor([[alphabet.cls_idx, *residues, alphabet.eos_idx]])
    last = model(tokens, repr_layers=[model.num_layers])["representations"][model.num_layers]
    return last[0, 1:-1].mean(dim=0)
