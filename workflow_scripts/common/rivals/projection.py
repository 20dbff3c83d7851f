"""Principal components of features that are concatenated over channels (D22)."""

import warnings

import numpy as np
from sklearn.decomposition import PCA, MiniBatchSparsePCA
from sklearn.exceptions import ConvergenceWarning

from workflow_scripts.common.errors import InputError
from workflow_scripts.common.job import log


class Projection:
    """Components that are fitted on the niches of a cohort's train split."""

    def __init__(self, where, components, seed, sparse):
        """`where`: the settings' section, for the sentence of an error; `sparse`: as Sorin et al.

        Sparse: each component uses few features; fitted on 500 features at a time.
        """
        self.where, self.components, self.sparse = where, components, sparse
        self.model = (
            MiniBatchSparsePCA(n_components=components, batch_size=500, random_state=seed)
            if sparse
            else PCA(n_components=components, random_state=seed)
        )

    def fit(self, features):
        """Learn the components of features [n, F]; InputError unless n exceeds their number."""
        if len(features) <= self.components:
            raise InputError(
                f"settings (config.yaml and its overlays): {self.where}.components: "
                f"{self.components} components need more niches of the train split than the "
                f"{len(features)} there are; lower it or leave the cohort out of "
                f"{self.where}.cohorts"
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            self.model.fit(features)
        loadings = self.model.components_
        centred = features - self.model.mean_
        left = centred - self(features) @ loadings
        explained = 1 - (left**2).sum() / max((centred**2).sum(), 1e-12)
        log.info(
            "%d components of %d features of %d niches: %.1f %% of the variance, %d of %d "
            "loadings are not 0",
            *(self.components, features.shape[1], len(features), 100 * explained),
            *(np.count_nonzero(loadings), loadings.size),
        )
        if not loadings.any():
            log.warning("every loading is 0: all niche tokens will be equal")
        return self

    def __call__(self, features):
        """Return features [n, F] in terms of the components, [n, components] float32."""
        if len(features) == 0:
            return np.empty((0, self.components), np.float32)
        return self.model.transform(features).astype(np.float32)
