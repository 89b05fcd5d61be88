"""C: where learning from prioritized replay must come to, whatever the library."""

from __future__ import annotations

import numpy as np

from recollect.conformance.adapter import Settings
from recollect.conformance.cases import Make, case
from recollect.conformance.world import Place, Unfit, place_of

ROWS, REWARDED = 200, 20


@case("C1", "fixed point of Q-learning under prioritized replay", "proportional")
def fixed_point(make: Make) -> None:
    _rests_at(make, 1.0, 0.0)
    _rests_at(make, 0.6, 0.0)


@case("C1.weights", "fixed point with importance weights", "proportional", "raw weights")
def weighted_fixed_point(make: Make) -> None:
    _rests_at(make, 0.6, 0.4)
    _rests_at(make, 0.6, 1.0)


def _rests_at(make: Make, alpha: float, beta: float) -> None:
    """One state; of ten rows nine end with reward 0 and one with 10. Rows are drawn with
    P ~ |error| ** alpha and weighted with P ** -beta, so an update is expected to be the sum of
    |error| ** (alpha (1 - beta)) error over all rows, which is zero at the value below."""
    expected = 10 / (1 + 9 ** (1 / (1 + alpha * (1 - beta))))
    stage = make(
        Settings(capacity=2 * ROWS, sampler="proportional", alpha=alpha, beta=beta, weights="raw")
    )
    rewards = np.where(np.arange(ROWS) % 10 == 3, 10.0, 0.0)
    places = [(0, row, 0) for row in range(ROWS)]
    for place, reward in zip(places, rewards, strict=True):
        steps = stage.world.steps([place], ["T"])
        stage.adapter.add(steps | {"reward": np.array([reward], np.float32)}, [0])
        stage.world.append(place, "T")
        stage.adapter.end([0])
    keys = np.array(stage.keys_of(places))
    q, total, turns = 5.0, 0.0, 1000
    for turn in range(turns):
        if turn % 5 == 0:
            stage.adapter.update(keys, np.abs(rewards - q))
        batch = stage.adapter.sample(64)
        weight = np.asarray(batch.get("weight", 1.0), np.float64).ravel() if beta else 1.0
        errors = np.asarray(batch["reward"], np.float64).ravel() - q
        q += (100 + turn * 4) ** -0.6 * float(np.mean(weight * errors))
        total += q * (turn >= turns // 2)
    rested = total / (turns - turns // 2)
    if abs(rested - expected) > 0.1:
        raise Unfit(f"alpha {alpha}, beta {beta}: Q rests at {rested:.3f}, expected {expected:.3f}")


@case("C2", "Blind Cliffwalk: prioritized replay learns in 1.2 to 3 N updates", "proportional")
def blind_cliffwalk(make: Make) -> None:
    """Schaul et al. 2016, section 3.1 and appendix B.1, of 10 states. A tabular reference takes
    1.5 to 2.2 N, the median of ten runs; this is one run."""
    total = 2**11 - 2
    updates = _cliffwalk(make, seed=0)
    if not 1.2 * total <= updates <= 3 * total:
        raise Unfit(f"took {updates / total:.2f} N updates, N = {total}; uniform takes 10 to 19 N")


def _cliffwalk(make: Make, seed: int) -> float:
    """How many updates it takes until the mean squared error is below 0.001."""
    size = 10
    gamma = 1 - 1 / size
    settings = Settings(capacity=2**12, sampler="proportional", alpha=0.6, batch=1, seed=seed)
    stage = make(settings)
    random = np.random.default_rng(seed)
    truth = np.zeros((size, 2))
    for state in range(size):
        truth[state, state % 2] = gamma ** (size - 1 - state)
    rows = []
    for sequence in random.permutation(2**size).tolist():
        for state in range(size):
            right = bool(sequence >> state & 1)
            rows.append((state, state % 2 if right else 1 - state % 2, right))
            if not right:
                break
    rewarded = [right and state == size - 1 for state, _, right in rows]
    for number, reward in enumerate(rewarded):
        steps = stage.world.steps([_place(number)], ["T"])
        stage.adapter.add(steps | {"reward": np.array([reward], np.float32)}, [0])
        stage.adapter.end([0])
    q = random.normal(0, 0.1, (size, 2))
    for update in range(4 * len(rows)):
        batch = stage.adapter.sample(1)
        _, high, low = place_of(batch["obs"])[0].tolist()
        row = high * 1024 + low
        state, action, right = rows[row]
        goes_on = right and not rewarded[row]
        target = gamma * q[state + 1].max() if goes_on else float(rewarded[row])
        error = target - q[state, action]
        q[state, action] += 0.25 * error
        stage.adapter.update(np.asarray(batch["key"]), np.array([abs(error)]))
        if update % 8 == 0 and np.mean((q - truth) ** 2) < 1e-3:
            return update
    return float("inf")


def _place(number: int) -> Place:
    return 0, number // 1024, number % 1024
