#include "tts/qwen3/batch/voice_memory.h"

#include "base/error.h"
#include "base/memory.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

typedef struct entry {
    uint64_t fingerprint[2];
    uint64_t used; /* 0: free */
    tmb_net_stream *state;
    float last;
    tmb_net_sequence *prefix;
    tmb_net_bytes prefix_bytes; /* 0 without a prefix */
    tmb_prefix_key key;
} entry;

struct tmb_voice_memory {
    const tmb_qwen3_backend *backend;
    tmb_net *net;
    pthread_mutex_t lock;
    uint64_t clock;
    entry entries[TMB_VOICE_MEMORY_ENTRIES];
};

/* What the beginnings of prompts may take together. */
static tmb_net_bytes most_of_prefixes(const tmb_qwen3_backend *backend, const tmb_net *net) {
    tmb_net_bytes one = backend->sequence_bytes(net, TMB_VOICE_MEMORY_POSITIONS);
    return (tmb_net_bytes){TMB_VOICE_MEMORY_ENTRIES * one.host, TMB_VOICE_MEMORY_ENTRIES * one.device};
}

tmb_net_bytes tmb_voice_memory_most(const tmb_qwen3_backend *backend, const tmb_net *net) {
    tmb_net_bytes prefixes = most_of_prefixes(backend, net), state = backend->stream_bytes(net);
    return (tmb_net_bytes){prefixes.host + TMB_VOICE_MEMORY_ENTRIES * state.host,
                           prefixes.device + TMB_VOICE_MEMORY_ENTRIES * state.device};
}

tmb_status tmb_voice_memory_create(const tmb_qwen3_backend *backend, tmb_net *net, tmb_voice_memory **out,
                                   tmb_error *error) {
    *out = tmb_calloc(1, sizeof **out);
    if (*out == NULL) {
        return tmb_fail_memory(error, "the memory of voices", sizeof **out);
    }
    (*out)->backend = backend;
    (*out)->net = net;
    (void)pthread_mutex_init(&(*out)->lock, NULL);
    return TMB_OK;
}

static void drop_prefix(tmb_voice_memory *memory, entry *e) {
    memory->backend->sequence_destroy(memory->net, &e->prefix);
    e->prefix_bytes = (tmb_net_bytes){0, 0};
}

static void clear(tmb_voice_memory *memory, entry *e) {
    memory->backend->stream_destroy(memory->net, &e->state);
    drop_prefix(memory, e);
    memset(e, 0, sizeof *e);
}

void tmb_voice_memory_destroy(tmb_voice_memory **memory_address) {
    tmb_voice_memory *memory = *memory_address;
    *memory_address = NULL;
    if (memory != NULL) {
        for (size_t i = 0; i < TMB_VOICE_MEMORY_ENTRIES; i++) {
            clear(memory, &memory->entries[i]);
        }
        (void)pthread_mutex_destroy(&memory->lock);
        free(memory);
    }
}

void tmb_voice_memory_clear(tmb_voice_memory *memory) {
    (void)pthread_mutex_lock(&memory->lock);
    for (size_t i = 0; i < TMB_VOICE_MEMORY_ENTRIES; i++) {
        clear(memory, &memory->entries[i]);
    }
    (void)pthread_mutex_unlock(&memory->lock);
}

/* Under the lock. */
static entry *find(tmb_voice_memory *memory, const uint64_t fingerprint[2]) {
    for (size_t i = 0; i < TMB_VOICE_MEMORY_ENTRIES; i++) {
        entry *e = &memory->entries[i];
        if (e->used != 0 && memcmp(e->fingerprint, fingerprint, sizeof e->fingerprint) == 0) {
            e->used = ++memory->clock;
            return e;
        }
    }
    return NULL;
}

static entry *find_or_make(tmb_voice_memory *memory, const uint64_t fingerprint[2]) {
    entry *e = find(memory, fingerprint);
    if (e == NULL) {
        e = &memory->entries[0];
        for (size_t i = 1; i < TMB_VOICE_MEMORY_ENTRIES; i++) {
            e = memory->entries[i].used < e->used ? &memory->entries[i] : e;
        }
        clear(memory, e);
        memcpy(e->fingerprint, fingerprint, sizeof e->fingerprint);
        e->used = ++memory->clock;
    }
    return e;
}

bool tmb_voice_memory_get_state(tmb_voice_memory *memory, const uint64_t fingerprint[2], tmb_net_stream *state,
                                float *last) {
    (void)pthread_mutex_lock(&memory->lock);
    entry *e = find(memory, fingerprint);
    bool known = e != NULL && e->state != NULL;
    if (known && state != NULL) {
        memory->backend->stream_copy(memory->net, state, e->state);
        *last = e->last;
    }
    (void)pthread_mutex_unlock(&memory->lock);
    return known;
}

void tmb_voice_memory_make_room_for_state(tmb_voice_memory *memory, const uint64_t fingerprint[2]) {
    (void)pthread_mutex_lock(&memory->lock);
    entry *e = find_or_make(memory, fingerprint);
    memory->backend->stream_destroy(memory->net, &e->state);
    (void)pthread_mutex_unlock(&memory->lock);
}

void tmb_voice_memory_put_state(tmb_voice_memory *memory, const uint64_t fingerprint[2], tmb_net_stream *state,
                                float last) {
    (void)pthread_mutex_lock(&memory->lock);
    entry *e = find_or_make(memory, fingerprint);
    memory->backend->stream_destroy(memory->net, &e->state);
    e->state = state;
    e->last = last;
    (void)pthread_mutex_unlock(&memory->lock);
}

static bool same_key(const tmb_prefix_key *a, const tmb_prefix_key *b) {
    return a->language == b->language && a->non_streaming == b->non_streaming && a->in_context == b->in_context;
}

bool tmb_voice_memory_get_prefix(tmb_voice_memory *memory, const uint64_t fingerprint[2], const tmb_prefix_key *key,
                                 size_t count, tmb_net_sequence *sequence) {
    (void)pthread_mutex_lock(&memory->lock);
    entry *e = find(memory, fingerprint);
    bool known = e != NULL && e->prefix != NULL && same_key(&e->key, key) &&
                 memory->backend->sequence_positions(e->prefix) == count &&
                 memory->backend->sequence_fork(memory->net, sequence, e->prefix, count, NULL) == TMB_OK;
    (void)pthread_mutex_unlock(&memory->lock);
    return known;
}

/* Whether `bytes` more are within what the beginnings may take. */
static bool fits(const tmb_voice_memory *memory, tmb_net_bytes bytes) {
    tmb_net_bytes most = most_of_prefixes(memory->backend, memory->net);
    for (size_t i = 0; i < TMB_VOICE_MEMORY_ENTRIES; i++) {
        bytes.host += memory->entries[i].prefix_bytes.host;
        bytes.device += memory->entries[i].prefix_bytes.device;
    }
    return bytes.host <= most.host && bytes.device <= most.device;
}

/* The beginning that was not used for the longest time goes; there is one. */
static void drop_oldest_prefix(tmb_voice_memory *memory) {
    entry *oldest = NULL;
    for (size_t i = 0; i < TMB_VOICE_MEMORY_ENTRIES; i++) {
        entry *e = &memory->entries[i];
        if (e->prefix != NULL && (oldest == NULL || e->used < oldest->used)) {
            oldest = e;
        }
    }
    drop_prefix(memory, oldest);
}

bool tmb_voice_memory_make_room_for_prefix(tmb_voice_memory *memory, const uint64_t fingerprint[2], size_t count) {
    tmb_net_bytes bytes = memory->backend->sequence_bytes(memory->net, count);
    tmb_net_bytes most = most_of_prefixes(memory->backend, memory->net);
    if (bytes.host > most.host || bytes.device > most.device) {
        return false;
    }
    (void)pthread_mutex_lock(&memory->lock);
    drop_prefix(memory, find_or_make(memory, fingerprint));
    while (!fits(memory, bytes)) {
        drop_oldest_prefix(memory);
    }
    (void)pthread_mutex_unlock(&memory->lock);
    return true;
}

void tmb_voice_memory_put_prefix(tmb_voice_memory *memory, const uint64_t fingerprint[2], const tmb_prefix_key *key,
                                 tmb_net_sequence *prefix) {
    (void)pthread_mutex_lock(&memory->lock);
    entry *e = find_or_make(memory, fingerprint);
    drop_prefix(memory, e);
    e->prefix = prefix;
    e->prefix_bytes = memory->backend->sequence_bytes(memory->net, memory->backend->sequence_positions(prefix));
    e->key = *key;
    (void)pthread_mutex_unlock(&memory->lock);
}
