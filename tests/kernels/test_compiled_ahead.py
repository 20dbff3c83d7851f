"""The Triton kernels compile for GPUs that are not here, and fit the shared memory counted on."""

import pytest

from virtues_core.attention import missing

triton = pytest.importorskip("triton", reason="triton has no build for this machine")
GPUTarget = pytest.importorskip("triton.backends.compiler").GPUTarget
ARRAYS = {"_forward": 4, "_backward": 7}  # the first arguments


def compiled(kernel, capability, width, size, dtype="bf16"):
    """Return what Triton makes of a kernel for tensors as `_launch` gives them."""
    given = {"width": width, "WIDTH": width, "SIZE": size, "UPCAST": False}
    kinds = {"tokens": "*i32", "sequences": "*i32", "scale": "fp32"} | dict.fromkeys(
        given, "constexpr"
    )
    kinds |= dict.fromkeys(kernel.arg_names[: ARRAYS[kernel.__name__]], f"*{dtype}")
    signature = {name: kinds.get(name, "i32") for name in kernel.arg_names}
    # Addresses and strides are multiples of 16 bytes.
    even = {
        (i,): [["tt.divisibility", 16]]
        for i, kind in enumerate(signature.values())
        if kind[0] in "*i"
    }
    source = triton.compiler.ASTSource(kernel, signature, given, even)
    options = {"num_warps": size // 16}
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)


@pytest.mark.parametrize(
    "capability, width, size, room",
    [
        (80, 64, 64, missing.SHARED),
        (86, 64, 128, missing.SHARED),
        (90, 64, 128, missing.SHARED),
        (80, 128, 128, missing.MOST_SHARED),
        (90, 128, 128, missing.MOST_SHARED),
    ],
)
def test_shared_memory(capability, width, size, room, tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    from virtues_core.attention import triton_short

    if triton_short.INTERPRETED:
        pytest.skip("TRITON_INTERPRET is set")
    for kernel in (triton_short._forward, triton_short._backward):
        made = compiled(kernel, capability, width, size)
        assert 0 < made.metadata.shared <= room
        assert "mma" in made.asm["ptx"]  # on tensor cores
