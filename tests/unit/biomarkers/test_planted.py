"""The four planted states are found among cells of hundreds of patients; without a link, none."""

import numpy as np
import pandas as pd
import pytest

from demo.simulator.cohort import read_effects
from demo.simulator.tokens import simulate_tokens
from workflow_scripts.biomarkers import prediction as p
from workflow_scripts.biomarkers import selection as s
from workflow_scripts.biomarkers.clusters import Clusters
from workflow_scripts.biomarkers.find_signatures import find
from workflow_scripts.common.errors import InputError

RESPONSE = {"Apoptotic front", "Lymphoid aggregate"}
RESISTANCE = {"Hypoxic core", "EMT front"}
SETTINGS = {
    "neighbours": 15,
    "resolutions": [1.5, 2.0, 0.5],
    "iterations": 2,
    "largest_cluster": 2000,
    "overlap": 0.5,
    "folds": 4,
    "repeats": 5,
    "joint_repeats": 5,
    "permutations": 5,
}


class Case:
    """Signatures found in one simulated cohort, and its outcomes when they belong to nobody."""

    def __init__(self, seed):
        whole = simulate_tokens(read_effects(), "wang2023", patients=600, cells=30, seed=seed)
        cut = simulate_tokens(
            read_effects(), "wang2023", patients=600, cells=30, seed=seed, cut="outcomes"
        )
        people = whole.patients.set_index("patient_id")
        chosen = people[(people["Arm"] == "C&I") & (people["isPerProtocol"] == "TRUE")]
        cells = whole.cells
        kept = (cells["time"] == "Baseline") & cells["patient_id"].isin(chosen.index)
        self.cells = cells[kept].reset_index(drop=True)
        self.tokens = whole.tokens[kept.to_numpy()]
        self.responds = chosen["pCR"] == "pCR"
        outcomes = cut.patients.set_index("patient_id").loc[self.responds.index, "pCR"]
        self.nobodys = (outcomes == "pCR").to_numpy()
        self.found = find(self.tokens, self.cells, self.responds, SETTINGS, seed)

    def judged(self, responds, seed=0):
        """AUROC of the best cluster, of all four as printed, and nested with its interval."""
        found = Clusters(**{**vars(self.found.clusters), "responds": responds})
        folds = p.make_folds(responds, 4, 5, seed)
        _, _, aurocs, ratios = s.judge(found.shares, responds, folds)
        places, _ = s.choose(aurocs, ratios, found.overlap, 0.5)
        joint = s.printed_scores(found, places, places, {}, folds)[s.JOINT]
        nested = p.fold_aurocs(s.nested_scores(found, folds, SETTINGS, seed)[s.JOINT], responds)
        printed = p.fold_aurocs(joint, responds).mean()
        return aurocs.max(), printed, nested.mean(), p.corrected_interval(nested, folds)


@pytest.fixture(scope="module", params=[0, 2])
def case(request):
    return Case(request.param)


def test_response_and_non_response_states_are_found(case):
    keys = pd.MultiIndex.from_frame(case.cells[["tissue_id", "cell_id"]])
    state = case.cells["niche"] + "/" + case.cells["cell_type"]
    indices = []
    for name, planted in zip(s.NAMES, (RESPONSE, RESPONSE, RESISTANCE, RESISTANCE), strict=True):
        own = case.found.cells[case.found.cells["signature"] == name]
        member = keys.isin(pd.MultiIndex.from_frame(own[["tissue_id", "cell_id"]]))
        assert member.sum() == len(own) == case.found.signatures[name]["cells"] < 2000
        commonest = state[member].mode()[0]
        assert commonest.split("/")[0] in planted, name
        theirs = (state == commonest).to_numpy()
        indices.append((member & theirs).sum() / (member | theirs).sum())
        ratio = case.found.signatures[name]["risk_ratio"]
        assert ratio > 1.2 if planted is RESPONSE else ratio < 0.85
    assert min(indices) > 0.3 and np.median(indices) > 0.8


def test_planted_states_predict_response_when_nested(case):
    best, printed, nested, (low, high) = case.judged(case.responds.to_numpy())
    assert best > 0.62 and printed > 0.68
    assert 0.62 < nested < printed and low > 0.53


def test_outcomes_of_nobody_are_not_predicted_when_nested(case):
    rng = np.random.default_rng(1)
    runs = [case.judged(case.nobodys)]
    runs += [case.judged(rng.permutation(case.nobodys), seed) for seed in (1, 2, 3)]
    assert all(best > 0.53 for best, *_ in runs)  # as printed, something always predicts
    assert np.mean([printed for _, printed, *_ in runs]) > 0.53
    assert abs(np.mean([nested for *_, nested, _ in runs]) - 0.5) < 0.06
    assert sum(low <= 0.5 <= high for *_, (low, high) in runs) >= 3


def test_a_signature_is_taken_once(case):
    facts = case.found.facts
    assert facts["passed_over"] > 0  # both resolutions show the same states
    literal = [one["place"] for one in facts["literal"].values()]
    chosen = [one["place"] for one in case.found.signatures.values()]
    overlap = case.found.clusters.overlap
    assert overlap[np.ix_(chosen, chosen)].sum() - 4 < 0.1 < overlap[np.ix_(literal, literal)].max()


def test_cut_points_are_tertiles_of_those_who_have_it(case):
    for one in case.found.signatures.values():
        shares = case.found.clusters.shares[one["place"]]
        assert one["patients"] == (shares > 0).sum()
        assert one["cut_points"] == pytest.approx(np.quantile(shares[shares > 0], [1 / 3, 2 / 3]))


def test_clusters_may_all_be_too_large(case):
    few = case.cells["patient_id"].isin(case.responds.index[:40]).to_numpy()
    settings = SETTINGS | {"largest_cluster": 3, "resolutions": [1.0, 1.0, 1.0]}
    cells = case.cells[few].reset_index(drop=True)
    with pytest.raises(InputError, match="among 0 small ones"):
        find(case.tokens[few], cells, case.responds.iloc[:40], settings, 0)
