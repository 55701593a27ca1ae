/* Several models in one memory budget, and items of all kinds at random: whatever is refused, cancelled or late, each
 * has one result, and nothing waits for ever. TIMBRE_STORM="FIRST COUNT SECONDS" takes other seeds than the suite does,
 * and prints the scheduler's state and aborts when nothing has ended for so many seconds. */
#include "scheduler_fixture.h"

#include "base/thread.h"
#include "golden.h"
#include "pipeline/scheduler_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MODELS = 4, MOST_ITEMS = 60 };

static const size_t megabyte = 1000000;
static const char *const names[MODELS] = {"a", "b", "c", "d"};
static const char *const numbers[MODELS] = {"0", "1", "2", "3"};

static char saved_voice[] = "/tmp/timbre-storm-XXXXXX";
static uint64_t state;

static size_t dice(size_t count) {
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (size_t)(state >> 33) % count;
}

static bool chance(size_t in) { return dice(in) == 0; }

/* What a seed comes to. */
typedef struct storm {
    size_t models, items;
    fake_sizes sizes[MODELS];
    size_t frame_bytes, device_frame_bytes;
    size_t references; /* the longest, in halves of a second */
    bool denoises, has_device;
    uint64_t budget, device_budget;
} storm;

/* ---- What a hang looks like ---- */

static void print_tickets(tmb_budget *budget, const char *name) {
    (void)pthread_mutex_lock(&budget->lock);
    (void)fprintf(stderr, "%s: %llu of %llu reserved, wait:", name, (unsigned long long)budget->reserved,
                  (unsigned long long)budget->total);
    for (const tmb_ticket *ticket = budget->first; ticket != NULL; ticket = ticket->next) {
        (void)fprintf(stderr, " %llu%s", (unsigned long long)ticket->bytes, ticket->granted == NULL ? "(load)" : "");
    }
    (void)fprintf(stderr, "\n");
    (void)pthread_mutex_unlock(&budget->lock);
}

static void print_state(tmb_context *context) {
    static const char *const phases[] = {"waiting",   "reading", "building", "ready",
                                         "admitting", "live",    "cleaning", "over"};
    tmb_scheduler *scheduler = context->scheduler;
    print_tickets(&context->budget, "host");
    print_tickets(&context->device_budget, "device");
    (void)pthread_mutex_lock(&scheduler->lock);
    for (size_t i = 0; i < scheduler->lane_count; i++) {
        const tmb_lane *lane = &scheduler->lanes[i];
        (void)fprintf(stderr,
                      "lane %zu: state %d live %zu pending %zu busy %zu ready %zu blocked %d (at %llu) allowance %zu "
                      "admitting %d returned %d waits %d granted %d\n",
                      i, (int)lane->state, lane->live_count, lane->pending, lane->busy, lane->ready.count,
                      lane->blocked, (unsigned long long)lane->blocked_at, lane->allowance, lane->admitting != NULL,
                      lane->returned != NULL, lane->waits, atomic_load((atomic_bool *)&lane->admit_granted));
    }
    (void)fprintf(stderr, "let go %llu, denoiser %d, reading %zu, builds %zu, cleaning %zu, items %zu\n",
                  (unsigned long long)scheduler->let_go, (int)scheduler->denoiser_state, scheduler->reading,
                  scheduler->cache.builds, scheduler->cleaning_count, scheduler->item_count);
    for (const tmb_item *item = scheduler->items; item != NULL; item = item->next) {
        (void)fprintf(stderr, "  item %llu group %llu lane %zu %s%s%s%s reserved %llu ticket %llu%s clean %d\n",
                      (unsigned long long)item->number, (unsigned long long)item->entry.group->id, item->lane->index,
                      phases[item->phase], item->request.public.run_pre_processing ? " pre" : "",
                      item->request.public.run_post_processing ? " post" : "",
                      atomic_load((atomic_bool *)&item->stop) ? " stop" : "", (unsigned long long)item->reserved,
                      (unsigned long long)item->ticket.bytes, item->ticket.waiting ? " waits" : "",
                      item->preparation.clean != NULL);
    }
    (void)pthread_mutex_unlock(&scheduler->lock);
}

/* ---- The items ---- */

static tmb_clone_request long_reference(const char *text, int voice, size_t times) {
    static float *samples[8];
    enum { MOST = 60 };
    tmb_clone_request request = clone_request(text, voice);
    if (samples[voice] == NULL) {
        samples[voice] = calloc(MOST * request.ref_sample_count, sizeof(float));
        assert_non_null(samples[voice]);
        for (size_t i = 0; i < MOST * request.ref_sample_count; i++) {
            samples[voice][i] = request.ref_samples[i % request.ref_sample_count];
        }
    }
    request.ref_samples = samples[voice];
    request.ref_sample_count *= times;
    return request;
}

static void submit_one(tmb_context *context, const storm *s, int index, char text[32]) {
    (void)snprintf(text, 32, "%zu%s", 1 + dice(12), chance(20) ? " fail" : "");
    tmb_clone_request request = long_reference(text, (int)dice(8), chance(3) ? 1 + dice(s->references) : 1);
    switch (dice(8)) {
    case 0:
    case 1:
    case 2:
        request.ref_samples = NULL;
        request.ref_sample_count = 0;
        request.ref_rate = 0;
        request.instruct = "calm";
        break;
    case 3:
        request.ref_samples = NULL;
        request.ref_sample_count = 0;
        request.ref_rate = 0;
        request.voice = saved_voice;
        break;
    default: request.run_pre_processing = s->denoises && chance(2); break;
    }
    request.run_post_processing = s->denoises && chance(3);
    request.model = names[dice(s->models)];
    request.group = dice(6);
    request.priority = chance(8) ? 1 : 0;
    request.want_samples = chance(2);
    request.deadline = chance(12) ? 0.001 + 0.001 * (double)dice(30) : 0;
    outcomes[index].want_audio = chance(3);
    outcomes[index].cancel_after = outcomes[index].want_audio && chance(6) ? 2000 : 0;
    submit(context, &request, &outcomes[index]);
}

/* ---- A seed ---- */

static storm choose(void) {
    storm s = {.models = 2 + dice(3), .items = 8 + dice(MOST_ITEMS - 8), .references = 1 + dice(60)};
    s.denoises = chance(2);
    s.has_device = chance(3);
    s.frame_bytes = chance(2) ? dice(megabyte) : 0;
    s.device_frame_bytes = s.has_device ? 1 + dice(megabyte) : 0;
    size_t largest = 0, device_largest = 0, times = 1 + dice(5);
    for (size_t i = 0; i < s.models; i++) {
        const size_t bytes = (2 + dice(30)) * megabyte, device = s.has_device ? (2 + dice(30)) * megabyte : 0;
        s.sizes[i] = (fake_sizes){bytes / times, bytes, device / times, device};
        largest = bytes > largest ? bytes : largest;
        device_largest = device > device_largest ? device : device_largest;
    }
    /* From too little for some items to enough for all models at once. */
    static const size_t rooms[] = {3, 5, 8, 12, 20, 40, 100};
    s.budget = largest + rooms[dice(7)] * megabyte + 12 * s.frame_bytes;
    if (s.denoises) {
        const uint64_t least = 26 * (uint64_t)megabyte + (chance(2) ? 0 : largest);
        s.budget = s.budget < least ? least : s.budget;
    }
    s.device_budget = s.has_device ? device_largest + 12 * s.device_frame_bytes + dice(40) * megabyte : 0;
    return s;
}

static tmb_context *open_storm(const storm *s) {
    tmb_model_spec specs[MODELS];
    for (size_t i = 0; i < MODELS; i++) {
        specs[i] = (tmb_model_spec){names[i], numbers[i]};
    }
    tmb_options options;
    tmb_options_default(&options);
    options.engine = "qwen3";
    options.models = specs;
    options.model_count = s->models;
    options.denoiser = golden_path("dfn/small.tar.gz");
    options.max_batch = 1 + (int)dice(4);
    options.memory_budget = s->budget;
    options.voice_cache_entries = chance(2) ? 0 : 1 + dice(64);
    options.idle_unload = chance(4) ? 0.002 : 0;
    options.max_batch_wait = chance(8) ? 0.002 : 0;
    options.log_level = TMB_LOG_ERROR;
    fake.sizes = s->sizes;
    fake.frame_bytes = s->frame_bytes;
    fake.device_frame_bytes = s->device_frame_bytes;
    fake.has_saved_voices = fake.own_voices = true;
    tmb_context *context = fake_context(&options);
    if (s->has_device) {
        context->registry.device_memory = s->device_budget;
        tmb_budget_resize(&context->device_budget, s->device_budget);
    }
    return context;
}

static size_t results_of(size_t count) {
    size_t results = 0;
    for (size_t i = 0; i < count; i++) {
        results += (size_t)outcome_results(&outcomes[i]);
    }
    return results;
}

/* Seconds without a result after which the state is printed; 0: the test's limit ends it. */
static void watch(tmb_context *context, size_t count, double seconds) {
    double last = tmb_now();
    for (size_t before = 0, now = 0; seconds > 0 && (now = results_of(count)) < count;) {
        if (now != before) {
            before = now;
            last = tmb_now();
        } else if (tmb_now() - last > seconds) {
            (void)fprintf(stderr, "nothing ends: %zu of %zu\n", now, count);
            print_state(context);
            abort();
        }
        (void)usleep(300);
    }
}

static unsigned counts[32], total_loads;

static void run_seed(uint64_t seed, double seconds) {
    static char texts[MOST_ITEMS][32];
    state = seed * 977 + 13;
    (void)dice(2);
    fake_reset();
    for (int i = 0; i <= MANY; i++) {
        outcome_init(&outcomes[i]);
    }
    const storm s = choose();
    tmb_context *context = open_storm(&s);
    for (size_t i = 0; i < s.items; i++) {
        submit_one(context, &s, (int)i, texts[i]);
        if (chance(6)) {
            (void)usleep((useconds_t)dice(2000));
        }
        if (chance(8)) {
            tmb_clone_cancel(context, outcomes[dice(i + 1)].item);
        }
    }
    const bool closes = chance(10); /* with most of them under way */
    if (!closes) {
        watch(context, s.items, seconds);
        tmb_clone_wait(context);
    }
    total_loads += (unsigned)FAKE(created);
    tmb_close(&context);
    assert_int_equal(FAKE(created), FAKE(destroyed));
    for (size_t i = 0; i < s.items; i++) {
        assert_int_equal(outcomes[i].results, 1);
        assert_false(outcomes[i].after_result);
        counts[outcomes[i].error.status]++;
    }
}

static void test_seeds(void **unused) {
    (void)unused;
    unsigned long first = 1, count = 40;
    const char *given = getenv("TIMBRE_STORM");
    double seconds = 0;
    if (given != NULL) {
        (void)sscanf(given, "%lu %lu %lf", &first, &count, &seconds);
    }
    for (unsigned long seed = first; seed < first + count; seed++) {
        if (seconds > 0) {
            (void)fprintf(stderr, "seed %lu\r", seed);
        }
        run_seed(seed, seconds);
    }
    if (seconds > 0) {
        (void)fprintf(stderr, "seeds %lu to %lu:", first, first + count - 1);
        for (int i = 0; i < 32; i++) {
            if (counts[i] != 0) {
                (void)fprintf(stderr, " %s %u", tmb_status_name((tmb_status)i), counts[i]);
            }
        }
        (void)fprintf(stderr, ", %u loads\n", total_loads);
    }
}

static int write_voice(void **unused) {
    (void)unused;
    const int file = mkstemp(saved_voice);
    const bool written = file >= 0 && write(file, "fake voice", 10) == 10;
    return written && close(file) == 0 ? 0 : -1;
}

static int remove_voice(void **unused) {
    (void)unused;
    return unlink(saved_voice);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_seeds)};
    return cmocka_run_group_tests(tests, write_voice, remove_voice);
}
