/* The walks of containers that ffmpeg decodes: whole ones pass without a word, cut ones are named, what is behind is
 * said. */
#include "audio_bytes.h"

#include "io/containers.h"

#include <stdio.h>
#include <string.h>

static audio_bytes fill(audio_bytes bytes, size_t size) {
    while (bytes.size < size) {
        audio_bytes_number(&bytes, 'x', 1);
    }
    return bytes;
}

static void big(audio_bytes *bytes, uint64_t value, size_t count) {
    while (count-- > 0) {
        audio_bytes_number(bytes, (value >> (8 * count)) & 0xff, 1);
    }
}

static void flash_tag(audio_bytes *bytes, unsigned kind, const char *data, size_t size) {
    big(bytes, kind, 1);
    big(bytes, size, 3);
    big(bytes, 0, 7);
    audio_bytes_put(bytes, data, size);
    big(bytes, 11 + size, 4);
}

/* Three tags of sound; `whole`: what its first tag says of its size, 0: nothing. */
static audio_bytes flash(double whole) {
    audio_bytes bytes = {0};
    audio_bytes_put(&bytes, "FLV\1\4\0\0\0\11\0\0\0\0", 13);
    if (whole > 0) {
        uint64_t bits = 0;
        memcpy(&bits, &whole, sizeof bits);
        char script[19] = "\0\10filesize";
        for (size_t i = 0; i < 8; i++) {
            script[11 + i] = (char)(bits >> (56 - 8 * i));
        }
        flash_tag(&bytes, 18, script, sizeof script);
    }
    for (int i = 0; i < 3; i++) {
        flash_tag(&bytes, 8, "0123456789", 10);
    }
    return bytes;
}

/* `riff` and `movi`: sizes that are written, 0: the true ones. */
static audio_bytes avi(uint32_t riff, uint32_t movi) {
    audio_bytes bytes = {0};
    audio_bytes_text(&bytes, "RIFF");
    audio_bytes_number(&bytes, riff != 0 ? riff : 84, 4);
    audio_bytes_text(&bytes, "AVI LIST");
    audio_bytes_number(&bytes, 16, 4);
    audio_bytes_text(&bytes, "hdrlstrf");
    audio_bytes_number(&bytes, 3, 4);
    audio_bytes_put(&bytes, "abc\0LIST", 8);
    audio_bytes_number(&bytes, movi != 0 ? movi : 48, 4);
    audio_bytes_text(&bytes, "movi");
    for (int i = 0; i < 2; i++) {
        audio_bytes_text(&bytes, "00wb");
        audio_bytes_number(&bytes, 14, 4);
        audio_bytes_text(&bytes, "01234567890123");
    }
    return bytes;
}

/* A packet of 4 KiB in 23 of 188 bytes; `promised`: what it says of itself behind that. */
static audio_bytes transport(size_t promised) {
    audio_bytes bytes = {0};
    for (size_t i = 0; i < 23; i++) {
        audio_bytes_put(&bytes, i == 0 ? "\x47\x41\x00\x10" : "\x47\x01\x00\x10", 4);
        if (i == 0) {
            big(&bytes, 0x1c0, 4);
            big(&bytes, promised, 2);
        }
        bytes = fill(bytes, (i + 1) * 188);
    }
    return bytes;
}

/* Layer II, 48 kHz, 32 kbit/s: 96 bytes. */
static audio_bytes frames(size_t count) {
    audio_bytes bytes = {0};
    for (size_t i = 0; i < count; i++) {
        audio_bytes_put(&bytes, "\xff\xfd\x14\xc0", 4);
        bytes = fill(bytes, (i + 1) * 96);
    }
    return bytes;
}

/* `message` NULL: whole; otherwise a loss that has it, in the error and when it is salvaged in a note. */
static void check(const char *demuxer, audio_bytes bytes, const char *message) {
    for (int salvage = 0; salvage < 2; salvage++) {
        tmb_source source;
        tmb_source_open_memory(bytes.data, bytes.size, &source);
        tmb_notes notes = {.salvage = salvage != 0};
        tmb_error error = {0};
        const tmb_status status = tmb_container_check(&source, demuxer, &notes, &error);
        const bool lost = message != NULL && strstr(message, "another") == NULL;
        const char *said = salvage || !lost ? notes.text[0] : error.message;
        if (status != (lost && !salvage ? TMB_ERROR_FORMAT : TMB_OK) ||
            (message == NULL ? notes.count > 0 : strstr(said, message) == NULL)) {
            fail_msg("%s of %zu bytes: %s \"%s\", %zu notes \"%s\"", demuxer, bytes.size, tmb_status_name(status),
                     error.message, notes.count, notes.count > 0 ? notes.text[0] : "");
        }
    }
    audio_bytes_free(&bytes);
}

/* Every cut of a file of tiles is said, but those between two of them where nothing promises more. */
static void check_cuts(const char *demuxer, audio_bytes whole, size_t from) {
    for (size_t size = from; size < whole.size; size++) {
        check(demuxer, audio_bytes_of(whole.data, size), "is cut short");
    }
    check(demuxer, whole, NULL);
}

static void test_flash(void **state) {
    (void)state;
    check_cuts("flv", flash(13 + 34 + 3 * 25), 13 + 11 + 19);
    check("flv", flash(0), NULL);
    check("flv", audio_bytes_cut(flash(0), 0, 13 + 25 + 3), "its tag at byte 38 promises 11 bytes and has 3");
    check("flv", audio_bytes_cut(flash(0), 0, 13 + 25 + 20), "its tag at byte 38 promises 21 bytes and has 20");
    check("flv", audio_bytes_cut(flash(0), 0, 13 + 75 - 4), NULL); /* without the last tag's size */
    check("flv", audio_bytes_join(flash(0), flash(0)), "another recording");
    check("flv", audio_bytes_join(flash(0), audio_bytes_of("\0\0\0\0", 4)), NULL);
}

static void test_riff(void **state) {
    (void)state;
    check_cuts("avi", avi(0, 0), 13);
    check("avi", avi(0xffffffffu, 0xffffffffu), NULL);
    check("avi", audio_bytes_cut(avi(0xffffffffu, 0xffffffffu), 0, 80), "is cut short: its chunk at byte 70");
    check("avi", audio_bytes_join(avi(0, 0), avi(0, 0)), "another recording");
    check("avi", audio_bytes_join(avi(0, 0), audio_bytes_of("RIFF\4\0\0\0AVIX", 12)), NULL);
    check("avi", audio_bytes_join(avi(0, 0), audio_bytes_of("RIFF\5\0\0\0AVIX", 12)), "promises 13 bytes and has 12");
    check("avi", audio_bytes_join(avi(0, 0), audio_bytes_of("junk", 4)), NULL);
    audio_bytes damaged = avi(0, 0);
    damaged.data[71] = 0;
    check("avi", damaged, "is damaged: no chunk begins at byte 70");
}

static void test_transport(void **state) {
    (void)state;
    check("mpegts", transport(4096), NULL);
    check("mpegts", transport(0), NULL); /* a stream of pictures says none */
    check("mpegts", audio_bytes_join(transport(0), transport(4096)), NULL);
    check("mpegts", transport(4300), "the last packet of stream 256 lacks 74 bytes");
    check("mpegts", audio_bytes_cut(transport(4096), 0, 22 * 188), "is cut short");
    check("mpegts", audio_bytes_cut(transport(4096), 0, 22 * 188 + 1), "promises 188 bytes and has 1");
    check("mpegts", audio_bytes_join(transport(4096), audio_bytes_of("\0\0", 2)), NULL);
}

/* Boxes: "ftyp", "mdat"; tags and zeros behind them are none. */
static audio_bytes boxes(uint32_t sound) {
    audio_bytes bytes = {0};
    big(&bytes, 16, 4);
    audio_bytes_text(&bytes, "ftypM4A \1\2\3\4");
    big(&bytes, sound, 4);
    audio_bytes_text(&bytes, "mdat0123456789");
    return bytes;
}

static void test_tags_behind(void **state) {
    (void)state;
    char tag[128] = "TAGTitle of it";
    check_cuts("mov", boxes(18), 24);
    check("mov", audio_bytes_join(boxes(18), audio_bytes_of(tag, sizeof tag)), NULL);
    check("mov", audio_bytes_join(boxes(0), audio_bytes_of(tag, sizeof tag)), NULL);
    check("mov", audio_bytes_join(boxes(18), audio_bytes_of("\0\0\0\0\0\0\0\0", 8)), NULL);
    check("mov", audio_bytes_join(boxes(19), audio_bytes_of(tag, sizeof tag)), "promises 19 bytes and has 18");
    check("mpegts", audio_bytes_join(transport(4096), audio_bytes_of(tag, sizeof tag)), NULL);
    check("avi", audio_bytes_join(avi(0, 0), audio_bytes_of(tag, sizeof tag)), NULL);
}

/* Behind padding, and whether another recording follows it. */
static void test_padding_before(void **state) {
    (void)state;
    const audio_bytes padding = audio_bytes_of("\0\0\0\x0c"
                                               "free0123\0\0\0\x08wide",
                                               20);
    check("mov", audio_bytes_join(audio_bytes_of(padding.data, padding.size), boxes(18)), NULL);
    check("mov", audio_bytes_join(audio_bytes_of(padding.data, padding.size), boxes(19)), "promises 19 bytes");
    check("mov", audio_bytes_join(audio_bytes_join(boxes(18), padding), boxes(18)), "another recording");
}

/* A head of 30 bytes, and packets in an object of `said` bytes, of which the last two look like a cut one. */
static audio_bytes objects(uint64_t said) {
    audio_bytes bytes = {0};
    audio_bytes_put(&bytes, "\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\0\xaa\0\x62\xce\x6c", 16);
    audio_bytes_number(&bytes, 30, 8);
    audio_bytes_text(&bytes, "header");
    audio_bytes_put(&bytes, "\x36\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\0\xaa\0\x62\xce\x6c", 16);
    audio_bytes_number(&bytes, said, 8);
    return fill(bytes, 30 + 50 + 100);
}

static void test_objects(void **state) {
    (void)state;
    check_cuts("asf", objects(150), 54);
    check("asf", objects(50), NULL); /* what ffmpeg leaves in a pipe */
    check("asf", objects(0), NULL);
    check("asf", objects(151), "its object at byte 30 promises 151 bytes and has 150");
    check("asf", objects(100), "its object at byte 130 promises 8680820740569200760 bytes");
    check("asf", audio_bytes_join(objects(150), objects(150)), "another recording");
}

/* Two frames of a thousand samples, each in two blocks of 42 bytes; `total`: what the first ones say. */
static audio_bytes wavpack(uint64_t total) {
    audio_bytes bytes = {0};
    for (unsigned i = 0; i < 4; i++) {
        const size_t start = bytes.size;
        audio_bytes_text(&bytes, "wvpk");
        audio_bytes_number(&bytes, 34, 4);
        audio_bytes_number(&bytes, 0x410, 4);
        audio_bytes_number(&bytes, total, 4);
        audio_bytes_number(&bytes, i / 2 * 1000, 4);
        audio_bytes_number(&bytes, 1000, 4);
        audio_bytes_number(&bytes, i % 2 == 0 ? 0x800 : 0x1000, 4);
        bytes = fill(bytes, start + 42);
    }
    return bytes;
}

static void test_wavpack(void **state) {
    (void)state;
    check_cuts("wv", wavpack(2000), 1);
    check("wv", audio_bytes_cut(wavpack(2000), 0, 84), "is cut short: it promises 2000 samples and has 1000");
    check("wv", audio_bytes_cut(wavpack(2000), 0, 84 + 2), "its block at byte 84 promises 32 bytes and has 2");
    check("wv", audio_bytes_cut(wavpack(2000), 0, 84 + 40), "its block at byte 84 promises 42 bytes and has 40");
    check("wv", wavpack(2001), "promises 2001 samples and has 2000");
    check("wv", wavpack(0xffffffffu), NULL); /* not known */
    check("wv", wavpack(0), NULL);
    check("wv", audio_bytes_cut(wavpack(0xffffffffu), 0, 84), NULL);
    check("wv", audio_bytes_join(wavpack(2000), wavpack(2000)), NULL); /* ffmpeg reads both */
    check("wv", audio_bytes_join(audio_bytes_cut(wavpack(2000), 0, 84), wavpack(2000)), "promises 4000 samples");
    char tag[128] = "TAGTitle of it";
    check("wv", audio_bytes_join(wavpack(2000), audio_bytes_of(tag, sizeof tag)), NULL);
}

static void test_frames(void **state) {
    (void)state;
    check("mp3", frames(3), NULL);
    for (size_t size = 2 * 96 + 4; size < (size_t)3 * 96; size++) {
        check("mp3", audio_bytes_cut(frames(3), 0, size), "its frame at byte 192 promises 96 bytes");
    }
    check("mp3", audio_bytes_join(frames(3), audio_bytes_of("TAG", 3)), NULL);
    /* Layer I, 44.1 kHz, 384 kbit/s, padded; layer II of MPEG-2, 22.05 kHz, 64 kbit/s. */
    check("mp3", fill(audio_bytes_of("\xff\xff\xc2\xc0", 4), 419), "promises 420 bytes and has 419");
    check("mp3", fill(audio_bytes_of("\xff\xf5\x80\xc0", 4), 416), "promises 417 bytes and has 416");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_flash),   cmocka_unit_test(test_riff),        cmocka_unit_test(test_transport),
        cmocka_unit_test(test_frames),  cmocka_unit_test(test_tags_behind), cmocka_unit_test(test_padding_before),
        cmocka_unit_test(test_objects), cmocka_unit_test(test_wavpack),
    };
    return cmocka_run_group_tests_name("io containers", tests, NULL, NULL);
}
