/* What the remote engine's files share. */
#ifndef TMB_TTS_REMOTE_REMOTE_INTERNAL_H
#define TMB_TTS_REMOTE_REMOTE_INTERNAL_H

#include "tts/events.h"
#include "tts/remote/pool.h"
#include "tts/remote/remote.h"
#include "tts/remote/transfer.h"

typedef struct remote_engine remote_engine;

/* One request of a sequence. */
typedef struct remote_try {
    tmb_transfer transfer; /* transfer.curl NULL: there is none */
    size_t server;
} remote_try;

typedef struct remote_sequence {
    uint64_t id; /* 0 = free */
    char *body;
    remote_try tries[2]; /* the second next to the first, if that is slow and the engine hedges */
    bool held;
    bool speaking;     /* audio went out: the one request that is left is the only one there can be */
    uint64_t tried;    /* set of servers that failed */
    size_t blamed;     /* the server whose answer was an error, plus one; 0 = none */
    unsigned waits;    /* for servers that were busy */
    size_t refusals;   /* by such */
    double again_at;   /* without a request: when one is made */
    tmb_error failure; /* of the last request */
    tmb_speech_length length;
} remote_sequence;

typedef struct remote_server {
    tmb_transfer check; /* of its health */
} remote_server;

struct remote_engine {
    tmb_engine engine; /* first */
    tmb_remote_client client;
    tmb_remote_addresses addresses;
    tmb_remote_pool pool;
    remote_server servers[TMB_REMOTE_SERVERS];
    char *model;
    double stall_seconds, max_seconds, hedge_seconds;
    tmb_logger *logger;
    bool hurried; /* a step does not wait */
    uint64_t last_id;
    size_t count, live;
    remote_sequence sequences[];
};

/* ---- sequence.c: one text and the servers that it is asked of ---- */

/* The first request; it may also have to wait. TMB_ERROR_IO if all servers are down, TMB_ERROR_MEMORY. */
tmb_status tmb_remote_sequence_begin(remote_engine *remote, remote_sequence *sequence, tmb_error *error);
/* What a step does for one. */
void tmb_remote_sequence_advance(remote_engine *remote, remote_sequence *sequence, double now,
                                 const tmb_event_sink *listener);
/* Ends its requests and frees its place. */
void tmb_remote_sequence_end(remote_engine *remote, remote_sequence *sequence);
/* A listener that was behind has its own clock. */
void tmb_remote_sequence_heard(remote_sequence *sequence, double now);

#endif
