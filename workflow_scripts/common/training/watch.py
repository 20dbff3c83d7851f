"""What a running training says of itself: a line every few steps, and a TensorBoard log."""

import resource
import time
from dataclasses import dataclass

import torch

from workflow_scripts.common.errors import InputError
from workflow_scripts.common.job import log

# Dense 16-bit FLOP/s of one device, as in its maker's data sheet, by a part of its name.
PEAKS = {
    "H200": 989e12,
    "H100 80GB HBM3": 989e12,
    "H100 PCIe": 756e12,
    "A100": 312e12,
    "L40S": 362e12,
    "V100-SXM2": 125e12,
}


@dataclass(frozen=True)
class Work:
    """What the steps of a training computed."""

    crops: int = 0
    tokens: int = 0
    flops: float = 0.0

    def __add__(self, other):
        return Work(self.crops + other.crops, self.tokens + other.tokens, self.flops + other.flops)


class Watch:
    """Counts the work of a process and tells what all of them did since it last did so."""

    def __init__(self, work_of=lambda micro_batch: Work(), processes=1, peak=None, board=None):
        """`work_of` gives the Work of a micro-batch, from its shapes alone.

        `peak`: FLOP/s of a device, or None; `board`: a TensorBoard writer, or None. The work of
        the other processes is taken to be as much as that of this one.
        """
        self.work_of, self.processes, self.peak, self.board = work_of, processes, peak, board
        self.work, self.since = Work(), time.monotonic()

    def counted(self, micro_batches):
        """Yield `micro_batches`, counting their work; an InputError among them is none."""
        for micro_batch in micro_batches:
            if not isinstance(micro_batch, InputError):
                self.work += self.work_of(micro_batch)
            yield micro_batch

    def tell(self, done, steps, since_step, loss, rate):
        """Say how the steps from `since_step` to `done` went: their mean loss, and the last rate.

        Begins to count anew.
        """
        seconds = time.monotonic() - self.since
        each = {k: v * self.processes / seconds for k, v in vars(self.work).items()}
        left = (steps - done) * seconds / max(1, done - since_step)
        words = [f"step {done}/{steps}", f"loss {loss:.4f}", f"lr {rate:.3g}"]
        words += [f"{each['crops']:.3g} crops/s", f"{each['tokens']:.3g} tokens/s"]
        share = each["flops"] / self.processes / self.peak if self.peak else None
        if share is not None:
            words += [f"{100 * share:.0f} % of peak FLOP/s"]
        words += [f"{memory() / 1e9:.1f} GB", f"{duration(left)} left"]
        log.info(", ".join(words))
        if self.board:
            numbers = {"loss": loss, "learning_rate": rate, "crops_per_s": each["crops"]}
            numbers |= {} if share is None else {"share_of_peak": share}
            for name, number in numbers.items():
                self.board.add_scalar(name, number, done)
            self.board.flush()
        self.work, self.since = Work(), time.monotonic()


def peak_flops(device, precision):
    """Return the dense 16-bit FLOP/s of the GPU in use, or None where that says nothing."""
    if device != "cuda" or precision == "fp32":
        return None
    name = torch.cuda.get_device_name()
    return next((peak for part, peak in PEAKS.items() if part in name), None)


def tensorboard(folder):
    """Return a TensorBoard writer; an InputError says that the package is missing."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise InputError(
            "settings (config.yaml and its overlays): pretrain.tensorboard: true needs the package "
            "tensorboard, which is not installed; install it into the environment, or set false"
        ) from None
    return SummaryWriter(folder)


def memory():
    """Return the largest memory so far in bytes, of the GPU in use or else of this process."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated()
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def duration(seconds):
    """Return seconds in the unit that suits them: "40 s", "12 min", "3.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
