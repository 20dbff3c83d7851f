"""The numbers behind the figures of linear probes: shares, gains, order, and what is missing."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from workflow_scripts.cells import fig3c, fig3d, fig3g
from workflow_scripts.cells.draw_probes import (
    comparisons,
    gain,
    share_numbers,
    statements,
    verified_number,
)
from workflow_scripts.cells.figS15 import class_sizes
from workflow_scripts.cells.probes import FOUR, MEAN, Probes, macro_numbers, order, score_all
from workflow_scripts.common.scores import holm, paired

TASK = ("c", "types")


def counts(right, patients=6, cells=20, kinds=("B Cell", "T Cell")):
    """Per patient and class, `right` of `cells` cells are called by their name."""
    rows = []
    for patient in range(patients):
        for place, kind in enumerate(kinds):
            hits = min(cells, right + patient % 3)
            rows += [(patient, kind, kind, hits), (patient, kind, kinds[place - 1], cells - hits)]
    table = pd.DataFrame(rows, columns=["patient_id", "truth", "predicted", "cells"])
    return table.assign(cohort="c", label="types")


def probes(**models):
    fact = {"status": "done", "converged": True, "unlearned": [], "unscored": []}
    return Probes(models, {model: {"c/types": dict(fact)} for model in models})


def test_shares_are_percentages_of_all_labelled_cells():
    labels = pd.Series(["Vessel"] * 3 + ["T cell"] * 7 + ["Tumour"] * 90)
    numbers = share_numbers({("cords2024", "cell_category"): labels})
    assert numbers["C111"]["value"] == pytest.approx(3.0) and numbers["C111"]["n"] == 100
    assert numbers["C112"]["value"] == pytest.approx(7.0)
    assert numbers["C113"]["status"].startswith("not run: no such class")


def test_gains_stand_over_all_tasks_and_over_published_labels_too():
    def both(right, own):
        return pd.concat([counts(right), counts(own).assign(label="types_published")])

    found = probes(ours=both(17, 12), a=both(12, 12))
    found.facts["ours"]["c/types_published"] = found.facts["ours"]["c/types"]
    found.facts["a"]["c/types_published"] = found.facts["a"]["c/types"]
    twin = ("c", "types_published")
    params = SimpleNamespace(models=["ours", "a"], tasks=[TASK], alone={}, bootstrap=20, seed=0)
    params.published, params.all_tasks = [(TASK, twin)], [TASK, ("c", "unknown")]
    numbers = statements(found, params, None)
    assert numbers["gain_over_a"]["value"] > 20
    assert numbers["gain_over_a_all_tasks"]["reason"] == "over 1 of 2 tasks"
    # On the archive's own labels the two are alike here.
    assert numbers["gain_over_a_published_labels"]["value"] == pytest.approx(0)
    params.published = []
    assert "gain_over_a_published_labels" not in statements(found, params, None)


def test_verified_images_are_counted_where_they_are_listed(tmp_path):
    assert verified_number(None)["status"].startswith("not run: the list of verified images")
    facts = tmp_path / "reannotated.json"
    facts.write_text('{"verified_images": 96, "features": 40}')
    assert verified_number(facts)["value"] == 96


def test_a_simulated_cohort_stands_for_the_one_it_imitates():
    labels = pd.Series(["B Cell"] * 1 + ["Stromal"] * 3)
    numbers = share_numbers({("sim_danenberg2022", "cell_type"): labels})
    assert numbers["C114"]["value"] == pytest.approx(25.0)


def test_rows_have_every_class_their_mean_and_an_interval_over_patients():
    found = probes(m=counts(15))
    rows, missing = score_all(found, [TASK], ["m", "kronos"], 200, 0)
    assert rows["class"].tolist() == ["B Cell", "T Cell", MEAN]
    mean = rows.iloc[-1]
    assert mean["f1"] == pytest.approx(rows["f1"][:2].mean())
    assert mean["low"] < mean["f1"] < mean["high"] and mean["test_patients"] == 6
    entries = macro_numbers(found, rows, missing, {"m": "weights"})
    assert entries["macro_f1_c_types_m"]["weights"] == "weights"
    status = entries["macro_f1_c_types_kronos"]["status"]
    assert status == "not run: KRONOS is not among the models of this study"


def test_what_went_wrong_stands_beside_the_score():
    found = probes(m=counts(15, patients=2))
    found.facts["m"]["c/types"] |= {"converged": False, "unlearned": ["T Cell"], "unscored": ["NK"]}
    entry = macro_numbers(found, *score_all(found, [TASK], ["m"], 200, 0), {})["macro_f1_c_types_m"]
    assert entry["low"] is None
    for said in ("did not converge", "F1 of T Cell is 0", "NK is not scored"):
        assert said in entry["reason"]


def test_a_gain_is_the_mean_of_relative_gains_with_an_interval():
    found = probes(ours=counts(18), kronos=counts(12))
    entry = gain(found, [TASK], "ours", "kronos", 200, 0)
    rows, _ = score_all(found, [TASK], ["ours", "kronos"], 200, 0)
    first, second = rows[rows["class"] == MEAN]["f1"]
    assert entry["value"] == pytest.approx(100 * (first / second - 1))
    assert entry["low"] <= entry["value"] <= entry["high"]
    assert entry["careful"]["value"] == pytest.approx(entry["value"])  # one task
    absent = gain(found, [TASK], "ours", "camae", 200, 0)
    assert absent["status"] == "not run: CA-MAE is not among the models of this study"


def test_models_are_compared_on_the_same_cells_with_holms_p():
    found = probes(ours=counts(18), a=counts(12), b=counts(18), c=counts(9, cells=10))
    entries = comparisons(found, [TASK], "ours", ["ours", "a", "b", "c"], 64, 0)
    assert entries["lead_c_types_over_a"]["low"] > 0
    assert entries["lead_c_types_over_b"]["value"] == 0
    assert "Holm p = 1" in entries["lead_c_types_over_b"]["reason"]
    assert "same cells" in entries["lead_c_types_over_c"]["status"]


def test_holm_steps_down():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.01, 0.04, 0.03, 0.5]) == pytest.approx([0.04, 0.09, 0.09, 0.5])
    assert holm([0.9, 0.8]) == pytest.approx([1, 1]) and holm([]).size == 0


def test_the_order_needs_both_rivals_in_all_four_cohorts():
    rows = [
        {"cohort": cohort, "model": model, "f1": f1}
        for cohort in FOUR
        for model, f1 in (("ours", 0.8), ("kronos", 0.7), ("camae", 0.5))
    ]
    means, rivals = pd.DataFrame(rows), ["kronos", "camae"]
    assert order(means, "ours", rivals)["value"] == 1 and order(means, "ours", rivals)["n"] == 4
    assert order(means, "kronos", ["ours", "camae"])["value"] == 0
    own = pd.DataFrame([{"cohort": "mine", "model": "ours", "f1": 0.1}])
    assert order(pd.concat([means, own]), "ours", rivals)["value"] == 1
    lost = order(
        means[~means["cohort"].eq("wang2023") | means["model"].ne("camae")], "ours", rivals
    )
    assert lost["status"].endswith("lacks CA-MAE on Wang 2023") and lost["value"] is None
    assert "KRONOS on Cords 2024 and Danenberg 2022" in order(None, "ours", rivals)["status"]


def test_gains_by_class_are_relative_and_an_absent_class_is_named():
    both = paired(counts(18), counts(12))
    numbers = fig3c.statements(both, 200, 0, "w")
    first, second = both[0].f1(), both[1].f1()
    assert numbers["C032"]["value"] == pytest.approx(100 * (first[0] / second[0] - 1))
    assert numbers["C034"]["status"] == "not run: no test cell has the class nk"
    assert numbers["C115"]["value"] == 1 and numbers["lead_macro_f1"]["low"] > 0


def test_the_largest_loss_counts():
    seen, unseen = counts(18), counts(16)
    pairs = [((cohort, "t"), *paired(seen, seen), "x") for cohort in FOUR[:3]]
    some = fig3d.summarise(pairs, 200, 0, {})
    assert some["C036"]["status"].endswith("no instance without Wang 2023 was compared")
    pairs += [((cohort, "t"), *paired(seen, unseen), "y") for cohort in (FOUR[3], "mine")]
    numbers = fig3d.summarise(pairs, 200, 0, {})
    assert numbers["C036"]["value"] == pytest.approx(numbers["loss_wang2023_t"]["value"])
    assert numbers["loss_cords2024_t"]["value"] == 0 < numbers["C036"]["low"]
    assert numbers["C036"]["n"] == 24
    gains = [(task, *both[::-1], instance) for task, *both, instance in pairs]
    other_way = fig3d.summarise(gains, 200, 0, {})
    assert other_way["C036"]["value"] == numbers["C036"]["value"]
    assert other_way["loss_wang2023_t"]["value"] == -numbers["loss_wang2023_t"]["value"]


@pytest.mark.parametrize(
    ("cohort", "status"),
    [
        ("sim_danenberg2022", "done"),
        ("c", "not run: the statement is about Danenberg 2022; this is C"),
    ],
)
def test_statements_about_danenberg_are_not_made_of_another_cohort(tmp_path, cohort, status):
    task, metrics = (cohort, "types"), []
    for model, hits in (("all14", 18), ("only", 12)):
        counts(hits).assign(cohort=cohort, label="types").to_parquet(tmp_path / f"{model}.parquet")
        facts = {"/".join(task): {"converged": True, "unlearned": [], "unscored": []}}
        (tmp_path / f"{model}.json").write_text(json.dumps(facts))
        metrics.append(tmp_path / model / "metrics.json")
        metrics[-1].parent.mkdir()
        metrics[-1].write_text(json.dumps({"instance": model, "weights_sha256": "ab"}))
    claims = ["C032", "C033", "C034", "C035", "C115"]
    job = SimpleNamespace(
        input=SimpleNamespace(
            counts=[tmp_path / f"{m}.parquet" for m in ("all14", "only")], metrics=metrics
        ),
        output=SimpleNamespace(numbers=tmp_path / "fig3c/numbers.json"),
        params=SimpleNamespace(
            tasks=[task],
            models=["all14", "only"],
            bootstrap=50,
            seed=0,
            simulated=True,
            target={"id": "fig3c", "caption": "Gains.", "claims": claims},
        ),
    )
    fig3c.main(job)
    numbers = json.loads(job.output.numbers.read_text())["numbers"]
    assert numbers["C032"]["status"] == numbers["C115"]["status"] == status
    assert numbers["lead_macro_f1"]["status"] == "done"


SIX = ("vessel", "T cell", "Immune")


def transferred(right):
    """Scores of a transfer with `right` of 20 cells of each class called by their name."""
    return {model: counts(hits, kinds=SIX) for model, hits in right.items()}


def test_the_transfer_stands_beside_the_model_that_never_saw_the_target():
    tables = transferred({"all14": 18, "wo_c": 15, "mean_intensity": 12, "mean_counts": 10})
    found = probes(**tables)
    rows, missing = score_all(found, [TASK], list(tables), 50, 0)
    entries = macro_numbers(found, rows, missing, {})
    params = SimpleNamespace(models=list(tables), unseen="wo_c", bootstrap=50, seed=0)
    numbers = fig3g.statements(found, TASK, rows, entries, params)
    beside = numbers["C037"]["careful"]
    assert beside["value"] == entries["macro_f1_c_types_wo_c"]["value"] < numbers["C037"]["value"]
    assert "T6" in beside["label"] and "D9" in numbers["C039"]["careful"]["label"]
    assert numbers["C038"]["status"] == "not run: KRONOS is not among the models of this study"
    assert numbers["lead_over_wo_c"]["value"] > 0 and "p = " in numbers["lead_over_wo_c"]["reason"]


def test_the_class_that_gains_most_is_named_only_where_all_three_are_scored():
    def rows(**gains):
        table = [(kind, "mean_intensity", 0.5) for kind in gains]
        table += [(kind, "all14", 0.5 + gain) for kind, gain in gains.items()]
        return pd.DataFrame(table, columns=["class", "model", "f1"])

    largest = {"Vessels": 0.3, "T cells": 0.1, "Immune": 0.2}
    assert fig3g.largest_gain(rows(**largest), "all14")["value"] == 1
    assert fig3g.largest_gain(rows(**largest | {"T cells": 0.4}), "all14")["value"] == 0
    assert fig3g.largest_gain(rows(**largest | {"Immune": -0.1}), "all14")["value"] == 0
    assert "lacks one" in fig3g.largest_gain(rows(Vessels=0.3, Immune=0.2), "all14")["status"]


def test_the_caption_says_that_kronos_had_no_nucleus():
    found = probes(kronos=counts(12), all14=counts(18))
    assert fig3g.without_nucleus(found, TASK, "P68431") == ""  # nothing was transferred
    found.facts["kronos"]["c/types"]["markers"] = ["P1", "P68431"]
    assert fig3g.without_nucleus(found, TASK, "P68431") == ""
    found.facts["kronos"]["c/types"]["markers"] = ["P1"]
    assert "without its nucleus marker" in fig3g.without_nucleus(found, TASK, "P68431")
    assert fig3g.without_nucleus(probes(all14=counts(18)), TASK, "P68431") == ""


def test_class_sizes_are_counted_by_split():
    cells = pd.DataFrame({"tissue_id": ["a", "a", "b", "b"], "t": ["T", "B", "T", None]})
    tissues = pd.DataFrame({"tissue_id": ["a", "b"], "split": ["train", "test"]})
    table = class_sizes(cells, tissues, "c", "t").set_index("class")
    assert table.loc["T", ["train", "test"]].tolist() == [1, 1]
    assert table.loc["B", ["train", "test"]].tolist() == [1, 0]
    assert class_sizes(cells, tissues, "c", "absent").empty
    assert np.isfinite(table["train"]).all()
