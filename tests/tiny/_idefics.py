"""What Idefics3 and SmolVLM share: tiles in rows and columns between text, then the whole image."""

from transformers import PreTrainedTokenizerFast

from tiny._tiny import VISION, tokenizer

ROWS_AND_COLUMNS = [f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)]
MARKS = ["<fake_token_around_image>", "<image>", "<end_of_utterance>", "<global-img>"]
TOWER = {**VISION, "image_size": 32, "patch_size": 4}  # 64 patches
TILING = {"size": {"longest_edge": 64}, "max_image_size": {"longest_edge": 32}, "do_image_splitting": True}
TOKENS_PER_TILE = 16  # after pixel shuffle by 2
SIZES = ((64, 32), (32, 32))  # tiles of what the longest edge of 64 makes of them: 2 + 1 and 4 + 1


def idefics_tokenizer() -> PreTrainedTokenizerFast:
    return tokenizer(MARKS + ROWS_AND_COLUMNS)
