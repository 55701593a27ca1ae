/* The public call that examines a model. */
#include "tts/qwen3/verify/verify.h"
#include "enhance/model.h"
#include "weights/checkpoint.h"
#include "weights/digest.h"
#include "weights/hf_cache.h"
#include "weights/models.h"

#include "base/error.h"
#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static void verify_archive(const char *path, tmb_verify_report *report) {
    char sum[TMB_DIGEST_HEX_MAX];
    tmb_error error = {0};
    tmb_dfn_model *model = NULL;
    if (tmb_digest_file(TMB_DIGEST_SHA256, path, sum, &error) != TMB_OK) {
        tmb_verify_add(report, "archive", TMB_VERIFY_FAULT, "%s", error.message);
        return;
    }
    /* Fine-tuned exports are as good as the official one. */
    bool official = strcmp(sum, TMB_DFN3_SHA256) == 0;
    tmb_verify_add(report, "archive", official ? TMB_VERIFY_OK : TMB_VERIFY_NOTE,
                   official ? "%s is the official export, by its SHA-256"
                            : "%s is not the official export: its SHA-256 is another",
                   path);
    tmb_status status = tmb_dfn_model_load(path, &model, &error);
    tmb_verify_add(report, "networks", status == TMB_OK ? TMB_VERIFY_OK : TMB_VERIFY_FAULT, "%s",
                   status == TMB_OK ? "every tensor is there, has the right shape and numbers only" : error.message);
    tmb_dfn_model_release(&model);
}

static tmb_status verify_denoiser(const char *given, tmb_verify_report *report, tmb_error *error) {
    char *path = NULL;
    tmb_model_state state;
    tmb_error why = {0};
    tmb_status status = tmb_models_find_denoiser(given, &state, &path, &why);
    if (status == TMB_ERROR_MODEL && state == TMB_MODEL_INCOMPLETE) {
        tmb_verify_add(report, "archive", TMB_VERIFY_FAULT, "%s", why.message);
        return TMB_OK;
    }
    if (status != TMB_OK) {
        return tmb_fail(error, status, "%s", why.message);
    }
    verify_archive(path, report);
    free(path);
    return TMB_OK;
}

/* The folder to examine, also a damaged one: *out NULL with TMB_OK if a fault was reported instead. */
static tmb_status find_folder(const char *model, char **out, tmb_verify_report *report, tmb_error *error) {
    struct stat about;
    tmb_model_state state;
    tmb_error why = {0};
    *out = NULL;
    tmb_status status = tmb_models_find_checkpoint(model, &state, out, &why);
    if (status != TMB_ERROR_MODEL) {
        return status == TMB_OK ? TMB_OK : tmb_fail(error, status, "%s", why.message);
    }
    bool is_folder = model != NULL && stat(model, &about) == 0 && S_ISDIR(about.st_mode);
    if (is_folder && !tmb_hf_is_repository_folder(model)) {
        *out = tmb_strdup(model);
        return *out != NULL ? TMB_OK : tmb_fail_memory(error, "a path", 0);
    }
    if (state == TMB_MODEL_INCOMPLETE) {
        tmb_verify_add(report, "files", TMB_VERIFY_FAULT, "%s", why.message);
        return TMB_OK;
    }
    return tmb_fail(error, TMB_ERROR_MODEL, "%s", why.message);
}

static bool is_archive(const char *model) {
    struct stat about;
    return model != NULL && stat(model, &about) == 0 && S_ISREG(about.st_mode);
}

tmb_status tmb_verify_model(const tmb_verify_request *request, size_t *faults, tmb_error *error) {
    tmb_verify_request complete = {.struct_size = 0};
    if (request == NULL || request->struct_size == 0 || request->struct_size > sizeof complete ||
        request->each == NULL) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "verifying needs a request with a callback");
    }
    memcpy(&complete, request, request->struct_size);
    tmb_verify_report report = {.each = complete.each, .progress = complete.progress, .user = complete.user};
    const tmb_known_model *known = complete.model != NULL ? tmb_models_by_name(complete.model) : NULL;
    tmb_status status;
    if ((known != NULL && known->repository == NULL) || is_archive(complete.model)) {
        status = verify_denoiser(known != NULL ? NULL : complete.model, &report, error);
    } else {
        char *folder = NULL;
        status = find_folder(complete.model, &folder, &report, error);
        if (status == TMB_OK && folder != NULL) {
            status = tmb_qwen3_verify(folder, known != NULL ? known->name : NULL, &report, error);
        }
        free(folder);
    }
    if (faults != NULL) {
        *faults = report.faults;
    }
    return status;
}
