/* Offering to download a model that a command needs and that is not there. */
#ifndef TIMBRE_CLI_OFFER_H
#define TIMBRE_CLI_OFFER_H

#include "shared.h"

typedef struct cli_offer {
    bool yes; /* download without a question */
} cli_offer;
extern const cli_option cli_offer_options[1];

/* What a command is going to need: a checkpoint (engine not NULL) and, with `denoiser`, DeepFilterNet3. What is missing
 * and can be pulled is asked for when somebody sits at a terminal, and fetched when the answer is yes or --yes was
 * given; scripts, services and pipes are never asked and fetch nothing by themselves. Whatever the answer, the command
 * goes on and finds out itself what is there. Not 0: the exit status of a download that failed. */
int cli_offer_models(const cli_offer *offer, const cli_runtime *runtime, const cli_engine *engine, bool denoiser);

/* The same for one model, by name. */
int cli_offer_model(const cli_offer *offer, const char *name);

#endif
