"""Label a cohort's cells anew, by a random forest trained on images whose labels were verified.

Methods, "Dataset curation": the cells of one cohort were re-annotated so, after 96 images had been
checked by eye. The paper gives neither features nor sizes of the forest: features are the log of
the mean counts of a cell, the forest that of the paper's transfer of cell types (D24).
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import f1_score
from sklearn.model_selection import GroupKFold, cross_val_predict

from workflow_scripts.common.cohort import load_cohort
from workflow_scripts.common.errors import InputError
from workflow_scripts.common.images import read_mask, read_ome_zarr
from workflow_scripts.common.job import log, run
from workflow_scripts.common.staging import staged

FOLDS = 5
BLOCK = 100_000  # cells at a time: each thread's tree answers with a probability for each class
KEY = ["tissue_id", "cell_id"]


def cell_means(image, mask, cell_ids):
    """Return log(1 + mean count) [cells, C] of an image [C, H, W] over each cell of a mask."""
    size = int(mask.max()) + 1
    flat = mask.ravel()
    pixels = np.bincount(flat, minlength=size)[cell_ids]
    sums = [np.bincount(flat, channel.ravel(), minlength=size)[cell_ids] for channel in image]
    return np.log1p(np.stack(sums, axis=1) / pixels[:, None]).astype(np.float32)


def read_verified(path, tissues):
    """Return the tissue ids that the table at `path` lists; InputError for one that is unknown."""
    table = pd.read_csv(path, dtype=str)
    if "tissue_id" not in table:
        raise InputError(
            f"{path}: no column 'tissue_id'; expected one verified image per row; rename the column"
        )
    ids = table["tissue_id"].str.strip().tolist()
    unknown = [tissue for tissue in ids if tissue not in set(tissues)]
    if unknown or not ids:
        raise InputError(
            f"{path}: {len(unknown)} of {len(ids)} verified images are not among the tissues "
            f"({', '.join(map(str, unknown[:3])) or 'none is listed'}); expected ids such as "
            f"{next(iter(tissues))}; correct the list"
        )
    return ids


def forest(settings, threads):
    """Return the untrained classifier."""
    return RandomForestClassifier(
        n_estimators=settings["trees"],
        max_depth=settings["depth"],
        criterion="gini",
        bootstrap=True,
        random_state=settings["seed"],
        n_jobs=threads,
    )


def relabel(cells, features, verified, patients, settings, threads=1):
    """Return new labels (a table like `cells`) and what is known of them (dict per label).

    `cells`: KEY and the labels of settings["labels"]; `features` [cells, C]; `verified`: tissue
    ids whose labels are true, and kept; `patients` [cells] are kept together in the folds that
    score the forest on verified images.
    """
    known = cells["tissue_id"].isin(verified).to_numpy()
    others = np.flatnonzero(~known)
    answer, facts = cells[KEY].copy(), {}
    for label in settings["labels"]:
        usable = known & cells[label].notna().to_numpy()
        classes = cells.loc[usable, label].unique()
        if len(classes) < 2:
            raise InputError(
                f"cells.reannotate: the verified images hold {len(classes)} classes of "
                f"'{label}', expected two or more; verify more images"
            )
        x, y = features[usable], cells.loc[usable, label].to_numpy()
        f1 = _score(x, y, patients[usable], settings, threads)
        model = forest(settings, threads).fit(x, y)
        labels = cells[label].to_numpy(dtype=object, copy=True)
        for start in range(0, len(others), BLOCK):
            rows = others[start : start + BLOCK]
            labels[rows] = model.predict(features[rows])
        answer[label] = labels
        published = cells[label].notna().to_numpy() & ~known
        changed = (labels != cells[label].to_numpy())[published]
        unseen = set(cells.loc[published, label]) - set(classes)
        facts[label] = {
            "verified_cells": int(usable.sum()),
            "macro_f1_by_patient": f1,
            "relabelled_cells": len(others),
            "changed_share": float(changed.mean()) if published.any() else None,
            "classes_without_verified_cells": sorted(unseen),
        }
        log.info("%s: %s", label, facts[label])
    return answer, facts


def _score(x, y, patients, settings, threads):
    """Return macro-F1 over verified cells, each predicted without its patient; None for one."""
    folds = min(FOLDS, len(set(patients)))
    if folds < 2:
        return None
    split = GroupKFold(folds)
    predicted = cross_val_predict(forest(settings, threads), x, y, groups=patients, cv=split)
    return float(f1_score(y, predicted, average="macro"))


def main(snakemake):
    """Write the new labels of one cohort beside its ingested tables."""
    files, output = snakemake.input, snakemake.output
    settings = load_cohort(files.cohort).cells["reannotate"]
    tissues = pd.read_parquet(files.tissues).set_index("tissue_id")
    verified = read_verified(files.verified, tissues.index)
    log.info("%d verified images of %d", len(verified), len(tissues))
    cells = pd.read_parquet(files.cells)
    proteins = pd.read_parquet(files.channels)["uniprot_id"].notna().to_numpy()
    parts, features = [], []
    for tissue, rows in cells.groupby("tissue_id"):
        image, _ = read_ome_zarr(Path(files.images) / f"{tissue}.ome.zarr")
        mask = read_mask(Path(files.cell_masks) / f"{tissue}.npz").astype(np.int64)
        features.append(cell_means(image[proteins], mask, rows["cell_id"].to_numpy()))
        parts.append(rows)
    cells = pd.concat(parts, ignore_index=True)
    patients = cells["tissue_id"].map(tissues["patient_id"]).to_numpy()
    answer = relabel(
        cells, np.concatenate(features), verified, patients, settings, snakemake.threads
    )
    with staged(output.cells, output.summary) as parts:
        answer[0].to_parquet(parts[0], index=False)
        facts = {"verified_images": len(verified), "features": int(proteins.sum())} | answer[1]
        parts[1].write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    run(main, globals())
