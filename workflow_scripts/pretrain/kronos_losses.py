"""The losses of self-distillation with hidden patches, and the schedules of the teacher.

Shapes: B samples, K prototypes, D width, n hidden tokens.
"""

import math

import torch
import torch.nn.functional as F


def cross_entropy(targets, scores, temperature=0.1):
    """Return -sum t log softmax(s / temperature) over the last axis, for every row."""
    return -(targets * F.log_softmax(scores.float() / temperature, dim=-1)).sum(dim=-1)


def centred(scores, centre, temperature):
    """Return the teacher's probabilities: a softmax of scores minus their running mean."""
    return F.softmax((scores.float() - centre) / temperature, dim=-1)


def moved_centre(centre, mean, momentum=0.9):
    """Return the running mean after another batch's mean."""
    return momentum * centre + (1 - momentum) * mean


def sinkhorn(scores, temperature, iterations=3):
    """Return probabilities [B, K] of scores [B, K] that use all prototypes nearly alike.

    Prototypes and samples are evened out in turn, samples last: their rows sum to 1.
    """
    scores = scores.float() / temperature
    weights = torch.exp(scores - scores.max()).T  # a common factor changes nothing
    samples, prototypes = weights.shape[1], weights.shape[0]
    weights = weights / weights.sum()
    for _ in range(iterations):
        weights = weights / (weights.sum(dim=1, keepdim=True) * prototypes)
        weights = weights / (weights.sum(dim=0, keepdim=True) * samples)
    return (weights * samples).T


def class_loss(targets, global_scores, local_scores):
    """Return the mean over pairs of views and samples (DINO).

    `targets`, `global_scores` [2, B, K], `local_scores` [v, B, K]. Every local view is compared to
    both targets, every global view to that of the other one.
    """
    losses = [cross_entropy(target, local_scores).mean() for target in targets]
    losses = [loss * len(local_scores) for loss in losses]
    losses += [cross_entropy(targets[1 - i], global_scores[i]).mean() for i in range(2)]
    return sum(losses) / (2 * len(local_scores) + 2)


def hidden_loss(targets, scores, hidden):
    """Return the loss of hidden tokens (iBOT): a mean in each view, then over all views.

    `targets`, `scores` [n, K] in the order in which `hidden` [views, ...] (bool) has them. A view
    in which nothing is hidden counts as 0.
    """
    if len(scores) == 0:
        return scores.sum()
    flat = hidden.flatten(1)
    counts = flat.sum(dim=1, keepdim=True).clamp(min=1)
    weights = (1 / counts).expand_as(flat)[flat]
    return (cross_entropy(targets, scores) * weights).sum() / len(hidden)


def spread_loss(tokens):
    """Return -mean log of the distance to the nearest other token of a batch [B, D] (KoLeo)."""
    if len(tokens) < 2:
        return tokens.sum() * 0
    tokens = F.normalize(tokens.float(), dim=-1)
    with torch.no_grad():
        likeness = (tokens @ tokens.T).fill_diagonal_(-math.inf)
        nearest = likeness.argmax(dim=1)
    distance = F.pairwise_distance(tokens, tokens[nearest], eps=1e-8)
    return -torch.log(distance + 1e-8).mean()


def teacher_momentum(step, steps, start):
    """Return the teacher's momentum after a step (0-based): half a cosine from `start` to 1."""
    return 1 + (start - 1) / 2 * (1 + math.cos(math.pi * min(1, step / max(1, steps))))


def teacher_temperature(step, warmup, start, end):
    """Return the teacher's temperature of a step, linear over `warmup` steps with both ends."""
    if step >= warmup - 1 or warmup < 2:
        return end
    return start + (end - start) * step / (warmup - 1)
