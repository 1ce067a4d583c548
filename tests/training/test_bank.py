"""Examples become entries once, for training and for the dev score, and no row is in both."""

import json

import pytest
import torch
from PIL import Image

from grip_vlm.benchmarks.data import load_examples
from grip_vlm.training.bank import Bank, build_bank
from grip_vlm.training.dev import load_banks
from grip_vlm.training.settings import RunConfig


def test_a_run_is_scored_on_rows_that_it_is_not_trained_on(vlm, tmp_path):
    for number in range(10, 40):
        Image.new("RGB", (8, 6), (number, 0, 0)).save(tmp_path / f"{number}.png")
    rows = [{"image": f"{n}.png", "question": "What is it?", "answers": [str(n)]} for n in range(10, 40)]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def answers(bank):
        ids = [entry.sample.input_ids[-entry.answer_length :] for entry in bank.entries]
        return [vlm.processor.tokenizer.decode(answer, skip_special_tokens=True).strip() for answer in ids]

    train, dev = load_banks(vlm, RunConfig(out=tmp_path / "run", data=str(path)))
    held_out = [example.answers[0] for example in load_examples(str(path), "dev", 30)]
    tested = [example.answers[0] for example in load_examples(str(path), "test", 30)]
    assert answers(dev.bank) == held_out
    assert answers(train) == [str(n) for n in range(10, 40) if str(n) not in held_out + tested]


def test_the_targets_of_a_batch_are_its_answers_at_the_end_of_the_prompts(vlm, examples):
    bank = build_bank(vlm, examples[:4])
    batch = bank.batch(range(4))
    target_ids, is_answer = batch.targets(batch.encoded.prompt.input_ids)
    assert is_answer.sum(1).tolist() == batch.answer_length.tolist()
    for row, entry in enumerate(bank.entries):
        assert torch.equal(target_ids[row][is_answer[row]], entry.sample.input_ids[-entry.answer_length :])


def test_rows_of_a_group_share_the_targets_of_their_sample(vlm, examples):
    batch = build_bank(vlm, examples[:2]).batch(range(2))
    rows = torch.tensor([1, 0, 1])
    one, group = (
        batch.targets(ids, at)
        for ids, at in [
            (batch.encoded.prompt.input_ids, None),
            (batch.encoded.prompt.input_ids[rows], rows),
        ]
    )
    assert all(torch.equal(mine, theirs[rows]) for mine, theirs in zip(group, one, strict=True))


def test_a_bank_without_entries_is_refused(vlm):
    with pytest.raises(ValueError, match="there is nothing to train on"):
        Bank(vlm, [])
