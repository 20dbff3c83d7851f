"""Tables of an archive, read by what a cohort's YAML file says: columns, filters, joins."""

import re
import string
import warnings
import zipfile
import zlib

import numpy as np
import pandas as pd
import pyarrow as pa

from workflow_scripts.cohorts.readers.archives import damaged
from workflow_scripts.cohorts.readers.r_objects import read_r_table
from workflow_scripts.common.errors import InputError
from workflow_scripts.common.job import log
from workflow_scripts.common.validation import nearest

ROWS = 100_000  # of a table, read at a time


def read_table(files, spec, columns=None):
    """Return the table that `spec` (a `table` of the cohort schema) names, or None.

    `columns` limits what is read (None = all). Rows are filtered by keep and drop, and the named
    groups of `extract` become columns. None only where the table is absent and `optional`.
    """
    if isinstance(spec["file"], list):
        return _together(files, spec, columns)
    file = files.find(spec["file"], spec.get("archive", ()), spec.get("alike", False))
    if file is None:
        if spec.get("optional"):
            return None
        places = [*([spec["archive"]] if "archive" in spec else []), files.folder, files.beside]
        hint = spec.get("hint", "put it there, or correct its name in the cohort file.")
        raise InputError(f"{spec['file']}: no such table in {', '.join(map(str, places))}; {hint}")
    extract = spec.get("extract", {})
    filters = [("keep", spec.get("keep", {})), ("drop", spec.get("drop", {}))]
    if columns is not None:
        made = {group for pattern in extract.values() for group in re.compile(pattern).groupindex}
        columns = (set(columns) - made) | set(extract)
        columns |= {column for _, wanted in filters for column in wanted}
    table = _load(file, spec, columns)
    for action, wanted in filters:
        for column, values in wanted.items():
            require(table, column, file)
            hit = keys(table[column]).isin(keys(pd.Series(values, dtype=object)))
            table = table[hit if action == "keep" else ~hit]
    for column, pattern in extract.items():
        require(table, column, file)
        table = _extract(table, column, pattern, file)
    return table.reset_index(drop=True)


def _together(files, spec, columns):
    """Return the rows of several tables; a column must be in one of them at least."""
    parts = [read_table(files, {**spec, "file": name}) for name in spec["file"]]
    parts = [part for part in parts if part is not None]
    if not parts:
        return None
    table = pd.concat(parts, ignore_index=True)
    for column in sorted(columns or ()):
        require(table, column, ", ".join(spec["file"]))
    return table


def join(left, files, spec):
    """Return `left` with the columns of another table, and how many of its rows had no match.

    `spec` is a `join` of the cohort schema. Rows match by the `keys` of their columns; a key whose
    rows on the right differ is an InputError, a left row without a match gets missing values.
    Returns (None, 0) where an optional table is absent.
    """
    columns = spec.get("columns")
    renames = columns if isinstance(columns, dict) else {name: name for name in columns or ()}
    by = spec["by"]
    wanted = None if columns is None else {*renames.values(), *by.values()}
    right = read_table(files, spec, wanted)
    if right is None:
        return None, 0
    for column in by.values():
        require(right, column, spec["file"])
    if columns is None:
        renames = {name: name for name in right.columns if name not in by.values()}
    for column in by:
        require(left, column, f"the rows that {spec['file']} is joined to")
    for name in renames:
        if name in left.columns:
            raise InputError(
                f"{spec['file']}: column '{name}' exists already; rename it in `columns`."
            )
    names = [f"key {index}" for index in range(len(by))]
    right_keys = pd.DataFrame({n: keys(right[c]) for n, c in zip(names, by.values(), strict=True)})
    values = right[list(renames.values())].set_axis(list(renames), axis=1)
    # Rows that say the same do not make a join ambiguous: an edge list names its cell on each edge.
    complete = (
        right_keys.notna().all(axis=1) & ~pd.concat([right_keys, values], axis=1).duplicated()
    )
    right_keys, values = right_keys[complete], values[complete]
    if right_keys.duplicated().any():
        first = " ".join(right_keys[right_keys.duplicated()].iloc[0])
        raise InputError(
            f"{spec['file']}: {' and '.join(by.values())} = {first} is on several rows, so the "
            "join is not unique; filter the rows with `keep` or join by more columns."
        )
    index = pd.MultiIndex.from_frame(right_keys)
    left_keys = pd.DataFrame({n: keys(left[c]) for n, c in zip(names, by, strict=True)})
    position = index.get_indexer(pd.MultiIndex.from_frame(left_keys))
    missing = (position < 0) | left_keys.isna().any(axis=1).to_numpy()
    position[missing] = -1  # reindex turns it into missing values
    picked = values.reset_index(drop=True).reindex(position).set_axis(left.index)
    return pd.concat([left, picked], axis=1), int(missing.sum())


def keys(column):
    """Return a column as text for matching: 1, 1.0 and "1" are equal, so are TRUE and True."""
    column = pd.Series(column)
    if pd.api.types.is_bool_dtype(column.dtype):
        return column.map({True: "true", False: "false"}).astype(object)
    if pd.api.types.is_integer_dtype(column.dtype):
        text = column.astype(str).astype(object)
        return text.where(column.notna(), None)
    return column.map(_key).astype(object).where(column.notna(), None)


def render(template, table, where):
    """Return `template`, e.g. "{core}_{number}", filled from the columns of `table` as text.

    A row that misses one of the columns gives None; an unknown column is an InputError.
    """
    text = pd.Series("", index=table.index, dtype=object)
    missing = pd.Series(False, index=table.index)
    for literal, column, _, _ in string.Formatter().parse(template):
        text = text + literal
        if column is not None:
            require(table, column, where)
            part = keys(table[column])
            missing |= part.isna()
            text = text + part.fillna("")
    return text.where(~missing, None)


def fields(template):
    """Return the column names in a template."""
    return [name for _, name, _, _ in string.Formatter().parse(template) if name is not None]


def require(table, column, where):
    """Raise InputError unless `table` has `column`."""
    if column in table.columns:
        return
    names = [str(name) for name in table.columns]
    if len(names) == 1 and any(sign in names[0] for sign in ";\t"):
        advice = "; its header is not separated by commas: set `separator`."
    else:
        advice = f"{nearest(column, names)} it has: {', '.join(names[:20])}."
    raise InputError(f"{where}: no column '{column}'{advice}")


def _key(value):
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    text = str(value).strip()
    return text.lower() if text in ("TRUE", "FALSE", "True", "False") else text


def _load(file, spec, columns):
    """Read the table in `file`, only `columns` of it, after checking that it has them."""
    suffix = file.name.lower().rsplit(".", 1)[-1]
    if suffix in ("rds", "rda", "rdata"):
        table = _named(read_r_table(file, spec.get("object")), columns or (), file)
        return table if columns is None else table[sorted(columns)]
    if suffix not in ("csv", "tsv", "txt", "parquet"):
        raise InputError(
            f"{file}: a .{suffix} table is not read here; convert it to CSV, put the CSV in the "
            "data folder and name it in the cohort file."
        )
    # pandas 3 returns no rows for a callable `usecols` without a header.
    named, wanted = spec.get("header", True), None
    if named and columns is not None:
        wanted = lambda name: name.strip() in columns  # noqa: E731
    try:
        if suffix == "parquet":
            table = pd.read_parquet(file.read())
            table = table if table.index.name is None else table.reset_index()
            return table if columns is None else _named(table, columns, file)[sorted(columns)]
        separator = spec.get("separator", "\t" if suffix in ("tsv", "txt") else ",")
        options = {"sep": separator, "header": 0 if named else None}
        # R and Excel may add a BOM; an unquoted comma in a last column must not shift the others.
        options |= {"low_memory": False, "encoding": "utf-8-sig", "index_col": False}
        options |= {"usecols": wanted}
        with file.open() as stream:
            _named(pd.read_csv(stream, nrows=0, **options | {"usecols": None}), columns or (), file)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", pd.errors.ParserWarning)
            table = _read_csv(file, options)
        if caught:
            log.warning("%s: rows have more fields than the header; the surplus is left out", file)
    except pd.errors.EmptyDataError:
        raise InputError(f"{file}: the table is empty; retrieve it again.") from None
    except pd.errors.ParserError as error:
        raise InputError(f"{file}: not a table separated by '{separator}': {error}.") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: expected text in UTF-8 ({error}); convert it.") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, pa.ArrowInvalid) as error:
        raise damaged(file, error) from None
    return _named(table, (), file)


def _read_csv(file, options):
    """Return what `pd.read_csv` reads, in parts where columns are left out.

    One read first holds all columns as text: 12 GB for 6 million rows of 72 columns.
    """
    parts = [] if options["usecols"] is None else _parts(file, options)
    # Beyond int64 types depend on all values at once; such numbers are rare.
    if not parts or any((part.dtypes == np.uint64).any() for part in parts):
        with file.open() as stream:
            return pd.read_csv(stream, **options)
    # Where the kinds of a column differ between parts, one read leaves it as text.
    mixed = [name for name in parts[0] if len({_kind(part[name]) for part in parts} - {None}) > 1]
    if mixed:
        parts = _parts(file, options | {"dtype": dict.fromkeys(mixed, str)})
    return pd.concat(parts, ignore_index=True)


def _parts(file, options):
    with file.open() as stream, pd.read_csv(stream, chunksize=ROWS, **options) as parts:
        return list(parts)


def _kind(column):
    """Return what the values of a column are, b(ool), n(umber) or t(ext); None without any."""
    known = column.dropna()
    if known.empty:
        return None
    if known.dtype.kind == "b" or isinstance(known.iloc[0], bool):
        return "b"
    return "t" if known.dtype.kind == "O" else "n"


def _named(table, columns, file):
    """Return `table` with its column names as text, all of `columns` among them."""
    table = table.set_axis([str(name).strip() for name in table.columns], axis=1)
    for column in sorted(columns):
        require(table, column, file)
    return table


def _extract(table, column, pattern, file):
    text = keys(table[column])
    made = text.astype("string").str.extract(pattern)
    unmatched = made.isna().all(axis=1) & text.notna()
    if unmatched.any():
        raise InputError(
            f"{file}: column '{column}': {int(unmatched.sum())} of {len(table)} values do not "
            f"match {pattern}, the first is '{text[unmatched].iloc[0]}'; correct `extract`."
        )
    made = made[list(re.compile(pattern).groupindex)].astype(object)
    return table.assign(**{name: made[name].where(made[name].notna(), None) for name in made})
