"""The paper's statements on planted sums: found where they hold, denied where they do not."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import wilcoxon

from workflow_scripts.common.bootstrap import resamples
from workflow_scripts.common.errors import InputError
from workflow_scripts.common.numbers import check_numbers, read_numbers
from workflow_scripts.reconstruction import (
    draw_markers,
    draw_zero_shot,
    fig2d,
    fig2f,
    fig2h,
    zero_shot_examples,
)
from workflow_scripts.reconstruction.draw_more_examples import further
from workflow_scripts.reconstruction.fig2h import CLAIMS, Pair, summarise
from workflow_scripts.reconstruction.fig2h import draw as draw_pair
from workflow_scripts.reconstruction.metrics import SUMS, hidden_sums
from workflow_scripts.reconstruction.reconstruct import KEYS
from workflow_scripts.reconstruction.scores import Scores, means, paired_p
from workflow_scripts.reconstruction.statements import summarise as summarise_cohorts

COMMON = {"n": 5, "seeds": [0], "weights": "w, sha256 0"}
PATIENTS = 5


def planted(r_of, baseline=0.2, patients=PATIENTS, cohort="c", constant=()):
    """Scores whose model's r under each strategy and marker is `r_of(strategy, marker)`."""
    rng, rows = np.random.default_rng(0), []
    for patient in range(patients):
        for strategy in ("independent", "marker", "niche"):
            for marker in ("a", "b", "n"):
                for predictor in ("model", "baseline"):
                    r = r_of(strategy, marker) if predictor == "model" else baseline
                    truth, noise = rng.normal(size=(2, 1, 60, 60))
                    truth = np.zeros_like(truth) if marker in constant else truth
                    guess = r * truth + (1 - r**2) ** 0.5 * noise
                    sums = hidden_sums(truth, guess, np.ones(truth.shape, bool), [0.0])[0]
                    seed = None if strategy == "marker" else 0
                    who = (f"t{patient}", f"p{patient}", strategy, seed, marker, f"P_{marker}")
                    rows.append((*who, predictor, *sums))
    return Scores(cohort, pd.DataFrame(rows, columns=[*KEYS, *SUMS]).astype({"seed": "Int64"}))


def zero_shot_numbers(zero_shot, in_domain):
    pair = Pair(planted(zero_shot), planted(in_domain), {"P_a", "P_b"})
    numbers = summarise(pair, resamples(PATIENTS, 100, 0), COMMON)
    record = {"target": "fig2h", "simulated": True, "picture": True, "status": "done"}
    check_numbers(record | {"caption": "A caption.", "numbers": numbers}, "numbers.json")
    return pair, numbers


def test_a_loss_under_marker_masking_alone_is_found():
    def zero_shot(strategy, marker):
        lost = 0.4 if marker == "n" else 0.13
        return 0.8 - (lost if strategy == "marker" else 0) - 0.1 * (strategy == "niche")

    pair, numbers = zero_shot_numbers(
        zero_shot, lambda strategy, marker: 0.8 - 0.1 * (strategy == "niche")
    )
    assert numbers["C022"]["value"] == pytest.approx(0.67, abs=0.02)
    assert numbers["C023"]["value"] == pytest.approx(0.80, abs=0.02)
    assert numbers["C022"]["careful"]["value"] == pytest.approx((0.8 + 0.67 + 0.7) / 3, abs=0.02)
    for claim in ("C022", "C023", "C024", "C025"):
        assert numbers[claim]["low"] <= numbers[claim]["value"] <= numbers[claim]["high"]
    assert abs(numbers["C024"]["value"]) < 0.02 and abs(numbers["C025"]["value"]) < 0.02
    assert [numbers[claim]["value"] for claim in ("C026", "C028", "C029")] == [1, 1, 1]
    assert numbers["p_seen_marker"]["value"] == pytest.approx(0.0625)  # five of five patients
    table = pair.table()
    assert table.groupby("group")["marker"].nunique().to_dict() == {"new": 1, "seen": 2}
    assert len(draw_pair(table).axes) == 2


def test_no_loss_is_not_taken_for_one():
    def same(strategy, marker):
        return {"independent": 0.5, "marker": 0.4, "niche": 0.6}[strategy]

    _, numbers = zero_shot_numbers(same, same)
    assert [numbers[claim]["value"] for claim in ("C026", "C028", "C029")] == [0, 0, 0]
    assert numbers["p_seen_marker"]["value"] == 1


def test_a_cohort_without_new_markers_says_so():
    scores = planted(lambda strategy, marker: 0.5)
    pair = Pair(scores, scores, {"P_a", "P_b", "P_n"})
    numbers = summarise(pair, resamples(PATIENTS, 20, 0), COMMON)
    assert set(CLAIMS) <= set(numbers)
    for key in ("C026", "C029", "loss_new_marker"):
        assert numbers[key]["value"] is None and numbers[key]["status"].startswith("not run: ")
    assert len(draw_pair(pair.table()).axes) == 1


def test_models_with_other_channels_are_refused():
    with pytest.raises(InputError, match="one table of marker embeddings"):
        whole = planted(lambda *_: 0.5)
        less = planted(lambda *_: 0.5)
        less.keys = less.keys.iloc[1:]
        Pair(whole, less, set())


def test_the_headline_is_resampled_and_a_lead_is_needed_under_every_strategy():
    good = planted(lambda strategy, marker: 0.7, cohort="good")
    one = planted(lambda strategy, marker: 0.7, patients=1, cohort="one")
    numbers = summarise_cohorts([good, one], ["good", "one"], 50, [0], "w", {"far": "on request"})
    assert numbers["C020"]["value"] == pytest.approx(0.7, abs=0.02)
    assert numbers["C020"]["low"] < numbers["C020"]["value"] < numbers["C020"]["high"]
    assert numbers["C021"]["value"] == 1 and numbers["C020"]["n"] == PATIENTS + 1
    assert numbers["lead_good_niche"]["low"] > 0.4 and numbers["lead_one_niche"]["low"] is None
    assert numbers["p_one_niche"]["status"] == "not run: fewer than three test patients"
    assert numbers["r_far"]["status"] == "not run: data not supplied: on request"
    weak = planted(lambda strategy, marker: 0.1 if strategy == "marker" else 0.9)
    assert summarise_cohorts([weak], ["c"], 0, [0], "w", {})["C021"]["value"] == 0
    assert summarise_cohorts([weak], [], 0, [0], "w", {})["C020"]["status"].startswith("not run")


def test_a_constant_marker_is_left_out_counted_and_named_in_grey():
    scores = planted(lambda strategy, marker: 0.7, constant=("b",))
    numbers = summarise_cohorts([scores], ["c"], 20, [0], "w", {})
    reason = "mean over 2 markers; 1 constant in the test tissues left out"
    assert numbers["r_c_niche"]["reason"] == numbers["f1_c_niche"]["reason"] == reason
    assert numbers["C020"]["value"] == pytest.approx(0.7, abs=0.02)
    ours = draw_markers.summarise([scores], "f1", 20, {"seeds": [0], "weights": "w"})
    assert ours["undefined_f1"]["value"] == 3  # under each strategy
    figure = draw_markers.draw(draw_markers.tidy([scores], "pearson_r"), "pearson_r")
    colours = {t.get_text(): t.get_color() for t in figure.axes[0].get_xticklabels()}
    assert colours["b"] == "0.65" and colours["a"] == "0.13"
    everything = planted(lambda *_: 0.7, constant=("a", "b", "n"))
    numbers = summarise_cohorts([everything], ["c"], 20, [0], "w", {})
    assert numbers["C020"]["status"] == "not run: no marker varies in the test tissues"
    assert fig2d.draw(fig2d.tidy([scores], 20)).axes


def test_the_interval_resamples_patients():
    scores = planted(lambda *_: 0.5)
    scores.sums = scores.sums[..., :3].copy()
    scores.patients = scores.patients[:3]
    draws = resamples(3, 400, 0)
    each = means(scores, "niche", weights=np.eye(3))[0]
    drawn = means(scores, "niche", weights=draws)[0]
    assert each.min() - 1e-9 <= drawn.min() and drawn.max() <= each.max() + 1e-9
    first = means(scores, "niche", weights=[1, 0, 0])[0]
    assert first == pytest.approx(each[0]) and first in drawn


def test_paired_p_is_scipys_by_patient():
    rng = np.random.default_rng(0)
    ours, theirs = rng.normal(size=(2, 12))
    assert paired_p(ours + 1, theirs) == pytest.approx(wilcoxon(ours + 1 - theirs).pvalue)
    assert paired_p([1, 2, np.nan], [0, 1, 2]) is None and paired_p(ours, ours) == 1.0


def test_the_map_marks_seen_and_new_markers():
    accessions = [f"P{i}" for i in range(12)]
    points = fig2f.marker_map(np.random.default_rng(0).normal(size=(12, 20)), 0)
    again = fig2f.marker_map(np.random.default_rng(0).normal(size=(12, 20)), 0)
    np.testing.assert_array_equal(points, again)
    panel, seen = {"P0", "P1", "P2"}, set(accessions) - {"P1", "P11"}
    table = fig2f.place_markers(accessions, points, {"P1": "CD63"}, panel, seen)
    figure = fig2f.draw(table, "rigamonti", {"P0"})
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["in other panels alone (9)", "Rigamonti, seen (2)", "Rigamonti, new (1)"]
    assert [text.get_text() for text in figure.axes[0].texts] == ["P0", "CD63"]


def test_further_channels_are_not_those_of_figure_2():
    whole = {"truth": np.arange(14), "where": np.array(["c"])}
    whole["markers"] = np.array([f"m{i}" for i in range(14)])
    short = whole | {"truth": np.arange(3), "markers": whole["markers"][:3]}
    rest = further({"first": whole, "second": short})
    assert rest["first"]["markers"].tolist() == [f"m{i}" for i in range(4, 12)]
    assert rest["second"]["markers"].tolist() == ["m0", "m1", "m2"]
    assert "first" not in further({"first": short})


def test_without_the_cohort_every_zero_shot_target_says_so(tmp_path):
    reason = "data not supplied: the data of rigamonti are given on request"
    params = {"absent": reason, "simulated": False, "settings": {}, "scale": "counts"}
    targets = [{"id": name, "caption": "A caption."} for name in ("fig2g", "figS13", "figS14")]
    examples = str(tmp_path / "examples.npz")
    paths = [tmp_path / target["id"] / "numbers.json" for target in targets]
    run(zero_shot_examples, params, {}, {"examples": examples})
    given = {"examples": examples, "metrics": []}
    run(draw_zero_shot, params | {"targets": targets}, given, {"numbers": paths})
    for script in (fig2f, fig2h):
        target = {"id": script.__name__.rpartition(".")[2], "caption": "A caption."}
        paths.append(tmp_path / target["id"] / "numbers.json")
        run(script, params | {"target": target}, {}, {"numbers": paths[-1]})
    for path in paths:
        record = read_numbers(path)
        assert record["status"] == f"not run: {reason}" and not record["picture"]
    assert set(record["numbers"]) == set(CLAIMS)


def run(script, params, given, output):
    parts = {"params": params, "input": given, "output": output}
    script.main(SimpleNamespace(**{k: SimpleNamespace(**part) for k, part in parts.items()}))
