"""Tables of texts, beside real lines and n-grams."""

from experiments.tools.given import answered

READ = {
    "js_1": ("JS of characters (bits)", ".4f"),
    "js_3": ("of 3-grams", ".3f"),
    "js_5": ("of 5-grams", ".3f"),
    "distinct": ("distinct (share)", ".3f"),
    "copied": ("copied from what was learnt (share)", ".3f"),
    "nll_5_grams": ("-ln p by 5-grams (nats a character)", ".3f"),
}


def read() -> list[str]:
    return answered("names", {"wgan_gp_text": "WGAN-GP"}, READ)
