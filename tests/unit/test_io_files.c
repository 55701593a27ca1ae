/* Files are written beside their place and put into it when they are complete. */
#include "io_fixture.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void write_text(const char *path, const char *text) {
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void check_text(const char *path, const char *text) {
    char found[64] = "";
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    assert_non_null(fgets(found, sizeof found, file));
    assert_int_equal(fclose(file), 0);
    assert_string_equal(found, text);
}

static void test_files(void **state) {
    (void)state;
    tmb_error error = {0};
    for (size_t i = 0; i < CONTAINERS; i++) {
        char name[32];
        char path[256];
        (void)snprintf(name, sizeof name, "tone.%s", endings[containers[i]]);
        path_in_folder(path, sizeof path, name);
        write_text(path, "old");
        assert_int_equal(chmod(path, 0640), 0);
        tmb_audio_writer *writer = NULL;
        assert_ok(tmb_audio_create(path, TMB_CONTAINER_AUTO, TMB_ENCODING_S16, 48000, 1, &writer, &error), error);
        write_in_pieces(writer, tone, 1, second, 4800);
        assert_int_equal(files_in_folder(), 2);
        check_text(path, "old"); /* until it is finished */
        assert_ok(tmb_audio_finish(&writer, &error), error);
        assert_int_equal(files_in_folder(), 1);
        struct stat status;
        assert_int_equal(stat(path, &status), 0);
        assert_int_equal(status.st_mode & 0777, 0640);
        if (containers[i] != TMB_CONTAINER_RAW) {
            tmb_audio_reader *reader = NULL;
            tmb_audio_info info;
            assert_ok(tmb_audio_open(path, NULL, NULL, &reader, &info, &error), error);
            assert_int_equal(info.length, second);
            tmb_audio_close(&reader);
        }
        /* Given up, it leaves what was there. */
        write_text(path, "old");
        assert_ok(tmb_audio_create(path, TMB_CONTAINER_AUTO, TMB_ENCODING_S16, 48000, 1, &writer, &error), error);
        write_in_pieces(writer, tone, 1, second / 2, 4800);
        tmb_audio_abort(&writer);
        assert_int_equal(files_in_folder(), 1);
        check_text(path, "old");
        assert_int_equal(unlink(path), 0);
    }
    tmb_audio_writer *none = NULL;
    tmb_audio_abort(&none);
}

static void test_links_and_devices(void **state) {
    (void)state;
    tmb_error error = {0};
    tmb_audio_writer *writer = NULL;
    char path[256];
    char link_path[256];
    path_in_folder(path, sizeof path, "file.wav");
    path_in_folder(link_path, sizeof link_path, "link.wav");
    write_text(path, "old");
    assert_int_equal(symlink("file.wav", link_path), 0);
    assert_ok(tmb_audio_create(link_path, TMB_CONTAINER_AUTO, TMB_ENCODING_S16, 48000, 1, &writer, &error), error);
    write_in_pieces(writer, tone, 1, 100, 100);
    assert_ok(tmb_audio_finish(&writer, &error), error);
    struct stat status;
    assert_int_equal(lstat(link_path, &status), 0);
    assert_true(S_ISLNK(status.st_mode)); /* the link stays, its file is new */
    assert_int_equal(stat(path, &status), 0);
    assert_true(status.st_size > 200);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(tmb_audio_create(link_path, TMB_CONTAINER_AUTO, TMB_ENCODING_S16, 48000, 1, &writer, &error),
                     TMB_ERROR_IO);
    assert_non_null(strstr(error.message, "link to a file that does not exist"));
    assert_int_equal(unlink(link_path), 0);

    /* A device is written in place; a full one says so. */
    assert_ok(tmb_audio_create("/dev/null", TMB_CONTAINER_WAV, TMB_ENCODING_S16, 48000, 1, &writer, &error), error);
    write_in_pieces(writer, tone, 1, 100, 100);
    assert_ok(tmb_audio_finish(&writer, &error), error);
    assert_int_equal(stat("/dev/null", &status), 0);
    assert_true(S_ISCHR(status.st_mode));
    assert_int_equal(tmb_audio_create("/dev/full", TMB_CONTAINER_WAV, TMB_ENCODING_S16, 48000, 1, &writer, &error),
                     TMB_ERROR_IO);
    assert_non_null(strstr(error.message, "No space left"));
}

/* A disk that fills up: the file system's limit for this process plays the part. */
static void test_full_disk(void **state) {
    (void)state;
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    const struct rlimit small = {.rlim_cur = 3000, .rlim_max = before.rlim_max};
    for (size_t i = 0; i < CONTAINERS; i++) {
        char name[32];
        char path[256];
        (void)snprintf(name, sizeof name, "tone.%s", endings[containers[i]]);
        path_in_folder(path, sizeof path, name);
        tmb_audio_writer *writer = NULL;
        tmb_error error = {0};
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
        assert_ok(tmb_audio_create(path, TMB_CONTAINER_AUTO, TMB_ENCODING_S16, 48000, 1, &writer, &error), error);
        for (size_t place = 0; place < second; place += 4800) {
            if (tmb_audio_write(writer, tone + place, 4800, &error) != TMB_OK) {
                break;
            }
        }
        const tmb_status status = tmb_audio_finish(&writer, &error);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
        assert_int_equal(status, TMB_ERROR_IO);
        assert_non_null(strstr(error.message, "File too large"));
        assert_non_null(strstr(error.message, path));
        assert_null(writer);
        assert_int_equal(files_in_folder(), 0);
    }
    (void)signal(SIGXFSZ, handler);
}

static void remove_and_exit(int signal_number) {
    (void)signal_number;
    tmb_audio_remove_temporary_files();
    _exit(7);
}

static void test_signal_removes_temporary_files(void **state) {
    (void)state;
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)signal(SIGTERM, remove_and_exit);
        tmb_audio_writer *writers[40];
        for (size_t i = 0; i < 40; i++) {
            char name[32];
            char path[256];
            (void)snprintf(name, sizeof name, "tone-%zu.wav", i);
            path_in_folder(path, sizeof path, name);
            if (tmb_audio_create(path, TMB_CONTAINER_AUTO, TMB_ENCODING_S16, 48000, 1, &writers[i], NULL) != TMB_OK) {
                _exit(1);
            }
            /* Two of three are closed again, so that entries are used twice. */
            if (i % 3 == 0) {
                (void)tmb_audio_finish(&writers[i], NULL);
            } else if (i % 3 == 1) {
                tmb_audio_abort(&writers[i]);
            }
        }
        (void)raise(SIGTERM);
        _exit(2);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 7);
    assert_int_equal(files_in_folder(), 14); /* the finished ones */
    for (size_t i = 0; i < 40; i += 3) {
        char name[32];
        char path[256];
        (void)snprintf(name, sizeof name, "tone-%zu.wav", i);
        path_in_folder(path, sizeof path, name);
        assert_int_equal(unlink(path), 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_links_and_devices),
        cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_signal_removes_temporary_files),
    };
    return cmocka_run_group_tests_name("io files", tests, set_up, tear_down);
}
