"""A GPU that was asked for and is not there."""

import pytest
import torch

from workflow_scripts.common.device import check_device
from workflow_scripts.common.errors import InputError


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_missing_gpu_is_an_error_and_no_fallback():
    with pytest.raises(InputError, match="device: cuda was asked for but torch sees no GPU"):
        check_device("cuda")
    check_device("cpu")
