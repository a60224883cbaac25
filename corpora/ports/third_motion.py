"""Blocks of optical flow, stereo, tracking and point clouds, ported to NumPy.

Modules of torchvision, and small ones written as practitioners write them. It was written without
a look at the tool that it measures: the mistakes are those that people make when they port such a
block to NumPy, C, another framework or a device.
"""

from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models.optical_flow._utils import upsample_flow
from torchvision.models.optical_flow.raft import RecurrentBlock

from corpora.ports.case import Case, Mistake
from corpora.ports.numpy_parts import batch_norm, conv, linear, relu, sigmoid, softmax
from corpora.ports.trained import inputs, train_torch, weights_of


class CostVolume(nn.Module):
    """A step of PWC-Net: features of two frames, their correlation in a window, and a flow."""

    def __init__(self, reach: int = 2) -> None:
        super().__init__()
        self.reach = reach
        self.feature = nn.Conv2d(3, 8, 3, padding=1)
        self.predict_flow = nn.Conv2d((2 * reach + 1) ** 2 + 8, 2, 3, padding=1)

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        one = F.leaky_relu(self.feature(first), 0.1)
        two = F.leaky_relu(self.feature(second), 0.1)
        r, (h, w) = self.reach, one.shape[2:]
        two = F.pad(two, (r, r, r, r))
        costs = []
        for dy in range(2 * r + 1):
            for dx in range(2 * r + 1):
                costs.append((one * two[:, :, dy : dy + h, dx : dx + w]).mean(1))
        volume = F.leaky_relu(torch.stack(costs, 1), 0.1)
        return self.predict_flow(torch.cat((volume, one), 1))


def build_cost_volume() -> tuple[Any, tuple[np.ndarray, ...]]:
    model = train_torch(CostVolume(), 7019, gain=1.6)
    return model, (inputs(7020, 2, 3, 6, 7), inputs(7021, 2, 3, 6, 7))


def cost_volume(
    model: Any,
    x: tuple[np.ndarray, np.ndarray],
    over: str = "mean",
    order: str = "rows outside",
    towards: int = 1,
    outside: str = "zeros",
    slope: float = 0.1,
    kept: str = "first",
) -> np.ndarray:
    w = weights_of(model)

    def leaky(y: np.ndarray) -> np.ndarray:
        return np.where(y > 0, y, np.float32(slope) * y)

    one, two = (
        leaky(conv(frame, w["feature.weight"], w["feature.bias"], padding=1)) for frame in x
    )
    costs = []
    for a in range(-2, 3):
        for b in range(-2, 3):
            dy, dx = (a, b) if order == "rows outside" else (b, a)
            dy, dx = towards * dy, towards * dx
            if outside == "zeros":
                moved = np.pad(two, [(0, 0), (0, 0), (2, 2), (2, 2)])
                moved = moved[:, :, 2 + dy : 8 + dy, 2 + dx : 9 + dx]
            else:
                moved = np.roll(two, (-dy, -dx), (2, 3))
            costs.append((one * moved).mean(1) if over == "mean" else (one * moved).sum(1))
    volume = leaky(np.stack(costs, 1))
    y = np.concatenate([volume, one if kept == "first" else two], 1)
    return conv(y, w["predict_flow.weight"], w["predict_flow.bias"], padding=1)


class FlowUpdate(nn.Module):
    """RAFT's update of a flow: its recurrent block, a flow and the mask that enlarges it by 4."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrent_block = RecurrentBlock(input_size=8, hidden_size=6)
        self.flow_head = nn.Conv2d(6, 2, 3, padding=1)
        self.mask_predictor = nn.Conv2d(6, 9 * 16, 1)

    def forward(self, hidden: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        hidden = self.recurrent_block(hidden, x)
        mask = 0.25 * self.mask_predictor(hidden)
        return upsample_flow(self.flow_head(hidden), mask, factor=4)


def build_flow_update() -> tuple[Any, tuple[np.ndarray, ...]]:
    model = train_torch(FlowUpdate(), 7022, gain=3.0)
    return model, (np.tanh(inputs(7023, 2, 6, 5, 6)), inputs(7024, 2, 8, 5, 6))


def flow_recurrence(
    model: Any,
    x: tuple[np.ndarray, np.ndarray],
    update: str = "to the new",
    reset: str = "hidden",
    order: str = "hidden first",
    paddings: tuple[tuple[int, int], ...] = ((0, 2), (2, 0)),
    second: str = "from the first",
) -> np.ndarray:
    w = weights_of(model)
    hidden, seen = x
    given = hidden

    def join(h: np.ndarray) -> np.ndarray:
        return np.concatenate([h, seen] if order == "hidden first" else [seen, h], 1)

    for unit, padding in zip(("convgru1", "convgru2"), paddings, strict=True):
        name = f"recurrent_block.{unit}"

        def gate(letter: str, y: np.ndarray, name: str = name, pad: Any = padding) -> np.ndarray:
            weight = w[f"{name}.conv{letter}.weight"]
            if pad != (weight.shape[2] // 2, weight.shape[3] // 2):
                weight = weight.swapaxes(2, 3)
            return conv(y, weight, w[f"{name}.conv{letter}.bias"], padding=pad)

        h = given if second == "from the given" else hidden
        z, r = sigmoid(gate("z", join(h))), sigmoid(gate("r", join(h)))
        q = np.tanh(gate("q", join(r * h) if reset == "hidden" else join(h)))
        hidden = (1 - z) * h + z * q if update == "to the new" else z * h + (1 - z) * q
    return hidden


def flow_enlarged(
    model: Any,
    x: tuple[np.ndarray, np.ndarray],
    shares: int = 1,
    factor: int = 4,
    layout: str = "neighbours first",
    pixels: str = "rows, columns",
    mask_scale: float = 0.25,
    edge: str = "constant",
) -> np.ndarray:
    w = weights_of(model)
    hidden = flow_recurrence(model, x)
    flow = conv(hidden, w["flow_head.weight"], w["flow_head.bias"], padding=1)
    mask = conv(hidden, w["mask_predictor.weight"], w["mask_predictor.bias"])
    mask = mask * np.float32(mask_scale)
    if layout == "neighbours first":
        mask = mask.reshape(2, 9, 4, 4, 5, 6)
    else:
        mask = np.moveaxis(mask.reshape(2, 4, 4, 9, 5, 6), 3, 1)
    if shares == 1:
        mask = softmax(mask, 1)
    else:
        mask = softmax(mask.reshape(2, 9, 16, 5, 6), 2).reshape(2, 9, 4, 4, 5, 6)
    around = np.pad(flow * factor, [(0, 0), (0, 0), (1, 1), (1, 1)], mode=edge)
    near = [around[:, :, i : i + 5, j : j + 6] for i in range(3) for j in range(3)]
    y = np.einsum("bkijhw,bckhw->bchwij", mask, np.stack(near, 2))
    if pixels == "columns, rows":
        y = y.swapaxes(4, 5)
    return y.transpose(0, 1, 2, 4, 3, 5).reshape(2, 2, 20, 24)


class StereoHead(nn.Module):
    """A small PSMNet: features, a volume of shifted pairs, a 3D convolution and a soft argmin."""

    def __init__(self, disparities: int = 4) -> None:
        super().__init__()
        self.disparities = disparities
        self.feature = nn.Conv2d(3, 4, 3, padding=1)
        self.dres = nn.Conv3d(8, 6, 3, padding=1)
        self.classif = nn.Conv3d(6, 1, 3, padding=1, bias=False)

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        left, right = torch.relu(self.feature(left)), torch.relu(self.feature(right))
        b, c, h, w = left.shape
        cost = left.new_zeros(b, 2 * c, self.disparities, h, w)
        for i in range(self.disparities):
            cost[:, :c, i, :, i:] = left[:, :, :, i:]
            cost[:, c:, i, :, i:] = right[:, :, :, : w - i]
        cost = self.classif(torch.relu(self.dres(cost))).squeeze(1)
        cost = F.interpolate(
            cost[:, None], (2 * self.disparities, h, w), mode="trilinear", align_corners=False
        )
        share = F.softmax(-cost[:, 0], dim=1)
        steps = torch.arange(2 * self.disparities, dtype=left.dtype).view(1, -1, 1, 1)
        return (share * steps).sum(1)


def build_stereo() -> tuple[Any, tuple[np.ndarray, ...]]:
    model = train_torch(StereoHead(), 7025, gain=1.5)
    return model, (inputs(7026, 2, 3, 5, 7), inputs(7027, 2, 3, 5, 7))


def stereo(
    model: Any,
    x: tuple[np.ndarray, np.ndarray],
    sign: int = -1,
    towards: str = "left",
    uncovered: str = "noughts",
    enlarge: str = "bilinear",
    take: str = "mean",
    order: str = "left first",
) -> np.ndarray:
    w = weights_of(model)
    left, right = (relu(conv(y, w["feature.weight"], w["feature.bias"], padding=1)) for y in x)
    cost = np.zeros((2, 8, 4, 5, 7), np.float32)
    for i in range(4):
        seen = slice(i, 7) if towards == "left" else slice(0, 7 - i)
        other = slice(0, 7 - i) if towards == "left" else slice(i, 7)
        ours, theirs = (
            (slice(0, 4), slice(4, 8))
            if order == "left first"
            else (
                slice(4, 8),
                slice(0, 4),
            )
        )
        cost[:, ours, i, :, seen] = left[..., seen]
        if uncovered == "left kept":
            cost[:, ours, i] = left
        cost[:, theirs, i, :, seen] = right[..., other]
    cost = relu(conv(cost, w["dres.weight"], w["dres.bias"], padding=1))
    cost = conv(cost, w["classif.weight"], padding=1)[:, 0]
    if enlarge == "bilinear":
        at = np.clip((np.arange(8) + 0.5) / 2 - 0.5, 0, None).astype(np.float32)
        low = np.floor(at).astype(int)
        t = (at - low).reshape(1, 8, 1, 1)
        cost = cost[:, low] * (1 - t) + cost[:, np.minimum(low + 1, 3)] * t
    else:
        cost = cost.repeat(2, 1)
    if take == "least":
        return cost.argmin(1).astype(np.float32)
    share = softmax(sign * cost, 1)
    return (share * np.arange(8, dtype=np.float32).reshape(1, 8, 1, 1)).sum(1)


class SiameseHead(nn.Module):
    """A tracker's head: the template's features slide over the search region's, by channel."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_kernel = nn.Sequential(nn.Conv2d(6, 8, 3, bias=False), nn.BatchNorm2d(8))
        self.conv_search = nn.Sequential(nn.Conv2d(6, 8, 3, bias=False), nn.BatchNorm2d(8))
        self.head = nn.Conv2d(8, 10, 1)

    def forward(self, template: torch.Tensor, search: torch.Tensor) -> torch.Tensor:
        kernel = torch.relu(self.conv_kernel(template))
        search = torch.relu(self.conv_search(search))
        b, c, h, w = kernel.shape
        search = search.view(1, b * c, *search.shape[2:])
        y = F.conv2d(search, kernel.view(b * c, 1, h, w), groups=b * c)
        return self.head(y.view(b, c, *y.shape[2:]))


def build_siamese() -> tuple[Any, tuple[np.ndarray, ...]]:
    model = train_torch(SiameseHead(), 7028)
    return model, (inputs(7029, 2, 6, 5, 5), inputs(7030, 2, 6, 8, 8))


def siamese(
    model: Any,
    x: tuple[np.ndarray, np.ndarray],
    kernel_of: str = "own",
    flipped: bool = False,
    norms: tuple[str, str] = ("conv_kernel", "conv_search"),
    channels: str = "apart",
    share: bool = False,
) -> np.ndarray:
    w = weights_of(model)
    template, search = x

    def features(y: np.ndarray, name: str, norm: str) -> np.ndarray:
        return relu(batch_norm(conv(y, w[f"{name}.0.weight"]), w, f"{norm}.1"))

    kernel = features(template, "conv_kernel", norms[0])
    search = features(search, "conv_search", norms[1])
    if flipped:
        kernel = kernel[:, :, ::-1, ::-1]
    if share:
        kernel = kernel / np.float32(kernel.shape[2] * kernel.shape[3])
    maps = []
    for index in range(2):
        k = kernel[0 if kernel_of == "first" else index]
        y = conv(search[index : index + 1], k[:, None], groups=8)
        if channels == "summed":
            y = np.broadcast_to(y.sum(1, keepdims=True), y.shape)
        maps.append(y)
    return conv(np.concatenate(maps), w["head.weight"], w["head.bias"])


class EdgeConvolution(nn.Module):
    """DGCNN's first block: a graph of nearest neighbours, a shared layer and the greatest."""

    def __init__(self, k: int = 4) -> None:
        super().__init__()
        self.k = k
        self.conv1 = nn.Sequential(
            nn.Conv2d(6, 12, 1, bias=False), nn.BatchNorm2d(12), nn.LeakyReLU(0.2)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = -2 * torch.matmul(x.transpose(2, 1), x)
        xx = (x**2).sum(1, keepdim=True)
        near = (-xx - inner - xx.transpose(2, 1)).topk(k=self.k, dim=-1)[1]
        points = x.transpose(2, 1)
        b, n, c = points.shape
        neighbours = points[torch.arange(b).view(b, 1, 1), near]
        centre = points.view(b, n, 1, c).expand(-1, -1, self.k, -1)
        edges = torch.cat((neighbours - centre, centre), 3).permute(0, 3, 1, 2)
        return self.conv1(edges).max(dim=-1)[0]


def build_edges() -> tuple[Any, np.ndarray]:
    return train_torch(EdgeConvolution(), 7031, gain=1.5), inputs(7032, 2, 3, 14)


def edges(
    model: Any,
    x: np.ndarray,
    parts: str = "difference, centre",
    itself: bool = True,
    nearest: bool = True,
    slope: float = 0.2,
    take: str = "max",
) -> np.ndarray:
    w = weights_of(model)
    points = x.swapaxes(1, 2)
    apart = ((points[:, :, None] - points[:, None]) ** 2).sum(-1)
    order = np.argsort(apart if nearest else -apart, axis=-1, kind="stable")
    near = order[..., :4] if itself else order[..., 1:5]
    neighbours = points[np.arange(2)[:, None, None], near]
    centre = np.broadcast_to(points[:, :, None], neighbours.shape)
    difference = neighbours - centre
    joined = {
        "difference, centre": [difference, centre],
        "centre, difference": [centre, difference],
        "neighbour, centre": [neighbours, centre],
        "turned difference, centre": [-difference, centre],
    }[parts]
    y = np.concatenate(joined, -1).transpose(0, 3, 1, 2)
    y = batch_norm(conv(y, w["conv1.0.weight"]), w, "conv1.1")
    y = np.where(y > 0, y, np.float32(slope) * y)
    return y.max(-1) if take == "max" else y.mean(-1)


class Pillars(nn.Module):
    """PointPillars' front: points with offsets, a shared layer, the greatest, a canvas."""

    def __init__(self) -> None:
        super().__init__()
        self.size = (0.5, 0.4)
        self.first = (0.0, -1.2)
        self.grid = (5, 6)
        self.linear = nn.Linear(9, 8, bias=False)
        self.norm = nn.BatchNorm1d(8, eps=1e-3)

    def forward(
        self, points: torch.Tensor, counts: torch.Tensor, places: torch.Tensor
    ) -> torch.Tensor:
        mean = points[:, :, :3].sum(1, keepdim=True) / counts.view(-1, 1, 1)
        cluster = points[:, :, :3] - mean
        rows, columns = places[:, 1:2], places[:, 2:3]
        x = points[:, :, 0] - ((columns + 0.5) * self.size[0] + self.first[0])
        y = points[:, :, 1] - ((rows + 0.5) * self.size[1] + self.first[1])
        features = torch.cat((points, cluster, torch.stack((x, y), -1)), -1)
        kept = torch.arange(points.shape[1]).view(1, -1) < counts.view(-1, 1)
        features = features * kept[..., None]
        y = self.norm(self.linear(features).permute(0, 2, 1)).permute(0, 2, 1)
        pillars = torch.relu(y).max(1)[0]
        height, width = self.grid
        canvas = pillars.new_zeros(2, 8, height * width)
        for b in range(2):
            mine = places[:, 0] == b
            canvas[b][:, places[mine, 1] * width + places[mine, 2]] = pillars[mine].t()
        return canvas.view(2, 8, height, width)


def build_pillars() -> tuple[Any, tuple[np.ndarray, ...]]:
    rng = np.random.default_rng(7034)
    places = np.array([[0, 1, 2], [0, 3, 0], [0, 4, 5], [1, 0, 1], [1, 2, 4], [1, 3, 3], [1, 0, 4]])
    counts = np.array([3, 4, 1, 2, 4, 3, 1])
    points = rng.uniform(0, 1, (7, 4, 4))
    points[..., 0] = (points[..., 0] + places[:, 2:3]) * 0.5
    points[..., 1] = (points[..., 1] + places[:, 1:2]) * 0.4 - 1.2
    points[..., 2] = 2 * points[..., 2] - 1.5
    points *= (np.arange(4) < counts[:, None])[..., None]
    return train_torch(Pillars(), 7033, gain=1.5), (points.astype(np.float32), counts, places)


def pillars(
    model: Any,
    x: tuple[np.ndarray, np.ndarray, np.ndarray],
    mean: str = "of the points",
    masked: bool = True,
    middle: float = 0.5,
    canvas: str = "rows, columns",
    eps: float = 1e-3,
    norm_first: bool = True,
) -> np.ndarray:
    w = weights_of(model)
    points, counts, places = x
    count = counts.reshape(-1, 1, 1) if mean == "of the points" else 4
    cluster = points[..., :3] - points[..., :3].sum(1, keepdims=True) / count
    along = points[..., 0] - ((places[:, 2:3] + middle) * 0.5 + 0.0)
    down = points[..., 1] - ((places[:, 1:2] + middle) * 0.4 - 1.2)
    y = np.concatenate([points, cluster, np.stack([along, down], -1)], -1).astype(np.float32)
    if masked:
        y = y * (np.arange(4) < counts[:, None])[..., None]
    y = linear(y, w["linear.weight"]).swapaxes(1, 2)
    if norm_first:
        y = relu(batch_norm(y, w, "norm", eps)).max(2)
    else:
        y = batch_norm(relu(y), w, "norm", eps).max(2)
    out = np.zeros((2, 8, 5, 6), np.float32)
    for (b, row, column), pillar in zip(places, y, strict=True):
        if canvas == "rows, columns":
            out[b, :, row, column] = pillar
        else:
            at = column * 5 + row
            out[b, :, at // 6, at % 6] = pillar
    return out


class PointAlignment(nn.Module):
    """PointNet's input transform: a matrix made of the whole cloud, and the points turned by it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv1d(3, 8, 1), nn.BatchNorm1d(8)
        self.conv2, self.bn2 = nn.Conv1d(8, 12, 1), nn.BatchNorm1d(12)
        self.fc1, self.bn3 = nn.Linear(12, 10), nn.BatchNorm1d(10)
        self.fc2 = nn.Linear(10, 9)
        self.mlp = nn.Conv1d(3, 8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        y = torch.max(y, 2)[0]
        y = torch.relu(self.bn3(self.fc1(y)))
        turn = self.fc2(y).view(-1, 3, 3) + torch.eye(3)
        x = torch.bmm(x.transpose(2, 1), turn).transpose(2, 1)
        return torch.relu(self.mlp(x))


def build_alignment() -> tuple[Any, np.ndarray]:
    return train_torch(PointAlignment(), 7035, gain=0.8), inputs(7036, 2, 3, 11)


def alignment(
    model: Any,
    x: np.ndarray,
    identity: bool = True,
    turned: str = "points by matrix",
    pool: str = "max",
    flat_norm: bool = True,
) -> np.ndarray:
    w = weights_of(model)

    def shared(y: np.ndarray, name: str) -> np.ndarray:
        return conv(y, w[f"{name}.weight"], w[f"{name}.bias"])

    y = relu(batch_norm(shared(x, "conv1"), w, "bn1"))
    y = relu(batch_norm(shared(y, "conv2"), w, "bn2"))
    y = y.max(2) if pool == "max" else y.mean(2)
    y = linear(y, w["fc1.weight"], w["fc1.bias"])
    y = relu(batch_norm(y, w, "bn3") if flat_norm else y)
    turn = linear(y, w["fc2.weight"], w["fc2.bias"]).reshape(-1, 3, 3)
    if identity:
        turn = turn + np.eye(3, dtype=np.float32)
    if turned == "matrix by points":
        x = turn @ x
    else:
        x = (x.swapaxes(1, 2) @ turn).swapaxes(1, 2)
    return relu(shared(x, "mlp"))


CASES = [
    Case(
        "third_cost_volume_flow",
        build_cost_volume,
        "",
        cost_volume,
        {
            "summed_over_channels": Mistake(
                partial(cost_volume, over="sum"),
                "The correlation is the sum over channels, where it is their mean.",
            ),
            "columns_outside": Mistake(
                partial(cost_volume, order="columns outside"),
                "The volume's channels run over dx outside and dy inside, where dy is outside.",
            ),
            "moved_the_other_way": Mistake(
                partial(cost_volume, towards=-1),
                "The second frame is read at the place less the displacement, where it is read "
                "at the place plus it.",
            ),
            "wrapped_round": Mistake(
                partial(cost_volume, outside="rolled"),
                "The second frame's features are rolled, so that what leaves one edge comes in at "
                "the other, where noughts come in.",
            ),
            "usual_slope": Mistake(
                partial(cost_volume, slope=0.01),
                "Leaky ReLU has the slope 0.01, where it is 0.1.",
            ),
            "features_of_second_frame": Mistake(
                partial(cost_volume, kept="second"),
                "The second frame's features are joined to the volume, where it is the first's.",
            ),
        },
    ),
    Case(
        "third_raft_recurrent_block",
        build_flow_update,
        "recurrent_block",
        flow_recurrence,
        {
            "update_gate_inverted": Mistake(
                partial(flow_recurrence, update="from the old"),
                "The update gate keeps the old state (as in nn.GRU), where it lets the new one in.",
            ),
            "reset_forgotten": Mistake(
                partial(flow_recurrence, reset="none"),
                "The candidate sees the hidden state itself, where it sees it times the reset "
                "gate.",
            ),
            "input_before_hidden": Mistake(
                partial(flow_recurrence, order="input first"),
                "The input is concatenated before the hidden state, where it comes after it.",
            ),
            "kernels_along_other_axes": Mistake(
                partial(flow_recurrence, paddings=((2, 0), (0, 2))),
                "The first unit's kernels run along the columns and the second's along the rows, "
                "where the first has 1x5 and the second 5x1.",
            ),
            "second_unit_from_given_state": Mistake(
                partial(flow_recurrence, second="from the given"),
                "The second unit starts from the state that was given, where it starts from what "
                "the first unit made of it.",
            ),
        },
    ),
    Case(
        "third_raft_convex_upsampling",
        build_flow_update,
        "",
        flow_enlarged,
        {
            "softmax_over_pixels": Mistake(
                partial(flow_enlarged, shares=2),
                "The mask's softmax is over the 16 pixels of a block, where it is over the 9 "
                "neighbours.",
            ),
            "flow_not_enlarged": Mistake(
                partial(flow_enlarged, factor=1),
                "The flow's values are not multiplied by 4, though it is counted in pixels of a "
                "map of four times the size.",
            ),
            "pixels_before_neighbours": Mistake(
                partial(flow_enlarged, layout="pixels first"),
                "The mask's channels are read as (4, 4, 9), where they are (9, 4, 4).",
            ),
            "pixels_transposed": Mistake(
                partial(flow_enlarged, pixels="columns, rows"),
                "Rows and columns of each block of 4 x 4 pixels are swapped.",
            ),
            "mask_not_scaled": Mistake(
                partial(flow_enlarged, mask_scale=1.0),
                "The mask is not multiplied by 0.25 before its softmax.",
            ),
            "edge_repeated": Mistake(
                partial(flow_enlarged, edge="edge"),
                "The flow's neighbours beyond the edge are the edge's values, where they are 0.",
            ),
        },
    ),
    Case(
        "third_stereo_soft_argmin",
        build_stereo,
        "",
        stereo,
        {
            "costs_not_negated": Mistake(
                partial(stereo, sign=1),
                "The softmax is over the costs themselves, where it is over their negatives.",
            ),
            "shifted_the_other_way": Mistake(
                partial(stereo, towards="right"),
                "The right image is read at x + d, where it is read at x - d.",
            ),
            "left_kept_where_uncovered": Mistake(
                partial(stereo, uncovered="left kept"),
                "The left features are kept in the columns that no right pixel covers, where both "
                "halves of the volume are 0 there.",
            ),
            "disparities_repeated": Mistake(
                partial(stereo, enlarge="repeated"),
                "The volume's disparities are doubled by repeating them, where they are enlarged "
                "linearly.",
            ),
            "least_cost": Mistake(
                partial(stereo, take="least"),
                "The disparity is that of the least cost, where it is the mean by the softmax.",
            ),
            "right_features_first": Mistake(
                partial(stereo, order="right first"),
                "The right image's features come before the left's in the volume's channels, "
                "where the left's come first.",
            ),
            "costs_not_negated_right_first": Mistake(
                partial(stereo, sign=1, order="right first"),
                "Two causes: the softmax is over the costs themselves, and the right image's "
                "features come first in the volume's channels.",
                causes=2,
            ),
        },
    ),
    Case(
        "third_siamese_tracker_head",
        build_siamese,
        "",
        siamese,
        {
            "template_of_the_first": Mistake(
                partial(siamese, kernel_of="first"),
                "Every search region is correlated with the first item's template, where each "
                "has its own.",
            ),
            "template_flipped": Mistake(
                partial(siamese, flipped=True),
                "The template is turned by 180 degrees (scipy's convolve), where the two are "
                "cross-correlated.",
            ),
            "norm_of_template_branch": Mistake(
                partial(siamese, norms=("conv_kernel", "conv_kernel")),
                "The search branch is normalised by the template branch's batch normalisation, "
                "where it has its own.",
            ),
            "summed_over_channels": Mistake(
                partial(siamese, channels="summed"),
                "The correlation is summed over the channels (SiamFC), where each channel keeps "
                "its own map.",
            ),
            "divided_by_template_size": Mistake(
                partial(siamese, share=True),
                "The correlation is divided by the template's number of pixels, where it is a sum.",
            ),
        },
    ),
    Case(
        "third_dgcnn_edge_convolution",
        build_edges,
        "",
        edges,
        {
            "centre_first": Mistake(
                partial(edges, parts="centre, difference"),
                "The centre comes before the difference (the paper's notation), where the code "
                "has the difference first.",
            ),
            "neighbour_itself": Mistake(
                partial(edges, parts="neighbour, centre"),
                "The neighbour's own coordinates are taken, where it is their difference from the "
                "centre.",
            ),
            "difference_turned": Mistake(
                partial(edges, parts="turned difference, centre"),
                "The difference is centre less neighbour, where it is neighbour less centre.",
            ),
            "point_itself_left_out": Mistake(
                partial(edges, itself=False),
                "The point itself is not among its 4 nearest, where it is the first of them.",
            ),
            "farthest_points": Mistake(
                partial(edges, nearest=False),
                "The points of the greatest distance are taken (a topk of distances without their "
                "minus), where it is those of the least.",
            ),
            "mean_of_edges": Mistake(
                partial(edges, take="mean"),
                "The mean over a point's edges is taken, where it is the greatest.",
            ),
            "usual_slope": Mistake(
                partial(edges, slope=0.01),
                "Leaky ReLU has its usual slope of 0.01, where it is 0.2.",
            ),
        },
    ),
    Case(
        "third_point_pillars",
        build_pillars,
        "",
        pillars,
        {
            "mean_counts_padding": Mistake(
                partial(pillars, mean="of the slots"),
                "A pillar's mean is over its 4 slots with the empty ones, where it is over its "
                "points.",
            ),
            "empty_slots_not_masked": Mistake(
                partial(pillars, masked=False),
                "The features of empty slots are not set to 0, so their offsets take part in the "
                "greatest.",
            ),
            "offsets_from_corners": Mistake(
                partial(pillars, middle=0.0),
                "The offsets are from the pillars' corners, where they are from their centres.",
            ),
            "canvas_by_columns": Mistake(
                partial(pillars, canvas="columns, rows"),
                "A pillar's cell is column * height + row, where it is row * width + column.",
            ),
            "epsilon_of_pytorch": Mistake(
                partial(pillars, eps=1e-5),
                "The batch normalisation has an epsilon of 1e-5, where this one has 1e-3.",
            ),
            "relu_before_norm": Mistake(
                partial(pillars, norm_first=False),
                "ReLU comes before the batch normalisation, where it comes after it.",
            ),
        },
    ),
    Case(
        "third_pointnet_input_transform",
        build_alignment,
        "",
        alignment,
        {
            "identity_forgotten": Mistake(
                partial(alignment, identity=False),
                "The identity is not added to the matrix.",
            ),
            "matrix_transposed": Mistake(
                partial(alignment, turned="matrix by points"),
                "The matrix is multiplied by the points as columns, where the points as rows are "
                "multiplied by the matrix.",
            ),
            "mean_of_cloud": Mistake(
                partial(alignment, pool="mean"),
                "The cloud is pooled to its mean, where it is pooled to its greatest values.",
            ),
            "norm_after_pool_forgotten": Mistake(
                partial(alignment, flat_norm=False),
                "The batch normalisation after the first dense layer is forgotten.",
            ),
        },
    ),
]
