/* A speech-to-text service with the OpenAI API (POST /v1/audio/transcriptions) writes down what is said in a recording:
 * whisper.cpp's server, speaches, vLLM and others offer it. */
#ifndef TMB_TTS_TRANSCRIBE_TRANSCRIBE_H
#define TMB_TTS_TRANSCRIBE_TRANSCRIBE_H

#include "timbre/timbre.h"

#include <stdatomic.h>

/* What is sent: Hz, the rate that such models hear at. */
#define TMB_TRANSCRIBE_RATE 16000

/* Which service, with which key. Strings are borrowed. */
typedef struct tmb_transcriber {
    const char *url;   /* http:// or https://; with or without /v1 at its end, or the endpoint itself */
    const char *key;   /* Bearer key, or NULL */
    const char *model; /* the service's name of its model; NULL: "whisper-1", which most take for their own */
    double seconds;    /* for the whole answer; 0 = 120 */
    /* Asked at least once a second while it is waited for: true ends it like `stop`. Or NULL. */
    bool (*cancelled)(void *user);
    void *user;
} tmb_transcriber;

/* The URL that is asked, allocated: /v1/audio/transcriptions below a host or path, unless `url` ends in
 * /audio/transcriptions or /inference already. TMB_ERROR_ARGUMENT if it is no HTTP URL. */
tmb_status tmb_transcribe_endpoint(const char *url, char **out, tmb_error *error);

/* Asks for what is said in `samples` [count] at TMB_TRANSCRIBE_RATE and waits for the answer; thread-safe. *text is
 * allocated (free()): one line of UTF-8 with words in it, fewer bytes than tmb_reference_info.transcript has. `stop`
 * (may be NULL) set to true ends it with TMB_ERROR_CANCELLED. Otherwise TMB_ERROR_IO (unreachable, or a status of 5xx),
 * TMB_ERROR_ARGUMENT (4xx), TMB_ERROR_LIMIT (429, 503, answers that are too large), TMB_ERROR_TIMEOUT,
 * TMB_ERROR_FORMAT (no JSON, no text, no words), TMB_ERROR_UNSUPPORTED without libcurl, TMB_ERROR_MEMORY. */
tmb_status tmb_transcribe_samples(const tmb_transcriber *transcriber, const float *samples, size_t count,
                                  const atomic_bool *stop, char **text, tmb_error *error);

/* The text in the body of an answer, as tmb_transcribe_samples hands it out. */
tmb_status tmb_transcript_read(const char *body, size_t bytes, char **text, tmb_error *error);

#endif
