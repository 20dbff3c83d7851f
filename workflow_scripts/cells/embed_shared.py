"""Cell tokens of two cohorts from the markers that both have (Methods, "Label transfer")."""

import json

from workflow_scripts.common.cohort_files import CohortFiles
from workflow_scripts.common.embedders import open_embedder
from workflow_scripts.common.job import log, run
from workflow_scripts.common.shared_markers import embed_cells, shared_accessions
from workflow_scripts.common.staging import staged

FACTS = "facts.json"


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
