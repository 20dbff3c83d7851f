"""Which tissues and cells stand for which patient, and who is left out (D1, D27)."""

import pandas as pd

from workflow_scripts.common.job import log
from workflow_scripts.common.survival import absent, follow_up, kept_by, unusable

# The ten multicellular structures of Danenberg et al. 2022, in their printed order.
STRUCTURES = (
    "Suppressed expansion",
    "APC enriched",
    "TLS-like",
    "Active IR",
    "FSP1^{+} enriched",
    "Active stroma",
    "PDPN^{+} active stroma",
    "CD8^{+} & macrophages",
    "Granulocyte enriched",
    "Vascular stroma",
)


def tumour_tissues(tissues, cells, column):
    """Return the tissues with a cell that `column` of the cells flags; all without it (D1)."""
    if column is None:
        return tissues
    if column not in cells:
        log.warning("cells have no column %s: no tissue is left out for it", column)
        return tissues
    flagged = cells.loc[cells[column].fillna(0).astype(float) == 1, "tissue_id"]
    log.info("%d of %d tissues have a cell of %s", flagged.nunique(), len(tissues), column)
    return tissues[tissues["tissue_id"].isin(flagged)]


def select(index, tissues, task, where, settings):
    """Return the patients to be grouped, whose each tissue is, and who was left out.

    `index`: of cell tokens [N]; `tissues`: published table; `task`: a survival, named by `where`.
    Used are all tissues that the task's `where` keeps, of patients with follow-up (D1). Returns
    (table [time, event] by patient; patient by tissue_id; {step: patients} (D27); in words why
    they cannot be grouped, or None).
    """
    if reason := absent(tissues, task):
        return pd.DataFrame(columns=["time", "event"]), pd.Series(dtype=object), {}, reason
    follow, left_out = follow_up(tissues, task, where)
    patients = tissues.loc[kept_by(tissues, task), "patient_id"].astype(str)
    steps = {"with a tissue": int(tissues["patient_id"].nunique())}
    for column, values in task.get("where", {}).items():
        steps[f"with {column} {' or '.join(map(str, values))}"] = int(patients.nunique())
    patients = patients[patients.isin(follow.index)]
    cells = index["tissue_id"].map(patients).dropna()
    table = follow.loc[sorted(set(cells))]
    steps |= {f"left out, {why}": int(n) for why, n in left_out.value_counts().items()}
    steps |= {"left out, no cell": len(follow) - len(table), "in a risk group": len(table)}
    reason = unusable(table, settings["groups"])
    if reason is None and len(cells) < settings["states"]:
        reason = f"{len(cells)} cells are fewer than {settings['states']} states"
    return table, patients, steps, reason


def labels_of(index, cells, label):
    """Return the published label of each cell of `index` [N], None without one."""
    if label not in cells:
        return pd.Series(None, index=index.index, dtype=object)
    key = ["tissue_id", "cell_id"]
    found = index[key].astype({"cell_id": "int64"}).merge(cells[[*key, label]], on=key, how="left")
    return found[label].set_axis(index.index)


def structure_counts(owners, structure, follow):
    """Return the cells of each patient in each of `STRUCTURES`, a table by patient."""
    used = owners.notna()
    counts = pd.crosstab(owners[used], structure[used].fillna("none"))
    return counts.reindex(index=follow.index, columns=STRUCTURES, fill_value=0)
