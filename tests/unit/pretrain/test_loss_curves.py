"""The figure of all trainings' losses."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from workflow_scripts.pretrain.loss_curves import curve, main


def training(instance, losses):
    return {
        "instance": instance,
        "losses": losses,
        "epochs": 2.0,
        "last_loss": float(np.mean(losses[-10:])) if losses else None,
        "seed": 0,
        "weights_sha256": "ab" * 32,
    }


def run(folder, trainings):
    paths = []
    for one in trainings:
        paths.append(folder / f"{one['instance']}.json")
        paths[-1].write_text(json.dumps(one))
    numbers = folder / "figures/loss_curves/numbers.json"
    main(
        SimpleNamespace(
            input=SimpleNamespace(metrics=paths),
            output=SimpleNamespace(numbers=numbers),
            params=SimpleNamespace(simulated=True),
        )
    )
    return numbers.parent, json.loads(numbers.read_text())


def test_bins_hold_every_step_once():
    losses = list(np.random.default_rng(0).random(1003))
    table = curve(losses, 5.0, points=100)
    assert len(table) == 100 and table["step"].iloc[-1] == 1003
    assert table["epoch"].iloc[-1] == pytest.approx(5.0)
    sizes = np.diff([0, *table["step"]])
    assert (sizes * table["loss"]).sum() == pytest.approx(sum(losses))
    assert curve([3.0, 1.0], 1.0)["loss"].tolist() == [3.0, 1.0]


def test_every_instance_has_a_line_and_its_data(tmp_path):
    trainings = [training("all14", [3.0, 2.0, 1.0]), training("without", [4.0, 2.0])]
    folder, record = run(tmp_path, trainings)
    svg = (folder / "loss_curves.svg").read_text()
    assert "all14" in svg and "without" in svg and "simulated" in svg
    assert (folder / "loss_curves.png").stat().st_size > 1000
    table = pd.read_csv(folder / "source_data.csv")
    assert table["loss"].tolist() == [3.0, 2.0, 1.0, 4.0, 2.0]
    assert record["numbers"]["last_loss_without"]["value"] == 3.0


def test_a_training_without_crops_has_no_number(tmp_path):
    folder, record = run(tmp_path, [training("empty", [])])
    assert record["numbers"]["last_loss_empty"]["status"].startswith("not run: no sub-image")
    assert not (folder / "loss_curves.png").exists() and record["picture"] is False
