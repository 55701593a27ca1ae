/* Texts of MP3's tags: every version, encoding and flag that they have. */
#include "test.h"

#include "io/id3.h"

#include <stdlib.h>
#include <string.h>

/* A literal's bytes without its own 0. */
#define BYTES(text) (text), sizeof(text) - 1

static const struct {
    const char *what;
    const char *file;
    size_t size;
    tmb_tag tag;
    const char *text; /* NULL: none */
} cases[] = {
    {"2.3, Latin-1", BYTES("ID3\3\0\0\0\0\0\x0fTIT2\0\0\0\5\0\0\0Caf\xe9"), TMB_TAG_TITLE, "Café"},
    {"2.4, UTF-8", BYTES("ID3\4\0\0\0\0\0\x10TPE1\0\0\0\6\0\0\3Caf\xc3\xa9"), TMB_TAG_ARTIST, "Café"},
    {"2.3, UTF-16 with a mark, little", BYTES("ID3\3\0\0\0\0\0\x11TALB\0\0\0\7\0\0\1\xff\xfeH\0\xe9\0"), TMB_TAG_ALBUM,
     "Hé"},
    {"2.3, UTF-16 with a mark, big", BYTES("ID3\3\0\0\0\0\0\x11TCON\0\0\0\7\0\0\1\xfe\xff\0H\0\xe9"), TMB_TAG_GENRE,
     "Hé"},
    {"2.4, UTF-16, a pair of surrogates", BYTES("ID3\4\0\0\0\0\0\x0fTRCK\0\0\0\5\0\0\2\xd8\x3d\xde\x00"), TMB_TAG_TRACK,
     "\xf0\x9f\x98\x80"},
    {"2.4, UTF-16, half a pair", BYTES("ID3\4\0\0\0\0\0\x0fTRCK\0\0\0\5\0\0\2\xdc\x3d\0A"), TMB_TAG_TRACK,
     "\xef\xbf\xbd"
     "A"},
    {"2.4, UTF-16, a pair that is none", BYTES("ID3\4\0\0\0\0\0\x0fTRCK\0\0\0\5\0\0\2\xd8\x3d\0A"), TMB_TAG_TRACK,
     "\xef\xbf\xbd"},
    {"2.4, UTF-16 up to its 0", BYTES("ID3\4\0\0\0\0\0\x11TCOP\0\0\0\7\0\0\2\0A\0\0\0B"), TMB_TAG_COPYRIGHT, "A"},
    {"2.2", BYTES("ID3\2\0\0\0\0\0\x0bTT2\0\0\5\0Name"), TMB_TAG_TITLE, "Name"},
    {"a comment behind its description",
     BYTES("ID3\3\0\0\0\0\0\x14"
           "COMM\0\0\0\x0a\0\0\0eng"
           "d\0Said"),
     TMB_TAG_COMMENT, "Said"},
    {"a comment in UTF-16",
     BYTES("ID3\4\0\0\0\0\0\x16"
           "COMM\0\0\0\x0c\0\0\2eng\0d\0\0\0A\0B"),
     TMB_TAG_COMMENT, "AB"},
    {"without synchronization", BYTES("ID3\3\0\x80\0\0\0\x10TIT2\0\0\0\5\0\0\0A\xff\0BC"), TMB_TAG_TITLE, "AÿBC"},
    {"2.3, an extended head", BYTES("ID3\3\0\x40\0\0\0\x17\0\0\0\6\0\0\0\0\0\0TIT2\0\0\0\3\0\0\0Hi"), TMB_TAG_TITLE,
     "Hi"},
    {"2.4, an extended head", BYTES("ID3\4\0\x40\0\0\0\x13\0\0\0\6\1\0TIT2\0\0\0\3\0\0\0Hi"), TMB_TAG_TITLE, "Hi"},
    {"the second frame", BYTES("ID3\3\0\0\0\0\0\x19XXXX\0\0\0\2\0\0\0xTIT2\0\0\0\3\0\0\0Hi"), TMB_TAG_TITLE, "Hi"},
    {"a frame that is longer than the tag", BYTES("ID3\3\0\0\0\0\0\x0dTIT2\0\0\1\0\0\0\0Hi"), TMB_TAG_TITLE, NULL},
    {"a tag that is cut", BYTES("ID3\3\0\0\0\0\1\x0dTIT2\0\0\0\3\0\0\0H"), TMB_TAG_TITLE, NULL},
    {"padding", BYTES("ID3\3\0\0\0\0\0\x14\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"), TMB_TAG_TITLE, NULL},
    {"no tag", BYTES("MP3 without a tag"), TMB_TAG_TITLE, NULL},
};

static void test_second_version(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        /* Exactly as long, so that a sanitizer sees a read behind it. */
        char *file = malloc(cases[i].size);
        assert_non_null(file);
        memcpy(file, cases[i].file, cases[i].size);
        tmb_source source;
        tmb_tags tags = {0};
        tmb_source_open_memory(file, cases[i].size, &source);
        tmb_id3_read(&source, &tags);
        const char *text = tags.text[cases[i].tag];
        if ((text == NULL) != (cases[i].text == NULL) || (text != NULL && strcmp(text, cases[i].text) != 0)) {
            fail_msg("%s: \"%s\", not \"%s\"", cases[i].what, text != NULL ? text : "(none)",
                     cases[i].text != NULL ? cases[i].text : "(none)");
        }
        tmb_tags_free(&tags);
        free(file);
    }
}

/* The 128 bytes at the end say what the tag at the beginning leaves out. */
static void test_first_version(void **state) {
    (void)state;
    static const char head[] = "ID3\3\0\0\0\0\0\x0dTIT2\0\0\0\3\0\0\0Hi";
    char file[sizeof head - 1 + 128] = "";
    memcpy(file, head, sizeof head - 1);
    char *end = file + sizeof head - 1;
    memcpy(end, "TAG", 3);
    memcpy(end + 3, "Another", 7);
    memcpy(end + 33, "Someone", 7);
    memcpy(end + 63, "Songs", 5);
    memcpy(end + 93, "1999", 4);
    memcpy(end + 97, "Said", 4);
    tmb_source source;
    tmb_tags tags = {0};
    tmb_source_open_memory(file, sizeof file, &source);
    tmb_id3_read(&source, &tags);
    assert_string_equal(tags.text[TMB_TAG_TITLE], "Hi");
    assert_string_equal(tags.text[TMB_TAG_ARTIST], "Someone");
    assert_string_equal(tags.text[TMB_TAG_ALBUM], "Songs");
    assert_string_equal(tags.text[TMB_TAG_DATE], "1999");
    assert_string_equal(tags.text[TMB_TAG_COMMENT], "Said");
    tmb_tags_free(&tags);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_second_version), cmocka_unit_test(test_first_version)};
    return cmocka_run_group_tests_name("io id3", tests, NULL, NULL);
}
