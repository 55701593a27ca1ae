/* Where a request's reference audio comes from: a stored file's id, a data: URI, a path inside
 * --audio-root, a URL of an allowed host, a part of a form. Whatever it is, it becomes an open descriptor
 * that outlives the file's name, and a path by which the library opens it again. */
#ifndef TMB_SERVER_REFERENCES_H
#define TMB_SERVER_REFERENCES_H

#include "server/problem.h"
#include "server/request.h"

typedef struct tmb_references tmb_references; /* of one request */

/* Where these functions say why a reference cannot be used, the problem's field is left to the caller. */

/* NULL out of memory. `cancelled` (may be NULL) is asked while something is fetched. */
tmb_references *tmb_references_create(tmb_server *server, bool (*cancelled)(void *user), void *user);
/* From now on damaged and cut recordings are opened too, or not; at first not. */
void tmb_references_salvage(tmb_references *references, bool salvage);
/* Closes everything. */
void tmb_references_destroy(tmb_references *references);

/* The path for `ref_audio`; the same text gives the same one. Checks that it is audio within the limits
 * as far as its head tells. NULL: `problem` says why. */
const char *tmb_references_open(tmb_references *references, const char *ref_audio, tmb_problem *problem);

/* The path for a form's file, under the name `key`. Takes the upload. */
const char *tmb_references_add(tmb_references *references, const char *key, tmb_upload *upload, tmb_problem *problem);

/* Keeps the descriptor open as long as the references; returns its path or NULL. No text names it. */
const char *tmb_references_hold(tmb_references *references, int descriptor);

/* Stores what is not a file of this server yet (data:, URL) as a file, for a job that outlives the
 * request: `id` gets a file's id, or "" if `ref_audio` is a path that stays one. `*fresh`: it was
 * stored by this call. */
bool tmb_reference_store(tmb_references *references, const char *ref_audio, char id[TMB_STORE_ID], bool *fresh,
                         tmb_problem *problem);

/* Opens a file below an open folder: no "..", no absolute path, no symbolic link anywhere on the way,
 * regular files only. Returns -1 and sets errno on failure. */
int tmb_open_below(int folder, const char *path);

/* Checks the head of an audio file. `seconds` 0: no limit. */
bool tmb_check_audio(const tmb_server_config *config, const char *path, double seconds, bool salvage,
                     tmb_audio_info *info, tmb_problem *problem);

/* The same of a file that is to be kept: what its head does not say, its length above all, is found by reading it to
 * its end. */
bool tmb_check_kept_audio(const tmb_server_config *config, const char *path, double seconds, tmb_audio_info *info,
                          tmb_problem *problem);

#endif
