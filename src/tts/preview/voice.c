#include "tts/preview/voice.h"

#include "base/checked.h"
#include "base/error.h"
#include "base/memory.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Medians in Hz of espeak-ng 1.51's variants at -p 50, their range in semitones (tenth to ninetieth percentile),
 * and up to where each is taken. Measured on English sentences. */
static const struct variant {
    const char *name;
    double hertz, semitones, up_to;
} variants[] = {
    {"m3", 100.6, 3.4, 145},
    {"f2", 188.8, 3.9, 290},
    {"f5", 198.8, 3.1, INFINITY},
};

/* Octaves a step of -p, below and above 50: from the medians at 0, 50 and 99. */
#define OCTAVES_DOWN 0.0126
#define OCTAVES_UP 0.0153

tmb_preview_manner tmb_preview_fit(const tmb_pitch *pitch) {
    tmb_preview_manner manner = {.variant = "m3", .pitch = 50, .range = 100};
    if (pitch->median <= 0) {
        return manner;
    }
    const struct variant *variant = variants;
    while (pitch->median > variant->up_to) {
        variant++;
    }
    double octaves = log2(pitch->median / variant->hertz);
    double steps = octaves / (octaves < 0 ? OCTAVES_DOWN : OCTAVES_UP);
    double range = 100 * pitch->semitones / variant->semitones;
    manner.variant = variant->name;
    manner.pitch = (int)lround(fmin(fmax(50 + steps, 0), 99));
    manner.range = (int)lround(fmin(fmax(range, 40), 200)); /* beyond that it sings */
    return manner;
}

const char *tmb_preview_language(const tmb_language *language) {
    return strcmp(language->code, "zh") == 0 ? "cmn" : language->code;
}

/* What stands for a character in the document; *taken = how many of the text's it stands for. */
static const char *replacement(const char *text, size_t *taken) {
    *taken = 1;
    unsigned char c = (unsigned char)*text;
    switch (c) {
    case '&': return "&amp;";
    case '<': return "&lt;";
    case '>': return "&gt;";
    case '[': /* two of them would begin phonemes */ return "[ ";
    default: return c < 0x20 && c != '\n' && c != '\t' ? " " : NULL;
    }
}

tmb_status tmb_preview_document(const char *text, int range, char **out, size_t *bytes, tmb_error *error) {
    char head[80];
    static const char tail[] = "</prosody></speak>\n";
    int head_length = snprintf(head, sizeof head, "<speak><prosody range=\"%d%%\">", range);
    size_t capacity = 0;
    *out = NULL;
    if (!tmb_mul_size(strlen(text), 5, &capacity) || !tmb_add_size(capacity, sizeof head + sizeof tail, &capacity)) {
        return tmb_fail_memory(error, "a text", 0);
    }
    char *document = tmb_calloc(capacity, 1);
    if (document == NULL) {
        return tmb_fail_memory(error, "a text", capacity);
    }
    memcpy(document, head, (size_t)head_length);
    size_t length = (size_t)head_length;
    for (size_t taken = 0; *text != '\0'; text += taken) {
        const char *other = replacement(text, &taken);
        if (other != NULL) {
            memcpy(document + length, other, strlen(other));
            length += strlen(other);
        } else {
            document[length++] = *text;
        }
    }
    memcpy(document + length, tail, sizeof tail);
    *bytes = length + sizeof tail - 1;
    *out = document;
    return TMB_OK;
}
