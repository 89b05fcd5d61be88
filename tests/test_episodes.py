"""Reading back: `memory.episodes` beside the oracle's, and stored rows by their keys."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import recollect as rc
from oracle import STREAM_SHIFT, Look, leaves
from views.play import Life, play, small_schema

STATISTICS = ("stream", "length", "held", "ended", "terminated", "truncated", "end")


def check_episodes(life: Life) -> None:
    episodes, expected = life.memory.episodes, life.oracle.episodes()
    assert len(episodes) == len(expected)
    columns = zip(
        *(
            getattr(episodes, name).tolist()
            for name in (
                "streams", "lengths", "held", "ended", "terminated", "truncated", "returns", "keys"
            )
        ),
        strict=True,
    )  # fmt: skip
    for episode, right, column in zip(episodes, expected, columns, strict=True):
        for name in STATISTICS:
            assert getattr(episode, name) == getattr(right, name), name
        assert episode.episode_return == right.episode_return
        assert episode.keys.tolist() == right.keys
        assert column == (
            *(getattr(right, name) for name in STATISTICS[:-1]),
            right.episode_return,
            right.keys[0],
        )
        for name in ("action", "reward", "state"):
            np.testing.assert_array_equal(episode[name], right[name])
        for path, value in leaves(episode["obs"], "obs"):
            rows = [dict(leaves(row.obs, "obs"))[path] for row in right.rows]
            np.testing.assert_array_equal(value, rows)


def check_rows(life: Life) -> None:
    """Every key there ever was, alone and together."""
    look = Look()
    held = {
        key: example | {"terminated": row.step["terminated"], "truncated": row.step["truncated"]}
        for key, example in life.oracle.examples(look).items()
        if (row := life.oracle.find(key)) is not None
    }
    for row in held.values():
        del row["steps"]
    for key in life.keys[-60:]:
        assert (key in life.memory) == (key in held)
        if key in held:
            found = dict(leaves(life.memory[key]))
            assert found.pop("key") == key
            assert found.keys() == held[key].keys()
            for name, value in held[key].items():
                assert np.shape(found[name]) == np.shape(value), name
                np.testing.assert_array_equal(found[name], value)
        else:
            with pytest.raises(rc.StaleError, match=f"key {key}: .* overwritten, removed or never"):
                life.memory[key]
    if held:
        wanted = life.rng.choice(list(held), 7)
        columns = dict(leaves(life.memory[wanted]))
        np.testing.assert_array_equal(columns.pop("key"), wanted)
        for name, values in columns.items():
            np.testing.assert_array_equal(values, [held[key][name] for key in wanted.tolist()])
            assert values.flags.c_contiguous


@pytest.mark.parametrize("streams", [None, 1, 3])
@pytest.mark.parametrize("kind", ["flat", "nested", "tuple"])
def test_random_lives_agree_with_the_oracle(kind: str, streams: int | None) -> None:
    life = Life(len(kind) + (streams or 0), [], kind, streams, size=30, longest=12)
    for _ in range(12):
        life.live(8)
        check_episodes(life)
        check_rows(life)


def memory_of(trajectory: str, capacity: int = 100, **more: Any) -> rc.Memory:
    memory = rc.Memory(small_schema(**more), capacity, seed=0)
    play(trajectory, memory)
    return memory


class TestEpisodes:
    def test_an_empty_memory_has_none(self):
        episodes = memory_of("").episodes
        assert len(episodes) == 0
        assert episodes.returns.shape == episodes.lengths.shape == (0,)
        assert len(episodes.where(lambda episode: True)) == 0
        with pytest.raises(IndexError):
            episodes[0]

    def test_parts_are_episodes_again(self):
        episodes = memory_of("3T 5U 1B 4C 2T 6.").episodes
        assert episodes[1:3].lengths.tolist() == [5, 1]
        assert episodes[episodes.lengths > 3].lengths.tolist() == [5, 4, 6]
        assert episodes[[4, 0]].keys.tolist() == [episodes[4].keys[0], 0]
        assert [episode.length for episode in reversed(episodes[::2])] == [2, 1, 3]
        assert len(episodes[[]]) == 0
        assert episodes[np.int64(-1)].end == "open"
        assert episodes[-2:][0]["action"].tolist() == [4000, 4001]
        assert np.shares_memory(episodes[1:].returns, episodes.returns)
        with pytest.raises(IndexError, match="episode 6 of 6"):
            episodes[6]

    def test_where_is_a_plain_predicate(self):
        episodes = memory_of("3T 5U 1B 4C 2T 6.").episodes
        assert episodes.where(lambda episode: episode.ended).lengths.tolist() == [3, 5, 1, 4, 2]
        best = episodes.where(lambda episode: episode.episode_return > 400)
        assert best.where(lambda episode: episode.length < 5).lengths.tolist() == [4, 2]
        with pytest.raises(rc.ConfigurationError, match="expected True or False for Episode"):
            episodes.where(lambda episode: None)

    def test_returns_are_summed_exactly_and_by_component(self):
        memory = memory_of("", 20_002, note=rc.Field((), np.int64))
        count = 20_000
        memory.extend(
            obs=np.zeros((count, 2), np.int64),
            action=np.zeros(count, np.int64),
            note=np.zeros(count, np.int64),
            reward=np.full(count, 0.1, np.float32),
            next_obs=np.zeros((count, 2), np.int64),
            terminated=np.arange(count) == count - 1,
            truncated=np.zeros(count, np.bool_),
        )
        np.testing.assert_allclose(
            memory.episodes.returns, [count * np.float64(np.float32(0.1))], rtol=1e-12
        )
        pairs = rc.Memory(
            rc.Schema.steps(
                obs=rc.Field((), np.int64),
                action=rc.Field((), np.int64),
                reward=rc.Field((2,), np.int16),
            ),
            10,
        )
        for t in range(4):
            pairs.add(
                obs=t,
                action=0,
                reward=np.array([30_000, t], np.int16),
                next_obs=t + 1,
                terminated=t == 2,
                truncated=False,
            )
        np.testing.assert_array_equal(pairs.episodes.returns, [[90_000, 3], [30_000, 3]])
        assert pairs.episodes[0].episode_return.tolist() == [90_000, 3]

    def test_a_closing_row_in_a_slot_that_held_a_step_adds_nothing(self):
        memory = memory_of("9T", 6)
        play("2T 1U", memory, first=1)
        assert memory.episodes.returns.tolist()[-2:] == [203, 201]


class TestRowsByKey:
    def test_one_row_is_a_mapping_with_attributes(self):
        memory = memory_of("3T")
        row = memory[np.int64(1)]
        assert (row.action, row["reward"], row.key) == (1, 2.0, 1)
        assert (row.obs.tolist(), row.next_obs.tolist()) == ([0, 1], [0, 2])
        assert not row.terminated and memory[2].terminated
        row.obs[:] = -1
        assert memory[1].obs.tolist() == [0, 1]
        with pytest.raises(TypeError):
            row["action"] = 5

    def test_batches_can_go_where_batches_go(self):
        memory = memory_of("3T 2.")
        batch = memory[memory.episodes[1].keys]
        assert isinstance(batch, rc.Batch)
        assert batch.next_obs.tolist() == [[1, 1], [1, 2]]
        assert memory[[]].obs.shape == (0, 2)

    def test_examples(self):
        schema = rc.Schema.examples(
            image=rc.Field((32, 36), np.uint8), more={"label": rc.Field((), np.int64)}
        )
        memory = rc.Memory(schema, 3)
        keys = [
            memory.add(image=np.full((32, 36), i, np.uint8), more={"label": i}) for i in range(5)
        ]
        assert memory[keys[3]].more.label == 3
        assert memory[keys[2:]].image[:, 0, 0].tolist() == [2, 3, 4]
        assert set(memory[keys[4]]) == {"image", "more", "key"}
        assert [key in memory for key in keys] == [False, False, True, True, True]

    def test_what_is_gone_is_said_to_be(self):
        memory = memory_of("3T 2.", capacity=6)
        for key in (3, 0, -1, 7, 1 << STREAM_SHIFT, -(1 << 50)):
            assert key not in memory
            with pytest.raises(rc.StaleError, match=f"key {key}: "):
                memory[key]
        memory.remove([4])
        with pytest.raises(LookupError, match=r"key 4: .*\(2 of 4 keys are gone\)"):
            memory[[1, 4, 0, 5]]

    def test_bad_keys_and_a_closed_memory(self):
        memory = memory_of("3T")
        for keys in (1.5, "obs", slice(0, 2), True, np.zeros((2, 2), np.int64)):
            with pytest.raises(rc.SchemaError, match="keys"):
                memory[keys]
        with pytest.raises(TypeError, match="not iterable"):
            iter(memory)
        memory.close()
        for read in (lambda: memory[0], lambda: 0 in memory):
            with pytest.raises(rc.ClosedError):
                read()
