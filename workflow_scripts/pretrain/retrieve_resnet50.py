"""Download ImageNet weights of ResNet-50."""

from workflow_scripts.common.errors import InputError
from workflow_scripts.common.job import run
from workflow_scripts.common.retrieved_weights import retrieve_checkpoint

SECTION = "rivals.resnet50"


def main(snakemake):
    """Download the checkpoint of `rivals.resnet50.weights`."""
    params, path = snakemake.params, snakemake.output.weights
    if snakemake.config["offline"]:
        raise InputError(
            f"offline: {path} is missing; expected the file that {params.url} holds; download it "
            f"elsewhere and put it there, or name its path in `{SECTION}.weights`"
        )
    retrieve_checkpoint(params.url, path, params.sha256, SECTION)


if __name__ == "__main__":
    run(main, globals())
