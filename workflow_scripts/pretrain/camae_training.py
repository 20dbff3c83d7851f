"""CA-MAE as it is trained: what is hidden, the error of hidden tokens, and what is kept.

Shapes: b crops of one panel, C channels, N = C x L tokens, P pixels of a patch.
"""

from dataclasses import dataclass, fields

import torch
from torch.utils.data import Dataset

from workflow_scripts.common.errors import InputError
from workflow_scripts.common.rivals.camae import Camae, CamaeConfig, token_errors
from workflow_scripts.common.training.watch import Work


@dataclass(frozen=True)
class Panel:
    """Crops that have the same channels."""

    images: torch.Tensor  # [b, C, S, S] float16
    order: torch.Tensor  # [b, N] the tokens of each crop, those that are seen first
    visible: int  # tokens that are seen
    channels: tuple  # C rows of decoders


@dataclass(frozen=True)
class MaskedPanels:
    """A micro-batch: crops by panel, as the tissues of a cohort may differ in theirs."""

    panels: list

    def to(self, device):
        """Return it on a device, images as float32."""
        return MaskedPanels(
            [
                Panel(p.images.to(device).float(), p.order.to(device), p.visible, p.channels)
                for p in self.panels
            ]
        )


class MaskedCrops(Dataset):
    """Micro-batches by the numbers of their crops; crop and mask are the same in every run."""

    def __init__(self, crops, rows, patch, mask_ratio):
        """`rows`: channel name -> row of its decoder."""
        self.crops, self.rows, self.patch, self.mask_ratio = crops, rows, patch, mask_ratio

    def __getitem__(self, numbers):
        """Return the MaskedPanels of crops `numbers`, or the InputError that one of them raises."""
        panels = {}
        try:
            for number in numbers:
                image, tissue, keep = self.crops.read(
                    number, lambda tissue, rng: list(range(len(tissue.ids)))
                )
                channels = tuple(self.rows[tissue.markers[c]] for c in keep)
                panels.setdefault(channels, []).append((torch.from_numpy(image), number))
        except InputError as error:
            return error
        return MaskedPanels([self._masked(*item) for item in panels.items()])

    def _masked(self, channels, items):
        images = torch.stack([image for image, _ in items])
        tokens = len(channels) * (images.shape[-1] // self.patch) ** 2
        order = [torch.rand(tokens, generator=self._generator(n)).argsort() for _, n in items]
        visible = max(1, int(tokens * (1 - self.mask_ratio)))
        return Panel(images, torch.stack(order), visible, channels)

    def _generator(self, number):
        return torch.Generator().manual_seed(self.crops.seed * 2**32 + number)


class CamaeTraining:
    """The training of one cohort's model; see rival.py."""

    after_step = None

    def __init__(self, job, crops):
        """`job["model"]`: the settings of the rival."""
        settings = job["model"]
        sizes = {field.name for field in fields(CamaeConfig)}
        self.config = CamaeConfig(**{k: v for k, v in settings.items() if k in sizes})
        self.fourier_weight = settings["fourier_weight"]
        self.crops = crops
        markers = dict.fromkeys(m for _, tissue in crops.tissues() for m in tissue.markers)
        self.markers = list(markers)
        rows = {marker: row for row, marker in enumerate(self.markers)}
        self.dataset = MaskedCrops(crops, rows, self.config.patch, settings["mask_ratio"])

    def build(self, steps):
        """Draw the weights."""
        self.model = Camae(self.config, len(self.markers))

    def objective(self, batch):
        """Return (sum of the errors of hidden tokens, their number) of a micro-batch."""
        total, count = 0, 0
        for panel in batch.panels:
            predicted, pixels = self.model(panel.images, panel.channels, panel.order, panel.visible)
            errors = token_errors(predicted, pixels, self.fourier_weight)
            hidden = panel.order[:, panel.visible :]
            total = total + errors.gather(1, hidden).sum()
            count += hidden.numel()
        return total, count

    def work(self, batch):
        """Return the crops and tokens of a micro-batch."""
        orders = [panel.order for panel in batch.panels]
        return Work(sum(map(len, orders)), sum(order.numel() for order in orders))

    def card(self):
        """Return what opening the weights needs."""
        return {"model": self.config.to_dict(), "markers": self.markers}

    def weights(self):
        """Return the tensors that are kept: encoder and decoders."""
        return self.model.state_dict()
