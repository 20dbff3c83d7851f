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
    cohort_folder=cohort_folder(RESPONSE["cohort"]),
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
        runtime=30,
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
        runtime=24 * 60,
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
        runtime=60,
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
