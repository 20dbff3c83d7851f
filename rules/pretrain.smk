# Training of every instance, each its own run.
# Keys of `pretrain` that say how a run is operated. They change no number, so they retrain nothing:
# the script reads them from the configuration.
OPERATION = (
    "processes",
    "nodes",
    "workers",
    "threads",
    "micro_batch",
    "compile",
    "checkpoint_minutes",
    "log_every",
    "tensorboard",
)


rule pretrain:
    input:
        embeddings=f"{R}/markers/embeddings.safetensors",
        cohorts=lambda w: [path for c in STUDY.instances[w.instance] for path in prepared(c)],
    output:
        weights=f"{R}/models/{{instance}}/model.safetensors",
        config=f"{R}/models/{{instance}}/config.json",
        metrics=f"{R}/models/{{instance}}/metrics.json",
    log:
        f"{LOGS}/pretrain/{{instance}}.log",
    benchmark:
        f"{BENCH}/pretrain/{{instance}}.tsv"
    wildcard_constraints:
        instance=one_of(i for i in INSTANCES if i not in STUDY.given),
    threads: config["pretrain"]["processes"] * config["pretrain"]["threads"]
    resources:
        **training_place(),
        mem_mb=training_memory(),
        runtime=7 * 24 * 60 if config["device"] == "cuda" else 120,
    params:
        code=code("workflow_scripts/pretrain/pretrain.py"),
        settings={k: v for k, v in config["pretrain"].items() if k not in OPERATION},
        model=config["model"],
        panel=lambda w: STUDY.panels[w.instance],
        device=config["device"],
        cohort_folders=lambda w: [cohort_folder(c) for c in STUDY.instances[w.instance]],
        # Kept beside the outputs, which a failed job loses; a resubmitted job goes on from here.
        checkpoint_folder=f"{R}/checkpoints/{{instance}}",
        tensorboard_folder=f"{R}/tensorboard/{{instance}}",
    message:
        "Pretraining {wildcards.instance}"
    script:
        "../workflow_scripts/pretrain/pretrain.py"


rule given_weights:
    input:
        weights=lambda w: given_file(STUDY.given[w.instance]),
        embeddings=f"{R}/markers/embeddings.safetensors",
    output:
        weights=f"{R}/models/{{instance}}/model.safetensors",
        config=f"{R}/models/{{instance}}/config.json",
        metrics=f"{R}/models/{{instance}}/metrics.json",
    log:
        f"{LOGS}/given_weights/{{instance}}.log",
    benchmark:
        f"{BENCH}/given_weights/{{instance}}.tsv"
    wildcard_constraints:
        instance=one_of(STUDY.given),
    resources:
        mem_mb=megabytes(2000),
        runtime=minutes(10),
    params:
        code=code("workflow_scripts/pretrain/given_weights.py"),
        cohorts=lambda w: STUDY.instances[w.instance],
        model=config["model"],
    message:
        "Taking the given weights of {wildcards.instance}"
    script:
        "../workflow_scripts/pretrain/given_weights.py"


# The authors' own weights, to set ours beside; nothing of `all` needs them.
localrules:
    retrieve_published,


rule retrieve_published:
    output:
        retrieved=f"{config['archives']}/published/retrieved.json",
    log:
        f"{LOGS}/retrieve_published.log",
    benchmark:
        f"{BENCH}/retrieve_published.tsv"
    resources:
        downloads=1,
        mem_mb=megabytes(1000),
        runtime=minutes(120),
    params:
        code=code("workflow_scripts/pretrain/retrieve_published.py"),
        published=config["published"],
    message:
        "Retrieving the published weights"
    script:
        "../workflow_scripts/pretrain/retrieve_published.py"


rule loss_curves:
    input:
        metrics=expand(f"{R}/models/{{instance}}/metrics.json", instance=INSTANCES),
    output:
        numbers=f"{R}/figures/loss_curves/numbers.json",
    log:
        f"{LOGS}/figures/loss_curves.log",
    benchmark:
        f"{BENCH}/figures/loss_curves.tsv"
    resources:
        mem_mb=megabytes(2000),
        runtime=minutes(10),
    params:
        code=code("workflow_scripts/pretrain/loss_curves.py"),
        simulated=config["simulated"],
    message:
        "Drawing the losses of all trainings"
    script:
        "../workflow_scripts/pretrain/loss_curves.py"
