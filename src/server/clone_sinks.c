#include "server/clone_sink.h"

#include "base/memory.h"
#include "server/rope.h"

#include <stdlib.h>
#include <string.h>

const char *tmb_clone_custom_id(const tmb_clone_item *item) {
    return tmb_item_custom_id(item->job->request->arguments, item->run.index);
}

/* ---- Streams --------------------------------------------------------------------------------------- */

void tmb_clone_tell_speaker(tmb_clone_job *job) {
    char names[160] = ""; /* of all engines that there are */
    size_t used = 0;
    bool clones = true;
    for (size_t i = 0; i < job->count; i++) {
        const tmb_clone_item *at = &job->items[i];
        bool named = !at->engine[0];
        for (size_t k = 0; k < i && !named; k++) {
            named = strcmp(at->engine, job->items[k].engine) == 0;
        }
        clones = clones && (!at->engine[0] || at->is_clone);
        if (!named && used + strlen(at->engine) + 3 <= sizeof names) {
            used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", used ? ", " : "", at->engine);
        }
    }
    if (used) {
        tmb_request_header(job->request, "X-Engine", names);
        tmb_request_header(job->request, "X-Is-Clone", clones ? "true" : "false");
    }
}

void tmb_clone_begin_stream(const tmb_clone_item *item) {
    tmb_clone_job *job = item->job;
    (void)pthread_mutex_lock(&job->lock);
    if (!job->streaming) {
        job->streaming = true;
        char type[80];
        if (job->sink->stream_type == NULL) {
            tmb_format_content_type(job->format, tmb_output_rate(item->run.stream), type);
        }
        tmb_request_warn(job->request, item->warnings);
        /* Events with progress say it themselves: most of them begin before anybody speaks, and a head that told it at
         * times could not be relied on. */
        if (job->count == 1 && job->sink->progress == NULL) {
            tmb_clone_tell_speaker(job);
        }
        if (job->sink->trailer != NULL) {
            tmb_request_header(job->request, MHD_HTTP_HEADER_TRAILER, job->sink->trailer);
        }
        tmb_stream_begin(job->request, job->sink->stream_type != NULL ? job->sink->stream_type : type);
    }
    (void)pthread_mutex_unlock(&job->lock);
}

static bool send_event(tmb_clone_job *job, const char *event, json_t *data, double seconds) {
    char *text = data != NULL ? json_dumps(data, JSON_COMPACT | JSON_REAL_PRECISION(15)) : NULL;
    json_decref(data);
    tmb_buffer buffer = {.maximum = 64u << 20};
    bool good = text != NULL && (event == NULL || tmb_buffer_printf(&buffer, "event: %s\n", event)) &&
                tmb_buffer_printf(&buffer, "data: %s\n\n", text) &&
                tmb_stream_write(job->request, buffer.data, buffer.size, seconds);
    free(text);
    tmb_buffer_free(&buffer);
    return good;
}

static char *to_base64(const void *data, size_t size) {
    char *text = tmb_calloc(tmb_base64_encoded_size(size) + 1, 1);
    if (text != NULL) {
        tmb_base64_encode(data, size, text);
    }
    return text;
}

static bool end_as_it_went(tmb_clone_job *job, bool good) {
    (void)job;
    return good;
}

static void clipped_text(const tmb_output *output, char text[24]) {
    (void)snprintf(text, 24, "%llu", (unsigned long long)tmb_output_clipped(output));
}

/* ---- The audio alone, while it is made ----------------------------------------------------------------- */

static bool audio_bytes(tmb_clone_item *item, const void *data, size_t size, double seconds) {
    return tmb_stream_write(item->job->request, data, size, seconds);
}

/* How much was clipped is known at the end, behind the audio. */
static bool audio_end(tmb_clone_job *job, bool good) {
    char clipped[24];
    clipped_text(job->items[0].run.stream, clipped);
    tmb_stream_trailer(job->request, job->sink->trailer, clipped);
    return good;
}

/* ---- Events: progress, audio, result, done ------------------------------------------------------------- */

static bool events_bytes(tmb_clone_item *item, const void *data, size_t size, double seconds) {
    char *text = to_base64(data, size);
    bool good = text != NULL &&
                send_event(item->job, "audio",
                           json_pack("{s:I, s:i, s:s, s:s}", "index", (json_int_t)item->run.index, "sample_rate",
                                     tmb_output_rate(item->run.stream), "encoding", "s16le", "audio", text),
                           seconds);
    free(text);
    return good;
}

static void events_progress(tmb_clone_item *item) {
    (void)send_event(item->job, "progress",
                     json_pack("{s:I, s:s, s:f}", "index", (json_int_t)item->run.index, "stage",
                               tmb_stage_name(item->stage), "fraction", item->progress),
                     0);
}

static void events_item_done(tmb_clone_item *item) {
    tmb_clone_begin_stream(item);
    json_t *data = json_deep_copy(item->run.json);
    if (data != NULL) {
        (void)json_object_set_new(data, "index", json_integer((json_int_t)item->run.index));
    }
    (void)send_event(item->job, item->run.status ? "error" : "result", data, 0);
}

static bool events_end(tmb_clone_job *job, bool good) {
    (void)good; /* the failed items were told */
    double performance = tmb_now() - job->request->started;
    if (job->problem.status) {
        (void)send_event(job, "error", json_pack("{s:s}", "error", job->problem.message), 0);
    }
    (void)send_event(job, "done", json_pack("{s:f}", "performance", performance), 0);
    return true;
}

/* ---- OpenAI's events: speech.audio.delta, speech.audio.done --------------------------------------------- */

static bool speech_bytes(tmb_clone_item *item, const void *data, size_t size, double seconds) {
    char *text = to_base64(data, size);
    bool good =
        text != NULL &&
        send_event(item->job, NULL, json_pack("{s:s, s:s}", "type", "speech.audio.delta", "audio", text), seconds);
    free(text);
    return good;
}

static bool speech_end(tmb_clone_job *job, bool good) {
    if (good) {
        (void)send_event(job, NULL,
                         json_pack("{s:s, s:{s:i, s:i, s:i}}", "type", "speech.audio.done", "usage", "input_tokens", 0,
                                   "output_tokens", 0, "total_tokens", 0),
                         0);
    }
    return good;
}

/* ---- Whole answers --------------------------------------------------------------------------------------- */

void tmb_clone_open_audio(tmb_clone_job *job) {
    for (size_t i = 0; i < job->count; i++) {
        tmb_clone_item *item = &job->items[i];
        tmb_file_info info;
        if (!item->file_id[0]) {
            continue;
        }
        tmb_store_status status = tmb_store_file_open(job->server->store, item->file_id, &item->descriptor, &info);
        if (status == TMB_STORE_OK) {
            item->bytes = info.bytes;
            continue;
        }
        item->run.status = tmb_store_problem(status, "audio", item->run.message, sizeof item->run.message);
        (void)tmb_store_file_remove(job->server->store, item->file_id);
        json_decref(item->run.json);
        item->run.json = json_pack("{s:s?, s:s}", "custom_id", tmb_clone_custom_id(item), "error", item->run.message);
    }
}

/* {"items": [...], "performance": seconds} with the audio read from the store while it is sent. */
static tmb_rope *compose(tmb_clone_job *job, double performance) {
    tmb_rope *rope = tmb_rope_create();
    bool good = rope != NULL && tmb_rope_text(rope, "{\"items\":[", 10);
    for (size_t i = 0; good && i < job->count; i++) {
        tmb_clone_item *item = &job->items[i];
        char *text = item->run.json != NULL ? json_dumps(item->run.json, JSON_COMPACT | JSON_REAL_PRECISION(15)) : NULL;
        size_t length = text != NULL ? strlen(text) : 0;
        /* The object's closing brace makes room for the audio. */
        good = text != NULL && (i == 0 || tmb_rope_text(rope, ",", 1)) && tmb_rope_text(rope, text, length - 1);
        if (good && item->descriptor >= 0) {
            static const char name[] = ",\"audio_base64\":\"";
            good = tmb_rope_text(rope, name, sizeof name - 1);
            if (good) {
                int descriptor = item->descriptor;
                item->descriptor = -1; /* the rope's */
                good = tmb_rope_base64_file(rope, descriptor, item->bytes) && tmb_rope_text(rope, "\"}", 2);
            }
        } else {
            static const char none[] = ",\"audio_base64\":null}";
            good = good && tmb_rope_text(rope, none, sizeof none - 1);
        }
        free(text);
    }
    char end[64];
    int length = snprintf(end, sizeof end, "],\"performance\":%.3f}", performance);
    if (good && tmb_rope_text(rope, end, (size_t)length)) {
        return rope;
    }
    tmb_rope_destroy(rope);
    return NULL;
}

static void answer_collected(tmb_clone_job *job) {
    tmb_rope *rope = compose(job, tmb_now() - job->request->started);
    if (rope != NULL) {
        tmb_answer_rope(job->request, MHD_HTTP_OK, "application/json", rope);
    } else {
        tmb_refuse_for_now(job->request, 503, 5, "Not enough memory");
    }
}

/* The audio of the one item, its head with true lengths. */
static void answer_whole(tmb_clone_job *job) {
    const tmb_clone_item *item = &job->items[0];
    char type[80];
    char clipped[24];
    tmb_format_content_type(job->format, tmb_output_rate(item->run.file), type);
    tmb_request_warn(job->request, json_object_get(item->run.json, "warnings"));
    clipped_text(item->run.file, clipped);
    tmb_request_header(job->request, "X-Clipped", clipped);
    tmb_output_keep_booked(item->run.file, &job->request->booked_storage);
    tmb_answer_and_remove(job->request, item->run.path, type);
}

/* ---- The table ----------------------------------------------------------------------------------------- */

const tmb_clone_sink tmb_clone_sinks[] = {
    [TMB_CLONE_COLLECT] = {.has_file = true, .keeps_file = true, .answer = answer_collected, .end = end_as_it_went},
    [TMB_CLONE_WHOLE] = {.has_file = true, .answer = answer_whole, .end = end_as_it_went},
    [TMB_CLONE_AUDIO] = {.trailer = "X-Clipped", .bytes = audio_bytes, .answer = answer_collected, .end = audio_end},
    [TMB_CLONE_EVENTS] = {.has_file = true,
                          .keeps_file = true,
                          .stream_format = "pcm", /* whatever the file is */
                          .stream_type = "text/event-stream",
                          .bytes = events_bytes,
                          .progress = events_progress,
                          .item_done = events_item_done,
                          .answer = answer_collected,
                          .end = events_end},
    [TMB_CLONE_SPEECH_EVENTS] = {.stream_type = "text/event-stream",
                                 .bytes = speech_bytes,
                                 .answer = answer_collected,
                                 .end = speech_end},
};
