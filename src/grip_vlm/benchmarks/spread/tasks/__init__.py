"""The six tasks: one file each, with the kinds of questions that it asks.

Each kind is a function `(scene, rng, want) -> Question | None`. `want`, a number from 0 to 9999, says which answer to
aim at: it is kept while one scene after another is tried, so that answers are as often one as another however rare the
scenes that allow them. `ASKED` names the kinds, the layout that each asks about, and its share.
"""

from collections.abc import Callable, Sequence

import numpy as np

from grip_vlm.benchmarks.spread.question import Question
from grip_vlm.benchmarks.spread.scene import Scene

Ask = Callable[[Scene, np.random.Generator, int], Question | None]
Asked = tuple[tuple[Ask, str, int], ...]


def distinct(kinds: Sequence[tuple[Ask, int]], scene: Scene, rng: np.random.Generator, tries: int) -> list[Question]:
    """Different questions about one scene, in random order.

    Args:
        kinds: what may be asked, with shares.
        tries: questions that are attempted; a scene does not allow every one, and some come twice.
    """
    shares = np.array([share for _, share in kinds], dtype=float)
    questions: dict[str, Question] = {}
    for index in rng.choice(len(kinds), tries, p=shares / shares.sum()):
        question = kinds[index][0](scene, rng, int(rng.integers(10000)))
        if question is not None:
            questions.setdefault(question.text, question)
    return list(questions.values())
