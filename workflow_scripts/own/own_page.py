"""One page on an own cohort: what the model sees, predicts and finds, and what to doubt."""

import json
from pathlib import Path

import anndata
import numpy as np
import pandas as pd

from workflow_scripts.common.access import redact
from workflow_scripts.common.cell_pictures import cell_picture, colours_of
from workflow_scripts.common.cohort import load_cohort
from workflow_scripts.common.cohort_files import CohortFiles
from workflow_scripts.common.images import read_ome_zarr
from workflow_scripts.common.job import log, run
from workflow_scripts.common.pages import environment
from workflow_scripts.common.provenance import provenance
from workflow_scripts.common.staging import staged
from workflow_scripts.common.tasks import tissues_of
from workflow_scripts.own import pictures
from workflow_scripts.own.calibration import verdict

TEMPLATES = Path(__file__).parent / "templates"
SCORES = ("distance", "r", "error", "low", "high")


def figure(value, digits=2):
    """Return a number as text, a dash for none."""
    missing = value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value))
    return "–" if missing else f"{round(value, digits) + 0.0:.{digits}f}"  # no -0.00


def counted(count, word):
    """Return `1 cell`, `2 cells`."""
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def record(row, tasks):
    """Return the clinical record of a reference tissue, [(words, value)]."""
    columns = {name.replace("_", " "): task["column"] for name, task in tasks.items()}
    values = [(words, row[column]) for words, column in columns.items() if column in row]
    return [(words, "not recorded" if pd.isna(v) else _short(v)) for words, v in values]


def _short(value):
    return f"{value:g}" if isinstance(value, float) else str(value)


def case_groups(cases, tissues, tasks):
    """Return [(own tissue, [{rank, match, distance, record}])] from a table of cases."""
    groups = []
    for tissue, rows in cases.groupby("tissue_id", sort=False):
        found = [
            {
                "rank": row.rank,
                "match": row.match,
                "distance": row.distance,
                "patient": tissues.loc[row.match, "patient_id"],
                "record": record(tissues.loc[row.match], tasks),
            }
            for row in rows.itertuples()
        ]
        groups.append((tissue, found))
    return groups


def panel_rows(panel, markers):
    """Return the rows of the panel table: verdict, distance and how well it is predicted."""
    scores = markers.set_index("uniprot_id")
    rows = []
    for row in panel.to_dict("records"):
        known = row["uniprot_id"] in scores.index
        score = scores.loc[row["uniprot_id"]] if known else dict.fromkeys(SCORES)
        row = row | {key: score[key] for key in SCORES}
        if row["uniprot_id"] and not known:
            row |= {"model": "left out", "remark": "no embedding of its protein"}
        elif known and pd.isna(row["error"]):
            row["remark"] = "no score: constant where it was hidden"
        rows.append(row)
    return rows


def shares(cells, colours):
    """Return [(tissue, number of cells, [(type, share, colour)])] from a table of typed cells."""
    answer = []
    for tissue, rows in cells.groupby("tissue_id", observed=True, sort=False):
        share = rows["cell_type"].value_counts(normalize=True)
        parts = [(kind, share[kind], colours[kind]) for kind in colours if kind in share]
        answer.append((tissue, len(rows), parts))
    return answer


def tissue_cards(cohort, stains, markers, cells, colours, most):
    """Return a card per tissue, `most` at most: a picture of it, of its cells and its stains."""
    names, cards = cohort.names(), []
    predicted = markers[markers["stain"]].reset_index(drop=True)
    for tissue in list(cohort.tissues())[:most]:
        shown = pictures.lineage_channels(tissue.accessions)
        image = tissue.image(shown)
        card = {"id": tissue.id, "patient": tissue.patient_id, "stains": [], "cells": None}
        card["picture"] = pictures.as_data(pictures.composite(image))
        card["channels"] = [names[tissue.accessions[place]] for place in shown]
        card["size"] = image.shape[1:]
        mask, own = tissue.cell_mask(), cells[cells["tissue_id"] == tissue.id]
        if mask is not None and len(own):
            kinds = own.set_index("cell_id")["cell_type"].astype(object)
            card["cells"] = pictures.as_data(cell_picture(mask, kinds, colours))
        if len(predicted):
            made, _ = read_ome_zarr(Path(stains) / f"{tissue.id}.ome.zarr")
            for row, channel in zip(predicted.to_dict("records"), made, strict=True):
                picture = pictures.as_data(pictures.stain_picture(channel))
                card["stains"].append({"picture": picture, **row})
        cards.append(card)
    return cards


def sentences(cohort, markers, cells, facts, without):
    """Return what the first screen says in words."""
    tissues, hidden = cohort.table, markers[markers["measured"] & markers["error"].notna()]
    patients = counted(tissues["patient_id"].nunique(), "patient")
    words = [f"{counted(len(tissues), 'image')} of {patients}, {counted(len(cells), 'cell')}."]
    if len(hidden):
        new = int((~hidden["trained"]).sum())
        words.append(
            f"Each of {counted(len(hidden), 'measured marker')} ({new} new to the model) was "
            f"hidden and predicted from the others: median r {figure(hidden['r'].median())}."
        )
    stains = markers[markers["stain"]]
    if len(stains):
        words.append(f"{counted(len(stains), 'unmeasured marker')} predicted: {verdict(stains)}.")
    else:
        words.append("No unmeasured marker was predicted: none was asked for that has a sequence.")
    for kind, what in (("types", "Cell types"), ("cases", "Similar cases")):
        reason = without.get(kind) or facts.get(kind, {}).get("reason")
        if reason:
            words.append(f"{what}: not run, {reason}.")
    return words


def build(files, params):
    """Return the page as text; `files` and `params` are those of the rule."""
    cohort, card = CohortFiles(params.cohort_folder), load_cohort(files.card)
    markers, panel = pd.read_parquet(files.markers), pd.read_parquet(files.panel)
    facts = json.loads(Path(files.compared).read_text()) if params.references else {}
    cells = anndata.read_h5ad(files.cells, backed="r").obs.reset_index(drop=True)
    typed = pd.read_parquet(files.types) if params.references else pd.DataFrame()
    colours = colours_of(typed["cell_type"]) if len(typed) else {}
    groups = []
    if "cases" in params.references:
        tissues = tissues_of(params.references["cases"])
        groups = case_groups(pd.read_parquet(files.cases), tissues, params.tasks["cases"])
    shown = typed if len(typed) else pd.DataFrame(columns=["tissue_id", "cell_id", "cell_type"])
    metrics = json.loads(Path(files.metrics).read_text())
    template = environment(TEMPLATES, figure, counted).get_template("page.html")
    return template.render(
        card=card,
        simulated=params.simulated,
        model=params.model,
        trained_on=params.trained_on,
        weights=metrics["weights_sha256"][:12],
        sentences=sentences(cohort, markers, cells, facts, params.without),
        panel=panel_rows(panel, markers),
        warnings=json.loads(Path(files.ingest).read_text())["warnings"],
        excluded=pd.read_csv(files.exclusions).to_dict("records"),
        cards=tissue_cards(cohort, files.stains, markers, shown, colours, params.own["pictures"]),
        tissues=len(cohort.table),
        cells=len(cells),
        stains=markers[markers["stain"]].to_dict("records"),
        plot=pictures.calibration_plot(markers),
        own=params.own,
        shares=shares(typed, colours) if len(typed) else [],
        colours=colours,
        confidence=float(typed["confidence"].median()) if len(typed) else None,
        facts=facts,
        without=params.without,
        cases=groups,
        origin=provenance(),
    )


def main(snakemake):
    """Write the page, whole or not at all."""
    # Warnings of readers are printed as they are; a credential may stand in none of them.
    page = redact(build(snakemake.input, snakemake.params))
    with staged(snakemake.output.page) as (part,):
        part.write_text(page, encoding="utf-8")
    log.info("%s: %.1f MB", snakemake.output.page, len(page) / 1e6)


if __name__ == "__main__":
    run(main, globals())
