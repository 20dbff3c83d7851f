"""Risk ratios of tissue structures in high-risk patients, for each representation (Fig. 4d)."""

import matplotlib.pyplot as plt
import pandas as pd

from workflow_scripts.common.figures import colour, figsize, style
from workflow_scripts.common.job import run
from workflow_scripts.common.names import name
from workflow_scripts.common.numbers import weights_of
from workflow_scripts.patients.results import read_facts, save, sources_of, structures_of
from workflow_scripts.patients.structures import draw_ratios, key, ratio_number, risk_ratios

CLAIMS = {"Vascular stroma": "C046", "Suppressed expansion": "C047", "APC enriched": "C048"}
SHAPES = ("o", "s", "^", "D", "v")


def summarise(tables, weights, seed):
    """Return the entries; `tables`: source -> its risk ratios, VirTues first."""
    first, *others = tables
    numbers = {}
    for place, row in tables[first].iterrows():
        beside = [tables[o].loc[place, "risk_ratio"] for o in others[:1]]
        words = f"the same on {name(others[0])} (T11)" if others else ""
        careful = (beside[0], words) if beside and pd.notna(beside[0]) else None
        entry = CLAIMS.get(row["structure"], key(row["structure"]))
        numbers[entry] = ratio_number(row, weights, careful, [seed])
        for source in others:
            other = tables[source].loc[place]
            numbers[f"{key(row['structure'])}_{source}"] = ratio_number(other, seeds=[seed])
    return numbers


def shades_of(sources):
    """Return source -> (colour, marker); the first is VirTues."""
    kinds = ["virtues", *sources[1:]]
    return {
        source: (colour("models", kind), shape)
        for source, kind, shape in zip(sources, kinds, SHAPES, strict=False)
    }


def main(snakemake):
    """Set the risk ratios of VirTues beside those of mean intensities and phenotypes (T11)."""
    style()
    params, files = snakemake.params, snakemake.input
    reason, _ = read_facts(files.facts)
    if reason is None:
        patients = pd.read_parquet(files.patients)
        counts = structures_of(files.structures, patients)
        if not counts.to_numpy().any():
            reason = "no cell of these patients has a tissue structure"
    if reason:
        save(snakemake, None, None, {}, reason)
        return
    table = patients.set_index("patient_id")
    sources = sources_of(patients)[: len(SHAPES)]
    tables = {
        source: risk_ratios(
            counts,
            table["cells"],
            table[f"risk_{source}"],
            params.structure_share,
            params.bootstrap,
            params.seed,
        )  # fmt: skip
        for source in sources
    }
    figure, axis = plt.subplots(figsize=figsize(89, 104))
    labelled = {name(source): table for source, table in tables.items()}
    shades = {name(source): shade for source, shade in shades_of(sources).items()}
    draw_ratios(axis, labelled, shades)
    figure.legend(loc="outside upper left", ncols=2, title="groups formed from", alignment="left")
    source = pd.concat([t.assign(grouped_by=label) for label, t in labelled.items()])
    numbers = summarise(tables, weights_of(files.metrics), params.seed)
    save(snakemake, figure, source, numbers)


if __name__ == "__main__":
    run(main, globals())
