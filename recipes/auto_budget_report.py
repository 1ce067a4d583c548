"""Tables and a figure of `auto_budget.py`, from the scores of every k and the curves of every rule."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from auto_budget_curves import BESIDE, HEAD, Curves
from auto_budget_splits import (
    Array,
    Goal,
    Outcome,
    Sweep,
    Trial,
    at_mean,
    certified,
    measured,
    outcome,
    places_of,
    share,
)
from auto_budget_splits import trials as run_trials
from auto_budget_warnings import false_warnings, warned
from grip_vlm.benchmarks import CROWDED
from grip_vlm.evaluation.rules import mutual_information
from grip_vlm.files import new_file, write_text
from grip_vlm.report.statistics import percentile_interval, resampled_means

FIXED, INFORMATION = "fixed k", "mutual information"
GOALS = (Goal(0.01, 0.9), Goal(0.02, 0.95), Goal(0.05, 0.95))
OTHER_GOALS = (Goal(0.02), Goal(0.02, 0.95, signed=True))
SLOPES = (-2.0, -1.0, -0.5, 0.5, 1.0, 2.0)
SHARES = 1 / (1 + np.exp(-np.linspace(14, -9, 150)))  # thresholds of rules whose adequacy is a share
PRICES = np.geomspace(1e-7, 1.0, 150)  # per token, of the head's rule
Gathered = Mapping[str, tuple[Sweep, Curves]]


def joined(gathered: Gathered, names: Sequence[str]) -> tuple[Sweep, Curves]:
    """The questions of several benchmarks as one table."""
    sweeps = [gathered[name][0] for name in names]
    rules = gathered[names[0]][1]
    curves = {rule: np.concatenate([gathered[name][1][rule] for name in names]) for rule in rules}
    fields = {field: np.concatenate([getattr(s, field) for s in sweeps]) for field in ("items", "tasks", "scores")}
    return Sweep(ks=sweeps[0].ks, **fields), curves


def outcomes(sweep: Sweep, curves: Curves, centre: float, scale: float) -> dict[str, Outcome]:
    """Rule, with its setting if it has one -> its outcome at every threshold.

    Args:
        centre, scale: mean and deviation of the information of the questions that settings are chosen on.
    """
    count, last = len(sweep.items), len(sweep.ks) - 1
    results = {FIXED: outcome(sweep, np.tile(np.arange(last, -1, -1), (count, 1)))}
    for rule, curve in curves.items():
        if rule == "nats":
            n = np.full(count, sweep.ks[-1])
            for slope in SLOPES:
                adequacy = information_curve(curve, n, centre, scale, slope)[:, sweep.ks - 1]
                results[f"{INFORMATION}, slope {slope:g}"] = outcome(sweep, places_of(adequacy, SHARES))
        elif rule not in BESIDE:
            thresholds = -PRICES if rule == HEAD else SHARES
            results[rule] = outcome(sweep, places_of(curve, thresholds))
    return results


def information_curve(nats: Array, n: Array, centre: float, scale: float, slope: float) -> Array:
    """`mutual_information.adequacy` of arrays."""
    import torch

    curve = mutual_information.adequacy(torch.as_tensor(nats), torch.as_tensor(n), centre, scale, slope)
    return curve.numpy()


def family(rule: str) -> str:
    """The rule without its setting."""
    return rule.partition(",")[0]


def best(trials: Mapping[str, list[Trial]]) -> dict[str, str]:
    """Rule without setting -> the setting with the fewest tokens, chosen on these very questions."""
    chosen: dict[str, str] = {}
    for rule in trials:
        if family(rule) not in chosen or tokens(trials[rule]) < tokens(trials[chosen[family(rule)]]):
            chosen[family(rule)] = rule
    return chosen


def tokens(trials: Sequence[Trial]) -> float:
    return float(np.mean([trial.tokens for trial in trials]))


# ---- tables ----------------------------------------------------------------------------------------------------------


def guarantee_table(results: Mapping[str, Mapping[Goal, list[Trial]]], goal: Goal) -> list[str]:
    """One line per rule: how often the drop exceeds what was allowed, and what it costs."""
    drop = goal.drop
    trials = {rule: of[goal] for rule, of in results.items()}
    fixed = tokens(trials[FIXED])
    word = f"with confidence {goal.confidence:.0%}" if goal.confidence else "in expectation (conformal risk control)"
    word += ", the drop itself tested by betting" if goal.signed else ""
    lines = [f"\n### At most {100 * drop:g} points lost, {word}\n"]
    lines += [
        "| rule of k | mean tokens | against fixed | accuracy lost, points | splits that lose more | bound broken |"
    ]
    lines += ["|---|--:|--:|--:|--:|--:|"]
    for rule in sorted(trials, key=lambda rule: tokens(trials[rule])):
        of_rule = trials[rule]
        hits = sum(trial.drop > drop for trial in of_rule)
        over, low, high = share(hits, len(of_rule))
        broken, lowest, highest = share(sum(trial.bounded > drop for trial in of_rule), len(of_rule))
        mean = tokens(of_rule)
        lost = 100 * np.mean([trial.drop for trial in of_rule])
        lines.append(
            f"| {rule} | {mean:.1f} | {mean / fixed - 1:+.0%} | {lost:.2f} | {over:.1%} [{low:.1%}, {high:.1%}] | "
            f"{broken:.1%} [{lowest:.1%}, {highest:.1%}] |"
        )
    return lines


def oracle_line(sweep: Sweep) -> str:
    """What an oracle would need: the least k whose answer is as good as the one from all tokens."""
    places = (sweep.scores >= sweep.scores[:, -1:]).argmax(1)
    right = np.take_along_axis(sweep.scores, places[:, None], axis=1).mean()
    return (
        f"An oracle that gives each question the least k whose answer is as good as the full one needs "
        f"{sweep.ks[places].mean():.2f} tokens in the mean and scores {100 * right:.1f} %; the full model scores "
        f"{100 * sweep.scores[:, -1].mean():.1f} %."
    )


def mean_table(sweep: Sweep, by_rule: Mapping[str, Outcome]) -> list[str]:
    """The same mean number of tokens for every rule: accuracy against fixed k, paired over questions."""
    n = int(sweep.ks[-1])
    k = int(sweep.ks[np.abs(sweep.ks - 0.05 * n).argmin()])
    fixed = by_rule[FIXED].drops[:, int(np.flatnonzero(by_rule[FIXED].kept[0] == k)[0])]
    lines = [
        "| rule of k | mean tokens | accuracy, % | against fixed, points | 95 % interval |",
        "|---|--:|--:|--:|--:|",
    ]
    full = sweep.scores[:, -1].mean()
    ranked = []
    for rule, of_rule in by_rule.items():
        index = at_mean(of_rule, k)
        if index is None:
            continue
        gain = fixed - of_rule.drops[:, index]  # (Q,)
        low, high = percentile_interval(resampled_means([gain], np.random.default_rng(0), 5000)[:, 0])
        accuracy = full - of_rule.drops[:, index].mean()
        ranked.append((accuracy, rule, of_rule.kept[:, index].mean(), gain.mean(), low, high))
    shown: set[str] = set()
    for accuracy, rule, mean, gain, low, high in sorted(ranked, reverse=True):
        if family(rule) not in shown:
            shown.add(family(rule))
            spread = "" if rule == FIXED else f"{100 * gain:+.2f} | [{100 * low:+.2f}, {100 * high:+.2f}]"
            lines.append(f"| {rule} | {mean:.1f} | {100 * accuracy:.2f} | {spread or '|'} |")
    return lines


def shift_table(gathered: Gathered, rule: str, scale: tuple[float, float], goal: Goal) -> list[str]:
    """Calibrated on some questions, used on others: what is lost there, and whether the promise still holds."""
    plain = [name for name in gathered if CROWDED not in name]
    crowded = [name for name in gathered if CROWDED in name]
    pairs = [("the six tasks", plain, "crowded scenes of all six", crowded)] if crowded else []
    pairs += [("the other five tasks", [n for n in plain if n != name], name, [name]) for name in plain]
    pairs += [("the six tasks", plain, name, [name]) for name in crowded]
    lines = [
        "| calibrated on | used on | mean tokens | accuracy lost, points | 95 % interval | promise kept | warning |"
    ]
    lines += ["|---|---|--:|--:|--:|:-:|---|"]
    for source, sources, target, targets in pairs:
        (calibration_sweep, calibration_curves), (sweep, curves) = joined(gathered, sources), joined(gathered, targets)
        calibration = outcomes(calibration_sweep, calibration_curves, *scale)[rule]
        used = outcomes(sweep, curves, *scale)[rule]
        index = certified(calibration, goal)
        trial = measured(used, index, goal)
        means = resampled_means([used.drops[:, index]], np.random.default_rng(0), 5000)[:, 0]
        low, high = percentile_interval(means)
        kept = "yes" if trial.drop <= goal.drop else "no"
        if low <= goal.drop < high:
            kept += ", not surely"
        lines.append(
            f"| {source} | {target} | {trial.tokens:.1f} | {100 * trial.drop:.2f} | "
            f"[{100 * low:.2f}, {100 * high:.2f}] | {kept} | {warned(calibration_curves, curves)} |"
        )
    return lines


# ---- figure ----------------------------------------------------------------------------------------------------------


def draw(by_rule: Mapping[str, Outcome], results: Mapping[str, Mapping], path: Path) -> None:
    """Left: accuracy lost over mean tokens, all thresholds. Right: how often a certified threshold loses too much."""
    colours = {FIXED: "#000000", HEAD: "#d55e00", "energy": "#e69f00", INFORMATION: "#56b4e9", "top-p": "#009e73"}
    chosen = list(results)
    figure = Figure(figsize=(9.6, 4.2), dpi=150, layout="constrained")
    left, right = figure.subplots(1, 2)
    for rule in chosen:
        of_rule = by_rule[rule]
        left.plot(of_rule.kept.mean(0), 100 * of_rule.losses.mean(0), label=rule, color=colours[family(rule)])
    left.set(xscale="log", xlabel="mean visual tokens", ylabel="right answers lost, points", ylim=(0, 8))
    left.legend(frameon=False, fontsize=8)
    for place, goal in enumerate(GOALS):
        right.plot([place - 0.4, place + 0.4], [100 * (1 - goal.confidence)] * 2, color="#b0b0b0", lw=2, zorder=0)
        for shift, rule in enumerate(chosen):
            of_rule = results[rule][goal]
            value, low, high = share(sum(trial.drop > goal.drop for trial in of_rule), len(of_rule))
            x = place + (shift - (len(chosen) - 1) / 2) * 0.14
            bars = [[100 * (value - low)], [100 * (high - value)]]
            right.errorbar([x], [100 * value], bars, fmt="o", ms=4, color=colours[family(rule)])
    right.set_xticks(
        range(len(GOALS)), [f"{100 * g.drop:g} points\nin {1 - g.confidence:.0%} of the draws" for g in GOALS]
    )
    right.set(ylabel="splits that lose more than allowed, %", ylim=(-0.5, 12))
    with new_file(path) as file:
        figure.savefig(file, format="svg", metadata={"Date": None})


# ---- the page --------------------------------------------------------------------------------------------------------


def write(gathered: Gathered, splits: int, out: Path) -> None:
    """Write OUT/auto-budget.md and OUT/auto-budget/auto-budget.svg."""
    plain = [name for name in gathered if CROWDED not in name]
    sweep, curves = joined(gathered, plain)
    scale = float(curves["nats"].mean()), float(curves["nats"].std())
    by_rule = outcomes(sweep, curves, *scale)
    goals = [*GOALS, *OTHER_GOALS]
    few = {rule: run_trials(of_rule, GOALS[1:2], min(splits, 50))[GOALS[1]] for rule, of_rule in by_rule.items()}
    chosen = best(few).values()
    results = {rule: run_trials(by_rule[rule], goals, splits) for rule in chosen}
    draw(by_rule, results, out / "auto-budget" / "auto-budget.svg")
    half = len(sweep.items) // 2
    lines = [
        "# Budgets that are calibrated",
        "",
        f"Made by `python recipes/auto_budget.py`: {len(sweep.items)} test questions about as many images, six tasks, "
        f"answered from {', '.join(map(str, sweep.ks[:-1]))} and all {sweep.ks[-1]} visual tokens. The scorer chooses "
        f"the tokens; a rule chooses only how many. {splits} random splits: {half} questions calibrate, the others "
        "test. Every rule is calibrated by Learn-then-Test (`evaluation/calibrate.py`), on the same splits, and its "
        "budgets are rounded up to these counts. Rules with a setting appear with the setting that needs the fewest "
        "tokens on these very questions, which favours them.",
        "",
        "`splits that lose more`: the share of splits in which the accuracy on the test half falls by more than "
        "allowed, with its exact 95 % interval. `bound broken`: the share of splits in which the mean that was tested "
        "exceeds what is allowed on all questions together, which stand for the distribution that they were drawn "
        "from. It is the mean of the clipped loss, which does not count corrected answers, or of the drop itself. "
        "The certificate says that this share is at most one minus the confidence. (The test half misses the "
        "questions of the calibration half, so its own mean errs on the other side.)",
        "",
        oracle_line(sweep),
        "",
        "![right answers lost over mean tokens; splits that lose too much](auto-budget/auto-budget.svg)",
    ]
    for goal in goals:
        lines += guarantee_table(results, goal)
    lines += ["", "## The same mean of 5 %", ""]
    lines += mean_table(sweep, by_rule)
    lines += ["", f"## Other questions than those of the calibration: {HEAD}, at most 2 points, confidence 95 %", ""]
    lines += shift_table(gathered, HEAD, scale, GOALS[1])
    lines += ["", false_warnings(curves, splits)]
    write_text(out / "auto-budget.md", "\n".join(lines) + "\n")
