"""Recall of evidence on known masks: tokens that are the patches, coarser ones, and finer ones."""

import numpy as np
import pytest

from grip_vlm.benchmarks.evidence import Evidence
from grip_vlm.benchmarks.spread import GRID
from grip_vlm.vlms.places import grid_places


def kept(count, *tokens):
    mask = np.zeros(count, dtype=bool)
    mask[list(tokens)] = True
    return mask


@pytest.mark.parametrize(
    ("tokens", "recall"),
    [((), 0), ((5,), 0), ((0,), 1 / 3), ((0, 1), 1 / 3), ((1, 2), 2 / 3), ((3, 15), 2 / 3), ((1, 3, 15, 7), 1)],
    ids=str,
)
def test_a_fact_counts_once_if_any_of_its_patches_is_kept(tokens, recall):
    evidence = Evidence(4, ((0, 1), (2, 3), (15,)))
    assert evidence.recall(grid_places(4, 4), kept(16, *tokens)) == pytest.approx(recall)


def test_a_patch_may_show_two_facts():
    assert Evidence(2, ((0, 1), (1, 2))).recall(grid_places(2, 2), kept(4, 1)) == 1


def test_without_facts_there_is_no_recall():
    assert Evidence(4, ()).recall(grid_places(4, 4), kept(16, 3)) is None


def test_where_tokens_are_the_patches_exactly_the_kept_ones_are_shown():
    tokens = [0, 23, 24, 300, 575]
    assert Evidence(GRID, ()).patches_shown(grid_places(GRID, GRID), kept(GRID**2, *tokens)) == tokens


def test_a_coarser_token_shows_the_patches_whose_centres_it_holds():
    """Of 4 x 4 patches, a token of 2 x 2 holds four; a token of 1 x 3 holds columns 0, 1 and 2, or 3."""
    assert Evidence(4, ()).patches_shown(grid_places(2, 2), kept(4, 1)) == [2, 3, 6, 7]
    shown = [Evidence(4, ()).patches_shown(grid_places(1, 3), kept(3, token)) for token in range(3)]
    assert [[patch for patch in patches if patch < 4] for patches in shown] == [[0], [1, 2], [3]]


def test_every_patch_is_held_by_exactly_one_of_tiny_llavas_tokens():
    places, seen = grid_places(14, 14), []
    for token in range(196):
        seen += Evidence(GRID, ()).patches_shown(places, kept(196, token))
    assert sorted(seen) == list(range(GRID**2))


def test_a_patch_is_kept_by_any_finer_token_in_it():
    places = grid_places(4, 4)
    for token in (0, 1, 4, 5):
        assert Evidence(2, ()).patches_shown(places, kept(16, token)) == [0]
    assert Evidence(2, ()).patches_shown(places, kept(16, 2, 15)) == [1, 3]


def test_tokens_that_are_not_in_raster_order_are_placed_by_their_places():
    places = grid_places(4, 4).flip(0)
    assert Evidence(4, ()).patches_shown(places, kept(16, 0)) == [15]
