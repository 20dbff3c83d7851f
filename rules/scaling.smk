# Cost and performance by number of markers (Fig. 1e).
SCALING = config["scaling"]
FULL_PANEL = [i for i in INSTANCES if STUDY.panels[i] is None]
# Of the full panel the model that other figures show, too.
CAMAE_PROBED = "camae" if ("camae", SCALING["cohort"]) in CELLS_EMBEDDED else None
SCALED = [
    {
        "markers": panel["markers"],
        "virtues": panel["instance"],
        "camae": (
            CAMAE_PROBED
            if panel["instance"] in FULL_PANEL
            else f"camae_{panel['instance']}" if panel["instance"] in PANEL_RIVALS else None
        ),
        "training": PANEL_RIVALS.get(panel["instance"], [f"camae_{SCALING['cohort']}"])[0],
    }
    for panel in sorted(SCALING["panels"], key=lambda panel: panel["markers"])
]
SCALED_PROBES = [
    model
    for panel in SCALED
    for model in (panel["virtues"], panel["camae"])
    if model in [*PROBED, *PROBED_ALONE, *(f"camae_{instance}" for instance in PANEL_RIVALS)]
]


if SCALING["cohort"] not in COHORTS:
    # Costs need no data, but hours of a CPU at the paper's size: not for a study of other cohorts.
    NOT_RUN["fig1e"] = STUDY.why_not(SCALING["cohort"])
else:

    rule fig1e:
        input:
            counts=expand(f"{R}/tasks/cells/{{model}}.parquet", model=SCALED_PROBES),
            metrics=[
                f"{R}/models/{model}/metrics.json"
                for model in dict.fromkeys([*SCALED_PROBES, *(p["training"] for p in SCALED)])
                if model in [*INSTANCES, *TRAININGS]
            ],
        output:
            numbers=f"{R}/figures/fig1e/numbers.json",
        log:
            f"{LOGS}/figures/fig1e.log",
        benchmark:
            f"{BENCH}/figures/fig1e.tsv"
        threads: config["embed"]["threads"]
        resources:
            gpu=gpus,
            mem_mb=megabytes(64000 if config["device"] == "cuda" else 4000),
            runtime=minutes(120),
        params:
            code=code("workflow_scripts/scaling/fig1e.py"),
            target=TARGETS["fig1e"],
            panels=SCALED,
            cohort=SCALING["cohort"],
            labels=SCALING["labels"],
            camae=SCALING["camae"],
            run={key: SCALING[key] for key in ("batch", "warm_ups", "runs")}
            | {"side": config["pretrain"]["crop"]},
            device=config["device"],
            sizes={
                "virtues": config["model"],
                "camae": {
                    key: value
                    for key, value in config["rivals"]["camae"].items()
                    if key not in ("cohorts", "training", "mask_ratio", "fourier_weight")
                },
            },
            bootstrap=config["cells"]["bootstrap"],
            seed=SEEDS[0],
            simulated=config["simulated"],
        message:
            "Measuring and drawing fig1e"
        script:
            "../workflow_scripts/scaling/fig1e.py"
