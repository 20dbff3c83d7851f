"""The readers, which share nothing with the simulator, find in its archives what it put there."""

import numpy as np
import pytest

from workflow_scripts.cohorts.readers import read_source
from workflow_scripts.common.cohort import load_cohort

CELL_TYPES = {"sim_damond2019": "cell_type", "sim_danenberg2022": "phenotype"}


@pytest.mark.parametrize("cohort_id", CELL_TYPES)
def test_readers_find_what_was_written(cohort_id, request):
    archive = request.getfixturevalue(cohort_id[4:].rstrip("0123456789"))
    truth = archive.truth
    source = read_source(archive.files, load_cohort(f"demo/cohorts/{cohort_id}.yaml"))
    assert source.panel["channel_name"].tolist() == [e["marker"] for e in archive.section["panel"]]
    read = {tissue.load_image().tobytes(): tissue for tissue in source.tissues}
    assert len(read) == len(truth.tissues)
    patients = []
    for tissue in truth.tissues:
        found = read[tissue.image.astype(np.float32).tobytes()]
        np.testing.assert_array_equal(found.load_mask(), tissue.cell_mask)
        cells = source.cells[source.cells.tissue_id == found.tissue_id].sort_values("cell_id")
        drop = tissue.aggregate if cohort_id == "sim_danenberg2022" else False
        kept = np.flatnonzero(~np.broadcast_to(drop, len(tissue.types)))
        assert cells.cell_id.tolist() == (kept + 1).tolist()
        assert cells[CELL_TYPES[cohort_id]].tolist() == [tissue.types[i] for i in kept]
        patients.append(found.patient_id)
    owners = np.array(truth.owners)
    same = np.array(patients)[:, None] == np.array(patients)[None]
    np.testing.assert_array_equal(same, owners[:, None] == owners[None])
