/* How the preview voice speaks for a reference, and what it is given to speak. */
#ifndef TMB_TTS_PREVIEW_VOICE_H
#define TMB_TTS_PREVIEW_VOICE_H

#include "tts/language.h"
#include "tts/preview/pitch.h"

/* What fits a measured pitch: the arguments of espeak-ng. */
typedef struct tmb_preview_manner {
    const char *variant; /* "m3": appended to the language, en+m3 */
    int pitch;           /* -p, 0 to 99 */
    int range;           /* per cent of the variant's own pitch range */
} tmb_preview_manner;

/* The variant and pitch whose median comes nearest; a neutral voice if nothing was voiced. */
tmb_preview_manner tmb_preview_fit(const tmb_pitch *pitch);

/* espeak-ng's name for a language, as "cmn" for zh. */
const char *tmb_preview_language(const tmb_language *language);

/* The text as an SSML document with that pitch range; nothing in the text is markup or phonemes. *out is
 * allocated. */
tmb_status tmb_preview_document(const char *text, int range, char **out, size_t *bytes, tmb_error *error);

#endif
