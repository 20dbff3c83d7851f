# Settings, checked, and the names that all rules share.
from workflow_scripts.common.code_hash import code_hash as code
from workflow_scripts.common.cluster import check_slurm, jobs_of, refuse_orphans
from workflow_scripts.common.cohort import load_cohort
from workflow_scripts.common.errors import InputError
from workflow_scripts.common.provenance import listing
from workflow_scripts.common.results_folder import claim_folder, refuse_unwritable, said
from workflow_scripts.common.study import COUNTS, PUBLISHED, RETRIEVED_FOR, Study
from workflow_scripts.common.targets import load_targets, numbered

try:
    STUDY = Study(config)
    TARGETS = {target["id"]: target for target in load_targets()}
    if config["cohort"]:
        load_cohort(config["cohort"])  # so that a bad path is one sentence, not a failed job
except InputError as error:
    raise WorkflowError(str(error))

for reason in STUDY.absent.values():
    logger.warning(f"Not run: {reason}.")
for instance, reason in (STUDY.left_out | STUDY.rivals.left_out).items():
    logger.info(f"Not trained: {instance}, as {reason}.")

R = f"results/{config['study']}"
LOGS = f"{R}/logs"
BENCH = f"{R}/benchmarks"
COHORTS = list(STUDY.cohorts)
RETRIEVED = [cohort.id for cohort in STUDY.cohorts.values() if cohort.folder is None]
INSTANCES = list(STUDY.instances)
# The cohorts that the paper's statements are about; a cohort of one's own is none of them.
COMPARED = [c.id for c in STUDY.cohorts.values() if c.simulated or c.is_published]
MODELS = STUDY.models
# Pairs of model and cohort: rivals are evaluated on some cohorts, and one has no cell tokens.
EMBEDDED = STUDY.embedded()
CELLS_EMBEDDED = STUDY.embedded(cells=True)
TRAININGS = STUDY.rivals.trainings
# The instance that figures about VirTues itself show.
VIRTUES = INSTANCES[0]
SEEDS = config["seeds"]
# Targets that have a numbers.json, as all do but drawings.
NUMBERED = numbered(TARGETS.values())
# Bytes of tables and temporary copies for each cell of a cohort: about 500 were measured.
PER_CELL = 1000
# Targets without a rule in this study, and why; a stage adds those whose cohort is not here.
NOT_RUN = {}


wildcard_constraints:
    cohort="|".join(COHORTS),
    instance="|".join(INSTANCES),
    model="|".join(dict.fromkeys([*INSTANCES, *MODELS])),


def one_of(names):
    """A wildcard's constraint: one of these names; where there is none, no value fits."""
    return "|".join(names) or "(?!)"


def gpus(wildcards=None):
    """GPUs of a job that computes on the study's device."""
    return 1 if config["device"] == "cuda" else 0


def training_memory():
    """Memory of a training on each node: more would not help one that its time limit ended."""
    return config["pretrain"]["processes"] * (64000 if config["device"] == "cuda" else 4000)


def training_place():
    """What a training asks of a cluster: GPUs in all on one node, or alike on several nodes."""
    processes, nodes = config["pretrain"]["processes"], config["pretrain"]["nodes"]
    if nodes == 1:
        place = {"gpu": processes * gpus()}
        # SLURM may otherwise take the GPUs of several nodes.
        return place | ({"nodes": 1} if place["gpu"] > 1 else {})
    # `mpi`: the job is not wrapped in a step of one task; its script starts one on each node.
    place = {"nodes": nodes, "tasks": nodes, "mpi": "srun"}
    return place | ({"gres": f"gpu:{processes}", "tasks_per_gpu": 0} if gpus() else {})


def gpus_by_rule():
    """GPUs that a job of each rule holds in all, of the rules that ask for any."""
    asked = {each.name: gpus() for each in workflow.rules if "gpu" in each.resources}
    # Trainings may have more, over several nodes in another resource: see `training_place`.
    held = config["pretrain"]["processes"] * config["pretrain"]["nodes"] * gpus()
    asked |= dict.fromkeys(("pretrain", "pretrain_rival"), held)
    return {name: count for name, count in asked.items() if count}


def rules_by_stage():
    """Names of the rules that compute something, by their file in rules/."""
    stages = {}
    for each in workflow.rules:
        if each.benchmark:
            stages.setdefault(Path(str(each.snakefile)).stem, []).append(each.name)
    return stages


def published_cells(wildcards):
    """Cells of the job's cohort as its file says; 0 where it does not, as most are small."""
    known = [*STUDY.cohorts.values(), *([OWN.cohort] if OWN else [])]
    cohort = next((c for c in known if c.id == wildcards.get("cohort")), None)
    return cohort.published.get("cells", 0) if cohort else 0


def megabytes(base, per_cell=0):
    """Memory, doubled once after a cluster killed a job: a job may also start again for time.

    `per_cell`: bytes more for each published cell of the job's cohort.
    """
    more = lambda wildcards: per_cell * published_cells(wildcards) // 10**6
    return lambda wildcards, attempt: (base + more(wildcards)) * min(attempt, 2)


def minutes(base):
    """Time, doubled once for the next attempt. A training needs none: the next job goes on."""
    return lambda wildcards, attempt: base * min(attempt, 2)


def refuse_a_missing_cluster():
    """Say in one sentence that SLURM or a partition is not there, instead of once per job."""
    if workflow.executor_plugin.name != "slurm":
        return
    jobs = workflow.dag.needrun_jobs()
    asked = {job.rule.name: job.resources.get("slurm_partition") for job in jobs}
    try:
        check_slurm({rule: partition for rule, partition in asked.items() if partition})
        refuse_orphans(jobs_of(os.getcwd()))
    except InputError as error:
        raise WorkflowError(str(error))


def claim_results():
    """Refuse places that cannot be written to and a folder of another kind; name changes."""
    jobs = workflow.dag.needrun_jobs()
    try:
        refuse_unwritable({f: job.rule.name for job in jobs for f in (*job.output, *job.log)})
        changed = claim_folder(R, config)
    except InputError as error:
        raise WorkflowError(str(error))
    if changed:
        logger.info(said(R, changed))


def refuse_the_future():
    """Name an input that a wrong clock has dated ahead.

    Snakemake would run its job, hold the output for outdated and remove it: days of a training.
    """
    if workflow.executor_plugin.name == "touch":
        return
    for path in {path for job in workflow.dag.needrun_jobs() for path in job.input}:
        stamp = os.path.join(path, ".snakemake_timestamp")
        dated = stamp if os.path.exists(stamp) else path
        ahead = os.path.getmtime(dated) - time.time() if os.path.exists(dated) else 0
        if ahead > 60:
            made = path.startswith((R, config["archives"]))
            anew = "the same command with --touch --forceall" if made else f"touch {path}"
            raise WorkflowError(
                f"{path}: written in {ahead / 3600:.0f} h by the clock of this machine; correct the "
                f"clock if it is wrong, then date what was written anew: {anew}"
            )


def cohort_folder(cohort):
    return f"{R}/cohorts/{cohort}"


def prepared(cohort, root=R):
    """Files that say: this cohort is ready for a model; `root` holds what rules made of it."""
    folder = f"{root}/cohorts/{cohort}"
    files = [
        "metadata/tissues.parquet",
        "sub_images.parquet",
        "imc/channels.parquet",
        "model_ready",
    ]
    masks = expand(f"{root}/ingest/{cohort}/{{kind}}_masks", kind=["tissue", "cell"])
    return [*(f"{folder}/{file}" for file in files), *masks]


def model_name(wildcards, cohort=None):
    """The training that the model in question comes from; CA-MAE has one for each cohort."""
    cohort = cohort or wildcards.get("cohort")
    return STUDY.rivals.folder(wildcards.model, cohort) or wildcards.model


def model_files(wildcards, cohort=None):
    """Weights and configuration of the model in question; a baseline has none."""
    if wildcards.model == "resnet50":
        return [] if RESNET_WEIGHTS == "seeded" else [RESNET_FILE]
    name = model_name(wildcards, cohort)
    if name in INSTANCES or name in TRAININGS:
        return expand(f"{R}/models/{name}/{{file}}", file=["model.safetensors", "config.json"])
    return []


def given_file(weights):
    """The file that given weights are, or the record beside those that the authors published."""
    return f"{config['archives']}/published/retrieved.json" if weights == PUBLISHED else weights


def probed_files(model, path):
    """Return the files called `path` of the cohorts on which a model's tokens are probed."""
    return expand(path, cohort=list(dict.fromkeys(cohort for cohort, _ in PROBED[model])))


def transfer_tokens(wildcards):
    """Cell tokens of the two cohorts of a label transfer; columns with names need no embedding."""
    if wildcards.model in SHARED_MODELS:
        return [f"{R}/tasks/transfer/{wildcards.model}/tokens"]
    return [f"{R}/embeddings/{wildcards.model}/{cohort}" for cohort in PAIR]


def panel_rival(wildcards):
    """What CA-MAE reads of a panel, and the folder of its training; None where there is none."""
    training, panel = PANEL_RIVALS.get(wildcards.model, (None, None))
    return training and {"folder": f"{R}/models/{training}", "panel": panel}


def panel_rival_files(wildcards):
    """Weights and configuration of the CA-MAE that reads a panel, if there is one."""
    rival = panel_rival(wildcards)
    if rival is None:
        return []
    return [f"{rival['folder']}/{name}" for name in ("model.safetensors", "config.json")]


def embed_settings(wildcards):
    """Sizes of crops, and of a rival its own settings."""
    settings = config["embed"] | {"patch": config["model"]["patch"]}
    rival = config["rivals"].get(wildcards.model)
    if rival is None:
        return settings
    # What a rival was trained with stands beside its weights.
    fitted = ("side", "scaling", "sha256", "components", "fit_niches", "seed")
    weights = {"weights": RESNET_FILE} if wildcards.model == "resnet50" else {}
    return settings | weights | {"rival": {k: rival[k] for k in fitted if k in rival}}


def rival_settings(wildcards):
    """Settings of a rival's training: its own, and `pretrain` where it has none."""
    rival = config["rivals"][TRAININGS[wildcards.training][0]]
    own = {key: value for key, value in rival["training"].items() if value is not None}
    return {k: v for k, v in config["pretrain"].items() if k not in OPERATION} | own


def rival_model(wildcards):
    """What a rival is: its settings but for those of training and evaluation."""
    rival = config["rivals"][TRAININGS[wildcards.training][0]]
    other = ("cohorts", "training", "components", "fit_niches", "seed", "nucleus_in_some")
    return {key: value for key, value in rival.items() if key not in other}


def local_sources(cohort):
    """Files of this machine that retrieving a cohort reads; the simulator's are its record."""
    return [os.path.relpath(path) for path in cohort.local_files]


def cohort_sources(cohort):
    """What ingesting a cohort reads: its YAML file and, unless it is on disk, the archive.

    Jobs follow what the file says of the data, `computed`, and not the file: another word in its
    remarks would repeat every training with it.
    """
    sources = {"cohort": ancient(cohort.path)}
    if cohort.folder is None:
        sources["retrieved"] = f"{config['archives']}/{cohort.id}/retrieved.json"
    return sources


def new_labels(wildcards):
    """The re-annotated labels of a cohort whose verified images are listed; else nothing."""
    cohort = STUDY.cohorts[wildcards.cohort]
    if cohort.verified_images(config["archives"]) is None:
        return {}
    return {"reannotated": f"{R}/ingest/{cohort.id}/reannotated.parquet"}


def label_map_files(cohort):
    """Return the files that a table of classes is made of; none for a cohort that is not here."""
    here = next((c for c in COHORTS if c.removeprefix("sim_") == cohort), None)
    if here is None:
        return {}
    cells = f"{R}/cohorts/{here}/metadata/cells.parquet"
    return {"card": STUDY.cohorts[here].path, "cells": cells}


def marker_sources(wildcards, fasta=f"{R}/markers/sequences.fasta"):
    """What marker embeddings are made of: a ready table, or sequences and ESM-2's weights."""
    markers = config["markers"]
    if markers["source"] == "table":
        return {"table": markers["table"]}
    sources = {"sequences": fasta}
    if markers["esm2"]["weights"] != "seeded":
        sources["weights"] = ESM2_FILE if ESM2_URL else markers["esm2"]["weights"]
    return sources


def of_figure(heading):
    """Numbers of the targets under a heading of figures.yaml; drawings have none."""
    ids = [t["id"] for t in TARGETS.values() if t["figure"].startswith(heading)]
    return [f"{R}/figures/{target}/numbers.json" for target in ids if target in NUMBERED]
