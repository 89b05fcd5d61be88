"""P and C: mistakes about how often a row is drawn, what its weight is, and which are held."""

from __future__ import annotations

from typing import Any

import numpy as np

from conformance.mistakes.registry import fails
from conformance.toys import Right


@fails("P1.episodes")
class EpisodesAreDrawnAlike(Right):
    def masses(self, rows: Any) -> Any:
        episodes = np.array([row["episode"] for row in rows])
        return 1 / np.bincount(episodes)[episodes]


@fails("P1.uniform", "P3")
class TheNewestIsNeverDrawn(Right):
    def eligible(self) -> Any:
        return super().eligible()[:-1]


@fails("P1.proportional", "P4", "C1")
class AlphaTwice(Right):
    def masses(self, rows: Any) -> Any:
        return super().masses(rows) ** (3 if self.settings.alpha == 1 else self.settings.alpha)


@fails("C1.weights")
class WeightsAreAllOne(Right):
    def weights(self, probability: Any, places: Any) -> Any:
        return np.ones(len(places))


@fails("C2")
class PrioritiesAreIgnored(Right):
    def masses(self, rows: Any) -> Any:
        return np.ones(len(rows))


@fails("P1.ranked")
class RanksFromTheWrongEnd(Right):
    def masses(self, rows: Any) -> Any:
        ranks = 1 + np.argsort(np.argsort([row["priority"] for row in rows]))
        return ranks ** -float(self.settings.alpha)


@fails("P1.probability")
class ReportsUniform(Right):
    def sample(self, n: int) -> Any:
        return super().sample(n) | {"probability": np.full(n, 1 / len(self.rows))}


@fails("P2.updates")
class SumDrifts(Right):
    total = 0

    def update(self, keys: Any, priority: Any) -> int:
        self.total += len(keys)
        return super().update(keys, priority + (self.total > 20_000))


@fails("P2.zero")
class ZeroIsALittle(Right):
    def masses(self, rows: Any) -> Any:
        return super().masses(rows) + 0.01


@fails("P4")
class NewRowsAreRaisedTwice(Right):
    def entry(self) -> float:
        return super().entry() ** self.settings.alpha


@fails("P5.ratio", "P5.memory")
class WeightsOfPriorities(Right):
    def weights(self, probability: Any, places: Any) -> Any:
        return super().weights(np.sqrt(probability), places)


@fails("P5.batch")
class WeightsAreLeftAsTheyAre(Right):
    def weights(self, probability: Any, places: Any) -> Any:
        return (len(probability) * probability[places]) ** -self.settings.beta


@fails("P5.raw")
class WeightsOfTheCapacity(Right):
    def weights(self, probability: Any, places: Any) -> Any:
        return (self.settings.capacity * probability[places]) ** -self.settings.beta


@fails("P5.memory")
class TheLeastEverIsRemembered(Right):
    largest = 0.0

    def weights(self, probability: Any, places: Any) -> Any:
        least = min(row["priority"] for row in self.rows) ** self.settings.alpha
        self.least = min(least, getattr(self, "least", least))
        masses = self.masses(self.eligible())
        return (masses[places] / self.least) ** -self.settings.beta

    def update(self, keys: Any, priority: Any) -> int:
        live = super().update(keys, priority)
        self.weights(np.ones(1), np.zeros(1, int))
        return live


@fails("P6", "P6.live")
class NewRowsEnterAtOne(Right):
    def entry(self) -> float:
        return 1.0


@fails("P6.live")
class TheLargestEverIsRemembered(Right):
    def entry(self) -> float:
        self.largest = max(getattr(self, "largest", 1.0), super().entry())
        return self.largest

    def update(self, keys: Any, priority: Any) -> int:
        live = super().update(keys, priority)
        self.entry()
        return live


@fails("P7")
class TheFirstWins(Right):
    def update(self, keys: Any, priority: Any) -> int:
        return super().update(keys[::-1], priority[::-1])


@fails("P8.seed", "P8.seed prioritized", "S1.draws")
class IgnoresItsSeed(Right):
    def make(self, settings: Any) -> None:
        super().make(settings)
        self.rng = np.random.default_rng()

    def state(self) -> Any:
        return {name: value for name, value in super().state().items() if name != "rng"}


@fails("P8.streams")
class StreamsShareTheirDraws(Right):
    def sample(self, n: int) -> Any:
        half = [row for row in self.rows if row["stream"] == 0]
        if self.settings.streams == 1:
            return super().sample(n)
        other = [row for row in self.rows if row["stream"] == 1]
        places = self.rng.integers(0, len(half), n // 2)
        return self.gather([half[k] for k in places] + [other[k] for k in places])


@fails("P9", "P9.save")
class LateArrivalsAreKept(Right):
    def keep(self, row: dict[str, Any]) -> None:
        self.arrivals = min(self.arrivals, 2 * self.room())
        super().keep(row)


@fails("P9.save")
class ForgetsHowManyArrived(Right):
    def state(self) -> Any:
        return super().state() | {"arrivals": len(self.rows)}


@fails("P10")
class QuotasNeverChange(Right):
    def balance(self, row: dict[str, Any]) -> None:
        self.rows.append(row)
        if len(self.rows) > self.room():
            del self.rows[-1]


@fails("C3")
class AlwaysSwaps(Right):
    def swap(self, ids: Any) -> Any:
        if not hasattr(self, "pool"):
            self.pool = ids.tolist() * self.settings.capacity
        place = int(self.rng.integers(0, len(self.pool)))
        out, self.pool[place] = self.pool[place], int(ids[0])
        return np.array([out])
