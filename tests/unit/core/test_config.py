"""Configurations are checked when made, and the package imports on a bare machine."""

import json
import subprocess
import sys

import pytest

from virtues_core import VirTuesConfig


def test_defaults_are_the_papers():
    config = VirTuesConfig()
    assert (config.encoder, config.decoder) == ("hvhvhvhvhvhvhvhv", "ffff")
    assert (config.width, config.feedforward, config.heads, config.patch) == (512, 1024, 8, 8)
    assert (config.marker_width, config.attention, config.head_width) == (640, "auto", 64)


def test_json_round_trip():
    config = VirTuesConfig(width=64, heads=2, encoder="hhv", attention="sdpa")
    assert VirTuesConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    "settings, sentence",
    [
        (dict(width=100), "width 100 must be a multiple of heads 8."),
        (dict(width=48), "width / heads must be a multiple of 4 .* 48 / 8 = 6."),
        (dict(patch=0), "patch must be at least 1, not 0."),
        (dict(encoder="hvp"), "encoder must be one or more of the block letters h, v, not 'hvp'."),
        (dict(encoder=""), "encoder must be one or more"),
        (dict(decoder="fh"), "decoder must be one or more of the block letters f, not 'fh'."),
        (dict(attention="flsh"), "attention must be one of auto, triton, .*, not 'flsh'."),
    ],
)
def test_errors(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        VirTuesConfig(**settings)


def test_unknown_setting():
    with pytest.raises(ValueError, match="unknown model settings dropout; known are width, "):
        VirTuesConfig.from_dict({"width": 64, "dropout": 0.1})


def test_import_needs_no_accelerator_packages():
    code = (
        "import sys; sys.modules.update(flash_attn=None, triton=None)\n"
        "import virtues_core, torch; assert not torch.cuda.is_initialized()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
