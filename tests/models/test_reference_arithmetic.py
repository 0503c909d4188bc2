"""The authors' order of operations: the same function as the stock models', rounded otherwise."""

import copy

import pytest
import torch
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from hf_detr import attach_criterion
from hf_detr.models.reference_arithmetic import scaled_query_attention, use_reference_arithmetic
from tests.tiny import tiny_model


@pytest.mark.parametrize("name", ["d_fine", "rt_detr_v2", "deimv2", "deimv2_s"])
@pytest.mark.parametrize("training", [False, True])
def test_the_function_is_the_same(name, training):
    torch.manual_seed(0)
    stock = tiny_model(name).train(training)
    reference = copy.deepcopy(stock)
    use_reference_arithmetic(reference)
    images = torch.rand(2, 3, 96, 64)  # not square
    labels = [{"class_labels": torch.tensor([1]), "boxes": torch.tensor([[0.5, 0.5, 0.4, 0.3]])}] * 2
    results = []
    for model in (stock, reference):
        torch.manual_seed(1)  # of the denoising queries, which come with an attention mask
        results.append(model(pixel_values=images, labels=labels if training else None))
    for output in ("logits", "pred_boxes"):
        torch.testing.assert_close(results[1][output], results[0][output], rtol=0, atol=1e-5)
    assert not torch.equal(results[1].logits, results[0].logits), "nothing was rounded otherwise: is it in use?"


def test_attention_is_pytorchs():
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 2, 4, 5, 8).unbind()
    attends = torch.rand(5, 5) > 0.3
    attends[:, 0] = True
    module = torch.nn.Module()
    module.is_causal = False
    for mask in (None, attends, torch.zeros(5, 5).masked_fill(~attends, float("-inf"))):
        ours, weights = scaled_query_attention(module, query, key, value, mask)
        theirs, _ = sdpa_attention_forward(module, query, key, value, mask, scaling=8**-0.5)
        torch.testing.assert_close(ours, theirs)
        torch.testing.assert_close(weights.sum(-1), torch.ones(2, 4, 5))


def test_only_the_reference_criterion_asks_for_it():
    model = tiny_model("deimv2_s")
    stock = model.config._attn_implementation
    attach_criterion(model)
    assert model.config._attn_implementation == stock
    attach_criterion(model, tie_break="reference")
    assert model.config._attn_implementation != stock
    assert model.config.backbone_config._attn_implementation == stock
    assert "attn" not in str(model.config.to_dict())  # not saved with checkpoints
