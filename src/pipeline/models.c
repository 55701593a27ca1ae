/* The public calls about models: what is installed, downloads, and the tokenizer of a checkpoint. */
#include "tts/qwen3/text/tokenizer.h"
#include "weights/models.h"
#include "weights/pull.h"

#include "base/error.h"

#include <stdlib.h>

tmb_status tmb_models(void (*each)(void *user, const tmb_model_info *model), void *user, tmb_error *error) {
    if (each == NULL) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "tmb_models needs a callback");
    }
    return tmb_models_list(each, user, error);
}

tmb_status tmb_pull(const char *name, bool (*progress)(void *user, const char *file, uint64_t done, uint64_t total),
                    void *user, tmb_error *error) {
    if (name == NULL) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "tmb_pull needs a model's name");
    }
    const tmb_pull_options options = {.progress = progress, .user = user};
    return tmb_pull_model(name, &options, error);
}

tmb_status tmb_tokenize(const char *model, const char *text, size_t text_bytes, int32_t **ids, size_t *count,
                        tmb_error *error) {
    if (ids == NULL || count == NULL || (text == NULL && text_bytes != 0)) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "tmb_tokenize needs a text and a place for its ids");
    }
    *ids = NULL;
    *count = 0;
    char *folder = NULL;
    tmb_status status = tmb_models_find_checkpoint(model, &folder, error);
    if (status != TMB_OK) {
        return status;
    }
    tmb_tokenizer *tokenizer = NULL;
    status = tmb_tokenizer_load(folder, TMB_TEXT_PATTERN_QWEN2, &tokenizer, error);
    if (status == TMB_OK) {
        status = tmb_tokenizer_encode(tokenizer, text == NULL ? "" : text, text_bytes, ids, count, error);
    }
    tmb_tokenizer_destroy(&tokenizer);
    free(folder);
    return status;
}
