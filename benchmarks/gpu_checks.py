"""What `benchmarks.gpu` checks; each section returns rows, and leaves failures with the bench."""

import tempfile
from itertools import product
from pathlib import Path

import torch

from benchmarks import checks, curves, model_checks
from benchmarks.core_step import make_batch
from benchmarks.gpu_bench import HALF, compiler
from tests.unit.core.conftest import read_golden
from virtues_core import VirTues, VirTuesConfig
from virtues_core.attention import attend_packed
from workflow_scripts.common.training.checkpoint import Checkpoint
from workflow_scripts.common.training.loop import train
from workflow_scripts.pretrain.instance import GroupedLoss

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = [folder / "shared/golden/g1.npz" for folder in (ROOT, ROOT.parent)]


def check_kernels(bench):
    """Check every backend in both half precisions, ragged lengths, forward and all gradients."""
    rows = []
    for backend, (name, dtype) in product(bench.backends, HALF.items()):
        case = f"attention, {backend}, {name}"
        with bench.going_on(case):
            value, where = checks.excess(backend, bench.kind, dtype, bench.sizes["lengths"])
            row = {"case": case, "metric": "error over that of plain attention", "value": value}
            rows.append(bench.judged(row, 2, f"at {where}"))
            same = checks.repeats_itself(backend, bench.kind, dtype)
            row = {"case": case, "metric": "runs that differ", "value": float(not same)}
            rows.append(bench.judged(row, 0, "under deterministic algorithms"))
    return rows


def check_models(bench):
    """Check the whole model likewise against its plain version; compiled too, if that can be."""
    rows = []
    runs = [(backend, name, False) for backend in bench.backends for name in HALF]
    if bench.kind == "cuda" and compiler():
        runs.append(("auto", "bf16", True))
    for backend, name, compiled in runs:
        dtype = HALF[name]
        case = f"model, {backend}{', compiled' if compiled else ''}, {name}"
        with bench.going_on(case):
            seeds = bench.sizes["seeds"]
            value, where = model_checks.model_excess(backend, bench.kind, dtype, seeds, compiled)
            row = {"case": case, "metric": "error over that of the plain model", "value": value}
            rows.append(bench.judged(row, 2, f"in the gradient of {where}"))
        if not compiled:
            with bench.going_on(case):
                same = model_checks.model_repeats_itself(backend, bench.kind, dtype)
                row = {"case": case, "metric": "runs that differ", "value": float(not same)}
                rows.append(bench.judged(row, 0, "under deterministic algorithms"))
    return rows


def check_golden(bench):
    """Check the model against the numbers of the published code, where these are at hand."""
    path = next((p for p in GOLDEN if p.exists()), None)
    if path is None:
        print("the numbers of the published code are not at hand: that check is left out.")
        return []
    golden, rows = read_golden(path), []
    for backend, (name, dtype) in product(bench.backends, HALF.items()):
        case = f"numbers of the published code, {backend}, {name}"
        with bench.going_on(case):
            value, where = model_checks.golden_excess(golden, backend, bench.kind, dtype)
            row = {"case": case, "value": value}
            row |= {"metric": "error over that of the plain model"}
            rows.append(bench.judged(row, 2, f"in {where}"))
    return rows


class Watched:
    """Micro-batches of three steps; `mode` says of each whether the host may wait in it."""

    per_step = 2

    def __init__(self, micro_batch, mode):
        self.micro_batch, self.mode = micro_batch, mode

    def stream(self, first_step):
        """Yield them; in the first and the last step a training has to look at its numbers."""
        for step in range(3):
            self.mode("error" if step == 1 else "default")
            yield from [self.micro_batch] * self.per_step

    def describe(self, step, place):
        """Return the crops of a micro-batch in words."""
        return f"micro-batch {place} of step {step}"


def check_waits(bench, mode=None):
    """Check that the host never waits for the GPU within a step of the training loop."""
    on_gpu = bench.kind == "cuda"
    if not on_gpu:
        print("whether a step waits for the device is run and not judged: a CPU does not say.")
    mode = mode or (torch.cuda.set_sync_debug_mode if on_gpu else lambda mode: None)
    case, rows = bench.sizes["step"] | {"crops": 2}, []
    batch = make_batch(case, masked=True, round_up=True)
    batch = batch.pin_memory() if on_gpu else batch
    for precision in HALF:
        torch.manual_seed(0)
        config = VirTuesConfig(**case["model"])
        model = VirTues(config, torch.randn(case["channels"], config.marker_width)).to(bench.kind)
        settings = curves.SETTINGS | {"precision": precision, "log_every": 3}
        objective, batches = GroupedLoss(model, bench.kind), Watched(batch, mode)
        waits, where = 0.0, ""
        try:
            with tempfile.TemporaryDirectory() as place:
                train(model, objective, batches, 3, settings, bench.kind, Checkpoint(place, {}))
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            waits, where = 1.0, str(error).splitlines()[0]
        finally:
            mode("default")
        row = {"case": f"training loop, {precision}", "metric": "steps that wait for the device"}
        rows.append(bench.judged(row | {"value": waits}, 0, where))
    return rows if on_gpu else []


def other_heads(bench):
    """Attend with heads that the kernel does not take: another backend does, and logs why."""
    width = 160
    qkv, layout = checks.make([5, 70, 2], bench.kind, torch.bfloat16, head_width=width)
    out = attend_packed(*qkv.unbind(1), layout, "auto")
    expected = attend_packed(*qkv.unbind(1), layout, "reference")
    error = (out - expected).abs().max().item() / expected.abs().max().item()
    row = {"case": f"attention, heads of {width}, bf16, auto", "metric": "relative error"}
    bound = 4 * torch.finfo(torch.bfloat16).eps
    return [bench.judged(row | {"value": error}, bound, "beside the reference")]


def pretraining(bench):
    """Compare the losses of a short pretraining with those in float32 on CPUs."""
    return curves.measure(bench.kind, bench.sizes["steps"])
