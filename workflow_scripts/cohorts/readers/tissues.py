"""Which images are a cohort's tissues, and what its tables say about them."""

import re

import numpy as np
import pandas as pd

from workflow_scripts.cohorts.readers.tables import join, keys, render, require
from workflow_scripts.common.errors import InputError

# Columns of tissues.parquet that ingest itself writes; a clinical column cannot have their names.
RESERVED = {
    "tissue_id",
    "dataset",
    "patient_id",
    "specimen_id",
    "modality",
    "original_file_name",
    "split",
    "height",
    "width",
    "tissue_fraction",
}


def match_files(files, spec, group="tissue"):
    """Return {tissue id: (File, named groups)} of the files that fit `spec`, sorted by tissue id.

    `spec` is a `files` setting of the cohort schema. A named group `acquisition` is appended to the
    tissue id: masks of an instrument's raw file have both in their name, apart. With `group`
    "channel" the value is instead {channel: (File, named groups)}, one dict per tissue. Two files
    for one key are an InputError.
    """
    listed = files.list(spec.get("archive", ()))
    found = {}
    for file in listed:
        match = re.search(spec["pattern"], file.name)
        if not match:
            continue
        groups = match.groupdict()
        if "tissue" in spec:
            filled = {name: value or "" for name, value in groups.items()}
            groups["tissue"] = spec["tissue"].format(**filled)
        tissue = groups["tissue"]
        if tissue and "acquisition" in groups:
            tissue = groups["tissue"] = f"{tissue}_{groups['acquisition']}"
        if not tissue or "/" in tissue or tissue.startswith("."):
            raise InputError(
                f"{file}: '{tissue}' cannot name a tissue, because files are named after it; "
                "correct the pattern."
            )
        place, key = (found, tissue) if group == "tissue" else (found.setdefault(tissue, {}), None)
        key = key or groups[group]
        if key in place:
            raise InputError(
                f"{file}: '{key}' is already given by {place[key][0].name}; make the pattern "
                "narrower."
            )
        place[key] = (file, groups)
    if not found:
        names = ", ".join(file.name for file in listed[:3]) or "nothing"
        raise InputError(
            f"{spec.get('archive') or files.folder}: no file fits {spec['pattern']}; it holds "
            f"{len(listed)} files, the first are: {names}; correct the pattern."
        )
    return dict(sorted(found.items()))


def leave_out(found, exclude):
    """Remove the tissues that the cohort file excludes; returns the rest and a warning for each."""
    warnings, rest = [], dict(found)
    for rule in exclude:
        hit = [tissue for tissue in rest if re.fullmatch(rule["tissue"], tissue)]
        for tissue in hit:
            del rest[tissue]
            warnings.append(f"tissue {tissue} is left out: {rule['reason']}")
    return rest, warnings


def absent_channels(panel, tissue):
    """Return which channels [C] (bool) of the panel are of other tissues than this one."""
    return np.array(
        [pattern is not None and not re.fullmatch(pattern, tissue) for pattern in panel["tissues"]],
        dtype=bool,
    )


def describe(groups, files, cohort):
    """Return the table of tissues and warnings, from {tissue id: named groups}.

    Columns: tissue_id, patient_id, specimen_id, split, then the clinical columns. A tissue without
    a patient is left out where the cohort file says so, else an InputError: a split by patient
    would mix patients.
    """
    frame = pd.DataFrame(
        [{"tissue": tissue, **values} for tissue, values in groups.items()], dtype=object
    )
    named, warnings = set(frame.columns), []
    for spec in cohort.clinical:
        joined, missing = join(frame, files, spec)
        if joined is None:
            hint = f"; {spec['hint']}" if "hint" in spec else ""
            warnings.append(f"clinical table {spec['file']} is absent, its columns too{hint}")
            continue
        frame = joined
        if missing:
            warnings.append(f"{spec['file']} has no row for {missing} of {len(frame)} tissues")
    if cohort.without_patient == "exclude":
        frame, left_out = _with_patient(frame, cohort)
        warnings += left_out
    patient = _ids(cohort.patient, "patient", frame, cohort)
    specimen = _ids(cohort.specimen, "specimen", frame, cohort)
    clinical = frame[[name for name in frame.columns if name not in named]]
    for name in sorted(RESERVED & (set(clinical.columns) - {"split"})):
        raise InputError(
            f"{cohort.path}: clinical column '{name}' has the name of a column of ours; rename it "
            "in `columns`."
        )
    split = _split(frame, files, cohort)
    front = pd.DataFrame(
        {"tissue_id": frame["tissue"], "patient_id": patient, "specimen_id": specimen}
    )
    front["split"] = split
    return pd.concat([front, clinical.drop(columns="split", errors="ignore")], axis=1), warnings


def _with_patient(frame, cohort):
    """Return the rows with a patient, InputError if none, and a warning that names the others."""
    known = render(cohort.patient, frame, f"{cohort.path}: key 'patient'").notna()
    if known.all():
        return frame, []
    if not known.any():
        raise InputError(
            f"{cohort.path}: none of {len(frame)} tissues has a patient ({cohort.patient}), the "
            f"first is {frame['tissue'].iloc[0]}; correct `by` or `extract` of the clinical tables."
        )
    names = frame.loc[~known, "tissue"].tolist()
    return frame[known].reset_index(drop=True), [
        f"{len(names)} tissues are left out, as no table has their patient ({cohort.patient}): "
        f"{', '.join(names[:10])}"
    ]


def _ids(template, what, frame, cohort):
    ids = render(template, frame, f"{cohort.path}: key '{what}' ({template})")
    if ids.isna().any():
        tissue = frame["tissue"][ids.isna()].iloc[0]
        advice = ", or set `without_patient: exclude`" if what == "patient" else ""
        raise InputError(
            f"{cohort.path}: tissue {tissue} and {int(ids.isna().sum()) - 1} more have no {what} "
            f"({template}); complete the clinical table, or exclude them in layout.exclude{advice}."
        )
    return ids


def _split(frame, files, cohort):
    """Return the shipped split as train, test or None (not in the table) per tissue."""
    spec = cohort.split
    if spec is None:
        return pd.Series([None] * len(frame), index=frame.index, dtype=object)
    column = spec["column"]
    if "file" in spec:
        frame, _ = join(
            frame.drop(columns=column, errors="ignore"), files, {**spec, "columns": [column]}
        )
        if frame is None:
            return None
    require(frame, column, f"{cohort.path}: key 'split.column'")
    names = {name: part for part in ("train", "test") for name in spec[part]}
    values = keys(frame[column])
    unknown = sorted(set(values.dropna()) - set(names))
    if unknown:
        raise InputError(
            f"{cohort.path}: split column '{column}' holds '{unknown[0]}', which is in neither "
            "split.train nor split.test; add it."
        )
    return values.map(names).astype(object).where(values.notna(), None)
