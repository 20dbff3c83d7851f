"""The state of a training on disk: whole or not at all, without pickle."""

import json
import math
import os
import shutil
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from workflow_scripts.common.errors import InputError
from workflow_scripts.common.job import log

LAST, BEST = "last.safetensors", "best.safetensors"
# Settings that may change on the way: what helps a training whose loss is no longer finite.
CHANGEABLE = ("precision", "learning_rate", "clip_norm")


class Checkpoint:
    """`last.safetensors` and `best.safetensors` in one folder, each replaced atomically.

    A state has the weights, the optimiser, the loss scaler, the random generators, the loss of
    every step and the step itself, from which schedules and crops follow. The best one has the
    lowest mean loss over the `window` steps before it (an epoch); it is the last one again
    unless a training diverges. `changed` lists which CHANGEABLE settings did, and after which step.
    """

    def __init__(self, folder, fingerprint, window=1):
        """`fingerprint`: what a run must share with a checkpoint to continue from it.

        Of its `settings`, those that are CHANGEABLE may differ.
        """
        self.folder, self.fingerprint, self.window = Path(folder), fingerprint, window
        self.lowest, self.changed = math.inf, []

    def save(self, model, optimizer, scaler, progress):
        """Write the state after `progress["step"]` steps; False if the disk would not take it.

        `progress`: step, losses (of all steps, finite) and seconds so far.
        """
        recent = progress["losses"][-self.window :]
        score = sum(recent) / len(recent)
        better, lowest = score < self.lowest, min(score, self.lowest)
        header = {"step": progress["step"], "seconds": progress["seconds"], "lowest": lowest}
        header |= {"scaler": scaler.state_dict(), "fingerprint": self.fingerprint}
        header |= {"changed": self.changed}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            tensors = state_tensors(model, optimizer, progress["losses"])
            self._replace(
                LAST, lambda part: save_file(tensors, part, {"state": json.dumps(header)})
            )
            if better:
                self._replace(BEST, lambda part: link(self.folder / LAST, part))
        except (OSError, SafetensorError) as error:
            log.error(
                "%s: the state after step %d could not be written (%s); the one before it is "
                "kept; make room on the disk",
                self.folder,
                progress["step"],
                error,
            )
            return False
        self.lowest = lowest
        return True

    def remove(self):
        """Delete the state of a run whose weights are written."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def resume(self, model, optimizer, scaler):
        """Load the last state and return its progress, or None when there is none."""
        path = self.folder / LAST
        if not path.exists():
            return None
        with safe_open(path, "pt") as file:
            header = json.loads(file.metadata()["state"])
        changed = changes(header["fingerprint"], self.fingerprint)
        accepted = {f"settings.{key}" for key, _, _ in changed}
        differing = differences(header["fingerprint"], self.fingerprint, accepted)
        if differing:
            raise InputError(
                f"{path}: the checkpoint belongs to another run, expected the settings, data and "
                f"code of this one: {'; '.join(differing)}; restore them to go on, or delete "
                f"{self.folder} to start again"
            )
        tensors = load_file(path)
        model.load_state_dict(
            {k[len("model.") :]: v for k, v in tensors.items() if k.startswith("model.")}
        )
        state = optimizer.state_dict()
        for key, tensor in tensors.items():
            if key.startswith("optimizer."):
                _, index, name = key.split(".", 2)
                # A copy: the tensor as read is a view of the file, which the next state replaces.
                state["state"].setdefault(int(index), {})[name] = tensor.clone()
        optimizer.load_state_dict(state)
        if header["scaler"]:  # that of a training in fp16
            scaler.load_state_dict(header["scaler"])
        torch.set_rng_state(tensors["random.cpu"])
        if "random.cuda" in tensors and torch.cuda.is_available():
            torch.cuda.set_rng_state(tensors["random.cuda"])
        self.lowest, self.changed = header["lowest"], header.get("changed", [])
        for key, before, after in changed:
            text = "%s: going on after step %d with another %s: %s -> %s"
            log.warning(text, path, header["step"], key, before, after)
            change = {"step": header["step"], "key": key, "before": before, "after": after}
            self.changed.append(change)
        losses = tensors["losses"].tolist()
        return {"step": header["step"], "losses": losses, "seconds": header["seconds"]}

    def _replace(self, name, write):
        part = self.folder / f"{name}.part"
        part.unlink(missing_ok=True)
        try:
            write(part)
            # Some file systems refuse data only now; a rename before it could lose both states.
            with open(part, "rb") as file:
                os.fsync(file.fileno())
            part.replace(self.folder / name)
        finally:
            part.unlink(missing_ok=True)


def link(source, target):
    """Make `target` the same file as `source`, or a copy where a file system knows no links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def state_tensors(model, optimizer, losses):
    """Return all tensors of a state by name."""
    tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{k}": v for k, v in state.items()}
    tensors |= {"losses": torch.tensor(losses), "random.cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors["random.cuda"] = torch.cuda.get_rng_state()
    return tensors


def changes(there, here):
    """Return (key, value there, value here) of the CHANGEABLE settings that differ."""
    there, here = there.get("settings", {}), here.get("settings", {})
    both = [key for key in CHANGEABLE if key in there and key in here]
    return [(key, there[key], here[key]) for key in both if there[key] != here[key]]


def differences(there, here, accepted=(), path=""):
    """Return in words what differs between two nested dicts: "a.b is 1 there and 2 here".

    Left out are the paths that are `accepted`.
    """
    if path in accepted:
        return []
    if isinstance(there, dict) and isinstance(here, dict):
        keys = [*there, *(key for key in here if key not in there)]
        return [
            text
            for key in keys
            for text in differences(
                there.get(key), here.get(key), accepted, f"{path}.{key}".lstrip(".")
            )
        ]
    if there == here:
        return []
    if isinstance(there, dict) or isinstance(here, dict):
        return [f"{path} is only {'there' if here is None else 'here'}"]
    return [f"{path} is {_short(there)} there and {_short(here)} here"]


def _short(value):
    text = "absent" if value is None else str(value)
    return text if len(text) <= 40 else f"{text[:12]}..."
