"""What a backend needs and does not find, said in words that tell what to do.

Each function takes device type, type of numbers and head width, and returns None when nothing is
missing. Nothing of the backend is imported to find out.
"""

import os
import shutil
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

import torch

HALF = (torch.float16, torch.bfloat16)
CAPABILITY = (8, 0)  # Ampere: the first with bfloat16 and with FlashAttention 2
TRITON = (3, 6)  # the oldest that the kernel was tried on
FLASH_ATTN = (2, 5)  # repeatable gradients over packed sequences


def for_anywhere(device_type: str, dtype: torch.dtype, head_width: int) -> None:
    """Miss nothing."""


def for_triton(device_type: str, dtype: torch.dtype, head_width: int) -> str | None:
    """Return what our Triton kernel misses; TRITON_INTERPRET=1 lets it run on a CPU."""
    if find_spec("triton") is None:
        return "the package triton is missing"
    if _release("triton") < TRITON:
        return f"triton {version('triton')} is older than {dotted(TRITON)}"
    if dtype not in (*HALF, torch.float32):
        return f"it takes float16, bfloat16 or float32, not {_short(dtype)}"
    # Beyond, a tile of 128 tokens may not fit the memory of a multiprocessor.
    widest = 128 if dtype in HALF else 64
    if head_width > widest:
        return f"it takes heads of at most {widest} features in {_short(dtype)}, not {head_width}"
    if os.environ.get("TRITON_INTERPRET") == "1":
        return None
    if lack := _gpu(device_type):
        return lack
    if not os.environ.get("CC") and not (shutil.which("gcc") or shutil.which("clang")):
        return "a C compiler (gcc or clang) is missing, which triton needs to start a kernel"
    return None


def for_flash(device_type: str, dtype: torch.dtype, head_width: int) -> str | None:
    """Return what FlashAttention misses, from flash-attn or from PyTorch."""
    if dtype not in HALF:
        return f"it takes float16 or bfloat16, not {_short(dtype)}"
    if head_width > 256 or head_width % 8:
        return f"it takes heads of a multiple of 8 features up to 256, not {head_width}"
    if lack := _gpu(device_type):
        return lack
    if find_spec("flash_attn") is not None:
        if _release("flash_attn") < FLASH_ATTN:
            return f"flash-attn {version('flash_attn')} is older than {dotted(FLASH_ATTN)}"
        return None
    if find_spec("torch.nn.attention.varlen") is None:
        return f"the package flash-attn is missing, and torch {torch.__version__} has no varlen"
    if not torch.backends.cuda.is_flash_attention_available():
        return "the package flash-attn is missing, and torch was built without FlashAttention"
    return None


def _gpu(device_type: str) -> str | None:
    if device_type != "cuda":
        return f"a CUDA device is missing, the tensors are on {device_type}"
    found = torch.cuda.get_device_capability()
    if found < CAPABILITY:
        return f"the GPU has compute capability {dotted(found)}, {dotted(CAPABILITY)} is needed"
    return None


def _release(package: str) -> tuple[int, int]:
    try:
        major, minor = version(package).split(".")[:2]
        return int(major), int(minor)
    except (PackageNotFoundError, ValueError):
        return 0, 0


def dotted(numbers: tuple[int, ...]) -> str:
    """Return a version as it is written, such as 8.0."""
    return ".".join(map(str, numbers))


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
