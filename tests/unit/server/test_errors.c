/* What a client is told of an error is decided by its status and errno; no wording of a message changes it. */
#include "test.h"

#include "base/error.h"
#include "server/item.h"
#include "server/state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static void test_statuses(void **state) {
    (void)state;
    static const struct {
        tmb_status status;
        int code;
        unsigned http;
    } cases[] = {
        {TMB_ERROR_IO, ENOSPC, 507},          {TMB_ERROR_IO, EDQUOT, 507},  {TMB_ERROR_IO, EFBIG, 507},
        {TMB_ERROR_IO, EMFILE, 503},          {TMB_ERROR_IO, ENFILE, 503},  {TMB_ERROR_IO, ENOMEM, 503},
        {TMB_ERROR_IO, EAGAIN, 503},          {TMB_ERROR_IO, EIO, 500},     {TMB_ERROR_IO, 0, 500},
        {TMB_ERROR_MEMORY, 0, 503},           {TMB_ERROR_FORMAT, 0, 400},   {TMB_ERROR_ARGUMENT, 0, 400},
        {TMB_ERROR_UNSUPPORTED, 0, 400},      {TMB_ERROR_LIMIT, 0, 400},    {TMB_ERROR_TIMEOUT, 0, 504},
        {TMB_ERROR_CANCELLED, 0, 503},        {TMB_ERROR_INTERNAL, 0, 500}, {TMB_ERROR_MODEL, 0, 503},
        {TMB_ERROR_UNSUPPORTED, ENOSPC, 507},
    };
    /* Among them what the statuses were once read from. */
    static const char *const wordings[] = {"cannot be written: No space left on device", "Too many open files",
                                           "a: Cannot allocate memory", "anything at all", "/a/b: c"};
    tmb_server server;
    memset(&server, 0, sizeof server);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (size_t k = 0; k < sizeof wordings / sizeof wordings[0]; k++) {
            tmb_error error = {.status = cases[i].status, .system = cases[i].code};
            (void)snprintf(error.message, sizeof error.message, "%s", wordings[k]);
            char message[512];
            assert_int_equal(tmb_item_error(&server, &error, message), cases[i].http);
        }
    }
}

/* The name of a file on this machine stays here, whatever it looks like. */
static void test_names_stay_here(void **state) {
    (void)state;
    static const char *const names[] = {"/proc/self/fd/7", "relative.wav", "/with: colon/a.wav", "standard input"};
    tmb_server server;
    memset(&server, 0, sizeof server);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        tmb_error error;
        (void)tmb_fail(&error, TMB_ERROR_FORMAT, "is cut short: it promises 10 bytes");
        tmb_error_name(&error, names[i]);
        char message[512];
        assert_int_equal(tmb_item_error(&server, &error, message), 400);
        assert_string_equal(message, "is cut short: it promises 10 bytes");
    }
    /* What merely looks like a name is the message. */
    tmb_error error;
    char message[512];
    (void)tmb_fail(&error, TMB_ERROR_FORMAT, "/v1 takes: no lists");
    assert_int_equal(tmb_item_error(&server, &error, message), 400);
    assert_string_equal(message, "/v1 takes: no lists");
}

/* From the system call to the error: a full disk and no descriptors. */
static void test_system_errors(void **state) {
    (void)state;
    tmb_audio_writer *writer = NULL;
    tmb_error error = {0};
    static const float silence[48000];
    tmb_status status = tmb_audio_create("/dev/full", TMB_CONTAINER_WAV, TMB_ENCODING_S16, 48000, 1, &writer, &error);
    if (status == TMB_OK) {
        status = tmb_audio_write(writer, silence, 48000, &error);
        tmb_audio_abort(&writer);
    }
    assert_int_equal(status, TMB_ERROR_IO);
    assert_int_equal(error.system, ENOSPC);
    assert_true(tmb_error_is_full(&error));
    assert_string_equal(error.message + error.name_bytes, "cannot be written: No space left on device");

    struct rlimit before, none;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    none.rlim_cur = 0;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    tmb_audio_reader *reader = NULL;
    status = tmb_audio_open("/dev/null", NULL, NULL, &reader, NULL, &error);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(status, TMB_ERROR_IO);
    assert_int_equal(error.system, EMFILE);
    assert_true(tmb_error_is_exhausted(&error) && !tmb_error_is_full(&error));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_statuses),
        cmocka_unit_test(test_names_stay_here),
        cmocka_unit_test(test_system_errors),
    };
    return cmocka_run_group_tests_name("server-errors", tests, NULL, NULL);
}
