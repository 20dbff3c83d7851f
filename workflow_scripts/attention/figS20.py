"""Attention over two tissues, and the importance of markers in three regions (Suppl. Fig. 20)."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from workflow_scripts.attention.importance import SCORINGS, advantage
from workflow_scripts.attention.pictures import draw
from workflow_scripts.common.bootstrap import interval, resamples
from workflow_scripts.common.cohort_files import CohortFiles
from workflow_scripts.common.figures import save_target, style
from workflow_scripts.common.job import log, run
from workflow_scripts.common.numbers import not_run, number, weights_of


def choose(about, ratings, kind):
    """Return the tissue of a subtype to show: the median one by probability (D30), or None.

    Of those with the most regions, and then of those that are classified rightly if there are any.
    """
    own = about[about["subtype"] == kind].sort_values(["probability", "tissue_id"])
    own = own[own["probability"].notna()]
    if own.empty:
        return None
    regions = ratings.dropna(subset=["row"]).groupby("tissue_id")["region"].nunique()
    has = own["tissue_id"].map(regions).fillna(0)
    own = own[has == has.max()]
    right = own[own["predicted"] == kind]
    own = right if len(right) else own
    return own["tissue_id"].iloc[(len(own) - 1) // 2]


def patient_mean(values, patients, repeats, seed):
    """Return the mean of values, its 95 % interval over patients, and how many there are."""
    known = ~np.isnan(values)
    codes, unique = pd.factorize(np.asarray(patients)[known])
    if not len(unique):
        return None, None, None, 0
    sums, counts = np.bincount(codes, values[known]), np.bincount(codes)
    draws = resamples(len(unique), repeats, seed)
    low, high = interval((draws @ sums) / np.maximum(draws @ counts, 1))
    return values[known].mean(), low, high, len(unique)


def rate_claims(ratings, regions, claims, kind, tissue, entry, source):
    """Return entries of each statement, and how far named markers lead in all tissues of `kind`.

    `entry(values, patients)` makes a number of values by tissue; `source`: seeds and weights. A
    statement holds if all named markers are among the `top` by the printed score in the region of
    the tissue shown.
    """
    numbers = {}
    ours = ratings[ratings["subtype"] == kind]
    for claim, region in zip(claims, regions, strict=True):
        key = region["name"].replace(" ", "_").replace("-", "_")
        rows = ours[ours["region"] == region["name"]]
        missing = [marker for marker in region["named"] if marker not in set(ratings["marker"])]
        shown = rows[rows["tissue_id"] == tissue].set_index("marker")
        if missing or shown.empty:
            reason = f"no tissue shown has a region of {region['name']}"
            reason = f"the panel lacks {', '.join(missing)}" if missing else reason
            numbers |= {name: not_run(reason) for name in (claim, *_leads(key))}
            continue
        tissues = [part for _, part in rows.groupby("tissue_id")]
        named = [part["marker"].isin(region["named"]).to_numpy() for part in tissues]
        patients = [part["patient_id"].iloc[0] for part in tissues]
        for scoring in SCORINGS:
            pairs = zip([part[scoring].to_numpy() for part in tissues], named, strict=True)
            leads = np.array([advantage(*pair) for pair in pairs])
            numbers[f"lead_{key}_{scoring}"] = entry(leads, patients)
        ranks = shown["as_printed"].rank(ascending=False, method="max")
        careful = numbers[f"lead_{key}_over_targets"]["value"]
        label = (
            "chance that a named marker is above another, over targets (D17), mean over "
            f"{numbers[f'lead_{key}_over_targets']['n']} patients; 0.5 by chance"
        )
        holds = bool((ranks[region["named"]] <= region["top"]).all())
        numbers[claim] = number(holds, n=1, careful=(careful, label), **source)
    return numbers


def _leads(key):
    return [f"lead_{key}_{scoring}" for scoring in SCORINGS]


def summarise(ratings, about, attention, claims, tissue, seed, weights):
    """Return all entries of numbers.json."""
    source = {"seeds": [seed], "weights": weights}

    def entry(values, patients):
        mean, low, high, n = patient_mean(values, patients, attention["bootstrap"], seed)
        if mean is None:
            return not_run("no tissue has the cells that this needs")
        return number(mean, low, high, n=n, **source)

    second = attention["shown"][1]
    numbers = rate_claims(ratings, attention["regions"], claims, second, tissue, entry, source)
    right = (about["predicted"] == about["subtype"]).astype(float)
    numbers["subtype_accuracy"] = entry(
        right.where(about["probability"].notna()).to_numpy(float), about["patient_id"].to_numpy()
    )
    numbers["subtype_accuracy"]["careful"] = {
        "value": float(about["subtype"].value_counts(normalize=True).max()),
        "label": "share of the most frequent subtype",
    }
    for kind in attention["shown"]:
        own = about[about["subtype"] == kind]
        key, patients = f"attention_on_tumour_{kind.split()[0].lower()}", own["patient_id"]
        columns = ("attention_on_tumour", "for_its_place")
        printed, beside = (entry(own[c].to_numpy(float), patients.to_numpy()) for c in columns)
        if printed["value"] is not None:
            label = "the same over the mean attention at that place of a crop"
            printed["careful"] = {"value": beside["value"], "label": label}
        numbers[key] = printed
    return numbers


def main(snakemake):
    """Choose the tissues, draw them, and rate the statements."""
    style()
    params, files = snakemake.params, snakemake.input
    attention, target = params.attention, params.target
    ratings, about = pd.read_parquet(files.importance), pd.read_parquet(files.tissues)
    facts = json.loads(Path(files.facts).read_text())
    shown = [choose(about, ratings, kind) for kind in attention["shown"]]
    reason = "no test tissue of a subtype holds a crop, or the train split has one subtype only"
    figure, status = None, f"not run: {reason}"
    numbers = {claim: not_run(reason) for claim in target["claims"]}
    if all(shown):
        with np.load(files.maps) as file:
            maps = {tissue: file[tissue] for tissue in shown}
        cells = pd.read_parquet(files.cells)
        cohort = CohortFiles(params.cohort_folder)
        weights, status = weights_of(files.metrics), "done"
        numbers = summarise(
            ratings, about, attention, target["claims"], shown[1], params.seed, weights
        )
        numbers["fine_tuning_loss"] = number(
            np.mean(facts["losses"][-10:]), seeds=[params.seed], weights=weights
        )
        figure = draw(shown, ratings, cells, maps, cohort, attention, params.side)
        log.info("shown: %s; %d tissues", ", ".join(shown), len(about))
    folder = Path(snakemake.output.numbers).parent
    save_target(
        folder,
        target["id"],
        figure,
        ratings if len(ratings) else None,
        numbers,
        target["caption"],
        params.simulated,
        status,
    )


if __name__ == "__main__":
    run(main, globals())
