"""Gated attention-based multiple instance learning: a class from the tokens of a whole tissue.

Ilse et al. 2018 as the paper uses it (Methods, "Tissue-level classification"). For token x_i and
head h

    s_ih = w_h . (tanh(V x_i) * sigmoid(U x_i)),  a_ih = softmax over i of s_ih,  z_h = sum a_ih x_i

with U and V shared by all heads; the concatenated z give the logits. A bag may have any size: its
tokens come in chunks, and only their scores [n, heads] are kept.
"""

import torch
from torch import nn
from torch.nn.functional import cross_entropy

KEPT = 2**14  # tokens of a bag whose activations are kept: 50 MB at the paper's hidden width


class GatedABMIL(nn.Module):
    """Scores tokens of width `width`, pools them and classifies the result."""

    def __init__(self, width, classes, heads, hidden, seed=0):
        """`classes`: their number; the weights follow from `seed` alone."""
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.tanh = nn.Linear(width, hidden)
            self.gate = nn.Linear(width, hidden)
            self.heads = nn.Linear(hidden, heads, bias=False)  # a bias would cancel in the softmax
            self.classifier = nn.Linear(heads * width, classes)

    def score(self, tokens):
        """Return the scores [n, heads] of tokens [n, width]."""
        return self.heads(torch.tanh(self.tanh(tokens)) * torch.sigmoid(self.gate(tokens)))

    @torch.no_grad()
    def pool(self, chunks):
        """Return z [heads, width] and the attention [m, heads] of each of `chunks` [m, width].

        `chunks` is gone through twice. Attention sums to 1 over all chunks of the bag.
        """
        scores = [self.score(tokens) for tokens in chunks]
        attention = torch.cat(scores).softmax(dim=0).split([len(part) for part in scores])
        return sum(a.T @ x for a, x in zip(attention, chunks, strict=True)), attention

    def classify(self, pooled):
        """Return the logits [classes] of z [heads, width]."""
        return self.classifier(pooled.flatten())

    def forward(self, tokens):
        """Return the logits [classes] of a bag that is one tensor [n, width]."""
        return self.classify(self.score(tokens).softmax(dim=0).T @ tokens)


def add_gradient(model, chunks, label, share):
    """Add `share` times the gradient of a bag's cross-entropy to the model's; return the loss.

    The gradient is that of `forward` on all tokens at once. Of a bag that is a list of few tokens
    all activations are kept; of any other only those of one chunk exist at a time, at the price of
    scoring every token twice: with g = dloss/dz, dloss/ds_ih = a_ih (x_i . g_h - z_h . g_h).
    `label`: tensor [1]; `chunks` is gone through three times, unless kept.
    """
    if isinstance(chunks, list) and sum(map(len, chunks)) <= KEPT:
        loss = cross_entropy(model(torch.cat(chunks))[None], label)
        (share * loss).backward()
        return loss.detach()
    pooled, attention = model.pool(chunks)
    pooled.requires_grad_()
    loss = cross_entropy(model.classify(pooled)[None], label)
    (share * loss).backward()
    mean = (pooled * pooled.grad).sum(dim=1).detach()
    for tokens, weights in zip(chunks, attention, strict=True):
        model.score(tokens).backward(weights * (tokens @ pooled.grad.T - mean))
    return loss.detach()
