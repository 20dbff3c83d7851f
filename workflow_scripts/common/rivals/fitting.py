"""What a rival learns of a cohort before it has niche tokens: components of its train split."""

import numpy as np

from workflow_scripts.common.crops import tissue_grid
from workflow_scripts.common.errors import InputError
from workflow_scripts.common.job import log
from workflow_scripts.common.rivals.panels import crops_of, shared_panel


class TrainNiches:
    """Niche crops of a cohort's train split, not too many, read anew in each pass.

    Iterating yields (crops [n, C, S, S], accessions) of each tissue.
    """

    def __init__(self, cohort, embedder, side, min_coverage):
        self.embedder, self.side = embedder, side
        self.tissues = list(cohort.tissues("train"))
        grids = [tissue_grid(t.tissue_mask(), side, min_coverage) for t in self.tissues]
        places = [(i, *origin) for i, grid in enumerate(grids) for origin in grid.tolist()]
        rng = np.random.default_rng(embedder.seed)
        chosen = sorted(rng.permutation(len(places))[: embedder.fit_niches])
        self.origins = {}
        for tissue, row, col in (places[i] for i in chosen):
            self.origins.setdefault(tissue, []).append((row, col))

    def __iter__(self):
        for place, origins in self.origins.items():
            tissue = self.tissues[place]
            positions, _ = self.embedder.usable(tissue.accessions)
            accessions = [tissue.accessions[i] for i in positions]
            yield crops_of(tissue.image(positions), origins, self.side), accessions


def fit_niches(embedder, cohort, side, min_coverage):
    """Let a model whose niche tokens are components of the cohort learn them (D22).

    Where that cannot be, it has no niche tokens, and all else goes on without them.
    """
    panels = []
    for tissue in cohort.tissues():
        positions, _ = embedder.usable(tissue.accessions)
        panels.append([tissue.accessions[i] for i in positions])
    try:
        embedder.fit(TrainNiches(cohort, embedder, side, min_coverage), shared_panel(panels))
    except InputError as error:
        log.error("no niche tokens of %s for %s: %s", embedder.name, cohort.id, error)
