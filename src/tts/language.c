#include "tts/language.h"

#include <stdbool.h>
#include <stdint.h>
#include <strings.h>

static const tmb_language languages[] = {
    {"auto", "Auto"}, {"en", "English"}, {"zh", "Chinese"}, {"ja", "Japanese"},   {"ko", "Korean"},  {"fr", "French"},
    {"de", "German"}, {"es", "Spanish"}, {"ru", "Russian"}, {"pt", "Portuguese"}, {"it", "Italian"},
};

const tmb_language *tmb_language_find(const char *name) {
    if (name == NULL || name[0] == '\0') {
        return &languages[0];
    }
    for (size_t i = 0; i < sizeof languages / sizeof languages[0]; i++) {
        if (strcasecmp(name, languages[i].code) == 0 || strcasecmp(name, languages[i].name) == 0) {
            return &languages[i];
        }
    }
    return NULL;
}

/* The code point at *text, which moves on; what is not UTF-8 counts as U+FFFD, one byte. */
static uint32_t next_code_point(const unsigned char **text) {
    const unsigned char *c = *text;
    int more = c[0] >= 0xF0 ? 3 : c[0] >= 0xE0 ? 2 : c[0] >= 0xC0 ? 1 : 0;
    uint32_t point = more == 0 ? c[0] : c[0] & (0x3Fu >> more);
    for (int i = 1; i <= more; i++) {
        if ((c[i] & 0xC0) != 0x80) {
            (*text)++;
            return 0xFFFD;
        }
        point = point << 6 | (c[i] & 0x3Fu);
    }
    *text += more + 1;
    return point;
}

static bool between(uint32_t point, uint32_t first, uint32_t last) { return point >= first && point <= last; }

const tmb_language *tmb_language_detect(const char *text) {
    size_t kana = 0;
    size_t hangul = 0;
    size_t han = 0;
    size_t cyrillic = 0;
    size_t latin = 0;
    const unsigned char *next = (const unsigned char *)text;
    while (*next != '\0') {
        uint32_t point = next_code_point(&next);
        if (between(point, 0x3040, 0x30FF) || between(point, 0xFF66, 0xFF9D)) {
            kana++;
        } else if (between(point, 0xAC00, 0xD7A3) || between(point, 0x1100, 0x11FF) || between(point, 0x3130, 0x318F)) {
            hangul++;
        } else if (between(point, 0x4E00, 0x9FFF) || between(point, 0x3400, 0x4DBF) ||
                   between(point, 0x20000, 0x323AF)) {
            han++;
        } else if (between(point, 0x0400, 0x052F)) {
            cyrillic++;
        } else if (between(point | 0x20, 'a', 'z') || between(point, 0xC0, 0x24F)) {
            latin++;
        }
    }
    /* A CJK character is a syllable or a word, a letter only a part of one: one in four decides. */
    size_t letters = latin + cyrillic;
    if (kana != 0 && (kana + han) * 4 >= letters) {
        return tmb_language_find("ja");
    }
    if (hangul != 0 && hangul * 4 >= letters) {
        return tmb_language_find("ko");
    }
    if (han != 0 && han * 4 >= letters) {
        return tmb_language_find("zh");
    }
    return tmb_language_find(cyrillic > latin ? "ru" : "en");
}
