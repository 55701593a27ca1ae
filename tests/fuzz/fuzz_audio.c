/* Any bytes as an audio file: an error with a message, or finite samples within every limit. */
#include "fuzz.h"

#include "io/io.h"

#include <math.h>

#define MAX_SECONDS 2.0
#define MAX_BYTES ((uint64_t)4 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const tmb_audio_limits limits = {.max_seconds = MAX_SECONDS, .max_bytes = MAX_BYTES};
    tmb_audio_reader *reader = NULL;
    tmb_audio_info info;
    tmb_error error = {0};
    if (tmb_audio_open_memory(data, size, &limits, &reader, &info, &error) != TMB_OK) {
        fuzz_check(reader == NULL && error.status != TMB_OK && error.message[0] != '\0');
        fuzz_check(error.status != TMB_ERROR_INTERNAL);
        return 0;
    }
    fuzz_check(info.rate >= TMB_AUDIO_MIN_RATE && info.rate <= TMB_AUDIO_MAX_RATE);
    fuzz_check(info.channels >= 1 && info.channels <= TMB_AUDIO_MAX_CHANNELS);
    float samples[1000 * TMB_AUDIO_MAX_CHANNELS];
    uint64_t total = 0;
    for (size_t count = 1; count > 0;) {
        if (tmb_audio_read(reader, samples, 1000, &count, &error) != TMB_OK) {
            fuzz_check(count == 0 && error.message[0] != '\0');
            break;
        }
        fuzz_check(count <= 1000);
        for (size_t i = 0; i < count * (size_t)info.channels; i++) {
            fuzz_check(isfinite(samples[i]));
        }
        total += count;
        fuzz_check((double)total <= MAX_SECONDS * info.rate);
        fuzz_check(total * (uint64_t)info.channels * sizeof(float) <= MAX_BYTES);
    }
    tmb_audio_close(&reader);
    return 0;
}

static void add_file(fuzz_add_seed add, tmb_container container, tmb_encoding encoding, int rate, int channels,
                     size_t count) {
    float samples[2 * 4000];
    for (size_t i = 0; i < count * (size_t)channels; i++) {
        samples[i] = 0.5f * sinf((float)i * 0.05f);
    }
    tmb_audio_writer *writer = NULL;
    void *bytes = NULL;
    size_t size = 0;
    fuzz_check(tmb_audio_create_memory(container, encoding, rate, channels, 1 << 20, &writer, NULL) == TMB_OK);
    fuzz_check(tmb_audio_write(writer, samples, count, NULL) == TMB_OK);
    fuzz_check(tmb_audio_finish_memory(&writer, &bytes, &size, NULL) == TMB_OK);
    add(bytes, size);
    free(bytes);
}

void fuzz_seeds(fuzz_add_seed add) {
    for (int channels = 1; channels <= 2; channels++) {
        add_file(add, TMB_CONTAINER_WAV, TMB_ENCODING_S16, 16000, channels, 100);
        add_file(add, TMB_CONTAINER_WAV, TMB_ENCODING_S24, 48000, channels, 100);
        add_file(add, TMB_CONTAINER_WAV, TMB_ENCODING_FLOAT, 44100, channels, 100);
        add_file(add, TMB_CONTAINER_FLAC, TMB_ENCODING_S16, 22050, channels, 4000);
        add_file(add, TMB_CONTAINER_FLAC, TMB_ENCODING_S24, 48000, channels, 1000);
        add_file(add, TMB_CONTAINER_OGG, TMB_ENCODING_S16, 24000, channels, 3000);
        add_file(add, TMB_CONTAINER_OPUS, TMB_ENCODING_S16, 48000, channels, 3000);
        add_file(add, TMB_CONTAINER_MP3, TMB_ENCODING_S16, 24000, channels, 4000);
    }
    static const char *const texts[] = {"RIFF\x24\0\0\0WAVEfmt ", "FORM\0\0\0\040AIFFCOMM", "ID3\4\0\0\0\0\1\0",
                                        "hello"};
    static const size_t sizes[] = {16, 16, 10, 5};
    for (size_t i = 0; i < 4; i++) {
        add(texts[i], sizes[i]);
    }
    /* AIFF, which the writers do not make: two channels, three samples of 16 bits. */
    static const char aiff[] = "FORM\0\0\0\x3a"
                               "AIFFCOMM\0\0\0\x12\0\2\0\0\0\3\0\x10\x40\x0e\xbb\x80\0\0\0\0\0\0"
                               "SSND\0\0\0\x14\0\0\0\0\0\0\0\0\1\2\3\4\5\6\7\x08\x09\x0a\x0b\x0c";
    add(aiff, sizeof aiff - 1);
}
