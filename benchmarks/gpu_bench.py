"""One run of `benchmarks.gpu`: its sizes, its device, and what its sections share."""

import logging
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from benchmarks import attention, checks
from benchmarks.core_step import PAPER as PAPER_CROP
from benchmarks.core_step import QUICK
from benchmarks.timing import Device, Unfit
from virtues_core.attention import missing

PAPER = {
    "step": PAPER_CROP | {"crops": 64},
    "attention": attention.PAPER,
    "copy": 2**29,
    "matrix": 8192,
    "repeats": 50,
    "counts": (10, 20, 30, 40, 50, 60),
    "counted_crops": 40,  # at 10 channels still more than one group of the decoder has
    "long": 1024,
    "steps": 500,
    "lengths": tuple(checks.LENGTHS),
    "seeds": (0, 1, 2),
}
# The same with a tiny model, which shows on any machine that all of it runs.
TINY = {
    "step": QUICK,
    "attention": {"crops": 2, "channels": 5, "side": 32, "hidden": 0.8, "heads": 2}
    | {"head_width": 16},
    "copy": 2**12,
    "matrix": 64,
    "repeats": 5,
    "counts": (2, 4, 6),
    "counted_crops": 1,
    "long": 140,
    "steps": 4,
    "lengths": ("two", "long among short"),
    "seeds": (0,),
}
HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass
class Bench:
    """One run: the device, the sizes, the backends that can run, and what was found on the way."""

    device: Device
    sizes: dict
    backends: list
    bandwidth: float = 0.0
    rate: float = 0.0
    failures: list = field(default_factory=list)

    @property
    def kind(self):
        """Return "cuda" or "cpu"."""
        return self.device.kind

    @property
    def varlen(self):
        """Return the backend of the paper's scheme: FlashAttention, on a CPU PyTorch's own."""
        return "flash" if self.kind == "cuda" else "sdpa"

    @contextmanager
    def going_on(self, case):
        """Remember an error in words and go on: what follows is still worth its time."""
        try:
            yield
        except Exception as error:
            self.failures.append(f"{case}: {in_words(error)}")
            logging.debug("%s failed", case, exc_info=True)

    def judged(self, row, bound, where):
        """Return a row of a check, and remember it in words if its value is beyond `bound`."""
        if not row["value"] <= bound:
            self.failures.append(f"{row['case']}: {row['metric']} is {row['value']:.3g}, {where}")
        return row | {"target": f"value <= {bound}"}


def in_words(error):
    """Return the first line of an error; a sentence of ours needs no name of its type."""
    text = (str(error).strip().splitlines() or ["no message"])[0]
    return text if isinstance(error, Unfit) else f"{type(error).__name__}: {text}"


def compiler():
    """Tell whether blocks can be compiled here; says so if not."""
    lack = missing.compiler()
    if lack is not None:
        print(f"compiled blocks are left out: {lack}.")
    return lack is None
