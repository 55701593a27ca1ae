/* What outlives a request and a restart: files, voices, and jobs with their items.
 *
 * Everything is in one folder: state.db (SQLite in WAL mode), files/, voices/, tmp/. The database is the
 * truth: a file on disk without a row is removed at the next start, and a row is only written once its
 * file is complete on disk. A killed process therefore loses nothing that was acknowledged and doubles
 * nothing: an item's result is written in the transaction that takes the item out of the queue.
 *
 * Any thread may call any function; they are serialised on one lock. Only one process may have a folder
 * open.
 */
#ifndef TMB_QUEUE_STORE_H
#define TMB_QUEUE_STORE_H

#include "base/log.h"
#include "base/name.h"
#include "base/text.h"
#include "timbre/timbre.h"

typedef struct tmb_store tmb_store;

typedef enum tmb_store_status {
    TMB_STORE_OK = 0,
    TMB_STORE_NOT_FOUND,
    TMB_STORE_EXISTS,    /* the name is taken */
    TMB_STORE_IN_USE,    /* a job still needs it */
    TMB_STORE_NO_SPACE,  /* the disk or the store's quota is full */
    TMB_STORE_FULL,      /* as many jobs as may wait are waiting */
    TMB_STORE_BUSY,      /* out of descriptors or memory at the moment; it was logged */
    TMB_STORE_TOO_LARGE, /* an upload over its own limit */
    TMB_STORE_FAILED     /* anything else; it was logged */
} tmb_store_status;

typedef struct tmb_store_options {
    uint64_t max_bytes;  /* of files and voices together; 0 = no limit but the disk */
    double file_seconds; /* a file's life */
    double job_seconds;  /* a finished job's life */
    size_t max_jobs;     /* unfinished jobs; 0 = no limit */
} tmb_store_options;

/* Opens or creates the folder (mode 0700). TMB_ERROR_IO where it cannot be used or another process has
 * it; items that were running when the last process died are queued again. */
tmb_status tmb_store_open(const char *folder, const tmb_store_options *options, tmb_logger *logger, tmb_store **out,
                          tmb_error *error);
void tmb_store_close(tmb_store **store);

/* Removes what has expired. */
void tmb_store_expire(tmb_store *store);

/* Bytes of files and voices. */
uint64_t tmb_store_bytes(tmb_store *store);

/* A fresh path in the store's tmp/ (on the same file system as files/); false without randomness. Files
 * there do not survive the next start. */
#define TMB_STORE_PATH 4200
bool tmb_store_temporary_path(tmb_store *store, char path[TMB_STORE_PATH]);

/* ---- Files --------------------------------------------------------------------------------- */

#define TMB_STORE_ID (TMB_ID_LENGTH + 1) /* unguessable */

typedef struct tmb_file_info {
    char id[TMB_STORE_ID];
    char name[256]; /* as the client called it, without any path; UTF-8 */
    char content_type[80];
    uint64_t bytes;
    int sample_rate;         /* Hz; 0 = not known */
    double duration;         /* seconds */
    double created, expires; /* seconds since 1970 */
} tmb_file_info;

/* A file being received. */
typedef struct tmb_upload tmb_upload;
tmb_store_status tmb_upload_begin(tmb_store *store, uint64_t max_bytes, tmb_upload **out);
tmb_store_status tmb_upload_write(tmb_upload *upload, const void *data, size_t size);
uint64_t tmb_upload_bytes(const tmb_upload *upload);
/* Where its bytes are, for a look at them before it is kept; all of them are on disk. */
const char *tmb_upload_path(tmb_upload *upload);
void tmb_upload_abort(tmb_upload **upload);

/* Makes a complete file in tmp/ one of the store's; `info` brings name, content type, rate, duration and
 * gets the rest. Moves the file; on failure removes it. */
tmb_store_status tmb_store_file_adopt(tmb_store *store, const char *path, tmb_file_info *info);
/* The same for an upload, which is freed in any case. */
tmb_store_status tmb_upload_keep(tmb_upload **upload, tmb_file_info *info);

/* Opens for reading; the descriptor is the caller's and stays readable when the file expires. */
tmb_store_status tmb_store_file_open(tmb_store *store, const char *id, int *descriptor, tmb_file_info *info);
tmb_store_status tmb_store_file_remove(tmb_store *store, const char *id);

/* ---- Voices -------------------------------------------------------------------------------- */

typedef struct tmb_voice_info {
    char name[TMB_NAME_SIZE];
    char id[TMB_STORE_ID];
    char content_type[80];
    char language[32];
    char *ref_text; /* or NULL; freed by tmb_voice_info_free */
    bool x_vector_only, run_pre_processing;
    uint64_t bytes;
    double duration, created;
} tmb_voice_info;

void tmb_voice_info_free(tmb_voice_info *info);

/* Keeps an upload as a voice's reference; the upload is freed in any case. */
tmb_store_status tmb_store_voice_add(tmb_store *store, tmb_upload **upload, tmb_voice_info *info);
/* The reference opened for reading (`descriptor` may be NULL). */
tmb_store_status tmb_store_voice_get(tmb_store *store, const char *name, int *descriptor, tmb_voice_info *info);
tmb_store_status tmb_store_voice_remove(tmb_store *store, const char *name);
/* Calls back for each voice, by name; the info is valid during the call. False stops. */
tmb_store_status tmb_store_voice_each(tmb_store *store, bool (*each)(void *user, const tmb_voice_info *info),
                                      void *user);
/* Where a voice prepared for one model is kept (whether it exists or not). `model` is any text. */
void tmb_store_voice_prepared_path(tmb_store *store, const tmb_voice_info *info, const char *model,
                                   char path[TMB_STORE_PATH]);

/* ---- Jobs ---------------------------------------------------------------------------------- */

typedef enum tmb_item_state {
    TMB_ITEM_QUEUED = 0,
    TMB_ITEM_RUNNING,
    TMB_ITEM_DONE,
    TMB_ITEM_FAILED,
    TMB_ITEM_STATES
} tmb_item_state;

typedef struct tmb_job_info {
    char id[TMB_STORE_ID];
    char label[257];
    double created, finished; /* seconds since 1970; finished 0 = not yet */
    size_t items[TMB_ITEM_STATES];
    size_t total;
} tmb_job_info;

/* A new job; `requests` [count] are opaque texts. `files` [file_count] are ids that must live as long as
 * the job; those in `owned` [file_count] are removed with it. A job with the same non-NULL `repeat_key`
 * is found instead of added (info->id says which). */
tmb_store_status tmb_store_job_add(tmb_store *store, const char *label, const char *repeat_key,
                                   const char *const *requests, size_t count, const char *const *files,
                                   const bool *owned, size_t file_count, tmb_job_info *info);
tmb_store_status tmb_store_job_get(tmb_store *store, const char *id, tmb_job_info *info);
/* Removes a job and what it owns. What tmb_store_item_finish brings for it afterwards is dropped. */
tmb_store_status tmb_store_job_remove(tmb_store *store, const char *id);
/* Newest first, at most `limit`. */
tmb_store_status tmb_store_job_each(tmb_store *store, size_t limit, bool (*each)(void *user, const tmb_job_info *info),
                                    void *user);

typedef struct tmb_job_item {
    size_t position; /* in the job, from 0 */
    tmb_item_state state;
    const char *request;
    const char *result; /* or NULL */
    const char *file;   /* id of its audio, or NULL */
} tmb_job_item;

/* Calls back for each item, in order; the item is valid during the call. False stops. */
tmb_store_status tmb_store_item_each(tmb_store *store, const char *job,
                                     bool (*each)(void *user, const tmb_job_item *item), void *user);

/* An item taken from the queue. */
typedef struct tmb_taken_item {
    char job[TMB_STORE_ID];
    int64_t job_number; /* small and rising; for taking turns */
    size_t position;
    char *request; /* free() */
} tmb_taken_item;

/* Marks the next queued item as running: jobs take turns, beginning with the first job after
 * `after_job`. TMB_STORE_NOT_FOUND where nothing is queued. */
tmb_store_status tmb_store_item_take(tmb_store *store, int64_t after_job, tmb_taken_item *out);
/* Puts a running item back. */
tmb_store_status tmb_store_item_return(tmb_store *store, const tmb_taken_item *item);
/* Ends a running item, once: with `path` (a complete file in tmp/, moved) and `info` as in
 * tmb_store_file_adopt, or without audio. TMB_STORE_NOT_FOUND where the job is gone or the item is not
 * running: then nothing is stored. `result` is written by `describe` after info->id is known; it returns
 * a text to be freed, or NULL on failure. */
tmb_store_status tmb_store_item_finish(tmb_store *store, const tmb_taken_item *item, tmb_item_state state,
                                       const char *path, tmb_file_info *info,
                                       char *(*describe)(void *user, const tmb_file_info *info), void *user);

/* Items queued and running over all jobs. */
void tmb_store_item_counts(tmb_store *store, size_t *queued, size_t *running);

#endif
