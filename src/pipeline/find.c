/* Where the denoiser's weights are. */
#include "pipeline/registry.h"

#include "enhance/enhance.h"

#include <stdlib.h>

tmb_status tmb_find_denoiser(const char *path, char **out, tmb_error *error) {
    return tmb_dfn_model_find(path != NULL ? path : getenv("TIMBRE_DENOISER"), out, error);
}
