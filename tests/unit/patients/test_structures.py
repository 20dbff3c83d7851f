"""Risk ratios of tissue structures by hand, and what is said where there is none."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from scipy.stats import fisher_exact, norm

from workflow_scripts.patients import structures as s
from workflow_scripts.patients.fig4d import shades_of
from workflow_scripts.patients.strata import RISKS

FIRST, SECOND, THIRD = s.STRUCTURES[:3]


@pytest.fixture
def table():
    """20 high-risk and 30 low-risk patients: 12 and 6 have the first, 0 and 9 the second."""
    counts = pd.DataFrame(0, index=[f"p{i}" for i in range(50)], columns=s.STRUCTURES)
    counts.iloc[:12, 0] = 5
    counts.iloc[20:26, 0] = 5
    counts.iloc[20:29, 1] = 7
    risk = pd.Series([RISKS[0]] * 20 + [RISKS[1]] * 30, index=counts.index)
    return counts, pd.Series(100, index=counts.index), risk


def test_a_risk_ratio_is_that_of_the_textbook(table):
    rows = s.risk_ratios(*table, share=0.0, repeats=300, seed=0).set_index("structure")
    row = rows.loc[FIRST]
    assert row["risk_ratio"] == pytest.approx((12 / 20) / (6 / 30)) == 3.0
    error = np.sqrt(1 / 12 - 1 / 20 + 1 / 6 - 1 / 30)  # Katz
    ends = 3 * np.exp(np.array([-1, 1]) * norm.ppf(0.975) * error)
    np.testing.assert_allclose(row[["low", "high"]].to_list(), ends)
    p = [fisher_exact([[12, 8], [6, 24]])[1], fisher_exact([[0, 20], [9, 21]])[1]]
    assert row["p"] == pytest.approx(p[0])
    # Benjamini-Hochberg over the two structures that occur.
    assert rows.loc[FIRST, "q"] == pytest.approx(min(2 * min(p), max(p)))
    assert row["cell_ratio"] == pytest.approx((60 / 2000) / (30 / 3000))
    assert row["cell_low"] < row["cell_ratio"] < row["cell_high"]


def test_a_structure_occurs_above_its_share(table):
    rows = s.risk_ratios(*table, share=0.06, repeats=0, seed=0).set_index("structure")
    assert rows.loc[FIRST, "with_high"] == 0 and np.isnan(rows.loc[FIRST, "risk_ratio"])
    assert rows.loc[SECOND, "with_low"] == 9 and np.isnan(rows.loc[SECOND, "cell_low"])


def test_ratios_that_do_not_exist_say_so(table):
    rows = s.risk_ratios(*table, share=0.0, repeats=0, seed=0).set_index("structure", drop=False)
    entry = s.ratio_number(rows.loc[SECOND])
    assert (
        entry["value"] == 0 and entry["low"] is None and "in 0 of 20 high-risk" in entry["reason"]
    )
    entry = s.ratio_number(rows.loc[THIRD])
    assert entry["status"] == (
        "not run: no ratio, TLS-like is in 0 of 20 high-risk and 0 of 30 low-risk patients"
    )
    counts, cells, risk = table
    turned = risk.map(dict(zip(RISKS, RISKS[::-1], strict=True)))
    rows = s.risk_ratios(counts, cells, turned, 0.0, 0, 0).set_index("structure", drop=False)
    assert s.ratio_number(rows.loc[SECOND])["value"] is None  # none at low risk
    alone = s.risk_ratios(counts, cells, risk.map(lambda _: RISKS[0]), 0.0, 50, 0)
    assert alone["risk_ratio"].isna().all() and alone["q"].isna().all()


def test_a_structure_that_all_have_gets_no_interval(table):
    counts, cells, risk = table
    rows = s.risk_ratios(counts + 1, cells, risk, 0.0, 0, 0).set_index("structure", drop=False)
    entry = s.ratio_number(rows.loc[THIRD])
    assert entry["value"] == 1 and entry["low"] is None


def test_keys_and_words_are_readable():
    assert s.words("FSP1^{+} enriched") == "FSP1⁺ enriched"
    assert s.key("CD8^{+} & macrophages") == "cd8_macrophages"
    assert len({s.key(structure) for structure in s.STRUCTURES}) == 10


def test_the_forest_names_every_structure(table):
    figure, axis = plt.subplots()
    rows = s.risk_ratios(*table, share=0.0, repeats=0, seed=0)
    s.draw_ratios(axis, {"VirTues": rows}, {"VirTues": shades_of(["all14"])["all14"]})
    assert [t.get_text() for t in axis.get_yticklabels()] == [s.words(x) for x in s.STRUCTURES]
    assert [t.get_text() for t in axis.texts].count("no ratio") == 9
    low, high = axis.get_xlim()
    assert low < 1 < high
    plt.close(figure)
