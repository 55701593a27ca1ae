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
    size_t state_bytes;
    float last;
    tmb_net_sequence *prefix;
    size_t prefix_bytes;
    tmb_prefix_key key;
} entry;

struct tmb_voice_memory {
    const tmb_qwen3_backend *backend;
    tmb_net *net;
    pthread_mutex_t lock;
    uint64_t clock;
    entry entries[TMB_VOICE_MEMORY_ENTRIES];
};

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

static void clear(tmb_voice_memory *memory, entry *e) {
    memory->backend->stream_destroy(memory->net, &e->state);
    memory->backend->sequence_destroy(memory->net, &e->prefix);
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

void tmb_voice_memory_put_state(tmb_voice_memory *memory, const uint64_t fingerprint[2], tmb_net_stream *state,
                                size_t bytes, float last) {
    (void)pthread_mutex_lock(&memory->lock);
    entry *e = find_or_make(memory, fingerprint);
    memory->backend->stream_destroy(memory->net, &e->state);
    e->state = state;
    e->state_bytes = bytes;
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

void tmb_voice_memory_put_prefix(tmb_voice_memory *memory, const uint64_t fingerprint[2], const tmb_prefix_key *key,
                                 tmb_net_sequence *prefix, size_t bytes) {
    (void)pthread_mutex_lock(&memory->lock);
    entry *e = find_or_make(memory, fingerprint);
    memory->backend->sequence_destroy(memory->net, &e->prefix);
    e->prefix = prefix;
    e->prefix_bytes = bytes;
    e->key = *key;
    (void)pthread_mutex_unlock(&memory->lock);
}
