/* Any bytes as what ffmpeg writes: the same head however much of it has come, and never more than is there. */
#include "fuzz.h"

#include "io/ffmpeg.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    tmb_ffmpeg_head whole = {0};
    const size_t result = tmb_ffmpeg_parse_head(data, size, &whole);
    fuzz_check(result == SIZE_MAX || result <= size);
    if (result != 0 && result != SIZE_MAX) {
        fuzz_check(whole.rate > 0 && whole.channels > 0 && result <= TMB_FFMPEG_HEAD_MAX + 8);
    }
    for (size_t part = 0; part < size && part < 300; part++) {
        tmb_ffmpeg_head head = {0};
        const size_t early = tmb_ffmpeg_parse_head(data, part, &head);
        /* It waits, or it knows what it will know in the end. */
        fuzz_check(early == 0 || early == result);
    }
    return 0;
}

void fuzz_seeds(fuzz_add_seed add) {
    static const char plain[] = "RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0\3\0\1\0\x80\xbb\0\0\0\xee\2\0\4\0\x20\0"
                                "fact\4\0\0\0\xff\xff\xff\xff"
                                "data\xff\xff\xff\xff\0\0\0\0";
    add(plain, sizeof plain - 1);
    static const char extensible[] =
        "RIFF\xff\xff\xff\xffWAVEfmt \x28\0\0\0\xfe\xff\6\0\x80\xbb\0\0\0\xca\x11\0\x18\0\x20\0"
        "\x16\0\x20\0\x3f\0\0\0\3\0\0\0\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71"
        "LIST\4\0\0\0INFOdata\xff\xff\xff\xff";
    add(extensible, sizeof extensible - 1);
}
