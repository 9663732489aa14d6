"""Games of sequences: what is exact on a vocabulary whose sequences can all be listed, and the oracle."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import dcgan_digits, mle_names
from gan_jax import losses
from gan_jax.commands import sample
from gan_jax.data import texts
from gan_jax.evaluation import oracle, reading
from gan_jax.game import Average, Player, State
from gan_jax.games.sequence import action_values, likelihood, reinforce, soft
from gan_jax.models.lstm import LanguageModel, chosen
from gan_jax.models.text_cnn import PUBLISHED, Discriminator
from gan_jax.types import UserError

KEY = jax.random.key(0)
ALL = np.array([*itertools.product(range(3), repeat=2)], np.int32)  # [9 2]
FEW = ((1, 4), (2, 4))


def count(variables):
    return sum(x.size for x in jax.tree.leaves(variables["params"]))


def state_of(game, batch, step=0, key=KEY):
    gen, disc, aux = game.init(key, batch)
    gen, disc = (Player(x["params"], {}, ()) for x in (gen, disc))
    return State(jnp.int32(step), gen, disc, Average(gen.params, {}), aux)


def test_published_counts():
    tokens = jnp.zeros((1, 20), jnp.int32)
    net, disc = LanguageModel(5_000), Discriminator(5_000, PUBLISHED, outputs=2)
    assert count(jax.eval_shape(lambda: net.init(KEY, tokens))) == 333_320
    assert count(jax.eval_shape(lambda: disc.init(KEY, tokens, train=False))) == 7_045_402


def test_logits_hang_on_what_came_before_alone():
    net, tokens = LanguageModel(5, 8, 6, std=1.0), jax.random.randint(KEY, (3, 6), 0, 5)
    params = net.init(KEY, tokens)
    logits = net.apply(params, tokens)
    for t in range(6):
        other = net.apply(params, tokens.at[:, t].set((tokens[:, t] + 1) % 5))
        np.testing.assert_array_equal(other[:, : t + 1], logits[:, : t + 1])
        assert t == 5 or float(jnp.abs(other[:, t + 1] - logits[:, t + 1]).min(1).max()) > 0


@pytest.mark.parametrize("k", [2, 7, 27, 53, 101])
def test_a_draw_is_the_share_that_a_number_lies_in(k):
    logits, n = 2 * jax.random.normal(KEY, (1, k)), 50_000
    found = chosen(jnp.broadcast_to(logits, (n, k)), (jnp.arange(n) + 0.5) / n)
    np.testing.assert_allclose(np.bincount(found, minlength=k) / n, jax.nn.softmax(logits)[0], atol=2.1 / n)
    assert (np.diff(found) >= 0).all()
    assert chosen(jnp.array([[0.0, -jnp.inf]]), jnp.ones(1)).tolist() == [0]


def test_draws_are_as_likely_as_the_logits_say():
    net = LanguageModel(3, 4, 4, std=1.0)
    params = net.init(KEY, ALL)
    logs = jax.nn.log_softmax(net.apply(params, ALL))
    p = np.exp(np.take_along_axis(np.asarray(logs), ALL[..., None], -1).sum((1, 2)))
    assert p.sum() == pytest.approx(1, abs=1e-6)
    n = 40_000
    uniform = jax.random.uniform(KEY, (n, 2))
    found = np.asarray(net.apply(params, uniform, jnp.ones(n), jnp.full((n, 2), -1), method="draw"))
    shares = np.bincount(found @ [3, 1], minlength=9) / n
    assert (np.abs(shares - p) < 5 * np.sqrt(p / n)).all()
    cold = net.apply(params, uniform, jnp.full(n, 1e-3), jnp.full((n, 2), -1), method="draw")
    assert len({*map(tuple, np.asarray(cold).tolist())}) == 1
    given = net.apply(params, uniform, jnp.ones(n), jnp.broadcast_to(jnp.array([2, -1]), (n, 2)), method="draw")
    second = np.bincount(np.asarray(given)[:, 1], minlength=3) / n
    np.testing.assert_allclose(second, p[6:] / p[6:].sum(), atol=0.02)
    assert (given[:, 0] == 2).all()


def test_after_an_end_there_are_ends():
    net = LanguageModel(3, 4, 4, start=3, end=2, std=1.0)
    params = net.init(KEY, ALL)
    uniform = jax.random.uniform(KEY, (500, 6))
    drawn = net.apply(params, uniform, jnp.ones(500), jnp.full((500, 6), -1), method="draw")
    shares, hard = net.apply(params, jax.random.gumbel(KEY, (500, 6, 3)), jnp.float32(1), method="soft")
    for tokens in map(np.asarray, (drawn, hard)):
        ended = np.cumsum(tokens == 2, 1) - (tokens == 2) > 0
        assert (tokens[ended] == 2).all() and 0 < ended.mean() < 1
    assert (np.asarray(shares)[ended] == [0, 0, 1]).all()


def test_the_likelihood_counts_lines_to_their_ends():
    net = LanguageModel(3, 4, 4, start=3, end=2, std=1.0)
    game, tokens = likelihood(net), jnp.array([[0, 2, 2, 2], [0, 1, 0, 1], [2, 2, 2, 2]])
    state = state_of(game, {"tokens": tokens})
    logs = jax.nn.log_softmax(net.apply({"params": state.gen.params}, tokens))
    kept = [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (1, 3), (2, 0)]
    expected = -np.mean([logs[i, t, tokens[i, t]] for i, t in kept])
    found, (_, _, told) = game.gen_loss(state.gen.params, state, {"tokens": tokens}, KEY)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert float(told["gen/nll"]) == float(found)
    seen = game.views["log_likelihood"](state, tokens, jnp.ones(3))
    np.testing.assert_allclose(-seen.sum() / 7, expected, rtol=1e-6)
    assert (np.asarray(seen)[0, 2:] == 0).all()
    total = game.views["log_likelihood"](
        state, jnp.array([[0, 2], [1, 2], [2, 2], [0, 0], [0, 1], [1, 0], [1, 1]]), jnp.full(7, 0.5)
    )
    np.testing.assert_allclose(np.exp(total.sum(1)).sum(), 1, rtol=1e-5)  # all lines of up to two symbols


# -- the policy gradient


@pytest.fixture
def listed():
    """A net, its parameters, rewards of all nine sequences, and the gradient of the expected reward."""
    net, rewards = LanguageModel(3, 4, 4, std=1.0), jax.random.uniform(jax.random.key(1), (3, 3))
    params = net.init(KEY, ALL)["params"]

    def logs(params):
        of = jax.nn.log_softmax(net.apply({"params": params}, ALL))
        return jnp.take_along_axis(of, ALL[..., None], -1)[..., 0]  # [9 2]

    exact = jax.grad(lambda params: jnp.sum(jnp.exp(logs(params).sum(1)) * rewards.reshape(-1)))(params)
    return net, params, rewards, logs, exact


@pytest.mark.parametrize("level", [0.0, 0.7])
def test_its_expectation_is_the_gradient_of_the_expected_reward(listed, level):
    _, params, rewards, logs, exact = listed
    p = jnp.exp(logs(params).sum(1)).reshape(3, 3)

    def reward(begun, key):  # exactly, instead of by drawing
        mean = (p * rewards).sum(1) / p.sum(1)
        return jnp.where(begun[:, 1] < 0, mean[begun[:, 0]], rewards[begun[:, 0], begun[:, 1]])

    values = action_values(reward, jnp.asarray(ALL), KEY, 3)
    values = values.at[:, -1].set(reward(jnp.asarray(ALL), KEY))

    def loss(params):
        return jnp.sum(p.reshape(-1) * jnp.sum(logs(params) * (values - level), 1))

    for a, b in zip(jax.tree.leaves(jax.grad(loss)(params)), jax.tree.leaves(exact), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    # The reward of whole sequences at all times is right as well; another value of the first symbol is not.
    wrong = values.at[:, 0].mul(0.9)
    biased = jax.grad(lambda params: jnp.sum(p.reshape(-1) * jnp.sum(logs(params) * wrong, 1)))(params)
    assert max(float(jnp.abs(a - b).max()) for a, b in zip(*map(jax.tree.leaves, (biased, exact)), strict=True)) > 1e-3


@pytest.mark.parametrize("baseline", [None, 0.9])
def test_the_game_of_rewards(listed, baseline):
    net = listed[0]
    disc = Discriminator(3, FEW)
    game = reinforce(net, disc, losses.non_saturating(), likely=5, ahead=2, rollouts=2, baseline=baseline)
    tokens = jnp.tile(jnp.asarray(ALL), (10_000, 1))
    batch = {"tokens": tokens}
    state = state_of(game, batch, 5)
    state = state.replace(disc=state.disc.replace(params=jax.tree.map(lambda x: 3 * x, state.disc.params)))
    judged = jax.nn.sigmoid(disc.apply({"params": state.disc.params}, ALL, train=False))

    def expected(params):
        of = jax.nn.log_softmax(net.apply({"params": params}, ALL))
        return jnp.sum(jnp.exp(jnp.take_along_axis(of, ALL[..., None], -1).sum((1, 2))) * judged)

    exact = jax.grad(expected)(state.gen.params)
    grad, (_, aux, told) = jax.grad(game.gen_loss, has_aux=True)(state.gen.params, state, batch, KEY)
    scale = max(float(jnp.abs(x).max()) for x in jax.tree.leaves(exact))
    for a, b in zip(jax.tree.leaves(grad), jax.tree.leaves(exact), strict=True):
        np.testing.assert_allclose(-a, b, atol=6e-3)
    assert scale > 0.02
    assert float(told["gen/reward"]) == pytest.approx(float(expected(state.gen.params)), abs=0.01)
    if baseline:
        np.testing.assert_allclose(aux["baseline"], 0.1 * float(told["gen/reward"]), rtol=0.05)
    # Before, G maximises the likelihood, and D waits, but for the last two rounds.
    early = state.replace(step=jnp.int32(2))
    total, (_, _, told) = game.gen_loss(state.gen.params, early, batch, KEY)
    assert float(total) == float(told["gen/nll"]) and float(told["gen/reward"]) == 0
    of_disc = {
        step: float(game.disc_loss(state.disc.params, state.replace(step=jnp.int32(step)), batch, KEY)[0])
        for step in (2, 3, 5)
    }
    assert of_disc[2] == 0 and of_disc[3] > 0.5 and of_disc[5] == pytest.approx(of_disc[3])


def test_what_is_begun_is_kept_in_every_rollout():
    seen = []

    def reward(begun, key):
        jax.debug.callback(lambda x: seen.append(np.asarray(x)), begun)
        return begun.astype(jnp.float32).sum(1)

    values = action_values(reward, jnp.array([[1, 2, 3]]), KEY, 1)
    jax.effects_barrier()
    assert seen[0].tolist() == [[1, -1, -1], [1, 2, -1]] and values.tolist() == [[-1, 2, 0]]


# -- soft symbols


def fixed(difference, rows):
    """A net of two symbols whose logits are (difference, 0), and noise for one of them in each row."""
    net = LanguageModel(2, 2, 2, std=0.0)
    params = net.init(KEY, jnp.zeros((1, 1), jnp.int32))["params"]
    params["out"]["bias"] = jnp.array([difference, 0.0])
    return net, params, jax.random.gumbel(jax.random.key(2), (rows, 1, 2))


@pytest.mark.parametrize("tau, slope", [(2, 0.1029), (1, 0.1509), (0.5, 0.1816), (0.2, 0.1942), (0.1, 0.1960)])
def test_slopes_of_soft_symbols_in_closed_form(tau, slope):
    """By quadrature; at 0 it is the slope of the logistic function, .19661."""
    net, params, noise = fixed(1.0, 100_000)

    def mean(params, hard=False):
        return net.apply({"params": params}, noise, jnp.float32(1 / tau), hard, method="soft")[0][..., 0].mean()

    for hard in (False, True):
        assert float(jax.grad(mean)(params, hard)["out"]["bias"][0]) == pytest.approx(slope, abs=0.006)
    assert float(mean(params, True)) == pytest.approx(0.7311, abs=0.006)  # draws from softmax
    if tau == 0.1:
        assert float(mean(params)) == pytest.approx(0.7296, abs=0.006)


def test_the_game_of_soft_symbols():
    net, disc = LanguageModel(3, 4, 4, std=1.0), Discriminator(3, FEW, dropout=0.0)
    options = dict(likely=2, sharpness=lambda step: 2.0**step)
    games = [soft(net, disc, losses.relativistic_paired(), hard=hard, **options) for hard in (False, True)]
    batch = {"tokens": jnp.asarray(ALL)}
    state = state_of(games[0], batch, 4)
    for game, hard in zip(games, (False, True), strict=True):
        total, (_, _, told) = game.gen_loss(state.gen.params, state, batch, KEY)
        assert float(told["gen/sharpness"]) == 4 and float(total) != float(told["gen/nll"])
        noise = jax.random.gumbel(jax.random.split(KEY, 3)[0], (9, 2, 3))
        fake, tokens = net.apply({"params": state.gen.params}, noise, jnp.float32(4), hard, method="soft")
        if hard:
            np.testing.assert_allclose(fake, jax.nn.one_hot(tokens, 3), atol=1e-6)
        real, made = (disc.apply({"params": state.disc.params}, x, train=False) for x in (jax.nn.one_hot(ALL, 3), fake))
        np.testing.assert_allclose(total, jax.nn.softplus(real - made).mean(), rtol=1e-5)
        slopes = jax.grad(lambda params, game=game: game.gen_loss(params, state, batch, KEY)[0])(state.gen.params)
        assert max(float(jnp.abs(x).max()) for x in jax.tree.leaves(slopes)) > 1e-4
    early, (_, _, told) = games[0].gen_loss(state.gen.params, state.replace(step=jnp.int32(1)), batch, KEY)
    assert float(early) == float(told["gen/nll"]) and float(told["gen/sharpness"]) == 1
    tokens, shares = (disc.apply({"params": state.disc.params}, x, train=False) for x in (ALL, jax.nn.one_hot(ALL, 3)))
    np.testing.assert_allclose(tokens, shares, rtol=1e-6)  # a symbol, or all of its share


# -- the oracle, and lines


def test_an_oracle_knows_what_it_wrote():
    writer = oracle.Oracle(30, 5, 0, width=8)
    held = writer.sequences(2_000, 1)
    assert held.shape == (2_000, 5) and (held == oracle.Oracle(30, 5, 0, width=8).sequences(2_000, 1)).all()
    assert (
        not (held == writer.sequences(2_000, 2)).all()
        and not (held == oracle.Oracle(30, 5, 1, width=8).sequences(2_000, 1)).all()
    )
    uniform = np.random.default_rng(0).integers(0, 30, held.shape)
    assert writer.nll(held).mean() < np.log(30) < writer.nll(uniform).mean()
    net = LanguageModel(30, 8, 8, std=1.0)
    logs = jax.nn.log_softmax(net.apply(net.init(jax.random.key(0), held[:1]), held[:7]))
    by_hand = -np.take_along_axis(np.asarray(logs), held[:7, :, None], -1)[..., 0].mean(1)
    np.testing.assert_allclose(writer.nll(held[:7]), by_hand, rtol=1e-5)

    class Same:
        """Writes what the oracle writes, and is as sure of it."""

        def __call__(self, batch):
            assert (batch["temperature"] == batch["temperature"][0]).all()
            return writer.sequences(2_000, 3)

        def ask(self, view, tokens, temperature):
            return np.full(tokens.shape, -2.0)

    found = oracle.measures(writer, held).final(Same())
    assert found["nll_oracle"].value == pytest.approx(found["nll_oracle"].protocol["answers"]["real"], rel=0.03)
    assert found["nll_test"].value == found["nll_test_at_1.5"].value == 2
    assert len(found) == 2 * (1 + len(oracle.COOLER))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    home = tmp_path_factory.mktemp("names")
    common = dict(width=8, embedding=4, steps=2, batch_size=8, devices=1, sample_every=0, evaluate_every=0)
    mle_names.main(mle_names.Config(workdir=str(home / "lines"), **common))
    (home / "words.txt").write_text("\n".join(f"the {a} {b}" for a in "abcdefg" for b in ("sat", "ran", "saw", "ate")))
    mle_names.main(
        mle_names.Config(workdir=str(home / "words"), data=str(home / "words.txt"), unit="words", length=5, **common)
    )
    dcgan_digits.main(
        dcgan_digits.Config(workdir=str(home / "digits"), width=2, steps=1, batch_size=8, features="none", devices=1)
    )
    return home


def test_a_line_that_is_begun_is_completed(run, tmp_path):
    sample.main(sample.Config(run=str(run / "lines"), begin="ka", count=30, out="ka.txt"))
    lines = (tmp_path / "ka.txt").read_text().splitlines()
    assert len(lines) == 30 and all(line.startswith("ka") for line in lines) and len({*lines}) > 10
    sample.main(sample.Config(run=str(run / "words"), begin="the a", count=20, out="the.txt"))
    for line in (tmp_path / "the.txt").read_text().splitlines():
        words = line.split(" ")
        assert words[:2] == ["the", "a"] and {*words} <= {*"abcdefg", "the", "sat", "ran", "saw", "ate"}


def test_temperatures(run, tmp_path):
    for temperature in (1e-4, 5.0):
        sample.main(sample.Config(run=str(run / "lines"), temperature=temperature, count=40, out=f"{temperature}.txt"))
    cold, hot = (len({*(tmp_path / f"{t}.txt").read_text().splitlines()}) for t in (1e-4, 5.0))
    assert cold <= 3 < 30 < hot
    for flags, text in (({"truncation": 0.5}, "--temperature 0.7 is for that"), ({"temperature": -1.0}, "more than 0")):
        with pytest.raises(UserError, match=text):
            sample.main(sample.Config(run=str(run / "lines"), out="x.txt", **flags))


@pytest.mark.parametrize(
    "which, begin, text",
    [
        ("lines", "kX", "has not learnt 'X'"),
        ("lines", "k" * 13, "13 symbols, and .* writes 12 at most"),
        ("words", "the cat", "has not learnt 'cat'"),
        ("digits", "a", "does not write the letters or words"),
    ],
)
def test_beginnings_that_are_refused(run, which, begin, text):
    with pytest.raises(UserError, match=text):
        sample.main(sample.Config(run=str(run / which), begin=begin, out="x" if which == "digits" else "x.txt"))


def test_words_and_stretches(tmp_path):
    (tmp_path / "a.txt").write_text("\n".join(f"{a} {b} two" for a in "abcdef" for b in "ghijkl"))
    learnt, test = texts.load(str(tmp_path / "a.txt"), length=3, unit="words")
    assert (len(learnt.lines), len(test.lines)) == (33, 3) and {*learnt.words} == {*"abcdefghijkl", "two"}
    read = texts.spelled(learnt.lines + test.lines, learnt.alphabet, learnt.words)
    assert {*read} == {f"{a} {b} two" for a in "abcdef" for b in "ghijkl"}
    numbers = texts.encoded(learnt.lines, learnt.alphabet, 3)
    assert numbers.shape == (33, 4) and texts.decoded(numbers, learnt.alphabet) == [*learnt.lines]
    (tmp_path / "b.txt").write_text("".join(map(chr, np.random.default_rng(0).integers(97, 123, 1_000))))
    learnt, test = texts.load(str(tmp_path / "b.txt"), length=8, stream=True)
    assert not learnt.ends and learnt.symbols == 26 and all(len(line) == 8 for line in learnt.lines + test.lines)
    held = texts.source_of(learnt, 4, 0)
    assert held.spec.shape == (8,) and held[0]["tokens"].shape == (4, 8) and held.spec.meta["symbols"] == 26


def test_measures_of_likelihood_beside_those_of_n_grams():
    learnt, test = texts.load("syllables", length=12)

    class Uniform:
        def __call__(self, rows):
            count = rows if isinstance(rows, int) else len(rows["tokens"])
            return texts.encoded(test.lines[:count], learnt.alphabet, 12)

        def ask(self, view, tokens, temperature):
            within = np.cumsum(tokens == 14, 1) - (tokens == 14) == 0
            return np.where(within, -np.log(15.0), 0.0)

    evaluate = reading.measures(learnt, test, lambda x: texts.decoded(x, learnt.alphabet), likely=True)
    found = evaluate.final(Uniform())
    assert found["nll"].value == pytest.approx(np.log(15)) and found["js_3"].value == 0 and found["found"].value == 1
    assert found["nll_at_0.7"].protocol["temperature"] == 0.7
    answers = found["nll"].protocol["answers"]
    assert max(answers.values()) < np.log(15) and {*answers} == {"5-grams", "2-grams"}
