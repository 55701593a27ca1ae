#include "tts/remote/remote_internal.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/thread.h"
#include "tts/remote/body.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define DEFAULT_STALL 120.0
#define DEFAULT_SECONDS 1800.0
#define MAX_SEQUENCES 1024
/* Seconds until a connection must stand: less if there is somebody else to ask. */
#define CONNECT_SECONDS 10L
#define CONNECT_SECONDS_OF_MANY 3L
/* Seconds that a server has to answer how it is. */
#define CHECK_SECONDS 5L
/* Milliseconds that a step waits for the servers at most. */
#define STEP_WAIT 50

typedef struct remote_voice {
    tmb_voice voice; /* first */
    char *audio;     /* data: URI */
    char *text;      /* or NULL */
} remote_voice;

static int remote_sample_rate(const tmb_engine *engine) {
    (void)engine;
    return TMB_REMOTE_RATE;
}

static size_t remote_max_sequences(const tmb_engine *engine) { return ((const remote_engine *)engine)->count; }

static size_t engine_bytes(size_t count) { return sizeof(remote_engine) + count * sizeof(remote_sequence); }

static size_t remote_model_bytes(const tmb_engine *engine) {
    return engine_bytes(((const remote_engine *)engine)->count);
}

/* What is kept of the answers, the body, which holds the reference, and what curl keeps of it. */
static size_t remote_memory_needed(tmb_engine *engine, const tmb_speak_request *request, const tmb_voice *voice) {
    (void)engine;
    return (384u << 10) + voice->bytes + strlen(request->text) * 2;
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

static remote_sequence *find_sequence(remote_engine *remote, uint64_t id) {
    for (size_t i = 0; i < remote->count; i++) {
        if (remote->sequences[i].id == id) {
            return &remote->sequences[i];
        }
    }
    return NULL;
}

static tmb_status remote_admit(tmb_engine *engine, const tmb_speak_request *request, tmb_voice *voice, uint64_t *id,
                               tmb_error *error) {
    remote_engine *remote = (remote_engine *)engine;
    const remote_voice *mine = (const remote_voice *)voice;
    remote_sequence *sequence = find_sequence(remote, 0);
    if (sequence == NULL) {
        return tmb_fail(error, TMB_ERROR_LIMIT, "the speech server speaks %zu texts at once already", remote->count);
    }
    *sequence = (remote_sequence){0};
    tmb_status status = tmb_remote_body(request, mine->audio, mine->text, remote->model, &sequence->body, error);
    if (status != TMB_OK) {
        return status;
    }
    double seconds = request->max_seconds > 0 ? fmin(request->max_seconds, remote->max_seconds) : remote->max_seconds;
    sequence->length = tmb_speech_begin(request->text, seconds, TMB_REMOTE_RATE);
    status = tmb_remote_sequence_begin(remote, sequence, error);
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
    remote_engine *remote = (remote_engine *)engine;
    remote_sequence *sequence = id == 0 ? NULL : find_sequence(remote, id);
    if (sequence != NULL) {
        tmb_remote_sequence_end(remote, sequence);
    }
}

/* A held sequence hands nothing on: what it may keep fills, and its transfer pauses. */
static void remote_hold(tmb_engine *engine, uint64_t id, bool held) {
    remote_sequence *sequence = id == 0 ? NULL : find_sequence((remote_engine *)engine, id);
    if (sequence != NULL) {
        sequence->held = held;
        tmb_remote_sequence_heard(sequence, tmb_now());
    }
}

/* ---- Health ---- */

/* Asks the servers that are down how they are, when it is time. */
static void begin_checks(remote_engine *remote, double now) {
    size_t server = 0;
    tmb_error error;
    while (tmb_remote_pool_due(&remote->pool, now, &server)) {
        if (tmb_transfer_get(&remote->servers[server].check, &remote->client, remote->addresses.list[server].health,
                             CHECK_SECONDS, &error) != TMB_OK) {
            tmb_remote_pool_checked(&remote->pool, server, now, false);
        }
    }
}

/* Whoever answers lives, if only to say that there is no such page. */
static void end_checks(remote_engine *remote, double now) {
    for (size_t i = 0; i < remote->addresses.count; i++) {
        tmb_transfer *check = &remote->servers[i].check;
        if (check->curl != NULL && check->done) {
            bool lives = check->result == CURLE_OK && tmb_transfer_code(check) < 500;
            tmb_transfer_stop(check);
            tmb_remote_pool_checked(&remote->pool, i, now, lives);
            tmb_log(remote->logger, TMB_LOG_INFO, lives ? "%s lives again" : "%s is still down",
                    remote->addresses.list[i].shown);
        }
    }
}

/* Without a sequence nobody makes steps: a check would be found late. */
static void drop_checks(remote_engine *remote) {
    for (size_t i = 0; i < remote->addresses.count; i++) {
        if (remote->servers[i].check.curl != NULL) {
            tmb_transfer_stop(&remote->servers[i].check);
            tmb_remote_pool_unchecked(&remote->pool, i, tmb_now());
        }
    }
}

/* ---- Steps ---- */

static tmb_status remote_step(tmb_engine *engine, tmb_engine_sink sink, void *user, size_t *live, tmb_error *error) {
    remote_engine *remote = (remote_engine *)engine;
    const tmb_event_sink listener = {sink, user};
    *live = remote->live;
    if (remote->live == 0) {
        return TMB_OK;
    }
    begin_checks(remote, tmb_now());
    tmb_status status = tmb_remote_client_perform(&remote->client, remote->hurried ? 0 : STEP_WAIT, error);
    if (status != TMB_OK) {
        return status;
    }
    double now = tmb_now();
    end_checks(remote, now);
    for (size_t i = 0; i < remote->count; i++) {
        if (remote->sequences[i].id != 0 && !remote->sequences[i].held) {
            tmb_remote_sequence_advance(remote, &remote->sequences[i], now, &listener);
        }
    }
    if (remote->live == 0) {
        drop_checks(remote);
    }
    *live = remote->live;
    return TMB_OK;
}

static void remote_hurry(tmb_engine *engine, bool hurried) { ((remote_engine *)engine)->hurried = hurried; }

static bool remote_accepts(tmb_engine *engine) {
    return tmb_remote_pool_accepts(&((remote_engine *)engine)->pool, tmb_now());
}

/* ---- For monitoring ---- */

static const char *state_name(const tmb_remote_member *member, double now) {
    switch (member->state) {
    case TMB_REMOTE_UNTRIED: return now < member->busy_until ? "busy" : "untried";
    case TMB_REMOTE_UP: return now < member->busy_until ? "busy" : "up";
    case TMB_REMOTE_TRIAL: return "half-open";
    default: return "down";
    }
}

static double wait_of(const tmb_remote_member *member, double now) {
    double until = member->state == TMB_REMOTE_DOWN ? member->due : member->busy_until;
    return until > now ? until - now : 0;
}

void tmb_remote_engine_servers(tmb_engine *engine, void (*each)(void *user, const tmb_server_statistics *statistics),
                               void *user) {
    remote_engine *remote = (remote_engine *)engine;
    double now = tmb_now();
    for (size_t i = 0; i < remote->addresses.count; i++) {
        const tmb_remote_member member = tmb_remote_pool_read(&remote->pool, i);
        const tmb_server_statistics statistics = {.url = remote->addresses.list[i].shown,
                                                  .state = state_name(&member, now),
                                                  .limit = member.limit,
                                                  .outstanding = member.outstanding,
                                                  .requests = member.requests,
                                                  .failed = member.failed,
                                                  .busy = member.refused,
                                                  .opened = member.opened,
                                                  .wait = wait_of(&member, now)};
        each(user, &statistics);
    }
}

/* ---- Life ---- */

static void remote_destroy(tmb_engine *engine) {
    remote_engine *remote = (remote_engine *)engine;
    for (size_t i = 0; i < remote->count; i++) {
        if (remote->sequences[i].id != 0) {
            tmb_remote_sequence_end(remote, &remote->sequences[i]);
        }
    }
    drop_checks(remote);
    tmb_remote_client_close(&remote->client);
    tmb_remote_pool_deinit(&remote->pool);
    tmb_remote_addresses_free(&remote->addresses);
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
    .hurry = remote_hurry,
    .accepts = remote_accepts,
};

static size_t count_sequences(const tmb_remote_addresses *addresses, size_t max_sequences) {
    size_t count = max_sequences != 0 ? max_sequences : tmb_remote_addresses_room(addresses);
    return count < MAX_SEQUENCES ? count : MAX_SEQUENCES;
}

size_t tmb_remote_engine_bytes(const tmb_remote_addresses *addresses, size_t max_sequences) {
    return engine_bytes(count_sequences(addresses, max_sequences));
}

static void warn_of_keys(const remote_engine *remote) {
    for (size_t i = 0; remote->client.key != NULL && i < remote->addresses.count; i++) {
        if (strncasecmp(remote->addresses.list[i].endpoint, "https://", 8) != 0) {
            tmb_log(remote->logger, TMB_LOG_WARNING, "the key for %s travels unencrypted: use https",
                    remote->addresses.list[i].shown);
        }
    }
}

tmb_status tmb_remote_engine_create(const tmb_remote_options *options, tmb_engine **out, tmb_error *error) {
    tmb_remote_addresses addresses;
    *out = NULL;
    tmb_status status = tmb_remote_addresses_parse(options->urls, &addresses, error);
    if (status != TMB_OK) {
        return status;
    }
    size_t count = count_sequences(&addresses, options->max_sequences);
    remote_engine *remote = tmb_calloc(1, engine_bytes(count));
    if (remote == NULL) {
        tmb_remote_addresses_free(&addresses);
        return tmb_fail_memory(error, "the remote engine", engine_bytes(count));
    }
    size_t limits[TMB_REMOTE_SERVERS];
    for (size_t i = 0; i < addresses.count; i++) {
        limits[i] = addresses.list[i].limit;
    }
    remote->engine.operations = &remote_operations;
    remote->count = count;
    remote->addresses = addresses;
    remote->stall_seconds = options->stall_seconds > 0 ? options->stall_seconds : DEFAULT_STALL;
    remote->max_seconds = options->max_seconds > 0 ? options->max_seconds : DEFAULT_SECONDS;
    remote->hedge_seconds = options->hedge_seconds;
    remote->logger = options->logger;
    tmb_remote_pool_init(&remote->pool, limits, addresses.count, options->retry_delay > 0 ? options->retry_delay : 1);
    status = tmb_remote_client_open(&remote->client, options->key,
                                    addresses.count == 1 ? CONNECT_SECONDS : CONNECT_SECONDS_OF_MANY, error);
    if (status == TMB_OK && options->model != NULL) {
        remote->model = tmb_strdup(options->model);
        status = remote->model != NULL ? TMB_OK : tmb_fail_memory(error, "the remote engine", strlen(options->model));
    }
    if (status != TMB_OK) {
        remote_destroy(&remote->engine);
        return status;
    }
    warn_of_keys(remote);
    *out = &remote->engine;
    return TMB_OK;
}
