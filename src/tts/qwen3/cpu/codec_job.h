/* Decoding chunks of several streams together, on a thread next to the language model's or in the caller's. */
#ifndef TMB_TTS_QWEN3_BATCH_CODEC_JOB_H
#define TMB_TTS_QWEN3_BATCH_CODEC_JOB_H

#include "base/team.h"
#include "tts/qwen3/backend.h"
#include "tts/qwen3/cpu/codec/decoder.h"

typedef struct tmb_codec_job tmb_codec_job;

/* For at most `pieces` utterances. threads > 0: a thread of its own and a team of so many; 0: in the caller's thread,
 * with `team` (may be NULL). */
tmb_status tmb_codec_job_create(const tmb_codec_decoder *decoder, size_t pieces, int threads, tmb_team *team,
                                tmb_codec_job **out, tmb_error *error);
/* Waits for what is under way. */
void tmb_codec_job_destroy(tmb_codec_job **job);

/* Seconds that jobs took and the frames that they decoded, counted from zero each time this is asked; of a job that is
 * not running. */
double tmb_codec_job_seconds(tmb_codec_job *job, size_t *frames);

size_t tmb_codec_job_bytes(const tmb_codec_job *job);

/* Adds a request, whose stream is `state`, to a job that is not running. */
void tmb_codec_job_add(tmb_codec_job *job, const tmb_decode_request *request, tmb_codec_state *state);

/* Runs what was added (nothing: returns at once). */
void tmb_codec_job_start(tmb_codec_job *job);

/* Whether results wait; `wait_seconds` is how long to wait for a job that runs. */
bool tmb_codec_job_done(tmb_codec_job *job, double wait_seconds);
/* Whether pieces may be added. */
bool tmb_codec_job_idle(const tmb_codec_job *job);

/* The results of a job that is done; after tmb_codec_job_clear it takes pieces again. */
size_t tmb_codec_job_count(const tmb_codec_job *job);
tmb_status tmb_codec_job_result(const tmb_codec_job *job, size_t index, tmb_decode_result *result, tmb_error *error);
void tmb_codec_job_clear(tmb_codec_job *job);

#endif
