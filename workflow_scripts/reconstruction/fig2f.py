"""A map of all marker embeddings: those of one cohort, seen or new to a model (Fig. 2f)."""

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from umap import UMAP

from workflow_scripts.common.cohort_files import CohortFiles
from workflow_scripts.common.figures import colour, figsize, save_target, style
from workflow_scripts.common.job import log, run
from workflow_scripts.common.markers import read_embeddings
from workflow_scripts.common.names import name
from workflow_scripts.common.numbers import number
from workflow_scripts.reconstruction.panels import seen_accessions

FEWEST = 4  # of markers, below which there is no map
NEIGHBOURS = 15


def marker_map(embeddings, seed):
    """Return the UMAP [n, 2] of embeddings [n, width], by cosine distance; the paper names none."""
    neighbours = min(NEIGHBOURS, len(embeddings) - 1)
    umap = UMAP(n_neighbors=neighbours, metric="cosine", init="pca", random_state=seed, n_jobs=1)
    return umap.fit_transform(embeddings)


def place_markers(accessions, points, names, panel, seen):
    """Return the source data: accession, its name, UMAP axes, whether in the panel, seen or new."""
    return pd.DataFrame(
        {
            "accession": accessions,
            "marker": [names.get(accession, accession) for accession in accessions],
            "umap_1": points[:, 0],
            "umap_2": points[:, 1],
            "in_panel": [accession in panel for accession in accessions],
            "seen_in_pretraining": [accession in seen for accession in accessions],
        }
    )


def draw(table, cohort, labelled):
    """Return the map; the cohort's new markers and the `labelled` accessions bear their names."""
    figure, axis = plt.subplots(figsize=figsize(89, 80))
    panel, seen = table["in_panel"], table["seen_in_pretraining"]
    kinds = (
        (~panel, colour("groups", "other"), "o", "in other panels alone"),
        (panel & seen, colour("groups", "seen_marker"), "o", f"{name(cohort)}, seen"),
        (panel & ~seen, colour("groups", "new_marker"), "X", f"{name(cohort)}, new"),
    )
    for chosen, shade, shape, label in kinds:
        rows = table[chosen]
        x, y = rows["umap_1"], rows["umap_2"]
        axis.scatter(x, y, 14, shade, marker=shape, lw=0, label=f"{label} ({len(rows)})")
    for row in table[panel & (~seen | table["accession"].isin(labelled))].itertuples():
        where = (row.umap_1, row.umap_2)
        axis.annotate(row.marker, where, (2.5, 2.5), textcoords="offset points", fontsize=5)
    axis.set(xticks=[], yticks=[], xlabel="UMAP 1", ylabel="UMAP 2")
    axis.set_aspect("equal", "datalim")
    axis.margins(0.12)
    figure.legend(loc="outside upper left", markerscale=1.2)
    return figure


def main(snakemake):
    """Draw and save the target; without the cohort, say why."""
    style()
    params, reason = snakemake.params, snakemake.params.absent
    figure, table, numbers = None, None, {}
    if not reason:
        accessions, embeddings = read_embeddings(snakemake.input.embeddings)
        if len(accessions) < FEWEST:
            reason = f"{len(accessions)} markers are too few for a map"
    if not reason:
        markers = pd.read_csv(snakemake.input.markers).dropna(subset=["uniprot"])
        names = dict(zip(markers["uniprot"][::-1], markers["marker"][::-1], strict=True))
        measured = CohortFiles(params.cohort_folder).names()
        names |= measured
        panel = set(measured)
        seen = seen_accessions(params.seen)
        points = marker_map(embeddings.numpy(), params.seed)
        table = place_markers(accessions, points, names, panel, seen)
        wanted = markers.loc[markers["gene"].isin(params.examples), "uniprot"]
        figure = draw(table, params.cohort, set(wanted))
        chosen = table[table["in_panel"]]
        numbers = {
            "markers": number(len(table)),
            "panel": number(len(chosen)),
            "new": number(int((~chosen["seen_in_pretraining"]).sum())),
        }
        log.info("%d markers, %d of them of %s", len(table), len(chosen), params.cohort)
    folder = Path(snakemake.output.numbers).parent
    status = f"not run: {reason}" if reason else "done"
    caption = params.target["caption"]
    save_target(folder, "fig2f", figure, table, numbers, caption, params.simulated, status)


if __name__ == "__main__":
    run(main, globals())
