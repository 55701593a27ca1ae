/* --voices: a folder's recordings as stored voices. */
#ifndef TMB_SERVER_VOICE_FOLDER_H
#define TMB_SERVER_VOICE_FOLDER_H

#include "timbre/timbre.h"

struct tmb_server;

/* Makes the stored voices agree with the folder of --voices: recordings with a transcript beside them that are new or
 * have changed are stored under their file's name, voices whose files are gone are removed. A voice that a client
 * stored stays as it is, and so does one of another server's folder in a shared store. What is wrong with one file is
 * logged and leaves the others alone. TMB_ERROR_IO: the folder that the operator named cannot be read. At the start,
 * before requests come. */
tmb_status tmb_voice_folder_store(struct tmb_server *server, tmb_error *error);

#endif
