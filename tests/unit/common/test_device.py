"""A GPU that was asked for and is not there, and algorithms that repeat every bit."""

import os
from types import SimpleNamespace

import pytest
import torch
from snakemake.iocontainers import Params

from workflow_scripts.common.device import check_bfloat16, check_device, repeat_every_bit
from workflow_scripts.common.errors import InputError
from workflow_scripts.common.job import run

VARIABLE = "CUBLAS_WORKSPACE_CONFIG"


@pytest.fixture(autouse=True)
def as_before(monkeypatch):
    monkeypatch.setenv(VARIABLE, "")  # so that it is restored
    monkeypatch.delenv(VARIABLE)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_missing_gpu_is_an_error_and_no_fallback():
    with pytest.raises(InputError, match="device: cuda was asked for but torch sees no GPU"):
        check_device("cuda")
    check_device("cpu")


def test_a_gpu_without_bfloat16_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla V100")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (7, 0))
    with pytest.raises(InputError) as refused:
        check_bfloat16("cuda", "set pretrain.precision: fp16, or ")
    assert str(refused.value) == (
        "Tesla V100 has compute capability 7.0, and bfloat16 needs 8.0 or later; "
        "set pretrain.precision: fp16, or run on such a GPU"
    )
    check_bfloat16("cpu")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (8, 0))
    check_bfloat16("cuda")


@pytest.mark.parametrize(
    ("deterministic", "params", "expected"),
    [
        (True, {"device": "cpu"}, True),
        (False, {"device": "cpu"}, False),
        (True, {"code": "of a rule without a model"}, False),
    ],
)
def test_a_deterministic_study_is_so_in_every_script_with_a_device(
    deterministic, params, expected, monkeypatch
):
    seen = []
    job = SimpleNamespace(
        config={"deterministic": deterministic},
        params=Params(fromdict=params),
        input=[],
        output=[],
        log=[],
        rule="embed",
    )
    monkeypatch.setattr("workflow_scripts.common.job.end_with_scheduler", lambda: None)
    monkeypatch.setattr("workflow_scripts.common.job.configure_logging", lambda path: None)
    run(lambda _: seen.append(torch.are_deterministic_algorithms_enabled()), {"snakemake": job})
    assert seen == [expected]


def test_what_a_user_has_set_for_cublas_stays(monkeypatch):
    monkeypatch.setenv(VARIABLE, ":16:8")
    repeat_every_bit()
    assert os.environ[VARIABLE] == ":16:8"
