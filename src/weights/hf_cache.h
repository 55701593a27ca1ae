/* The Hugging Face cache on disk, as the official client lays it out:
 *
 *     HUB/models--OWNER--NAME/refs/main                     the commit that "main" was
 *     HUB/models--OWNER--NAME/blobs/TAG                     a file by its checksum (SHA-256, or git's)
 *     HUB/models--OWNER--NAME/snapshots/COMMIT/PATH         a relative link to the blob
 */
#ifndef TMB_WEIGHTS_HF_CACHE_H
#define TMB_WEIGHTS_HF_CACHE_H

#include "timbre/timbre.h"

/* HUB: $HF_HUB_CACHE, $HF_HOME/hub, $XDG_CACHE_HOME/huggingface/hub, ~/.cache/huggingface/hub; allocated. */
tmb_status tmb_hf_cache_folder(char **out, tmb_error *error);

/* HUB/models--OWNER--NAME of "OWNER/NAME"; allocated. */
tmb_status tmb_hf_repository_folder(const char *repository, char **out, tmb_error *error);

/* The folder of the snapshot of `repository` that is a whole checkpoint (tmb_hf_is_checkpoint): that of "main", else
 * any; allocated. *out NULL with TMB_OK where there is none. */
tmb_status tmb_hf_find_snapshot(const char *repository, char **out, tmb_error *error);

/* Whether `folder` has the files of a Qwen3-TTS checkpoint; `missing` (may be NULL) names the first that is not there.
 */
bool tmb_hf_is_checkpoint(const char *folder, char missing[64]);

/* Bytes of all files below a folder, links followed. */
uint64_t tmb_hf_folder_bytes(const char *folder);

/* A file's name inside a repository: relative, plain components, no "..". */
bool tmb_hf_is_path(const char *path);

/* 40 hexadecimal digits; and what may name a blob: 40 or 64 of them. */
bool tmb_hf_is_commit(const char *text);
bool tmb_hf_is_tag(const char *text);

/* The links of a snapshot: makes snapshots/COMMIT/PATH point at blobs/TAG, replacing what is there. */
tmb_status tmb_hf_link(const char *repository_folder, const char *commit, const char *path, const char *tag,
                       tmb_error *error);

#endif
