"""One round of biggan_cifar10's game, or of stylegan2_fashion's on images of 32x32 in colour, in PyTorch, timed, for
`experiments.tools.benchmark --peer`:

    python -m experiments.tools.benchmark --games biggan stylegan2 --steps 32 \\
        --peer "python experiments/tools/peers/torch_large.py {game} --batch-size {batch} --steps {steps}"

The same networks, losses, batches and optimisers; neither averages nor orthogonal regularisation. BigGAN: 64 channels at every
size, conditional norms, spectral norm in all layers, attention at 16 pixels, projection, hinge; D sees real and fake images as
one batch. StyleGAN2: at most 64 channels, a mapping of two layers, modulation as scales of the input and of the output, which
is the faster way on a CPU; R1 in every 16th round: --steps should be a multiple of it. One fake batch is shared by both
players. Prints one JSON line: milliseconds a round, the median of --repeats.
"""

import argparse
import itertools
import json
import math
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

ROOT = math.sqrt(2)


# ---- BigGAN


def sn(layer: nn.Module) -> nn.Module:
    return spectral_norm(layer)


class ConditionalNorm(nn.Module):
    def __init__(self, width: int, condition: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(width, affine=False)
        self.gain, self.bias = (sn(nn.Linear(condition, width, bias=False)) for _ in range(2))

    def forward(self, x: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        return self.norm(x) * (1 + self.gain(c)[..., None, None]) + self.bias(c)[..., None, None]


class Up(nn.Module):
    def __init__(self, width: int, condition: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(ConditionalNorm(width, condition) for _ in range(2))
        self.convs = nn.ModuleList(sn(nn.Conv2d(width, width, 3, 1, 1)) for _ in range(2))
        self.skip = sn(nn.Conv2d(width, width, 1))

    def forward(self, x: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        y = functional.interpolate(functional.relu(self.norms[0](x, c)), scale_factor=2.0)
        y = self.convs[1](functional.relu(self.norms[1](self.convs[0](y), c)))
        return y + functional.interpolate(self.skip(x), scale_factor=2.0)


class Down(nn.Module):
    def __init__(self, inputs: int, width: int, down: bool, first: bool) -> None:
        super().__init__()
        self.one, self.two = sn(nn.Conv2d(inputs, width, 3, 1, 1)), sn(nn.Conv2d(width, width, 3, 1, 1))
        self.skip = sn(nn.Conv2d(inputs, width, 1)) if down or inputs != width else nn.Identity()
        self.down, self.first = down, first

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.two(functional.relu(self.one(x if self.first else functional.relu(x))))
        if self.down:
            x, y = functional.avg_pool2d(x, 2), functional.avg_pool2d(y, 2)
        return y + self.skip(x)


class Attention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        sizes = ((width, width // 8), (width, width // 8), (width, width // 2), (width // 2, width))
        self.query, self.key, self.value, self.out = (sn(nn.Conv2d(a, b, 1, bias=False)) for a, b in sizes)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, _, h, w = x.shape
        query = self.query(x).flatten(2).transpose(1, 2)
        key, value = (functional.max_pool2d(layer(x), 2).flatten(2) for layer in (self.key, self.value))
        weights = torch.softmax(query @ key, -1)
        return x + self.gamma * self.out((weights @ value.transpose(1, 2)).transpose(1, 2).reshape(b, -1, h, w))


class BigGenerator(nn.Module):
    def __init__(self, width: int = 64, z: int = 60, classes: int = 10, embedding: int = 32) -> None:
        super().__init__()
        self.part, self.width = z // 4, width
        self.embed, self.dense = nn.Embedding(classes, embedding), sn(nn.Linear(self.part, 16 * width))
        self.blocks = nn.ModuleList(Up(width, embedding + self.part) for _ in range(3))
        self.attention = Attention(width)
        self.last = nn.Sequential(nn.BatchNorm2d(width), nn.ReLU(), sn(nn.Conv2d(width, 3, 3, 1, 1)), nn.Tanh())

    def forward(self, z: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        first, *parts = z.split(self.part, 1)
        x = self.dense(first).reshape(-1, self.width, 4, 4)
        for i, (block, part) in enumerate(zip(self.blocks, parts, strict=True)):
            x = block(x, torch.cat([self.embed(label), part], 1))
            x = self.attention(x) if i == 1 else x
        return self.last(x)


class BigDiscriminator(nn.Module):
    def __init__(self, width: int = 64, classes: int = 10) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            Down(3, width, True, True), Attention(width), Down(width, width, True, False),
            Down(width, width, False, False), Down(width, width, False, False),
        )  # fmt: skip
        self.dense, self.rows = sn(nn.Linear(width, 1)), sn(nn.Embedding(classes, width))

    def forward(self, x: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        h = functional.relu(self.blocks(x)).sum((2, 3))
        return self.dense(h)[:, 0] + (self.rows(label) * h).sum(1)


def biggan(batch: int) -> Callable[[], None]:
    gen, disc = BigGenerator(), BigDiscriminator()
    gen_opt = torch.optim.Adam(gen.parameters(), 2e-4, (0.0, 0.999))
    disc_opt = torch.optim.Adam(disc.parameters(), 4e-4, (0.0, 0.999))
    images, labels = torch.rand(2_048, 3, 32, 32) * 2 - 1, torch.randint(10, (2_048,))

    def play() -> None:
        rows = torch.randint(2_048, (batch,))
        real, label = images[rows], labels[rows]
        fake = gen(torch.randn(batch, 60), label)
        a, b = disc(torch.cat([real, fake.detach()]), torch.cat([label, label])).split(batch)
        disc_opt.zero_grad()
        (functional.relu(1 - a).mean() + functional.relu(1 + b).mean()).backward()
        disc_opt.step()
        gen_opt.zero_grad()
        (-disc(fake, label).mean()).backward()
        gen_opt.step()

    return play


# ---- StyleGAN2


class Dense(nn.Module):
    def __init__(self, inputs: int, outputs: int, rate: float = 1.0, bias: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / rate)
        self.bias = nn.Parameter(torch.full((outputs,), bias / rate))
        self.scale, self.rate = rate / math.sqrt(inputs), rate

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.linear(x, self.weight * self.scale, self.bias * self.rate)


class Conv(nn.Module):
    def __init__(self, inputs: int, outputs: int, side: int, stride: int = 1, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, side, side))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self.scale, self.stride = 1 / math.sqrt(inputs * side**2), stride
        self.pad = side // 2 if stride == 1 else 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.conv2d(x, self.weight * self.scale, self.bias, self.stride, self.pad)


TAPS = torch.outer(torch.tensor([1.0, 3, 3, 1]), torch.tensor([1.0, 3, 3, 1])) / 64


def filtered(x: torch.Tensor, pad: int, stride: int = 1, gain: float = 1.0) -> torch.Tensor:
    channels = x.shape[1]
    kernel = (gain * TAPS)[None, None].expand(channels, 1, 4, 4)
    return functional.conv2d(x, kernel, stride=stride, padding=pad, groups=channels)


def doubled(x: torch.Tensor) -> torch.Tensor:
    channels = x.shape[1]
    kernel = (4 * TAPS)[None, None].expand(channels, 1, 4, 4)
    return functional.conv_transpose2d(x, kernel, stride=2, padding=1, groups=channels)


def activated(x: torch.Tensor) -> torch.Tensor:
    return functional.leaky_relu(x, 0.2) * ROOT


class Modulated(nn.Module):
    def __init__(self, inputs: int, outputs: int, side: int = 3, up: bool = False, demodulate: bool = True) -> None:
        super().__init__()
        self.weight, self.style = nn.Parameter(torch.randn(outputs, inputs, side, side)), Dense(128, inputs, bias=1.0)
        self.up, self.demodulate, self.scale = up, demodulate, 1 / math.sqrt(inputs * side**2)

    def forward(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        style = self.style(w) * (1 if self.demodulate else self.scale)
        y = x * style[..., None, None]
        if self.up:
            y = filtered(functional.conv_transpose2d(y, self.weight.transpose(0, 1), stride=2), 1, gain=4.0)
        else:
            y = functional.conv2d(y, self.weight, padding=self.weight.shape[-1] // 2)
        if not self.demodulate:
            return y
        power = style.square() @ self.weight.square().sum((2, 3)).T
        return y * torch.rsqrt(power + 1e-8)[..., None, None]


class StyleGenerator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        widths = [min(1_024 // side, 64) for side in (4, 8, 16, 32)]
        self.mapping = nn.ModuleList(Dense(128, 128, 0.01) for _ in range(2))
        self.constant = nn.Parameter(torch.randn(1, widths[0], 4, 4))
        pairs = [(widths[0], widths[0], False)]
        for a, b in itertools.pairwise(widths):
            pairs += [(a, b, True), (b, b, False)]
        self.layers = nn.ModuleList(Modulated(a, b, up=up) for a, b, up in pairs)
        self.biases = nn.ParameterList(torch.zeros(1, b, 1, 1) for _, b, _ in pairs)
        self.strengths = nn.ParameterList(torch.zeros(()) for _ in pairs)
        self.images = nn.ModuleList(Modulated(width, 3, 1, demodulate=False) for width in widths)
        self.image_biases = nn.ParameterList(torch.zeros(1, 3, 1, 1) for _ in widths)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        w = z * torch.rsqrt(z.square().mean(1, keepdim=True) + 1e-8)
        for layer in self.mapping:
            w = activated(layer(w))
        x, image = self.constant.expand(len(z), -1, -1, -1), None
        for i, layer in enumerate(self.layers):
            x = layer(x, w)
            x = activated(x + self.strengths[i] * torch.randn(len(z), 1, *x.shape[2:]) + self.biases[i])
            if i % 2 == 0:
                now = self.images[i // 2](x, w) + self.image_biases[i // 2]
                image = now if image is None else doubled(image) + now
        return image


class StyleDiscriminator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        widths = [min(1_024 // side, 64) for side in (32, 16, 8, 4)]
        self.first = Conv(3, widths[0], 1)
        pairs = list(itertools.pairwise(widths))
        self.one = nn.ModuleList(Conv(a, a, 3) for a, _ in pairs)
        self.two = nn.ModuleList(Conv(a, b, 3, 2) for a, b in pairs)
        self.skip = nn.ModuleList(Conv(a, b, 1, bias=False) for a, b in pairs)
        self.last, self.dense, self.logit = Conv(65, 64, 3), Dense(16 * 64, 64), Dense(64, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = activated(self.first(x))
        for one, two, skip in zip(self.one, self.two, self.skip, strict=True):
            y = activated(two(filtered(activated(one(x)), 2)))
            x = (y + skip(filtered(x, 1, 2))) / ROOT
        groups = x.reshape(4, len(x) // 4, -1)
        spread = (groups.var(0, unbiased=False) + 1e-8).sqrt().mean(1).repeat(4)
        x = torch.cat([x, spread[:, None, None, None].expand(-1, 1, 4, 4)], 1)
        return self.logit(activated(self.dense(activated(self.last(x)).flatten(1))))[:, 0]


def stylegan2(batch: int) -> Callable[[], None]:
    gen, disc = StyleGenerator(), StyleDiscriminator()
    gen_opt, disc_opt = (
        torch.optim.Adam(net.parameters(), 2.5e-3 * share, (0.0, 0.99**share))
        for net, share in ((gen, 4 / 5), (disc, 16 / 17))
    )
    images, rounds = torch.rand(2_048, 3, 32, 32) * 2 - 1, 0

    def play() -> None:
        nonlocal rounds
        real = images[torch.randint(2_048, (batch,))].requires_grad_(rounds % 16 == 0)
        fake = gen(torch.randn(batch, 128))
        a, b = disc(real), disc(fake.detach())
        loss = functional.softplus(-a).mean() + functional.softplus(b).mean()
        if real.requires_grad:
            (slope,) = torch.autograd.grad(a.sum(), real, create_graph=True)
            loss = loss + 16 * 0.005 * slope.square().sum((1, 2, 3)).mean()
        rounds += 1
        disc_opt.zero_grad()
        loss.backward()
        disc_opt.step()
        gen_opt.zero_grad()
        functional.softplus(-disc(fake)).mean().backward()
        gen_opt.step()

    return play


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("game", choices=["biggan", "stylegan2"])
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    settings = parser.parse_args()
    torch.manual_seed(0)
    play = {"biggan": biggan, "stylegan2": stylegan2}[settings.game](settings.batch_size)
    for _ in range(5):
        play()
    times = []
    for _ in range(settings.repeats):
        begin = time.perf_counter()
        for _ in range(settings.steps):
            play()
        times.append((time.perf_counter() - begin) / settings.steps * 1e3)
    print(json.dumps({"game": settings.game, "ms": round(statistics.median(times), 4), "ms_min": round(min(times), 4)}))


if __name__ == "__main__":
    main()
