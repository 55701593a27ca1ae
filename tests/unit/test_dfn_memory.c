/* What a stream holds is what tmb_enhancer_bytes says, and no allocation may fail unnoticed: the allocator is replaced
 * by one that counts, and fails if it is told. */
#include "dfn_fixture.h"
#include "weights/models.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

/* The linker turns the calls of the program and of the library's objects into these. */
void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *pointer, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
int __real_posix_memalign(void **out, size_t alignment, size_t size);
void __real_free(void *pointer);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *pointer, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);
int __wrap_posix_memalign(void **out, size_t alignment, size_t size);
void __wrap_free(void *pointer);

static bool watching;
static size_t allocations, failing; /* the number of the one that fails; 0: none */
static long held, live;             /* usable bytes, blocks */

static bool refuse(void) { return watching && ++allocations == failing; }

static void *account(void *pointer) {
    if (watching && pointer != NULL) {
        held += (long)malloc_usable_size(pointer);
        live++;
    }
    return pointer;
}

static void *no_memory(void) {
    errno = ENOMEM;
    return NULL;
}

void *__wrap_malloc(size_t size) { return refuse() ? no_memory() : account(__real_malloc(size)); }
void *__wrap_calloc(size_t count, size_t size) { return refuse() ? no_memory() : account(__real_calloc(count, size)); }
void *__wrap_aligned_alloc(size_t alignment, size_t size) {
    return refuse() ? no_memory() : account(__real_aligned_alloc(alignment, size));
}

int __wrap_posix_memalign(void **out, size_t alignment, size_t size) {
    if (refuse()) {
        return ENOMEM;
    }
    const int status = __real_posix_memalign(out, alignment, size);
    (void)account(status == 0 ? *out : NULL);
    return status;
}

void *__wrap_realloc(void *pointer, size_t size) {
    if (refuse()) {
        return no_memory();
    }
    const long before = pointer != NULL ? (long)malloc_usable_size(pointer) : 0;
    void *grown = __real_realloc(pointer, size);
    if (watching && grown != NULL) {
        held += (long)malloc_usable_size(grown) - before;
        live += pointer == NULL;
    }
    return grown;
}

void __wrap_free(void *pointer) {
    if (watching && pointer != NULL) {
        held -= (long)malloc_usable_size(pointer);
        live--;
    }
    __real_free(pointer);
}

static void watch(size_t fail_at) {
    allocations = 0;
    failing = fail_at;
    held = 0;
    live = 0;
    watching = true;
}

static void test_bytes_of_a_stream(void **state) {
    (void)state;
    static const size_t blocks[] = {1, 8, 48, 100};
    tmb_dfn_model *model = dfn_model(~0u);
    static float samples[480];
    for (size_t i = 0; i < 4; i++) {
        tmb_error error = {0};
        tmb_enhance_settings settings;
        tmb_enhance_settings_default(&settings);
        settings.block_frames = blocks[i];
        tmb_enhancer *enhancer = NULL;
        watch(0);
        tmb_status status = tmb_enhancer_create(model, &settings, &enhancer, &error);
        const long created = held;
        for (size_t t = 0; t < 250 && status == TMB_OK; t++) {
            status = tmb_enhancer_push(enhancer, samples, 480, &error);
            (void)tmb_enhancer_pull(enhancer, NULL, 1000000);
        }
        watching = false;
        assert_ok(status, error);
        const long promised = (long)tmb_enhancer_bytes(model, blocks[i]);
        print_message("%zu frames: %ld bytes held, %ld promised\n", blocks[i], held, promised);
        assert_int_equal(held, created); /* nothing grows while a stream runs */
        /* The allocator rounds up: a little for each of the three. */
        assert_true(held >= promised - 64 && held <= promised + 3 * 4096);
        tmb_enhancer_destroy(&enhancer);
    }
    tmb_dfn_model_release(&model);
}

static void test_bytes_of_the_model(void **state) {
    (void)state;
    tmb_error error = {0};
    char *path = NULL;
    assert_ok(tmb_models_find_denoiser(NULL, NULL, &path, &error), error);
    tmb_dfn_model *model = NULL;
    watch(0);
    tmb_status status = tmb_dfn_model_load(path, &model, &error);
    watching = false;
    assert_ok(status, error);
    const long promised = (long)tmb_dfn_model_bytes(model);
    print_message("model: %ld bytes held, %ld promised\n", held, promised);
    assert_true(held >= promised - 64 && held <= promised + 8 * 4096);
    tmb_dfn_model_release(&model);
    free(path);
}

/* A whole use; 0 if everything went well. What it took is given back, whatever fails. */
static tmb_status use(const char *path, tmb_error *error) {
    static float samples[2000];
    static float out[4000];
    char *found = NULL;
    tmb_status status = tmb_models_find_denoiser(path, NULL, &found, error);
    tmb_dfn_model *model = NULL;
    if (status == TMB_OK) {
        status = tmb_dfn_model_load(found, &model, error);
    }
    free(found);
    tmb_enhance_settings settings;
    tmb_enhance_settings_default(&settings);
    settings.block_frames = 1;
    tmb_enhancer *enhancer = NULL;
    if (status == TMB_OK) {
        status = tmb_enhancer_create(model, &settings, &enhancer, error);
    }
    for (size_t i = 0; i < 3 && status == TMB_OK; i++) {
        status = tmb_enhancer_push(enhancer, samples, 2000, error); /* more than a block: the queue grows */
    }
    if (status == TMB_OK) {
        status = tmb_enhancer_flush(enhancer, error);
    }
    if (enhancer != NULL) {
        (void)tmb_enhancer_pull(enhancer, out, 4000);
    }
    tmb_enhancer_destroy(&enhancer);
    tmb_dfn_model_release(&model);
    return status;
}

static void test_every_allocation_may_fail(void **state) {
    (void)state;
    tmb_error error = {0};
    char *path = NULL;
    assert_ok(tmb_models_find_denoiser(NULL, NULL, &path, &error), error);
    watch(0);
    assert_int_equal(use(path, &error), TMB_OK);
    watching = false;
    const size_t all = allocations;
    assert_int_equal(live, 0);
    print_message("%zu allocations\n", all);
    assert_true(all > 50);
    for (size_t n = 1; n <= all; n++) {
        error = (tmb_error){0};
        watch(n);
        const tmb_status status = use(path, &error);
        watching = false;
        assert_int_equal(status, TMB_ERROR_MEMORY);
        assert_int_equal(error.status, TMB_ERROR_MEMORY);
        assert_true(error.message[0] != '\0');
        assert_int_equal(live, 0);
    }
    free(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes_of_a_stream),
        cmocka_unit_test(test_bytes_of_the_model),
        cmocka_unit_test(test_every_allocation_may_fail),
    };
    return cmocka_run_group_tests_name("dfn-memory", tests, NULL, NULL);
}
