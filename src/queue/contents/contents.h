/* Where the bytes of files are that several processes share. A content is named by its SHA-256, so the same bytes are
 * there once, and whoever reads them can tell whether they are what was stored. What a content belongs to is known
 * elsewhere (redis/). Any thread may call any function. */
#ifndef TMB_QUEUE_CONTENTS_H
#define TMB_QUEUE_CONTENTS_H

#include "queue/store.h"

#define TMB_SUM_SIZE 65 /* 64 hexadecimal digits and a 0 */

typedef struct tmb_contents tmb_contents;
struct tmb_contents {
    /* Stores the file at `path` of `bytes`; nothing happens if it is there already. Complete or not at all. */
    tmb_store_status (*put)(tmb_contents *contents, const char *path, const char *sum, uint64_t bytes);
    tmb_store_status (*has)(tmb_contents *contents, const char *sum);
    /* Opens it to read. `scratch` is a path for a file without a name, if it must be fetched first. */
    tmb_store_status (*open)(tmb_contents *contents, const char *sum, const char *scratch, int *descriptor);
    /* Twice is as good as once. */
    tmb_store_status (*remove)(tmb_contents *contents, const char *sum);
    /* Removes what those who died left half written; or NULL. */
    void (*sweep)(tmb_contents *contents);
    void (*close)(tmb_contents *contents); /* frees it */
    tmb_logger *logger;
    char identity[TMB_STORE_ID]; /* of the place; "": it has none */
};

/* Places are told apart by an identity, which lies there under this name. `known` is what a place must have, and if it
 * has another one, or none, nothing is made or changed there. "": nobody knows yet; then the place is made if it is not
 * there, and gets an identity if it has none. One process at a time does so. */
#define TMB_CONTENTS_IDENTITY "identity"

/* A folder that all processes see: SUM is at XX/SUM with its first two digits. */
tmb_status tmb_contents_folder(const char *folder, const char *known, tmb_logger *logger, tmb_contents **out,
                               tmb_error *error);

/* A bucket, "s3://bucket/prefix"; endpoint, region and keys come from the environment (AWS_ENDPOINT_URL, AWS_REGION,
 * AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN). TMB_ERROR_IO if it cannot be asked. */
tmb_status tmb_contents_s3(const char *url, const char *known, tmb_logger *logger, tmb_contents **out,
                           tmb_error *error);

/* The file's SHA-256 and its size. */
tmb_store_status tmb_contents_sum(tmb_logger *logger, const char *path, char sum[TMB_SUM_SIZE], uint64_t *bytes);

/* A file without a name that has the identity in it, to be read from its beginning; -1 with errno. */
int tmb_contents_identity_file(const char *identity);
/* Reads one; false: it is none. */
bool tmb_contents_identity_read(int descriptor, char identity[TMB_STORE_ID]);

/* What errno says; anything but no space and no such file is logged. */
tmb_store_status tmb_contents_errno(tmb_logger *logger, const char *what);

/* A new file at `scratch` that loses its name at once; -1 with errno. */
int tmb_contents_scratch(const char *scratch);

#endif
