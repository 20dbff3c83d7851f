"""Take weights that were trained elsewhere, such as the authors', in place of a training."""

import json
from pathlib import Path

from virtues_core import VirTues, VirTuesConfig, load_weights, save_weights
from workflow_scripts.common.errors import InputError
from workflow_scripts.common.job import log, run
from workflow_scripts.common.markers import read_embeddings
from workflow_scripts.common.provenance import provenance, sha256
from workflow_scripts.common.staging import staged


def read_model(path, settings, accessions, embeddings):
    """Return the VirTues of `settings` with the weights of `path`, in the authors' layout or ours.

    Nothing may be missing, be left over or have another shape; an InputError says what does.
    """
    model = VirTues(VirTuesConfig(**settings, marker_width=embeddings.shape[1]), embeddings)
    try:
        load_weights(model, path)
    except ValueError as error:
        size = ", ".join(f"{k} {settings[k]}" for k in ("width", "heads", "encoder", "decoder"))
        raise InputError(
            f"{str(error).removesuffix('.')}; expected the weights of a model with the settings "
            f"`model` of config.yaml: {size}, and markers of {embeddings.shape[1]} numbers, in the "
            "authors' layout or ours; correct the settings or choose another file"
        ) from None
    odd = [name for name, weight in model.state_dict().items() if not weight.isfinite().all()]
    if odd:
        raise InputError(
            f"{path}: {odd[0]} holds numbers that are NaN or infinite, expected finite weights; "
            "retrieve the file again"
        )
    return model


def weights_file(path):
    """Return the file of the weights: `path`, or what the record of a retrieval names beside it."""
    path = Path(path)
    if path.name != "retrieved.json":
        return path
    return path.with_name(json.loads(path.read_text())["name"])


def main(snakemake):
    """Write what a training would have written; its losses are not known."""
    path, out = weights_file(snakemake.input.weights), snakemake.output
    outputs = [out[name] for name in ("weights", "config", "metrics")]
    accessions, embeddings = read_embeddings(snakemake.input.embeddings)
    model = read_model(path, snakemake.params.model, accessions, embeddings)
    card = {"model": model.config.to_dict(), "accessions": accessions}
    with staged(*outputs) as (weights, config, written):
        save_weights(model, weights)
        config.write_text(json.dumps(card, indent=1))
        metrics = {
            "instance": snakemake.wildcards.instance,
            "cohorts": snakemake.params.cohorts,
            "given": {"path": str(path), "sha256": sha256(path)},
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "losses": [],
            "weights_sha256": sha256(weights),
            "provenance": provenance(),
        }
        written.write_text(json.dumps(metrics, indent=1))
    log.info("%s: %d parameters", path, metrics["parameters"])


if __name__ == "__main__":
    run(main, globals())
