"""`RandomCrop`: cuts a smaller image out of each image, at a random place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from recollect.errors import ConfigurationError
from recollect.transforms.images import Chance, ImageTransform, cut_out


class RandomCrop(ImageTransform):
    """Cuts a window out of each example's images, every place equally likely.

    The crop of RAD (Laskin et al. 2020, "Reinforcement Learning with Augmented Data", section 4),
    there 84 x 84 out of 100 x 100: all frames and channels of an example are cut at the same place;
    obs and next_obs independently, unless `together`. The dtype stays. For tensors on their device.

    Args:
        size: height and width of the window, or one number for both.
        fields: (B, ..., H, W) each; see `recollect.transforms.images`.
        channels_last: they are (B, ..., H, W, C).
        together: obs and next_obs, and all fields, of one example are cut at the same place; fields
            of different sizes at the same fraction of the way.
    """

    def __init__(
        self,
        size: int | tuple[int, int],
        fields: str | Sequence[str] = ("obs",),
        *,
        channels_last: bool = False,
        together: bool = False,
    ) -> None:
        super().__init__(fields, channels_last, together)
        both = tuple(size) if isinstance(size, (tuple, list)) else (size, size)
        if len(both) != 2 or not all(
            isinstance(length, (int, np.integer)) and not isinstance(length, bool) and length >= 1
            for length in both
        ):
            raise ConfigurationError(
                f"RandomCrop: size: expected height and width of at least 1 pixel, got {size!r}"
            )
        self.size = (int(both[0]), int(both[1]))

    def __repr__(self) -> str:
        return f"RandomCrop({self.size}, {self.fields})"

    def change(self, path: str, images: Any, chance: Chance) -> Any:
        height, width = self.size
        if height > images.shape[2] or width > images.shape[3]:
            there = " x ".join(map(str, images.shape[2:4]))
            raise self.error(path, f"images of at least {height} x {width}", there)
        return cut_out(images, height, width, chance)
