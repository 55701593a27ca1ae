/* Audio files of the store: uploads and what was spoken. */
#ifndef TMB_QUEUE_BLOBS_H
#define TMB_QUEUE_BLOBS_H

#include "queue/store.h"

typedef struct tmb_file_info {
    char id[TMB_STORE_ID];
    char name[256]; /* as the client called it, without any path; UTF-8 */
    char content_type[80];
    uint64_t bytes;
    int sample_rate;         /* Hz; 0 = not known */
    double duration;         /* seconds */
    double created, expires; /* seconds since 1970 */
} tmb_file_info;

/* A file being received, in the store's tmp/. Its bytes are booked as they are written. */
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
/* The same for an item's audio, before its result is stored by tmb_store_item_finish, which makes it the job's. A
 * restart in between removes it. On failure the file stays where it is, so that it can be tried again. */
tmb_store_status tmb_store_result_adopt(tmb_store *store, const char *path, tmb_file_info *info);

/* Opens for reading; the descriptor is the caller's and stays readable when the file expires. TMB_STORE_DAMAGED if it
 * has not as many bytes as it had. */
tmb_store_status tmb_store_file_open(tmb_store *store, const char *id, int *descriptor, tmb_file_info *info);
tmb_store_status tmb_store_file_remove(tmb_store *store, const char *id);

/* ---- For those who implement it --------------------------------------------------------------- */

typedef struct tmb_blob_operations {
    /* Takes over a complete file in tmp/, of which `booked` bytes are on the books already; they are off the books if
     * it fails, and the file stays. `pending`: an item's audio, which is removed if no result ever names it. */
    tmb_store_status (*adopt)(tmb_store *store, const char *path, bool pending, uint64_t booked, tmb_file_info *info);
    tmb_store_status (*open)(tmb_store *store, const char *id, int *descriptor, tmb_file_info *info);
    tmb_store_status (*remove)(tmb_store *store, const char *id);
} tmb_blob_operations;

#endif
