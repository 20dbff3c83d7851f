"""What a backend needs and does not find, said in words that tell what to do.

Each function takes device type, type of numbers and head width, and returns None when nothing is
missing. Nothing of the backend is imported to find out.
"""

import os
import shutil
import sysconfig
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import torch

HALF = (torch.float16, torch.bfloat16)
CAPABILITY = (8, 0)  # Ampere: the first with bfloat16 and with FlashAttention 2
TRITON = (3, 6)  # the oldest that the kernel was tried on
FLASH_ATTN = (2, 5)  # repeatable gradients over packed sequences
# Bytes of shared memory that the Triton kernel's largest block takes with heads of 64 and of 128;
# A10, L40S and the like have 99 KB, A100 163, H100 227 (tests/kernels/test_compiled_ahead.py).
SHARED, MOST_SHARED = 98 * 1024, 160 * 1024


def for_anywhere(device_type: str, dtype: torch.dtype, head_width: int) -> None:
    """Miss nothing."""


def for_triton(device_type: str, dtype: torch.dtype, head_width: int) -> str | None:
    """Return what our Triton kernel misses; TRITON_INTERPRET=1 lets it run on a CPU."""
    if find_spec("triton") is None:
        return "the package triton is missing"
    if _release("triton") < TRITON:
        return f"triton {_version('triton')} is older than {dotted(TRITON)}"
    interpreted = os.environ.get("TRITON_INTERPRET") == "1"
    # Interpreted it shows its arithmetic; on a GPU its float32 would spill every register.
    if dtype not in HALF and not (interpreted and dtype == torch.float32):
        return f"it takes float16 or bfloat16, not {_short(dtype)}"
    if head_width > 128:
        return f"it takes heads of at most 128 features, not {head_width}"
    if interpreted:
        return None
    if lack := _gpu(device_type):
        return lack
    room, needed = shared_memory(), MOST_SHARED if head_width > 64 else SHARED
    if room < needed:
        return (
            f"heads of {head_width} need {needed // 1024} KB of shared memory, and the GPU has "
            f"{room // 1024}"
        )
    return compiler()


def compiler() -> str | None:
    """Return what is missing to compile what starts a kernel, for Triton and torch.compile."""
    if not os.environ.get("CC") and not (shutil.which("gcc") or shutil.which("clang")):
        return "a C compiler (gcc or clang) is missing, which triton needs to start a kernel"
    headers = Path(sysconfig.get_paths()["include"])
    if not (headers / "Python.h").exists():
        return f"Python.h is missing in {headers}, which triton needs to start a kernel"
    return None


def for_flash(device_type: str, dtype: torch.dtype, head_width: int) -> str | None:
    """Return what FlashAttention misses, from flash-attn or from PyTorch."""
    if dtype not in HALF:
        return f"it takes float16 or bfloat16, not {_short(dtype)}"
    if head_width > 256 or head_width % 8:
        return f"it takes heads of a multiple of 8 features up to 256, not {head_width}"
    if lack := _gpu(device_type):
        return lack
    lack = flash_attn()
    if lack is None or torch.backends.cuda.is_flash_attention_available():
        return None
    return f"{lack}, and torch was built without FlashAttention"


def flash_attn() -> str | None:
    """Return what is wrong with the package flash-attn, without importing it."""
    if find_spec("flash_attn") is None:
        return "the package flash-attn is missing"
    if _release("flash_attn") < FLASH_ATTN:
        return f"flash-attn {_version('flash_attn')} is older than {dotted(FLASH_ATTN)}"
    return None


def shared_memory() -> int:
    """Return the bytes of shared memory that a block may have on the GPU."""
    reserved = 1024  # by CUDA, of those of a multiprocessor
    return torch.cuda.get_device_properties().shared_memory_per_multiprocessor - reserved


def _gpu(device_type: str) -> str | None:
    if device_type != "cuda":
        return f"a CUDA device is missing, the tensors are on {device_type}"
    found = torch.cuda.get_device_capability()
    if found < CAPABILITY:
        return f"the GPU has compute capability {dotted(found)}, {dotted(CAPABILITY)} is needed"
    return None


def _release(package: str) -> tuple[int, int]:
    try:
        major, minor = _version(package).split(".")[:2]
        return int(major), int(minor)
    except ValueError:
        return 0, 0


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # a module of that name which another package brought
        return "of unknown version"


def dotted(numbers: tuple[int, ...]) -> str:
    """Return a version as it is written, such as 8.0."""
    return ".".join(map(str, numbers))


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
