# Cell types from tokens: linear probes of every model, and the figures that compare them.
LABELS = {c: config["cells"]["labels"].get(c, []) for c in COHORTS}
TASKS = [(cohort, label) for cohort in COHORTS for label in LABELS[cohort]]
# The first granularity of a cohort is the coarse one.
COARSE = [(cohort, labels[0]) for cohort, labels in LABELS.items() if labels]
# Labels that are given anew keep the archive's own beside them: (cohort, label) -> its own (T12).
TWINS = {
    (cohort, label): (cohort, f"{label}_published")
    for cohort, label in TASKS
    if label in STUDY.cohorts[cohort].relabelled(config["archives"])
}
# Rivals serve some cohorts, and one has no cell tokens.
SERVED = {m: [t for t in (*TASKS, *TWINS.values()) if (m, t[0]) in CELLS_EMBEDDED] for m in MODELS}
CELL_MODELS = [*dict.fromkeys(model for model, _ in CELLS_EMBEDDED), "mean_counts"]
# cohort -> the instance that left it out, and the one that was trained on it alone
LEFT_OUT = {
    instance["except"][0]: instance["name"]
    for instance in config["instances"]
    if len(instance.get("except", [])) == 1 and instance["name"] in INSTANCES
}
ALONE = {
    instance["cohorts"][0]: instance["name"]
    for instance in config["instances"]
    if set(instance) == {"name", "cohorts"}
    and instance["cohorts"] != "all"
    and len(instance["cohorts"]) == 1
    and instance["name"] in INSTANCES
}
BESIDE = [(i, c) for roles in (LEFT_OUT, ALONE) for c, i in roles.items() if LABELS.get(c)]
PROBED = {i: [task for task in TASKS if task[0] == c] for i, c in BESIDE}
PROBED |= {model: SERVED.get(model, [*TASKS, *TWINS.values()]) for model in CELL_MODELS}
CELL_FIGURES = dict(
    bootstrap=config["cells"]["bootstrap"], seed=SEEDS[0], simulated=config["simulated"]
)


rule count_cells:
    input:
        cohort=lambda w: prepared(w.cohort),
        images=f"{R}/ingest/{{cohort}}/images",
    output:
        directory(f"{R}/embeddings/mean_counts/{{cohort}}"),
    log:
        f"{LOGS}/count_cells/{{cohort}}.log",
    benchmark:
        f"{BENCH}/count_cells/{{cohort}}.tsv"
    resources:
        mem_mb=megabytes(8000 if config["device"] == "cuda" else 1000),
        runtime=minutes(12 * 60),
    params:
        code=code("workflow_scripts/cells/count_cells.py"),
        cohort_folder=lambda w: cohort_folder(w.cohort),
    message:
        "Averaging raw counts over the cells of {wildcards.cohort}"
    script:
        "../workflow_scripts/cells/count_cells.py"


rule probe_cells:
    input:
        embeddings=lambda w: probed_files(w.model, f"{R}/embeddings/{w.model}/{{cohort}}"),
        cells=lambda w: probed_files(w.model, f"{R}/cohorts/{{cohort}}/metadata/cells.parquet"),
        tissues=lambda w: probed_files(w.model, f"{R}/cohorts/{{cohort}}/metadata/tissues.parquet"),
    output:
        counts=f"{R}/tasks/cells/{{model}}.parquet",
        facts=f"{R}/tasks/cells/{{model}}.json",
    log:
        f"{LOGS}/probe_cells/{{model}}.log",
    benchmark:
        f"{BENCH}/probe_cells/{{model}}.tsv"
    wildcard_constraints:
        model="|".join(PROBED),
    threads: config["embed"]["threads"]
    resources:
        mem_mb=megabytes(4000 + config["cells"]["memory_mb"]),
        runtime=minutes(24 * 60),
    params:
        code=code("workflow_scripts/cells/probe_cells.py"),
        tasks=lambda w: PROBED[w.model],
        settings={
            key: config["cells"][key] for key in ("regularisation", "max_iterations", "memory_mb")
        },
    message:
        "Probing cell types in tokens of {wildcards.model}"
    script:
        "../workflow_scripts/cells/probe_cells.py"


# Instances of the scaling analysis whose tokens no other figure needs.
PANELS = [
    panel["instance"]
    for panel in config["scaling"]["panels"]
    if panel["instance"] in INSTANCES
    and panel["instance"] not in PROBED
    and config["scaling"]["cohort"] in COHORTS
]


# CA-MAE beside an instance of a panel: probed in the same job, from weights of its own.
PANEL_RIVALS = {i: STUDY.panel_rivals[i] for i in PANELS if i in STUDY.panel_rivals}
RIVAL_PROBES = {kind: f"{R}/tasks/cells/camae_{{model}}.{kind}" for kind in ("parquet", "json")}


rule probe_panel:
    input:
        weights=model_files,
        rival=panel_rival_files,
        embeddings=f"{R}/markers/embeddings.safetensors",
        cohort=prepared(config["scaling"]["cohort"]),
        cells=f"{cohort_folder(config['scaling']['cohort'])}/metadata/cells.parquet",
    output:
        **(
            {"rival_counts": RIVAL_PROBES["parquet"], "rival_facts": RIVAL_PROBES["json"]}
            if PANEL_RIVALS
            else {}
        ),
        counts=f"{R}/tasks/cells/{{model}}.parquet",
        facts=f"{R}/tasks/cells/{{model}}.json",
    log:
        f"{LOGS}/probe_panel/{{model}}.log",
    benchmark:
        f"{BENCH}/probe_panel/{{model}}.tsv"
    wildcard_constraints:
        model=one_of(PANELS),
    threads: config["embed"]["threads"]
    resources:
        gpu=gpus,
        mem_mb=megabytes(
            (32000 if config["device"] == "cuda" else 4000) + config["cells"]["memory_mb"]
        ),
        runtime=minutes(48 * 60),
    params:
        code=code("workflow_scripts/cells/probe_panel.py"),
        tasks=[(config["scaling"]["cohort"], label) for label in config["scaling"]["labels"]],
        settings={
            key: config["cells"][key] for key in ("regularisation", "max_iterations", "memory_mb")
        },
        embed=config["embed"],
        rival=panel_rival,
        device=config["device"],
        cohort_folder=lambda w: cohort_folder(config["scaling"]["cohort"]),
        model_folder=lambda w: f"{R}/models/{w.model}",
    message:
        "Probing cell types in tokens of {wildcards.model}"
    script:
        "../workflow_scripts/cells/probe_panel.py"


FINE = {
    author: [t for t in TASKS if t[0].removeprefix("sim_") == author and t not in COARSE]
    for author in ("cords2024", "wang2023")
}


rule fig3b:
    input:
        counts=expand(f"{R}/tasks/cells/{{model}}.parquet", model=[*CELL_MODELS, *ALONE.values()]),
        cells=[f"{R}/cohorts/{c}/metadata/cells.parquet" for c, _ in COARSE],
        verified=[f"{R}/ingest/{c}/reannotated.json" for c in {c for c, _ in TWINS}],
        metrics=[
            f"{R}/models/{model}/metrics.json"
            for model in [*INSTANCES, *TRAININGS]
            if model in [*MODELS, *ALONE.values()] or model.startswith("camae_")
        ],
    output:
        numbers=f"{R}/figures/fig3b/numbers.json",
    log:
        f"{LOGS}/figures/fig3b.log",
    benchmark:
        f"{BENCH}/figures/fig3b.tsv"
    resources:
        mem_mb=megabytes(8000 if config["device"] == "cuda" else 2000),
        runtime=minutes(60),
    params:
        **CELL_FIGURES,
        code=code("workflow_scripts/cells/draw_probes.py"),
        target=TARGETS["fig3b"],
        tasks=COARSE,
        all_tasks=TASKS,
        published=[t for t in TWINS.items() if t[0] in COARSE],
        models=CELL_MODELS,
        alone=ALONE,
    message:
        "Drawing fig3b"
    script:
        "../workflow_scripts/cells/draw_probes.py"


use rule fig3b as figS16 with:
    input:
        counts=expand(f"{R}/tasks/cells/{{model}}.parquet", model=CELL_MODELS),
        cells=[f"{R}/cohorts/{c}/metadata/cells.parquet" for c, _ in FINE["cords2024"]],
        metrics=[f"{R}/models/{model}/metrics.json" for model in MODELS if model in INSTANCES],
    output:
        numbers=f"{R}/figures/figS16/numbers.json",
    log:
        f"{LOGS}/figures/figS16.log",
    benchmark:
        f"{BENCH}/figures/figS16.tsv"
    params:
        **CELL_FIGURES,
        code=code("workflow_scripts/cells/draw_probes.py"),
        target=TARGETS["figS16"],
        tasks=FINE["cords2024"],
        models=CELL_MODELS,
        alone={},
    message:
        "Drawing figS16"


use rule fig3b as figS17 with:
    input:
        counts=expand(f"{R}/tasks/cells/{{model}}.parquet", model=CELL_MODELS),
        cells=[f"{R}/cohorts/{c}/metadata/cells.parquet" for c, _ in FINE["wang2023"]],
        metrics=[f"{R}/models/{model}/metrics.json" for model in MODELS if model in INSTANCES],
    output:
        numbers=f"{R}/figures/figS17/numbers.json",
    log:
        f"{LOGS}/figures/figS17.log",
    benchmark:
        f"{BENCH}/figures/figS17.tsv"
    params:
        **CELL_FIGURES,
        code=code("workflow_scripts/cells/draw_probes.py"),
        target=TARGETS["figS17"],
        tasks=FINE["wang2023"],
        models=CELL_MODELS,
        alone={},
    message:
        "Drawing figS17"


rule figS15:
    input:
        cells=[f"{R}/cohorts/{c}/metadata/cells.parquet" for c, _ in TASKS],
        tissues=[f"{R}/cohorts/{c}/metadata/tissues.parquet" for c, _ in TASKS],
    output:
        numbers=f"{R}/figures/figS15/numbers.json",
    log:
        f"{LOGS}/figures/figS15.log",
    benchmark:
        f"{BENCH}/figures/figS15.tsv"
    resources:
        mem_mb=megabytes(8000 if config["device"] == "cuda" else 1000),
        runtime=minutes(30),
    params:
        code=code("workflow_scripts/cells/figS15.py"),
        target=TARGETS["figS15"],
        tasks=TASKS,
        simulated=config["simulated"],
    message:
        "Drawing figS15"
    script:
        "../workflow_scripts/cells/figS15.py"


# The cohort of Fig. 3c is Danenberg; a study without its instance takes the one that it has.
SINGLE = [(c, i) for c, i in ALONE.items() if LABELS.get(c)][:1]


rule fig3c:
    input:
        counts=[f"{R}/tasks/cells/{m}.parquet" for _, i in SINGLE for m in (VIRTUES, i)],
        metrics=[f"{R}/models/{m}/metrics.json" for _, i in SINGLE for m in (VIRTUES, i)],
    output:
        numbers=f"{R}/figures/fig3c/numbers.json",
    log:
        f"{LOGS}/figures/fig3c.log",
    benchmark:
        f"{BENCH}/figures/fig3c.tsv"
    resources:
        mem_mb=megabytes(2000),
        runtime=minutes(30),
    params:
        **CELL_FIGURES,
        code=code("workflow_scripts/cells/fig3c.py"),
        target=TARGETS["fig3c"],
        tasks=[(c, label) for c, _ in SINGLE for label in LABELS[c][:1]],
        models=[m for _, i in SINGLE for m in (VIRTUES, i)],
    message:
        "Drawing fig3c"
    script:
        "../workflow_scripts/cells/fig3c.py"


UNSEEN = [(c, label, LEFT_OUT[c]) for c, label in COARSE if c in LEFT_OUT]


rule fig3d:
    input:
        counts=[f"{R}/tasks/cells/{m}.parquet" for m in (VIRTUES, *(i for *_, i in UNSEEN))],
        metrics=[f"{R}/models/{m}/metrics.json" for m in (VIRTUES, *(i for *_, i in UNSEEN))],
    output:
        numbers=f"{R}/figures/fig3d/numbers.json",
    log:
        f"{LOGS}/figures/fig3d.log",
    benchmark:
        f"{BENCH}/figures/fig3d.tsv"
    resources:
        mem_mb=megabytes(2000),
        runtime=minutes(30),
    params:
        **CELL_FIGURES,
        code=code("workflow_scripts/cells/fig3d.py"),
        target=TARGETS["fig3d"],
        tasks=UNSEEN,
        virtues=VIRTUES,
    message:
        "Drawing fig3d"
    script:
        "../workflow_scripts/cells/fig3d.py"


TRANSFER = config["cells"]["transfer"]
PAIR = (TRANSFER["source"], TRANSFER["target"])
NO_TRANSFER = ", ".join(c for c in PAIR if c not in COHORTS)
NO_TRANSFER = f"not among the cohorts of this study: {NO_TRANSFER}" if NO_TRANSFER else ""
# The instance without the target stands beside the one that has seen it (T6).
UNSEEN_TARGET = LEFT_OUT.get(PAIR[1])
# Whatever was trained on the source, or on no cohort in particular, can serve the target.
SHARED_MODELS = [m for m in MODELS if (m, PAIR[0]) in CELLS_EMBEDDED]
SHARED_MODELS = list(
    dict.fromkeys([*SHARED_MODELS[:1], *filter(None, [UNSEEN_TARGET]), *SHARED_MODELS[1:]])
)
TRANSFERRED = [] if NO_TRANSFER else [*SHARED_MODELS, "mean_counts"]
# Fig. 3f shows VirTues and KRONOS; mean intensities stand in while there is no KRONOS.
PICTURED = [m for m in (VIRTUES, "kronos", "mean_intensity") if m in TRANSFERRED][:2]


rule embed_shared:
    input:
        weights=lambda w: model_files(w, PAIR[0]),
        embeddings=f"{R}/markers/embeddings.safetensors",
        cohorts=lambda w: [path for cohort in PAIR for path in prepared(cohort)],
    output:
        directory(f"{R}/tasks/transfer/{{model}}/tokens"),
    log:
        f"{LOGS}/embed_shared/{{model}}.log",
    benchmark:
        f"{BENCH}/embed_shared/{{model}}.tsv"
    threads: config["embed"]["threads"]
    resources:
        gpu=gpus,
        mem_mb=megabytes(32000 if config["device"] == "cuda" else 4000),
        runtime=minutes(24 * 60),
    params:
        code=code("workflow_scripts/cells/embed_shared.py"),
        settings=embed_settings,
        device=config["device"],
        cohort_folders=[cohort_folder(cohort) for cohort in PAIR],
        model_folder=lambda w: f"{R}/models/{model_name(w, PAIR[0])}",
    message:
        "Embedding cells by shared markers with {wildcards.model}"
    script:
        "../workflow_scripts/cells/embed_shared.py"


rule transfer_labels:
    input:
        tokens=transfer_tokens,
        cells=[f"{R}/cohorts/{cohort}/metadata/cells.parquet" for cohort in PAIR],
        tissues=[f"{R}/cohorts/{cohort}/metadata/tissues.parquet" for cohort in PAIR],
    output:
        cells=f"{R}/tasks/transfer/{{model}}/cells.parquet",
        facts=f"{R}/tasks/transfer/{{model}}/facts.json",
    log:
        f"{LOGS}/transfer_labels/{{model}}.log",
    benchmark:
        f"{BENCH}/transfer_labels/{{model}}.tsv"
    wildcard_constraints:
        model="|".join([*SHARED_MODELS, "mean_counts"]),
    threads: config["embed"]["threads"]
    resources:
        mem_mb=megabytes(16000 if config["device"] == "cuda" else 2000),
        runtime=minutes(12 * 60),
    params:
        code=code("workflow_scripts/cells/transfer_labels.py"),
        settings=TRANSFER,
        seed=SEEDS[0],
        tokens=lambda w, input: os.path.commonpath(
            [path if w.model in SHARED_MODELS else os.path.dirname(path) for path in input.tokens]
        ),
        cohort_folders=[cohort_folder(cohort) for cohort in PAIR],
    message:
        "Transferring cell types with {wildcards.model}"
    script:
        "../workflow_scripts/cells/transfer_labels.py"


rule fig3f:
    input:
        cells=[f"{R}/tasks/transfer/{m}/cells.parquet" for m in PICTURED],
    output:
        numbers=f"{R}/figures/fig3f/numbers.json",
    log:
        f"{LOGS}/figures/fig3f.log",
    benchmark:
        f"{BENCH}/figures/fig3f.tsv"
    resources:
        mem_mb=megabytes(4000 if config["device"] == "cuda" else 2000),
        runtime=minutes(30),
    params:
        code=code("workflow_scripts/cells/fig3f.py"),
        target=TARGETS["fig3f"],
        reason=NO_TRANSFER,
        cohort_folder=cohort_folder(PAIR[1]),
        simulated=config["simulated"],
    message:
        "Drawing fig3f"
    script:
        "../workflow_scripts/cells/fig3f.py"


rule fig3g:
    input:
        cells=[f"{R}/tasks/transfer/{m}/cells.parquet" for m in TRANSFERRED],
        metrics=[f"{R}/models/{m}/metrics.json" for m in TRANSFERRED if m in INSTANCES],
    output:
        numbers=f"{R}/figures/fig3g/numbers.json",
    log:
        f"{LOGS}/figures/fig3g.log",
    benchmark:
        f"{BENCH}/figures/fig3g.tsv"
    resources:
        mem_mb=megabytes(4000 if config["device"] == "cuda" else 2000),
        runtime=minutes(30),
    params:
        **CELL_FIGURES,
        code=code("workflow_scripts/cells/fig3g.py"),
        target=TARGETS["fig3g"],
        settings=TRANSFER,
        reason=NO_TRANSFER,
        models=TRANSFERRED,
        unseen=UNSEEN_TARGET,
    message:
        "Drawing fig3g"
    script:
        "../workflow_scripts/cells/fig3g.py"


rule export_cells:
    input:
        embeddings=f"{R}/embeddings/{{model}}/{{cohort}}",
        cells=f"{R}/cohorts/{{cohort}}/metadata/cells.parquet",
        tissues=f"{R}/cohorts/{{cohort}}/metadata/tissues.parquet",
        channels=f"{R}/cohorts/{{cohort}}/imc/channels.parquet",
    output:
        cells=f"{R}/exports/{{model}}/{{cohort}}/cells.h5ad",
    log:
        f"{LOGS}/export_cells/{{model}}_{{cohort}}.log",
    benchmark:
        f"{BENCH}/export_cells/{{model}}_{{cohort}}.tsv"
    resources:
        mem_mb=megabytes(8000 if config["device"] == "cuda" else 2000),
        runtime=minutes(120),
    params:
        code=code("workflow_scripts/cells/export_cells.py"),
        simulated=config["simulated"],
    message:
        "Exporting the cells of {wildcards.cohort} in tokens of {wildcards.model}"
    script:
        "../workflow_scripts/cells/export_cells.py"


rule export:
    input:
        [f"{R}/exports/{model}/{cohort}/cells.h5ad" for model, cohort in CELLS_EMBEDDED],
    localrule: True
