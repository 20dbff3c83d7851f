"""Weights survive both layouts, and a file that does not fit is refused in one sentence."""

import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import virtues_core
from virtues_core import VirTuesConfig, load_weights, save_weights


def state_equal(a, b):
    return all(a.state_dict()[key].equal(value) for key, value in b.state_dict().items())


@pytest.mark.parametrize("layout", ["ours", "published"])
def test_round_trip(small_model, tmp_path, layout):
    model, other = small_model(seed=1), small_model(seed=2)
    assert not state_equal(model, other)
    save_weights(model, tmp_path / "w.safetensors", layout)
    assert load_weights(other, tmp_path / "w.safetensors") is other
    assert state_equal(model, other)
    assert [path.name for path in tmp_path.iterdir()] == ["w.safetensors"]
    with safe_open(tmp_path / "w.safetensors", "pt") as file:
        config = VirTuesConfig.from_dict(json.loads(file.metadata()["config"]))
    assert config == model.config


def test_published_file_comes_back_as_it_was(golden, tmp_path):
    save_weights(golden.model(), tmp_path / "w.safetensors", "published")
    theirs, ours = load_file(golden.weights), load_file(tmp_path / "w.safetensors")
    assert theirs.keys() == ours.keys()
    for key, tensor in theirs.items():
        if "rope1d" in key:
            torch.testing.assert_close(ours[key], tensor, atol=1e-4, rtol=0)
        else:
            assert ours[key].equal(tensor), key


def test_marker_embeddings_are_not_weights(small_model):
    assert "marker_embeddings" in dict(small_model().named_buffers())
    assert not any("marker_embeddings" in key for key in small_model().state_dict())


def test_grouped_blocks(small_model, tmp_path):
    settings = dict(encoder="hhv", decoder="ff")
    model, other = small_model(seed=1, **settings), small_model(seed=2, **settings)
    path = tmp_path / "w.safetensors"
    save_weights(model, path, "published")
    names = {
        "encoder.encoder.0.encoder_layer.": "encoder.encoder.0.encoder_layer.layers.0.",
        "encoder.encoder.1.encoder_layer.": "encoder.encoder.0.encoder_layer.layers.1.",
        "encoder.encoder.2.encoder_layer.": "encoder.encoder.1.encoder_layer.",
        "decoder.decoder.0.encoder_layer.": "decoder.decoder.0.encoder_layer.layers.0.",
        "decoder.decoder.1.encoder_layer.": "decoder.decoder.0.encoder_layer.layers.1.",
    }
    grouped = {}
    for key, tensor in load_file(path).items():
        prefix = next((prefix for prefix in names if key.startswith(prefix)), "")
        grouped[names.get(prefix, "") + key.removeprefix(prefix)] = tensor
    save_file(grouped, path)
    assert state_equal(model, load_weights(other, path))


def edited(model, path, layout, edit):
    save_weights(model, path, layout)
    tensors = load_file(path)
    edit(tensors)
    save_file(tensors, path)
    return path


OUR_KEY = "decoder.blocks.0.attention.qkv.bias"
THEIR_KEY = "decoder.decoder.0.encoder_layer.multi_head_attention.W_k.bias"


@pytest.mark.parametrize("layout, key", [("ours", OUR_KEY), ("published", THEIR_KEY)])
def test_strict(small_model, tmp_path, layout, key):
    model = small_model()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    def edit(tensors):
        tensors.pop(key)
        tensors["encoder.register"] = torch.zeros(3)
        tensors["encoder.masked_token"] = torch.zeros(32)

    path = edited(model, tmp_path / "w.safetensors", layout, edit)
    with pytest.raises(ValueError) as error:
        load_weights(model, path)
    assert str(error.value) == (
        f"{path} does not fit the model: missing: {key}; unexpected: encoder.register; "
        "of other shape: encoder.masked_token ([32] in the file, [64] in the model)."
    )
    assert all(model.state_dict()[name].equal(tensor) for name, tensor in before.items())


def test_long_lists_are_cut(small_model, tmp_path):
    path = tmp_path / "w.safetensors"
    save_weights(small_model(encoder="hv"), path)
    with pytest.raises(ValueError, match=r"missing: encoder\.blocks\.2.* and 20 more\.$"):
        load_weights(small_model(), path)


def test_other_rotary_positions(small_model, tmp_path):
    def edit(tensors):
        for key in tensors:
            if key.endswith("decoder.1.encoder_layer.multi_head_attention.pos_emb.rope1d.sin"):
                tensors[key] = tensors[key].flip(0)

    path = edited(small_model(), tmp_path / "w.safetensors", "published", edit)
    with pytest.raises(ValueError, match="other rotary positions, as decoder.decoder.1.*sin shows"):
        load_weights(small_model(), path)


def test_pickles_are_refused(small_model, tmp_path):
    class Trap:
        def __reduce__(self):
            return Path.touch, (tmp_path / "sprung",)

    path = tmp_path / "w.pt"
    path.write_bytes(pickle.dumps({"encoder.masked_token": Trap()}))
    with pytest.raises(ValueError, match="w.pt is not a complete safetensors file"):
        load_weights(small_model(), path)
    assert not (tmp_path / "sprung").exists()
    for source in Path(virtues_core.__file__).parent.rglob("*.py"):
        assert "pickle" not in source.read_text() and "torch.load" not in source.read_text()


def test_cut_file(small_model, tmp_path):
    path = tmp_path / "w.safetensors"
    save_weights(small_model(), path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="not a complete safetensors file"):
        load_weights(small_model(), path)


def test_unknown_layout(small_model, tmp_path):
    with pytest.raises(ValueError, match="layout must be one of ours, published, not 'theirs'"):
        save_weights(small_model(), tmp_path / "w.safetensors", "theirs")
