from hf_detr.models.freeze import is_backbone
from hf_detr.training.optimizer import parameter_groups
from tests.tiny import tiny_model


def groups_of(model):
    groups = parameter_groups(model, learning_rate=1e-3, backbone_lr_ratio=0.1, weight_decay=1e-4)
    return {name: (group["lr"], group["weight_decay"]) for group in groups for name in group["names"]}, groups


def test_every_trainable_parameter_is_in_exactly_one_group():
    model = tiny_model()
    model.model.encoder_input_proj[0][0].weight.requires_grad_(False)
    settings, groups = groups_of(model)
    in_groups = [id(parameter) for group in groups for parameter in group["params"]]
    trainable = [id(parameter) for parameter in model.parameters() if parameter.requires_grad]
    assert sorted(in_groups) == sorted(trainable)
    assert len(settings) == len(trainable)


def test_norms_and_biases_do_not_decay_whatever_they_are_called():
    model = tiny_model()
    settings, _ = groups_of(model)
    norms = tuple(
        name
        for name, module in model.named_modules()
        if "Norm" in type(module).__name__ and "Conv" not in type(module).__name__
    )
    # the projections' norms, which name patterns miss, are among them
    assert any(name.startswith("model.encoder_input_proj") for name in norms)
    for name, (_, weight_decay) in settings.items():
        is_norm = name.rsplit(".", 1)[0] in norms
        expected = 0.0 if is_norm or name.endswith("bias") or ".lab." in name else 1e-4
        assert weight_decay == expected, name


def test_the_backbone_alone_trains_at_its_own_rate():
    settings, _ = groups_of(tiny_model())
    for name, (rate, _) in settings.items():
        assert is_backbone(name) == name.startswith("model.backbone.")
        assert abs(rate - (1e-4 if is_backbone(name) else 1e-3)) < 1e-12
