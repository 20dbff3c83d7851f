"""What a running training says, from clocks and work that the test sets."""

import logging
from types import SimpleNamespace

import pytest
import torch

from workflow_scripts.common.errors import InputError
from workflow_scripts.common.training import watch as module
from workflow_scripts.common.training.watch import Watch, Work, duration, peak_flops


class Board:
    def __init__(self):
        self.told = {}

    def add_scalar(self, name, value, step):
        self.told[name, step] = value

    def flush(self):
        self.flushed = True


@pytest.fixture
def clock(monkeypatch):
    time = SimpleNamespace(now=100.0)
    monkeypatch.setattr(module.time, "monotonic", lambda: time.now)
    return time


def test_a_line_says_loss_rate_speed_share_memory_and_time_left(clock, caplog, monkeypatch):
    monkeypatch.setattr(module, "memory", lambda: 61.24e9)
    board = Board()
    watch = Watch(lambda crops: Work(crops, 250 * crops, 1e12 * crops), 4, 1e13, board)
    batches = [16, InputError("unreadable"), 16]
    assert list(watch.counted(batches)) == batches
    clock.now += 8.0
    with caplog.at_level(logging.INFO):
        watch.tell(60, 100, 50, 0.81234, 2e-4)
    # 32 crops of this process in 8 s, and as many of each of three others; 40 steps at 0.8 s
    assert caplog.messages == [
        "step 60/100, loss 0.8123, lr 0.0002, 16 crops/s, 4e+03 tokens/s, 40 % of peak FLOP/s, "
        "61.2 GB, 32 s left"
    ]
    assert board.flushed and board.told["loss", 60] == 0.81234
    assert board.told["share_of_peak", 60] == pytest.approx(0.4)
    clock.now += 4.0
    assert list(watch.counted([8]))
    with caplog.at_level(logging.INFO):
        watch.tell(100, 100, 60, 0.5, 0.0)
    assert "step 100/100, loss 0.5000, lr 0, 8 crops/s" in caplog.messages[1]  # counted anew


@pytest.mark.parametrize(
    ("name", "precision", "peak"),
    [
        ("NVIDIA A100-SXM4-80GB", "fp16", 312e12),
        ("NVIDIA H100 80GB HBM3", "bf16", 989e12),
        ("NVIDIA H200", "bf16", 989e12),
        ("NVIDIA H200", "fp32", None),
        ("A card of next year", "bf16", None),
    ],
)
def test_the_peak_is_that_of_a_known_device_or_none(monkeypatch, name, precision, peak):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: name)
    assert peak_flops("cuda", precision) == peak
    assert peak_flops("cpu", precision) is None


def test_a_duration_is_told_in_the_unit_that_suits_it():
    assert [duration(s) for s in (0.4, 89, 600, 7200)] == ["0 s", "89 s", "10 min", "2.0 h"]


def test_memory_is_that_of_this_process_without_a_gpu():
    assert 1e7 < module.memory() < 1e12
