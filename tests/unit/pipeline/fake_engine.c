#include "test.h"

#include "fake_engine.h"

#include "base/error.h"
#include "base/memory.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct fake_sequence {
    uint64_t id; /* 0 = free */
    size_t frame, frames;
    bool fails, held;
    tmb_voice *voice;
} fake_sequence;

typedef struct fake_engine {
    tmb_engine engine; /* first */
    fake_sizes sizes;
    uint64_t last;
    fake_sequence sequences[FAKE_MOST];
} fake_engine;

fake_engine_state fake;

void fake_reset(void) {
    memset(&fake, 0, sizeof fake);
    (void)pthread_mutex_init(&fake.lock, NULL);
    (void)pthread_cond_init(&fake.changed, NULL);
    fake.steps_allowed = -1;
    fake.most = 8;
    fake.sequence_bytes = 1000;
    fake.model_bytes = 100000;
}

static void lock(void) { (void)pthread_mutex_lock(&fake.lock); }

static void unlock(void) {
    (void)pthread_cond_broadcast(&fake.changed);
    (void)pthread_mutex_unlock(&fake.lock);
}

static void wait_change(void) { (void)pthread_cond_wait(&fake.changed, &fake.lock); }

void fake_pause(void) {
    lock();
    fake.steps_allowed = 0;
    unlock();
}

void fake_allow(long count) {
    lock();
    fake.steps_allowed = count < 0 ? -1 : fake.steps_allowed + count;
    unlock();
}

void fake_open_gate(void) {
    lock();
    fake.gate_closed = fake.load_closed = false;
    unlock();
}

void fake_wait_steps(size_t count) {
    lock();
    while (fake.steps < count) {
        wait_change();
    }
    unlock();
}

void fake_wait_admissions(size_t count) {
    lock();
    while (fake.admissions < count) {
        wait_change();
    }
    unlock();
}

size_t fake_steps(void) {
    lock();
    size_t steps = fake.steps;
    unlock();
    return steps;
}

size_t fake_admissions(void) {
    lock();
    size_t admissions = fake.admissions;
    unlock();
    return admissions;
}

static int fake_sample_rate(const tmb_engine *engine) {
    (void)engine;
    return FAKE_RATE;
}

static size_t fake_max_sequences(const tmb_engine *engine) {
    (void)engine;
    return fake.most;
}

static void destroy_voice(tmb_voice *voice) { free(voice); }

static tmb_status make_voice(tmb_voice **out, tmb_error *error) {
    *out = tmb_calloc(1, sizeof **out);
    if (*out == NULL) {
        return tmb_fail_memory(error, "a voice", 0);
    }
    (*out)->references = 1;
    (*out)->destroy = destroy_voice;
    (*out)->bytes = 500;
    return TMB_OK;
}

static tmb_status fake_prepare_voice(tmb_engine *engine, const tmb_reference *reference, bool x_vector_only,
                                     tmb_voice **out, tmb_error *error) {
    (void)engine;
    (void)x_vector_only;
    *out = NULL;
    lock();
    fake.prepared++;
    fake.preparing++;
    (void)pthread_cond_broadcast(&fake.changed);
    while (fake.gate_closed) {
        wait_change();
    }
    fake.preparing--;
    unlock();
    if (reference->text != NULL && strcmp(reference->text, "bad") == 0) {
        return tmb_fail(error, TMB_ERROR_FORMAT, "the fake encoder does not like this reference");
    }
    return make_voice(out, error);
}

static size_t fake_memory_needed(tmb_engine *engine, const tmb_speak_request *request, const tmb_voice *voice) {
    (void)engine;
    (void)voice;
    return fake.sequence_bytes + fake.frame_bytes * strtoul(request->text, NULL, 10);
}

static size_t fake_device_needed(tmb_engine *engine, const tmb_speak_request *request, const tmb_voice *voice) {
    (void)engine;
    (void)voice;
    return fake.device_frame_bytes * strtoul(request->text, NULL, 10);
}

static tmb_status fake_admit(tmb_engine *engine, const tmb_speak_request *request, tmb_voice *voice, uint64_t *id,
                             tmb_error *error) {
    fake_engine *self = (fake_engine *)engine;
    if (strcmp(request->text, "refuse") == 0) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "the fake engine refuses");
    }
    for (size_t i = 0; i < FAKE_MOST; i++) {
        fake_sequence *sequence = &self->sequences[i];
        if (sequence->id == 0) {
            char word[16] = "";
            unsigned long frames = 0;
            (void)sscanf(request->text, "%lu %15s", &frames, word);
            *sequence = (fake_sequence){.id = ++self->last, .frames = frames};
            sequence->voice = voice != NULL ? tmb_voice_retain(voice) : NULL;
            sequence->fails = strcmp(word, "fail") == 0;
            *id = sequence->id;
            lock();
            (void)snprintf(fake.admitted[fake.admissions++ % 512], 16, "%s", request->text);
            unlock();
            return TMB_OK;
        }
    }
    return tmb_fail(error, TMB_ERROR_LIMIT, "the fake engine is full");
}

/* With the lock held. */
static void end(fake_sequence *sequence) {
    fake.ended[sequence->id] = true;
    sequence->id = 0;
}

static void step_sequence(fake_sequence *sequence, tmb_engine_sink sink, void *user) {
    float samples[FAKE_FRAME];
    uint64_t id = sequence->id;
    if (sequence->frame < sequence->frames) {
        for (size_t i = 0; i < FAKE_FRAME; i++) {
            samples[i] = fake_value(id, sequence->frame);
        }
        sequence->frame++;
        lock();
        fake.frames[id] = sequence->frame;
        unlock();
        tmb_engine_event event = {.kind = TMB_ENGINE_AUDIO,
                                  .sequence = id,
                                  .samples = samples,
                                  .sample_count = FAKE_FRAME,
                                  .frames_done = sequence->frame,
                                  .progress = (double)sequence->frame / (double)sequence->frames};
        sink(user, &event);
        return;
    }
    int16_t codes[4] = {1, 2, 3, (int16_t)id};
    tmb_segment segments[2] = {{"one", 0, 1}, {"two", 1, 2}};
    tmb_engine_event event = {.kind = TMB_ENGINE_FINISHED,
                              .sequence = id,
                              .codes = codes,
                              .code_frames = 2,
                              .code_books = 2,
                              .segments = segments,
                              .segment_count = 2};
    if (sequence->fails) {
        event = (tmb_engine_event){.kind = TMB_ENGINE_FAILED, .sequence = id};
        (void)tmb_fail(&event.error, TMB_ERROR_INTERNAL, "the fake engine failed");
    }
    tmb_voice_release(&sequence->voice);
    lock();
    end(sequence);
    unlock();
    sink(user, &event);
}

static tmb_status fake_step(tmb_engine *engine, tmb_engine_sink sink, void *user, size_t *live, tmb_error *error) {
    fake_engine *self = (fake_engine *)engine;
    lock();
    if (fake.steps_allowed == 0) {
        /* As an engine that waits for something outside: not for long. */
        struct timespec until;
        (void)clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 5000000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        (void)pthread_cond_timedwait(&fake.changed, &fake.lock, &until);
    }
    bool go = fake.steps_allowed != 0;
    bool fails = fake.step_fails;
    if (go) {
        fake.steps_allowed -= fake.steps_allowed > 0;
    }
    unlock();
    if (fails) {
        return tmb_fail(error, TMB_ERROR_INTERNAL, "the fake engine broke");
    }
    size_t count = 0;
    for (size_t i = 0; i < FAKE_MOST; i++) {
        fake_sequence *sequence = &self->sequences[i];
        count += sequence->id != 0;
        if (sequence->id != 0 && go && !sequence->held) {
            step_sequence(sequence, sink, user);
        }
    }
    lock();
    fake.steps += go;
    fake.most_live = count > fake.most_live ? count : fake.most_live;
    unlock();
    *live = count;
    return TMB_OK;
}

static fake_sequence *find(tmb_engine *engine, uint64_t id) {
    for (size_t i = 0; i < FAKE_MOST; i++) {
        if (((fake_engine *)engine)->sequences[i].id == id) {
            return &((fake_engine *)engine)->sequences[i];
        }
    }
    return NULL;
}

static void fake_cancel(tmb_engine *engine, uint64_t id) {
    fake_sequence *sequence = find(engine, id);
    if (sequence != NULL) {
        tmb_voice_release(&sequence->voice);
        lock();
        end(sequence);
        unlock();
    }
}

static void fake_hold(tmb_engine *engine, uint64_t id, bool held) {
    fake_sequence *sequence = find(engine, id);
    if (sequence != NULL) {
        sequence->held = held;
    }
}

static size_t fake_model_bytes(const tmb_engine *engine) { return ((const fake_engine *)engine)->sizes.bytes; }

static size_t fake_device_bytes(const tmb_engine *engine) { return ((const fake_engine *)engine)->sizes.device_bytes; }

static void fake_destroy(tmb_engine *engine) {
    for (size_t i = 0; i < FAKE_MOST; i++) {
        tmb_voice_release(&((fake_engine *)engine)->sequences[i].voice);
    }
    lock();
    fake.destroyed++;
    unlock();
    free(engine);
}

static tmb_status fake_serialize(const tmb_voice *voice, void **data, size_t *size, tmb_error *error) {
    (void)voice;
    *data = tmb_strdup("fake voice");
    *size = 10;
    return *data != NULL ? TMB_OK : tmb_fail_memory(error, "a voice", 0);
}

static tmb_status fake_deserialize(tmb_engine *engine, const void *data, size_t size, tmb_voice **out,
                                   tmb_error *error) {
    (void)engine;
    *out = NULL;
    if (size != 10 || memcmp(data, "fake voice", 10) != 0) {
        return tmb_fail(error, TMB_ERROR_FORMAT, "not a voice");
    }
    return make_voice(out, error);
}

static tmb_engine_operations operations = {
    .name = "fake",
    .clones_voice = true,
    .sample_rate = fake_sample_rate,
    .max_sequences = fake_max_sequences,
    .prepare_voice = fake_prepare_voice,
    .memory_needed = fake_memory_needed,
    .device_needed = fake_device_needed,
    .device_bytes = fake_device_bytes,
    .admit = fake_admit,
    .step = fake_step,
    .cancel = fake_cancel,
    .model_bytes = fake_model_bytes,
    .destroy = fake_destroy,
    .hold = fake_hold,
};

static fake_sizes sizes_of(const tmb_engine_settings *settings) {
    fake_sizes sizes = fake.sizes != NULL ? fake.sizes[strtoul(settings->model, NULL, 10)]
                                          : (fake_sizes){.estimate = fake.model_bytes, .bytes = fake.model_bytes};
    if (settings->without_device != NULL && fake.goes_without_device) {
        sizes.device_estimate = sizes.device_bytes = 0;
    }
    return sizes;
}

static tmb_status fake_estimate(const tmb_engine_settings *settings, const char *folder, uint64_t *bytes,
                                tmb_error *error) {
    (void)folder;
    (void)error;
    *bytes = sizes_of(settings).estimate;
    return TMB_OK;
}

static tmb_status fake_estimate_device(const tmb_engine_settings *settings, const char *folder, uint64_t *bytes,
                                       tmb_error *error) {
    (void)folder;
    (void)error;
    *bytes = sizes_of(settings).device_estimate;
    return TMB_OK;
}

/* Others may read them: they are written when a test has changed its mind. */
static void choose_operations(void) {
    lock();
    if ((operations.voice_serialize != NULL) != fake.has_saved_voices || operations.own_voices != fake.own_voices) {
        operations.voice_serialize = fake.has_saved_voices ? fake_serialize : NULL;
        operations.voice_deserialize = fake.has_saved_voices ? fake_deserialize : NULL;
        operations.own_voices = fake.own_voices;
    }
    unlock();
}

static tmb_status fake_create(const tmb_engine_settings *settings, const char *folder, tmb_engine **out,
                              tmb_error *error) {
    (void)folder;
    *out = NULL;
    if (fake.creation_fails) {
        return tmb_fail(error, TMB_ERROR_MODEL, "the fake engine does not load");
    }
    fake_engine *engine = tmb_calloc(1, sizeof *engine);
    if (engine == NULL) {
        return tmb_fail_memory(error, "an engine", 0);
    }
    choose_operations();
    engine->engine.operations = &operations;
    engine->sizes = sizes_of(settings);
    lock();
    fake.loading++;
    (void)pthread_cond_broadcast(&fake.changed);
    while (fake.load_closed) {
        wait_change();
    }
    fake.loading--;
    fake.created++;
    unlock();
    *out = &engine->engine;
    return TMB_OK;
}

const tmb_engine_kind fake_kind = {
    .name = "fake",
    .clones_voice = true,
    .estimate = fake_estimate,
    .estimate_device = fake_estimate_device,
    .create = fake_create,
};

tmb_context *fake_context(tmb_options *options) {
    tmb_error error = {0};
    tmb_context *context = NULL;
    assert_ok(tmb_open(options, &context, &error), error);
    context->registry.only = &fake_kind;
    return context;
}
