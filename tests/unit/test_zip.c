/* Digests and zip archives. */
#include "test.h"

#include "weights/digest.h"
#include "weights/zip.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

static void test_digests(void **state) {
    (void)state;
    char sum[TMB_DIGEST_HEX_MAX];
    tmb_digest_memory(TMB_DIGEST_SHA256, "abc", 3, sum);
    assert_string_equal(sum, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    tmb_digest_memory(TMB_DIGEST_GIT, "hello\n", 6, sum);
    assert_string_equal(sum, "ce013625030ba8dba906f756967f9e9ca394464a"); /* git hash-object */
}

static void put(unsigned char *out, size_t *used, uint64_t value, int bytes) {
    for (int i = 0; i < bytes; i++) {
        out[(*used)++] = (unsigned char)(value >> (8 * i));
    }
}

/* One stored member "a" of 5 bytes; offsets: 0 local header, 36 directory, 83 end. */
static size_t make_zip(unsigned char out[128]) {
    size_t used = 0;
    uint64_t crc = crc32(crc32(0, NULL, 0), (const unsigned char *)"hello", 5);
    put(out, &used, 0x04034b50, 4);
    put(out, &used, 20, 2);
    put(out, &used, 0, 8); /* flags, method, time, date */
    put(out, &used, crc, 4);
    put(out, &used, 5, 4);
    put(out, &used, 5, 4);
    put(out, &used, 1, 2);
    put(out, &used, 0, 2);
    out[used++] = 'a';
    memcpy(out + used, "hello", 5);
    used += 5;
    put(out, &used, 0x02014b50, 4);
    put(out, &used, 20, 4);
    put(out, &used, 0, 8);
    put(out, &used, crc, 4);
    put(out, &used, 5, 4);
    put(out, &used, 5, 4);
    put(out, &used, 1, 2);
    put(out, &used, 0, 8);
    put(out, &used, 0, 4);
    put(out, &used, 0, 4);
    out[used++] = 'a';
    put(out, &used, 0x06054b50, 4);
    put(out, &used, 0, 4);
    put(out, &used, 1, 2);
    put(out, &used, 1, 2);
    put(out, &used, 47, 4);
    put(out, &used, 36, 4);
    put(out, &used, 0, 2);
    return used;
}

static void test_zip(void **state) {
    (void)state;
    unsigned char zip[128];
    size_t size = make_zip(zip);
    void *out = NULL;
    size_t bytes = 0;
    tmb_error error = {0};
    assert_ok(tmb_zip_extract(zip, size, "a", 5, &out, &bytes, &error), error);
    assert_int_equal(bytes, 5);
    assert_memory_equal(out, "hello", 5);
    free(out);
    assert_int_equal(tmb_zip_extract(zip, size, "a", 4, &out, &bytes, &error), TMB_ERROR_LIMIT);
    assert_int_equal(tmb_zip_extract(zip, size, "b", 5, &out, &bytes, &error), TMB_ERROR_FORMAT);
    assert_int_equal(tmb_zip_extract(zip, 10, "a", 5, &out, &bytes, &error), TMB_ERROR_FORMAT);
    /* Every single changed byte gives the same contents, or an error: never anything else. */
    for (size_t i = 0; i < size; i++) {
        for (int bit = 0; bit < 8; bit++) {
            unsigned char *changed = malloc(size);
            assert_non_null(changed);
            memcpy(changed, zip, size);
            changed[i] ^= (unsigned char)(1 << bit);
            if (tmb_zip_extract(changed, size, "a", 1000, &out, &bytes, &error) == TMB_OK) {
                assert_int_equal(bytes, 5);
                assert_memory_equal(out, "hello", 5);
                free(out);
            } else {
                assert_null(out);
            }
            free(changed);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_digests),
        cmocka_unit_test(test_zip),
    };
    return cmocka_run_group_tests_name("zip", tests, NULL, NULL);
}
