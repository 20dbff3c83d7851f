"""Follow-up of patients, curves and tests of survival, and how they are drawn.

Statistics with a library are taken from it (lifelines, scikit-survival). The log-rank test is here
because a permutation test repeats it thousands of times with the groups alone changed.
"""

import warnings

import numpy as np
import pandas as pd
from lifelines import CoxPHFitter, KaplanMeierFitter
from lifelines.exceptions import ConvergenceError
from lifelines.statistics import proportional_hazard_test
from scipy.stats import chi2
from sksurv.metrics import concordance_index_censored

from workflow_scripts.common.errors import InputError
from workflow_scripts.common.tasks import task_classes

SEEN = {"1": True, "True": True, "0": False, "False": False}


def follow_up(tissues, task, where, drop_zero=False):
    """Return the follow-up of patients, and why others have none.

    `tissues`: table of a published cohort; `task`: a survival of a cohort file, {column, time,
    where}; `where` names both in an error; `drop_zero`: leave out patients who were never followed
    (D29). Returns (table [time float in the task's unit, event bool] by patient_id; Series of
    reasons by patient_id). Patients none of whose tissues the task's `where` keeps are in neither.
    Raises InputError for an absent column, an event that is not 0 or 1 and a negative time.
    """
    if reason := absent(tissues, task):
        raise InputError(f"{where}: {reason}; correct the task or the cohort's `clinical` tables")
    recorded = tissues[task["column"]].notna().any()
    events = task_classes(tissues, {"column": task["column"]}, where) if recorded else None
    events = pd.Series(events, index=tissues.index, dtype=object)
    odd = events[events.notna() & ~events.isin(SEEN)]
    if len(odd):
        raise InputError(
            f"{where}: tissue {odd.index[0]} has {task['column']} {odd.iloc[0]!r}, expected 0 or 1 "
            "(true for an event); correct the table"
        )
    times = pd.to_numeric(tissues[task["time"]], errors="coerce")
    if (times < 0).any():
        raise InputError(
            f"{where}: tissue {times.index[times < 0][0]} has {task['time']} {times.min():g} below "
            "0; a follow-up starts at 0: correct the table"
        )
    kept = kept_by(tissues, task)
    table = pd.DataFrame({"time": times, "event": events.map(SEEN)})[kept]
    patients = table.groupby(tissues.loc[kept, "patient_id"].astype(str), sort=True)
    first, kinds = patients.first(), patients.nunique()
    mixed = set(tissues.loc[kept, "patient_id"]) & set(tissues.loc[~kept, "patient_id"])
    reasons = pd.Series(index=first.index, dtype=object, name="reason")
    if drop_zero:
        reasons[first["time"] == 0] = f"{task['time']} is 0"
    reasons[first["event"].isna()] = f"no {task['column']}"
    reasons[first["time"].isna()] = f"no {task['time']}"
    reasons[(kinds > 1).any(axis=1)] = "tissues disagree about the follow-up"
    reasons[first.index.isin(mixed)] = f"tissues disagree about {', '.join(task.get('where', {}))}"
    good = first[reasons.isna()]
    return good.astype({"time": float, "event": bool}), reasons.dropna()


def absent(tissues, task):
    """Return in words what a survival task needs and the tissues lack, or None."""
    if "time" not in task:
        return "the task has no `time` beside its event"
    for column in (task["column"], task["time"], *task.get("where", ())):
        if column not in tissues:
            return f"expected the clinical column {column!r}, but the tissues have none"
    return None


def kept_by(tissues, task):
    """Return which tissues [n] (bool) the `where` of a task keeps, whatever their outcome."""
    kept = pd.Series(True, index=tissues.index)
    for column, values in task.get("where", {}).items():
        classes = {"column": column, "classes": {"kept": values}}
        kept &= task_classes(tissues, classes, f"where {column}").notna()
    return kept


def unusable(follow, fewest=2):
    """Return in words why a follow-up table tells no groups apart, or None."""
    if len(follow) < fewest:
        return f"{len(follow)} patients with follow-up, at least {fewest} are needed"
    if not follow["event"].any():
        return f"none of {len(follow)} patients has the event"
    if follow["time"].nunique() == 1:
        return f"all {len(follow)} patients have the same follow-up time"
    return None


def kaplan_meier(follow):
    """Return the Kaplan-Meier curve: time, at_risk, events, survival, low, high.

    The 95 % band is Greenwood's, on the log-log scale.
    """
    fit = KaplanMeierFitter().fit(follow["time"], follow["event"])
    table = fit.event_table[["at_risk", "observed"]].astype(int)
    columns = (table, fit.survival_function_, fit.confidence_interval_)
    curve = pd.concat(columns, axis=1).rename_axis("time").reset_index()
    curve.columns = ["time", "at_risk", "events", "survival", "low", "high"]
    return curve


def at_risk(follow, times):
    """Return how many patients are still followed at each of `times`, int array."""
    return (follow["time"].to_numpy()[:, None] >= np.asarray(times, float)).sum(axis=0)


def risk_sets(follow):
    """Return `times` [J] of events and each patient's `place` [n], for `group_counts`.

    A patient is at risk at the first `place` of the times.
    """
    times = np.unique(follow["time"].to_numpy()[follow["event"].to_numpy()])
    return times, np.searchsorted(times, follow["time"].to_numpy(), side="right")


def group_counts(place, event, codes, groups, times):
    """Return patients at risk and events at each event time by group, two int arrays [J, groups].

    `codes` [n]: group of each patient, 0 to groups - 1; `place`, `times`: of `risk_sets`.
    """
    size = (len(times) + 1) * groups
    left = np.bincount(place * groups + codes, minlength=size).reshape(-1, groups)
    risk = left[::-1].cumsum(axis=0)[::-1][1:]
    ends = (place[event] - 1) * groups + codes[event]
    return risk, np.bincount(ends, minlength=size - groups).reshape(-1, groups)


def logrank_of(risk, events):
    """Return observed minus expected events [groups] and their covariance [groups, groups]."""
    n, d = risk.sum(axis=1).astype(float), events.sum(axis=1)
    expected = risk * (d / n)[:, None]
    weight = d * (n - d) / (np.maximum(n - 1, 1) * n**2)
    covariance = np.diag((weight * n) @ risk) - (risk * weight[:, None]).T @ risk
    return (events - expected).sum(axis=0), covariance


def logrank(follow, groups):
    """Return {statistic, df, p, excess} of the log-rank test between all groups; NaN for one alone.

    `excess`: each group's events above those expected if all had the same hazard.
    """
    codes, names = pd.factorize(np.asarray(groups), sort=True)
    excess, covariance = _excess(follow, codes, len(names))
    rank = np.linalg.matrix_rank(covariance)
    if rank == 0:
        return {"statistic": np.nan, "df": 0, "p": np.nan, "excess": {}}
    statistic = float(excess @ np.linalg.pinv(covariance, hermitian=True) @ excess)
    p = float(chi2.sf(statistic, rank))
    excess = dict(zip(names.tolist(), excess.tolist(), strict=True))
    return {"statistic": statistic, "df": int(rank), "p": p, "excess": excess}


def logrank_trend(follow, groups, order):
    """Return {statistic, df, p} of the log-rank test for trend over `order`, scored 0, 1, 2..."""
    codes = np.array([list(order).index(group) for group in groups])
    excess, covariance = _excess(follow, codes, len(order))
    scores = np.arange(len(order))
    variance = scores @ covariance @ scores
    if variance <= 0:
        return {"statistic": np.nan, "df": 0, "p": np.nan}
    statistic = float((scores @ excess) ** 2 / variance)
    return {"statistic": statistic, "df": 1, "p": float(chi2.sf(statistic, 1))}


def _excess(follow, codes, groups):
    times, place = risk_sets(follow)
    event = follow["event"].to_numpy()
    return logrank_of(*group_counts(place, event, codes, groups, times))


def restricted_means(risk, events, times, horizon):
    """Return each group's mean survival time up to `horizon` [groups] (D32).

    `risk`, `events` [J, groups] at `times` [J]; a curve stays where its group's last event left it.
    """
    steps = np.cumprod(1 - events / np.maximum(risk, 1), axis=0)
    edges = np.minimum(np.concatenate([[0], times, [np.inf]]), horizon)
    curve = np.vstack([np.ones(risk.shape[1]), steps])
    return np.diff(edges) @ curve


def cox(follow, covariates, fewest=2):
    """Return a Cox model adjusted for all `covariates` and its proportional-hazards check.

    `covariates`: table by patient; numbers enter as they are, other columns as indicators against
    their most frequent value; patients who lack one are left out. Returns (table with a row per
    column of the model: covariate, hazard_ratio, low, high, p, proportional_p, patients, events;
    remarks in words). The table is None where no model can be fitted: fewer than `fewest` events
    per column, or no solution.
    """
    data = follow.join(design(covariates.dropna()), how="inner")
    columns = [column for column in data.columns[2:] if data[column].nunique() > 1]
    constant = [name for name in covariates if name not in {c.split("=")[0] for c in columns}]
    remarks = [f"{name} does not vary" for name in constant]
    events = int(data["event"].sum())
    if not columns or events < fewest * len(columns):
        return None, [*remarks, f"{events} events are too few for {len(columns)} covariates"]
    data = data[["time", "event", *columns]].astype(float)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # lifelines warns of separation and collinear columns
            fit = CoxPHFitter().fit(data, "time", "event")
    except (ConvergenceError, np.linalg.LinAlgError, Warning):
        return None, [*remarks, "no solution: covariates separate the events or repeat each other"]
    check = proportional_hazard_test(fit, data, time_transform="rank")
    table = fit.summary[["exp(coef)", "exp(coef) lower 95%", "exp(coef) upper 95%", "p"]]
    table = table.set_axis(["hazard_ratio", "low", "high", "p"], axis=1)
    table["proportional_p"] = np.ravel(check.p_value)
    table = table.rename_axis("covariate").reset_index()
    return table.assign(patients=len(data), events=events), remarks


def design(covariates):
    """Return the columns of a regression; `stage=II` says that a patient's stage is II."""
    columns = {}
    for name, values in covariates.items():
        if pd.api.types.is_numeric_dtype(values) and values.dtype != bool:
            columns[name] = values.astype(float)
            continue
        values = values.astype(str)
        usual = values.value_counts().sort_index().idxmax() if len(values) else None
        for value in sorted(set(values) - {usual}):
            columns[f"{name}={value}"] = (values == value).astype(float)
    return pd.DataFrame(columns, index=covariates.index)


def concordance(follow, risk):
    """Return Harrell's concordance of a risk score [n] with the follow-up; NaN without a pair."""
    try:
        event = follow["event"].to_numpy(bool)
        return float(concordance_index_censored(event, follow["time"], np.asarray(risk, float))[0])
    except ValueError:  # scikit-survival's NoComparablePairException, or no event at all
        return np.nan


def draw_kaplan_meier(axis, groups, unit, band=True, ticks=5):
    """Draw curves with censoring ticks, their bands, and the numbers at risk below the axis.

    `groups`: name -> (follow-up table, colour), drawn and listed in this order; `unit`: of time.
    """
    last = max(follow["time"].max() for follow, _ in groups.values())
    for name, (follow, colour) in groups.items():
        curve = kaplan_meier(follow)
        label = f"{name}: {int(follow['event'].sum())} events, n = {len(follow)}"
        axis.step(curve["time"], curve["survival"], where="post", color=colour, label=label)
        if band:
            limits = curve["low"].astype(float), curve["high"].astype(float)
            axis.fill_between(
                curve["time"], *limits, step="post", color=colour, alpha=0.15, linewidth=0
            )
        gone = np.sort(follow.loc[~follow["event"], "time"])
        at = np.searchsorted(curve["time"], gone, side="right") - 1
        axis.plot(gone, curve["survival"].to_numpy()[at], "|", color=colour, ms=3, mew=0.5)
    axis.locator_params(axis="x", nbins=ticks, integer=True)
    axis.set(xlim=(0, last * 1.02), ylim=(0, 1.02), ylabel="survival", xlabel=f"time ({unit})")
    shown = [tick for tick in axis.get_xticks() if 0 <= tick <= last]
    axis.set_xticks(shown)
    place = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points", "va": "top"}
    axis.annotate("at risk", (0, 0), (0, -22), ha="center", fontsize=5, color="#444444", **place)
    for row, (name, (follow, colour)) in enumerate(groups.items(), start=1):
        y = -22 - 7 * row
        style = {"fontsize": 5, "color": colour}
        axis.annotate(name, (0, 0), (-8, y), ha="right", **style, **place)
        for tick, count in zip(shown, at_risk(follow, shown), strict=True):
            axis.annotate(str(count), (tick, 0), (0, y), ha="center", **style, **place)
