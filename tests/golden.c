#include "golden.h"

#include "test.h"

#include <math.h>
#include <sndfile.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

__attribute__((format(printf, 1, 0))) static const char *format_path(const char *format, va_list arguments) {
    static char paths[8][512];
    static unsigned next;
    char *path = paths[next++ % 8];
    const char *root = getenv("TIMBRE_GOLDEN");
    if (root == NULL) {
        fail_msg("TIMBRE_GOLDEN is not set: run this through `meson test`, or set it to tests/golden");
    }
    int used = snprintf(path, sizeof paths[0], "%s/", root);
    assert_true(used > 0 && (size_t)used < sizeof paths[0]);
    int more = vsnprintf(path + used, sizeof paths[0] - (size_t)used, format, arguments);
    assert_true(more > 0 && (size_t)(used + more) < sizeof paths[0]);
    return path;
}

const char *golden_path(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    const char *path = format_path(format, arguments);
    va_end(arguments);
    return path;
}

static char *read_file(const char *path, size_t *bytes) {
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        fail_msg("%s: cannot be opened", path);
        abort(); /* for analyzers: fail_msg does not return */
    }
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    long size = ftell(file);
    assert_true(size >= 0);
    rewind(file);
    char *data = malloc((size_t)size + 1);
    assert_non_null(data);
    assert_int_equal(fread(data, 1, (size_t)size, file), (size_t)size);
    (void)fclose(file);
    data[size] = '\0';
    *bytes = (size_t)size;
    return data;
}

float *golden_audio(int *rate, size_t *count, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    const char *path = format_path(format, arguments);
    va_end(arguments);
    SF_INFO info = {0};
    SNDFILE *file = sf_open(path, SFM_READ, &info);
    if (file == NULL) {
        fail_msg("%s: %s", path, sf_strerror(NULL));
    }
    assert_int_equal(info.channels, 1);
    float *samples = calloc((size_t)info.frames, sizeof *samples);
    assert_non_null(samples);
    assert_int_equal(sf_readf_float(file, samples, info.frames), info.frames);
    *rate = info.samplerate;
    *count = (size_t)info.frames;
    (void)sf_close(file);
    return samples;
}

char *golden_text(size_t *bytes, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    const char *path = format_path(format, arguments);
    va_end(arguments);
    return read_file(path, bytes);
}

static float half_to_float(uint16_t half) {
    int exponent = (half >> 10) & 31;
    int mantissa = half & 1023;
    float value = exponent == 0    ? ldexpf((float)mantissa, -24)
                  : exponent == 31 ? (mantissa == 0 ? INFINITY : NAN)
                                   : ldexpf((float)(mantissa + 1024), exponent - 25);
    return (half & 0x8000) != 0 ? -value : value;
}

static void convert_floats(golden_array *array, size_t size, const char *data) {
    array->f32 = malloc((array->count + 1) * sizeof(float));
    assert_non_null(array->f32);
    for (size_t i = 0; i < array->count; i++) {
        if (size == 2) {
            uint16_t half;
            memcpy(&half, data + 2 * i, 2);
            array->f32[i] = half_to_float(half);
        } else if (size == 4) {
            memcpy(&array->f32[i], data + 4 * i, 4);
        } else {
            double value;
            memcpy(&value, data + 8 * i, 8);
            array->f32[i] = (float)value;
        }
    }
}

static void convert_integers(golden_array *array, char kind, size_t size, const char *data) {
    array->i64 = malloc((array->count + 1) * sizeof(int64_t));
    assert_non_null(array->i64);
    for (size_t i = 0; i < array->count; i++) {
        uint64_t value = 0;
        memcpy(&value, data + size * i, size); /* little-endian, as the files */
        unsigned shift = (unsigned)(64 - 8 * size);
        array->i64[i] = kind == 'i' ? (int64_t)(value << shift) >> shift : (int64_t)value;
    }
    if (kind == 'i' && size == 2) {
        array->i16 = malloc((array->count + 1) * sizeof(int16_t));
        assert_non_null(array->i16);
        memcpy(array->i16, data, array->count * sizeof(int16_t));
    }
}

/* [rows, columns] elements that lie column after column (Fortran's order), row after row instead. */
static void order_by_rows(char *data, size_t rows, size_t columns, size_t size) {
    char *ordered = malloc(rows * columns * size + 1);
    assert_non_null(ordered);
    for (size_t r = 0; r < rows; r++) {
        for (size_t c = 0; c < columns; c++) {
            memcpy(ordered + (r * columns + c) * size, data + (c * rows + r) * size, size);
        }
    }
    memcpy(data, ordered, rows * columns * size);
    free(ordered);
}

golden_array golden_load(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    const char *path = format_path(format, arguments);
    va_end(arguments);
    size_t bytes = 0;
    char *file = read_file(path, &bytes);
    if (bytes < 10 || memcmp(file, "\x93NUMPY\x01", 7) != 0) {
        fail_msg("%s: not a NumPy file of version 1", path);
    }
    size_t begin = 10 + (size_t)(unsigned char)file[8] + 256 * (size_t)(unsigned char)file[9];
    assert_true(begin <= bytes);
    file[begin - 1] = '\0'; /* the header ends with a line break */
    const char *descr = strstr(file + 10, "'descr': '");
    const char *shape = strstr(file + 10, "'shape': (");
    char order = '\0';
    char kind = '\0';
    size_t size = 0;
    bool by_columns = strstr(file + 10, "'fortran_order': True") != NULL;
    if (descr == NULL || shape == NULL || (!by_columns && strstr(file + 10, "'fortran_order': False") == NULL) ||
        sscanf(descr, "'descr': '%c%c%zu'", &order, &kind, &size) != 3 || order == '>' ||
        strchr("fiub", kind) == NULL || (size != 1 && size != 2 && size != 4 && size != 8)) {
        fail_msg("%s: an array of a kind that is not read here: %s", path, file + 10);
    }
    golden_array array = {.count = 1};
    char *position = (char *)shape + strlen("'shape': (");
    while (*position != ')') {
        assert_true(array.rank < 8);
        char *end = NULL;
        array.dims[array.rank] = strtoul(position, &end, 10);
        assert_true(end != position);
        array.count *= array.dims[array.rank++];
        position = end + strspn(end, ", ");
    }
    assert_int_equal(bytes - begin, array.count * size);
    if (by_columns) {
        assert_true(array.rank == 2);
        order_by_rows(file + begin, array.dims[0], array.dims[1], size);
    }
    if (kind == 'f') {
        convert_floats(&array, size, file + begin);
    } else {
        convert_integers(&array, kind, size, file + begin);
    }
    free(file);
    return array;
}

void golden_free(golden_array *array) {
    free(array->f32);
    free(array->i64);
    free(array->i16);
    memset(array, 0, sizeof *array);
}

double golden_assert_close(const char *name, const float *actual, const float *expected, size_t count,
                           double tolerance) {
    double largest = 0;
    size_t place = 0;
    for (size_t i = 0; i < count; i++) {
        double difference = fabs((double)actual[i] - (double)expected[i]);
        if (!(difference <= largest)) {
            largest = difference;
            place = i;
            if (isnan(difference)) {
                break;
            }
        }
    }
    if (!(largest <= tolerance)) {
        fail_msg("%s: [%zu] is %.9g, but should be %.9g: %.3g apart, tolerance %.3g", name, place,
                 (double)actual[place], (double)expected[place], largest, tolerance);
    }
    return largest;
}

double golden_snr_db(const float *actual, const float *expected, size_t count) {
    double signal = 0;
    double noise = 0;
    for (size_t i = 0; i < count; i++) {
        double difference = (double)actual[i] - (double)expected[i];
        signal += (double)expected[i] * (double)expected[i];
        noise += difference * difference;
    }
    return noise == 0 ? INFINITY : 10 * log10(signal / noise);
}
