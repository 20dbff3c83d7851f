"""Virtual stains of unmeasured markers, and how wrong they may be.

Each measured marker is hidden on some crops and predicted from the others; an unmeasured one is
predicted on all of every tissue. Values are in standard deviations, as the model sees markers.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from virtues_core.cells import tile_origins
from workflow_scripts.common.cohort_files import CohortFiles
from workflow_scripts.common.correlation import MOMENTS, moments
from workflow_scripts.common.crops import tissue_grid
from workflow_scripts.common.embedders import open_embedder
from workflow_scripts.common.images import write_labels, write_ome_zarr
from workflow_scripts.common.job import log, run
from workflow_scripts.common.markers import read_embeddings
from workflow_scripts.common.staging import staged
from workflow_scripts.own.calibration import Calibration, nearest_trained, scored

KEYS = ["tissue_id", "patient_id", "uniprot_id"]
REPEATS = 1000  # resamples of patients


def choose_crops(tissues, side, min_coverage, count, seed):
    """Return {tissue id: origins} of at most `count` crops, as even over the tissues as can be."""
    rng, places = np.random.default_rng(seed), []
    for number, tissue in enumerate(tissues):
        grid = rng.permutation(tissue_grid(tissue.tissue_mask(), side, min_coverage))
        places += [(turn, number, tissue.id, *origin) for turn, origin in enumerate(grid.tolist())]
    chosen = {}
    for _, _, tissue, row, col in sorted(places)[:count]:
        chosen.setdefault(tissue, []).append((row, col))
    return chosen


def hide_each(model, crop, accessions, batch):
    """Return the sums of `moments` per protein, {accession: [6]}, each hidden from `crop`.

    All channels of a protein are hidden together [C, S, S]; the first one is compared.
    """
    proteins = list(dict.fromkeys(accessions))
    grid = crop.shape[-1] // model.model.config.patch
    same = np.array([[a == protein for a in accessions] for protein in proteins])
    sums = {}
    for start in range(0, len(proteins), batch):
        part = same[start : start + batch]
        masks = np.broadcast_to(part[:, :, None, None], (*part.shape, grid, grid))
        guesses = model.reconstruct([crop] * len(part), accessions, masks.copy())
        for protein, hidden, guess in zip(proteins[start:], part, guesses, strict=False):
            first = int(hidden.argmax())
            sums[protein] = moments(crop[first], guess[first])
    return sums


def predict(model, image, accessions, stains, side, batch):
    """Return the predicted channels [S, H, W] float32 of an image [C, H, W].

    A channel that is hidden as a whole is decoded by itself, so all are predicted in one pass.
    """
    _, height, width = image.shape
    grid = side // model.model.config.patch
    mask = np.zeros((len(accessions) + len(stains), grid, grid), bool)
    mask[len(accessions) :] = True
    total = np.zeros((len(stains), height, width), np.float32)
    counts = np.zeros((height, width), np.float32)
    origins = tile_origins(height, width, side, side).tolist()
    for start in range(0, len(origins), batch):
        part = origins[start : start + batch]
        crops = [image[:, r : r + side, c : c + side] for r, c in part]
        empty = np.zeros((len(stains), side, side), np.float32)
        crops = [np.concatenate([crop, empty]) for crop in crops]
        made = model.reconstruct(crops, [*accessions, *stains], [mask] * len(part))
        for (r, c), guess in zip(part, made, strict=True):
            total[:, r : r + side, c : c + side] += guess[len(accessions) :]
            counts[r : r + side, c : c + side] += 1
    return total / counts


def hidden_scores(model, tissues, settings, min_coverage, count, seed):
    """Return a row of sums per tissue and measured protein; KEYS and MOMENTS."""
    side, rows = settings["crop"], []
    chosen = choose_crops(tissues, side, min_coverage, count, seed)
    for tissue in tissues:
        positions, _ = model.usable(tissue.accessions)
        accessions, image = [tissue.accessions[i] for i in positions], tissue.image(positions)
        total = {}
        for row, col in chosen.get(tissue.id, []):
            crop = image[:, row : row + side, col : col + side]
            for protein, sums in hide_each(model, crop, accessions, settings["batch"]).items():
                total[protein] = total.get(protein, 0) + sums
        rows += [(tissue.id, tissue.patient_id, a, *sums) for a, sums in total.items()]
    return pd.DataFrame(rows, columns=[*KEYS, *MOMENTS])


def judged(markers, embeddings, accessions, sums, coverage, seed):
    """Return the table of markers with distance, nearest, r, error, its interval and verdict.

    `markers`: what list_markers wrote; those without an embedding are left out.
    """
    table = markers[markers["uniprot_id"].isin(accessions)].reset_index(drop=True)
    vectors = np.asarray(embeddings)[[accessions.index(a) for a in table["uniprot_id"]]]
    nearest, distance = nearest_trained(vectors, table["trained"].to_numpy(bool))
    table["nearest"], table["distance"] = table["marker"].to_numpy()[nearest], distance
    for name in ("r", "error", "low", "high", "expected", "bound"):
        table[name] = np.nan
    table["trusted"], table["reason"] = None, ""
    patients = sums.groupby(["uniprot_id", "patient_id"])[list(MOMENTS)].sum()
    for place, accession in table.loc[table["measured"], "uniprot_id"].items():
        if accession in patients.index:
            found = scored(patients.loc[accession].to_numpy(), REPEATS, seed)
            for name, value in found.items():
                table.loc[place, name] = np.nan if value is None else value
    hidden = table[table["measured"]]
    calibration = Calibration(hidden["distance"], hidden["error"], coverage)
    for place, row in table[table["stain"]].iterrows():
        verdict = calibration.judge(row["distance"])
        table.loc[place, list(verdict)] = pd.Series(verdict, dtype=object)
    return table


def main(snakemake):
    """Score hidden markers, judge and write the stains; a table and an OME-Zarr file per tissue."""
    files, out, params = snakemake.input, snakemake.output, snakemake.params
    own, settings = params.own, params.settings
    model = open_embedder(
        params.model, params.model_folder, files.embeddings, settings, params.device
    )
    accessions, embeddings = read_embeddings(files.embeddings)
    markers = pd.read_parquet(files.markers)
    tissues = list(CohortFiles(params.cohort_folder).tissues())
    sums = hidden_scores(model, tissues, settings, params.min_coverage, own["crops"], params.seed)
    table = judged(markers, embeddings, accessions, sums, own["coverage"], params.seed)
    stains = table[table["stain"]]
    for row in stains.itertuples():
        word = "usable" if row.trusted else f"not to be trusted: {row.reason}"
        log.info("%s (%s): %s", row.marker, row.uniprot_id, word)
    with staged(out.stains, out.markers) as (folder, part):
        folder.mkdir()
        for tissue in tissues if len(stains) else []:
            positions, _ = model.usable(tissue.accessions)
            known = [tissue.accessions[i] for i in positions]
            wanted = stains["uniprot_id"].tolist()
            image, side = tissue.image(positions), settings["crop"]
            made = predict(model, image, known, wanted, side, settings["batch"])
            path = Path(folder) / f"{tissue.id}.ome.zarr"
            write_ome_zarr(path, made, [f"{name} (predicted)" for name in stains["marker"]])
            mask = tissue.cell_mask()
            if mask is not None:
                write_labels(path, mask)
            log.info("%s: %d markers predicted", tissue.id, len(wanted))
        table.to_parquet(part, index=False)


if __name__ == "__main__":
    run(main, globals())
