"""Tables of results that are no runs of experiments: speed, growth, kills, devices, costs of metrics and their
agreement with the published packages. Each function takes a kept result (`table.read`), or None where there is none,
and returns lines of Markdown.
"""

import re
from typing import Any

from experiments.tools.earlier import today

NOT_RUN = ["not run"]


def made_by(result: dict[str, Any]) -> str:
    """Returns the command, without the other programs that ran beside ours, and the commit."""
    command = re.sub(r" --peer .*", " --peer ...", today(result["command"]))
    return f"`{command}`, code {result['commit'][:7]}"


def speed(result: dict[str, Any] | None) -> list[str]:
    """Returns the table of speeds, from the last kept run of the benchmark."""
    if result is None:
        return NOT_RUN
    lines = [
        f"{made_by(result)}, on {result['hardware']}. A large {result['settings']['precision']} matrix product runs there at "
        f"{result['matrix_gflop_per_second']:.0f} GFLOP/s, memory at {result['memory_gigabyte_per_second']:.0f} GB/s.",
        "",
        "| game | batch (images) | ms a round: median (least - most) | images/s | GFLOP/s | share of the matrix rate "
        "| whole loop over rounds alone | peak memory, MB (over needed) | their time over ours |",
        "|---" * 9 + "|",
    ]
    for name, game in result["games"].items():
        peers = [f"{_peer(peer['command'])} {peer['ratio']:.2f}" for peer in game.get("peers", ())]
        cells = [
            _game(name),
            str(game["batch_size"]),
            f"{game['ms']:.2f} ({game['ms_min']:.2f} - {game['ms_max']:.2f})",
        ]
        cells += [f"{game['images_per_second']:,.0f}", f"{game['gflop_per_second']:.0f}"]
        cells += [f"{game['share_of_matrix_rate']:.0%}", f"{1 + game['loop_overhead']:.2f}"]
        cells += [f"{game['peak_mb']:.0f} ({game['peak_mb'] / game['needed_mb']:.2f})", ", ".join(peers) or "not run"]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def growth(result: dict[str, Any] | None) -> list[str]:
    """Returns how the time of a round grows, and how long a start takes."""
    if result is None or "growth" not in result:
        return NOT_RUN
    starts = result["starts"]
    lines = [
        f"The first round of dcgan_mnist ends {starts['cold_seconds']:.1f} s after the process starts, and "
        f"{starts['warm_seconds']:.1f} s after it where an earlier start has left its compiled programs in the cache.",
        "",
        "| what grows | game | size: ms a round |",
        "|---" * 3 + "|",
    ]
    for what, rows in result["growth"].items():
        label = what.replace("members", "members (ms of one member)", 1)
        for game in dict.fromkeys(row["game"] for row in rows):
            game_rows = [row for row in rows if row["game"] == game]
            key = next(key for key in game_rows[0] if key != "game")
            sizes = ", ".join(f"{_size(row[key])}: {row['ms']:.2f}" for row in game_rows)
            lines.append(f"| {label} | {game} | {sizes} |")
    return lines


def _game(name: str) -> str:
    """The title of a game of the benchmark; for several seeds at once the numbers are per seed."""
    base, _, seeds = name.rpartition("_")
    return f"{base}, {seeds} seeds at once (numbers of one seed)" if base and seeds.isdigit() else name


def _peer(command: str) -> str:
    """The title of a peer: the flags of its command that have no values."""
    flags = re.findall(r" --([a-z][a-z-]*)(?= --| *$)", command)
    return "PyTorch " + (", ".join(flags) or "eager")


def _size(value: Any) -> str:
    return "x".join(map(str, value)) if isinstance(value, list) else str(value)


def torture(result: dict[str, Any] | None) -> list[str]:
    """Returns the outcome of the run that was killed again and again."""
    if result is None:
        return NOT_RUN
    phases = ", ".join(f"{count} while {phase}" for phase, count in result["killed while"].items())
    compared = result["compared"]
    outcome = f"{len(result['differences'])} differences from" if result["differences"] else "bit for bit as in"
    return [
        f"{made_by(result)}: {result['kills']} times SIGKILL ({phases}). In the end {compared['arrays']} arrays of the state, "
        f"{compared['rows']} rows of the log and {compared['pictures']} pictures are {outcome} the run left alone."
    ]


def equivalence(result: dict[str, Any] | None) -> list[str]:
    """Returns how far one round on several devices or processes is from the round on one."""
    if result is None:
        return NOT_RUN
    games = {name: of["largest relative difference"] for name, of in result["games"].items()}
    columns = list(next(iter(games.values())))
    where = sorted({of["hardware"] for of in result["games"].values()})
    lines = [f"`{result['command']}`, on {' and '.join(where)}.", ""]
    lines += ["| game | " + " | ".join([*columns, "code"]) + " |", "|---" * (len(columns) + 2) + "|"]
    return lines + [
        f"| {name} | {' | '.join(f'{row[key]:.0e}' for key in columns)} | {result['games'][name]['commit'][:7]} |"
        for name, row in games.items()
    ]


def references(result: dict[str, Any] | None) -> list[str]:
    """Returns how far the metrics are from the published packages."""
    if result is None:
        return NOT_RUN
    lines = [
        f"{made_by(result)}. Cases: {', '.join(result['cases'])}.",
        "",
        "| metric, package | largest difference |",
        "|---|---|",
    ]
    return lines + [f"| {name} | {value:.0e} |" for name, value in result["difference"].items()]


def costs(result: dict[str, Any] | None) -> list[str]:
    """Returns what metrics cost."""
    if result is None:
        return NOT_RUN
    lines = [
        f"{made_by(result)}, on {result['hardware']}: {result['count']:,} real and {result['count']:,} fake features of "
        f"{result['dimensions']:,} dimensions.",
        "",
        "| metric | seconds | peak memory of the process, GB |",
        "|---|---|---|",
    ]
    return lines + [
        f"| {name} | {cost['seconds']:.0f} | {cost['peak_mb'] / 1e3:.1f} |" for name, cost in result["metrics"].items()
    ]
