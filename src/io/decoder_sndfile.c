#include "base/error.h"
#include "base/memory.h"
#include "io/decoder.h"
#include "io/flac_frames.h"
#include "io/loudspeakers.h"
#include "io/ogg_links.h"
#include "io/sndfile_open.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct sndfile_state {
    SNDFILE *file;
    tmb_source *source;
    tmb_source link; /* the part that is decoded */
    const tmb_parts *parts;
    size_t next;
    int raw;
    int rate, channels, format;
    uint64_t done, part_done, part_length; /* samples per channel: of all, of this part, that it must give (0: any) */
    bool vorbis_order;                     /* of this part's channels */
    bool ended;                            /* salvaged as far as it goes */
    tmb_notes *notes;
} sndfile_state;

/* ---- the bytes, as libsndfile asks for them ---- */

static sf_count_t source_size(void *user) { return (sf_count_t)((tmb_source *)user)->size; }

static sf_count_t source_seek(sf_count_t offset, int whence, void *user) {
    tmb_source *source = user;
    return tmb_sndfile_seek(&source->position, source->size, offset, whence);
}

static sf_count_t source_read(void *out, sf_count_t count, void *user) {
    return count <= 0 ? 0 : (sf_count_t)tmb_source_read(user, out, (size_t)count);
}

static sf_count_t source_write(const void *data, sf_count_t count, void *user) {
    (void)data;
    (void)count;
    (void)user;
    return 0;
}

static sf_count_t source_tell(void *user) { return (sf_count_t)((tmb_source *)user)->position; }

/* ---- open ---- */

typedef struct format_name {
    int value;
    const char *name;
} format_name;

/* Nothing else gets past open: decoders that are rarely used have had most of the holes. */
static const format_name containers[] = {{SF_FORMAT_FLAC, "FLAC"}, {SF_FORMAT_OGG, "Ogg"}, {SF_FORMAT_RAW, "raw"}};
static const format_name encodings[] = {
    {SF_FORMAT_PCM_S8, "8-bit PCM"},    {SF_FORMAT_PCM_U8, "8-bit PCM"},  {SF_FORMAT_PCM_16, "16-bit PCM"},
    {SF_FORMAT_PCM_24, "24-bit PCM"},   {SF_FORMAT_PCM_32, "32-bit PCM"}, {SF_FORMAT_FLOAT, "32-bit float"},
    {SF_FORMAT_DOUBLE, "64-bit float"}, {SF_FORMAT_ULAW, "u-law"},        {SF_FORMAT_ALAW, "A-law"},
    {SF_FORMAT_VORBIS, "Vorbis"},       {SF_FORMAT_OPUS, "Opus"},
};

static const char *find_name(const format_name *names, size_t count, int value) {
    for (size_t i = 0; i < count; i++) {
        if (names[i].value == value) {
            return names[i].name;
        }
    }
    return NULL;
}

/* FLAC's header says what the frames say: decoders stop at the number of samples that it names. */
static void patch_total(tmb_source *link, uint64_t length) {
    uint8_t *bytes = link->patch;
    uint8_t before = 0;
    if (length >> 36 != 0 || tmb_source_read_at(link, TMB_FLAC_TOTAL_PLACE, &before, 1) != 1) {
        return;
    }
    bytes[0] = (uint8_t)((before & 0xf0) | (length >> 32));
    for (size_t i = 1; i < TMB_FLAC_TOTAL_BYTES; i++) {
        bytes[i] = (uint8_t)(length >> (8 * (TMB_FLAC_TOTAL_BYTES - 1 - i)));
    }
    link->patch_place = TMB_FLAC_TOTAL_PLACE;
    link->patch_size = TMB_FLAC_TOTAL_BYTES;
}

static tmb_status open_next(sndfile_state *state, SF_INFO *info, tmb_error *error) {
    static SF_VIRTUAL_IO callbacks = {source_size, source_seek, source_read, source_write, source_tell};
    char reason[160];
    tmb_status status = tmb_sndfile_ready(error);
    if (status != TMB_OK) {
        return status;
    }
    if (state->file != NULL) {
        (void)sf_close(state->file);
    }
    const tmb_part *part = &state->parts->items[state->next++];
    state->link = tmb_source_part(state->source, part->start, part->end);
    state->part_done = 0;
    state->part_length = part->length;
    uint8_t magic[4] = {0};
    if (state->raw == 0 && part->length > 0 && tmb_source_read_at(&state->link, 0, magic, 4) == 4 &&
        memcmp(magic, "fLaC", 4) == 0) {
        patch_total(&state->link, part->length);
    }
    *info = (SF_INFO){0};
    if (state->raw != 0) {
        *info = (SF_INFO){.samplerate = state->rate, .channels = state->channels, .format = state->raw};
    }
    state->file = tmb_sndfile_open(&callbacks, SFM_READ, info, &state->link, reason, sizeof reason);
    if (state->link.error_number != 0) {
        return tmb_fail_errno(error, TMB_ERROR_IO, state->link.error_number, "cannot be read");
    }
    const int encoding = info->format & SF_FORMAT_SUBMASK; /* libsndfile leaves the channels as they are */
    state->vorbis_order =
        encoding == SF_FORMAT_VORBIS || (encoding == SF_FORMAT_OPUS && tmb_ogg_opus_has_speakers(&state->link, 0));
    return state->file != NULL ? TMB_OK
                               : tmb_fail(error, TMB_ERROR_FORMAT,
                                          "is damaged, cut short or of an unsupported kind (libsndfile: %s)", reason);
}

static void read_tags(SNDFILE *file, tmb_tags *tags) {
    static const struct {
        int name;
        tmb_tag tag;
    } names[] = {{SF_STR_TITLE, TMB_TAG_TITLE},     {SF_STR_ARTIST, TMB_TAG_ARTIST},
                 {SF_STR_ALBUM, TMB_TAG_ALBUM},     {SF_STR_DATE, TMB_TAG_DATE},
                 {SF_STR_GENRE, TMB_TAG_GENRE},     {SF_STR_TRACKNUMBER, TMB_TAG_TRACK},
                 {SF_STR_COMMENT, TMB_TAG_COMMENT}, {SF_STR_COPYRIGHT, TMB_TAG_COPYRIGHT}};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const char *text = sf_get_string(file, names[i].name);
        if (text != NULL) {
            tmb_tags_set(tags, names[i].tag, text, strlen(text));
        }
    }
}

static void close_sndfile(void *pointer) {
    sndfile_state *state = pointer;
    if (state->file != NULL) {
        (void)sf_close(state->file);
    }
    free(state);
}

/* ---- read ---- */

/* Appends to *count; less than `capacity` at the end of the part. */
static tmb_status read_part(sndfile_state *state, float *out, size_t capacity, size_t *count, tmb_error *error) {
    size_t wanted = capacity - *count;
    if (state->part_length > 0 && state->part_length - state->part_done < wanted) {
        wanted = (size_t)(state->part_length - state->part_done); /* what is behind its last sample is none */
    }
    if (wanted == 0) {
        return TMB_OK;
    }
    tmb_status status = tmb_sndfile_ready(error);
    if (status != TMB_OK) {
        return status;
    }
    float *place = out + *count * (size_t)state->channels;
    const sf_count_t got = sf_readf_float(state->file, place, (sf_count_t)wanted);
    if (got > 0 && state->vorbis_order) {
        tmb_vorbis_to_wave(place, (size_t)got, state->channels);
    }
    *count += got > 0 ? (size_t)got : 0;
    state->part_done += got > 0 ? (uint64_t)got : 0;
    state->done += got > 0 ? (uint64_t)got : 0;
    if (state->link.error_number != 0) {
        return tmb_fail_errno(error, TMB_ERROR_IO, state->link.error_number, "cannot be read");
    }
    if (sf_error(state->file) != SF_ERR_NO_ERROR) {
        state->ended = true;
        status = tmb_lost(state->notes, error, "is damaged after %llu samples: %s", (unsigned long long)state->done,
                          sf_strerror(state->file));
    } else if (got < (sf_count_t)wanted && state->part_length > state->part_done) {
        status = tmb_lost(state->notes, error, "is damaged: it has %llu samples and %llu of them could be decoded",
                          (unsigned long long)state->part_length, (unsigned long long)state->part_done);
        state->part_length = 0; /* said once */
    }
    return status;
}

static tmb_status read_sndfile(void *pointer, float *out, size_t capacity, size_t *count, tmb_error *error) {
    sndfile_state *state = pointer;
    if (state->ended) {
        return TMB_OK;
    }
    tmb_status status = read_part(state, out, capacity, count, error);
    while (status == TMB_OK && *count < capacity && !state->ended && state->next < state->parts->count) {
        SF_INFO info;
        status = open_next(state, &info, error);
        if (status == TMB_OK && (info.samplerate != state->rate || info.channels != state->channels)) {
            return tmb_fail(error, TMB_ERROR_FORMAT,
                            "changes from %d Hz, %d channels to %d Hz, %d channels in its middle", state->rate,
                            state->channels, info.samplerate, info.channels);
        }
        if (status == TMB_OK) {
            status = read_part(state, out, capacity, count, error);
        }
    }
    return status;
}

static const tmb_decoder sndfile_decoder = {.read = read_sndfile, .close = close_sndfile};

tmb_status tmb_decoder_sndfile(tmb_source *source, const tmb_parts *parts, int raw, tmb_notes *notes, tmb_tags *tags,
                               tmb_decoding *out, tmb_error *error) {
    sndfile_state *state = tmb_calloc(1, sizeof *state);
    if (state == NULL) {
        return tmb_fail_memory(error, "an audio reader", sizeof *state);
    }
    state->source = source;
    state->parts = parts;
    state->raw = raw;
    state->notes = notes;
    state->rate = out->rate;
    state->channels = out->channels;
    SF_INFO info = {0};
    tmb_status status = open_next(state, &info, error);
    if (status == TMB_OK) {
        const char *container =
            find_name(containers, sizeof containers / sizeof containers[0], info.format & SF_FORMAT_TYPEMASK);
        const char *encoding =
            find_name(encodings, sizeof encodings / sizeof encodings[0], info.format & SF_FORMAT_SUBMASK);
        if (container == NULL || encoding == NULL) {
            status = tmb_fail(error, TMB_ERROR_FORMAT,
                              "has an encoding that is not supported (%s, libsndfile subtype 0x%x): PCM, float, A-law, "
                              "u-law, FLAC, Vorbis, Opus and MP3 are",
                              container != NULL ? container : "unknown container", info.format & SF_FORMAT_SUBMASK);
        } else {
            (void)snprintf(out->format, sizeof out->format, "%s, %s", raw != 0 ? "%s" : container, encoding);
        }
    }
    if (status != TMB_OK) {
        close_sndfile(state);
        return status;
    }
    read_tags(state->file, tags);
    state->rate = info.samplerate;
    state->channels = info.channels;
    out->decoder = &sndfile_decoder;
    out->state = state;
    out->rate = info.samplerate;
    out->channels = info.channels;
    out->channel_mask = state->vorbis_order ? tmb_vorbis_mask(info.channels) : 0;
    if (info.frames > 0 && info.frames < SF_COUNT_MAX && parts->count <= 1) {
        out->length = (uint64_t)info.frames;
    }
    return TMB_OK;
}
