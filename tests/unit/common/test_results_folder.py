"""A folder of results belongs to one study: simulated or real, and writable."""

import re

import pytest

from workflow_scripts.common.errors import InputError
from workflow_scripts.common.results_folder import claim_folder, refuse_unwritable, said

CONFIG = {"study": "demo", "simulated": True, "seeds": (0, 1), "model": {"width": 64, "heads": 4}}


def test_the_first_run_and_one_alike_have_nothing_to_say(tmp_path):
    for _ in range(2):
        assert claim_folder(tmp_path / "demo", CONFIG) == []
    assert [path.name for path in (tmp_path / "demo").iterdir()] == ["study.json"]
    assert said("results/demo", []) == ""


def test_settings_that_changed_are_named(tmp_path):
    claim_folder(tmp_path, CONFIG)
    names = claim_folder(tmp_path, CONFIG | {"seeds": (0,), "model": {"width": 32, "heads": 4}})
    assert names == ["model.width", "seeds"]
    assert "other settings (model.width, seeds): what they touch runs" in said(
        "results/demo", names
    )
    assert "and 4 more" in said("results/demo", [str(number) for number in range(10)])


@pytest.mark.parametrize(("first", "held"), [(True, "simulated"), (False, "real")])
def test_simulated_and_real_results_never_mix(tmp_path, first, held):
    claim_folder(tmp_path, CONFIG | {"simulated": first})
    with pytest.raises(InputError, match=f"holds results of {held} data.*set `study` to another"):
        claim_folder(tmp_path, CONFIG | {"simulated": not first})
    assert claim_folder(tmp_path, CONFIG | {"simulated": first}) == []  # the note is untouched


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=re.escape(f"{tmp_path}/file/demo: cannot be written to")):
        claim_folder(tmp_path / "file/demo", CONFIG)


def test_a_place_that_a_job_cannot_write_to_is_named_with_the_job(tmp_path, monkeypatch):
    writers = {tmp_path / "results/fig2d/fig2d.svg": "fig2d", tmp_path / "logs/fig2d.log": "fig2d"}
    refuse_unwritable(writers)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr("os.access", lambda path, mode: path != tmp_path)  # root may write anywhere
    with pytest.raises(InputError, match=re.escape(f"{tmp_path}: fig2d cannot write here; have")):
        refuse_unwritable(writers)


def test_a_garbled_note_is_named(tmp_path):
    (tmp_path / "study.json").write_text("{")
    with pytest.raises(InputError, match="study.json: expected the settings of the last run"):
        claim_folder(tmp_path, CONFIG)
