"""Bags read from disk: the right rows, in pieces, whatever their size."""

import numpy as np
import pandas as pd
import pytest
import torch

from workflow_scripts.common.errors import InputError
from workflow_scripts.common.tokens import TokenStore
from workflow_scripts.patients.bags import Bag, Bags

COUNTS = {"a": 3, "b": 40, "empty": 0, "c": 16}


def stored(folder, patches=True, niches=True):
    """Write tokens of three tissues as rule embed does; return what the bags should hold."""
    folder.mkdir()
    store, rng, expected = TokenStore(folder), np.random.default_rng(0), {}
    for tissue, count in COUNTS.items():
        rows = [{"tissue_id": tissue, "row": 0, "col": i} for i in range(count)]
        grid = rng.standard_normal((count, 2, 2, 5), np.float32)
        if patches:
            store.append("patch", grid, [] if niches else rows)
        if niches:
            store.append("niche", grid.mean(axis=(1, 2)), rows)
        expected[tissue] = (grid if patches else grid.mean(axis=(1, 2))).reshape(-1, 5)
    store.close()
    return {tissue: tokens for tissue, tokens in expected.items() if len(tokens)}


@pytest.mark.parametrize(
    ("levels", "level"),
    [({}, "patch"), ({"niches": False}, "patch"), ({"patches": False}, "niche")],
)
@pytest.mark.parametrize("memory", [0, 10**6])
def test_a_bag_holds_the_tokens_of_its_tissue(tmp_path, levels, level, memory):
    expected = stored(tmp_path / "tokens", **levels)
    bags = Bags(tmp_path / "tokens", memory)
    assert bags.level == level and bags.width == 5 and set(bags.places) == set(expected)
    read = {tissue: torch.cat(list(bag)) for tissue, bag in bags.stream(list(expected))}
    assert list(read) == list(expected)
    for tissue, tokens in read.items():
        np.testing.assert_array_equal(tokens, expected[tissue])
        assert bags.niches(tissue) == COUNTS[tissue]


def test_a_large_bag_is_read_again_chunk_by_chunk_and_a_small_one_is_kept(tmp_path):
    stored(tmp_path / "tokens")
    bags = Bags(tmp_path / "tokens", memory=4 * 16 * 4 * 5)
    assert isinstance(bags.read("c"), list)
    large = bags.read("b")
    # Rows 3 to 43 of chunks of 16: each chunk once.
    assert isinstance(large, Bag) and [len(x) // 4 for x in large] == [13, 16, 11]
    assert [len(x) // 4 for x in large] == [13, 16, 11]


def test_a_fault_of_reading_reaches_the_caller(tmp_path):
    stored(tmp_path / "tokens")
    with pytest.raises(KeyError, match="unknown"):
        list(Bags(tmp_path / "tokens").stream(["a", "unknown"]))


def test_scattered_rows_are_told(tmp_path):
    stored(tmp_path / "tokens")
    path = tmp_path / "tokens/index.parquet"
    index = pd.read_parquet(path)
    index.loc[index["position"] == 1, "tissue_id"] = "b"
    index.to_parquet(path)
    with pytest.raises(InputError, match="rows of tissue a are not in one piece, expected them as"):
        Bags(tmp_path / "tokens")


def test_a_cohort_without_any_tissue_has_no_bags(tmp_path):
    TokenStore(tmp_path).close()
    assert Bags(tmp_path).places == {}
