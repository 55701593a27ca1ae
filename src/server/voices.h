/* Which stored voice a client means by a name: the operator's aliases, and the default voice. */
#ifndef TMB_SERVER_VOICES_H
#define TMB_SERVER_VOICES_H

#include "base/name.h"
#include "queue/voices.h"
#include "server/config.h"

typedef struct tmb_voice_alias {
    char alias[TMB_NAME_SIZE], voice[TMB_NAME_SIZE];
} tmb_voice_alias;

typedef struct tmb_voices {
    char fallback[TMB_NAME_SIZE]; /* --default-voice; "" = none */
    tmb_voice_alias *aliases;     /* [count] */
    size_t count;
} tmb_voices;

/* Reads --default-voice and --voice-alias. TMB_ERROR_ARGUMENT names what is wrong with them. */
tmb_status tmb_voices_init(tmb_voices *voices, const tmb_server_config *config, tmb_error *error);
void tmb_voices_deinit(tmb_voices *voices);

/* Logs a warning for each alias, and for the default, whose voice is not stored (yet). */
void tmb_voices_warn(const tmb_voices *voices, tmb_store *store, tmb_logger *logger);

/* The stored voice for `asked` (a normalised name, or NULL: none was given) in `name`, which may be `asked`. An alias
 * is replaced; no name, and one of OpenAI's own voices ("alloy") that is neither stored nor an alias, come to the
 * default voice. False: nothing was asked for and there is no default. */
bool tmb_voices_resolve(const tmb_voices *voices, tmb_store *store, const char *asked, char name[TMB_NAME_SIZE]);

#endif
