"""`Flip`: mirrors some of the images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from recollect.errors import ConfigurationError
from recollect.transforms.fields import checked_number, is_tensor, like
from recollect.transforms.images import Chance, ImageTransform


class Flip(ImageTransform):
    """Mirrors the images of an example, all or none of them, with some probability.

    Where left and right mean something to actions or labels, those are not changed with them. obs
    and next_obs are mirrored independently, unless `together`. Shape and dtype stay. For tensors on
    their device.

    Args:
        probability: with which an example is mirrored, 0 to 1.
        direction: "horizontal" changes left and right, "vertical" up and down.
        fields: (B, ..., H, W) each; see `recollect.transforms.images`.
        channels_last: they are (B, ..., H, W, C).
        together: obs and next_obs, and all fields, of one example are mirrored alike.
    """

    def __init__(
        self,
        probability: float = 0.5,
        direction: Literal["horizontal", "vertical"] = "horizontal",
        fields: str | Sequence[str] = ("obs",),
        *,
        channels_last: bool = False,
        together: bool = False,
    ) -> None:
        super().__init__(fields, channels_last, together)
        self.probability = checked_number("Flip", "probability", probability, 0, 1)
        if direction not in ("horizontal", "vertical"):
            raise ConfigurationError(
                f'Flip: direction: expected "horizontal" or "vertical", got {direction!r}'
            )
        self.direction = direction

    def __repr__(self) -> str:
        return f"Flip({self.probability}, {self.direction!r}, {self.fields})"

    def change(self, path: str, images: Any, chance: Chance) -> Any:
        axis = 3 if self.direction == "horizontal" else 2
        chosen = chance[:, 0] < self.probability
        if is_tensor(images):
            mirrored = like(images, chosen)[:, None, None, None, None]
            return images.flip(axis).where(mirrored, images)
        made = images.copy()
        made[chosen] = np.flip(images[chosen], axis)
        return made
