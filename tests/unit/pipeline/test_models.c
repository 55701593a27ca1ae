/* Several models in one context: requests find theirs, and models that do not fit into memory together take turns. */
#include "test.h"

#include "clone_helper.h"
#include "golden.h"
#include "pipeline/scheduler_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CLIENTS = 8, ITEMS = 60, MODELS = 4 };

static const char *const samples[MODELS] = {"sample-c", "sample-g", "sample-h", "sample-i"};
static const char *const names[MODELS] = {"base", "speakers", "Änne und ich", "design"};

static tmb_context *open_models(uint64_t budget, size_t max_batch) {
    static char folders[MODELS][512];
    tmb_model_spec specs[MODELS];
    for (size_t i = 0; i < MODELS; i++) {
        (void)snprintf(folders[i], sizeof folders[i], "%s", golden_path("qwen/%s/model", samples[i]));
        specs[i] = (tmb_model_spec){names[i], folders[i]};
    }
    tmb_options options;
    tmb_options_default(&options);
    options.engine = "qwen3";
    options.precision = "int8";
    options.models = specs;
    options.model_count = MODELS;
    options.memory_budget = budget;
    options.threads = 1;
    options.max_batch = (int)max_batch;
    tmb_error error = {0};
    tmb_context *context = NULL;
    assert_ok(tmb_open(&options, &context, &error), error);
    return context;
}

static tmb_clone_request base_request(const char *text) {
    tmb_clone_request request;
    tmb_clone_request_default(&request);
    request.text = text;
    request.has_seed = true;
    request.seed = 1;
    request.max_frames = 6;
    request.run_pre_processing = request.run_post_processing = false;
    return request;
}

/* Gives it a recording. */
static void refer(tmb_clone_request *request) {
    const tmb_clone_request spoken = clone_request("", 1);
    request->ref_samples = spoken.ref_samples;
    request->ref_sample_count = spoken.ref_sample_count;
    request->ref_rate = spoken.ref_rate;
}

/* What is asked decides which model speaks, or the request names it. */
static void test_routes(void **state) {
    (void)state;
    tmb_context *context = open_models(0, 0);
    static const struct {
        const char *speaker, *instruct, *model;
        bool reference;
        const char *expected; /* the model, or NULL */
        const char *refusal;
    } cases[] = {
        {NULL, NULL, NULL, true, "base", NULL},
        {"MIRA", NULL, NULL, false, "speakers", NULL},
        {"Speaker_Test", NULL, NULL, false, "Änne und ich", NULL},
        {NULL, "A calm voice.", NULL, false, "design", NULL},
        {"", "", NULL, false, "speakers", NULL},
        {"", NULL, "änne UND ich", false, NULL, "no model"}, /* names compare as ASCII does */
        {"", NULL, "Änne und ich", false, "Änne und ich", NULL},
        {"", NULL, "DESIGN", false, "design", NULL},
        {NULL, NULL, "base", true, "base", NULL},
        {"nobody", NULL, NULL, false, NULL, "speaker \"nobody\""},
        {"mira", NULL, NULL, true, NULL, "none of the models clones"},
        {NULL, NULL, "nothing", true, NULL, "no model \"nothing\" here; there are base (base)"},
        {NULL, NULL, "design", true, NULL, "VoiceDesign"},
        {"mira", NULL, "base", false, NULL, "clones voices"},
        {"nobody", NULL, "speakers", false, NULL, "it has mira, old_tom, lin_bei"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tmb_clone_request request = base_request("Hello.");
        tmb_error error = {0};
        clone_outcome outcome;
        outcome_init(&outcome);
        request.speaker = cases[i].speaker;
        request.instruct = cases[i].instruct;
        request.model = cases[i].model;
        if (cases[i].reference) {
            refer(&request);
        }
        tmb_status status = clone_submit(context, &request, &outcome, &error);
        if (status == TMB_OK) {
            outcome_wait(&outcome);
            error = outcome.error;
        }
        if (cases[i].refusal != NULL) {
            assert_int_equal(error.status, TMB_ERROR_ARGUMENT);
            if (strstr(error.message, cases[i].refusal) == NULL) {
                fail_msg("case %zu: \"%s\" is not in \"%s\"", i, cases[i].refusal, error.message);
            }
            continue;
        }
        assert_ok(error.status, error);
        assert_string_equal(outcome.model, cases[i].expected);
        assert_int_equal(outcome.is_clone, cases[i].reference);
    }
    tmb_close(&context);
}

static void look(void *user, const tmb_model_description *model) {
    char *list = user;
    (void)snprintf(list + strlen(list), 400 - strlen(list), "%s:%s:%zu:%d%d%d ", model->name, model->kind,
                   model->speaker_count, model->clones, model->designs, model->follows_instruct);
}

static void test_descriptions(void **state) {
    (void)state;
    char list[400] = "";
    tmb_error error = {0};
    tmb_context *context = open_models(0, 0);
    assert_ok(tmb_describe_models(context, look, list, &error), error);
    assert_string_equal(list, "base:base:0:100 speakers:custom_voice:3:001 Änne und ich:custom_voice:1:000 "
                              "design:voice_design:0:011 ");
    tmb_close(&context);
    list[0] = 0;
    assert_ok(tmb_describe_model(golden_path("qwen/sample-g/model"), look, list, &error), error);
    assert_string_equal(list, "model:custom_voice:3:001 ");
    assert_int_equal(tmb_describe_model("/nonexistent", look, list, &error), TMB_ERROR_MODEL);
}

typedef struct totals {
    uint64_t most_bytes, loads[MODELS], finished;
    size_t count;
} totals;

static void add_up(void *user, const tmb_model_statistics *statistics) {
    totals *t = user;
    assert_string_equal(statistics->name, names[t->count]);
    t->loads[t->count++] = statistics->loads;
    t->finished += statistics->finished_items;
    t->most_bytes = statistics->memory_reserved > t->most_bytes ? statistics->memory_reserved : t->most_bytes;
}

typedef struct client {
    tmb_context *context;
    size_t number;
    pthread_t thread;
} client;

static void ask(tmb_context *context, size_t n, size_t model) {
    tmb_clone_request request = base_request("One of sixty.");
    clone_outcome outcome;
    outcome_init(&outcome);
    request.group = n % CLIENTS + 1;
    request.seed = n;
    request.model = names[model];
    request.speaker = "";
    if (model == 0) {
        request.speaker = NULL;
        refer(&request);
        request.x_vector_only = true;
    }
    submit(context, &request, &outcome);
    outcome_wait(&outcome);
    assert_ok(outcome.error.status, outcome.error);
    uint64_t total = 0, reserved = 0;
    tmb_statistics statistics;
    tmb_get_statistics(context, &statistics);
    total = statistics.memory_budget;
    reserved = statistics.memory_reserved;
    assert_true(reserved <= total);
}

/* Bytes of the model that takes the most. */
static uint64_t largest_model(void) {
    tmb_context *context = open_models(0, 0);
    totals t = {0};
    for (size_t i = 0; i < MODELS; i++) {
        ask(context, 0, i);
    }
    tmb_each_model_statistics(context, add_up, &t);
    assert_int_equal(t.count, MODELS);
    tmb_close(&context);
    return t.most_bytes;
}

static void *run_client(void *argument) {
    client *c = argument;
    for (size_t n = c->number; n < ITEMS; n += CLIENTS) {
        ask(c->context, n, (n * 7 + n / 5) % MODELS);
    }
    return NULL;
}

/* Sixty mixed requests of eight clients, memory for one model at a time: all are spoken. */
static void test_turns(void **state) {
    (void)state;
    uint64_t budget = largest_model();
    budget += budget * 19 / 20; /* a reference or sequences, and not a second model of that size */
    tmb_context *context = open_models(budget, 2);
    client clients[CLIENTS];
    for (size_t i = 0; i < CLIENTS; i++) {
        clients[i] = (client){.context = context, .number = i};
        assert_int_equal(pthread_create(&clients[i].thread, NULL, run_client, &clients[i]), 0);
    }
    for (size_t i = 0; i < CLIENTS; i++) {
        assert_int_equal(pthread_join(clients[i].thread, NULL), 0);
    }
    totals t = {0};
    tmb_each_model_statistics(context, add_up, &t);
    assert_int_equal(t.finished, ITEMS);
    uint64_t loads = 0;
    for (size_t i = 0; i < MODELS; i++) {
        assert_true(t.loads[i] >= 1);
        loads += t.loads[i];
    }
    /* Never more often than if each request had needed another model than the one before. */
    assert_true(loads <= ITEMS);
    print_message("%llu loads for %d items\n", (unsigned long long)loads, ITEMS);
    tmb_close(&context);
}

/* How many of `items` in a lane have been begun: all but those that wait to be. */
static size_t begun_items(tmb_scheduler *scheduler, size_t lane, size_t items) {
    (void)pthread_mutex_lock(&scheduler->lock);
    for (const tmb_item *item = scheduler->items; item != NULL; item = item->next) {
        items -= item->lane == &scheduler->lanes[lane] && item->phase == TMB_PHASE_WAITING;
    }
    (void)pthread_mutex_unlock(&scheduler->lock);
    return items;
}

/* All of one model's at once, and then one of another and of another caller: it waits for a share of them, not for all.
 * What comes first is what goes into the batch first: who hears of it first is up to the system. */
static void test_nobody_starves(void **state) {
    (void)state;
    uint64_t budget = largest_model();
    budget += budget / 2;
    tmb_context *context = open_models(budget, 1);
    enum { MANY = 40 };
    static clone_outcome outcomes[MANY + 1];
    double entered[MANY + 1];
    for (size_t i = 0; i <= MANY; i++) {
        outcome_init(&outcomes[i]);
        tmb_clone_request request = base_request(i < MANY ? "Of the many." : "The one.");
        request.speaker = i < MANY ? "mira" : NULL;
        request.instruct = i < MANY ? NULL : "A calm voice.";
        request.group = i < MANY ? 1 : 2;
        entered[i] = tmb_now();
        submit(context, &request, &outcomes[i]);
    }
    const size_t begun = begun_items(context->scheduler, 1, MANY);
    for (size_t i = 0; i <= MANY; i++) {
        outcome_wait(&outcomes[i]);
        assert_ok(outcomes[i].error.status, outcomes[i].error);
        entered[i] += outcomes[i].timings[TMB_STAGE_QUEUED];
    }
    size_t before = 0;
    for (size_t i = 0; i < MANY; i++) {
        before += entered[i] < entered[MANY];
    }
    print_message("%zu were begun, %zu came before\n", begun, before);
    /* Those that were begun, eight that are while the first model is loaded, and a share of two. */
    assert_true(before <= begun + 16);
    tmb_close(&context);
}

/* One whose model can never fit fails, and the others do not notice. */
static void test_too_large(void **state) {
    (void)state;
    tmb_context *context = open_models(largest_model() / 4, 1);
    clone_outcome outcome;
    outcome_init(&outcome);
    tmb_clone_request request = base_request("Hello.");
    refer(&request);
    submit(context, &request, &outcome);
    assert_failure(&outcome, TMB_ERROR_MEMORY);
    tmb_close(&context);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_routes), cmocka_unit_test(test_descriptions),
                                       cmocka_unit_test(test_turns), cmocka_unit_test(test_nobody_starves),
                                       cmocka_unit_test(test_too_large)};
    (void)setenv("XDG_CACHE_HOME", "/nonexistent", 1); /* no packs */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
