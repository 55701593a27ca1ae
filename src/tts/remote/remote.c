#include "tts/remote/remote.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/thread.h"
#include "tts/events.h"
#include "tts/remote/body.h"
#include "weights/curl_library.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define ENGINE_RATE 24000
#define DEFAULT_SEQUENCES 16
#define DEFAULT_STALL 120.0
#define DEFAULT_SECONDS 1800.0
#define CONNECT_SECONDS 10L
#define BUSY_TRIES 4
#define BUSY_WAIT_MAX 30.0
/* Milliseconds that a step waits for the server at most. */
#define STEP_WAIT 50
/* Bytes that a sequence keeps between two steps: two thirds of a second, and four of curl's own blocks. */
#define KEEP_BYTES 65536

typedef struct remote_voice {
    tmb_voice voice; /* first */
    char *audio;     /* data: URI */
    char *text;      /* or NULL */
} remote_voice;

struct remote_engine;

typedef struct remote_sequence {
    uint64_t id; /* 0 = free */
    struct remote_engine *engine;
    CURL *curl; /* in the multi handle while `asking` */
    char *body;
    bool asking, done, paused, held;
    CURLcode result; /* once done */
    int tries;
    double again_at; /* while not asking and not done: when the next try is due */
    double heard;    /* when the last byte came */
    size_t kept;     /* bytes of PCM, or of an error's page */
    tmb_speech_length length;
    char message[CURL_ERROR_SIZE];
    char bytes[KEEP_BYTES];
} remote_sequence;

typedef struct remote_engine {
    tmb_engine engine; /* first */
    const tmb_curl *library;
    CURLM *multi;
    struct curl_slist *headers;
    char *endpoint, *key, *model;
    double stall_seconds, max_seconds, retry_delay;
    tmb_logger *logger;
    uint64_t last_id;
    size_t count, live;
    remote_sequence sequences[];
} remote_engine;

static int remote_sample_rate(const tmb_engine *engine) {
    (void)engine;
    return ENGINE_RATE;
}

static size_t remote_max_sequences(const tmb_engine *engine) { return ((const remote_engine *)engine)->count; }

static size_t remote_model_bytes(const tmb_engine *engine) {
    const remote_engine *remote = (const remote_engine *)engine;
    return tmb_remote_engine_bytes(remote->count);
}

/* The body, which holds the reference, and what curl keeps of it. */
static size_t remote_memory_needed(tmb_engine *engine, const tmb_speak_request *request, const tmb_voice *voice) {
    (void)engine;
    return (256u << 10) + voice->bytes + strlen(request->text) * 2;
}

/* ---- Voices ---- */

static void destroy_voice(tmb_voice *voice) {
    remote_voice *mine = (remote_voice *)voice;
    free(mine->audio);
    free(mine->text);
    free(mine);
}

static tmb_status remote_prepare_voice(tmb_engine *engine, const tmb_reference *reference, bool x_vector_only,
                                       tmb_voice **out, tmb_error *error) {
    (void)engine;
    *out = NULL;
    remote_voice *voice = tmb_calloc(1, sizeof *voice);
    if (voice == NULL) {
        return tmb_fail_memory(error, "a voice", sizeof *voice);
    }
    voice->voice.destroy = destroy_voice;
    voice->voice.references = 1;
    tmb_status status = tmb_remote_reference(reference, &voice->audio, error);
    if (status == TMB_OK && !x_vector_only && reference->text != NULL) {
        voice->text = tmb_strdup(reference->text);
        status = voice->text != NULL ? TMB_OK : tmb_fail_memory(error, "a transcript", strlen(reference->text));
    }
    if (status != TMB_OK) {
        destroy_voice(&voice->voice);
        return status;
    }
    voice->voice.bytes = sizeof *voice + strlen(voice->audio) + (voice->text != NULL ? strlen(voice->text) : 0);
    *out = &voice->voice;
    return TMB_OK;
}

/* ---- Sequences ---- */

static void stop_asking(remote_sequence *sequence) {
    const tmb_curl *library = sequence->engine->library;
    if (sequence->asking) {
        (void)library->multi_remove_handle(sequence->engine->multi, sequence->curl);
        sequence->asking = false;
    }
    if (sequence->curl != NULL) {
        library->easy_cleanup(sequence->curl);
        sequence->curl = NULL;
    }
}

static void end_sequence(remote_sequence *sequence) {
    stop_asking(sequence);
    free(sequence->body);
    sequence->body = NULL;
    sequence->id = 0;
    sequence->engine->live--;
}

static remote_sequence *find_sequence(remote_engine *remote, uint64_t id) {
    for (size_t i = 0; i < remote->count; i++) {
        if (remote->sequences[i].id == id) {
            return &remote->sequences[i];
        }
    }
    return NULL;
}

/* Keeps what arrives until the next step hands it on; where there is no room the transfer pauses, and with it the
 * server. */
static size_t on_bytes(char *data, size_t size, size_t count, void *user) {
    remote_sequence *sequence = user;
    size_t bytes = size * count;
    sequence->heard = tmb_now();
    if (bytes > sizeof sequence->bytes - sequence->kept) {
        long code = 0;
        (void)sequence->engine->library->easy_getinfo(sequence->curl, CURLINFO_RESPONSE_CODE, &code);
        if (code != 200) {
            return bytes; /* the rest of an error's page says no more */
        }
        sequence->paused = true;
        return CURL_WRITEFUNC_PAUSE;
    }
    memcpy(sequence->bytes + sequence->kept, data, bytes);
    sequence->kept += bytes;
    return bytes;
}

static bool prepare(remote_sequence *sequence) {
    remote_engine *remote = sequence->engine;
    const tmb_curl *library = remote->library;
    CURL *curl = sequence->curl = library->easy_init();
    bool good =
        curl != NULL && library->easy_setopt(curl, CURLOPT_URL, remote->endpoint) == CURLE_OK &&
        library->easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK &&
        library->easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)strlen(sequence->body)) == CURLE_OK &&
        library->easy_setopt(curl, CURLOPT_POSTFIELDS, sequence->body) == CURLE_OK &&
        library->easy_setopt(curl, CURLOPT_HTTPHEADER, remote->headers) == CURLE_OK &&
        library->easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_bytes) == CURLE_OK &&
        library->easy_setopt(curl, CURLOPT_WRITEDATA, sequence) == CURLE_OK;
    if (good && remote->key != NULL) {
        good = library->easy_setopt(curl, CURLOPT_HTTPAUTH, CURLAUTH_BEARER) == CURLE_OK &&
               library->easy_setopt(curl, CURLOPT_XOAUTH2_BEARER, remote->key) == CURLE_OK;
    }
    if (good) {
        (void)library->easy_setopt(curl, CURLOPT_ERRORBUFFER, sequence->message);
        (void)library->easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
        (void)library->easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, CONNECT_SECONDS);
        (void)library->easy_setopt(curl, CURLOPT_USERAGENT, "timbre/" TMB_VERSION);
    }
    return good;
}

static tmb_status ask(remote_sequence *sequence, tmb_error *error) {
    sequence->done = sequence->paused = false;
    sequence->kept = 0;
    sequence->message[0] = '\0';
    sequence->heard = tmb_now();
    sequence->tries++;
    if (!prepare(sequence) ||
        sequence->engine->library->multi_add_handle(sequence->engine->multi, sequence->curl) != CURLM_OK) {
        stop_asking(sequence);
        return tmb_fail_memory(error, "a request to the speech server", 0);
    }
    sequence->asking = true;
    return TMB_OK;
}

static tmb_status remote_admit(tmb_engine *engine, const tmb_speak_request *request, tmb_voice *voice, uint64_t *id,
                               tmb_error *error) {
    remote_engine *remote = (remote_engine *)engine;
    const remote_voice *mine = (const remote_voice *)voice;
    remote_sequence *sequence = find_sequence(remote, 0);
    if (sequence == NULL) {
        return tmb_fail(error, TMB_ERROR_LIMIT, "the speech server speaks %zu texts at once already", remote->count);
    }
    tmb_status status = tmb_remote_body(request, mine->audio, mine->text, remote->model, &sequence->body, error);
    if (status != TMB_OK) {
        return status;
    }
    double seconds = request->max_seconds > 0 ? fmin(request->max_seconds, remote->max_seconds) : remote->max_seconds;
    sequence->engine = remote;
    sequence->tries = 0;
    sequence->held = false;
    sequence->length = tmb_speech_begin(request->text, seconds, ENGINE_RATE);
    status = ask(sequence, error);
    if (status != TMB_OK) {
        free(sequence->body);
        sequence->body = NULL;
        return status;
    }
    sequence->id = ++remote->last_id;
    remote->live++;
    *id = sequence->id;
    return TMB_OK;
}

static void remote_cancel(tmb_engine *engine, uint64_t id) {
    remote_sequence *sequence = id == 0 ? NULL : find_sequence((remote_engine *)engine, id);
    if (sequence != NULL) {
        end_sequence(sequence);
    }
}

/* A held sequence hands nothing on: what it may keep fills, and its transfer pauses. */
static void remote_hold(tmb_engine *engine, uint64_t id, bool held) {
    remote_sequence *sequence = id == 0 ? NULL : find_sequence((remote_engine *)engine, id);
    if (sequence != NULL) {
        sequence->held = held;
        sequence->heard = tmb_now();
    }
}

/* ---- Steps ---- */

static void fail_sequence(remote_sequence *sequence, const tmb_event_sink *listener, const tmb_error *error) {
    uint64_t id = sequence->id;
    end_sequence(sequence);
    tmb_emit_failed(listener, id, error);
}

static void finish_sequence(remote_sequence *sequence, const tmb_event_sink *listener, tmb_finish_reason reason) {
    uint64_t id = sequence->id;
    end_sequence(sequence);
    tmb_emit_finished(listener, id, reason);
}

/* Whether the answer so far is audio; where it is something else of status 200, why not. */
static tmb_status check_answer(const remote_sequence *sequence, tmb_error *error) {
    char *type = NULL;
    (void)sequence->engine->library->easy_getinfo(sequence->curl, CURLINFO_CONTENT_TYPE, &type);
    if (type == NULL || strncasecmp(type, "audio/", 6) != 0) {
        return tmb_fail(error, TMB_ERROR_FORMAT, "the speech server answers with %.60s instead of audio",
                        type != NULL ? type : "something untyped");
    }
    const char *rate = strcasestr(type, "rate=");
    if (strncasecmp(type, "audio/pcm", 9) != 0 || (rate != NULL && atoi(rate + 5) != ENGINE_RATE)) {
        return tmb_fail(error, TMB_ERROR_FORMAT, "the speech server answers with %.60s instead of PCM at %d Hz", type,
                        ENGINE_RATE);
    }
    return TMB_OK;
}

/* Hands on what is kept; false where the sequence ended thereby. */
static bool hand_on(remote_sequence *sequence, const tmb_event_sink *listener) {
    float samples[KEEP_BYTES / 2];
    bool all = tmb_emit_pcm(listener, sequence->id, &sequence->length, (const unsigned char *)sequence->bytes,
                            sequence->kept / 2, samples);
    if (sequence->kept % 2 != 0) {
        sequence->bytes[0] = sequence->bytes[sequence->kept - 1];
    }
    sequence->kept %= 2;
    if (!all) {
        finish_sequence(sequence, listener, TMB_FINISH_LENGTH);
    }
    return all;
}

/* The server's own word on when to come back, or twice as long as last time. */
static double busy_wait(const remote_sequence *sequence) {
    curl_off_t asked = 0;
    (void)sequence->engine->library->easy_getinfo(sequence->curl, CURLINFO_RETRY_AFTER, &asked);
    double wait = asked > 0 ? (double)asked : sequence->engine->retry_delay * pow(2, sequence->tries - 1);
    return fmin(wait, BUSY_WAIT_MAX);
}

static tmb_status status_of(long code) {
    switch (code) {
    case 400:
    case 401:
    case 403:
    case 404:
    case 413:
    case 422: return TMB_ERROR_ARGUMENT;
    case 429:
    case 503: return TMB_ERROR_LIMIT;
    default: return TMB_ERROR_IO;
    }
}

static void refuse(remote_sequence *sequence, long code, const tmb_event_sink *listener) {
    remote_engine *remote = sequence->engine;
    tmb_error error;
    char complaint[240];
    if ((code == 429 || code == 503) && sequence->tries < BUSY_TRIES) {
        double wait = busy_wait(sequence);
        tmb_log(remote->logger, TMB_LOG_INFO, "the speech server is busy (HTTP %ld): asked again in %.1f s", code,
                wait);
        stop_asking(sequence);
        sequence->done = false;
        sequence->again_at = tmb_now() + wait;
        return;
    }
    tmb_remote_complaint(sequence->bytes, sequence->kept, complaint, sizeof complaint);
    (void)tmb_fail(&error, status_of(code), "the speech server answers HTTP %ld: %s%s", code, complaint,
                   code != 401 && code != 403 ? ""
                   : remote->key == NULL      ? " (no key is set)"
                                              : " (is the key right?)");
    fail_sequence(sequence, listener, &error);
}

static void settle(remote_sequence *sequence, const tmb_event_sink *listener) {
    remote_engine *remote = sequence->engine;
    tmb_error error;
    long code = 0;
    (void)remote->library->easy_getinfo(sequence->curl, CURLINFO_RESPONSE_CODE, &code);
    if (sequence->result != CURLE_OK) {
        (void)tmb_fail(&error, sequence->result == CURLE_OUT_OF_MEMORY ? TMB_ERROR_MEMORY : TMB_ERROR_IO, "%s: %s",
                       remote->endpoint,
                       sequence->message[0] != '\0' ? sequence->message
                                                    : remote->library->easy_strerror(sequence->result));
        fail_sequence(sequence, listener, &error);
    } else if (code != 200) {
        refuse(sequence, code, listener);
    } else if (sequence->length.spoken == 0) {
        (void)tmb_fail(&error, TMB_ERROR_FORMAT, "the speech server answers with no audio");
        fail_sequence(sequence, listener, &error);
    } else {
        finish_sequence(sequence, listener, TMB_FINISH_STOP);
    }
}

static void advance(remote_sequence *sequence, double now, const tmb_event_sink *listener) {
    remote_engine *remote = sequence->engine;
    tmb_error error;
    if (sequence->curl == NULL) { /* between two tries */
        if (now >= sequence->again_at && ask(sequence, &error) != TMB_OK) {
            fail_sequence(sequence, listener, &error);
        }
        return;
    }
    long code = 0;
    (void)remote->library->easy_getinfo(sequence->curl, CURLINFO_RESPONSE_CODE, &code);
    if (code == 200 && sequence->kept > 1) {
        if (check_answer(sequence, &error) != TMB_OK) {
            fail_sequence(sequence, listener, &error);
            return;
        }
        if (!hand_on(sequence, listener)) {
            return;
        }
        if (sequence->paused) {
            sequence->paused = false;
            (void)remote->library->easy_pause(sequence->curl, CURLPAUSE_CONT);
        }
    }
    if (sequence->done) {
        settle(sequence, listener);
    } else if (now - sequence->heard > remote->stall_seconds) {
        (void)tmb_fail(&error, TMB_ERROR_TIMEOUT, "the speech server sent nothing for %g s", remote->stall_seconds);
        fail_sequence(sequence, listener, &error);
    }
}

static void note_what_ended(remote_engine *remote) {
    const CURLMsg *message;
    int left;
    while ((message = remote->library->multi_info_read(remote->multi, &left)) != NULL) {
        for (size_t i = 0; message->msg == CURLMSG_DONE && i < remote->count; i++) {
            if (remote->sequences[i].curl == message->easy_handle) {
                remote->sequences[i].done = true;
                remote->sequences[i].result = message->data.result;
                break;
            }
        }
    }
}

static tmb_status remote_step(tmb_engine *engine, tmb_engine_sink sink, void *user, size_t *live, tmb_error *error) {
    remote_engine *remote = (remote_engine *)engine;
    const tmb_event_sink listener = {sink, user};
    *live = remote->live;
    if (remote->live == 0) {
        return TMB_OK;
    }
    int running;
    if (remote->library->multi_perform(remote->multi, &running) != CURLM_OK ||
        remote->library->multi_poll(remote->multi, NULL, 0, STEP_WAIT, NULL) != CURLM_OK ||
        remote->library->multi_perform(remote->multi, &running) != CURLM_OK) {
        return tmb_fail_memory(error, "the speech server's connections", 0);
    }
    note_what_ended(remote);
    double now = tmb_now();
    for (size_t i = 0; i < remote->count; i++) {
        if (remote->sequences[i].id != 0 && !remote->sequences[i].held) {
            advance(&remote->sequences[i], now, &listener);
        }
    }
    *live = remote->live;
    return TMB_OK;
}

/* ---- Life ---- */

static void remote_destroy(tmb_engine *engine) {
    remote_engine *remote = (remote_engine *)engine;
    for (size_t i = 0; i < remote->count; i++) {
        if (remote->sequences[i].id != 0) {
            end_sequence(&remote->sequences[i]);
        }
    }
    if (remote->multi != NULL) {
        (void)remote->library->multi_cleanup(remote->multi);
    }
    remote->library->slist_free_all(remote->headers);
    free(remote->endpoint);
    free(remote->key);
    free(remote->model);
    free(remote);
}

static const tmb_engine_operations remote_operations = {
    .name = "remote",
    .clones_voice = true,
    .sample_rate = remote_sample_rate,
    .max_sequences = remote_max_sequences,
    .prepare_voice = remote_prepare_voice,
    .memory_needed = remote_memory_needed,
    .admit = remote_admit,
    .step = remote_step,
    .cancel = remote_cancel,
    .model_bytes = remote_model_bytes,
    .destroy = remote_destroy,
    .hold = remote_hold,
};

tmb_status tmb_remote_endpoint(const char *url, char **out, tmb_error *error) {
    *out = NULL;
    bool http = strncasecmp(url, "http://", 7) == 0 && url[7] != '\0';
    bool https = strncasecmp(url, "https://", 8) == 0 && url[8] != '\0';
    if ((!http && !https) || strpbrk(url, " \t\r\n?#") != NULL) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT,
                        "the speech server's address \"%.100s\" is not like http://host:8091 or https://host/v1", url);
    }
    size_t length = strlen(url);
    while (length > 8 && url[length - 1] == '/') {
        length--;
    }
    bool versioned = length >= 3 && strncmp(url + length - 3, "/v1", 3) == 0;
    if (length > INT_MAX / 2) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "the speech server's address is too long");
    }
    *out = tmb_asprintf("%.*s%s/audio/speech", (int)length, url, versioned ? "" : "/v1");
    return *out != NULL ? TMB_OK : tmb_fail_memory(error, "a URL", length);
}

/* An empty Expect spares the second that curl waits for a server's leave to send a large body. */
static struct curl_slist *make_headers(const tmb_curl *library) {
    struct curl_slist *first = library->slist_append(NULL, "Content-Type: application/json");
    struct curl_slist *both = first != NULL ? library->slist_append(first, "Expect:") : NULL;
    if (both == NULL) {
        library->slist_free_all(first);
    }
    return both;
}

size_t tmb_remote_engine_bytes(size_t max_sequences) {
    return sizeof(remote_engine) + (max_sequences != 0 ? max_sequences : DEFAULT_SEQUENCES) * sizeof(remote_sequence);
}

tmb_status tmb_remote_engine_create(const tmb_remote_options *options, tmb_engine **out, tmb_error *error) {
    *out = NULL;
    size_t count = options->max_sequences != 0 ? options->max_sequences : DEFAULT_SEQUENCES;
    const tmb_curl *library = NULL;
    tmb_status status = tmb_curl_load(&library, error);
    if (status != TMB_OK) {
        return status;
    }
    remote_engine *remote = tmb_calloc(1, sizeof *remote + count * sizeof remote->sequences[0]);
    if (remote == NULL) {
        return tmb_fail_memory(error, "the remote engine", count * sizeof remote->sequences[0]);
    }
    remote->engine.operations = &remote_operations;
    remote->library = library;
    remote->count = count;
    remote->stall_seconds = options->stall_seconds > 0 ? options->stall_seconds : DEFAULT_STALL;
    remote->max_seconds = options->max_seconds > 0 ? options->max_seconds : DEFAULT_SECONDS;
    remote->retry_delay = options->retry_delay > 0 ? options->retry_delay : 1;
    remote->logger = options->logger;
    for (size_t i = 0; i < count; i++) {
        remote->sequences[i].engine = remote;
    }
    status = tmb_remote_endpoint(options->url, &remote->endpoint, error);
    if (status == TMB_OK) {
        remote->multi = library->multi_init();
        remote->headers = make_headers(library);
        remote->key = tmb_strdup(options->key);
        remote->model = tmb_strdup(options->model);
        if (remote->multi == NULL || remote->headers == NULL || (options->key != NULL && remote->key == NULL) ||
            (options->model != NULL && remote->model == NULL)) {
            status = tmb_fail_memory(error, "the remote engine", 0);
        }
    }
    if (status != TMB_OK) {
        remote_destroy(&remote->engine);
        return status;
    }
    if (remote->key != NULL && strncasecmp(remote->endpoint, "https://", 8) != 0) {
        tmb_log(remote->logger, TMB_LOG_WARNING, "the key for %s travels unencrypted: use https", remote->endpoint);
    }
    *out = &remote->engine;
    return TMB_OK;
}
