#include "test.h"

#include "tar_writer.h"
#include "weights/tar_gz.h"

#include <stdlib.h>
#include <string.h>

static const tmb_tar_gz_limits roomy = {.total_bytes = 1 << 20, .member_bytes = 1 << 18, .members = 20};

/* Reads every member; the paths joined by '|' in `paths`, the contents in `contents` (each up to 4000 bytes). */
static tmb_status read_all(const unsigned char *bytes, size_t size, const tmb_tar_gz_limits *limits, char *paths,
                           char *contents, tmb_error *error) {
    tmb_tar_gz *archive = NULL;
    tmb_status status = tmb_tar_gz_open_memory(bytes, size, limits, &archive, error);
    paths[0] = contents[0] = '\0';
    while (status == TMB_OK) {
        tmb_tar_gz_member member;
        bool found = false;
        status = tmb_tar_gz_next(archive, &member, &found, error);
        if (status != TMB_OK || !found) {
            break;
        }
        (void)strcat(strcat(paths, member.path), "|");
        char content[4001] = "";
        if (member.size <= 4000) {
            status = tmb_tar_gz_read(archive, content, member.size, error);
            (void)strcat(strcat(contents, content), "|");
        }
    }
    tmb_tar_gz_close(&archive);
    assert_null(archive);
    return status;
}

static void expect(tar_writer *tar, int level, const tmb_tar_gz_limits *limits, tmb_status wanted, const char *says) {
    size_t size = 0;
    unsigned char *bytes = tar_compress(tar, level, &size);
    char paths[20000];
    char contents[20000];
    tmb_error error = {0};
    assert_int_equal(read_all(bytes, size, limits, paths, contents, &error), wanted);
    if (wanted != TMB_OK && strstr(error.message, says) == NULL) {
        fail_msg("\"%s\" is not in \"%s\"", says, error.message);
    }
    free(bytes);
}

static void test_members(void **state) {
    (void)state;
    char long_name[200] = "";
    for (size_t i = 0; i < 17; i++) {
        (void)strcat(long_name, "longfolder/");
    }
    long_name[150] = '\0';
    const char *record = "21 path=pax/the name\n";
    tar_writer tar = {NULL, 0};
    tar_member(&tar, "folder/", '5', NULL, 0);
    tar_member(&tar, "folder/one", '0', "first", 5);
    tar_member(&tar, "link", '2', NULL, 0);
    tar_member(&tar, "././@LongLink", 'L', long_name, strlen(long_name) + 1);
    tar_member(&tar, "short", '0', "second", 6);
    tar_member(&tar, "pax", 'x', record, strlen(record));
    tar_member(&tar, "short", '0', "third", 5);
    tar_member(&tar, "global", 'g', "13 comment=a\n", 13);
    tar_member(&tar, "empty", '\0', "", 0);
    tar_end(&tar);
    size_t size = 0;
    unsigned char *bytes = tar_compress(&tar, 6, &size);
    char paths[2000];
    char contents[2000];
    tmb_error error = {0};
    assert_ok(read_all(bytes, size, &roomy, paths, contents, &error), error);
    char wanted[400];
    (void)snprintf(wanted, sizeof wanted, "folder/one|%s|pax/the name|empty|", long_name);
    assert_string_equal(paths, wanted);
    assert_string_equal(contents, "first|second|third||");
    /* Cut off anywhere, it is an error, never a short success. */
    for (size_t cut = 0; cut < size; cut++) {
        assert_int_equal(read_all(bytes, cut, &roomy, paths, contents, &error), TMB_ERROR_FORMAT);
    }
    /* So is any damage to the sum at the end. */
    for (size_t i = size - 8; i < size; i++) {
        bytes[i] ^= 1;
        assert_int_equal(read_all(bytes, size, &roomy, paths, contents, &error), TMB_ERROR_FORMAT);
        bytes[i] ^= 1;
    }
    free(bytes);
}

static void test_prefix(void **state) {
    (void)state;
    tar_writer tar = {NULL, 0};
    tar_member(&tar, "name", '0', "x", 1);
    memcpy(tar.bytes + 345, "some/prefix", 11);
    tar_seal(tar.bytes);
    tar_end(&tar);
    size_t size = 0;
    unsigned char *bytes = tar_compress(&tar, 6, &size);
    char paths[2000];
    char contents[2000];
    tmb_error error = {0};
    assert_ok(read_all(bytes, size, &roomy, paths, contents, &error), error);
    assert_string_equal(paths, "some/prefix/name|");
    free(bytes);
}

static void test_hostile(void **state) {
    (void)state;
    tar_writer tar = {NULL, 0};
    char paths[2000];
    char contents[2000];
    tmb_error error = {0};
    assert_int_equal(read_all((const unsigned char *)"RIFF....WAVE", 12, &roomy, paths, contents, &error),
                     TMB_ERROR_FORMAT);
    assert_non_null(strstr(error.message, "not a gzip archive"));
    assert_int_equal(read_all(NULL, 0, &roomy, paths, contents, &error), TMB_ERROR_FORMAT);

    tar_append(&tar, "no tar at all, but long enough for a header", 43);
    tar_end(&tar);
    expect(&tar, 6, &roomy, TMB_ERROR_FORMAT, "not a tar archive");

    tar_member(&tar, "a", '0', "x", 1);
    tar.bytes[0] = 'b'; /* the sum no longer fits */
    tar_end(&tar);
    expect(&tar, 6, &roomy, TMB_ERROR_FORMAT, "member 1 has a wrong header");

    tar_member(&tar, "a", '0', "x", 1);
    memcpy(tar.bytes + 124, "\200\0\0\0\377\377\377\377\377\377\377\377", 12); /* GNU's binary size: huge */
    tar_seal(tar.bytes);
    tar_end(&tar);
    expect(&tar, 6, &roomy, TMB_ERROR_FORMAT, "wrong header");

    tar_member(&tar, "a", '0', NULL, 077777777777); /* 8 GiB, it says */
    tar_end(&tar);
    expect(&tar, 6, &roomy, TMB_ERROR_LIMIT, "262144 are the limit");

    tar_member(&tar, "a", '0', NULL, 5000); /* more than there is */
    tar_end(&tar);
    tar.size -= 1024 - 512;
    expect(&tar, 6, &roomy, TMB_ERROR_FORMAT, "cut off");

    tar_member(&tar, "", '0', "x", 1);
    tar_end(&tar);
    expect(&tar, 6, &roomy, TMB_ERROR_FORMAT, "no name");

    for (size_t i = 0; i < 25; i++) {
        tar_member(&tar, "many", '0', "x", 1);
    }
    tar_end(&tar);
    expect(&tar, 6, &roomy, TMB_ERROR_LIMIT, "more than 20 members");

    /* A bomb: little when compressed, in a member that is only passed over. */
    unsigned char *zeros = calloc(1, 4 << 20);
    tar_member(&tar, "bomb", 'V', zeros, 4 << 20);
    tar_end(&tar);
    expect(&tar, 9, &roomy, TMB_ERROR_LIMIT, "more than 1048576 bytes");
    free(zeros);

    /* ... or behind the archive's end. */
    tar_member(&tar, "a", '0', "x", 1);
    tar_end(&tar);
    zeros = calloc(1, 4 << 20);
    tar_append(&tar, zeros, 4 << 20);
    expect(&tar, 9, &roomy, TMB_ERROR_LIMIT, "more than 1048576 bytes");
    free(zeros);

    char *name = malloc(400);
    memset(name, 'n', 399);
    name[399] = '\0';
    tar_member(&tar, "x", 'L', name, 400);
    tar_member(&tar, "a", '0', "x", 1);
    tar_end(&tar);
    expect(&tar, 6, &roomy, TMB_ERROR_FORMAT, "path of 399 bytes");
    free(name);

    static const char *const records[] = {"99 path=x\n", "0 path=x\n", "path=x\n", "9 path=x",
                                          "18446744073709551626 path=x\n"};
    for (size_t i = 0; i < sizeof records / sizeof records[0]; i++) {
        tar_member(&tar, "x", 'x', records[i], strlen(records[i]));
        tar_member(&tar, "a", '0', "x", 1);
        tar_end(&tar);
        expect(&tar, 6, &roomy, TMB_ERROR_FORMAT, "extended header");
    }
    char *large = calloc(1, 20000);
    tar_member(&tar, "x", 'x', large, 20000);
    tar_end(&tar);
    expect(&tar, 6, &roomy, TMB_ERROR_LIMIT, "extended header");
    free(large);
}

static void test_read_is_bounded(void **state) {
    (void)state;
    tar_writer tar = {NULL, 0};
    tar_member(&tar, "a", '0', "content", 7);
    tar_end(&tar);
    size_t size = 0;
    unsigned char *bytes = tar_compress(&tar, 6, &size);
    tmb_error error = {0};
    tmb_tar_gz *archive = NULL;
    tmb_tar_gz_member member;
    bool found = false;
    char out[16];
    assert_ok(tmb_tar_gz_open_memory(bytes, size, &roomy, &archive, &error), error);
    assert_ok(tmb_tar_gz_next(archive, &member, &found, &error), error);
    assert_ok(tmb_tar_gz_read(archive, out, 3, &error), error);
    assert_int_equal(tmb_tar_gz_read(archive, out, 5, &error), TMB_ERROR_ARGUMENT);
    assert_ok(tmb_tar_gz_read(archive, out, 4, &error), error);
    assert_memory_equal(out, "tent", 4);
    assert_ok(tmb_tar_gz_next(archive, &member, &found, &error), error);
    assert_false(found);
    assert_ok(tmb_tar_gz_next(archive, &member, &found, &error), error); /* the end stays the end */
    assert_false(found);
    tmb_tar_gz_close(&archive);
    free(bytes);
    assert_int_equal(tmb_tar_gz_open("/nonexistent/file", &roomy, &archive, &error), TMB_ERROR_IO);
    assert_ok(tmb_tar_gz_open("/", &roomy, &archive, &error), error); /* opens; reading says what it is */
    assert_int_equal(tmb_tar_gz_next(archive, &member, &found, &error), TMB_ERROR_IO);
    tmb_tar_gz_close(&archive);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_members),
        cmocka_unit_test(test_prefix),
        cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_read_is_bounded),
    };
    return cmocka_run_group_tests_name("tar-gz", tests, NULL, NULL);
}
