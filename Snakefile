# The VirTues study. Targets: `all`, any figure (`fig2d`), `retrieve_all`, or any file.
import os
import sys
import time

from snakemake.utils import min_version

min_version("9.0")

# Scripts import `workflow_scripts` and `virtues_core`, also inside cluster jobs.
sys.path.insert(0, workflow.basedir)
os.environ.update(PYTHONPATH=os.pathsep.join([workflow.basedir, os.getenv("PYTHONPATH", "")]))

# Idle OpenMP threads that spin make two jobs on the same cores ten times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


configfile: "config.yaml"


# Of Snakemake's own report, `snakemake all --report report.zip`.
report: "workflow_scripts/report/captions/workflow.rst"


# Only with --sdm apptainer; envs/container.def says how to build it.
container: "envs/virtues-study.sif"


include: "rules/common.smk"
include: "rules/cohorts.smk"
include: "rules/markers.smk"
include: "rules/overview.smk"
include: "rules/pretrain.smk"
include: "rules/rivals.smk"
include: "rules/embed.smk"
include: "rules/reconstruction.smk"
include: "rules/cells.smk"
include: "rules/transfer.smk"
include: "rules/patients.smk"
include: "rules/retrieval.smk"
include: "rules/tissue_tasks.smk"
include: "rules/biomarkers.smk"
include: "rules/attention.smk"
include: "rules/scaling.smk"
include: "rules/own.smk"
include: "rules/own_page.smk"
include: "rules/response.smk"
include: "rules/report.smk"
include: "rules/commands.smk"


rule all:
    default_target: True
    input:
        f"{R}/report/index.html",
        weights=expand(f"{R}/models/{{instance}}/model.safetensors", instance=INSTANCES),
    localrule: True


# Figures need the tokens of some cohorts; this is all of them.
rule embeddings:
    input:
        [f"{R}/embeddings/{model}/{cohort}" for model, cohort in EMBEDDED],
    localrule: True


rule retrieve_all:
    input:
        [f"{config['archives']}/{cohort}/retrieved.json" for cohort in RETRIEVED],
    localrule: True


# With --sdm conda every script runs in this environment; without it nothing changes.
if "CONDA" in {method.name for method in workflow.deployment_settings.deployment_method}:
    for each in workflow.rules:
        if each.script:
            each.conda_env = "../envs/virtues-study.yaml"  # seen from rules/


onstart:
    refuse_a_missing_cluster()
    refuse_the_future()
    claim_results()


onsuccess:
    if os.path.exists(f"{R}/report/index.html"):
        print(f"Report of the last full run: {R}/report/index.html")


onerror:
    print(f"A rule failed. Its log is named above; all logs are in {R}/logs/.")
    print(
        "A report of what there is: snakemake --cores 1 partial_report, with the same settings."
    )
