#include "io/tags.h"

#include "base/memory.h"
#include "base/text.h"
#include "io/bytes.h"

#include <stdlib.h>
#include <string.h>

static const char *const info_names[TMB_TAG_COUNT] = {"INAM", "IART", "IPRD", "ICRD", "IGNR", "ITRK", "ICMT", "ICOP"};

/* In the bext chunk: the time of the first sample since midnight, in samples; the version; loudness from version 2 on,
 * which cleaning changes. */
#define BEXT_TIME 338
#define BEXT_VERSION 346
#define BEXT_LOUDNESS 412
#define BEXT_LOUDNESS_BYTES 10

tmb_tag tmb_tag_of_info(const uint8_t letters[4]) {
    int tag = 0;
    while (tag < TMB_TAG_COUNT && memcmp(info_names[tag], letters, 4) != 0) {
        tag++;
    }
    return (tmb_tag)tag;
}

/* A text as UTF-8 without what surrounds it; NULL: empty, or no memory. */
static char *make_text(const void *text, size_t size) {
    const uint8_t *bytes = text;
    size = strnlen(text, size);
    while (size > 0 && bytes[size - 1] <= ' ') {
        size--;
    }
    size = size < TMB_TAG_BYTES ? size : TMB_TAG_BYTES;
    if (size == 0) {
        return NULL;
    }
    char *out = tmb_calloc(2 * size + 1, 1);
    if (out == NULL) {
        return NULL;
    }
    /* The cut may have gone through a letter. */
    for (size_t less = 0; less < 4 && less < size; less++) {
        if (tmb_utf8_length(text, size - less) != SIZE_MAX) {
            memcpy(out, text, size - less);
            return out;
        }
        if (size < TMB_TAG_BYTES) {
            break;
        }
    }
    size_t length = 0;
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] >= 0x80) {
            out[length++] = (char)(0xc0 | bytes[i] >> 6);
            out[length++] = (char)(0x80 | (bytes[i] & 0x3f));
        } else {
            out[length++] = (char)bytes[i];
        }
    }
    return out;
}

void tmb_tags_set(tmb_tags *tags, tmb_tag tag, const void *text, size_t size) {
    if (tag < TMB_TAG_COUNT && tags->text[tag] == NULL) {
        tags->text[tag] = make_text(text, size);
    }
}

void tmb_tags_set_bext(tmb_tags *tags, const uint8_t *data, size_t size) {
    size = size < TMB_BEXT_MAX ? size : TMB_BEXT_MAX;
    if (tags->bext == NULL && size >= TMB_BEXT_FIXED) {
        tags->bext = tmb_calloc(size, 1);
        if (tags->bext != NULL) {
            memcpy(tags->bext, data, size);
            tags->bext_size = size;
        }
    }
}

void tmb_tags_add_cue(tmb_tags *tags, uint32_t id, uint64_t place) {
    if (tags->cue_count == TMB_TAGS_MAX_CUES) {
        return;
    }
    tmb_cue *cues = tmb_realloc(tags->cues, tags->cue_count + 1, sizeof *cues);
    if (cues != NULL) {
        cues[tags->cue_count++] = (tmb_cue){.id = id, .place = place};
        tags->cues = cues;
    }
}

void tmb_tags_label_cue(tmb_tags *tags, uint32_t id, const void *text, size_t size) {
    for (size_t i = 0; i < tags->cue_count; i++) {
        if (tags->cues[i].id == id && tags->cues[i].label == NULL) {
            tags->cues[i].label = make_text(text, size);
        }
    }
}

static uint64_t scale(uint64_t place, int input_rate, int output_rate) {
    const unsigned __int128 product = (unsigned __int128)place * (unsigned)output_rate + (unsigned)input_rate / 2;
    const unsigned __int128 scaled = product / (unsigned)input_rate;
    return scaled <= UINT64_MAX ? (uint64_t)scaled : UINT64_MAX;
}

bool tmb_tags_copy(const tmb_tags *tags, int input_rate, int output_rate, tmb_tags *out) {
    *out = (tmb_tags){0};
    bool whole = true;
    for (int tag = 0; tag < TMB_TAG_COUNT; tag++) {
        out->text[tag] = tmb_strdup(tags->text[tag]);
        whole = whole && (out->text[tag] != NULL) == (tags->text[tag] != NULL);
    }
    if (tags->bext != NULL) {
        tmb_tags_set_bext(out, tags->bext, tags->bext_size);
        whole = whole && out->bext != NULL;
    }
    if (out->bext != NULL) {
        const uint64_t time = scale(tmb_little(out->bext + BEXT_TIME, 8), input_rate, output_rate);
        for (size_t i = 0; i < 8; i++) {
            out->bext[BEXT_TIME + i] = (uint8_t)(time >> (8 * i));
        }
        if (tmb_little(out->bext + BEXT_VERSION, 2) >= 2) {
            memset(out->bext + BEXT_LOUDNESS, 0, BEXT_LOUDNESS_BYTES);
            out->bext[BEXT_VERSION] = 1;
            out->bext[BEXT_VERSION + 1] = 0;
        }
    }
    for (size_t i = 0; i < tags->cue_count; i++) {
        const tmb_cue *cue = &tags->cues[i];
        tmb_tags_add_cue(out, cue->id, scale(cue->place, input_rate, output_rate));
        whole = whole && out->cue_count == i + 1;
        if (whole && cue->label != NULL) {
            out->cues[i].label = tmb_strdup(cue->label);
            whole = out->cues[i].label != NULL;
        }
    }
    if (!whole) {
        tmb_tags_free(out);
    }
    return whole;
}

void tmb_tags_free(tmb_tags *tags) {
    for (int tag = 0; tag < TMB_TAG_COUNT; tag++) {
        free(tags->text[tag]);
    }
    for (size_t i = 0; i < tags->cue_count; i++) {
        free(tags->cues[i].label);
    }
    free(tags->cues);
    free(tags->bext);
    *tags = (tmb_tags){0};
}

/* ---- chunks ---- */

/* Counts if `data` is NULL. */
typedef struct chunks {
    uint8_t *data;
    size_t count;
} chunks;

static void put(chunks *out, const void *data, size_t size) {
    if (out->data != NULL) {
        memcpy(out->data + out->count, data, size);
    }
    out->count += size;
}

static void put_number(chunks *out, uint64_t value, size_t size) {
    uint8_t bytes[8];
    for (size_t i = 0; i < size; i++) {
        bytes[i] = (uint8_t)(value >> (8 * i));
    }
    put(out, bytes, size);
}

/* Its size is put in by `end_chunk`. */
static size_t begin_chunk(chunks *out, const char *name) {
    put(out, name, 4);
    put_number(out, 0, 4);
    return out->count;
}

static void end_chunk(chunks *out, size_t begin) {
    const size_t size = out->count - begin;
    if (out->data != NULL) {
        for (size_t i = 0; i < 4; i++) {
            out->data[begin - 4 + i] = (uint8_t)(size >> (8 * i));
        }
    }
    put(out, "", size & 1);
}

static void put_text_chunk(chunks *out, const char *name, const char *text) {
    const size_t begin = begin_chunk(out, name);
    put(out, text, strlen(text) + 1);
    end_chunk(out, begin);
}

static void put_info(chunks *out, const tmb_tags *tags) {
    bool any = false;
    for (int tag = 0; tag < TMB_TAG_COUNT; tag++) {
        any = any || tags->text[tag] != NULL;
    }
    if (!any) {
        return;
    }
    const size_t list = begin_chunk(out, "LIST");
    put(out, "INFO", 4);
    for (int tag = 0; tag < TMB_TAG_COUNT; tag++) {
        if (tags->text[tag] != NULL) {
            put_text_chunk(out, info_names[tag], tags->text[tag]);
        }
    }
    end_chunk(out, list);
}

static void put_cues(chunks *out, const tmb_tags *tags) {
    if (tags->cue_count == 0) {
        return;
    }
    const size_t cue = begin_chunk(out, "cue ");
    bool labels = false;
    put_number(out, tags->cue_count, 4);
    for (size_t i = 0; i < tags->cue_count; i++) {
        const uint64_t place = tags->cues[i].place <= UINT32_MAX ? tags->cues[i].place : UINT32_MAX;
        labels = labels || tags->cues[i].label != NULL;
        put_number(out, tags->cues[i].id, 4);
        put_number(out, place, 4);
        put(out, "data", 4);
        put_number(out, 0, 8); /* begins of chunk and block */
        put_number(out, place, 4);
    }
    end_chunk(out, cue);
    if (!labels) {
        return;
    }
    const size_t list = begin_chunk(out, "LIST");
    put(out, "adtl", 4);
    for (size_t i = 0; i < tags->cue_count; i++) {
        if (tags->cues[i].label != NULL) {
            const size_t label = begin_chunk(out, "labl");
            put_number(out, tags->cues[i].id, 4);
            put(out, tags->cues[i].label, strlen(tags->cues[i].label) + 1);
            end_chunk(out, label);
        }
    }
    end_chunk(out, list);
}

static void put_all(chunks *out, const tmb_tags *tags) {
    if (tags->bext != NULL) {
        const size_t bext = begin_chunk(out, "bext");
        put(out, tags->bext, tags->bext_size);
        end_chunk(out, bext);
    }
    put_info(out, tags);
    put_cues(out, tags);
}

bool tmb_tags_chunks(const tmb_tags *tags, uint8_t **out, size_t *size) {
    chunks counted = {0};
    put_all(&counted, tags);
    *out = NULL;
    *size = counted.count;
    if (counted.count == 0) {
        return true;
    }
    *out = tmb_calloc(counted.count, 1);
    if (*out == NULL) {
        return false;
    }
    chunks written = {.data = *out};
    put_all(&written, tags);
    return true;
}
