"""Importance of markers and attention maps of the tissues of a cohort ("Model inspection")."""

import json

import numpy as np
import pandas as pd
import torch

from virtues_core.inspection import ChannelSummaries
from workflow_scripts.attention.fine_tune import attention_on, fine_tune, look
from workflow_scripts.attention.importance import (
    SCORINGS,
    importance,
    over_cohort,
    received_attention,
)
from workflow_scripts.attention.regions import find_regions
from workflow_scripts.common.cohort_files import CohortFiles
from workflow_scripts.common.crops import TrainingCrops, tissue_grid
from workflow_scripts.common.errors import InputError
from workflow_scripts.common.job import log, run
from workflow_scripts.common.staging import staged
from workflow_scripts.common.tasks import task_classes
from workflow_scripts.common.virtues_embedder import open_model

COLUMNS = ["tissue_id", "patient_id", "subtype", "region", "row", "col", "marker", *SCORINGS]  # px
ABOUT = ["tissue_id", "patient_id", "subtype", "split", "predicted", "probability"]
ON_TUMOUR = ["attention_on_tumour", "for_its_place"]
ABOUT += ON_TUMOUR


def inspected(table, classes, shown):
    """Return ids of tissues to look at: those of the test split, if it has all `shown` classes.

    Else all that have a class.
    """
    labelled = table[table["tissue_id"].map(classes).notna()]
    test = labelled[labelled["split"] == "test"]
    enough = set(shown) <= set(test["tissue_id"].map(classes))
    return (test if enough else labelled)["tissue_id"].tolist()


def cells_of(table, tissue_id, label):
    """Return the cells of one tissue with x, y and `label`; empty where the cohort has none."""
    own = table[table["tissue_id"] == tissue_id]
    labels = own[label] if label in own else pd.Series(index=own.index, dtype=object)
    empty = pd.Series(index=own.index, dtype=float)
    return pd.DataFrame(
        {
            "cell_id": own["cell_id"],
            "x": own.get("x", empty),
            "y": own.get("y", empty),
            "label": labels.astype(object).where(labels.notna(), None),
        }
    )


def read(tissue, rows):
    """Return the channels that the model knows: markers, marker rows [C] and image [C, H, W]."""
    places = [i for i, accession in enumerate(tissue.accessions) if accession in rows]
    if not places:
        raise InputError(
            f"tissue {tissue.id}: the model knows none of its {len(tissue.accessions)} channels, "
            "expected at least one; name another cohort in `attention`"
        )
    ids = np.array([rows[tissue.accessions[i]] for i in places])
    return [tissue.markers[i] for i in places], ids, tissue.image(places)


def rate_tissue(model, rows, tissue, cells, params):
    """Return (markers, received attention of the tissue, table of importance by region)."""
    side, batch = params.settings["crop"], params.settings["batch"]
    markers, ids, image = read(tissue, rows)
    origins = tissue_grid(tissue.tissue_mask(), side, params.min_coverage)
    wanted, fewest = params.attention["regions"], params.attention["fewest_cells"]
    regions = find_regions(cells, image.shape[1:], side, wanted, fewest)
    whole = received_attention(model, image, ids, origins, side, batch)
    tables = [scored("tissue", markers, whole)]
    for name, origin in regions.items():
        received = received_attention(model, image, ids, [origin], side, batch)
        tables.append(scored(name, markers, received).assign(row=origin[0], col=origin[1]))
    return markers, whole, pd.concat(tables)


def scored(region, markers, received):
    """Return the importance of each marker in one region, a row per marker."""
    scores = {scoring: importance(received, scoring) for scoring in SCORINGS}
    return pd.DataFrame({"region": region, "marker": markers, **scores})


def rate_all(model, rows, tissues, cells, classes, params):
    """Return the importance of each marker in all tissues, their regions, and the cohort."""
    parts, tables = [], [pd.DataFrame(columns=COLUMNS)]
    for tissue in tissues:
        *part, table = rate_tissue(model, rows, tissue, cells[tissue.id], params)
        parts.append(part)
        about = dict(tissue_id=tissue.id, patient_id=tissue.patient_id, subtype=classes[tissue.id])
        tables.append(table.assign(**about))
    if parts:
        tables.append(scored("cohort", *over_cohort(parts)))
    return pd.concat([table for table in tables if len(table)] or tables)


def watch(summaries, head, rows, tissue, cells, params):
    """Return the class probabilities of a tissue, its maps, and their attention on tumour cells.

    The latter is a ratio to other cells, NaN where there are none or their types are not known.
    """
    _, ids, image = read(tissue, rows)
    settings, mask = params.settings, tissue.cell_mask()
    shares, maps = look(
        summaries, head, image, ids, tissue.tissue_mask(), settings, params.min_coverage
    )
    if mask is None or cells.empty:
        return shares, maps, (np.nan, np.nan)
    kinds = np.full(int(max(mask.max(), cells["cell_id"].max())) + 1, -1)
    known = cells.dropna(subset=["label"])
    kinds[known["cell_id"]] = known["label"].isin(params.attention["tumour"])
    patch = summaries.model.config.patch
    return shares, maps, [attention_on(mask, kinds, attention, patch) for attention in maps]


def watch_all(model, accessions, tissues, cells, classes, params):
    """Fine-tune the model, in place; return a table of the tissues, their maps, and the losses.

    Nothing where the training split has fewer than two classes.
    """
    side, device = params.settings["crop"], params.device
    names = sorted(set(classes.dropna()))
    number = {tissue: names.index(kind) for tissue, kind in classes.items() if kind is not None}
    crops = TrainingCrops([params.cohort_folder], accessions, side, (0.0, 0.0), params.seed)
    trained = {number[tissue] for tissue in crops.tissue_ids if tissue in number}
    if len(trained) < 2:
        return pd.DataFrame(columns=ABOUT), {}, []
    rows = {accession: row for row, accession in enumerate(accessions)}
    torch.manual_seed(params.seed)
    summaries = ChannelSummaries(model)
    head = torch.nn.Linear(model.config.width, len(names)).to(device)
    tuning = params.attention["fine_tune"]
    losses = fine_tune(summaries, head, crops, number, tuning, params.seed)
    maps, about = {}, []
    for tissue in tissues:
        found = watch(summaries, head, rows, tissue, cells[tissue.id], params)
        shares, maps[tissue.id], on_tumour = found
        row = dict(tissue_id=tissue.id, patient_id=tissue.patient_id, split=tissue.split)
        row |= dict(subtype=classes[tissue.id]) | dict(zip(ON_TUMOUR, on_tumour, strict=True))
        if shares is not None:
            row |= dict(predicted=names[shares.argmax()], probability=shares[number[tissue.id]])
        about.append(row)
    return pd.DataFrame(about, columns=ABOUT), maps, losses


def main(snakemake):
    """Rate markers with the model as it is; then fine-tune it and draw its maps."""
    params, files = snakemake.params, snakemake.output
    cohort, side = CohortFiles(params.cohort_folder), params.settings["crop"]
    classes = task_classes(cohort.table.set_index("tissue_id"), params.task, params.where)
    model, accessions = open_model(params.model_folder, snakemake.input.embeddings, params.device)
    rows = {accession: row for row, accession in enumerate(accessions)}
    chosen = set(inspected(cohort.table, classes, params.attention["shown"]))
    tissues = [tissue for tissue in cohort.tissues() if tissue.id in chosen]
    tissues = [tissue for tissue in tissues if min(tissue.file.shape[1:]) >= side]
    log.info("%d of %d tissues are no smaller than a crop", len(tissues), len(chosen))
    cells = pd.read_parquet(cohort.folder / "metadata/cells.parquet")
    cells = {tissue.id: cells_of(cells, tissue.id, params.attention["label"]) for tissue in tissues}
    ratings = rate_all(model, rows, tissues, cells, classes, params)
    about, maps, losses = watch_all(model, accessions, tissues, cells, classes, params)
    with staged(files.importance, files.tissues, files.maps, files.facts) as out:
        ratings.reindex(columns=COLUMNS).to_parquet(out[0], index=False)
        about.to_parquet(out[1], index=False)
        with out[2].open("wb") as file:
            np.savez(file, **maps)
        out[3].write_text(json.dumps({"losses": losses, "small": len(chosen) - len(tissues)}))


if __name__ == "__main__":
    run(main, globals())
