/* A missing or old GPU, what its driver can, and where pieces of its memory lie: over the driver that runs kernels on
 * the CPU. Every case is a process of its own, since a process loads a driver once.
 */
#include "test.h"

#include "fake_driver.h"
#include "gpu/gpu_internal.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { ILLEGAL_ADDRESS = 700 };

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
    EXPECT(fake_counts().contexts_created == 0); /* none is needed for that */
    tmb_gpu *opened = NULL;
    EXPECT(tmb_gpu_open(1, &opened, &error) == TMB_OK);
    gpu = *tmb_gpu_describe(opened);
    EXPECT(gpu.index == 1 && gpu.total_bytes == 123456789 && gpu.free_bytes == 123456789);
    tmb_gpu_close(&opened);
    expect_nothing_left();
}

/* Kernels that begin early: if GPU, driver and its graphs have that, and nobody forbids it. */
static bool begins_early;

static void open_graph(void) {
    tmb_error error = {0};
    tmb_gpu *gpu = NULL;
    EXPECT(tmb_gpu_open(0, &gpu, &error) == TMB_OK && tmb_gpu_enter(gpu, &error) == TMB_OK);
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
    tmb_gpu_leave(gpu);
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
    EXPECT(tmb_gpu_open(0, &gpu, &error) == TMB_OK && tmb_gpu_enter(gpu, &error) == TMB_OK);
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
        EXPECT(tmb_gpu_allocated(gpu) == small + large && fake_counts().allocated == tmb_gpu_held(0));
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
    tmb_gpu_leave(gpu);
    tmb_gpu_close(&gpu);
    EXPECT(tmb_gpu_held(0) == 0);
    expect_nothing_left();
}

static void test_slabs(void **state) {
    (void)state;
    in_process(slabs, NULL);
}

/* A kernel has lost the device and nobody has noticed: who opens it then gets a new context. */
static void lose_unnoticed(void) {
    const tmb_norm_rows_arguments arguments = {0};
    const tmb_gpu_grid grid = {1, 1, 1, 32};
    tmb_error error = {0};
    tmb_gpu *first = NULL, *second = NULL;
    tmb_gpu_stream *stream = NULL;
    tmb_gpu_event *event = NULL;
    EXPECT(tmb_gpu_open(0, &first, &error) == TMB_OK && tmb_gpu_enter(first, &error) == TMB_OK);
    EXPECT(tmb_gpu_stream_create(first, false, &stream, &error) == TMB_OK);
    EXPECT(tmb_gpu_event_create(first, &event, &error) == TMB_OK);
    fake_set("FAULT_KERNEL", 1);
    tmb_gpu_recorder recorder = tmb_gpu_direct(first, stream);
    tmb_gpu_kernel(&recorder, TMB_KERNEL_tmb_norm_rows, grid, &arguments);
    EXPECT(tmb_gpu_recorder_end(&recorder, NULL, &error) == TMB_OK);
    tmb_gpu_event_destroy(first, &event); /* by then the driver has run what was there */
    EXPECT(!tmb_gpu_lost(first, NULL));
    EXPECT(tmb_gpu_open(0, &second, &error) == TMB_OK && !tmb_gpu_lost(second, NULL) && tmb_gpu_lost(first, NULL));
    EXPECT(fake_counts().contexts_created == 2 && tmb_gpu_losses() == 1);
    tmb_gpu_stream_destroy(first, &stream);
    tmb_gpu_leave(first);
    tmb_gpu_close(&first);
    tmb_gpu_close(&second);
    expect_nothing_left();
}

/* Another thread finds the device lost while a graph is made, which the driver still makes: it is not kept. */
static void lose_graph(void) {
    const tmb_norm_rows_arguments arguments = {0};
    const tmb_gpu_grid grid = {1, 1, 1, 32};
    tmb_error error = {0};
    tmb_gpu *gpu = NULL;
    tmb_gpu_graph *graph = NULL;
    EXPECT(tmb_gpu_open(0, &gpu, &error) == TMB_OK && tmb_gpu_enter(gpu, &error) == TMB_OK);
    tmb_gpu_recorder recorder = tmb_gpu_recording(gpu);
    tmb_gpu_kernel(&recorder, TMB_KERNEL_tmb_norm_rows, grid, &arguments);
    EXPECT(recorder.status == TMB_OK &&
           tmb_gpu_result(gpu->context, ILLEGAL_ADDRESS, "cuEventQuery", &error) != TMB_OK);
    EXPECT(tmb_gpu_recorder_end(&recorder, &graph, &error) == TMB_ERROR_INTERNAL && graph == NULL);
    tmb_gpu_leave(gpu);
    tmb_gpu_close(&gpu);
    expect_nothing_left();
}

static void test_losses(void **state) {
    (void)state;
    in_process(lose_graph, NULL);
    in_process(lose_unnoticed, NULL);
}

/* A device has one context, which all share; one that is lost stays until each has let go of it. */
static void share(void) {
    tmb_error error = {0};
    tmb_gpu *first = NULL, *second = NULL, *third = NULL, *other = NULL;
    tmb_gpu_stream *stream = NULL;
    tmb_gpu_address piece = 0;
    const tmb_norm_rows_arguments arguments = {0};
    EXPECT(tmb_gpu_open(0, &first, &error) == TMB_OK && tmb_gpu_open(0, &second, &error) == TMB_OK);
    EXPECT(tmb_gpu_open(1, &other, &error) == TMB_OK && fake_counts().contexts_created == 2);
    EXPECT(tmb_gpu_enter(first, &error) == TMB_OK && tmb_gpu_stream_create(first, false, &stream, &error) == TMB_OK);
    EXPECT(tmb_gpu_allocate(first, 1000, "a piece", &piece, &error) == TMB_OK);
    tmb_gpu_close(&second);
    EXPECT(fake_counts().contexts == 2 && tmb_gpu_open(0, &second, &error) == TMB_OK);
    EXPECT(fake_counts().contexts_created == 2);
    fake_set("FAULT_KERNEL", 1);
    tmb_gpu_recorder recorder = tmb_gpu_direct(first, stream);
    tmb_gpu_kernel(&recorder, TMB_KERNEL_tmb_norm_rows, (tmb_gpu_grid){1, 1, 1, 32}, &arguments);
    EXPECT(tmb_gpu_recorder_end(&recorder, NULL, &error) == TMB_OK);
    EXPECT(tmb_gpu_synchronize(first, stream, &error) == TMB_ERROR_INTERNAL);
    fake_set("FAULT_KERNEL", 0);
    EXPECT(tmb_gpu_losses() == 1 && tmb_gpu_lost(first, NULL) && tmb_gpu_lost(second, NULL));
    EXPECT(!tmb_gpu_lost(other, NULL));
    EXPECT(tmb_gpu_open(0, &third, &error) == TMB_OK && !tmb_gpu_lost(third, NULL));
    EXPECT(fake_counts().contexts_created == 3 && fake_counts().contexts == 3 && tmb_gpu_lost(second, NULL));
    tmb_gpu_stream_destroy(first, &stream);
    tmb_gpu_leave(first);
    tmb_gpu_close(&first);
    EXPECT(fake_counts().allocated == 0 && fake_counts().contexts == 3);
    tmb_gpu_close(&second);
    EXPECT(fake_counts().contexts == 2 && tmb_gpu_open(0, &second, &error) == TMB_OK);
    EXPECT(fake_counts().contexts_created == 3 && tmb_gpu_losses() == 1);
    tmb_gpu_close(&second);
    tmb_gpu_close(&third);
    tmb_gpu_close(&other);
    expect_nothing_left();
}

/* What one device holds is nothing that another could have. */
static void two_devices(void) {
    enum { MEMORY = 64 << 20, HELD = 16 << 20 };
    tmb_error error = {0};
    tmb_gpu *gpus[2] = {NULL};
    tmb_gpu_address piece = 0;
    uint64_t room = 0;
    for (int i = 0; i < 2; i++) {
        EXPECT(tmb_gpu_open(i, &gpus[i], &error) == TMB_OK);
    }
    EXPECT(tmb_gpu_enter(gpus[1], &error) == TMB_OK);
    EXPECT(tmb_gpu_allocate(gpus[1], HELD, "a piece", &piece, &error) == TMB_OK);
    EXPECT(tmb_gpu_room(gpus[1], &room, &error) == TMB_OK && room == MEMORY);
    tmb_gpu_leave(gpus[1]);
    EXPECT(tmb_gpu_enter(gpus[0], &error) == TMB_OK);
    EXPECT(tmb_gpu_room(gpus[0], &room, &error) == TMB_OK && room == MEMORY);
    EXPECT(tmb_gpu_held(0) == 0 && tmb_gpu_held(1) == HELD);
    EXPECT(tmb_gpu_allocate(gpus[0], MEMORY, "a piece", &piece, &error) == TMB_OK);
    tmb_gpu_leave(gpus[0]);
    tmb_gpu_close(&gpus[0]);
    tmb_gpu_close(&gpus[1]);
    EXPECT(tmb_gpu_held(1) == 0);
    expect_nothing_left();
}

static void test_contexts(void **state) {
    (void)state;
    in_process(share, (const char *const[]){"TIMBRE_FAKE_CUDA_DEVICES=2", NULL});
    in_process(two_devices,
               (const char *const[]){"TIMBRE_FAKE_CUDA_DEVICES=2", "TIMBRE_FAKE_CUDA_MEMORY=67108864", NULL});
}

/* Results that lose a context are all but those that are known to be harmless. */
static void results(void) {
    static const tmb_cuda_result harmless[] = {0,   1,   2,   100, 101, 200, 209, 218, 221,
                                               222, 223, 304, 400, 500, 600, 701, 801};
    static const tmb_cuda_result losing[] = {4,   201, 214, 220, 226, 700, 702, 709, 710, 714, 715,  716,
                                             717, 718, 719, 721, 810, 911, 999, -1,  3,   227, 12345};
    const tmb_cuda *cuda = NULL;
    tmb_error error = {0};
    for (size_t i = 0; i < sizeof harmless / sizeof harmless[0]; i++) {
        EXPECT(!tmb_cuda_loses_context(harmless[i]));
    }
    for (size_t i = 0; i < sizeof losing / sizeof losing[0]; i++) {
        EXPECT(tmb_cuda_loses_context(losing[i]));
    }
    EXPECT(tmb_cuda_load(&cuda, &error) == TMB_OK);
    EXPECT(strcmp(tmb_cuda_result_name(46), "CUDA_ERROR_DEVICE_UNAVAILABLE") == 0);
    EXPECT(strcmp(tmb_cuda_result_name(12345), "an unknown error") == 0);
}

static void test_results(void **state) {
    (void)state;
    in_process(results, NULL);
}

/* The kernels are not taken: nothing is lost by that, and the device is not usable. */
static void refuse_kernels(void) {
    tmb_error error = {0};
    tmb_gpu *gpu = NULL;
    EXPECT(tmb_gpu_check(0, NULL, &error) == TMB_OK);
    EXPECT(tmb_gpu_open(0, &gpu, &error) != TMB_OK && gpu == NULL && strstr(error.message, expected) != NULL);
    EXPECT(tmb_gpu_losses() == 0);
    expect_nothing_left();
    fake_set("MODULE_RESULT", 0);
    EXPECT(tmb_gpu_open(0, &gpu, &error) == TMB_OK);
    tmb_gpu_close(&gpu);
}

static void test_kernels_refused(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"TIMBRE_FAKE_CUDA_MODULE_RESULT=221", "libnvidia-ptxjitcompiler.so.1): CUDA_ERROR_JIT_COMPILER_NOT_FOUND"},
        {"TIMBRE_FAKE_CUDA_MODULE_RESULT=222", "too old for the kernels: CUDA_ERROR_UNSUPPORTED_PTX_VERSION"},
        {"TIMBRE_FAKE_CUDA_MODULE_RESULT=223", "(CUDA_DISABLE_PTX_JIT): CUDA_ERROR_JIT_COMPILATION_DISABLED"},
        {"TIMBRE_FAKE_CUDA_MODULE_RESULT=12345", "cuModuleLoadData came to an unknown error (12345)"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        expected = cases[i][1];
        in_process(refuse_kernels, (const char *const[]){cases[i][0], NULL});
    }
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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_driver),   cmocka_unit_test(test_slabs),   cmocka_unit_test(test_dependent_launch),
        cmocka_unit_test(test_contexts), cmocka_unit_test(test_results), cmocka_unit_test(test_kernels_refused),
        cmocka_unit_test(test_losses)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
