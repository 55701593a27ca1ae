/* An installed ffmpeg as a child process that decodes and encodes what libsndfile does not: no shell, no network, no
 * file but the one it is given, bounded in time, memory and output. */
#ifndef TMB_IO_FFMPEG_H
#define TMB_IO_FFMPEG_H

#include "base/child.h"

/* The head of what it writes: a WAV file of 32-bit floats whose length is not known. */
typedef struct tmb_ffmpeg_head {
    int rate, channels;
    uint32_t channel_mask;
} tmb_ffmpeg_head;

/* More bytes of head are refused. */
#define TMB_FFMPEG_HEAD_MAX 4096

/* Bytes before the first sample; 0: the head goes on behind `size`; SIZE_MAX: it is none. */
size_t tmb_ffmpeg_parse_head(const uint8_t *data, size_t size, tmb_ffmpeg_head *head);

/* Whether there is one, on PATH. */
bool tmb_ffmpeg_is_installed(void);

/* Starts it with arguments behind the common ones, NULL at the end. TMB_ERROR_UNSUPPORTED when none is installed;
 * `what` needs it. */
tmb_status tmb_ffmpeg_start(const char *const *arguments, tmb_child_input kind, int file, const char *what,
                            tmb_child *child, tmb_error *error);

/* What it says of its failure, one line of printable ASCII without its internal names; "" when it says nothing. */
void tmb_ffmpeg_complaint(const tmb_child *child, char line[160]);

/* Waits until it has ended by itself, killing it after some seconds; returns its exit code. */
int tmb_ffmpeg_wait(tmb_child *child);

/* Waits until its output can be read (or, with `writing`, its input be written); false: nothing for too long. */
bool tmb_ffmpeg_poll(const tmb_child *child, bool writing);

#endif
