/* MP3 streams, frame by frame, before they are decoded. */
#ifndef TMB_IO_MP3_FRAMES_H
#define TMB_IO_MP3_FRAMES_H

#include "io/notes.h"
#include "io/parts.h"

/* The header of a frame of layer III. */
typedef struct tmb_mp3_head {
    int rate, channels;
    unsigned samples; /* 1152 or 576 */
    size_t size;      /* bytes, header included; 0: free format */
    size_t padding;   /* of them */
    uint32_t kind;    /* the bits that all frames of a stream share: version, layer, rate */
    size_t side;      /* bytes of side information */
} tmb_mp3_head;

/* False: `bytes` [4] begin no such frame. */
bool tmb_mp3_parse(const uint8_t *bytes, tmb_mp3_head *head);

/* A run of frames that one encoder made: what is appended to it has its own delay. */
typedef struct tmb_mp3_run {
    uint64_t start, end; /* bytes */
    uint64_t frames;
    uint64_t skip;    /* samples at the beginning that are the encoder's delay and not audio */
    uint64_t samples; /* per channel, behind those */
} tmb_mp3_run;

/* Zero-initialise. */
typedef struct tmb_mp3_plan {
    int rate, channels;
    tmb_mp3_run *runs; /* owned */
    size_t count;
    uint64_t samples; /* of all runs */
} tmb_mp3_plan;

/* Walks through [start, end). Every frame counts, whatever a Xing, Info, VBRI or LAME header says; those that promise
 * more frames than there are, and what is no frame between frames, are a loss. Tags are passed over wherever they are.
 * TMB_ERROR_FORMAT: no frame at all, or streams of different rates or channels behind one another. */
tmb_status tmb_mp3_walk(tmb_source *source, uint64_t start, uint64_t end, tmb_notes *notes, tmb_mp3_plan *plan,
                        tmb_error *error);
void tmb_mp3_plan_free(tmb_mp3_plan *plan);

/* Steps through frames in the order in which tmb_mp3_walk counts them. */
typedef struct tmb_mp3_cursor {
    tmb_source *source;
    uint64_t place, end;
    uint32_t kind;    /* of the frames so far; 0: any */
    size_t free_size; /* bytes of a frame in free format without padding; 0: not known yet */
    unsigned free_misses;
    size_t held_size;
    uint64_t held_place;
    uint8_t held[16384];
} tmb_mp3_cursor;

typedef enum tmb_mp3_step {
    TMB_MP3_FRAME, /* at `place` */
    TMB_MP3_TAG,   /* passed over; what follows is a run of its own */
    TMB_MP3_JUNK,  /* `size` bytes that are no frame were passed over */
    TMB_MP3_CUT,   /* the last frame has fewer bytes than its header says: `size` of them */
    TMB_MP3_END
} tmb_mp3_step;

void tmb_mp3_begin(tmb_source *source, uint64_t start, uint64_t end, tmb_mp3_cursor *cursor);
/* Moves behind what it found. */
tmb_mp3_step tmb_mp3_next(tmb_mp3_cursor *cursor, tmb_mp3_head *head, uint64_t *place, uint64_t *size);

#endif
