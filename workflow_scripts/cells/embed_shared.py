"""Cell tokens of two cohorts from the markers that both have (Methods, "Label transfer")."""

import json

from workflow_scripts.common.cohort_files import CohortFiles
from workflow_scripts.common.embedders import open_embedder
from workflow_scripts.common.job import log, run
from workflow_scripts.common.staging import staged
from workflow_scripts.common.tokens import TokenStore

FACTS = "facts.json"


def shared_accessions(first, second):
    """Return the accessions of both panels once each, in the order of the first."""
    return [accession for accession in dict.fromkeys(first) if accession in set(second)]


def embed_cells(embedder, cohort, accessions, folder):
    """Write cell tokens of every tissue of `cohort`, seen through `accessions` in their order."""
    folder.mkdir()
    store = TokenStore(folder)
    for tissue in cohort.tissues():
        # Where two channels measure a protein, the first one stands for it.
        image = tissue.image([tissue.accessions.index(accession) for accession in accessions])
        tokens = embedder.embed(image, accessions, [], tissue.cell_mask())
        rows = [{"tissue_id": tissue.id, "cell_id": cell} for cell in tokens.cell_ids]
        store.append("cells", tokens.cells, rows)
    index = store.close()
    log.info(
        "%s of %s: %d cells, %d markers", embedder.name, cohort.id, len(index), len(accessions)
    )


def main(snakemake):
    """Embed both cohorts, or record why there is nothing to embed."""
    params = snakemake.params
    embedder = open_embedder(
        snakemake.wildcards.model,
        params.model_folder,
        snakemake.input.embeddings,
        params.settings,
        params.device,
    )
    cohorts = [CohortFiles(folder) for folder in params.cohort_folders]
    shared = shared_accessions(*(cohort.accessions() for cohort in cohorts))
    positions, left_out = embedder.usable(shared)
    usable = [shared[position] for position in positions]
    facts = {"shared": len(shared), "markers": usable, "left_out": left_out}
    with staged(snakemake.output[0]) as (folder,):
        folder.mkdir()
        if usable:
            for cohort in cohorts:
                embed_cells(embedder, cohort, usable, folder / cohort.id)
        else:
            log.warning("%s: none of %d shared markers is usable", embedder.name, len(shared))
        (folder / FACTS).write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    run(main, globals())
