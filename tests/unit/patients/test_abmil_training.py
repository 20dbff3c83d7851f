"""Training the tissue classifiers: planted truth and its absence, sharing a stream, stopping."""

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score

from demo.simulator.cohort import read_effects
from demo.simulator.tokens import simulate_tokens
from workflow_scripts.common.errors import InputError
from workflow_scripts.patients.abmil_training import Problem, Run, predict, split_validation, train

SETTINGS = {
    "heads": 2,
    "hidden": 16,
    "learning_rate": 3e-3,
    "batch": 16,
    "epochs": 25,
    "patience": 8,
    "validation": 0.2,
}


class MemoryBags(dict):
    """Bags that are in memory: tissue -> list of chunks."""

    def stream(self, tissues):
        yield from ((tissue, self[tissue]) for tissue in tissues)


def made(cohort, column, seed=0):
    """Return bags and the Problem of a simulated cohort; the last third of patients is the test."""
    bags = MemoryBags()
    for tissue, rows in cohort.cells.groupby("tissue_id", sort=False).indices.items():
        bags[tissue] = [torch.from_numpy(cohort.tokens[rows])]
    classes = cohort.patients.set_index("patient_id")[column].astype(str)
    patients = dict(zip(cohort.cells["tissue_id"], cohort.cells["patient_id"], strict=True))
    labels = {tissue: classes[patient] for tissue, patient in patients.items()}
    cut = len(bags) * 2 // 3
    tissues = list(bags)
    problem = Problem(column, sorted(set(classes)), labels, patients, tissues[:cut], tissues[cut:])
    return bags, problem


def macro_f1(problem, predictions):
    """Return macro-F1 over the test tissues."""
    found = {
        tissue: run.problem.classes[int(probabilities.argmax())]
        for run, tissue, probabilities, _ in predictions
    }
    return f1_score([problem.labels[t] for t in found], list(found.values()), average="macro")


@pytest.fixture(scope="module")
def planted():
    """Return bags and Problem of a breast cancer cohort in which ER shows in its composition."""
    return made(simulate_tokens(read_effects(), "danenberg2022", 60, 20, seed=3), "ERStatus")


def trained(bags, problem, seeds=(0,), **settings):
    width = next(iter(bags.values()))[0].shape[1]
    runs = [Run(problem, seed, width, SETTINGS | settings, "cpu") for seed in seeds]
    train(runs, bags, list(bags))
    return runs


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.values(), other.values(), strict=True))


@pytest.mark.parametrize("seed", range(3))
def test_a_subtype_that_shows_in_the_composition_is_found_and_a_permuted_one_is_not(seed):
    scores = {}
    for cut in (None, "outcomes"):
        cohort = simulate_tokens(read_effects(), "danenberg2022", 120, 30, seed, cut=cut)
        bags, problem = made(cohort, "ERStatus")
        scores[cut] = macro_f1(problem, predict(trained(bags, problem, epochs=20), bags))
    # Guesses about 40 tissues are right for half of them, give or take three deviations of 0.08.
    assert scores[None] > 0.8 and scores["outcomes"] < 0.74


def test_a_run_does_not_depend_on_whom_it_shares_the_stream_with(planted):
    bags, problem = planted
    other = made(simulate_tokens(read_effects(), "danenberg2022", 60, 20, seed=3), "Grade")[1]
    width = next(iter(bags.values()))[0].shape[1]
    settings = SETTINGS | {"epochs": 4}
    alone = trained(bags, problem, seeds=[1], epochs=4)[0]
    runs = [Run(p, seed, width, settings, "cpu") for p in (other, problem) for seed in (0, 1)]
    train(runs, bags, list(bags))
    assert same(runs[3].best, alone.best) and runs[3].best_loss == alone.best_loss
    assert not same(runs[2].best, alone.best)


def test_a_step_is_adam_on_the_mean_loss_of_a_batch(planted):
    """Bags one after the other, 16 and then the rest, as whole batches through autograd."""
    bags, problem = planted
    run = trained(bags, problem, epochs=1)[0]
    model = Run(problem, 0, 16, SETTINGS, "cpu").model
    optimiser = torch.optim.Adam(model.parameters(), SETTINGS["learning_rate"])
    order = [t for t in np.random.default_rng(0).permutation(sorted(bags)) if t in set(run.fit)]
    for start in range(0, len(order), SETTINGS["batch"]):
        batch = order[start : start + SETTINGS["batch"]]
        logits = torch.stack([model(torch.cat(bags[tissue])) for tissue in batch])
        truth = torch.tensor([problem.classes.index(problem.labels[t]) for t in batch])
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(logits, truth).backward()
        optimiser.step()
    for name, weight in model.state_dict().items():
        torch.testing.assert_close(run.best[name], weight, atol=1e-5, rtol=1e-4)


def test_training_stops_when_validation_no_longer_improves_and_keeps_the_best(planted):
    bags, problem = planted
    run = trained(bags, problem, learning_rate=0.3, patience=2, epochs=40)[0]
    assert run.epoch == run.best_epoch + 2 < 40
    again = trained(bags, problem, learning_rate=0.3, epochs=run.best_epoch)[0]
    assert same(run.model.state_dict(), again.best)


def test_no_patient_is_on_both_sides_of_the_validation_split():
    patients = {f"t{i}": f"p{i // 3}" for i in range(30)}
    fit, validation = split_validation(list(patients), patients, 0.2, seed=0)
    assert len(fit) == 24 and len(validation) == 6
    assert not {patients[t] for t in fit} & {patients[t] for t in validation}
    assert split_validation(list(patients), patients, 0.2, seed=1)[1] != validation
    one, other = split_validation(["t0", "t3"], patients, 0.2, seed=0)
    assert len(one) == len(other) == 1


def test_tokens_that_are_nan_are_told(planted):
    bags, problem = planted
    broken = MemoryBags(bags)
    broken[problem.train[0]] = [torch.full((3, 16), float("nan"))]
    with pytest.raises(InputError, match="ERStatus: the validation loss of epoch 1 is nan, expec"):
        trained(broken, problem)
