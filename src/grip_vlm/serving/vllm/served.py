"""The families that the plug-in serves."""

FAMILIES = {
    "LlavaForConditionalGeneration": "llava:GripLlava",
    "Qwen2_5_VLForConditionalGeneration": "qwen2_5_vl:GripQwen2_5VL",
    "Qwen3VLForConditionalGeneration": "qwen3_vl:GripQwen3VL",
}
"""vLLM's architecture -> the class that serves it with pruning, under the same name with `Grip` in front"""
