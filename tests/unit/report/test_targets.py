"""Targets, statements, decisions and colours: the tables under resources/."""

import csv
import itertools

import numpy as np
import pytest
import yaml
from skimage.color import rgb2lab

from workflow_scripts.common.errors import InputError
from workflow_scripts.common.figures import PALETTE, colour
from workflow_scripts.common.targets import (
    CLAIMS,
    FIGURES,
    RESOURCES,
    by_claim,
    load_claims,
    load_targets,
    numbered,
)
from workflow_scripts.common.verdict import VERDICTS
from workflow_scripts.report.tables import decision_rows

ROOT = RESOURCES.parent


def test_every_statement_has_exactly_one_target():
    targets, claims = load_targets(), load_claims()
    listed = [claim for target in targets for claim in target["claims"]]
    assert sorted(listed) == sorted(claim["id"] for claim in claims)
    assert len(set(listed)) == len(listed) == 154


def test_statements_stand_with_the_figure_that_the_paper_names():
    owner = by_claim(load_targets(), load_claims())
    elsewhere = {}
    for claim in load_claims():
        named = claim["figure"].rstrip("abc") if claim["figure"][0] == "S" else claim["figure"]
        if owner[claim["id"]] != f"fig{named}":
            elsewhere[claim["id"]] = (claim["figure"], owner[claim["id"]])
    # A schematic computes nothing, and "methods" is no figure.
    assert elsewhere == {
        "C013": ("methods", "fig1b"),
        "C040": ("4a", "fig4c"),
        "C068": ("methods", "fig3b"),
    }


def test_statements_are_those_of_the_study(shared):
    assert CLAIMS.read_bytes() == shared("study/claims.csv").read_bytes()


def test_every_panel_is_there_in_order():
    panels = {"1": "abcde", "2": "abcdefgh", "3": "abcdefg", "4": "abcdefghijk", "5": "abcdefghijk"}
    expected = [f"fig{number}{panel}" for number in panels for panel in panels[number]]
    expected += [f"figS{i}" for i in range(1, 24)] + [f"tableS{i}" for i in range(1, 7)]
    targets = load_targets()
    assert [target["id"] for target in targets] == expected
    schematic = {target["id"] for target in targets if target["kind"] == "schematic"}
    assert schematic == {
        f"fig{panel}" for panel in ("1a", "1d", "2e", "3a", "3e", "4a", "4e", "4g", "5c", "5h")
    }
    assert set(numbered(targets)) == set(expected) - schematic


def test_every_target_but_a_schematic_names_its_script():
    targets = {target["id"]: target for target in load_targets()}
    assert [name for name in targets if "script" in targets[name]] == numbered(targets.values())
    for name in numbered(targets.values()):
        assert (ROOT / targets[name]["script"]).exists(), name


def write(path, change):
    document = yaml.safe_load(FIGURES.read_text(encoding="utf-8"))
    change(document["targets"])
    path.write_text(yaml.safe_dump(document))
    return path


def test_bad_figures_yaml(tmp_path):
    def misspell(targets):
        targets[0]["titel"] = targets[0].pop("title")

    path = write(tmp_path / "figures.yaml", misspell)
    with pytest.raises(
        InputError, match=r"unknown key 'targets\[0\].titel' *; did you mean 'title'"
    ):
        load_targets(path)
    path = write(path, lambda targets: targets[0]["claims"].append("C020"))
    with pytest.raises(InputError, match="C020 stands under fig1a and under fig2d; keep it in one"):
        load_targets(path)
    path = write(path, lambda targets: targets[0].update(id="fig1b"))
    with pytest.raises(InputError, match="fig1b stands under fig1b and under fig1b"):
        load_targets(path)


def test_statement_without_target_and_target_without_statement():
    claims = load_claims()
    with pytest.raises(InputError, match="statement C998 has no target; add it to one target"):
        by_claim(load_targets(), [*claims, {"id": "C998"}])
    with pytest.raises(InputError, match="fig1c carries C001, which is no row of the claims table"):
        by_claim(load_targets(), claims[1:])


def test_claims_header(tmp_path):
    path = tmp_path / "claims.csv"
    path.write_text("id,figure\nC001,1c\n")
    with pytest.raises(InputError, match="claims.csv: header: expected the columns id, figure"):
        load_claims(path)


def test_decisions_name_settings_that_exist(tmp_path):
    config = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    rows = decision_rows(RESOURCES / "decisions.csv", config)
    assert [row["id"] for row in rows] == [f"D{i}" for i in range(1, 33)]
    values = dict(pair for row in rows for pair in row["values"])
    assert values["preprocess.statistics_images"] == "all"
    assert values["pretrain.weight_decay_end"] == 0.4
    with (tmp_path / "decisions.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("id", "decision", "setting"), ("D1", "x", "pretrain.nothing")])
    with pytest.raises(InputError, match="setting 'pretrain.nothing' is no key of the settings"):
        decision_rows(tmp_path / "decisions.csv", config)


# How others see a colour: Machado et al. 2009, severity 1, on linear RGB.
VISION = {
    "normal": np.eye(3),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.01182, 0.04294, 0.968881],
        ]
    ),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
}


def seen(colour_hex, vision):
    rgb = np.array([int(colour_hex[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    linear = (VISION[vision] @ linear).clip(0, 1)
    back = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return rgb2lab(back[None, None])[0, 0]


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize(("kind", "apart"), [("cohorts", 12), ("strategies", 20)])
def test_colours_stay_apart(kind, apart, vision):
    colours = {name: seen(code, vision) for name, code in PALETTE[kind].items()}
    assert len(set(PALETTE[kind].values())) == len(colours)
    for (one, a), (other, b) in itertools.combinations(colours.items(), 2):
        if "other" not in (one, other):
            assert np.linalg.norm(a - b) > apart, (one, other)


def test_colour_of_a_name():
    assert colour("cohorts", "sim_damond2019") == colour("cohorts", "damond2019")
    assert colour("cohorts", "mine") == PALETTE["cohorts"]["other"]
    assert set(PALETTE["verdicts"]) == set(VERDICTS)
    assert set(PALETTE["strategies"]) <= set(PALETTE["shapes"])
