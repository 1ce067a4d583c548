"""Where the tokens of a pruned prompt stand in the full one.

The places of text are known when a request arrives, because they depend on how many tokens each image has in the full
prompt, not on which are kept. Those of kept tokens are known only after the scorer has run. So each first gets the
place of its image's first token, and the rest travels with its embedding in six more columns: time, row and column, as
two digits of base 256 each, which every precision of a model holds exactly. No state of a request is needed for it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

COLUMNS = 6
BASE = 256


class Span(NamedTuple):
    """One image of a pruned prompt."""

    start: int
    """index of its first token"""
    kept: int
    """tokens that are left of it"""
    extent: int
    """by how much positions grow over the full image"""


def prompt_positions(length: int, spans: Sequence[Span]) -> tuple[Tensor, int]:
    """Positions of a pruned prompt of `length` tokens, and what the positions of its answer are ahead of its tokens.

    Returns:
        (3, length) for time, row and column, with the first token's place for all tokens of an image; and the lead.
    """
    parts, end, position = [], 0, 0
    for span in sorted(spans):
        text = span.start - end
        parts += [torch.arange(position, position + text), torch.full((span.kept,), position + text)]
        end, position = span.start + span.kept, position + text + span.extent
    position_after = position + length - end
    parts.append(torch.arange(position, position_after))
    return torch.cat(parts).expand(3, -1).contiguous(), position_after - length


def attach(features: Tensor, offsets: Tensor) -> Tensor:
    """Features (k, D) with the offsets (k, 3) of their places from the image's first one: (k, D + 6)."""
    return torch.cat([features, (offsets // BASE).to(features), (offsets % BASE).to(features)], dim=1)


def detach(embeddings: Tensor) -> tuple[Tensor, Tensor]:
    """What `attach` made, apart again: (k, D) and (k, 3)."""
    features, high, low = torch.split(embeddings, [embeddings.shape[1] - COLUMNS, 3, 3], dim=1)
    return features, high.long() * BASE + low.long()
