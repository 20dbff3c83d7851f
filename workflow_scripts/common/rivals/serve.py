"""Where the rivals of a study are trained and evaluated, and why not elsewhere."""

from workflow_scripts.common.errors import InputError
from workflow_scripts.common.instances import is_known

RIVALS = ("resnet50", "camae", "kronos")
NO_CELLS = ("resnet50",)  # it has niche tokens alone


class Rivals:
    """The rivals that `models` names."""

    def __init__(self, config, cohorts, absent, held_out, where):
        """`cohorts`: those that can be read, by id; no model trains on those `held_out`.

        InputError for a rival's cohort that exists nowhere.
        """
        self.settings = config["rivals"]
        self.trainings = {}  # name of a training -> (rival, cohorts it sees)
        self.panels = {}  # name of a training -> accessions, where it sees no others
        self.left_out = {}  # rival, or rival and cohort -> why it is not trained there
        self.evaluated = {}  # rival -> cohorts it is evaluated on
        self.without_nucleus = [  # cohorts that KRONOS can't train on (C013)
            c.id for c in cohorts.values() if c.id not in held_out and self.lacks_nucleus(c)
        ]
        self.left_out |= {
            r: "`models` does not name it" for r in RIVALS if r not in config["models"]
        }
        for rival in (model for model in config["models"] if model in RIVALS):
            named = self.settings[rival]["cohorts"]
            for cohort in [] if named == "all" else named:
                if cohort not in cohorts and cohort not in absent and not is_known(cohort):
                    raise InputError(
                        f"{where}: rivals.{rival}.cohorts: {cohort!r} is not in `cohorts`; "
                        f"expected some of {', '.join(cohorts)}"
                    )
            here = [c for c in cohorts if named == "all" or c in named]
            trained = [c for c in cohorts if c not in held_out]
            if not here:
                self.left_out[rival] = "none of its cohorts is among those of this study"
            elif rival == "camae":
                self._add_camae(here, trained)
            elif rival == "kronos":
                self._add_kronos(here, [cohorts[c] for c in trained])
            else:
                self.evaluated[rival] = here

    def _add_camae(self, here, trained):
        for cohort in here:
            if cohort in trained:
                self.trainings[f"camae_{cohort}"] = ("camae", [cohort])
            else:
                self.left_out[f"camae_{cohort}"] = f"{cohort} is held out, no model trains on it"
        self.evaluated["camae"] = [cohort for cohort in here if cohort in trained]

    def read_panels(self, scaling, panels):
        """Return {instance: (training, accessions)}: CA-MAE beside the restricted ones of Fig. 1e.

        `panels`: {accession: marker} of each instance, or None. `scaling.camae` says whether a
        panel has a training of its own, which is added, or the one of all markers reads it.
        """
        full, found = f"camae_{scaling['cohort']}", {}
        for panel in scaling["panels"] if full in self.trainings else []:
            if panels.get(panel["instance"]):
                accessions, training = sorted(panels[panel["instance"]]), full
                if scaling["camae"] == "retrained":
                    training = f"{full}_{panel['markers']}"
                    self.trainings[training] = ("camae", [scaling["cohort"]])
                    self.panels[training] = accessions
                found[panel["instance"]] = (training, accessions)
        return found

    def _add_kronos(self, here, trained):
        seen = []
        for cohort in trained:
            reason = self.lacks_nucleus(cohort)
            if reason:
                self.left_out[f"kronos on {cohort.id}"] = reason
            else:
                seen.append(cohort.id)
        if seen:
            self.trainings["kronos"] = ("kronos", seen)
            self.evaluated["kronos"] = here
        else:
            self.left_out["kronos"] = "no cohort of this study measures its nucleus marker"

    def lacks_nucleus(self, cohort):
        """Return why KRONOS cannot train on a cohort, or None (C013).

        Every image must have the nucleus marker. A panel that is not written in the cohort's file
        is believed; images without it are then left out one by one.
        """
        settings = self.settings["kronos"]
        rows = [row for row in cohort.channels if row.get("uniprot") == settings["nucleus"]]
        if not cohort.channels or cohort.id.removeprefix("sim_") in settings["nucleus_in_some"]:
            return None
        if not rows:
            return f"the panel has no channel of its nucleus marker {settings['nucleus']}"
        if all("tissues" in row for row in rows):
            return f"not all of its images have the nucleus marker {settings['nucleus']}"
        return None

    def folder(self, rival, cohort):
        """Return the name of the training that serves a rival on a cohort; None for ResNet-50."""
        return {"camae": f"camae_{cohort}", "kronos": "kronos"}.get(rival)
