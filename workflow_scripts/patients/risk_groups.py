"""Risk groups of patients from the states of their cells, for every model ("Tissue structure...").

Writes patients.parquet (follow-up, clinical columns, rank and risk by each representation),
structures.parquet (cells of each patient in each structure), sensitivity.parquet (other numbers of
states, other seeds), cells.parquet (a sample of cells on a map) and facts.json (who was left out,
and why nothing was run if so).
"""

import json
from itertools import product

import numpy as np
import pandas as pd
from sklearn.metrics import adjusted_rand_score
from umap import UMAP

from workflow_scripts.common.job import log, run
from workflow_scripts.common.staging import staged
from workflow_scripts.common.survival import absent, follow_up, kept_by, unusable
from workflow_scripts.common.tasks import tissues_of
from workflow_scripts.common.tokens import read_tokens
from workflow_scripts.patients.states import (
    assign_states,
    blocks,
    fit_states,
    patient_groups,
    proportions,
)
from workflow_scripts.patients.strata import RISKS, stratify, tests
from workflow_scripts.patients.structures import STRUCTURES

PHENOTYPES = "phenotypes"  # the source that needs no model
NEIGHBOURS = 15


def select(index, tissues, task, where, settings):
    """Return follow-up and the patient of each cell, who was left out, and why nothing can be run.

    `index`: of cell tokens [N]; `tissues`: published table; `task`: a survival, named by `where`.
    Used are all tissues that the task's `where` keeps, of patients with follow-up (D1); the patient
    of any other cell is None. Returns (table [time, event] by patient, Series [N], {step: patients}
    (D27), reason or None).
    """
    nobody = pd.Series(None, index=index.index, dtype=object)
    if reason := absent(tissues, task):
        return pd.DataFrame(columns=["time", "event"]), nobody, {}, reason
    follow, left_out = follow_up(tissues, task, where)
    kept = kept_by(tissues, task)
    patients = tissues.loc[kept, "patient_id"].astype(str)
    owners = index["tissue_id"].map(patients[patients.isin(follow.index)]).astype(object)
    owners = owners.where(owners.notna(), None)
    table = follow.loc[sorted(set(owners.dropna()))]
    steps = {"patients with a tissue": int(tissues["patient_id"].nunique())}
    for column, values in task.get("where", {}).items():
        text = " or ".join(map(str, values))
        steps[f"of them with {column} {text}"] = int(patients.nunique())
    steps |= {f"left out, {why}": int(n) for why, n in left_out.value_counts().items()}
    steps |= {"left out, no cell": len(follow) - len(table), "in a risk group": len(table)}
    reason = unusable(table, settings["groups"])
    if reason is None and owners.notna().sum() < settings["states"]:
        reason = f"{owners.notna().sum()} cells are fewer than {settings['states']} states"
    return table, owners, steps, reason


def shares_of(array, owners, grid, settings):
    """Return {(states, seed): share of each patient's cells in each state} for all of `grid`."""
    keep, size = owners.notna().to_numpy(), settings["block"]
    grid = [(states, seed) for states, seed in grid if states <= keep.sum()]
    models = fit_states(array, keep, grid, size, settings["passes"])
    found = assign_states(array, keep, models, size)
    patients = owners[keep].to_numpy(str)
    return {key: proportions(patients, states, key[0]) for key, states in found.items()}


def group(shares, follow, settings, seed):
    """Return rank and risk of all patients from their shares, a table by patient."""
    groups = patient_groups(shares.reindex(follow.index, fill_value=0.0), settings["groups"], seed)
    return stratify(follow, groups, settings["high"])


def sensitivity(shares, follow, headline, settings):
    """Return a row per number of states and seed: the tests, and agreement with the headline."""
    rows = []
    for (states, seed), table in shares.items():
        groups = group(table, follow, settings, seed)
        found = tests(follow, groups["rank"], settings["high"], settings["permutations"], seed)
        same = adjusted_rand_score(headline["risk"], groups["risk"])
        high = int((groups["risk"] == RISKS[0]).sum())
        rows.append({"states": states, "seed": seed, **found, "n_high": high, "agreement": same})
    return pd.DataFrame(rows)


def labels_of(index, cells, label):
    """Return the published label of each cell of `index` [N], None without one."""
    if label not in cells:
        return pd.Series(None, index=index.index, dtype=object)
    key = ["tissue_id", "cell_id"]
    found = index[key].astype({"cell_id": "int64"}).merge(cells[[*key, label]], on=key, how="left")
    return found[label].set_axis(index.index)


def structure_counts(owners, structure, follow):
    """Return the cells of each patient in each of `STRUCTURES`, a table by patient."""
    used = owners.notna()
    counts = pd.crosstab(owners[used], structure[used].fillna("none"))
    return counts.reindex(index=follow.index, columns=STRUCTURES, fill_value=0)


def cell_map(array, owners, count, size, seed):
    """Return the rows and UMAP coordinates [n, 2] of a random sample of the used cells."""
    used = np.flatnonzero(owners.notna())
    chosen = np.random.default_rng(seed).choice(used, min(count, len(used)), replace=False)
    drawn = np.zeros(len(owners), dtype=bool)
    drawn[chosen] = True
    tokens = np.concatenate([part for _, part in blocks(array, drawn, size)])
    umap = UMAP(n_neighbors=min(NEIGHBOURS, len(tokens) - 1), random_state=seed, n_jobs=1)
    return np.flatnonzero(drawn), umap.fit_transform(tokens)


def compute(tokens, cells, tissues, follow, owners, settings, seeds):
    """Return the tables that this rule writes, by name.

    `tokens`: model -> (index of cell tokens, array), VirTues first; `cells`, `tissues`: published
    tables; `follow`, `owners`: of `select`.
    """
    first, seed, groups = next(iter(tokens)), seeds[0], {}
    headline = (settings["states"], seed)
    index, array = tokens[first]
    for model, (rows, own) in tokens.items():
        patients = (
            owners
            if model == first
            else rows["tissue_id"].map(dict(zip(index["tissue_id"], owners, strict=True)))
        )
        counts = dict.fromkeys([settings["states"], *settings["other_states"]])
        grid = list(product(counts, seeds)) if model == first else [headline]
        shares = shares_of(own, patients, grid, settings)
        groups[model] = group(shares[headline], follow, settings, seed)
        log.info("%s: %d cells, states and seeds %s", model, patients.notna().sum(), list(shares))
        if model == first:
            varied = sensitivity(shares, follow, groups[first], settings)
    phenotype = labels_of(index, cells, settings["phenotype"])
    known = owners.notna() & phenotype.notna()
    if owners[known].nunique() == len(follow):
        shares = proportions(owners[known], phenotype[known])
        groups[PHENOTYPES] = group(shares, follow, settings, seed)
    structure = labels_of(index, cells, settings["structures"])
    counts = structure_counts(owners, structure, follow)
    chosen, points = cell_map(array, owners, settings["umap_cells"], settings["block"], seed)
    drawn = index.loc[chosen, ["tissue_id", "cell_id"]].assign(
        patient_id=owners[chosen],
        structure=structure[chosen],
        risk=owners[chosen].map(groups[first]["risk"]),
        umap_1=points[:, 0],
        umap_2=points[:, 1],
    )
    clinical = tissues.groupby(tissues["patient_id"].astype(str)).first()
    recorded = [column for column in settings["covariates"] if column in tissues]
    table = follow.assign(cells=owners.value_counts()).join(clinical[recorded])
    for source, found in groups.items():
        table = table.join(found.add_suffix(f"_{source}"))
    return {
        "patients": table.rename_axis("patient_id").reset_index(),
        "structures": counts.rename_axis("patient_id").reset_index(),
        "sensitivity": varied,
        "cells": drawn.reset_index(drop=True),
    }


def main(snakemake):
    """Group the patients; where that cannot be done, write empty tables and the reason."""
    params, files, out = snakemake.params, snakemake.input, snakemake.output
    settings, paths = params.settings, zip(params.models, files.embeddings, strict=True)
    tokens = {model: read_tokens(folder, "cells") for model, folder in paths}
    cells, tissues = pd.read_parquet(files.cells), tissues_of(params.cohort_folder)
    index = tokens[params.models[0]][0]
    follow, owners, steps, reason = select(index, tissues, params.task, params.where, settings)
    for step, count in steps.items():
        log.info("%s: %d", step, count)
    if reason:
        log.warning("not run: %s", reason)
        tables = dict.fromkeys(("patients", "structures", "sensitivity", "cells"), pd.DataFrame())
    else:
        tables = compute(tokens, cells, tissues, follow, owners, settings, params.seeds)
    with staged(*(getattr(out, name) for name in tables), out.facts) as parts:
        for part, table in zip(parts, tables.values(), strict=False):
            table.to_parquet(part, index=False)
        facts = {"reason": reason, "funnel": steps}
        parts[-1].write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    run(main, globals())
