"""probe_dump.h compiles without a warning and writes what NumPy reads, of every type and shape."""

import subprocess

import numpy as np

SIZES = (1, 2, 4, 8)
TYPES = {
    **{"f4": "float", "f8": "double"},
    **{f"i{size}": f"int{8 * size}_t" for size in SIZES},
    **{f"u{size}": f"uint{8 * size}_t" for size in SIZES},
}
PROGRAM = """
#include <stdint.h>
#include "probe_dump.h"
int main(void)
{
    const size_t shape[3] = {2, 1, 3};
    const double scalar = 0.1;
    int failed = 0;
WRITES
    failed |= probe_dump("scalar.npy", "f8", &scalar, 0, shape);
    failed |= probe_dump("flat.npy", "f8", &scalar, 1, (const size_t[]){1});
    failed |= !probe_dump("no.npy", "f2", &scalar, 0, shape);
    failed |= !probe_dump("no.npy", "c8", &scalar, 0, shape);
    failed |= !probe_dump("no.npy", "f4", &scalar, -1, shape);
    failed |= !probe_dump("missing/no.npy", "f8", &scalar, 0, shape);
    return failed;
}
"""
WRITE = """    {
        const TYPE values[6] = {1, 2, 3, (TYPE)-4, 5, 6};
        failed |= probe_dump("CODE.npy", "CODE", values, 3, shape);
    }"""


def test_every_type_and_shape_is_read_by_numpy(probe, tmp_path):
    status, out, err = probe("dump-header")
    assert (status, err) == (0, "")
    (tmp_path / "probe_dump.h").write_text(out)
    writes = [WRITE.replace("TYPE", kind).replace("CODE", code) for code, kind in TYPES.items()]
    (tmp_path / "main.c").write_text(PROGRAM.replace("WRITES", "\n".join(writes)))
    flags = ("-Wall", "-Wextra", "-Werror", "-pedantic", "-std=c99")
    for command in (("cc", *flags, "-o", "main", "main.c"), (tmp_path / "main",)):
        subprocess.run(command, cwd=tmp_path, check=True, timeout=60)
    for code in TYPES:
        values = np.load(tmp_path / f"{code}.npy")
        wanted = np.array([1, 2, 3, -4, 5, 6]).astype(code).reshape(2, 1, 3)
        assert values.dtype == code
        np.testing.assert_array_equal(values, wanted)
    assert np.load(tmp_path / "scalar.npy").shape == () and np.load(tmp_path / "flat.npy") == [0.1]
    assert not (tmp_path / "no.npy").exists()
