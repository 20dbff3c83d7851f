"""Signatures carried to a second cohort by forests, and risk scores of its patients (D11, D16).

Writes the cells of that cohort with their scores, its patients with ranks, follow-up and ratios,
and what is known about forests and exclusions.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from workflow_scripts.biomarkers import forests
from workflow_scripts.biomarkers.carried_tokens import KEYS, markers_seen, tokens_of
from workflow_scripts.biomarkers.ranks import proportions, ranks
from workflow_scripts.biomarkers.risk_scores import SIGNS, log_ratio, overall_score
from workflow_scripts.common.errors import InputError
from workflow_scripts.common.job import log, run
from workflow_scripts.common.staging import staged
from workflow_scripts.common.survival import absent, follow_up, kept_by
from workflow_scripts.common.tasks import task_classes, tissues_of
from workflow_scripts.common.tokens import read_tokens

VARIANTS = ("printed", "prevalence", "frozen")  # ways from scores to ranks; the last two are beside
PATIENT = ["patient_id", "time", "event", "group", "phenotype", "score"]


def read_members(files):
    """Return the discovery cells, a bool column per signature, and the record of signatures.json.

    InputError with the reason where the search for signatures was not run.
    """
    record = json.loads(Path(files.facts).read_text(encoding="utf-8"))
    if record["status"] != "done":
        raise InputError(record["status"].removeprefix("not run: "))
    cells, rows = pd.read_parquet(files.searched), pd.read_parquet(files.signatures)
    keys = pd.MultiIndex.from_frame(cells[KEYS])
    for name in SIGNS:
        own = pd.MultiIndex.from_frame(rows.loc[rows["signature"] == name, KEYS])
        cells[name] = keys.isin(own)
        if not 0 < cells[name].sum() < len(cells):
            raise InputError(
                f"{files.signatures}: {cells[name].sum()} of {len(cells)} searched cells are "
                f"{name}; expected some; run find_signatures again"
            )
    return cells, record["signatures"]


def target_cells(index, cells, tissues, kept, label):
    """Return the cells with a token in the `kept` tissues (D29): keys, patient, label, position."""
    if label not in cells:
        raise InputError(
            f"meyer_transfer.label: the cells have no label {label!r}; name one that they have"
        )
    table = index[[*KEYS, "position"]].merge(cells[[*KEYS, label]], on=KEYS)
    owners = tissues.loc[kept, ["patient_id"]].astype(str)
    table = table.merge(owners, left_on="tissue_id", right_index=True)
    if table.empty:
        raise InputError(
            "meyer_transfer.cohort: no cell of its tissues has a token; embed its tissues"
        )
    return table.sort_values("position", ignore_index=True)


def carry(tokens, discovery, array, cells, settings, seed, threads):
    """Add to `cells` each signature's score and how it is called; return facts of the forests.

    `tokens` [n, D] of the rows of `discovery`; `array` on disk holds those of `cells`.
    """
    facts = {}
    for name in SIGNS:
        members = discovery[name].to_numpy()
        forest, printed = forests.fit_as_printed(tokens, members, settings, seed, threads)
        unseen = forests.scores_of_unseen_patients(
            tokens, members, discovery["patient_id"].to_numpy(), settings, seed, threads
        )
        careful = forests.judge_unseen_patients(
            unseen, members, discovery["patient_id"], settings["bootstrap"], seed
        )
        score = forests.scores(forest, array, cells["position"])
        cells[f"score_{name}"] = score
        cells[name] = score > forests.SURE
        cells[f"prevalence_{name}"] = forests.top_share(score, members.mean())
        facts[name] = {"held_out_cells": printed, "unseen_patients": careful}
        log.info("%s: %d cells called, %s", name, cells[name].sum(), printed)
    return facts


def rank_patients(cells, frozen):
    """Return a table by patient: shares, ranks and R (`score`, and one per other variant).

    `frozen`: signature -> cut-points of the discovery cohort (D16).
    """
    patients = np.sort(cells["patient_id"].unique())
    table, scores = pd.DataFrame({"patient_id": patients}), {}
    for variant in VARIANTS:
        found = pd.DataFrame(index=range(len(patients)))
        for name in SIGNS:
            column = f"prevalence_{name}" if variant == "prevalence" else name
            shares = proportions(cells["patient_id"], cells[column], patients)
            found[name], cuts = ranks(shares, frozen[name] if variant == "frozen" else None)
            if variant == "printed":
                table[f"share_{name}"], table[f"rank_{name}"] = shares, found[name]
                log.info("%s: cut-points %s", name, cuts)
        scores[variant] = overall_score(found)
    table["score"] = scores["printed"]
    return table.assign(**{f"score_{v}": scores[v] for v in VARIANTS[1:]})


def class_of_patients(tissues, task, where):
    """Return the class of each patient, and in words why there is none (or None).

    A patient whose tissues disagree has no class.
    """
    if task is None:
        return pd.Series(dtype=object), f"{where}: the cohort's file has no such task"
    try:
        classes = task_classes(tissues, task, where)
    except InputError as error:
        return pd.Series(dtype=object), str(error)
    groups = classes.groupby(tissues["patient_id"].astype(str))
    return groups.first().where(groups.nunique() == 1), None


def describe(table, cells, tissues, params):
    """Return patients with follow-up, covariates, classes, ratios; {what: why it is absent}."""
    settings, tasks, lacks = params.settings, params.tasks, {}
    recorded = [column for column in settings["covariates"] if column in tissues]
    clinical = tissues.groupby(tissues["patient_id"].astype(str))[recorded].first()
    table = table.join(clinical, on="patient_id")
    for column, task in (("group", "groups"), ("phenotype", "phenotype")):
        where = f"{settings['cohort']}: tasks.{settings[task]}"
        classes, reason = class_of_patients(tissues, tasks[task], where)
        table[column] = table["patient_id"].map(classes).astype(object)
        lacks |= {task: reason} if reason else {}
    for ratio, others in settings["ratios"].items():
        table[f"ratio_{ratio}"] = log_ratio(
            cells, table["patient_id"], settings["label"], settings["tumour"], others
        )
    where = f"{settings['cohort']}: tasks.{settings['survival']}"
    why = absent(tissues, tasks["survival"]) if tasks["survival"] else "the cohort has no such task"
    if why:
        table["time"], table["event"] = np.nan, None
        return table, lacks | {"survival": f"{where}: {why}"}, {}
    follow, dropped = follow_up(tissues, tasks["survival"], where, drop_zero=True)
    table = table.merge(follow, left_on="patient_id", right_index=True, how="left")
    dropped = dropped[dropped.index.isin(table["patient_id"])]
    return table, lacks, {why: int(n) for why, n in dropped.value_counts().sort_index().items()}


def transfer(files, params, threads):
    """Return the tables of cells and patients, and the facts."""
    settings, seed = params.settings, params.seed
    discovery, signatures = read_members(files)
    facts = {"markers": markers_seen(params.source, settings["markers"])}
    tokens = tokens_of(params.source, discovery)
    tissues = tissues_of(params.cohort_folder)
    survival = params.tasks["survival"]
    kept = pd.Series(True, index=tissues.index)
    if survival and not absent(tissues, survival):
        kept = kept_by(tissues, survival)
    index, array = read_tokens(params.target, "cells")
    cells = pd.read_parquet(files.cells)
    cells = target_cells(index, cells, tissues, kept, settings["label"])
    facts["forests"] = carry(tokens, discovery, array, cells, settings, seed, threads)
    table = rank_patients(cells, {name: signatures[name]["cut_points"] for name in SIGNS})
    table, lacks, dropped = describe(table, cells, tissues[kept], params)
    facts |= {"absent": lacks, "dropped": dropped, "patients": len(table), "cells": len(cells)}
    return cells, table, facts


def main(snakemake):
    """Carry the signatures; where there are none, write empty tables and why."""
    out, status = snakemake.output, "done"
    cells, patients = pd.DataFrame(columns=[*KEYS, "patient_id"]), pd.DataFrame(columns=PATIENT)
    facts = {}
    try:
        cells, patients, facts = transfer(snakemake.input, snakemake.params, snakemake.threads)
    except InputError as error:
        status = f"not run: {error}"
        log.warning("%s", status)
    with staged(out.cells, out.patients, out.facts) as parts:
        cells.to_parquet(parts[0], index=False)
        patients.to_parquet(parts[1], index=False)
        record = json.dumps(plain(facts | {"status": status}), indent=1, allow_nan=False)
        parts[2].write_text(record + "\n", encoding="utf-8")


def plain(value):
    """Return nested dicts with plain numbers, which JSON can hold; NaN becomes None."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not np.isfinite(value) else value


if __name__ == "__main__":
    run(main, globals())
