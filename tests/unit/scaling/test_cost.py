"""What is measured: time, memory and parameters; sizes of the paper on the meta device."""

import pytest
import torch

from workflow_scripts.common.errors import InputError
from workflow_scripts.common.rivals.camae import Camae, CamaeConfig
from workflow_scripts.scaling import cost

SMALL = {
    "virtues": dict(width=32, feedforward=32, heads=2, encoder="hv", decoder="f"),
    "camae": dict(width=24, depth=1, heads=2, decoder_width=32, decoder_depth=1, decoder_heads=2),
}
RUN = {"batch": 3, "side": 32, "warm_ups": 1, "runs": 4, "threads": 1}
RUN |= {"device": "cpu", "deterministic": False}


@pytest.mark.parametrize("model", cost.MODELS)
def test_a_model_is_measured_in_a_process_of_its_own(model):
    seconds, memory = cost.measure(model, SMALL[model], 2, RUN)
    assert len(seconds) == 4 and min(seconds) > 0
    assert 1e5 < memory < 1e8  # not the 200 MB of PyTorch itself


def test_memory_grows_with_the_markers():
    run = RUN | {"batch": 64, "side": 64, "warm_ups": 0, "runs": 1}
    memory = cost.measure("virtues", SMALL["virtues"], 8, run)[1]
    # The tokens that enter the first block and leave it, with 64 patches of 8 channels.
    assert memory > 2 * 64 * 64 * 8 * 32 * 4


@pytest.mark.parametrize("model", cost.MODELS)
def test_a_forward_pass_is_the_encoder_with_nothing_hidden(model):
    torch.manual_seed(0)
    built = cost.build(model, SMALL[model], 2).eval()
    images = torch.randn(3, 2, 32, 32)
    with torch.inference_mode():
        out = cost.encoding(model, built, images)()
        if model == "camae":
            torch.testing.assert_close(out, built.features(images))
        else:
            expected = built.encode(list(images), [torch.arange(2)] * 3)
            torch.testing.assert_close(out.all_tokens, expected.all_tokens)


def test_parameters_at_the_sizes_of_the_paper():
    """CA-MAE grows with every marker and has 24 times those of VirTues at 40 (C010: 25)."""
    ours = [cost.parameters("virtues", {}, markers) for markers in (10, 20, 40)]
    theirs = [cost.parameters("camae", {}, markers) for markers in (10, 20, 40)]
    assert len(set(ours)) == 1 and ours[0][0] > ours[0][1]
    assert len({encoder for _, encoder in theirs}) == 1
    assert 24 < theirs[-1][0] / ours[-1][0] < 26
    with torch.device("meta"):
        built = Camae(CamaeConfig(), 10)
    assert sum(p.numel() for p in built.parameters()) == theirs[0][0]


def test_parameters_are_those_of_a_model():
    built = cost.build("virtues", SMALL["virtues"], 3)
    assert cost.parameters("virtues", SMALL["virtues"], 3) == (
        sum(p.numel() for p in built.parameters()),
        sum(p.numel() for p in built.encoder.parameters()),
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_told():
    with pytest.raises(InputError, match="cuda was asked for but torch sees no GPU"):
        cost.measure("virtues", SMALL["virtues"], 2, RUN | {"device": "cuda"})
