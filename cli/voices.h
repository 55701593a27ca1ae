/* Voices by name: a folder of voice files, and of recordings with their transcripts beside them. */
#ifndef TIMBRE_CLI_VOICES_H
#define TIMBRE_CLI_VOICES_H

#include "timbre/timbre.h"

#include <stdbool.h>

/* One voice of a folder; all owned. */
typedef struct cli_voice {
    char *name;       /* without the ending, NFC */
    char *path;       /* NAME.tmbvoice, or a recording */
    char *transcript; /* NAME.txt beside a recording, or NULL */
    bool saved;       /* a voice file */
} cli_voice;

void cli_voice_free(cli_voice *voice);

/* Where voices are looked for, in this order: `extra` (--voices, may be NULL), the user's folder, and the one that is
 * installed with timbre. Calls back for each voice, by name within a folder; false ends it. */
void cli_voices_each(const char *extra, bool (*each)(void *user, const cli_voice *voice), void *user);

/* Whether the folder that was named for voices is there; says so if it is not. NULL: none was named. */
bool cli_voices_can_be_read(const char *extra);

/* The voice of this name; false: there is none. Names are compared in NFC, a voice file comes before a recording. */
bool cli_voice_find(const char *extra, const char *name, cli_voice *out);

/* The folder of the user's own voices, allocated; NULL: no home. */
char *cli_voices_folder(void);

/* Where a voice of this name is stored ("NAME.tmbvoice" in the user's folder), allocated; NULL: said why not. */
char *cli_voice_path(const char *name);

/* What `--voice VALUE` means: a file that exists is itself, a name that is found becomes its file, or its recording
 * with transcript. `voice` is filled and owns what the request then points to. False: said that there is none. */
bool cli_voice_resolve(const char *extra, tmb_clone_request *request, cli_voice *voice, char **text);

#endif
