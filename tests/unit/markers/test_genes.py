"""The gene and the organism of a fetched sequence against resources/markers.csv."""

import re

import pytest

from workflow_scripts.common.errors import InputError
from workflow_scripts.common.marker_names import read_aliases
from workflow_scripts.markers.genes import check_genes

KNOWN = [{"uniprot": "P04637", "gene": "TP53"}, {"uniprot": "P08575-8", "gene": "PTPRC"}]


def record(gene="TP53", organism="9606", accession="P04637"):
    text = (
        f"[UniProt 2026_01] sp|{accession}|X_HUMAN A protein OS=Some OX={organism} GN={gene} PE=1"
    )
    return {accession: (text, "MEEP")}


def test_the_right_gene_of_a_human_passes():
    check_genes(record() | record("PTPRC", accession="P08575-8"), KNOWN)


@pytest.mark.parametrize(
    ("records", "sentence"),
    [
        (record("NR3C2"), "markers.csv: P04637 is NR3C2, expected TP53 (human); correct the acc"),
        (record(organism="10090"), "P04637 is TP53 of organism 10090, expected TP53 (human)"),
        (
            record("A") | record("B", accession="P08575-8"),
            "P04637 is A, expected TP53; P08575-8 is B, expected PTPRC (human)",
        ),
    ],
)
def test_another_gene_or_organism_is_an_error_that_names_all(records, sentence):
    with pytest.raises(InputError, match=re.escape(sentence)):
        check_genes(records, KNOWN)


def test_descriptions_without_gene_and_unknown_accessions_pass(caplog):
    check_genes({"P04637": ("[synthetic, seed 0] random residues", "MEEP")}, KNOWN)
    check_genes(record("Trp53", "10090", "P02340"), KNOWN)
    assert "P02340 is not of human origin" in caplog.text


def test_every_accession_of_the_table_can_be_checked():
    rows = [row for row in read_aliases().values() if row["uniprot"]]
    assert len({row["uniprot"] for row in rows}) == 150 and all(row["gene"] for row in rows)
    swapped = record("NR3C2", accession="P08571")  # CD14; a public table gives NR3C2's accession
    with pytest.raises(InputError, match="P08571 is NR3C2, expected CD14"):
        check_genes(swapped, rows)
