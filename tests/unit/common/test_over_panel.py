"""Tokens of tissues that were stained for a part of their cohort's panel."""

import numpy as np

from workflow_scripts.common.embedders import Tokens
from workflow_scripts.embed.embed import over_panel


def test_channels_that_were_not_stained_are_zero_and_the_others_keep_their_place():
    rng = np.random.default_rng(0)
    patch = rng.normal(size=(3, 2, 2, 2)).astype("float32")
    cells = rng.normal(size=(5, 2)).astype("float32")
    tokens = Tokens(patch, patch.mean(axis=(1, 2)), np.arange(5), cells)
    spread = over_panel(tokens, [3, 1], 4)
    for full, part in ((spread.patch, patch), (spread.niche, tokens.niche), (spread.cells, cells)):
        assert full.shape == (*part.shape[:-1], 4) and full.dtype == np.float32
        np.testing.assert_array_equal(full[..., [3, 1]], part)
        assert (full[..., [0, 2]] == 0).all()
    assert spread.cell_ids is tokens.cell_ids
