"""The model's input, as a command line gives it."""

from typing import TYPE_CHECKING

from probe.capture import array_files
from probe.capture.user_arrays import InputArgument, Picture
from probe.command_line import drawing

if TYPE_CHECKING:
    from probe.cli.arguments import Given

__all__ = ["input_of", "words_of_input"]


def input_of(arguments: "Given") -> InputArgument:
    """The model's input, and the arguments of its call beside it."""
    path = arguments.input
    if arguments.text is not None:
        return InputArgument(arguments.text, dict(arguments.arg))
    if path is not None and path.endswith(array_files.IMAGES):
        picture = Picture(path, arguments.image_layout or "", arguments.scale)
        return InputArgument(picture, dict(arguments.arg))
    return InputArgument(array_files.input_file(path, arguments.dtype), dict(arguments.arg))


def words_of_input(arguments: "Given") -> list[str]:
    """The options that give another command the same input."""
    if arguments.text is not None:
        words = ["--text", arguments.text]
    elif arguments.input is not None:
        words = ["--input", arguments.input]
    else:
        words = drawing(arguments.shape, arguments.seed or 0)
    for name in ("dtype", "image_layout", "scale"):
        if (value := getattr(arguments, name)) is not None:
            words += [f"--{name.replace('_', '-')}", str(value)]
    return [
        *words,
        *(word for name, value in arguments.arg for word in ("--arg", f"{name}={value!r}")),
    ]
