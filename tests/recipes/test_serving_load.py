"""The recipe that loads the server, on a smaller scale: none lost, none crossed."""

import pytest

import serving_load


@pytest.mark.slow
def test_of_some_hundred_requests_none_is_lost_and_none_is_crossed():
    result = serving_load.run(serving_load.Config(requests=300, concurrency=16, kills=1, items=6))
    assert result["wrong"] == []
    assert sum(result["sent"].values()) == 300
    assert set(result["sent"]) == set(serving_load.SHARES)
    assert result["metrics"]["grip_vlm_worker_restarts_total"] == 1
    assert result["left"] == {"status": "ok", "waiting": 0, "running": 0}
    assert result["exit code"] == 0
    assert "| malformed |" in serving_load.report(result)


def test_a_crossed_answer_is_noticed():
    client = serving_load.Client(serving_load.Config(), serving_load.Served(None, ""), [b""], [("B", 4)])
    assert client.judged(0, "B", 4) == ""
    assert client.judged(0, "C", 4)
    assert client.judged(0, "B", 5)
