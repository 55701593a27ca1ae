#include "offer.h"

#include "commands.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

const cli_option cli_offer_options[] = {
    {.name = "yes",
     .letter = 'y',
     .kind = CLI_FLAG,
     .offset = offsetof(cli_offer, yes),
     .help = "download a model that is missing, without a question; without it a terminal is asked and nothing else "
             "downloads anything"},
};

/* What is known of a model that could be fetched. */
typedef struct candidate {
    const char *wanted; /* a name in any spelling; "": the smallest that speaks */
    char name[128], license[64], size[32];
    bool found;
} candidate;

static bool is_name(const char *name, const char *wanted) { return name != NULL && strcasecmp(name, wanted) == 0; }

static void look_at(void *user, const tmb_model_info *model) {
    candidate *c = user;
    bool smallest = c->wanted[0] == '\0' && !c->found && strncmp(model->name, "qwen3", 5) == 0;
    if (smallest || is_name(model->name, c->wanted) || is_name(model->short_name, c->wanted) ||
        is_name(model->repository, c->wanted)) {
        c->found = true;
        (void)snprintf(c->name, sizeof c->name, "%s", model->name);
        (void)snprintf(c->license, sizeof c->license, "%s", model->license);
        (void)cli_format_bytes(model->bytes, c->size, sizeof c->size);
    }
}

/* Reads a line; only a clear yes is one. */
static bool answer_is_yes(void) {
    char line[64] = "";
    size_t used = 0;
    char byte;
    while (read(STDIN_FILENO, &byte, 1) == 1 && byte != '\n') {
        if (used + 1 < sizeof line) {
            line[used++] = byte;
        }
    }
    line[used] = '\0';
    return strcasecmp(line, "y") == 0 || strcasecmp(line, "yes") == 0;
}

/* Fetches the model if that is wanted: 0 also when it is not. */
static int offer_one(const cli_offer *offer, const char *wanted, const char *why, const char *otherwise) {
    candidate c = {.wanted = wanted};
    (void)tmb_models(look_at, &c, NULL);
    if (!c.found) {
        return CLI_EXIT_OK;
    }
    if (!offer->yes) {
        if (isatty(STDIN_FILENO) == 0 || isatty(STDERR_FILENO) == 0 || cli_is_quiet()) {
            return CLI_EXIT_OK;
        }
        cli_note("%s", why);
        (void)fprintf(stderr, "timbre: Download %s now (%s, licence %s)? %s%s[y/N] ", c.name, c.size, c.license,
                      otherwise, otherwise[0] != '\0' ? " " : "");
        (void)fflush(stderr);
        if (!answer_is_yes()) {
            return CLI_EXIT_OK;
        }
    }
    return cli_pull(c.name, false, false);
}

int cli_offer_model(const cli_offer *offer, const char *name) {
    tmb_error error = {0};
    return tmb_find_model(name, NULL, NULL, &error) == TMB_OK ? CLI_EXIT_OK : offer_one(offer, name, error.message, "");
}

int cli_offer_models(const cli_offer *offer, const cli_runtime *runtime, const cli_engine *engine, bool denoiser) {
    tmb_error error = {0};
    int status = CLI_EXIT_OK;
    if (engine != NULL && cli_uses_checkpoint(engine)) {
        size_t count = engine->models.count;
        for (size_t i = 0; status == CLI_EXIT_OK && i < (count > 0 ? count : 1); i++) {
            const char *model = count > 0 ? cli_model_path(engine->models.items[i]) : "";
            bool optional = count == 0 && (engine->engine == NULL || strcmp(engine->engine, "auto") == 0);
            if (tmb_find_model(model, NULL, NULL, &error) != TMB_OK) {
                status =
                    offer_one(offer, model, error.message, optional ? "(No: a preview voice speaks, no clone.)" : "");
            }
        }
    }
    /* A Qwen3-TTS model brings the denoiser along. */
    bool named = runtime->denoiser != NULL && runtime->denoiser[0] != '\0';
    if (status == CLI_EXIT_OK && denoiser && !named && tmb_find_denoiser(NULL, NULL, NULL, &error) != TMB_OK) {
        status = offer_one(offer, "dfn3", error.message, "");
    }
    return status;
}
