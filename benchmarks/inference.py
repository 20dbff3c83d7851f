"""Tokens of a whole image at paper scale on the CPU, beside the plain model of the same weights.

    python -m benchmarks.inference [--repeats 3] [--quick]

One crop of 40 channels and 128 px is encoded to its patch summary tokens, from which all tokens of
an image are made, ours and the plain model in turn, as in `benchmarks.core_step`. All crops of an
image cost the same, so the time of a 1000 x 1000 px image is that of its crops: side by side for
niches, overlapping for cells. Appends to the table, but for `--quick`, a tiny model that shows that
all of it runs.
"""

import argparse

from benchmarks.common import append
from benchmarks.core_step import PAPER, QUICK, TARGETS, measure
from virtues_core import tile_origins

SIDE, STRIDES = 1000, {"niches": 128, "cells": 42}  # px; strides of embed.crop and embed.stride


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    case = (QUICK if args.quick else PAPER) | {"device": "cpu"}
    size = f"1 x {case['channels']} x {case['side']} px"
    found = measure("summaries", ["plain", "ours"], case, args.repeats)
    rows = [
        {
            "case": f"encoder, summary tokens alone, {size}; baseline plain model",
            "metric": metric,
            "unit": "GB" if metric == "peak" else "s",
            "value": found["ours"][metric],
            "baseline": found["plain"][metric],
            "target": TARGETS.get(("summaries", metric), ""),
        }
        for metric in found["ours"]
    ]
    for what, stride in STRIDES.items():
        crops = len(tile_origins(SIDE, SIDE, PAPER["side"], stride))
        if what == "niches":
            crops = (SIDE // stride) ** 2  # what is left at the border is no niche
        words = f"tokens of {what}, {case['channels']} x {SIDE} x {SIDE} px: {crops} times one crop"
        for metric in ("time", "processor time"):
            ours, plain = (crops * found[who][metric] for who in ("ours", "plain"))
            row = {"case": words, "metric": metric, "unit": "s", "value": ours, "baseline": plain}
            rows.append(row | {"target": TARGETS.get(("summaries", metric), "")})
    if args.quick:
        for row in rows:
            print(row["case"], row["metric"], f"{row['value']:.3g}", f"{row['baseline']:.3g}")
    else:
        append("inference", rows, ["torch"])


if __name__ == "__main__":
    main()
