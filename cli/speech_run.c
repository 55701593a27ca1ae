/* What the commands that speak do once their options are known. */
#include "claims.h"
#include "speech.h"

#include <stdlib.h>
#include <string.h>

/* No output of one text replaces what the command reads; a batch looks at its items itself. */
static bool claim_files(const clone_options *o) {
    cli_claim models[CLI_LENGTH(o->engine.models.items)];
    size_t count = o->engine.models.count;
    for (size_t i = 0; i < count; i++) {
        models[i] = (cli_claim){cli_model_path(o->engine.models.items[i]), "--model", false};
    }
    const cli_claim claims[] = {
        {o->request.ref_audio, "--ref", false},       {o->request.voice, "--voice", false},
        {o->ref_text_file, "--ref-text-file", false}, {o->voice_transcript, "--voice", false},
        {o->text_file, "--text-file", false},         {cli_is_standard(o->request.text) ? "-" : NULL, "--text", false},
        {o->runtime.denoiser, "--denoiser", false},   {o->path, "-o", true},
        {o->reference_out, "--reference-out", true},  {o->codes, "--codes-out", true},
    };
    cli_claims *all = cli_claims_create();
    bool agree = cli_claim_all(all, models, count) && cli_claim_all(all, claims, CLI_LENGTH(claims));
    cli_claims_destroy(&all);
    return agree;
}

bool cli_check_speech(const clone_options *o, bool (*check_voice)(const clone_options *o)) {
    const tmb_clone_request *r = &o->request;
    bool writes_audio = cli_is_standard(o->path);
    if (o->batch != NULL && (r->text != NULL || o->text_file != NULL || o->path != NULL || o->reference_out != NULL)) {
        cli_error(
            "--batch takes its texts from the file and writes to --out-dir; it excludes --text, --text-file, -o and "
            "--reference-out");
    } else if (o->batch != NULL && o->folder == NULL) {
        cli_error("where to? --out-dir DIR");
    } else if (o->batch == NULL && o->folder != NULL) {
        cli_error("--out-dir goes with --batch; for one text use -o FILE");
    } else if (o->batch == NULL && r->text == NULL && o->text_file == NULL) {
        cli_error("what to say? --text TEXT, --text-file FILE, or --batch FILE for many");
    } else if (r->text != NULL && o->text_file != NULL) {
        cli_error("--text and --text-file exclude each other");
    } else if (!check_voice(o)) {
        return false;
    } else if (o->batch == NULL && o->path == NULL) {
        cli_error("where to? -o FILE, or -o - for standard output");
    } else if (writes_audio && o->common.json) {
        cli_error("--json and -o - both want standard output");
    } else {
        return o->batch != NULL || (cli_spares_terminal(o->path, &o->output) && claim_files(o) &&
                                    cli_can_be_audio(o->path, (tmb_container)o->output.container) &&
                                    cli_can_be_audio(o->reference_out, TMB_CONTAINER_AUTO));
    }
    return false;
}

/* What is missing is said before a recording is read, and once for a batch. */
static int find_models(const clone_options *o, tmb_context *context) {
    const tmb_clone_request *r = &o->request;
    bool cleans = r->run_post_processing || (r->run_pre_processing && r->voice == NULL);
    tmb_error error = {0};
    if (tmb_resolve(context, TMB_NEED_ENGINE | (cleans ? TMB_NEED_DENOISER : 0u), NULL, &error) == TMB_OK) {
        return CLI_EXIT_OK;
    }
    if (o->common.json) {
        cli_print_json(json_pack("{s:o}", "error", cli_json_error(&error)));
    }
    return cli_fail(&error);
}

int cli_run_speech(clone_options *o) {
    tmb_context *context = NULL;
    char *text = NULL, *ref_text = NULL;
    if (!cli_read_split(o->split, &o->request.split_length)) {
        return CLI_EXIT_USAGE;
    }
    o->request.stream = cli_is_standard(o->path);
    int status = cli_finish_reference(o, &ref_text);
    bool from_input = cli_is_standard(o->request.text);
    if (status == CLI_EXIT_OK && (from_input || o->text_file != NULL)) {
        text = cli_read_line_text(from_input ? "-" : o->text_file);
        o->request.text = text;
        status = text != NULL ? CLI_EXIT_OK : CLI_EXIT_INPUT;
    }
    if (status == CLI_EXIT_OK) {
        status = cli_offer_models(&o->offer, &o->runtime, &o->engine,
                                  o->request.run_pre_processing || o->request.run_post_processing);
    }
    if (status == CLI_EXIT_OK) {
        status = cli_open(&o->runtime, &o->engine, NULL, &context);
    }
    if (status == CLI_EXIT_OK) {
        status = find_models(o, context);
    }
    if (status == CLI_EXIT_OK) {
        status = o->batch != NULL ? cli_clone_batch(o, context) : cli_clone_one(o, context);
    }
    tmb_close(&context);
    free(text);
    free(ref_text);
    return status;
}

typedef struct abilities {
    bool designs, clones;
} abilities;

static void note_abilities(void *user, const tmb_model_description *model) {
    abilities *a = user;
    a->designs = a->designs || model->designs;
    a->clones = a->clones || model->clones;
}

int cli_find_both(tmb_context *context, const clone_options *o) {
    abilities a = {false, false};
    tmb_error error = {0};
    if (tmb_describe_models(context, note_abilities, &a, &error) == TMB_OK && !(a.designs && a.clones)) {
        error.status = TMB_ERROR_MODEL;
        (void)snprintf(error.message, sizeof error.message,
                       "a voice is made by a %s model too, and there is none: run `timbre pull %s`, or name one with "
                       "--model",
                       a.designs ? "Base" : "VoiceDesign", a.designs ? "0.6b" : "1.7b-voicedesign");
    }
    if (error.status != TMB_OK && o->common.json) {
        cli_print_json(json_pack("{s:o}", "error", cli_json_error(&error)));
    }
    return error.status == TMB_OK ? CLI_EXIT_OK : cli_fail(&error);
}

/* ---- Models that are installed ---- */

static void add_installed(void *user, const tmb_model_info *model) {
    clone_options *o = user;
    cli_list *models = &o->engine.models;
    if (model->installed && model->kind != NULL && models->count < CLI_LENGTH(o->installed)) {
        char *name = o->installed[models->count];
        (void)snprintf(name, sizeof o->installed[0], "%s", model->name);
        models->items[models->count++] = name;
        o->has_own_voices = o->has_own_voices || strcmp(model->kind, "base") != 0;
    }
}

int cli_use_installed(clone_options *o, const char *missing) {
    tmb_error error = {0};
    if (o->engine.models.count > 0 || !cli_uses_checkpoint(&o->engine)) {
        return CLI_EXIT_OK;
    }
    tmb_status status = tmb_models(add_installed, o, &error);
    if (status == TMB_OK && !o->has_own_voices) {
        int offered = cli_offer_model(&o->offer, missing);
        if (offered != CLI_EXIT_OK) {
            return offered;
        }
        o->engine.models.count = 0;
        status = tmb_models(add_installed, o, &error);
    }
    if (status == TMB_OK && !o->has_own_voices) {
        error.status = TMB_ERROR_MODEL;
        (void)snprintf(error.message, sizeof error.message,
                       "no model with voices of its own is installed: run `timbre pull %s`, or give a checkpoint's "
                       "folder with --model",
                       missing);
    }
    if (error.status == TMB_OK) {
        return CLI_EXIT_OK;
    }
    if (o->common.json) {
        cli_print_json(json_pack("{s:o}", "error", cli_json_error(&error)));
    }
    return cli_fail(&error);
}
