"""The rule: published tables, model-ready stores, and what is refused."""

import numpy as np
import pandas as pd
import pytest
import zarr

from benchmarks.preprocess import whole_array
from tests.unit.cohort_folders import (
    STANDARDIZATION,
    TABLES,
    channel_table,
    preprocess_job,
    split_job,
    write_ingest,
)
from workflow_scripts.cohorts import preprocess, split
from workflow_scripts.common.errors import InputError
from workflow_scripts.common.images import write_mask, write_ome_zarr
from workflow_scripts.common.preprocessing import gaussian_kernel

NAMES = ["A", "flat", "nameless", "B", "A again"]
ACCESSIONS = ["P1", "P2", None, "P3", "P1"]  # one accession on two channels is legal
SPLITS = {"t0": "train", "t1": "train", "t2": "test"}


def make_images():
    """Return three images [5, 80, 70]; `flat` varies in the test image alone."""
    rng = np.random.default_rng(0)
    images = {t: rng.gamma(0.6, 4.0 + i, (5, 80, 70)) for i, t in enumerate(SPLITS)}
    images["t0"][1] = images["t1"][1] = 2
    images["t1"][3] = 0  # all zero in one image is legal
    return {tissue: image.astype("float32") for tissue, image in images.items()}


def make_masks():
    rng = np.random.default_rng(1)
    return {tissue: rng.random((80, 70)) < 0.7 for tissue in SPLITS}


def publish(root, **arguments):
    """Write an ingested cohort and run rule split over it."""
    defaults = {
        "images": make_images(),
        "masks": make_masks(),
        "patients": {tissue: f"patient {tissue}" for tissue in SPLITS},
        "channels": channel_table(NAMES, ACCESSIONS),
        "splits": SPLITS,
    }
    write_ingest(root / "ingest/c", **(defaults | arguments))
    split.main(split_job(root, tissue={"min_side": 64}, sub_images={"side": 64}))
    return root


@pytest.fixture
def cohort(tmp_path):
    return publish(tmp_path)


def stores(job):
    return {path.stem: zarr.open_array(path, mode="r") for path in job.output.model_ready.iterdir()}


def table(job, name):
    return pd.read_parquet(getattr(job.output, name))


def test_images_are_those_of_whole_arrays_over_the_cohort(cohort):
    job = preprocess_job(cohort)
    preprocess.main(job)
    images, masks, usable = make_images(), make_masks(), [0, 3, 4]
    logs = []
    for tissue, image in images.items():
        top = np.quantile(image[:, masks[tissue]], 0.99, axis=1)
        np.testing.assert_allclose(table(job, "quantiles").loc[tissue], top, rtol=1e-6)
        logs.append(np.log1p(np.minimum(image[:, masks[tissue]].astype("float64"), top[:, None])))
    logs = np.concatenate(logs, axis=1)
    np.testing.assert_allclose(table(job, "means").iloc[0], logs.mean(axis=1), rtol=1e-5)
    np.testing.assert_allclose(table(job, "stds").iloc[0], logs.std(axis=1), rtol=1e-5)
    found = stores(job)
    assert set(found) == set(images)
    for tissue, array in found.items():
        expected = whole_array(
            images[tissue][usable],
            masks[tissue],
            0.99,
            gaussian_kernel(3, 1.0),
            logs.mean(axis=1)[usable],
            logs.std(axis=1)[usable],
        )
        np.testing.assert_allclose(
            array[:].astype("float32"), expected.astype("float32"), rtol=2e-3, atol=5e-4
        )


def test_stores_are_float16_one_shard_with_named_channels(cohort):
    job = preprocess_job(cohort)
    preprocess.main(job)
    for array in stores(job).values():
        assert array.dtype == "float16"
        assert array.metadata.zarr_format == 3
        assert array.shape == (3, 80, 70)
        assert array.chunks == (3, 32, 32)
        assert array.shards == (3, 96, 96)
        assert array.attrs["markers"] == ["A", "B", "A again"]
        assert array.attrs["accessions"] == ["P1", "P3", "P1"]
    assert not list(job.output.model_ready.glob(".*"))


def test_what_is_left_out_is_said(cohort, caplog):
    caplog.set_level("INFO")
    job = preprocess_job(cohort)
    preprocess.main(job)
    assert (
        "marker flat is constant over all 2 training images, after clipping: left out"
        in caplog.text
    )
    assert "5 channels: 1 without accession and 1 that fail quality are left out" in caplog.text
    channels = table(job, "channels")
    assert channels["qc_pass"].tolist() == [True, False, True, True, True]
    assert channels["channel_name"].tolist() == NAMES
    assert channels.columns.tolist() == channel_table(NAMES, ACCESSIONS).columns.tolist()


def test_a_channel_that_failed_quality_stays_out(tmp_path):
    channels = channel_table(NAMES, ACCESSIONS)
    channels.loc[0, "qc_pass"] = False
    job = preprocess_job(publish(tmp_path, channels=channels))
    preprocess.main(job)
    assert stores(job)["t0"].attrs["markers"] == ["B", "A again"]
    assert not table(job, "channels")["qc_pass"][0]


def test_tables_have_the_form_of_the_published_ones(cohort, shared):
    job = preprocess_job(cohort)
    preprocess.main(job)
    for key, name in TABLES.items():
        ours, theirs = table(job, key), pd.read_parquet(shared(f"real/cords2024/{name}.parquet"))
        assert set(map(str, ours.dtypes)) == set(map(str, theirs.dtypes)) == {"float32"}
        assert ours.index.dtype == theirs.index.dtype
        assert (ours.index.name, ours.columns.name) == (theirs.index.name, theirs.columns.name)
        assert ours.columns.tolist() == NAMES
    assert table(job, "quantiles").index.tolist() == list(SPLITS)
    assert table(job, "means").index.tolist() == table(job, "stds").index.tolist() == [0]
    theirs = pd.read_parquet(shared("real/cords2024/channels.parquet"))
    assert set(theirs.columns) <= set(table(job, "channels").columns)
    assert table(job, "channels")["qc_pass"].dtype == theirs["qc_pass"].dtype
    assert str(job.output.means.parent).endswith(STANDARDIZATION)


def test_training_images_alone_can_give_the_statistics(cohort):
    job = preprocess_job(cohort, statistics_images="train")
    preprocess.main(job)
    images, masks, logs = make_images(), make_masks(), []
    for tissue in ("t0", "t1"):
        inside = images[tissue][:, masks[tissue]].astype("float64")
        logs.append(np.log1p(np.minimum(inside, np.quantile(inside, 0.99, axis=1)[:, None])))
    expected = np.concatenate(logs, axis=1).mean(axis=1)
    np.testing.assert_allclose(table(job, "means").iloc[0], expected, rtol=1e-5)


def test_without_training_images_all_images_count(tmp_path, caplog):
    publish(tmp_path, splits=dict.fromkeys(SPLITS, "test"))
    job = preprocess_job(tmp_path, statistics_images="train")
    preprocess.main(job)
    assert "no training image: statistics over all 3 images" in caplog.text
    assert table(job, "channels")["qc_pass"].all()  # flat varies over all three
    assert len(stores(job)) == 3


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("clip_quantile", 0.9),
        ("quantile_over", "positive"),
        ("quantile_over", "all"),
        ("statistics_over", "all"),
        ("statistics_images", "train"),
        ("blur_kernel", 5),
        ("blur_sigma", 2.0),
    ],
)
def test_every_setting_is_read(cohort, key, value):
    pictures = []
    for settings in ({}, {key: value}):
        job = preprocess_job(cohort, **settings)
        preprocess.main(job)
        pictures.append(stores(job)["t0"][:])
    assert not np.array_equal(*pictures)


def test_threads_change_no_byte(cohort):
    written = []
    for threads in (1, 3):
        job = preprocess_job(cohort, threads=threads)
        preprocess.main(job)
        files = sorted(path for path in (cohort / "cohorts").rglob("*") if path.is_file())
        written.append({path: path.read_bytes() for path in files})
    assert written[0] == written[1]


def test_stores_of_tissues_that_are_gone_are_removed(cohort):
    job = preprocess_job(cohort)
    (job.output.model_ready / "old.zarr").mkdir(parents=True)
    preprocess.main(job)
    assert not (job.output.model_ready / "old.zarr").exists()


def test_nothing_half_written_remains(cohort, monkeypatch):
    job = preprocess_job(cohort)

    def full_disc(*_):
        raise OSError("no space left")

    monkeypatch.setattr("zarr.Array.__setitem__", full_disc)
    with pytest.raises(OSError, match="no space"):
        preprocess.main(job)
    assert not list(job.output.model_ready.glob("[!.]*"))


def test_a_cohort_of_which_nothing_is_left_is_legal(cohort):
    split.main(split_job(cohort))  # 80 x 70 px are below 256
    job = preprocess_job(cohort)
    preprocess.main(job)
    assert list(job.output.model_ready.iterdir()) == []
    quantiles = table(job, "quantiles")
    assert quantiles.shape == (0, 5)
    assert table(job, "means").isna().all(axis=None)
    assert table(job, "stds").columns.tolist() == NAMES
    assert table(job, "channels")["qc_pass"].all()


def test_image_and_channel_table_must_agree(cohort):
    path = cohort / "ingest/c/images/t1.ome.zarr"
    write_ome_zarr(path, make_images()["t1"], ["A", "B", "C", "D", "E"], 64)
    with pytest.raises(InputError, match=r"t1\.ome\.zarr: its channels are .*run ingest again"):
        preprocess.main(preprocess_job(cohort))


def test_image_and_tissue_mask_must_have_one_size(cohort):
    write_mask(cohort / "ingest/c/tissue_masks/t2.npz", np.ones((80, 71), bool))
    sentence = r"t2\.ome\.zarr: image of 80 x 70 px, but its tissue mask has 80 x 71"
    with pytest.raises(InputError, match=sentence):
        preprocess.main(preprocess_job(cohort))


def test_a_pixel_that_is_no_number_is_refused(tmp_path):
    images = make_images()
    images["t1"][3, 5, 6] = np.nan
    publish(tmp_path, images=images)
    with pytest.raises(InputError, match="tissue t1: channel B has pixels that are not a number"):
        preprocess.main(preprocess_job(tmp_path))


def test_a_panel_without_any_usable_channel_is_refused(tmp_path):
    publish(tmp_path, channels=channel_table(NAMES, [None, "P2", None, None, None]))
    sentence = "cohort c: none of its 5 channels has an accession and varies"
    with pytest.raises(InputError, match=sentence):
        preprocess.main(preprocess_job(tmp_path))


def test_a_channel_that_a_tissue_lacks_has_no_part_in_anything(tmp_path, caplog):
    """The zeros in its place are no measurement: they are neither averaged nor written."""
    images, masks = make_images(), make_masks()
    images["t1"][3] = 0
    root = publish(tmp_path, images=images, absent={"t1": ["B"], "t2": ["flat"]})
    job = preprocess_job(root)
    preprocess.main(job)
    logs = []
    for tissue in ("t0", "t2"):
        counts = images[tissue][3][masks[tissue]].astype("float64")
        logs.append(np.log1p(np.minimum(counts, np.quantile(counts, 0.99))))
    logs = np.concatenate(logs)
    np.testing.assert_allclose(table(job, "means")["B"], logs.mean(), rtol=1e-5)
    np.testing.assert_allclose(table(job, "stds")["B"], logs.std(), rtol=1e-5)
    assert np.isnan(table(job, "quantiles").loc["t1", "B"])
    found = stores(job)
    assert {tissue: array.attrs["markers"] for tissue, array in found.items()} == {
        "t0": ["A", "B", "A again"],
        "t1": ["A", "A again"],
        "t2": ["A", "B", "A again"],
    }
    assert found["t1"].attrs["accessions"] == ["P1", "P1"] and found["t1"].shape[0] == 2
    measured = pd.read_parquet(job.output.channels_per_tissue)
    assert (~measured).sum().to_dict() == {"A": 0, "flat": 1, "nameless": 0, "B": 1, "A again": 0}


def test_a_channel_that_no_tissue_has_is_left_out(tmp_path, caplog):
    images = make_images()
    for image in images.values():
        image[3] = 0
    job = preprocess_job(publish(tmp_path, images=images, absent=dict.fromkeys(images, ["B"])))
    preprocess.main(job)
    assert "marker B was measured in none of the images: left out" in caplog.text
    assert not table(job, "channels").set_index("channel_name")["qc_pass"]["B"]
    assert all(array.attrs["markers"] == ["A", "A again"] for array in stores(job).values())
