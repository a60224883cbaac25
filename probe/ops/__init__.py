"""The ops: one frozen dataclass per arithmetic operation, named as ONNX names it, in one file per family."""

from probe.ops.account import *
from probe.ops.activation import *
from probe.ops.averaging import *
from probe.ops.base import *
from probe.ops.binary import *
from probe.ops.conv import *
from probe.ops.curves import *
from probe.ops.linear import *
from probe.ops.merge import *
from probe.ops.normalization import *
from probe.ops.pooling import *
from probe.ops.power_of_two import *
from probe.ops.product import *
from probe.ops.quantize import *
from probe.ops.rearrange import *
from probe.ops.softmax import *
