"""The hazard of high-risk patients, alone and adjusted for what else is recorded of them."""

from textwrap import fill

import pandas as pd

from workflow_scripts.common.figures import colour
from workflow_scripts.common.numbers import not_run, number
from workflow_scripts.common.survival import cox
from workflow_scripts.patients.results import log_ticks
from workflow_scripts.patients.strata import RISKS

HIGH = "high risk"  # the covariate of the adjusted model


def hazard_ratios(patients, source, covariates):
    """Return hazard ratios of high risk alone and adjusted, a tidy table, and remarks in words.

    `covariates`: clinical columns; those that the cohort does not record are named in the remarks.
    """
    follow = patients.set_index("patient_id")[["time", "event"]]
    high = (patients.set_index("patient_id")[f"risk_{source}"] == RISKS[0]).astype(int)
    recorded = [column for column in covariates if column in patients]
    known = patients.set_index("patient_id")[recorded].assign(**{HIGH: high})
    alone, said = cox(follow, high.to_frame(HIGH))
    adjusted, more = cox(follow, known) if recorded else (None, ["no covariate is recorded"])
    parts = [
        table.assign(model=model)
        for model, table in (("alone", alone), ("adjusted", adjusted))
        if table is not None
    ]
    absent = [f"{column} is not recorded" for column in covariates if column not in patients]
    remarks = {"alone": said, "adjusted": [*more, *absent]}
    return pd.concat(parts, ignore_index=True) if parts else None, remarks


def ratio_entry(table, model, remarks, weights, careful=None):
    """Return the entry of the hazard ratio of high risk in one model."""
    rows = (
        table[(table["model"] == model) & (table["covariate"] == HIGH)] if table is not None else ()
    )
    if not len(rows):
        return not_run("; ".join(remarks[model]) or "no Cox model")
    row = rows.iloc[0]
    said = [f"proportional hazards p = {row['proportional_p']:.3g}", *remarks[model]]
    ends, n = (row["low"], row["high"]), row["patients"]
    said = "; ".join(said)
    return number(row["hazard_ratio"], *ends, n=n, weights=weights, careful=careful, reason=said)


def draw_forest(axis, ratios, remarks):
    """Draw hazard ratios with intervals and the p of proportional hazards."""
    rows = [] if ratios is None else list(ratios.itertuples())
    fitted = {row.model for row in rows}
    missing = {model: said for model, said in remarks.items() if model not in fitted}
    lines = [f"no model of high risk {model}: {'; '.join(said)}" for model, said in missing.items()]
    said = "\n".join(fill(line, 60) for line in lines)
    axis.annotate(said, (0.03, 0.03), xycoords="axes fraction", fontsize=5, color="#777777")
    if not rows:
        axis.set(xticks=[], yticks=[], xlabel="hazard ratio")
        return
    for y, row in enumerate(rows):
        shade = colour("groups", "high_risk") if row.covariate == HIGH else "#555555"
        axis.hlines(y, row.low, row.high, color=shade, lw=0.8)
        axis.plot(row.hazard_ratio, y, "o", color=shade)
        where = {"xycoords": ("axes fraction", "data"), "va": "center", "fontsize": 5}
        axis.annotate(f"{row.proportional_p:.2g}", (1.02, y), **where)
    labels = [
        f"{row.covariate} {row.model}" if row.covariate == HIGH else row.covariate.replace("=", " ")
        for row in rows
    ]
    axis.set_yticks(range(len(rows)), labels, fontsize=5)
    axis.set_ylim(len(rows) - 0.5, -0.8)
    axis.axvline(1, color="#444444", ls=":", lw=0.7)
    axis.set_xscale("log")
    low, high = axis.get_xlim()
    axis.set_xlim(min(low, 0.5), max(high, 2))
    log_ticks(axis)
    axis.annotate("p of proportional\nhazards", (1.02, 1.0), xycoords="axes fraction", fontsize=5)
    axis.set_xlabel("hazard ratio (95 % interval)")
