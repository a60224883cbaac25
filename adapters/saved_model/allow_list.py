"""Which operations a SavedModel may hold, looked at before TensorFlow loads it.

What an operation does beside computing is not told by TensorFlow's registry (``ReadFile``,
``ImmutableConst``, ``PyFuncStateless`` and others are not marked as stateful), so the list names
what is harmless, and everything else needs ``trust``.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from probe import printable
from probe.errors import NotTrusted

from ..keras.tf_graph.walk import KNOWN

__all__ = ["refuse_operations", "refuse_saver_elsewhere"]

_VARIABLES = (
    "AssignVariableOp DisableCopyOnRead NoOp Placeholder ReadVariableOp VarHandleOp "
    "VarIsInitializedOp VariableShape VariableV2 Variable Assign Const Enter Exit LoopCond Merge "
    "NextIteration Switch"
)
_HARMLESS = (
    "Angle Assert BesselI0e BesselI1e Betainc Bincount Bitcast BroadcastArgs "
    "BroadcastGradientArgs Bucketize CTCGreedyDecoder Cholesky Complex ComplexAbs Conj "
    "ControlTrigger Conv Conv3DBackpropInput CropAndResize DataFormatDimMap "
    "DataFormatVecPermute DeepCopy DenseBincount Dequantize Digamma Dilation2D DynamicPartition "
    "DynamicStitch EditDistance ExtractGlimpse ExtractVolumePatches FFT FFT2D FFT3D "
    "FractionalAvgPool FractionalMaxPool FusedPadConv2D FusedResizeAndPadConv2D GuaranteeConst "
    "HSVToRGB HistogramFixedWidth IFFT IFFT2D IFFT3D IRFFT IRFFT2D IRFFT3D Igamma Igammac Imag "
    "InTopK InTopKV2 InplaceAdd InplaceUpdate InvertPermutation Lgamma LinSpace ListDiff "
    "LogMatrixDeterminant LowerBound MatrixDeterminant MatrixInverse MatrixSetDiag "
    "MatrixSetDiagV2 MatrixSetDiagV3 MatrixSolve MatrixSquareRoot MatrixTriangularSolve "
    "MaxPoolWithArgmax MirrorPadGrad Multinomial Ndtri NextAfter NonMaxSuppression "
    "NonMaxSuppressionV2 NonMaxSuppressionV3 NonMaxSuppressionV4 NonMaxSuppressionV5 "
    "NonMaxSuppressionWithOverlaps NthElement ParallelDynamicStitch "
    "ParameterizedTruncatedNormal Polygamma PopulationCount Qr QuantizeAndDequantize "
    "QuantizeAndDequantizeV2 QuantizeAndDequantizeV3 QuantizeAndDequantizeV4 QuantizeV2 RFFT "
    "RFFT2D RFFT3D RGBToHSV RandomStandardNormal RandomUniform RandomUniformInt Range Rank Real "
    "ResizeNearestNeighborGrad ResourceGatherNd ResourceScatterAdd ResourceScatterUpdate "
    "ScatterNdNonAliasingAdd SegmentMax SegmentMean SegmentMin SegmentProd SelfAdjointEigV2 "
    "Shape ShapeN Size SparseSegmentMean SparseSegmentSqrtN SparseSegmentSum "
    "SparseTensorDenseMatMul SparseToDense StatelessMultinomial StatelessRandomGetKeyCounter "
    "StatelessRandomNormal StatelessRandomNormalV2 StatelessRandomUniform "
    "StatelessRandomUniformInt StatelessRandomUniformV2 StatelessTruncatedNormal "
    "StridedSliceGrad Svd TensorListConcat TensorListConcatV2 TensorListElementShape "
    "TensorListScatter TensorListScatterIntoExistingList TensorListScatterV2 TensorListSplit "
    "TridiagonalSolve TruncatedNormal Unique UniqueV2 UniqueWithCounts UniqueWithCountsV2 "
    "UnravelIndex UnsortedSegmentMax UnsortedSegmentMin UnsortedSegmentProd UpperBound Where "
    "Zeta _Arg _Retval"
)
"""Operations without a description that compute and do nothing else."""
_ALLOWED = frozenset(KNOWN) | frozenset(_VARIABLES.split()) | frozenset(_HARMLESS.split())
_SAVING = frozenset(
    "MergeV2Checkpoints RestoreV2 SaveV2 Select ShardedFilename StaticRegexFullMatch "
    "StringJoin".split()
)
"""What writes and reads checkpoints: in every SavedModel, and reached by no signature."""
_FILES = frozenset(("MergeV2Checkpoints", "RestoreV2", "SaveV2", "ShardedFilename"))


def refuse_operations(path: Any, graph: Any) -> None:
    """NotTrusted where an operation of a graph, or of a function in it, is none of those that only
    compute. Functions that nothing but saving calls may hold what reads and writes checkpoints."""
    functions = {function.signature.name: function.nodes for function in graph.library.functions}
    for place, nodes in (("its graph", graph.nodes), *_places(functions)):
        for node in nodes:
            if node.op not in _ALLOWED and node.op not in _SAVING and node.op not in functions:
                raise _untrusted(path, node.op, place)
    for gradient in graph.library.gradients:
        if gradient.gradient not in functions:
            raise _untrusted(path, gradient.gradient, "a gradient")


def _places(functions: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, nodes in functions.items():
        yield f"its function {printable.name(name)}", nodes


def refuse_saver_elsewhere(path: Any, graph: Any, reached: Iterable[str]) -> None:
    """NotTrusted where what reads or writes files stands in a function that runs, or follows from a
    node of the graph that does (``reached``: names of either)."""
    functions = {function.signature.name: function.nodes for function in graph.library.functions}
    nodes = {node.name: node for node in graph.nodes}
    waiting, seen = list(reached), set[str]()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        for node in (*functions.get(name, ()), *([nodes[name]] if name in nodes else [])):
            if node.op in _FILES:
                raise _untrusted(path, node.op, "what a signature runs")
            waiting += functions_of(node)
            if name in nodes:
                waiting += [source.partition(":")[0].lstrip("^") for source in node.inputs]


def functions_of(node: Any) -> Iterator[str]:
    """The names of the functions that a node may call, in whatever attribute."""
    yield node.op
    for attribute in node.attributes:
        if attribute.value.function.name:
            yield attribute.value.function.name
        for function in attribute.value.list.functions:
            yield function.name


def _untrusted(path: Any, operation: str, place: str) -> NotTrusted:
    return NotTrusted(
        f"{path} holds the operation {printable.name(operation)} in {place}, which is none of "
        "those that only compute: pass --trust (trust=True) if you trust its author"
    )
