"""What `benchmarks.gpu` checks; each section returns rows, and leaves failures with the bench."""

from pathlib import Path

import torch

from benchmarks import checks, curves, model_checks
from benchmarks.core_step import build
from benchmarks.gpu_bench import HALF, compiler
from tests.unit.core.conftest import read_golden
from virtues_core.attention import attend_packed

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = [folder / "shared/golden/g1.npz" for folder in (ROOT, ROOT.parent)]


def check_kernels(bench):
    """Check every backend in both half precisions, ragged lengths, forward and all gradients."""
    rows = []
    for backend in bench.backends:
        for name, dtype in HALF.items():
            case = f"attention, {backend}, {name}"
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
        seeds = bench.sizes["seeds"]
        value, where = model_checks.model_excess(backend, bench.kind, dtype, seeds, compiled)
        row = {"case": case, "metric": "error over that of the plain model", "value": value}
        rows.append(bench.judged(row, 2, f"in the gradient of {where}"))
        if not compiled:
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
    for backend in bench.backends:
        for name, dtype in HALF.items():
            value, where = model_checks.golden_excess(golden, backend, bench.kind, dtype)
            row = {"case": f"numbers of the published code, {backend}, {name}", "value": value}
            row |= {"metric": "error over that of the plain model"}
            rows.append(bench.judged(row, 2, f"in {where}"))
    return rows


def check_waits(bench):
    """Check that the host never waits for the GPU within a training step."""
    if bench.kind != "cuda":
        print("whether a step waits for the device is left out: a CPU does not say.")
        return []
    step = build("step", "ours", bench.sizes["step"] | {"device": bench.kind, "crops": 1})
    step()
    torch.cuda.set_sync_debug_mode("error")
    try:
        step()
        waits, where = 0.0, ""
    except RuntimeError as error:
        waits, where = 1.0, str(error).splitlines()[0]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    row = {"case": "training step, ours", "metric": "steps that wait for the device"}
    return [bench.judged(row | {"value": waits}, 0, where)]


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
