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
from workflow_scripts.common.tasks import tissues_of
from workflow_scripts.common.tokens import read_tokens
from workflow_scripts.patients.pooling import (
    labels_of,
    select,
    structure_counts,
    tumour_tissues,
)
from workflow_scripts.patients.states import (
    assign_states,
    blocks,
    fit_states,
    patient_groups,
    proportions,
)
from workflow_scripts.patients.strata import RISKS, stratify, tests

PHENOTYPES = "phenotypes"  # the source that needs no model
NEIGHBOURS = 15


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


def cell_map(array, owners, count, size, seed):
    """Return the rows and UMAP coordinates [n, 2] of a random sample of the used cells."""
    used = np.flatnonzero(owners.notna())
    chosen = np.random.default_rng(seed).choice(used, min(count, len(used)), replace=False)
    drawn = np.zeros(len(owners), dtype=bool)
    drawn[chosen] = True
    tokens = np.concatenate([part for _, part in blocks(array, drawn, size)])
    umap = UMAP(n_neighbors=min(NEIGHBOURS, len(tokens) - 1), random_state=seed, n_jobs=1)
    return np.flatnonzero(drawn), umap.fit_transform(tokens)


def compute(tokens, cells, tissues, follow, patients, settings, seeds):
    """Return the tables that this rule writes, by name.

    `tokens`: model -> (index of cell tokens, array), VirTues first; `cells`, `tissues`: published
    tables; `follow`, `patients`: of `select`.
    """
    first, seed, groups = next(iter(tokens)), seeds[0], {}
    headline = (settings["states"], seed)
    index, array = tokens[first]
    owners = index["tissue_id"].map(patients)
    log.info("%d cells of %d patients", owners.notna().sum(), len(follow))
    for model, (rows, own) in tokens.items():
        counts = dict.fromkeys([settings["states"], *settings["other_states"]])
        grid = list(product(counts, seeds)) if model == first else [headline]
        shares = shares_of(own, rows["tissue_id"].map(patients), grid, settings)
        groups[model] = group(shares[headline], follow, settings, seed)
        log.info("%s: states and seeds %s", model, list(shares))
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
    tissues, index = tumour_tissues(tissues, cells, settings["tumour"]), tokens[params.models[0]][0]
    follow, patients, steps, reason = select(index, tissues, params.task, params.where, settings)
    for step, count in steps.items():
        log.info("%s: %d", step, count)
    if reason:
        log.warning("not run: %s", reason)
        tables = dict.fromkeys(("patients", "structures", "sensitivity", "cells"), pd.DataFrame())
    else:
        tables = compute(tokens, cells, tissues, follow, patients, settings, params.seeds)
    with staged(*(getattr(out, name) for name in tables), out.facts) as parts:
        for part, table in zip(parts, tables.values(), strict=False):
            table.to_parquet(part, index=False)
        facts = {"reason": reason, "funnel": steps}
        parts[-1].write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    run(main, globals())
