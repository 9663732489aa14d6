"""One round of gan_ring's game in PyTorch, timed, for `experiments.tools.benchmark --peer`: what 16 seeds cost one after another.

    python experiments/tools/peers/torch_ring.py --steps 200

The same networks (width 128, six and two residual blocks, leaky ReLU 0.2), batch (128), loss (relativistic, paired),
penalties (R1 and R2, gamma 0.06) and optimiser (Adam 1e-3, beta1 0, beta2 0.99) as gan_ring; neither its average nor its decay
of the rate and of gamma.
One fake batch is shared by both players. Prints one JSON line: milliseconds a round, the median of --repeats.
"""

import argparse
import json
import math
import statistics
import time

import torch
from torch import nn
from torch.nn import functional


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(128, 128), nn.Linear(128, 128)
        nn.init.zeros_(self.second.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = self.first(functional.leaky_relu(x, 0.2))
        return x + self.second(functional.leaky_relu(inner, 0.2))


def network(inputs: int, blocks: int, outputs: int) -> nn.Module:
    trunk = [Block() for _ in range(blocks)]
    return nn.Sequential(nn.Linear(inputs, 128), *trunk, nn.LeakyReLU(0.2), nn.Linear(128, outputs))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--device", default="cpu")
    settings = parser.parse_args()
    torch.manual_seed(0)
    gen, disc = network(2, 6, 2).to(settings.device), network(2, 2, 1).to(settings.device)
    if settings.compile:
        gen = torch.compile(gen)  # the discriminator needs second derivatives, which compiled networks do not have
    gen_opt, disc_opt = (torch.optim.Adam(net.parameters(), 1e-3, (0.0, 0.99)) for net in (gen, disc))
    angle = 2 * math.pi * torch.arange(8, device=settings.device) / 8
    centres = math.sqrt(2) * torch.stack([angle.cos(), angle.sin()], 1)

    def slope(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = x.detach().requires_grad_(True)
        logits = disc(x)
        (grad,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
        return logits, grad.square().sum(1).mean()

    def play() -> None:
        rows = settings.batch_size
        real = centres[torch.randint(8, (rows,), device=settings.device)]
        real = real + 0.01 * math.sqrt(2) * torch.randn(rows, 2, device=settings.device)
        fake = gen(torch.randn(rows, 2, device=settings.device))
        (a, r1), (b, r2) = slope(real), slope(fake)
        disc_loss = functional.softplus(b - a).mean() + 0.03 * (r1 + r2)
        disc_opt.zero_grad()
        disc_loss.backward()
        disc_opt.step()
        gen_loss = functional.softplus(disc(real).detach() - disc(fake)).mean()
        gen_opt.zero_grad()
        gen_loss.backward()
        gen_opt.step()

    sync = torch.cuda.synchronize if settings.device == "cuda" else (lambda: None)
    for _ in range(20):
        play()
    times = []
    for _ in range(settings.repeats):
        sync()
        begin = time.perf_counter()
        for _ in range(settings.steps):
            play()
        sync()
        times.append((time.perf_counter() - begin) / settings.steps * 1e3)
    print(json.dumps({"game": "ring", "ms": round(statistics.median(times), 4), "ms_min": round(min(times), 4)}))


if __name__ == "__main__":
    main()
