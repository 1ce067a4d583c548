"""A plug-in for vLLM: each request has a budget of visual tokens, and the scorer reads its question.

vLLM finds `register` by the entry point `vllm.general_plugins`. docs/serving.md shows how a server is started.
`front.py` decides in the front end how many tokens each image keeps. `back.py` decides in the model which ones, and
gives them their places in the full prompt. A file per family joins both with vLLM's own classes.
"""


def register() -> None:
    """Called by vLLM in each of its processes, perhaps more than once. Classes are imported when they are needed."""
    from vllm import ModelRegistry
    from vllm.model_executor.models.config import MODELS_CONFIG_MAP

    from grip_vlm.serving.vllm.config import Pruned, Unpruned
    from grip_vlm.serving.vllm.served import FAMILIES

    for architecture, place in FAMILIES.items():
        ModelRegistry.register_model(f"Grip{architecture}", f"{__name__}.{place}")
        MODELS_CONFIG_MAP[f"Grip{architecture}"] = Pruned
    for architecture in ModelRegistry.get_supported_archs():
        MODELS_CONFIG_MAP.setdefault(architecture, Unpruned)
