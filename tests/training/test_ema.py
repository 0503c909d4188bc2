import math

import pytest
import torch
from torch import nn

from hf_detr.training.ema import ModelEma


def make_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def test_averages_parameters_and_float_buffers_by_the_papers_rule():
    model = make_model()
    ema = ModelEma(model, decay=0.9, warmup_steps=10)
    expected = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for update in range(1, 4):
        with torch.no_grad():
            model[0].weight.add_(update)
            model[1].running_mean.add_(1)
            model[1].num_batches_tracked.add_(1)
        ema.update()
        decay = 0.9 * (1 - math.exp(-update / 10))
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                expected[name] = decay * expected[name] + (1 - decay) * tensor
    with ema.applied():
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                torch.testing.assert_close(tensor, expected[name])
        assert model[1].num_batches_tracked == 3


def test_without_decay_the_average_is_the_model():
    model = make_model()
    ema = ModelEma(model, decay=0.0, warmup_steps=0)
    with torch.no_grad():
        model[0].weight.add_(1)
    ema.update()
    weights = model[0].weight.clone()
    with ema.applied():
        assert torch.equal(model[0].weight, weights)


def test_training_weights_come_back_even_after_an_error():
    model = make_model()
    ema = ModelEma(model, decay=0.9)
    with torch.no_grad():
        model[0].weight.add_(1)
    trained = model[0].weight.clone()
    with pytest.raises(RuntimeError), ema.applied():
        assert not torch.equal(model[0].weight, trained)
        raise RuntimeError
    assert torch.equal(model[0].weight, trained)


def test_the_same_memory_is_kept_for_optimizer_and_ddp():
    model = make_model()
    ema = ModelEma(model)
    address = model[0].weight.data_ptr()
    with ema.applied():
        assert model[0].weight.data_ptr() == address
    assert model[0].weight.data_ptr() == address
