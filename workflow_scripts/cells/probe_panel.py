"""A linear probe on cell tokens of an instance that is restricted to a panel of markers.

Its tokens serve nothing else ("Scaling analysis"), so they are kept only until they are probed.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

from workflow_scripts.cells.probe_cells import probe_tasks
from workflow_scripts.common.cohort_files import CohortFiles
from workflow_scripts.common.embedders import open_embedder
from workflow_scripts.common.errors import InputError
from workflow_scripts.common.job import log, run
from workflow_scripts.common.tokens import TokenStore


def embed_cells(embedder, cohort, folder):
    """Write the cell tokens of a cohort, and their index, into `folder`."""
    store = TokenStore(folder)
    for tissue in cohort.tissues():
        positions, left_out = embedder.usable(tissue.accessions)
        if not positions:
            raise InputError(
                f"tissue {tissue.id}: {embedder.name} can read none of its channels ({left_out}), "
                "expected at least one; name another instance in `scaling.panels`"
            )
        accessions = [tissue.accessions[i] for i in positions]
        tokens = embedder.embed(tissue.image(positions), accessions, [], tissue.cell_mask())
        rows = [{"tissue_id": tissue.id, "cell_id": cell} for cell in tokens.cell_ids]
        store.append("cells", tokens.cells, rows)
    return store.close()


def main(snakemake):
    """Embed the cells of one cohort with one instance, and probe every task."""
    params, counts = snakemake.params, Path(snakemake.output.counts)
    embedder = open_embedder(
        snakemake.wildcards.model,
        params.model_folder,
        snakemake.input.embeddings,
        params.embed,
        params.device,
    )
    cohort = CohortFiles(params.cohort_folder)
    with TemporaryDirectory(dir=counts.parent) as folder:
        index = embed_cells(embedder, cohort, folder)
        log.info("%d cells of %s", len(index), cohort.id)
        folders = {cohort.id: folder}
        metadata = {cohort.id: cohort.folder / "metadata"}
        probe_tasks(params.tasks, folders, metadata, params.settings, snakemake.output)


if __name__ == "__main__":
    run(main, globals())
