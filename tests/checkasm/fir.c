#include "checkasm.h"

#include "kernels/fir.h"

static void check_shape(size_t count, size_t up, size_t down, size_t length, size_t phase) {
    CHECKASM_DECLARE(void, float *, size_t, const float *, const tmb_fir_bank *, size_t);
    const size_t inputs = count == 0 ? 0 : ((count - 1) * down + phase) / up + length;
    float *taps = checkasm_alloc_f32(up * length);
    float *x = checkasm_alloc_f32(inputs);
    float *expected = checkasm_alloc_f32(count);
    float *actual = checkasm_alloc_f32(count);
    checkasm_random_f32(taps, up * length, -1, 1);
    checkasm_random_f32(x, inputs, -1, 1);
    const tmb_fir_bank bank = {
        .taps = taps, .phases = up, .length = length, .advance = down / up, .phase_step = down % up};
    checkasm_reference(expected, count, x, &bank, phase);
    checkasm_new(actual, count, x, &bank, phase);
    /* Sums of `length` products below 1: the rounding of each is below 6e-8 of the sum so far. */
    (void)checkasm_compare_f32(expected, actual, count, 1e-7f * (float)length, 0,
                               "count %zu, %zu/%zu, %zu taps, phase %zu", count, up, down, length, phase);
}

void checkasm_fir(void) {
    CHECKASM_DECLARE(void, float *, size_t, const float *, const tmb_fir_bank *, size_t);
    tmb_fir_kernels kernels;
    tmb_fir_kernels_init(&kernels, checkasm_cpu_flags());
    static const size_t ratios[][2] = {{1, 1},  {2, 1}, {3, 1},     {1, 2},     {1, 3},
                                       {1, 48}, {2, 3}, {160, 147}, {147, 160}, {320, 147}};
    if (checkasm_check(kernels.polyphase, "fir_polyphase")) {
        for (size_t count = 0; count <= 33; count++) {
            for (size_t r = 0; r < sizeof ratios / sizeof ratios[0]; r++) {
                const size_t length = TMB_FIR_UNIT * (1 + checkasm_random_below(6));
                check_shape(count, ratios[r][0], ratios[r][1], length, checkasm_random_below(ratios[r][0]));
                checkasm_release();
            }
        }
        check_shape(3, 1, 48, 968, 0);
        checkasm_release();
    }
    /* The shapes of 24 to 48 kHz, 44.1 to 48 kHz and 48 to 24 kHz. */
    static const size_t timed[][3] = {{2, 1, 24}, {160, 147, 24}, {1, 2, 48}};
    for (size_t i = 0; i < sizeof timed / sizeof timed[0]; i++) {
        const size_t count = 1024, up = timed[i][0], down = timed[i][1], length = timed[i][2];
        if (checkasm_check(kernels.polyphase, "fir_polyphase_%zu_%zu_1024", up, down)) {
            check_shape(count, up, down, length, 0);
            float *taps = checkasm_alloc_f32(up * length);
            float *x = checkasm_alloc_f32(count * down / up + length);
            float *out = checkasm_alloc_f32(count);
            checkasm_random_f32(taps, up * length, -1, 1);
            checkasm_random_f32(x, count * down / up + length, -1, 1);
            const tmb_fir_bank bank = {
                .taps = taps, .phases = up, .length = length, .advance = down / up, .phase_step = down % up};
            checkasm_bench(out, count, x, &bank, 0);
        }
    }
}
