/* Speaks several texts with the voice of one recording, all at once: the reference is prepared one time,
 * the texts share the batch, and each file is written when its text is spoken.
 *
 *   clone_batch REF OUT_DIR TEXT...
 *
 * TIMBRE_ENGINE and TIMBRE_MODEL choose who speaks; without a model it is the preview voice.
 */
#include <timbre/timbre.h>

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct batch_item {
    const char *text;
    char path[4096];
    atomic_int *failures;
} batch_item;

static tmb_status save(const batch_item *item, const tmb_clone_result *result, tmb_error *error) {
    tmb_audio_writer *writer = NULL;
    tmb_status status =
        tmb_audio_create(item->path, TMB_CONTAINER_AUTO, TMB_ENCODING_S16, result->sample_rate, 1, &writer, error);
    if (status == TMB_OK) {
        status = tmb_audio_write(writer, result->samples, result->sample_count, error);
    }
    if (status == TMB_OK) {
        status = tmb_audio_finish(&writer, error);
    }
    tmb_audio_abort(&writer);
    return status;
}

/* Comes from one of the library's threads; the results of different items may come at the same time. */
static void on_result(void *user, const tmb_clone_result *result) {
    batch_item *item = user;
    tmb_error error = result->error;
    if (error.status == TMB_OK && save(item, result, &error) == TMB_OK) {
        printf("%s: %.2f s by the %s engine: %s\n", item->path, result->duration, result->engine, item->text);
    } else {
        fprintf(stderr, "clone_batch: \"%s\": %s\n", item->text, error.message);
        atomic_fetch_add(item->failures, 1);
    }
}

int main(int argc, char **argv) {
    if (argc < 4) {
        fprintf(stderr, "usage: clone_batch REF OUT_DIR TEXT...\n");
        return 2;
    }
    size_t count = (size_t)(argc - 3);
    batch_item *items = calloc(count, sizeof *items);
    if (items == NULL) {
        fprintf(stderr, "clone_batch: out of memory\n");
        return 1;
    }
    tmb_options options;
    tmb_options_default(&options);
    if (getenv("TIMBRE_ENGINE") != NULL) {
        options.engine = getenv("TIMBRE_ENGINE");
    }
    options.model = getenv("TIMBRE_MODEL");

    tmb_context *context = NULL;
    tmb_error error;
    if (tmb_open(&options, &context, &error) != TMB_OK) {
        fprintf(stderr, "clone_batch: %s\n", error.message);
        free(items);
        return 1;
    }
    atomic_int failures = 0;
    for (size_t i = 0; i < count; i++) {
        items[i].text = argv[3 + i];
        items[i].failures = &failures;
        snprintf(items[i].path, sizeof items[i].path, "%s/%zu.wav", argv[2], i + 1);

        tmb_clone_request request;
        tmb_clone_request_default(&request);
        request.ref_audio = argv[1];
        request.text = items[i].text;
        tmb_clone_callbacks callbacks = {.user = &items[i], .result = on_result};
        if (tmb_clone_submit(context, &request, &callbacks, NULL, &error) != TMB_OK) {
            fprintf(stderr, "clone_batch: \"%s\": %s\n", items[i].text, error.message);
            atomic_fetch_add(&failures, 1);
        }
    }
    tmb_clone_wait(context);
    tmb_close(&context);
    free(items);
    return failures == 0 ? 0 : 1;
}
