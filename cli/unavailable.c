/* What the library does not have yet. Weak: a library that has it wins where its objects are linked in. */
#include "ui.h"

__attribute__((weak)) tmb_status tmb_models(void (*each)(void *user, const tmb_model_info *model), void *user,
                                            tmb_error *error) {
    (void)each;
    (void)user;
    cli_set_error(error, TMB_ERROR_UNSUPPORTED, "this build keeps no models");
    return TMB_ERROR_UNSUPPORTED;
}

__attribute__((weak)) tmb_status tmb_pull(const char *name,
                                          bool (*progress)(void *user, const char *file, uint64_t done, uint64_t total),
                                          void *user, tmb_error *error) {
    (void)name;
    (void)progress;
    (void)user;
    cli_set_error(error, TMB_ERROR_UNSUPPORTED, "this build downloads no models");
    return TMB_ERROR_UNSUPPORTED;
}

__attribute__((weak)) tmb_status tmb_tokenize(const char *model, const char *text, size_t text_bytes, int32_t **ids,
                                              size_t *count, tmb_error *error) {
    (void)model;
    (void)text;
    (void)text_bytes;
    (void)ids;
    (void)count;
    cli_set_error(error, TMB_ERROR_UNSUPPORTED, "this build has no tokenizer");
    return TMB_ERROR_UNSUPPORTED;
}
