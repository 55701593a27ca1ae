/* The public resampling stream. */
#include "pipeline/context.h"

#include "base/error.h"
#include "base/memory.h"
#include "resample/resample.h"

#include <stdlib.h>

struct tmb_resample_stream {
    tmb_resampler *resampler;
};

tmb_status tmb_resample_open(tmb_context *context, int input_rate, int output_rate, tmb_resampler_kind kind,
                             tmb_resample_stream **out, tmb_error *error) {
    *out = NULL;
    tmb_resample_stream *stream = tmb_calloc(1, sizeof *stream);
    if (stream == NULL) {
        return tmb_fail_memory(error, "a stream", sizeof *stream);
    }
    tmb_status status = tmb_resampler_create(input_rate, output_rate, kind, context != NULL ? &context->logger : NULL,
                                             &stream->resampler, error);
    if (status != TMB_OK) {
        free(stream);
        return status;
    }
    *out = stream;
    return TMB_OK;
}

tmb_status tmb_resample_push(tmb_resample_stream *stream, const float *samples, size_t count, tmb_error *error) {
    return tmb_resampler_push(stream->resampler, samples, count, error);
}

tmb_status tmb_resample_flush(tmb_resample_stream *stream, tmb_error *error) {
    return tmb_resampler_flush(stream->resampler, error);
}

size_t tmb_resample_pull(tmb_resample_stream *stream, float *out, size_t capacity) {
    return tmb_resampler_pull(stream->resampler, out, capacity);
}

const char *tmb_resample_name(const tmb_resample_stream *stream) { return tmb_resampler_name(stream->resampler); }

void tmb_resample_close(tmb_resample_stream **stream_address) {
    tmb_resample_stream *stream = *stream_address;
    if (stream == NULL) {
        return;
    }
    *stream_address = NULL;
    tmb_resampler_destroy(&stream->resampler);
    free(stream);
}
