import gzip
import hashlib

import pytest

from workflow_scripts.common.errors import InputError
from workflow_scripts.markers.fasta import parse_fasta
from workflow_scripts.markers.measured import measured_accessions
from workflow_scripts.markers.retrieve_sequences import (
    main,
    sequences_from_file,
    sequences_from_uniprot,
    synthetic_sequence,
)

COHORTS = {"P04637": ["a", "b"], "P08575-8": ["b"]}
P53 = b">sp|P04637|P53_HUMAN Cellular tumor antigen p53\nMEEPQSDPSV\nEPPLSQETFS\n"
CD45 = b">sp|P08575-8|PTPRC_HUMAN Isoform 8\nMTMYLWLKLL\n"
RELEASE = {"X-UniProt-Release": "2026_01"}


def from_uniprot(server, tmp_path, cohorts=COHORTS, offline=False):
    return sequences_from_uniprot(cohorts, server.url, tmp_path / "cache", offline, backoff=0)


def test_union_over_cohorts_keeps_usable_channels(channels):
    paths = [channels("b", ["P2", None, "P1", "P1"]), channels("a", ["P2", "P3"], [True, False])]
    assert measured_accessions(paths) == {"P1": ["b"], "P2": ["b", "a"]}


def test_no_accession_at_all(channels):
    path = channels("dna_only", [None, None])
    with pytest.raises(InputError, match=r"dna_only/channels\.parquet: no channel has a UniProt"):
        measured_accessions([path])


def test_uniprot_record_release_redirect_and_user_agent(server, tmp_path):
    server.answers = {
        "/P04637.fasta": [(301, {"Location": "/moved/P04637.fasta"}, b"")],
        "/moved/P04637.fasta": [(200, RELEASE, P53)],
        "/P08575-8.fasta": [(200, RELEASE, CD45)],
    }
    assert from_uniprot(server, tmp_path) == {
        "P04637": (
            "[UniProt 2026_01] sp|P04637|P53_HUMAN Cellular tumor antigen p53",
            "MEEPQSDPSVEPPLSQETFS",
        ),
        "P08575-8": ("[UniProt 2026_01] sp|P08575-8|PTPRC_HUMAN Isoform 8", "MTMYLWLKLL"),
    }
    assert server.requests["/P04637.fasta"][0]["User-Agent"].startswith("virtues-study/")


def test_redirect_that_leads_closer_and_logins_of_other_programs(server, tmp_path, monkeypatch):
    (tmp_path / "logins").write_text("default login me password secret")
    monkeypatch.setenv("NETRC", str(tmp_path / "logins"))
    server.answers = {"/P04637.fasta": [(301, {"Location": "file:///etc/hostname"}, b"")]}
    with pytest.raises(InputError, match=r"P04637\.fasta: its answer names file:///etc/hostname"):
        from_uniprot(server, tmp_path)
    server.answers = {"/P04637.fasta": [(301, {"Location": "http://example.org/P04637"}, b"")]}
    with pytest.raises(InputError, match="http://example.org/P04637: expected an https or file://"):
        from_uniprot(server, tmp_path)
    assert not any("Authorization" in headers for headers in server.requests["/P04637.fasta"])


def test_busy_server_is_asked_again(server, tmp_path):
    server.answers = {
        "/P04637.fasta": [
            (429, {"Retry-After": "0"}, b"slow down"),
            (503, {}, b""),
            (200, RELEASE, P53),
        ]
    }
    records = from_uniprot(server, tmp_path, {"P04637": ["a"]})
    assert records["P04637"][1] == "MEEPQSDPSVEPPLSQETFS"
    assert len(server.requests["/P04637.fasta"]) == 3


def test_server_that_stays_busy(server, tmp_path):
    server.answers = {"/P04637.fasta": [(429, {}, b"")]}
    sentence = (
        r"status 429 for P04637 \(cohorts: a, b\) after 6 tries; .* what was received is kept"
    )
    with pytest.raises(InputError, match=sentence):
        from_uniprot(server, tmp_path)
    assert len(server.requests["/P04637.fasta"]) == 6


def test_interrupted_run_continues(server, tmp_path):
    server.answers = {"/P04637.fasta": [(200, RELEASE, P53)]}
    with pytest.raises(InputError, match="P08575-8"):
        from_uniprot(server, tmp_path)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["P04637.fasta"]
    server.answers["/P08575-8.fasta"] = [(200, RELEASE, CD45)]
    assert list(from_uniprot(server, tmp_path)) == ["P04637", "P08575-8"]
    assert len(server.requests["/P04637.fasta"]) == 1


@pytest.mark.parametrize(("status", "body"), [(404, b"no"), (400, b"bad"), (200, b"\n")])
def test_accession_that_uniprot_does_not_have(server, tmp_path, status, body):
    server.answers = {"/P04637.fasta": [(status, {}, body)]}
    sentence = rf"UniProt has no sequence of P04637 \(cohorts: a, b\) \(status {status}\)"
    with pytest.raises(InputError, match=sentence):
        from_uniprot(server, tmp_path)
    assert not list((tmp_path / "cache").glob("*"))


def test_error_page_with_status_200(server, tmp_path):
    server.answers = {"/P04637.fasta": [(200, {}, b"<!doctype html>login")]}
    with pytest.raises(InputError, match=r"P04637\.fasta, line 1: starts with '<!doctype"):
        from_uniprot(server, tmp_path)
    assert not list((tmp_path / "cache").glob("*"))


def test_several_records_for_one_accession(server, tmp_path):
    server.answers = {"/P04637.fasta": [(200, {}, P53 + CD45)]}
    with pytest.raises(InputError, match=r"2 records for P04637 \(cohorts: a, b\); expected one"):
        from_uniprot(server, tmp_path)


def test_merged_accession_keeps_the_panel_s_name(server, tmp_path, caplog):
    server.answers = {"/Q15086.fasta": [(200, RELEASE, P53)]}
    records = from_uniprot(server, tmp_path, {"Q15086": ["a"]})
    assert records["Q15086"][1] == "MEEPQSDPSVEPPLSQETFS"
    assert "Q15086: UniProt answers with P04637" in caplog.text


def test_no_server(tmp_path):
    with pytest.raises(InputError, match=r"no answer for P04637 \(cohorts: a, b\)"):
        sequences_from_uniprot(COHORTS, "http://127.0.0.1:1", tmp_path, False, backoff=0)


def test_impossible_accession_is_never_requested(server, tmp_path):
    with pytest.raises(InputError, match=r"\.\./x \(cohorts: a\) is not a UniProt accession"):
        from_uniprot(server, tmp_path, {"../x": ["a"]})
    assert not server.requests


def test_offline_names_what_is_missing_and_where_it_goes(tmp_path):
    (tmp_path / "P04637.fasta").write_bytes(P53)
    sentence = (
        r"offline: no sequence of P08575-8 \(cohorts: b\); expected each as .*/<accession>\.fasta, "
        r"or all in one FASTA file that `markers\.sequences` names"
    )
    with pytest.raises(InputError, match=sentence):
        sequences_from_uniprot(COHORTS, "http://127.0.0.1:1", tmp_path, True)
    (tmp_path / "P08575-8.fasta").write_bytes(CD45)
    records = sequences_from_uniprot(COHORTS, "http://127.0.0.1:1", tmp_path, True)
    assert records["P08575-8"][0].startswith("[placed by hand] sp|P08575-8|")


def test_cached_record_of_another_protein(tmp_path):
    (tmp_path / "P04637.fasta").write_bytes(CD45)
    with pytest.raises(InputError, match=r"P04637\.fasta: holds P08575-8; expected one record"):
        sequences_from_uniprot({"P04637": ["a"]}, "http://127.0.0.1:1", tmp_path, True)


def test_own_fasta_file(tmp_path):
    path = tmp_path / "mine.fasta"
    path.write_bytes(P53 + CD45 + b">Q9\nMK\n")
    records = sequences_from_file(path, COHORTS)
    assert list(records) == ["P04637", "P08575-8"]
    assert records["P04637"][0].startswith("[mine.fasta] sp|P04637|")
    path.write_bytes(P53)
    with pytest.raises(InputError, match=r"mine\.fasta: no sequence of P08575-8 \(cohorts: b\)"):
        sequences_from_file(path, COHORTS)


def test_own_fasta_file_that_is_compressed(tmp_path):
    path = tmp_path / "mine.fasta.gz"
    path.write_bytes(gzip.compress(P53))
    with pytest.raises(InputError, match=r"mine\.fasta\.gz, line 1: starts with"):
        sequences_from_file(path, COHORTS)


def test_synthetic_sequences_depend_on_accession_and_seed_alone():
    sequences = {(a, s): synthetic_sequence(a, s) for a in ("P1", "P2") for s in (0, 1)}
    assert len(set(sequences.values())) == 4
    assert all(100 <= len(sequence) <= 400 for sequence in sequences.values())
    assert set("".join(sequences.values())) == set("ACDEFGHIKLMNPQRSTVWY")
    # Pinned: a change of numpy's generators or of ours would silently change every demo.
    digest = hashlib.sha256(synthetic_sequence("P62736", 0).encode()).hexdigest()
    assert digest[:16] == "b1c2f3a5f657a12c"


def test_script_writes_sorted_records_and_leaves_no_part(tmp_path, channels, job):
    inputs = {"channels": [channels("x", ["Q2", None, "P1"]), channels("y", ["P1", "O3"])]}
    output = tmp_path / "markers" / "sequences.fasta"
    output.parent.mkdir()
    main(job(inputs, {"sequences": str(output)}, sequences="synthetic", seed=3))
    records = parse_fasta(output.read_text(), output)
    assert list(records) == ["O3", "P1", "Q2"]
    assert records["P1"] == (
        "[synthetic, seed 3] random residues, not a protein",
        synthetic_sequence("P1", 3),
    )
    assert [path.name for path in output.parent.iterdir()] == ["sequences.fasta"]


def test_script_asks_uniprot(server, tmp_path, channels, job):
    server.answers = {"/P04637.fasta": [(200, RELEASE, P53)]}
    output = tmp_path / "sequences.fasta"
    params = {"uniprot_url": f"{server.url}/", "cache": tmp_path / "cache"}
    main(
        job(
            {"channels": [channels("x", ["P04637"])]},
            {"sequences": str(output)},
            sequences="uniprot",
            **params,
        )
    )
    assert output.read_text() == (
        ">P04637 [UniProt 2026_01] sp|P04637|P53_HUMAN Cellular tumor antigen p53\n"
        "MEEPQSDPSVEPPLSQETFS\n"
    )


def test_script_leaves_nothing_after_an_error(tmp_path, channels, job):
    mine = tmp_path / "mine.fasta"
    mine.write_bytes(P53)
    output = tmp_path / "markers" / "sequences.fasta"
    output.parent.mkdir()
    inputs = {"channels": [channels("x", ["P04637", "P11836"])]}
    with pytest.raises(InputError, match=r"P11836 \(cohorts: x\)"):
        main(job(inputs, {"sequences": str(output)}, sequences=str(mine)))
    assert not list(output.parent.iterdir())
