"""A linear probe on cell tokens of an instance, and of CA-MAE, restricted to a panel of markers.

Its tokens serve nothing else ("Scaling analysis"), so they are kept only until they are probed.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

from workflow_scripts.cells.probe_cells import probe_tasks
from workflow_scripts.common.cohort_files import CohortFiles
from workflow_scripts.common.embedders import open_embedder
from workflow_scripts.common.errors import InputError
from workflow_scripts.common.job import log, run
from workflow_scripts.common.tokens import TokenStore


def embed_cells(embedder, cohort, folder, panel=None):
    """Write the cell tokens of a cohort, and their index, into `folder`; of a `panel` alone."""
    store = TokenStore(folder)
    for tissue in cohort.tissues():
        positions, left_out = embedder.usable(tissue.accessions)
        positions = [i for i in positions if not panel or tissue.accessions[i] in panel]
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


def probe_model(embedder, params, output, panel=None):
    """Embed the cells of one cohort with one model, and probe every task."""
    cohort = CohortFiles(params.cohort_folder)
    with TemporaryDirectory(dir=Path(output.counts).parent) as folder:
        index = embed_cells(embedder, cohort, folder, panel)
        log.info("%d cells of %s with %s", len(index), cohort.id, embedder.name)
        folders = {cohort.id: folder}
        metadata = {cohort.id: cohort.folder / "metadata"}
        probe_tasks(params.tasks, folders, metadata, params.settings, output)


def main(snakemake):
    """Probe the instance, and CA-MAE where the study has it."""
    params, out, settings = snakemake.params, snakemake.output, snakemake.params.embed
    model, table = snakemake.wildcards.model, snakemake.input.embeddings
    embedder = open_embedder(model, params.model_folder, table, settings, params.device)
    probe_model(embedder, params, out)
    if "rival_counts" not in out.keys():
        return
    output = SimpleNamespace(counts=out.rival_counts, facts=out.rival_facts)
    if params.rival is None:  # an instance of all markers
        probe_tasks([], {}, {}, params.settings, output)
        return
    folder, panel = params.rival["folder"], params.rival["panel"]
    embedder = open_embedder("camae", folder, None, settings, params.device)
    probe_model(embedder, params, output, panel)


if __name__ == "__main__":
    run(main, globals())
