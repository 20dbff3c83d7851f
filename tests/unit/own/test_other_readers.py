"""What own_cohort writes, opened by squidpy and by napari's reader, where they are installed.

Both bring more packages than the whole study, so no environment of it has them; docs/own-cohort.md
says with which versions these tests were run.
"""

from itertools import chain

import numpy as np
import pytest

ABSENT = "{} is not installed; pip install it into an environment of its own to run this test"


def package(name):
    return pytest.importorskip(name, reason=ABSENT.format(name))


def images(own):
    """Return an image of each kind that is written: predicted, published, as it was read."""
    folders = ("stains", "cohorts/mine/imc/1_0mpp/images", "ingest/mine/images")
    return list(chain(*(sorted((own / folder).glob("*.zarr"))[:1] for folder in folders)))


@pytest.mark.parametrize("name", ["cells", "niches"])
def test_squidpy_finds_neighbours_within_tissues(own, name):
    scanpy, squidpy = package("scanpy"), package("squidpy")
    tokens = scanpy.read_h5ad(own / f"{name}.h5ad")
    squidpy.gr.spatial_neighbors(tokens, library_key="tissue_id", n_neighs=2)
    graph, tissue = tokens.obsp["spatial_connectivities"], tokens.obs["tissue_id"].to_numpy()
    one, other = graph.nonzero()
    assert graph.nnz >= 2 * tokens.n_obs and (tissue[one] == tissue[other]).all()
    distances = np.linalg.norm(tokens.obsm["spatial"][one] - tokens.obsm["spatial"][other], axis=1)
    np.testing.assert_allclose(tokens.obsp["spatial_distances"][one, other].A1, distances)


def test_squidpy_counts_neighbouring_types(own):
    scanpy, squidpy = package("scanpy"), package("squidpy")
    cells = scanpy.read_h5ad(own / "cells.h5ad")
    squidpy.gr.spatial_neighbors(cells, library_key="tissue_id")
    squidpy.gr.nhood_enrichment(cells, "cell_type", n_perms=10, seed=0, show_progress_bar=False)
    kinds = len(cells.obs["cell_type"].cat.categories)
    assert cells.uns["cell_type_nhood_enrichment"]["zscore"].shape == (kinds, kinds)


def test_images_are_valid_ome_zarr(own):
    models, zarr = package("ome_zarr_models.v05"), package("zarr")
    for path in images(own):
        models.Image.from_zarr(zarr.open_group(str(path), mode="r"))


def test_naparis_reader_shows_channels_and_cells_in_micrometres(own):
    reader, components = package("napari_ome_zarr"), package("napari.components")
    for path in images(own):
        viewer = components.ViewerModel()
        for data, settings, kind in reader.napari_get_reader(str(path))(str(path)):
            getattr(viewer, f"add_{kind}")(data, **settings)
        shown = [layer for layer in viewer.layers if layer.ndim == 2 and "cells" not in layer.name]
        if path.parent.name == "stains":
            assert [layer.name for layer in shown] == ["PD-1 (predicted)", "FOXP3 (predicted)"]
            assert np.asarray(viewer.layers[-1].data).max() > 1  # cells, as labels
        else:
            assert [layer.name for layer in shown][:2] == ["Histone H3", "panCK"]
        for layer in viewer.layers:
            assert layer.data.shape[-2:] == (72, 72) and np.allclose(layer.scale, 1)
            assert {str(unit) for unit in layer.units} == {"micrometer"}
