# Hidden patches filled in: sums of every marker, examples, and the panels of Figure 2.
RECONSTRUCTION = dict(
    crop=config["pretrain"]["crop"],
    patch=config["model"]["patch"],
    mask_ratio=config["pretrain"]["mask_ratio"],
    batch=config["embed"]["batch"],
    stride=config["embed"]["stride"],
)


# Baselines have no decoder.
rule reconstruct:
    input:
        weights=model_files,
        embeddings=f"{R}/markers/embeddings.safetensors",
        cohort=lambda w: prepared(w.cohort),
    output:
        moments=f"{R}/tasks/reconstruction/{{model}}/{{cohort}}/moments.parquet",
        scores=f"{R}/tasks/reconstruction/{{model}}/{{cohort}}/scores.parquet",
    log:
        f"{LOGS}/reconstruct/{{model}}_{{cohort}}.log",
    benchmark:
        f"{BENCH}/reconstruct/{{model}}_{{cohort}}.tsv"
    wildcard_constraints:
        model="|".join(INSTANCES),
    threads: config["reconstruction"]["threads"]
    resources:
        gpu=gpus,
        mem_mb=megabytes(32000 if config["device"] == "cuda" else 4000),
        runtime=24 * 60,
    params:
        code=code("workflow_scripts/reconstruction/reconstruct.py"),
        settings=RECONSTRUCTION,
        seeds=SEEDS,
        min_coverage=config["tissue"]["min_coverage"],
        device=config["device"],
        cohort_folder=lambda w: cohort_folder(w.cohort),
        model_folder=f"{R}/models/{{model}}",
    message:
        "Reconstructing {wildcards.cohort} with {wildcards.model}"
    script:
        "../workflow_scripts/reconstruction/reconstruct.py"


rule reconstruct_examples:
    input:
        weights=model_files,
        embeddings=f"{R}/markers/embeddings.safetensors",
        markers="resources/markers.csv",
        scores=expand(
            f"{R}/tasks/reconstruction/{{{{model}}}}/{{cohort}}/scores.parquet",
            cohort=COHORTS,
        ),
    output:
        independent=f"{R}/tasks/reconstruction/{{model}}/example_independent.npz",
        marker=f"{R}/tasks/reconstruction/{{model}}/example_marker.npz",
        niche=f"{R}/tasks/reconstruction/{{model}}/example_niche.npz",
    log:
        f"{LOGS}/reconstruct_examples/{{model}}.log",
    benchmark:
        f"{BENCH}/reconstruct_examples/{{model}}.tsv"
    threads: config["reconstruction"]["threads"]
    resources:
        gpu=gpus,
        mem_mb=megabytes(16000 if config["device"] == "cuda" else 4000),
        runtime=60,
    params:
        code=code("workflow_scripts/reconstruction/reconstruct_examples.py"),
        settings=RECONSTRUCTION,
        examples=config["reconstruction"]["examples"],
        side=config["reconstruction"]["example_side"],
        seeds=SEEDS,
        device=config["device"],
        cohort_folders=[cohort_folder(cohort) for cohort in COHORTS],
        model_folder=f"{R}/models/{{model}}",
    message:
        "Choosing and reconstructing example crops with {wildcards.model}"
    script:
        "../workflow_scripts/reconstruction/reconstruct_examples.py"


rule fig2a:
    input:
        example=f"{R}/tasks/reconstruction/{VIRTUES}/example_independent.npz",
        metrics=f"{R}/models/{VIRTUES}/metrics.json",
    output:
        numbers=f"{R}/figures/fig2a/numbers.json",
    log:
        f"{LOGS}/figures/fig2a.log",
    benchmark:
        f"{BENCH}/figures/fig2a.tsv"
    resources:
        mem_mb=megabytes(2000),
        runtime=10,
    params:
        code=code("workflow_scripts/reconstruction/draw_examples.py"),
        target=TARGETS["fig2a"],
        strategy="independent",
        seeds=SEEDS,
        simulated=config["simulated"],
    message:
        "Drawing fig2a"
    script:
        "../workflow_scripts/reconstruction/draw_examples.py"


use rule fig2a as fig2b with:
    input:
        example=f"{R}/tasks/reconstruction/{VIRTUES}/example_marker.npz",
        metrics=f"{R}/models/{VIRTUES}/metrics.json",
    output:
        numbers=f"{R}/figures/fig2b/numbers.json",
    log:
        f"{LOGS}/figures/fig2b.log",
    benchmark:
        f"{BENCH}/figures/fig2b.tsv"
    params:
        code=code("workflow_scripts/reconstruction/draw_examples.py"),
        target=TARGETS["fig2b"],
        strategy="marker",
        seeds=SEEDS,
        simulated=config["simulated"],
    message:
        "Drawing fig2b"


use rule fig2a as fig2c with:
    input:
        example=f"{R}/tasks/reconstruction/{VIRTUES}/example_niche.npz",
        metrics=f"{R}/models/{VIRTUES}/metrics.json",
    output:
        numbers=f"{R}/figures/fig2c/numbers.json",
    log:
        f"{LOGS}/figures/fig2c.log",
    benchmark:
        f"{BENCH}/figures/fig2c.tsv"
    params:
        code=code("workflow_scripts/reconstruction/draw_examples.py"),
        target=TARGETS["fig2c"],
        strategy="niche",
        seeds=SEEDS,
        simulated=config["simulated"],
    message:
        "Drawing fig2c"


rule fig2d:
    input:
        moments=expand(
            f"{R}/tasks/reconstruction/{VIRTUES}/{{cohort}}/moments.parquet",
            cohort=COHORTS,
        ),
        metrics=f"{R}/models/{VIRTUES}/metrics.json",
    output:
        numbers=f"{R}/figures/fig2d/numbers.json",
    log:
        f"{LOGS}/figures/fig2d.log",
    benchmark:
        f"{BENCH}/figures/fig2d.tsv"
    resources:
        mem_mb=megabytes(4000),
        runtime=60,
    params:
        code=code("workflow_scripts/reconstruction/fig2d.py"),
        target=TARGETS["fig2d"],
        bootstrap=config["reconstruction"]["bootstrap"],
        compared=COMPARED,
        seeds=SEEDS,
        simulated=config["simulated"],
    message:
        "Drawing fig2d"
    script:
        "../workflow_scripts/reconstruction/fig2d.py"
