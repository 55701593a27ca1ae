/* What becomes of a missing, old, small or failing GPU: the whole library over the driver that runs kernels on the CPU.
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
#include <sys/wait.h>
#include <unistd.h>

/* With sanitizers the emulated device is ten times slower: not every case is tried there. */
#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif
#if defined(SANITIZED)
enum { STRIDE = 7 };
#else
enum { STRIDE = 1 };
#endif

enum { MOST_ITEMS = 32 };

/* Runs `body` in a process of its own with these variables, NAME=VALUE and NULL at the end. */
static void in_process(void (*body)(void), const char *const *variables) {
    (void)fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        for (size_t i = 0; variables != NULL && variables[i] != NULL; i++) {
            char name[64];
            const char *equals = strchr(variables[i], '=');
            (void)snprintf(name, sizeof name, "%.*s", (int)(equals - variables[i]), variables[i]);
            (void)setenv(name, equals + 1, 1);
        }
        body();
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* In a child an assertion cannot use cmocka's jump. */
#define EXPECT(condition)                                                                                              \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            (void)fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                      \
            _exit(1);                                                                                                  \
        }                                                                                                              \
    } while (0)

static void expect_nothing_left(void) {
    const tmb_fake_cuda_counts left = fake_counts();
    EXPECT(left.allocated == 0 && left.pinned == 0 && left.contexts == 0 && left.streams == 0 && left.events == 0 &&
           left.graphs == 0 && left.modules == 0);
}

/* ---- The driver --- */

static const char *expected;
static int asked;

static void refuse(void) {
    tmb_error error = {0};
    EXPECT(tmb_gpu_check(asked, NULL, &error) == TMB_ERROR_UNSUPPORTED);
    if (strstr(error.message, expected) == NULL) {
        (void)fprintf(stderr, "\"%s\" is not in \"%s\"\n", expected, error.message);
        _exit(1);
    }
    tmb_gpu *gpu = NULL;
    EXPECT(tmb_gpu_open(asked, &gpu, &error) == TMB_ERROR_UNSUPPORTED && gpu == NULL);
}

static void describe(void) {
    tmb_error error = {0};
    tmb_gpu_description gpu;
    EXPECT(tmb_gpu_check(1, &gpu, &error) == TMB_OK);
    EXPECT(gpu.index == 1 && gpu.capability == 86 && strcmp(gpu.name, "emulated GPU 1") == 0);
    EXPECT(gpu.total_bytes == 123456789 && gpu.free_bytes == 123456789);
}

/* Kernels that begin early: if GPU, driver and its graphs have that, and nobody forbids it. */
static bool begins_early;

static void open_graph(void) {
    tmb_error error = {0};
    tmb_gpu *gpu = NULL;
    EXPECT(tmb_gpu_open(0, &gpu, &error) == TMB_OK);
    const uint64_t before = fake_counts().programmatic_edges;
    const tmb_norm_rows_arguments arguments = {0};
    tmb_gpu_graph *graph = NULL;
    tmb_gpu_recorder recorder = tmb_gpu_recording(gpu);
    for (int i = 0; i < 3; i++) {
        tmb_gpu_kernel(&recorder, TMB_KERNEL_tmb_norm_rows, (tmb_gpu_grid){1, 1, 1, 32}, &arguments);
    }
    EXPECT(tmb_gpu_recorder_end(&recorder, &graph, &error) == TMB_OK && tmb_gpu_graph_kernels(graph) == 3);
    EXPECT(fake_counts().programmatic_edges - before == (begins_early ? 2 : 0));
    tmb_gpu_graph_destroy(gpu, &graph);
    tmb_gpu_close(&gpu);
    expect_nothing_left();
}

static void test_dependent_launch(void **state) {
    (void)state;
    static const struct {
        const char *variable;
        bool early;
    } cases[] = {{"TIMBRE_FAKE_CUDA_CAPABILITY=90", true},   {"TIMBRE_FAKE_CUDA_CAPABILITY=120", true},
                 {"TIMBRE_FAKE_CUDA_CAPABILITY=89", false},  {"TIMBRE_FAKE_CUDA_VERSION=12020", false},
                 {"TIMBRE_FAKE_CUDA_VERSION=11000", false},  {"TIMBRE_FAKE_CUDA_VERSION=13000", true},
                 {"TIMBRE_FAKE_CUDA_PROGRAMMATIC=0", false}, {"TIMBRE_CUDA_PTX=7.0", false}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        begins_early = cases[i].early;
        in_process(open_graph, (const char *const[]){cases[i].variable, NULL});
    }
}

/* Units: a slab's share of the pool, four at least where the pool is small, none where it is smaller. */
static void plan_units(void) {
    const uint64_t mb = 1 << 20;
    EXPECT(tmb_slabs_plan(0, 300000).unit == 0 && tmb_slabs_plan(400 * mb, 300000).unit == 0);
    EXPECT(tmb_slabs_plan(16384 * mb, 0).unit == 0 && tmb_slabs_plan(16384 * mb, 33 * mb).unit == 0);
    tmb_gpu_units units = tmb_slabs_plan(16384 * mb, 7 * mb); /* nine fit into 64 MB */
    EXPECT(units.unit == 7 * mb && units.slab == 64 * mb && units.each == (64 * mb + 8) / 9);
    units = tmb_slabs_plan(2048 * mb, 7 * mb);
    EXPECT(units.unit == 7 * mb && units.slab == 28 * mb && units.each == 7 * mb);
    units = tmb_slabs_plan(1024 * mb, 300000);
    EXPECT(units.unit == 300032 && units.slab == 4 * mb && units.each == (4 * mb + 12) / 13);
    EXPECT(tmb_slabs_counted(&units, 1) == units.each && tmb_slabs_counted(&units, 300032) == units.each);
    EXPECT(tmb_slabs_counted(&units, 300033) == 300544 && tmb_slabs_counted(&units, 5 * mb) == 6 * mb);
}

/* Pieces of every size come and go in any order, none lies in another, and the driver is asked rarely. It never gives
 * more than the most that was counted for units, one slab, and the larger pieces. */
static void slabs(void) {
    enum { PIECES = 200, TURNS = 20000 / STRIDE, UNIT = 300000, SLAB = 4 << 20 };
    static struct {
        tmb_gpu_address address;
        size_t bytes, counted;
    } pieces[PIECES];
    const tmb_gpu_units units = tmb_slabs_plan((uint64_t)1 << 30, UNIT);
    tmb_error error = {0};
    tmb_gpu *gpu = NULL;
    uint32_t random = 5;
    size_t small = 0, most = 0, large = 0;
    plan_units();
    EXPECT(tmb_gpu_open(0, &gpu, &error) == TMB_OK);
    tmb_gpu_use_units(gpu, &units);
    for (int turn = 0; turn < TURNS; turn++) {
        random = random * 1664525u + 1013904223u;
        size_t i = (random >> 8) % PIECES;
        size_t *sum = pieces[i].bytes <= UNIT ? &small : &large;
        if (pieces[i].address != 0) {
            tmb_gpu_free(gpu, pieces[i].address);
            *sum -= pieces[i].counted;
            pieces[i].address = 0;
            continue;
        }
        pieces[i].bytes = 1 + (random >> 4) % ((random & 15) == 0 ? SLAB : UNIT);
        pieces[i].counted = tmb_gpu_counted(gpu, pieces[i].bytes);
        sum = pieces[i].bytes <= UNIT ? &small : &large;
        EXPECT(tmb_gpu_take(gpu, pieces[i].bytes, "a piece", &pieces[i].address, &error) == TMB_OK);
        EXPECT(pieces[i].address % 512 == 0);
        *sum += pieces[i].counted;
        most = small > most ? small : most;
        for (size_t k = 0; k < PIECES; k++) {
            EXPECT(k == i || pieces[k].address == 0 || pieces[k].address + pieces[k].bytes <= pieces[i].address ||
                   pieces[i].address + pieces[i].bytes <= pieces[k].address);
        }
        EXPECT(tmb_gpu_allocated(gpu) == small + large && fake_counts().allocated == tmb_gpu_held());
        EXPECT(fake_counts().allocated <= most + tmb_gpu_slack(gpu) + large);
    }
    EXPECT(fake_counts().allocations < TURNS / 8);
    for (size_t i = 0; i < PIECES; i++) {
        tmb_gpu_free(gpu, pieces[i].address);
    }
    EXPECT(tmb_gpu_allocated(gpu) == 0 && fake_counts().allocated == SLAB); /* one is kept */
    tmb_gpu_address address = 0, other = 0;
    fake_set("MEMORY", SLAB + SLAB / 4);
    /* It is given back if there is no room beside it. */
    EXPECT(tmb_gpu_allocate(gpu, SLAB, "a piece", &address, &error) == TMB_OK);
    tmb_gpu_free(gpu, address);
    /* What is left of the device may be less than a slab; then it is all that is asked for. */
    EXPECT(tmb_gpu_allocate(gpu, SLAB / 2, "a piece", &address, &error) == TMB_OK);
    EXPECT(tmb_gpu_take(gpu, UNIT, "a piece", &other, &error) == TMB_OK && fake_counts().allocated < SLAB);
    EXPECT(tmb_gpu_take(gpu, SLAB, "a piece", &other, &error) == TMB_ERROR_MEMORY && other == 0);
    tmb_gpu_close(&gpu);
    EXPECT(tmb_gpu_held() == 0);
    expect_nothing_left();
}

static void test_slabs(void **state) {
    (void)state;
    in_process(slabs, NULL);
}

static void test_driver(void **state) {
    (void)state;
    static const struct {
        const char *variable, *expected;
        int index;
    } cases[] = {{"TIMBRE_CUDA_LIBRARY=/nonexistent.so", "no NVIDIA driver", 0},
                 {"TIMBRE_CUDA_LIBRARY=libm.so.6", "too old: it has no cuInit", 0},
                 {"TIMBRE_FAKE_CUDA_VERSION=10020", "for CUDA 10.2, at least 11.0", 0},
                 {"TIMBRE_FAKE_CUDA_DEVICES=0", "no GPU that", 0},
                 {"TIMBRE_FAKE_CUDA_DEVICES=2", "no GPU 2: the driver has 2", 2},
                 {"TIMBRE_FAKE_CUDA_CAPABILITY=75", "architecture 7.5; at least 8.0", 0}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        expected = cases[i].expected;
        asked = cases[i].index;
        in_process(refuse, (const char *const[]){cases[i].variable, NULL});
    }
    in_process(describe, (const char *const[]){"TIMBRE_FAKE_CUDA_DEVICES=2", "TIMBRE_FAKE_CUDA_CAPABILITY=86",
                                               "TIMBRE_FAKE_CUDA_MEMORY=123456789", NULL});
}

/* ---- Items --- */

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

static tmb_context *open_context(const char *device, uint64_t gpu_memory, int max_batch) {
    tmb_options options;
    tmb_options_default(&options);
    options.engine = "qwen3";
    options.model = golden_path("qwen/sample-g/model");
    options.precision = "f32";
    options.device = device;
    options.gpu_memory = gpu_memory;
    options.threads = 1;
    options.max_batch = max_batch;
    tmb_error error = {0};
    tmb_context *context = NULL;
    EXPECT(tmb_open(&options, &context, &error) == TMB_OK);
    return context;
}

/* The first item is at its first frame until all have been submitted. */
static void speak(tmb_context *context, size_t count, outcomes *all) {
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

/* Bytes of the device that one of speak's items takes. */
static uint64_t item_bytes(void) {
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
    request.max_frames = 4;
    uint64_t bytes = engine->operations->device_needed(engine, &request, NULL);
    engine->operations->destroy(engine);
    EXPECT(bytes > 0);
    return bytes;
}

/* 32 items on a GPU that holds 8: they wait for each other, and what is allocated stays within the budget. */
static void crowd(void) {
    outcomes all;
    tmb_context *probe = open_context("cuda", (uint64_t)256 << 20, 16); /* without slabs, as the next */
    tmb_statistics model, statistics;
    speak(probe, 1, &all);
    EXPECT(all.finished == 1);
    tmb_get_statistics(probe, &model);
    EXPECT(model.device != NULL && strcmp(model.device, "cuda") == 0 && model.device_memory_reserved > 0);
    tmb_close(&probe);
    uint64_t limit = model.device_memory_reserved + 8 * item_bytes();
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
    const int64_t usual = (int64_t)1 << 30, one = (int64_t)item_bytes();
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
    EXPECT(strstr(all.errors[0].message, "the GPU memory budget is 97.7 KiB") != NULL);
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

static void test_neighbour(void **state) {
    (void)state;
    in_process(neighbour, NULL);
}

static void test_shortage(void **state) {
    (void)state;
    in_process(shortage, NULL);
}

/* A kernel loses the device: who is being spoken fails with the reason, later items are spoken. Two items take at least
 * the kernels of the first one alone, and it waits for the first three quarters of them. */
static void fault(void) {
    enum { PARTS = 4 };
    outcomes all;
    for (int64_t part = 0; part<PARTS; part += STRIDE> 1 ? 2 : 1) {
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
                EXPECT(all.errors[i].status == TMB_OK || strstr(all.errors[i].message, "ILLEGAL_ADDRESS") != NULL);
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
    in_process(fault, NULL);
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

static void test_fault_encoding(void **state) {
    (void)state;
    in_process(fault_encoding, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_driver),    cmocka_unit_test(test_slabs), cmocka_unit_test(test_dependent_launch),
        cmocka_unit_test(test_fall_back), cmocka_unit_test(test_crowd), cmocka_unit_test(test_shortage),
        cmocka_unit_test(test_neighbour), cmocka_unit_test(test_fault), cmocka_unit_test(test_fault_encoding)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
