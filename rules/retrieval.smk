# Similar tissues by optimal transport between their niche tokens (Fig. 4h-k, Suppl. Fig. 21).
RETRIEVAL = config["retrieval"]
SEARCHED = STUDY.cohorts.get(RETRIEVAL["cohort"])
SEARCHED_FOLDER = cohort_folder(RETRIEVAL["cohort"])
CELLS_SEARCHED = f"{SEARCHED_FOLDER}/metadata/cells.parquet"
MATCHING = [model for model, cohort in EMBEDDED if cohort == RETRIEVAL["cohort"]]
MATCHED = expand(f"{R}/tasks/retrieval/{{model}}/matches.parquet", model=MATCHING)
TRAINED = [f"{R}/models/{model}/metrics.json" for model in MATCHING if model in INSTANCES]
PIXELS = f"{R}/tasks/retrieval/pixel_distances.npz"

if SEARCHED is None:
    NO_SEARCH = STUDY.why_not(RETRIEVAL["cohort"])
    NOT_RUN |= dict.fromkeys(("fig4h", "fig4i", "fig4j", "fig4k", "figS21"), NO_SEARCH)
else:
    SEARCHED_TASKS = {task: SEARCHED.tasks[task] for task in RETRIEVED_FOR}

    rule embed_centres:
        input:
            weights=lambda w: model_files(w, RETRIEVAL["cohort"]),
            embeddings=f"{R}/markers/embeddings.safetensors",
            cohort=prepared(RETRIEVAL["cohort"]),
        output:
            tokens=f"{R}/tasks/retrieval/{{model}}/niches.npz",
        log:
            f"{LOGS}/embed_centres/{{model}}.log",
        benchmark:
            f"{BENCH}/embed_centres/{{model}}.tsv"
        threads: config["embed"]["threads"]
        resources:
            gpu=gpus,
            mem_mb=megabytes(32000 if config["device"] == "cuda" else 4000),
            runtime=minutes(12 * 60),
        params:
            code=code("workflow_scripts/retrieval/embed_centres.py"),
            settings=embed_settings,
            min_coverage=config["tissue"]["min_coverage"],
            device=config["device"],
            cohort_folder=lambda w: SEARCHED_FOLDER,
            model_folder=lambda w: f"{R}/models/{model_name(w, RETRIEVAL['cohort'])}",
            task=SEARCHED_TASKS["subtype"],
            where=f"{config['retrieval']['cohort']}: tasks.subtype",
        message:
            "Embedding the centre of every tissue with {wildcards.model}"
        script:
            "../workflow_scripts/retrieval/embed_centres.py"

    rule match_tissues:
        input:
            tokens=expand(f"{R}/tasks/retrieval/{{model}}/niches.npz", model=MATCHING),
            tissues=f"{SEARCHED_FOLDER}/metadata/tissues.parquet",
        output:
            matches=MATCHED,
            distances=expand(f"{R}/tasks/retrieval/{{model}}/distances.npz", model=MATCHING),
        log:
            f"{LOGS}/match_tissues.log",
        benchmark:
            f"{BENCH}/match_tissues.tsv"
        resources:
            mem_mb=megabytes(4000 if config["device"] == "cuda" else 1000),
            runtime=minutes(60),
        params:
            code=code("workflow_scripts/retrieval/match_tissues.py"),
            cohort_folder=lambda w: SEARCHED_FOLDER,
        message:
            "Matching tissues by the niche tokens of every model"
        script:
            "../workflow_scripts/retrieval/match_tissues.py"

    rule sketch_pixels:
        input:
            tokens=f"{R}/tasks/retrieval/{VIRTUES}/niches.npz",
            cohort=prepared(RETRIEVAL["cohort"]),
        output:
            distances=PIXELS,
        log:
            f"{LOGS}/sketch_pixels.log",
        benchmark:
            f"{BENCH}/sketch_pixels.tsv"
        threads: config["embed"]["threads"]
        resources:
            mem_mb=megabytes(16000 if config["device"] == "cuda" else 1000),
            runtime=minutes(12 * 60),
        params:
            code=code("workflow_scripts/retrieval/sketch_pixels.py"),
            cohort_folder=lambda w: SEARCHED_FOLDER,
            side=4 * config["embed"]["crop"],
            projections=RETRIEVAL["projections"],
            seed=SEEDS[0],
        message:
            "Measuring sliced Wasserstein distances between the pixels of tissues"
        script:
            "../workflow_scripts/retrieval/sketch_pixels.py"

    rule fig4h:
        input:
            matches=MATCHED,
            distances=f"{R}/tasks/retrieval/{VIRTUES}/distances.npz",
            metrics=TRAINED,
            tissues=f"{SEARCHED_FOLDER}/metadata/tissues.parquet",
        output:
            numbers=f"{R}/figures/fig4h/numbers.json",
        log:
            f"{LOGS}/figures/fig4h.log",
        benchmark:
            f"{BENCH}/figures/fig4h.tsv"
        resources:
            mem_mb=megabytes(2000),
            runtime=minutes(60),
        params:
            code=code("workflow_scripts/retrieval/fig4h.py"),
            target=TARGETS["fig4h"],
            cohort=RETRIEVAL["cohort"],
            cohort_folder=lambda w: SEARCHED_FOLDER,
            tasks=SEARCHED_TASKS,
            model=VIRTUES,
            bootstrap=RETRIEVAL["bootstrap"],
            seed=SEEDS[0],
            simulated=config["simulated"],
        message:
            "Drawing fig4h"
        script:
            "../workflow_scripts/retrieval/fig4h.py"

    rule fig4i:
        input:
            matches=MATCHED,
            distances=PIXELS,
            cells=CELLS_SEARCHED,
            metrics=TRAINED,
        output:
            numbers=f"{R}/figures/fig4i/numbers.json",
        log:
            f"{LOGS}/figures/fig4i.log",
        benchmark:
            f"{BENCH}/figures/fig4i.tsv"
        resources:
            mem_mb=megabytes(4000),
            runtime=minutes(60),
        params:
            code=code("workflow_scripts/retrieval/match_distance.py"),
            target=TARGETS["fig4i"],
            kind="composition",
            label=RETRIEVAL["label"],
            cohort=RETRIEVAL["cohort"],
            cohort_folder=lambda w: SEARCHED_FOLDER,
            model=VIRTUES,
            bootstrap=RETRIEVAL["bootstrap"],
            seed=SEEDS[0],
            simulated=config["simulated"],
        message:
            "Drawing fig4i"
        script:
            "../workflow_scripts/retrieval/match_distance.py"

    use rule fig4i as fig4j with:
        output:
            numbers=f"{R}/figures/fig4j/numbers.json",
        log:
            f"{LOGS}/figures/fig4j.log",
        benchmark:
            f"{BENCH}/figures/fig4j.tsv"
        params:
            code=code("workflow_scripts/retrieval/match_distance.py"),
            target=TARGETS["fig4j"],
            kind="raw",
            label=RETRIEVAL["label"],
            cohort=RETRIEVAL["cohort"],
            cohort_folder=lambda w: SEARCHED_FOLDER,
            model=VIRTUES,
            bootstrap=RETRIEVAL["bootstrap"],
            seed=SEEDS[0],
            simulated=config["simulated"],
        message:
            "Drawing fig4j"

    rule fig4k:
        input:
            matches=f"{R}/tasks/retrieval/{VIRTUES}/matches.parquet",
            metrics=f"{R}/models/{VIRTUES}/metrics.json",
            cells=CELLS_SEARCHED,
            cohort=prepared(RETRIEVAL["cohort"]),
        output:
            numbers=f"{R}/figures/fig4k/numbers.json",
        log:
            f"{LOGS}/figures/fig4k.log",
        benchmark:
            f"{BENCH}/figures/fig4k.tsv"
        resources:
            mem_mb=megabytes(4000),
            runtime=minutes(60),
        params:
            code=code("workflow_scripts/retrieval/case_studies.py"),
            target=TARGETS["fig4k"],
            cases=RETRIEVAL["cases"]["fig4k"],
            tasks=SEARCHED_TASKS,
            label=RETRIEVAL["label"],
            cohort=RETRIEVAL["cohort"],
            cohort_folder=lambda w: SEARCHED_FOLDER,
            simulated=config["simulated"],
        message:
            "Drawing fig4k"
        script:
            "../workflow_scripts/retrieval/case_studies.py"

    use rule fig4k as figS21 with:
        output:
            numbers=f"{R}/figures/figS21/numbers.json",
        log:
            f"{LOGS}/figures/figS21.log",
        benchmark:
            f"{BENCH}/figures/figS21.tsv"
        params:
            code=code("workflow_scripts/retrieval/case_studies.py"),
            target=TARGETS["figS21"],
            cases=RETRIEVAL["cases"]["figS21"],
            tasks=SEARCHED_TASKS,
            label=RETRIEVAL["label"],
            cohort=RETRIEVAL["cohort"],
            cohort_folder=lambda w: SEARCHED_FOLDER,
            simulated=config["simulated"],
        message:
            "Drawing figS21"
