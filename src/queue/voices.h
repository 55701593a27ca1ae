/* Stored voices: recordings with names, and what was prepared from them for a model. */
#ifndef TMB_QUEUE_VOICES_H
#define TMB_QUEUE_VOICES_H

#include "queue/blobs.h"

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
/* `id` NULL: whichever has the name; otherwise only this one, not another that was added under the name since. */
tmb_store_status tmb_store_voice_remove(tmb_store *store, const char *name, const char *id);
/* All of them by name, freed by tmb_voice_list_free. */
tmb_store_status tmb_store_voice_list(tmb_store *store, tmb_voice_info **out, size_t *count);
void tmb_voice_list_free(tmb_voice_info *voices, size_t count);

/* What was prepared from a voice for one model. `model` is any text. It is a cache: whatever is wrong with it, it may
 * be dropped and made again from the reference. */

/* Keeps a complete file in tmp/ as the voice's, in the place of an older one; the file is moved or removed.
 * TMB_STORE_NOT_FOUND: the voice was removed meanwhile; TMB_STORE_NO_SPACE: the quota has no room for it. */
tmb_store_status tmb_store_prepared_keep(tmb_store *store, const tmb_voice_info *info, const char *model,
                                         const char *path);
/* Opens it for reading; the descriptor stays readable when the voice is removed. */
tmb_store_status tmb_store_prepared_open(tmb_store *store, const tmb_voice_info *info, const char *model,
                                         int *descriptor);
void tmb_store_prepared_drop(tmb_store *store, const tmb_voice_info *info, const char *model);
bool tmb_store_prepared_exists(tmb_store *store, const tmb_voice_info *info, const char *model);

/* ---- For those who implement it --------------------------------------------------------------- */

typedef struct tmb_voice_operations {
    /* Takes over a complete file in tmp/ whose bytes are booked; on failure it stays. `info` has its `bytes`. */
    tmb_store_status (*add)(tmb_store *store, const char *path, tmb_voice_info *info);
    tmb_store_status (*get)(tmb_store *store, const char *name, int *descriptor, tmb_voice_info *info);
    tmb_store_status (*remove)(tmb_store *store, const char *name, const char *id);
    tmb_store_status (*list)(tmb_store *store, tmb_voice_info **out, size_t *count);
    tmb_store_status (*prepared_keep)(tmb_store *store, const tmb_voice_info *info, const char *model,
                                      const char *path);
    tmb_store_status (*prepared_open)(tmb_store *store, const tmb_voice_info *info, const char *model, int *descriptor);
    void (*prepared_drop)(tmb_store *store, const tmb_voice_info *info, const char *model);
    bool (*prepared_exists)(tmb_store *store, const tmb_voice_info *info, const char *model);
} tmb_voice_operations;

#endif
