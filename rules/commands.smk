# What a user asks by name: is this machine ready, are the data whole, all targets of one figure.


# Without an output they answer each time they are asked.
rule check_env:
    log:
        f"{LOGS}/check_env.log",
    localrule: True
    resources:
        mem_mb=megabytes(1000),
        runtime=minutes(10),
    params:
        device=config["device"],
        attention=config["model"]["attention"],
        head_width=config["model"]["width"] // config["model"]["heads"],
        results=R,
        archives=config["archives"],
    message:
        "Looking at this machine"
    script:
        "../workflow_scripts/commands/check_env.py"


rule verify_data:
    log:
        f"{LOGS}/verify_data.log",
    localrule: True
    resources:
        mem_mb=megabytes(500),
        runtime=minutes(24 * 60),
    params:
        archives=config["archives"],
        models=f"{R}/models",
    message:
        "Reading all retrieved files and trained weights again"
    script:
        "../workflow_scripts/commands/verify_data.py"


# `snakemake --cores 8 fig4`, `supplementary`, `figures`
for command, heading in {
    **{f"fig{number}": f"Figure {number}" for number in range(1, 6)},
    "supplementary": "Supplementary",
    "figures": "",
}.items():

    rule:
        name:
            command
        input:
            of_figure(heading),
        localrule: True
