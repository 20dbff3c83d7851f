"""Time and peak memory of a forward pass, each model in a process of its own."""

import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import torch

from virtues_core import VirTues, VirTuesConfig, pack
from workflow_scripts.common.device import check_bfloat16, check_device, repeat_every_bit
from workflow_scripts.common.rivals.camae import Camae, CamaeConfig, parameter_count

ROOT = Path(__file__).resolve().parents[2]
MODELS = ("virtues", "camae")


def build(model, settings, markers):
    """Return a model of so many markers with random weights; `settings` are its sizes."""
    if model == "virtues":
        config = VirTuesConfig.from_dict(settings)
        return VirTues(config, torch.zeros(markers, config.marker_width))
    return Camae(CamaeConfig(**settings), markers)


def parameters(model, settings, markers):
    """Return (all, of the encoder) trained numbers of a model, counted without making them."""
    if model == "camae":
        counts = parameter_count(CamaeConfig(**settings), markers)
        return counts["encoder"] + counts["decoder"], counts["encoder"]
    with torch.device("meta"):
        built = build(model, settings, markers)
    return tuple(sum(p.numel() for p in part.parameters()) for part in (built, built.encoder))


def encoding(model, built, images):
    """Return the function whose call is a forward pass: images [B, C, S, S] with nothing hidden."""
    if model == "camae":
        return lambda: built.features(images)
    channels = [torch.arange(images.shape[1])] * len(images)
    batch = pack(list(images.cpu()), channels, patch=built.config.patch).to(images.device)
    return lambda: built.encode(batch)


def measure(model, settings, markers, run):
    """Return the seconds of every run and the peak memory in bytes of a forward pass.

    `run`: batch, side (px), warm_ups, runs, device, deterministic and threads. Memory is, on a
    GPU, what PyTorch allocated at most, weights included; on a CPU, how much the resident set of a
    new process grew at most from before there was a model. On a GPU the pass is in bfloat16.
    """
    check_device(run["device"])
    check_bfloat16(run["device"])
    # Not multiprocessing: that would import the rule's script in the new process as well.
    done = subprocess.run(
        [sys.executable, "-m", "workflow_scripts.scaling.cost"],
        input=json.dumps([model, settings, markers, run]),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        cwd=ROOT,
    )
    return json.loads(done.stdout)


def forward_passes(model, settings, markers, run):
    """Return what `measure` does, measured in this process."""
    torch.set_num_threads(run["threads"])
    if run["deterministic"]:
        repeat_every_bit()
    torch.manual_seed(0)
    gpu = run["device"] == "cuda"
    before = _resident("VmRSS")
    built = build(model, settings, markers).to(run["device"]).eval()
    images = torch.randn(run["batch"], markers, run["side"], run["side"], device=run["device"])
    forward, seconds = encoding(model, built, images), []
    with torch.inference_mode(), torch.autocast(run["device"], torch.bfloat16, enabled=gpu):
        for _ in range(run["warm_ups"] + run["runs"]):
            start = time.perf_counter()
            forward()
            if gpu:
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - start)
    peak = torch.cuda.max_memory_allocated() if gpu else _resident("VmHWM") - before
    return seconds[run["warm_ups"] :], peak


def _resident(kind):
    """Return the resident set of this process in bytes: VmRSS as it is, VmHWM at its highest."""
    status = Path("/proc/self/status")
    if status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return 1024 * int(lines[kind].split()[0])
    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return highest * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    print(json.dumps(forward_passes(*json.load(sys.stdin))))
