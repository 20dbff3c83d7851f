"""The backends agree with each other and with attention written as one masked product."""

import logging
from importlib.metadata import PackageNotFoundError
from types import SimpleNamespace

import pytest
import torch

from virtues_core.attention import api, attend, attend_packed, missing, plan_layout

CPU = ("sdpa", "reference")  # Triton's interpreter has tests of its own in tests/kernels
LENGTHS = {
    "one token": [1],
    "ones": [1] * 9,
    "equal": [8] * 6,
    "padding behind the last": [4, 1],
    "short": [3, 1, 2, 7, 11, 5, 1, 13],
    "mixed": [64, 64, 1, 2, 17, 31, 33, 64, 127, 130, 5],
}


@pytest.fixture
def fresh_choice(monkeypatch):
    monkeypatch.setattr(api, "MODULES", {})
    api._first.cache_clear()
    yield
    api._first.cache_clear()


def make(lengths, shuffled, heads=3, head_width=8, dtype=torch.float32):
    generator = torch.Generator().manual_seed(len(lengths))
    tokens = sum(lengths)
    order = torch.randperm(tokens, generator=generator) if shuffled else None
    layout = plan_layout(torch.tensor(lengths), order)
    qkv = torch.randn(3, tokens, heads, head_width, generator=generator).to(dtype)
    return qkv, layout


def in_one_product(qkv, layout):
    """Attention over all tokens at once, in float64, with -inf between sequences."""
    lengths = layout.offsets.diff()
    sequence = torch.arange(len(lengths)).repeat_interleave(lengths)
    if layout.order is not None:
        sequence = torch.empty_like(sequence).index_copy_(0, layout.order, sequence)
    q, k, v = qkv.double().transpose(1, 2)
    scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    scores = scores.masked_fill(sequence[:, None] != sequence, -torch.inf)
    return (scores.softmax(-1) @ v).transpose(0, 1)


@pytest.mark.parametrize("backend", CPU)
@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize("name", LENGTHS)
def test_packed(backend, shuffled, name):
    qkv, layout = make(LENGTHS[name], shuffled)
    ours, plain = qkv.clone().requires_grad_(), qkv.clone().requires_grad_()
    out, expected = attend_packed(*ours, layout, backend), in_one_product(plain, layout)
    torch.testing.assert_close(out.double(), expected, atol=2e-6, rtol=0)

    direction = torch.randn_like(out)
    out.backward(direction)
    expected.backward(direction.double())
    torch.testing.assert_close(ours.grad, plain.grad, atol=5e-6, rtol=0)


@pytest.mark.parametrize("backend", CPU)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_packed_in_half_precision(backend, dtype):
    qkv, layout = make(LENGTHS["mixed"], shuffled=True, dtype=dtype)
    out, exact = attend_packed(*qkv, layout, backend), in_one_product(qkv, layout)
    assert out.dtype == dtype
    # Rounding the exact result costs up to half a unit; allow for two units.
    assert (out.double() - exact).abs().max() < 2 * torch.finfo(dtype).eps * exact.abs().max()


@pytest.mark.parametrize("backend", CPU)
def test_fewer_queries_than_keys(backend):
    q, k, v = torch.randn(3, 5, 12, 2, 8, generator=torch.Generator().manual_seed(0))
    everything = attend(q, k, v, backend)
    torch.testing.assert_close(attend(q[:, -4:], k, v, backend), everything[:, -4:])
    torch.testing.assert_close(everything, attend(q, k, v, "reference"), atol=2e-6, rtol=0)


def test_choice_of_backend_is_compiled_away(fresh_choice):
    qkv, layout = make(LENGTHS["short"], shuffled=True)
    compiled = torch.compile(attend_packed, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(*qkv, layout), attend_packed(*qkv, layout))


def test_sequences_share_buckets_of_similar_length():
    lengths = torch.randint(1, 300, (500,), generator=torch.Generator().manual_seed(0))
    layout = plan_layout(lengths)
    assert layout.padded < 1.2 * lengths.sum()
    assert len(layout.buckets) < 30
    assert layout.slots.unique().numel() == lengths.sum()


def test_equal_sequences_are_not_copied():
    layout = plan_layout(torch.tensor([7, 7, 7]))
    assert layout.slots is None and layout.buckets[0].real is None


def unpacked(tiles):
    """The packed tokens of each sequence of the tiles, in the order of their slots."""
    tokens, sequences = tiles.tokens.flatten(), tiles.sequences.flatten()
    return {int(i): tokens[sequences == i].tolist() for i in sequences[sequences >= 0].unique()}


@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize("name", LENGTHS)
def test_tiles_hold_whole_sequences(name, shuffled):
    _, layout = make(LENGTHS[name], shuffled)
    order = torch.arange(sum(LENGTHS[name])) if layout.order is None else layout.order
    expected = [tokens.tolist() for tokens in order.split(LENGTHS[name])]
    tiles = layout.tiles
    assert unpacked(tiles) == {i: t for i, t in enumerate(expected) if len(t) <= 128}
    assert ((tiles.tokens == -1) == (tiles.sequences == -1)).all()
    for i in unpacked(tiles):
        assert (tiles.sequences == i).any(1).sum() == 1  # in one tile
    long = [token for t in expected if len(t) > 128 for token in t]
    assert (tiles.long is not None) == bool(long)
    if long:
        assert tiles.long_tokens.tolist() == long and tiles.long.tiles is None


def test_tiles_are_filled_greedily():
    tokens = plan_layout(torch.tensor([30, 34, 1, 60, 4, 64])).tiles.tokens
    assert (tokens >= 0).sum(1).tolist() == [64, 61, 4, 64]


@pytest.mark.parametrize("length, size", [(9, 64), (41, 64), (64, 64), (65, 128)])
def test_size_of_tiles(length, size):
    assert plan_layout(torch.full((300,), length)).tiles.tokens.shape[1] == size


def test_few_short_sequences_get_no_tiles():
    assert plan_layout(torch.tensor([129, 300])).tiles is None
    assert plan_layout(torch.tensor([300] + [1] * 299)).tiles is None
    assert plan_layout(torch.tensor([300] + [1] * 300)).tiles is not None


def test_choice_is_logged_once_with_its_reason(caplog, fresh_choice):
    x = torch.zeros(1, 2, 1, 4)
    with caplog.at_level(logging.INFO):
        attend(x, x, x, "reference")
        attend(x, x, x, "reference")
    assert caplog.messages == [
        "attention on cpu in torch.float32, heads of 4: reference "
        "(the configuration asks for reference)"
    ]


def test_variable_goes_first(monkeypatch):
    x = torch.zeros(1)
    monkeypatch.setenv("VIRTUES_ATTENTION", "reference")
    assert api.select("sdpa", x).__name__ == "virtues_core.attention.reference"
    monkeypatch.delenv("VIRTUES_ATTENTION")
    assert api.select("auto", x).__name__ == "virtues_core.attention.sdpa"


def test_unknown_backend_names_the_allowed(monkeypatch):
    monkeypatch.setenv("VIRTUES_ATTENTION", "flsh")
    with pytest.raises(
        ValueError,
        match="VIRTUES_ATTENTION asks for .* 'flsh'; allowed are auto, triton, flash, sdpa",
    ):
        api.select("auto", torch.zeros(1))


def test_missing_backend(monkeypatch, caplog, fresh_choice):
    lacking = api.Backend("nowhere", lambda *kind: "the package nowhere is missing")
    monkeypatch.setattr(api, "BACKENDS", {"nowhere": lacking} | api.BACKENDS)
    monkeypatch.setattr(api, "ELSEWHERE", ("nowhere", "sdpa"))
    with pytest.raises(ValueError, match="cannot run on cpu .*: the package nowhere is missing;"):
        api.select("nowhere", torch.zeros(1))
    with caplog.at_level(logging.INFO):
        assert api.select("auto", torch.zeros(1)).__name__.endswith("sdpa")
    assert "nowhere passed over: the package nowhere is missing" in caplog.text


@pytest.mark.parametrize(
    "name, dtype, width, hidden, sentence",
    [
        ("triton", torch.float16, 64, "triton", "the package triton is missing"),
        ("triton", torch.float32, 64, "", "it takes float16 or bfloat16, not float32"),
        ("triton", torch.bfloat16, 160, "", "at most 128 features, not 160"),
        ("triton", torch.float16, 64, "", "a CUDA device is missing, the tensors are on cpu"),
        ("flash", torch.float32, 64, "", "it takes float16 or bfloat16, not float32"),
        ("flash", torch.float16, 12, "", "a multiple of 8 features up to 256, not 12"),
        ("flash", torch.float16, 64, "", "a CUDA device is missing, the tensors are on cpu"),
    ],
)
def test_what_is_missing_is_named(name, dtype, width, hidden, sentence, monkeypatch, fresh_choice):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(missing, "_release", lambda package: (9, 9))
    monkeypatch.setattr(missing, "find_spec", lambda package: None if package == hidden else 1)
    with pytest.raises(ValueError, match=f"asks for {name}, .*cannot run on cpu.*{sentence}"):
        api.select(name, torch.zeros(2, 1, width, dtype=dtype))


def test_old_versions_are_refused(monkeypatch):
    monkeypatch.setattr(missing, "find_spec", lambda package: 1)
    monkeypatch.setattr(missing, "version", lambda package: "2.1.0")
    monkeypatch.setattr(missing, "_gpu", lambda device_type: None)
    assert "triton 2.1.0 is older than 3.6" in missing.for_triton("cuda", torch.float16, 64)
    old = "flash-attn 2.1.0 is older than 2.5, and torch was built without FlashAttention"
    monkeypatch.setattr(torch.backends.cuda, "is_flash_attention_available", lambda: False)
    assert missing.for_flash("cuda", torch.float16, 64) == old
    # PyTorch's own takes its place where there is one.
    monkeypatch.setattr(torch.backends.cuda, "is_flash_attention_available", lambda: True)
    assert missing.for_flash("cuda", torch.float16, 64) is None


def test_a_module_that_no_package_of_its_name_brought(monkeypatch):
    def unknown(package):
        raise PackageNotFoundError(package)

    monkeypatch.setattr(missing, "find_spec", lambda package: 1)
    monkeypatch.setattr(missing, "version", unknown)
    assert missing.flash_attn() == "flash-attn of unknown version is older than 2.5"
    lack = missing.for_triton("cuda", torch.float16, 64)
    assert lack == "triton of unknown version is older than 3.6"


@pytest.mark.parametrize("room, widest", [(99, 64), (163, 128), (227, 128)])
def test_heads_that_the_memory_of_a_multiprocessor_holds(room, widest, monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(missing, "find_spec", lambda package: 1)
    monkeypatch.setattr(missing, "_release", lambda package: missing.TRITON)
    monkeypatch.setattr(missing, "_gpu", lambda device_type: None)
    monkeypatch.setattr(missing, "compiler", lambda: None)
    properties = SimpleNamespace(shared_memory_per_multiprocessor=(room + 1) * 1024)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda: properties)
    assert missing.for_triton("cuda", torch.float16, 64) is None
    lack = missing.for_triton("cuda", torch.float16, 128)
    needed = f"heads of 128 need 160 KB of shared memory, and the GPU has {room}"
    assert lack == (None if widest == 128 else needed)


def test_headers_of_python_are_looked_for(monkeypatch, tmp_path):
    monkeypatch.setenv("CC", "cc")
    monkeypatch.setattr(missing.sysconfig, "get_paths", lambda: {"include": str(tmp_path)})
    assert missing.compiler() == (
        f"Python.h is missing in {tmp_path}, which triton needs to start a kernel"
    )
    (tmp_path / "Python.h").touch()
    assert missing.compiler() is None


@pytest.mark.parametrize(
    "dtype, lacking, chosen",
    [
        (torch.bfloat16, [], "triton"),
        (torch.bfloat16, ["triton"], "flash"),
        (torch.bfloat16, ["triton", "flash"], "sdpa"),
        (torch.float32, [], "sdpa"),
    ],
)
def test_order_on_a_gpu(dtype, lacking, chosen, monkeypatch, caplog, fresh_choice):
    rows = {
        name: api.Backend(row.module, lambda *kind, name=name: "gone" if name in lacking else None)
        for name, row in api.BACKENDS.items()
    }
    monkeypatch.setattr(api, "BACKENDS", rows)
    monkeypatch.setattr(api.importlib, "import_module", lambda name: None)
    with caplog.at_level(logging.INFO):
        assert api._select(None, "auto", "cuda", dtype, 64) == chosen
    assert all(f"{name} passed over: gone" in caplog.text for name in lacking)
    expected = "sdpa" if "flash" in lacking else "flash"
    assert api._select_for_long("cuda", dtype, 64) == expected
