#include "test.h"

#include "cpu/cpu.h"
#include "cpu/x86_model.h"
#include "kernels/gemm_fixed.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A set that every machine of this architecture knows. */
#if defined(__x86_64__)
#define SET "avx2"
#else
#define SET "generic"
#endif

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
    /* main has set TIMBRE_CPU. */
    assert_int_equal(tmb_cpu_flags() & ~(unsigned)(TMB_CPU_GENERIC | TMB_CPU_AVX2), 0);
    tmb_cpu_mask(TMB_CPU_GENERIC);
    assert_int_equal(tmb_cpu_flags(), TMB_CPU_GENERIC);
    assert_string_equal(tmb_cpu_name(), "generic");
    tmb_cpu_mask(0);
    assert_int_equal(tmb_cpu_flags(), 0);
    assert_string_equal(tmb_cpu_name(), "c");
    tmb_cpu_mask(~0u);
}

/* Zen 4's 22-bit weights cost more than they save: the same CPU takes floats for files and for streams. */
static void test_slow_vbmi(void **state) {
    (void)state;
    const unsigned amd = 0x68747541, intel = 0x756e6547;
    assert_true(tmb_cpu_is_amd_19h(amd, 0x00a10f11));    /* Zen 4, EPYC 9004 */
    assert_false(tmb_cpu_is_amd_19h(amd, 0x00b00f21));   /* Zen 5, family 1Ah */
    assert_false(tmb_cpu_is_amd_19h(amd, 0x00830f10));   /* Zen 2, family 17h */
    assert_false(tmb_cpu_is_amd_19h(intel, 0x000806f8)); /* Sapphire Rapids */
#if defined(__x86_64__)
    const unsigned vbmi = TMB_CPU_GENERIC | TMB_CPU_AVX2 | TMB_CPU_AVX512 | TMB_CPU_AVX512VBMI;
    tmb_gemm_fixed_kernels kernels;
    tmb_gemm_fixed_kernels_init(&kernels, vbmi);
    assert_true(kernels.faster);
    tmb_gemm_fixed_kernels_init(&kernels, vbmi | TMB_CPU_SLOW_VBMI);
    assert_false(kernels.faster);
#endif
}

/* What users are told of is what they may ask for. */
static void test_levels(void **state) {
    (void)state;
    char levels[80], asked[80] = "";
    size_t count = 0;
    const tmb_cpu_set *sets = tmb_cpu_sets(&count);
    for (size_t i = 0; i < count; i++) {
        (void)setenv("TIMBRE_CPU", sets[i].name, 1);
        assert_int_equal(tmb_cpu_environment_is_legal(), sets[i].is_level);
        if (sets[i].is_level) {
            (void)snprintf(asked + strlen(asked), sizeof asked - strlen(asked), "%s%s", asked[0] != 0 ? ", " : "",
                           sets[i].name);
        }
    }
    assert_string_equal(tmb_cpu_levels(levels, sizeof levels), asked);
    assert_non_null(strstr(levels, "generic"));
    (void)setenv("TIMBRE_CPU", "avx2", 1);
    assert_int_equal(tmb_cpu_environment_is_legal(), strstr(levels, "avx2") != NULL);
#if !defined(__x86_64__)
    assert_null(strstr(levels, "avx2"));
#endif
    (void)setenv("TIMBRE_CPU", "", 1);
    assert_true(tmb_cpu_environment_is_legal());
    (void)setenv("TIMBRE_CPU", SET, 1);
}

int main(void) {
    (void)setenv("TIMBRE_CPU", SET, 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_levels_imply_each_other),
        cmocka_unit_test(test_environment_and_mask),
        cmocka_unit_test(test_slow_vbmi),
        cmocka_unit_test(test_levels),
    };
    return cmocka_run_group_tests_name("cpu", tests, NULL, NULL);
}
