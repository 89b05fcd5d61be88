"""What `Memory` does beyond adding and sampling: limits, dropped rows, reading back, counting."""

import numpy as np
import pytest

import recollect as rc
from recollect import marks

EXAMPLES = rc.Schema.examples(x=rc.Field((2,)), label=rc.Field((), np.int64))


def steps_memory(capacity=100, finite=False, **settings):
    schema = rc.Schema.steps(
        obs=rc.Field((1,), np.float32, finite=finite),
        action=rc.Field((), np.int64),
        note=rc.Field((), np.float32, finite=finite),
    )
    return rc.Memory(schema, capacity, view=rc.Transition(gamma=0.9), seed=0, **settings)


def step(time, end="", **changes):
    values = {
        "obs": np.array([time], np.float32),
        "action": time,
        "reward": float(time),
        "next_obs": np.array([time + 1], np.float32),
        "terminated": "T" in end,
        "truncated": "U" in end,
        "note": float(time),
    }
    return values | changes


def run(times, ends=(), **changes):
    values = [step(time, ends[i] if i < len(ends) else "") for i, time in enumerate(times)]
    return {name: np.array([value[name] for value in values]) for name in values[0]} | changes


class TestDrawLimit:
    def test_rows_leave_every_reader_after_so_many_draws(self):
        memory = steps_memory(max_draws=3)
        other = memory.reader()
        keys = [memory.add(**step(time)) for time in range(10)]
        drawn = []
        while memory.stats()["eligible"]:
            drawn += memory.sample(4).key.tolist()
            if other.eligible:
                drawn += other.sample(3).key.tolist()
        assert sorted(drawn) == sorted(keys * 3)
        assert other.eligible == 0
        with pytest.raises(rc.EmptyMemoryError):
            other.sample(1)
        assert len(memory) == 10

    def test_a_batch_ends_where_the_draws_do(self):
        memory = rc.Memory(EXAMPLES, 5, max_draws=1, seed=0)
        keys = memory.extend(x=np.zeros((3, 2), np.float32), label=np.arange(3))
        batch = memory.sample(10)
        assert sorted(batch.key) == sorted(keys)
        assert batch.x.shape == (3, 2)
        assert len(memory) == 0

    def test_a_reused_slot_begins_at_zero(self):
        memory = rc.Memory(EXAMPLES, 2, max_draws=2, seed=0)
        for label in range(20):
            memory.add(x=np.zeros(2, np.float32), label=label)
            batch = memory.sample(1)
            assert batch.label[0] in (label, label - 1)
        newest = memory.add(x=np.zeros(2, np.float32), label=99)
        assert memory.sample(10).key.tolist().count(newest) == 2


class TestFinite:
    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    @pytest.mark.parametrize("name", ["obs", "next_obs", "note"])
    def test_true_refuses_and_changes_nothing(self, name, bad):
        memory = steps_memory(finite=True)
        memory.add(**step(0))
        before = memory.stats()
        value = bad if name == "note" else np.array([bad], np.float32)
        with pytest.raises(rc.SchemaError, match=f"{name}: expected finite"):
            memory.add(**step(1, **{name: value}))
        assert memory.stats() == before

    def test_drop_leaves_the_row_out_counts_it_and_closes_the_chain(self):
        memory = steps_memory(finite="drop")
        memory.add(**step(0))
        memory.add(**step(1))
        assert memory.add(**step(2, note=np.nan)) == -1
        memory.add(**step(3))
        stats = memory.stats()
        assert (stats["dropped"], stats["steps"], stats["chain_breaks"]) == (1, 3, 0)
        first, second = memory.episodes
        assert first["action"].tolist() == [0, 1]
        assert first.truncated
        assert first["obs"][-1] == 2
        assert second["action"].tolist() == [3]
        assert not second.ended

    def test_drop_in_some_of_several_streams(self):
        memory = steps_memory(finite="drop", streams=3)
        notes = np.array([0, np.nan, 0], np.float32)
        same = {name: np.array([value] * 3) for name, value in step(5).items()}
        keys = memory.add(**same | {"note": notes})
        assert (keys >= 0).tolist() == [True, False, True]
        assert [episode.stream for episode in memory.episodes] == [0, 2]

    def test_drop_inside_a_run_equals_dropping_one_by_one(self):
        ends = ["", "", "T", "", "", "", "U", "", ""]
        notes = np.arange(9, dtype=np.float32)
        notes[[0, 4, 8]] = np.nan
        one, many = (steps_memory(finite="drop") for _ in range(2))
        for memory in (one, many):
            memory.add(**step(-1))
        keys = [one.add(**step(t, ends[t], note=notes[t])) for t in range(9)]
        assert many.extend(**run(range(9), ends, note=notes)).tolist() == keys
        assert one.stats() == many.stats()
        for left, right in zip(one.episodes, many.episodes, strict=True):
            assert repr(left) == repr(right)
            assert left["obs"].tolist() == right["obs"].tolist()

    def test_drop_of_examples(self):
        schema = rc.Schema.examples(x=rc.Field((), np.float32, finite="drop"))
        memory = rc.Memory(schema, 5, seed=0)
        keys = memory.extend(x=np.array([1, np.nan, 3], np.float32))
        assert (keys >= 0).tolist() == [True, False, True]
        assert memory.add(x=np.inf) == -1
        assert set(memory.sample(50).x) == {1.0, 3.0}
        assert memory.stats()["dropped"] == 2


class TestEpisodes:
    def test_lengths_returns_ends_and_fields(self):
        memory = steps_memory()
        memory.extend(**run(range(7), ["", "", "T", "", "U"]))
        episodes = memory.episodes
        assert len(episodes) == 3
        assert episodes.lengths.tolist() == [3, 2, 2]
        assert episodes.returns.tolist() == [3, 7, 11]
        assert [(e.terminated, e.truncated, e.ended) for e in episodes] == [
            (True, False, True),
            (False, True, True),
            (False, False, False),
        ]
        assert episodes[-1]["obs"].tolist() == [[5], [6], [7]]
        assert episodes[1]["reward"].tolist() == [3, 4]
        assert [e.length for e in episodes[:2]] == [3, 2]
        with pytest.raises(KeyError):
            _ = episodes[0]["nothing"]

    def test_an_overwritten_start_is_told_apart_from_the_length(self):
        memory = steps_memory(capacity=5)
        memory.extend(**run(range(10)))
        (episode,) = memory.episodes
        assert (episode.length, episode.held, len(episode)) == (10, 4, 10)
        assert episode["action"].tolist() == [6, 7, 8, 9]
        assert episode.keys.tolist() == [6, 7, 8, 9]
        memory.add(**step(10))
        with pytest.raises(rc.StaleError):
            _ = episode["action"]

    def test_reading_is_a_copy(self):
        memory = steps_memory()
        memory.extend(**run(range(3)))
        for name in ("obs", "reward", "note"):
            memory.episodes[0][name][:] = -1
            assert (memory.episodes[0][name] >= 0).all()

    def test_examples_have_none(self):
        with pytest.raises(rc.ConfigurationError, match="episodes"):
            _ = rc.Memory(EXAMPLES, 5).episodes


class TestStats:
    def test_mean_age_counts_later_steps_of_the_stream(self):
        memory = steps_memory()
        memory.extend(**run(range(5), ["", "T"]))
        assert memory.stats()["mean_age"] == np.mean([0, 1, 2, 3, 4])
        memory = rc.Memory(EXAMPLES, 3)
        memory.extend(x=np.zeros((7, 2), np.float32), label=np.arange(7))
        assert memory.stats()["mean_age"] == np.mean([0, 1, 2])

    def test_a_million_frames_take_their_bytes_and_little_more(self):
        schema = rc.Schema.steps(obs=rc.Field((84, 84), np.uint8), action=rc.Field((), np.int64))
        memory = rc.Memory(schema, 100_000)
        assert memory.stats()["bytes"] <= 1.01 * 100_000 * 84 * 84


class TestReaders:
    def test_a_further_reader_does_not_change_what_the_first_draws(self):
        alone, watched = steps_memory(), steps_memory()
        for memory in (alone, watched):
            memory.extend(**run(range(50)))
        reader = watched.reader(view=rc.NStep(2, gamma=0.5))
        for _ in range(3):
            reader.sample(7)
            assert (alone.sample(9).key == watched.sample(9).key).all()

    def test_a_late_reader_sees_what_an_early_one_does(self):
        memory = steps_memory(capacity=23)
        early = memory.reader(view=rc.NStep(3, gamma=0.5, stack=2))
        for time in range(61):
            memory.add(**step(time, "T" if time % 7 == 6 else ""))
            if time % 5 == 0:
                assert early.eligible >= 0
        memory.remove(memory.sample(4).key)
        late = memory.reader(view=rc.NStep(3, gamma=0.5, stack=2))
        assert late.eligible == early.eligible
        assert set(late.sample(500).key) == set(early.sample(500).key)

    def test_a_forgotten_reader_is_let_go(self):
        import gc
        import weakref

        memory = rc.Memory(EXAMPLES, 5)
        reader = weakref.ref(memory.reader())
        gc.collect()
        assert reader() is None

    def test_an_idle_reader_of_examples_stays_small(self):
        memory = rc.Memory(EXAMPLES, 10, seed=0)
        idle = memory.reader()
        for label in range(1000):
            memory.add(x=np.zeros(2, np.float32), label=label)
        assert sum(map(len, idle._frontier._noted)) <= 30
        assert set(idle.sample(200).label) == set(range(990, 1000))


def test_update_of_one_key_takes_one_value():
    memory = steps_memory()
    key = memory.add(**step(0))
    assert memory.update(key, note=7.0) == 1
    assert memory.sample(1).note[0] == 7
    assert memory.update([key], note=[8.0]) == 1
    with pytest.raises(rc.SchemaError, match="note"):
        memory.update(key, note=[1.0])


def test_eligible_and_how_views_introduce_themselves():
    memory = steps_memory()
    assert memory.eligible == 0
    memory.add(**step(0))
    assert memory.eligible == 1
    assert repr(rc.NStep(3, gamma=0.9)) == "NStep(3, gamma=0.9)"
    assert repr(rc.Transition(stack=4)) == "Transition(gamma=None, stack={'obs': 4})"
    reader = memory.reader()
    with pytest.raises(AttributeError, match="give the view a gamma"):
        _ = reader.sample(1).discount


def test_n_as_a_schedule_of_sample_calls():
    schema = rc.Schema.steps(obs=rc.Field((1,)), action=rc.Field((), np.int64))
    memory = rc.Memory(schema, 100, view=rc.NStep(rc.linear(1, 3, over=2), gamma=0.5), seed=0)
    values = run(range(10), [""] * 9 + ["T"])
    del values["note"]
    memory.extend(**values)
    assert memory.stats()["eligible"] == 10
    assert [int(memory.sample(200).steps.max()) for _ in range(4)] == [1, 2, 3, 3]


def test_closed_memory_refuses_and_can_be_closed_again():
    with steps_memory() as memory:
        memory.add(**step(0))
    memory.close()
    with pytest.raises(rc.ClosedError):
        memory.add(**step(1))


def test_batch_is_a_read_only_mapping_with_attributes():
    memory = steps_memory()
    memory.extend(**run(range(5)))
    batch = memory.sample(3)
    assert batch["reward"] is batch.reward
    assert "note" in batch
    assert {"obs", "next_obs", "note", "key", "weight"} <= set(batch)
    assert "note" in dir(batch)
    assert "reward=float32[3]" in repr(batch)
    with pytest.raises(AttributeError, match="no field 'nothing'"):
        _ = batch.nothing
    with pytest.raises(TypeError):
        batch["reward"] = 0
    with pytest.raises(AttributeError):
        batch.reward = 0


@pytest.mark.parametrize("way", ["one", "each", "many"])
def test_a_warning_of_a_broken_chain_points_at_who_called(way):
    memory = steps_memory(streams=2 if way == "each" else None)
    first, broken = step(0), step(5)
    if way == "each":
        first, broken = ({n: np.array([v] * 2) for n, v in s.items()} for s in (first, broken))
    elif way == "many":
        broken = {name: np.array([value]) for name, value in broken.items()}
    memory.add(**first)
    method = memory.extend if way == "many" else memory.add
    with pytest.warns(rc.errors.ChainBreakWarning) as warned:
        method(**broken)
    assert [w.filename for w in warned] == [__file__]


@pytest.mark.parametrize("way", ["one", "each", "many"])
def test_offsets_stop_growing_and_leave_the_rest_of_the_mark_alone(way):
    """An episode of over 268 million steps, whose newest row is told that it is so far along."""
    memory = steps_memory(streams=None if way == "one" else 2)
    rows = memory.shared.rows

    def add(time, end=""):
        values = step(time, end)
        if way == "one":
            memory.add(**values)
        elif way == "each":
            memory.add(**{name: np.array([value] * 2) for name, value in values.items()})
        else:
            memory.extend(stream=0, **{name: np.array([value]) for name, value in values.items()})

    add(0)
    # the provisional row
    rows.mark[1] = (marks.LAST_OFFSET - 2) << marks.OFFSET_SHIFT | marks.CLOSING
    for time, end in [(1, ""), (2, ""), (3, ""), (4, "U")]:
        add(time, end)
    offsets = marks.offsets(rows.mark[1:6])
    assert (np.diff(offsets) >= 0).all()
    assert (offsets >= marks.LAST_OFFSET - 2).all()
    assert marks.closing(rows.mark[:6]).tolist() == [False] * 5 + [True]
    assert marks.truncated(rows.mark[:6]).tolist() == [False] * 4 + [True, False]
    assert not marks.terminated(rows.mark[:6]).any()
