"""How far the cells of a patient move under treatment, and their maps ("Treatment responses").

Writes a distance per patient, model and pair of times; UMAP points of a share of the cells; and
Wasserstein barycentres of the patients' points per group and time.
"""

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import ot
import pandas as pd
import torch
from umap import UMAP

from workflow_scripts.biomarkers.transport import entropic_transport
from workflow_scripts.biomarkers.treated import GROUPS, treated_tissues
from workflow_scripts.common.device import check_device
from workflow_scripts.common.errors import InputError
from workflow_scripts.common.job import log, run
from workflow_scripts.common.staging import staged
from workflow_scripts.common.tasks import tissues_of
from workflow_scripts.common.tokens import read_tokens

POINT = ["model", "tissue_id", "cell_id", "patient_id", "time", "group", "x", "y"]
SHIFT = ["model", "patient_id", "group", "start", "end", "cells_start", "cells_end"]
SHIFT += ["distance", "relative", "floor", "lowest", "marginal_error"]
CENTRE = ["model", "group", "time", "x", "y"]
FEWEST = 4  # cells of which a map can be made; of a patient at a time, that halves can be compared


def treated_cells(index, tissues):
    """Return the cells with a token of the treated tissues, in the order of their tokens."""
    cells = index[["tissue_id", "cell_id", "position"]].merge(tissues, on="tissue_id")
    return cells.sort_values("position", ignore_index=True)


def spread(array, cells):
    """Return the mean squared distance of two random cells, from sums over tissues."""
    count, total, squares = 0, 0.0, 0.0
    for _, rows in cells.groupby("tissue_id"):
        tokens = array.oindex[rows["position"].to_numpy(int)].astype(np.float64)
        count, total, squares = (
            count + len(rows),
            total + tokens.sum(0),
            squares + (tokens**2).sum(),
        )
    return 2 * (squares / count - float(((total / count) ** 2).sum()))


def shifts(array, cells, settings, seed, device="cpu"):
    """Return one row per patient and pair of times with samples of that patient (columns SHIFT).

    distance: root of the transport cost of all cells of both times; lowest: what no plan falls
    below, nor the exact distance; relative: the distance over that of two random cells of the
    cohort; floor: the same between two random halves of the earlier sample, which is what numbers
    of cells alone make of no shift at all.
    """
    unit, rows = spread(array, cells), []
    solver = (settings["epsilon"], settings["tolerance"], settings["max_rounds"])
    relative = settings["epsilon_unit"] == "mean_cost"
    for patient, own in cells.groupby("patient_id"):
        tokens = {}
        for time, part in own.groupby("time"):
            found = array.oindex[part["position"].to_numpy(int)]
            tokens[time] = torch.as_tensor(found, device=device)
        for start, end in combinations([t for t in settings["times"] if t in tokens], 2):
            moved = entropic_transport(tokens[start], tokens[end], *solver, relative)
            order = np.random.default_rng(seed).permutation(len(tokens[start]))
            halves = np.array_split(order, 2)
            floor = np.nan
            if len(order) >= FEWEST:
                still = entropic_transport(*(tokens[start][h] for h in halves), *solver, relative)
                floor = (still.cost / unit) ** 0.5
            rows.append(
                {
                    "patient_id": patient,
                    "group": own["group"].iloc[0],
                    "start": start,
                    "end": end,
                    "cells_start": len(tokens[start]),
                    "cells_end": len(tokens[end]),
                    "distance": moved.cost**0.5,
                    "relative": (moved.cost / unit) ** 0.5,
                    "floor": floor,
                    "lowest": max(moved.bound, 0) ** 0.5,
                    "marginal_error": moved.error,
                }
            )
    return pd.DataFrame(rows, columns=SHIFT[1:])


def draw_cells(cells, share, seed):
    """Return a random share of the cells, in the order of their tokens."""
    count = min(max(round(share * len(cells)), FEWEST), len(cells))
    chosen = np.random.default_rng(seed).choice(len(cells), count, replace=False)
    return cells.iloc[np.sort(chosen)].reset_index(drop=True)


def map_cells(tokens, neighbours, seed):
    """Return the UMAP [n, 2] of tokens [n, D] by Euclidean distance."""
    neighbours = min(neighbours, len(tokens) - 1)
    umap = UMAP(n_neighbors=neighbours, init="pca", random_state=seed, n_jobs=1)
    return umap.fit_transform(tokens)


def barycentre(clouds, points, seed):
    """Return the free-support barycentre [points, 2] of patients' clouds [n_i, 2], equal weights.

    It minimises the sum of squared 2-Wasserstein distances (D12); it starts from points drawn from
    all patients alike.
    """
    rng = np.random.default_rng(seed)
    start = np.array([cloud[rng.integers(len(cloud))] for cloud in _turns(clouds, points)])
    start = start + 1e-3 * np.concatenate(clouds).std() * rng.standard_normal(start.shape)
    weights = [np.full(len(cloud), 1 / len(cloud)) for cloud in clouds]
    return ot.lp.free_support_barycenter(clouds, weights, start, numItermax=50, stopThr=1e-6)


def _turns(clouds, points):
    return (clouds[turn % len(clouds)] for turn in range(points))


def barycentres(points, settings, seed):
    """Return the barycentres of all groups and times that have points (columns CENTRE)."""
    parts = []
    for group in GROUPS:
        for time in settings["times"]:
            rows = points[(points["group"] == group) & (points["time"] == time)]
            clouds = [part[["x", "y"]].to_numpy(float) for _, part in rows.groupby("patient_id")]
            if clouds:
                centre = barycentre(clouds, settings["barycentre_points"], seed)
                table = pd.DataFrame(centre, columns=["x", "y"])
                parts.append(table.assign(group=group, time=time))
    return pd.concat(parts, ignore_index=True)[CENTRE[1:]]


def main(snakemake):
    """Measure every model on the same cells; where that is impossible, write why."""
    params, out = snakemake.params, snakemake.output
    settings, status = params.settings, "done"
    tables = {"shifts": [], "points": [], "centres": []}
    check_device(params.device)
    torch.set_num_threads(snakemake.threads)
    try:
        tissues = tissues_of(params.cohort_folder)
        tissues, _ = treated_tissues(tissues, params.task, settings, params.where)
        for folder in snakemake.input.embeddings:
            model = Path(folder).parent.name
            index, array = read_tokens(folder, "cells")
            cells = treated_cells(index, tissues)
            if len(cells) < FEWEST:
                raise InputError(f"{folder}: {len(cells)} cells of treated patients have a token")
            moved = shifts(array, cells, settings, params.seed, params.device)
            shown = draw_cells(cells, settings["share"], params.seed)
            tokens = array.oindex[shown["position"].to_numpy(int)]
            shown[["x", "y"]] = map_cells(tokens, settings["neighbours"], params.seed)
            centres = barycentres(shown, settings, params.seed)
            for name, table in zip(tables, (moved, shown, centres), strict=True):
                tables[name].append(table.assign(model=model))
            log.info("%s: %d cells, %d pairs of samples", model, len(cells), len(moved))
    except InputError as error:
        tables, status = dict.fromkeys(tables, []), f"not run: {error}"
        log.warning("%s", status)
    columns = {"shifts": SHIFT, "points": POINT, "centres": CENTRE}
    with staged(out.shifts, out.points, out.barycentres, out.facts) as parts:
        for path, name in zip(parts, columns, strict=False):
            table = pd.concat(tables[name]) if tables[name] else pd.DataFrame(columns=columns[name])
            table[columns[name]].to_parquet(path, index=False)
        parts[3].write_text(json.dumps({"status": status}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    run(main, globals())
