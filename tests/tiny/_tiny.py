"""A tiny VLM of a true transformers class with random weights, and the processor that feeds it; all made in code."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

Frames = list[Image.Image]
Sample = tuple[Sequence[Image.Image | Frames], str]  # images and clips in the order of the prompt, and the question

TEXT = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
VISION = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}

WORDS = """<pad> <bos> <eos> <unk> user assistant : what is in the image clip ? how many are there a an red green blue
cat dog one two three left right of and yes no on under which shape square circle big small first second answer
<0.2 <1.2 <2.0 <2.2 seconds> 0 1 2 3 Frame1: Frame2: Frame3: Frame4:"""  # the last line marks frames of video

CHAT = (
    "{% for m in messages %}{{ m['role'] }} : {% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}IMAGE {% elif c['type'] == 'video' %}VIDEO {% else %}{{ c['text'] }} {% endif %}"
    "{% endfor %}{% endfor %}{% if add_generation_prompt %}assistant : {% endif %}"
)


@dataclass(frozen=True)
class Tiny:
    """One family: the model, its processor, and what a test must know to ask it something."""

    name: str
    model: Any
    processor: Any
    image_token: str
    """what stands for one image in a raw prompt; the processor expands it"""
    sizes: tuple[tuple[int, int], tuple[int, int]]
    """two image sizes (w, h); they give different numbers of tokens where the family allows it"""
    video_token: str = ""
    """what stands for one clip in a raw prompt; empty where the family is tested without video"""
    clips: tuple[int, ...] = ()
    """frames of two clips that the processor takes in one call"""
    chat: bool = True
    """whether prompts go through a chat template"""

    @property
    def video(self) -> bool:
        return bool(self.clips)

    def images(self, n: int, seed: int = 0) -> list[Image.Image]:
        """Random noise, the two sizes in turn."""
        return [noise(*self.sizes[i % 2], seed=1000 * seed + i) for i in range(n)]

    def clip(self, frames: int, seed: int = 0) -> Frames:
        """Random noise; odd seeds have the second size."""
        return [noise(*self.sizes[seed % 2], seed=1000 * seed + 500 + i) for i in range(frames)]

    def prompt(self, visuals: Sequence[Image.Image | Frames], question: str) -> str:
        kinds = ["image" if isinstance(visual, Image.Image) else "video" for visual in visuals]
        if not self.chat:
            return "".join(self.image_token for _ in kinds) + question
        content = [{"type": kind} for kind in kinds] + [{"type": "text", "text": question}]
        return self.processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)

    def inputs(self, samples: Sequence[Sample], padding_side: str = "left", **kwargs: Any) -> dict[str, Any]:
        """What the processor makes of a batch, ready for the model; a sample has any number of images and clips."""
        images = [[visual for visual in visuals if isinstance(visual, Image.Image)] for visuals, _ in samples]
        clips = [visual for visuals, _ in samples for visual in visuals if not isinstance(visual, Image.Image)]
        out = self.processor(
            images=images if any(images) else None,
            text=[self.prompt(visuals, question) for visuals, question in samples],
            return_tensors="pt",
            padding=True,
            padding_side=padding_side,
            **({"videos": clips} if clips else {}),
            **kwargs,
        )
        return {key: value for key, value in out.items() if key != "labels"}  # paligemma adds them unasked

    def video_inputs(self, frames_per_clip: Sequence[int], question: str = "what is in the clip ?") -> dict[str, Any]:
        """One sample with a clip of so many frames each, the two sizes in turn."""
        return self.inputs([([self.clip(frames, seed) for seed, frames in enumerate(frames_per_clip)], question)])


def noise(width: int, height: int, seed: int) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def tokenizer(specials: Sequence[str] = (), **named: str) -> PreTrainedTokenizerFast:
    """Words between spaces; special tokens are split off even when glued together.

    Args:
        specials: further special tokens.
        named: special tokens that the processor looks up as `tokenizer.<name>` and `tokenizer.<name>_id`.
    """
    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS.split())}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tok = PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        unk_token="<unk>",
        extra_special_tokens=named,
        model_input_names=["input_ids", "attention_mask"],
    )
    tok.add_special_tokens({"additional_special_tokens": list(specials)}, replace_extra_special_tokens=False)
    return tok


def without_torchvision(processor_class: type) -> type:
    """The true processor class, which then takes a stand-in, or None, for a part that needs torchvision."""
    unchecked = {"check_argument_for_proper_class": lambda self, name, argument: type(argument)}
    return type(processor_class.__name__, (processor_class,), unchecked)


@torch.no_grad()
def settle(tiny: Tiny) -> None:
    """Weights that hide nothing, generations of the asked length, and a chat template.

    Default initialisation makes tests blind: small logits, norms of one, and in gemma3 a projector of zeros.
    """
    for module in tiny.model.modules():
        convolution = isinstance(module, torch.nn.modules.conv._ConvNd)
        for weight in module.parameters(recurse=False):
            if weight.ndim < 2:
                weight.add_(0.1 * torch.randn_like(weight))  # norms, biases, scales
            else:
                fan_in = weight[0].numel() if convolution else weight.shape[-1]
                weight.normal_(std=fan_in**-0.5)
    tiny.model.eval()
    calm = tiny.model.generation_config
    calm.eos_token_id, calm.pad_token_id, calm.do_sample = None, 0, False
    if tiny.chat:
        template = CHAT.replace("IMAGE", tiny.image_token).replace("VIDEO", tiny.video_token)
        tiny.processor.chat_template = template
