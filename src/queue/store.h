/* What outlives a request and a restart: files (blobs.h), voices (voices.h), and jobs with their items (jobs.h).
 *
 * Everything is in one folder: state.db (SQLite in WAL mode), files/, voices/, tmp/, lost+found/. A row is only written
 * once its file is complete on disk, and a file without a row is moved to lost+found at the next start. A killed
 * process therefore loses nothing that was acknowledged and doubles nothing.
 *
 * Any thread may call any function. Those that write take turns, and say TMB_STORE_BUSY if another program keeps the
 * database locked for seconds; those that only read do not wait for them. Only one process may have a folder open.
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
} tmb_store_options;

/* Opens or creates the folder (mode 0700). TMB_ERROR_IO if it cannot be used, another process has it, or its database
 * is damaged: the message says what to do. Items that were running when the last process died are queued again. */
tmb_status tmb_store_open(const char *folder, const tmb_store_options *options, tmb_logger *logger, tmb_store **out,
                          tmb_error *error);
void tmb_store_close(tmb_store **store);

/* Removes what has expired. */
void tmb_store_expire(tmb_store *store);

/* Bytes on disk, and booked by what is being written. */
uint64_t tmb_store_bytes(tmb_store *store);

/* A fresh path in the store's tmp/ (on the same file system as files/); false without randomness. Files
 * there do not survive the next start. */
#define TMB_STORE_PATH 4200
bool tmb_store_temporary_path(tmb_store *store, char path[TMB_STORE_PATH]);

#define TMB_STORE_ID (TMB_ID_LENGTH + 1) /* unguessable */

#endif
