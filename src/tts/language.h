/* The languages that every engine knows by the same names. */
#ifndef TMB_TTS_LANGUAGE_H
#define TMB_TTS_LANGUAGE_H

#include <stdbool.h>
#include <stddef.h>

#define TMB_LANGUAGE_OTHERS 3

typedef struct tmb_language {
    const char *code;                        /* "en" */
    const char *name;                        /* "English" */
    const char *others[TMB_LANGUAGE_OTHERS]; /* more codes ("eng", "cmn"), then NULL */
    bool common;                             /* every engine speaks it */
} tmb_language;

/* The language that `name` means; NULL if there is none. `name` is an English name, a code or a language tag whose
 * first part is a code ("zh-CN", "pt_BR", "en-Latn-US"), in any case. NULL and "" mean "auto", which has an entry too:
 * {"auto", "Auto"}. */
const tmb_language *tmb_language_by_tag(const char *name);

/* The same, of the languages that every engine speaks. */
const tmb_language *tmb_language_find(const char *name);

/* The entry number `index`, "auto" first; NULL behind the last. */
const tmb_language *tmb_language_at(size_t index);

/* The language that UTF-8 text is most likely in, from its scripts alone: kana is Japanese, hangul Korean,
 * Han characters without them Chinese, Cyrillic Russian; everything else English. Never NULL or "auto". */
const tmb_language *tmb_language_detect(const char *text);

/* The codes of the common languages, for messages. */
#define TMB_LANGUAGES "auto, en, zh, ja, ko, fr, de, es, ru, pt, it"

#endif
