"""Whether a sequence is of the gene and organism that resources/markers.csv gives its accession."""

import re

from workflow_scripts.common.errors import InputError
from workflow_scripts.common.job import log

HUMAN = "9606"  # of NCBI's taxonomy; all panels of the study are of human tissue
GENE, ORGANISM = re.compile(r"\bGN=(\S+)"), re.compile(r"\bOX=(\d+)")


def check_genes(records, known):
    """Raise InputError that names every accession of `known` whose sequence is of another gene.

    `records`: {accession: (description, sequence)} with UniProt's descriptions; one without gene
    or organism is not checked. `known`: rows of resources/markers.csv. An accession that is not
    in the table may be of any gene; one that is not human is worth a warning.
    """
    genes = {row["uniprot"]: row["gene"] for row in known if row["uniprot"]}
    wrong, checked = [], 0
    for accession, (description, _) in sorted(records.items()):
        gene, organism = GENE.search(description), ORGANISM.search(description)
        foreign = organism is not None and organism.group(1) != HUMAN
        expected = genes.get(accession)
        if expected is None:
            if foreign:
                log.warning("%s is not of human origin: %s", accession, description)
            continue
        checked += gene is not None
        if foreign or (gene is not None and gene.group(1) != expected):
            found = gene.group(1) if gene else "a protein"
            origin = f" of organism {organism.group(1)}" if foreign else ""
            wrong.append(f"{accession} is {found}{origin}, expected {expected}")
    if wrong:
        raise InputError(
            f"resources/markers.csv: {'; '.join(wrong)} (human); correct the accession there and "
            "in the cohort files, or the gene if it was renamed"
        )
    log.info("%d of %d sequences are of the gene that is expected", checked, len(records))
