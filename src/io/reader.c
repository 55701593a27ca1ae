/* Reading audio files: what a file is and how long is settled here, then one of the decoders reads it. */
#include "io/io.h"

#include "base/checked.h"
#include "base/error.h"
#include "base/memory.h"
#include "io/decoder.h"
#include "io/ffmpeg.h"
#include "io/flac_frames.h"
#include "io/id3.h"
#include "io/layout.h"
#include "io/marks.h"
#include "io/ogg_links.h"
#include "io/pcm.h"
#include "io/reader.h"
#include "io/sniff.h"
#include "io/source.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_MAX_SECONDS 1800
/* Samples per channel that are decoded at a time by tmb_audio_read_mono. */
#define BLOCK 4096

struct tmb_audio_reader {
    tmb_source source;
    tmb_parts parts;   /* of it, unless it is MP3 */
    tmb_mp3_plan plan; /* MP3 */
    tmb_decoding decoding;
    tmb_notes notes;
    tmb_tags tags;
    char *name; /* for messages; NULL: memory */
    size_t channels;
    uint64_t done; /* samples per channel that were read */
    tmb_audio_limits limits;
    tmb_error failure; /* of an earlier read */
};

/* Says which file it was. */
static void name_failure(const tmb_audio_reader *reader, tmb_error *error) {
    if (reader->name != NULL) {
        tmb_error_name(error, reader->name);
    } else {
        tmb_error_prefix(error, "audio");
    }
}

static tmb_status check_shape(int rate, int channels, tmb_error *error) {
    if (rate < TMB_AUDIO_MIN_RATE || rate > TMB_AUDIO_MAX_RATE) {
        return tmb_fail(error, TMB_ERROR_FORMAT, "has a sample rate of %d Hz: %d to %d are supported", rate,
                        TMB_AUDIO_MIN_RATE, TMB_AUDIO_MAX_RATE);
    }
    if (channels < 1 || channels > TMB_AUDIO_MAX_CHANNELS) {
        return tmb_fail(error, TMB_ERROR_FORMAT, "has %d channels: 1 to %d are supported", channels,
                        TMB_AUDIO_MAX_CHANNELS);
    }
    return TMB_OK;
}

static tmb_status over_limit(const tmb_audio_reader *reader, uint64_t length, tmb_error *error) {
    if (reader->limits.max_seconds > 0 && (double)length > reader->limits.max_seconds * reader->decoding.rate) {
        return tmb_fail(error, TMB_ERROR_LIMIT, "is longer than the limit of %g seconds", reader->limits.max_seconds);
    }
    uint64_t bytes = 0;
    if (reader->limits.max_bytes != 0 &&
        (!tmb_mul_u64(length, reader->channels * sizeof(float), &bytes) || bytes > reader->limits.max_bytes)) {
        return tmb_fail(error, TMB_ERROR_LIMIT, "decodes to more than the limit of %llu bytes",
                        (unsigned long long)reader->limits.max_bytes);
    }
    return TMB_OK;
}

/* ---- open ---- */

/* Whether a file that only ffmpeg reads can be read. */
static tmb_status check_foreign(const tmb_audio_limits *limits, const tmb_sniffed *sniffed, tmb_error *error) {
    if (limits->no_ffmpeg) {
        return tmb_fail(
            error, TMB_ERROR_FORMAT,
            "is %s, which timbre reads through ffmpeg, and that is turned off; convert it to WAV or FLAC, e.g. with "
            "ffmpeg -i FILE out.wav",
            sniffed->name);
    }
    if (!tmb_ffmpeg_is_installed()) {
        return tmb_fail(error, TMB_ERROR_FORMAT,
                        "is %s, which timbre reads through ffmpeg, and that is not installed here; install it, or "
                        "convert the file to WAV or FLAC",
                        sniffed->name);
    }
    return TMB_OK;
}

/* ffmpeg reads the first recording alone. */
static void note_another(tmb_audio_reader *reader, uint64_t place) {
    tmb_note(&reader->notes, "has another recording behind its first one, which is left out: %llu bytes",
             (unsigned long long)(reader->source.size - place));
}

/* What only ffmpeg reads, up to `end`. */
static tmb_status open_foreign(tmb_audio_reader *reader, const tmb_sniffed *sniffed, uint64_t end, tmb_error *error) {
    tmb_status status = check_foreign(&reader->limits, sniffed, error);
    if (status != TMB_OK) {
        return status;
    }
    tmb_source part = tmb_source_part(&reader->source, sniffed->start, end);
    status = tmb_decoder_ffmpeg(&part, sniffed->demuxer, sniffed->name, &reader->notes, &reader->decoding, error);
    reader->source.error_number = part.error_number;
    return status;
}

/* The first bytes of a pipe, before the rest is waited for. */
static tmb_status check_front(void *user, const uint8_t *data, size_t size, tmb_error *error) {
    const tmb_audio_reader *reader = user;
    tmb_source front;
    tmb_notes notes = {0};
    tmb_sniffed sniffed;
    tmb_source_open_memory(data, size, &front);
    tmb_status status = tmb_sniff(&front, true, &notes, &sniffed, error);
    return status == TMB_OK && sniffed.kind == TMB_FILE_FOREIGN ? check_foreign(&reader->limits, &sniffed, error)
                                                                : status;
}

/* The layout, without its tags, of a file of chunks that was appended at `place`; *known false: nothing that is known
 * stands there. */
static tmb_status read_appended(tmb_audio_reader *reader, uint64_t place, tmb_layout *layout, bool *known,
                                tmb_error *error) {
    tmb_file_kind kind;
    uint8_t head[16];
    const size_t got = tmb_source_read_at(&reader->source, place, head, sizeof head);
    *known = tmb_sniff_is(head, got, &kind);
    if (!*known) {
        return TMB_OK;
    }
    tmb_status status =
        tmb_layout_read(&reader->source, place, reader->source.size, kind, &reader->notes, layout, error);
    tmb_tags_free(&layout->tags);
    return status;
}

/* MP3 inside other files that were appended to the first of them: more runs of one plan. */
static tmb_status walk_appended(tmb_audio_reader *reader, uint64_t next, tmb_error *error) {
    while (next != 0) {
        tmb_layout layout = {0};
        bool known = false;
        tmb_status status = read_appended(reader, next, &layout, &known, error);
        if (!known) {
            break;
        }
        if (status == TMB_OK && layout.codec != TMB_CODEC_MP3) {
            status = tmb_fail(error, TMB_ERROR_FORMAT, "changes from MP3 to %s in its middle", layout.container);
        }
        if (status == TMB_OK) {
            status = tmb_mp3_walk(&reader->source, layout.start, layout.end, &reader->notes, &reader->plan, error);
        }
        if (status != TMB_OK) {
            return status;
        }
        next = layout.next;
    }
    return TMB_OK;
}

/* `next`: where a file with more of it was appended; 0: none. */
static tmb_status open_mp3(tmb_audio_reader *reader, uint64_t start, uint64_t end, uint64_t next, tmb_error *error) {
    tmb_status status = tmb_mp3_walk(&reader->source, start, end, &reader->notes, &reader->plan, error);
    if (status == TMB_OK) {
        status = walk_appended(reader, next, error);
    }
    if (status == TMB_OK) {
        status = tmb_decoder_mp3(&reader->source, &reader->plan, &reader->notes, &reader->decoding, error);
    }
    return status;
}

/* Recordings of chunks that were appended to one another become parts of one: those that are not like the first cannot.
 */
static tmb_status add_appended(tmb_audio_reader *reader, const tmb_layout *first, uint64_t next, tmb_error *error) {
    while (next != 0) {
        tmb_layout layout = {0};
        bool known = false;
        tmb_status status = read_appended(reader, next, &layout, &known, error);
        if (!known) {
            break;
        }
        if (status == TMB_OK && (layout.codec != first->codec || layout.format != first->format ||
                                 layout.rate != first->rate || layout.channels != first->channels)) {
            status = tmb_fail(error, TMB_ERROR_FORMAT,
                              "changes from %d Hz, %d channels to %d Hz, %d channels of another kind in its middle",
                              first->rate, first->channels, layout.rate, layout.channels);
        }
        if (status == TMB_OK) {
            const tmb_part part = {layout.start, layout.end, (layout.end - layout.start) / first->frame};
            status = tmb_parts_add(&reader->parts, part, error);
        }
        if (status != TMB_OK) {
            return status;
        }
        next = layout.next;
    }
    return TMB_OK;
}

static tmb_status open_samples(tmb_audio_reader *reader, const tmb_layout *layout, tmb_error *error) {
    tmb_decoding *decoding = &reader->decoding;
    const tmb_part whole = {layout->start, layout->end, 0};
    decoding->rate = layout->rate;
    decoding->channels = layout->channels;
    tmb_status status = check_shape(layout->rate, layout->channels, error);
    if (status == TMB_OK) {
        status = tmb_parts_add(&reader->parts, whole, error);
    }
    if (status == TMB_OK) {
        status = tmb_decoder_sndfile(&reader->source, &reader->parts, layout->format, &reader->notes, &reader->tags,
                                     decoding, error);
    }
    if (status != TMB_OK) {
        return status;
    }
    decoding->length = (layout->end - layout->start) / layout->frame;
    if (layout->next != 0) {
        status = add_appended(reader, layout, layout->next, error);
        for (size_t i = 1; status == TMB_OK && i < reader->parts.count; i++) {
            decoding->length += reader->parts.items[i].length;
        }
    }
    decoding->exact = true;
    decoding->channel_mask = layout->channel_mask;
    char encoding[sizeof decoding->format];
    (void)snprintf(encoding, sizeof encoding, "%s", decoding->format + strcspn(decoding->format, ","));
    (void)snprintf(decoding->format, sizeof decoding->format, "%s%.30s", layout->container, encoding);
    return status;
}

/* ffmpeg takes the last block of samples whose length was never written for a damaged one: it gets the true length. */
static void patch_length(tmb_source *source, uint64_t start, const tmb_layout *layout) {
    const uint64_t size = layout->end - layout->start;
    if (!layout->unfinished || strcmp(layout->container, "WAV") != 0 || size >= UINT32_MAX) {
        return;
    }
    uint8_t riff[4] = {0};
    (void)tmb_source_read_at(source, start, riff, sizeof riff);
    const bool big = memcmp(riff, "RIFX", 4) == 0;
    for (size_t i = 0; i < 4; i++) {
        source->patch[i] = (uint8_t)(size >> (8 * (big ? 3 - i : i)));
    }
    source->patch_size = 4;
    source->patch_place = layout->start - 4;
}

static tmb_status open_layout(tmb_audio_reader *reader, const tmb_sniffed *sniffed, tmb_error *error) {
    tmb_layout layout;
    tmb_status status = tmb_layout_read(&reader->source, sniffed->start, reader->source.size, sniffed->kind,
                                        &reader->notes, &layout, error);
    reader->tags = layout.tags;
    if (status != TMB_OK) {
        return status;
    }
    switch (layout.codec) {
    case TMB_CODEC_SAMPLES: return open_samples(reader, &layout, error);
    case TMB_CODEC_MP3:
        status = open_mp3(reader, layout.start, layout.end, layout.next, error);
        (void)snprintf(reader->decoding.format, sizeof reader->decoding.format, "%s, MP3", layout.container);
        return status;
    case TMB_CODEC_OTHER:
    default: break;
    }
    if (layout.demuxer == NULL) {
        return tmb_fail(error, TMB_ERROR_FORMAT,
                        "has an encoding that is not supported (%s): PCM of 8, 16, 24 and 32 bits and float of 32 and "
                        "64 are",
                        layout.codec_name);
    }
    const tmb_sniffed foreign = {.start = sniffed->start, .name = layout.codec_name, .demuxer = layout.demuxer};
    if (layout.next != 0) {
        note_another(reader, layout.next);
    }
    patch_length(&reader->source, sniffed->start, &layout);
    return open_foreign(reader, &foreign, layout.next != 0 ? layout.next : reader->source.size, error);
}

static tmb_status open_ogg(tmb_audio_reader *reader, const tmb_sniffed *sniffed, tmb_error *error) {
    tmb_status status = tmb_ogg_scan(&reader->source, sniffed->start, &reader->notes, &reader->parts, error);
    if (status != TMB_OK) {
        return status;
    }
    const tmb_part *first = &reader->parts.items[0];
    const char *name = tmb_ogg_foreign(&reader->source, first->start);
    for (size_t i = 1; i < reader->parts.count; i++) {
        if (tmb_ogg_foreign(&reader->source, reader->parts.items[i].start) != name) {
            return tmb_fail(error, TMB_ERROR_FORMAT, "changes its codec in its middle, at byte %llu",
                            (unsigned long long)reader->parts.items[i].start);
        }
    }
    if (name != NULL) {
        if (reader->parts.count > 1) {
            note_another(reader, first->end);
        }
        const tmb_sniffed foreign = {.start = first->start, .name = name, .demuxer = "ogg"};
        return open_foreign(reader, &foreign, first->end, error);
    }
    return tmb_decoder_sndfile(&reader->source, &reader->parts, 0, &reader->notes, &reader->tags, &reader->decoding,
                               error);
}

static tmb_status open_kind(tmb_audio_reader *reader, const tmb_sniffed *sniffed, tmb_error *error) {
    tmb_source *source = &reader->source;
    tmb_decoding *decoding = &reader->decoding;
    tmb_status status = TMB_OK;
    switch (sniffed->kind) {
    case TMB_FILE_FLAC:
        status = tmb_flac_walk(source, sniffed->start, source->size, &reader->notes, &reader->parts, error);
        break;
    case TMB_FILE_OGG: return open_ogg(reader, sniffed, error);
    case TMB_FILE_MP3:
        (void)snprintf(decoding->format, sizeof decoding->format, "MP3, layer III");
        tmb_id3_read(source, &reader->tags);
        return open_mp3(reader, sniffed->start, source->size, 0, error);
    case TMB_FILE_FOREIGN: return open_foreign(reader, sniffed, source->size, error);
    case TMB_FILE_WAV:
    case TMB_FILE_AIFF:
    case TMB_FILE_W64:
    case TMB_FILE_CAF:
    case TMB_FILE_AU:
    default: return open_layout(reader, sniffed, error);
    }
    if (status == TMB_OK) {
        status = tmb_decoder_sndfile(source, &reader->parts, 0, &reader->notes, &reader->tags, decoding, error);
    }
    if (status == TMB_OK && sniffed->kind == TMB_FILE_FLAC) {
        decoding->length = 0;
        for (size_t i = 0; i < reader->parts.count; i++) {
            decoding->length += reader->parts.items[i].length;
        }
        decoding->exact = true;
    }
    return status;
}

static tmb_status open_file(tmb_audio_reader *reader, tmb_error *error) {
    tmb_status status = tmb_source_spool(&reader->source, check_front, reader, error);
    tmb_sniffed sniffed = {0};
    if (status == TMB_OK) {
        status = tmb_sniff(&reader->source, false, &reader->notes, &sniffed, error);
    }
    if (status == TMB_OK) {
        status = open_kind(reader, &sniffed, error);
    }
    if (reader->source.error_number != 0) {
        return tmb_fail_errno(error, TMB_ERROR_IO, reader->source.error_number, "cannot be read");
    }
    if (status == TMB_OK) {
        status = check_shape(reader->decoding.rate, reader->decoding.channels, error);
    }
    return status;
}

static tmb_status open_raw(tmb_audio_reader *reader, const tmb_raw_format *raw, tmb_error *error) {
    tmb_status status = check_shape(raw->rate, raw->channels, error);
    return status == TMB_OK ? tmb_decoder_raw(&reader->source, raw, &reader->notes, &reader->decoding, error) : status;
}

void tmb_audio_describe(const tmb_audio_reader *reader, tmb_audio_info *info) {
    const tmb_decoding *decoding = &reader->decoding;
    *info = (tmb_audio_info){.rate = decoding->rate,
                             .channels = decoding->channels,
                             .length = decoding->length,
                             .channel_mask = decoding->channel_mask};
    memcpy(info->format, decoding->format, sizeof info->format);
}

static tmb_status open_source(tmb_audio_reader *reader, const tmb_raw_format *raw, const tmb_audio_limits *limits,
                              tmb_audio_reader **out, tmb_audio_info *info, tmb_error *error) {
    reader->limits = limits != NULL ? *limits : (tmb_audio_limits){.max_seconds = DEFAULT_MAX_SECONDS};
    reader->notes.salvage = reader->limits.salvage;
    tmb_error reason = {0};
    tmb_status status = raw != NULL ? open_raw(reader, raw, &reason) : open_file(reader, &reason);
    const tmb_decoding *decoding = &reader->decoding;
    if (status == TMB_OK) {
        reader->channels = (size_t)decoding->channels;
        /* Known exactly: what is too long fails now, and not after the limit's worth of work. */
        status = decoding->exact ? over_limit(reader, decoding->length, &reason) : TMB_OK;
    }
    if (status != TMB_OK) {
        if (error != NULL) {
            *error = reason;
            name_failure(reader, error);
        }
        tmb_audio_close(&reader);
        return status;
    }
    if (info != NULL) {
        tmb_audio_describe(reader, info);
    }
    *out = reader;
    return TMB_OK;
}

tmb_status tmb_audio_open(const char *path, const tmb_raw_format *raw, const tmb_audio_limits *limits,
                          tmb_audio_reader **out, tmb_audio_info *info, tmb_error *error) {
    *out = NULL;
    if (path == NULL) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "no audio file was named");
    }
    const char *name = strcmp(path, "-") == 0 ? "standard input" : path;
    tmb_audio_reader *reader = tmb_calloc(1, sizeof *reader);
    if (reader != NULL) {
        reader->source.fd = -1;
        reader->name = tmb_strdup(name);
    }
    if (reader == NULL || reader->name == NULL) {
        free(reader);
        return tmb_fail_memory(error, "an audio reader", sizeof *reader);
    }
    tmb_status status = tmb_source_open(path, &reader->source, error);
    if (status != TMB_OK) {
        tmb_error_name(error, name);
        tmb_audio_close(&reader);
        return status;
    }
    return open_source(reader, raw, limits, out, info, error);
}

tmb_status tmb_audio_open_memory(const void *data, size_t size, const tmb_audio_limits *limits, tmb_audio_reader **out,
                                 tmb_audio_info *info, tmb_error *error) {
    *out = NULL;
    tmb_audio_reader *reader = tmb_calloc(1, sizeof *reader);
    if (reader == NULL) {
        return tmb_fail_memory(error, "an audio reader", sizeof *reader);
    }
    tmb_source_open_memory(data, size, &reader->source);
    return open_source(reader, NULL, limits, out, info, error);
}

void tmb_audio_close(tmb_audio_reader **reader) {
    if (*reader != NULL) {
        if ((*reader)->decoding.decoder != NULL) {
            (*reader)->decoding.decoder->close((*reader)->decoding.state);
        }
        tmb_parts_free(&(*reader)->parts);
        tmb_mp3_plan_free(&(*reader)->plan);
        tmb_tags_free(&(*reader)->tags);
        tmb_source_close(&(*reader)->source);
        free((*reader)->name);
        free(*reader);
        *reader = NULL;
    }
}

size_t tmb_audio_warning_count(const tmb_audio_reader *reader) { return reader->notes.count; }

const char *tmb_audio_warning(const tmb_audio_reader *reader, size_t index) {
    return index < reader->notes.count ? reader->notes.text[index] : NULL;
}

const tmb_tags *tmb_audio_tags(const tmb_audio_reader *reader) { return &reader->tags; }

/* ---- read ---- */

static tmb_status read_checked(tmb_audio_reader *reader, float *out, size_t capacity, size_t *count, tmb_error *error) {
    /* Never more than fits the arithmetic of what is below. */
    const size_t most = SIZE_MAX / sizeof(float) / reader->channels / 2;
    capacity = capacity < most ? capacity : most;
    const tmb_decoding *decoding = &reader->decoding;
    tmb_status status = decoding->decoder->read(decoding->state, out, capacity, count, error);
    if (reader->source.error_number != 0) {
        return tmb_fail_errno(error, TMB_ERROR_IO, reader->source.error_number, "cannot be read");
    }
    if (status != TMB_OK) {
        return status;
    }
    const size_t values = *count * reader->channels;
    const size_t bad = tmb_pcm_find_not_finite(out, values);
    if (bad < values) {
        const uint64_t place = reader->done + bad / reader->channels;
        return tmb_fail(error, TMB_ERROR_FORMAT,
                        "has a sample that is not a finite number: number %llu (at %.3f s) of channel %zu",
                        (unsigned long long)place, (double)place / decoding->rate, bad % reader->channels + 1);
    }
    reader->done += *count;
    status = over_limit(reader, reader->done, error);
    if (status == TMB_OK && *count < capacity && decoding->exact && reader->done < decoding->length &&
        !reader->limits.salvage) {
        return tmb_fail(error, TMB_ERROR_FORMAT, "is cut short: it promises %llu samples and has %llu",
                        (unsigned long long)decoding->length, (unsigned long long)reader->done);
    }
    return status;
}

tmb_status tmb_audio_read(tmb_audio_reader *reader, float *out, size_t capacity, size_t *count, tmb_error *error) {
    *count = 0;
    if (reader->failure.status == TMB_OK && capacity > 0) {
        tmb_error reason = {0};
        if (read_checked(reader, out, capacity, count, &reason) == TMB_OK) {
            return TMB_OK;
        }
        *count = 0;
        reader->failure = reason;
        name_failure(reader, &reader->failure);
    }
    if (reader->failure.status != TMB_OK && error != NULL) {
        *error = reader->failure;
    }
    return reader->failure.status;
}

/* ---- everything, as mono ---- */

static void mix(const float *samples, size_t count, size_t channels, float *out) {
    for (size_t i = 0; i < count; i++) {
        float sum = 0;
        for (size_t c = 0; c < channels; c++) {
            sum += samples[i * channels + c];
        }
        out[i] = sum / (float)channels;
    }
}

tmb_status tmb_audio_read_mono(tmb_audio_reader *reader, const tmb_audio_info *info, float **samples, size_t *count,
                               tmb_error *error) {
    *samples = NULL;
    *count = 0;
    const size_t channels = reader->channels;
    /* The header's length is believed for a minute; beyond that the memory grows with what comes. */
    const uint64_t hint = info != NULL ? info->length : 0;
    const uint64_t minute = (uint64_t)reader->decoding.rate * 60;
    size_t capacity = (size_t)(hint < minute ? hint : minute) + BLOCK;
    float *result = tmb_calloc(capacity, sizeof(float));
    float *block = tmb_calloc(BLOCK * channels, sizeof(float));
    tmb_status status =
        result == NULL || block == NULL ? tmb_fail_memory(error, "audio", capacity * sizeof(float)) : TMB_OK;
    size_t got = 0;
    while (status == TMB_OK) {
        status = tmb_audio_read(reader, block, BLOCK, &got, error);
        if (status != TMB_OK || got == 0) {
            break;
        }
        if (*count + got > capacity) {
            capacity = capacity <= SIZE_MAX / 2 ? capacity * 2 : SIZE_MAX;
            float *grown = tmb_realloc(result, capacity, sizeof(float));
            if (grown == NULL) {
                status = tmb_fail_memory(error, "audio", 0);
                break;
            }
            result = grown;
        }
        mix(block, got, channels, result + *count);
        *count += got;
    }
    free(block);
    if (status != TMB_OK) {
        free(result);
        *count = 0;
        return status;
    }
    float *fitted = tmb_realloc(result, *count, sizeof(float));
    *samples = fitted != NULL ? fitted : result;
    return TMB_OK;
}
