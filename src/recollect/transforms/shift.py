"""`RandomShift`: moves images by a few pixels, the augmentation of DrQ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from recollect.errors import ConfigurationError
from recollect.transforms.fields import is_tensor, like
from recollect.transforms.images import Chance, ImageTransform, cut_out


class RandomShift(ImageTransform):
    """Shifts each example's images by -pad to pad pixels in both directions.

    Images are padded by repeating their border, and a window of the old size is cut out at random,
    each of the (2 pad + 1)**2 places equally likely (Kostrikov, Yarats and Fergus 2020, "Image
    Augmentation Is All You Need", section 3.1; pad = 4 for 84 x 84 images). All frames and channels
    of an example move together; obs and next_obs are shifted independently, as there, unless
    `together`. Shape and dtype stay. For tensors on their device.

    Args:
        pad: pixels, at least 1.
        fields: (B, ..., H, W) each; see `recollect.transforms.images`.
        channels_last: they are (B, ..., H, W, C).
        together: obs and next_obs, and all fields, of one example are shifted alike.
    """

    def __init__(
        self,
        pad: int = 4,
        fields: str | Sequence[str] = ("obs",),
        *,
        channels_last: bool = False,
        together: bool = False,
    ) -> None:
        super().__init__(fields, channels_last, together)
        if isinstance(pad, bool) or not isinstance(pad, (int, np.integer)) or pad < 1:
            raise ConfigurationError(f"RandomShift: pad: expected at least 1 pixel, got {pad!r}")
        self.pad = int(pad)

    def __repr__(self) -> str:
        return f"RandomShift({self.pad}, {self.fields})"

    def change(self, path: str, images: Any, chance: Chance) -> Any:
        height, width = images.shape[2:4]
        return cut_out(_padded(images, self.pad), height, width, chance)


def _padded(images: Any, pad: int) -> Any:
    """(B, M, H + 2 pad, W + 2 pad, C), the border repeated."""
    if not is_tensor(images):
        none = (0, 0)
        return np.pad(images, (none, none, (pad, pad), (pad, pad), none), mode="edge")
    for axis in (2, 3):
        size = images.shape[axis]
        index = np.arange(-pad, size + pad).clip(0, size - 1)
        images = images.index_select(axis, like(images, index))
    return images
