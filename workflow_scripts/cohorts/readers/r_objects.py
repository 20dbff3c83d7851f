"""Tables in R's own files (.rds, .rda, .RData), read without R.

The whole object is parsed in memory, about 0.5 kB and 10 us for every text value: fine for a
million cells, not for an object of many gigabytes, whose colData is better converted to CSV in R.
"""

import warnings

import numpy as np
import pandas as pd

from workflow_scripts.cohorts.readers.archives import damaged
from workflow_scripts.common.errors import InputError
from workflow_scripts.common.job import log


def read_r_table(file, name=None):
    """Return the table in an R file (`File`) as a DataFrame.

    A table is a data.frame, a DataFrame of Bioconductor, or a SingleCellExperiment (or another
    SummarizedExperiment), whose table of cells, colData, is meant. Row names that are text become
    the column `rownames`. Factors and text come as text or None, numbers with NA as float. `name`
    is needed where a file holds several objects. InputError for anything else.
    """
    import rdata  # a second of imports, needed nowhere else

    try:
        with file.read() as stream, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the kind of file is told by its content, not its name
            objects = _objects(rdata.parser.parse_data(stream.read()).object)
    except InputError:
        raise
    except Exception as error:  # a cut file raises many kinds
        raise damaged(file, f"{type(error).__name__} {error}") from None
    if name is None and len(objects) > 1:
        raise InputError(
            f"{file} holds {len(objects)} objects ({', '.join(sorted(objects))}); name one as "
            "`object` in the cohort file."
        )
    name = next(iter(objects)) if name is None else name
    if name not in objects:
        raise InputError(
            f"{file} holds no object '{name}'; it has: {', '.join(sorted(objects)) or 'none'}."
        )
    return _table(objects[name], file)


def _objects(root):
    """Return {name: object}: those of a workspace, or that of an .rds file without a name."""
    if root.info.type.name == "LIST" and root.tag is not None:
        return dict(_pairs(root))
    return {"": root}


def _pairs(node):
    """Yield (name, object) of a list of pairs, in which R keeps attributes and workspaces."""
    while node is not None and node.info.type.name == "LIST":
        tag = node.tag.referenced_object if node.tag.info.type.name == "REF" else node.tag
        value, node_after = node.value
        yield _decoded(tag.value.value), value
        node = node_after


def _table(value, file):
    attributes = dict(_pairs(value.attributes))
    if "colData" in attributes:
        return _table(attributes["colData"], file)
    if "listData" in attributes:  # Bioconductor's DataFrame
        columns, rows = attributes["listData"], attributes.get("rownames")
    elif value.info.type.name == "VEC" and "row.names" in attributes:
        columns, rows = value, attributes["row.names"]
    else:
        kind = _texts(attributes["class"])[0] if "class" in attributes else value.info.type.name
        raise InputError(
            f"{file} holds no table but an object of class {kind}; expected a data.frame or a "
            "SingleCellExperiment: convert it to CSV in R."
        )
    names = dict(_pairs(columns.attributes)).get("names")
    names = [] if names is None else _texts(names)
    table = {}
    if rows is not None and rows.info.type.name == "STR":
        table["rownames"] = _texts(rows)
    for name, column in zip(names, columns.value, strict=True):
        values = _column(column)
        if values is None:
            log.warning("%s: column '%s' is no plain vector and is left out", file, name)
        else:
            table[name] = values
    return pd.DataFrame(table)


def _column(value):
    """Return a vector as an array [rows], or None for anything else (a matrix, a nested table)."""
    attributes, kind = dict(_pairs(value.attributes)), value.info.type.name
    if "dim" in attributes:
        return None
    if kind == "STR":
        return _texts(value)
    if kind == "REAL":
        return np.asarray(value.value, float)
    if kind not in ("INT", "LGL"):
        return None
    missing = np.ma.getmaskarray(value.value)
    numbers = np.ma.filled(value.value, 0)
    if "levels" in attributes:
        return np.append(_texts(attributes["levels"]), None)[np.where(missing, 0, numbers) - 1]
    if not missing.any():
        return numbers.astype(bool if kind == "LGL" else np.int64)
    if kind == "INT":
        return np.where(missing, np.nan, numbers)
    return np.where(missing, None, numbers.astype(bool))


def _texts(value):
    """Return a vector of text as objects [rows], NA as None."""
    texts = np.empty(len(value.value), object)
    texts[:] = [None if item.value is None else _decoded(item.value) for item in value.value]
    return texts


def _decoded(text):
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text.decode("latin-1")
