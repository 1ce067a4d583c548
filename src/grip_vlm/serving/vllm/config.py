"""What vLLM asks about a configuration: settings are checked, and what cannot be served with pruning is refused."""

from typing import Any

from vllm.model_executor.models.config import VerifyAndUpdateConfig

from grip_vlm import checkpoint
from grip_vlm.serving.vllm.served import FAMILIES
from grip_vlm.serving.vllm.settings import Settings

SERVED = ", ".join(f"Grip{architecture}" for architecture in FAMILIES)


class Pruned(VerifyAndUpdateConfig):  # type: ignore[misc]
    """Of the plug-in's architectures."""

    @staticmethod
    def verify_and_update_model_config(model_config: Any) -> None:
        """Check the settings, and make room for original positions.

        vLLM has positions other than 0, 1, 2, .. for M-RoPE alone. A plain rotation is declared as M-RoPE whose three
        sections get the same position, which is the same rotation.

        Raises:
            ValueError: the checkpoint is of another family, or the settings are impossible.
        """
        settings, config, text = (
            Settings.of(model_config.hf_config),
            model_config.hf_config,
            model_config.hf_text_config,
        )
        if settings.scorer is not None:
            checkpoint.read_notes(checkpoint.locate(settings.scorer))
        wanted = {"llava": "llava", "qwen2_5_vl": "qwen2_5vl", "qwen3_vl": "qwen3vl"}.get(config.model_type)
        if wanted is None or wanted not in model_config.architecture.lower().replace("_vl", "vl"):
            raise ValueError(
                f"{model_config.architecture} does not serve checkpoints of type {config.model_type}; served with "
                f"pruning: {SERVED}"
            )
        if type(config.vision_config).__name__ == "PixtralVisionConfig":
            raise ValueError(
                "grip: LLaVA with a Pixtral tower has break tokens between its rows; it is not served here"
            )
        rope = getattr(text, "rope_parameters", None)
        if not rope:
            raise ValueError("grip: the language model has no rotary positions, so pruned prompts cannot keep theirs")
        if "mrope_section" not in rope:
            head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
            half = int(head * rope.get("partial_rotary_factor", 1.0)) // 2
            text.rope_parameters = {**rope, "mrope_section": [half - 2 * (half // 3), half // 3, half // 3]}

    @staticmethod
    def verify_and_update_config(vllm_config: Any) -> None:
        """Refuse modes of the engine in which a kept token would lose its place, or the scorer its weights.

        Raises:
            ValueError: one of them is on.
        """
        multimodal, graphs = vllm_config.model_config.multimodal_config, vllm_config.compilation_config.cudagraph_mode
        later_stages = "later stages do not see where kept tokens belong"
        refused = {
            "--pipeline-parallel-size above 1": (vllm_config.parallel_config.pipeline_parallel_size > 1, later_stages),
            "--speculative-config": (vllm_config.speculative_config is not None, "drafts have not been tested"),
            "--mm-encoder-only": (multimodal.mm_encoder_only, "the question has no embeddings there"),
            "--video-pruning-rate": (bool(multimodal.video_pruning_rate), "two methods would prune the same tokens"),
            "--load-format dummy": (vllm_config.load_config.load_format == "dummy", "a scorer needs its own VLM"),
            "cudagraph_mode FULL": (graphs is not None and graphs.name == "FULL", "positions are set in Python"),
        }
        for option, (is_on, reason) in refused.items():
            if is_on:
                raise ValueError(f"grip: {option} cannot be used with pruning: {reason}")


class Unpruned(VerifyAndUpdateConfig):  # type: ignore[misc]
    """Of vLLM's own architectures, which would ignore the settings without a word."""

    @staticmethod
    def verify_and_update_model_config(model_config: Any) -> None:
        """Raises ValueError if there are settings for pruning."""
        if getattr(model_config.hf_config, "grip", None) is not None:
            name = model_config.architecture
            hint = f'set "architectures": ["Grip{name}"] beside "grip"' if name in FAMILIES else f"served: {SERVED}"
            raise ValueError(f"vLLM's {name} does not prune visual tokens; {hint}")
