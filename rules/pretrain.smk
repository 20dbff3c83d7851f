# Training of every instance, each its own run.


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
    threads: config["pretrain"]["threads"]
    resources:
        gpu=gpus,
        mem_mb=megabytes(64000 if config["device"] == "cuda" else 4000),
        runtime=7 * 24 * 60 if config["device"] == "cuda" else 120,
    params:
        settings=config["pretrain"],
        model=config["model"],
        device=config["device"],
        cohort_folders=lambda w: [cohort_folder(c) for c in STUDY.instances[w.instance]],
        # Kept beside the outputs, which a failed job loses; a resubmitted job goes on from here.
        checkpoint_folder=f"{R}/checkpoints/{{instance}}",
        code=code_hash(
            "virtues_core",
            "workflow_scripts/common/training.py",
            "workflow_scripts/common/crops.py",
        ),
    message:
        "Pretraining {wildcards.instance}"
    script:
        "../workflow_scripts/pretrain/pretrain.py"
