"""What ingest noticed about a cohort: counts, and sentences for whoever reads ingest.json."""

import pandas as pd

PAIR = ["tissue_id", "reason", "overlap_before", "overlap_after"]
NAMED = 10  # as many items a sentence names before it breaks off


def summarise(source, results, cells, cohort, block):
    """Return the content of ingest.json for a `Source` and the results of its tissues."""
    pairs = list(zip(source.tissues, results, strict=True))
    accessions = source.panel["uniprot_id"]
    without = list(source.panel["channel_name"][accessions.isna()])
    shared = sorted(set(accessions[accessions.notna() & accessions.duplicated()]))
    return {
        "cohort": cohort.id,
        "pixels_summed": block,
        "tissues": len(pairs),
        "patients": len({tissue.patient_id for tissue in source.tissues}),
        "channels": len(accessions),
        "channels_without_accession": without,
        "accessions_on_several_channels": shared,
        "cell_masks": sum(tissue.load_mask is not None for tissue in source.tissues),
        "cells": len(cells),
        "pairs_of_neighbours": 0 if source.neighbours is None else len(source.neighbours),
        "unfit_pairs": list(_unfit_pairs(pairs)),
        "cells_not_in_mask": sum(len(result["missing"]) for result in results),
        "warnings": [
            *source.warnings,
            *_about_panel(without, len(accessions)),
            *_about_absent(source.tissues),
            *_about_overlap(pairs),
            *_about_cells(pairs),
            *_about_pixels(pairs),
        ],
    }


def measured_channels(source):
    """Return the table of tissues (index) by channels, True where the channel was measured."""
    names = list(source.panel["channel_name"])
    rows = [[name not in tissue.absent for name in names] for tissue in source.tissues]
    index = pd.Index([tissue.tissue_id for tissue in source.tissues], name="tissue_id", dtype="str")
    return pd.DataFrame(rows, index=index, columns=names, dtype=bool)


def shown(items):
    """Return a list as text, broken off after the first ones."""
    return ", ".join(map(str, items[:NAMED])) + (", ..." if len(items) > NAMED else "")


def _unfit_pairs(pairs):
    """Yield the masks and cells that were left out, dicts with the keys `PAIR`."""
    reason = "mask and cells left out, the image is kept: too few cells on their label"
    for tissue, result in pairs:
        pair = result["pair"]
        if pair is not None and not pair.accepted:
            values = (tissue.tissue_id, reason, pair.before, pair.after)
            yield dict(zip(PAIR, values, strict=True))


def _about_panel(without, channels):
    if without:
        yield (
            f"{len(without)} of {channels} channels have no UniProt accession and stay out of "
            f"the model: {', '.join(without)}"
        )


def _about_absent(tissues):
    lacking = {}
    for tissue in tissues:
        for channel in tissue.absent:
            lacking.setdefault(channel, []).append(tissue.tissue_id)
    for channel, ids in lacking.items():
        yield f"channel {channel} was not measured in {len(ids)} tissues: {shown(ids)}"


def _about_overlap(pairs):
    for tissue, result in pairs:
        pair = result["pair"]
        if pair is not None and (pair.aligned or not pair.accepted):
            done = "aligned by coordinates" if pair.accepted else "left out, mask and cells"
            yield (
                f"tissue {tissue.tissue_id}: {pair.before:.1%} of its cells lie on their label in "
                f"the mask, {pair.after:.1%} after alignment: {done}"
            )


def _about_cells(pairs):
    for tissue, result in pairs:
        if result["missing"]:
            yield (
                f"tissue {tissue.tissue_id}: {len(result['missing'])} cells of the table are not "
                f"in the mask and are left out: {shown(result['missing'])}"
            )
    unmasked = [tissue.tissue_id for tissue, result in pairs if result.get("unmasked")]
    if unmasked:
        count = sum(result.get("unmasked", 0) for _, result in pairs)
        yield f"{count} cells of tissues without a mask are left out: {shown(unmasked)}"
    lost = sum(result["lost"] for _, result in pairs)
    if lost:
        yield f"{lost} cells have no pixel left at 1 um and are left out"


def _about_pixels(pairs):
    bad = [tissue.tissue_id for tissue, result in pairs if result["bad_pixels"]]
    if bad:
        pixels = sum(result["bad_pixels"] for _, result in pairs)
        yield (
            f"{pixels} pixels of {len(bad)} tissues were negative or not finite and became 0: "
            f"{shown(bad)}"
        )
