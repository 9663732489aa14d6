"""`gan-jax NAME ...` and `python -m gan_jax NAME ...`: commands for runs and folders of images. Each command is a
module of `gan_jax.commands`; without a name the program lists them.
"""

import importlib
import pkgutil
import sys

from gan_jax import __version__, commands
from gan_jax.system.terminal import say


def main(args: list[str] | None = None) -> None:
    """Runs the command that the first word names, with the rest as its flags. Exits with status 2 where there is no
    such command, else with that of `training.cli.run`.
    """
    words = sys.argv[1:] if args is None else args
    names = sorted(module.name for module in pkgutil.iter_modules(commands.__path__))
    if words[:1] == ["--version"]:
        say(f"gan-jax {__version__}")
    elif not words or words[0] in ("-h", "--help"):
        width = max(map(len, names))
        say("Commands, each with --help:\n")
        for name in names:
            say(f"  gan-jax {name:<{width}}  {commands.first_line(f'gan_jax.commands.{name}')}")
        say("\nTraining is started by an experiment: python -m experiments, in a clone of gan_jax, lists them.")
    elif words[0] not in names:
        say(f"error: no command {words[0]!r}: there are {', '.join(names)}", error=True)
        raise SystemExit(2)
    else:
        from gan_jax.training import cli  # imported only when needed, as it imports JAX

        command = importlib.import_module(f"gan_jax.commands.{words[0]}")
        start = cli.run if args is None else cli.run_in_process
        start(command.main, command.Config, words[1:])


if __name__ == "__main__":
    main()
