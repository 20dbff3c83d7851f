"""Train CA-MAE on one cohort, or KRONOS on all that measure its nucleus marker."""

from workflow_scripts.common.job import run
from workflow_scripts.pretrain.pretrain import start
from workflow_scripts.pretrain.rival import train_rival


def plain_job(snakemake):
    """Return all that a process needs to know of the job, ready for JSON."""
    params = snakemake.params
    tracked = {"settings": params.settings, "rival": params.rival, "code": params.code}
    tracked["panel"] = params.panel
    return {
        "rival": params.name,
        "instance": snakemake.wildcards.training,
        "output": {name: snakemake.output[name] for name in ("weights", "config", "metrics")},
        "log": snakemake.log[0],
        "threads": snakemake.threads,
        "device": params.device,
        "deterministic": snakemake.config["deterministic"],
        "model": params.rival,
        "panel": params.panel,
        # How the run is operated comes from the configuration: see rules/pretrain.smk.
        "settings": snakemake.config["pretrain"] | params.settings,
        "tracked": tracked,
        "cohort_folders": params.cohort_folders,
        "checkpoint_folder": params.checkpoint_folder,
        "tensorboard_folder": params.tensorboard_folder,
    }


def main(snakemake):
    """Train."""
    start(plain_job(snakemake), train_rival)


if __name__ == "__main__":
    run(main, globals())
