"""Time one training step of a small model on the CPU: forward, loss, backward and AdamW.

    python -m benchmarks.core_step [--threads 2] [--channels 19] [--side 64] [--profile]

Prints the median and the quickest step in seconds and the time to pack a batch. The batch is
8 crops; masks hide 60 to 100 % of the patches of a channel.
"""

import argparse
import statistics
import time

import torch

from virtues_core import VirTues, VirTuesConfig, independent_mask, loss, pack


def make_batch(crops, channels, side, generator):
    images = [torch.randn(channels, side, side, generator=generator) for _ in range(crops)]
    ids = [torch.randperm(40, generator=generator)[:channels] for _ in range(crops)]
    grid = (side // 8, side // 8)
    masks = [independent_mask(channels, grid, generator=generator) for _ in range(crops)]
    return images, ids, masks


def step(model, optimiser, batch):
    optimiser.zero_grad()
    loss(model(batch), batch).backward()
    optimiser.step()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--crops", type=int, default=8)
    parser.add_argument("--channels", type=int, default=19)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--encoder", default="hvhv")
    parser.add_argument("--decoder", default="ff")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--profile", action="store_true")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    config = VirTuesConfig(
        width=args.width,
        feedforward=2 * args.width,
        heads=args.heads,
        encoder=args.encoder,
        decoder=args.decoder,
    )
    model = VirTues(config, torch.randn(40, config.marker_width))
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-4, fused=True)
    generator = torch.Generator().manual_seed(0)

    seconds, packing = [], []
    for i in range(args.steps + 3):
        crops = make_batch(args.crops, args.channels, args.side, generator)
        start = time.perf_counter()
        batch = pack(*crops)
        packed = time.perf_counter()
        step(model, optimiser, batch)
        if i >= 3:  # the first steps warm up allocator and threads
            packing.append(packed - start)
            seconds.append(time.perf_counter() - packed)
    print(
        f"{args.threads} threads: step {statistics.median(seconds):.4f} s "
        f"(quickest {min(seconds):.4f}), packing {statistics.median(packing):.4f} s"
    )
    if args.profile:
        with torch.profiler.profile() as profile:
            for _ in range(5):
                step(model, optimiser, batch)
        print(profile.key_averages().table(sort_by="self_cpu_time_total", row_limit=25))


if __name__ == "__main__":
    main()
