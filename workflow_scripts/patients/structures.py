"""How much oftener a tissue structure occurs in high-risk than in low-risk patients (Fig. 4d)."""

import re

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control, fisher_exact
from scipy.stats.contingency import relative_risk

from workflow_scripts.common.bootstrap import interval, resamples
from workflow_scripts.common.numbers import not_run, number
from workflow_scripts.patients.pooling import STRUCTURES
from workflow_scripts.patients.results import log_ticks
from workflow_scripts.patients.strata import RISKS


def words(structure):
    """Return a structure as pictures write it."""
    return structure.replace("^{+}", "⁺")


def key(structure):
    """Return a structure, or any words, as part of a number's key."""
    return re.sub(r"\W+", "_", structure.replace("^{+}", "").lower())


def risk_ratios(counts, cells, risk, share, repeats, seed):
    """Return P(structure | high risk) / P(structure | low risk) of every structure, a table.

    `counts`: cells of each patient in each of `STRUCTURES`; `cells`: all cells of the patient;
    `risk`: one of `RISKS` per patient. A structure occurs in a patient whose cells are in it to
    more than `share`. Columns: structure, with_high, n_high, with_low, n_low, risk_ratio, its
    log-normal interval low and high (Katz, D32), Fisher's p, q over structures (T11), and
    cell_ratio: the same of cells in place of patients, its interval from resampled patients.
    Undefined values are NaN.
    """
    high = (risk == RISKS[0]).to_numpy()
    present = (counts.div(cells, axis=0) > share).to_numpy()
    draws = resamples(len(risk), repeats, seed)
    rows = []
    for structure, here, inside in zip(counts, present.T, counts.to_numpy(float).T, strict=True):
        sizes = {"with_high": here[high].sum(), "n_high": high.sum()}
        sizes |= {"with_low": here[~high].sum(), "n_low": (~high).sum()}
        row = {"structure": structure} | sizes
        row |= {"risk_ratio": np.nan, "low": np.nan, "high": np.nan, "p": np.nan}
        if here.any() and high.any() and (~high).any():
            found = relative_risk(*map(int, sizes.values()))
            a, n, b, m = sizes.values()
            row["risk_ratio"] = found.relative_risk
            if a < n or b < m:  # where all have it, the interval of no width says nothing
                row["low"], row["high"] = found.confidence_interval(0.95)
            row["p"] = fisher_exact([[a, n - a], [b, m - b]])[1]
        row["cell_ratio"] = _cell_ratio(inside, cells.to_numpy(float), high, np.ones(len(risk)))
        ends = interval(_cell_ratio(inside, cells.to_numpy(float), high, draws))
        row["cell_low"], row["cell_high"] = (np.nan if end is None else end for end in ends)
        rows.append(row)
    table = pd.DataFrame(rows)
    tested = table["p"].notna()
    table["q"] = np.nan
    if tested.any():
        table.loc[tested, "q"] = false_discovery_control(table.loc[tested, "p"])
    return table.replace([np.inf, -np.inf], np.nan)


def _cell_ratio(inside, cells, high, weights):
    """Return the ratio [...] of the shares of cells inside; `weights` [..., patients]."""
    with np.errstate(divide="ignore", invalid="ignore"):
        part = [(weights @ (inside * w)) / (weights @ (cells * w)) for w in (high, ~high)]
        return part[0] / part[1]


def ratio_number(row, weights=None, careful=None, seeds=()):
    """Return the entry of a risk ratio of numbers.json from a row of `risk_ratios`."""
    where = f"in {row['with_high']} of {row['n_high']} high-risk and {row['with_low']} of "
    where += f"{row['n_low']} low-risk patients"
    if not np.isfinite(row["risk_ratio"]):
        return not_run(f"no ratio, {words(row['structure'])} is {where}")
    ends = (row["low"], row["high"]) if np.isfinite(row[["low", "high"]].to_list()).all() else ()
    q = f"{where}; Benjamini-Hochberg q over structures {row['q']:.3g}"
    n = row["n_high"] + row["n_low"]
    return number(
        row["risk_ratio"], *ends, n=n, seeds=seeds, weights=weights, careful=careful, reason=q
    )


def draw_ratios(axis, tables, shades):
    """Draw risk ratios with their intervals, a row per structure; the line is 1, no difference.

    `tables`: label -> table of `risk_ratios`, drawn side by side; `shades`: label -> (colour,
    marker).
    """
    rows = np.arange(len(STRUCTURES))
    offsets = np.linspace(-0.3, 0.3, len(tables)) if len(tables) > 1 else [0.0]
    missing = np.ones(len(rows), dtype=bool)
    for (label, table), offset in zip(tables.items(), offsets, strict=True):
        colour, shape = shades[label]
        table = table.set_index("structure").reindex(STRUCTURES)
        ratio = table["risk_ratio"].where(table["risk_ratio"] > 0).to_numpy(float)
        missing &= np.isnan(ratio)
        axis.hlines(rows + offset, table["low"], table["high"], color=colour, lw=0.7)
        axis.plot(ratio, rows + offset, shape, color=colour, label=label, ms=2.8)
    axis.axvline(1, color="#444444", ls=":", lw=0.7)
    axis.set_xscale("log")
    low, high = axis.get_xlim()
    axis.set_xlim(min(low, 0.5), max(high, 2))
    for row in rows[missing]:
        axis.annotate("no ratio", (1, row), (3, 0), textcoords="offset points", va="center",
                      fontsize=5, color="#777777")  # fmt: skip
    axis.set_yticks(rows, [words(structure) for structure in STRUCTURES])
    axis.set_ylim(len(rows) - 0.5, -0.5)
    log_ticks(axis)
    axis.set_xlabel("risk ratio, high over low risk (95 % interval)")
