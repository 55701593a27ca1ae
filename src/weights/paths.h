/* Folders of the user. */
#ifndef TMB_WEIGHTS_PATHS_H
#define TMB_WEIGHTS_PATHS_H

#include "timbre/timbre.h"

/* "$variable/rest" if the variable holds an absolute path, otherwise "$HOME/home_rest/rest"; allocated. TMB_ERROR_IO
 * if HOME is not set either. */
tmb_status tmb_path_xdg(const char *variable, const char *home_rest, const char *rest, char **out, tmb_error *error);

/* `text` as a shell and the official client read it in a variable: "~" and "~user" at its beginning become a home
 * folder, $NAME and ${NAME} what those variables hold; what is not known stays as it is. Allocated. */
tmb_status tmb_path_expand(const char *text, char **out, tmb_error *error);

/* Makes a folder and those above it. */
tmb_status tmb_path_make_folder(const char *path, tmb_error *error);

/* Makes the folder that `path` lies in, and those above. */
tmb_status tmb_path_make_parent(const char *path, tmb_error *error);

/* tmb_file_write, with the folders that are not there yet. */
tmb_status tmb_path_publish(const char *path, const void *data, size_t bytes, tmb_error *error);

#endif
