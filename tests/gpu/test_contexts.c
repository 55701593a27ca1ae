/* A device's context as the whole library uses it: how many there are, what becomes of items when there is no room for
 * one, and what the caller's own libraries find afterwards. Every case is a process of its own, over the driver that
 * runs kernels on the CPU.
 */
#include "test.h"

#include "fake_driver.h"
#include "golden.h"
#include "gpu/gpu.h"
#include "pipeline/scheduler_internal.h"
#include "tts/qwen3/qwen3.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { MODELS = 2, SEQUENCES = 2 };
static const char *const names[MODELS] = {"one", "two"};

static tmb_context *open_context(const char *device, uint64_t gpu_memory) {
    tmb_model_spec specs[MODELS];
    tmb_options options;
    tmb_error error = {0};
    tmb_context *context = NULL;
    char *folders[MODELS];
    for (size_t i = 0; i < MODELS; i++) {
        folders[i] = strdup(golden_path("qwen/sample-%c/model", (int)('g' + i)));
        specs[i] = (tmb_model_spec){.name = names[i], .model = folders[i]};
    }
    tmb_options_default(&options);
    options.engine = "qwen3";
    options.models = specs;
    options.model_count = MODELS;
    options.precision = "f32";
    options.device = device;
    options.gpu_memory = gpu_memory;
    options.threads = 1;
    options.max_batch = SEQUENCES;
    EXPECT(tmb_open(&options, &context, &error) == TMB_OK);
    for (size_t i = 0; i < MODELS; i++) {
        free(folders[i]);
    }
    return context;
}

typedef struct outcome {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool over, deaf; /* deaf: takes no audio until it no longer is */
    tmb_error error;
} outcome;

static void take(void *user, const tmb_clone_result *result) {
    outcome *o = user;
    (void)pthread_mutex_lock(&o->lock);
    o->over = true;
    o->error = result->error;
    (void)pthread_cond_broadcast(&o->changed);
    (void)pthread_mutex_unlock(&o->lock);
}

static bool hear(void *user, uint64_t item, const float *samples, size_t count, int rate) {
    outcome *o = user;
    (void)item;
    (void)samples;
    (void)count;
    (void)rate;
    (void)pthread_mutex_lock(&o->lock);
    while (o->deaf) {
        (void)pthread_cond_wait(&o->changed, &o->lock);
    }
    (void)pthread_mutex_unlock(&o->lock);
    return true;
}

static void submit_frames(tmb_context *context, size_t model, int frames, bool deaf, outcome *o) {
    const tmb_clone_callbacks callbacks = {.user = o, .audio = hear, .result = take};
    tmb_clone_request request;
    tmb_error error = {0};
    uint64_t number = 0;
    *o = (outcome){.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER, .deaf = deaf};
    tmb_clone_request_default(&request);
    request.text = "Some words.";
    request.model = names[model];
    request.speaker = model == 0 ? "mira" : NULL;
    request.instruct = model == 0 ? NULL : "A low voice.";
    request.has_seed = true;
    request.max_frames = frames;
    request.guard_runaway = false;
    request.stream = true;
    request.run_pre_processing = request.run_post_processing = false;
    EXPECT(tmb_clone_submit(context, &request, &callbacks, &number, &error) == TMB_OK);
}

static void submit(tmb_context *context, size_t model, outcome *o) { submit_frames(context, model, 4, false, o); }

static tmb_error wait_for(outcome *o) {
    (void)pthread_mutex_lock(&o->lock);
    while (!o->over) {
        (void)pthread_cond_wait(&o->changed, &o->lock);
    }
    (void)pthread_mutex_unlock(&o->lock);
    return o->error;
}

/* With that model; what came of it. */
static tmb_error speak(tmb_context *context, size_t model) {
    outcome o;
    submit(context, model, &o);
    return wait_for(&o);
}

static bool speaks(tmb_context *context, size_t model) {
    const tmb_error error = speak(context, model);
    if (error.status != TMB_OK) {
        (void)fprintf(stderr, "%s\n", error.message);
    }
    return error.status == TMB_OK;
}

/* Whether the first model computes on that device. */
static bool is_on(tmb_context *context, const char *device) {
    tmb_statistics statistics;
    tmb_get_statistics(context, &statistics);
    return statistics.device != NULL && strcmp(statistics.device, device) == 0;
}

/* ---- How many there are ---- */

/* A pool that is too small for slabs. */
#define WITHOUT_SLABS ((uint64_t)400 << 20)

/* Opening needs none, and one serves two models, with their estimates. */
static void one_context(void) {
    tmb_context *context = open_context("cuda", 0);
    EXPECT(fake_counts().contexts_created == 0);
    for (size_t i = 0; i < MODELS; i++) {
        EXPECT(speaks(context, i));
    }
    EXPECT(fake_counts().contexts_created == 1 && fake_counts().streams == 2 * MODELS);
    tmb_close(&context);
    expect_nothing_left();
    context = open_context("auto", 0);
    for (size_t i = 0; i < MODELS; i++) {
        EXPECT(speaks(context, i));
    }
    EXPECT(fake_counts().contexts_created == 2 && fake_counts().streams == 2 * MODELS);
    EXPECT(is_on(context, "cuda"));
    tmb_close(&context);
    expect_nothing_left();
}

/* Bytes of the device that a model holds. */
static uint64_t model_bytes(size_t model) {
    tmb_error error = {0};
    tmb_qwen3_options options;
    uint64_t host = 0, device = 0;
    tmb_qwen3_options_default(&options);
    options.model = golden_path("qwen/sample-%c/model", (int)('g' + model));
    options.precision = "f32";
    options.device = "cuda";
    options.max_sequences = SEQUENCES;
    options.threads = 1;
    EXPECT(tmb_qwen3_model_bytes(&options, &host, &device, &error) == TMB_OK && device > 0);
    return device;
}

/* A card with room for one of two models, and for no second context: the one that is idle goes for the other. */
static void one_model_at_a_time(void) {
    enum { CONTEXT = 64 << 20 };
    uint64_t limit = 0;
    for (size_t i = 0; i < MODELS; i++) {
        limit += model_bytes(i);
    }
    limit--; /* one byte less than both */
    fake_set("CONTEXT_BYTES", CONTEXT);
    fake_set("MEMORY", CONTEXT + CONTEXT / 2 + (int64_t)limit);
    tmb_context *context = open_context("cuda", limit);
    const uint64_t before = fake_counts().contexts_created;
    for (size_t i = 0; i < 2 * MODELS; i++) {
        EXPECT(speaks(context, i % MODELS));
        EXPECT(fake_counts().streams == 2 && fake_counts().contexts == 1);
    }
    EXPECT(fake_counts().contexts_created > before);
    tmb_close(&context);
    expect_nothing_left();
}

static void test_one_context(void **state) {
    (void)state;
    in_process(one_context, NULL);
    in_process(one_context, (const char *const[]){"TIMBRE_FAKE_CUDA_EXCLUSIVE=1", NULL});
    in_process(one_model_at_a_time, NULL);
}

/* ---- None ---- */

/* Something else has the device when timbre opens, and later lets go of it. */
static void full_at_first(void) {
    enum { CONTEXT = 64 << 20, USUAL = 1 << 30 };
    static const int64_t full[] = {CONTEXT / 2, CONTEXT, CONTEXT + 100000};
    fake_set("CONTEXT_BYTES", CONTEXT);
    for (size_t i = 0; i < sizeof full / sizeof full[0]; i++) {
        fake_set("MEMORY", full[i]);
        tmb_context *context = open_context("cuda", 0);
        tmb_error error = speak(context, 0);
        EXPECT(error.status == TMB_ERROR_MEMORY);
        EXPECT(i > 0 || strstr(error.message, "cuCtxCreate came to CUDA_ERROR_OUT_OF_MEMORY") != NULL);
        fake_set("MEMORY", USUAL);
        EXPECT(speaks(context, 0) && is_on(context, "cuda"));
        tmb_close(&context);
        expect_nothing_left();
        fake_set("MEMORY", full[i]);
        context = open_context("auto", 0);
        fake_set("MEMORY", USUAL);
        EXPECT(speaks(context, 0) && is_on(context, "cuda"));
        tmb_close(&context);
        fake_set("MEMORY", full[i]);
        context = open_context("auto", 0);
        EXPECT(speaks(context, 0) && is_on(context, "cpu") && fake_counts().contexts == 0);
        tmb_close(&context);
        expect_nothing_left();
    }
}

/* Another process has the only context that there may be; and a driver that does not take the kernels. */
static void not_to_be_had(void) {
    tmb_context *context = open_context("cuda", 0);
    tmb_error error = {0};
    fake_set("MODULE_RESULT", 221);
    error = speak(context, 0);
    EXPECT(error.status == TMB_ERROR_MODEL && strstr(error.message, "JIT_COMPILER_NOT_FOUND") != NULL);
    tmb_context *other = open_context("auto", 0);
    EXPECT(speaks(other, 0) && is_on(other, "cpu"));
    tmb_close(&other);
    fake_set("MODULE_RESULT", 0);
    EXPECT(speaks(context, 0) && is_on(context, "cuda"));
    tmb_close(&context);
    expect_nothing_left();
}

static void test_none(void **state) {
    (void)state;
    in_process(full_at_first, NULL);
    in_process(not_to_be_had, NULL);
}

/* ---- One that is lost ---- */

/* Two models lose it together, one of them idle, and come to the same new one: in memory that has no room for what was
 * lost as well. The items behind those that fail are there by then, so that their model stays in use. */
static void lose_it(void) {
    enum { ITEMS = 4 };
    outcome items[ITEMS];
    tmb_context *context = open_context("cuda", WITHOUT_SLABS);
    for (size_t i = 0; i < MODELS; i++) {
        EXPECT(speaks(context, i));
    }
    fake_set("MEMORY", (int64_t)(fake_counts().allocated + fake_counts().allocated / 8));
    fake_set("HOLD", 1);
    fake_set("FAULT_LATER", 1); /* in the first step, which somebody takes part in */
    for (size_t i = 0; i < ITEMS; i++) {
        submit(context, 0, &items[i]);
    }
    fake_set("HOLD", 0);
    size_t failed = 0;
    for (size_t i = 0; i < ITEMS; i++) {
        failed += wait_for(&items[i]).status != TMB_OK;
    }
    EXPECT(failed > 0 && failed <= SEQUENCES && is_on(context, "cuda") && fake_counts().contexts_created == 2);
    for (size_t i = 0; i < 2 * MODELS; i++) {
        EXPECT(speaks(context, i % MODELS));
    }
    EXPECT(is_on(context, "cuda") && tmb_gpu_losses() == 1);
    EXPECT(fake_counts().contexts_created == 2 && fake_counts().contexts == 1);
    EXPECT(fake_counts().streams == 2 * MODELS);
    tmb_close(&context);
    expect_nothing_left();
}

/* Two models have items of unequal lengths, so that the one has a place for another item when a step of the other
 * loses the device: nobody fails who was not on it. A fault falls into every part of the whole. */
enum { MANY = 5 };

static void speak_many(tmb_context *context, outcome items[MODELS][MANY], size_t failed[MODELS]) {
    static const int frames[MANY] = {3, 8, 5, 6, 4};
    fake_set("HOLD", 1);
    for (size_t i = 0; i < MANY; i++) {
        for (size_t m = 0; m < MODELS; m++) {
            submit_frames(context, m, frames[(i + m) % MANY], false, &items[m][i]);
        }
    }
    fake_set("HOLD", 0);
    for (size_t m = 0; m < MODELS; m++) {
        failed[m] = 0;
        for (size_t i = 0; i < MANY; i++) {
            failed[m] += wait_for(&items[m][i]).status != TMB_OK;
        }
    }
}

static void lose_it_in_a_step(void) {
    enum { PARTS = 24 };
    static outcome items[MODELS][MANY];
    size_t failed[MODELS];
    int64_t kernels = 0;
    for (int64_t part = 0; part < PARTS; part += (STRIDE > 1 ? 6 : 1)) {
        tmb_context *context = open_context("cuda", 0);
        for (size_t i = 0; i < MODELS; i++) {
            EXPECT(speaks(context, i));
        }
        if (part == 0) {
            const uint64_t before = fake_counts().queued;
            speak_many(context, items, failed);
            EXPECT(failed[0] == 0 && failed[1] == 0);
            kernels = (int64_t)(fake_counts().queued - before);
        }
        fake_set("FAULT_KERNEL", 1 + kernels * part / PARTS);
        speak_many(context, items, failed);
        fake_set("FAULT_KERNEL", 0);
        EXPECT(failed[0] <= SEQUENCES && failed[1] <= SEQUENCES);
        tmb_close(&context);
        expect_nothing_left();
    }
}

/* Whether some item's sequence is left out of the steps, because nobody takes its audio. */
static bool holds_one(tmb_context *context) {
    bool held = false;
    (void)pthread_mutex_lock(&context->scheduler->lock);
    for (tmb_item *item = context->scheduler->items; item != NULL; item = item->next) {
        held |= atomic_load(&item->held);
    }
    (void)pthread_mutex_unlock(&context->scheduler->lock);
    return held;
}

/* Who is held, because nobody takes its audio, is on a device that is lost as well: the next item is spoken. */
static void lose_it_while_held(void) {
    outcome slow;
    tmb_context *context = open_context("cuda", 0);
    submit_frames(context, 0, 200, true, &slow);
    while (!holds_one(context)) {
        (void)usleep(1000);
    }
    fake_set("FAULT_KERNEL", 1);
    EXPECT(speak(context, 0).status == TMB_ERROR_INTERNAL);
    fake_set("FAULT_KERNEL", 0);
    EXPECT(speaks(context, 0) && is_on(context, "cuda") && fake_counts().contexts_created == 2);
    (void)pthread_mutex_lock(&slow.lock);
    slow.deaf = false;
    (void)pthread_cond_broadcast(&slow.changed);
    (void)pthread_mutex_unlock(&slow.lock);
    EXPECT(wait_for(&slow).status == TMB_ERROR_INTERNAL);
    tmb_close(&context);
    expect_nothing_left();
}

/* The device is lost while a model is loaded: it is loaded in a new context, and speaks there. */
static void lose_it_while_loading(void) {
    enum { PARTS = 8 };
    static const char *const devices[] = {"cuda", "auto"};
    tmb_context *context = open_context("cuda", 0);
    EXPECT(speaks(context, 1));
    const uint64_t before = fake_counts().queued, launched = fake_counts().uploads;
    EXPECT(speaks(context, 0));
    EXPECT(fake_counts().uploads > launched);
    const uint64_t both = fake_counts().queued - before;
    EXPECT(speaks(context, 0));
    const int64_t loading = (int64_t)(2 * both - (fake_counts().queued - before));
    tmb_close(&context);
    for (int64_t part = 0; part < PARTS; part += (STRIDE > 1 ? 3 : 1)) {
        const uint64_t created = fake_counts().contexts_created, losses = tmb_gpu_losses();
        context = open_context(devices[part % 2], 0);
        EXPECT(speaks(context, 1));
        fake_set("FAULT_KERNEL", 1 + loading * part / PARTS);
        EXPECT(speaks(context, 0) && is_on(context, "cuda"));
        EXPECT(tmb_gpu_losses() == losses + 1 && fake_counts().contexts_created == created + 2);
        EXPECT(speaks(context, 1) && fake_counts().contexts == 1 && fake_counts().streams == 2 * MODELS);
        tmb_close(&context);
        expect_nothing_left();
    }
}

static void test_lost(void **state) {
    (void)state;
    in_process(lose_it_while_loading, NULL);
    in_process(lose_it_while_held, NULL);
    in_process(lose_it_in_a_step, NULL);
    in_process(lose_it, NULL);
    in_process(lose_it, (const char *const[]){"TIMBRE_FAKE_CUDA_EXCLUSIVE=1", NULL});
}

/* ---- The caller's own ---- */

typedef int (*create_function)(void **context, unsigned flags, int device);
typedef int (*context_function)(void **context);

static void *symbol(const char *name) {
    void *library = dlopen(getenv("TIMBRE_CUDA_LIBRARY"), RTLD_NOW);
    void *address = library != NULL ? dlsym(library, name) : NULL;
    EXPECT(address != NULL);
    return address;
}

/* A thread whose own context is current finds it again, whatever it had timbre do. */
static void callers_own(void) {
    create_function create = NULL;
    context_function get = NULL;
    void *address = symbol("cuCtxCreate_v2"), *own = NULL, *now = NULL;
    memcpy(&create, &address, sizeof create);
    address = symbol("cuCtxGetCurrent");
    memcpy(&get, &address, sizeof get);
    EXPECT(create(&own, 0, 0) == 0);
#define EXPECT_OWN() EXPECT(get(&now) == 0 && now == own)
    char text[200];
    tmb_error error = {0};
    tmb_qwen3_options options;
    tmb_speak_request request;
    tmb_engine *engine = NULL;
    uint64_t sequence = 0;
    EXPECT(tmb_describe_gpu(0, text, sizeof text, &error) == TMB_OK);
    EXPECT_OWN();
    tmb_qwen3_options_default(&options);
    options.model = golden_path("qwen/sample-g/model");
    options.precision = "f32";
    options.device = "cuda";
    options.threads = 1;
    options.pack_directory = "";
    EXPECT(tmb_qwen3_engine_create(&options, &engine, &error) == TMB_OK);
    EXPECT_OWN();
    tmb_speak_request_default(&request);
    request.text = "Some words.";
    request.speaker = "mira";
    request.max_frames = 4;
    EXPECT(engine->operations->admit(engine, &request, NULL, &sequence, &error) == TMB_OK);
    EXPECT_OWN();
    EXPECT(engine->operations->device_room(engine, true) > 0);
    EXPECT_OWN();
    engine->operations->cancel(engine, sequence);
    EXPECT_OWN();
    engine->operations->destroy(engine);
    EXPECT_OWN();
#undef EXPECT_OWN
}

static void test_callers_own(void **state) {
    (void)state;
    in_process(callers_own, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_one_context), cmocka_unit_test(test_none),
                                       cmocka_unit_test(test_lost), cmocka_unit_test(test_callers_own)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
