/* Reading audio files: libsndfile behind our own checks, and headerless PCM. */
#include "io/io.h"

#include "base/checked.h"
#include "base/error.h"
#include "base/memory.h"
#include "io/ogg_links.h"
#include "io/pcm.h"
#include "io/sndfile_open.h"
#include "io/sniff.h"
#include "io/source.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_MAX_SECONDS 1800
/* Samples per channel that are decoded at a time by tmb_audio_read_mono. */
#define BLOCK 4096
#define SNIFFED 4096

struct tmb_audio_reader {
    tmb_source source;
    tmb_source link;     /* the part of it that is decoded: all, or one link of a chained Ogg file */
    tmb_ogg_links links; /* Ogg only */
    size_t next_link;
    SNDFILE *file; /* NULL where `raw` */
    bool raw;      /* headerless PCM */
    tmb_encoding raw_encoding;
    char *name; /* for messages; NULL: memory */
    int rate;
    size_t channels;
    uint64_t done;     /* samples per channel that were read */
    uint64_t expected; /* by a header that is to be believed; 0 = it is not */
    double max_seconds;
    uint64_t max_bytes;
    tmb_error failure; /* of an earlier read */
};

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

/* ---- what may be read ---- */

typedef struct format_name {
    int value;
    const char *name;
} format_name;

/* Nothing else gets past open: decoders that are rarely used have had most of the holes. */
static const format_name containers[] = {
    {SF_FORMAT_WAV, "WAV"},   {SF_FORMAT_WAVEX, "WAV"}, {SF_FORMAT_RF64, "RF64"}, {SF_FORMAT_AIFF, "AIFF"},
    {SF_FORMAT_FLAC, "FLAC"}, {SF_FORMAT_OGG, "Ogg"},   {SF_FORMAT_MPEG, "MP3"},
};
static const format_name encodings[] = {
    {SF_FORMAT_PCM_S8, "8-bit PCM"},    {SF_FORMAT_PCM_U8, "8-bit PCM"},  {SF_FORMAT_PCM_16, "16-bit PCM"},
    {SF_FORMAT_PCM_24, "24-bit PCM"},   {SF_FORMAT_PCM_32, "32-bit PCM"}, {SF_FORMAT_FLOAT, "32-bit float"},
    {SF_FORMAT_DOUBLE, "64-bit float"}, {SF_FORMAT_ULAW, "u-law"},        {SF_FORMAT_ALAW, "A-law"},
    {SF_FORMAT_VORBIS, "Vorbis"},       {SF_FORMAT_OPUS, "Opus"},         {SF_FORMAT_MPEG_LAYER_III, "layer III"},
};

static const char *find_name(const format_name *names, size_t count, int value) {
    for (size_t i = 0; i < count; i++) {
        if (names[i].value == value) {
            return names[i].name;
        }
    }
    return NULL;
}

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

/* ---- open ---- */

static tmb_status over_limit(const tmb_audio_reader *reader, uint64_t length, tmb_error *error) {
    if (reader->max_seconds > 0 && (double)length > reader->max_seconds * reader->rate) {
        return tmb_fail(error, TMB_ERROR_LIMIT, "is longer than the limit of %g seconds", reader->max_seconds);
    }
    uint64_t bytes = 0;
    if (reader->max_bytes != 0 &&
        (!tmb_mul_u64(length, reader->channels * sizeof(float), &bytes) || bytes > reader->max_bytes)) {
        return tmb_fail(error, TMB_ERROR_LIMIT, "decodes to more than the limit of %llu bytes",
                        (unsigned long long)reader->max_bytes);
    }
    return TMB_OK;
}

static tmb_status open_raw(tmb_audio_reader *reader, const tmb_raw_format *raw, tmb_audio_info *info,
                           tmb_error *error) {
    const size_t sample = tmb_pcm_bytes(raw->encoding);
    if (sample == 0) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "unknown encoding %d of raw samples", (int)raw->encoding);
    }
    tmb_status status = check_shape(raw->rate, raw->channels, error);
    if (status != TMB_OK) {
        return status;
    }
    reader->raw = true;
    reader->raw_encoding = raw->encoding;
    reader->rate = raw->rate;
    reader->channels = (size_t)raw->channels;
    *info =
        (tmb_audio_info){.rate = raw->rate,
                         .channels = raw->channels,
                         .length = reader->source.sequential ? 0 : reader->source.size / (sample * reader->channels)};
    static const char *const names[] = {"16-bit PCM", "24-bit PCM", "32-bit float"};
    (void)snprintf(info->format, sizeof info->format, "raw, %s", names[raw->encoding]);
    return TMB_OK;
}

/* The part from `start` to `end` of the source. */
static tmb_status open_sndfile(tmb_audio_reader *reader, uint64_t start, uint64_t end, SF_INFO *info,
                               tmb_error *error) {
    static SF_VIRTUAL_IO callbacks = {source_size, source_seek, source_read, source_write, source_tell};
    char reason[160];
    reader->link = tmb_source_part(&reader->source, start, end);
    *info = (SF_INFO){0};
    reader->file = tmb_sndfile_open(&callbacks, SFM_READ, info, &reader->link, reason, sizeof reason);
    if (reader->link.error_number != 0) {
        return tmb_fail_errno(error, TMB_ERROR_IO, reader->link.error_number, "cannot be read");
    }
    return reader->file != NULL ? TMB_OK
                                : tmb_fail(error, TMB_ERROR_FORMAT,
                                           "is damaged, cut short or of an unsupported kind (libsndfile: %s)", reason);
}

/* The next link of an Ogg file, which must be like the first. */
static tmb_status open_next_link(tmb_audio_reader *reader, SF_INFO *info, tmb_error *error) {
    if (reader->file != NULL) {
        (void)sf_close(reader->file);
        reader->file = NULL;
    }
    const size_t i = reader->next_link++;
    const uint64_t end = i + 1 < reader->links.count ? reader->links.starts[i + 1] : reader->links.end;
    return open_sndfile(reader, reader->links.starts[i], end, info, error);
}

static tmb_status open_decoder(tmb_audio_reader *reader, tmb_file_kind kind, SF_INFO *info, tmb_error *error) {
    if (kind != TMB_FILE_OGG) {
        return open_sndfile(reader, 0, reader->source.size, info, error);
    }
    tmb_status status = tmb_ogg_scan(&reader->source, &reader->links, error);
    return status == TMB_OK ? open_next_link(reader, info, error) : status;
}

static tmb_status open_file(tmb_audio_reader *reader, tmb_audio_info *info, tmb_error *error) {
    tmb_status status = tmb_source_spool(&reader->source, tmb_sniff_check, error);
    if (status != TMB_OK) {
        return status;
    }
    uint8_t front[SNIFFED];
    const size_t size = tmb_source_read_at(&reader->source, 0, front, sizeof front);
    if (reader->source.error_number != 0) {
        return tmb_fail_errno(error, TMB_ERROR_IO, reader->source.error_number, "cannot be read");
    }
    tmb_file_kind kind = TMB_FILE_WAV;
    status = tmb_sniff(front, size, &kind, error);
    if (status == TMB_OK) {
        status = tmb_sniff_complete(&reader->source, kind, error);
    }
    SF_INFO file = {0};
    if (status == TMB_OK) {
        status = open_decoder(reader, kind, &file, error);
    }
    if (status != TMB_OK) {
        return status;
    }
    const char *container =
        find_name(containers, sizeof containers / sizeof containers[0], file.format & SF_FORMAT_TYPEMASK);
    const char *encoding =
        find_name(encodings, sizeof encodings / sizeof encodings[0], file.format & SF_FORMAT_SUBMASK);
    if (container == NULL || encoding == NULL) {
        return tmb_fail(
            error, TMB_ERROR_FORMAT,
            "has an encoding that is not supported (%s, libsndfile subtype 0x%x): PCM, float, A-law, u-law, "
            "FLAC, Vorbis, Opus and MP3 are",
            container != NULL ? container : "unknown container", file.format & SF_FORMAT_SUBMASK);
    }
    status = check_shape(file.samplerate, file.channels, error);
    if (status != TMB_OK) {
        return status;
    }
    reader->rate = file.samplerate;
    reader->channels = (size_t)file.channels;
    *info = (tmb_audio_info){.rate = file.samplerate, .channels = file.channels};
    (void)snprintf(info->format, sizeof info->format, "%s, %s", container, encoding);
    if (file.frames > 0 && file.frames < SF_COUNT_MAX && reader->links.count <= 1) {
        info->length = (uint64_t)file.frames;
    }
    if (kind != TMB_FILE_OGG && kind != TMB_FILE_MP3) {
        /* Known exactly: what is too long fails now, and not after the limit's worth of work. */
        reader->expected = info->length;
        return over_limit(reader, info->length, error);
    }
    return TMB_OK;
}

static tmb_status open_source(tmb_audio_reader *reader, const tmb_raw_format *raw, const tmb_audio_limits *limits,
                              tmb_audio_reader **out, tmb_audio_info *info, tmb_error *error) {
    reader->max_seconds = limits != NULL ? limits->max_seconds : DEFAULT_MAX_SECONDS;
    reader->max_bytes = limits != NULL ? limits->max_bytes : 0;
    tmb_audio_info found = {0};
    tmb_error reason = {0};
    tmb_status status = raw != NULL ? open_raw(reader, raw, &found, &reason) : open_file(reader, &found, &reason);
    if (status != TMB_OK) {
        if (error != NULL) {
            *error = reason;
            name_failure(reader, error);
        }
        tmb_audio_close(&reader);
        return status;
    }
    if (info != NULL) {
        *info = found;
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
        if ((*reader)->file != NULL) {
            (void)sf_close((*reader)->file);
        }
        tmb_ogg_links_free(&(*reader)->links);
        tmb_source_close(&(*reader)->source);
        free((*reader)->name);
        free(*reader);
        *reader = NULL;
    }
}

/* ---- read ---- */

static tmb_status read_raw(tmb_audio_reader *reader, float *out, size_t capacity, size_t *count, tmb_error *error) {
    const size_t frame = tmb_pcm_bytes(reader->raw_encoding) * reader->channels;
    uint8_t bytes[16384];
    while (*count < capacity) {
        const size_t room = sizeof bytes / frame;
        const size_t wanted = capacity - *count < room ? capacity - *count : room;
        const size_t got = tmb_source_read(&reader->source, bytes, wanted * frame);
        if (reader->source.error_number == 0 && got % frame != 0) {
            return tmb_fail(error, TMB_ERROR_FORMAT,
                            "ends inside a sample: %zu bytes too many for raw %zu-byte samples", got % frame, frame);
        }
        tmb_pcm_decode(reader->raw_encoding, bytes, got / frame * reader->channels, out + *count * reader->channels);
        *count += got / frame;
        if (got < wanted * frame) {
            break;
        }
    }
    return TMB_OK;
}

/* Appends to *count; less than `capacity` at the end of the link. */
static tmb_status read_link(tmb_audio_reader *reader, float *out, size_t capacity, size_t *count, tmb_error *error) {
    const sf_count_t got =
        sf_readf_float(reader->file, out + *count * reader->channels, (sf_count_t)(capacity - *count));
    *count += got > 0 ? (size_t)got : 0;
    if (reader->link.error_number != 0) {
        return tmb_fail_errno(error, TMB_ERROR_IO, reader->link.error_number, "cannot be read");
    }
    if (sf_error(reader->file) != SF_ERR_NO_ERROR) {
        return tmb_fail(error, TMB_ERROR_FORMAT, "is damaged after %llu samples: %s",
                        (unsigned long long)(reader->done + *count), sf_strerror(reader->file));
    }
    return TMB_OK;
}

static tmb_status read_sndfile(tmb_audio_reader *reader, float *out, size_t capacity, size_t *count, tmb_error *error) {
    tmb_status status = read_link(reader, out, capacity, count, error);
    while (status == TMB_OK && *count < capacity && reader->next_link < reader->links.count) {
        SF_INFO info;
        status = open_next_link(reader, &info, error);
        if (status == TMB_OK && (info.samplerate != reader->rate || info.channels != (int)reader->channels)) {
            return tmb_fail(error, TMB_ERROR_FORMAT,
                            "changes from %d Hz, %zu channels to %d Hz, %d channels in its middle", reader->rate,
                            reader->channels, info.samplerate, info.channels);
        }
        if (status == TMB_OK) {
            status = read_link(reader, out, capacity, count, error);
        }
    }
    return status;
}

static tmb_status read_checked(tmb_audio_reader *reader, float *out, size_t capacity, size_t *count, tmb_error *error) {
    /* Never more than fits the arithmetic of what is below. */
    const size_t most = SIZE_MAX / sizeof(float) / reader->channels / 2;
    capacity = capacity < most ? capacity : most;
    tmb_status status =
        reader->raw ? read_raw(reader, out, capacity, count, error) : read_sndfile(reader, out, capacity, count, error);
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
                        (unsigned long long)place, (double)place / reader->rate, bad % reader->channels + 1);
    }
    reader->done += *count;
    status = over_limit(reader, reader->done, error);
    if (status == TMB_OK && *count < capacity && reader->expected != 0 && reader->done < reader->expected) {
        return tmb_fail(error, TMB_ERROR_FORMAT, "is cut short: it promises %llu samples and has %llu",
                        (unsigned long long)reader->expected, (unsigned long long)reader->done);
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
    const uint64_t minute = (uint64_t)reader->rate * 60;
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
