/* The languages that every engine knows by the same names. */
#ifndef TMB_TTS_LANGUAGE_H
#define TMB_TTS_LANGUAGE_H

#include <stddef.h>

typedef struct tmb_language {
    const char *code; /* "en" */
    const char *name; /* "English" */
} tmb_language;

/* "en", "English", "ENGLISH" ... to its entry; NULL for one that is not known. "auto" has an entry too:
 * {"auto", "Auto"}; NULL and "" are taken for it. */
const tmb_language *tmb_language_find(const char *name);

/* The language that UTF-8 text is most likely in, from its scripts alone: kana is Japanese, hangul Korean,
 * Han characters without them Chinese, Cyrillic Russian; everything else English. Never NULL or "auto". */
const tmb_language *tmb_language_detect(const char *text);

/* "auto", "en" (English), ...: for messages. */
#define TMB_LANGUAGES "auto, en, zh, ja, ko, fr, de, es, ru, pt, it, or the English name"

#endif
