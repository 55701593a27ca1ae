/* How one request's items leave the server: a row for each mode. clone.c starts the items and counts their results; a
 * sink says where their audio goes and what the client is told. */
#ifndef TMB_SERVER_CLONE_SINK_H
#define TMB_SERVER_CLONE_SINK_H

#include "server/clone.h"
#include "server/item_run.h"
#include "server/state.h"

typedef struct tmb_clone_job tmb_clone_job;

typedef struct tmb_clone_item {
    /* First: the owner's functions get it back. `file`: COLLECT, EVENTS: into the store; WHOLE. `stream`: AUDIO,
     * EVENTS, SPEECH_EVENTS: to the client. */
    tmb_item_run run;
    tmb_clone_job *job;
    char engine[32]; /* that speaks, unless it is this server's own for certain; "" until it is known */
    bool is_clone;
    json_t *warnings; /* of the reference, for the head of an answer that is streamed; or NULL */
    char file_id[TMB_STORE_ID];
    int descriptor; /* of that file, once it is to be sent; -1 = none */
    uint64_t bytes;
    tmb_stage stage;
    double progress;
} tmb_clone_item;

struct tmb_clone_job {
    tmb_server *server;
    tmb_request *request; /* held until it is answered to the end */
    atomic_int references;
    tmb_clone_options options;
    const struct tmb_clone_sink *sink; /* of options.mode */
    const tmb_format *format;
    tmb_references *sources;
    pthread_mutex_t lock; /* of what follows */
    size_t remaining;     /* results to come, and one for the submitting thread */
    bool cancelled, streaming;
    tmb_problem problem; /* status set: the whole request is refused */
    double retry;
    size_t count;
    tmb_clone_item items[];
};

typedef struct tmb_clone_sink {
    bool has_file;             /* an item's speech goes into a file */
    bool keeps_file;           /* which becomes one of the store's */
    const char *stream_format; /* of what goes to the client while it is made; NULL: the one that was asked for */
    const char *stream_type;   /* Content-Type of that; NULL: the format's */
    const char *trailer;       /* the header that follows what is streamed; NULL: none */
    /* To the client while it is made, or NULL. `data` stands for `seconds` of audio; false ends the item. */
    bool (*bytes)(tmb_clone_item *item, const void *data, size_t size, double seconds);
    void (*progress)(tmb_clone_item *item);  /* item->stage, item->progress; or NULL */
    void (*item_done)(tmb_clone_item *item); /* run.status, run.json; or NULL */
    /* The end of an answer that was streamed. `good`: no item failed. Returns whether it ends well for the client. */
    bool (*end)(tmb_clone_job *job, bool good);
    /* The whole answer: nothing was streamed, and there is something to say. */
    void (*answer)(tmb_clone_job *job);
} tmb_clone_sink;

/* By mode. */
extern const tmb_clone_sink tmb_clone_sinks[];

/* X-Engine and X-Is-Clone, if they could not be told before. */
void tmb_clone_tell_speaker(tmb_clone_job *job);
/* The first bytes are there: the answer is a 200 from now on. */
void tmb_clone_begin_stream(const tmb_clone_item *item);

/* Opens the stored files that are going to be sent; what cannot be opened is an item that failed. */
void tmb_clone_open_audio(tmb_clone_job *job);

const char *tmb_clone_custom_id(const tmb_clone_item *item);

#endif
