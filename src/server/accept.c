/* What a request's Accept header asks for. */
#include "server/clone.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const struct {
    const char *type, *format;
} audio_types[] = {
    {"audio/wav", "wav"},   {"audio/x-wav", "wav"},     {"audio/wave", "wav"},  {"audio/vnd.wave", "wav"},
    {"audio/flac", "flac"}, {"audio/x-flac", "flac"},   {"audio/mpeg", "mp3"},  {"audio/mp3", "mp3"},
    {"audio/ogg", "ogg"},   {"application/ogg", "ogg"}, {"audio/opus", "opus"}, {"audio/pcm", "pcm"},
    {"audio/l16", "pcm"},   {"audio/aac", "aac"},       {"audio/*", NULL},
};

/* "q" of one element, 1 if it has none. */
static double quality(const char *element, size_t length) {
    for (size_t i = 0; i + 3 < length; i++) {
        if (strchr("; \t", element[i]) != NULL && strncasecmp(element + i + 1, "q=", 2) == 0) {
            double q = strtod(element + i + 3, NULL);
            return q >= 0 && q <= 1 ? q : 1;
        }
    }
    return 1;
}

/* The row of an element's type; -1: not audio that we know. */
static int find_audio(const char *element, size_t length) {
    for (size_t i = 0; i < sizeof audio_types / sizeof audio_types[0]; i++) {
        if (strlen(audio_types[i].type) == length && strncasecmp(element, audio_types[i].type, length) == 0) {
            return (int)i;
        }
    }
    return -1;
}

bool tmb_accepts_audio(const char *accept, const char **format) {
    double audio = 0;
    double json = 0;
    bool json_first = false;
    *format = NULL;
    while (accept != NULL && *accept) {
        accept += strspn(accept, " \t,");
        size_t length = strcspn(accept, ",");
        size_t type = strcspn(accept, ",; \t");
        double q = quality(accept, length);
        int row = find_audio(accept, type);
        if (row >= 0 && q > audio) {
            audio = q;
            *format = audio_types[row].format;
        } else if (type == 16 && strncasecmp(accept, "application/json", type) == 0 && q > json) {
            json = q;
            json_first = audio == 0;
        }
        accept += length;
    }
    return audio > 0 && (audio > json || (audio == json && !json_first));
}
