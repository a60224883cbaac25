"""Which classes of torch.nn have no description, and why: read by the tests, and by whatever lists
them."""

__all__ = ["LEFT_OUT"]

_LOSSES = (
    "AdaptiveLogSoftmaxWithLoss",
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
    **dict.fromkeys(_LOSSES, "a loss: it compares with a target, which an inference has not"),
    **dict.fromkeys(
        (*_LAZY, "LazyLinear"),
        "it becomes the class without Lazy in its first call, and is described as that",
    ),
    **dict.fromkeys(
        ("Container", "ModuleDict", "ModuleList", "Sequential"),
        "it only holds other modules, which are checked one by one",
    ),
    **dict.fromkeys(("ParameterDict", "ParameterList"), "it only holds parameters"),
    **dict.fromkeys(
        ("Module", "RNNBase", "RNNCellBase"), "a base class without a forward of its own"
    ),
    "DataParallel": (
        "it hands batches to copies of one module on several devices; what it holds "
        "is checked instead"
    ),
}
"""Class name -> the reason."""
