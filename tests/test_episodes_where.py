"""Readers of chosen episodes, beside the oracle that asks the same question of its own."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

import recollect as rc
from oracle import Chosen, Look, Relabelled, Whole, Windows
from views.play import Life, play, small_schema

LOOKS = [
    Look(),
    Look(n=3, gamma=0.9, stack=2),
    Windows(6, stride=2, n=2, gamma=0.9, bootstrap=True),
    Windows(4, pad=False),
    Windows(5, cross_episodes=True),
    Windows(4, stride=3, cross_episodes=True),
    Whole(9),
    Whole(7, by="step", longer="skip"),
    Relabelled(Look(n=2, gamma=0.9), "place", lambda a, b: -np.abs(a - b).sum() / 2),
]
QUESTIONS = {
    "return": lambda episode: episode.episode_return > 0.5,
    "length": lambda episode: episode.length % 3 != 1,
    "whole": lambda episode: episode.held == episode.length,
    "end": lambda episode: episode.end == "terminated" or episode.stream == 1,
    "field": lambda episode: bool(episode["action"][0] % 3),
}


@pytest.mark.parametrize("streams", [None, 3])
@pytest.mark.parametrize("question", QUESTIONS)
def test_random_lives_agree_with_the_oracle(question: str, streams: int | None) -> None:
    looks = [Chosen(look, QUESTIONS[question]) for look in LOOKS]
    seed = 7 * list(QUESTIONS).index(question) + (streams or 0)
    life = Life(seed, looks, "dict", streams, size=24, longest=12)
    life.live(50)
    answers = [answer for look in looks for answer in look.answers.values()]
    assert life.seen > 300
    assert 0.02 < np.mean(answers) < 0.98


def small_memory(trajectory: str, capacity: int = 100, **more: Any) -> rc.Memory:
    memory = rc.Memory(small_schema(), capacity, seed=0, **more)
    play(trajectory, memory)
    return memory


def drawn(reader: Any) -> set[int]:
    """The episodes whose steps are drawn."""
    return set((reader.sample(200).action // 1000).tolist())


def test_chosen_by_hand() -> None:
    memory = small_memory("3T 5U 1B 4C 2T 6.")
    # returns are sums of 2**t, and 100 times the number of the episode for each step
    for where, episodes in [
        (lambda episode: episode.length > 2, {0, 1, 3}),
        (lambda episode: episode.end == "truncated", {1, 3}),
        (lambda episode: episode.terminated, {0, 2, 4}),
        (lambda episode: episode.episode_return > 400, {1, 3, 4}),
        (lambda episode: episode["obs"][-1, 1] == 2, {4}),
        (lambda episode: np.bool_(episode["reward"][0] == 1), {0}),
    ]:
        assert drawn(memory.reader(where=where)) == episodes


def test_an_episode_is_asked_about_once_and_when_it_has_ended() -> None:
    memory = small_memory("3T 2.")
    asked: list[tuple[int, str]] = []

    def where(episode: Any) -> bool:
        asked.append((episode.length, episode.end))
        return episode.length == 3

    reader = memory.reader(where=where)
    assert asked == []
    assert drawn(reader) == {0}
    assert asked == [(3, "terminated")]
    memory.cut()
    play("3T 2U", memory, first=2)
    assert reader.eligible == 6
    assert reader.eligible == 6
    assert asked == [(3, "terminated"), (2, "truncated"), (3, "terminated"), (2, "truncated")]
    memory.resize(50)
    memory.remove(memory.episodes[0].keys[:1])
    assert reader.eligible == 5
    assert len(asked) == 4


def test_what_was_overwritten_before_it_was_asked_for_is_not_asked_about() -> None:
    memory = small_memory("9T 4T 3T 4T", capacity=11)
    asked = []
    memory.reader(
        where=lambda episode: asked.append((episode.length, episode.held)) is None
    ).sample(1)
    assert asked == [(4, 1), (3, 3), (4, 4)]


def test_any_sampler_keeps_to_the_chosen() -> None:
    memory = small_memory("3T 5U 1B 4C 2T 6.")
    for sampler in (rc.Uniform(), rc.Prioritized(), rc.Ranked(), rc.Newest(), rc.Shuffled()):
        reader = memory.reader(sampler=sampler, where=lambda episode: episode.length in (1, 4))
        assert reader.eligible == 5
        assert set(reader.sample(5).action // 1000) <= {2, 3}
        assert drawn(reader) == {2, 3} or isinstance(sampler, rc.Newest)
    # a priority may be given to steps of which it is not yet known whether they are chosen
    play("3.", memory, first=6)
    reader = memory.reader(
        sampler=rc.Prioritized(alpha=1.0, epsilon=0.0),
        where=lambda episode: episode["action"][0] == 6000,
    )
    keys = memory.episodes[-1].keys
    assert reader.update(keys, priority=[0, 3, 1]) == 3
    with pytest.raises(rc.EmptyMemoryError, match="finished episodes that `where` chose"):
        reader.sample(1)
    memory.cut()
    batch = reader.sample(400)
    np.testing.assert_array_equal(np.unique(batch.action), [6001, 6002])
    np.testing.assert_allclose(batch.probability, np.where(batch.action == 6001, 0.75, 0.25))


@pytest.mark.parametrize(
    ("where", "says"),
    [
        (lambda episode: 1, "expected True or False for Episode.*, got 1"),
        (lambda episode: episode.returns, "raised AttributeError.*returns.* for Episode"),
        (lambda episode: 1 / (episode.length - 3), "raised ZeroDivisionError"),
    ],
)
def test_a_bad_answer_is_one_clear_error_and_changes_nothing(where: Any, says: str) -> None:
    memory = small_memory("3T 5U 1B", capacity=12)
    bad = [True]
    reader = memory.reader(
        sampler=rc.Oldest(), where=lambda episode: where(episode) if bad[0] else episode.length > 2
    )
    for touch in (lambda: reader.sample(2), lambda: reader.eligible):
        with pytest.raises(rc.ConfigurationError, match="where: .*" + says):
            touch()
    play("2T 2U", memory, first=3)  # the first rows are overwritten, the rest enters all the same
    with pytest.raises(rc.ConfigurationError, match="where"):
        reader.sample(1)
    bad[0] = False
    assert reader.sample(5).action.tolist() == [1002, 1003, 1004, 1002, 1003]
    good = memory.reader(sampler=rc.Oldest(), where=lambda episode: episode.length > 2)
    assert good.eligible == reader.eligible == 3


def test_an_error_after_rows_left_makes_them_leave_all_the_same() -> None:
    memory = small_memory("3T 4T", capacity=10)
    failing = [False]

    def where(episode: Any) -> bool:
        if failing[0]:
            raise OSError("no")
        return True

    reader = memory.reader(sampler=rc.Oldest(), where=where)
    assert reader.eligible == 7
    failing[0] = True
    play("3T", memory, first=2)
    for _ in range(2):
        with pytest.raises(rc.ConfigurationError, match="OSError"):
            reader.sample(1)
    failing[0] = False
    assert reader.sample(8).action.tolist()[:7] == [1000, 1001, 1002, 1003, 2000, 2001, 2002]


def test_settings_that_do_not_fit_are_refused() -> None:
    memory = small_memory("3T")
    with pytest.raises(rc.ConfigurationError, match="where: expected a function of an episode"):
        memory.reader(where=True)
    examples = rc.Memory(rc.Schema.examples(x=rc.Field((), np.float32)), 5)
    with pytest.raises(rc.ConfigurationError, match="where: a memory of examples has no episodes"):
        examples.reader(where=lambda episode: True)


def test_threads_that_add_and_one_that_samples_the_chosen() -> None:
    memory = rc.Memory(small_schema(), 120, seed=0)
    reader = memory.reader(where=lambda episode: episode.length % 2 == 0)
    play("4T 3T 2U", memory)
    done = threading.Event()

    def write() -> None:
        for episode in range(3, 400):
            play(f"{1 + episode % 5}T", memory, first=episode)
        done.set()

    thread = threading.Thread(target=write)
    thread.start()
    while not done.is_set():
        episode = np.asarray(reader.sample(16).action) // 1000
        later = episode[episode > 2]
        assert ((1 + later % 5) % 2 == 0).all()
        assert set(episode[episode <= 2].tolist()) <= {0, 2}
    thread.join()
