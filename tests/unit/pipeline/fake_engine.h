/* An engine whose every step the test controls. It speaks a text that is a number: so many frames of 80 ms,
 * sample values tell sequence and frame. "refuse" is not admitted; "N fail" fails after N frames. */
#ifndef TMB_TESTS_FAKE_ENGINE_H
#define TMB_TESTS_FAKE_ENGINE_H

#include "pipeline/context.h"
#include "tts/registry.h"

#define FAKE_RATE 24000
#define FAKE_FRAME 1920
#define FAKE_MOST 64

/* What a model takes: what is said before it is loaded, and what it turns out to hold. */
typedef struct fake_sizes {
    size_t estimate, bytes, device_estimate, device_bytes;
} fake_sizes;

typedef struct fake_engine_state {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* What the test sets. */
    long steps_allowed; /* -1 = any number */
    bool creation_fails;
    bool step_fails;
    bool gate_closed; /* preparing a voice waits */
    bool load_closed; /* loading waits, when its memory is reserved */
    size_t most;      /* sequences */
    size_t sequence_bytes;
    size_t model_bytes;
    const fake_sizes *sizes; /* of the models "0", "1" and so on, or NULL: all hold model_bytes */
    size_t frame_bytes;      /* that a sequence takes for each frame of its text, in addition */
    size_t device_frame_bytes;
    bool goes_without_device; /* if there is none to be had */
    bool has_saved_voices, own_voices;
    /* What happened. */
    int loading, created, destroyed, prepared, preparing;
    size_t steps, most_live;
    char admitted[512][16]; /* the texts' beginnings, in order */
    size_t admissions;
    size_t frames[FAKE_MOST * 64]; /* by sequence: emitted so far */
    bool ended[FAKE_MOST * 64];    /* finished, failed or cancelled */
} fake_engine_state;

extern fake_engine_state fake;

/* Everything back to the beginning. */
void fake_reset(void);

/* The fake engine's row. */
extern const tmb_engine_kind fake_kind;

/* A context whose engine is the fake one. */
tmb_context *fake_context(tmb_options *options);

/* A field, read under the lock. */
#define FAKE(field)                                                                                                    \
    (__extension__({                                                                                                   \
        (void)pthread_mutex_lock(&fake.lock);                                                                          \
        __typeof__(fake.field) fake_field = fake.field;                                                                \
        (void)pthread_mutex_unlock(&fake.lock);                                                                        \
        fake_field;                                                                                                    \
    }))
/* Until a condition on fields holds. */
#define FAKE_WAIT(condition)                                                                                           \
    do {                                                                                                               \
        (void)pthread_mutex_lock(&fake.lock);                                                                          \
        while (!(condition)) {                                                                                         \
            (void)pthread_cond_wait(&fake.changed, &fake.lock);                                                        \
        }                                                                                                              \
        (void)pthread_mutex_unlock(&fake.lock);                                                                        \
    } while (false)

/* No more steps until some are allowed; lets `count` more happen. */
void fake_pause(void);
void fake_allow(long count);
/* Waits until so many steps happened, or so many admissions. */
void fake_wait_steps(size_t count);
void fake_wait_admissions(size_t count);
size_t fake_steps(void);
size_t fake_admissions(void);
void fake_open_gate(void);

/* The sample value of a frame of a sequence (1, 2, ... in order of admission). */
static inline float fake_value(uint64_t sequence, size_t frame) {
    return (float)(sequence % 100) * 0.005f + (float)(frame % 100) * 0.00001f;
}

#endif
