"""Pictures: drawn from however little there is, and right in what they compute."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

import recollect as rc
from recollect.learners import plots

PNG = b"\x89PNG"


@pytest.mark.parametrize(
    ("episodes", "evaluations", "losses"),
    [(0, 0, 0), (1, 0, 0), (0, 1, 1), (5, 3, 1), (50, 0, 4), (50, 3, 4)],
)
def test_a_learning_curve_is_drawn_from_however_little_there_is(
    tmp_path, episodes, evaluations, losses
):
    path = tmp_path / "curve.png"
    plots.learning_curve(
        path,
        "A run",
        [(10 * i, float(i % 7)) for i in range(episodes)],
        [(100 * i, float(i)) for i in range(evaluations)],
        [(10 * i, 100.0**-i) for i in range(losses)],
    )
    assert path.read_bytes().startswith(PNG)


def test_a_loss_of_zero_can_be_drawn(tmp_path):
    plots.learning_curve(tmp_path / "curve.png", "A run", [], [], [(1, 0.0), (2, 50.0)])


def test_smoothing_takes_the_last_values_or_as_many_as_there_are():
    run = [(10 * i, float(i)) for i in range(1, 8)]
    assert plots.smoothed(run) == [
        (10, 1.0),
        (20, 1.5),
        (30, 2.0),
        (40, 2.5),
        (50, 3.0),
        (60, 4.0),
        (70, 5.0),
    ]


def test_a_curve_is_the_mean_where_all_runs_have_values():
    curve = plots.Curve("both", [[(1, 0.0), (2, 2.0), (3, 9.0)], [(1, 4.0), (2, 6.0)]], "#000000")
    steps, intervals = curve.intervals()
    assert steps == [1, 2]
    assert [interval.mean for interval in intervals] == [2.0, 3.0]
    # half of the interval: t(1) * deviation / sqrt(2), and the deviation of two is |a - b|/sqrt(2)
    assert intervals[0].half == pytest.approx(12.706 * 4 / 2)


def runs(count, level=1.0):
    return [[(100 * i, level * i + seed) for i in range(1, 6)] for seed in range(count)]


@pytest.mark.parametrize(
    ("seeds", "groups", "ending"), [(1, 1, ".png"), (1, 2, ".svg"), (3, 2, ".pdf"), (3, 7, ".PNG")]
)
def test_a_comparison_is_drawn(tmp_path, seeds, groups, ending):
    path = tmp_path / f"picture{ending}"
    curves = [
        plots.Curve(f"group {index}", runs(seeds, index), plots.PALETTE[index % 6])
        for index in range(groups)
    ]
    plots.comparison(path, "A title", "and more", curves)
    assert path.stat().st_size > 1_000


@pytest.mark.parametrize("name", ["picture", "picture.doc", ".png"])
def test_an_unknown_kind_of_picture(tmp_path, name):
    path = tmp_path / name
    with pytest.raises(rc.ConfigurationError, match=r"its name must end in .png"):
        plots.comparison(path, "A title", "", [plots.Curve("one", runs(1), "#000000")])
    assert not path.exists()


@pytest.mark.parametrize(("seeds", "level"), [(1, 0.0), (3, -1.0)])
def test_a_factorial_is_drawn(tmp_path, seeds, level):
    path = tmp_path / "picture.png"
    curves = [plots.Curve(name, runs(seeds, level), plots.BLUE) for name in "ab"]
    scores = [[level + seed for seed in range(seeds)] for _ in curves]
    plots.factorial(path, "Two by two", "below", [("Here", curves, scores)] * 2)
    assert path.read_bytes().startswith(PNG)


def test_names_at_the_curves_ends_are_kept_apart():
    places = plots._apart([0.5, 0.51, 0.9, 0.49], gap=0.1)
    ordered = sorted(places)
    assert all(b - a >= 0.099 for a, b in pairwise(ordered))
    assert [places.index(place) for place in ordered] == [3, 0, 1, 2]
    assert places[2] == 0.9


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (12345.6, "12,346"),
        (500.0, "500"),
        (99.96, "100.0"),
        (12.34, "12.3"),
        (1.234, "1.2"),
        (0.0, "0"),
    ],
)
def test_numbers_are_short(value, text):
    assert plots._short(value) == text


def test_both_colours_differ_in_grey():
    def lightness(color):
        red, green, blue = (int(color[i : i + 2], 16) / 255 for i in (1, 3, 5))
        return math.sqrt(0.299 * red**2 + 0.587 * green**2 + 0.114 * blue**2)

    assert lightness(plots.ORANGE) - lightness(plots.BLUE) > 0.3
