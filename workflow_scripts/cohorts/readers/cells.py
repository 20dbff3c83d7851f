"""The cell table of a cohort: which cell of which mask, where, its labels and its neighbours."""

import numpy as np
import pandas as pd

from workflow_scripts.cohorts.readers.tables import fields, join, keys, read_table, render, require
from workflow_scripts.common.errors import InputError


def read_cells(files, cohort, tissues):
    """Return the cells of `tissues` (a list of ids) and warnings; no cells (None) without a table.

    Columns: tissue_id, cell_id (int64), x, y (pixels of the files, NaN where the table has none),
    then labels and maps (text or None) and further columns as the table has them. InputError for a
    cell without a number or named twice.
    """
    spec = cohort.cells
    if spec is None:
        return None, []
    table, warnings = _joined(files, spec)
    if table is None:
        return None, [f"cell table {spec['file']} is absent; {spec.get('hint', 'no cells')}"]
    cells = pd.DataFrame({"tissue_id": render(spec["tissue"], table, spec["file"])})
    known = cells["tissue_id"].isin(tissues)
    if not known.all():
        others = cells["tissue_id"][~known].nunique(dropna=False)
        warnings.append(
            f"{spec['file']}: {int((~known).sum())} cells belong to {others} tissues without an "
            "image and are left out"
        )
        if not known.any():
            raise InputError(
                f"{spec['file']}: none of its tissues ('{cells['tissue_id'].iloc[0]}', ...) is "
                f"among the images ('{tissues[0]}', ...); correct `cells.tissue`."
            )
    cells, table = cells[known].reset_index(drop=True), table[known.to_numpy()]
    table = table.reset_index(drop=True)
    cells["cell_id"] = _numbers(table, spec["cell"], spec["file"])
    for axis in ("x", "y"):
        cells[axis] = _coordinates(table, spec[axis], spec["file"]) if axis in spec else np.nan
    twice = cells.duplicated(["tissue_id", "cell_id"])
    if twice.any():
        row = cells[twice].iloc[0]
        raise InputError(
            f"{spec['file']}: cell {row.cell_id} of tissue {row.tissue_id} is on several rows; "
            "filter the rows with `keep` or `drop`."
        )
    for name, column in spec.get("labels", {}).items():
        cells[name] = keys(table[column])
    for name, mapping in spec.get("maps", {}).items():
        cells[name], note = _mapped(cells[mapping["from"]], mapping, name, spec["file"])
        warnings += note
    for name, column in spec.get("columns", {}).items():
        cells[name] = table[column]
    return cells.sort_values(["tissue_id", "cell_id"], ignore_index=True), warnings


def read_neighbours(files, cohort, tissues):
    """Return the pairs of neighbouring cells that the cohort lists, and warnings (D15).

    Columns: tissue_id, one of `tissues`, and the numbers of both cells, from and to (int64). None
    where the cohort file names no such table, or the optional one is absent. InputError for a cell
    without a number, or when no pair lies in one of the tissues.
    """
    spec = (cohort.cells or {}).get("neighbours")
    if spec is None:
        return None, []
    table = read_table(files, spec, {*fields(spec["tissue"]), spec["from"], spec["to"]})
    if table is None:
        hint = spec.get("hint", "neighbours follow from the distance of cells")
        return None, [f"table of neighbours {spec['file']} is absent; {hint}"]
    places = render(spec["tissue"], table, spec["file"])
    known = places.isin(tissues)
    if not known.any():
        found = f"('{places.iloc[0]}', ...)" if len(places) else "(it is empty)"
        raise InputError(
            f"{spec['file']}: none of its tissues {found} is among the images ('{tissues[0]}', "
            "...); correct `cells.neighbours.tissue`."
        )
    pairs = pd.DataFrame({"tissue_id": places[known]})
    for end in ("from", "to"):
        key = f"cells.neighbours.{end}"
        pairs[end] = _numbers(table[known], spec[end], spec["file"], key)
    return pairs.reset_index(drop=True), []


def _joined(files, spec):
    joins = spec.get("join", [])
    wanted = {*fields(spec["tissue"]), spec["cell"], *spec.get("labels", {}).values()}
    wanted |= {*spec.get("columns", {}).values(), *(spec[a] for a in ("x", "y") if a in spec)}
    given = {name for other in joins for name in other.get("columns", ())}
    wanted |= {name for other in joins for name in other["by"]}
    # A join without `columns` may bring any of them: then only the whole table is safe to read.
    narrow = all("columns" in other for other in joins)
    table, warnings = read_table(files, spec, wanted - given if narrow else None), []
    if table is None:
        return None, warnings
    for other in joins:
        joined, missing = join(table, files, other)
        if joined is None:
            warnings.append(f"cell table {other['file']} is absent; {other.get('hint', '')}")
            table = table.assign(**dict.fromkeys(other.get("columns", ())))
            continue
        table = joined
        if missing:
            warnings.append(f"{other['file']} has no row for {missing} of {len(table)} cells")
    for column in sorted(wanted):
        require(table, column, spec["file"])
    return table, warnings


def _numbers(table, column, where, key="cells.cell"):
    numbers = pd.to_numeric(table[column], errors="coerce")
    bad = numbers.isna() | (numbers % 1 != 0) | (numbers <= 0)
    if bad.any():
        raise InputError(
            f"{where}: column '{column}': '{table[column][bad].iloc[0]}' is not the number of a "
            f"cell in a mask (a whole number above 0); correct `{key}`."
        )
    return numbers.astype(np.int64)


def _coordinates(table, column, where):
    numbers = pd.to_numeric(table[column], errors="coerce")
    if (numbers.isna() & table[column].notna()).any():
        raise InputError(f"{where}: column '{column}' holds text, expected pixel coordinates.")
    return numbers.astype(float)


def _mapped(labels, mapping, name, where):
    """Return coarser labels, and a warning that names the labels without a class."""
    classes = {}
    for group, members in mapping["to"].items():
        for member in members:
            if member in classes:
                raise InputError(f"cells.maps.{name}: label '{member}' is in two classes.")
            classes[member] = group
    counts = labels.dropna()[~labels.dropna().isin(list(classes))].value_counts().sort_index()
    if len(counts) and counts.sum() == labels.notna().sum():
        raise InputError(
            f"{where}: none of its labels ('{counts.index[0]}', ...) is in cells.maps.{name}; "
            "correct the map."
        )
    note = ", ".join(f"'{label}' ({count} cells)" for label, count in counts.items())
    warnings = [f"cells.maps.{name} has no class for {note}"] if note else []
    return labels.map(classes).astype(object).where(labels.isin(list(classes)), None), warnings
