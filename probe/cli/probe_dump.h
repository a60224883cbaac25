/* probe_dump.h: writes an array as a .npy file, which NumPy and probe read. C99, no dependency.
 *
 *     #include "probe_dump.h"
 *     static float y[10 * 8 * 8 * 16];
 *     ...
 *     probe_dump("dumps/conv2d.npy", "f4", y, 4, (const size_t[]){10, 8, 8, 16});
 *
 * A folder of such files, named after the layers, is compared with the model by
 *
 *     probe compare model.h5 dumps/ --input x.npy
 *
 * TYPE is a kind and the bytes of an element: f4 (float), f8 (double), i1, i2, i4, i8 (int8_t to
 * int64_t), u1, u2, u4, u8 (uint8_t to uint64_t). The elements lie in row-major order; AXES is the
 * length of SHAPE. The folder has to exist. Returns 0, or 1 where the file could not be written or
 * TYPE or SHAPE are none.
 *
 * Printed by `probe dump-header`. SPDX-License-Identifier: Apache-2.0
 */
#ifndef PROBE_DUMP_H
#define PROBE_DUMP_H

#include <stdio.h>
#include <string.h>

static inline int probe_dump(const char *path, const char *type, const void *data, int axes,
                             const size_t *shape)
{
    static const char kinds[] = "fiu", sizes[] = "1248";
    const unsigned short probe = 1;
    const char order = *(const unsigned char *)&probe ? '<' : '>';
    char header[1024];
    size_t count = 1, length, total;
    int axis, written;
    FILE *file;

    if (strlen(type) != 2 || !strchr(kinds, type[0]) || !strchr(sizes, type[1]) || axes < 0 ||
        (type[0] == 'f' && type[1] < '4') || axes > 32)
        return 1;
    length = (size_t)sprintf(header, "{'descr': '%c%s', 'fortran_order': False, 'shape': (",
                             type[1] == '1' ? '|' : order, type);
    for (axis = 0; axis < axes; axis++) {
        count *= shape[axis];
        length += (size_t)sprintf(header + length, "%lu,", (unsigned long)shape[axis]);
    }
    length += (size_t)sprintf(header + length, "), }");
    total = (10 + length + 1 + 63) / 64 * 64; /* with the 10 bytes before it, ended by a line break */
    while (10 + length + 1 < total)
        header[length++] = ' ';
    header[length++] = '\n';

    file = fopen(path, "wb");
    if (!file)
        return 1;
    written = fwrite("\x93NUMPY\x01\x00", 1, 8, file) == 8 &&
              fputc((int)(length & 255), file) != EOF && fputc((int)(length >> 8), file) != EOF &&
              fwrite(header, 1, length, file) == length &&
              fwrite(data, (size_t)(type[1] - '0'), count, file) == count;
    return fclose(file) != 0 || !written;
}

#endif /* PROBE_DUMP_H */
