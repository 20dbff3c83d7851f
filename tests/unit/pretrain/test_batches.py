"""Which crops a step has: each once, dealt evenly, and the same on any number of processes."""

import signal

import numpy as np
import pytest
import torch

from tests.unit.pretrain.conftest import PANELS, SETTINGS
from workflow_scripts.common.crops import TrainingCrops
from workflow_scripts.common.errors import InputError
from workflow_scripts.pretrain.batches import (
    Batches,
    MicroBatches,
    leave_signals_to_the_training,
    share,
)

ACCESSIONS = sorted({a for panel in PANELS.values() for a in panel})


def dataset(cohorts):
    return MicroBatches(TrainingCrops(cohorts, ACCESSIONS, 16, (0.0, 0.25), 0), 8, (0.6, 1.0))


def batches(cohorts, rank=0, processes=1, steps=8, **settings):
    return Batches(dataset(cohorts), steps, SETTINGS | settings, rank, processes)


@pytest.mark.parametrize(("n", "hands"), [(1, 1), (512, 8), (512, 7), (10, 3), (5, 8)])
def test_shares_are_a_partition_even_in_number_and_weight(n, hands):
    weights = np.random.default_rng(n).integers(3, 60, n)
    items = np.arange(100, 100 + n)
    shares = share(items, weights, hands)
    assert sorted(np.concatenate(shares)) == items.tolist()
    assert all((np.diff(one) > 0).all() for one in shares)
    sizes = [len(one) for one in shares]
    assert max(sizes) - min(sizes) <= 1 and max(sizes) == -(-n // hands)
    if n % hands == 0:
        sums = [weights[one - 100].sum() for one in shares]
        assert max(sums) - min(sums) <= weights.max() - weights.min()


def test_a_share_that_keeps_the_order_of_the_stream_would_be_uneven():
    weights = np.array([50] * 8 + [3] * 8)
    sums = [weights[one].sum() for one in share(np.arange(16), weights, 4)]
    assert sums == [106] * 4


@pytest.mark.parametrize("processes", [1, 2, 3, 6])
def test_processes_together_see_what_one_sees_sample_by_sample(cohorts, processes):
    alone = batches(cohorts)
    crops = dataset(cohorts)
    for step in range(8):
        whole = sorted(n for cut in alone.numbers(step) for n in cut)
        assert whole == list(range(6 * step, 6 * step + 6))
        seen = {}
        for rank in range(processes):
            mine = batches(cohorts, rank, processes)
            assert len(mine.numbers(step)) == mine.per_step
            for cut in mine.numbers(step):
                assert 1 <= len(cut) <= SETTINGS["micro_batch"]
                seen |= {n: mine.dataset.masked(n) for n in cut}
        assert sorted(seen) == whole
        for n, sample in seen.items():
            assert all(torch.equal(a, b) for a, b in zip(sample, crops.masked(n), strict=True))


def test_an_epoch_visits_every_sub_image_once_over_all_processes(cohorts):
    parts = [batches(cohorts, rank, 2, steps=7) for rank in range(2)]
    numbers = [n for part in parts for step in range(7) for cut in part.numbers(step) for n in cut]
    visited = [parts[0].dataset.crops.locate(n) for n in numbers]
    for epoch in range(3):  # 42 crops of 14 sub-images
        assert sorted(i for e, i in visited if e == epoch) == list(range(14))


def test_no_process_gets_the_crops_of_the_larger_panel_alone(cohorts):
    panels = dataset(cohorts).crops.panel_sizes()
    assert panels.tolist() == [10] * 7 + [3] * 7
    for step in range(8):
        channels = []
        for rank in range(2):
            mine = batches(cohorts, rank, 2)
            located = [mine.dataset.crops.locate(n)[1] for cut in mine.numbers(step) for n in cut]
            channels.append(panels[located].sum())
        assert abs(channels[0] - channels[1]) <= 7


@pytest.mark.parametrize("workers", [0, 2])
def test_the_stream_starts_anywhere_and_packs_what_the_numbers_say(cohorts, workers):
    mine = batches(cohorts, 1, 2, workers=workers)
    packed = list(mine.stream(5))
    assert len(packed) == 3 * mine.per_step
    expected = [cut for step in range(5, 8) for cut in mine.numbers(step)]
    for got, numbers in zip(packed, expected, strict=True):
        images = [mine.dataset.masked(n)[0] for n in numbers]
        assert torch.equal(got.images, torch.cat(images))
        assert got.counts == tuple(map(len, images))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_bad_pixel_comes_as_an_error_in_the_stream(cohorts, workers):
    mine = batches(cohorts, workers=workers)
    bad = mine.numbers(6)[1][0]
    crops = mine.dataset.crops
    true = type(crops).__getitem__

    class Broken(type(crops)):
        def __getitem__(self, n):
            if n == bad:
                raise InputError("one sentence")
            return true(self, n)

    crops.__class__ = Broken
    packed = list(mine.stream(6))
    assert isinstance(packed[1], InputError) and str(packed[1]) == "one sentence"
    assert not any(isinstance(p, InputError) for i, p in enumerate(packed) if i != 1)


def test_crops_are_described_with_cohort_and_tissue(cohorts):
    mine = batches(cohorts)
    numbers = mine.numbers(3)[1]
    words = mine.describe(3, 1)
    for number in numbers:
        cohort = "large" if mine.dataset.crops.locate(number)[1] < 7 else "small"
        assert f"{number} (cohort {cohort}, tissue {cohort} tissue)" in words


def test_a_loader_ignores_the_signals_that_stop_a_training():
    before = {s: signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)}
    try:
        leave_signals_to_the_training(0)
        assert {signal.getsignal(s) for s in before} == {signal.SIG_IGN}
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
