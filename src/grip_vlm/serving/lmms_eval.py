"""The lmms-eval model `grip_vlm`: answers any lmms-eval task from pruned prompts (docs/lmms-eval.md)."""

import inspect
from functools import partial
from typing import Any

import torch
from accelerate import PartialState
from lmms_eval.api.instance import GenerationResult, Instance, TokenCounts
from lmms_eval.api.model import lmms
from lmms_eval.models.model_utils.gen_metrics import log_metrics
from lmms_eval.models.registry_v2 import ModelManifest
from lmms_eval.protocol import ChatMessages
from tqdm import tqdm

from grip_vlm import literals, pruners, vlms
from grip_vlm.budget import Budget
from grip_vlm.options import DType
from grip_vlm.sequence import Positions
from grip_vlm.serving.chats import Conversation, Generation, Reply, reply


def manifest() -> ModelManifest:
    """The target of the entry point `lmms_eval.models`."""
    return ModelManifest(model_id="grip_vlm", chat_class_path=f"{__name__}.GripVLM")


class GripVLM(lmms):  # type: ignore[misc]
    """A frozen VLM with a pruner. Its arguments are those of `--model_args`."""

    is_simple = False

    def __init__(
        self,
        *,
        pretrained: str,
        pruner: str,
        budget: int | float | str,
        scorer: str | None = None,
        per_image: bool = False,
        min_tokens: int = 1,
        positions: Positions = "original",
        num_frames: int | None = None,
        dtype: DType = "auto",
        device: str | None = None,
        attn_implementation: str | None = None,
        batch_size: int = 1,
        **unknown: Any,
    ) -> None:
        """Load the VLM and the pruner.

        Args:
            pretrained: as in `grip_vlm.load_vlm`: a shipped VLM, a folder or a hub id.
            pruner, scorer: as in `grip_vlm.load_pruner`. `full` does not prune.
            budget, per_image, min_tokens, positions: as in `pruner.prune`.
            num_frames: frames sampled from every video; None leaves it to the checkpoint's processor.
            dtype: precision of the weights; "auto" takes the checkpoint's.
            device: None means this process's GPU if there is one, else the CPU.

        Raises:
            ValueError: an argument is wrong or unknown, or the VLM or the pruner cannot be loaded.
        """
        super().__init__()
        if unknown:
            known = [name for name in inspect.signature(GripVLM).parameters if name != "unknown"]
            raise ValueError(f"no model argument {', '.join(sorted(unknown))}; there are {', '.join(known)}")
        if not isinstance(per_image, bool):
            raise ValueError(f"per_image must be true or false, not {per_image!r}")
        literals.check("positions", positions, Positions)
        literals.check("dtype", dtype, DType)
        self.batch_size = positive_integer("batch_size", batch_size)
        self.num_frames = None if num_frames is None else positive_integer("num_frames", num_frames)
        options: dict[str, Any] = {
            "budget": Budget.parse(budget),
            "per_image": per_image,
            "min_tokens": positive_integer("min_tokens", min_tokens),
            "positions": positions,
        }
        chosen = pruners.load(pruner, scorer=scorer)
        chosen_device = PartialState(cpu=not torch.cuda.is_available()).device if device is None else device
        attention: dict[str, Any] = {} if attn_implementation is None else {"attn_implementation": attn_implementation}
        self.vlm = vlms.load(pretrained, dtype=dtype, device=chosen_device, **attention)
        self.device = self.vlm.device
        self.prune = partial(chosen.prune, self.vlm, **options)

    def generate_until(self, requests: list[Instance]) -> list[GenerationResult]:
        """Answers in the order of the requests. Their costs go to the log and to lmms-eval's summaries."""
        by_settings: dict[str, list[int]] = {}  # requests with equal generation settings share batches
        for i, request in enumerate(requests):
            by_settings.setdefault(repr(sorted(request.args[2].items())), []).append(i)
        replies: dict[int, Reply] = {}
        bar = tqdm(total=len(requests), desc="grip_vlm", disable=self.rank != 0)
        for members in by_settings.values():
            generation = Generation.parse(requests[members[0]].args[2])
            for first in range(0, len(members), self.batch_size):
                batch = members[first : first + self.batch_size]
                conversations = [self.conversation(requests[i]) for i in batch]
                prune = partial(self.prune, new_tokens=generation.options["max_new_tokens"])
                answers = reply(self.vlm, conversations, prune, generation, self.num_frames)
                replies.update(zip(batch, answers, strict=True))
                bar.update(len(batch))
        bar.close()
        ordered = [replies[i] for i in range(len(requests))]
        log_usage(ordered)
        return [GenerationResult(r.text, TokenCounts(r.input_tokens, r.output_tokens)) for r in ordered]

    def conversation(self, request: Instance) -> Conversation:
        """A request's messages in the form that processors read.

        Raises:
            ValueError: the request has audio or parts of videos.
        """
        _, messages_of, _, doc, task, split = request.args
        messages: Conversation = ChatMessages(messages=messages_of(self.task_dict[task][split][doc])).to_hf_messages()
        for part in (part for message in messages for part in message["content"]):
            if (
                part["type"] == "audio"
                or "video_start" in part
                or "video_end" in part
                or isinstance(part.get("video"), dict)
            ):
                raise ValueError(f"{task} has audio or parts of videos; grip_vlm takes text, images and whole videos")
        return messages

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        raise NotImplementedError("grip_vlm answers generate_until tasks; lmms-eval gives chat models no other tasks")

    def generate_until_multi_round(self, requests: list[Instance]) -> list[str]:
        raise NotImplementedError("grip_vlm answers generate_until tasks; tasks of several rounds are not supported")

    def clean(self) -> None:
        """Free the VLM, because scoring may run another model on the same device."""
        del self.vlm, self.prune
        super().clean()


def positive_integer(name: str, value: int | str) -> int:
    """A positive integer, also from text, because lmms-eval's command line passes the batch size as text.

    Raises:
        ValueError: the value is something else.
    """
    try:
        number = int(value)
    except ValueError:
        number = 0
    if number < 1 or isinstance(value, (bool, float)):
        raise ValueError(f"{name} must be a whole number of at least 1, not {value!r}")
    return number


def log_usage(replies: list[Reply]) -> None:
    """Log totals, and means over the requests with visual tokens. lmms-eval prefixes the means with `avg_`."""
    seconds, tokens = sum(r.seconds for r in replies), sum(r.output_tokens for r in replies)
    visual = [r for r in replies if r.visual_tokens]
    means: dict[str, float] = {}
    if visual:
        before, after = sum(r.visual_tokens for r in visual), sum(r.kept for r in visual)
        means = {
            "visual_tokens": before / len(visual),
            "visual_tokens_kept": after / len(visual),
            "visual_share_kept": after / before,
            "input_tokens": sum(r.input_tokens for r in visual) / len(visual),
        }
    log_metrics(seconds, tokens, tokens / seconds, {"num_requests": len(replies), **means})
