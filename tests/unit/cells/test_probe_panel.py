"""An instance with a panel: its cells are embedded and probed, and its tokens are not kept."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from tests.unit.cohort_folders import write_published
from workflow_scripts.cells import probe_panel
from workflow_scripts.common.cohort_files import MASKS
from workflow_scripts.common.embedders import MeanIntensity
from workflow_scripts.common.errors import InputError
from workflow_scripts.common.images import write_mask


class Outputs(SimpleNamespace):
    """Named outputs of a rule."""

    def keys(self):
        return vars(self).keys()


class FirstChannels(MeanIntensity):
    """Mean intensities of the channels of a panel alone."""

    def __init__(self, panel):
        super().__init__(crop=16, patch=8)
        self.panel = panel

    def usable(self, accessions):
        return [i for i, a in enumerate(accessions) if a in self.panel], "of another panel"


@pytest.fixture
def job(tmp_path, monkeypatch):
    """Return a function that makes the job of a panel; only P1 tells the types apart."""

    def write(panel):
        rng, folder = np.random.default_rng(0), tmp_path / "c"
        labels = np.kron(np.arange(1, 17).reshape(4, 4), np.ones((8, 8), int))
        kinds = np.resize(["a", "b"], 16)
        bright = np.isin(labels, 1 + np.flatnonzero(kinds == "a"))
        image = rng.normal(0, 0.1, (2, 32, 32))
        image[0] += bright
        image = image.astype("float16")
        splits = {"t0": "train", "t1": "train", "t2": "test", "t3": "test"}
        write_published(folder, {t: (image, ["P1", "P2"], s) for t, s in splits.items()}, [])
        tissues = pd.read_parquet(folder / "metadata/tissues.parquet")
        tissues.assign(patient_id=tissues["tissue_id"]).to_parquet(
            folder / "metadata/tissues.parquet"
        )
        cells = pd.DataFrame({"cell_id": range(1, 17), "kind": kinds})
        cells = pd.concat([cells.assign(tissue_id=tissue) for tissue in splits])
        cells.to_parquet(folder / "metadata/cells.parquet")
        for tissue in splits:
            write_mask(folder / MASKS / "cell_masks/instances" / f"{tissue}.npz", labels)
        monkeypatch.setattr(probe_panel, "open_embedder", lambda *_: FirstChannels(panel))
        settings = {"regularisation": 0.01, "max_iterations": 1000, "memory_mb": 100}
        return SimpleNamespace(
            wildcards=SimpleNamespace(model="only_c_1"),
            input=SimpleNamespace(embeddings=None),
            output=Outputs(counts=tmp_path / "out/m.parquet", facts=tmp_path / "out/m.json"),
            params=SimpleNamespace(
                tasks=[("c", "kind"), ("c", "other")],
                settings=settings,
                embed={},
                rival=None,
                device="cpu",
                cohort_folder=folder,
                model_folder=None,
            ),
        )

    (tmp_path / "out").mkdir()
    return write


@pytest.mark.parametrize(("panel", "finds"), [(["P1"], True), (["P2"], False)])
def test_a_panel_with_the_marker_tells_the_types(job, panel, finds):
    made = job(panel)
    probe_panel.main(made)
    table = pd.read_parquet(made.output.counts)
    right = table.loc[table["truth"] == table["predicted"], "cells"].sum()
    assert table["cells"].sum() == 32 and (right == 32) == finds
    facts = json.loads(made.output.facts.read_text())
    assert facts["c/kind"]["test_cells"] == 32
    assert facts["c/other"]["status"] == "not run: the cohort has no other labels"
    assert {path.name for path in made.output.counts.parent.iterdir()} == {"m.parquet", "m.json"}


@pytest.mark.parametrize(("panel", "finds"), [(["P1"], True), (["P2"], False)])
def test_the_rival_beside_it_sees_the_panel_alone(job, panel, finds):
    made = job(["P1", "P2"])
    names = {"rival_counts": "camae_m.parquet", "rival_facts": "camae_m.json"}
    vars(made.output).update({k: made.output.counts.parent / n for k, n in names.items()})
    made.params.rival = {"folder": "anywhere", "panel": panel}
    probe_panel.main(made)
    table = pd.read_parquet(made.output.rival_counts)
    right = table.loc[table["truth"] == table["predicted"], "cells"].sum()
    assert table["cells"].sum() == 32 and (right == 32) == finds
    made.params.rival = None
    probe_panel.main(made)
    assert pd.read_parquet(made.output.rival_counts).empty
    assert json.loads(made.output.rival_facts.read_text()) == {}


def test_a_panel_without_a_marker_of_the_cohort_is_told(job):
    with pytest.raises(InputError, match="name another instance in `scaling.panels`"):
        probe_panel.main(job(["Q"]))
