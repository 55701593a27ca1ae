/* Judging a reference: is there speech in it, how good is it, what should be done about it? */
#ifndef TMB_PIPELINE_REFERENCE_H
#define TMB_PIPELINE_REFERENCE_H

#include "timbre/timbre.h"

/* What a reader says of a reference's file: so many sentences of so many bytes are kept. */
#define TMB_REFERENCE_NOTES 3
#define TMB_REFERENCE_NOTE 180

typedef struct tmb_reference_sound {
    const float *samples; /* mono, as it was recorded */
    size_t count;
    int rate;
    const float *clean; /* after stage 2, aligned with it; NULL: it was not cleaned */
    size_t clean_count;
    int clean_rate;
    const char *text; /* the transcript, or NULL */
    bool antiphase;   /* left and right cancelled each other: these are the first channel's samples */
    double cancelled; /* dB that their mix lost because they did in part; 0: nothing */
    const char (*notes)[TMB_REFERENCE_NOTE]; /* of its file [note_count], as tmb_audio_warning gives them */
    size_t note_count;
} tmb_reference_sound;

/* Fills `out` in any case. TMB_ERROR_FORMAT if there is no speech to clone: the message says what was measured and what
 * to do. Speech is what stands out and what cleaning keeps: recordings of people pass down to a signal-to-noise ratio
 * of 0 dB and at any level. */
tmb_status tmb_reference_judge(const tmb_reference_sound *sound, tmb_reference_info *out, tmb_error *error);

#endif
