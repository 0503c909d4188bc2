"""Which parts of a detector stand a lower precision, by the module that a node of the graph comes from.

Nodes of an exported graph are called ``model.model.decoder.layers.0.mlp.layers.1/MatMul_87``: the module, a slash, the
operator and a number. The rules are about modules, so that they hold for all families and all formats.

Boxes need range and digits that 16 bits do not have. A corner is refined as the inverse sigmoid of a coordinate, whose
smallest steps matter most at the border; places outside the picture are marked with the largest float32; and where
features are sampled, a thousandth of a wide picture is more than a pixel. All of that is cheap. What takes time is the
backbone, the encoder, and the projections within the decoder's layers.
"""

import re

_HEAVY = re.compile(r"model\.model\.(backbone|conv_encoder|encoder_input_proj|encoder|decoder_input_proj)(\.|$)")
_DECODER_LAYER = re.compile(r"model\.model\.decoder\.layers\.\d+(\.|$)")
# Where the decoder samples: from the offsets to what is found there.
_SAMPLING = re.compile(r"\.encoder_attn(\.sampling_offsets|\.attention_weights)?$")
# Normalisation as one operator; a batch normalisation is part of its convolution by then.
_WHOLE_NORMS = ("LayerNormalization", "BatchNormalization", "Conv")


def module_of(node_name: str) -> str:
    """The module a node comes from, by its name; empty where it comes from none."""
    return node_name.rpartition("/")[0]


def stands_half(node_name: str, operator: str) -> bool:
    """Whether a node may be computed in float16.

    A normalisation that is one operator keeps its sums in float32 by itself; one written as a mean of squares would
    overflow from 256 on, and stays in float32.
    """
    module = module_of(node_name)
    if "norm" in module.rpartition(".")[2] and operator not in _WHOLE_NORMS:
        return False
    return bool(_HEAVY.match(module) or _DECODER_LAYER.match(module)) and not _SAMPLING.search(module)


def stands_int8(node_name: str) -> bool:
    """Whether a node may multiply 8-bit numbers: not in the decoder, whose output are the boxes."""
    return bool(_HEAVY.match(module_of(node_name)))
