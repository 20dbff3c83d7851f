"""The report's rows on cohorts that are not in a run."""

from workflow_scripts.report.tables import absent_rows, published_sizes


def test_together_with_those_present_they_are_the_fifteen_of_the_paper():
    rows = absent_rows(["cords2024", "sim_hoch2022"], {"wang2023": "given on request"})
    reasons = {row["id"]: row["reason"] for row in rows}
    assert len(reasons) == len(rows) == 13
    assert not {"cords2024", "hoch2022"} & set(reasons)
    assert reasons.pop("wang2023") == "given on request"
    assert set(reasons.values()) == {"not among the cohorts of this study"}


def test_a_cohort_of_ones_own_without_its_data_is_named_too():
    rows = absent_rows([], {"mine": "behind a login"})
    assert len(rows) == 16 and rows[-1]["id"] == "mine"
    assert rows[-1]["reason"] == "behind a login"


def test_published_sizes_in_words():
    assert published_sizes({"images": 2070, "cells": 12, "provenance": "x"}) == (
        "2,070 images, 12 cells"
    )
    assert published_sizes({}) == ""
