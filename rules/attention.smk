# What VirTues looks at: importance of markers, and attention over tissues (Suppl. Fig. 20).
ATTENTION = config["attention"]
INSPECTED = STUDY.cohorts.get(ATTENTION["cohort"])
INSPECTED_FOLDER = cohort_folder(ATTENTION["cohort"])
LOOKED_AT = f"{R}/tasks/attention"


if INSPECTED is None:
    NOT_RUN["figS20"] = STUDY.why_not(ATTENTION["cohort"])
elif "subtype" not in INSPECTED.tasks:
    NOT_RUN["figS20"] = f"{INSPECTED.id} has no task `subtype` in its cohort file"
else:

    rule attend:
        input:
            weights=expand(
                f"{R}/models/{VIRTUES}/{{file}}", file=["model.safetensors", "config.json"]
            ),
            embeddings=f"{R}/markers/embeddings.safetensors",
            cohort=prepared(ATTENTION["cohort"]),
            cells=f"{INSPECTED_FOLDER}/metadata/cells.parquet",
        output:
            importance=f"{LOOKED_AT}/importance.parquet",
            tissues=f"{LOOKED_AT}/tissues.parquet",
            maps=f"{LOOKED_AT}/maps.npz",
            facts=f"{LOOKED_AT}/facts.json",
        log:
            f"{LOGS}/attend.log",
        benchmark:
            f"{BENCH}/attend.tsv"
        threads: config["embed"]["threads"]
        resources:
            gpu=gpus,
            mem_mb=megabytes(32000 if config["device"] == "cuda" else 4000),
            runtime=minutes(24 * 60),
        params:
            code=code("workflow_scripts/attention/attend.py"),
            attention={
                key: ATTENTION[key]
                for key in ("label", "shown", "tumour", "regions", "fewest_cells", "fine_tune")
            },
            settings=config["embed"],
            min_coverage=config["tissue"]["min_coverage"],
            device=config["device"],
            cohort_folder=lambda w: INSPECTED_FOLDER,
            model_folder=lambda w: f"{R}/models/{VIRTUES}",
            task=INSPECTED.tasks["subtype"],
            where=f"{INSPECTED.id}: tasks.subtype",
            seed=SEEDS[0],
        message:
            "Reading what markers and tissues are looked at"
        script:
            "../workflow_scripts/attention/attend.py"

    rule figS20:
        input:
            importance=f"{LOOKED_AT}/importance.parquet",
            tissues=f"{LOOKED_AT}/tissues.parquet",
            maps=f"{LOOKED_AT}/maps.npz",
            facts=f"{LOOKED_AT}/facts.json",
            metrics=f"{R}/models/{VIRTUES}/metrics.json",
            cohort=prepared(ATTENTION["cohort"]),
            cells=f"{INSPECTED_FOLDER}/metadata/cells.parquet",
        output:
            numbers=f"{R}/figures/figS20/numbers.json",
        log:
            f"{LOGS}/figures/figS20.log",
        benchmark:
            f"{BENCH}/figures/figS20.tsv"
        resources:
            mem_mb=megabytes(4000),
            runtime=minutes(60),
        params:
            code=code("workflow_scripts/attention/figS20.py"),
            target=TARGETS["figS20"],
            cohort_folder=lambda w: INSPECTED_FOLDER,
            attention={key: ATTENTION[key] for key in ("label", "shown", "regions", "bootstrap")},
            side=config["embed"]["crop"],
            seed=SEEDS[0],
            simulated=config["simulated"],
        message:
            "Drawing figS20"
        script:
            "../workflow_scripts/attention/figS20.py"
