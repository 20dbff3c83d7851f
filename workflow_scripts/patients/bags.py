"""Bags of tokens: those of one tissue at a time, read from disk chunk by chunk."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from workflow_scripts.common.errors import InputError
from workflow_scripts.common.tokens import read_tokens


class Bag:
    """Rows `start` to `stop` of a token array, each time anew as tensors [m, width].

    Reads end where the store's chunks do, so that none is decompressed twice in a pass.
    """

    def __init__(self, array, start, stop, device):
        self.array, self.device = array, device
        inside = np.arange(start, stop)
        self.edges = [start, *inside[(inside % array.chunks[0] == 0) & (inside > start)], stop]

    def __iter__(self):
        """Yield the tokens, the patches of one niche after those of another."""
        for start, stop in zip(self.edges, self.edges[1:], strict=False):
            rows = np.asarray(self.array[start:stop], np.float32)
            yield torch.from_numpy(rows.reshape(-1, rows.shape[-1])).to(self.device)


class Bags:
    """The bags of a cohort by tissue: patch tokens, or niche tokens of a model without them."""

    def __init__(self, folder, memory=0, device="cpu"):
        """`folder`: the tokens of a model for a cohort; `memory`: bytes of a bag that is kept.

        A larger bag is read from disk in every pass over its tokens.
        """
        self.memory, self.device = memory, device
        niches, tokens = read_tokens(folder, "niche")
        patches, self.array = read_tokens(folder, "patch")
        self.level = "niche" if self.array is None else "patch"
        if self.array is None:
            self.array = tokens
        # Patch grids have rows of their own only where there are no niche tokens.
        rows = patches if len(patches) else niches
        self.places = {}
        for tissue, positions in rows.groupby("tissue_id", sort=False)["position"]:
            start, stop = int(positions.min()), int(positions.max()) + 1
            if stop - start != len(positions):
                raise InputError(
                    f"{folder}/index.parquet: the rows of tissue {tissue} are not in one piece, "
                    "expected them as rule embed writes them; embed the cohort again"
                )
            self.places[tissue] = start, stop

    @property
    def width(self):
        """Number of columns of a token."""
        return self.array.shape[-1]

    def niches(self, tissue):
        """Return how many niches a tissue has."""
        start, stop = self.places[tissue]
        return stop - start

    def read(self, tissue):
        """Return the bag of a tissue: a list of tensors, or a `Bag` when it is large."""
        bag = Bag(self.array, *self.places[tissue], self.device)
        size = 4 * self.niches(tissue) * int(np.prod(self.array.shape[1:]))
        return list(bag) if size <= self.memory else bag

    def stream(self, tissues):
        """Yield (tissue, bag); the next one is read while the caller works on this one."""
        with ThreadPoolExecutor(1) as reader:
            ahead = None
            for tissue in tissues:
                last, ahead = ahead, (tissue, reader.submit(self.read, tissue))
                if last is not None:
                    yield last[0], last[1].result()
            if ahead is not None:
                yield ahead[0], ahead[1].result()
