"""FlashAttention's way through transformers, its kernels stood in for by plain attention: no GPU is needed for that."""

import pytest
import tiny
import torch
import transformers.modeling_flash_attention_utils as flash
from toolkit.families import CLOSE, RANDOM, batch_of, calm

BIDIRECTIONAL = ["gemma3", "gemma4", "paligemma", "paligemma2"]


def plain(q, k, v, causal, scale, window):
    """What the kernel computes for one sequence, (L, H, d)."""
    q, k, v = (x.transpose(0, 1) for x in (q, k, v))  # (H, L, d)
    k, v = (x.repeat_interleave(len(q) // len(k), 0) for x in (k, v))
    back = torch.arange(q.shape[1])[:, None] + (k.shape[1] - q.shape[1]) - torch.arange(k.shape[1])
    seen = back >= 0 if causal else torch.ones_like(back, dtype=torch.bool)
    if window != (-1, -1):
        seen &= (back <= window[0]) & (-back <= window[1])
    logits = q @ k.transpose(1, 2) * (q.shape[-1] ** -0.5 if scale is None else scale)
    return (logits.masked_fill(~seen, -torch.inf).softmax(-1) @ v).transpose(0, 1)


def dense(q, k, v, dropout_p=0.0, softmax_scale=None, causal=False, window_size=(-1, -1)):
    rows = zip(q, k, v, strict=True)
    return torch.stack([plain(*row, causal, softmax_scale, window_size) for row in rows])


def packed(
    q,
    k,
    v,
    cu_seqlens_q,
    cu_seqlens_k,
    max_seqlen_q,
    max_seqlen_k,
    dropout_p=0.0,
    softmax_scale=None,
    causal=False,
    window_size=(-1, -1),
):
    q, k, v = (
        torch.split(x, ends.diff().tolist()) for x, ends in ((q, cu_seqlens_q), (k, cu_seqlens_k), (v, cu_seqlens_k))
    )
    return torch.cat([plain(*row, causal, softmax_scale, window_size) for row in zip(q, k, v, strict=True)])


@pytest.fixture
def with_flash(monkeypatch):
    """A function that makes a model take the way of FlashAttention 2."""
    for name, value in {
        "_loaded_implementation": "flash_attention_2",
        "_flash_fn": dense,
        "_flash_varlen_fn": packed,
        "_flash_with_kvcache_fn": None,
        "_pad_fn": flash._pad_input,
        "_unpad_fn": flash._unpad_input,
        "_process_flash_kwargs_fn": flash._lazy_define_process_function(packed),
        "_process_with_kvcache_kwargs_fn": dict,
    }.items():
        monkeypatch.setattr(flash, name, value, raising=False)
    return lambda model: monkeypatch.setattr(
        model.config.get_text_config(), "_attn_implementation_internal", "flash_attention_2"
    )


def one_row(family):
    return family.inputs([(family.images(1), "what is in the image ?")])


CAUSAL = [name for name in tiny.names() if name not in BIDIRECTIONAL]


@pytest.mark.parametrize("rows", ["one row", "a ragged batch"])
@pytest.mark.parametrize("name", CAUSAL)
def test_flash_attention_answers_as_sdpa_does(name, rows, with_flash):
    family = tiny.load(name)
    inputs = one_row(family) if rows == "one row" else batch_of(family)[0]
    found = []
    for _ in range(2):
        logits = family.model(**RANDOM.prune(family.model, inputs, 0.4, forward=True)).logits[:, -1]
        found.append((logits, family.model.generate(**RANDOM.prune(family.model, inputs, 0.4), **calm(family))))
        with_flash(family.model)
    torch.testing.assert_close(found[1][0], found[0][0], **CLOSE)
    assert torch.equal(found[1][1], found[0][1])


@pytest.mark.parametrize("name", BIDIRECTIONAL)
def test_flash_attention_is_refused_where_it_loses_the_image_mask(name, with_flash):
    family = tiny.load(name)
    with_flash(family.model)
    with pytest.raises(ValueError, match=r"both directions.*sdpa"):
        RANDOM.prune(family.model, one_row(family), 0.4)


def test_a_prefill_in_chunks_is_refused_under_flash_attention(with_flash):
    family = tiny.load("llava")
    with_flash(family.model)
    with pytest.raises(ValueError, match="prefill_chunk_size is wrong"):
        family.model.generate(**RANDOM.prune(family.model, one_row(family), 0.4), **calm(family, prefill_chunk_size=4))


def test_beams_are_not_taken_for_chunks_under_flash_attention(with_flash):
    family = tiny.load("llava")
    expected = family.model.generate(**RANDOM.prune(family.model, one_row(family), 0.4), **calm(family, num_beams=2))
    with_flash(family.model)
    found = family.model.generate(**RANDOM.prune(family.model, one_row(family), 0.4), **calm(family, num_beams=2))
    assert torch.equal(found, expected)
