"""Choose a cohort's tissues and sub-images, split its patients and publish its tables.

Filters and sub-images: the paper, "Data augmentation" and "Dataset curation".
"""

import hashlib
import os
from pathlib import Path

import numpy as np
import pandas as pd

from workflow_scripts.common.crops import coverage
from workflow_scripts.common.errors import InputError
from workflow_scripts.common.images import read_mask
from workflow_scripts.common.job import log, run

SPLITS = ("train", "test")
SUB_IMAGE_TYPES = {
    "tissue_id": "str",
    "row": "int64",
    "col": "int64",
    "height": "int64",
    "width": "int64",
    "tissue_fraction": "float64",
}


def draw_sub_images(tissue_id, tissue, min_coverage, side, per_fit, seed):
    """Draw sub-images of a tissue mask [H, W]: a table of SUB_IMAGE_TYPES, and the number drawn.

    `per_fit` times N windows of `side` px are drawn uniformly, N = how many fit side by side; what
    has less than `min_coverage` tissue is dropped, not drawn again. `side` None: the whole image
    once. The draw depends on `seed`, the tissue's id and its size alone. The image holds a window.
    """
    height, width = tissue.shape
    if side is None:
        rows = cols = np.zeros(1, dtype=np.int64)
    else:
        drawn = per_fit * (height // side) * (width // side)
        name = int.from_bytes(hashlib.sha256(tissue_id.encode()).digest()[:8], "little")
        rng = np.random.default_rng((seed, name))
        rows = rng.integers(height - side + 1, size=drawn)
        cols = rng.integers(width - side + 1, size=drawn)
        height = width = side
    fractions = coverage(tissue, rows, cols, height, width)
    table = pd.DataFrame(
        {
            "tissue_id": tissue_id,
            "row": rows,
            "col": cols,
            "height": height,
            "width": width,
            "tissue_fraction": fractions,
        }
    ).astype(SUB_IMAGE_TYPES)
    return table[fractions >= min_coverage], len(rows)


def choose_tissues(tissues, masks, settings, sub_images):
    """Return (sub-images, exclusions, number drawn) of the `tissues` table.

    `masks`: function from a tissue's id to its mask; `settings` and `sub_images`: those sections
    of the study's settings. Exclusions: tissue_id, reason.
    """
    tables, excluded, drawn = [], [], 0
    min_coverage = settings["min_coverage"]
    smallest = max(settings["min_side"], sub_images["side"] or 0)
    for tissue in tissues.itertuples():
        shortest = min(tissue.height, tissue.width)
        if shortest < smallest:
            excluded.append((tissue.tissue_id, f"side {shortest} px below {smallest} px"))
            continue
        mask = masks(tissue.tissue_id)
        table, count = draw_sub_images(tissue.tissue_id, mask, min_coverage, **sub_images)
        drawn += count
        tables.append(table)
        if table.empty:
            excluded.append((tissue.tissue_id, f"no sub-image with {min_coverage:.0%} tissue"))
    empty = pd.DataFrame({name: [] for name in SUB_IMAGE_TYPES})
    chosen = pd.concat(tables or [empty], ignore_index=True).astype(SUB_IMAGE_TYPES)
    return chosen, pd.DataFrame(excluded, columns=["tissue_id", "reason"], dtype="str"), drawn


def split_patients(patients, test_fraction, seed):
    """Return {patient: train | test}; at least one patient on each side where there are two.

    A seeded shuffle of the sorted ids, so that the order of the table does not matter.
    """
    ids = sorted(set(patients))
    tested = 0
    if len(ids) > 1 and test_fraction > 0:
        tested = min(max(1, round(test_fraction * len(ids))), len(ids) - 1)
    shuffled = np.random.default_rng(seed).permutation(ids).tolist()
    return dict.fromkeys(shuffled[:tested], "test") | dict.fromkeys(shuffled[tested:], "train")


def check_patients(tissues, path):
    """Raise InputError unless every tissue of the table at `path` has a patient."""
    unknown = tissues.loc[tissues["patient_id"].isna(), "tissue_id"]
    if len(unknown):
        raise InputError(
            f"{path}: tissue {unknown.iloc[0]} has no patient_id (and {len(unknown) - 1} others), "
            "but the split is by patient; say in the cohort file where the patients are named"
        )


def shipped_splits(tissues, path):
    """Return {patient: train | test} as far as the table at `path` ships a split.

    Raises InputError for any other value and for a patient who is in both.
    """
    named = tissues[tissues["split"].notna()]
    odd = named[~named["split"].isin(SPLITS)]
    if len(odd):
        raise InputError(
            f"{path}: tissue {odd['tissue_id'].iloc[0]} has split '{odd['split'].iloc[0]}', "
            "expected train or test; correct the cohort's split table or leave it out"
        )
    sides = named.groupby("patient_id")["split"].agg(["nunique", "first"])
    both = sides.index[sides["nunique"] > 1]
    if len(both):
        raise InputError(
            f"{path}: patient {both[0]} is in both splits (and {len(both) - 1} others), expected "
            "all tissues of a patient in one; correct the cohort's split table or leave it out"
        )
    return sides["first"].to_dict()


def assign_splits(tissues, chosen_ids, settings, path):
    """Return the chosen rows of `tissues` with `split`: the patient's shipped one, else drawn."""
    check_patients(tissues, path)
    shipped = shipped_splits(tissues, path)
    chosen = tissues[tissues["tissue_id"].isin(chosen_ids)].reset_index(drop=True)
    unnamed = set(chosen["patient_id"]) - shipped.keys()
    if not shipped and len(unnamed) < 2:
        log.warning("fewer than two patients (%d): all train", len(unnamed))
    drawn = split_patients(unnamed, **settings)
    chosen["split"] = chosen["patient_id"].map(shipped | drawn).astype("str")
    log.info("split: %s tissues", chosen["split"].value_counts().to_dict())
    log.info("patients by shipped split: %d, by drawn split: %d", len(shipped), len(drawn))
    return chosen


def link(path, target):
    """Make `path` a relative symbolic link to the folder `target`."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.unlink(missing_ok=True)
    partial.symlink_to(os.path.relpath(target, path.parent), target_is_directory=True)
    os.replace(partial, path)


def take_labels(cells, new):
    """Return `cells` with the labels of `new` (tissue_id, cell_id, labels), a row for each cell.

    What they were called before is kept as `<label>_published`.
    """
    key = ["tissue_id", "cell_id"]
    labels = [name for name in new.columns if name not in key]
    kept = cells.rename(columns={label: f"{label}_published" for label in labels})
    return kept.merge(new, on=key, how="left", validate="one_to_one")


def main(snakemake):
    """Filter, draw, split, then write the published tables and link the images and masks."""
    files, out, params = snakemake.input, snakemake.output, snakemake.params
    tissues, cells = pd.read_parquet(files.tissues), pd.read_parquet(files.cells)
    if getattr(files, "reannotated", None):
        cells = take_labels(cells, pd.read_parquet(files.reannotated))
    chosen, exclusions, drawn = choose_tissues(
        tissues,
        lambda tissue_id: read_mask(Path(files.tissue_masks) / f"{tissue_id}.npz"),
        params.tissue,
        params.sub_images,
    )
    log.info("%d of %d sub-images kept", len(chosen), drawn)
    log.info("%d of %d tissues excluded", len(exclusions), len(tissues))
    for reason, count in exclusions["reason"].value_counts().items():
        log.info("excluded %d: %s", count, reason)
    published = assign_splits(tissues, chosen["tissue_id"], params.split, files.tissues)
    published.to_parquet(out.tissues, index=False)
    cells[cells["tissue_id"].isin(published["tissue_id"])].to_parquet(out.cells, index=False)
    exclusions.to_csv(out.exclusions, index=False)
    chosen.to_parquet(out.sub_images, index=False)
    published[["tissue_id", "patient_id", "split"]].to_csv(out.split, index=False)
    cohort = Path(out.exclusions).parent
    link(cohort / "imc/1_0mpp/images", files.images)
    link(cohort / "segmentations/1_0mpp/tissue_masks", files.tissue_masks)
    link(cohort / "segmentations/1_0mpp/cell_masks/instances", files.cell_masks)


if __name__ == "__main__":
    run(main, globals())
