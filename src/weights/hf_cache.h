/* The Hugging Face cache on disk, as the official client lays it out:
 *
 *     HUB/models--OWNER--NAME/refs/main                     the commit that "main" was
 *     HUB/models--OWNER--NAME/blobs/TAG                     a file by its checksum (SHA-256, or git's)
 *     HUB/models--OWNER--NAME/snapshots/COMMIT/PATH         a relative link to the blob
 */
#ifndef TMB_WEIGHTS_HF_CACHE_H
#define TMB_WEIGHTS_HF_CACHE_H

#include "weights/checkpoint.h"

/* HUB of this user, as the official client finds it: $HF_HUB_CACHE, $HUGGINGFACE_HUB_CACHE, $HF_HOME/hub,
 * $XDG_CACHE_HOME/huggingface/hub, ~/.cache/huggingface/hub ("~" and $NAME are understood in the variables); allocated.
 */
tmb_status tmb_hf_cache_folder(char **out, tmb_error *error);

/* HUB/models--OWNER--NAME of "OWNER/NAME"; allocated. */
tmb_status tmb_hf_repository_folder(const char *hub, const char *repository, char **out, tmb_error *error);

/* Whether `text` is a repository's name on the hub, "OWNER/NAME". */
bool tmb_hf_is_repository(const char *text);

/* Whether `folder` is a repository of the cache: it is named models--… or has snapshots/ in it. */
bool tmb_hf_is_repository_folder(const char *folder);

/* Looks for a snapshot in a repository's folder that is a whole checkpoint (tmb_checkpoint_state): that of "main",
 * otherwise any. COMPLETE: *out is its folder, allocated. INCOMPLETE: a download was begun; `reason` says what is
 * missing. *out is NULL otherwise. */
tmb_model_state tmb_hf_find_snapshot(const char *repository_folder, char **out, char reason[TMB_CHECKPOINT_REASON_MAX]);

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
