/* Whether a checkpoint is what it should be: all that can be said about it without speaking. */
#ifndef TMB_TTS_QWEN3_VERIFY_VERIFY_H
#define TMB_TTS_QWEN3_VERIFY_VERIFY_H

#include "timbre/timbre.h"

#include "tts/qwen3/verify/released.h"

/* Where checks are reported. */
typedef struct tmb_verify_report {
    bool (*each)(void *user, const tmb_verify_check *check);     /* false cancels */
    bool (*progress)(void *user, uint64_t done, uint64_t total); /* bytes that were read; false cancels; may be NULL */
    void *user;
    uint64_t done, total;
    size_t faults;
    bool cancelled;
} tmb_verify_report;

/* Adds a check with its verdict. */
void tmb_verify_add(tmb_verify_report *report, const char *name, tmb_verify_verdict verdict, const char *format, ...)
    TMB_PRINTF(4, 5);

/* Counts `bytes` that were read; false: cancelled. */
bool tmb_verify_advance(tmb_verify_report *report, uint64_t bytes);

/* Checks the checkpoint in `folder`, which may be damaged in any way. `name`: the released model that it is meant to
 * be, or NULL: whether it is one is seen from its files. Every fault that can be told apart is reported; the return
 * value is TMB_ERROR_CANCELLED, TMB_ERROR_MEMORY or TMB_OK, whatever was found. Reads every file twice. */
tmb_status tmb_qwen3_verify(const char *folder, const char *name, tmb_verify_report *report, tmb_error *error);

/* ---- Parts of it ---- */

/* The released model that the files in `folder` look like, or NULL. */
const tmb_released *tmb_verify_identify(const char *folder, const char *name);

/* Presence, kind, size and checksum of each file. */
void tmb_verify_files(const char *folder, const tmb_released *released, tmb_verify_report *report);

/* Values of the configuration files that differ from the released ones. */
void tmb_verify_values(const char *folder, const tmb_released *released, tmb_verify_report *report);

#endif
