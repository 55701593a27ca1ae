/* Any bytes as the head of a WAV, RF64, Wave64, AIFF, CAF or AU file, or as FLAC frames: an error with a message, or a
 * part of the file that lies within it. */
#include "fuzz.h"

#include "io/flac_frames.h"
#include "io/layout.h"

#include <stdlib.h>
#include <string.h>

static const char *const fronts[] = {"RIFF\x24\0\0\0WAVE", "RF64\xff\xff\xff\xffWAVE",
                                     "RIFX\0\0\0\x24WAVE", "FORM\0\0\0\100AIFC",
                                     "caff\0\1\0\0",       ".snd\0\0\0\x18"};
static const size_t front_sizes[] = {12, 12, 12, 12, 8, 8};

static void check_layout(const uint8_t *data, size_t size) {
    tmb_file_kind kind;
    if (!tmb_sniff_is(data, size, &kind) || kind == TMB_FILE_MP3 || kind == TMB_FILE_OGG || kind == TMB_FILE_FLAC) {
        return;
    }
    tmb_source source;
    tmb_source_open_memory(data, size, &source);
    uint64_t end[2] = {0};
    tmb_status statuses[2];
    for (int salvage = 0; salvage < 2; salvage++) {
        tmb_notes notes = {.salvage = salvage != 0};
        tmb_layout layout;
        tmb_error error = {0};
        statuses[salvage] = tmb_layout_read(&source, 0, size, kind, &notes, &layout, &error);
        if (statuses[salvage] == TMB_OK) {
            fuzz_check(layout.start <= layout.end && layout.end <= size && layout.container != NULL);
            fuzz_check(layout.next == 0 || (layout.next >= layout.end && layout.next < size));
            fuzz_check(layout.tags.cue_count <= TMB_TAGS_MAX_CUES);
            end[salvage] = layout.end;
            uint8_t *chunks = NULL;
            size_t chunk_bytes = 0;
            tmb_tags copy;
            fuzz_check(tmb_tags_copy(&layout.tags, 48000, 44100, &copy));
            fuzz_check(tmb_tags_chunks(&copy, &chunks, &chunk_bytes) && chunk_bytes % 2 == 0);
            free(chunks);
            tmb_tags_free(&copy);
        } else {
            fuzz_check(error.status == statuses[salvage] && error.message[0] != '\0');
        }
        tmb_tags_free(&layout.tags);
    }
    /* What can be read without salvaging is the same with it. */
    fuzz_check(statuses[0] != TMB_OK || (statuses[1] == TMB_OK && end[0] == end[1]));
}

static void check_flac(const uint8_t *data, size_t size) {
    tmb_source source;
    tmb_source_open_memory(data, size, &source);
    tmb_notes notes = {.salvage = true};
    tmb_parts parts = {0};
    tmb_error error = {0};
    if (tmb_flac_walk(&source, 0, size, &notes, &parts, &error) == TMB_OK) {
        for (size_t i = 0; i < parts.count; i++) {
            fuzz_check(parts.items[i].start <= parts.items[i].end && parts.items[i].end <= size);
        }
    } else {
        fuzz_check(error.message[0] != '\0');
    }
    tmb_parts_free(&parts);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    check_layout(data, size);
    if (size >= 4 && memcmp(data, "fLaC", 4) == 0) {
        check_flac(data, size);
    }
    return 0;
}

static void put(uint8_t *out, size_t *at, const void *data, size_t size) {
    memcpy(out + *at, data, size);
    *at += size;
}

void fuzz_seeds(fuzz_add_seed add) {
    for (size_t i = 0; i < sizeof fronts / sizeof fronts[0]; i++) {
        add(fronts[i], front_sizes[i]);
    }
    uint8_t file[256];
    size_t at = 0;
    put(file, &at, "RF64\xff\xff\xff\xffWAVEds64\x1c\0\0\0", 20);
    put(file, &at, "\x80\0\0\0\0\0\0\0\x08\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\0\0\0\0\0", 28);
    put(file, &at, "fmt \x10\0\0\0\1\0\1\0\x80\xbb\0\0\0\x77\1\0\2\0\x10\0data\xff\xff\xff\xff", 32);
    put(file, &at, "\1\2\3\4\5\6\7\x08LIST\x12\0\0\0INFOINAM\6\0\0\0title\0", 34);
    put(file, &at, "cue \x1c\0\0\0\1\0\0\0\1\0\0\0\0\0\0\0data\0\0\0\0\0\0\0\0\2\0\0\0", 36);
    add(file, at);
    at = 0;
    put(file, &at,
        "FORM\0\0\0\x3a"
        "AIFFCOMM\0\0\0\x12\0\2\0\0\0\3\0\x10\x40\x0e\xbb\x80\0\0\0\0\0\0",
        38);
    put(file, &at, "SSND\0\0\0\x14\0\0\0\0\0\0\0\0\1\2\3\4\5\6\7\x08\x09\x0a\x0b\x0c", 28);
    add(file, at);
    at = 0;
    put(file, &at, "caff\0\1\0\0desc\0\0\0\0\0\0\0\x20\x40\xe7\x70\0\0\0\0\0lpcm\0\0\0\2", 36);
    put(file, &at, "\0\0\0\2\0\0\0\1\0\0\0\1\0\0\0\x10", 16);
    put(file, &at, "info\0\0\0\0\0\0\0\x0e\0\0\0\1title\0abc\0data\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0\1\2\3\4",
        46);
    add(file, at);
    at = 0;
    put(file, &at, ".snd\0\0\0\x18\xff\xff\xff\xff\0\0\0\3\0\0\xbb\x80\0\0\0\1\1\2\3\4", 28);
    add(file, at);
    at = 0;
    put(file, &at, "riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\0\0\x70\0\0\0\0\0\0\0", 24);
    put(file, &at, "wave\xf3\xac\xd3\x11\x8c\xd1\0\xc0\x4f\x8e\xdb\x8a", 16);
    put(file, &at, "fmt \xf3\xac\xd3\x11\x8c\xd1\0\xc0\x4f\x8e\xdb\x8a\x28\0\0\0\0\0\0\0", 24);
    put(file, &at, "\1\0\1\0\x80\xbb\0\0\0\x77\1\0\2\0\x10\0", 16);
    put(file, &at, "data\xf3\xac\xd3\x11\x8c\xd1\0\xc0\x4f\x8e\xdb\x8a\x20\0\0\0\0\0\0\0\1\2\3\4\5\6\7\x08", 32);
    add(file, at);
    put(file, &at, "list\x2f\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\0\0\x20\0\0\0\0\0\0\0textlist", 32);
    add(file, at);
    at = 0;
    put(file, &at, "RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x80\xbb\0\0\0\x77\1\0\2\0\x10\0data\0\0\0\0", 44);
    put(file, &at, "RIFF\x28\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x80\xbb\0\0\0\x77\1\0\2\0\x10\0data\4\0\0\0\1\2\3\4", 48);
    put(file, &at, "note\2\0\0\0abTAG+and zeros\0\0\0\0\0", 28);
    add(file, at);
    at = 0;
    put(file, &at, "fLaC\x80\0\0\x22\x10\0\x10\0\0\0\0\0\0\0\x0b\xb8\0\xf0\0\0\0\x10", 26);
    memset(file + at, 0, 16);
    at += 16;
    put(file, &at, "\xff\xf8\x69\x08\0\x0f\x7a\0\0\0\x5a\x3c", 12);
    add(file, at);
}
