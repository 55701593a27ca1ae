/* What an engine remembers of the voices that it used: the codec decoder's state after the reference, and the keys and
 * values of the prompt's beginning. Keyed by a fingerprint of what speech depends on (a voice's
 * contents; a speaker with an instruction), so that a voice that was unloaded and loaded again is found.
 * The least recently used go first. Thread-safe.
 */
#ifndef TMB_TTS_QWEN3_BATCH_VOICE_MEMORY_H
#define TMB_TTS_QWEN3_BATCH_VOICE_MEMORY_H

#include "tts/qwen3/backend.h"

#define TMB_VOICE_MEMORY_ENTRIES 8
/* Positions of a prompt's beginning with some seconds of reference: what is reserved for each. */
#define TMB_VOICE_MEMORY_POSITIONS 96

typedef struct tmb_voice_memory tmb_voice_memory;

/* What it keeps belongs to `net`, which must outlive it. */
tmb_status tmb_voice_memory_create(const tmb_qwen3_backend *backend, tmb_net *net, tmb_voice_memory **out,
                                   tmb_error *error);
void tmb_voice_memory_destroy(tmb_voice_memory **memory);
/* Forgets all. */
void tmb_voice_memory_clear(tmb_voice_memory *memory);

/* Copies the state after a voice's reference into `state`, and its last sample; false if it is not known. */
bool tmb_voice_memory_get_state(tmb_voice_memory *memory, const uint64_t fingerprint[2], tmb_net_stream *state,
                                float *last);
/* Takes over `state` (destroyed if it does not fit). */
void tmb_voice_memory_put_state(tmb_voice_memory *memory, const uint64_t fingerprint[2], tmb_net_stream *state,
                                size_t bytes, float last);

/* One layout of the prompt. */
typedef struct tmb_prefix_key {
    int32_t language;
    bool non_streaming, in_context;
} tmb_prefix_key;

/* Copies a known beginning of `count` positions into `sequence`; false if it is not known, or copying fails. */
bool tmb_voice_memory_get_prefix(tmb_voice_memory *memory, const uint64_t fingerprint[2], const tmb_prefix_key *key,
                                 size_t count, tmb_net_sequence *sequence);
/* Takes over `prefix`. */
void tmb_voice_memory_put_prefix(tmb_voice_memory *memory, const uint64_t fingerprint[2], const tmb_prefix_key *key,
                                 tmb_net_sequence *prefix, size_t bytes);

#endif
