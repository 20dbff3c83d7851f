"""The crops of every optimiser step, masked, packed and dealt to the processes of a training."""

import signal

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from virtues_core import independent_mask, pack
from workflow_scripts.common.errors import InputError
from workflow_scripts.common.training.loop import STOP_SIGNALS


class MicroBatches(Dataset):
    """Packed micro-batches by the numbers of their crops; a crop is the same in every run."""

    def __init__(self, crops, patch, mask_ratio, round_up=False):
        """`round_up`: fill packed lengths up to few sizes, as a GPU wants them (see `pack`)."""
        self.crops, self.patch, self.mask_ratio = crops, patch, mask_ratio
        self.round_up = round_up

    def masked(self, number):
        """Return image [C, side, side], marker rows [C] and mask of crop `number`, as tensors."""
        image, channels = self.crops[number]
        generator = torch.Generator().manual_seed(self.crops.seed * 2**32 + number)
        side = image.shape[-1] // self.patch
        mask = independent_mask(len(image), (side, side), self.mask_ratio, generator)
        return torch.from_numpy(image), torch.from_numpy(channels), mask

    def __getitem__(self, numbers):
        """Pack the crops `numbers`, or return the InputError that one of them raises.

        Raised in a loader's process, its sentence would drown in a traceback.
        """
        try:
            images, channels, masks = zip(*map(self.masked, numbers), strict=True)
        except InputError as error:
            return error
        return pack(images, channels, masks, self.patch, self.round_up)


class Batches:
    """The micro-batches of one process, a pure function of the step.

    Each step takes the next `batch` crops of the stream. They are dealt to the processes, and the
    share of a process to its micro-batches, by the channels of their panels, so that neither
    time nor memory hangs on who gets the crops of the largest panel.
    """

    def __init__(self, dataset, steps, settings, rank=0, processes=1, pinned=False):
        """`pinned`: in memory from which a GPU takes them while it computes."""
        self.dataset, self.steps, self.rank, self.processes = dataset, steps, rank, processes
        self.pinned = pinned
        self.batch, self.workers = settings["batch"], settings["workers"]
        self.per_step = -(-(self.batch // processes) // settings["micro_batch"])
        self.panels = dataset.crops.panel_sizes() if steps else None

    def numbers(self, step):
        """Return the crops of each micro-batch of a step, lists of numbers."""
        crops = np.arange(step * self.batch, (step + 1) * self.batch)
        mine = share(crops, self._weights(crops), self.processes)[self.rank]
        return [cut.tolist() for cut in share(mine, self._weights(mine), self.per_step)]

    def stream(self, first_step):
        """Yield the micro-batches of every step from `first_step` on."""
        yield from DataLoader(
            self.dataset,
            batch_size=None,
            sampler=(cut for step in range(first_step, self.steps) for cut in self.numbers(step)),
            num_workers=self.workers,
            pin_memory=self.pinned,
            worker_init_fn=leave_signals_to_the_training,
            # Its own: a loader draws a number when it starts, and a resumed run starts one more.
            generator=torch.Generator(),
        )

    def describe(self, step, place):
        """Return the crops of a micro-batch in words."""
        crops = self.dataset.crops
        words = []
        for number in self.numbers(step)[place]:
            _, index = crops.locate(number)
            cohort = crops.folders[crops.cohort[index]].name
            words.append(f"{number} (cohort {cohort}, tissue {crops.tissue_ids[index]})")
        return f"crop{'s' if len(words) > 1 else ''} {', '.join(words)}"

    def _weights(self, numbers):
        locate = self.dataset.crops.locate
        return np.array([self.panels[locate(number)[1]] for number in numbers.tolist()])


def share(items, weights, hands):
    """Deal `items` [n] to `hands` so that number and weight are even; returns a list of arrays.

    The heaviest are dealt first, forth and back, so the weights of two hands that hold equally
    many differ by no more than the heaviest and the lightest item do. A hand keeps the order of
    `items`.
    """
    turn = np.arange(len(items)) % (2 * hands)
    hand = np.empty(len(items), dtype=np.int64)
    hand[np.argsort(-weights, kind="stable")] = np.minimum(turn, 2 * hands - 1 - turn)
    return [items[hand == h] for h in range(hands)]


def leave_signals_to_the_training(worker):
    """Let a loader's process live on when a cluster signals all processes of a job.

    Torch takes the death of one for an error, and the training would end before it has saved.
    """
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
