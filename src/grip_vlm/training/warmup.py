"""Stage 1, supervised: first imitate where the answer attends, then train a relaxation through the frozen VLM.

Ours: (a) The teacher is the attention from the answer's tokens to the visual tokens, averaged over layers, minus the
batch mean at the same position. The loss is the k-subset Gibbs likelihood of the teacher's top k plus a cross-entropy
to its distribution. (b) The remaining steps maximise the answer's likelihood through soft top-k gates, with a growing
pull towards hard gates.

`imitate` and `relax` are arguments, because rivals are parts of this stage with losses of their own.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from grip_vlm import policy
from grip_vlm.mdp import Action
from grip_vlm.scorer import Scorer
from grip_vlm.subsets import top_k
from grip_vlm.training import gibbs
from grip_vlm.training.bank import Bank, Batch
from grip_vlm.training.gates import SOFT_TOP_K, Relaxation, Step
from grip_vlm.training.run import DevScore, Run
from grip_vlm.training.settings import WarmupConfig
from grip_vlm.vlms import FrozenVLM
from grip_vlm.vlms.attention import attention_implementation

Imitation = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(importance (B, N), budgets (B,), teacher (B, N)) -> a scalar loss; `subset_imitation` is one"""


def subset_imitation(importance: Tensor, k: Tensor, teacher: Tensor) -> Tensor:
    """`subset_loss` of the teacher's top k plus `distribution_loss`, mean over the batch."""
    chosen = teacher_top_k(importance, k, teacher)
    return (subset_loss(importance, k, chosen) + distribution_loss(importance, teacher)).mean()


def warmup(
    vlm: FrozenVLM,
    scorer: Scorer,
    bank: Bank,
    dev_score: DevScore,
    config: WarmupConfig,
    *,
    method: str = "warmup",
    imitate: Imitation = subset_imitation,
    relax: Relaxation = SOFT_TOP_K,
) -> Scorer:
    """Train `scorer` in place.

    Args:
        method: the name under which the run is logged and saved.
        imitate: the loss of the first `attention_share` of the steps.
        relax: the relaxation of the other steps.

    Returns:
        The weights of the best dev score, which are saved in config.out.
    """
    imitated = round(config.attention_share * config.steps)  # steps
    auxiliary = relax.auxiliary if imitated < config.steps else None
    run = Run(config, method, vlm, scorer, dev_score, auxiliary=auxiliary, data=bank.digest)
    attention: list[Tensor] = []
    for step, rng, generator in run.steps():
        if step < imitated:
            attention = attention or all_answer_attention(vlm, bank, config.looked, config.batch)
        entries = len(attention) if step < imitated else len(bank)
        chosen = rng.integers(0, entries, run.local_batch).tolist()
        batch = bank.batch(chosen)
        state = batch.encoded.state
        k = run.sample_k(rng, state.counts)
        if step < imitated:
            teacher = minus_batch_mean([attention[i] for i in chosen], state.visual_mask)
            # The teacher attends to redundant tokens, so importance alone imitates it.
            loss = imitate(run.score(state, k).importance, k, teacher)
            run.descend(loss)
        else:
            progress = (step - imitated) / max(1, config.steps - imitated)
            loss = relaxed_step(run, relax, batch, k, progress, generator)
        run.log(loss=loss.item())
    return run.best


def relaxed_step(
    run: Run[WarmupConfig], relax: Relaxation, batch: Batch, k: Tensor, progress: float, generator: torch.Generator
) -> Tensor:
    """One optimiser step of the relaxation, in smaller forwards if memory runs out; returns the loss."""
    begun = generator.get_state()

    def attempt() -> Tensor:
        generator.set_state(begun)
        scores = policy.discounted(run.score(batch.encoded.state, k))
        loss = relax.loss(Step(run.vlm, batch, scores, k, progress, run.auxiliary_model, generator))
        run.descend(loss)
        return loss

    return batch.fit.again(attempt, len(k))


def teacher_top_k(importance: Tensor, k: Tensor, teacher: Tensor) -> Tensor:
    """The teacher's top k among the tokens that are not padding, (B, N) bool."""
    return top_k(torch.where(torch.isfinite(importance), teacher, -torch.inf), k)


def subset_loss(scores: Tensor, k: Tensor, chosen: Tensor) -> Tensor:
    """-log pi_k(chosen) per token kept, (B,), of masks (B, N) under the k-subset Gibbs distribution."""
    distribution = gibbs.gibbs(scores, k)
    gradient = (distribution.inclusion - chosen.double()) / k[:, None]  # d(-log pi) / d theta / k
    finite = torch.where(torch.isfinite(scores), scores, 0.0)
    surrogate = (finite * gradient.to(scores.dtype)).sum(1)
    # The surrogate has the right gradient. Its value is replaced by the true one, which is what is logged.
    true = -gibbs.log_prob(distribution, chosen[:, None])[:, 0] / k
    return surrogate + (true.to(scores.dtype) - surrogate).detach()


def distribution_loss(scores: Tensor, teacher: Tensor) -> Tensor:
    """Cross-entropy of softmax(scores) to the positive part of `teacher` (B, N), normalised to sum to one: (B,)."""
    valid = torch.isfinite(scores)
    teacher = (teacher.clamp(min=0) + 1e-6) * valid
    target = teacher / teacher.sum(1, keepdim=True).clamp(min=1e-9)
    return -(target * scores.masked_fill(~valid, -1e4).log_softmax(1)).sum(1)


def all_answer_attention(vlm: FrozenVLM, bank: Bank, count: int, size: int) -> list[Tensor]:
    """`answer_attention` of the first `count` entries, (n,) each, `size` at a time.

    The batches are always the same, so that a resumed run gets the same numbers to the bit.
    """
    count = min(count, len(bank))
    parts = bank.fit.parts(torch.arange(count), size, lambda part: answer_attention(vlm, bank.batch(part.tolist())))
    return [attention for part in parts for attention in part]


def minus_batch_mean(attention: list[Tensor], mask: Tensor) -> Tensor:
    """Attention (n,) per sample, minus the mean of the other samples at the same position, (B, N); mask is (B, N)."""
    padded = torch.zeros(mask.shape, device=mask.device).masked_scatter(mask, torch.cat(attention))
    others = padded.sum(0, keepdim=True) - padded
    mean = others / (mask.sum(0, keepdim=True) - mask.long()).clamp(min=1)  # (B, N); zero for a batch of one
    return (padded - mean) * mask


@torch.no_grad()
def answer_attention(vlm: FrozenVLM, batch: Batch) -> list[Tensor]:
    """Attention of the answer's tokens to each visual token, (n,) per sample: mean over heads, layers and tokens."""
    inputs = vlm.pruned(batch.encoded.prompt, Action(batch.encoded.state.visual_mask))
    with attention_implementation(vlm.model, "eager"):  # the only one that returns attention maps
        maps = vlm.model(**inputs, output_attentions=True, use_cache=False, logits_to_keep=1).attentions
    mean = torch.stack([layer.float().mean(1) for layer in maps]).mean(0)  # (B, L, L)
    length = inputs["input_ids"].shape[1]
    # The rows that predict the answer's tokens are those just before them.
    column = torch.arange(length, device=mean.device)
    queries = (column >= length - 1 - batch.answer_length[:, None]) & (column < length - 1)  # (B, L)
    received = torch.einsum("bl,blj->bj", queries.float() / queries.sum(1, keepdim=True), mean)  # (B, L)
    # Keep-all is the prompt itself, so its slots are the columns.
    return [row[slots[slots >= 0]] for row, slots in zip(received, batch.encoded.prompt.slots, strict=True)]
