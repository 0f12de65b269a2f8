"""The histogram style loss."""

from __future__ import annotations

import numpy as np

from nst_tf.losses.sliced_wasserstein import SlicedWasserstein


class Histogram(SlicedWasserstein):
    """Squared distance of the activations to activations with the histograms of the style.

    ```
    distance = mean over channels and positions of (features - matched features)²

    relative:  loss = distance / mean square of the target's activations
    mean:      loss = distance
    ```

    Matched features have, channel by channel, the histogram of the style. This is the loss of
    Risser, Wilmot and Barnes (2017), "Stable and Controllable Neural Texture Synthesis and Style
    Transfer Using Histogram Losses", equations 6 and 7, which they add to Gram matrices. It is
    computed as the sliced Wasserstein distance with the channels as directions.

    Args:
        normalization: `relative` or `mean`.

    Raises:
        ConfigError: `normalization` is neither.
    """

    def directions(self, channels: int) -> np.ndarray | None:
        return None
