/* The files of a repository, as the hub's description of a model lists them. */
#ifndef TMB_WEIGHTS_HUB_LIST_H
#define TMB_WEIGHTS_HUB_LIST_H

#include "timbre/timbre.h"

#define TMB_HUB_FILES_MAX 256
#define TMB_HUB_FILE_BYTES_MAX (UINT64_C(1) << 40)

typedef struct tmb_hub_file {
    char *path;
    char tag[65];   /* its checksum: SHA-256, or git's SHA-1; "" if the description does not tell */
    uint64_t bytes; /* 0 without has_bytes */
    bool has_bytes;
} tmb_hub_file;

typedef struct tmb_hub_list {
    char commit[41];
    tmb_hub_file *files; /* those that timbre reads: .json, .txt, .safetensors */
    size_t count;
} tmb_hub_list;

/* Whether timbre reads a file of this name: .json, .txt, .safetensors. */
bool tmb_hub_is_wanted(const char *path);

/* Reads the answer of /api/models/OWNER/NAME/revision/REVISION?blobs=true, [bytes] of `text` that came from `url`. A
 * description without sizes and checksums (the query was not understood) is accepted too. TMB_ERROR_FORMAT names what
 * is wrong; a file name that leaves the folder is wrong. The caller frees the list, also after an error. */
tmb_status tmb_hub_list_parse(const char *url, const char *text, size_t bytes, tmb_hub_list *out, tmb_error *error);
void tmb_hub_list_free(tmb_hub_list *list);

#endif
