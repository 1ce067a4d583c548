"""Turn the records of `steering.py` into tables and numbers.

Accuracies are in %. The value of an item is its mean over training seeds.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import mean
from typing import Any

import numpy as np

from grip_vlm.report.statistics import percentile_interval, resampled_means

PerItem = dict[str, float]
Groups = dict[tuple[str, str], list[Any]]


def grouped(records: Iterable[Any]) -> Groups:
    """(budget, pruner) -> its records, by ascending budget."""
    groups: Groups = defaultdict(list)
    for record in records:
        groups[record.budget, record.pruner].append(record)
    return dict(sorted(groups.items(), key=lambda group: float(group[0][0])))


def per_item(records: Iterable[Any], value: Callable[[Any], float]) -> PerItem:
    """Item -> mean of `value` over its records."""
    found: dict[str, list[float]] = defaultdict(list)
    for record in records:
        found[record.item].append(value(record))
    return {item: mean(values) for item, values in found.items()}


def gain(plus: Sequence[PerItem], minus: Sequence[PerItem]) -> list[float]:
    """Mean over the shared items of the sum of `plus` minus the sum of `minus`, with its 95 % bootstrap interval.

    Items are resampled. All three numbers are in %.

    Raises:
        ValueError: the parts share no item.
    """
    shared = sorted(set.intersection(*(set(part) for part in (*plus, *minus))))
    if not shared:
        raise ValueError("nothing to compare: no item stands in all of the parts")
    each = np.array([[sum(p[item] for p in plus) - sum(m[item] for m in minus) for item in shared]])  # (1, I)
    low, high = percentile_interval(resampled_means(each, np.random.default_rng(0), 2000)[:, 0])
    return [round(100 * float(value), 1) for value in (each.mean(), low, high)]


def percent(values: Sequence[float]) -> float | None:
    """Mean in %; None if there are no values."""
    return round(100 * mean(values), 1) if values else None


def answered(groups: Groups) -> list[dict[str, Any]]:
    """(a): accuracy of the VLM that subsets are chosen for, and of the second VLM on the same subsets."""
    full = groups["1.0", "full"]
    right, heard = per_item(full, lambda r: r.right), per_item(full, lambda r: r.second_right or 0.0)
    rows = []
    for (budget, pruner), records in groups.items():
        own = per_item(records, lambda r: r.right)
        row: dict[str, Any] = {"budget": budget, "pruner": pruner, "right": percent(list(own.values()))}
        row["mended"] = percent([own[item] for item in own if right[item] == 0])
        if full[0].second_said is not None:
            second = per_item(records, lambda r: r.second_right)
            row["second"] = percent(list(second.values()))
            row["agree"] = percent([float(r.said == r.second_said) for r in records])
            row["excess"] = gain([own, heard], [right, second])
        rows.append(row)
    return rows


def looked(groups: Groups) -> list[dict[str, Any]]:
    """(b): the share of the evidence that is kept, and accuracy with all, with part and with none of it."""
    blind = per_item(groups["0", "blind"], lambda r: r.right)
    rows = []
    for (budget, pruner), records in groups.items():
        there = [r for r in records if r.evidence]
        if pruner in ("full", "blind") or not there:
            continue
        parts = {
            "touched": [r for r in there if r.touched],
            "partly": [r for r in there if r.seen and not r.touched],
            "unseen": [r for r in there if not r.seen],
        }
        row: dict[str, Any] = {
            "budget": budget,
            "pruner": pruner,
            "evidence kept": percent([r.seen / r.evidence for r in there]),
            "chance": percent([r.kept / r.tokens for r in there]),
            "tokens on it": percent([r.seen / r.kept for r in there]),
            "tokens by chance": percent([r.evidence / r.tokens for r in there]),
        }
        for name, part in parts.items():
            row[name] = len(part)
            row[f"right {name}"] = percent([r.right for r in part])
        row["blind unseen"] = percent([blind[r.item] for r in parts["unseen"]])
        row["right absent"] = percent([r.right for r in records if not r.evidence])
        rows.append(row)
    return rows


def moved(groups: Groups) -> list[dict[str, Any]]:
    """(c): the same positions on the next image, against no image, all of the next image, and a subset chosen in it."""
    blind = per_item(groups["0", "blind"], lambda r: r.right)
    other = per_item(groups["1.0", "full"], lambda r: r.moved)
    rows = []
    for (budget, pruner), records in groups.items():
        if pruner in ("full", "blind"):
            continue
        here, there = per_item(records, lambda r: r.moved), per_item(records, lambda r: r.chosen_there)
        rows.append(
            {
                "budget": budget,
                "pruner": pruner,
                "right": percent([r.right for r in records]),
                "moved": percent(list(here.values())),
                "over blind": gain([here], [blind]),
                "over the other in full": gain([here], [other]),
                "over chosen there": gain([here], [there]),
            }
        )
    return rows


CONTROLS = ("over blind", "over the other in full", "over chosen there")


def exceeds(row: Mapping[str, Any]) -> bool:
    """Whether a row of `moved` is above all controls, with intervals that exclude zero: positions alone answer."""
    return all(row[control][1] > 0 for control in CONTROLS)


def table(columns: Mapping[str, str], rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Lines of a Markdown table. `columns` maps keys of the rows to headings."""

    def cell(value: Any) -> str:
        if isinstance(value, (list, tuple)):
            return f"{value[0]:+.1f} [{value[1]:+.1f}, {value[2]:+.1f}]"
        return "-" if value is None else str(value)

    lines = ["| " + " | ".join(columns.values()) + " |", "|" + "--:|" * len(columns)]
    return lines + ["| " + " | ".join(cell(row.get(key)) for key in columns) + " |" for row in rows]


def probe_rows(probed: Mapping[str, Mapping[str, float]], records: Sequence[Any]) -> list[dict[str, Any]]:
    """(d): one row per task and scorer, with the VLM's own accuracy beside it."""
    rows = []
    for task, found in probed.items():
        for scorer in dict.fromkeys(name.rpartition(" ")[0] for name in found if name != "majority"):
            row: dict[str, Any] = {"task": task, "scorer": scorer, "majority": percent([found["majority"]])}
            for pruner in ("blind", "full"):
                row[pruner] = percent([r.right for r in records if r.task == task and r.pruner == pruner])
            row |= {kind: percent([found[f"{scorer} {kind}"]]) for kind in ("hidden", "kept", "scores", "mask")}
            rows.append(row)
    return rows


def report(
    records: Sequence[Any], probed: Mapping[str, Mapping[str, float]], probe_budget: str
) -> tuple[str, dict[str, Any]]:
    """The text of steering.md and the numbers of steering.json: over all tasks, and in the JSON by task too."""
    tasks = {"all": list(records)}
    for record in records:
        tasks.setdefault(record.task, []).append(record)
    numbers: dict[str, Any] = {
        part.__name__: {task: part(grouped(mine)) for task, mine in tasks.items()} for part in (answered, looked, moved)
    }
    numbers["alarms"] = [
        f"{row['pruner']} at {row['budget']} on {task}"
        for task, rows in numbers["moved"].items()
        for row in rows
        if exceeds(row)
    ]
    numbers["probe"] = probe_rows(probed, records)
    items, seeds = len({r.item for r in records}), sorted({r.seed for r in records})
    full = [r for r in records if r.pruner == "full"]
    head = (
        f"`python recipes/steering.py`; {items} test items, training seeds {', '.join(map(str, seeds))}, accuracies in "
        f"%, intervals of 95 % over items. Full {percent([r.right for r in full])}, blind "
        f"{percent([r.right for r in records if r.pruner == 'blind'])}. By task: steering.json."
    )
    parts = [
        ["# Selection or steering?", "", head],
        _answered_text(numbers["answered"]["all"]),
        _looked_text(numbers["looked"]["all"], sum(not r.evidence for r in full)),
        _moved_text(numbers["moved"]["all"], numbers["alarms"], percent([r.moved for r in full])),
        _probe_text(numbers["probe"], probe_budget),
    ]
    return "\n\n".join("\n".join(part) for part in parts) + "\n", numbers


NAMED = {"budget": "kept", "pruner": "pruner"}


def _answered_text(rows: list[dict[str, Any]]) -> list[str]:
    columns = NAMED | {"right": "own VLM", "mended": "full wrong"}
    told = "No second VLM was given (`--second`): its columns are left out."
    if "second" in rows[0]:
        columns |= {"second": "second VLM", "agree": "same answer", "excess": "own keeps over second"}
        told = (
            "Last column: what the own VLM keeps of its full accuracy beyond what the second keeps of its own; "
            "steering puts a trained scorer above zero where `random` is not."
        )
    title = "## (a) Subsets chosen for one VLM, answered by another"
    return [title, "", f"`full wrong`: share right where full is wrong. {told}", "", *table(columns, rows)]


def _looked_text(rows: list[dict[str, Any]], absent: int) -> list[str]:
    columns = NAMED | {
        "evidence kept": "of evidence",
        "chance": "by chance",
        "tokens on it": "of tokens",
        "tokens by chance": "by chance",
        "touched": "all",
        "right touched": "right",
        "partly": "some",
        "right partly": "right",
        "unseen": "none",
        "right unseen": "right",
        "blind unseen": "blind on these",
        "right absent": "absent, right",
    }
    told = (
        "Evidence: the patches of the things a question is about, arrows and frames not counted. Answers are split by "
        "whether all these things have a token kept, some, or none (how many answers, then % right). `absent`: "
        f"the {absent} items that ask for what is not there. The tower mixes its tokens, so that one off the evidence "
        "may speak of it: what counts is the difference to `random`."
    )
    return ["## (b) Evidence kept", "", told, "", *table(columns, rows)]


def _moved_text(rows: list[dict[str, Any]], alarms: list[str], other: float | None) -> list[str]:
    columns = NAMED | {"right": "own image", "moved": "positions alone", "over blind": "- blind"}
    columns |= {"over the other in full": "- other in full", "over chosen there": "- chosen in the other"}
    found = f"So are {', '.join(alarms)}." if alarms else "None are, over all tasks or on one of them."
    told = (
        f"All tokens of the task's next image give {other}. Positions that hold the answer would be above all three "
        f"controls. {found}"
    )
    return ["## (c) Kept positions, features of another image", "", told, "", *table(columns, rows)]


def _probe_text(rows: list[dict[str, Any]], budget: str) -> list[str]:
    columns = {"task": "task", "scorer": "scorer", "majority": "majority", "blind": "VLM, blind", "full": "VLM, full"}
    columns |= {"hidden": "hidden state", "kept": "kept tokens", "scores": "scores", "mask": "mask"}
    told = (
        f"Accuracy on test items at a budget of {budget}. Controls: a scorer of random weights, which has what the "
        "frozen tower's features say by themselves, and `kept tokens`, a probe on the VLM's own features of the tokens "
        "kept, which has what choosing well gives. The answer itself was learnt where `hidden state` exceeds both."
    )
    return ["## (d) A linear probe on the scorer alone", "", told, "", *table(columns, rows)]
