"""Runs of several processes: joining them, agreeing on values, and noticing that one is gone."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from gan_jax.types import UserError

# Words in the errors of transports and of the coordination service about a process that does not answer.
SIGNS = ("Gloo", "NCCL", "UNAVAILABLE", "DEADLINE_EXCEEDED", "ABORTED", "heartbeat", "barrier", "Connection")
HEARTBEAT = 30  # seconds without a heartbeat after which a process counts as gone


def several(environ: Mapping[str, str] = os.environ) -> bool:
    """Returns whether the environment is that of one of several processes, as recognised by `jax.distributed`."""
    # A shell in a Slurm allocation, outside srun, has SLURM_NTASKS, but is no step of several processes.
    slurm = environ.get("SLURM_NTASKS", "1") if "SLURM_STEP_NODELIST" in environ else "1"
    counts = [slurm, environ.get("OMPI_COMM_WORLD_SIZE", "1")]
    return (
        any(count.isdigit() and int(count) > 1 for count in counts)
        or "," in environ.get("TPU_WORKER_HOSTNAMES", "")
        or "MEGASCALE_COORDINATOR_ADDRESS" in environ
        or ("KUBERNETES_SERVICE_HOST" in environ and "JOB_COMPLETION_INDEX" in environ)
    )


def initialize(coordinator: str = "", num_processes: int = 0, process_id: int = -1) -> None:
    """Joins this process to the others of the run; must be called before any other use of JAX. On CPUs it turns the cache
    of compiled programs off.

    Does nothing for a process that is alone. Raises UserError where the others cannot be reached.
    """
    if not coordinator and not several():
        return
    given: dict[str, Any] = (
        {"coordinator_address": coordinator, "num_processes": num_processes, "process_id": process_id}
        if coordinator
        else {}
    )
    try:
        jax.distributed.initialize(**given, heartbeat_timeout_seconds=HEARTBEAT, shutdown_timeout_seconds=HEARTBEAT)
    except (ValueError, RuntimeError) as error:
        where = f"--coordinator {coordinator}" if coordinator else "the launcher's environment"
        raise UserError(
            f"the {num_processes or ''} processes of the run cannot meet by {where}: {str(error).splitlines()[0]}"
        ) from error
    if jax.default_backend() == "cpu":
        # A program that XLA:CPU loads from the cache runs its collectives in no fixed order, other than one that it has
        # compiled itself: processes then take one message for another, and abort (jaxlib 0.10.2), or worse.
        jax.config.update("jax_enable_compilation_cache", False)


def require_uncached() -> None:
    """Raises UserError where several processes on CPUs keep compiled programs: `initialize` turns that off, and a program
    that has joined its processes by itself must.
    """
    on = jax.config.jax_enable_compilation_cache and jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    if on and jax.process_count() > 1 and jax.default_backend() == "cpu":
        raise UserError(
            "several processes on CPUs cannot keep compiled programs, whose collectives would run out of order: set JAX_ENABLE_COMPILATION_CACHE=false"
        )


def peer_lost(error: BaseException | None) -> bool:
    """Returns whether an error is of the kind that a process meets when another process of the run has ended."""
    if jax.process_count() == 1:
        return False
    known = isinstance(error, (jax.errors.JaxRuntimeError, TimeoutError, ValueError))
    return known and any(word in str(error) for word in SIGNS)


def is_main() -> bool:
    """Returns whether this is the first process, the one that writes files and prints."""
    return jax.process_index() == 0


def broadcast(value: Any) -> Any:
    """Returns the first process's `value`, which must be JSON, in every process."""
    if jax.process_count() == 1:
        return value
    from jax.experimental import multihost_utils

    data = np.frombuffer(json.dumps(value).encode(), np.uint8)
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(data))))
    data = np.resize(data, size) if len(data) else np.zeros(size, np.uint8)
    return json.loads(np.asarray(multihost_utils.broadcast_one_to_all(data)).astype(np.uint8).tobytes())


def on_main(action: Callable[[], Any]) -> Any:
    """Runs `action` in the first process only, and returns its result, which must be JSON, in every process.

    A UserError of the first process is raised in every process; so is an OSError, as a UserError.
    """
    outcome: dict[str, Any] = {}
    if is_main():
        try:
            outcome = {"value": action()}
        except UserError as error:
            if jax.process_count() == 1:
                raise
            outcome = {"error": str(error)}
        except OSError as error:
            outcome = {"error": f"cannot write to {error.filename or 'the work directory'}: {error.strerror or error}"}
    outcome = broadcast(outcome)
    if "error" in outcome:
        raise _shared(outcome["error"])
    return outcome["value"]


def require_equal(what: str, value: Any) -> None:
    """Raises UserError, in every process, unless `value`, which must be JSON, is the same in all; `what` names it."""
    if jax.process_count() == 1:
        return
    from jax.experimental import multihost_utils

    text = json.dumps(value, sort_keys=True).encode()
    digest = np.frombuffer(hashlib.sha256(text).digest(), np.uint32)  # [8]
    all_of_them = np.asarray(multihost_utils.process_allgather(digest)).reshape(-1, 8)
    if differing := [i for i, other in enumerate(all_of_them) if (other != all_of_them[0]).any()]:
        raise _shared(
            f"process {', '.join(map(str, differing))} differs from process 0 in {what}: start all with the same flags, code and data"
        )


def _shared(text: str) -> UserError:
    error = UserError(text)
    error.shared = True
    return error
