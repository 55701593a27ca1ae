/* Whether a folder holds a whole Qwen3-TTS checkpoint, seen without loading it. */
#ifndef TMB_WEIGHTS_CHECKPOINT_H
#define TMB_WEIGHTS_CHECKPOINT_H

#include "timbre/timbre.h"

#define TMB_CHECKPOINT_REASON_MAX 256

/* Looks at every file that a checkpoint needs: it is there, it is no broken link, no empty file and no Git LFS pointer,
 * and a file of weights is as long as its own header says. `reason` (may be NULL) names the first fault.
 * TMB_MODEL_ABSENT: the folder is none, or nothing in it is of a checkpoint. TMB_MODEL_INCOMPLETE: something is there
 * and something is not. Reads the weights' headers only. */
tmb_model_state tmb_checkpoint_state(const char *folder, char reason[TMB_CHECKPOINT_REASON_MAX]);

/* The same with a status: TMB_ERROR_MEMORY if memory ran out while it looked; *state says nothing then. */
tmb_status tmb_checkpoint_examine(const char *folder, tmb_model_state *state, char reason[TMB_CHECKPOINT_REASON_MAX],
                                  tmb_error *error);

/* Whether the file at `path` is a Git LFS pointer: what a clone without `git lfs` leaves in a large file's place. */
bool tmb_is_lfs_pointer(const char *path);

#endif
