"""Embed the protein of every measured marker with ESM-2, or take ready embeddings from a table."""

import hashlib
import json
import re
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save

from workflow_scripts.common.errors import InputError
from workflow_scripts.common.job import log, run
from workflow_scripts.common.provenance import check_sum
from workflow_scripts.common.staging import staged
from workflow_scripts.markers.esm2 import embed_sequence, load_esm2, seeded_esm2
from workflow_scripts.markers.fasta import parse_fasta
from workflow_scripts.markers.measured import measured_accessions


def embed_sequences(model, records, cache=None):
    """Return {accession: [width] float32} of `records` {accession: (description, sequence)}.

    `cache`: a folder for vectors of this model, each under the hash of its sequence, so that a
    further cohort costs its new sequences alone; None keeps nothing.
    """
    vectors = {}
    for number, (accession, (_, sequence)) in enumerate(sorted(records.items()), start=1):
        vectors[accession] = _embedded(model, sequence, cache)
        log.info("%d/%d %s: %d residues", number, len(records), accession, len(sequence))
    return vectors


def _embedded(model, sequence, cache):
    if cache is None:
        return embed_sequence(model, sequence)
    path = Path(cache) / f"{hashlib.sha256(sequence.encode()).hexdigest()}.npy"
    if path.exists():
        return torch.from_numpy(np.load(path, allow_pickle=False))
    vector = embed_sequence(model, sequence)
    with staged(path) as [part], open(part, "wb") as file:
        np.save(file, vector.numpy())
    return vector


def origin(records):
    """Return where sequences come from: what stands in brackets before their descriptions."""
    found = (re.match(r"\[([^]]*)\]", description) for description, _ in records.values())
    return ", ".join(sorted({match.group(1) if match else "unknown" for match in found}))


def read_table(path):
    """Return {accession: [width] float32} from a table of ready embeddings.

    `path`: .npz with one array [width] per accession, or .csv or .parquet with a column
    `accession` and one column per dimension.
    """
    if Path(path).suffix == ".npz":
        vectors = _read_npz(path)
    else:
        vectors = _read_columns(path)
    if not vectors:
        raise InputError(f"{path}: no embedding in it; expected one per accession; add rows")
    shapes = {vector.shape for vector in vectors.values()}
    if len(shapes) != 1 or len(next(iter(shapes))) != 1:
        raise InputError(
            f"{path}: embeddings of shapes {sorted(shapes)}; expected one vector per accession, "
            "all of one length; correct the table"
        )
    for accession, vector in vectors.items():
        if not np.isfinite(vector).all():
            raise InputError(
                f"{path}: the embedding of {accession} is not finite; expected numbers; "
                "correct the row or leave it out"
            )
    return {accession: torch.from_numpy(vector) for accession, vector in vectors.items()}


def select(vectors, cohorts, path):
    """Return the rows of a table that `cohorts` {accession: [cohort, ...]} measure.

    An accession without a row is left out: its channels carry no token.
    """
    found = {accession: vectors[accession] for accession in cohorts if accession in vectors}
    missing = [accession for accession in cohorts if accession not in vectors]
    if not found:
        raise InputError(
            f"{path}: none of the {len(cohorts)} measured accessions has a row; expected some of "
            f"{', '.join(missing[:3])}; check the table's accessions"
        )
    if missing:
        log.warning(
            "%d of %d accessions have no row in %s, their channels are left out: %s",
            len(missing), len(cohorts), path, ", ".join(missing),
        )  # fmt: skip
    return found


def write_embeddings(path, vectors, source):
    """Write {accession: [width]} as rows sorted by accession, with `source` in words."""
    accessions = sorted(vectors)
    embeddings = torch.stack([vectors[accession] for accession in accessions])
    metadata = {"accessions": json.dumps(accessions), "source": source}
    with staged(path) as [part]:
        part.write_bytes(_ordered(save({"embeddings": embeddings.float()}, metadata)))
    log.info("embeddings %s from %s", list(embeddings.shape), source)


def _ordered(data):
    """Sort the header of a safetensors file; its metadata come in an order that varies."""
    size = int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8 : 8 + size]), sort_keys=True).encode()
    header += b" " * (-len(header) % 8)  # tensors start at a multiple of eight
    return len(header).to_bytes(8, "little") + header + data[8 + size :]


def _read_npz(path):
    try:
        with np.load(path, allow_pickle=False) as file:
            return {accession: file[accession].astype(np.float32) for accession in file.files}
    except (ValueError, OSError, zipfile.BadZipFile, AttributeError) as error:
        raise InputError(
            f"{path}: not read as a table of embeddings ({error}); "
            "expected one array of numbers per accession; write it with numpy.savez"
        ) from None


def _read_columns(path):
    read = {".csv": pd.read_csv, ".parquet": pd.read_parquet}.get(Path(path).suffix)
    if read is None:
        raise InputError(
            f"{path}: unknown kind of table; expected .npz, .csv or .parquet; convert it"
        )
    table = read(path)
    if "accession" not in table.columns:
        raise InputError(
            f"{path}: no column 'accession'; expected it and one column per dimension; rename it"
        )
    twice = table["accession"][table["accession"].duplicated()]
    if len(twice):
        raise InputError(
            f"{path}: {twice.iloc[0]} has more than one row; expected one; remove the others"
        )
    numbers = table.drop(columns="accession")
    if table.empty:
        return {}
    words = numbers.select_dtypes(exclude="number").columns
    if len(words):
        raise InputError(
            f"{path}: column {words[0]!r} does not hold numbers; "
            "expected one column per dimension besides 'accession'; remove it"
        )
    return dict(zip(table["accession"], numbers.to_numpy(np.float32), strict=True))


def main(snakemake):
    """Write the embeddings from the source that the configuration names."""
    params, inputs = snakemake.params, snakemake.input
    torch.set_num_threads(snakemake.threads)
    if params.source == "table":
        vectors = select(
            read_table(inputs.table), measured_accessions(inputs.channels), inputs.table
        )
        source = f"table {Path(inputs.table).name}"
    else:
        records = parse_fasta(Path(inputs.sequences).read_text(), inputs.sequences)
        sequences = origin(records)
        esm2 = params.esm2
        cache = None
        if esm2["weights"] == "seeded":
            model = seeded_esm2(esm2["layers"], esm2["width"], esm2["heads"], esm2["seed"])
            name = f"seeded ESM-2 (seed {esm2['seed']})"
        else:
            found = check_sum(inputs.weights, esm2["sha256"], "markers.esm2.sha256")
            model = load_esm2(inputs.weights)
            name = Path(inputs.weights).name
            cache = Path(params.cache) / found
        log.info("%s: %d layers of width %d", name, model.num_layers, model.embed_dim)
        vectors = embed_sequences(model, records, cache)
        source = f"{name}, {model.num_layers} layers, sequences: {sequences}"
        if esm2["weights"] == "seeded" or "synthetic" in sequences:
            source += ": simulated"
    write_embeddings(snakemake.output.embeddings, vectors, source)


if __name__ == "__main__":
    run(main, globals())
