"""Games of sequences of symbols, which are drawn one after another, so that no gradient goes through them: maximum likelihood, the
policy gradient of SeqGAN (Yu et al. 2017, arXiv:1609.05473), and soft symbols (Jang et al. 2017, arXiv:1611.01144).

A batch has "tokens" [b t] int32. `gen` is a `models.lstm.LanguageModel` or has its fields and methods. Samples are tokens, of noise [b t] from
N(0, I), a temperature [b] and the tokens that are given [b t], below 0 for none. The view "log_likelihood" is of tokens [b t] and
temperatures [b], ln p of each token [b t], 0 after the end of its line.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.game import Game, State
from gan_jax.games.network import logit_metrics, network
from gan_jax.losses import Loss
from gan_jax.system import mesh
from gan_jax.types import Array, Batch, Key, PyTree, rows_of

FREE = -1  # in the place of a symbol that is not given


def likelihood(gen: nn.Module) -> Game:
    """Returns the game without a discriminator: G maximises the likelihood of the data, "gen/nll" in nats a symbol. D learns nothing."""
    common = _Common(gen, None)

    def disc_loss(params: PyTree, state: State, batch: Batch, key: Key) -> tuple:
        none = 0.0 * params["none"]
        return none, (state.disc.stats, state.aux, {"disc/loss": none})

    def gen_loss(params: PyTree, state: State, batch: Batch, key: Key) -> tuple:
        total = common.nll(params, batch["tokens"])
        return total, (state.gen.stats, state.aux, {"gen/loss": total, "gen/nll": total})

    return common.game(disc_loss, gen_loss)


def reinforce(
    gen: nn.Module,
    disc: nn.Module,
    loss: Loss,
    *,
    likely: int,
    ahead: int = 0,
    rollouts: int = 16,
    baseline: float | None = None,
) -> Game:
    """Returns SeqGAN: for `likely` rounds G maximises the likelihood of the data, then the reward, D's probability that a sequence is real:

        -E[sum over t of ln p(y_t | y_<t) (Q_t - b_t)],    Q_t the mean reward of `rollouts` ends of y_<=t, drawn by G itself.

    Q of the last symbol is the reward of the sequence. Its expectation is the gradient of the expected reward, whatever b_t is:
    0, or with `baseline` the average of Q_t over the batches before, with that decay, in aux. D learns from `ahead` rounds before G
    follows it. Metrics: "gen/loss", "gen/nll", "gen/reward", "disc/loss" and those of logits, 0 where they are not computed.
    """
    common = _Common(gen, disc)
    disc_apply = network(disc)

    def reward_of(state: State, tokens: Array) -> jax.Array:
        logits: Any = disc.apply({"params": state.disc.params, **state.disc.stats}, tokens, train=False)
        return jax.nn.sigmoid(logits)

    def judged(params: PyTree, state: State, tokens: Array, key: Key) -> tuple:
        draw_key, real_key, fake_key = jax.random.split(key, 3)
        fake = common.drawn(state.gen.params, draw_key, tokens)
        real_logits, _ = disc_apply(params, state.disc.stats, real_key, tokens)
        fake_logits, _ = disc_apply(params, state.disc.stats, fake_key, fake)
        return real_logits, fake_logits

    def gen_loss(params: PyTree, state: State, batch: Batch, key: Key) -> tuple:
        tokens = batch["tokens"]

        def fitted() -> tuple:
            nll = common.nll(params, tokens)
            return nll, state.aux, {"gen/loss": nll, "gen/nll": nll, "gen/reward": jnp.zeros_like(nll)}

        def rewarded() -> tuple:
            draw_key, ends_key = jax.random.split(key)
            own = jax.lax.stop_gradient(params)
            fake = common.drawn(own, draw_key, tokens)
            values = action_values(
                lambda begun, key: reward_of(state, common.drawn(own, key, begun, begun)), fake, ends_key, rollouts
            )
            values = values.at[:, -1].set(reward_of(state, fake))
            aux, level = state.aux, jnp.zeros((1, fake.shape[1]))
            if baseline is not None:
                level = aux["baseline"][None]
                aux = {"baseline": baseline * aux["baseline"] + (1 - baseline) * values.mean(0)}
            total = -jnp.mean(jnp.sum(common.logs(params, fake) * (values - level), 1))
            # Of the data, told but not followed.
            nll = jax.lax.stop_gradient(common.nll(own, tokens))
            return total, aux, {"gen/loss": total, "gen/nll": nll, "gen/reward": values[:, -1].mean()}

        total, aux, metrics = jax.lax.cond(state.step < likely, fitted, rewarded)
        return total, (state.gen.stats, jax.lax.stop_gradient(aux), metrics)

    def first(batch: Batch) -> PyTree:
        return {} if baseline is None else {"baseline": jnp.zeros(batch["tokens"].shape[1], jnp.float32)}

    return common.game(_judging(loss, likely - ahead, judged), gen_loss, first)


def soft(
    gen: nn.Module,
    disc: nn.Module,
    loss: Loss,
    *,
    likely: int,
    sharpness: Callable[[jax.Array], Any],
    hard: bool = False,
    ahead: int = 0,
) -> Game:
    """Returns the game in which G gives D softmax(s (logits + Gumbel noise)) of each symbol, so that gradients go through it; s is
    `sharpness` of the round after the `likely` ones, in which G maximises the likelihood of the data.

    D is given shares of symbols [b t k], of the data ones and zeros; with `hard` also of G, whose gradient is then that of the soft shares
    (straight-through): else D need only look how sharp they are. It learns from `ahead` rounds before G follows it. Metrics as
    `reinforce`'s, without the reward, and "gen/sharpness".
    """
    common = _Common(gen, disc)
    disc_apply = network(disc)

    def shares_of(params: PyTree, key: Key, tokens: Array, step: jax.Array) -> jax.Array:
        rows, length = tokens.shape
        noise = mesh.split_rows(jax.random.gumbel(key, (rows, length, common.gen.symbols)))
        at = jnp.asarray(sharpness(jnp.maximum(step - likely, 0)), jnp.float32)
        return common.gen.apply({"params": params}, noise, at, hard, method="soft")[0]

    def both(params: PyTree, state: State, gen_params: PyTree, tokens: Array, key: Key) -> tuple:
        draw_key, real_key, fake_key = jax.random.split(key, 3)
        real = jax.nn.one_hot(tokens, common.gen.symbols)
        fake = shares_of(gen_params, draw_key, tokens, state.step)
        real_logits, _ = disc_apply(params, state.disc.stats, real_key, real)
        fake_logits, _ = disc_apply(params, state.disc.stats, fake_key, fake)
        return real_logits, fake_logits

    def judged(params: PyTree, state: State, tokens: Array, key: Key) -> tuple:
        return both(params, state, state.gen.params, tokens, key)

    def gen_loss(params: PyTree, state: State, batch: Batch, key: Key) -> tuple:
        tokens = batch["tokens"]

        def fitted() -> tuple:
            nll = common.nll(params, tokens)
            return nll, {"gen/loss": nll, "gen/nll": nll}

        def played() -> tuple:
            real_logits, fake_logits = both(state.disc.params, state, params, tokens, key)
            total = loss.gen(real=real_logits, fake=fake_logits)
            nll = jax.lax.stop_gradient(common.nll(jax.lax.stop_gradient(params), tokens))
            return total, {"gen/loss": total, "gen/nll": nll}

        total, metrics = jax.lax.cond(state.step < likely, fitted, played)
        at = jnp.asarray(sharpness(jnp.maximum(state.step - likely, 0)), jnp.float32)
        return total, (state.gen.stats, state.aux, {**metrics, "gen/sharpness": at})

    return common.game(_judging(loss, likely - ahead, judged), gen_loss)


def action_values(reward: Callable[[Array, Key], jax.Array], tokens: Array, key: Key, rollouts: int) -> jax.Array:
    """Returns Q [b t], the mean of reward(begun, key) over `rollouts` keys, where the first t of the `begun` tokens are those given, and the
    others FREE; of the last column, for which nothing is left to draw, too.
    """
    rows, length = tokens.shape
    known = jnp.arange(length)[None] <= jnp.arange(length)[:, None]  # [t of the prefix, t]
    begun = jnp.where(known[None], jnp.asarray(tokens)[:, None], FREE)[:, :-1].reshape(-1, length)  # [b (t-1), t]

    def one(key: Key) -> jax.Array:
        return reward(begun, key)

    # One after another: all at once hold b t k n numbers.
    mean = jax.lax.map(one, jax.random.split(key, rollouts)).mean(0).reshape(rows, length - 1)
    return jnp.pad(mean, ((0, 0), (0, 1)))


class _Common:
    """What these games share: the likelihood, drawing, the views, and samples."""

    def __init__(self, gen: nn.Module, disc: nn.Module | None):
        self.gen: Any = gen  # of whose results mypy knows nothing
        self.disc = disc

    def logs(self, params: PyTree, tokens: Array, temperature: Array | None = None) -> jax.Array:
        """ln p of each token, 0 after the end of its line. [b t]"""
        logits = self.gen.apply({"params": params}, tokens)
        if temperature is not None:
            logits = logits / jnp.asarray(temperature)[:, None, None]
        of = jnp.take_along_axis(jax.nn.log_softmax(logits), jnp.asarray(tokens)[..., None], -1)[..., 0]
        return jnp.where(self.within(tokens), of, 0.0)

    def within(self, tokens: Array) -> jax.Array:
        """Which tokens belong to their lines: all up to the first end."""
        ends = jnp.asarray(tokens) == self.gen.end
        return jnp.cumsum(ends, 1) - ends == 0

    def nll(self, params: PyTree, tokens: Array) -> jax.Array:
        return -jnp.sum(self.logs(params, tokens)) / jnp.sum(self.within(tokens))

    def drawn(self, params: PyTree, key: Key, like: Array, given: Array | None = None) -> jax.Array:
        uniform = mesh.split_rows(jax.random.uniform(key, like.shape))
        given = jnp.full(like.shape, FREE, jnp.int32) if given is None else given
        return self.gen.apply({"params": params}, uniform, jnp.ones(like.shape[0]), given, method="draw")

    def game(self, disc_loss: Any, gen_loss: Any, first: Callable[[Batch], PyTree] = lambda batch: {}) -> Game:
        def init(key: Key, batch: Batch) -> tuple[PyTree, PyTree, PyTree]:
            gen_key, disc_key = jax.random.split(key)
            gen = self.gen.init(gen_key, batch["tokens"])
            none = {"params": {"none": jnp.zeros(())}}
            disc = none if self.disc is None else self.disc.init(disc_key, batch["tokens"], train=False)
            return gen, disc, first(batch)

        def inputs(key: Key, batch: Batch) -> tuple:
            rows, length = rows_of(batch), batch["tokens"].shape[1]
            return (
                jax.random.normal(key, (rows, length)),
                batch.get("temperature", jnp.ones(rows)),
                batch.get("given", jnp.full((rows, length), FREE, jnp.int32)),
            )

        def sample(params: PyTree, stats: PyTree, z: Array, temperature: Array, given: Array) -> Any:
            uniform = jax.scipy.stats.norm.cdf(z)
            return self.gen.apply({"params": params}, uniform, temperature, given, method="draw")

        def logs(state: State, tokens: Array, temperature: Array) -> jax.Array:
            return self.logs(state.gen.params, tokens, temperature)

        return Game(init, disc_loss, gen_loss, sample, None, inputs, views={"log_likelihood": logs})


def _judging(loss: Loss, begins: int, judged: Callable[..., tuple]) -> Callable[..., tuple]:
    """D's loss of the logits that `judged(params, state, tokens, key)` gives of real and fake rows; zeros before round `begins`."""

    def disc_loss(params: PyTree, state: State, batch: Batch, key: Key) -> tuple:
        def compute() -> tuple:
            real_logits, fake_logits = judged(params, state, batch["tokens"], key)
            total = loss.disc(real=real_logits, fake=fake_logits)
            return total, {"disc/loss": total, **logit_metrics(real_logits, fake_logits)}

        shapes = jax.eval_shape(compute)

        def zeros() -> tuple:
            return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)

        total, metrics = jax.lax.cond(state.step >= begins, compute, zeros)
        return total, (state.disc.stats, state.aux, metrics)

    return disc_loss
