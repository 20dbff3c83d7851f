"""Say which channels of a cohort the model can read, before anything is computed.

A channel with an accession carries a token made of its protein's sequence, also where no cohort
of the training measures it; a channel without one stays out of the model.
"""

from dataclasses import replace
from pathlib import Path

import pandas as pd

from workflow_scripts.cohorts.pixels import block_size
from workflow_scripts.cohorts.readers import read_source
from workflow_scripts.cohorts.readers.files import Files
from workflow_scripts.cohorts.readers.panel import order_panel, read_panel
from workflow_scripts.common.cohort import load_cohort
from workflow_scripts.common.errors import InputError
from workflow_scripts.common.job import log, run
from workflow_scripts.common.marker_names import read_aliases
from workflow_scripts.common.validation import read_yaml

COLUMNS = ["channel", "marker", "uniprot_id", "model", "remark"]
KNOWN, NEW, OUT = "known", "new", "left out"
AT_ONE_UM = ("spora", "acquisition")  # readers of files that are at 1 um per pixel by their format


def panel_of(cohort, archives):
    """Return the channels of a cohort (columns of channels.parquet), and where they come from.

    Data on disk are compared with the panel; of a retrieved cohort its own tables are, without
    opening an image; without either the rows of the cohort file are all there is.
    """
    if cohort.folder is not None and cohort.folder.is_dir():
        bare = {"cells": None, "clinical": [], "split": None}
        layout = {key: value for key, value in cohort.layout.items() if key != "masks"}
        names = {"patient": "{tissue}", "specimen": "{tissue}"}
        source = read_source(cohort.folder, replace(cohort, layout=layout, **bare, **names))
        for warning in source.warnings:
            log.warning("%s", warning)
        return source.panel, f"compared with {len(source.tissues)} images in {cohort.folder}"
    folder = Path(archives) / cohort.id
    if cohort.files and all(any(folder.glob(file["name"])) for file in cohort.files):
        files = Files(folder, cohort)
        panel = read_panel(files, cohort)
        if "order" in cohort.layout:
            layout = cohort.layout
            panel = order_panel(panel, files, layout["order"], layout.get("targets"))
        return panel, f"compared with the tables in {folder}"
    if not cohort.channels:
        raise InputError(
            f"{cohort.path}: its panel is in {cohort.panel['file']}, and its data are not here; "
            "retrieve the cohort, or name the channels in `panel`."
        )
    # A row without a metal is found by its name in the archive's own table.
    rows = [{**row, "channel": row.get("channel", row.get("marker"))} for row in cohort.channels]
    return read_panel(
        None, replace(cohort, panel=rows)
    ), "as the cohort file says; its data are not here"


def trained_accessions(cohorts):
    """Return the accessions that the files of `cohorts` name."""
    return {row["uniprot"] for cohort in cohorts for row in cohort.channels if row.get("uniprot")}


def check_channels(panel, trained, aliases):
    """Return the table of `COLUMNS` for a panel, and a sentence for each problem.

    `trained`: accessions that the model has seen; `aliases`: answer of `read_aliases`.
    """
    rows, problems, first = [], [], {}
    for row in panel.itertuples():
        accession = None if pd.isna(row.uniprot_id) else row.uniprot_id
        table = aliases.get(row.channel_name.lower()) or aliases.get(
            str(row.original_channel_name).lower(), {}
        )
        expected, remark = table.get("uniprot"), ""
        if accession is None:
            verdict = OUT
            remark = row.description or ("no protein" if expected == "" else "no accession")
            if expected:
                problems.append(
                    f"{row.channel_name} has no accession and would be left out; "
                    f"resources/markers.csv knows a marker of that name as {expected}: add it if "
                    "it is meant."
                )
        else:
            verdict = KNOWN if accession in trained else NEW
            if accession in first:
                remark = f"shares its accession with {first[accession]}"
            first.setdefault(accession, row.channel_name)
            if expected and expected.partition("-")[0] != accession.partition("-")[0]:
                problems.append(
                    f"{row.channel_name} has the accession {accession}, and "
                    f"resources/markers.csv gives {expected} to that name: correct it if they "
                    "mean the same."
                )
        rows.append((row.original_channel_name, row.channel_name, accession or "", verdict, remark))
    table = pd.DataFrame(rows, columns=COLUMNS)
    if not (table["model"] == KNOWN).any():
        problems.append(
            "No channel has an accession that the model was trained on; expected some of its "
            "markers: check the column with the accessions."
        )
    return table, problems


def summary(cohort, table, origin):
    """Return the one sentence that says what the model would see of a cohort."""
    counts = table["model"].value_counts()
    known, new, out = (int(counts.get(verdict, 0)) for verdict in (KNOWN, NEW, OUT))
    return (
        f"{cohort.id}: {known + new} of {len(table)} channels carry a token, {known} known from "
        f"training and {new} new to it; {out} stay out of the model ({origin})."
    )


def as_text(table):
    """Return a table as lines with aligned columns."""
    cells = [list(table.columns), *table.astype(str).to_numpy().tolist()]
    widths = [max(len(row[column]) for row in cells) for column in range(len(table.columns))]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    )


def check_pixels(cohort):
    """Raise InputError unless the cohort file says a pixel size that can be read.

    Only files that are at 1 um by their format may leave it out.
    """
    if cohort.reader not in AT_ONE_UM and "pixel_size" not in read_yaml(cohort.path):
        raise InputError(
            f"{cohort.path}: key 'pixel_size' is missing; expected the side of the images' pixels "
            "in um, such as 1.0 or 0.5; add it."
        )
    block_size(cohort.pixel_size, cohort.path)


def main(snakemake):
    """Check one cohort; the table goes to the terminal and to the log.

    With an output it also writes the table there, and refuses what `own_cohort` could not use: no
    pixel size, or a panel of which the model knows no marker.
    """
    params, config = snakemake.params, snakemake.config
    if not params.cohort:
        raise InputError(
            "check_panel: no cohort is named; expected an id or the path of a cohort file: "
            "snakemake --cores 1 check_panel --config cohort=<id or path>"
        )
    cohort = load_cohort(params.cohort)
    panel, origin = panel_of(cohort, config["archives"])
    if snakemake.output:
        check_pixels(cohort)
    trained = trained_accessions(map(load_cohort, params.trained))
    # Of cohorts whose file does not list its channels.
    for channels in getattr(snakemake.input, "trained", []):
        trained |= set(pd.read_parquet(channels)["uniprot_id"].dropna())
    table, problems = check_channels(panel, trained, read_aliases())
    log.info("%s\n%s", cohort.path, as_text(table))
    for problem in problems:
        log.warning("%s", problem)
    log.info("%s", summary(cohort, table, origin))
    if snakemake.output:
        if not (table["model"] == KNOWN).any():
            raise InputError(
                f"{cohort.path}: none of its {len(table)} channels has an accession that the model "
                f"was trained on ({len(trained)} proteins); check `uniprot` in the panel."
            )
        table.to_parquet(snakemake.output.panel, index=False)


if __name__ == "__main__":
    run(main, globals())
