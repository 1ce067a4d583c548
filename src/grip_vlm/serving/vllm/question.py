"""The question of a vLLM request, as token ids: read from its prompt, or from the text that the request gives."""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from grip_vlm.vlms.encode import Encoder
from grip_vlm.vlms.prompts import chat_message, two_prompts
from grip_vlm.vlms.question import Template, question_columns


class Reader:
    """Reads questions as `FrozenVLM` does, from the checkpoint's configuration, processor and chat template."""

    def __init__(self, config: Any, generation: Mapping[str, Any], processor: Any) -> None:
        model = SimpleNamespace(config=config, generation_config=SimpleNamespace(**generation))
        known = Template.of_model(model, Encoder.closing, Encoder.tail)
        self.image_token: int = config.image_token_id
        self.processor = processor
        self.template = known.with_processor(processor.tokenizer, two_prompts(self._render))

    def _render(self, messages: Sequence[dict[str, Any]], **options: Any) -> str:
        try:
            text: str = self.processor.apply_chat_template(list(messages), tokenize=False, **options)
        except Exception as error:  # a template is a program of the checkpoint's
            raise ValueError(f"the chat template fails: {error}") from error
        return text

    def of_prompt(self, ids: Sequence[int]) -> list[int]:
        """The question in a prompt with one placeholder or more per image."""
        visual = [place for place, token in enumerate(ids) if token == self.image_token]
        return [ids[place] for place in question_columns(ids, visual, self.template)]

    def of_text(self, question: str) -> list[int]:
        """The question in a prompt that asks just this about one image, as the chat template writes it."""
        try:
            prompt = self._render([chat_message("user", question, image=True)], add_generation_prompt=True)
        except ValueError:  # PaliGemma has no template
            prompt = question
        ids: list[int] = self.processor.tokenizer(prompt, add_special_tokens=False).input_ids
        return self.of_prompt(ids)
