"""Follow-up, curves and tests of survival against lifelines, scikit-survival and closed forms."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from lifelines import KaplanMeierFitter
from lifelines.statistics import logrank_test, multivariate_logrank_test
from lifelines.utils import concordance_index, restricted_mean_survival_time
from sksurv.compare import compare_survival
from sksurv.util import Surv

from workflow_scripts.common import survival as s
from workflow_scripts.common.errors import InputError

TASK = {"column": "Death", "time": "Years", "where": {"ER": ["pos"]}}
TISSUES = pd.DataFrame(
    {
        "tissue_id": ["a", "b", "c", "d", "e", "f", "g"],
        "patient_id": ["p", "p", "q", "r", "s", "t", "t"],
        "Death": [1.0, 1.0, 0.0, np.nan, 1.0, 0.0, 0.0],
        "Years": [2.0, 2.0, 3.5, 4.0, np.nan, 0.0, 0.0],
        "ER": ["pos", "pos", "pos", "pos", "pos", "pos", "pos"],
    }
).set_index("tissue_id", drop=False)


def cohort(seed, n=120, groups=3, ties=True, effect=0.0):
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, groups, n)
    time = rng.exponential(5 * np.exp(-effect * codes))
    end = rng.uniform(1, 9, n)
    seen = np.minimum(time, end)
    seen = np.ceil(2 * seen) / 2 if ties else seen
    return pd.DataFrame({"time": seen, "event": time <= end}), codes


def test_follow_up_is_one_row_a_patient_with_the_reasons_of_the_others():
    follow, reasons = s.follow_up(TISSUES, TASK, "c: tasks.survival")
    assert follow.to_dict("index") == {
        "p": {"time": 2.0, "event": True},
        "q": {"time": 3.5, "event": False},
        "t": {"time": 0.0, "event": False},
    }
    assert reasons.to_dict() == {"r": "no Death", "s": "no Years"}
    dropped, reasons = s.follow_up(TISSUES, TASK, "c: tasks.survival", drop_zero=True)
    assert list(dropped.index) == ["p", "q"] and reasons["t"] == "Years is 0"


def test_discordant_tissues_leave_the_patient_out_and_say_so():
    odd = TISSUES.assign(Years=[2.0, 2.5, 3.5, 4.0, 1.0, 0.0, 0.0])
    _, reasons = s.follow_up(odd, TASK, "c")
    assert reasons["p"] == "tissues disagree about the follow-up"
    odd = TISSUES.assign(ER=["pos", "neg", "neg", "pos", "pos", "pos", "pos"])
    follow, reasons = s.follow_up(odd, TASK, "c")
    assert reasons["p"] == "tissues disagree about ER"
    assert "q" not in follow.index and "q" not in reasons.index


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"Years": -1.0}, "tissue a has Years -1 below 0; a follow-up starts at 0: correct"),
        ({"Death": 2}, "tissue a has Death '2', expected 0 or 1"),
    ],
)
def test_faults_in_the_table_are_told(change, sentence):
    with pytest.raises(InputError, match=f"c: {sentence}"):
        s.follow_up(TISSUES.assign(**change), TASK, "c")


def test_absent_columns_are_told():
    for column in ("Death", "Years", "ER"):
        assert f"'{column}'" in s.absent(TISSUES.drop(columns=column), TASK)
        with pytest.raises(InputError, match=f"c: expected the clinical column '{column}'"):
            s.follow_up(TISSUES.drop(columns=column), TASK, "c")
    assert s.absent(TISSUES, TASK) is None
    assert "no `time`" in s.absent(TISSUES, {"column": "Death"})
    follow, reasons = s.follow_up(TISSUES.assign(Death=None), TASK, "c")
    assert follow.empty and set(reasons[["p", "q"]]) == {"no Death"}


def test_a_follow_up_that_tells_nothing_says_why():
    follow, _ = cohort(0)
    assert s.unusable(follow) is None
    assert "120 patients with follow-up, at least 200" in s.unusable(follow, 200)
    assert s.unusable(follow.assign(event=False)) == "none of 120 patients has the event"
    assert "the same follow-up time" in s.unusable(follow.assign(time=3.0))


def test_the_curve_is_that_of_lifelines_and_the_band_greenwood_s():
    follow, _ = cohort(1)
    curve = s.kaplan_meier(follow)
    fit = KaplanMeierFitter().fit(follow["time"], follow["event"])
    np.testing.assert_allclose(curve["survival"], fit.predict(curve["time"]))
    d, n = curve["events"], curve["at_risk"]
    assert list(n[1:4]) == list(s.at_risk(follow, curve["time"][1:4]))
    # The log-log interval from Greenwood's sum, by hand.
    spread = np.sqrt(np.cumsum(d / (n * (n - d)).replace(0, np.nan)))
    log = np.log(curve["survival"])
    low = np.exp(log * np.exp(1.959964 * spread / np.abs(log)))
    inside = (curve["survival"] > 0) & (curve["survival"] < 1)
    np.testing.assert_allclose(curve["low"][inside], low[inside], rtol=1e-5)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("groups", [2, 4])
def test_the_log_rank_test_is_that_of_both_libraries(seed, groups):
    follow, codes = cohort(seed, groups=groups, ties=seed % 2 == 0)
    ours = s.logrank(follow, codes)
    theirs = multivariate_logrank_test(follow["time"], codes, follow["event"])
    assert ours["statistic"] == pytest.approx(theirs.test_statistic, rel=1e-9)
    assert ours["p"] == pytest.approx(theirs.p_value, rel=1e-9) and ours["df"] == groups - 1
    outcome = Surv.from_arrays(follow["event"], follow["time"])
    chisq, _, stats, covariance = compare_survival(outcome, codes, return_stats=True)
    assert ours["statistic"] == pytest.approx(chisq, rel=1e-9)
    scores = np.arange(groups)
    excess = (stats["observed"] - stats["expected"]).to_numpy()
    trend = (scores @ excess) ** 2 / (scores @ covariance @ scores)
    found = s.logrank_trend(follow, codes, range(groups))
    assert found["statistic"] == pytest.approx(trend, rel=1e-9)
    if groups == 2:
        one, two = follow[codes == 0], follow[codes == 1]
        pair = logrank_test(one["time"], two["time"], one["event"], two["event"])
        assert ours["p"] == pytest.approx(pair.p_value) == pytest.approx(found["p"])


def test_a_single_group_has_no_test():
    follow, codes = cohort(0)
    assert np.isnan(s.logrank(follow, codes * 0)["p"])
    assert np.isnan(s.logrank_trend(follow, codes * 0, [0, 1])["p"])
    assert np.isnan(s.logrank(follow.assign(event=False), codes)["p"])


@pytest.mark.parametrize("horizon", [1.0, 4.2, 30.0])
def test_restricted_means_are_those_of_lifelines(horizon):
    follow, codes = cohort(2)
    times, place = s.risk_sets(follow)
    counts = s.group_counts(place, follow["event"].to_numpy(), codes, 3, times)
    ours = s.restricted_means(*counts, times, horizon)
    for group in range(3):
        part = follow[codes == group]
        fit = KaplanMeierFitter().fit(part["time"], part["event"])
        assert ours[group] == pytest.approx(restricted_mean_survival_time(fit, t=horizon))


def test_the_adjusted_model_finds_the_planted_hazard_and_checks_proportions():
    rng = np.random.default_rng(0)
    n = 600
    table = pd.DataFrame({"high": rng.integers(0, 2, n), "age": rng.normal(60, 9, n)})
    table["grade"] = rng.choice(["1", "2", "3"], n)
    rate = 0.1 * np.exp(0.9 * table["high"] + 0.5 * (table["grade"] == "3"))
    time, end = rng.exponential(1 / rate), rng.uniform(2, 20, n)
    follow = pd.DataFrame({"time": np.minimum(time, end), "event": time <= end})
    model, remarks = s.cox(follow, table)
    rows = model.set_index("covariate")
    assert remarks == [] and rows["patients"].eq(n).all()
    assert abs(np.log(rows.loc["high", "hazard_ratio"]) - 0.9) < 0.3 < rows.loc["high", "low"] - 1
    assert rows.loc["age", "p"] > 0.01 and {c for c in rows.index if "grade=" in c}
    assert rows["proportional_p"].min() > 0.005
    # A hazard that turns round: high risk early, none late.
    late = np.where(table["high"] == 1, 2 + 0 * time, 8)
    turned = follow.assign(time=late + rng.uniform(0, 1 + 9 * table["high"], n), event=True)
    model, _ = s.cox(turned, table[["high"]])
    assert model.loc[0, "proportional_p"] < 0.001


def test_a_model_that_cannot_be_fitted_says_why():
    follow, codes = cohort(3, n=60, groups=2)
    covariates = pd.DataFrame({"high": codes, "er": "pos"})
    model, remarks = s.cox(follow, covariates)
    assert list(model["covariate"]) == ["high"] and remarks == ["er does not vary"]
    model, remarks = s.cox(follow.assign(event=False), covariates)
    assert model is None and remarks[-1] == "0 events are too few for 1 covariates"
    model, remarks = s.cox(follow, covariates.assign(twice=codes))
    assert model is None and "repeat each other" in remarks[-1]
    missing = covariates.assign(age=np.where(np.arange(60) < 20, np.nan, codes + np.arange(60)))
    assert s.cox(follow, missing)[0]["patients"].eq(40).all()


def test_concordance_is_that_of_lifelines():
    follow, codes = cohort(4, effect=0.7)
    theirs = concordance_index(follow["time"], -codes, follow["event"])
    assert s.concordance(follow, codes) == pytest.approx(theirs, abs=1e-3)
    assert np.isnan(s.concordance(follow.assign(event=False), codes))


def test_the_panel_lists_the_numbers_at_risk():
    follow, codes = cohort(5, groups=2)
    figure, axis = plt.subplots()
    groups = {"high": (follow[codes == 1], "#D55E00"), "low": (follow[codes == 0], "#0072B2")}
    s.draw_kaplan_meier(axis, groups, "years")
    written = [text.get_text() for text in axis.texts]
    assert written[0] == "at risk" and "high" in written and str((codes == 1).sum()) in written
    events = int(follow.loc[codes == 1, "event"].sum())
    assert (
        axis.get_legend_handles_labels()[1][0] == f"high: {events} events, n = {(codes == 1).sum()}"
    )
    plt.close(figure)
