"""Training gated ABMIL for many tasks and seeds from one stream of tissues (D19).

Reading the tokens takes longer than learning from them, so every pass over a cohort serves all its
tasks and seeds: a tissue is read once and shown to each run that learns from it. What a run comes
to depends on its task and seed alone, whichever others it shares the stream with.
"""

import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from workflow_scripts.common.errors import InputError
from workflow_scripts.common.job import log
from workflow_scripts.patients.abmil import GatedABMIL, add_gradient


@dataclass
class Problem:
    """A task: its name, the classes to tell apart, by tissue id its class and its patient, and ids.

    A test tissue may have a class that is not among `classes`: it is a miss.
    """

    name: str
    classes: list
    labels: dict
    patients: dict
    train: list
    test: list


def split_validation(tissues, patients, share, seed):
    """Return the tissues to fit and those to validate on, drawn by patient (D19).

    `patients`: of each tissue; at least one patient is on either side, so there must be two.
    """
    unique = sorted({patients[tissue] for tissue in tissues})
    held = min(max(1, round(share * len(unique))), len(unique) - 1)
    drawn = set(np.random.default_rng(seed).permutation(unique)[:held])
    fit = [tissue for tissue in tissues if patients[tissue] not in drawn]
    return fit, [tissue for tissue in tissues if patients[tissue] in drawn]


class Run:
    """One task trained from one seed: its model, its split, and how far it is."""

    def __init__(self, problem, seed, width, settings, device):
        self.problem, self.seed, self.settings = problem, seed, settings
        self.fit, self.validation = split_validation(
            problem.train, problem.patients, settings["validation"], seed
        )
        self.model = GatedABMIL(
            width, len(problem.classes), settings["heads"], settings["hidden"], seed
        ).to(device)
        self.optimiser = torch.optim.Adam(self.model.parameters(), settings["learning_rate"])
        self.best_loss, self.best_epoch, self.best = float("inf"), 0, None
        self.epoch, self.done = 0, False
        self._fit, self._validation = set(self.fit), set(self.validation)
        self._begin()

    def label(self, tissue):
        """Return the class of a tissue as a tensor [1]."""
        place = self.problem.classes.index(self.problem.labels[tissue])
        return torch.tensor([place], device=self.model.classifier.weight.device)

    def learn(self, tissue, bag):
        """Add a tissue to the batch, and step when that is full or the epoch's last."""
        if tissue not in self._fit:
            return
        size = min(self.settings["batch"], len(self.fit) - self._seen + self._waiting)
        add_gradient(self.model, bag, self.label(tissue), 1 / size)
        self._seen, self._waiting = self._seen + 1, self._waiting + 1
        if self._waiting == size:
            self.optimiser.step()
            self.optimiser.zero_grad()
            self._waiting = 0

    @torch.no_grad()
    def validate(self, tissue, bag):
        """Add a tissue's loss to that of the epoch."""
        if tissue in self._validation:
            logits = self.model.classify(self.model.pool(bag)[0])
            self._loss += float(cross_entropy(logits[None], self.label(tissue)))

    def end_epoch(self):
        """Keep the weights if they validate best; be done when that is too long ago."""
        loss = self._loss / len(self.validation)
        if not np.isfinite(loss):
            raise InputError(
                f"{self.problem.name}: the validation loss of epoch {self.epoch + 1} is {loss}, "
                "expected a finite number; look for NaN in the tokens, or lower "
                "tissue_tasks.learning_rate"
            )
        self.epoch += 1
        if loss < self.best_loss:
            self.best_loss, self.best_epoch = loss, self.epoch
            self.best = copy.deepcopy(self.model.state_dict())
        waited = self.epoch - self.best_epoch
        self.done = waited >= self.settings["patience"] or self.epoch == self.settings["epochs"]
        self._begin()

    def _begin(self):
        self._seen, self._waiting, self._loss = 0, 0, 0.0


def train(runs, bags, tissues):
    """Train `runs` to their ends and leave each with its best weights.

    `bags.stream(tissues)` yields (tissue, bag); `tissues`: all of the cohort, so that an epoch's
    order, which the runs share, is no matter of which runs there are.
    """
    epoch, running = 0, runs
    while running:
        order = np.random.default_rng(epoch).permutation(sorted(tissues)).tolist()
        fit, validation = (set().union(*(part)) for part in _splits(running))
        for tissue, bag in bags.stream([t for t in order if t in fit]):
            for run in running:
                run.learn(tissue, bag)
        for tissue, bag in bags.stream(sorted(validation)):
            for run in running:
                run.validate(tissue, bag)
        for run in running:
            run.end_epoch()
        epoch += 1
        running = [run for run in running if not run.done]
        log.info("epoch %d: %d of %d trainings go on", epoch, len(running), len(runs))
    for run in runs:
        run.model.load_state_dict(run.best)


def _splits(runs):
    return [run.fit for run in runs], [run.validation for run in runs]


@torch.no_grad()
def predict(runs, bags):
    """Yield (run, tissue, probabilities [classes], attention [n, heads]) of all test tissues."""
    wanted = sorted(set().union(*(run.problem.test for run in runs)))
    for tissue, bag in bags.stream(wanted):
        for run in runs:
            if tissue in run.problem.test:
                pooled, attention = run.model.pool(bag)
                probabilities = run.model.classify(pooled).softmax(dim=0)
                yield run, tissue, probabilities.cpu().numpy(), torch.cat(attention).cpu().numpy()
