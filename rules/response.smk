# Treatment response, and its signatures in a second cohort (Fig. 5a, b, i-k, Suppl. Fig. 23).
RESPONSE = config["response"]
RESPONDING = STUDY.cohorts.get(RESPONSE["cohort"])
RESPONSE_TASK = RESPONDING.tasks.get(RESPONSE["task"], {}) if RESPONDING else {}
NO_RESPONSE = "" if RESPONDING else STUDY.why_not(RESPONSE["cohort"])
if RESPONDING and "classes" not in RESPONSE_TASK:
    NO_RESPONSE = f"{RESPONDING.id} has no task {RESPONSE['task']} with classes"
# The first instance, and what its shifts are compared with.
SHIFTED = [m for m in (VIRTUES, RESPONSE["compared"]) if (m, RESPONSE["cohort"]) in CELLS_EMBEDDED]
NO_SHIFT = NO_RESPONSE
if VIRTUES not in SHIFTED and not NO_RESPONSE:
    NO_SHIFT = f"{VIRTUES} is not among the models of this study"
SHIFTS = f"{R}/tasks/response"
RESPONSE_PARAMS = dict(
    task=RESPONSE_TASK,
    where=f"{RESPONSE['cohort']}: tasks.{RESPONSE['task']}",
    cohort_folder=lambda w: cohort_folder(RESPONSE["cohort"]),
)
WHO = ("visit", "times", "patients", "per_protocol")
MEASURED = (*WHO, "epsilon", "epsilon_unit", "tolerance", "max_rounds", "share", "neighbours")


rule fig5a:
    input:
        tissues=[] if NO_RESPONSE else prepared(RESPONSE["cohort"])[0],
    output:
        numbers=f"{R}/figures/fig5a/numbers.json",
    log:
        f"{LOGS}/figures/fig5a.log",
    benchmark:
        f"{BENCH}/figures/fig5a.tsv"
    resources:
        mem_mb=megabytes(1000),
        runtime=minutes(30),
    params:
        **RESPONSE_PARAMS,
        code=code("workflow_scripts/biomarkers/fig5a.py"),
        target=TARGETS["fig5a"],
        settings={key: RESPONSE[key] for key in WHO},
        reason=NO_RESPONSE,
        simulated=config["simulated"],
    message:
        "Drawing fig5a"
    script:
        "../workflow_scripts/biomarkers/fig5a.py"


rule measure_response:
    input:
        tissues=f"{cohort_folder(RESPONSE['cohort'])}/metadata/tissues.parquet",
        embeddings=expand(f"{R}/embeddings/{{model}}/{RESPONSE['cohort']}", model=SHIFTED),
    output:
        shifts=f"{SHIFTS}/shifts.parquet",
        points=f"{SHIFTS}/points.parquet",
        barycentres=f"{SHIFTS}/barycentres.parquet",
        facts=f"{SHIFTS}/facts.json",
    log:
        f"{LOGS}/measure_response.log",
    benchmark:
        f"{BENCH}/measure_response.tsv"
    threads: config["embed"]["threads"]
    resources:
        gpu=gpus,
        mem_mb=megabytes(16000 if config["device"] == "cuda" else 2000),
        runtime=minutes(24 * 60),
    params:
        **RESPONSE_PARAMS,
        code=code("workflow_scripts/biomarkers/measure_response.py"),
        settings={key: RESPONSE[key] for key in (*MEASURED, "barycentre_points")},
        device=config["device"],
        seed=SEEDS[0],
    message:
        "Measuring how far the cells of {RESPONSE[cohort]} move under treatment"
    script:
        "../workflow_scripts/biomarkers/measure_response.py"


rule fig5b:
    input:
        **({} if NO_SHIFT else rules.measure_response.output),
        metrics=[] if NO_SHIFT else f"{R}/models/{VIRTUES}/metrics.json",
    output:
        numbers=f"{R}/figures/fig5b/numbers.json",
    log:
        f"{LOGS}/figures/fig5b.log",
    benchmark:
        f"{BENCH}/figures/fig5b.tsv"
    resources:
        mem_mb=megabytes(8000 if config["device"] == "cuda" else 1000),
        runtime=minutes(60),
    params:
        code=code("workflow_scripts/biomarkers/fig5b.py"),
        target=TARGETS["fig5b"],
        models=SHIFTED,
        settings={key: RESPONSE[key] for key in ("times", "bootstrap")},
        reason=NO_SHIFT,
        seed=SEEDS[0],
        simulated=config["simulated"],
    message:
        "Drawing fig5b"
    script:
        "../workflow_scripts/biomarkers/fig5b.py"


TRANSFERRED_TO = config["meyer_transfer"]
SECOND = STUDY.cohorts.get(TRANSFERRED_TO["cohort"])
SECOND_TASKS = {
    what: SECOND.tasks.get(TRANSFERRED_TO[what]) if SECOND else None
    for what in ("survival", "groups", "phenotype")
}
# The rule is not there where the cohort is not in which signatures are looked for.
SIGNATURES_SOUGHT = workflow.is_rule("find_signatures")
NO_SIGNATURE_TRANSFER = "" if SECOND else STUDY.why_not(TRANSFERRED_TO["cohort"])
if not SIGNATURES_SOUGHT:
    NO_SIGNATURE_TRANSFER = "no signatures of response are looked for in this study"
elif SECOND and (VIRTUES, SECOND.id) not in CELLS_EMBEDDED:
    NO_SIGNATURE_TRANSFER = f"{VIRTUES} is not among the models of this study"
CARRIED = f"{R}/tasks/biomarkers/{VIRTUES}"
ENOUGH = ("group_order", "ratios", "high", "low", "orientation", "covariates")
ENOUGH += ("bootstrap", "permutations")
FORESTS = ("trees", "depth", "held_out", "folds", "bootstrap", "tumour", "ratios", "label")
PLACES = ("cohort", "markers", "covariates", "survival", "groups", "phenotype")
# Where its tokens and those of the cohort of the search are: embeddings of the full panels, or of
# the markers that both have (D11).
CARRIED_PAIR = (BIOMARKERS["cohort"], TRANSFERRED_TO["cohort"])
SHARED_TOKENS = f"{CARRIED}/shared" if TRANSFERRED_TO["markers"] == "shared" else None
CARRIED_TOKENS = [f"{SHARED_TOKENS or f'{R}/embeddings/{VIRTUES}'}/{c}" for c in CARRIED_PAIR]
CURVES = dict(
    code=code("workflow_scripts/biomarkers/survival_curves.py"),
    settings={key: TRANSFERRED_TO[key] for key in ENOUGH},
    unit=(SECOND_TASKS["survival"] or {}).get("unit", "time"),
    reason=NO_SIGNATURE_TRANSFER,
    seed=SEEDS[0],
    simulated=config["simulated"],
)


if SHARED_TOKENS:

    use rule embed_shared as embed_signatures with:
        input:
            weights=lambda w: model_files(w, CARRIED_PAIR[0]),
            embeddings=f"{R}/markers/embeddings.safetensors",
            cohorts=[path for cohort in CARRIED_PAIR for path in prepared(cohort)],
        output:
            directory(f"{R}/tasks/biomarkers/{{model}}/shared"),
        log:
            f"{LOGS}/embed_signatures/{{model}}.log",
        benchmark:
            f"{BENCH}/embed_signatures/{{model}}.tsv"
        params:
            code=code("workflow_scripts/cells/embed_shared.py"),
            settings=embed_settings,
            device=config["device"],
            cohort_folders=lambda w: [cohort_folder(cohort) for cohort in CARRIED_PAIR],
            model_folder=lambda w: f"{R}/models/{model_name(w, CARRIED_PAIR[0])}",
        message:
            "Embedding cells for {wildcards.model}'s signatures by shared markers"


rule transfer_signatures:
    input:
        searched=f"{CARRIED}/cells.parquet",
        signatures=f"{CARRIED}/signatures.parquet",
        facts=f"{CARRIED}/signatures.json",
        tokens=SHARED_TOKENS or CARRIED_TOKENS,
        cells=f"{cohort_folder(TRANSFERRED_TO['cohort'])}/metadata/cells.parquet",
        tissues=f"{cohort_folder(TRANSFERRED_TO['cohort'])}/metadata/tissues.parquet",
    output:
        cells=f"{CARRIED}/transferred.parquet",
        patients=f"{CARRIED}/transferred_patients.parquet",
        facts=f"{CARRIED}/transferred.json",
    log:
        f"{LOGS}/transfer_signatures.log",
    benchmark:
        f"{BENCH}/transfer_signatures.tsv"
    threads: TRANSFERRED_TO["threads"]
    resources:
        mem_mb=megabytes(16000 if config["device"] == "cuda" else 1000),
        runtime=minutes(12 * 60),
    params:
        code=code("workflow_scripts/biomarkers/transfer_signatures.py"),
        settings={key: TRANSFERRED_TO[key] for key in (*FORESTS, *PLACES)},
        source=lambda w: CARRIED_TOKENS[0],
        target=lambda w: CARRIED_TOKENS[1],
        tasks=SECOND_TASKS,
        cohort_folder=lambda w: cohort_folder(TRANSFERRED_TO["cohort"]),
        seed=SEEDS[0],
    message:
        "Carrying signatures to {TRANSFERRED_TO[cohort]}"
    script:
        "../workflow_scripts/biomarkers/transfer_signatures.py"


# What the figures read; nothing where nothing is transferred.
CARRIED_FILES = dict(
    patients=[] if NO_SIGNATURE_TRANSFER else rules.transfer_signatures.output.patients,
    facts=[] if NO_SIGNATURE_TRANSFER else rules.transfer_signatures.output.facts,
    metrics=[] if NO_SIGNATURE_TRANSFER else f"{R}/models/{VIRTUES}/metrics.json",
)


rule fig5i:
    input:
        **CARRIED_FILES,
        cells=[] if NO_SIGNATURE_TRANSFER else rules.transfer_signatures.output.cells,
    output:
        numbers=f"{R}/figures/fig5i/numbers.json",
    log:
        f"{LOGS}/figures/fig5i.log",
    benchmark:
        f"{BENCH}/figures/fig5i.tsv"
    resources:
        mem_mb=megabytes(2000 if config["device"] == "cuda" else 1000),
        runtime=minutes(60),
    params:
        code=code("workflow_scripts/biomarkers/fig5i.py"),
        target=TARGETS["fig5i"],
        phenotypes=list((SECOND_TASKS["phenotype"] or {}).get("classes", {})),
        bootstrap=TRANSFERRED_TO["bootstrap"],
        reason=NO_SIGNATURE_TRANSFER,
        seed=SEEDS[0],
        simulated=config["simulated"],
    message:
        "Drawing fig5i"
    script:
        "../workflow_scripts/biomarkers/fig5i.py"


rule fig5j:
    input:
        **CARRIED_FILES,
    output:
        numbers=f"{R}/figures/fig5j/numbers.json",
    log:
        f"{LOGS}/figures/fig5j.log",
    benchmark:
        f"{BENCH}/figures/fig5j.tsv"
    resources:
        mem_mb=megabytes(1000),
        runtime=minutes(60),
    params:
        **CURVES,
        target=TARGETS["fig5j"],
        systems=["ours", "ratio_cd4"],
    message:
        "Drawing fig5j"
    script:
        "../workflow_scripts/biomarkers/survival_curves.py"


use rule fig5j as figS23 with:
    output:
        numbers=f"{R}/figures/figS23/numbers.json",
    log:
        f"{LOGS}/figures/figS23.log",
    benchmark:
        f"{BENCH}/figures/figS23.tsv"
    params:
        **CURVES,
        target=TARGETS["figS23"],
        systems=["meyer", "ratio_cd8", "ratio_b"],
    message:
        "Drawing figS23"


rule fig5k:
    input:
        **CARRIED_FILES,
    output:
        numbers=f"{R}/figures/fig5k/numbers.json",
    log:
        f"{LOGS}/figures/fig5k.log",
    benchmark:
        f"{BENCH}/figures/fig5k.tsv"
    resources:
        mem_mb=megabytes(1000),
        runtime=minutes(60),
    params:
        **CURVES | {"code": code("workflow_scripts/biomarkers/fig5k.py")},
        target=TARGETS["fig5k"],
    message:
        "Drawing fig5k"
    script:
        "../workflow_scripts/biomarkers/fig5k.py"
