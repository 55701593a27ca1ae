/* What the scheduler's tests share: a context around the fake engine, outcomes, waiting for a state. */
#ifndef TMB_TESTS_SCHEDULER_FIXTURE_H
#define TMB_TESTS_SCHEDULER_FIXTURE_H

#include "test.h"

#include "clone_helper.h"
#include "fake_engine.h"

#define MANY 100

extern clone_outcome outcomes[MANY + 1];

/* A test that begins with a fresh engine and fresh outcomes. */
#define TEST(function) cmocka_unit_test_setup(function, set_up)
int set_up(void **state);

tmb_context *open_context(int max_batch);
/* Waits for the items, and checks that everything was given back: memory of the budget, sequences of the engine. */
void close_context(tmb_context *context);

/* Until so many sequences are in the batch and so many items before it. */
void wait_for(tmb_context *context, size_t live, size_t queued);
/* Until so many items have their voice and wait for the batch. */
void wait_for_ready(tmb_context *context, size_t ready);
/* Until the next item waits for memory. */
void wait_for_admitting(tmb_context *context);

#endif
