/* Items between a lane and the speech servers that it overflows to, by hand: what they had read does not go along. */
#include "test.h"

#include "base/error.h"
#include "pipeline/scheduler_internal.h"

#include <stdlib.h>

typedef struct fixture {
    tmb_context context;
    tmb_scheduler scheduler;
    tmb_lane lanes[2];
    tmb_fair_group *groups;
    tmb_item item;
} fixture;

/* An item of the first lane that gave way: it waits to begin once more, with its saved voice open. */
static fixture *open_fixture(void) {
    fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    tmb_budget_init(&f->context.budget, 1000, NULL, NULL);
    f->scheduler = (tmb_scheduler){
        .context = &f->context, .lanes = f->lanes, .lane_count = 2, .overflow = &f->lanes[1], .queued = 1};
    f->lanes[0] = (tmb_lane){.scheduler = &f->scheduler, .max_batch = 1, .begun = 1, .pending = 1};
    f->lanes[1] = (tmb_lane){.scheduler = &f->scheduler, .index = 1, .max_batch = 1};
    tmb_item *item = &f->item;
    item->scheduler = &f->scheduler;
    item->lane = &f->lanes[0];
    item->entry.group = tmb_fair_join(&f->groups, 1);
    assert_non_null(item->entry.group);
    (void)pthread_mutex_init(&item->lock, NULL);
    tmb_clone_request_default(&item->request.public);
    item->request.public.voice = "saved.tmbvoice";
    item->request.public.ref_audio = "recording.wav";
    item->request.source = TMB_SOURCE_VOICE;
    item->preparation.open = true;
    item->preparation.reading.voice = malloc(10);
    item->preparation.reading.voice_size = 10;
    return f;
}

static void close_fixture(fixture *f) {
    tmb_fair_leave(&f->groups, f->item.entry.group);
    (void)pthread_mutex_destroy(&f->item.lock);
    tmb_budget_deinit(&f->context.budget);
    free(f);
}

static void assert_nothing_read(const tmb_item *item) {
    assert_false(item->preparation.open);
    assert_false(item->preparation.asked);
    assert_null(item->preparation.reading.voice);
    assert_null(item->preparation.reading.samples);
}

/* The recording is read there, not what was open of the voice. */
static void test_a_voice_that_was_open(void **state) {
    (void)state;
    fixture *f = open_fixture();
    assert_true(tmb_overflow_take(&f->scheduler, &f->item));
    assert_ptr_equal(f->item.lane, &f->lanes[1]);
    assert_int_equal(f->item.request.source, TMB_SOURCE_FILE);
    assert_nothing_read(&f->item);
    close_fixture(f);
}

/* What comes back opens its reference once more, and asks for its memory once more. */
static void test_back_home(void **state) {
    (void)state;
    fixture *f = open_fixture();
    tmb_error error = {0};
    uint64_t total = 0, reserved = 0;
    assert_true(tmb_overflow_take(&f->scheduler, &f->item));
    f->item.phase = TMB_PHASE_BUILDING;
    f->lanes[1].pending = 0;
    f->lanes[1].begun = f->lanes[1].busy = f->item.entry.group->preparing = 1;
    f->item.preparation.open = f->item.preparation.asked = true;
    f->item.preparation.reading.samples = malloc(10);
    assert_int_equal(tmb_budget_grow(&f->context.budget, 500, "a reference", &error), TMB_OK);
    f->item.reserved = 500;
    (void)tmb_fail(&error, TMB_ERROR_IO, "nobody is there");
    assert_true(tmb_overflow_return(&f->scheduler, &f->item, &error));
    assert_ptr_equal(f->item.lane, &f->lanes[0]);
    assert_int_equal(f->item.request.source, TMB_SOURCE_VOICE);
    assert_int_equal(f->item.phase, TMB_PHASE_WAITING);
    assert_int_equal(f->scheduler.waiting.count, 1);
    assert_nothing_read(&f->item);
    tmb_budget_read(&f->context.budget, &total, &reserved);
    assert_int_equal(reserved, 0);
    close_fixture(f);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_a_voice_that_was_open), cmocka_unit_test(test_back_home)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
