"""The channels of a cohort: names, accessions and their order in the files."""

import re
import unicodedata
from functools import partial

import pandas as pd

from workflow_scripts.cohorts.readers.tables import keys, read_table, require
from workflow_scripts.common.accession import ACCESSION
from workflow_scripts.common.errors import InputError

PRIVATE = ["aliases", "optional", "tissues", "page"]  # what readers need and nobody after them
COLUMNS = [
    "channel_name",
    "uniprot_id",
    "qc_pass",
    "is_nuclear_marker",
    "description",
    "original_channel_name",
    "index",
]


def read_panel(files, cohort):
    """Return the channels in the order of the YAML file's panel, with `COLUMNS` and `PRIVATE`.

    `channel_name` is our marker name, `original_channel_name` what the files call the channel.
    InputError for a name that occurs twice or an accession that is none; the same accession on
    several channels is legal, and so is none (None).
    """
    spec = cohort.panel
    rows = spec if isinstance(spec, list) else _rows(files, spec)
    where = cohort.path if isinstance(spec, list) else spec["file"]
    text = partial(pd.Series, dtype=object)  # keeps None where there is nothing
    panel = pd.DataFrame(
        {
            "channel_name": text([row.get("marker") or row["channel"] for row in rows]),
            "uniprot_id": text([row.get("uniprot") for row in rows]),
            "qc_pass": True,
            "is_nuclear_marker": [bool(row.get("nuclear")) for row in rows],
            "description": text([row.get("note") for row in rows]),
            "original_channel_name": text([row["channel"] for row in rows]),
            "index": range(len(rows)),
            "aliases": [row.get("aliases", []) for row in rows],
            "optional": [bool(row.get("optional")) for row in rows],
            "tissues": text([row.get("tissues") for row in rows]),
            "page": range(len(rows)),
        }
    )
    if panel.empty:
        raise InputError(f"{where}: the panel names no channel; add a row per channel.")
    for column in ("channel_name", "original_channel_name"):
        twice = panel[column][panel[column].map(metal_tag).duplicated()]
        if len(twice):
            raise InputError(
                f"{where}: the panel names channel '{twice.iloc[0]}' twice; give every channel "
                "its own name (two antibodies against one protein may share the accession)."
            )
    for name in panel["channel_name"]:
        if lookalike(name):
            raise InputError(
                f"{where}: channel '{name}' mixes Latin letters with Cyrillic ones, which look "
                "alike and are not; type it again in one alphabet, in the panel and in the files."
            )
    for row in panel.itertuples():
        if row.uniprot_id is not None and not ACCESSION.fullmatch(row.uniprot_id):
            raise InputError(
                f"{where}: channel '{row.channel_name}': '{row.uniprot_id}' is not a UniProt "
                "accession such as P10147 or P10147-2; correct it, or leave it empty."
            )
    return panel


def order_panel(panel, files, order, targets=None):
    """Return `panel` in the order of the archive's own channel list, both checked to agree.

    `order` and `targets` are `order` settings of the cohort schema; metals match in either
    spelling (Nd142, 142Nd). With a column `page` the panel gets the pages of its channels. An
    optional channel that is not listed is left out. Where the tables give the archive's marker
    names (`target`), a name that does not fit the panel's marker or aliases is an InputError:
    accessions would be exchanged.
    """
    wanted = [order[key] for key in ("channel", "target", "page") if key in order]
    listed = read_table(files, order, set(wanted))
    if "page" in order:
        listed = _pages(listed, order)
    names = keys(listed[order["channel"]]).map(metal_tag)
    if names.duplicated().any() or names.isna().any():
        first = names[names.duplicated() | names.isna()].iloc[0]
        raise InputError(
            f"{order['file']}: channel '{first}' is empty or listed twice; keep one row per "
            "channel."
        )
    by_channel = panel.set_index(panel["original_channel_name"].map(metal_tag))
    unknown = [name for name in names if name not in by_channel.index]
    by_channel = by_channel[by_channel.index.isin(names) | ~by_channel["optional"]]
    absent = [name for name in by_channel.index if name not in set(names)]
    if unknown or absent:
        raise InputError(
            f"{order['file']} lists {len(names)} channels and the panel names {len(panel)}: "
            f"not in the panel: {', '.join(unknown) or 'none'}; only in the panel: "
            f"{', '.join(absent) or 'none'}; correct the panel of the cohort file."
        )
    panel = by_channel.loc[list(names)].reset_index(drop=True).assign(index=range(len(names)))
    panel["page"] = listed["page"].to_numpy() if "page" in order else panel["index"]
    for spec in (order, targets or {}):
        if "target" in spec:
            _compare_names(panel, read_table(files, spec, {spec["channel"], spec["target"]}), spec)
    return panel


def _pages(listed, order):
    """Return the rows with a page, in its order, one per metal, with `page` counted from 0.

    Two antibodies on one metal are two rows of one page.
    """
    pages = pd.to_numeric(listed[order["page"]], errors="coerce")
    listed = listed[pages.notna()].assign(page=pages[pages.notna()].astype(int) - 1)
    metals = keys(listed[order["channel"]]).map(metal_tag)
    return listed[~pd.DataFrame({"m": metals, "p": listed["page"]}).duplicated()].sort_values(
        "page", ignore_index=True
    )


def _rows(files, spec):
    table = read_table(files, spec)
    columns = {key: spec[key] for key in ("channel", "marker", "uniprot", "note") if key in spec}
    columns.setdefault("channel", "channel")
    for column in columns.values():
        require(table, column, spec["file"])
    text = pd.DataFrame({key: keys(table[column]) for key, column in columns.items()})
    if text["channel"].isna().any():
        row = int(text["channel"].isna().to_numpy().argmax()) + 1
        raise InputError(f"{spec['file']}: row {row} has no '{columns['channel']}'; fill it in.")
    text = text.astype(object).where(text.notna() & (text != ""), None)
    rows = text.to_dict("records")
    return _known(rows, spec) if "rows" in spec else rows


def _known(rows, spec):
    """Return the `rows` of a panel table with what the cohort file knows of their channels."""
    by_metal = {metal_tag(row["channel"]): row for row in spec["rows"] if "channel" in row}
    by_name = {
        plain(name): row
        for row in spec["rows"]
        if "channel" not in row
        for name in (row["marker"], *row.get("aliases", []))
    }
    found, unknown, used = [], [], []
    for row in rows:
        name = row.get("marker") or row["channel"]
        known = by_metal.get(metal_tag(row["channel"])) or by_name.get(plain(name))
        if known is None and row.get("uniprot") is None:
            unknown.append(f"{name} ({row['channel']})")
        elif known is None:
            found.append(row)
        else:
            if not any(_alike(ours, name) for ours in (known["marker"], *known.get("aliases", []))):
                raise _called_otherwise(spec["file"], row["channel"], name, known["marker"])
            used.append(id(known))
            found.append({**row, **known, "channel": row["channel"]})
    absent = [
        row["marker"] for row in spec["rows"] if id(row) not in used and not row.get("optional")
    ]
    if unknown or absent:
        raise InputError(
            f"{spec['file']} lists {len(rows)} channels and panel.rows names {len(spec['rows'])}: "
            f"not in panel.rows: {', '.join(unknown) or 'none'}; only in panel.rows: "
            f"{', '.join(absent) or 'none'}; complete panel.rows of the cohort file."
        )
    return found


def _compare_names(panel, table, spec):
    theirs = {}
    metals = keys(table[spec["channel"]]).map(metal_tag)
    for metal, name in zip(metals, table[spec["target"]], strict=True):
        theirs.setdefault(metal, []).append(name)
    for row in panel.itertuples():
        channel = metal_tag(row.original_channel_name)
        if channel not in theirs:
            raise InputError(
                f"{spec['file']}: no row for channel '{row.original_channel_name}'; correct the "
                "panel or the filter of this table in the cohort file."
            )
        ours = (row.channel_name, *row.aliases)
        if not any(_alike(one, name) for one in ours for name in theirs[channel]):
            raise _called_otherwise(
                spec["file"], row.original_channel_name, theirs[channel][0], row.channel_name
            )


def _called_otherwise(file, channel, theirs, ours):
    return InputError(
        f"{file} calls channel '{channel}' '{theirs}', the cohort file calls it '{ours}'; correct "
        f"the panel, or add '{theirs}' to the aliases of that row if both mean the same."
    )


def plain(name):
    """Return a name in small letters and digits alone, in which spellings do not differ."""
    text = str(name).lower()
    # A name in another alphabet would leave nothing, and all such names would be one.
    return re.sub(r"[^a-z0-9]", "", text) or re.sub(
        r"[\W_]", "", unicodedata.normalize("NFKC", text)
    )


def lookalike(name):
    """Tell whether a name has both Latin and Cyrillic letters; Greek ones have their place."""
    scripts = {unicodedata.name(letter, "").split()[0] for letter in str(name) if letter.isalpha()}
    return {"LATIN", "CYRILLIC"} <= scripts


def _alike(ours, theirs):
    """Tell whether one name occurs in the other: CD8 in CD8a, but not CD3 in CD38, ER in HER2."""
    short, long = sorted(map(plain, (ours, theirs)), key=len)
    if len(short) < 3:
        return short == long != ""
    return re.search(re.escape(short) + r"(?!\d)" * short[-1].isdigit(), long) is not None


def metal_tag(name):
    """Write a metal tag as symbol and mass, Nd142, however the file spells it: 142Nd, Nd(142)."""
    match = re.fullmatch(r"([A-Z][a-z]?)[ (-]?(\d{2,3})\)?|(\d{2,3})[ -]?([A-Z][a-z]?)", str(name))
    if name is None or not match:
        return name
    symbol, mass, mass_first, symbol_last = match.groups()
    return f"{symbol}{mass}" if symbol else f"{symbol_last}{mass_first}"
