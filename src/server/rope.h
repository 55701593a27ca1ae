/* A long answer made of pieces: texts in memory, and files that are turned into base64 while they are
 * sent. A batch's answer may be hundreds of megabytes of audio; it never is in memory. */
#ifndef TMB_SERVER_ROPE_H
#define TMB_SERVER_ROPE_H

#include "base/buffer.h"

#include <stdint.h>
#include <sys/types.h>

typedef struct tmb_rope tmb_rope;

/* NULL out of memory. */
tmb_rope *tmb_rope_create(void);
void tmb_rope_destroy(tmb_rope *rope);

/* False out of memory; then the rope is only good for destroying. */
bool tmb_rope_text(tmb_rope *rope, const char *text, size_t size);
/* The file's first `size` bytes in base64. The descriptor becomes the rope's, on failure too. */
bool tmb_rope_base64_file(tmb_rope *rope, int descriptor, uint64_t size);

/* Opens a file when its turn comes: 0 and a descriptor with the bytes to send, or a status and why it cannot be. */
typedef unsigned (*tmb_rope_open)(void *user, const char *id, int *descriptor, uint64_t *bytes, char *problem,
                                  size_t size);
/* A value of a JSON object, which ends there: the file's base64 in quotes, or, if it cannot be opened when its turn
 * comes, null and a member "error" that says why. `open` and `user` outlive the rope. The rope's size is not known
 * then. */
bool tmb_rope_audio(tmb_rope *rope, tmb_rope_open open, void *user, const char *id);

/* UINT64_MAX: it is not known. */
uint64_t tmb_rope_size(const tmb_rope *rope);

/* Whether the turn of a file has come that was not opened yet. tmb_rope_go_on opens it, for which it may wait as long
 * as `open` does; false out of memory. */
bool tmb_rope_waits(const tmb_rope *rope);
bool tmb_rope_go_on(tmb_rope *rope);

/* Copies up to `capacity` bytes from `position`; returns how many, 0 at the end and if tmb_rope_waits, -1 when a file
 * cannot be read. If the size is not known, what was copied is closed and freed, and nobody may go back to it. One
 * thread at a time. */
ssize_t tmb_rope_read(tmb_rope *rope, uint64_t position, char *out, size_t capacity);

#endif
