"""`make plan`: what would run, what not and why, and what it takes."""

import os
import re

import pytest

from workflow_scripts.plan.__main__ import main, plan, targets_without, training_lines


def test_a_restricted_record_without_its_files_is_left_out_with_the_reason(tmp_path, capsys):
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text(f"archives: {tmp_path}/archives\n")
    text = "\n".join(plan([str(overlay)], "all", 312, 0.3))
    for cohort, word in (("wang2023", "on request"), ("zhu2025", "behind a login")):
        assert f"the data of {cohort} are" in text and word in text
    assert "wo_wang2023: not trained, as wang2023 is not among the cohorts" in text
    assert "To download" in text and "cords2024: 21 files" in text
    assert "if a GPU gives 30% of 312 TFLOP/s" in text
    rivals = re.search(r"together .* GPU hours .*\n  not estimated, of rivals: (.*)\n", text)[1]
    assert len(rivals.split(", ")) == int(re.search(r"(\d+)  pretrain_rival", text)[1]) > 1
    assert not (tmp_path / "archives").exists()


def test_targets_of_an_absent_cohort_are_those_with_statements_about_it():
    about = targets_without(["rigamonti", "cords2024"])
    assert "fig3g" in about["rigamonti"]
    assert "fig3b" in about["cords2024"] and "fig3g" not in about["cords2024"]


def test_a_wrong_target_or_file_is_one_sentence():
    for arguments, sentence in (
        (["fig9z"], "fig9z: no rule makes it; expected all, a figure target or a file"),
        (["--configfile", "nowhere.yaml"], "nowhere.yaml: no such file; check --configfile"),
    ):
        with pytest.raises(SystemExit) as stopped:
            main(arguments)
        assert str(stopped.value).endswith(sentence)


def test_planning_leaves_the_folder_as_it_was(capsys):
    here = os.getcwd()
    main(["fig1b", "--configfile", "demo/study.yaml"])
    assert os.getcwd() == here
    said = capsys.readouterr().out
    assert said.startswith("fig1b of study demo: ") and "GPU hours" not in said


def test_hours_are_said_for_a_gpu_alone():
    assert "GPU hours" in training_lines({"a": 1.0}, [], "cuda", 100, 0.5)[0]
    assert training_lines({"a": 1.0, "b": 2.0}, [], "cpu", 100, 0.5) == ["3 TFLOP in 2 trainings"]


def test_trainings_of_rivals_are_named_beside_the_sum():
    for work, device, before in (({}, "cpu", 0), ({"a": 1.0}, "cpu", 1), ({"a": 1.0}, "cuda", 2)):
        *others, last = training_lines(work, ["camae_a", "kronos"], device, 100, 0.5)
        assert last == "not estimated, of rivals: camae_a, kronos" and len(others) == before
