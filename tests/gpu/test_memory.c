/* What sequences and streams are said to take of a device is what the driver gives for them, in pools with slabs and
 * without, whatever comes and goes. */
#include "test.h"

#include "fakecuda.h"
#include "gpu_net.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

enum { SEQUENCES = 12, TURNS = 300, LONGEST = 3000 };

static uint64_t allocated(void) {
    static void *fake;
    tmb_fake_cuda_counts now;
    void (*read)(tmb_fake_cuda_counts *);
    fake = fake != NULL ? fake : dlopen(getenv("TIMBRE_CUDA_LIBRARY"), RTLD_NOW);
    assert_non_null(fake);
    void *address = dlsym(fake, "tmb_fake_cuda_read");
    memcpy(&read, &address, sizeof read);
    read(&now);
    return now.allocated;
}

static void check_counts(uint64_t pool, const char *precision) {
    gpu_net f;
    tmb_net_sequence *sequences[SEQUENCES] = {NULL};
    tmb_net_stream *streams[SEQUENCES] = {NULL};
    size_t positions[SEQUENCES] = {0}, counted = 0, most = 0;
    uint32_t random = 9;
    tmb_error error = {0};
    gpu_net_open_within(&f, "sample-g", precision, 4, pool);
    size_t stream = gpu_backend->stream_bytes(f.net).device, fixed = gpu_backend->bytes(f.net).device;
    assert_in_range(allocated(), 1, fixed);
    for (size_t turn = 0; turn < TURNS; turn++) {
        random = random * 1664525u + 1013904223u;
        size_t i = (random >> 8) % SEQUENCES;
        if (sequences[i] != NULL) {
            counted -= gpu_backend->sequence_bytes(f.net, positions[i]).device + stream;
            gpu_backend->sequence_destroy(f.net, &sequences[i]);
            gpu_backend->stream_destroy(f.net, &streams[i]);
            continue;
        }
        positions[i] = 1 + (random >> 12) % LONGEST;
        counted += gpu_backend->sequence_bytes(f.net, positions[i]).device + stream;
        most = counted > most ? counted : most;
        assert_ok(gpu_backend->sequence_create(f.net, positions[i], &sequences[i], &error), error);
        assert_ok(gpu_backend->stream_create(f.net, &streams[i], &error), error);
        assert_in_range(allocated(), counted / 2, fixed + most);
    }
    for (size_t i = 0; i < SEQUENCES; i++) {
        gpu_backend->sequence_destroy(f.net, &sequences[i]);
        gpu_backend->stream_destroy(f.net, &streams[i]);
    }
    assert_in_range(allocated(), 1, fixed);
    gpu_net_close(&f);
    assert_int_equal(allocated(), 0);
}

static void test_counts(void **state) {
    (void)state;
    check_counts(0, "f32");
    check_counts((uint64_t)1 << 30, "f32");
    check_counts((uint64_t)1 << 30, "int8");
    check_counts((uint64_t)16 << 30, "f32");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_counts)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
