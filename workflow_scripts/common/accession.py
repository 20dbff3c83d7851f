"""What a UniProt accession looks like."""

import re

# https://www.uniprot.org/help/accession_numbers, with the suffix of an isoform.
ACCESSION = re.compile(
    r"(?:[OPQ][0-9][A-Z0-9]{3}[0-9]|[A-NR-Z][0-9](?:[A-Z][A-Z0-9]{2}[0-9]){1,2})(?:-[0-9]+)?"
)
