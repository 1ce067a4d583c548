"""The next turn on a pruned cache: a row that ended early goes on from its own last token, not from its padding."""

from copy import deepcopy

import pytest
import torch
from toolkit.families import CLOSE, NAMES, RANDOM, batch_of, calm, load

from grip_vlm.sequence import follow_up, written

RECURRENT = "qwen3_5_hybrid"  # its layers have read the padding
TURN = torch.tensor([[6, 7, 8, 9]])


def logits_of(family, inputs, how, **ends):
    """Logits of the second turn's first token, (B, V), and the answers of the first turn."""
    pruned = RANDOM.prune(family.model, inputs, 0.4)
    first = family.model.generate(**pruned, **how)
    second = follow_up(pruned, first.sequences, TURN.expand(len(first.sequences), -1), **ends)
    out = family.model.generate(**second, past_key_values=first.past_key_values, **how)
    return out.logits[0], first.sequences[:, pruned["input_ids"].shape[1] :]


def early_end(family):
    """A batch whose second row says its second token where the first row does not, and that token."""
    together, alone = batch_of(family)
    answers = [family.model.generate(**RANDOM.prune(family.model, row, 0.4), **calm(family))[0, -5:] for row in alone]
    for token in answers[1].tolist()[:3]:
        if token not in answers[0].tolist():
            return together, alone, token
    pytest.skip("both rows say the same")
    return None


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NAMES if name != RECURRENT])
@pytest.mark.parametrize("told", [True, False])
@torch.no_grad()
def test_a_row_that_ended_early_answers_the_next_turn_as_it_does_alone(name, told):
    family = load(name)
    together, alone, end = early_end(family)
    how = calm(family, return_dict_in_generate=True, output_logits=True)
    before = deepcopy(family.model.generation_config)
    try:
        if told:
            how |= {"eos_token_id": end}
            ends = {"eos_token_id": end}
        else:
            family.model.generation_config.eos_token_id = end
            ends = {}
        found, answers = logits_of(family, together, how, **ends)
        assert (answers[1] == 0).any()  # padded
        for row, inputs in enumerate(alone):
            expected, _ = logits_of(family, inputs, how, **ends)
            torch.testing.assert_close(found[row], expected[0], **CLOSE)
    finally:
        family.model.generation_config = before


def test_an_answer_is_written_up_to_and_including_its_end():
    answers = torch.tensor([[5, 2, 0, 0], [5, 6, 7, 2], [2, 0, 0, 0], [5, 0, 6, 7]])
    expected = [[1, 1, 0, 0], [1, 1, 1, 1], [1, 0, 0, 0], [1, 1, 1, 1]]
    assert written(answers, [2], 0).int().tolist() == expected
    assert written(answers, [2], None).int().tolist() == expected


def test_the_token_that_ends_an_answer_may_also_fill_it_up():
    assert written(torch.tensor([[5, 2, 2], [5, 6, 2]]), [2], 2).int().tolist() == [[1, 1, 0], [1, 1, 1]]


def test_an_answer_that_went_on_behind_an_end_is_written_whole():
    assert written(torch.tensor([[5, 2, 7, 0], [5, 6, 7, 8]]), [2], 0)[:, :3].all()


def test_an_answer_that_ends_without_its_token_is_written_up_to_its_padding():
    answers = torch.tensor([[5, 6, 0, 0], [5, 6, 7, 8]])
    assert written(answers, [2], 0).int().tolist() == [[1, 1, 0, 0], [1, 1, 1, 1]]


def test_where_nothing_ends_an_answer_all_of_it_is_written():
    assert written(torch.tensor([[5, 0, 0], [5, 6, 7]]), [], 0).all()
