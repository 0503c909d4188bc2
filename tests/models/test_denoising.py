"""Denoising queries: the authors' noise, limits in crowded scenes, and batches without objects."""

import copy
import inspect
import threading

import pytest
import torch
from torch import nn
from transformers.models.d_fine import modeling_d_fine

from hf_detr.models.denoising import denoising_group, use_paper_denoising
from tests.tiny import tiny_config, tiny_model

STOCK = inspect.unwrap(modeling_d_fine.get_contrastive_denoising_training_group)


def make_targets(*counts: int) -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(5)
    return [
        {
            "class_labels": torch.randint(0, 4, (count,), generator=generator),
            "boxes": torch.rand(count, 4, generator=generator) * 0.3 + torch.tensor([0.3, 0.3, 0.1, 0.1]),
        }
        for count in counts
    ]


@pytest.fixture
def embedding():
    return nn.Embedding(5, 8, padding_idx=4)


def test_equal_to_stock_but_for_the_sides_that_noise_turned_inside_out(embedding):
    targets = make_targets(5, 0, 2)
    torch.manual_seed(0)
    stock_classes, stock_boxes, stock_mask, stock_meta = STOCK(targets, 4, 30, embedding)
    torch.manual_seed(0)
    classes, boxes, mask, meta = denoising_group(targets, 4, 30, embedding)
    assert torch.equal(classes, stock_classes)
    assert torch.equal(mask, stock_mask)
    assert meta["dn_num_group"] == stock_meta["dn_num_group"] == 20
    assert meta["dn_num_split"] == stock_meta["dn_num_split"] == [200, 30]
    for ours, theirs in zip(meta["dn_positive_idx"], stock_meta["dn_positive_idx"], strict=True):
        assert torch.equal(ours, theirs)
    collapsed = stock_boxes < -11.5  # inverse_sigmoid of a negative side
    different = ~torch.isclose(boxes, stock_boxes, rtol=1e-4, atol=1e-5)
    assert different.any() and not (different & ~collapsed).any()


def test_close_queries_belong_to_their_objects(embedding):
    targets = make_targets(3, 1)
    _, boxes, _, meta = denoising_group(targets, 4, 30, embedding, label_noise_ratio=0, box_noise_scale=1e-6)
    for image, target in enumerate(targets):
        places, objects = meta["dn_positive_idx"][image], meta["dn_target_idx"][image]
        assert torch.allclose(boxes[image, places].sigmoid(), target["boxes"][objects], atol=1e-4)


def test_a_crowded_image_does_not_grow_the_queries(embedding):
    targets = make_targets(700, 3)
    _, boxes, mask, meta = denoising_group(targets, 4, 30, embedding, num_denoising_queries=100)
    assert meta["dn_num_split"] == [200, 30] and meta["dn_num_group"] == 1
    assert boxes.shape == (2, 200, 4) and mask.shape == (230, 230)
    chosen = meta["dn_target_idx"][0]
    assert len(chosen.unique()) == 100 and chosen.max() > 100
    assert meta["dn_target_idx"][1].tolist() == [0, 1, 2]


def test_a_batch_without_objects_gets_one_query_nobody_sees(embedding):
    classes, boxes, mask, meta = denoising_group(make_targets(0, 0), 4, 30, embedding)
    assert classes.shape == (2, 1, 8) and boxes.shape == (2, 1, 4)
    assert meta["dn_num_split"] == [1, 30] and [len(i) for i in meta["dn_positive_idx"]] == [0, 0]
    assert mask[1:, 0].eq(-torch.inf).all() and not mask[1:, 1:].any()


def test_without_denoising_nothing_is_drawn(embedding):
    state = torch.get_rng_state()
    assert denoising_group(make_targets(2), 4, 30, embedding, num_denoising_queries=0) == (None,) * 4
    assert torch.equal(state, torch.get_rng_state())


def run(model: nn.Module, targets) -> torch.Tensor:
    """Outputs of the denoising queries of one training step; empty if there are none."""
    torch.manual_seed(0)
    pixels = torch.rand(len(targets), 3, 64, 64)
    outputs = model.train()(pixels, labels=targets)
    num_denoising = outputs.denoising_meta_values["dn_num_split"][0] if outputs.denoising_meta_values else 0
    return outputs.init_reference_points[:, :num_denoising]


def test_marked_and_stock_models_do_not_disturb_each_other_in_threads():
    torch.manual_seed(0)
    marked = tiny_model(num_classes=4)
    stock = modeling_d_fine.DFineForObjectDetection(tiny_config(num_classes=4))
    for model in (marked, stock):  # threads share torch's random state: keep everything but the noise out of it
        model.config.label_noise_ratio = model.config.box_noise_scale = 0.0
    empty, one = make_targets(0, 0), make_targets(1, 2)
    counts: dict[str, set[int]] = {"marked": set(), "stock": set()}

    def work(name: str, model: nn.Module, targets) -> None:
        for _ in range(5):
            outputs = model.train()(torch.rand(2, 3, 64, 64), labels=targets)
            meta = outputs.denoising_meta_values
            counts[name].add(meta["dn_num_split"][0] if meta else 0)

    marked.loss_function = stock.loss_function = lambda logits, *args, **kwargs: (logits.sum(), {}, None)
    threads = [threading.Thread(target=work, args=("marked", marked, empty))]
    threads += [threading.Thread(target=work, args=("stock", stock, empty))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == {"marked": {1}, "stock": {0}}
    assert run(marked, one).shape == run(stock, one).shape


def test_the_choice_follows_deep_copies_and_is_not_saved(tmp_path):
    model = tiny_model(num_classes=4)
    assert run(copy.deepcopy(model), make_targets(0, 0)).shape[1] == 1
    model.save_pretrained(tmp_path)
    loaded = modeling_d_fine.DFineForObjectDetection.from_pretrained(tmp_path)
    assert run(loaded, make_targets(0, 0)).shape[1] == 0
    use_paper_denoising(loaded)
    assert run(loaded, make_targets(0, 0)).shape[1] == 1


def test_every_trainable_parameter_is_part_of_a_step_without_objects():
    model = tiny_model(num_classes=4)
    model.loss_function = lambda logits, labels, device, boxes, config, classes, coords, **kwargs: (
        classes.sum()
        + coords.sum()
        + kwargs["predicted_corners"].sum()
        + kwargs["enc_topk_logits"].sum()
        + kwargs["enc_topk_bboxes"].sum(),
        {},
        None,
    )
    model.train()(torch.rand(2, 3, 64, 64), labels=make_targets(0, 0)).loss.backward()
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []
    assert not model.model.denoising_class_embed.weight.grad.any()
