"""Which classes of torch.nn have no description, and why: read by the tests, and by whatever lists
them."""

__all__ = ["LEFT_OUT"]

_LOSSES = (
    "BCELoss",
    "BCEWithLogitsLoss",
    "CTCLoss",
    "CosineEmbeddingLoss",
    "CrossEntropyLoss",
    "GaussianNLLLoss",
    "HingeEmbeddingLoss",
    "HuberLoss",
    "KLDivLoss",
    "L1Loss",
    "LinearCrossEntropyLoss",
    "MSELoss",
    "MarginRankingLoss",
    "MultiLabelMarginLoss",
    "MultiLabelSoftMarginLoss",
    "MultiMarginLoss",
    "NLLLoss",
    "NLLLoss2d",
    "PoissonNLLLoss",
    "SmoothL1Loss",
    "SoftMarginLoss",
    "TripletMarginLoss",
    "TripletMarginWithDistanceLoss",
)
_LAZY = tuple(
    f"Lazy{kind}{rank}d"
    for kind in ("BatchNorm", "Conv", "ConvTranspose", "InstanceNorm")
    for rank in (1, 2, 3)
)

LEFT_OUT: dict[str, str] = {
    **dict.fromkeys(_LOSSES, "a block of one function, which is described"),
    **dict.fromkeys(
        (*_LAZY, "LazyLinear"),
        "at its first call it becomes the class without Lazy, which is described",
    ),
    **dict.fromkeys(
        ("Container", "ModuleDict", "ModuleList", "Sequential"),
        "it only contains other modules, which are checked individually",
    ),
    **dict.fromkeys(
        (
            *("Transformer", "TransformerEncoder", "TransformerEncoderLayer"),
            *("TransformerDecoder", "TransformerDecoderLayer"),
        ),
        "a block: it is composed of the attention, norms and products that it calls",
    ),
    **dict.fromkeys(("ParameterDict", "ParameterList"), "it only contains parameters"),
    **dict.fromkeys(
        ("Module", "RNNBase", "RNNCellBase"), "a base class without a forward of its own"
    ),
    "DataParallel": (
        "it runs copies of one module on several devices; that module is checked instead"
    ),
}
"""Class name -> the reason."""
