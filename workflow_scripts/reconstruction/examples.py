"""Regions that are shown, chosen by rule, and how models fill them in (D30)."""

from itertools import product

import numpy as np

from workflow_scripts.reconstruction.evaluation import masking_tasks


def choose_cohort(panels, wanted):
    """Return the cohort whose panel has the most of the `wanted` accessions; first wins a tie."""
    return max(panels, key=lambda cohort: len(set(wanted) & set(panels[cohort])))


def choose_channels(accessions, wanted, spread, most):
    """Return up to `most` channels: the wanted ones, then those that vary most in the region."""
    chosen = [accessions.index(accession) for accession in wanted if accession in accessions]
    chosen += [int(c) for c in np.argsort(-np.asarray(spread), kind="stable") if c not in chosen]
    return chosen[:most]


def choose_region(scores, strategy, shapes, crop, side):
    """Return (tissue_id, row, col, rows, cols): where an example is, and its size in crops.

    Candidates are all blocks of crops of about `side` px. Of the half with more signal, so that
    there is something to see, the one of median score is taken (D30); None without any score.
    `shapes`: tissue_id -> (height, width) in px.
    """
    scores = scores[(scores["strategy"] == strategy) & scores["r"].notna()]
    candidates = []
    for tissue_id, group in scores.groupby("tissue_id"):
        fits = [length // crop for length in shapes[tissue_id]]
        rows, cols = (min(max(1, side // crop), n) for n in fits)
        for row, col in product(range(fits[0] - rows + 1), range(fits[1] - cols + 1)):
            inside = group[
                (group["row"] // crop).between(row, row + rows - 1)
                & (group["col"] // crop).between(col, col + cols - 1)
            ]
            if len(inside):
                place = (tissue_id, row * crop, col * crop, rows, cols)
                candidates.append((place, inside["spread"].sum(), inside["r"].mean()))
    if not candidates:
        return None
    middle = np.median([spread for _, spread, _ in candidates])
    lively = sorted((r, place) for place, spread, r in candidates if spread >= middle)
    return lively[len(lively) // 2][1]


class Region:
    """A region of a test tissue, with the channels that a model can read."""

    def __init__(self, model, cohort, region, settings):
        """`region`: what `choose_region` returns; `settings`: crop, patch, batch, mask_ratio."""
        self.tissue_id, self.top, self.left, self.rows, self.cols = region
        self.cohort, self.settings = cohort, settings
        tissue = next(t for t in cohort.tissues("test") if t.id == self.tissue_id)
        positions, _ = model.usable(tissue.accessions)
        self.accessions = [tissue.accessions[i] for i in positions]
        self.markers = [tissue.markers[i] for i in positions]
        size = settings["crop"]
        rows = slice(self.top, self.top + self.rows * size)
        cols = slice(self.left, self.left + self.cols * size)
        self.truth = tissue.image(positions)[:, rows, cols]

    def spread(self):
        """Return the standard deviation of every channel in the region [C]."""
        return self.truth.std(axis=(1, 2))

    def fill(self, model, shown, strategy, seed):
        """Return mask [n, rows G, cols G] and guess [n, rows S, cols S] of the `shown` channels.

        Every crop is masked and filled in by itself, as when it is scored.
        """
        size, grid = self.settings["crop"], self.settings["crop"] // self.settings["patch"]
        mask = np.zeros((len(shown), self.rows * grid, self.cols * grid), bool)
        guess = np.zeros((len(shown), self.rows * size, self.cols * size), np.float32)
        for i, j in product(range(self.rows), range(self.cols)):
            patches = np.s_[i * grid : (i + 1) * grid, j * grid : (j + 1) * grid]
            pixels = np.s_[i * size : (i + 1) * size, j * size : (j + 1) * size]
            tasks = self._tasks(i, j, shown, strategy, seed)
            for start in range(0, len(tasks), self.settings["batch"]):
                part = tasks[start : start + self.settings["batch"]]
                crops, masks = [self.truth[:, *pixels]] * len(part), [t.mask for t in part]
                filled = model.reconstruct(crops, self.accessions, np.stack(masks))
                for task, picture in zip(part, filled, strict=True):
                    for place, channel in enumerate(shown):
                        if channel in task.channels:
                            mask[place][patches] = task.mask[channel]
                            guess[place][pixels] = picture[channel]
        return mask, guess

    def _tasks(self, i, j, shown, strategy, seed):
        size, grid = self.settings["crop"], self.settings["crop"] // self.settings["patch"]
        name = f"{self.tissue_id} {self.top + i * size} {self.left + j * size}"
        tasks = masking_tasks(name, self.accessions, grid, self.settings["mask_ratio"], [seed])
        return [t for t in tasks if t.strategy == strategy and set(shown) & set(t.channels)]

    def example(self, model, shown, strategy, seed):
        """Return the arrays of one example: truth, mask and guess of `shown`, units and origin."""
        mask, guess = self.fill(model, shown, strategy, seed)
        markers = [self.markers[channel] for channel in shown]
        quantiles = self.cohort.standardization("image_level_upper_quantiles")
        means, stds = (
            self.cohort.standardization(f"global_level_{kind}")[markers].to_numpy()[0]
            for kind in ("means", "stds")
        )
        return {
            "truth": self.truth[shown],
            "mask": mask,
            "guess": guess,
            "markers": np.array(markers),
            "mean": means,
            "std": stds,
            "quantile": quantiles.loc[self.tissue_id, markers].to_numpy(),
            "where": np.array([self.cohort.id, self.tissue_id, str(self.top), str(self.left)]),
        }


def save_examples(path, examples):
    """Write named examples, {name: {array name: array}}, into one npz file."""
    arrays = {f"{n}/{key}": array for n, parts in examples.items() for key, array in parts.items()}
    np.savez_compressed(path, **arrays)


def read_examples(path):
    """Return the examples of a file in the order in which they were written; {} for none."""
    examples = {}
    with np.load(path) as file:
        for key in file.files:
            name, array = key.rsplit("/", 1)
            examples.setdefault(name, {})[array] = file[key]
    return examples
