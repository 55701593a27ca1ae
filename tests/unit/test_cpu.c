#include "test.h"

#include "cpu/cpu.h"

#include <stdlib.h>

static void test_levels_imply_each_other(void **state) {
    (void)state;
    unsigned flags = tmb_cpu_flags();
    if ((flags & (TMB_CPU_AVX512VNNI | TMB_CPU_AVX512BF16 | TMB_CPU_AMX)) != 0) {
        assert_true((flags & TMB_CPU_AVX512) != 0);
    }
    if ((flags & TMB_CPU_AMX) != 0) {
        assert_true((flags & TMB_CPU_AVX512VNNI) != 0);
    }
    if ((flags & TMB_CPU_AVX512) != 0) {
        assert_true((flags & TMB_CPU_AVX2) != 0);
    }
}

static void test_environment_and_mask(void **state) {
    (void)state;
    /* main set TIMBRE_CPU=avx2 */
    assert_int_equal(tmb_cpu_flags() & ~(unsigned)(TMB_CPU_GENERIC | TMB_CPU_AVX2), 0);
    tmb_cpu_mask(TMB_CPU_GENERIC);
    assert_int_equal(tmb_cpu_flags(), TMB_CPU_GENERIC);
    assert_string_equal(tmb_cpu_name(), "generic");
    tmb_cpu_mask(0);
    assert_int_equal(tmb_cpu_flags(), 0);
    assert_string_equal(tmb_cpu_name(), "c");
    tmb_cpu_mask(~0u);
}

int main(void) {
    (void)setenv("TIMBRE_CPU", "avx2", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_levels_imply_each_other),
        cmocka_unit_test(test_environment_and_mask),
    };
    return cmocka_run_group_tests_name("cpu", tests, NULL, NULL);
}
