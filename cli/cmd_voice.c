#include "claims.h"
#include "commands.h"
#include "speech.h"
#include "voices.h"

#include <stdlib.h>
#include <string.h>

static const cli_group groups[] = {
    {"Voice", cli_voice_file_options, CLI_LENGTH(cli_voice_file_options), 0},
    {"Voice", cli_reference_options, CLI_LENGTH(cli_reference_options), 0},
    {"Voice", cli_transcribe_options, CLI_LENGTH(cli_transcribe_options), offsetof(clone_options, engine)},
    {"Engine", cli_engine_options, CLI_LENGTH(cli_engine_options), offsetof(clone_options, engine)},
    {"Running", cli_runtime_options, CLI_LENGTH(cli_runtime_options), offsetof(clone_options, runtime)},
    {"Running", cli_offer_options, CLI_LENGTH(cli_offer_options), offsetof(clone_options, offer)},
    CLI_COMMON_GROUP,
};

static void print_voice(const clone_options *o, const tmb_reference_info *reference) {
    json_t *object =
        json_pack("{s:o, s:o}", "voice", cli_json_text(o->path), "input", cli_json_text(o->request.ref_audio));
    if (reference->duration > 0) {
        cli_json_reference(object, reference);
    }
    cli_print_json(object);
}

static int run_voice_create(void *options, int count, char **arguments) {
    clone_options *o = options;
    tmb_context *context = NULL;
    tmb_error error = {0};
    char *ref_text = NULL, *stored = NULL;
    tmb_reference_info reference = {0};
    if (count > 0 && o->request.ref_audio != NULL) {
        cli_error("\"%s\" and --ref: one recording makes a voice", arguments[0]);
        return CLI_EXIT_USAGE;
    }
    if (count > 0) {
        o->request.ref_audio = arguments[0];
    }
    if (o->path != NULL && o->voice_name != NULL) {
        cli_error("-o and --name exclude each other");
        return CLI_EXIT_USAGE;
    }
    if (o->request.ref_audio != NULL && o->voice_name != NULL) {
        o->path = stored = cli_voice_path(o->voice_name);
        if (stored == NULL) {
            return CLI_EXIT_USAGE;
        }
    }
    if (o->request.ref_audio == NULL || o->path == NULL) {
        cli_error("%s", o->path == NULL && o->voice_name == NULL ? "where to? -o FILE, or --name NAME"
                                                                 : "whose voice? name the recording, or --ref FILE");
        return CLI_EXIT_USAGE;
    }
    if (cli_is_standard(o->path)) {
        cli_error("a voice is saved to a file, not to standard output");
        return CLI_EXIT_USAGE;
    }
    if (cli_is_audio_name(o->path)) {
        cli_error("%s would not be audio: a voice's file is named NAME.tmbvoice", o->path);
        return CLI_EXIT_USAGE;
    }
    const cli_claim claims[] = {
        {o->request.ref_audio, "the voice", false},
        {o->ref_text_file, "--ref-text-file", false},
        {o->engine.models.count > 0 ? cli_model_path(o->engine.models.items[0]) : NULL, "--model", false},
        {o->runtime.denoiser, "--denoiser", false},
        {o->path, "-o", true}};
    if (!cli_claims_agree(claims, CLI_LENGTH(claims))) {
        free(stored);
        return CLI_EXIT_USAGE;
    }
    int status = cli_finish_reference(o, &ref_text);
    if (status == CLI_EXIT_OK) {
        status = cli_offer_models(&o->offer, &o->runtime, &o->engine, o->request.run_pre_processing);
    }
    if (status == CLI_EXIT_OK) {
        status = cli_open(&o->runtime, &o->engine, NULL, &context);
    }
    if (status == CLI_EXIT_OK && tmb_voice_create(context, &o->request, o->path, &reference, &error) != TMB_OK) {
        status = cli_fail(&error);
    }
    if (error.status != TMB_OK && o->common.json && !cli_interrupted()) {
        cli_print_json(
            json_pack("{s:o, s:o}", "input", cli_json_text(o->request.ref_audio), "error", cli_json_error(&error)));
    }
    if (status == CLI_EXIT_OK && o->common.json) {
        print_voice(o, &reference);
    } else if (status == CLI_EXIT_OK) {
        cli_note("%s: use it with `timbre clone --voice %s`", o->path, stored != NULL ? o->voice_name : o->path);
    }
    if (status == CLI_EXIT_OK && !o->common.json) {
        cli_note_transcript(o->request.ref_audio, &reference);
    }
    if (status == CLI_EXIT_OK) {
        cli_warn_reference(o->request.ref_audio, &reference);
    }
    tmb_close(&context);
    free(ref_text);
    free(stored);
    return status;
}

const cli_command cli_command_voice_create = {
    .name = "voice create",
    .summary = "prepare a voice once and save it",
    .usage = "FILE [--ref-text TEXT] -o VOICE | --name NAME [OPTION...]",
    .description = "Cleans a recording, runs the engine's encoders over it and saves the result, so that `timbre clone "
                   "--voice` begins to speak at once. The file fits the models of one size, whatever their precision.",
    .examples = "timbre voice create me.wav --ref-text \"What I say in it.\" -o me.tmbvoice\n"
                "timbre clone --voice me.tmbvoice --text \"Hello.\" -o hello.wav",
    .groups = groups,
    .group_count = CLI_LENGTH(groups),
    .options_size = sizeof(clone_options),
    .maximum_arguments = 1,
    .defaults = cli_clone_defaults,
    .run = run_voice_create,
};
