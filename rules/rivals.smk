# Rivals: weights of ResNet-50, and trainings by the engine of VirTues.
RESNET_WEIGHTS = config["rivals"]["resnet50"]["weights"]  # URL | path | seeded
RESNET_URL = RESNET_WEIGHTS.startswith(("https://", "file://"))
RESNET_FILE = (
    f"{config['archives']}/resnet50/{Path(RESNET_WEIGHTS).name}" if RESNET_URL else RESNET_WEIGHTS
)


localrules:
    retrieve_resnet50,


if RESNET_URL:

    rule retrieve_resnet50:
        output:
            weights=RESNET_FILE,
        log:
            f"{LOGS}/retrieve_resnet50.log",
        benchmark:
            f"{BENCH}/retrieve_resnet50.tsv"
        resources:
            downloads=1,
            mem_mb=megabytes(1000),
            runtime=minutes(60),
        params:
            url=RESNET_WEIGHTS,
            sha256=config["rivals"]["resnet50"]["sha256"],
        message:
            "Retrieving the weights of ResNet-50"
        script:
            "../workflow_scripts/pretrain/retrieve_resnet50.py"


rule pretrain_rival:
    input:
        cohorts=lambda w: [path for c in TRAININGS[w.training][1] for path in prepared(c)],
    output:
        weights=f"{R}/models/{{training}}/model.safetensors",
        config=f"{R}/models/{{training}}/config.json",
        metrics=f"{R}/models/{{training}}/metrics.json",
    log:
        f"{LOGS}/pretrain_rival/{{training}}.log",
    benchmark:
        f"{BENCH}/pretrain_rival/{{training}}.tsv"
    wildcard_constraints:
        training="|".join(TRAININGS) or "none",
    threads: config["pretrain"]["processes"] * config["pretrain"]["threads"]
    resources:
        **training_place(),
        mem_mb=training_memory(),
        runtime=7 * 24 * 60 if config["device"] == "cuda" else 120,
    params:
        code=code("workflow_scripts/pretrain/pretrain_rival.py"),
        name=lambda w: TRAININGS[w.training][0],
        panel=lambda w: STUDY.rivals.panels.get(w.training),
        settings=rival_settings,
        rival=rival_model,
        device=config["device"],
        cohort_folders=lambda w: [cohort_folder(c) for c in TRAININGS[w.training][1]],
        # Kept beside the outputs, which a failed job loses; a resubmitted job goes on from here.
        checkpoint_folder=f"{R}/checkpoints/{{training}}",
        tensorboard_folder=f"{R}/tensorboard/{{training}}",
    message:
        "Pretraining the rival {wildcards.training}"
    script:
        "../workflow_scripts/pretrain/pretrain_rival.py"
