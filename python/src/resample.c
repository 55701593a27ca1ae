#include "core.h"

#include <stdlib.h>

enum { PART = 8192 };

tmb_status tmb_py_resample_open(tmb_py_resampled *work, tmb_context *context, tmb_error *error) {
    tmb_status status = TMB_OK;
    work->one = calloc(PART, sizeof(float));
    work->streams = calloc(work->channels, sizeof *work->streams);
    if (work->one == NULL || work->streams == NULL) {
        *error = (tmb_error){.status = status = TMB_ERROR_MEMORY, .message = "no memory for the resampler"};
    }
    for (size_t c = 0; status == TMB_OK && c < work->channels; c++) {
        status = tmb_resample_open(context, work->rate, work->new_rate, work->kind, &work->streams[c], error);
    }
    return status;
}

/* Every channel was fed the same, so all have the same number of samples ready. */
static tmb_status pull(tmb_py_resampled *work, tmb_error *error) {
    for (;;) {
        float *room = tmb_py_floats_room(&work->out, PART * work->channels);
        if (room == NULL) {
            *error = (tmb_error){.status = TMB_ERROR_MEMORY, .message = "no memory for the samples"};
            return TMB_ERROR_MEMORY;
        }
        size_t count = tmb_resample_pull(work->streams[0], work->one, PART);
        if (count == 0) {
            return TMB_OK;
        }
        for (size_t c = 0; c < work->channels; c++) {
            if (c > 0) {
                (void)tmb_resample_pull(work->streams[c], work->one, count);
            }
            for (size_t i = 0; i < count; i++) {
                room[i * work->channels + c] = work->one[i];
            }
        }
        work->out.count += count * work->channels;
    }
}

tmb_status tmb_py_resample_push(tmb_py_resampled *work, const float *samples, size_t count, tmb_error *error) {
    tmb_status status = TMB_OK;
    for (size_t c = 0; samples == NULL && status == TMB_OK && c < work->channels; c++) {
        status = tmb_resample_flush(work->streams[c], error);
    }
    for (size_t at = 0; status == TMB_OK && at < count; at += PART) {
        size_t part = count - at < PART ? count - at : PART;
        for (size_t c = 0; status == TMB_OK && c < work->channels; c++) {
            for (size_t i = 0; i < part; i++) {
                work->one[i] = samples[(at + i) * work->channels + c];
            }
            status = tmb_resample_push(work->streams[c], work->one, part, error);
        }
    }
    return status == TMB_OK ? pull(work, error) : status;
}

void tmb_py_resample_close(tmb_py_resampled *work) {
    for (size_t c = 0; work->streams != NULL && c < work->channels; c++) {
        tmb_resample_close(&work->streams[c]);
    }
    free(work->streams);
    free(work->one);
    free(work->out.data);
    *work = (tmb_py_resampled){0};
}
