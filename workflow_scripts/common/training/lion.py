"""Lion (Chen et al. 2023), which CA-MAE is trained with: steps of equal size, by the sign alone."""

import torch


class Lion(torch.optim.Optimizer):
    """u = sign(b1 m + (1 - b1) g); p -= lr (u + decay p); m = b2 m + (1 - b2) g."""

    def __init__(self, params, lr, betas=(0.9, 0.95), weight_decay=0.0):
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self):
        """Take one step."""
        for group in self.param_groups:
            mixing, memory = group["betas"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["exp_avg"] = torch.zeros_like(parameter)
                mean, gradient = state["exp_avg"], parameter.grad
                direction = mean.lerp(gradient, 1 - mixing).sign_()
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.add_(direction, alpha=-group["lr"])
                mean.lerp_(gradient, 1 - memory)
