/* POST /api/v1/enhance: a file in, the clean file out. */
#include "base/error.h"
#include "base/memory.h"
#include "server/form.h"
#include "server/handlers.h"
#include "server/item.h"
#include "server/json_text.h"
#include "server/references.h"
#include "server/state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { block_length = 8192 }; /* samples per channel */

typedef struct enhancing {
    tmb_request *request;
    tmb_audio_info info;
    tmb_audio_reader *reader;
    tmb_level *level; /* of the whole recording; NULL: off */
    tmb_enhance_stream *stream;
    tmb_audio_writer *writer;
    float *block; /* [block_length, channels] */
    double audio_seconds;
    json_t *warnings;
    size_t sample_bytes; /* of a file without compression */
    uint64_t clipped;    /* samples beyond full scale */
} enhancing;

/* What is written counts for the store's quota until the request is over: it lies on the same disk. */
static tmb_status book(enhancing *work, size_t count, tmb_error *error) {
    uint64_t bytes = (uint64_t)count * work->sample_bytes * (uint64_t)work->info.channels;
    if (!tmb_store_book(work->request->server->store, bytes)) {
        return tmb_fail_errno(error, TMB_ERROR_IO, ENOSPC, "the storage limit is reached");
    }
    work->request->booked_storage += bytes;
    return TMB_OK;
}

static tmb_status pull_all(enhancing *work, tmb_error *error) {
    tmb_status status = TMB_OK;
    for (size_t count = 0;
         status == TMB_OK && (count = tmb_enhance_pull(work->stream, work->block, block_length)) > 0;) {
        status = book(work, count, error);
        if (status == TMB_OK) {
            status = tmb_audio_write(work->writer, work->block, count, error);
        }
    }
    return status;
}

static tmb_status push_all(enhancing *work, tmb_error *error) {
    for (;;) {
        size_t count = 0;
        if (tmb_request_gone(work->request)) {
            return tmb_fail(error, TMB_ERROR_CANCELLED, "the client left");
        }
        tmb_status status = tmb_audio_read(work->reader, work->block, block_length, &count, error);
        if (status == TMB_OK && count == 0) {
            return TMB_OK;
        }
        work->audio_seconds += (double)count / work->info.rate;
        if (status == TMB_OK) {
            status = tmb_enhance_push(work->stream, work->block, count, error);
        }
        if (status == TMB_OK) {
            status = pull_all(work, error);
        }
        if (status != TMB_OK) {
            return status;
        }
    }
}

/* The recording's level, from a reading of its own. The block is there, the reader not yet. */
static tmb_status measure_level(enhancing *work, const char *in, const tmb_audio_limits *limits, tmb_error *error) {
    tmb_audio_reader *reader = NULL;
    tmb_status status = tmb_level_create(work->info.rate, work->info.channels, &work->level, error);
    if (status == TMB_OK) {
        status = tmb_audio_open(in, NULL, limits, &reader, NULL, error);
    }
    for (size_t count = 1; status == TMB_OK && count != 0;) {
        if (tmb_request_gone(work->request)) {
            status = tmb_fail(error, TMB_ERROR_CANCELLED, "the client left");
        } else {
            status = tmb_audio_read(reader, work->block, block_length, &count, error);
        }
        if (status == TMB_OK) {
            status = tmb_level_push(work->level, work->block, count, error);
        }
    }
    tmb_audio_close(&reader);
    return status;
}

/* What the reader has to say, as a list. */
static void keep_warnings(enhancing *work) {
    const size_t count = work->reader != NULL ? tmb_audio_warning_count(work->reader) : 0;
    work->warnings = json_array();
    for (size_t i = 0; i < count; i++) {
        (void)json_array_append_new(work->warnings, tmb_json_text(tmb_audio_warning(work->reader, i)));
    }
}

/* From the file `in` to the file `out`. */
static tmb_status enhance_file(enhancing *work, const char *in, const char *out, const json_t *options,
                               const tmb_format *format, int rate, tmb_error *error) {
    const tmb_server_config *config = work->request->server->config;
    tmb_audio_limits limits = {.max_seconds = config->max_input_seconds,
                               .salvage = tmb_boolean_at(options, "salvage", false),
                               .no_ffmpeg = config->no_ffmpeg};
    tmb_status status = tmb_audio_open(in, NULL, &limits, &work->reader, &work->info, error);
    tmb_enhance_options enhance;
    tmb_enhance_options_default(&enhance);
    enhance.attenuation_limit_db = (float)tmb_number_at(options, "attenuation_limit_db", 100);
    enhance.post_filter_beta = (float)tmb_number_at(options, "post_filter_beta", 0);
    enhance.output_rate = rate;
    if (status == TMB_OK) {
        enhance.input_rate = work->info.rate;
        enhance.channels = work->info.channels;
        work->block = tmb_calloc(block_length, sizeof(float) * (size_t)work->info.channels);
        status = work->block != NULL ? TMB_OK : tmb_fail_memory(error, "a block of audio", 0);
    }
    if (strcmp(tmb_text_at(options, "level", 0, "auto"), "off") == 0) {
        enhance.level = TMB_LEVEL_OFF;
    } else if (status == TMB_OK) {
        status = measure_level(work, in, &limits, error);
        enhance.measured = work->level;
    }
    if (status == TMB_OK) {
        status = tmb_enhance_open(work->request->server->timbre, &enhance, &work->stream, error);
    }
    const char *name = tmb_text_at(options, "encoding", 0, "s16");
    const tmb_encoding encoding = strcmp(name, "s24") == 0     ? TMB_ENCODING_S24
                                  : strcmp(name, "float") == 0 ? TMB_ENCODING_FLOAT
                                                               : TMB_ENCODING_S16;
    work->sample_bytes = encoding == TMB_ENCODING_S24 ? 3 : encoding == TMB_ENCODING_FLOAT ? 4 : 2;
    if (status == TMB_OK) {
        status = tmb_audio_create_like(work->reader, out, format->container, encoding, rate, work->info.channels,
                                       &work->writer, error);
    }
    if (status == TMB_OK) {
        status = push_all(work, error);
    }
    if (status == TMB_OK) {
        status = tmb_enhance_flush(work->stream, error);
    }
    if (status == TMB_OK) {
        status = pull_all(work, error);
    }
    work->clipped = tmb_audio_clipped(work->writer);
    if (status == TMB_OK) {
        status = tmb_audio_finish(&work->writer, error);
    }
    keep_warnings(work);
    tmb_audio_abort(&work->writer);
    tmb_enhance_close(&work->stream);
    tmb_level_destroy(&work->level);
    tmb_audio_close(&work->reader);
    free(work->block);
    return status;
}

static void answer_result(tmb_request *request, const char *path, const tmb_format *format, int rate, int channels,
                          const json_t *warnings, uint64_t clipped) {
    char type[80];
    if (format->container == TMB_CONTAINER_RAW) {
        (void)snprintf(type, sizeof type, "audio/pcm;rate=%d;channels=%d", rate, channels);
    } else {
        (void)snprintf(type, sizeof type, "%s", format->content_type);
    }
    tmb_request_warn(request, warnings);
    char count[24];
    (void)snprintf(count, sizeof count, "%llu", (unsigned long long)clipped);
    tmb_request_header(request, "X-Clipped", count);
    tmb_answer_and_remove(request, path, type);
}

void tmb_handle_enhance(tmb_request *request) {
    tmb_server *server = request->server;
    tmb_upload *upload = request->raw_upload;
    request->raw_upload = NULL;
    if (request->form != NULL) {
        upload = tmb_form_take_file(request->form, "audio", NULL, NULL);
    }
    /* A form brings its options with it; a bare file has them in the query. */
    const json_t *options = request->arguments != NULL ? request->arguments : request->query;
    const tmb_format *format = tmb_format_find(tmb_text_at(options, "response_format", 0, "wav"));
    int rate = tmb_format_rate(format, (int)tmb_number_at(options, "sample_rate", 48000));
    char path[TMB_STORE_PATH];
    const char *unwritten = tmb_format_problem(format, server->config->no_ffmpeg);
    if (unwritten != NULL) {
        tmb_upload_abort(&upload);
        tmb_refuse(request, 400, "response_format", "%s", unwritten);
        return;
    }
    if (upload == NULL || tmb_upload_bytes(upload) == 0) {
        tmb_upload_abort(&upload);
        tmb_refuse(request, 400, "audio", "is empty");
        return;
    }
    tmb_audio_info audio;
    tmb_problem problem;
    if (!tmb_check_audio(server->config, tmb_upload_path(upload), server->config->max_input_seconds,
                         tmb_boolean_at(options, "salvage", false), &audio, &problem)) {
        tmb_upload_abort(&upload);
        tmb_refuse(request, problem.status, problem.status == 400 ? "audio" : NULL, "%s", problem.message);
        return;
    }
    if (!tmb_store_temporary_path(server->store, path)) {
        tmb_upload_abort(&upload);
        tmb_refuse(request, 500, NULL, "Internal Error");
        return;
    }
    double started = tmb_now();
    enhancing work = {.request = request};
    tmb_error error = {.status = TMB_OK};
    tmb_status status = enhance_file(&work, tmb_upload_path(upload), path, options, format, rate, &error);
    tmb_upload_abort(&upload);
    if (status == TMB_OK) {
        tmb_metrics_enhanced(server->metrics, work.audio_seconds, tmb_now() - started);
        answer_result(request, path, format, rate, work.info.channels, work.warnings, work.clipped);
    } else {
        char message[512];
        unsigned code = tmb_item_error(server, &error, message);
        if (code == 503) {
            tmb_refuse_for_now(request, code, 5, "%s", message);
        } else {
            tmb_refuse(request, code, code == 400 ? "audio" : NULL, "%s", message);
        }
    }
    json_decref(work.warnings);
}
