"""Budgets under load, where the truth about a batch's time is known."""

import pytest
import torch

from grip_vlm.budget import Budget
from grip_vlm.serving.server.load import Load
from grip_vlm.serving.server.lowered import lowered

PER_ROW, PER_TOKEN, BATCH = 0.010, 0.001, 8


def truth(rows, kept):
    return PER_ROW * rows + PER_TOKEN * kept


def simulate(target, rate, asked=100, least=10, seconds=20.0):
    """Requests that arrive evenly, each asking for `asked` tokens; (longest queue, latencies, kept tokens)."""
    load, now, waiting, next_arrival = Load(target), 0.0, [], 0.0
    longest, latencies, kepts = 0, [], []
    while now < seconds:
        while next_arrival <= now:
            waiting.append(next_arrival)
            next_arrival += 1 / rate
        if not waiting:
            now = next_arrival
            continue
        longest = max(longest, len(waiting))
        share = load.share(len(waiting), BATCH, now - waiting[0])
        batch, waiting = waiting[:BATCH], waiting[BATCH:]
        kept = max(round(share * asked), least)
        time = truth(len(batch), kept * len(batch))
        load.add(len(batch), asked * len(batch), kept * len(batch), time)
        now += time
        latencies += [now - arrived for arrived in batch]
        kepts += [kept] * len(batch)
    return longest, latencies, kepts


def test_costs_are_those_of_the_batches():
    load = Load(1)
    for rows, kept in ((1, 20), (8, 100), (3, 200), (8, 800)):
        load.add(rows, kept, kept, truth(rows, kept))
    assert load.costs() == pytest.approx((PER_ROW, PER_TOKEN))


def test_a_quiet_server_gives_what_is_asked():
    _, latencies, kepts = simulate(target=1.0, rate=5)
    assert set(kepts) == {100}
    assert max(latencies) < 1.0


def test_under_load_budgets_fall_and_the_queue_does_not_grow():
    """Full budgets allow nine requests a second, the least ones fifty."""
    without, _, _ = simulate(target=0, rate=30)
    longest, latencies, kepts = simulate(target=1.0, rate=30)
    assert without > 200
    assert longest < 40
    late = latencies[len(latencies) // 4 :]
    assert max(late) < 1.2
    assert min(kepts) >= 10
    assert 10 < sum(kepts[len(kepts) // 2 :]) / len(kepts[len(kepts) // 2 :]) < 60


def test_beyond_what_the_least_budget_can_do_budgets_stay_at_the_least():
    _, _, kepts = simulate(target=1.0, rate=200)
    assert set(kepts[len(kepts) // 2 :]) == {10}


def test_a_share_leaves_the_least_budget_and_nobody_gains():
    k, counts = torch.tensor([196, 100, 20, 3]), torch.tensor([196, 196, 196, 196])
    assert lowered(k, counts, 0.1, Budget.parse("5%")).tolist() == [20, 10, 10, 3]
    assert lowered(k, counts, 1.0, Budget.parse("50%")).tolist() == k.tolist()
    assert lowered(k, counts, 0.0, Budget.parse(1)).tolist() == [1, 1, 1, 1]
