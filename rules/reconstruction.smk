# Hidden patches filled in: sums of every marker, examples, and the panels of Figure 2.
RECONSTRUCTION = dict(
    crop=config["pretrain"]["crop"],
    patch=config["model"]["patch"],
    mask_ratio=config["pretrain"]["mask_ratio"],
    batch=config["embed"]["batch"],
    stride=config["embed"]["stride"],
)
SUMS = f"{R}/tasks/reconstruction"
# One cohort is also reconstructed by an instance that never saw it, unless something is missing.
ZERO_SHOT = STUDY.zero_shot
ZERO_SHOT_ABSENT = STUDY.zero_shot_absent()
UNSEEN = [] if ZERO_SHOT_ABSENT else [ZERO_SHOT["cohort"]]
SEEN = STUDY.instances.get(ZERO_SHOT["instance"], [])
ZERO_SHOT_MODELS = {"zero_shot": ZERO_SHOT["instance"], "in_domain": VIRTUES}
ZERO_SHOT_CHANNELS = expand(
    f"{R}/cohorts/{{cohort}}/imc/channels.parquet",
    cohort=[*UNSEEN, *SEEN] if UNSEEN else [],
)
ZERO_SHOT_METRICS = expand(
    f"{R}/models/{{model}}/metrics.json",
    model=ZERO_SHOT_MODELS.values() if UNSEEN else [],
)
# Targets that one job draws: those of a strategy, of a metric, and others.
EXAMPLES = {"fig2a": "independent", "fig2b": "marker", "fig2c": "niche"}
BY_MARKER = {"figS11": "pearson_r", "figS12": "f1"}
ZERO_SHOT_EXAMPLES = ["fig2g", "figS13", "figS14"]
MORE_EXAMPLES = [f"figS{number}" for number in range(2, 11)]


# Baselines have no decoder.
rule reconstruct:
    input:
        weights=model_files,
        embeddings=f"{R}/markers/embeddings.safetensors",
        cohort=lambda w: prepared(w.cohort),
    output:
        moments=f"{SUMS}/{{model}}/{{cohort}}/moments.parquet",
        scores=f"{SUMS}/{{model}}/{{cohort}}/scores.parquet",
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
        runtime=minutes(24 * 60),
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
            f"{SUMS}/{{{{model}}}}/{{cohort}}/scores.parquet",
            cohort=COHORTS,
        ),
    output:
        independent=f"{SUMS}/{{model}}/example_independent.npz",
        marker=f"{SUMS}/{{model}}/example_marker.npz",
        niche=f"{SUMS}/{{model}}/example_niche.npz",
    log:
        f"{LOGS}/reconstruct_examples/{{model}}.log",
    benchmark:
        f"{BENCH}/reconstruct_examples/{{model}}.tsv"
    threads: config["reconstruction"]["threads"]
    resources:
        gpu=gpus,
        mem_mb=megabytes(16000 if config["device"] == "cuda" else 4000),
        runtime=minutes(60),
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


rule draw_examples:
    input:
        examples=expand(f"{SUMS}/{VIRTUES}/example_{{strategy}}.npz", strategy=EXAMPLES.values()),
        metrics=f"{R}/models/{VIRTUES}/metrics.json",
    output:
        numbers=[f"{R}/figures/{target}/numbers.json" for target in EXAMPLES],
    log:
        f"{LOGS}/draw_examples.log",
    benchmark:
        f"{BENCH}/draw_examples.tsv"
    resources:
        mem_mb=megabytes(2000),
        runtime=minutes(10),
    params:
        code=code("workflow_scripts/reconstruction/draw_examples.py"),
        targets=[TARGETS[target] for target in EXAMPLES],
        strategies=list(EXAMPLES.values()),
        scale=config["reconstruction"]["example_scale"],
        seeds=SEEDS,
        simulated=config["simulated"],
    message:
        "Drawing an example of every masking strategy"
    script:
        "../workflow_scripts/reconstruction/draw_examples.py"


rule fig2d:
    input:
        moments=expand(
            f"{SUMS}/{VIRTUES}/{{cohort}}/moments.parquet",
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
        runtime=minutes(60),
    params:
        code=code("workflow_scripts/reconstruction/fig2d.py"),
        target=TARGETS["fig2d"],
        bootstrap=config["reconstruction"]["bootstrap"],
        # The paper's average is over the cohorts of pretraining.
        compared=[c for c in COMPARED if c in STUDY.instances[VIRTUES]],
        absent=STUDY.absent,
        seeds=SEEDS,
        simulated=config["simulated"],
    message:
        "Drawing fig2d"
    script:
        "../workflow_scripts/reconstruction/fig2d.py"


rule draw_markers:
    input:
        moments=expand(f"{SUMS}/{VIRTUES}/{{cohort}}/moments.parquet", cohort=COHORTS),
        metrics=f"{R}/models/{VIRTUES}/metrics.json",
    output:
        numbers=[f"{R}/figures/{target}/numbers.json" for target in BY_MARKER],
    log:
        f"{LOGS}/draw_markers.log",
    benchmark:
        f"{BENCH}/draw_markers.tsv"
    resources:
        mem_mb=megabytes(4000),
        runtime=minutes(60),
    params:
        code=code("workflow_scripts/reconstruction/draw_markers.py"),
        targets=[TARGETS[target] for target in BY_MARKER],
        metrics=list(BY_MARKER.values()),
        bootstrap=config["reconstruction"]["bootstrap"],
        absent=STUDY.absent,
        seeds=SEEDS,
        simulated=config["simulated"],
    message:
        "Drawing the scores of every marker"
    script:
        "../workflow_scripts/reconstruction/draw_markers.py"


rule draw_more_examples:
    input:
        independent=f"{SUMS}/{VIRTUES}/example_independent.npz",
        marker=f"{SUMS}/{VIRTUES}/example_marker.npz",
        niche=f"{SUMS}/{VIRTUES}/example_niche.npz",
        metrics=f"{R}/models/{VIRTUES}/metrics.json",
    output:
        numbers=[f"{R}/figures/{target}/numbers.json" for target in MORE_EXAMPLES],
    log:
        f"{LOGS}/draw_more_examples.log",
    benchmark:
        f"{BENCH}/draw_more_examples.tsv"
    resources:
        mem_mb=megabytes(4000),
        runtime=minutes(60),
    params:
        code=code("workflow_scripts/reconstruction/draw_more_examples.py"),
        targets=[TARGETS[target] for target in MORE_EXAMPLES],
        scale=config["reconstruction"]["example_scale"],
        cohorts=COHORTS,
        seeds=SEEDS,
        simulated=config["simulated"],
    message:
        "Drawing further examples of all cohorts"
    script:
        "../workflow_scripts/reconstruction/draw_more_examples.py"


rule zero_shot_examples:
    input:
        weights=expand(
            f"{R}/models/{{model}}/{{file}}",
            model=ZERO_SHOT_MODELS.values() if UNSEEN else [],
            file=["model.safetensors", "config.json"],
        ),
        embeddings=f"{R}/markers/embeddings.safetensors",
        markers="resources/markers.csv",
        channels=ZERO_SHOT_CHANNELS,
        scores=expand(f"{SUMS}/{ZERO_SHOT['instance']}/{{cohort}}/scores.parquet", cohort=UNSEEN),
    output:
        examples=f"{SUMS}/zero_shot_examples.npz",
    log:
        f"{LOGS}/zero_shot_examples.log",
    benchmark:
        f"{BENCH}/zero_shot_examples.tsv"
    threads: config["reconstruction"]["threads"]
    resources:
        gpu=gpus,
        mem_mb=megabytes(16000 if config["device"] == "cuda" else 4000),
        runtime=minutes(60),
    params:
        code=code("workflow_scripts/reconstruction/zero_shot_examples.py"),
        settings=RECONSTRUCTION,
        examples=ZERO_SHOT["examples"],
        side=config["reconstruction"]["example_side"],
        absent=ZERO_SHOT_ABSENT,
        cohort_folder=cohort_folder(ZERO_SHOT["cohort"]),
        seen=[cohort_folder(cohort) for cohort in SEEN],
        model_folders={name: f"{R}/models/{model}" for name, model in ZERO_SHOT_MODELS.items()},
        seeds=SEEDS,
        device=config["device"],
    message:
        "Reconstructing an example zero-shot and in-domain"
    script:
        "../workflow_scripts/reconstruction/zero_shot_examples.py"


rule draw_zero_shot:
    input:
        examples=f"{SUMS}/zero_shot_examples.npz",
        metrics=ZERO_SHOT_METRICS,
    output:
        numbers=[f"{R}/figures/{target}/numbers.json" for target in ZERO_SHOT_EXAMPLES],
    log:
        f"{LOGS}/draw_zero_shot.log",
    benchmark:
        f"{BENCH}/draw_zero_shot.tsv"
    resources:
        mem_mb=megabytes(2000),
        runtime=minutes(10),
    params:
        code=code("workflow_scripts/reconstruction/draw_zero_shot.py"),
        targets=[TARGETS[target] for target in ZERO_SHOT_EXAMPLES],
        scale=config["reconstruction"]["example_scale"],
        absent=ZERO_SHOT_ABSENT,
        seeds=SEEDS,
        simulated=config["simulated"],
    message:
        "Drawing zero-shot examples"
    script:
        "../workflow_scripts/reconstruction/draw_zero_shot.py"


# Each target of a job that draws several answers to its name.
for name in [*EXAMPLES, *BY_MARKER, *MORE_EXAMPLES, *ZERO_SHOT_EXAMPLES]:

    rule:
        name:
            name
        input:
            f"{R}/figures/{name}/numbers.json",
        localrule: True


rule fig2f:
    input:
        embeddings=f"{R}/markers/embeddings.safetensors",
        markers="resources/markers.csv",
        channels=ZERO_SHOT_CHANNELS,
    output:
        numbers=f"{R}/figures/fig2f/numbers.json",
    log:
        f"{LOGS}/figures/fig2f.log",
    benchmark:
        f"{BENCH}/figures/fig2f.tsv"
    resources:
        mem_mb=megabytes(4000),
        runtime=minutes(20),
    params:
        code=code("workflow_scripts/reconstruction/fig2f.py"),
        target=TARGETS["fig2f"],
        cohort=ZERO_SHOT["cohort"],
        examples=ZERO_SHOT["examples"],
        absent=ZERO_SHOT_ABSENT,
        cohort_folder=cohort_folder(ZERO_SHOT["cohort"]),
        seen=[cohort_folder(cohort) for cohort in SEEN],
        seed=SEEDS[0],
        simulated=config["simulated"],
    message:
        "Drawing fig2f"
    script:
        "../workflow_scripts/reconstruction/fig2f.py"


rule fig2h:
    input:
        zero_shot=expand(
            f"{SUMS}/{ZERO_SHOT['instance']}/{{cohort}}/moments.parquet", cohort=UNSEEN
        ),
        in_domain=expand(f"{SUMS}/{VIRTUES}/{{cohort}}/moments.parquet", cohort=UNSEEN),
        channels=ZERO_SHOT_CHANNELS,
        metrics=ZERO_SHOT_METRICS,
    output:
        numbers=f"{R}/figures/fig2h/numbers.json",
    log:
        f"{LOGS}/figures/fig2h.log",
    benchmark:
        f"{BENCH}/figures/fig2h.tsv"
    resources:
        mem_mb=megabytes(4000),
        runtime=minutes(60),
    params:
        code=code("workflow_scripts/reconstruction/fig2h.py"),
        target=TARGETS["fig2h"],
        cohort=ZERO_SHOT["cohort"],
        absent=ZERO_SHOT_ABSENT,
        seen=[cohort_folder(cohort) for cohort in SEEN],
        bootstrap=config["reconstruction"]["bootstrap"],
        seeds=SEEDS,
        simulated=config["simulated"],
    message:
        "Drawing fig2h"
    script:
        "../workflow_scripts/reconstruction/fig2h.py"
