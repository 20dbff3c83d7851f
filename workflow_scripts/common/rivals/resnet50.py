"""ResNet-50 on every channel by itself (Sorin et al. 2023): niche tokens from ImageNet weights.

Shapes: n crops, C channels, S px a side.
"""

import pickle
import re

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import ResNetConfig, ResNetModel

from workflow_scripts.common.device import check_device
from workflow_scripts.common.embedders import Tokens
from workflow_scripts.common.errors import InputError
from workflow_scripts.common.provenance import check_sum
from workflow_scripts.common.rivals.panels import crops_of, places
from workflow_scripts.common.rivals.projection import Projection

WIDTH = 2048
WHERE = "rivals.resnet50"
# Of the images that the weights were trained on, red, green and blue.
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# Names of the widespread checkpoint -> names of the layers here.
NAMES = [
    (r"^resnet\.", ""),  # weights with a classifier around them
    (r"^conv1\.", "embedder.embedder.convolution."),
    (r"^bn1\.", "embedder.embedder.normalization."),
    (r"^layer(\d)\.(\d)\.conv(\d)\.", "encoder.stages.{0}.layers.{1}.layer.{2}.convolution."),
    (r"^layer(\d)\.(\d)\.bn(\d)\.", "encoder.stages.{0}.layers.{1}.layer.{2}.normalization."),
    (r"^layer(\d)\.(\d)\.downsample\.0\.", "encoder.stages.{0}.layers.{1}.shortcut.convolution."),
    (r"^layer(\d)\.(\d)\.downsample\.1\.", "encoder.stages.{0}.layers.{1}.shortcut.normalization."),
]


def renamed(name):
    """Return a tensor's name as this network has it; stages and layers count from 0 here."""
    for pattern, template in NAMES:
        match = re.match(pattern, name)
        if match:
            numbers = list(map(int, match.groups()))
            from_zero = [n - 1 if place in (0, 2) else n for place, n in enumerate(numbers)]
            name = template.format(*from_zero) + name[match.end() :]
    return name


def load_resnet50(weights, expected=None, seed=0):
    """Return the frozen network of a checkpoint (safetensors or torch's), or a `seeded` one.

    Only tensors are unpickled. InputError for a wrong checksum, or tensors that do not fit.
    """
    if weights == "seeded":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return ResNetModel(ResNetConfig()).eval()
    check_sum(weights, expected, f"{WHERE}.sha256")
    try:
        if str(weights).endswith(".safetensors"):
            state = load_file(weights)
        else:
            state = torch.load(weights, map_location="cpu", weights_only=True)
        state = {renamed(name): tensor for name, tensor in state.items()}
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, AttributeError) as bad:
        raise InputError(
            f"{weights}: not a checkpoint of tensors ({str(bad).splitlines()[0]}); expected "
            f"ResNet-50 in torch's or safetensors' format; correct {WHERE}.weights"
        ) from None
    state = {n: t for n, t in state.items() if not n.startswith(("fc.", "classifier."))}
    model = ResNetModel(ResNetConfig())
    expected_names = model.state_dict()
    counted = {n for n in expected_names if n.endswith("num_batches_tracked")}
    wrong = sorted((set(expected_names) ^ set(state)) - counted)
    wrong += [n for n in state if n in expected_names and state[n].shape != expected_names[n].shape]
    if wrong:
        raise InputError(
            f"{weights}: {len(wrong)} tensors are not those of ResNet-50, first {wrong[0]}; "
            f"expected weights of ResNet-50 trained on ImageNet-1K; correct {WHERE}.weights"
        )
    model.load_state_dict(state, strict=False)
    return model.eval()


class ResNet50Embedder:
    """Niche tokens alone: features of every channel, concatenated, in 9 sparse components."""

    name = "resnet50"

    def __init__(self, model, settings, device):
        """`settings`: crop in px, batch in crops, and those of the rival."""
        self.model, self.settings, self.device = model.to(device), settings, device
        rival = settings["rival"]
        self.side, self.scaling = rival["side"], rival["scaling"]
        self.fit_niches, self.seed = rival["fit_niches"], rival["seed"]
        self.projection = self.panel = self.low = self.high = None

    def usable(self, accessions):
        """Return every channel; nothing is left out."""
        return list(range(len(accessions))), ""

    def fit(self, niches, panel):
        """Learn each channel's range, then the components, from niches of the train split.

        `niches`: (crops [n, C, S, S], accessions) of each tissue, read twice; `panel`: the
        accessions that all tissues of the cohort have, as the components know one panel.
        """
        self.panel = panel
        lows, highs = [], []
        for crops, accessions in niches:
            own = crops[:, places(self.panel, accessions)]
            if len(own):
                lows.append(own.min(axis=(0, 2, 3)))
                highs.append(own.max(axis=(0, 2, 3)))
        if lows:
            self.low, self.high = np.min(lows, axis=0), np.max(highs, axis=0)
        features = [self.features(crops[:, places(self.panel, a)]) for crops, a in niches]
        features = np.concatenate(features) if features else np.empty((0, 0), np.float32)
        components, seed = self.settings["rival"]["components"], self.seed
        self.projection = Projection(WHERE, components, seed, sparse=True).fit(features)

    def features(self, crops):
        """Return the features [n, C * 2048] of crops [n, C, S, S] of the panel, channel by channel.

        Each channel is brought to 0..1 over the range of the train split, three times over, to
        the side and the standardisation that the network was trained with (D22).
        """
        out = np.empty((len(crops), crops.shape[1], WIDTH), np.float32)
        mean, deviation = (
            torch.tensor(v, device=self.device).view(1, 3, 1, 1) for v in (MEAN, DEVIATION)
        )
        with torch.inference_mode():
            for row, crop in enumerate(crops):
                for start in range(0, len(crop), self.settings["batch"]):
                    part = slice(start, start + self.settings["batch"])
                    x = torch.as_tensor(np.ascontiguousarray(crop[part]), dtype=torch.float32)
                    x = x.to(self.device)
                    if self.scaling == "range":
                        low, high = (
                            torch.as_tensor(v[part], device=self.device).view(-1, 1, 1)
                            for v in (self.low, self.high)
                        )
                        x = ((x - low) / (high - low).clamp(min=1e-6)).clamp(0, 1)
                    x = F.interpolate(
                        x[:, None], (self.side, self.side), mode="bilinear", align_corners=False
                    )
                    pooled = self.model((x.expand(-1, 3, -1, -1) - mean) / deviation).pooler_output
                    out[row, part] = pooled.flatten(1).float().cpu()
        return out.reshape(len(crops), crops.shape[1] * WIDTH)

    def embed(self, image, accessions, origins, labels):
        """Return niche tokens; there are none of patches and cells, nor any before `fit`."""
        niche = None
        if self.projection is not None:
            panel = image[places(self.panel, accessions)]
            niche = self.projection(self.features(crops_of(panel, origins, self.settings["crop"])))
        return Tokens(None, niche, None, None)


def open_resnet50(settings, device):
    """Return the embedder of the network that `settings["rival"]` describes."""
    check_device(device)
    rival = settings["rival"]
    return ResNet50Embedder(
        load_resnet50(settings["weights"], rival["sha256"], rival["seed"]), settings, device
    )
