/* What becomes of items on a small or failing GPU: the whole library over the driver that runs kernels on the CPU.
 * Every case is a process of its own, since a process loads a driver once.
 */
#include "test.h"

#include "fake_driver.h"
#include "golden.h"
#include "gpu/gpu.h"
#include "tts/qwen3/backend.h"
#include "tts/qwen3/qwen3.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_ITEMS = 32, MOST_INSTRUCT = 800 };

typedef struct outcomes {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    size_t over, finished;
    tmb_error errors[MOST_ITEMS];
} outcomes;

typedef struct item {
    outcomes *all;
    size_t index;
} item;

static void take(void *user, const tmb_clone_result *result) {
    item *i = user;
    outcomes *all = i->all;
    (void)pthread_mutex_lock(&all->lock);
    all->over++;
    all->finished += result->error.status == TMB_OK;
    all->errors[i->index] = result->error;
    (void)pthread_cond_broadcast(&all->changed);
    (void)pthread_mutex_unlock(&all->lock);
}

static tmb_context *open_unloading(const char *device, uint64_t gpu_memory, int max_batch, double idle_unload) {
    tmb_options options;
    tmb_options_default(&options);
    options.engine = "qwen3";
    options.model = golden_path("qwen/sample-g/model");
    options.precision = "f32";
    options.device = device;
    options.gpu_memory = gpu_memory;
    options.threads = 1;
    options.max_batch = max_batch;
    options.idle_unload = idle_unload;
    tmb_error error = {0};
    tmb_context *context = NULL;
    EXPECT(tmb_open(&options, &context, &error) == TMB_OK);
    return context;
}

static tmb_context *open_context(const char *device, uint64_t gpu_memory, int max_batch) {
    return open_unloading(device, gpu_memory, max_batch, 0);
}

/* The first item is at its first frame until all have been submitted. `instruct` (may be NULL) is theirs but for its
 * first letter. */
static void speak_as(tmb_context *context, size_t count, const char *instruct, outcomes *all) {
    static item items[MOST_ITEMS];
    fake_set("HOLD", count > 1);
    *all = (outcomes){.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    for (size_t i = 0; i < count; i++) {
        tmb_clone_request request;
        tmb_error error = {0};
        uint64_t number = 0;
        tmb_clone_request_default(&request);
        request.text = "Some words.";
        request.speaker = "mira";
        char own[MOST_INSTRUCT + 1] = {0};
        if (instruct != NULL) {
            (void)snprintf(own, sizeof own, "%c%s", (char)('a' + i), instruct + 1);
            request.instruct = own;
        }
        request.has_seed = true;
        request.seed = i;
        request.max_frames = 4;
        request.run_pre_processing = request.run_post_processing = false;
        items[i] = (item){all, i};
        const tmb_clone_callbacks callbacks = {.user = &items[i], .result = take};
        EXPECT(tmb_clone_submit(context, &request, &callbacks, &number, &error) == TMB_OK);
    }
    fake_set("HOLD", 0);
    (void)pthread_mutex_lock(&all->lock);
    while (all->over < count) {
        (void)pthread_cond_wait(&all->changed, &all->lock);
    }
    (void)pthread_mutex_unlock(&all->lock);
}

static void speak(tmb_context *context, size_t count, outcomes *all) { speak_as(context, count, NULL, all); }

/* Bytes of the device that one of speak_as's items takes. */
static uint64_t item_bytes(const char *instruct) {
    tmb_error error = {0};
    tmb_engine *engine = NULL;
    tmb_qwen3_options options;
    tmb_speak_request request;
    tmb_qwen3_options_default(&options);
    options.model = golden_path("qwen/sample-g/model");
    options.precision = "f32";
    options.device = "cuda";
    options.threads = 1;
    options.pack_directory = "";
    EXPECT(tmb_qwen3_engine_create(&options, &engine, &error) == TMB_OK);
    tmb_speak_request_default(&request);
    request.text = "Some words.";
    request.speaker = "mira";
    request.instruct = instruct;
    request.max_frames = 4;
    uint64_t bytes = engine->operations->device_needed(engine, &request, NULL);
    engine->operations->destroy(engine);
    EXPECT(bytes > 0);
    return bytes;
}

/* Bytes that the model reserves, with which one item is spoken; of a pool that has no slabs. */
static uint64_t model_bytes(void) {
    outcomes all;
    tmb_statistics model;
    tmb_context *probe = open_context("cuda", (uint64_t)256 << 20, 16);
    speak(probe, 1, &all);
    EXPECT(all.finished == 1);
    tmb_get_statistics(probe, &model);
    EXPECT(model.device != NULL && strcmp(model.device, "cuda") == 0 && model.device_memory_reserved > 0);
    tmb_close(&probe);
    return model.device_memory_reserved;
}

/* 32 items on a GPU that holds 8: they wait for each other, and what is allocated stays within the budget. */
static void crowd(void) {
    outcomes all;
    tmb_statistics statistics;
    uint64_t limit = model_bytes() + 8 * item_bytes(NULL);
    fake_set("MEMORY", (int64_t)(limit * 2));
    tmb_fake_cuda_counts before = fake_counts();
    tmb_context *context = open_context("cuda", limit, 16);
    speak(context, MOST_ITEMS, &all);
    EXPECT(all.finished == MOST_ITEMS);
    tmb_get_statistics(context, &statistics);
    EXPECT(statistics.device_memory_budget == limit && statistics.device_memory_reserved <= limit);
    tmb_close(&context);
    EXPECT(before.allocated == 0);
    EXPECT(fake_counts().most_allocated > before.most_allocated && fake_counts().most_allocated <= limit);
    expect_nothing_left();
    /* A model that can never fit: told with both numbers, or left to the CPU. */
    context = open_context("cuda", 100000, 16);
    speak(context, 1, &all);
    EXPECT(all.finished == 0 && all.errors[0].status == TMB_ERROR_MEMORY);
    EXPECT(strstr(all.errors[0].message, "97.7 KiB: raise it (--gpu-memory)") != NULL);
    tmb_close(&context);
    context = open_context("auto", 100000, 16);
    speak(context, 1, &all);
    tmb_get_statistics(context, &statistics);
    EXPECT(all.finished == 1 && strcmp(statistics.device, "cpu") == 0);
    tmb_close(&context);
}

/* Beginnings of prompts that are longer than those that are reserved for, of more voices than are remembered: what is
 * kept of them stays within what the model has reserved. */
static void crowd_of_voices(void) {
    enum { VOICES = 9 };
    outcomes all;
    char instruct[MOST_INSTRUCT + 1] = {0};
    for (size_t i = 0; i < MOST_INSTRUCT; i++) {
        instruct[i] = " the"[i % 4];
    }
    uint64_t limit = model_bytes() + 2 * item_bytes(instruct);
    tmb_context *context = open_context("cuda", limit, 16);
    speak_as(context, VOICES, instruct, &all);
    EXPECT(all.finished == VOICES);
    tmb_close(&context);
    EXPECT(fake_counts().most_allocated <= limit);
    expect_nothing_left();
}

/* What a GPU must have to be chosen: the model with the voices that it remembers, and room for an utterance. */
static uint64_t chosen_bytes(const tmb_net_files *files, const tmb_net_options *options) {
    enum { REMEMBERED = 8, POSITIONS_REMEMBERED = 96, POSITIONS = 1024 };
    const tmb_qwen3_backend *backend = &tmb_qwen3_cuda_backend;
    tmb_error error = {0};
    tmb_net_bytes model, voice, one;
    EXPECT(backend->estimate(files, options, &model, &error) == TMB_OK);
    EXPECT(backend->estimate_utterance(files, options, POSITIONS_REMEMBERED, &voice, &error) == TMB_OK);
    EXPECT(backend->estimate_utterance(files, options, POSITIONS, &one, &error) == TMB_OK);
    return model.device + REMEMBERED * voice.device + one.device;
}

/* The same with all networks, without the encoders, without the codec decoder either. */
static void all_chosen_bytes(const char *model, size_t sequences, uint64_t bytes[3]) {
    tmb_error error = {0};
    tmb_qwen3_config config;
    tmb_safetensors *weights = NULL;
    tmb_net_options options = {.threads = 1, .sequences = sequences};
    EXPECT(tmb_qwen3_config_read(golden_path("qwen/%s/model", model), &config, &error) == TMB_OK);
    EXPECT(tmb_safetensors_open(golden_path("qwen/%s/model", model), &weights, &error) == TMB_OK);
    const tmb_net_files files = {.config = &config, .weights = weights};
    for (int left = 0; left < 3; left++) {
        options.encoders_on_host = left > 0;
        options.codec_on_host = left > 1;
        bytes[left] = chosen_bytes(&files, &options);
    }
    tmb_safetensors_close(&weights);
}

/* With "auto" the encoders are the first to leave a GPU that is too small, if the model has any, then the codec decoder
 * does, then everything; nothing fails. */
static void fall_back(void) {
    enum { SEQUENCES = 4 };
    outcomes all;
    uint64_t bytes[3];
    all_chosen_bytes("sample-g", SEQUENCES, bytes);
    EXPECT(bytes[0] == bytes[1] && bytes[1] > bytes[2]);
    const struct {
        uint64_t limit;
        const char *device;
        bool codec;
    } cases[] = {{0, "cuda", true},
                 {bytes[0], "cuda", true},
                 {bytes[0] - 1, "cuda", false},
                 {bytes[2], "cuda", false},
                 {bytes[2] - 1, "cpu", false}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tmb_statistics statistics;
        tmb_context *context = open_context("auto", cases[i].limit, SEQUENCES);
        speak(context, 2, &all);
        tmb_get_statistics(context, &statistics);
        EXPECT(all.finished == 2 && strcmp(statistics.device, cases[i].device) == 0);
        EXPECT(cases[i].limit == 0 || statistics.device_memory_reserved <= cases[i].limit);
        EXPECT(fake_counts().streams == (cases[i].device[1] == 'p' ? 0 : cases[i].codec ? 2 : 1));
        tmb_close(&context);
    }
    expect_nothing_left();
}

static tmb_engine *open_cloning(const char *device, uint64_t gpu_memory, uint64_t *device_bytes) {
    tmb_error error = {0};
    tmb_engine *engine = NULL;
    tmb_qwen3_options options;
    uint64_t host = 0;
    tmb_qwen3_options_default(&options);
    options.model = golden_path("qwen/sample-f/model");
    options.precision = "f32";
    options.device = device;
    options.gpu_memory = gpu_memory;
    options.max_sequences = 2;
    options.threads = 1;
    options.pack_directory = "";
    EXPECT(tmb_qwen3_model_bytes(&options, &host, device_bytes, &error) == TMB_OK);
    EXPECT(tmb_qwen3_engine_create(&options, &engine, &error) == TMB_OK);
    return engine;
}

/* The same of a model that clones. */
static void fall_back_encoders(void) {
    uint64_t bytes[3], device = 0;
    all_chosen_bytes("sample-f", 2, bytes);
    EXPECT(bytes[0] > bytes[1] && bytes[1] > bytes[2]);
    const struct {
        uint64_t limit, streams, background;
    } cases[] = {{bytes[0], 3, 1},     {bytes[0] - 1, 2, 0}, {bytes[1], 2, 0},
                 {bytes[1] - 1, 1, 0}, {bytes[2], 1, 0},     {bytes[2] - 1, 0, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tmb_engine *engine = open_cloning("auto", cases[i].limit, &device);
        EXPECT(fake_counts().streams == cases[i].streams && fake_counts().background_streams == cases[i].background);
        EXPECT(device == engine->operations->device_bytes(engine) && fake_counts().allocated <= device);
        engine->operations->destroy(engine);
    }
    /* An allocation that fails although there is room. */
    const uint64_t before = fake_counts().allocations;
    tmb_engine *engine = open_cloning("auto", bytes[0], &device);
    const int64_t allocations = (int64_t)(fake_counts().allocations - before);
    engine->operations->destroy(engine);
    for (int64_t n = 1; n <= allocations; n += STRIDE) {
        fake_set("FAIL_ALLOCATION", n);
        engine = open_cloning("auto", bytes[0], &device);
        EXPECT(fake_counts().background_streams == 0 && fake_counts().streams > 0);
        fake_set("FAIL_ALLOCATION", 0);
        engine->operations->destroy(engine);
    }
    expect_nothing_left();
}

static void test_fall_back(void **state) {
    (void)state;
    in_process(fall_back, NULL);
    in_process(fall_back_encoders, NULL);
}

static void test_crowd(void **state) {
    (void)state;
    in_process(crowd, NULL);
    in_process(crowd_of_voices, NULL);
}

/* Of a pool that is too small for slabs: every allocation is the driver's. */
#define WITHOUT_SLABS ((uint64_t)400 << 20)

/* Any allocation fails once, at the start or for an item: it is tried again, every item is spoken, and nothing is left
 * behind. */
static void shortage(void) {
    outcomes all;
    tmb_context *context = open_context("cuda", WITHOUT_SLABS, 4);
    speak(context, 2, &all);
    EXPECT(all.finished == 2);
    tmb_close(&context);
    const int64_t allocations = (int64_t)fake_counts().allocations;
    for (int64_t n = 1; n <= allocations; n += STRIDE) {
        fake_set("FAIL_ALLOCATION", n);
        context = open_context("cuda", WITHOUT_SLABS, 4);
        speak(context, 2, &all);
        EXPECT(all.finished == 2);
        fake_set("FAIL_ALLOCATION", 0);
        tmb_close(&context);
        expect_nothing_left();
    }
}

/* A neighbour takes the device's memory: items wait for one another in what is left, later for all of it again. What
 * can never fit is told so. */
static void neighbour(void) {
    enum { MANY = 12 };
    outcomes all;
    tmb_statistics before, after;
    tmb_context *context = open_context("cuda", WITHOUT_SLABS, 8);
    speak(context, 1, &all);
    EXPECT(all.finished == 1);
    tmb_get_statistics(context, &before);
    const int64_t usual = (int64_t)1 << 30, one = (int64_t)item_bytes(NULL);
    fake_set("MEMORY", (int64_t)fake_counts().allocated + 2 * one);
    speak(context, MANY, &all);
    EXPECT(all.finished == MANY);
    tmb_get_statistics(context, &after);
    EXPECT(after.device_memory_budget < before.device_memory_budget);
    EXPECT(after.device_memory_budget >= after.device_memory_reserved);
    /* Nothing is left at all, not even of what voices have. */
    fake_set("MEMORY", 0);
    speak(context, 2, &all);
    EXPECT(all.finished == 0);
    for (size_t i = 0; i < 2; i++) {
        EXPECT(all.errors[i].status == TMB_ERROR_MEMORY && strstr(all.errors[i].message, "this item needs ") != NULL);
    }
    fake_set("MEMORY", usual);
    speak(context, MANY, &all);
    EXPECT(all.finished == MANY);
    tmb_get_statistics(context, &after);
    EXPECT(after.device_memory_budget == before.device_memory_budget);
    tmb_close(&context);
    expect_nothing_left();
    /* A model: the same, when it is loaded. */
    context = open_context("cuda", WITHOUT_SLABS, 8);
    fake_set("MEMORY", 100000);
    speak(context, 1, &all);
    EXPECT(all.finished == 0 && all.errors[0].status == TMB_ERROR_MEMORY);
    EXPECT(strstr(all.errors[0].message, "the GPU memory budget is 87.9 KiB") != NULL);
    fake_set("MEMORY", usual);
    speak(context, 1, &all);
    EXPECT(all.finished == 1);
    tmb_close(&context);
    fake_set("MEMORY", 100000);
    context = open_context("auto", 0, 8);
    speak(context, 1, &all);
    EXPECT(all.finished == 1);
    tmb_close(&context);
    expect_nothing_left();
}

/* A neighbour comes and goes while no model is loaded: the pool leaves a tenth of what is there, as at first, also once
 * items have been spoken. */
static void neighbour_between(void) {
    static const int64_t memory[] = {(int64_t)1 << 30, (int64_t)512 << 20, (int64_t)768 << 20, (int64_t)1 << 30};
    outcomes all;
    tmb_statistics statistics;
    tmb_context *context = open_unloading("cuda", 0, 8, 0.001);
    for (size_t i = 0; i < sizeof memory / sizeof memory[0]; i++) {
        fake_set("MEMORY", memory[i]);
        speak(context, 2, &all);
        EXPECT(all.finished == 2);
        while (fake_counts().contexts > 0) {
            (void)usleep(1000);
        }
        tmb_get_statistics(context, &statistics);
        EXPECT(statistics.device_memory_budget == (uint64_t)memory[i] / 10 * 9);
    }
    tmb_close(&context);
    expect_nothing_left();
}

static void test_neighbour(void **state) {
    (void)state;
    in_process(neighbour_between, NULL);
    in_process(neighbour, NULL);
}

static void test_shortage(void **state) {
    (void)state;
    in_process(shortage, NULL);
}

static const char *fault_words; /* of the driver's reason */

/* A kernel loses the device: who is being spoken fails with the reason, later items are spoken. Two items take at least
 * the kernels of the first one alone, and it waits for the first three quarters of them. */
static void fault(void) {
    enum { PARTS = 4 };
    outcomes all;
    for (int64_t part = 0; part < PARTS; part += (STRIDE > 1) + 1) {
        tmb_context *context = open_context("cuda", 0, 4);
        tmb_statistics statistics;
        speak(context, 1, &all);
        EXPECT(all.finished == 1);
        const uint64_t before = fake_counts().queued;
        speak(context, 1, &all);
        EXPECT(all.finished == 1);
        const int64_t n = 1 + (int64_t)(fake_counts().queued - before) * part / PARTS;
        for (int round = 0; round < 2; round++) {
            fake_set("FAULT_KERNEL", n);
            speak(context, 2, &all);
            EXPECT(all.finished < 2);
            for (size_t i = 0; i < 2; i++) {
                EXPECT(all.errors[i].status == TMB_OK || strstr(all.errors[i].message, fault_words) != NULL);
            }
            fake_set("FAULT_KERNEL", 0);
            speak(context, 2, &all);
            EXPECT(all.finished == 2);
            tmb_get_statistics(context, &statistics);
            EXPECT(strcmp(statistics.device, round == 0 ? "cuda" : "cpu") == 0);
        }
        tmb_close(&context);
        expect_nothing_left();
    }
}

static void test_fault(void **state) {
    (void)state;
    static const char *const cases[][2] = {{"TIMBRE_FAKE_CUDA_FAULT_RESULT=700", "CUDA_ERROR_ILLEGAL_ADDRESS (700)"},
                                           {"TIMBRE_FAKE_CUDA_FAULT_RESULT=226", "CUDA_ERROR_CONTAINED (226)"},
                                           {"TIMBRE_FAKE_CUDA_FAULT_RESULT=12345", "an unknown error (12345)"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        fault_words = cases[i][1];
        in_process(fault, (const char *const[]){cases[i][0], NULL});
    }
}

static tmb_status prepare(tmb_engine *engine, const float *samples, size_t count, tmb_error *error) {
    const tmb_reference reference = {.samples = samples, .count = count, .rate = 24000, .text = "Some words."};
    tmb_voice *voice = NULL;
    tmb_status status = engine->operations->prepare_voice(engine, &reference, false, &voice, error);
    EXPECT((status == TMB_OK) == (voice != NULL));
    tmb_voice_release(&voice);
    return status;
}

/* A kernel of an encoder loses the device: that recording fails with the reason, the next one is the CPU's, and with
 * the next utterance all is there again. */
static void fault_encoding(void) {
    enum { COUNT = 12000 };
    static float samples[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        samples[i] = (float)(i * 7919 % 1024) / 4096 - 0.125f;
    }
    uint64_t device = 0, sequence = 0;
    tmb_engine *engine = open_cloning("cuda", 0, &device);
    tmb_error error = {0};
    tmb_speak_request request;
    tmb_speak_request_default(&request);
    request.text = "Some words.";
    request.max_frames = 2;
    const tmb_reference reference = {.samples = samples, .count = COUNT, .rate = 24000};
    tmb_voice *voice = NULL;
    EXPECT(engine->operations->prepare_voice(engine, &reference, true, &voice, &error) == TMB_OK);
    for (int64_t n = 1; n < 100; n += 60) {
        fake_set("FAULT_KERNEL", n);
        EXPECT(prepare(engine, samples, COUNT, &error) == TMB_ERROR_INTERNAL);
        EXPECT(strstr(error.message, "ILLEGAL_ADDRESS") != NULL);
        fake_set("FAULT_KERNEL", 0);
        uint64_t before = fake_counts().queued;
        EXPECT(prepare(engine, samples, COUNT, &error) == TMB_OK && fake_counts().queued == before);
        EXPECT(engine->operations->admit(engine, &request, voice, &sequence, &error) == TMB_OK);
        engine->operations->cancel(engine, sequence);
        EXPECT(strcmp(engine->operations->device(engine), n == 1 ? "cuda" : "cpu") == 0);
        before = fake_counts().queued;
        EXPECT(prepare(engine, samples, COUNT, &error) == TMB_OK && (fake_counts().queued > before) == (n == 1));
    }
    tmb_voice_release(&voice);
    engine->operations->destroy(engine);
    expect_nothing_left();
}

static void ignore(void *user, const tmb_engine_event *event) {
    (void)user;
    (void)event;
}

/* The device is lost while an utterance is under way, which is cancelled then, and which the codec may have: the next
 * one is spoken. */
static void fault_cancelled(void) {
    enum { COUNT = 12000, FRAMES = 8 };
    static float samples[COUNT];
    tmb_error error = {0};
    tmb_speak_request request;
    tmb_speak_request_default(&request);
    request.text = "Some words.";
    request.max_frames = FRAMES;
    const tmb_reference reference = {.samples = samples, .count = COUNT, .rate = 24000};
    for (int steps = 0; steps < FRAMES; steps++) {
        uint64_t device = 0, sequence = 0;
        size_t live = 0;
        tmb_voice *voice = NULL;
        tmb_engine *engine = open_cloning("cuda", 0, &device);
        EXPECT(engine->operations->prepare_voice(engine, &reference, true, &voice, &error) == TMB_OK);
        EXPECT(engine->operations->admit(engine, &request, voice, &sequence, &error) == TMB_OK);
        for (int i = 0; i < steps; i++) {
            EXPECT(engine->operations->step(engine, ignore, NULL, &live, &error) == TMB_OK);
        }
        fake_set("FAULT_KERNEL", 1);
        EXPECT(prepare(engine, samples, COUNT, &error) == TMB_ERROR_INTERNAL);
        fake_set("FAULT_KERNEL", 0);
        engine->operations->cancel(engine, sequence);
        EXPECT(engine->operations->admit(engine, &request, voice, &sequence, &error) == TMB_OK);
        EXPECT(strcmp(engine->operations->device(engine), "cuda") == 0);
        tmb_voice_release(&voice);
        engine->operations->destroy(engine);
        expect_nothing_left();
    }
}

static void test_fault_encoding(void **state) {
    (void)state;
    in_process(fault_cancelled, NULL);
    in_process(fault_encoding, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_fall_back), cmocka_unit_test(test_crowd),
                                       cmocka_unit_test(test_shortage),  cmocka_unit_test(test_neighbour),
                                       cmocka_unit_test(test_fault),     cmocka_unit_test(test_fault_encoding)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
