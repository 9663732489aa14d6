"""`python -m experiments` lists the experiments, each with the first sentence of its docstring."""

import pkgutil

import experiments
from gan_jax.commands import first_line
from gan_jax.system.terminal import say

if __name__ == "__main__":
    names = sorted(
        module.name
        for module in pkgutil.iter_modules(experiments.__path__)
        if not module.ispkg and module.name[0] != "_"
    )
    say("Experiments, each with --help:\n")
    for name in names:
        say(f"  python -m experiments.{name:<{max(map(len, names))}}  {first_line(f'experiments.{name}')}")
