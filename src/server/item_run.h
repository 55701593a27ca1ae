/* One item's life, alike for a request that waits, for a voice that is designed, and for a job or a call that the
 * worker took: its file is opened, it is submitted, what is spoken goes to its outputs, it ends, it is described. Where
 * the speech goes besides, and what the end means, is its owner's affair. */
#ifndef TMB_SERVER_ITEM_RUN_H
#define TMB_SERVER_ITEM_RUN_H

#include "server/item.h"
#include "server/output.h"
#include "server/state.h"

typedef struct tmb_item_run tmb_item_run;

/* Called by the threads that the library calls back with, never two at a time for one item. */
typedef struct tmb_item_owner {
    /* It is spoken by this process. Otherwise wherever requests are: here, or by a worker that takes it from the queue.
     */
    bool here;
    /* The outputs have these samples already. False ends the item. */
    bool (*audio)(tmb_item_run *run, const float *samples, size_t count, int rate);
    void (*progress)(tmb_item_run *run, tmb_stage stage, double fraction); /* if `wants_progress` */
    /* Before the first audio, if `wants_reference`. */
    void (*reference)(tmb_item_run *run, const tmb_reference_info *reference);
    void (*speaks)(tmb_item_run *run, const char *engine, bool is_clone); /* before the first audio; or NULL */
    /* The item has ended, its outputs are complete: `error` says how. The run may be gone when this returns. */
    void (*ended)(tmb_item_run *run, const tmb_clone_result *result);
} tmb_item_owner;

struct tmb_item_run {
    tmb_server *server;
    const tmb_item_owner *owner;
    const json_t *arguments; /* borrowed: the item is number `index` of them */
    size_t index;
    bool wants_progress, wants_reference;
    tmb_output *file; /* into `path`, or NULL */
    const tmb_format *format;
    char path[TMB_STORE_PATH];
    tmb_output *stream; /* or NULL */

    pthread_mutex_t lock; /* of what follows */
    uint64_t number;      /* the library's; 0 = not submitted, or over */
    bool cancelled;

    /* The callbacks' own, then the owner's. */
    tmb_error error;   /* of our own side, before the library's */
    unsigned status;   /* what a request of this item alone would get; 0 = it is spoken */
    const char *field; /* that was to blame, or NULL */
    char message[512]; /* why it failed */
    json_t *json;      /* tmb_item_run_describe's */
};

/* With the zeros of tmb_calloc or an initialiser. */
void tmb_item_run_init(tmb_item_run *run, tmb_server *server, const tmb_item_owner *owner, const json_t *arguments,
                       size_t index);
/* With everything temporary: a file that nobody took is removed. */
void tmb_item_run_free(tmb_item_run *run);

/* Opens a temporary file for the speech and books its bytes. `rate` and `speed` as for tmb_output_to_file. */
tmb_status tmb_item_run_to_file(tmb_item_run *run, const tmb_format *format, int rate, double speed, tmb_error *error);

/* Submits the item. TMB_OK: `ended` is called once, perhaps before this returns. Otherwise it is not. */
tmb_status tmb_item_run_submit(tmb_item_run *run, const tmb_item_inputs *inputs, tmb_error *error);
/* From any thread, at any time from init to free. Waits for nothing. */
void tmb_item_run_cancel(tmb_item_run *run);
bool tmb_item_run_is_cancelled(tmb_item_run *run);

/* What the finished file is, for a store that takes it over and books it itself. `name` is without the ending. */
void tmb_item_run_hand_over(tmb_item_run *run, const char *name, tmb_file_info *info);

/* `json` gets the item's fields in an answer: what was spoken if `status` is 0, otherwise `message`. */
void tmb_item_run_describe(tmb_item_run *run, const tmb_clone_result *result);

#endif
