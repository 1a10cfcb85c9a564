"""The MNIST ladder's training step in PyTorch, for peer_torch.py. Not a command.

A second implementation of Algorithm 1 (Rasmus et al. 2015) as the authors' code computes it, for
dense layers with ReLU, a cost at every layer and the gaussian combinator. Written as a user of
PyTorch would who cares for speed: one product for all parts of a layer, the library's fused
batch normalisation where its moments are not needed again, its fused Adam.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

EPSILON = 1e-10

Cost = Callable[[Tensor, Tensor, Tensor, Sequence[Tensor]], Tensor]
"""``Ladder.cost``, or that compiled."""


class Ladder(torch.nn.Module):
    """Parameters, by their names in ladder_jax such as "encoder/layer_1/kernel", and the cost.

    Attributes:
      weights: λ(0)…λ(L).
      noise_levels: standard deviation of the noise at each layer 0…L.
    """

    def __init__(
        self,
        params: Mapping[str, np.ndarray],
        weights: Sequence[float],
        noise_levels: Sequence[float],
    ):
        super().__init__()
        for name, value in params.items():
            self.register_parameter(name, torch.nn.Parameter(torch.tensor(value)))
        self.weights, self.noise_levels = tuple(weights), tuple(noise_levels)
        self.top = len(self.weights) - 1

    def draw_noise(self, x: Tensor) -> list[Tensor]:
        """Standard-normal draws for each layer, a row for each of x."""
        widths = [x.shape[1]] + [self._of("encoder", i, "beta").shape[0] for i in self._layers()]
        return [torch.randn(len(x), width) for width in widths]

    def cost(self, x_l: Tensor, y_l: Tensor, x_u: Tensor, noise: Sequence[Tensor]) -> Tensor:
        """Supervised cost + Σ λ(l) C(l). The noise is of the joint batch, labelled rows first."""
        logits, noisy, clean, moments = self._encode(x_l, x_u, noise)
        total = F.cross_entropy(logits[: len(x_l)], y_l)
        u = logits[len(x_l) :].softmax(1)
        for i in reversed(range(self.top + 1)):
            z_hat = gaussian(self._of("decoder", i, "combinator"), noisy[i], standardize(u))
            target = z_hat
            if i > 0:
                u = z_hat @ self._of("decoder", i, "kernel")
                var, mean = moments[i]
                target = (z_hat - mean) * torch.rsqrt(var + EPSILON)
            total = total + self.weights[i] * F.mse_loss(target, clean[i])
        return total

    def _encode(self, x_l: Tensor, x_u: Tensor, noise: Sequence[Tensor]) -> tuple:
        """Logits of the corrupted rows; z̃, z and moments of z of the unlabelled rows."""
        rows_l, rows = len(x_l), len(x_l) + len(x_u)
        corrupted = torch.cat((x_l, x_u)) + self.noise_levels[0] * noise[0]
        h = torch.cat((corrupted, x_u))
        noisy, clean, moments = [corrupted[rows_l:]], [x_u], [None]
        for i in self._layers():
            pre = h @ self._of("encoder", i, "kernel")
            by = torch.var_mean(pre[rows:], 0, correction=0)
            z = (pre[rows:] - by[1]) * torch.rsqrt(by[0] + EPSILON)
            halves = standardize(pre[:rows_l]), standardize(pre[rows_l:rows])
            corrupted = torch.cat(halves) + self.noise_levels[i] * noise[i]
            noisy.append(corrupted[rows_l:]), clean.append(z), moments.append(by)
            beta = self._of("encoder", i, "beta")
            if i < self.top:
                h = torch.relu(torch.cat((corrupted, z)) + beta)
        logits = self._of("encoder", self.top, "gamma") * (corrupted + beta)
        return logits, noisy, clean, moments

    def _layers(self) -> range:
        return range(1, self.top + 1)

    def _of(self, part: str, layer: int, name: str) -> Tensor:
        return getattr(self, f"{part}/layer_{layer}/{name}")


def standardize(x: Tensor) -> Tensor:
    """(x − mean)/√(var + ε) by the moments of the batch, var biased."""
    return F.batch_norm(x, None, None, training=True, eps=EPSILON)


def gaussian(a: Tensor, z: Tensor, u: Tensor) -> Tensor:
    """ẑ = (z̃ − μ(u)) v(u) + μ(u), with the parameters a1…a10 as rows."""
    a1, a2, a3, a4, a5, a6, a7, a8, a9, a10 = a.unbind()
    mu = a1 * torch.sigmoid(a2 * u + a3) + a4 * u + a5
    v = a6 * torch.sigmoid(a7 * u + a8) + a9 * u + a10
    return (z - mu) * v + mu


def cost_and_gradients(
    ladder: Ladder,
    cost: Cost,
    x_l: np.ndarray,
    y_l: np.ndarray,
    x_u: np.ndarray,
    noise: Sequence[np.ndarray],
) -> dict[str, np.ndarray]:
    """Total cost of a batch ("total") and its gradient to each parameter, by their names."""
    ladder.zero_grad()
    x_l, y_l, x_u, *noise = map(torch.tensor, (x_l, y_l, x_u, *noise))
    total = cost(x_l, y_l, x_u, noise)
    total.backward()
    gradients = {name: leaf.grad.numpy().copy() for name, leaf in ladder.named_parameters()}
    return {"total": total.detach().numpy()} | gradients


def training(
    ladder: Ladder,
    cost: Cost,
    images: Tensor,
    classes: Tensor,
    labelled: Tensor,
    rows: int,
    learning_rate: float,
) -> Iterator[Tensor]:
    """Trains without end, epoch after epoch, and yields the total cost of each step.

    Args:
      ladder: its parameters are changed.
      cost: its own. The noise is drawn outside, since inside a compiled function PyTorch draws
        it with a slower generator.
      images: (N, D) uint8, the unlabelled set.
      classes: (N,).
      labelled: indices of the labelled images; replayed until the unlabelled pass ends.
      rows: of each half of a batch.
      learning_rate: of Adam.
    """
    optimizer = torch.optim.Adam(ladder.parameters(), learning_rate, fused=True)
    while True:
        order_u = torch.randperm(len(images))
        order_l = labelled[torch.randperm(len(labelled))]
        for first in range(0, len(images) - rows + 1, rows):
            at_l = order_l[torch.arange(first, first + rows) % len(order_l)]
            at = torch.cat((at_l, order_u[first : first + rows]))
            x = images[at].float() * (1 / 255)
            total = cost(x[:rows], classes[at_l], x[rows:], ladder.draw_noise(x))
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
            yield total.detach()
