import argparse
import json
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from esm.data import Alphabet
from esm.model.esm2 import ESM2
from esm.pretrained import load_model_and_alphabet_core
from safetensors.torch import save_file

from workflow_scripts.common.errors import InputError
from workflow_scripts.common.markers import read_embeddings
from workflow_scripts.common.provenance import sha256
from workflow_scripts.markers.embed_markers import (
    embed_sequences,
    main,
    origin,
    read_table,
    select,
    write_embeddings,
)
from workflow_scripts.markers.esm2 import embed_sequence, load_esm2, seeded_esm2
from workflow_scripts.markers.fasta import format_record
from workflow_scripts.markers.retrieve_sequences import synthetic_sequence

SIZES = {"num_layers": 2, "embed_dim": 32, "attention_heads": 4}
SEQUENCES = {"A": "M", "B": "MKTUXBZOLLV", "C": "ACDEFGHIKLMNPQRSTVWY" * 3, "D": "GG" + "W" * 20}


@pytest.fixture(scope="module")
def reference():
    """A tiny ESM-2 made with fair-esm alone, with weights that are not at their start values."""
    torch.manual_seed(5)
    model = ESM2(**SIZES, token_dropout=True)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def means_of_a_padded_batch(model, sequences):
    """Mean over residues by fair-esm's own batch converter, contacts on, padding taken out."""
    _, _, tokens = Alphabet.from_architecture("ESM-1b").get_batch_converter()(list(sequences))
    with torch.no_grad():
        layer = model.num_layers
        out = model(tokens, repr_layers=[layer], return_contacts=True)["representations"][layer]
    return [out[i, 1 : len(s) + 1].mean(0) for i, (_, s) in enumerate(sequences)]


def checkpoint_of(model, **changes):
    """What the publisher's file holds: prefixed names, settings in a Namespace, no contact head."""
    settings = {
        "encoder_layers": model.num_layers,
        "encoder_embed_dim": model.embed_dim,
        "encoder_attention_heads": model.attention_heads,
        "token_dropout": model.token_dropout,
        "arch": "esm2",
    }
    state = {
        ("encoder." if name.startswith("lm_head") else "encoder.sentence_encoder.") + name: tensor
        for name, tensor in model.state_dict().items()
        if not name.startswith("contact_head")
    }
    return {"cfg": {"model": argparse.Namespace(**settings)}, "model": state, **changes}


def test_one_by_one_equals_a_padded_batch(reference):
    expected = means_of_a_padded_batch(reference, SEQUENCES.items())
    for sequence, mean in zip(SEQUENCES.values(), expected, strict=True):
        ours = embed_sequence(reference, sequence)
        assert ours.shape == (32,)
        torch.testing.assert_close(ours, mean, rtol=0, atol=2e-6)


def test_beginning_and_end_are_not_in_the_mean(reference):
    alphabet = reference.alphabet
    tokens = torch.tensor([[alphabet.cls_idx, alphabet.get_idx("M"), alphabet.eos_idx]])
    with torch.no_grad():
        last = reference(tokens, repr_layers=[2])["representations"][2][0]
    torch.testing.assert_close(embed_sequence(reference, "M"), last[1], rtol=0, atol=1e-6)
    assert (last.mean(0) - last[1]).abs().max() > 0.01


def test_unusual_residues_have_their_own_tokens(reference):
    vectors = {r: embed_sequence(reference, f"MK{r}L") for r in "UXBZOAJ"}
    for one in vectors:
        for other in vectors:
            assert one == other or (vectors[one] - vectors[other]).abs().max() > 1e-4
    unknown = Alphabet.from_architecture("ESM-1b").unk_idx
    assert reference.alphabet.get_idx("J") == unknown


def test_long_sequence(reference):
    sequence = synthetic_sequence("long", 0) * 12
    assert len(sequence) > 1200
    [expected] = means_of_a_padded_batch(reference, [("long", sequence)])
    torch.testing.assert_close(embed_sequence(reference, sequence), expected, rtol=0, atol=5e-6)


def test_checkpoint_in_the_published_format(reference, tmp_path):
    path = tmp_path / "esm2_tiny.pt"
    torch.save(checkpoint_of(reference), path)
    model = load_esm2(path)
    with pytest.warns(UserWarning, match="Regression weights not found"):
        theirs, _ = load_model_and_alphabet_core("esm2_tiny", checkpoint_of(reference))
    assert not model.training
    for sequence in SEQUENCES.values():
        ours = embed_sequence(model, sequence)
        assert torch.equal(ours, embed_sequence(reference, sequence))
        assert torch.equal(ours, embed_sequence(theirs.eval(), sequence))


def test_token_dropout_comes_from_the_checkpoint(reference, tmp_path):
    plain = ESM2(**SIZES, token_dropout=False)
    plain.load_state_dict(reference.state_dict())
    torch.save(checkpoint_of(plain), tmp_path / "plain.pt")
    model = load_esm2(tmp_path / "plain.pt")
    expected = embed_sequence(plain.eval(), "MKLV")
    assert torch.equal(embed_sequence(model, "MKLV"), expected)
    assert not torch.allclose(embed_sequence(reference, "MKLV"), expected)


class Evil:
    """Runs a command of its choice when it is unpickled unsafely."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.filterwarnings("ignore:Detected pickle protocol 4")
@pytest.mark.parametrize("save", [torch.save, lambda data, f: f.write(pickle.dumps(data))])
def test_checkpoint_that_would_run_code_is_refused(reference, tmp_path, save):
    trace = tmp_path / "trace"
    with open(tmp_path / "evil.pt", "wb") as file:
        save(checkpoint_of(reference, extra=Evil(trace)), file)
    with pytest.raises(InputError, match=r"evil\.pt: not loaded as an ESM-2 checkpoint \(.*"):
        load_esm2(tmp_path / "evil.pt")
    assert not trace.exists()


def test_namespace_is_allowed_only_while_loading(reference, tmp_path):
    torch.save(checkpoint_of(reference), tmp_path / "m.pt")
    load_esm2(tmp_path / "m.pt")
    assert argparse.Namespace not in torch.serialization.get_safe_globals()


@pytest.mark.parametrize("content", [b"", b"<html>error</html>", b"PK\x03\x04 cut"])
def test_file_that_is_no_checkpoint(tmp_path, content):
    (tmp_path / "m.pt").write_bytes(content)
    with pytest.raises(InputError, match=r"m\.pt: not loaded as an ESM-2 checkpoint \(.+\)"):
        load_esm2(tmp_path / "m.pt")


def test_truncated_checkpoint(reference, tmp_path):
    torch.save(checkpoint_of(reference), tmp_path / "m.pt")
    whole = (tmp_path / "m.pt").read_bytes()
    (tmp_path / "m.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"m\.pt: not loaded as an ESM-2 checkpoint"):
        load_esm2(tmp_path / "m.pt")


def test_checkpoint_of_something_else(tmp_path):
    torch.save({"state_dict": {}}, tmp_path / "m.pt")
    with pytest.raises(InputError, match=r"m\.pt: no ESM-2 settings \('cfg'\)"):
        load_esm2(tmp_path / "m.pt")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda s: s.pop("encoder.lm_head.bias"), r"misses 1 tensors, first lm_head\.bias"),
        (lambda s: s.update(other=torch.zeros(1)), r"adds 1 tensors, first other"),
        (
            lambda s: s.update({"encoder.lm_head.bias": torch.zeros(7)}),
            r"misshapes 1 tensors, first lm_head\.bias",
        ),
    ],
)
def test_checkpoint_with_wrong_tensors(reference, tmp_path, change, sentence):
    checkpoint = checkpoint_of(reference)
    change(checkpoint["model"])
    torch.save(checkpoint, tmp_path / "m.pt")
    with pytest.raises(InputError, match=sentence):
        load_esm2(tmp_path / "m.pt")


def test_seeded_model_depends_on_its_seed_and_leaves_the_global_one():
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    one, again, other = (seeded_esm2(1, 32, 4, seed) for seed in (0, 0, 1))
    assert torch.equal(torch.rand(1), expected)
    assert torch.equal(embed_sequence(one, "MKL"), embed_sequence(again, "MKL"))
    assert not torch.allclose(embed_sequence(one, "MKL"), embed_sequence(other, "MKL"))
    assert (one.num_layers, one.embed_dim, one.attention_heads) == (1, 32, 4)


@pytest.mark.parametrize("heads", [3, 32])
def test_seeded_model_of_impossible_sizes(heads):
    with pytest.raises(InputError, match=rf"markers\.esm2: width 32 with {heads} heads"):
        seeded_esm2(1, 32, heads, 0)


def test_demo_embeddings_differ_between_markers_as_real_ones_do(shared):
    model = seeded_esm2(2, 640, 20, 0)
    records = {f"P{i}": ("", synthetic_sequence(f"P{i}", 0)) for i in range(20)}
    demo = torch.stack(list(embed_sequences(model, records).values()))
    real = torch.stack(list(read_table(shared("real/cords2024/esm2_t30_150M_UR50D.npz")).values()))
    assert abs(median_cosine(demo) - median_cosine(real)) < 0.06


def median_cosine(vectors):
    unit = torch.nn.functional.normalize(vectors, dim=1)
    return (unit @ unit.T)[np.triu_indices(len(unit), 1)].median().item()


def test_a_sequence_is_embedded_once_whatever_its_accession(reference, tmp_path, monkeypatch):
    first = embed_sequences(reference, {"P1": ("", "MKLV"), "P2": ("", "MKL")}, tmp_path)
    monkeypatch.setattr(reference, "forward", None)
    again = embed_sequences(reference, {"P9": ("", "MKL"), "P1": ("", "MKLV")}, tmp_path)
    assert torch.equal(again["P1"], first["P1"]) and torch.equal(again["P9"], first["P2"])
    assert len(list(tmp_path.iterdir())) == 2
    with pytest.raises(TypeError):
        embed_sequences(reference, {"P1": ("", "MKLW")}, tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_origin_is_read_from_the_headers():
    records = {"A": ("[UniProt 2026_01] sp|A|x [Homo]", "M"), "B": ("[synthetic, seed 0] x", "M")}
    assert origin(records) == "UniProt 2026_01, synthetic, seed 0"
    assert origin({"A": ("no brackets", "M")}) == "unknown"


def test_real_table(shared, tmp_path, caplog):
    path = shared("real/cords2024/esm2_t30_150M_UR50D.npz")
    cohorts = {"O00585": ["a"], "P01730": ["a", "b"], "Q99999": ["b"]}
    write_embeddings(tmp_path / "e.safetensors", select(read_table(path), cohorts, path), "table")
    accessions, embeddings = read_embeddings(tmp_path / "e.safetensors")
    assert accessions == ["O00585", "P01730"]
    with np.load(path) as raw:
        expected = np.stack([raw["O00585"], raw["P01730"]])
    assert embeddings.dtype == torch.float32
    assert np.array_equal(embeddings.numpy(), expected)
    assert "1 of 3 accessions have no row" in caplog.text and "Q99999" in caplog.text


def test_accessions_may_share_a_vector(tmp_path):
    vector = np.arange(4, dtype=np.float64)
    np.savez(tmp_path / "t.npz", P2=vector, P1=vector, P3=-vector)
    write_embeddings(tmp_path / "e.safetensors", read_table(tmp_path / "t.npz"), "table")
    accessions, embeddings = read_embeddings(tmp_path / "e.safetensors")
    assert accessions == ["P1", "P2", "P3"]
    assert torch.equal(embeddings[0], embeddings[1])
    assert torch.equal(embeddings[0], -embeddings[2])


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_table_with_columns(tmp_path, kind):
    table = pd.DataFrame({"d0": [1.5, 2.0], "accession": ["P2", "P1"], "d1": [0, -1]})
    path = tmp_path / f"t.{kind}"
    table.to_csv(path, index=False) if kind == "csv" else table.to_parquet(path)
    vectors = read_table(path)
    assert {k: v.tolist() for k, v in vectors.items()} == {"P2": [1.5, 0.0], "P1": [2.0, -1.0]}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("id,d0\nP1,1\n", r"t\.csv: no column 'accession'"),
        ("accession,d0\nP1,1\nP1,2\n", r"t\.csv: P1 has more than one row"),
        ("accession,gene,d0\nP1,TP53,2\n", r"t\.csv: column 'gene' does not hold numbers"),
        ("accession,d0\nP1,1\nP2,\n", r"t\.csv: the embedding of P2 is not finite"),
        ("accession,d0\nP1,inf\n", r"t\.csv: the embedding of P1 is not finite"),
        ("accession,d0\n", r"t\.csv: no embedding in it"),
    ],
)
def test_bad_table(tmp_path, text, sentence):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(InputError, match=sentence):
        read_table(tmp_path / "t.csv")


def test_unknown_kind_of_table(tmp_path):
    with pytest.raises(InputError, match=r"t\.txt: unknown kind of table; expected \.npz"):
        read_table(tmp_path / "t.txt")


def test_npz_of_unequal_vectors_or_objects(tmp_path):
    np.savez(tmp_path / "t.npz", P1=np.zeros(3), P2=np.zeros(4))
    with pytest.raises(InputError, match=r"t\.npz: embeddings of shapes \[\(3,\), \(4,\)\]"):
        read_table(tmp_path / "t.npz")
    np.savez(tmp_path / "t.npz", P1=np.array([{}], dtype=object))
    with pytest.raises(InputError, match=r"t\.npz: not read as a table of embeddings"):
        read_table(tmp_path / "t.npz")
    (tmp_path / "t.npz").write_bytes(b"PK cut")
    with pytest.raises(InputError, match=r"t\.npz: not read as a table of embeddings"):
        read_table(tmp_path / "t.npz")


def test_table_without_any_measured_accession():
    with pytest.raises(InputError, match=r"t\.npz: none of the 1 measured accessions has a row"):
        select({"P1": torch.zeros(2)}, {"Q1": ["a"]}, "t.npz")


def test_script_with_seeded_model_and_synthetic_sequences(tmp_path, job):
    sequences = tmp_path / "sequences.fasta"
    text = {a: synthetic_sequence(a, 0) for a in ("P2", "P1")}
    sequences.write_text(
        "".join(format_record(a, "[synthetic, seed 0]", s) for a, s in text.items())
    )
    output = tmp_path / "markers" / "embeddings.safetensors"
    output.parent.mkdir()
    esm2 = {"weights": "seeded", "layers": 2, "width": 32, "heads": 4, "seed": 7}
    inputs = {"sequences": str(sequences), "channels": [], "weights": [], "table": []}
    main(job(inputs, {"embeddings": str(output)}, source="esm2", esm2=esm2))
    first = output.read_bytes()
    accessions, embeddings = read_embeddings(output)
    assert accessions == ["P1", "P2"]
    assert torch.equal(embeddings[0], embed_sequence(seeded_esm2(2, 32, 4, 7), text["P1"]))
    header = json.loads(first[8 : 8 + int.from_bytes(first[:8], "little")])
    assert header["__metadata__"]["source"] == (
        "seeded ESM-2 (seed 7), 2 layers, sequences: synthetic, seed 0: simulated"
    )
    for _ in range(4):
        main(job(inputs, {"embeddings": str(output)}, source="esm2", esm2=esm2))
        assert output.read_bytes() == first
    assert [path.name for path in output.parent.iterdir()] == ["embeddings.safetensors"]


def test_script_with_a_checkpoint_is_not_called_simulated(reference, tmp_path, job, caplog):
    torch.save(checkpoint_of(reference), tmp_path / "esm2_tiny.pt")
    (tmp_path / "s.fasta").write_text(">P1 [UniProt 2026_01] sp|P1|X\nMKLV\n")
    inputs = {"sequences": str(tmp_path / "s.fasta"), "weights": str(tmp_path / "esm2_tiny.pt")}
    output = tmp_path / "e.safetensors"
    caplog.set_level("INFO")
    params = {"source": "esm2", "cache": tmp_path / "kept"}
    esm2 = {"weights": "https://x/y.pt", "sha256": sha256(inputs["weights"])[:8]}
    main(job(inputs, {"embeddings": str(output)}, **params, esm2=esm2))
    [kept] = (tmp_path / "kept").glob("*/*.npy")
    assert kept.parent.name == sha256(inputs["weights"])
    assert "esm2_tiny.pt, 2 layers, sequences: UniProt 2026_01" in caplog.text
    assert "simulated" not in caplog.text
    assert torch.equal(read_embeddings(output)[1][0], embed_sequence(reference, "MKLV"))
    esm2["sha256"] = "0" * 64
    sentence = f"tiny.pt: its SHA-256 is .*, expected {'0' * 64} .*, or correct markers.esm2.sha"
    with pytest.raises(InputError, match=sentence):
        main(job(inputs, {"embeddings": str(output)}, **params, esm2=esm2))


def test_script_with_a_table(tmp_path, channels, job):
    np.savez(tmp_path / "t.npz", P1=np.ones(3), P2=np.zeros(3), P9=np.ones(3))
    inputs = {"channels": [channels("x", ["P2", None, "P1", "P2"])], "table": tmp_path / "t.npz"}
    main(job(inputs, {"embeddings": tmp_path / "e.safetensors"}, source="table", esm2={}))
    accessions, embeddings = read_embeddings(tmp_path / "e.safetensors")
    assert accessions == ["P1", "P2"]
    assert embeddings.tolist() == [[1, 1, 1], [0, 0, 0]]


@pytest.mark.parametrize(
    ("tensors", "metadata", "sentence"),
    [
        ({"other": torch.zeros(1)}, None, r"e: holds other; expected a tensor 'embeddings'"),
        ({"embeddings": torch.zeros(1, 2)}, None, r"the metadata 'accessions'"),
        ({"embeddings": torch.zeros(3, 2)}, ["A", "B"], r"shape \[3, 2\] for 2 accessions"),
        ({"embeddings": torch.zeros(2)}, ["A", "B"], r"shape \[2\] for 2 accessions"),
        ({"embeddings": torch.zeros(2, 2)}, ["A", "A"], r"accession A has more than one row"),
        (
            {"embeddings": torch.tensor([[0.0], [torch.nan]])},
            ["A", "B"],
            r"the embedding of B is not finite",
        ),
    ],
)
def test_embeddings_that_do_not_hold_together(tmp_path, tensors, metadata, sentence):
    metadata = metadata and {"accessions": json.dumps(metadata)}
    save_file(tensors, tmp_path / "e", metadata=metadata)
    with pytest.raises(InputError, match=sentence):
        read_embeddings(tmp_path / "e")


def test_embeddings_that_cannot_be_read(tmp_path):
    (tmp_path / "e").write_bytes(b"half")
    with pytest.raises(
        InputError, match=r"e: not a readable safetensors file .* run embed_markers"
    ):
        read_embeddings(tmp_path / "e")
    with pytest.raises(InputError, match=r"none: not a readable safetensors file"):
        read_embeddings(tmp_path / "none")
