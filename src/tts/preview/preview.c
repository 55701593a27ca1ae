#include "tts/preview/preview.h"

#include "base/child.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/thread.h"
#include "tts/events.h"
#include "tts/preview/voice.h"
#include "tts/preview/wave.h"

#include <errno.h>
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ENGINE_RATE 22050
#define DEFAULT_SEQUENCES 8
#define DEFAULT_SILENCE 30.0
#define DEFAULT_SECONDS 1800.0
/* Milliseconds that a step waits for the children at most, and for one that has to end. */
#define STEP_WAIT 50
#define END_WAIT 2
/* Bytes that a sequence takes in a step: a third of a second. */
#define STEP_BYTES 16384
/* What a child takes: espeak-ng and its data. */
#define CHILD_BYTES (12u << 20)

typedef struct preview_voice {
    tmb_voice voice; /* first */
    tmb_preview_manner manner;
} preview_voice;

typedef struct preview_sequence {
    uint64_t id; /* 0 = free */
    tmb_child child;
    bool held;
    bool at_end;  /* its output is closed; what is left is to reap it */
    double heard; /* when it last wrote something, or was let go */
    bool has_header;
    size_t pending; /* bytes kept at the beginning of `bytes`: of the header, or half a sample */
    unsigned char bytes[TMB_WAVE_HEADER_MAX + STEP_BYTES];
    tmb_speech_length length;
} preview_sequence;

typedef struct preview_engine {
    tmb_engine engine; /* first */
    char *program;
    double silence_limit, max_seconds;
    tmb_logger *logger;
    uint64_t last_id;
    size_t count, live;
    struct pollfd *polls;      /* [count] */
    preview_sequence **polled; /* [count], parallel to polls */
    preview_sequence sequences[];
} preview_engine;

static int preview_sample_rate(const tmb_engine *engine) {
    (void)engine;
    return ENGINE_RATE;
}

static size_t preview_max_sequences(const tmb_engine *engine) { return ((const preview_engine *)engine)->count; }

static size_t preview_model_bytes(const tmb_engine *engine) {
    const preview_engine *preview = (const preview_engine *)engine;
    return sizeof *preview + preview->count * sizeof preview->sequences[0];
}

static size_t preview_memory_needed(tmb_engine *engine, const tmb_speak_request *request, const tmb_voice *voice) {
    (void)engine;
    (void)voice;
    return CHILD_BYTES + strlen(request->text) * 5;
}

/* ---- Voices ---- */

static void destroy_voice(tmb_voice *voice) { free(voice); }

static tmb_status preview_prepare_voice(tmb_engine *engine, const tmb_reference *reference, bool x_vector_only,
                                        tmb_voice **out, tmb_error *error) {
    (void)x_vector_only;
    tmb_pitch pitch;
    *out = NULL;
    tmb_status status = tmb_pitch_measure(reference->samples, reference->count, reference->rate, &pitch, error);
    if (status != TMB_OK) {
        return status;
    }
    preview_voice *voice = tmb_calloc(1, sizeof *voice);
    if (voice == NULL) {
        return tmb_fail_memory(error, "a voice", sizeof *voice);
    }
    voice->voice.destroy = destroy_voice;
    voice->voice.references = 1;
    voice->voice.bytes = sizeof *voice;
    voice->manner = tmb_preview_fit(&pitch);
    tmb_log(((preview_engine *)engine)->logger, TMB_LOG_INFO,
            "preview voice: the reference's pitch is %.0f Hz over %.1f semitones: +%s -p %d, range %d%%", pitch.median,
            pitch.semitones, voice->manner.variant, voice->manner.pitch, voice->manner.range);
    *out = &voice->voice;
    return TMB_OK;
}

/* ---- Sequences ---- */

static void end_sequence(preview_engine *preview, preview_sequence *sequence) {
    tmb_child_end(&sequence->child);
    sequence->id = 0;
    preview->live--;
}

static preview_sequence *find_sequence(preview_engine *preview, uint64_t id) {
    for (size_t i = 0; i < preview->count; i++) {
        if (preview->sequences[i].id == id) {
            return &preview->sequences[i];
        }
    }
    return NULL;
}

static double most_seconds(const preview_engine *preview, const tmb_speak_request *request) {
    double seconds = preview->max_seconds;
    if (request->max_seconds > 0) {
        seconds = fmin(seconds, request->max_seconds);
    }
    if (request->max_frames > 0) { /* frames of 80 ms, one less as the official generation gives */
        seconds = fmin(seconds, (request->max_frames - 1) * 0.08);
    }
    return seconds;
}

static tmb_status start_child(preview_engine *preview, const tmb_speak_request *request, const preview_voice *voice,
                              preview_sequence *sequence, tmb_error *error) {
    const tmb_language *language = tmb_language_find(request->language);
    if (language == NULL) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "language \"%.40s\" is not known; known are " TMB_LANGUAGES,
                        request->language);
    }
    if (strcmp(language->code, "auto") == 0) {
        language = tmb_language_detect(request->text);
    }
    char pitch[8];
    char *document = NULL;
    size_t bytes = 0;
    char *name = tmb_asprintf("%s+%s", tmb_preview_language(language), voice->manner.variant);
    if (name == NULL) {
        return tmb_fail_memory(error, "a voice's name", 0);
    }
    tmb_status status = tmb_preview_document(request->text, voice->manner.range, &document, &bytes, error);
    if (status == TMB_OK) {
        (void)snprintf(pitch, sizeof pitch, "%d", voice->manner.pitch);
        const char *const arguments[] = {"espeak-ng", "--stdin", "--stdout", "-b",  "1", "-m",
                                         "-v",        name,      "-p",       pitch, NULL};
        status = tmb_child_start(preview->program, arguments, document, bytes, &sequence->child, error);
    }
    free(document);
    free(name);
    return status;
}

static tmb_status preview_admit(tmb_engine *engine, const tmb_speak_request *request, tmb_voice *voice, uint64_t *id,
                                tmb_error *error) {
    preview_engine *preview = (preview_engine *)engine;
    preview_sequence *sequence = find_sequence(preview, 0);
    if (sequence == NULL) {
        return tmb_fail(error, TMB_ERROR_LIMIT, "the preview voice speaks %zu texts at once already", preview->count);
    }
    /* `bytes` stays as it is: only what was read is looked at. */
    sequence->held = sequence->at_end = sequence->has_header = false;
    sequence->pending = 0;
    sequence->length = tmb_speech_begin(request->text, most_seconds(preview, request), ENGINE_RATE);
    sequence->heard = tmb_now();
    tmb_status status = start_child(preview, request, (const preview_voice *)voice, sequence, error);
    if (status != TMB_OK) {
        return status;
    }
    sequence->id = ++preview->last_id;
    preview->live++;
    *id = sequence->id;
    return TMB_OK;
}

static void preview_cancel(tmb_engine *engine, uint64_t id) {
    preview_engine *preview = (preview_engine *)engine;
    preview_sequence *sequence = id == 0 ? NULL : find_sequence(preview, id);
    if (sequence != NULL) {
        end_sequence(preview, sequence);
    }
}

/* A held child writes until its pipe is full, and waits. */
static void preview_hold(tmb_engine *engine, uint64_t id, bool held) {
    preview_sequence *sequence = id == 0 ? NULL : find_sequence((preview_engine *)engine, id);
    if (sequence != NULL) {
        sequence->held = held;
        sequence->heard = tmb_now();
    }
}

/* ---- Steps ---- */

static void fail_sequence(preview_engine *preview, preview_sequence *sequence, const tmb_event_sink *listener,
                          const tmb_error *error) {
    uint64_t id = sequence->id;
    end_sequence(preview, sequence);
    tmb_emit_failed(listener, id, error);
}

static void finish_sequence(preview_engine *preview, preview_sequence *sequence, const tmb_event_sink *listener,
                            tmb_finish_reason reason) {
    uint64_t id = sequence->id;
    end_sequence(preview, sequence);
    tmb_emit_finished(listener, id, reason);
}

/* Turns the bytes that are there into samples; returns false if that ended the sequence. */
static bool take_bytes(preview_engine *preview, preview_sequence *sequence, size_t available,
                       const tmb_event_sink *listener) {
    size_t offset = 0;
    if (!sequence->has_header) {
        int rate = 0;
        tmb_wave_result result = tmb_wave_begin(sequence->bytes, available, &offset, &rate);
        if (result == TMB_WAVE_MORE && available < TMB_WAVE_HEADER_MAX) {
            sequence->pending = available;
            return true;
        }
        if (result != TMB_WAVE_DATA || rate != ENGINE_RATE) {
            tmb_error error;
            (void)tmb_fail(&error, TMB_ERROR_FORMAT, "%s did not write 16-bit mono WAV at %d Hz", preview->program,
                           ENGINE_RATE);
            fail_sequence(preview, sequence, listener, &error);
            return false;
        }
        sequence->has_header = true;
    }
    float samples[sizeof sequence->bytes / 2];
    if (!tmb_emit_pcm(listener, sequence->id, &sequence->length, sequence->bytes + offset, (available - offset) / 2,
                      samples)) {
        finish_sequence(preview, sequence, listener, TMB_FINISH_LENGTH);
        return false;
    }
    sequence->pending = (available - offset) % 2;
    if (sequence->pending != 0) {
        sequence->bytes[0] = sequence->bytes[available - 1];
    }
    return true;
}

static void read_sequence(preview_engine *preview, preview_sequence *sequence, const tmb_event_sink *listener) {
    ssize_t got =
        read(sequence->child.output, sequence->bytes + sequence->pending, sizeof sequence->bytes - TMB_WAVE_HEADER_MAX);
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) {
        return;
    }
    sequence->heard = tmb_now();
    if (got <= 0) {
        sequence->at_end = true;
        return;
    }
    (void)take_bytes(preview, sequence, sequence->pending + (size_t)got, listener);
}

/* Its output is over: how did it end? */
static void reap_sequence(preview_engine *preview, preview_sequence *sequence, const tmb_event_sink *listener) {
    int exit_code = 0;
    if (!tmb_child_ended(&sequence->child, &exit_code)) {
        return;
    }
    if (exit_code == 0 && sequence->length.spoken != 0) {
        finish_sequence(preview, sequence, listener, TMB_FINISH_STOP);
        return;
    }
    char complaint[160];
    tmb_child_complaint(&sequence->child, complaint);
    tmb_error error;
    if (exit_code != 0) {
        (void)tmb_fail(&error, TMB_ERROR_IO, "%s failed (exit code %d)%s%s", preview->program, exit_code,
                       complaint[0] != '\0' ? ": " : "", complaint);
    } else {
        (void)tmb_fail(&error, TMB_ERROR_ARGUMENT, "there is nothing to speak in the text");
    }
    fail_sequence(preview, sequence, listener, &error);
}

static void check_silence(preview_engine *preview, preview_sequence *sequence, double now,
                          const tmb_event_sink *listener) {
    if (now - sequence->heard <= preview->silence_limit) {
        return;
    }
    tmb_error error;
    (void)tmb_fail(&error, TMB_ERROR_TIMEOUT, "%s wrote nothing for %g s and was ended", preview->program,
                   preview->silence_limit);
    fail_sequence(preview, sequence, listener, &error);
}

static tmb_status preview_step(tmb_engine *engine, tmb_engine_sink sink, void *user, size_t *live, tmb_error *error) {
    preview_engine *preview = (preview_engine *)engine;
    const tmb_event_sink listener = {sink, user};
    nfds_t count = 0;
    int wait = STEP_WAIT;
    (void)error;
    for (size_t i = 0; i < preview->count; i++) {
        preview_sequence *sequence = &preview->sequences[i];
        if (sequence->id == 0 || sequence->held) {
            continue;
        }
        if (sequence->at_end) {
            wait = END_WAIT;
        } else {
            preview->polls[count] = (struct pollfd){.fd = sequence->child.output, .events = POLLIN};
            preview->polled[count++] = sequence;
        }
    }
    if (preview->live != 0) {
        (void)poll(preview->polls, count, wait);
    }
    for (nfds_t i = 0; i < count; i++) {
        if (preview->polls[i].revents != 0) {
            read_sequence(preview, preview->polled[i], &listener);
        }
    }
    double now = tmb_now();
    for (size_t i = 0; i < preview->count; i++) {
        preview_sequence *sequence = &preview->sequences[i];
        if (sequence->id != 0 && !sequence->held) {
            if (sequence->at_end) {
                reap_sequence(preview, sequence, &listener);
            }
            if (sequence->id != 0) {
                check_silence(preview, sequence, now, &listener);
            }
        }
    }
    *live = preview->live;
    return TMB_OK;
}

/* ---- Life ---- */

static void preview_destroy(tmb_engine *engine) {
    preview_engine *preview = (preview_engine *)engine;
    for (size_t i = 0; i < preview->count; i++) {
        if (preview->sequences[i].id != 0) {
            end_sequence(preview, &preview->sequences[i]);
        }
    }
    free(preview->program);
    free(preview->polls);
    free(preview->polled);
    free(preview);
}

static const tmb_engine_operations preview_operations = {
    .name = "preview",
    .clones_voice = false,
    .sample_rate = preview_sample_rate,
    .max_sequences = preview_max_sequences,
    .prepare_voice = preview_prepare_voice,
    .memory_needed = preview_memory_needed,
    .admit = preview_admit,
    .step = preview_step,
    .cancel = preview_cancel,
    .model_bytes = preview_model_bytes,
    .destroy = preview_destroy,
    .hold = preview_hold,
};

/* Where the program is, allocated. */
static tmb_status find_program(const char *name, char **out, tmb_error *error) {
    tmb_status status = tmb_child_find(name, out, error);
    if (status == TMB_OK && *out == NULL) {
        status = tmb_fail(error, TMB_ERROR_MODEL, "the preview voice needs %s: apt-get install espeak-ng", name);
    }
    return status;
}

tmb_status tmb_preview_check(tmb_error *error) {
    char *program = NULL;
    tmb_status status = find_program("espeak-ng", &program, error);
    free(program);
    return status;
}

tmb_status tmb_preview_engine_create(const tmb_preview_options *options, tmb_engine **out, tmb_error *error) {
    const char *name = options->program != NULL ? options->program : "espeak-ng";
    size_t count = options->max_sequences != 0 ? options->max_sequences : DEFAULT_SEQUENCES;
    char *program = NULL;
    *out = NULL;
    tmb_status status = find_program(name, &program, error);
    if (status != TMB_OK) {
        return status;
    }
    preview_engine *preview = tmb_calloc(1, sizeof *preview + count * sizeof preview->sequences[0]);
    struct pollfd *polls = tmb_calloc(count, sizeof *polls);
    preview_sequence **polled = tmb_calloc(count, sizeof *polled);
    if (preview == NULL || polls == NULL || polled == NULL) {
        free(program);
        free(preview);
        free(polls);
        free(polled);
        return tmb_fail_memory(error, "the preview voice", 0);
    }
    preview->engine.operations = &preview_operations;
    preview->program = program;
    preview->silence_limit = options->silence_limit > 0 ? options->silence_limit : DEFAULT_SILENCE;
    preview->max_seconds = options->max_seconds > 0 ? options->max_seconds : DEFAULT_SECONDS;
    preview->logger = options->logger;
    preview->count = count;
    preview->polls = polls;
    preview->polled = polled;
    *out = &preview->engine;
    return TMB_OK;
}
