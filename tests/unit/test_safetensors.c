#include "golden.h"
#include "test.h"

#include "weights/safetensors.h"
#include "weights/safetensors_header.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64];

static int make_folder(void **state) {
    (void)state;
    strcpy(folder, "/tmp/timbre-safetensors-XXXXXX");
    return mkdtemp(folder) == NULL;
}

static int remove_folder(void **state) {
    (void)state;
    char command[128];
    const char *names[] = {"model.safetensors", "model.safetensors.index.json", "a.safetensors", "b.safetensors"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        (void)snprintf(command, sizeof command, "%s/%s", folder, names[i]);
        (void)unlink(command);
    }
    return rmdir(folder);
}

static const char *in_folder(const char *name) {
    static char path[128];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void write_bytes(const char *name, const void *bytes, size_t count) {
    FILE *file = fopen(in_folder(name), "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, count, file), count);
    assert_int_equal(fclose(file), 0);
}

/* Length, header, then `data_bytes` bytes 0, 1, 2, …; malloc'ed. */
static unsigned char *compose(const char *header, size_t header_bytes, uint64_t stated, size_t data_bytes,
                              size_t *size) {
    *size = 8 + header_bytes + data_bytes;
    unsigned char *file = malloc(*size + 1);
    assert_non_null(file);
    for (int i = 0; i < 8; i++) {
        file[i] = (unsigned char)(stated >> (8 * i));
    }
    memcpy(file + 8, header, header_bytes);
    for (size_t i = 0; i < data_bytes; i++) {
        file[8 + header_bytes + i] = (unsigned char)i;
    }
    return file;
}

static void write_safetensors(const char *name, const char *header, size_t data_bytes) {
    /* Padded with blanks, as writers do, so that the data is aligned. */
    char padded[1024];
    size_t length = (strlen(header) + 7) / 8 * 8;
    assert_true(length < sizeof padded);
    (void)snprintf(padded, sizeof padded, "%-*s", (int)length, header);
    size_t size = 0;
    unsigned char *file = compose(padded, length, length, data_bytes, &size);
    write_bytes(name, file, size);
    free(file);
}

static void expect_refused(const char *header, size_t header_bytes, uint64_t stated, size_t data_bytes,
                           const char *message) {
    size_t size = 0;
    unsigned char *file = compose(header, header_bytes, stated, data_bytes, &size);
    /* An exact copy, so that a sanitizer sees a read past the end. */
    unsigned char *exact = malloc(size);
    assert_non_null(exact);
    memcpy(exact, file, size);
    free(file);
    tmb_error error = {0};
    tmb_tensor *tensors = NULL;
    size_t count = 0;
    tmb_status status = tmb_safetensors_header_parse("x", exact, size, &tensors, &count, &error);
    free(exact);
    if (status == TMB_OK || strstr(error.message, message) == NULL) {
        fail_msg("%.60s: \"%s\" instead of \"%s\"", header, error.message, message);
    }
    assert_null(tensors);
}

static void test_malformed_headers(void **state) {
    (void)state;
    static const struct {
        const char *header;
        size_t data_bytes;
        const char *message;
    } cases[] = {
        {"[]", 0, "does not begin with {"},
        {" {}", 0, "does not begin with {"},
        {"{\"a\":", 0, "not valid JSON"},
        {"{} x", 0, "not valid JSON"},
        {"{\"\xff\":1}", 0, "not valid JSON"},
        {"{\"a\\u0000\":1}", 0, "not valid JSON"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
         "\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]}}",
         2, "duplicate"},
        {"{\"a\":{\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "duplicate"},
        {"{\"a\":7}", 0, "not described by an object"},
        {"{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "no dtype"},
        {"{\"a\":{\"dtype\":7,\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "no dtype"},
        {"{\"a\":{\"dtype\":\"F31\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "unknown dtype \"F31\""},
        {"{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, "no shape"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":4,\"data_offsets\":[0,4]}}", 4, "no shape"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]}}", 4, "9 dimensions"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", 4, "dimension 0"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1.0],\"data_offsets\":[0,4]}}", 4, "dimension 0"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[9223372036854775808],\"data_offsets\":[0,4]}}", 4, "not valid JSON"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,4]}}", 4, "too large"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387905],\"data_offsets\":[0,4]}}", 4, "shape and dtype"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "data_offsets"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}", 4, "data_offsets"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,8]}}", 4, "data_offsets"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[-4,0]}}", 4, "data_offsets"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}", 4, "ends before it begins"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,-4]}}", 4, "ends before it begins"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 4, "is the download complete?"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4, "shape and dtype need 8"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,4]}}", 4, "shape and dtype need 0"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
         "\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[2,4]}}",
         4, "\"b\" overlaps"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
         "\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[2,4]}}",
         4, "1 unused bytes before tensor \"b\""},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[1,4]}}", 4, "1 unused bytes"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,3]}}", 4, "1 bytes after the last"},
        {"{}", 4, "4 bytes after the last"},
        /* The header is 55 bytes long, so the data begins at an odd byte. */
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "not aligned"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        expect_refused(cases[i].header, strlen(cases[i].header), strlen(cases[i].header), cases[i].data_bytes,
                       cases[i].message);
    }
}

static void test_malformed_lengths(void **state) {
    (void)state;
    expect_refused("{}", 2, 0, 0, "does not begin with {");
    expect_refused("{}", 2, 3, 0, "the file ends after 2");
    expect_refused("{}", 2, 100000001, 0, "over the 100000000 limit");
    expect_refused("{}", 2, UINT64_MAX, 0, "over the 100000000 limit");
    tmb_error error = {0};
    tmb_tensor *tensors = NULL;
    size_t count = 0;
    assert_int_equal(tmb_safetensors_header_parse("x", (const unsigned char *)"1234567", 7, &tensors, &count, &error),
                     TMB_ERROR_FORMAT);
    assert_non_null(strstr(error.message, "only 7 bytes"));
}

static void test_deep_and_many(void **state) {
    (void)state;
    enum { SIZE = 20000000 };
    char *header = malloc(SIZE);
    assert_non_null(header);
    memcpy(header, "{\"a\":", 5);
    memset(header + 5, '[', 10000);
    expect_refused(header, 10005, 10005, 0, "deeper than 64");
    size_t used = 1;
    for (int i = 0; i < 1000000; i++) {
        used += (size_t)snprintf(header + used, 20, "%s\"%d\":{}", i == 0 ? "" : ",", i);
    }
    header[used++] = '}';
    expect_refused(header, used, used, 0, "more than 65536 tensors");
    free(header);
}

static void test_valid_file(void **state) {
    (void)state;
    write_safetensors("model.safetensors",
                      "{\"__metadata__\":{\"format\":\"pt\"},"
                      "\"wide\":{\"dtype\":\"F32\",\"shape\":[2,1],\"data_offsets\":[0,8]},"
                      "\"half\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[8,12]},"
                      "\"brain\":{\"dtype\":\"BF16\",\"shape\":[2],\"data_offsets\":[12,16]},"
                      "\"scalar\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[16,17]},"
                      "\"none\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[17,17],\"more\":1}}",
                      17);
    tmb_error error = {0};
    tmb_safetensors *weights = NULL;
    assert_ok(tmb_safetensors_open(folder, &weights, &error), error);
    assert_int_equal(tmb_safetensors_count(weights), 5);
    assert_int_equal(tmb_safetensors_bytes(weights), 17);
    assert_string_equal(tmb_safetensors_at(weights, 0)->name, "brain");
    assert_null(tmb_safetensors_find(weights, "absent"));
    const tmb_tensor *scalar = tmb_safetensors_find(weights, "scalar");
    assert_int_equal(scalar->rank, 0);
    assert_int_equal(scalar->count, 1);
    assert_int_equal(*(const unsigned char *)scalar->data, 16);
    float *values = NULL;
    assert_ok(tmb_tensor_load_f32(weights, "brain", 1, (const size_t[]){2}, &values, &error), error);
    uint32_t bits[2];
    memcpy(bits, values, sizeof bits);
    assert_int_equal(bits[0], 0x0d0c0000);
    assert_int_equal(bits[1], 0x0f0e0000);
    free(values);
    float out[2];
    assert_int_equal(tmb_tensor_read_f32(scalar, 0, 1, out, &error), TMB_ERROR_MODEL);
    assert_non_null(strstr(error.message, "dtype U8"));
    const tmb_tensor *tensor = NULL;
    assert_int_equal(tmb_tensor_require(weights, "wide", 2, (const size_t[]){1, 2}, &tensor, &error), TMB_ERROR_MODEL);
    assert_non_null(strstr(error.message, "\"wide\" has the shape [2, 1], but the configuration asks for [1, 2]"));
    assert_int_equal(tmb_tensor_require(weights, "wide", 1, (const size_t[]){2}, &tensor, &error), TMB_ERROR_MODEL);
    assert_int_equal(tmb_tensor_require(weights, "gone", 1, (const size_t[]){2}, &tensor, &error), TMB_ERROR_MODEL);
    assert_non_null(strstr(error.message, "\"gone\" is missing"));
    assert_ok(tmb_tensor_require(weights, "wide", 2, (const size_t[]){2, 1}, &tensor, &error), error);
    assert_int_equal(tmb_tensor_read(tensor, 4, 5, out, &error), TMB_ERROR_ARGUMENT);
    assert_int_equal(tmb_tensor_read(tensor, SIZE_MAX, 2, out, &error), TMB_ERROR_ARGUMENT);
    assert_ok(tmb_tensor_read(tensor, 4, 4, out, &error), error);
    assert_memory_equal(out, (const char *)tensor->data + 4, 4);
    tmb_safetensors_close(&weights);
    assert_null(weights);
    tmb_safetensors_close(&weights);
}

static void test_halves(void **state) {
    (void)state;
    static const struct {
        uint16_t bits;
        float value;
    } halves[] = {
        {0x0000, 0},        {0x8000, -0.0f},         {0x3c00, 1},        {0xc000, -2},         {0x7bff, 65504},
        {0x0001, 0x1p-24f}, {0x83ff, -0x1.ff8p-15f}, {0x0400, 0x1p-14f}, {0x3555, 0x1.554p-2f}};
    for (size_t i = 0; i < sizeof halves / sizeof halves[0]; i++) {
        const int file = memfd_create("half", MFD_CLOEXEC);
        assert_int_equal(write(file, &halves[i].bits, 2), 2);
        tmb_tensor tensor = {.name = "x", .dtype = TMB_DTYPE_F16, .file = file, .count = 1, .bytes = 2};
        tmb_error error = {0};
        float out = 7;
        assert_ok(tmb_tensor_read_f32(&tensor, 0, 1, &out, &error), error);
        assert_memory_equal(&out, &halves[i].value, 4);
        assert_int_equal(close(file), 0);
    }
}

static void test_folders(void **state) {
    (void)state;
    tmb_error error = {0};
    tmb_safetensors *weights = NULL;
    assert_int_equal(tmb_safetensors_open(folder, &weights, &error), TMB_ERROR_MODEL);
    assert_non_null(strstr(error.message, "neither model.safetensors nor"));
    assert_int_equal(tmb_safetensors_open(in_folder("absent"), &weights, &error), TMB_ERROR_IO);
    assert_int_equal(tmb_safetensors_open("/dev/zero", &weights, &error), TMB_ERROR_IO);

    static const char *const bad[][2] = {
        {"{}", "no weight_map"},
        {"{\"weight_map\":{}}", "no weight_map"},
        {"{\"weight_map\":{\"a\":7}}", "not the name of a file in this folder"},
        {"{\"weight_map\":{\"a\":\"../a.safetensors\"}}", "not the name of a file in this folder"},
        {"{\"weight_map\":{\"a\":\"/etc/passwd\"}}", "not the name of a file in this folder"},
        {"{\"weight_map\":{\"a\":\"..\"}}", "not the name of a file in this folder"},
        {"{\"weight_map\":{\"a\":\"\"}}", "not the name of a file in this folder"},
        {"{\"weight_map\":{\"a\":\"absent.safetensors\"}}", "absent.safetensors: No such file"},
        {"{\"weight_map\":{\"a\":\"a.safetensors\",\"b\":\"a.safetensors\"}}", "\"b\" is in none of the files"},
        {"{\"weight_map\":{\"a\":\"a.safetensors\",\"c\":\"b.safetensors\"}}", "\"a\" is in two files"},
    };
    const char *one = "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}";
    write_safetensors("a.safetensors", one, 1);
    write_safetensors("b.safetensors", one, 1);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        write_bytes("model.safetensors.index.json", bad[i][0], strlen(bad[i][0]));
        if (tmb_safetensors_open(folder, &weights, &error) == TMB_OK || strstr(error.message, bad[i][1]) == NULL) {
            fail_msg("%s: \"%s\"", bad[i][0], error.message);
        }
        assert_null(weights);
    }
    const char *two = "{\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}}";
    const char *index = "{\"metadata\":{},\"weight_map\":{\"a\":\"a.safetensors\",\"b\":\"b.safetensors\"}}";
    write_safetensors("b.safetensors", two, 2);
    write_bytes("model.safetensors.index.json", index, strlen(index));
    assert_ok(tmb_safetensors_open(folder, &weights, &error), error);
    assert_int_equal(tmb_safetensors_count(weights), 2);
    assert_int_equal(((const unsigned char *)tmb_safetensors_find(weights, "b")->data)[1], 1);
    tmb_safetensors_close(&weights);
}

/* The file loses its tail while it is open. */
static void test_truncation(void **state) {
    (void)state;
    write_safetensors("model.safetensors", "{\"a\":{\"dtype\":\"F32\",\"shape\":[4096],\"data_offsets\":[0,16384]}}",
                      16384);
    tmb_error error = {0};
    tmb_safetensors *weights = NULL;
    assert_ok(tmb_safetensors_open(in_folder("model.safetensors"), &weights, &error), error);
    assert_ok(tmb_safetensors_check(weights, &error), error);
    assert_int_equal(truncate(in_folder("model.safetensors"), 100), 0);
    assert_int_equal(tmb_safetensors_check(weights, &error), TMB_ERROR_IO);
    float *values = NULL;
    assert_int_equal(tmb_tensor_load_f32(weights, "a", 1, (const size_t[]){4096}, &values, &error), TMB_ERROR_IO);
    assert_null(values);
    assert_non_null(strstr(error.message, "became shorter"));
    tmb_safetensors_close(&weights);
}

static void test_real_checkpoint(void **state) {
    (void)state;
    tmb_error error = {0};
    tmb_safetensors *weights = NULL;
    assert_ok(tmb_safetensors_open(golden_path("qwen/sample-c/model"), &weights, &error), error);
    float *values = NULL;
    assert_ok(tmb_tensor_load_f32(weights, "talker.model.norm.weight", 1, (const size_t[]){64}, &values, &error),
              error);
    const tmb_tensor *tensor = tmb_safetensors_find(weights, "talker.model.norm.weight");
    assert_int_equal(tensor->dtype, TMB_DTYPE_BF16);
    uint32_t direct[64]; /* a bfloat16 is the upper half of a float */
    for (size_t i = 0; i < 64; i++) {
        direct[i] = (uint32_t)((const uint16_t *)tensor->data)[i] << 16;
    }
    assert_memory_equal(values, direct, sizeof direct);
    free(values);
    tmb_safetensors_close(&weights);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_malformed_headers),
        cmocka_unit_test(test_malformed_lengths),
        cmocka_unit_test(test_deep_and_many),
        cmocka_unit_test_setup_teardown(test_valid_file, make_folder, remove_folder),
        cmocka_unit_test(test_halves),
        cmocka_unit_test_setup_teardown(test_folders, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_truncation, make_folder, remove_folder),
        cmocka_unit_test(test_real_checkpoint),
    };
    return cmocka_run_group_tests_name("safetensors", tests, NULL, NULL);
}
