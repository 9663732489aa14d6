"""The command line of an experiment: a configuration's fields are its flags; a user's mistake is a short message and
exit status 2.
"""

import logging
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import tyro

from gan_jax.record import module_name
from gan_jax.types import UserError

Config = TypeVar("Config")


def run(main: Callable[[Config], Any], config: type[Config], args: list[str] | None = None) -> None:
    """Parses `args` (default: the command line) into `config` and calls `main`. Exits: 0 done; 2 a mistake, said in one
    message; 130 interrupted.

    `--help` shows the experiment's docstring, then every flag with its default and meaning.
    """
    description = sys.modules[main.__module__].__doc__ or ""
    if args is None:  # the process is ours
        _quieten()
    try:
        main(tyro.cli(config, args=args, description=description, prog=f"python -m {module_name(main)}"))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error) and "memory" not in str(error).lower():
            raise
        print(
            f"error: out of memory: {str(error).splitlines()[0]}; try a smaller --batch-size or --width",
            file=sys.stderr,
        )
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        raise SystemExit(130) from None


def _quieten() -> None:
    """A write of Orbax's that failed logs its stack, and leaves threads that still call the event loop it ran in, each
    with a traceback of its own, until the process ends. The failure itself is said once, as a UserError.
    """
    hook = sys.unraisablehook
    sys.unraisablehook = lambda info: None if "Event loop is closed" in str(info.exc_value) else hook(info)
    logging.getLogger("absl").addFilter(lambda entry: False)
