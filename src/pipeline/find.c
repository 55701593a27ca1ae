/* Where the denoiser's weights are. */
#include "pipeline/registry.h"

#include "base/error.h"
#include "base/memory.h"

#include <stdlib.h>
#include <unistd.h>

#define ARCHIVE "DeepFilterNet3_onnx.tar.gz"

/* $variable/timbre/ARCHIVE, or $HOME/fallback/timbre/ARCHIVE; NULL where neither is set. */
static char *in_folder(const char *variable, const char *fallback) {
    const char *folder = getenv(variable);
    if (folder != NULL && folder[0] == '/') {
        return tmb_asprintf("%s/timbre/" ARCHIVE, folder);
    }
    const char *home = getenv("HOME");
    if (home == NULL || home[0] != '/') {
        return NULL;
    }
    return tmb_asprintf("%s/%s/timbre/" ARCHIVE, home, fallback);
}

tmb_status tmb_find_denoiser(const char *path, char **out, tmb_error *error) {
    *out = NULL;
    if (path == NULL) {
        path = getenv("TIMBRE_DENOISER");
    }
    if (path != NULL && path[0] != '\0') {
        *out = tmb_strdup(path);
        return *out != NULL ? TMB_OK : tmb_fail_memory(error, "a path", 0);
    }
    char *places[] = {
        in_folder("XDG_CACHE_HOME", ".cache"),
        in_folder("XDG_DATA_HOME", ".local/share"),
        tmb_strdup("/usr/local/share/timbre/" ARCHIVE),
        tmb_strdup("/usr/share/timbre/" ARCHIVE),
    };
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        if (*out == NULL && places[i] != NULL && access(places[i], R_OK) == 0) {
            *out = places[i];
        } else {
            free(places[i]);
        }
    }
    if (*out == NULL) {
        return tmb_fail(error, TMB_ERROR_MODEL,
                        "the denoiser's weights (" ARCHIVE ") are not installed: run `timbre pull dfn3`, or name "
                        "the file with --denoiser or TIMBRE_DENOISER");
    }
    return TMB_OK;
}
