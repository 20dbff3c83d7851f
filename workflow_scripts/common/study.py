"""The settings of a study, checked, with its cohorts resolved."""

from itertools import product
from pathlib import Path

from workflow_scripts.common.cohort import absent_reason, load_cohort
from workflow_scripts.common.errors import InputError
from workflow_scripts.common.instances import resolve_instances, resolve_panel
from workflow_scripts.common.rivals.serve import NO_CELLS, RIVALS, Rivals
from workflow_scripts.common.validation import check, read_yaml

ROOT = Path(__file__).resolve().parents[2]
BASELINES = ("mean_intensity",)
COUNTS = "mean_counts"  # raw counts, beside mean intensities of the model-ready image (D9)
PUBLISHED = "published"  # in the place of a path: the weights that `retrieve_published` brings
# Classes by which retrieved tissues are judged (Results, "Retrieval via the ... database").
RETRIEVED_FOR = ("subtype", "grade", "lymph_node_metastasis", "relapse")
SETTINGS = "settings (config.yaml and its overlays)"


class Study:
    """The checked settings of one study and the cohorts, instances and models they name."""

    def __init__(self, config):
        """Check `config`, the merged settings; an InputError names the first wrong key."""
        schema = read_yaml(ROOT / "config.schema.yaml")
        check(config, schema, SETTINGS)
        self.config = config
        self.zero_shot = config["reconstruction"]["zero_shot"]
        self.cohorts, self.absent = {}, {}  # cohorts by id; id -> why its data are not here
        for cohort in map(load_cohort, config["cohorts"]):
            reason = absent_reason(cohort, Path(config["archives"]) / cohort.id)
            if reason:
                self.absent[cohort.id] = reason
            elif cohort.id in self.cohorts:
                raise InputError(f"{SETTINGS}: cohorts: {cohort.id} is listed twice; keep one")
            else:
                self.cohorts[cohort.id] = cohort
        if not self.cohorts:
            raise InputError(
                f"{SETTINGS}: cohorts: none can be read: {'; '.join(self.absent.values())}"
            )
        self.held_out = [c.id for c in self.cohorts.values() if c.held_out]
        self.instances, self.left_out = resolve_instances(
            config["instances"], list(self.cohorts), self.absent, self.held_out, SETTINGS
        )
        self._resolve_panels_and_weights()
        self._check_models()
        self.rivals = Rivals(config, self.cohorts, self.absent, self.held_out, SETTINGS)
        self.panel_rivals = self.rivals.read_panels(config["scaling"], self.panels)
        self.left_out |= {m: why for m, why in self.rivals.left_out.items() if m in RIVALS}
        self.models = [model for model in config["models"] if model not in self.left_out]
        self._check_shapes()
        self._check_rivals()
        self._check_labels()
        self._check_markers()
        self._check_simulated()
        self._check_zero_shot()
        self._check_retrieval()
        self._check_tissue_tasks()
        self._check_risk_groups()

    def zero_shot_absent(self):
        """Return why no cohort can be reconstructed both zero-shot and in-domain, or None."""
        cohort, instance = self.zero_shot["cohort"], self.zero_shot["instance"]
        within = next(iter(self.instances))
        if cohort in self.absent:
            return f"data not supplied: {self.absent[cohort]}"
        if cohort not in self.cohorts:
            return f"{cohort} is not among the cohorts of this study"
        if instance not in self.instances:
            return f"{instance} is not among the trained instances of this study"
        if cohort not in self.instances[within]:
            return f"{within} was not trained on {cohort}"
        return None

    def why_not(self, cohort):
        """Return why a cohort that a figure is about is not in this study."""
        return "data not supplied" if cohort in self.absent else f"{cohort} is not in this study"

    def _resolve_panels_and_weights(self):
        # By instance: {accession: marker}; the path of its weights, or PUBLISHED.
        self.panels, self.given = {}, {}
        for instance in self.config["instances"]:
            name = instance["name"]
            if name in self.left_out:
                continue
            seen = [self.cohorts[cohort] for cohort in self.instances[name]]
            self.panels[name] = resolve_panel(instance, seen, SETTINGS)
            if "weights" in instance:
                self.given[name] = instance["weights"]
                if self.given[name] != PUBLISHED and not Path(self.given[name]).is_file():
                    raise InputError(
                        f"{SETTINGS}: instances.{name}.weights: there is no file "
                        f"{self.given[name]}; expected the safetensors file of a trained model, or "
                        f"`{PUBLISHED}` for the authors' own"
                    )

    def embedded(self, cells=False):
        """Return the (model, cohort) pairs that have tokens, those with cell tokens if `cells`."""
        return [
            (model, cohort)
            for model in self.models
            for cohort in self.rivals.evaluated.get(model, self.cohorts)
            if not (cells and model in NO_CELLS)
        ]

    def _check_retrieval(self):
        cohort = self.cohorts.get(self.config["retrieval"]["cohort"])
        lacking = [task for task in RETRIEVED_FOR if cohort and task not in cohort.tasks]
        if lacking:
            raise InputError(
                f"{SETTINGS}: retrieval.cohort: {cohort.id} has no task {lacking[0]!r}; expected a "
                f"cohort file with the tasks {', '.join(RETRIEVED_FOR)}"
            )

    def _check_tissue_tasks(self):
        for name, tasks in self.config["tissue_tasks"]["tasks"].items():
            known = self.cohorts[name].tasks if name in self.cohorts else tasks
            for task in tasks:
                if task not in known:
                    raise InputError(
                        f"{SETTINGS}: tissue_tasks.tasks.{name}: {task!r} is no task of "
                        f"{self.cohorts[name].path}; expected some of {', '.join(known) or 'none'}"
                    )

    def _check_risk_groups(self):
        settings = self.config["risk_groups"]
        if settings["high"] >= settings["groups"]:
            raise InputError(
                f"{SETTINGS}: risk_groups.high: {settings['high']} of {settings['groups']} groups "
                "leave none at low risk; expected fewer than risk_groups.groups"
            )
        known = [*self.instances, *self.left_out, *BASELINES, COUNTS, *RIVALS]
        for model in settings["compared"]:
            if model not in known:
                raise InputError(
                    f"{SETTINGS}: risk_groups.compared: {model!r} is no model; expected some of "
                    f"{', '.join(known)}"
                )
        cohort = self.cohorts.get(settings["cohort"])
        cells = (cohort and cohort.cells) or {}
        known = [*cells.get("labels", {}), *cells.get("maps", {})]
        for key in ("phenotype", "structures"):
            if cohort and settings[key] and settings[key] not in known:
                raise InputError(
                    f"{SETTINGS}: risk_groups.{key}: {settings[key]!r} is no label of "
                    f"{cohort.path}; expected one of {', '.join(known) or 'none'}, or null"
                )

    def _check_models(self):
        known = [*self.instances, *self.left_out, *BASELINES, *RIVALS]
        for name in (*BASELINES, COUNTS, *RIVALS):
            if [*known, COUNTS].count(name) > 1:
                raise InputError(
                    f"{SETTINGS}: instances: the name {name!r} is taken; choose another"
                )
        # Whatever reads a name takes camae_cords2024 for the rival's training on that cohort.
        for name, rival in product(known, RIVALS):
            if name.startswith(f"{rival}_"):
                raise InputError(
                    f"{SETTINGS}: instances: the name {name!r} is one for a training of the rival "
                    f"{rival}; choose another"
                )
        if not self.instances:
            raise InputError(
                f"{SETTINGS}: instances: none can be trained: "
                + "; ".join(f"{name}: {why}" for name, why in self.left_out.items())
            )
        for model in self.config["models"]:
            if model not in known:
                raise InputError(
                    f"{SETTINGS}: models: {model!r} is neither an instance nor a baseline nor a "
                    f"rival; expected one of {', '.join(known)}"
                )

    def _check_shapes(self):
        model, pretrain = self.config["model"], self.config["pretrain"]
        side = self.config["sub_images"]["side"] or pretrain["crop"]
        patch = model["patch"]
        for section in ("pretrain", "embed"):
            crop = self.config[section]["crop"]
            if crop % patch:
                raise InputError(
                    f"{SETTINGS}: {section}.crop: {crop} px is not a multiple of model.patch "
                    f"({patch} px); choose a multiple"
                )

        for wrong, sentence in (
            (model["width"] % (4 * model["heads"]), "model.width: must divide by 4 x model.heads"),
            (pretrain["crop"] > side, "pretrain.crop: must fit into sub_images.side"),
            (
                self.config["embed"]["stride"] > self.config["embed"]["crop"],
                "embed.stride: must not exceed embed.crop, or cells are skipped",
            ),
            (_falls(pretrain["mask_ratio"]), "pretrain.mask_ratio: must be [lowest, highest]"),
            (
                _falls(pretrain["channel_dropout"]) or pretrain["channel_dropout"][1] == 1,
                "pretrain.channel_dropout: must be [lowest, highest] below 1",
            ),
        ):
            if wrong:
                raise InputError(f"{SETTINGS}: {sentence}; change one of them")

    def _check_rivals(self):
        rivals, crop = self.config["rivals"], self.config["pretrain"]["crop"]
        camae, kronos = rivals["camae"], rivals["kronos"]
        embed = self.config["embed"]["crop"]
        for wrong, sentence in (
            (camae["width"] % camae["heads"], "camae.width: must divide by camae.heads"),
            (
                camae["decoder_width"] % camae["decoder_heads"],
                "camae.decoder_width: must divide by camae.decoder_heads",
            ),
            (
                crop % camae["patch"] or embed % camae["patch"],
                "camae.patch: must divide pretrain.crop and embed.crop",
            ),
            (kronos["width"] % kronos["heads"], "kronos.width: must divide by kronos.heads"),
            (
                any(side % kronos["patch"] for side in (kronos["large_view"], kronos["small_view"]))
                or embed % kronos["patch"],
                "kronos.patch: must divide kronos.large_view, kronos.small_view and embed.crop",
            ),
            (
                any(_falls(kronos[key]) for key in ("large_area", "small_area", "hidden_share")),
                "kronos: large_area, small_area and hidden_share must be [lowest, highest]",
            ),
            (
                rivals["resnet50"]["weights"] == "seeded"
                and "resnet50" in self.models
                and not self.config["simulated"],
                "resnet50.weights: seeded weights make no real baseline, expected simulated: true "
                "beside them",
            ),
        ):
            if wrong:
                raise InputError(f"{SETTINGS}: rivals.{sentence}; change one of them")

    def _check_labels(self):
        for cohort in self.cohorts.values():
            cells = cohort.cells or {}
            known = [*cells.get("labels", {}), *cells.get("maps", {})]
            for label in self.config["cells"]["labels"].get(cohort.id, []):
                if label not in known:
                    raise InputError(
                        f"{SETTINGS}: cells.labels.{cohort.id}: {label!r} is no granularity of "
                        f"{cohort.path}; expected some of {', '.join(known) or 'none'}"
                    )

    def _check_markers(self):
        markers = self.config["markers"]
        made_up = markers["sequences"] == "synthetic" or markers["esm2"]["weights"] == "seeded"
        if markers["source"] == "esm2" and made_up and not self.config["simulated"]:
            raise InputError(
                f"{SETTINGS}: simulated: synthetic sequences or seeded weights make no real marker "
                "embeddings; expected `simulated: true` beside them"
            )
        if markers["source"] == "table" and not markers["table"]:
            raise InputError(
                f"{SETTINGS}: markers.table: `source: table` needs the path of a table of ready "
                "embeddings; name one, or set `source: esm2`"
            )

    def _check_simulated(self):
        for cohort in self.cohorts.values():
            if cohort.simulated and not self.config["simulated"]:
                raise InputError(
                    f"{SETTINGS}: simulated: cohort {cohort.id} is simulated; expected "
                    "`simulated: true`, so that no number passes for a measurement"
                )

    def _check_zero_shot(self):
        cohort, instance = self.zero_shot["cohort"], self.zero_shot["instance"]
        if cohort in self.instances.get(instance, []):
            raise InputError(
                f"{SETTINGS}: reconstruction.zero_shot.instance: {instance!r} trains on {cohort}; "
                "expected an instance that leaves it out"
            )


def _falls(limits):
    return limits[0] > limits[1]
