"""VirTues behind the `Embedder` protocol, and how a trained instance is opened."""

import json
from pathlib import Path

import numpy as np
import torch

from virtues_core import VirTues, VirTuesConfig, cell_tokens, load_weights
from workflow_scripts.common.device import check_device
from workflow_scripts.common.embedders import Tokens
from workflow_scripts.common.errors import InputError
from workflow_scripts.common.markers import read_embeddings


def open_model(folder, embeddings, device):
    """Return a trained instance on `device` and the accessions that its marker ids stand for."""
    check_device(device)
    folder = Path(folder)
    config = json.loads((folder / "config.json").read_text())
    accessions, table = read_embeddings(embeddings)
    missing = sorted(set(config["accessions"]) - set(accessions))
    if missing:
        raise InputError(
            f"{embeddings}: no embedding of {missing[0]}, which {folder} was trained with; "
            "expected the table of its training; embed the markers of all its cohorts"
        )
    rows = [accessions.index(accession) for accession in config["accessions"]]
    model = VirTues(VirTuesConfig.from_dict(config["model"]), table[rows])
    load_weights(model, folder / "model.safetensors")
    return model.to(device).eval(), config["accessions"]


class VirTuesEmbedder:
    """Tokens and reconstructions of one trained VirTues instance."""

    def __init__(self, name, model, accessions, settings):
        """`settings`: `crop` and `stride` in px, `batch` in crops."""
        self.name, self.model, self.settings = name, model, settings
        self.marker_ids = {accession: row for row, accession in enumerate(accessions)}
        self.device = next(model.parameters()).device

    def usable(self, accessions):
        """Return the channels whose marker has an embedding and is in the instance's panel."""
        positions = [i for i, accession in enumerate(accessions) if accession in self.marker_ids]
        left_out = len(accessions) - len(positions)
        return positions, f"{left_out} channels that the model does not know" if left_out else ""

    def embed(self, image, accessions, origins, labels):
        """Return summary tokens of niche crops, their means, and cell tokens (Methods)."""
        size, width = self.settings["crop"], self.model.config.width
        grid = size // self.model.config.patch
        crops = [image[:, r : r + size, c : c + size] for r, c in origins]
        patch = np.empty((len(crops), grid, grid, width), np.float32)
        with torch.inference_mode():
            for start in range(0, len(crops), self.settings["batch"]):
                part = crops[start : start + self.settings["batch"]]
                made = self.model.encode_summaries(*self._inputs(part, [accessions] * len(part)))
                patch[start : start + len(part)] = made.float().cpu()
        ids, cells = self._cells(image, accessions, labels)
        return Tokens(patch, patch.mean(axis=(1, 2)), ids, cells)

    def _cells(self, image, accessions, labels):
        if labels is None or not labels.any():
            return np.empty(0, np.int64), np.empty((0, self.model.config.width), np.float32)
        images, channels = self._inputs([image], [accessions])
        ids, tokens = cell_tokens(
            self.model,
            images[0],
            channels[0],
            torch.as_tensor(labels.astype(np.int64)),
            tile=self.settings["crop"],
            stride=self.settings["stride"],
            batch=self.settings["batch"],
        )
        return ids.cpu().numpy(), tokens.float().cpu().numpy()

    def reconstruct(self, crops, accessions, masks):
        """Return crops [n, C, S, S] as reconstructed from what `masks` [n, C, G, G] leave."""
        with torch.inference_mode():
            images, channels = self._inputs(crops, [accessions] * len(crops))
            output = self.model(images, channels, [torch.as_tensor(mask) for mask in masks])
            return torch.stack(output.reconstruction).float().cpu().numpy()

    def _inputs(self, crops, accessions):
        images = [
            torch.as_tensor(np.ascontiguousarray(crop), dtype=torch.float32) for crop in crops
        ]
        ids = [torch.tensor([self.marker_ids[a] for a in panel]) for panel in accessions]
        return [i.to(self.device) for i in images], [i.to(self.device) for i in ids]
