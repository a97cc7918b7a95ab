"""Muon: momentum whose matrix updates are orthogonalised (Jordan et al. 2024), beside AdamW for the rest.

Convolutions count as matrices of [out, in * kh * kw]. Updates are scaled to AdamW's typical size
(Liu et al. 2025, arXiv 2502.16982), so both share one learning rate. Matrices of one shape are
orthogonalised in one batch: on a GPU the many small products would otherwise cost more than the model.
"""

import torch


def orthogonalised(matrices, steps=5):
    """The nearest semi-orthogonal matrices to `[k, m, n]`, roughly: a quintic Newton-Schulz iteration in bf16."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrices.bfloat16()
    is_tall = x.shape[1] > x.shape[2]
    x = x.mT if is_tall else x
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.mT if is_tall else x).to(matrices.dtype)


class Muon(torch.optim.Optimizer):
    def __init__(self, parameters, lr, momentum=0.95, weight_decay=0.01):
        defaults = {"lr": lr, "peak_lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        super().__init__(parameters, defaults)

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            by_shape = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_shape.setdefault(parameter.flatten(1).shape, []).append(parameter)
            for shape, parameters in by_shape.items():
                updates = orthogonalised(torch.stack([self._direction(p, group) for p in parameters]))
                torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
                scale = -group["lr"] * 0.2 * max(shape) ** 0.5
                for parameter, update in zip(parameters, updates):
                    parameter.add_(update.reshape(parameter.shape), alpha=scale)

    def _direction(self, parameter, group):
        """Nesterov momentum as a matrix."""
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        buffer = state["momentum"].lerp_(parameter.grad, 1 - group["momentum"])
        return parameter.grad.lerp(buffer, group["momentum"]).flatten(1)


def optimizers_for(models, stage):
    """Muon for the hidden matrices, AdamW for embeddings, biases, norms and the outermost convolutions."""
    hidden, rest = [], []
    for model in models:
        for name, parameter in model.named_parameters():
            is_hidden = parameter.ndim >= 2 and not any(
                w in name for w in ("embedding", "conv_in", "conv_out")
            )
            (hidden if is_hidden and stage.optimizer == "muon" else rest).append(parameter)
    adamw = torch.optim.AdamW(
        rest, lr=stage.lr, betas=(0.9, 0.99), weight_decay=stage.weight_decay, fused=True
    )
    adamw.param_groups[0]["peak_lr"] = stage.lr
    return [adamw, Muon(hidden, stage.lr, weight_decay=stage.weight_decay)] if hidden else [adamw]
