/* The fixtures' own loader: a comparison that cannot fail would make every other test worthless. */
#include "golden.h"
#include "test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void test_types(void **state) {
    (void)state;
    golden_array codes = golden_load("qwen/sample-c/cases/decode_7/codes.npy");
    assert_int_equal(codes.rank, 2);
    assert_int_equal(codes.dims[0], 7);
    assert_int_equal(codes.dims[1], 16);
    assert_non_null(codes.i16);
    assert_int_equal(codes.i16[111], codes.i64[111]);
    assert_null(codes.f32);
    golden_array wave = golden_load("qwen/sample-c/cases/decode_7/wave.npy");
    assert_int_equal(wave.count, 7 * 1920);
    golden_array half = golden_load("qwen/sample-c/cases/decode_330/wave.npy");
    assert_int_equal(half.count, 330 * 1920);
    for (size_t i = 0; i < half.count; i++) {
        assert_true(fabsf(half.f32[i]) <= 1);
    }
    golden_array mask = golden_load("qwen/sample-c/cases/batch3/attention_mask.npy");
    assert_non_null(mask.i64);
    golden_free(&codes);
    golden_free(&wave);
    golden_free(&half);
    golden_free(&mask);
    assert_null(mask.i64);
}

static void test_comparison(void **state) {
    (void)state;
    const float a[] = {1, 2, 3};
    const float b[] = {1, 2.25f, 3};
    assert_true(golden_assert_close("equal", a, a, 3, 0) == 0);
    assert_true(golden_assert_close("near", a, b, 3, 0.25) == 0.25);
    assert_true(isinf(golden_snr_db(a, a, 3)));
    assert_true(fabs(golden_snr_db(a, b, 3) - 10 * log10((1 + 2.25 * 2.25 + 9) / 0.0625)) < 1e-9);
    size_t bytes = 0;
    char *text = golden_text(&bytes, "qwen/%s", "README.md");
    assert_int_equal(strlen(text), bytes);
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_types), cmocka_unit_test(test_comparison)};
    return cmocka_run_group_tests_name("golden", tests, NULL, NULL);
}
