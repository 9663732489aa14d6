"""Tables of texts: lines beside real ones and n-grams, at several temperatures, and sequences beside the oracle that wrote the data."""

from experiments.tools.given import answered
from experiments.tools.kept import head, measured, read, row, value
from gan_jax.evaluation.oracle import COOLER
from gan_jax.evaluation.reading import TEMPERATURES

READ = {
    "nll": ("-ln p of lines held out (nats a character)", ".3f"),
    "js_1": ("JS of characters (bits)", ".4f"),
    "js_3": ("of 3-grams", ".3f"),
    "js_5": ("of 5-grams", ".3f"),
    "distinct": ("distinct (share)", ".3f"),
    "copied": ("copied from what was learnt (share)", ".3f"),
    "nll_5_grams": ("-ln p by 5-grams", ".3f"),
}
LINES = {
    "mle_names_names": "LSTM, maximum likelihood",
    "gumbel_names": "the same, then a GAN by soft symbols",
    "wgan_gp_text": "WGAN-GP",
}
STRETCHES = {"mle_names_tinyshakespeare": "LSTM, maximum likelihood"}
WRITTEN = {
    "nll_oracle": ("-ln p by the oracle of what G writes (nats a symbol)", ".3f"),
    "nll_test": ("-ln p by G of what the oracle writes", ".3f"),
}
WAYS = {"seqgan_oracle_mle": "maximum likelihood", "seqgan_oracle_seqgan": "SeqGAN"}
TITLES = {
    "real": "what the oracle writes",
    "shuffled": "that, its symbols in another order",
    "uniform": "uniform symbols",
}


def lines() -> list[str]:
    real = {"real": "real lines"}
    stretches = answered("tiny Shakespeare, stretches of 32", STRETCHES, READ, {"real": "real stretches"})
    return [*answered("names", LINES, READ, real), "", *stretches]


def temperatures() -> list[str]:
    """The share of copies and the divergence of 3-grams at each temperature."""
    shown = {"js_3": "JS of 3-grams", "distinct": "distinct", "copied": "copied"}
    at = [("", "1"), *((f"_at_{t:g}", f"{t:g}") for t in TEMPERATURES)]
    at = sorted(at, key=lambda pair: float(pair[1]))
    out = head("names, at temperatures", *(f"{title}, {t}" for title in shown.values() for _, t in at))
    for name, title in LINES.items():
        if name != "wgan_gp_text":  # which has none
            found = measured(read(name))
            out.append(row(title, *(value(found.get(key + after), ".3f") for key in shown for after, _ in at)))
    return out


def oracles() -> list[str]:
    sweep = head("at 1 / temperature", *(f"{what}, {c:g}" for what in ("by the oracle", "by G") for c in COOLER))
    for name, title in WAYS.items():
        found = measured(read(name))
        cells = (value(found.get(f"{key}_at_{c:g}"), ".2f") for key in WRITTEN for c in COOLER)
        sweep.append(row(title, *cells))
    return [*answered("an oracle of 5,000 symbols", WAYS, WRITTEN, TITLES), "", *sweep]
