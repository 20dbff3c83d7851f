# Patch, niche, cell and tissue tokens of every model.


rule embed:
    input:
        weights=model_files,
        embeddings=f"{R}/markers/embeddings.safetensors",
        cohort=lambda w: prepared(w.cohort),
    output:
        directory(f"{R}/embeddings/{{model}}/{{cohort}}"),
    log:
        f"{LOGS}/embed/{{model}}_{{cohort}}.log",
    benchmark:
        f"{BENCH}/embed/{{model}}_{{cohort}}.tsv"
    threads: config["embed"]["threads"]
    resources:
        gpu=gpus,
        mem_mb=megabytes(32000 if config["device"] == "cuda" else 4000),
        runtime=minutes(24 * 60),
    params:
        code=code("workflow_scripts/embed/embed.py"),
        settings=embed_settings,
        min_coverage=config["tissue"]["min_coverage"],
        device=config["device"],
        cohort_folder=lambda w: cohort_folder(w.cohort),
        model_folder=lambda w: f"{R}/models/{model_name(w)}",
    message:
        "Embedding {wildcards.cohort} with {wildcards.model}"
    script:
        "../workflow_scripts/embed/embed.py"
