"""A cohort reconstructed by a model that never saw it and by one that did (Fig. 2h)."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.lines import Line2D

from workflow_scripts.common.bootstrap import interval, resamples
from workflow_scripts.common.errors import InputError
from workflow_scripts.common.figures import PALETTE, colour, figsize, save_target, style
from workflow_scripts.common.job import run
from workflow_scripts.common.numbers import not_run, number, weights_of
from workflow_scripts.reconstruction.panels import seen_accessions
from workflow_scripts.reconstruction.scores import PRINTED, Scores, mean, paired_p
from workflow_scripts.reconstruction.statements import UNDEFINED, tested

CLAIMS = ("C022", "C023", "C024", "C025", "C026", "C028", "C029")
# The paper calls 0.016 no loss and 0.130 one.
NO_LOSS = 0.05
GROUPS = ("seen", "new")
WORDS = {"seen": "seen in pretraining", "new": "new"}


class Pair:
    """The same hidden pixels of one cohort, filled in zero-shot and in-domain."""

    def __init__(self, zero_shot, in_domain, seen):
        """`zero_shot`, `in_domain`: Scores of one cohort; `seen`: accessions met in training."""
        self.zero_shot, self.in_domain = zero_shot, in_domain
        if not zero_shot.keys.equals(in_domain.keys):
            raise InputError(
                f"{zero_shot.cohort}: the two models read different channels; expected models with "
                "one table of marker embeddings; train both from the same one"
            )
        self.patients = zero_shot.patients
        known = zero_shot.keys["accession"].isin(seen).to_numpy()
        self.places = {
            (group, strategy): [
                p for p in zero_shot.places(strategy) if known[p] == (group == "seen")
            ]
            for group in GROUPS
            for strategy in PRINTED
        }

    def averages(self, weights=None):
        """Return {(group, strategy): (zero-shot, in-domain)}, each the mean r [...] of markers."""
        zero, within = (
            scores.values("pearson_r", weights) for scores in (self.zero_shot, self.in_domain)
        )
        return {
            key: (mean(zero[..., places]), mean(within[..., places]))
            for key, places in self.places.items()
        }

    def table(self):
        """Return the source data: one row per marker and strategy, both models side by side."""
        keys = self.zero_shot.keys.drop(columns="predictor")
        parts = []
        for (group, strategy), places in self.places.items():
            part = keys.iloc[places].assign(group=group, strategy=strategy)
            zero, within = (s.values()[places] for s in (self.zero_shot, self.in_domain))
            parts.append(part.assign(zero_shot_r=zero, in_domain_r=within))
        return pd.concat(parts, ignore_index=True)


def summarise(pair, draws, common):
    """Return the entries of numbers.json: the paper's statements, and all averages behind them.

    `draws` [repeats, patients]: bootstrap weights, the same for both models; D4: marker masking
    alone, as the caption says, with the mean over strategies beside.
    """
    value, drawn = pair.averages(), pair.averages(draws)
    each = pair.averages(np.eye(len(pair.patients)))
    numbers = {claim: not_run(UNDEFINED) for claim in CLAIMS}
    loss, losses = {}, {}
    for key, (zero, within) in value.items():
        name, markers = "_".join(key), len(pair.places[key])
        if np.isnan(zero) or np.isnan(within):
            reason = UNDEFINED if markers else f"the cohort has no {key[0]} marker"
            numbers[f"loss_{name}"] = not_run(reason)
            continue
        loss[key], losses[key] = within - zero, drawn[key][1] - drawn[key][0]
        ours = common | {"reason": f"mean over {markers} markers"}
        numbers[f"zero_shot_{name}"] = number(zero, *interval(drawn[key][0]), **ours)
        numbers[f"in_domain_{name}"] = number(within, *interval(drawn[key][1]), **ours)
        numbers[f"loss_{name}"] = number(loss[key], *interval(losses[key]), **ours)
        numbers[f"p_{name}"] = tested(paired_p(*each[key]), common)
    return numbers | statements(value, drawn, loss, losses, common)


def statements(value, drawn, loss, losses, common):
    """Return those of the paper's statements that the markers of the cohort allow."""
    numbers = {}
    if all(("seen", strategy) in loss for strategy in PRINTED):
        for place, claim in enumerate(("C022", "C023")):
            over = float(np.mean([value["seen", strategy][place] for strategy in PRINTED]))
            careful = (over, "mean over the three strategies (D4)")
            low, high = interval(drawn["seen", "marker"][place])
            centre = value["seen", "marker"][place]
            numbers[claim] = number(centre, low, high, careful=careful, **common)
        for claim, strategy in (("C024", "independent"), ("C025", "niche")):
            key = ("seen", strategy)
            numbers[claim] = number(loss[key], *interval(losses[key]), **common)
        others = max(loss["seen", "independent"], loss["seen", "niche"])
        alone = loss["seen", "marker"] > NO_LOSS >= others
        reason = f"a loss of r up to {NO_LOSS} counts as none"
        numbers["C028"] = number(float(alone), **(common | {"reason": reason}))
    if all(("new", strategy) in loss for strategy in PRINTED):
        above = value["new", "independent"][0] > value["new", "niche"][0]
        numbers["C026"] = number(float(above), **common)
        if ("seen", "marker") in loss:
            largest = max(PRINTED, key=lambda strategy: loss["new", strategy]) == "marker"
            larger = loss["new", "marker"] > loss["seen", "marker"]
            numbers["C029"] = number(float(largest and larger), **common)
    return numbers


def draw(table):
    """Return the dot plot: seen markers left, new ones right; filled zero-shot, hollow in-domain.

    A dashed line is the average over the group's markers under marker masking.
    """
    groups = [group for group in GROUPS if (table["group"] == group).any()]
    sizes = [table[table["group"] == group]["marker"].nunique() for group in groups]
    figure, axes = plt.subplots(
        1,
        len(groups),
        figsize=figsize(183, 68),
        sharey=True,
        squeeze=False,
        width_ratios=[max(size, 3) for size in sizes],
    )
    for axis, group in zip(axes[0], groups, strict=True):
        part = table[table["group"] == group]
        order = part.groupby("marker")["zero_shot_r"].mean().sort_values(ascending=False).index
        place = {marker: x for x, marker in enumerate(order)}
        for strategy, shift in zip(PRINTED, (-0.2, 0.0, 0.2), strict=True):
            rows, shade = part[part["strategy"] == strategy], colour("strategies", strategy)
            x, shape = rows["marker"].map(place) + shift, PALETTE["shapes"][strategy]
            marks = {"marker": shape, "edgecolors": shade, "lw": 0.6, "zorder": 3}
            ends = rows["zero_shot_r"], rows["in_domain_r"]
            axis.vlines(x, *ends, color=shade, lw=0.5, alpha=0.6)
            axis.scatter(x, ends[1], 11, "white", **marks)
            axis.scatter(x, ends[0], 11, shade, **marks)
        rows = part[part["strategy"] == "marker"]
        for column, model in (("zero_shot_r", "zero_shot"), ("in_domain_r", "virtues")):
            axis.axhline(rows[column].mean(), color=colour("models", model), lw=0.8, ls="--")
        axis.axhline(0, color="0.6", lw=0.5, ls=":")
        axis.set_xticks(range(len(order)), order, rotation=60, ha="right", rotation_mode="anchor")
        axis.set_xlim(-0.7, max(len(order), 3) - 0.3)
        axis.set_title(f"{WORDS[group]} ({len(order)})", loc="left")
    axes[0, 0].set_ylabel("Pearson r")
    figure.legend(handles=legend(), loc="outside upper center", ncols=3)
    return figure


def legend():
    """Return the marks of strategies and models, and the lines of the averages."""
    marks = []
    for strategy in PRINTED:
        shade, shape = colour("strategies", strategy), PALETTE["shapes"][strategy]
        marks.append(Line2D([], [], ls="", marker=shape, color=shade, label=f"{strategy} masking"))
    for face, label in (("0.25", "zero-shot"), ("white", "in-domain")):
        dot = {"marker": "o", "markerfacecolor": face, "markeredgecolor": "0.25"}
        marks.append(Line2D([], [], ls="", label=label, **dot))
    for model, label in (("zero_shot", "zero-shot"), ("virtues", "in-domain")):
        line = {"color": colour("models", model), "lw": 0.8, "ls": "--"}
        marks.append(Line2D([], [], label=f"mean {label}, marker masking", **line))
    return marks


def main(snakemake):
    """Draw and save the target; without the cohort or its model, say why."""
    style()
    params, inputs = snakemake.params, snakemake.input
    reason = params.absent
    if not reason:
        tables = [pd.read_parquet(p) for p in (*inputs.zero_shot, *inputs.in_domain)]
        reason = "no test tissue could be scored" if tables[0].empty else None
    figure, table = None, None
    numbers = {claim: not_run(reason) for claim in CLAIMS} if reason else {}
    if not reason:
        models = [Scores(params.cohort, table) for table in tables]
        pair = Pair(*models, seen_accessions(params.seen))
        weights = "; ".join(weights_of(path) for path in inputs.metrics)
        common = {"n": len(pair.patients), "seeds": params.seeds, "weights": weights}
        draws = resamples(len(pair.patients), params.bootstrap, 0)
        numbers, table = summarise(pair, draws, common), pair.table()
        figure = draw(table)
    folder = Path(snakemake.output.numbers).parent
    status = f"not run: {reason}" if reason else "done"
    caption = params.target["caption"]
    save_target(folder, "fig2h", figure, table, numbers, caption, params.simulated, status)


if __name__ == "__main__":
    run(main, globals())
