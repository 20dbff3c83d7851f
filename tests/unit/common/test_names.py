"""Cohorts and models as a reader writes them."""

import pytest

from workflow_scripts.common.names import name


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("cords2024", "Cords 2024"),
        ("sim_hoch2022", "Hoch 2022 (simulated)"),
        ("all14", "VirTues"),
        ("wo_rigamonti", "VirTues without Rigamonti"),
        ("wo_sim_wang2023", "VirTues without Wang 2023 (simulated)"),
        ("only_danenberg2022", "VirTues on Danenberg 2022"),
        ("only_cords2024_10", "VirTues on Cords 2024, 10 markers"),
        ("My lab's model", "My lab's model"),
    ],
)
def test_a_name_is_written_for_readers(text, written):
    assert name(text) == written
