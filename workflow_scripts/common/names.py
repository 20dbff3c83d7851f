"""Cohorts and models as a reader writes them, in pictures and on the report page."""

import re

NAMES = {
    "": "–",
    "4 datasets": "four benchmarks",
    "all": "all cohorts",
    "all14": "VirTues",
    "camae": "CA-MAE",
    "immucan2024": "IMMUcan 2024",
    "kronos": "KRONOS",
    "mean_counts": "mean raw counts",
    "mean_intensity": "mean intensity",
    "meyer": "published groups",
    "phenotypes": "published phenotypes",
    "resnet50": "ResNet-50",
    "ratio_b": "tumour : B ratio",
    "ratio_cd4": "tumour : CD4 ratio",
    "ratio_cd8": "tumour : CD8 ratio",
    "survival_only": "survival only",
    "virtues": "VirTues",
    "virtues_wo_*": "VirTues without the cohort",
    "virtues_wo_rigamonti": "VirTues without Rigamonti",
}


def name(text):
    """Return a cohort or model as a reader writes it: `cords2024` is Cords 2024."""
    if text in NAMES:
        return NAMES[text]
    if text.startswith("sim_"):
        return f"{name(text.removeprefix('sim_'))} (simulated)"
    for prefix, words in (
        ("wo_", "VirTues without"),
        ("only_", "VirTues on"),
        ("camae_", "CA-MAE on"),
    ):
        if text.startswith(prefix):
            return f"{words} {name(text.removeprefix(prefix))}"
    if panel := re.fullmatch(r"(.*\d{4})_(\d+)", text):
        return f"{name(panel[1])}, {panel[2]} markers"
    match = re.fullmatch(r"([a-z]+?)(\d{4})?", text)
    if match is None:
        return text
    author, year = match.groups()
    return " ".join(filter(None, [author.capitalize(), year]))
