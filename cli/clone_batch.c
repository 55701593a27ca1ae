#include "claims.h"
#include "speech.h"

#include <errno.h>
#include <libgen.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { IN_FLIGHT = 256, MAXIMUM_LINE = 4 * 1024 * 1024, MAXIMUM_NAME = 200 };

typedef struct batch batch;

/* An item between its line and its result. */
typedef struct running {
    batch *batch;
    bool used, refers; /* refers: to a recording or a saved voice */
    uint64_t item;
    char *audio, *codes; /* files; codes may be NULL */
    cli_sink sink;
} running;

struct batch {
    const clone_options *options;
    tmb_context *context;
    char *folder;  /* of the batch file; "" for standard input */
    json_t *names; /* of the output files so far, without endings, folded, as the keys of an object */
    cli_claims *claims;
    bool known;   /* every item's inputs are claimed already; false for a pipe, whose later lines nobody knows */
    size_t total; /* items, if known */
    pthread_mutex_t lock;
    pthread_cond_t room;
    running slots[IN_FLIGHT];
    size_t done, failed, read;
    int worst;
};

static void cancel_all(void *user) {
    batch *b = user;
    uint64_t items[IN_FLIGHT];
    size_t count = 0;
    (void)pthread_mutex_lock(&b->lock);
    for (size_t i = 0; i < IN_FLIGHT; i++) {
        if (b->slots[i].used) {
            items[count++] = b->slots[i].item;
        }
    }
    (void)pthread_cond_broadcast(&b->room);
    (void)pthread_mutex_unlock(&b->lock);
    /* Without the lock: a result may come from within the call. */
    for (size_t i = 0; i < count; i++) {
        tmb_clone_cancel(b->context, items[i]);
    }
}

static void count_result(batch *b, int status) {
    (void)pthread_mutex_lock(&b->lock);
    b->done++;
    b->failed += status != CLI_EXIT_OK;
    if (status > b->worst) {
        b->worst = status;
    }
    size_t done = b->done, failed = b->failed, all = b->known ? b->total : b->read;
    (void)pthread_mutex_unlock(&b->lock);
    cli_progress(b->known && all > 0 ? (double)done / (double)all : -1, "%zu of %zu items done, %zu failed", done, all,
                 failed);
}

static bool on_audio(void *user, uint64_t item, const float *samples, size_t count, int rate) {
    running *r = user;
    (void)item;
    return !cli_interrupted() && cli_sink_write(&r->sink, samples, count, rate);
}

static void release(running *r) {
    batch *b = r->batch;
    free(r->audio);
    free(r->codes);
    (void)pthread_mutex_lock(&b->lock);
    *r = (running){.batch = b};
    (void)pthread_cond_signal(&b->room);
    (void)pthread_mutex_unlock(&b->lock);
}

static void on_result(void *user, const tmb_clone_result *result) {
    running *r = user;
    tmb_clone_result shown = *result;
    const char *codes = r->codes;
    bool good = cli_sink_end(&r->sink, result->error.status == TMB_OK, result->sample_rate);
    int status = cli_exit_of(result->error.status);
    if (!good && r->sink.error.status != TMB_OK) {
        shown.error = r->sink.error;
        status = CLI_EXIT_FAILED;
    }
    if (good && !cli_write_codes(&codes, result, &shown.error)) {
        status = CLI_EXIT_FAILED;
    }
    if (!cli_interrupted()) {
        if (shown.error.status != TMB_OK) {
            cli_error("%s: %s", shown.custom_id, shown.error.message);
        }
        cli_print_json(cli_result_json(&shown, codes, &r->sink));
        if (good) {
            cli_warn_result(r->audio, result);
        }
        if (good && !result->is_clone && r->refers) {
            cli_note_preview(result->engine);
        }
    }
    count_result(r->batch, status);
    release(r);
}

/* A line that did not become an item. */
static void report_line(batch *b, const char *id, const tmb_error *error) {
    cli_error("%s: %s", id, error->message);
    tmb_clone_result result = {.custom_id = id, .error = *error};
    cli_print_json(cli_result_json(&result, NULL, NULL));
    count_result(b, error->status == TMB_ERROR_MODEL                                           ? CLI_EXIT_MODEL
                    : error->status == TMB_ERROR_FORMAT || error->status == TMB_ERROR_ARGUMENT ? CLI_EXIT_INPUT
                                                                                               : CLI_EXIT_FAILED);
}

/* A file name from an id: letters of any script stay, what a path or a shell would mind becomes "_". */
static void make_name(const char *id, char out[MAXIMUM_NAME + 1]) {
    size_t length = 0;
    for (const char *c = id; *c != '\0' && length < MAXIMUM_NAME; c++) {
        bool plain = (unsigned char)*c >= 0x80 || (*c >= '0' && *c <= '9') || (*c >= 'a' && *c <= 'z') ||
                     (*c >= 'A' && *c <= 'Z') || strchr("-_.+@", *c) != NULL;
        bool hides = length == 0 && (*c == '.' || *c == '-');
        out[length++] = plain && !hides ? *c : '_';
    }
    /* Not the middle of a UTF-8 sequence. */
    while (length > 0 && id[length] != '\0' && ((unsigned char)id[length] & 0xC0) == 0x80) {
        length--;
    }
    out[length] = '\0';
}

/* Keeps the name, after making it different from all before: also from those that differ in case alone, since not every
 * file system tells them apart. */
static bool claim_name(batch *b, char name[MAXIMUM_NAME + 64], size_t line) {
    size_t length = strlen(name);
    for (unsigned long long attempt = 1;; attempt++) {
        char *key = cli_name_key(name);
        bool taken = key != NULL && json_object_get(b->names, key) != NULL;
        bool kept = key != NULL && !taken && json_object_set_new_nocheck(b->names, key, json_true()) == 0;
        free(key);
        if (!taken) {
            return kept;
        }
        if (attempt == 1) {
            (void)snprintf(name + length, 64, "-%zu", line);
        } else {
            (void)snprintf(name + length, 64, "-%zu-%llu", line, attempt);
        }
    }
}

static char *join(const char *folder, const char *name, const char *ending) {
    size_t size = strlen(folder) + strlen(name) + strlen(ending) + 3;
    char *path = malloc(size);
    if (path != NULL) {
        (void)snprintf(path, size, "%s%s%s.%s", folder, folder[strlen(folder) - 1] == '/' ? "" : "/", name, ending);
    }
    return path;
}

static running *wait_for_slot(batch *b) {
    running *found = NULL;
    (void)pthread_mutex_lock(&b->lock);
    while (found == NULL && !cli_interrupted()) {
        for (size_t i = 0; i < IN_FLIGHT && found == NULL; i++) {
            if (!b->slots[i].used) {
                found = &b->slots[i];
            }
        }
        if (found == NULL) {
            (void)pthread_cond_wait(&b->room, &b->lock);
        }
    }
    (void)pthread_mutex_unlock(&b->lock);
    return found;
}

/* What an item reads; false and an error if another item writes it. */
static bool claim_inputs(batch *b, const cli_item *item, tmb_error *error) {
    char who[MAXIMUM_NAME + 8];
    (void)snprintf(who, sizeof who, "%.*s", MAXIMUM_NAME, item->request.custom_id);
    return cli_claim_input(b->claims, item->request.ref_audio, who, error) &&
           cli_claim_input(b->claims, item->request.voice, who, error);
}

/* Nothing that an item writes replaces what this or another item reads. */
static tmb_status claim_item(batch *b, const cli_item *item, const running *r, tmb_error *error) {
    const char *const written[] = {r->audio, r->codes};
    if (!claim_inputs(b, item, error)) {
        return error->status;
    }
    for (size_t i = 0; i < CLI_LENGTH(written); i++) {
        if (written[i] == NULL) {
            continue;
        }
        if (!b->known && cli_would_replace(written[i])) {
            error->status = TMB_ERROR_ARGUMENT;
            (void)snprintf(error->message, sizeof error->message,
                           "%s exists, and items that come through a pipe replace no file: a later item may read it; "
                           "choose another --out-dir, or give the batch as a file",
                           written[i]);
            return error->status;
        }
        if (!cli_claim_output(b->claims, written[i], item->request.custom_id, error)) {
            return error->status;
        }
    }
    return TMB_OK;
}

static tmb_status submit(batch *b, cli_item *item, size_t line, tmb_error *error) {
    const clone_options *o = b->options;
    char name[MAXIMUM_NAME + 64];
    tmb_container container =
        item->container != TMB_CONTAINER_AUTO ? item->container : (tmb_container)o->output.container;
    running *r = wait_for_slot(b);
    if (r == NULL) {
        return TMB_OK; /* interrupted */
    }
    make_name(item->request.custom_id, name);
    bool named = claim_name(b, name, line);
    r->audio = named ? join(o->folder, name, cli_container_ending(container)) : NULL;
    r->codes = named && o->codes != NULL ? join(o->codes, name, "npy") : NULL;
    if (r->audio == NULL || (o->codes != NULL && r->codes == NULL)) {
        cli_set_error(error, TMB_ERROR_MEMORY, "no memory for the item");
        release(r);
        return TMB_ERROR_MEMORY;
    }
    tmb_status claimed = claim_item(b, item, r, error);
    if (claimed != TMB_OK) {
        release(r);
        return claimed;
    }
    r->batch = b;
    r->refers = item->request.ref_audio != NULL || item->request.voice != NULL;
    r->sink = (cli_sink){
        .path = r->audio, .container = container, .encoding = (tmb_encoding)o->output.encoding, .speed = o->speed};
    item->request.want_samples = false;
    item->request.want_codes = o->codes != NULL;
    const tmb_clone_callbacks callbacks = {.user = r, .audio = on_audio, .result = on_result};
    uint64_t number = 0;
    /* The result may come before submit returns: the slot is taken under the lock only afterwards, and
     * only if it is still this item's. */
    (void)pthread_mutex_lock(&b->lock);
    r->used = true;
    (void)pthread_mutex_unlock(&b->lock);
    tmb_status status = tmb_clone_submit(b->context, &item->request, &callbacks, &number, error);
    if (status != TMB_OK) {
        release(r);
        return status;
    }
    (void)pthread_mutex_lock(&b->lock);
    if (r->used) {
        r->item = number;
    }
    (void)pthread_mutex_unlock(&b->lock);
    return TMB_OK;
}

static void name_line(size_t number, char out[32]) { (void)snprintf(out, 32, "%04zu", number); }

static void handle_line(batch *b, const char *line, size_t size, size_t number, bool too_long) {
    cli_item item = {0};
    tmb_error error = {0};
    char id[32];
    name_line(number, id);
    tmb_status status = TMB_ERROR_LIMIT;
    if (too_long) {
        cli_set_error(&error, TMB_ERROR_FORMAT, "the line is longer than 4 MiB");
    } else {
        status = cli_item_parse(&item, line, size, &b->options->request, b->folder, &error);
    }
    if (item.request.custom_id == NULL || item.request.custom_id[0] == '\0') {
        item.request.custom_id = id;
    }
    if (status == TMB_OK) {
        status = submit(b, &item, number, &error);
    }
    if (status != TMB_OK) {
        report_line(b, item.request.custom_id, &error);
    }
    cli_item_free(&item);
}

/* One line without its end into *line; a line over the limit is skipped to its end. false: no more. */
static bool read_line(FILE *file, char **line, size_t *capacity, size_t *size, bool *too_long) {
    int byte;
    *size = 0;
    *too_long = false;
    while ((byte = getc_unlocked(file)) != EOF && byte != '\n') {
        if (*size == MAXIMUM_LINE) {
            *too_long = true;
            continue;
        }
        if (*size == *capacity) {
            size_t larger = *capacity == 0 ? 4096 : 2 * *capacity;
            char *grown = realloc(*line, larger);
            if (grown == NULL) {
                *too_long = true;
                continue;
            }
            *line = grown;
            *capacity = larger;
        }
        (*line)[(*size)++] = (char)byte;
    }
    return byte != EOF || *size > 0;
}

/* Editors on Windows begin a file with a byte order mark, which is no part of its first line. */
static void drop_mark(char *line, size_t *size) {
    if (*size >= 3 && memcmp(line, "\xef\xbb\xbf", 3) == 0) {
        *size -= 3;
        memmove(line, line + 3, *size);
    }
}

static bool is_blank(const char *line, size_t size) {
    while (size > 0 && strchr(" \t\r", line[size - 1]) != NULL) {
        size--;
    }
    return size == 0;
}

/* Goes through a batch that is a file, claims what all its items read, and goes back to its beginning. What is wrong
 * with a line is said when its turn comes. */
static void look_ahead(batch *b, FILE *file) {
    struct stat status;
    off_t begin = ftello(file);
    if (begin < 0 || fstat(fileno(file), &status) != 0 || !S_ISREG(status.st_mode)) {
        return;
    }
    char *line = NULL;
    size_t capacity = 0, size = 0;
    bool too_long = false;
    for (size_t number = 1; !cli_interrupted() && read_line(file, &line, &capacity, &size, &too_long); number++) {
        if (number == 1) {
            drop_mark(line, &size);
        }
        cli_item item = {0};
        tmb_error error = {0};
        char id[32];
        if (!too_long && is_blank(line, size)) {
            continue;
        }
        b->total++;
        name_line(number, id);
        if (!too_long && cli_item_parse(&item, line, size, &b->options->request, b->folder, &error) == TMB_OK) {
            if (item.request.custom_id == NULL || item.request.custom_id[0] == '\0') {
                item.request.custom_id = id;
            }
            (void)claim_inputs(b, &item, &error);
        }
        cli_item_free(&item);
    }
    free(line);
    clearerr(file);
    b->known = fseeko(file, begin, SEEK_SET) == 0;
}

/* What is read whatever the items say. */
static bool claim_common(batch *b) {
    const clone_options *o = b->options;
    const cli_claim claims[] = {{o->batch, "--batch", false},
                                {o->request.ref_audio, "--ref", false},
                                {o->request.voice, "--voice", false},
                                {o->ref_text_file, "--ref-text-file", false},
                                {o->voice_transcript, "--voice", false},
                                {o->runtime.denoiser, "--denoiser", false}};
    bool good = cli_claim_all(b->claims, claims, CLI_LENGTH(claims));
    for (size_t i = 0; good && i < o->engine.models.count; i++) {
        const cli_claim model = {cli_model_path(o->engine.models.items[i]), "--model", false};
        good = cli_claim_all(b->claims, &model, 1);
    }
    return good;
}

static int read_items(batch *b, FILE *file) {
    char *line = NULL;
    size_t capacity = 0, size = 0;
    bool too_long = false;
    for (size_t number = 1; !cli_interrupted() && read_line(file, &line, &capacity, &size, &too_long); number++) {
        if (number == 1) {
            drop_mark(line, &size);
        }
        if (!too_long && is_blank(line, size)) {
            continue;
        }
        (void)pthread_mutex_lock(&b->lock);
        b->read++;
        (void)pthread_mutex_unlock(&b->lock);
        handle_line(b, line, size, number, too_long);
    }
    free(line);
    if (ferror(file) && !cli_interrupted()) {
        cli_error("cannot read %s: %s", b->options->batch, strerror(errno));
        return CLI_EXIT_INPUT;
    }
    return CLI_EXIT_OK;
}

int cli_clone_batch(clone_options *o, tmb_context *context) {
    bool standard = cli_is_standard(o->batch);
    FILE *file = standard ? stdin : fopen(o->batch, "rb");
    batch *b = calloc(1, sizeof *b);
    char *copy = strdup(o->batch);
    int status = CLI_EXIT_OK;
    if (file == NULL || b == NULL || copy == NULL) {
        cli_error("cannot read %s: %s", o->batch, file == NULL ? strerror(errno) : "no memory");
        status = file == NULL ? CLI_EXIT_INPUT : CLI_EXIT_FAILED;
    } else if (!cli_make_folder(o->folder) || (o->codes != NULL && !cli_make_folder(o->codes))) {
        status = CLI_EXIT_FAILED;
    } else {
        b->options = o;
        b->context = context;
        b->names = json_object();
        b->claims = cli_claims_create();
        b->folder = standard ? "" : dirname(copy);
        for (size_t i = 0; i < IN_FLIGHT; i++) {
            b->slots[i].batch = b;
        }
        (void)pthread_mutex_init(&b->lock, NULL);
        (void)pthread_cond_init(&b->room, NULL);
        cli_on_interrupt(cancel_all, b);
        status = claim_common(b) ? CLI_EXIT_OK : CLI_EXIT_USAGE;
        if (status == CLI_EXIT_OK) {
            look_ahead(b, file);
            cli_progress(b->known ? 0 : -1, "the engine gets ready");
            status = read_items(b, file);
        }
        if (cli_interrupted()) {
            cancel_all(b);
        }
        tmb_clone_wait(context);
        cli_on_interrupt(NULL, NULL);
        cli_progress_clear();
        if (status != CLI_EXIT_USAGE) {
            cli_note("%zu of %zu items done%s", b->done - b->failed, b->read,
                     b->failed > 0 ? ", the others failed" : "");
        }
        if (b->worst > status) {
            status = b->worst;
        }
        if (b->read == 0 && status == CLI_EXIT_OK) {
            cli_error("%s has no items", o->batch);
            status = CLI_EXIT_INPUT;
        }
        (void)pthread_mutex_destroy(&b->lock);
        (void)pthread_cond_destroy(&b->room);
        json_decref(b->names);
        cli_claims_destroy(&b->claims);
    }
    if (file != NULL && !standard) {
        (void)fclose(file);
    }
    free(copy);
    free(b);
    return status;
}
