#include "tts/qwen3/voice/reference_rate.h"

#include "base/checked.h"
#include "base/error.h"
#include "base/memory.h"

#include <soxr.h>
#include <stdlib.h>
#include <string.h>

tmb_status tmb_reference_resample(const float *samples, size_t count, int from, int to, float **out, size_t *out_count,
                                  tmb_error *error) {
    *out = NULL;
    *out_count = 0;
    size_t product = 0;
    if (from < 1 || to < 1 || count < 1 || !tmb_mul_size(count, (size_t)to, &product)) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "a reference of %zu samples at %d Hz", count, from);
    }
    size_t length = product / (size_t)from + (product % (size_t)from != 0);
    float *result = tmb_calloc(length, sizeof *result);
    if (result == NULL) {
        return tmb_fail_memory(error, "the reference", length * sizeof *result);
    }
    if (from == to) {
        memcpy(result, samples, count * sizeof *result);
    } else {
        soxr_io_spec_t format = soxr_io_spec(SOXR_FLOAT32_I, SOXR_FLOAT32_I);
        soxr_quality_spec_t quality = soxr_quality_spec(SOXR_HQ, 0);
        size_t taken = 0, made = 0, buffers = 0;
        /* All of it at once, in double precision. */
        if (!tmb_mul_size(count + length, 2 * sizeof(double), &buffers) || !tmb_memory_is_free(buffers)) {
            free(result);
            return tmb_fail_memory(error, "resampling the reference", buffers);
        }
        soxr_error_t problem =
            soxr_oneshot(from, to, 1, samples, count, &taken, result, length, &made, &format, &quality, NULL);
        if (problem != NULL) {
            free(result);
            return tmb_fail(error, TMB_ERROR_INTERNAL, "resampling the reference from %d to %d Hz: %s", from, to,
                            problem);
        }
    }
    *out = result;
    *out_count = length;
    return TMB_OK;
}
