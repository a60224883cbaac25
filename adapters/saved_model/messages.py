"""The messages of saved_model.pb, as far as they are read: without TensorFlow, which a listing and
a refusal do without.

The fields and their numbers: saved_model.proto, meta_graph.proto, graph.proto, function.proto,
node_def.proto, attr_value.proto and saved_object_graph.proto of TensorFlow.
"""

from functools import cache
from typing import Any

from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    message_factory,
)

__all__ = ["saved_model"]

_PACKAGE = "probe.saved_model"
_TYPES = {"string": 9, "bytes": 12, "int64": 3, "bool": 8, "int32": 5}
_FIELDS: dict[str, dict[str, tuple[int, str, bool]]] = {
    "SavedModel": {"meta_graphs": (2, "MetaGraph", True)},
    "MetaGraph": {
        "meta_info": (1, "MetaInfo", False),
        "graph": (2, "Graph", False),
        "saver": (3, "Saver", False),
        "collections": (4, "Collection", True),
        "signatures": (5, "SignatureEntry", True),
        "assets": (6, "Asset", True),
        "objects": (7, "Objects", False),
    },
    "MetaInfo": {"tags": (4, "string", True)},
    "Saver": {"filename_tensor_name": (1, "string", False), "restore_op": (3, "string", False)},
    "Collection": {"key": (1, "string", False)},
    "Asset": {"filename": (2, "string", False)},
    "SignatureEntry": {"key": (1, "string", False), "value": (2, "Signature", False)},
    "Signature": {
        "inputs": (1, "TensorEntry", True),
        "outputs": (2, "TensorEntry", True),
        "method": (3, "string", False),
    },
    "TensorEntry": {"key": (1, "string", False), "value": (2, "TensorInfo", False)},
    "TensorInfo": {"name": (1, "string", False), "dtype": (2, "int32", False)},
    "Graph": {"nodes": (1, "Node", True), "library": (2, "Library", False)},
    "Library": {
        "functions": (1, "Function", True),
        "gradients": (2, "Gradient", True),
        "registered": (3, "Gradient", True),
    },
    "Gradient": {
        "function": (1, "string", False),
        "gradient": (2, "string", False),
    },
    "Function": {"signature": (1, "OpDefinition", False), "nodes": (3, "Node", True)},
    "OpDefinition": {"name": (1, "string", False)},
    "Node": {
        "name": (1, "string", False),
        "op": (2, "string", False),
        "inputs": (3, "string", True),
        "attributes": (5, "AttributeEntry", True),
    },
    "AttributeEntry": {"key": (1, "string", False), "value": (2, "Attribute", False)},
    "Attribute": {
        "list": (1, "AttributeList", False),
        "text": (2, "bytes", False),
        "function": (10, "FunctionName", False),
    },
    "AttributeList": {"functions": (9, "FunctionName", True)},
    "FunctionName": {"name": (1, "string", False)},
    "Objects": {"nodes": (1, "Object", True)},
    "Object": {
        "asset": (5, "AssetObject", False),
        "resource": (10, "ResourceObject", False),
        "saved_by": (11, "SavedBy", True),
        "saver": (16, "string", False),
    },
    "AssetObject": {"asset": (1, "int32", False)},
    "ResourceObject": {"device": (1, "string", False)},
    "SavedBy": {"key": (1, "string", False)},
}


@cache
def _class() -> Any:
    file = descriptor_pb2.FileDescriptorProto(
        name="probe/saved_model.proto", package=_PACKAGE, syntax="proto3"
    )
    for message, fields in _FIELDS.items():
        described = file.message_type.add(name=message)
        for name, (number, kind, repeated) in fields.items():
            field = described.field.add(name=name, number=number, label=3 if repeated else 1)
            if kind in _TYPES:
                field.type = _TYPES[kind]
            else:
                field.type, field.type_name = 11, f".{_PACKAGE}.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.SavedModel"))


def saved_model(data: bytes) -> Any:
    """The parsed message; google.protobuf.message.DecodeError where it is none."""
    return _class().FromString(data)
