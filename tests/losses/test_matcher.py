"""Matching and its union, on cases small enough to see."""

import numpy as np
import pytest
import torch

from hf_detr.losses.matcher import HostPairs, assign, gather_targets, union_of_matches
from tests.losses.outputs import random_labels


def pairs(image, query, target):
    return HostPairs(*(np.array(a, np.int64) for a in (image, query, target)))


def as_sets(result):
    """{image: {(query, object)}} of the first output."""
    found = {}
    for image, query, target in zip(result.image, result.query[0], result.target[0], strict=True):
        found.setdefault(int(image), set()).add((int(query), int(target)))
    return found


def test_each_object_gets_the_query_that_makes_the_whole_cheapest():
    # Object 0 likes query 0 a little, object 1 much: object 0 gives way.
    costs = np.array([[[[1.0, 2.0, 9.0], [1.0, 9.0, 9.0]]]])
    assert as_sets(assign(costs, [2])) == {0: {(1, 0), (0, 1)}}


def test_rows_beyond_an_images_objects_do_not_count():
    costs = np.array([[[[5.0, 1.0], [0.0, 0.0]]], [[[3.0, 4.0], [9.0, 1.0]]]])
    assert as_sets(assign(costs, [1, 2])) == {0: {(1, 0)}, 1: {(0, 0), (1, 1)}}


def test_with_more_objects_than_queries_the_dearest_stay_without():
    costs = np.array([[[[5.0], [1.0], [3.0]]]])
    assert as_sets(assign(costs, [3])) == {0: {(0, 1)}}


@pytest.mark.parametrize("tie_break", ["stable", "reference"])
def test_a_query_keeps_the_object_it_was_matched_to_most_often(tie_break):
    # Query 4: twice object 1, once object 0. Query 2: once object 0. Query 7 of image 1: object 0.
    matches = pairs([0, 0, 1], [[4, 2, 7], [2, 4, 7], [4, 4, 7]], [[1, 0, 0], [0, 1, 0], [0, 1, 0]])
    result = union_of_matches(matches, images=2, queries=10, tie_break=tie_break)
    assert as_sets(result) == {0: {(4, 1), (2, 0)}, 1: {(7, 0)}}


def test_the_stable_order_prefers_the_object_that_comes_first_in_the_labels():
    votes = [[2, 1], [0, 3]]
    matches = pairs([0, 0], [[5, 6], [5, 6]], votes)
    result = union_of_matches(matches, images=1, queries=10, tie_break="stable")
    assert as_sets(result) == {0: {(5, 0), (6, 1)}}


def test_the_reference_order_is_that_of_an_unstable_sort_on_the_cpu():
    # All pairs have one vote: whatever order torch.argsort gives them decides.
    draw = np.random.default_rng(0)
    query, target = draw.integers(0, 6, (4, 40)), draw.integers(0, 8, (4, 40))
    matches = pairs(np.zeros(40), query, target)
    distinct, counts = torch.unique(
        torch.from_numpy(np.stack([query.ravel(), target.ravel()], 1)), dim=0, return_counts=True
    )
    expected = {}
    for q, t in distinct[counts.argsort(descending=True)].tolist():
        expected.setdefault(q, t)
    result = union_of_matches(matches, images=1, queries=6, tie_break="reference")
    assert as_sets(result)[0] == set(expected.items())


@pytest.mark.parametrize("tie_break", ["stable", "reference"])
def test_nothing_matched_is_an_empty_union(tie_break):
    nothing = pairs([], np.zeros((3, 0)), np.zeros((3, 0)))
    result = union_of_matches(nothing, images=2, queries=10, tie_break=tie_break)
    assert result.query.shape == result.target.shape == (1, 0)


def test_targets_are_a_table_with_a_row_per_image():
    labels = random_labels((2, 0, 3))
    targets = gather_targets(labels, torch.device("cpu"), torch.float64)
    assert targets.sizes == (2, 0, 3) and len(targets) == 5
    assert targets.offsets.tolist() == [0, 2, 2]
    assert targets.table.shape == (3, 3)
    assert targets.table[0, :2].tolist() == [0, 1] and targets.table[2].tolist() == [2, 3, 4]
    torch.testing.assert_close(targets.boxes_cxcywh[targets.table[2]], labels[2]["boxes"])
