"""High and low risk: what is planted is found, and where nothing is planted what each test says."""

import numpy as np
import pandas as pd
import pytest
from lifelines.statistics import logrank_test
from scipy.stats import binomtest, kstest

from tests.unit.patients.conftest import SETTINGS, TASK
from workflow_scripts.patients import risk_groups as rg
from workflow_scripts.patients import strata as s
from workflow_scripts.patients.pooling import select, structure_counts
from workflow_scripts.patients.structures import risk_ratios


def grouped(study, states=40, seed=0, task=TASK):
    """Return follow-up, ranks and risks, and how the structures' risk ratios come out."""
    follow, patients, _, reason = select(study.cells, study.tissues, task, "c", SETTINGS)
    assert reason is None
    owners = study.cells["tissue_id"].map(patients)
    shares = rg.shares_of(study.cohort.tokens, owners, [(states, seed)], SETTINGS)
    groups = rg.group(shares[states, seed], follow, SETTINGS, seed)
    counts = structure_counts(owners, study.cells["niche"], follow)
    cells = owners.value_counts().loc[follow.index]
    ratios = risk_ratios(counts, cells, groups["risk"], 0.1, 50, 0).set_index("structure")
    return follow, groups, ratios


def test_the_niches_that_change_the_hazard_are_found(simulated):
    ratios = []
    for seed in range(5):
        follow, groups, table = grouped(simulated(seed))
        found = s.tests(follow, groups["rank"], 2, 99, seed)
        assert found["merged_p"] < 0.005 and found["groups_p"] < 0.005
        assert found["permutation_p"] <= 0.03
        ratios.append(table["cell_ratio"])
    mean = np.log(pd.concat(ratios, axis=1)).mean(axis=1)
    assert mean["APC enriched"] > 0.1 > -0.1 > mean["Vascular stroma"]


def test_without_a_link_the_printed_test_is_inflated_and_the_permutation_is_not(simulated):
    printed, permuted = [], []
    for seed in range(6):
        study = simulated(seed, patients=200, cells=20, cut="outcomes", differ=False)
        follow, groups, _ = grouped(study, states=20, task=TASK | {"where": {}})
        rng = np.random.default_rng(seed)
        for draw in range(50):  # further outcomes that belong to nobody
            order = rng.permutation(len(follow)) if draw else np.arange(len(follow))
            own = follow.iloc[order].set_axis(follow.index)
            ranks = s.stratify(own, groups["rank"], 2)["rank"]
            found = s.tests(own, ranks, 2, 39, draw)
            printed.append(found["merged_p"])
            permuted.append(found["permutation_p"])
    # About 14 % of 300, by merging alone; four standard deviations are 8 %.
    assert 0.09 < np.mean(np.array(printed) < 0.05) < 0.22
    assert np.mean(np.array(permuted) <= 0.05) < 0.10
    assert kstest(printed, "uniform").pvalue < 1e-3 < kstest(permuted, "uniform").pvalue
    assert binomtest(int(np.sum(np.array(permuted) <= 0.5)), len(permuted)).pvalue > 1e-3


def survival(times, events):
    index = [f"p{i}" for i in range(len(times))]
    return pd.DataFrame({"time": np.array(times, float), "event": events}, index=index)


def test_groups_of_shorter_mean_survival_are_merged():
    rng = np.random.default_rng(0)
    codes = np.repeat([0, 1, 2, 3], 40)
    years = rng.exponential(np.array([9.0, 2.0, 7.0, 1.0])[codes])
    follow = survival(np.minimum(years, 12), years < 12)
    table = s.stratify(follow, pd.Series(codes, index=follow.index), 2)
    assert set(codes[table["rank"] == 0]) == {3} and set(codes[table["rank"] == 1]) == {1}
    assert set(codes[table["risk"] == "high risk"]) == {1, 3}
    found = s.tests(follow, table["rank"], 2, 19, 0)
    high = (table["risk"] == "high risk").to_numpy()
    one, two = follow[high], follow[~high]
    theirs = logrank_test(one["time"], two["time"], one["event"], two["event"])
    assert found["merged_p"] == pytest.approx(theirs.p_value)
    assert found["permutation_p"] == 1 / 20
    # The statistic that is permuted is that of the printed test.
    outcomes = s.Outcomes(follow)
    order, statistic = outcomes.split(codes, 4, 2)
    assert statistic == pytest.approx(theirs.test_statistic) and list(order[:2]) == [3, 1]


def test_a_group_that_died_out_does_not_end_the_comparison():
    # The second group's last patient dies at 2; the first is followed to 10 and loses one at 9.
    follow = survival([1, 2, 9, 10, 10], [True, True, True, False, False])
    table = s.stratify(follow, pd.Series([1, 1, 0, 0, 0], index=follow.index), 1)
    assert table["rank"].tolist() == [0, 0, 1, 1, 1]
    # Were the curves compared until 2 alone, one of them would end at its horizon.
    assert s.Outcomes(follow)._known(np.array([True, True, False, False, False])) == 10
    assert s.Outcomes(follow)._known(np.array([False, False, True, True, True])) == 10
    assert s.Outcomes(follow.assign(event=False))._known(np.arange(5) < 2) == 2


def test_survival_alone_takes_deaths_and_early_censored_patients():
    follow = survival([1, 9, 2, 4, 6, 8], [True, True, False, False, False, False])
    risk, cut = s.survival_only(follow, size=4)
    assert cut == 6 and list(risk[risk == "high risk"].index) == ["p0", "p1", "p2", "p3"]
    risk, cut = s.survival_only(follow)
    assert cut == 5 and (risk == "high risk").sum() == 4
    risk, _ = s.survival_only(follow, size=1)  # fewer than have died
    assert (risk == "high risk").sum() == 2
    risk, cut = s.survival_only(follow.assign(event=True), size=3)
    assert np.isnan(cut) and (risk == "high risk").all()
