/* Any bytes as a container that ffmpeg would decode: the walk ends with an error that has a message, or without one,
 * and never fails where losses are salvaged. */
#include "fuzz.h"

#include "io/containers.h"

#include <string.h>

static const char *const demuxers[] = {"mov", "matroska", "asf", "tta", "flv", "avi", "mpegts", "mp3", "wv"};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    for (size_t i = 0; i < sizeof demuxers / sizeof demuxers[0]; i++) {
        for (int salvage = 0; salvage < 2; salvage++) {
            tmb_source source;
            tmb_source_open_memory(data, size, &source);
            tmb_notes notes = {.salvage = salvage != 0};
            tmb_error error = {0};
            const tmb_status status = tmb_container_check(&source, demuxers[i], &notes, &error);
            fuzz_check(status == TMB_OK || (salvage == 0 && error.status == status && error.message[0] != '\0'));
        }
    }
    return 0;
}

void fuzz_seeds(fuzz_add_seed add) {
    static const char boxes[] =
        "\0\0\0\20ftypM4A \0\0\0\0\0\0\0\1mdat\0\0\0\0\0\0\0\30soundof8\0\0\0\10free\0\0\0\20ftypM4A ";
    add(boxes, sizeof boxes - 1);
    static const char segment[] = "\x1a\x45\xdf\xa3\x84webm\x18\x53\x80\x67\x01\0\0\0\0\0\0\x08"
                                  "clusters";
    add(segment, sizeof segment - 1);
    static const char objects[] = "\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\0\xaa\0\x62\xce\x6c\x1e\0\0\0\0\0\0\0"
                                  "header"
                                  "\x36\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\0\xaa\0\x62\xce\x6c\x20\0\0\0\0\0\0\0"
                                  "the data";
    add(objects, sizeof objects - 1);
    static const char true_audio[] = "TTA1\1\0\1\0\20\0\x80\xbb\0\0\0\xee\2\0crc1\4\0\0\0\4\0\0\0\4\0\0\0\4\0\0\0crc2"
                                     "onetwothrfouTTA1";
    add(true_audio, sizeof true_audio - 1);
    static const char tags[] = "FLV\1\4\0\0\0\11\0\0\0\0\10\0\0\4\0\0\0\0\0\0\0data\0\0\0\17FLV\1\4\0\0\0\11\0\0\0\0";
    add(tags, sizeof tags - 1);
    static const char sized[] = "FLV\1\4\0\0\0\11\0\0\0\0\22\0\0\23\0\0\0\0\0\0\0\0\10"
                                "filesize\0\x40\x50\0\0\0\0\0\0";
    add(sized, sizeof sized - 1);
    static const char riff[] = "RIFF\x2c\0\0\0AVI LIST\4\0\0\0hdrlLIST\x10\0\0\0movi00wb\3\0\0\0snd\0RIFF\4\0\0\0AVIX";
    add(riff, sizeof riff - 1);
    char transport[376] = "\x47\x41\0\x10\0\0\1\xc0\0\xe0";
    memcpy(transport + 188, "\x47\1\0\x30\1", 5);
    add(transport, sizeof transport);
    char frames[2 * 96] = "\xff\xfd\x14\xc0";
    memcpy(frames + 96, frames, 4);
    add(frames, sizeof frames);
    static const char block[] = "wvpk\x1c\0\0\0\x10\4\0\0\xd0\7\0\0\0\0\0\0\xe8\3\0\0\0\x08\0\0crc1data"
                                "wvpk\x1c\0\0\0\x10\4\0\0\xd0\7\0\0\xe8\3\0\0\xe8\3\0\0\0\x08\0\0crc2dat";
    add(block, sizeof block - 1);
    static const char piped[] = "\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\0\xaa\0\x62\xce\x6c\x18\0\0\0\0\0\0\0"
                                "\x36\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\0\xaa\0\x62\xce\x6c\x32\0\0\0\0\0\0\0"
                                "the packets to the end, as many as there are of them all";
    add(piped, sizeof piped - 1);
    static const char padded[] = "\0\0\0\10free\0\0\0\20ftypM4A \0\0\0\0\0\0\0\12mdatso";
    add(padded, sizeof padded - 1);
}
