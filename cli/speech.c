#include "speech.h"

#include <math.h>
#include <sonic.h>

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 4096 };

static bool write_samples(cli_sink *sink, const float *samples, size_t count) {
    sink->count += count;
    return tmb_audio_write(sink->writer, samples, count, &sink->error) == TMB_OK;
}

static bool take_stretched(cli_sink *sink) {
    float block[BLOCK];
    bool good = true;
    for (int count = 0; good && (count = sonicReadFloatFromStream(sink->stretch, block, BLOCK)) > 0;) {
        good = write_samples(sink, block, (size_t)count);
    }
    return good;
}

static bool fail_stretch(cli_sink *sink) {
    cli_set_error(&sink->error, TMB_ERROR_MEMORY, "no memory to change the speed");
    return false;
}

static bool stretch(cli_sink *sink, const float *samples, size_t count) {
    float block[BLOCK];
    while (count > 0) {
        size_t part = count < BLOCK ? count : BLOCK;
        for (size_t i = 0; i < part; i++) {
            /* It works in 16 bits and does not clip. */
            block[i] = fminf(fmaxf(samples[i], -1), 1);
            sink->clipped += fabsf(samples[i]) > 1;
        }
        if (!sonicWriteFloatToStream(sink->stretch, block, (int)part)) {
            return fail_stretch(sink);
        }
        if (!take_stretched(sink)) {
            return false;
        }
        samples += part;
        count -= part;
    }
    return true;
}

static bool begin(cli_sink *sink, int rate) {
    sink->rate = rate;
    if (sink->speed != 0 && sink->speed != 1 && sink->stretch == NULL) {
        sink->stretch = sonicCreateStream(rate, 1);
        if (sink->stretch == NULL) {
            return fail_stretch(sink);
        }
        sonicSetSpeed(sink->stretch, (float)sink->speed);
    }
    return tmb_audio_create(sink->path, sink->container, sink->encoding, rate, 1, &sink->writer, &sink->error) ==
           TMB_OK;
}

bool cli_sink_write(cli_sink *sink, const float *samples, size_t count, int rate) {
    if (sink->writer == NULL && !begin(sink, rate)) {
        return false;
    }
    bool good = sink->stretch != NULL ? stretch(sink, samples, count) : write_samples(sink, samples, count);
    if (sink->stretch == NULL) {
        sink->clipped = tmb_audio_clipped(sink->writer);
    }
    return good;
}

static bool end_stretch(cli_sink *sink, bool keep) {
    if (sink->stretch == NULL) {
        return true;
    }
    bool good = !keep || (sonicFlushStream(sink->stretch) ? take_stretched(sink) : fail_stretch(sink));
    sonicDestroyStream(sink->stretch);
    sink->stretch = NULL;
    return good;
}

double cli_sink_seconds(const cli_sink *sink, const tmb_clone_result *result) {
    return sink->speed != 0 && sink->speed != 1 && sink->rate > 0 ? (double)sink->count / sink->rate : result->duration;
}

bool cli_sink_end(cli_sink *sink, bool keep, int rate) {
    if (keep && sink->writer == NULL && !cli_sink_write(sink, &(float){0}, 0, rate)) {
        keep = false;
    }
    if (!end_stretch(sink, keep && sink->error.status == TMB_OK)) {
        keep = false;
    }
    if (keep && sink->error.status == TMB_OK) {
        return tmb_audio_finish(&sink->writer, &sink->error) == TMB_OK;
    }
    if (sink->writer != NULL) {
        tmb_audio_abort(&sink->writer);
    }
    return false;
}

static json_t *timings_json(const tmb_clone_result *result) {
    json_t *timings = json_object();
    for (int stage = TMB_STAGE_QUEUED; stage < TMB_STAGE_DONE; stage++) {
        (void)json_object_set_new(timings, tmb_stage_name((tmb_stage)stage),
                                  cli_json_number(result->timings[stage], 4));
    }
    (void)json_object_set_new(timings, "first_audio", cli_json_number(result->first_audio, 4));
    (void)json_object_set_new(timings, "total", cli_json_number(result->total, 4));
    return timings;
}

/* JSON numbers of 63 bits are common ground; a larger seed travels as text. */
static json_t *seed_json(uint64_t seed) {
    char text[24];
    (void)snprintf(text, sizeof text, "%llu", (unsigned long long)seed);
    return seed <= INT64_MAX ? json_integer((json_int_t)seed) : json_string(text);
}

void cli_json_reference(json_t *object, const tmb_reference_info *info) {
    char *text = tmb_reference_to_json(info);
    json_t *reference = text != NULL ? json_loads(text, 0, NULL) : NULL;
    tmb_free(text);
    (void)json_object_set(object, "warnings", json_object_get(reference, "warnings"));
    (void)json_object_set_new(object, "reference", reference);
}

void cli_warn_reference(const char *path, const tmb_reference_info *info) {
    for (size_t i = 0; info != NULL && i < info->warning_count; i++) {
        cli_warning("%s: %s", path != NULL ? path : "the reference", info->warnings[i]);
    }
}

static const char dropped[] = "the model does not follow instructions: it spoke without";

void cli_warn_result(const char *path, const tmb_clone_result *result) {
    if (result->instruct_dropped) {
        cli_warning("%s: %s", path, dropped);
    }
}

void cli_note_transcript(const char *path, const tmb_reference_info *info) {
    if (info != NULL && info->transcript[0] != '\0') {
        cli_note("%s: heard \"%s\" (if that is wrong, give --ref-text)", path != NULL ? path : "the reference",
                 info->transcript);
    }
}

json_t *cli_result_json(const tmb_clone_result *result, const char *codes, const cli_sink *sink) {
    json_t *object = json_object();
    if (result->custom_id != NULL) {
        (void)json_object_set_new(object, "custom_id", json_string(result->custom_id));
    }
    if (result->error.status != TMB_OK) {
        (void)json_object_set_new(object, "error", cli_json_error(&result->error));
        if (result->reference != NULL) {
            cli_json_reference(object, result->reference);
        }
        return object;
    }
    (void)json_object_set_new(object, "audio", cli_json_text(sink->path));
    (void)json_object_set_new(object, "sample_rate", json_integer(result->sample_rate));
    (void)json_object_set_new(object, "duration", cli_json_number(cli_sink_seconds(sink, result), 6));
    (void)json_object_set_new(object, "engine", json_string(result->engine));
    if (result->model != NULL) {
        (void)json_object_set_new(object, "model", cli_json_text(result->model));
    }
    (void)json_object_set_new(object, "is_clone", json_boolean(result->is_clone));
    (void)json_object_set_new(object, "finish_reason", json_string(result->finish_reason));
    (void)json_object_set_new(object, "seed", seed_json(result->seed));
    if (codes != NULL) {
        (void)json_object_set_new(object, "codes", cli_json_text(codes));
    }
    (void)json_object_set_new(object, "timings", timings_json(result));
    if (result->reference != NULL) {
        cli_json_reference(object, result->reference);
    }
    cli_json_clipped(object, sink->clipped);
    if (result->instruct_dropped) {
        (void)json_array_append_new(json_object_get(object, "warnings"), json_string(dropped));
    }
    if (result->segment_count > 0) {
        const double speed = sink->speed != 0 ? sink->speed : 1;
        json_t *segments = json_array();
        for (size_t i = 0; i < result->segment_count; i++) {
            json_t *segment = json_pack("{s:s}", "text", result->segments[i].text);
            (void)json_object_set_new(segment, "start", cli_json_number(result->segments[i].start / speed, 3));
            (void)json_object_set_new(segment, "end", cli_json_number(result->segments[i].end / speed, 3));
            (void)json_array_append_new(segments, segment);
        }
        (void)json_object_set_new(object, "segments", segments);
    }
    return object;
}

static void note_model(void *user, const tmb_model_info *model) {
    char size[32];
    if (strcmp(model->name, "qwen3-tts-0.6b") == 0) {
        (void)snprintf(user, 160, "`timbre pull %s` (%s, %s)", model->name,
                       cli_format_bytes(model->bytes, size, sizeof size), model->license);
    }
}

void cli_note_preview(const char *engine) {
    static atomic_flag said = ATOMIC_FLAG_INIT;
    char how[160] = "`timbre pull qwen3-tts-0.6b`";
    const bool is_preview = engine != NULL && strcmp(engine, "preview") == 0;
    /* The library has warned of it when the engine was loaded, but not with --quiet. */
    if ((is_preview && !cli_is_quiet()) || atomic_flag_test_and_set(&said)) {
        return;
    }
    (void)tmb_models(note_model, how, NULL);
    if (is_preview) {
        cli_important("this was the preview voice and no clone of the recording; for the clone: %s", how);
    } else {
        cli_important("the engine says that this is no clone of the recording");
    }
}

bool cli_write_codes(const char **path, const tmb_clone_result *result, tmb_error *error) {
    enum { HEADER = 128 }; /* a multiple of 64, as the format asks */
    const size_t frames = result->code_frames, books = result->code_books;
    if (*path == NULL) {
        return true;
    }
    if (result->codes == NULL || frames == 0 || books == 0) {
        cli_warning("there are no codes to write to %s: the speech was made without", *path);
        *path = NULL;
        return true;
    }
    size_t bytes = frames * books * sizeof(int16_t);
    char *file = malloc(HEADER + bytes);
    if (file == NULL) {
        cli_set_error(error, TMB_ERROR_MEMORY, "no memory for the codes");
        return false;
    }
    memset(file, ' ', HEADER);
    memcpy(file, "\223NUMPY\1\0", 8);
    file[8] = HEADER - 10;
    file[9] = 0;
    int used = snprintf(file + 10, HEADER - 10, "{'descr': '<i2', 'fortran_order': False, 'shape': (%zu, %zu), }",
                        frames, books);
    file[10 + used] = ' ';
    file[HEADER - 1] = '\n';
    for (size_t i = 0; i < frames * books; i++) {
        file[HEADER + 2 * i] = (char)(result->codes[i] & 0xFF);
        file[HEADER + 2 * i + 1] = (char)((result->codes[i] >> 8) & 0xFF);
    }
    bool written = cli_write_file(*path, file, HEADER + bytes, error);
    free(file);
    return written;
}
