"""The settings of a study, checked, with its cohorts resolved."""

from pathlib import Path

import yaml

from workflow_scripts.common.cohort import absent_reason, load_cohort
from workflow_scripts.common.errors import InputError
from workflow_scripts.common.validation import check

ROOT = Path(__file__).resolve().parents[2]
BASELINES = ("mean_intensity",)


class Study:
    """The checked settings of one study and the cohorts, instances and models they name."""

    def __init__(self, config):
        """Check `config`, the merged settings; an InputError names the first wrong key."""
        schema = yaml.safe_load((ROOT / "config.schema.yaml").read_text())
        check(config, schema, "config.yaml")
        self.config = config
        self.cohorts, self.absent = {}, {}  # cohorts by id; id -> why its data are not here
        for cohort in map(load_cohort, config["cohorts"]):
            reason = absent_reason(cohort, Path(config["archives"]) / cohort.id)
            if reason:
                self.absent[cohort.id] = reason
            else:
                self.cohorts[cohort.id] = cohort
        if not self.cohorts:
            raise InputError(
                f"config.yaml: cohorts: none can be read: {'; '.join(self.absent.values())}"
            )
        self.instances = {i["name"]: self._instance_cohorts(i) for i in config["instances"]}
        self._check_models()
        self._check_markers()
        self._check_simulated()

    def _instance_cohorts(self, instance):
        if instance["cohorts"] == "all":
            return list(self.cohorts)
        unknown = sorted(set(instance["cohorts"]) - set(self.cohorts) - set(self.absent))
        if unknown:
            raise InputError(
                f"config.yaml: instances.{instance['name']}: cohort {unknown[0]!r} is not in "
                f"`cohorts`; expected some of {', '.join(self.cohorts)}"
            )
        return [cohort for cohort in instance["cohorts"] if cohort in self.cohorts]

    def _check_models(self):
        known = [*self.instances, *BASELINES]
        for model in self.config["models"]:
            if model not in known:
                raise InputError(
                    f"config.yaml: models: {model!r} is neither an instance nor a baseline; "
                    f"expected one of {', '.join(known)}"
                )
        patch = self.config["model"]["patch"]
        for section in ("pretrain", "embed"):
            crop = self.config[section]["crop"]
            if crop % patch:
                raise InputError(
                    f"config.yaml: {section}.crop: {crop} px is not a multiple of model.patch "
                    f"({patch} px); choose a multiple"
                )

    def _check_markers(self):
        markers = self.config["markers"]
        if markers["source"] == "table" and not markers["table"]:
            raise InputError(
                "config.yaml: markers.table: `source: table` needs the path of a table of ready "
                "embeddings; name one, or set `source: esm2`"
            )

    def _check_simulated(self):
        for cohort in self.cohorts.values():
            if cohort.simulated and not self.config["simulated"]:
                raise InputError(
                    f"config.yaml: simulated: cohort {cohort.id} is simulated; expected "
                    "`simulated: true`, so that no number passes for a measurement"
                )
