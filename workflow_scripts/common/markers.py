"""The embeddings of the markers, as every model reads them."""

import json

from safetensors import SafetensorError, safe_open

from workflow_scripts.common.errors import InputError


def read_embeddings(path):
    """Return the accessions (list) and their embeddings [n, width] float32 in the same order.

    Raises `InputError` if `path` is not a table that the rule embed_markers writes.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            names = list(file.keys())
            embeddings = file.get_tensor("embeddings") if "embeddings" in names else None
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"{path}: not a readable safetensors file ({error}); remove it and run embed_markers"
        ) from None
    if embeddings is None or "accessions" not in metadata:
        raise InputError(
            f"{path}: holds {', '.join(names) or 'nothing'}; expected a tensor 'embeddings' and "
            "the metadata 'accessions'; remove it and run embed_markers"
        )
    accessions = json.loads(metadata["accessions"])
    if embeddings.ndim != 2 or len(embeddings) != len(accessions):
        raise InputError(
            f"{path}: embeddings have shape {list(embeddings.shape)} for {len(accessions)} "
            "accessions; expected one row each; remove it and run embed_markers"
        )
    if len(set(accessions)) < len(accessions):
        twice = next(name for name in accessions if accessions.count(name) > 1)
        raise InputError(
            f"{path}: accession {twice} has more than one row; expected one; "
            "remove the file and run embed_markers"
        )
    if not embeddings.isfinite().all():
        row = int((~embeddings.isfinite()).any(dim=1).nonzero()[0])
        raise InputError(
            f"{path}: the embedding of {accessions[row]} is not finite; "
            "check where it comes from and run embed_markers again"
        )
    return accessions, embeddings.float()
