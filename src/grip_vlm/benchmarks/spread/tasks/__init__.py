"""The six tasks: one file each, with the kinds of questions that it asks.

Each kind is a function `(scene, rng, want) -> Question | None`. `want`, a number from 0 to 9999, says which answer to
aim at: it is kept while one scene after another is tried, so that answers are as often one as another however rare the
scenes that allow them. `ASKED` names the kinds, the layout that each asks about, and its share.
"""

from collections.abc import Callable

import numpy as np

from grip_vlm.benchmarks.spread.question import Question
from grip_vlm.benchmarks.spread.scene import Scene

Ask = Callable[[Scene, np.random.Generator, int], Question | None]
Asked = tuple[tuple[Ask, str, int], ...]
