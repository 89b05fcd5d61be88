"""Reverb: https://github.com/google-deepmind/reverb (with its server in this process).

It wants a TensorFlow and a NumPy that the other libraries do not, so only what is measured in a
process of its own is measured of it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import reverb

from benchmarks import data

TABLE = "steps"


def stored_frames(rows: int, episodes: list[np.ndarray]) -> Any:
    table = reverb.Table(
        TABLE,
        sampler=reverb.selectors.Uniform(),
        remover=reverb.selectors.Fifo(),
        max_size=rows,
        rate_limiter=reverb.rate_limiters.MinSize(1),
    )
    server = reverb.Server([table])
    # an item is a step: four frames, and the next one
    length = data.STACK + 1
    action, reward, end = np.int64(0), np.float32(0), np.bool_(False)
    with server.localhost_client().trajectory_writer(length) as writer:
        for frames in data.played(rows, episodes):
            for number, frame in enumerate((*[frames[0]] * (data.STACK - 1), *frames)):
                writer.append(
                    {"frame": frame, "action": action, "reward": reward, "terminated": end}
                )
                if number >= data.STACK:
                    step = {name: column[-2:-1] for name, column in writer.history.items()}
                    step["frame"] = writer.history["frame"][-length:]
                    writer.create_item(TABLE, priority=1.0, trajectory=step)
            writer.end_episode()
    return server
