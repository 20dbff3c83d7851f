"""What it costs to look: encoding, and encoding with importance or an attention map.

    python -m benchmarks.attention_maps [--side 128] [--repeats 3] [--quick]

One crop of 40 channels at paper scale with nothing hidden, on one thread: the encoder alone, the
encoder that also returns the weights of its first marker attention layer, and the encoder with
channel summary tokens and the map of one spatial layer. They are called in turn and the shortest
time counts; target: at most 1.2 of the encoder's. Appends to the table, but for `--quick`, a tiny
model that shows that all of it runs.
"""

import argparse
import time

import torch

from benchmarks.common import append
from virtues_core import VirTues, VirTuesConfig, pack
from virtues_core.inspection import ChannelSummaries, encode_with_marker_attention

QUICK = {"width": 64, "feedforward": 128, "heads": 4, "encoder": "hvhv", "decoder": "f"}
CHANNELS = 40
NAMES = {"importance": "encoder with marker attention", "map": "encoder with an attention map"}


def ways(model, side):
    """Return what is compared, each a function without arguments."""
    images, ids = torch.randn(1, CHANNELS, side, side), torch.arange(CHANNELS)[None]
    batch = pack(list(images), list(ids))
    summaries = ChannelSummaries(model)
    return {
        "encoder": lambda: model.encode(batch),
        "importance": lambda: [w.sum(0) for w in encode_with_marker_attention(model, batch)[1]],
        "map": lambda: summaries(images, ids),
    }


def shortest(functions, repeats):
    """Return the shortest wall and processor time in s of each function, called in turn."""
    found = {name: [] for name in functions}
    for turn in range(repeats + 1):
        for name, function in functions.items():
            start, processor = time.perf_counter(), time.process_time()
            function()
            if turn:  # the first of each warms up
                spent = (time.perf_counter() - start, time.process_time() - processor)
                found[name].append(spent)
    return {name: [min(kind) for kind in zip(*times, strict=True)] for name, times in found.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    config, side = VirTuesConfig(**(QUICK if args.quick else {})), 32 if args.quick else args.side
    model = VirTues(config, torch.randn(CHANNELS, config.marker_width)).eval()
    with torch.inference_mode():
        found = shortest(ways(model, side), args.repeats)
    rows = [
        {
            "case": f"{words}, 1 x {CHANNELS} x {side} px, cpu, one thread; baseline encoder",
            "metric": metric,
            "unit": "s",
            "value": found[name][place],
            "baseline": found["encoder"][place],
            "target": "<= 1.2",
        }
        for name, words in NAMES.items()
        for place, metric in enumerate(("time", "processor time"))
    ]
    if args.quick:
        for row in rows:
            print(row["case"], row["metric"], f"{row['value']:.3g}", f"{row['baseline']:.3g}")
    else:
        append("attention_maps", rows, ["torch"])


if __name__ == "__main__":
    main()
