"""ResNet-50: weights of two layouts, features by an independent network, components, refusals."""

import hashlib

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from workflow_scripts.common.errors import InputError
from workflow_scripts.common.retrieved_weights import retrieve_checkpoint
from workflow_scripts.common.rivals.panels import crops_of, places, shared_panel
from workflow_scripts.common.rivals.projection import Projection
from workflow_scripts.common.rivals.resnet50 import ResNet50Embedder, load_resnet50

RIVAL = {
    "side": 32,
    "scaling": "range",
    "components": 2,
    "fit_niches": 10,
    "seed": 0,
}
SETTINGS = {"crop": 16, "batch": 2, "rival": RIVAL}
DEPTHS = (3, 4, 6, 3)


def widespread_state():
    """Random weights under the names of the widespread checkpoint."""
    g = torch.Generator().manual_seed(0)
    state = {}

    def layer(conv, norm, outputs, inputs, size):
        scale = (2 / (inputs * size * size)) ** 0.5
        state[f"{conv}.weight"] = scale * torch.randn(outputs, inputs, size, size, generator=g)
        for name, shift in (("weight", 0.5), ("bias", 0.0), ("running_mean", 0.0)):
            state[f"{norm}.{name}"] = shift + 0.1 * torch.randn(outputs, generator=g)
        state[f"{norm}.running_var"] = 1 + torch.rand(outputs, generator=g)
        state[f"{norm}.num_batches_tracked"] = torch.tensor(5)

    layer("conv1", "bn1", 64, 3, 7)
    inputs = 64
    for stage, depth in enumerate(DEPTHS, 1):
        width = 64 * 2 ** (stage - 1)
        for block in range(depth):
            name = f"layer{stage}.{block}"
            layer(f"{name}.conv1", f"{name}.bn1", width, inputs, 1)
            layer(f"{name}.conv2", f"{name}.bn2", width, width, 3)
            layer(f"{name}.conv3", f"{name}.bn3", 4 * width, width, 1)
            if block == 0:
                layer(f"{name}.downsample.0", f"{name}.downsample.1", 4 * width, inputs, 1)
            inputs = 4 * width
    state["fc.weight"], state["fc.bias"] = torch.zeros(1000, 2048), torch.zeros(1000)
    return state


def forward(state, x):
    """Pooled features by the plain formula of the network, with its widespread names."""

    def layer(x, conv, norm, stride=1, padding=0):
        x = F.conv2d(x, state[f"{conv}.weight"], stride=stride, padding=padding)
        mean, var, weight, bias = (
            state[f"{norm}.{n}"] for n in ("running_mean", "running_var", "weight", "bias")
        )
        return F.batch_norm(x, mean, var, weight, bias)

    x = F.max_pool2d(F.relu(layer(x, "conv1", "bn1", 2, 3)), 3, 2, 1)
    for stage, depth in enumerate(DEPTHS, 1):
        for block in range(depth):
            name, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            y = F.relu(layer(x, f"{name}.conv1", f"{name}.bn1"))
            y = F.relu(layer(y, f"{name}.conv2", f"{name}.bn2", stride, 1))
            y = layer(y, f"{name}.conv3", f"{name}.bn3")
            if block == 0:
                x = layer(x, f"{name}.downsample.0", f"{name}.downsample.1", stride)
            x = F.relu(x + y)
    return x.mean(dim=(2, 3))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "resnet50.pth"
    torch.save(widespread_state(), path)
    return path


def test_features_are_those_of_the_plain_formula(checkpoint):
    model = load_resnet50(checkpoint)
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        ours = model(x).pooler_output.flatten(1)
        wanted = forward(widespread_state(), x)
    assert wanted.std() > 0.01
    torch.testing.assert_close(ours, wanted, rtol=1e-4, atol=1e-5)


def test_weights_of_this_layout_and_of_the_widespread_one_are_read_alike(checkpoint, tmp_path):
    model = load_resnet50(checkpoint)
    own = {f"resnet.{k}": v for k, v in model.state_dict().items()}
    save_file(own | {"classifier.1.weight": torch.zeros(2, 2)}, tmp_path / "own.safetensors")
    again = load_resnet50(tmp_path / "own.safetensors").state_dict()
    assert all(torch.equal(again[k], v) for k, v in model.state_dict().items())


def test_a_wrong_checksum_or_file_is_refused_in_one_sentence(checkpoint, tmp_path):
    digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    load_resnet50(checkpoint, digest[:8])
    with pytest.raises(InputError, match="SHA-256 is .*, expected 00000000 .*rivals.resnet50.sha"):
        load_resnet50(checkpoint, "00000000")
    (tmp_path / "page.pth").write_text("<html>")
    with pytest.raises(InputError, match="page.pth: not a checkpoint of tensors"):
        load_resnet50(tmp_path / "page.pth")
    save_file({"layer9.0.conv1.weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="tensors are not those of ResNet-50, first"):
        load_resnet50(tmp_path / "other.safetensors")


def test_retrieval_keeps_a_file_only_with_its_checksum(tmp_path):
    source, path = tmp_path / "there.pth", tmp_path / "archive/here.pth"
    source.write_bytes(b"PK weights")
    digest = hashlib.sha256(b"PK weights").hexdigest()
    with pytest.raises(InputError, match="expected ffffffff or one that begins so"):
        retrieve_checkpoint(source.as_uri(), path, "ffffffff", "rivals.resnet50")
    assert list(path.parent.iterdir()) == []
    retrieve_checkpoint(source.as_uri(), path, digest[:8], "rivals.resnet50")
    assert path.read_bytes() == b"PK weights"
    source.write_bytes(b"weights")
    with pytest.raises(InputError, match="begins with b'weights'; .* `rivals.resnet50.weights`"):
        retrieve_checkpoint(source.as_uri(), path, None, "rivals.resnet50")
    # Those of safetensors begin with a length.
    retrieve_checkpoint(source.as_uri(), path.with_suffix(".safetensors"), None, "rivals.resnet50")


def niches(n=4, channels=3):
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, channels, 16, 16)).astype("float32")


def test_niche_tokens_are_components_of_each_channel_by_itself():
    model = load_resnet50("seeded", seed=3)
    embedder = ResNet50Embedder(model, SETTINGS, "cpu")
    crops, panel = niches(), ["A", "B", "C"]
    image = np.concatenate(list(crops), axis=2)  # side by side
    origins = [(0, 16 * i) for i in range(4)]
    assert embedder.embed(image, panel, origins, None).niche is None  # before `fit`
    embedder.fit([(crops[:2], panel), (crops[2:], panel)], panel)
    low, high = crops.min(axis=(0, 2, 3)), crops.max(axis=(0, 2, 3))
    features = embedder.features(crops).reshape(4, 3, 2048)
    x = (torch.tensor(crops[1, 2]) - low[2]) / (high[2] - low[2])
    x = F.interpolate(x[None, None], (32, 32), mode="bilinear").expand(1, 3, -1, -1)
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    deviation = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    with torch.no_grad():
        alone = model((x - mean) / deviation).pooler_output.flatten()
    np.testing.assert_allclose(features[1, 2], alone, rtol=1e-4, atol=1e-5)
    tokens = embedder.embed(image, panel, origins, None)
    assert tokens.patch is tokens.cells is None
    wanted = embedder.projection(features.reshape(4, -1))
    np.testing.assert_allclose(tokens.niche, wanted, rtol=1e-5)
    # Another order of the channels changes nothing.
    turned = embedder.embed(image[[2, 0, 1]], ["C", "A", "B"], origins, None)
    np.testing.assert_allclose(turned.niche, tokens.niche, rtol=1e-5)
    assert embedder.embed(image, panel, [], None).niche.shape == (0, 2)


@pytest.mark.parametrize("sparse", [True, False])
def test_components_find_planted_directions(sparse):
    rng = np.random.default_rng(0)
    factors = rng.normal(size=(200, 2)) * [5, 3]
    loadings = np.zeros((2, 60))
    loadings[0, :10], loadings[1, 30:40] = 1, 1
    features = (factors @ loadings + 0.05 * rng.normal(size=(200, 60))).astype("float32")
    projection = Projection("rivals.x", 2, 0, sparse).fit(features)
    tokens = projection(features)
    found = np.abs(np.corrcoef(tokens.T, factors.T)[:2, 2:])
    assert (found.max(axis=0) > 0.98).all() and tokens.dtype == np.float32
    if sparse:
        assert (projection.model.components_[:, 50:] == 0).all()


def test_too_few_niches_for_the_components_are_refused_in_one_sentence():
    sentence = (
        "rivals.resnet50.components: 9 components need more niches of the train split than the 9 "
        "there are; lower it or leave the cohort out of rivals.resnet50.cohorts"
    )
    with pytest.raises(InputError, match=sentence):
        Projection("rivals.resnet50", 9, 0, True).fit(np.zeros((9, 30), np.float32))


def test_the_shared_panel_keeps_repeats_that_all_have():
    panel = shared_panel([["A", "B", "A", "C"], ["A", "C", "A"], ["C", "A", "A", "D"]])
    assert panel == ["A", "A", "C"] and shared_panel([]) == []
    assert places(panel, ["C", "A", "D", "A"]) == [1, 3, 0]
    image = np.arange(2 * 4 * 4).reshape(2, 4, 4)
    assert (crops_of(image, [(0, 2)], 2)[0] == image[:, :2, 2:]).all()
    assert crops_of(image, [], 2).shape == (0, 2, 2, 2)
