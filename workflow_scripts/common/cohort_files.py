"""A harmonised cohort on disk, as training and evaluation read it."""

from pathlib import Path

import numpy as np
import pandas as pd

from workflow_scripts.common.images import read_mask
from workflow_scripts.common.model_ready import ModelReadyImage

STANDARDIZATION = "imc/1_0mpp/standardization/quantile_clipping_log1p/uq_0.99_image"
MASKS = "segmentations/1_0mpp"


class Tissue:
    """One tissue: its model-ready channels and its masks."""

    def __init__(self, folder, tissue_id, patient_id, split):
        self.folder, self.id, self.patient_id, self.split = folder, tissue_id, patient_id, split
        self.file = ModelReadyImage.open(folder / "model_ready" / f"{tissue_id}.zarr")
        self.markers, self.accessions = list(self.file.markers), list(self.file.accessions)

    def image(self, positions):
        """Return the standardised channels at `positions` as [len(positions), H, W] float32."""
        image = np.empty((len(positions), *self.file.shape[1:]), np.float32)
        self.file.read_into(image, 0, 0, np.asarray(positions, np.int64))
        return image

    def tissue_mask(self):
        """Return the tissue mask [H, W] bool."""
        return read_mask(self.folder / MASKS / "tissue_masks" / f"{self.id}.npz")

    def cell_mask(self):
        """Return the instance mask [H, W] (0 = background), or None where there is none."""
        path = self.folder / MASKS / "cell_masks/instances" / f"{self.id}.npz"
        return read_mask(path) if path.exists() else None


class CohortFiles:
    """The tables and tissues under `results/<study>/cohorts/<cohort>/`."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.id = self.folder.name
        self.table = pd.read_parquet(self.folder / "metadata/tissues.parquet")

    def tissues(self, split=None):
        """Yield the tissues that passed the filters, in the order of the table."""
        table = self.table if split is None else self.table[self.table["split"] == split]
        for row in table.itertuples():
            yield Tissue(self.folder, row.tissue_id, row.patient_id, row.split)

    def shapes(self):
        """Return tissue_id -> (height, width) in px."""
        table = self.table.set_index("tissue_id")[["height", "width"]]
        return {tissue_id: (row.height, row.width) for tissue_id, row in table.iterrows()}

    def accessions(self):
        """Return the accessions of the model-ready channels, in their order."""
        return self._channels()["uniprot_id"].tolist()

    def names(self):
        """Return accession -> name of the channel, the first where several share one."""
        channels = self._channels().drop_duplicates("uniprot_id")
        return dict(zip(channels["uniprot_id"], channels["channel_name"], strict=True))

    def markers(self):
        """Return the names of the model-ready channels, in their order; a tissue may lack some."""
        return self._channels()["channel_name"].tolist()

    def standardization(self, name):
        """Return a table of `image_level_upper_quantiles`, `global_level_means` or `..._stds`."""
        return pd.read_parquet(self.folder / STANDARDIZATION / f"{name}.parquet")

    def _channels(self):
        channels = pd.read_parquet(self.folder / "imc/channels.parquet")
        return channels[channels["qc_pass"] & channels["uniprot_id"].notna()]
