import pytest

from workflow_scripts.common.errors import InputError
from workflow_scripts.markers.fasta import format_record, parse_fasta


def test_uniprot_and_plain_headers():
    text = ">sp|P62736|ACTA_HUMAN Actin\nMCEEE\nDSTAL\n\n>P08575-8 isoform\nmtmyl\n>X1\nUXBZOJ\n"
    assert parse_fasta(text, "f") == {
        "P62736": ("sp|P62736|ACTA_HUMAN Actin", "MCEEEDSTAL"),
        "P08575-8": ("isoform", "MTMYL"),
        "X1": ("", "UXBZOJ"),
    }


def test_windows_line_ends():
    assert parse_fasta(">A b\r\nMK\r\nL\r\n", "f") == {"A": ("b", "MKL")}


@pytest.mark.parametrize("length", [1, 59, 60, 61, 121])
def test_written_record_is_read_back(length):
    sequence = ("ACDEFGHIKLMNPQRSTVWY" * 7)[:length]
    text = format_record("P62736", "[synthetic, seed 0] text", sequence)
    assert max(map(len, text.splitlines()[1:])) <= 60
    assert parse_fasta(text, "f") == {"P62736": ("[synthetic, seed 0] text", sequence)}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("MKL\n>A\nM\n", r"m\.fasta, line 1: starts with 'MKL'; expected a FASTA header"),
        ("<html>\n", r"line 1: starts with '<html>'"),
        (">\nMKL\n", r"line 1: empty header; expected an accession"),
        (">A\n>B\nMK\n", r"line 1: A has no sequence"),
        (">A\nMK\n>B\n", r"line 3: B has no sequence"),
        (">A x\nMK\n>sp|A|E\nML\n", r"line 3: A already stands in line 1; .* remove one"),
        (">A\nMK\nM*L\n", r"line 3: '\*' in the sequence of A"),
        (">A\nMK-L\n", r"line 2: '-' in the sequence of A"),
        (">A\nMK1\n", r"line 2: '1' in the sequence of A"),
        (">A\nMKé\n", r"line 2: 'é' in the sequence of A"),
    ],
)
def test_errors_name_file_line_and_accession(text, sentence):
    with pytest.raises(InputError, match=sentence):
        parse_fasta(text, "m.fasta")


def test_empty_file_has_no_records():
    assert parse_fasta("\n\n", "f") == {}
