"""The panels of all cohorts around a circle: which marker is measured where (Fig. 1b)."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from workflow_scripts.common.cohort import load_cohort
from workflow_scripts.common.figures import colour, figsize, save_target, style
from workflow_scripts.common.job import run
from workflow_scripts.common.marker_names import read_aliases
from workflow_scripts.common.names import name
from workflow_scripts.common.numbers import not_run, number, of_the_collection
from workflow_scripts.overview.panels import read_panels

SITES = {"tonsil": "head and neck"}
GAP = 0.08  # of the circle stays open for the names of the rings


def organ_number(organs):
    """Return the number of organ sites; `organs`: {cohort: names}.

    The paper does not say what counts as one: a tonsil is of head and neck here.
    """
    named = {organ for names in organs.values() for organ in names}
    if not named:
        return not_run("no cohort file names its organs")
    sites = {SITES.get(organ, organ) for organ in named}
    apart = (len(named), "organs counted apart as the cohort files name them")
    return number(len(sites), n=len(organs), careful=apart)


def panel_numbers(panels, held_out, organs, without_nucleus, missing):
    """Return the entries of the statements about panels.

    `panels`: of the paper's cohorts, of which `missing` are not in this study; `held_out`: cohorts
    never trained on; `organs`: {cohort: names of organs}; `without_nucleus`: cohorts of which not
    every image has the marker that KRONOS needs.
    """
    cohorts = list(panels["cohort"].unique())
    trained = [cohort for cohort in cohorts if cohort not in held_out]
    accessions = panels["uniprot"].nunique()
    numbers = {
        "C005": number(
            panels["marker"].nunique(),
            n=len(cohorts),
            careful=(accessions, "distinct accessions: one may stand for several markers"),
        ),
        "C006": number(len(cohorts)),
        "C007": organ_number(organs),
        "C008": number(len(trained)),
        "C013": number(
            len(without_nucleus), n=len(trained), reason=", ".join(without_nucleus) or None
        ),
    }
    return of_the_collection(numbers, missing)


def marker_order(panels):
    """Return the markers, those of most cohorts first, then by name."""
    cohorts = panels.groupby("marker")["cohort"].nunique()
    return sorted(cohorts.index, key=lambda marker: (-cohorts[marker], marker.lower()))


def draw(panels):
    """Return the polar plot: a spoke per marker, a ring per cohort, filled where measured."""
    markers, cohorts = marker_order(panels), list(panels["cohort"].unique())
    figure, axis = plt.subplots(figsize=figsize(183, 150), subplot_kw={"projection": "polar"})
    width = 2 * np.pi * (1 - GAP) / len(markers)
    angles = dict(zip(markers, (np.arange(len(markers)) + 0.5) * width, strict=True))
    inner = 0.8 * len(cohorts)
    for ring, cohort in enumerate(reversed(cohorts)):
        measured = panels.loc[panels["cohort"] == cohort, "marker"].unique()
        where = [angles[marker] for marker in measured]
        for spokes, shade in ((angles.values(), "#f0f0f0"), (where, colour("cohorts", cohort))):
            axis.bar(
                list(spokes), 0.9, width * 0.9, bottom=inner + ring, color=shade, label=name(cohort)
            )
    outer = inner + len(cohorts)
    size = float(np.clip(300 / len(markers), 5, 6))
    for marker, angle in angles.items():
        degrees = 90 - np.degrees(angle)
        left = degrees < -90
        axis.text(
            angle,
            outer + 0.3,
            marker,
            rotation=degrees + 180 * left,
            rotation_mode="anchor",
            ha="right" if left else "left",
            va="center",
            fontsize=size,
        )
    axis.set(theta_zero_location="N", theta_direction=-1, ylim=(0, outer * 1.3))
    axis.set_axis_off()
    handles, labels = axis.get_legend_handles_labels()
    rings = dict(zip(labels, handles, strict=True))  # the last of a label is the coloured one
    names = list(reversed(rings))
    handles = [rings[n] for n in names]
    axis.legend(handles, names, loc="center", fontsize=5, labelspacing=0.25, handlelength=1)
    return figure


def main(snakemake):
    """Count and draw what was ingested."""
    style()
    params = snakemake.params
    panels = read_panels(snakemake.input.channels, read_aliases(snakemake.input.markers))
    cohorts = map(load_cohort, snakemake.input.cards)
    organs = {cohort.id: cohort.organs for cohort in cohorts if cohort.id in params.compared}
    theirs = panels[panels["cohort"].isin(params.compared)]
    without_nucleus = [cohort for cohort in params.without_nucleus if cohort in params.compared]
    numbers = panel_numbers(theirs, params.held_out, organs, without_nucleus, params.missing)
    folder = Path(snakemake.output.numbers).parent
    caption = params.target["caption"]
    save_target(folder, "fig1b", draw(panels), panels, numbers, caption, params.simulated)


if __name__ == "__main__":
    run(main, globals())
