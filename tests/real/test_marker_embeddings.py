"""Our ESM-2 embeddings against the authors' own, once the weights have been retrieved."""

from pathlib import Path

import numpy as np
import pytest

from workflow_scripts.markers.embed_markers import embed_sequences
from workflow_scripts.markers.esm2 import load_esm2
from workflow_scripts.markers.fasta import parse_fasta

ARCHIVES = Path(__file__).resolve().parents[2] / "results/archives"
LONGEST = 1300  # residues; the attention of longer ones takes gigabytes and minutes of a test


@pytest.mark.real
def test_embeddings_are_those_of_the_authors(shared):
    """UniProt may have changed a sequence since: those that differ are named, most must agree."""
    published = np.load(shared("real/cords2024/esm2_t30_150M_UR50D.npz"))
    weights = ARCHIVES / "esm2/esm2_t30_150M_UR50D.pt"
    if not weights.exists():
        pytest.skip(f"the weights of ESM-2 are absent: expected {weights}")
    records = {}
    for accession in published.files:
        path = ARCHIVES / "uniprot" / f"{accession}.fasta"
        if path.exists():
            records |= parse_fasta(path.read_text(), path)
    records = {a: record for a, record in records.items() if len(record[1]) <= LONGEST}
    if not records:
        pytest.skip(f"sequences are absent: expected some of UniProt in {ARCHIVES / 'uniprot'}")
    ours = embed_sequences(load_esm2(weights), records)
    differ = [a for a in ours if not np.allclose(ours[a].numpy(), published[a], atol=1e-3)]
    assert len(differ) <= 0.1 * len(ours), f"embeddings differ: {', '.join(differ)}"
