"""CA-MAE and KRONOS behind the `Embedder` protocol: patch, cell and niche tokens.

Shapes: n crops, C channels, G x G patches of a crop, D width.
"""

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from virtues_core import CellPool, tile_origins
from workflow_scripts.common.device import check_device
from workflow_scripts.common.embedders import Tokens
from workflow_scripts.common.errors import InputError
from workflow_scripts.common.rivals.camae import Camae, CamaeConfig
from workflow_scripts.common.rivals.kronos import Kronos, KronosConfig
from workflow_scripts.common.rivals.panels import crops_of, places
from workflow_scripts.common.rivals.projection import Projection


class TokenEmbedder:
    """What both have in common: patch tokens are means over channels, cells are means of those."""

    def __init__(self, name, model, settings):
        """`settings`: crop and stride in px, batch in crops, and `rival`, those of the model."""
        self.name, self.model, self.settings = name, model.eval(), settings
        self.width, self.patch = model.config.width, model.config.patch
        self.device = next(model.parameters()).device

    def features(self, crops, accessions):
        """Return tokens [n, C, G, G, D] of crops [n, C, S, S], a tensor on the device."""
        raise NotImplementedError

    def niches(self, accessions, crops, patch):
        """Return niche tokens [n, ...] of crops, whose patch tokens are `patch`, or None."""
        raise NotImplementedError

    def embed(self, image, accessions, origins, labels):
        """Return the Tokens of an image [C, H, W]; see `Embedder`."""
        crops = crops_of(image, origins, self.settings["crop"])
        grid = self.settings["crop"] // self.patch
        patch = np.empty((len(crops), grid, grid, self.width), np.float32)
        for part, tokens in self.batches(crops, accessions):
            patch[part] = tokens.mean(dim=1).cpu().numpy()
        ids, cells = self.cells(image, accessions, labels)
        return Tokens(patch, self.niches(accessions, crops, patch), ids, cells)

    def batches(self, crops, accessions):
        """Yield (slice, float32 tokens [b, C, G, G, D]) of crops, some at a time."""
        with torch.inference_mode():
            for start in range(0, len(crops), self.settings["batch"]):
                part = slice(start, start + self.settings["batch"])
                inputs = torch.as_tensor(np.ascontiguousarray(crops[part]), dtype=torch.float32)
                yield part, self.features(inputs.to(self.device), accessions).float()

    def cells(self, image, accessions, labels):
        """Return cell ids [k] and tokens [k, D], over overlapping crops as for VirTues."""
        if labels is None or not labels.any():
            return np.empty(0, np.int64), np.empty((0, self.width), np.float32)
        side, stride = self.settings["crop"], self.settings["stride"]
        pool = CellPool(labels, self.width, self.patch)
        origins = tile_origins(*image.shape[1:], side, stride)
        for some in origins.split(self.settings["batch"]):
            crops = crops_of(image, some.tolist(), side)
            tokens = [t.mean(dim=1).cpu() for _, t in self.batches(crops, accessions)]
            pool.add(some, torch.cat(tokens))
        return pool.ids.numpy(), pool.tokens().numpy()


class CamaeEmbedder(TokenEmbedder):
    """CA-MAE: the niche token is the mean of all tokens; no channel is unknown to it."""

    def usable(self, accessions):
        """Return every channel; nothing is left out."""
        return list(range(len(accessions))), ""

    def features(self, crops, accessions):
        """Return tokens [n, C, G, G, D] of crops [n, C, S, S]."""
        return self.model.features(crops)

    def niches(self, accessions, crops, patch):
        """Return the mean [n, D] over channels and positions."""
        return patch.mean(axis=(1, 2))


class KronosEmbedder(TokenEmbedder):
    """KRONOS: niche tokens are marker features, concatenated, in 256 components (D22).

    A panel without the nucleus marker is read as it is (D10).
    """

    def __init__(self, name, model, accessions, settings):
        """`accessions`: those of the training, in the order of their marker ids."""
        super().__init__(name, model, settings)
        self.marker_ids = {accession: row for row, accession in enumerate(accessions)}
        self.fit_niches, self.seed = settings["rival"]["fit_niches"], settings["rival"]["seed"]
        self.projection = self.panel = None

    def usable(self, accessions):
        """Return the channels whose marker was in the training."""
        positions = [i for i, accession in enumerate(accessions) if accession in self.marker_ids]
        left_out = len(accessions) - len(positions)
        return positions, f"{left_out} channels with a marker that training lacked" * bool(left_out)

    def features(self, crops, accessions):
        """Return tokens [n, C, G, G, D] of crops [n, C, S, S]."""
        ids = torch.tensor([self.marker_ids[a] for a in accessions], device=self.device)
        return self.model(crops, ids.expand(len(crops), -1))[1]

    def fit(self, niches, panel):
        """Learn the components from the train split's (crops, accessions) of each tissue."""
        self.panel = panel
        concatenated = [self.concatenated(accessions, crops) for crops, accessions in niches]
        features = np.concatenate(concatenated) if concatenated else np.empty((0, 0), np.float32)
        components = self.settings["rival"]["components"]
        projection = Projection("rivals.kronos", components, self.seed, sparse=False)
        self.projection = projection.fit(features)

    def concatenated(self, accessions, crops):
        """Return marker features [n, C * D]: the mean over positions of each channel's tokens."""
        own = places(self.panel, accessions)
        out = np.empty((len(crops), len(own), self.width), np.float32)
        for part, tokens in self.batches(crops, accessions):
            out[part] = tokens.mean(dim=(2, 3))[:, own].cpu().numpy()
        return out.reshape(len(crops), len(own) * self.width)

    def niches(self, accessions, crops, patch):
        """Return the components [n, 256], or None before `fit`."""
        if self.projection is None:
            return None
        return self.projection(self.concatenated(accessions, crops))


def open_token_embedder(name, folder, settings, device):
    """Return the embedder of a trained CA-MAE or KRONOS in `folder`."""
    check_device(device)
    folder = Path(folder)
    card = json.loads((folder / "config.json").read_text())
    weights = load_file(folder / "model.safetensors")
    if name == "camae":
        model = Camae(CamaeConfig(**card["model"]), channels=0)
        needed = set(model.state_dict())
        weights = {key: tensor for key, tensor in weights.items() if key in needed}
    else:
        model = Kronos(KronosConfig(**card["model"]))
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise InputError(
            f"{folder}: the weights do not fit config.json "
            f"({str(error).splitlines()[-1].strip()}), expected those "
            "of one training; delete the folder and train again"
        ) from None
    model.to(device)
    if name == "camae":
        return CamaeEmbedder(name, model, settings)
    return KronosEmbedder(name, model, card["accessions"], settings)
