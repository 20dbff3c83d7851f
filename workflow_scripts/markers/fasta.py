"""Protein sequences as FASTA text, one record per accession."""

import re

from workflow_scripts.common.errors import InputError

LINE = 60  # residues per line, as UniProt writes them
DATABASE_HEADER = re.compile(r"(?:sp|tr)\|([^|\s]+)\|")


def parse_fasta(text, name):
    """Return {accession: (description, sequence)} of FASTA `text`; `name` is its file.

    A header begins with the accession, or with UniProt's `sp|accession|entry`. Any letter is
    legal in a sequence: the ambiguous residues B, J, X, Z and the rare U, O occur in UniProt.
    """
    records, accession, line_of = {}, None, {}
    for number, line in enumerate(text.splitlines(), start=1):
        line = line.strip()
        if line.startswith(">"):
            accession, description = _header(line[1:].strip(), f"{name}, line {number}")
            if accession in records:
                raise InputError(
                    f"{name}, line {number}: {accession} already stands in line "
                    f"{line_of[accession]}; expected one sequence per accession; remove one"
                )
            records[accession] = (description, "")
            line_of[accession] = number
        elif line:
            if accession is None:
                raise InputError(
                    f"{name}, line {number}: starts with {line[:20]!r}; expected a FASTA header "
                    "that begins with '>'; check that the file holds protein sequences"
                )
            if not (line.isascii() and line.isalpha()):
                letter = next(c for c in line if not (c.isascii() and c.isalpha()))
                raise InputError(
                    f"{name}, line {number}: {letter!r} in the sequence of {accession}; "
                    "expected one-letter codes of residues only; correct the line"
                )
            description, sequence = records[accession]
            records[accession] = (description, sequence + line.upper())
    for accession, (_, sequence) in records.items():
        if not sequence:
            raise InputError(
                f"{name}, line {line_of[accession]}: {accession} has no sequence; "
                "expected residues below its header; add them or remove the header"
            )
    return records


def format_record(accession, description, sequence):
    """Return one record as FASTA text that `parse_fasta` reads back."""
    lines = [sequence[start : start + LINE] for start in range(0, len(sequence), LINE)]
    return "\n".join([f">{accession} {description}".rstrip(), *lines]) + "\n"


def _header(header, place):
    if not header:
        raise InputError(f"{place}: empty header; expected an accession after '>'; add it")
    entry = DATABASE_HEADER.match(header)
    if entry:
        return entry.group(1), header
    accession, _, description = header.partition(" ")
    return accession, description.strip()
