"""Shares of a patient's cells in a cluster, and their ranks."""

import numpy as np
import pandas as pd
import pytest

from workflow_scripts.biomarkers.ranks import proportions, ranks


def test_shares_are_those_of_a_cross_table():
    rng = np.random.default_rng(0)
    owners, members = rng.choice(["c", "a", "b", "d"], 500), rng.random(500) < 0.2
    patients = ["b", "a", "d"]
    expected = pd.Series(members).groupby(owners).mean().loc[patients]
    assert proportions(owners, members, patients) == pytest.approx(expected.to_numpy(), abs=0)


def test_a_patient_without_a_cell_has_no_share_and_no_rank():
    shares = proportions(["a", "a"], [True, False], ["a", "b"])
    assert shares[0] == 0.5
    assert np.isnan(shares[1])
    with pytest.raises(ValueError, match="without a cell has no rank"):
        ranks(shares)


def test_absence_is_rank_0_and_the_positive_thirds_are_1_to_3():
    shares = np.array([0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0, 0])
    found, cut_points = ranks(shares)
    assert found.tolist() == [0, 1, 1, 2, 2, 3, 3, 0, 0]
    assert cut_points == pytest.approx(np.quantile(shares[shares > 0], [1 / 3, 2 / 3]))


def test_given_cut_points_are_kept():
    found, cut_points = ranks([0, 0.05, 0.1, 0.2, 0.9], (0.1, 0.2))
    assert found.tolist() == [0, 1, 1, 2, 3]
    assert cut_points == (0.1, 0.2)


def test_a_cluster_that_nobody_has_is_rank_0_for_all():
    found, cut_points = ranks([0.0, 0.0])
    assert found.tolist() == [0, 0]
    assert cut_points == (0.0, 0.0)
    assert ranks([0.3])[0].tolist() == [1]  # it lies at both of its own cut-points
