/* What outlives a request and a restart: files (blobs.h), voices (voices.h), and jobs with their items (jobs.h).
 *
 * Each of the three is a table of operations, and so is the store itself; the functions here and in those headers only
 * call them. An implementation is a struct that begins with tmb_store and fills in the tables:
 *
 *   sqlite/   one process, one folder
 *   redis/    many processes on many machines: jobs and what is known of files in Redis, their bytes in contents/
 *
 * Whatever implements it: a result is only written once its file is complete, and what was stored without ever getting
 * a result is swept away. A killed process therefore loses nothing that was acknowledged and doubles nothing.
 *
 * Any thread may call any function. TMB_STORE_BUSY says that a call may succeed later.
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
    TMB_STORE_FULL,      /* the queue is full */
    TMB_STORE_BUSY,      /* out of descriptors or memory, or locked by another program, at the moment; it was logged */
    TMB_STORE_TOO_LARGE, /* an upload over its own limit */
    TMB_STORE_CONFLICT,  /* the key is known with another body */
    TMB_STORE_DAMAGED,   /* the file on disk is not what was stored; it was logged */
    TMB_STORE_FAILED     /* anything else; it was logged */
} tmb_store_status;

typedef struct tmb_store_options {
    uint64_t max_bytes;  /* on disk, whatever is in the folder but the database; 0 = no limit but the disk */
    double file_seconds; /* a file's life */
    double job_seconds;  /* a finished job's life */
    size_t max_jobs;     /* unfinished jobs; 0 = no limit */

    /* A store that several processes share. */
    const char *queue;               /* URL of a Redis server; NULL or "": the store is the folder */
    const char *queue_password_file; /* or NULL */
    const char *blobs;       /* a shared folder or s3://bucket/prefix; NULL or "": in Redis, if they are small */
    bool without_files;      /* it deals with no files and looks nowhere for them */
    const char *labels;      /* what this process can do, with a comma between; or NULL */
    double lease_seconds;    /* of those who take items; what has no result for longer is swept */
    double patience_seconds; /* how long an item waits for a worker that knows its voice and had nothing to do */
} tmb_store_options;

/* Whether this timbre can share a queue: it was built with Redis. */
bool tmb_store_can_share(void);

/* Opens or creates the folder (mode 0700). With a `queue` the folder only has what this process is writing.
 * TMB_ERROR_IO if it cannot be used, another process has it, or its database is damaged: the message says what to do.
 * Items that were running when the last process died are queued again. The logger outlives the store. */
tmb_status tmb_store_open(const char *folder, const tmb_store_options *options, tmb_logger *logger, tmb_store **out,
                          tmb_error *error);
void tmb_store_close(tmb_store **store);

/* Removes what has expired. It may wait for other machines. True: there is more than it had time for. */
bool tmb_store_expire(tmb_store *store);

/* Bytes on disk, and booked by what is being written. */
uint64_t tmb_store_bytes(tmb_store *store);

/* A fresh path in the store's tmp/ (on the same file system as files/); false without randomness. Files
 * there do not survive the next start. */
#define TMB_STORE_PATH 4200
bool tmb_store_temporary_path(tmb_store *store, char path[TMB_STORE_PATH]);

#define TMB_STORE_ID (TMB_ID_LENGTH + 1) /* unguessable */

/* Whether other processes use it too. */
bool tmb_store_is_shared(const tmb_store *store);

/* Figures for /metrics; false if they are not available, or there are none. */
typedef struct tmb_store_figures {
    uint64_t deliveries, taken_over, ended, dead; /* since the queue began */
    double oldest;                                /* seconds since the oldest job or call came that has not ended */
    uint64_t calls_queued, calls_running;
} tmb_store_figures;
bool tmb_store_measure(tmb_store *store, tmb_store_figures *out);

/* Bytes that something is about to write into the store's folder: false if the quota has no room for them. */
bool tmb_store_book(tmb_store *store, uint64_t bytes);
void tmb_store_unbook(tmb_store *store, uint64_t bytes);

/* ---- For those who implement it --------------------------------------------------------------- */

typedef struct tmb_store_operations {
    void (*close)(tmb_store *store); /* frees it */
    bool (*expire)(tmb_store *store);
    uint64_t (*bytes)(tmb_store *store);
    bool (*temporary_path)(tmb_store *store, char path[TMB_STORE_PATH]);
    bool (*book)(tmb_store *store, uint64_t bytes);
    void (*unbook)(tmb_store *store, uint64_t bytes);
    bool (*measure)(tmb_store *store, tmb_store_figures *out); /* NULL: the store is not shared */
} tmb_store_operations;

/* What every implementation begins with. */
struct tmb_store {
    const tmb_store_operations *operations;
    const struct tmb_blob_operations *blobs;
    const struct tmb_voice_operations *voices;
    const struct tmb_job_operations *jobs;
    tmb_logger *logger;
};

/* What errno says: no space, not found, busy, or failed, which is logged with `what`. */
tmb_store_status tmb_store_errno(tmb_store *store, const char *what);

#endif
