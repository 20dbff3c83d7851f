"""The tokens that signatures are learnt from and carried to: of which markers, and whose (D11)."""

import json
from pathlib import Path

from workflow_scripts.common.errors import InputError
from workflow_scripts.common.tokens import read_tokens

FULL, SHARED = "full", "shared"
KEYS = ["tissue_id", "cell_id"]


def markers_seen(folder, markers):
    """Return in words through which markers the cells of both cohorts are seen.

    `folder`: tokens of one of them; `markers`: FULL, or SHARED, whose record lies beside `folder`.
    InputError where the model can read no shared marker.
    """
    if markers == FULL:
        return "full panel of each cohort (D11)"
    found = json.loads((Path(folder).parent / "facts.json").read_text(encoding="utf-8"))
    if not found["markers"]:
        raise InputError(
            f"meyer_transfer.markers: the model can read none of the {found['shared']} markers "
            "that both cohorts have, expected one at least; set it to full"
        )
    return f"{len(found['markers'])} markers that both cohorts have (D11)"


def tokens_of(folder, cells):
    """Return the tokens [n, width] of the rows of `cells`, wherever `folder` has them.

    InputError for a cell without a token there.
    """
    index, array = read_tokens(folder, "cells")
    places = cells[KEYS].merge(index[[*KEYS, "position"]], on=KEYS, how="left")["position"]
    if places.isna().any():
        lost = cells.loc[places.isna().to_numpy(), "tissue_id"]
        raise InputError(
            f"{folder}: {len(lost)} of {len(cells)} cells have no token, the first in tissue "
            f"{lost.iloc[0]}; embed the cohort again"
        )
    return array.oindex[places.to_numpy(int)]
