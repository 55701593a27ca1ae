/* Two models fit into the memory budget, and what their items need does not fit beside both: the lane whose items wait
 * behind the other's gives way. Both would wait for ever otherwise. */
#include "scheduler_fixture.h"

#include "golden.h"
#include "pipeline/scheduler_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { LANES = 2 };

static const size_t megabyte = 1000000;
static const char *const names[LANES] = {"a", "b"};

static size_t device_bytes; /* of the device's pool */

/* With so large a budget. */
static tmb_context *open_context_of(uint64_t budget) {
    const tmb_model_spec specs[LANES] = {{names[0], "0"}, {names[1], "1"}};
    tmb_options options;
    tmb_options_default(&options);
    options.engine = "qwen3";
    options.models = specs;
    options.model_count = LANES;
    options.max_batch = 1;
    options.denoiser = golden_path("dfn/small.tar.gz");
    options.memory_budget = budget;
    tmb_context *context = fake_context(&options);
    context->registry.device_memory = device_bytes;
    tmb_budget_resize(&context->device_budget, device_bytes);
    return context;
}

/* Both lanes have their model and an item in the batch that does not come to its end. There are `room` bytes beside
 * the models. */
static tmb_context *open_lanes(size_t room) {
    fake.model_bytes = 10 * megabyte;
    tmb_context *context = open_context_of(100 * megabyte);
    fake_pause();
    for (int i = 0; i < LANES; i++) {
        tmb_clone_request request = clone_request("3", i);
        request.model = names[i];
        submit(context, &request, &outcomes[i]);
    }
    wait_for(context, LANES, 0);
    uint64_t total = 0, reserved = 0;
    tmb_budget_read(&context->budget, &total, &reserved);
    total = LANES * fake.model_bytes + room;
    assert_true(reserved < total);
    tmb_budget_resize(&context->budget, total);
    return context;
}

/* A minute: 6 MB while it is read. */
static tmb_clone_request long_reference(int voice) {
    enum { TIMES = 120 };
    static float *samples[LANES];
    tmb_clone_request request = clone_request("2", voice);
    if (samples[voice] == NULL) {
        samples[voice] = calloc(TIMES * request.ref_sample_count, sizeof(float));
        assert_non_null(samples[voice]);
        for (size_t i = 0; i < TIMES * request.ref_sample_count; i++) {
            samples[voice][i] = request.ref_samples[i % request.ref_sample_count];
        }
    }
    request.ref_samples = samples[voice];
    request.ref_sample_count *= TIMES;
    request.model = names[voice];
    return request;
}

static size_t waiting_tickets(tmb_budget *budget) {
    size_t count = 0;
    (void)pthread_mutex_lock(&budget->lock);
    for (const tmb_ticket *ticket = budget->first; ticket != NULL; ticket = ticket->next) {
        count++;
    }
    (void)pthread_mutex_unlock(&budget->lock);
    return count;
}

static void wait_for_tickets(tmb_context *context, size_t count) {
    while (waiting_tickets(&context->budget) != count) {
        (void)usleep(500);
    }
}

/* Until so many items of a lane have their voice and no place in the batch. */
static void wait_until_ready(tmb_scheduler *scheduler, int lane, size_t count) {
    for (bool found = false; !found;) {
        (void)usleep(500);
        (void)pthread_mutex_lock(&scheduler->lock);
        found = scheduler->lanes[lane].ready.count == count;
        (void)pthread_mutex_unlock(&scheduler->lock);
    }
}

/* The paused items end, and then all others do. */
static void finish(tmb_context *context, int count) {
    fake_allow(-1);
    for (int i = 0; i < count; i++) {
        assert_success(&outcomes[i]);
    }
    close_context(context);
}

static void test_references_of_both(void **state) {
    (void)state;
    tmb_context *context = open_lanes(4 * megabyte);
    for (int i = 0; i < LANES; i++) {
        const tmb_clone_request request = long_reference(i);
        submit(context, &request, &outcomes[LANES + i]);
        wait_for_tickets(context, (size_t)i + 1);
    }
    finish(context, 2 * LANES);
}

static void cancel(tmb_context *context, int number) {
    tmb_clone_cancel(context, outcomes[number].item);
    assert_failure(&outcomes[number], TMB_ERROR_CANCELLED);
}

/* One's reference waits behind the sequence of the other. */
static void test_a_reference_behind_a_sequence(void **state) {
    (void)state;
    tmb_context *context = open_lanes(4 * megabyte);
    fake.sequence_bytes = 6 * megabyte;
    tmb_clone_request request = clone_request("3", 1);
    request.model = names[1];
    submit(context, &request, &outcomes[2]);
    wait_until_ready(context->scheduler, 1, 1);
    cancel(context, 1);
    wait_for_tickets(context, 1);
    request = long_reference(0);
    submit(context, &request, &outcomes[3]);
    wait_for_tickets(context, 2);
    cancel(context, 0);
    fake_allow(-1);
    assert_success(&outcomes[2]);
    assert_success(&outcomes[3]);
    close_context(context);
}

/* One's sequence waits behind the reference of the other. */
static void test_a_sequence_behind_a_reference(void **state) {
    (void)state;
    tmb_context *context = open_lanes(4 * megabyte);
    tmb_clone_request request = clone_request("3", 1);
    request.model = names[1];
    submit(context, &request, &outcomes[2]);
    wait_until_ready(context->scheduler, 1, 1);
    request = long_reference(0);
    submit(context, &request, &outcomes[3]);
    wait_for_tickets(context, 1);
    finish(context, 4);
}

/* Several of each, and cancelled ones among them: nothing is lost, and nobody waits for ever. */
static void test_many_references(void **state) {
    (void)state;
    enum { COUNT = 12 };
    tmb_context *context = open_lanes(4 * megabyte);
    for (int i = 0; i < COUNT; i++) {
        const tmb_clone_request request = long_reference(i % LANES);
        submit(context, &request, &outcomes[LANES + i]);
    }
    wait_for_tickets(context, 6); /* as many as are read at once */
    tmb_clone_cancel(context, outcomes[LANES].item);
    tmb_clone_cancel(context, outcomes[LANES + COUNT - 1].item);
    fake_allow(-1);
    for (int i = 0; i < LANES + COUNT; i++) {
        if (i == LANES || i == LANES + COUNT - 1) {
            assert_failure(&outcomes[i], TMB_ERROR_CANCELLED);
        } else {
            assert_success(&outcomes[i]);
        }
    }
    close_context(context);
}

/* A device's memory waits for a model to go as the host's does, also if nobody waits for the host's. */
static void test_a_sequence_on_a_device(void **state) {
    (void)state;
    const fake_sizes sizes[LANES] = {{megabyte, megabyte, 10 * megabyte, 10 * megabyte},
                                     {megabyte, megabyte, 10 * megabyte, 10 * megabyte}};
    fake.sizes = sizes;
    fake.device_frame_bytes = megabyte;
    device_bytes = 24 * megabyte; /* what is spoken next takes 6 MB, and beside both models there are 4 */
    tmb_context *context = open_context_of(100 * megabyte);
    fake_pause();
    for (int i = 0; i < LANES; i++) {
        tmb_clone_request request = clone_request("1", i);
        request.model = names[i];
        submit(context, &request, &outcomes[i]);
    }
    wait_for(context, LANES, 0);
    for (int i = 0; i < LANES; i++) {
        tmb_clone_request request = clone_request("6", i);
        request.model = names[i];
        submit(context, &request, &outcomes[LANES + i]);
    }
    finish(context, 2 * LANES);
    device_bytes = 0;
}

/* A device that has no room for a model, now or later: the model goes without it if it may, and is refused if not. */
static void test_no_room_on_a_device(void **state) {
    (void)state;
    static const fake_sizes sizes[LANES] = {{1000000, 1000000, 10000000, 10000000},
                                            {1000000, 1000000, 10000000, 10000000}};
    fake.sizes = sizes;
    device_bytes = 9 * megabyte;
    for (int i = 0; i < LANES; i++) {
        fake.goes_without_device = i == 1;
        tmb_context *context = open_context_of(100 * megabyte);
        tmb_clone_request request = clone_request("1", i);
        request.model = names[i];
        submit(context, &request, &outcomes[i]);
        if (fake.goes_without_device) {
            assert_success(&outcomes[i]);
            assert_int_equal(tmb_registry_device_bytes(&context->registry, (size_t)i), 0);
        } else {
            assert_failure(&outcomes[i], TMB_ERROR_MEMORY);
        }
        close_context(context);
    }
    fake.goes_without_device = false;
    device_bytes = 0;
}

static void set_denoiser_loading(tmb_registry *registry, bool loading) {
    tmb_model_slot *slot = &registry->slots[TMB_MODEL_DENOISER];
    (void)pthread_mutex_lock(&registry->lock);
    slot->loading = loading;
    slot->attempt += !loading;
    (void)pthread_cond_broadcast(&registry->changed);
    (void)pthread_mutex_unlock(&registry->lock);
}

/* The first lane has its model, and the scheduler has looked and sleeps, or will at once. */
static void wait_until_asleep(tmb_scheduler *scheduler) {
    for (bool asleep = false; !asleep;) {
        (void)usleep(2000);
        (void)pthread_mutex_lock(&scheduler->lock);
        asleep = scheduler->lanes[0].state == TMB_USE_READY;
        (void)pthread_mutex_unlock(&scheduler->lock);
        (void)pthread_mutex_lock(&scheduler->wake_lock);
        asleep &= !scheduler->woken;
        (void)pthread_mutex_unlock(&scheduler->wake_lock);
    }
}

/* The denoiser begins to wait for memory when the scheduler sleeps: the lane's model goes for it, since all of its
 * items need the denoiser first. */
static void test_the_denoiser_comes_late(void **state) {
    (void)state;
    fake.model_bytes = 10 * megabyte;
    tmb_context *context = open_context_of(30 * megabyte);
    set_denoiser_loading(&context->registry, true);
    tmb_clone_request request = clone_request("2", 0);
    request.model = names[0];
    request.run_post_processing = true;
    submit(context, &request, &outcomes[0]);
    wait_until_asleep(context->scheduler);
    set_denoiser_loading(&context->registry, false);
    assert_success(&outcomes[0]);
    close_context(context);
}

/* The bytes that an item's clean reference holds and those that it takes in the batch. */
static void measure(tmb_scheduler *scheduler, uint64_t number, uint64_t *clean, uint64_t *speaking) {
    (void)pthread_mutex_lock(&scheduler->lock);
    for (tmb_item *item = scheduler->items; item != NULL; item = item->next) {
        if (item->number == number) {
            *clean = item->preparation.clean != NULL ? item->preparation.clean->reserved : 0;
            *speaking = item->reserved + item->finishing.reserved;
        }
    }
    (void)pthread_mutex_unlock(&scheduler->lock);
}

/* An item that waits for memory does not wait for its own clean reference's. */
static void test_its_own_clean_reference(void **state) {
    (void)state;
    fake.model_bytes = 10 * megabyte;
    fake.frame_bytes = megabyte;
    tmb_context *context = open_context_of(100 * megabyte);
    fake_pause();
    for (int i = 0; i < 2; i++) {
        tmb_clone_request request = clone_request(i == 0 ? "1" : "5", i);
        request.model = names[0];
        request.run_pre_processing = i == 1;
        submit(context, &request, &outcomes[i]);
        if (i == 0) {
            wait_for(context, 1, 0);
        }
    }
    wait_until_ready(context->scheduler, 0, 1);
    uint64_t clean = 0, speaking = 0, nothing = 0;
    measure(context->scheduler, outcomes[0].item, &clean, &speaking);
    measure(context->scheduler, outcomes[1].item, &clean, &nothing);
    assert_true(clean != 0 && clean < megabyte && speaking > megabyte && nothing == 0);
    tmb_budget_resize(&context->budget,
                      tmb_registry_bytes(&context->registry, 0) + speaking + 4 * fake.frame_bytes + clean / 2);
    finish(context, 2);
}

/* A single model came into use while the denoiser, which has no room beside it, waited: that fails. */
static void test_a_denoiser_that_will_not_fit(void **state) {
    (void)state;
    tmb_options options;
    tmb_options_default(&options);
    options.denoiser = golden_path("dfn/small.tar.gz");
    options.memory_budget = 30 * megabyte;
    fake.model_bytes = 10 * megabyte;
    fake.load_closed = true;
    tmb_context *context = fake_context(&options);
    tmb_clone_request request = clone_request("2", 0);
    submit(context, &request, &outcomes[0]);
    FAKE_WAIT(fake.loading == 1);
    request.run_post_processing = true;
    submit(context, &request, &outcomes[1]);
    wait_for_tickets(context, 1);
    fake_open_gate();
    assert_failure(&outcomes[1], TMB_ERROR_MEMORY);
    assert_success(&outcomes[0]);
    close_context(context);
}

static void note_grant(void *user) { atomic_store((atomic_bool *)user, true); }

static void wait_until_tried(tmb_scheduler *scheduler, size_t lane) {
    for (bool tried = false; !tried;) {
        (void)usleep(500);
        (void)pthread_mutex_lock(&scheduler->lock);
        assert_int_not_equal(scheduler->lanes[lane].state, TMB_USE_READY);
        tried = scheduler->lanes[lane].blocked;
        (void)pthread_mutex_unlock(&scheduler->lock);
    }
}

/* A model that would fit is not loaded into memory that a reference waits for. */
static void test_a_model_behind_a_reference(void **state) {
    (void)state;
    static const fake_sizes sizes[LANES] = {{10000000, 10000000, 0, 0}, {3000000, 3000000, 0, 0}};
    fake.sizes = sizes;
    tmb_context *context = open_context_of(100 * megabyte);
    fake_pause();
    tmb_clone_request request = clone_request("3", 0);
    request.model = names[0];
    submit(context, &request, &outcomes[0]);
    wait_for(context, 1, 0);
    uint64_t total = 0, reserved = 0;
    tmb_budget_read(&context->budget, &total, &reserved);
    tmb_budget_resize(&context->budget, reserved + 5 * megabyte);
    request = long_reference(0);
    submit(context, &request, &outcomes[1]);
    wait_for_tickets(context, 1);
    request = clone_request("3", 1);
    request.model = names[1];
    submit(context, &request, &outcomes[2]);
    wait_until_tried(context->scheduler, 1);
    finish(context, 3);
}

/* A model turns out to be larger than it looked, and there is no room for it even when it is alone: its load waits for
 * all of it, instead of being tried again and again. */
static void test_a_size_that_is_known(void **state) {
    (void)state;
    static const fake_sizes sizes[LANES] = {{3000000, 3000000, 0, 0}, {1000000, 10000000, 0, 0}};
    tmb_error error = {0};
    fake.sizes = sizes;
    tmb_context *context = open_context_of(15 * megabyte);
    fake_pause();
    tmb_clone_request request = clone_request("3", 0);
    request.model = names[0];
    submit(context, &request, &outcomes[0]);
    wait_for(context, 1, 0);
    assert_ok(tmb_budget_grow(&context->budget, 6 * megabyte, "something else", &error), error);
    request = clone_request("3", 1);
    request.model = names[1];
    submit(context, &request, &outcomes[1]);
    wait_until_tried(context->scheduler, 1);
    fake_allow(-1);
    assert_success(&outcomes[0]);
    wait_for_tickets(context, 1);
    assert_int_equal(FAKE(created), 2);
    tmb_budget_release(&context->budget, 6 * megabyte);
    assert_success(&outcomes[1]);
    assert_int_equal(FAKE(created), 3);
    close_context(context);
}

/* A group has prepared as much ahead as it may, for a model that has no room: the other lane's items begin. */
static void test_a_group_that_prepared_ahead(void **state) {
    (void)state;
    enum { AHEAD = 1 + 3 + 3 };
    const fake_sizes sizes[LANES] = {{5 * megabyte, 5 * megabyte, 0, 0}, {20 * megabyte, 20 * megabyte, 0, 0}};
    fake.sizes = sizes;
    tmb_context *context = open_context_of(100 * megabyte);
    fake_pause();
    tmb_clone_request request = clone_request("1", 0);
    for (int i = 0; i <= AHEAD; i++) {
        request.model = names[1];
        submit(context, &request, &outcomes[i]);
        if (i == 0) {
            wait_for(context, 1, 0);
        }
    }
    wait_until_ready(context->scheduler, 1, AHEAD);
    atomic_bool granted = false;
    bool now = true;
    tmb_error error = {0};
    tmb_ticket other = {.granted = note_grant, .user = &granted};
    assert_ok(tmb_budget_request(&context->budget, &other, 90 * megabyte, 0, "a test", &now, &error), error);
    assert_false(now);
    request.model = names[0];
    submit(context, &request, &outcomes[AHEAD + 1]);
    /* It has tried first, so its load comes first: the other's would wait for what this test holds. */
    wait_until_tried(context->scheduler, 0);
    tmb_clone_cancel(context, outcomes[0].item);
    while (!atomic_load(&granted)) {
        (void)usleep(500);
    }
    fake_allow(-1);
    assert_success(&outcomes[AHEAD + 1]);
    tmb_budget_release(&context->budget, 90 * megabyte);
    for (int i = 1; i <= AHEAD; i++) {
        assert_success(&outcomes[i]);
    }
    close_context(context);
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(test_references_of_both),
                                       TEST(test_a_reference_behind_a_sequence),
                                       TEST(test_a_sequence_behind_a_reference),
                                       TEST(test_many_references),
                                       TEST(test_a_sequence_on_a_device),
                                       TEST(test_no_room_on_a_device),
                                       TEST(test_the_denoiser_comes_late),
                                       TEST(test_its_own_clean_reference),
                                       TEST(test_a_denoiser_that_will_not_fit),
                                       TEST(test_a_model_behind_a_reference),
                                       TEST(test_a_size_that_is_known),
                                       TEST(test_a_group_that_prepared_ahead)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
