"""Models and batches for the tests of virtues_core."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from virtues_core import VirTues, VirTuesConfig, load_weights

SMALL = dict(width=64, feedforward=128, heads=4, encoder="hvhv", decoder="ff")


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def golden(shared):
    return read_golden(shared("golden/g1.npz"))


def read_golden(path):
    """Numbers of the published code for three crops, with 5, 7 and 3 channels."""
    arrays, weights = dict(np.load(path)), path.with_suffix(".safetensors")

    def listed(name):
        return [torch.from_numpy(arrays[f"{name}_{i}"]) for i in range(3)]

    def model(attention="auto"):
        embeddings = torch.from_numpy(arrays["prior_embeddings"])
        model = VirTues(VirTuesConfig(**SMALL, attention=attention), embeddings)
        return load_weights(model, weights)

    return SimpleNamespace(
        arrays=arrays,
        weights=weights,
        listed=listed,
        model=model,
        images=listed("image"),
        channels=listed("channel_ids"),
        masks=listed("mask"),
    )


@pytest.fixture
def small_model():
    """Return a function that builds a model whose biases and norms are not trivial."""

    def build(seed=0, markers=12, **settings):
        torch.manual_seed(seed)
        config = VirTuesConfig(**(SMALL | settings))
        model = VirTues(config, torch.randn(markers, config.marker_width))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.1 * torch.randn_like(parameter)
        return model

    return build


@pytest.fixture
def ragged():
    """A batch with a fully hidden channel, a fully hidden position and a marker on two channels."""
    generator = torch.Generator().manual_seed(5)
    images = [torch.randn(c, 32, 40, generator=generator) for c in (4, 1, 6)]
    channels = [torch.tensor([3, 0, 3, 7]), torch.tensor([11]), torch.arange(6)]
    masks = [torch.rand(c, 4, 5, generator=generator) < 0.7 for c in (4, 1, 6)]
    masks[0][2] = True
    masks[2][:, 1, 3] = True
    return images, channels, masks
