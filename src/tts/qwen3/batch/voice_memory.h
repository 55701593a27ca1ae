/* What an engine remembers of the voices that it used: the codec decoder's state after the reference, and the keys and
 * values of the prompt's beginning. Keyed by a fingerprint of what speech depends on (a voice's
 * contents; a speaker with an instruction), so that a voice that was unloaded and loaded again is found.
 * The least recently used go first. Thread-safe.
 */
#ifndef TMB_TTS_QWEN3_BATCH_VOICE_MEMORY_H
#define TMB_TTS_QWEN3_BATCH_VOICE_MEMORY_H

#include "tts/qwen3/backend.h"

#define TMB_VOICE_MEMORY_ENTRIES 8
/* Positions of a prompt's beginning with some seconds of reference: what is reserved for each. A longer one takes the
 * room of several. */
#define TMB_VOICE_MEMORY_POSITIONS 96

typedef struct tmb_voice_memory tmb_voice_memory;

/* What it keeps belongs to `net`, which must outlive it. */
tmb_status tmb_voice_memory_create(const tmb_qwen3_backend *backend, tmb_net *net, tmb_voice_memory **out,
                                   tmb_error *error);
void tmb_voice_memory_destroy(tmb_voice_memory **memory);
/* Forgets all. */
void tmb_voice_memory_clear(tmb_voice_memory *memory);
/* What it keeps at most; the caller reserves so much. */
tmb_net_bytes tmb_voice_memory_most(const tmb_qwen3_backend *backend, const tmb_net *net);

/* Copies the state after a voice's reference into `state`, and its last sample; false if it is not known. */
bool tmb_voice_memory_get_state(tmb_voice_memory *memory, const uint64_t fingerprint[2], tmb_net_stream *state,
                                float *last);
/* Forgets what has to go, before a state is made for put_state: never is there more than what was reserved. */
void tmb_voice_memory_make_room_for_state(tmb_voice_memory *memory, const uint64_t fingerprint[2]);
/* Takes over `state`. */
void tmb_voice_memory_put_state(tmb_voice_memory *memory, const uint64_t fingerprint[2], tmb_net_stream *state,
                                float last);

/* One layout of the prompt. */
typedef struct tmb_prefix_key {
    int32_t language;
    bool non_streaming, in_context;
} tmb_prefix_key;

/* Copies a known beginning of `count` positions into `sequence`; false if it is not known, or copying fails. */
bool tmb_voice_memory_get_prefix(tmb_voice_memory *memory, const uint64_t fingerprint[2], const tmb_prefix_key *key,
                                 size_t count, tmb_net_sequence *sequence);
/* The same of a beginning with `count` positions. Returns false if it would take more than all that is reserved: then
 * nothing is forgotten, and it must not be kept. */
bool tmb_voice_memory_make_room_for_prefix(tmb_voice_memory *memory, const uint64_t fingerprint[2], size_t count);
/* Takes over `prefix`. */
void tmb_voice_memory_put_prefix(tmb_voice_memory *memory, const uint64_t fingerprint[2], const tmb_prefix_key *key,
                                 tmb_net_sequence *prefix);

#endif
