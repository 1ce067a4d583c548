"""Is the larger world worth pruning? Accuracy of an ideal observer against the number of patches that it is shown.

    python recipes/soundness.py

writes results/world/soundness.json and .png, in about two minutes of one core. The observer is described at the head
of `grip_vlm/benchmarks/spread/observer.py`. The world is sound if no guess that knows the question alone reaches 30 %
in the macro mean, one patch no more than 35 %, and a question's own number of patches close to 100 %. (With one patch
more, which shows that nothing else was to be shown: three things seen may be three of four.)
"""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from grip_vlm.benchmarks.spread import GRID, TASKS, Question, ask
from grip_vlm.benchmarks.spread.observer import Prior, blind, certain, chance, seen_by_chance

KS = (1, 2, 4, 8, 16, 32, 64, 128)
ITEMS = 2000  # of each task
SPLIT = "dev"  # the test split stays locked; what is measured here does not depend on the split but for words
OUT = Path(__file__).resolve().parents[1] / "results" / "world"


def guessed(asked: list[Question]) -> float:
    """How often a guesser is right who was taught on half of the questions, and asked the other half, by words alone.

    Of two guessers the better counts: the most frequent answer to each kind, and naive Bayes on the words. For a choice
    the answer that is guessed is the option's rank among the four, and the words stay as they are.
    """
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.naive_bayes import MultinomialNB

    texts = [f"kind_{question.kind} {question.text}" for question in asked]
    answers, half = [_rank(question) for question in asked], len(asked) // 2
    words = CountVectorizer(token_pattern=r"[^\s?,.]+", ngram_range=(1, 2)).fit(texts[:half])
    bayes = MultinomialNB().fit(words.transform(texts[:half]), answers[:half])
    said = bayes.predict(words.transform(texts[half:]))
    kinds: dict[str, Counter[str]] = {}
    for question, answer in zip(asked[:half], answers[:half], strict=True):
        kinds.setdefault(question.kind, Counter())[answer] += 1
    most = [kinds[question.kind].most_common(1)[0][0] for question in asked[half:]]
    return max(float(np.mean(np.array(answers[half:]) == np.array(guess))) for guess in (said, most))


def _rank(question: Question) -> str:
    """The answer; for a choice, where the right option is among the four in alphabetical order."""
    if question.task != "choice":
        return question.answer
    options = re.findall(r"[abcd]\) (.*?)(?= [bcd]\) |$)", question.text)
    return str(sorted(options).index(options["abcd".index(question.answer)]))


def measure(task: str) -> dict[str, Any]:
    """Every number of one task, shares of 1."""
    asked = [ask(task, SPLIT, index)[1] for index in range(ITEMS)]
    prior = Prior.of(ask(task, "train", index)[1] for index in range(ITEMS))
    rng = np.random.default_rng(0)
    orders = [rng.permutation(GRID * GRID) for _ in asked]
    by_chance = {
        k: _mean([seen_by_chance(q, order[:k].tolist(), prior) for q, order in zip(asked, orders, strict=True)])
        for k in KS
    }
    kinds = sorted({question.kind for question in asked})
    return {
        "blind": _mean([blind(question, prior) for question in asked]),
        "guessed": round(guessed(asked), 4),
        "best": {k: _mean([chance(question, k, prior) for question in asked]) for k in KS},
        "best_untrusting": {k: _mean([certain(question, k, prior) for question in asked]) for k in KS},
        "random": by_chance,
        "own_number": _mean([chance(q, max(1, q.sufficient), prior) for q in asked]),
        "own_number_and_one": _mean([chance(q, 1 + q.sufficient, prior) for q in asked]),
        "sufficient": _spread([question.sufficient for question in asked]),
        "certain": _spread([question.certain for question in asked]),
        "evidence": _spread([len(question.evidence) for question in asked]),
        "one_patch_by_kind": {
            kind: _mean([chance(question, 1, prior) for question in asked if question.kind == kind]) for kind in kinds
        },
    }


def _mean(values: list[float]) -> float:
    return round(float(np.mean(values)), 4)


def _spread(numbers: list[int]) -> dict[str, float]:
    return {"mean": round(float(np.mean(numbers)), 2), "median": float(np.median(numbers)), "most": max(numbers)}


def macro(tasks: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The mean over the six tasks."""
    single = ("blind", "guessed", "own_number", "own_number_and_one")
    out: dict[str, Any] = {name: _mean([one[name] for one in tasks.values()]) for name in single}
    for name in ("best", "best_untrusting", "random"):
        out[name] = {k: _mean([one[name][k] for one in tasks.values()]) for k in KS}
    return out


def draw(tasks: dict[str, dict[str, Any]], mean: dict[str, Any], path: Path) -> None:
    """Each task's best curve, and the macro mean's three."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6.4, 3.8), dpi=110)
    for task in TASKS:
        axes.plot(KS, [100 * v for v in tasks[task]["best"].values()], lw=0.9, alpha=0.8, label=task)
    curves = (
        ("best", "k-", "mean"),
        ("best_untrusting", "k--", "mean, not trusting"),
        ("random", "k:", "mean, random"),
    )
    for name, style, said in curves:
        axes.plot(KS, [100 * v for v in mean[name].values()], style, lw=2, label=said)
    axes.axhline(100 * float(mean["guessed"]), color="grey", lw=0.8, label="blind")
    axes.set(xscale="log", xticks=KS, xticklabels=KS, ylim=(0, 102), xlabel="patches shown, of 576", ylabel="right, %")
    axes.minorticks_off()
    axes.legend(fontsize=7, loc="center right", bbox_to_anchor=(1.0, 0.62))
    axes.set_title("The larger world: an ideal observer with the best k patches", fontsize=9)
    figure.tight_layout()
    figure.savefig(path)


def main() -> None:
    tasks = {task: measure(task) for task in TASKS}
    mean = macro(tasks)
    OUT.mkdir(parents=True, exist_ok=True)
    report = {"items": ITEMS, "split": SPLIT, "macro": mean, "tasks": tasks}
    (OUT / "soundness.json").write_text(json.dumps(report, indent=1) + "\n")
    draw(tasks, mean, OUT / "soundness.png")
    print(json.dumps(mean))


if __name__ == "__main__":
    main()
