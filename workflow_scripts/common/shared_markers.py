"""Cell tokens of a cohort seen through the markers that it shares with another one."""

from workflow_scripts.common.job import log
from workflow_scripts.common.tokens import TokenStore


def shared_accessions(first, second):
    """Return the accessions of both panels once each, in the order of the first."""
    return [accession for accession in dict.fromkeys(first) if accession in set(second)]


def embed_cells(embedder, cohort, accessions, folder, tissues=None):
    """Write cell tokens of `cohort`, seen through `accessions` in their order.

    `tissues`: those that are embedded; all of the cohort unless given.
    """
    folder.mkdir()
    store = TokenStore(folder)
    for tissue in cohort.tissues() if tissues is None else tissues:
        # Where two channels measure a protein, the first one stands for it.
        image = tissue.image([tissue.accessions.index(accession) for accession in accessions])
        tokens = embedder.embed(image, accessions, [], tissue.cell_mask())
        rows = [{"tissue_id": tissue.id, "cell_id": cell} for cell in tokens.cell_ids]
        store.append("cells", tokens.cells, rows)
    index = store.close()
    log.info(
        "%s of %s: %d cells, %d markers", embedder.name, cohort.id, len(index), len(accessions)
    )
