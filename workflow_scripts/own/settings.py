"""What `own_cohort` is asked for: settings `own`, and what the cohort file says otherwise."""

from dataclasses import dataclass

from workflow_scripts.common.cohort import ROOT, load_cohort
from workflow_scripts.common.errors import InputError
from workflow_scripts.common.study import PUBLISHED, SETTINGS


@dataclass(frozen=True)
class Own:
    """One own cohort and the model that reads it."""

    cohort: object  # a `Cohort`
    settings: dict  # section `own`, with the cohort file's `own` over it
    model: str  # name of the instance, or PUBLISHED
    cohorts: list  # `Cohort`s that the model was trained on
    panel: dict | None  # {accession: marker} of a restricted instance


def resolve_own(study, cohort):
    """Return the `Own` of a `Cohort` in a `Study`; InputError names file and key.

    Its data lie in a folder, or it is a cohort of the study, which is retrieved.
    """
    if cohort.folder is None and cohort.id not in study.cohorts:
        raise InputError(
            f"{cohort.path}: key 'source': own_cohort reads images on this machine; expected "
            "`source: {folder: ...}`, or a cohort that `cohorts` of the study lists."
        )
    if cohort.folder is not None and not cohort.folder.is_dir():
        raise InputError(
            f"{cohort.path}: key 'source.folder': there is no folder {cohort.folder}; correct the "
            "path (it is relative to the cohort file)."
        )
    if cohort.simulated and not study.config["simulated"]:
        raise InputError(
            f"{cohort.path}: the cohort is simulated; expected a study with `simulated: true`, so "
            "that no number passes for a measurement."
        )
    settings = study.config["own"] | cohort.own
    model = settings["weights"] or next(iter(study.instances))
    if model == PUBLISHED:
        files = sorted((ROOT / "cohorts").glob("*.yaml"))
        trained = [one for one in map(load_cohort, files) if not one.held_out]
        return Own(cohort, settings, model, trained, None)
    if model not in study.instances:
        where = f"{cohort.path}: key 'own.weights'" if cohort.own else f"{SETTINGS}: own.weights"
        raise InputError(
            f"{where}: {model!r} is no trained instance of this study; expected `{PUBLISHED}` or "
            f"one of {', '.join(study.instances)}."
        )
    trained = [study.cohorts[one] for one in study.instances[model]]
    return Own(cohort, settings, model, trained, study.panels[model])


def why_no_references(study, own):
    """Return {kind: reason} for the references that this study cannot offer.

    Kinds: `types` (a labelled cohort, `cells.transfer`) and `cases` (`retrieval.cohort`).
    """
    transfer, retrieval = study.config["cells"]["transfer"], study.config["retrieval"]
    wanted = {"types": transfer["source"], "cases": retrieval["cohort"]}
    if not own.settings["references"]:
        return dict.fromkeys(wanted, "left out, as own.references is false")
    reasons = {k: study.why_not(c) for k, c in wanted.items() if c not in study.cohorts}
    labelled = study.cohorts.get(transfer["source"])
    if labelled is not None:
        cells = labelled.cells or {}
        known = [*cells.get("labels", {}), *cells.get("maps", {})]
        if transfer["label"] not in known:
            raise InputError(
                f"{SETTINGS}: cells.transfer.label: {labelled.path} has no labels "
                f"{transfer['label']!r}; expected one of {', '.join(known) or 'none'}, or set "
                "own.references to false."
            )
    return reasons
