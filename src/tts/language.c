#include "tts/language.h"

#include "base/utf8.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

/* What may follow the first part of a tag: subtags, and the encoding and modifier of a POSIX locale. */
#define TAG_CHARACTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.@"

/* The codes as language tags have them (BCP 47: the shortest of ISO 639), and those of three letters that other
 * standards and programs have for the same (ISO 639-2 and -3). Every engine speaks the common ones. The
 * others are for a model of more languages, which calls each by its English name. */
static const tmb_language languages[] = {
    {.code = "auto", .name = "Auto", .others = {"und"}, .common = true},
    {.code = "en", .name = "English", .others = {"eng"}, .common = true},
    {.code = "zh", .name = "Chinese", .others = {"cmn", "zho", "chi"}, .common = true},
    {.code = "ja", .name = "Japanese", .others = {"jpn"}, .common = true},
    {.code = "ko", .name = "Korean", .others = {"kor"}, .common = true},
    {.code = "fr", .name = "French", .others = {"fra", "fre"}, .common = true},
    {.code = "de", .name = "German", .others = {"deu", "ger"}, .common = true},
    {.code = "es", .name = "Spanish", .others = {"spa"}, .common = true},
    {.code = "ru", .name = "Russian", .others = {"rus"}, .common = true},
    {.code = "pt", .name = "Portuguese", .others = {"por"}, .common = true},
    {.code = "it", .name = "Italian", .others = {"ita"}, .common = true},
    {.code = "ar", .name = "Arabic", .others = {"ara"}},
    {.code = "bg", .name = "Bulgarian", .others = {"bul"}},
    {.code = "bn", .name = "Bengali", .others = {"ben"}},
    {.code = "cs", .name = "Czech", .others = {"ces", "cze"}},
    {.code = "da", .name = "Danish", .others = {"dan"}},
    {.code = "el", .name = "Greek", .others = {"ell", "gre"}},
    {.code = "fa", .name = "Persian", .others = {"fas", "per"}},
    {.code = "fi", .name = "Finnish", .others = {"fin"}},
    {.code = "he", .name = "Hebrew", .others = {"heb"}},
    {.code = "hi", .name = "Hindi", .others = {"hin"}},
    {.code = "hu", .name = "Hungarian", .others = {"hun"}},
    {.code = "id", .name = "Indonesian", .others = {"ind"}},
    {.code = "ms", .name = "Malay", .others = {"msa", "may"}},
    {.code = "nl", .name = "Dutch", .others = {"nld", "dut"}},
    {.code = "no", .name = "Norwegian", .others = {"nb", "nor", "nob"}},
    {.code = "pl", .name = "Polish", .others = {"pol"}},
    {.code = "ro", .name = "Romanian", .others = {"ron", "rum"}},
    {.code = "sv", .name = "Swedish", .others = {"swe"}},
    {.code = "ta", .name = "Tamil", .others = {"tam"}},
    {.code = "th", .name = "Thai", .others = {"tha"}},
    {.code = "tr", .name = "Turkish", .others = {"tur"}},
    {.code = "uk", .name = "Ukrainian", .others = {"ukr"}},
    {.code = "ur", .name = "Urdu", .others = {"urd"}},
    {.code = "vi", .name = "Vietnamese", .others = {"vie"}},
    {.code = "yue", .name = "Cantonese"},
};

enum { language_count = sizeof languages / sizeof languages[0] };

const tmb_language *tmb_language_at(size_t index) { return index < language_count ? &languages[index] : NULL; }

/* The length of a tag's first part ("zh" of "zh-Hans-CN", "en" of "en_US.UTF-8"), if the whole is shaped like a tag;
 * otherwise 0. */
static size_t primary_length(const char *tag) {
    size_t length = strcspn(tag, "-_.@");
    const char *rest = tag + length;
    bool shaped = rest[0] == '\0' || (rest[1] != '\0' && rest[strspn(rest, TAG_CHARACTERS)] == '\0');
    return shaped ? length : 0;
}

static bool is_code(const char *code, const char *tag, size_t length) {
    return code != NULL && strlen(code) == length && strncasecmp(code, tag, length) == 0;
}

const tmb_language *tmb_language_by_tag(const char *name) {
    if (name == NULL || name[0] == '\0') {
        return &languages[0];
    }
    size_t length = primary_length(name);
    for (size_t i = 0; i < language_count; i++) {
        const tmb_language *language = &languages[i];
        bool is = strcasecmp(name, language->name) == 0 || is_code(language->code, name, length);
        for (size_t k = 0; k < TMB_LANGUAGE_OTHERS; k++) {
            is = is || is_code(language->others[k], name, length);
        }
        if (is) {
            return language;
        }
    }
    return NULL;
}

const tmb_language *tmb_language_find(const char *name) {
    const tmb_language *language = tmb_language_by_tag(name);
    return language != NULL && language->common ? language : NULL;
}

static bool between(uint32_t point, uint32_t first, uint32_t last) { return point >= first && point <= last; }

const tmb_language *tmb_language_detect(const char *text) {
    size_t kana = 0;
    size_t hangul = 0;
    size_t han = 0;
    size_t cyrillic = 0;
    size_t latin = 0;
    const size_t bytes = strlen(text);
    for (size_t at = 0, length = 0; at < bytes; at += length) {
        uint32_t point = 0;
        length = tmb_utf8_decode(text + at, bytes - at, &point);
        if (length == 0) { /* no UTF-8: a byte that is no letter */
            length = 1;
            continue;
        }
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
