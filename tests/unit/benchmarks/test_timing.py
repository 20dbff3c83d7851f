"""Percentiles, fits, the batch that fits, and what is said of machines that cannot be measured."""

import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmarks.timing import (
    LEAST,
    Device,
    Unfit,
    copy_bandwidth,
    find_gpu,
    fitting,
    line,
    matrix_rate,
    seconds,
    time_rows,
)

GPU = Device("cuda", "NVIDIA Imaginary", 80 * 10**9)


def test_percentiles_are_those_of_numpy():
    times = np.random.default_rng(0).gamma(2, size=99)
    rows = time_rows("a case", times.tolist())
    assert [row["metric"] for row in rows] == ["p20", "p50", "p80"]
    # Of 99 numbers the p-th percentile is the p-th number.
    expected = np.sort(times)[[19, 49, 79]]
    np.testing.assert_allclose([row["value"] for row in rows], expected)
    assert all(row["case"] == "a case" and row["unit"] == "s" for row in rows)
    assert not any("baseline" in row for row in rows)


def test_the_median_stands_beside_that_of_the_baseline():
    rows = time_rows("a case", [1.0] * 9, [4.0, 2.0, 3.0], "<= 0.5")
    assert rows[1]["baseline"] == 3.0 and rows[1]["target"] == "<= 0.5"
    assert not any("baseline" in row for row in (rows[0], rows[2]))


def test_functions_are_called_in_turn_and_no_longer_than_the_limit():
    called = []
    functions = [lambda turn, name=name: called.append((turn, name)) for name in "ab"]
    times = seconds(functions, "cpu", repeats=7, warmup=2)
    assert [len(own) for own in times] == [7, 7]
    assert called == [(turn, name) for turn in range(9) for name in "ab"]
    (slow,) = seconds([lambda turn: time.sleep(0.01)], "cpu", repeats=1000, limit=0.01)
    assert len(slow) == LEAST and min(slow) >= 0.01


def test_a_straight_line_is_found():
    x = np.arange(10, 70, 10)
    assert line(x, 3.0 + 0.5 * x) == pytest.approx((0.5, 3.0, 1.0))
    assert line(x, x**2)[2] < 0.97
    assert line(x, 0 * x + 2.0) == pytest.approx((0.0, 2.0, 1.0))


def test_ceilings_count_bytes_and_operations():
    bytes_a_second, operations_a_second = copy_bandwidth("cpu", 2**16), matrix_rate("cpu", 32)
    assert 1e6 < bytes_a_second < 1e13 and 1e3 < operations_a_second < 1e15


def test_the_batch_that_fits_is_said(capsys):
    def attempt(crops):
        if crops > 20:
            raise torch.OutOfMemoryError
        return f"{crops} done"

    assert fitting(64, attempt, GPU, "training step, paper") == (16, "16 done")
    assert capsys.readouterr().out == (
        "training step, paper: 64 crops do not fit the 80 GB of NVIDIA Imaginary; the batch that "
        "fits is 16.\n"
    )
    assert fitting(8, attempt, GPU, "") == (8, "8 done")
    assert capsys.readouterr().out == ""


def test_a_gpu_without_room_for_one_crop_is_refused():
    def attempt(crops):
        raise torch.OutOfMemoryError

    with pytest.raises(Unfit, match="^ours: not even one crop fits the 80 GB of NVIDIA Imaginary;"):
        fitting(4, attempt, GPU, "ours")


def pretend(monkeypatch, capability):
    properties = SimpleNamespace(name="NVIDIA Imaginary", total_memory=80 * 10**9)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: capability is not None)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: properties)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)


def test_a_gpu_is_known_by_its_name_and_memory(monkeypatch):
    pretend(monkeypatch, (9, 0))
    assert find_gpu() == GPU


def test_no_gpu_is_one_sentence_on_what_is_needed(monkeypatch):
    pretend(monkeypatch, None)
    sentence = (
        r"^benchmarks.gpu needs a CUDA GPU with bfloat16 \(compute capability 8.0 or later\), a "
        r"CUDA build of torch and triton 3.6 or later; torch \S+ sees no GPU here, so nothing is "
        r"measured and nothing is written\.$"
    )
    with pytest.raises(Unfit, match=sentence):
        find_gpu()


def test_a_gpu_without_bfloat16_is_refused(monkeypatch):
    pretend(monkeypatch, (7, 5))
    sentence = (
        r"^NVIDIA Imaginary has compute capability 7.5 and no bfloat16; benchmarks.gpu needs "
        r"compute capability 8.0 or later; a training runs there with pretrain.precision: fp16 "
        r"and the backend sdpa\.$"
    )
    with pytest.raises(Unfit, match=sentence):
        find_gpu()
