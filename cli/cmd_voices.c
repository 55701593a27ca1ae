/* The voices of the user's folder: list, show, rm. */
#include "commands.h"
#include "shared.h"
#include "voices.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct voices_options {
    cli_common common;
    const char *folder;
} voices_options;

static const cli_option own_options[] = {
    {.name = "voices",
     .kind = CLI_FOLDER,
     .offset = offsetof(voices_options, folder),
     .argument = "DIR",
     .environment = "TIMBRE_VOICES",
     .help = "look into this folder first: voice files, and recordings with a .txt of the same name beside them"},
};
static const cli_group groups[] = {{"Voices", own_options, CLI_LENGTH(own_options), 0}, CLI_COMMON_GROUP};

static const char *kind_of(const cli_voice *voice) { return voice->saved ? "saved" : "recording"; }

static bool print_voice(void *user, const cli_voice *voice) {
    const voices_options *o = user;
    if (o->common.json) {
        cli_print_json(json_pack("{s:o, s:s, s:o, s:o}", "name", cli_json_text(voice->name), "kind", kind_of(voice),
                                 "path", cli_json_text(voice->path), "transcript", cli_json_text(voice->transcript)));
    } else {
        char line[4600];
        (void)snprintf(line, sizeof line, "%-20s %-9s  %s", voice->name, kind_of(voice), voice->path);
        cli_print_line(line);
    }
    return !cli_interrupted();
}

static int run_list(void *options, int count, char **arguments) {
    const voices_options *o = options;
    (void)count;
    (void)arguments;
    if (!cli_voices_can_be_read(o->folder)) {
        return CLI_EXIT_INPUT;
    }
    cli_voices_each(o->folder, print_voice, options);
    return CLI_EXIT_OK;
}

int cli_show_voice(const char *name, const char *path, bool json) {
    tmb_error error = {0};
    tmb_saved_voice info;
    if (tmb_saved_voice_read(path, &info, &error) != TMB_OK) {
        cli_report_failure(path, &error, json);
        return cli_exit_of_input(error.status);
    }
    if (json) {
        json_t *object = json_pack("{s:o, s:s, s:s, s:b, s:o}", "input", cli_json_text(path), "format", "timbre voice",
                                   "model", info.model, "in_context", info.in_context, "transcript",
                                   info.transcript[0] != '\0' ? cli_json_text(info.transcript) : json_null());
        (void)json_object_set_new(object, "duration", cli_json_number(info.seconds, 6));
        cli_print_json(object);
        return CLI_EXIT_OK;
    }
    char line[1600];
    (void)snprintf(line, sizeof line, "%s: timbre voice for %s, %.3f s, %s%s%s%s", name, info.model, info.seconds,
                   info.in_context ? "in context" : "by its speaker embedding alone",
                   info.transcript[0] != '\0' ? ", \"" : "", info.transcript, info.transcript[0] != '\0' ? "\"" : "");
    cli_print_line(line);
    return CLI_EXIT_OK;
}

/* A recording and what is said in it. */
static int show_recording(const cli_voice *voice, bool json) {
    tmb_error error = {0};
    tmb_audio_reader *reader = NULL;
    tmb_audio_info info;
    size_t size;
    char *text = cli_read_text(voice->transcript, 65536, &size);
    if (text == NULL) {
        return CLI_EXIT_INPUT;
    }
    text[strcspn(text, "\r\n")] = '\0';
    if (tmb_audio_open(voice->path, NULL, NULL, &reader, &info, &error) != TMB_OK) {
        cli_report_failure(voice->path, &error, json);
        free(text);
        return cli_exit_of_input(error.status);
    }
    double seconds = (double)info.length / info.rate;
    if (json) {
        json_t *object =
            json_pack("{s:o, s:o, s:s, s:o}", "name", cli_json_text(voice->name), "input", cli_json_text(voice->path),
                      "format", info.format, "transcript", cli_json_text(text));
        (void)json_object_set_new(object, "duration", cli_json_number(seconds, 6));
        cli_print_json(object);
    } else {
        char line[5200];
        (void)snprintf(line, sizeof line, "%s: %s, %s, %.3f s, \"%.600s\"", voice->name, voice->path, info.format,
                       seconds, text);
        cli_print_line(line);
    }
    tmb_audio_close(&reader);
    free(text);
    return CLI_EXIT_OK;
}

static int show_voice(const voices_options *o, const char *name) {
    cli_voice voice = {0};
    int status;
    if (!cli_voice_find(o->folder, name, &voice)) {
        status = cli_show_voice(name, name, o->common.json);
    } else if (voice.saved) {
        status = cli_show_voice(voice.name, voice.path, o->common.json);
    } else {
        status = show_recording(&voice, o->common.json);
    }
    cli_voice_free(&voice);
    return status;
}

/* Removes a voice of the user's own folder, and nothing else. */
static int remove_voice(const voices_options *o, const char *name) {
    char *folder = cli_voices_folder();
    cli_voice voice = {0};
    int status = CLI_EXIT_INPUT;
    bool found = cli_voice_find(o->folder, name, &voice);
    const char *home = o->folder != NULL ? o->folder : folder;
    size_t length = home != NULL ? strlen(home) : 0;
    if (!found) {
        cli_error("there is no voice \"%s\"; `timbre voice list` lists them", name);
    } else if (home == NULL || strncmp(voice.path, home, length) != 0 || voice.path[length] != '/') {
        cli_error("%s is installed with timbre and not yours to remove: %s", name, voice.path);
    } else if (unlink(voice.path) != 0 || (voice.transcript != NULL && unlink(voice.transcript) != 0)) {
        cli_error("cannot remove %s: %s", voice.path, strerror(errno));
        status = CLI_EXIT_FAILED;
    } else {
        status = CLI_EXIT_OK;
        if (o->common.json) {
            cli_print_json(json_pack("{s:o, s:b}", "name", cli_json_text(name), "removed", 1));
        } else {
            cli_note("%s is removed", voice.path);
        }
    }
    cli_voice_free(&voice);
    free(folder);
    return status;
}

/* Does it to each voice; the worst status counts. */
static int for_each_voice(const voices_options *o, int count, char **names,
                          int (*act)(const voices_options *o, const char *name)) {
    if (!cli_voices_can_be_read(o->folder)) {
        return CLI_EXIT_INPUT;
    }
    int worst = CLI_EXIT_OK;
    for (int i = 0; i < count && !cli_interrupted(); i++) {
        int status = act(o, names[i]);
        worst = status > worst ? status : worst;
    }
    return worst;
}

static int run_show(void *options, int count, char **names) {
    return for_each_voice(options, count, names, show_voice);
}
static int run_rm(void *options, int count, char **names) {
    return for_each_voice(options, count, names, remove_voice);
}

const cli_command cli_command_voice_list = {
    .name = "voice list",
    .summary = "the voices that have a name",
    .usage = "[OPTION...]",
    .description =
        "Lists what `timbre clone --voice NAME` finds: voice files and recordings with their transcripts (NAME.wav and "
        "NAME.txt) in the user's folder of voices, and the one that is installed with timbre.",
    .examples = "timbre voice list",
    .groups = groups,
    .group_count = CLI_LENGTH(groups),
    .options_size = sizeof(voices_options),
    .run = run_list,
};
/* What the commands that take voices have in common. */
#define TAKES_VOICES                                                                                                   \
    .groups = groups, .group_count = CLI_LENGTH(groups), .options_size = sizeof(voices_options),                       \
    .minimum_arguments = 1, .maximum_arguments = -1, .needs = "which voice? `timbre voice list` lists them",           \
    .completion = CLI_COMPLETES_VOICES

const cli_command cli_command_voice_show = {
    .name = "voice show",
    .summary = "what a voice is made of",
    .usage = "NAME|FILE... [OPTION...]",
    .description = "Prints the model that a voice fits, its length and its transcript.",
    .examples = "timbre voice show anna\ntimbre voice show me.tmbvoice --json",
    TAKES_VOICES,
    .run = run_show,
};
const cli_command cli_command_voice_rm = {
    .name = "voice rm",
    .summary = "remove a voice from the user's folder",
    .usage = "NAME... [OPTION...]",
    .description =
        "Removes voices by name, a recording together with its transcript. What is installed with timbre stays.",
    .examples = "timbre voice rm anna",
    TAKES_VOICES,
    .run = run_rm,
};
